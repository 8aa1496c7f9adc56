"""Records become the dataset `mitdb`: the published tables of beats, the requested lead, positions, and refusals."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb

from helpers.data import MITDB_ZIP
from helpers.wfdb_records import R_PEAKS, ecg_like, write_record
from loaders import DS1, DS2, get_data
from loaders.base import Data, Split
from loaders.families import labels
from toolbox.errors import CommanderError, DataError, UsageError

ALL = {"N": 90_631, "S": 2_781, "V": 7_236, "F": 803, "Q": 8_043}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mitdb")


@pytest.fixture(scope="module")
def real(shared: Callable[[str], Path], folder: Path) -> Callable[..., Data]:
    """The whole database, cut once into short rows without resampling."""
    how = {"data_file": shared(MITDB_ZIP), "leads": "MLII|first", "rate": 360, "window": "-0.05,0.05"}
    return lambda **options: get_data("mitdb", folder, **how, **options)


@pytest.fixture(scope="module")
def annotated(shared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The symbols of the beats of each record, as wfdb reads them."""
    target = tmp_path_factory.mktemp("annotations")
    with zipfile.ZipFile(shared(MITDB_ZIP)) as archive:
        for member in archive.namelist():
            if member.endswith(".atr") and Path(member).stem.isdigit() and member.count("/") < 2:
                (target / Path(member).name).write_bytes(archive.read(member))
    read = {path.stem: wfdb.rdann(str(path.with_suffix("")), "atr").symbol for path in target.glob("*.atr")}
    return {name: [symbol for symbol in own if symbol in labels.BEATS] for name, own in read.items()}


def table(data: Data, *sides: Split) -> dict[str, int]:
    counts = sum(np.bincount(side.y, minlength=len(data.spec.classes)) for side in sides)
    return dict(zip(data.spec.classes, counts.tolist(), strict=True))


def by_map(annotated: dict[str, list[str]], records: str, name: str = "aami") -> dict[str, int]:
    own = [symbol for record in records.split() for symbol in annotated[record]]
    return {label: sum(symbol in of for symbol in own) for label, of in labels.SYMBOL_MAPS[name].items()}


def test_ds1_and_ds2_have_all_published_beats(real: Callable[..., Data], annotated: dict[str, list[str]]) -> None:
    data = real()
    assert list(table(data, data.train, data.val).values()) == [45_866, 944, 3_788, 415, 8]
    assert list(table(data, data.test).values()) == [44_259, 1_837, 3_221, 388, 7]
    assert "records 201 and 202" in data.spec.split_rule
    for name in ("aami", "aami-s"):
        data = real(label_map=name)
        assert table(data, data.train, data.val) == by_map(annotated, DS1, name)
        assert table(data, data.test) == by_map(annotated, DS2, name)
        assert {*data.train.record, *data.val.record} == set(DS1.split())
    assert set(real(split="inter-patient-strict").test.record) == set(DS2.split()) - {"202"}
    data = real(label_map="symbols")
    there = {symbol for record in (DS1 + " " + DS2).split() for symbol in annotated[record]}
    assert data.spec.classes == tuple(symbol for symbol in labels.BEATS if symbol in there)


@pytest.mark.parametrize("split", ["random", "kfold-patient:5"])
def test_the_whole_database_has_the_known_number_of_beats_of_each_class(real: Callable[..., Data], split: str) -> None:
    data = real(split=split)
    assert table(data, data.train, data.val, data.test) == ALL


def test_validation_has_supraventricular_and_ventricular_beats_with_any_seed(real: Callable[..., Data]) -> None:
    for seed in range(3):
        data = real(seed=seed)
        counts = table(data, data.val)
        assert min(counts["S"], counts["V"]) > 30
        assert 0.05 < len(data.val) / (len(data.val) + len(data.train)) < 0.2


def test_real_rows_are_the_signal_in_mv_with_the_r_peak_at_sample_50(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "two").mkdir()
    with zipfile.ZipFile(shared(MITDB_ZIP)) as archive:
        for member in map(Path, archive.namelist()):
            if member.stem in ("100", "101") and len(member.parts) < 3:
                (tmp_path / "two" / member.name).write_bytes(archive.read(str(member)))
    data = get_data("mitdb", tmp_path, data_file=tmp_path / "two", split="random", val_fraction=0)
    own = data.train.rows(np.flatnonzero((data.train.record == "100") & (data.train.y == 0)))
    assert np.mean(np.abs(own.x[:, 0, :90].argmax(1) - 50) <= 1) > 0.99
    assert 0.5 < np.median(own.x[:, 0, 50]) < 1.5
    assert (data.spec.unit, data.spec.samples, data.spec.rate_hz) == ("mV", 150, 125)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four records; 2 has its leads in the other order, 4 has no MLII. To be left as they are."""
    folder, wave = tmp_path_factory.mktemp("records"), ecg_like()
    either = {"MLII": wave, "V5": -wave}
    of = {"1": either, "2": dict(reversed(either.items())), "3": either, "4": {"V5": -wave}}
    for name, leads in of.items():
        write_record(folder, name, leads=leads, symbols=["N", "V", "N", "A", "N"])
    return folder


@pytest.fixture
def small(records: Path, tmp_path: Path) -> Path:
    """A copy of them that can be damaged."""
    return shutil.copytree(records, tmp_path / "db")


def load(small: Path, **options: object) -> Data:
    options = {"split": "leave-one-record-out:2", "window": "-0.2,0.2", "rate": 360} | options
    return get_data("mitdb", small.parent / "root", data_file=small, **options)


@pytest.mark.parametrize(("leads", "signs", "names"), [
    (None, [1], "123"),
    ("V5", [-1], "1234"),
    ("MLII,V5", [1, -1], "123"),
    ("V5,MLII", [-1, 1], "123"),
    ("first", [-1], "1234"),
    ("second", [1], "123"),
    ("MLII|first", [1], "1234"),
    ("MLII,first|second", [1, -1], "123"),
])  # fmt: skip
def test_a_lead_is_taken_by_its_name_at_any_place(small: Path, leads: str | None, signs: list, names: str) -> None:
    data = load(small, leads=leads)
    assert np.sign(data.test.x[0, :, 72]).tolist() == signs  # record 2, of V5 and MLII
    assert {*data.train.record, *data.val.record, *data.test.record} == set(names)
    assert len(data.spec.leads) == data.spec.channels == len(signs)
    assert data.spec.split_rule.endswith("left out for lack of the leads: 4") == ("4" not in names)


def test_positions_are_the_annotated_samples_of_the_record(small: Path) -> None:
    test = load(small).test
    assert test.position.tolist() == R_PEAKS.tolist()
    assert set(test.record) == {"2"}
    np.testing.assert_allclose(test.x[1, 0], ecg_like()[400 - 72 : 400 + 72], atol=0.01)
    assert test.features.shape == (5, 0)
    features = load(small, rr_features=True).test.features
    np.testing.assert_allclose(np.exp(features[:-1, 1]), np.diff(R_PEAKS) / 360, rtol=1e-6)


@pytest.mark.parametrize("zipped", [False, True])
def test_the_time_of_a_test_beat_is_by_the_rate_of_its_record(tmp_path: Path, zipped: bool) -> None:
    folder = tmp_path / "db"
    for name, rate_hz in (("1", 360), ("2", 180), ("3", 360)):
        write_record(folder, name, leads={"MLII": ecg_like()}, symbols=["N", "V", "N", "A", "N"], rate_hz=rate_hz)
    source = Path(shutil.make_archive(str(tmp_path / "db"), "zip", folder)) if zipped else folder
    data = load(source, split="leave-one-record-out:2", rate=60)
    assert data.test_times_s(data.test.index[[3, 0]]).tolist() == (R_PEAKS[[3, 0]] / 180).tolist()


def test_rare_symbols_have_the_class_of_the_reference_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in "123":
        write_record(tmp_path / "db", name, leads={"MLII": ecg_like()}, symbols=["B", "n", "r", "?", "N"])
    for named in (None, "aami-s"):
        data = load(tmp_path / "db", label_map=named)
        assert [data.spec.classes[k] for k in data.test.y] == ["N", "S", "V", "Q", "N"]
    assert "left out" not in caplog.text


def test_beats_of_no_class_are_left_out_with_a_message(
    small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "map.csv").write_text("N,normal\nV,ventricular\n")
    data = load(small, label_map=str(tmp_path / "map.csv"), rr_features=True)
    assert data.spec.classes == ("normal", "ventricular")
    assert data.test.y.tolist() == [0, 1, 0, 0]
    assert np.exp(data.test.features[-1, 0]) == pytest.approx((1300 - 1048) / 360)  # to the beat that was left out
    assert "map.csv are left out: 3 A" in caplog.text


def test_each_option_is_in_the_checksum_and_each_cut_is_stored_once(small: Path) -> None:
    asked: list[dict] = [{}, {"rate": 250}, {"leads": "V5"}, {"label_map": "aami-s"}, {"rr_features": True}]
    asked.append({"normalise": "beat"})
    assert len({load(small, **options).checksum for options in asked}) == len(asked)
    folders = {path.name for path in (small.parent / "root" / "mitdb" / "cache").iterdir()}
    assert len(folders) == 4
    load(small, split="random", seed=3)
    assert folders == {path.name for path in (small.parent / "root" / "mitdb" / "cache").iterdir()}


@pytest.mark.parametrize("name", ["mitdb", "ecg"])
def test_records_are_found_below_the_root(small: Path, name: str) -> None:
    root = small.parent / "elsewhere"
    (root / name).mkdir(parents=True)
    small.rename(root / name / "db")
    assert len(get_data("mitdb", root, split="leave-one-record-out").test) == 5


# Filters, protocols and maps have tests of their own; here is one of each that the loader passes on.
@pytest.mark.parametrize(("options", "kind", "says"), [
    ({"leads": "II"}, UsageError, "no record has the leads of --leads; the records have MLII, V5"),
    ({"leads": "MLII,,V5"}, UsageError, "has an empty name"),
    ({"leads": "V5|"}, UsageError, "has an empty name"),
    ({"leads": "MLII,V5,mlii"}, UsageError, "--leads MLII,V5,mlii names a lead twice"),
    ({"window": "0.3,-0.3"}, UsageError, "--window"),
    ({"filter": "bandpass:1:500"}, UsageError, "not below half"),
    ({"split": "patient"}, UsageError, "unknown --split"),
    ({"split": "inter-patient"}, DataError, "needs records that are not here or lack the leads: 101 106"),
    ({"label_map": "nothing.csv"}, DataError, "no such file"),
])  # fmt: skip
def test_an_impossible_option_is_refused(small: Path, options: dict, kind: type[CommanderError], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        load(small, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("ending", "part"), [(".dat", "signal"), (".atr", "annotations"), (".hea", "header")])
def test_a_truncated_file_is_named_by_its_record(small: Path, ending: str, part: str) -> None:
    path = small / f"3{ending}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=f"record 3 cannot be read, {part}"):
        load(small)
    assert not list((small.parent / "root").glob("mitdb/cache/*"))
