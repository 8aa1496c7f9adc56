"""cinc2017 from its files: every sample and label as they are there, views by their rules, faults named by record and
line."""

import hashlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.io import loadmat, savemat
from sklearn.metrics import f1_score
from tqdm import tqdm

from commands import data as commands_data
from helpers.commands import carried_out
from helpers.databases import LABELS, strip, write_cinc2017, write_strip
from helpers.kaggle import make_zip
from loaders import filters, get_data
from loaders.base import Data
from loaders.datasets import cinc2017
from loaders.families import strips
from loaders.files.sources import Remote
from loaders.synthetic import strips as generated
from toolbox.ecg import rhythm
from toolbox.errors import DataError, DownloadError, UsageError

SIDES = ("train", "val", "test")
REAL = "training2017-first2000.zip"
REVISION = "7d637aa12a29e2e7be82ed18c383ab44e71aecae28035ed65ef49d4440dc69f9"
SHARES = [[22, 8, 9, 4], [2, 1, 1, 1], [6, 3, 2, 1]]  # of LABELS in each split


def load(root: Path, data_file: Path | None = None, **how: Any) -> Data:
    return get_data("cinc2017", root, data_file=data_file, **how)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty records in their folder; to be left as they are."""
    return write_cinc2017(tmp_path_factory.mktemp("cinc") / "training2017")


@pytest.fixture
def own(written: Path, tmp_path: Path) -> Path:
    """A copy of them that can be damaged."""
    return shutil.copytree(written, tmp_path / "training2017")


def labels_of(data: Data) -> dict[str, str]:
    """The class of each record."""
    pairs = (zip(side.record, side.y, strict=True) for side in (getattr(data, side) for side in SIDES))
    return {str(name): data.spec.classes[k] for pair in pairs for name, k in pair}


# The files


def test_every_sample_and_label_is_that_of_the_files(written: Path, tmp_path: Path) -> None:
    data = load(tmp_path, written)
    store = data.train.store
    for name, first, length in zip(store.name, store.first, store.length, strict=True):
        np.testing.assert_array_equal(store.flat[first : first + length], loadmat(written / f"{name}.mat")["val"][0])
    assert labels_of(data) == LABELS
    assert data.spec.classes == ("N", "A", "O", "~")
    assert data.spec.scored == ("N", "A", "O")
    assert (data.spec.samples, data.spec.rate_hz, data.spec.channels) == (3000, 300, 1)
    again = load(tmp_path, written, drop_labels="~", polarity="recorded", crops="500")
    for each in (data, again):
        assert isinstance(each.train.store.flat, np.memmap)
        assert each.train.store.flat.dtype == np.int16
        assert each.train.store.flat is each.test.store.flat
    assert again.train.store.flat.filename == store.flat.filename


@pytest.mark.parametrize("newest", [True, False])
def test_the_third_revision_of_the_labels_is_used(own: Path, tmp_path: Path, newest: bool) -> None:
    lines = (own / "REFERENCE.csv").read_text().replace("A00001,N", "A00001,O")
    (own / ("REFERENCE-v3.csv" if newest else "REFERENCE-original.csv")).write_text(lines)
    assert labels_of(load(tmp_path, own))["A00001"] == ("O" if newest else "N")


@pytest.mark.parametrize("newest", [True, False])
def test_with_the_zip_the_newest_labels_are_fetched_and_its_own_are_used_where_that_fails(
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
        assert labels_of(load(tmp_path))["A00001"] == ("O" if newest else "N")
    site = "https://physionet.org/files/challenge-2017/1.0.0"
    assert fetched == [f"{site}/training2017.zip", f"{site}/REFERENCE-v3.csv"]
    assert newest or "the data is used without REFERENCE-v3.csv: the server is down" in caplog.text


def test_labels_of_another_revision_give_a_warning(
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
    assert 9 * 300 <= length.min() <= length.max() <= 61 * 300
    assert 0.15 < (data.train.store.factor < 0).mean() < 0.3


# Splits and views


def test_each_record_is_in_one_split_in_proportion_and_drawn_by_the_seed(written: Path, tmp_path: Path) -> None:
    data = load(tmp_path, written)
    assert sorted(np.concatenate([getattr(data, side).of for side in SIDES])) == list(range(60))
    assert [np.bincount(getattr(data, side).y, minlength=4).tolist() for side in SIDES] == SHARES
    assert len(data.shared_rows) == 0
    assert not np.array_equal(load(tmp_path, written, seed=1).test.of, data.test.of)
    np.testing.assert_array_equal(load(tmp_path, written, val_fraction=0.3).test.of, data.test.of)


def test_every_record_tests_in_exactly_one_fold_and_trains_or_validates_in_the_others(
    written: Path, tmp_path: Path
) -> None:
    folds = [load(tmp_path, written, split="kfold:3", fold=fold, seed=3) for fold in (1, 2, 3)]
    tested = np.concatenate([data.test.record for data in folds])
    assert len(tested) == len(np.unique(tested)) == 60
    label = {name: kind for data in folds for name, kind in labels_of(data).items()}
    of_class = pd.Series(label).value_counts()
    for data in folds:
        sides = [set(getattr(data, side).record) for side in SIDES]
        assert sum(map(len, sides)) == len(set().union(*sides)) == 60
        assert (pd.Series([label[name] for name in sides[2]]).value_counts() - of_class / 3).abs().max() < 1
    assert "records in 3 folds, stratified by class, seed 3; fold 2 tests" in folds[1].spec.split_rule


def test_labels_are_dropped_and_renamed_before_anything_is_divided(written: Path, tmp_path: Path) -> None:
    data = load(tmp_path, written, drop_labels="~", rename_labels="N:NO,O:NO")
    assert data.spec.classes == ("NO", "A")
    assert data.spec.scored == ()
    kept = {name: "A" if label == "A" else "NO" for name, label in LABELS.items() if label != "~"}
    assert labels_of(data) == kept
    assert "6 records of ~ in no side; N is NO, O is NO" in data.spec.split_rule
    assert data.checksum != load(tmp_path, written).checksum


def test_train_has_the_requested_crops_of_a_record_and_other_splits_one_row(written: Path, tmp_path: Path) -> None:
    plain, data = load(tmp_path, written), load(tmp_path, written, crops="1500:A=6,N=2", resample=0)
    _, counts = np.unique(data.train.of, return_counts=True)
    by_record = dict(zip(data.train.of, np.repeat(counts, counts), strict=True))
    for record, k in zip(plain.train.of, plain.train.y, strict=True):
        assert by_record[record] == {"A": 6, "N": 2}.get(data.spec.classes[k], 1)
    np.testing.assert_array_equal(data.val.of, plain.val.of)
    assert data.spec.samples == data.train.samples == data.test.samples == 1500
    assert (data.train.spread, plain.train.spread, plain.val.spread) == (0, 10 / 300, 0)


@pytest.mark.parametrize("normalise", strips.NORMALISATIONS)
def test_a_record_is_scaled_by_its_own_median_and_spread(written: Path, tmp_path: Path, normalise: str) -> None:
    data = load(tmp_path, written, normalise=normalise, polarity="recorded", crops="64")
    for name, x in zip(data.val.record, data.val.x[:, 0], strict=True):
        signal = strip(str(name)).astype(np.float64)
        low, middle, high = np.percentile(signal, [25, 50, 75])
        expected = {"none": signal / 1000, "center": (signal - middle) / 1000}
        expected["record"] = (signal - middle) / (high - low)
        start = (len(signal) - 64) // 2
        np.testing.assert_allclose(x, expected[normalise][start : start + 64], atol=1e-3)
    assert data.spec.unit == strips.NORMALISATIONS[normalise]


def test_a_rate_resamples_whole_records_and_crops_in_seconds_follow_it(written: Path, tmp_path: Path) -> None:
    recorded, data = load(tmp_path, written), load(tmp_path, written, rate=100, crops="5s")
    assert (data.spec.rate_hz, data.spec.samples) == (100, 500)
    assert data.checksum != recorded.checksum
    assert load(tmp_path, written, rate=300).checksum == recorded.checksum
    for row in range(3):
        before, after = recorded.test.store, data.test.store
        number = data.test.of[row]
        samples = before.flat[before.first[number] :][: before.length[number]].astype(float)
        expected = np.round(filters.resample(samples, 300, 100))
        np.testing.assert_array_equal(after.flat[after.first[number] :][: after.length[number]], expected)


def test_every_window_of_a_record_has_the_rhythm_of_the_whole_record_as_recorded(written: Path, tmp_path: Path) -> None:
    data = load(tmp_path, written, rr_features=True, rate=100, crops="3s")
    assert data.spec.features == rhythm.NAMES
    for rows in (data.train, data.val, data.test):
        batches = rows.batches(torch.device("cpu"))
        found = [
            (inputs[1], batches.rows[64 * k : 64 * k + 64]) for k, (inputs, _) in enumerate(batches.batches(None, 64))
        ]
        for features, of in found:
            np.testing.assert_array_equal(features, rows.features[of])
        name = rows.record[0]
        expected = rhythm.numbers(loadmat(written / f"{name}.mat")["val"][0] / 1000, 300)
        np.testing.assert_array_equal(rows.features[0], expected)
    order = torch.tensor([5, 1, 5])
    (_, features), _ = next(iter(data.train.batches(torch.device("cpu")).batches(order, 3)))
    np.testing.assert_array_equal(features, data.train.features[order])


def test_gain_length_and_flat_signals_of_a_header_are_understood(written: Path, own: Path, tmp_path: Path) -> None:
    spoil_header(own, f" 300 {len(strip('A00007'))} ", " 300 0 ")  # 0 is unspecified: header(5) of WFDB
    expected = load(tmp_path / "stated", written)
    assert load(tmp_path / "unstated", own).checksum == expected.checksum
    for name in LABELS:
        write_strip(own, name, strip(name) // 5, gain=200)
    np.testing.assert_allclose(load(tmp_path, own).val.x, expected.val.x, atol=0.011)
    for name in LABELS:
        write_strip(own, name, np.full(4000, 7))
    assert (load(tmp_path, own, normalise="record").train.x == 0).all()


@pytest.mark.parametrize("label", "NAO")
def test_a_record_upside_down_is_found_and_turned_over(label: str) -> None:
    for seed in range(5):
        signal = generated.strip(label, np.random.default_rng(seed)).astype(np.int16)
        middle = int(np.median(signal))
        upside_down = signal.max() - middle < middle - signal.min()
        assert strips.points_down(signal, 300) == upside_down
        assert strips.points_down(-signal, 300) != upside_down


def test_polarity_is_decided_by_the_median_second_and_shorter_records_are_left() -> None:
    beats = np.tile(np.concatenate([np.zeros(140), [300, 900, 300], np.zeros(157)]), 10).astype(np.int16)
    noisy = beats.copy()
    noisy[:1200] = -5000  # four of ten seconds, each flat
    noisy[::300][:4] = -20_000
    assert not strips.points_down(noisy, 300)
    assert strips.points_down(-noisy, 300)
    assert not strips.points_down(-beats[:299], 300)
    assert not strips.points_down(np.zeros(3000, np.int16), 300)


# Faults


def spoil_header(own: Path, old: str, new: str) -> None:
    path = own / "A00007.hea"
    path.write_text(path.read_text().replace(old, new))


def with_value(own: Path, value: int) -> None:
    signal = strip("A00007").copy()
    signal[5] = value
    write_strip(own, "A00007", signal)


def append(own: Path, line: str) -> None:
    with open(own / "REFERENCE.csv", "a") as file:
        file.write(line)


UNREAD = "record A00007 cannot be read, "
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no labels": (lambda own: (own / "REFERENCE.csv").unlink(), "REFERENCE.csv with the labels is missing"),
    "the first labels alone": (
        lambda own: (own / "REFERENCE.csv").rename(own / "REFERENCE-original.csv"),
        "REFERENCE-original.csv has the first ones, which were revised twice",
    ),
    "no headers": (
        lambda own: [header.unlink() for header in own.glob("*.hea")],
        "recordings have no header, the first A00001.mat: A00001.hea is missing",
    ),
    "no label": (lambda own: write_strip(own, "A00099", strip("A00001")), "record A00099 has no label"),
    "a label without a record": (lambda own: append(own, "A00098,N\n"), "record A00098 has a label and is missing"),
    "two labels": (lambda own: append(own, "A00001,A\n"), "record A00001 has two labels"),
    "an unknown label": (lambda own: append(own, "A00098,X\n"), "'A00098,X' is not a record and one of N, A, O, ~"),
    "no comma": (lambda own: append(own, "A00098 N\n"), "'A00098 N' is not a record and one of"),
    "no .mat": (lambda own: (own / "A00007.mat").unlink(), f"{UNREAD}signal: A00007.mat is missing"),
    "a .mat of version 5": (
        lambda own: savemat(own / "A00007.mat", {"val": strip("A00007")[None]}),
        f"{UNREAD}signal: A00007.mat is a MAT file of version 5",
    ),
    "an empty .mat": (lambda own: (own / "A00007.mat").write_bytes(b""), f"{UNREAD}signal"),
    "another rate": (lambda own: spoil_header(own, " 300 ", " 250 "), f"{UNREAD}header: it has 1 leads at 250 Hz"),
    "another format": (lambda own: spoil_header(own, " 16+24 ", " 212+24 "), f"{UNREAD}header: its samples have"),
    "no gain": (lambda own: spoil_header(own, " 1000/mV ", " 0/mV "), "the gain of lead 1 is 0"),
    "a missing sample": (lambda own: with_value(own, -(2**15)), f"{UNREAD}signal: sample 5 is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_record_or_line(own: Path, tmp_path: Path, fault: str) -> None:
    spoil, what = FAULTS[fault]
    spoil(own)
    with pytest.raises(DataError) as caught:
        load(tmp_path, own)
    assert what in str(caught.value)
    assert not list((tmp_path / "cinc2017" / "cache").glob("*"))
    left = [bar for bar in getattr(tqdm, "_instances", ()) if bar.desc == "records"]
    assert not left  # an open bar would move those of later work


@pytest.mark.parametrize(("how", "what"), [
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
    ({"split": "kfold-patient:5"}, "unknown --split 'kfold-patient'; known are random, kfold"),
    ({"split": "kfold"}, "--split kfold must state how many folds, 2 to 1000"),
    ({"split": "kfold:1"}, "--split kfold:1 must state how many folds, 2 to 1000"),
    ({"split": "kfold:5", "fold": 6}, "--fold is 6, --split kfold:5 has 5 folds"),
    ({"split": "random:5"}, "--split is random:5, --split random has no folds"),
    ({"fold": 2}, "--fold is 2, --split random has no folds"),
    ({"normalise": "beat"}, "unknown --normalise 'beat'; known are center, none, record"),
    ({"polarity": "down"}, "unknown --polarity 'down'; known are upright, recorded"),
], ids=str)  # fmt: skip
def test_an_impossible_option_is_refused_before_anything_is_read(tmp_path: Path, how: dict, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, tmp_path / "nothing here", **how)
    assert what in str(caught.value)


def test_a_set_without_the_labels_that_are_kept_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("A00001", "A00010"):
        write_strip(folder, name, strip(name))
    (folder / "REFERENCE.csv").write_text("A00001,N\nA00010,N\n")
    with pytest.raises(DataError, match="no record has the class A"):
        load(tmp_path, folder, drop_labels="N,O,~")


# Generated strips, and the command

SMALL = ("--dataset", "synth_strips", "--model-name", "resnet1d_grid", "--model-args",
         "filters=8-16-32,blocks=1-1-1,layout=cna,stem=8", "--batch-size", "16", "--crops", "1500:A=2,N=1")  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, strips_cache: Path) -> SimpleNamespace:
    """A run of two epochs trained to its end; its folder is to be left as it is."""
    root = tmp_path_factory.mktemp("strips")
    (root / "synth_strips").mkdir()
    (root / "synth_strips" / "cache").symlink_to(strips_cache)
    ended = carried_out(*SMALL, "--epochs", "2", "--no-figures", "--root-dir", root)
    assert ended.code == 0, ended.err
    path = root / "synth_strips" / "runs" / "synth_strips_resnet1d_grid_1"
    return SimpleNamespace(root=root, path=path, **vars(ended))


def test_generated_strips_are_explored_with_the_test_closed(
    run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolbox.reports.plots.save_png", lambda _, path: path.touch())
    data = get_data("synth_strips", run.root)
    counts = sum(np.bincount(getattr(data, side).y) for side in SIDES)
    assert counts.tolist() == list(generated.COUNTS)
    assert len(np.unique(data.train.store.length)) > 200
    assert (data.train.store.length < 3000).any()
    assert 0.15 < (data.train.store.factor < 0).mean() < 0.4
    closed = replace(data, open_test=lambda: pytest.fail("the test was opened"))
    page = commands_data.explore(closed, run.root, seed=1).read_text()
    assert "187 train, 21 validation" in page
    assert "record, 3,000 samples at 300 Hz = 10 s" in page


def test_generated_strips_are_the_same_at_every_start(run: SimpleNamespace, tmp_path: Path) -> None:
    assert get_data("synth_strips", tmp_path).checksum == get_data("synth_strips", run.root).checksum


def test_a_run_reports_each_record_once_with_f1_by_class_and_the_score_of_the_challenge(run: SimpleNamespace) -> None:
    table, test = pd.read_csv(run.path / "pred" / "predictions.csv"), run.result["test"]
    assert (len(table), table.record.nunique()) == (52, 52)
    scores = f1_score(table.true, table.predicted, labels=list("NAO~"), average=None, zero_division=0)
    f1 = dict(zip("NAO~", scores, strict=True))
    assert {name: parts["f1"] for name, parts in test["per_class"].items()} == pytest.approx(f1)
    assert test["challenge_f1"] == pytest.approx(np.mean([f1[name] for name in "NAO"]))
    for name, ends in test["f1_intervals"].items():
        low, high = ends or (f1[name], f1[name])  # a class that is never right has no spread
        assert 0 <= low <= (test["challenge_f1"] if name == "challenge_f1" else f1[name]) <= high <= 1
    assert "challenge F1" in (run.path / "pred" / "report.txt").read_text()


def test_a_run_does_not_go_on_with_another_view(run: SimpleNamespace) -> None:
    changed = {"--crops": "1500:A=3", "--drop-labels": "~", "--rename-labels": "N:NO", "--resample": "0.0"}
    changed["--polarity"] = "recorded"
    typed = [word for pair in changed.items() for word in pair]
    other = carried_out(*SMALL[:4], "--resume", "latest", "--epochs", "4", *typed, "--root-dir", run.root)
    assert other.code == 2
    assert all(f"{flag} is {value}, the run has" in other.err for flag, value in changed.items())
