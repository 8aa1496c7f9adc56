"""cinc2017 from its files: every sample and label as they are there, views by their rules, faults named by record and
line."""

import hashlib
import logging
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat
from sklearn.metrics import f1_score

from commands import data as commands_data
from helpers.cinc2017 import LABELS, signal_of, write, write_record
from helpers.commands import assert_same_run, carried_out, finish, launch, wait_for
from helpers.kaggle import make_zip
from loaders import DATASETS, get_data
from loaders.base import Data
from loaders.datasets import cinc2017
from loaders.families import strips
from loaders.files.sources import Remote
from loaders.synthetic import strips as synth_strips
from toolbox.errors import DataError, DownloadError, UsageError

SIDES = ("train", "val", "test")
REAL = "training2017-first2000.zip"
REVISION = "7d637aa12a29e2e7be82ed18c383ab44e71aecae28035ed65ef49d4440dc69f9"
SHARES = [[22, 8, 9, 4], [2, 1, 1, 1], [6, 3, 2, 1]]  # of LABELS on each side


def load(root: Path, data_file: Path | None = None, *, val_fraction: float = 0.1, seed: int = 42, **how: Any) -> Data:
    return get_data("cinc2017", root, data_file=data_file, val_fraction=val_fraction, seed=seed, **how)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty records in their folder; to be left as they are."""
    return write(tmp_path_factory.mktemp("cinc") / "training2017")


@pytest.fixture
def own(written: Path, tmp_path: Path) -> Path:
    """The same to be spoilt."""
    return shutil.copytree(written, tmp_path / "training2017")


def samples_of(data: Data) -> dict[str, np.ndarray]:
    """The samples of every record as the store has them, by name."""
    store = data.train.store
    return {
        str(name): store.flat[first : first + length]
        for name, first, length in zip(store.name, store.first, store.length, strict=True)
    }


def record_and_y(data: Data, side: str) -> tuple[np.ndarray, np.ndarray]:
    return getattr(data, side).record, getattr(data, side).y


def assert_same(one: Data, other: Data) -> None:
    assert one.checksum == other.checksum
    for side in SIDES:
        np.testing.assert_array_equal(getattr(one, side).of, getattr(other, side).of)
        np.testing.assert_array_equal(getattr(one, side).x, getattr(other, side).x)


# The files


def test_every_sample_and_label_is_that_of_the_files(written: Path, tmp_path: Path) -> None:
    data = load(tmp_path, written)
    for name, samples in samples_of(data).items():
        np.testing.assert_array_equal(samples, loadmat(written / f"{name}.mat")["val"][0])
    for side in (getattr(data, side) for side in SIDES):
        assert [data.spec.classes[k] for k in side.y] == [LABELS[name] for name in side.record]
    assert data.spec.classes == ("N", "A", "O", "~")
    assert data.spec.scored == ("N", "A", "O")
    assert (data.spec.samples, data.spec.rate_hz, data.spec.channels) == (3000, 300, 1)


def test_every_form_and_place_of_the_files_gives_the_same_data(written: Path, tmp_path: Path) -> None:
    expected = load(tmp_path, written)
    archive = make_zip(tmp_path / "a.zip", {f"training2017/{path.name}": path for path in sorted(written.iterdir())})
    write(tmp_path / "root" / "cinc2017" / "deep" / "training2017")
    for data in (
        load(tmp_path, archive),
        load(tmp_path, written / "A00001.hea"),
        load(tmp_path / "root"),
        load(tmp_path, written),
    ):
        assert_same(data, expected)


def test_the_store_is_a_memory_map_that_is_made_once(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(tmp_path, written)
    monkeypatch.setattr(cinc2017, "_read", lambda *_: pytest.fail("decoded again"))
    again = load(tmp_path, written, drop_labels="~", polarity="recorded", crops="500")
    for data in (first, again):
        assert isinstance(data.train.store.flat, np.memmap)
        assert data.train.store.flat.dtype == np.int16
        assert data.train.store.flat is data.test.store.flat
    assert again.train.store.flat.filename == first.train.store.flat.filename


@pytest.mark.parametrize("newest", [True, False])
def test_where_there_are_two_revisions_the_third_counts(own: Path, tmp_path: Path, newest: bool) -> None:
    lines = (own / "REFERENCE.csv").read_text().replace("A00001,N", "A00001,O")
    (own / ("REFERENCE-v3.csv" if newest else "REFERENCE-original.csv")).write_text(lines)
    data = load(tmp_path, own)
    labels = {name: data.spec.classes[k] for side in SIDES for name, k in zip(*record_and_y(data, side), strict=True)}
    assert labels["A00001"] == ("O" if newest else "N")


@pytest.mark.parametrize("newest", [True, False])
def test_with_the_zip_the_newest_labels_are_fetched_and_its_own_are_used_where_these_cannot_be_had(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, newest: bool
) -> None:
    fetched = []

    def bring(remote: Remote, folder: Path, find: object = None) -> Path:
        fetched.append(remote.url)
        if remote.name == "training2017.zip":
            return make_zip(folder / remote.name, {f"training2017/{path.name}": path for path in written.iterdir()})
        if not newest:
            raise DownloadError("the server is down")
        (folder / remote.name).write_text((written / "REFERENCE.csv").read_text().replace("A00001,N", "A00001,O"))
        return folder / remote.name

    monkeypatch.setattr("loaders.files.sources.download", bring)
    for _ in range(2):  # fetched, then found
        data = load(tmp_path)
        labels = {
            name: data.spec.classes[k] for side in SIDES for name, k in zip(*record_and_y(data, side), strict=True)
        }
        assert labels["A00001"] == ("O" if newest else "N")
    site = "https://physionet.org/files/challenge-2017/1.0.0"
    assert fetched == [f"{site}/training2017.zip", f"{site}/REFERENCE-v3.csv"]
    assert newest or "the data is used without REFERENCE-v3.csv: the server is down" in caplog.text


def test_labels_of_no_known_revision_are_told_of_and_used(
    written: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = load(tmp_path, written)
    sha256 = hashlib.sha256((written / "REFERENCE.csv").read_bytes()).hexdigest()
    assert f"the labels are of no known revision: N 30, A 12, O 12, ~ 6, SHA-256 {sha256}" in caplog.text
    assert data.spec.source.endswith(f"labels: no known revision, SHA-256 {sha256}")


def test_the_whole_set_is_known_by_the_counts_of_its_labels() -> None:
    for counts, name in cinc2017.COUNTS.items():
        assert sum(counts) == 8528
        arrays = {"label": np.repeat(cinc2017.LABELS, counts), "reference": np.array(["0" * 64])}
        assert cinc2017._revision(arrays) == f"{name}, SHA-256 {'0' * 64}"


def test_the_real_records_are_read_as_they_are_and_their_revision_is_known(
    shared: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(tmp_path, shared(REAL))
    counts = sum(np.bincount(getattr(data, side).y, minlength=4) for side in SIDES)
    assert counts.tolist() == [1189, 199, 547, 65]
    assert data.spec.source.endswith(f"labels: third revision, records A00001 to A02000, SHA-256 {REVISION}")
    assert "revision" not in caplog.text
    length = data.train.store.length
    assert (len(length), length.sum(), data.train.store.flat.nbytes) == (2000, 19_555_912, 2 * 19_555_912)
    assert length.min() >= 9 * 300
    assert length.max() <= 61 * 300
    assert 0.15 < (data.train.store.factor < 0).mean() < 0.3


# Sides and views


def test_each_record_is_on_one_side_in_proportion_and_drawn_by_the_seed(written: Path, tmp_path: Path) -> None:
    data = load(tmp_path, written)
    assert sorted(np.concatenate([getattr(data, side).of for side in SIDES])) == list(range(60))
    assert [np.bincount(getattr(data, side).y, minlength=4).tolist() for side in SIDES] == SHARES
    assert np.bincount(data.test.y).sum() == 12
    assert len(data.shared_rows) == 0
    other = load(tmp_path, written, seed=1)
    assert not np.array_equal(other.test.of, data.test.of)
    np.testing.assert_array_equal(load(tmp_path, written, val_fraction=0.3).test.of, data.test.of)


def test_labels_are_dropped_and_renamed_before_anything_is_divided(written: Path, tmp_path: Path) -> None:
    data = load(tmp_path, written, drop_labels="~", rename_labels="N:NO,O:NO")
    assert data.spec.classes == ("NO", "A")
    assert data.spec.scored == ()
    names = {
        str(name): data.spec.classes[k] for side in SIDES for name, k in zip(*record_and_y(data, side), strict=True)
    }
    assert names == {name: "A" if label == "A" else "NO" for name, label in LABELS.items() if label != "~"}
    assert "6 records of ~ in no side; N is NO, O is NO" in data.spec.split_rule
    assert data.checksum != load(tmp_path, written).checksum


def test_train_has_as_many_crops_of_a_record_as_its_class_asks_for_and_the_other_sides_one_row(
    written: Path, tmp_path: Path
) -> None:
    plain, data = load(tmp_path, written), load(tmp_path, written, crops="1500:A=6,N=2", resample=0)
    _, counts = np.unique(data.train.of, return_counts=True)
    by_record = dict(zip(data.train.of, np.repeat(counts, counts), strict=True))
    for record, k in zip(plain.train.of, plain.train.y, strict=True):
        assert by_record[record] == {"A": 6, "N": 2}.get(data.spec.classes[k], 1)
    np.testing.assert_array_equal(data.val.of, plain.val.of)
    assert data.spec.samples == data.train.samples == data.test.samples == 1500
    assert (data.train.spread, plain.train.spread, plain.val.spread) == (0, 10 / 300, 0)


@pytest.mark.parametrize("normalise", strips.NORMALISATIONS)
def test_a_record_is_brought_to_its_unit_by_its_own_median_and_spread(
    written: Path, tmp_path: Path, normalise: str
) -> None:
    data = load(tmp_path, written, normalise=normalise, polarity="recorded", crops="64")
    for name, x in zip(data.val.record, data.val.x[:, 0], strict=True):
        signal = signal_of(str(name)).astype(np.float64)
        low, middle, high = np.percentile(signal, [25, 50, 75])
        expected = {
            "none": signal / 1000,
            "center": (signal - middle) / 1000,
            "record": (signal - middle) / (high - low),
        }
        start = (len(signal) - 64) // 2
        np.testing.assert_allclose(x, expected[normalise][start : start + 64], atol=1e-3)
    assert data.spec.unit == strips.NORMALISATIONS[normalise]


def test_a_gain_other_than_a_thousand_is_heeded(tmp_path: Path) -> None:
    folder = write(tmp_path / "training2017")
    for name in LABELS:
        write_record(folder, name, signal_of(name) // 5, gain=200)
    one, other = load(tmp_path, folder), load(tmp_path / "b", write(tmp_path / "c"))
    np.testing.assert_allclose(one.val.x, other.val.x, atol=0.011)


@pytest.mark.parametrize("label", "NAO")
def test_a_record_upside_down_is_found_and_turned_over(label: str) -> None:
    for seed in range(20):
        signal = synth_strips.strip(label, np.random.default_rng(seed)).astype(np.int16)
        middle = int(np.median(signal))
        upside_down = signal.max() - middle < middle - signal.min()
        assert strips.points_down(signal, 300) == upside_down
        assert strips.points_down(-signal, 300) != upside_down


def test_polarity_is_decided_by_the_median_second_and_a_record_of_less_than_one_is_left() -> None:
    beats = np.tile(np.concatenate([np.zeros(140), [300, 900, 300], np.zeros(157)]), 10).astype(np.int16)
    noisy = beats.copy()
    noisy[:1200] = -5000  # four of ten seconds, each flat
    noisy[::300][:4] = -20_000
    assert not strips.points_down(noisy, 300)
    assert strips.points_down(-noisy, 300)
    assert not strips.points_down(-beats[:299], 300)
    assert not strips.points_down(np.zeros(3000, np.int16), 300)


def test_a_header_that_states_no_number_of_samples_has_all_of_the_file(
    written: Path, own: Path, tmp_path: Path
) -> None:
    spoil_header(own, f" 300 {len(signal_of('A00007'))} ", " 300 0 ")  # 0 is unspecified: header(5) of WFDB
    assert_same(load(tmp_path / "stated", written), load(tmp_path / "unstated", own))


def test_flat_records_stay_finite(own: Path, tmp_path: Path) -> None:
    for name in LABELS:
        write_record(own, name, np.full(4000, 7))
    assert (load(tmp_path, own, normalise="record").train.x == 0).all()


# Faults


def spoil_header(own: Path, old: str, new: str) -> None:
    path = own / "A00007.hea"
    path.write_text(path.read_text().replace(old, new))


def with_value(own: Path, value: int) -> None:
    signal = signal_of("A00007").copy()
    signal[5] = value
    write_record(own, "A00007", signal)


def append(own: Path, line: str) -> None:
    with open(own / "REFERENCE.csv", "a") as file:
        file.write(line)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no REFERENCE": (lambda own: (own / "REFERENCE.csv").unlink(), "REFERENCE.csv with the labels is missing"),
    "the first labels alone": (
        lambda own: (own / "REFERENCE.csv").rename(own / "REFERENCE-original.csv"),
        "REFERENCE-original.csv has the first ones, which were revised twice",
    ),
    "no headers": (
        lambda own: [header.unlink() for header in own.glob("*.hea")],
        "recordings have no header, the first A00001.mat: A00001.hea is missing",
    ),
    "a record without a label": (
        lambda own: write_record(own, "A00099", signal_of("A00001")),
        "record A00099 has no label",
    ),
    "a label without a record": (lambda own: append(own, "A00098,N\n"), "record A00098 has a label and is missing"),
    "two labels": (lambda own: append(own, "A00001,A\n"), "record A00001 has two labels"),
    "an unknown label": (lambda own: append(own, "A00098,X\n"), "'A00098,X' is not a record and one of N, A, O, ~"),
    "no comma": (lambda own: append(own, "A00098 N\n"), "'A00098 N' is not a record and one of"),
    "no .mat": (
        lambda own: (own / "A00007.mat").unlink(),
        "record A00007 cannot be read, signal: A00007.mat is missing",
    ),
    "a truncated .mat": (
        lambda own: (own / "A00007.mat").write_bytes((own / "A00007.mat").read_bytes()[:-9]),
        "record A00007 cannot be read, signal: A00007.mat has room for",
    ),
    "a .mat of version 5": (
        lambda own: savemat(own / "A00007.mat", {"val": signal_of("A00007")[None]}),
        "record A00007 cannot be read, signal: A00007.mat is a MAT file of version 5",
    ),
    "an empty .mat": (lambda own: (own / "A00007.mat").write_bytes(b""), "record A00007 cannot be read, signal"),
    "another rate": (
        lambda own: spoil_header(own, " 300 ", " 250 "),
        "record A00007 cannot be read, header: it has 1 leads at 250 Hz",
    ),
    "another format": (
        lambda own: spoil_header(own, " 16+24 ", " 212+24 "),
        "record A00007 cannot be read, header: its samples have",
    ),
    "no gain": (lambda own: spoil_header(own, " 1000/mV ", " 0/mV "), "the gain of lead 1 is 0"),
    "another record's header": (lambda own: spoil_header(own, "A00007 1", "A00008 1"), "it is that of record 'A00008'"),
    "an empty header": (
        lambda own: (own / "A00007.hea").write_text(""),
        "record A00007 cannot be read, header: it is empty",
    ),
    "a sample that is none": (
        lambda own: with_value(own, -(2**15)),
        "record A00007 cannot be read, signal: sample 5 is missing",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_record_or_line(own: Path, tmp_path: Path, fault: str) -> None:
    spoil, what = FAULTS[fault]
    spoil(own)
    with pytest.raises(DataError) as caught:
        load(tmp_path, own)
    assert what in str(caught.value)
    assert not list((tmp_path / "cinc2017" / "cache").glob("*"))


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"drop_labels": "X"}, "unknown --drop-labels 'X'; known are N, A, O, ~"),
        ({"drop_labels": "N,A,O,~"}, "--drop-labels leaves no label"),
        ({"rename_labels": "B:NO"}, "unknown --rename-labels 'B'; known are N, A, O, ~"),
        ({"rename_labels": "N"}, "--rename-labels 'N' is not OLD:NEW"),
        ({"rename_labels": "N:A,N:O"}, "renames a label twice"),
        ({"rename_labels": "~:O", "drop_labels": "~"}, "--drop-labels and --rename-labels both name ~"),
        ({"crops": "3000:NO=2"}, "unknown --crops 'NO'; known are N, A, O, ~"),
        ({"crops": "3000:A"}, "--crops: the crops of A are '', must be a whole number from 1 to 1000"),
        ({"crops": "3000:A=0"}, "--crops: the crops of A are '0'"),
        ({"crops": "10"}, "--crops: the samples of a crop are '10', must be a whole number from 64 to 30000"),
        ({"crops": "many"}, "--crops: the samples of a crop are 'many'"),
        ({"normalise": "beat"}, "unknown --normalise 'beat'; known are center, none, record"),
        ({"polarity": "down"}, "unknown --polarity 'down'; known are upright, recorded"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_is_said_before_anything_is_read(
    tmp_path: Path, how: dict[str, str], what: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, tmp_path / "nothing here", **how)
    assert what in str(caught.value)


def test_a_set_without_the_labels_that_are_kept_is_refused(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("A00001", "A00010"):
        write_record(folder, name, signal_of(name))
    (folder / "REFERENCE.csv").write_text("A00001,N\nA00010,N\n")
    with pytest.raises(DataError, match="no record has the class A"):
        load(tmp_path, folder, drop_labels="N,O,~")


def test_without_files_and_network_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("loaders.files.sources.time.sleep", lambda _: None)
    with pytest.raises(DownloadError, match=r"training2017.zip of physionet.org .*--data-file"):
        load(tmp_path)
    assert (
        DATASETS["cinc2017"].files.remotes[0].url == "https://physionet.org/files/challenge-2017/1.0.0/training2017.zip"
    )


# Generated strips, and the command


@pytest.fixture(scope="session")
def strips_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated strips' arrays, made once."""
    root = tmp_path_factory.mktemp("strips")
    get_data("synth_strips", root)
    return root / "synth_strips" / "cache"


@pytest.fixture
def strips_root(tmp_path: Path, strips_cache: Path) -> Path:
    (tmp_path / "data" / "synth_strips").mkdir(parents=True)
    (tmp_path / "data" / "synth_strips" / "cache").symlink_to(strips_cache)
    return tmp_path / "data"


def test_generated_strips_are_laid_out_alike_and_the_same_at_every_start(strips_root: Path, tmp_path: Path) -> None:
    data, again = (get_data("synth_strips", folder) for folder in (strips_root, tmp_path / "other"))
    assert_same(data, again)
    counts = sum(np.bincount(getattr(data, side).y) for side in SIDES)
    assert counts.tolist() == list(synth_strips.COUNTS)
    assert len(np.unique(data.train.store.length)) > 200
    assert (data.train.store.length < 3000).any()
    assert 0.15 < (data.train.store.factor < 0).mean() < 0.4
    with pytest.raises(UsageError, match="synth_strips is generated"):
        get_data("synth_strips", tmp_path, data_file=tmp_path)


SMALL = ("--dataset", "synth_strips", "--model-name", "resnet1d_grid", "--model-args",
         "filters=8-16-32,blocks=1-1-1,layout=cna,stem=8", "--batch-size", "16", "--crops", "1500:A=2,N=1")  # fmt: skip


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, strips_cache: Path) -> SimpleNamespace:
    """A run of three epochs trained to its end; its folder is to be left as it is."""
    root = tmp_path_factory.mktemp("undisturbed")
    (root / "synth_strips").mkdir()
    (root / "synth_strips" / "cache").symlink_to(strips_cache)
    ended = carried_out(*SMALL, "--epochs", "3", "--no-figures", "--root-dir", root)
    assert ended.code == 0, ended.err
    return SimpleNamespace(
        root=root, path=root / "synth_strips" / "runs" / "synth_strips_resnet1d_grid_1", **vars(ended)
    )


def test_a_run_reports_each_record_once_with_f1_by_class_and_the_score_of_the_challenge(
    undisturbed: SimpleNamespace,
) -> None:
    table, test = pd.read_csv(undisturbed.path / "pred" / "predictions.csv"), undisturbed.result["test"]
    assert (len(table), table.record.nunique()) == (52, 52)
    f1 = dict(
        zip(
            "NAO~",
            f1_score(table.true, table.predicted, labels=list("NAO~"), average=None, zero_division=0),
            strict=True,
        )
    )
    assert {name: parts["f1"] for name, parts in test["per_class"].items()} == pytest.approx(f1)
    assert test["challenge_f1"] == pytest.approx(np.mean([f1[name] for name in "NAO"]))
    for name, ends in test["f1_intervals"].items():
        low, high = ends or (f1[name], f1[name])  # a class that is never right has no spread
        assert 0 <= low <= (test["challenge_f1"] if name == "challenge_f1" else f1[name]) <= high <= 1
    assert "challenge_f1" in (undisturbed.path / "pred" / "report.txt").read_text()


def test_a_run_stopped_in_an_epoch_goes_on_exactly(undisturbed: SimpleNamespace, strips_root: Path) -> None:
    path = strips_root / "synth_strips" / "runs" / undisturbed.path.name
    process = launch(*SMALL, "--epochs", "3", "--root-dir", strips_root, "--no-figures")
    wait_for(lambda: (path / "res" / "epoch1.npz").is_file(), process)
    process.send_signal(signal.SIGTERM)
    assert finish(process).code == 143
    resumed = carried_out(*SMALL[:4], "--resume", "latest", "--no-figures", "--root-dir", strips_root)
    assert resumed.code == 0, resumed.err
    assert_same_run(undisturbed.path, path)


def test_a_run_does_not_go_on_with_another_view(undisturbed: SimpleNamespace) -> None:
    changed = {
        "--crops": "1500:A=3",
        "--drop-labels": "~",
        "--rename-labels": "N:NO",
        "--resample": "0.0",
        "--polarity": "recorded",
    }
    typed = [word for pair in changed.items() for word in pair]
    other = carried_out(*SMALL[:4], "--resume", "latest", "--epochs", "4", *typed, "--root-dir", undisturbed.root)
    assert other.code == 2
    assert all(f"{flag} is {value}, the run has" in other.err for flag, value in changed.items())


def test_the_records_are_explored_as_crops_and_the_test_stays_closed(strips_root: Path) -> None:
    data = get_data("synth_strips", strips_root)
    closed = replace(data, open_test=lambda: pytest.fail("the test was opened"))
    page = commands_data.explore(closed, strips_root, seed=1).read_text()
    assert "187 train, 21 validation" in page
    assert "record, 3,000 samples at 300 Hz = 10 s" in page


@pytest.mark.parametrize(
    "option", [{"drop_labels": "N"}, {"crops": "100"}, {"polarity": "upright"}, {"resample": 5.0}], ids=str
)
def test_another_dataset_refuses_what_is_for_strips(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is not for --dataset synth, it goes with cinc2017, synth_strips"):
        get_data("synth", tmp_path, **option)
