"""`ecg`, `ecg_bin` and `ptbdb`: rows of Kaggle's files or beats cut from records, with the published counts."""

import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from helpers.data import KAGGLE_SAMPLE, MITDB_ZIP
from helpers.databases import ABNORMAL, NORMAL, ptbdb_samples, write_kaggle, write_ptbdb
from helpers.kaggle import TEST, TRAIN, assert_same_data, change_row, make_zip, write_csv
from helpers.servers import unprivileged
from loaders import get_data
from loaders.base import Data
from toolbox.errors import DataError, ResourceError

COUNTS = [90_589, 2_779, 7_236, 803, 8_039]
SIDES = ("train", "val", "test")


def load(root: Path, data_file: Path | None = None, *, name: str = "ecg", **how: object) -> Data:
    return get_data(name, root, data_file=data_file, **how)


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "kaggle")


@pytest.fixture
def ptbdb(tmp_path: Path) -> Path:
    return write_ptbdb(tmp_path / "ptbdb_files")


def together(data: Data, what: str, sides: tuple[str, ...] = SIDES) -> np.ndarray:
    """An array of all splits in the order of the source."""
    order = np.argsort(np.concatenate([getattr(data, side).index for side in sides]))
    return np.concatenate([getattr(getattr(data, side), what) for side in sides])[order]


# From records


@pytest.fixture(scope="session")
def records_root(shared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Data]:
    """`load` from the real MIT-BIH zip, whose beats are built once."""
    return partial(load, tmp_path_factory.mktemp("records_root"), shared(MITDB_ZIP))


def test_the_real_records_give_the_counts_of_the_kaggle_files(records_root: Callable[..., Data]) -> None:
    data = records_root()
    assert (len(data.train) + len(data.val), len(data.test)) == (87_554, 21_892)
    assert np.bincount(together(data, "y")).tolist() == COUNTS
    np.testing.assert_allclose(np.bincount(data.test.y), np.array(COUNTS) * 21_892 / 109_446, atol=1)
    np.testing.assert_array_equal(together(data, "index"), np.arange(109_446))
    assert (data.train.x.shape[1:], data.train.x.dtype) == ((1, 187), np.float32)
    assert len(data.shared_rows) == 0
    names = set(data.train.record)
    assert len(names) == 48
    assert set(data.train.record[data.train.y == 4]) >= {"102", "104", "107", "217"}  # the paced ones


def test_real_test_rows_depend_on_neither_seed_nor_classes(records_root: Callable[..., Data]) -> None:
    first, other, two = records_root(), records_root(seed=7), records_root(name="ecg_bin")
    np.testing.assert_array_equal(first.test.index, other.test.index)
    assert not np.array_equal(first.val.index, other.val.index)
    assert first.checksum == other.checksum
    for side in SIDES:
        np.testing.assert_array_equal(getattr(two, side).index, getattr(first, side).index)
        np.testing.assert_array_equal(getattr(two, side).y, getattr(first, side).y > 0)


def test_a_folder_with_some_records_may_have_other_files(shared: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "root" / "ecg"
    with zipfile.ZipFile(shared(MITDB_ZIP)) as archive:
        for member in archive.namelist():
            if Path(member).stem in ("100", "208"):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / Path(member).name).write_bytes(archive.read(member))
    data = load(tmp_path / "root")
    (folder / "runs" / "ecg_some_1").mkdir(parents=True)
    (folder / "notes.txt").write_text("anything")
    caches = os.listdir(folder / "cache")
    assert_same_data(load(tmp_path / "root"), data)
    assert os.listdir(folder / "cache") == caches
    assert set(data.train.record) == {"100", "208"}
    assert len(data.test) == round(0.2 * len(together(data, "y")))


# From Kaggle's rows


def test_the_real_sample_of_the_kaggle_files_is_read(shared: Callable[[str], Path], tmp_path: Path) -> None:
    source = shared(KAGGLE_SAMPLE)
    data = load(tmp_path, source)
    expected = np.loadtxt(source / TRAIN, delimiter=",", dtype=np.float32)
    np.testing.assert_array_equal(together(data, "x", ("train", "val"))[:, 0], expected[:, :-1])
    assert [len(getattr(data, side)) for side in SIDES] == [9, 1, 10]


def test_ecg_bin_calls_every_class_but_n_abnormal(kaggle: Path, tmp_path: Path) -> None:
    five, two = load(tmp_path, kaggle), load(tmp_path, kaggle, name="ecg_bin")
    for side in SIDES:
        np.testing.assert_array_equal(getattr(two, side).y, getattr(five, side).y != 0)
        assert getattr(two, side).y.dtype == np.int64
        np.testing.assert_array_equal(getattr(two, side).x, getattr(five, side).x)
    assert (five.spec.classes, five.spec.importance) == (("N", "S", "V", "F", "Q"), (1, 2, 2, 2, 0.5))
    assert (two.spec.name, two.spec.classes, two.spec.importance) == ("ecg_bin", ("normal", "abnormal"), (1, 2))
    assert (five.spec.channels, five.spec.samples, five.spec.rate_hz) == (1, 187, 125)


def test_validation_is_drawn_from_train_by_class_with_the_seed_as_the_rule_says(kaggle: Path, tmp_path: Path) -> None:
    first, again, other = (load(tmp_path, kaggle, val_fraction=0.25, seed=seed) for seed in (1, 1, 2))
    assert np.bincount(first.val.y).tolist() == [3] * 5
    np.testing.assert_array_equal(together(first, "index", ("train", "val")), np.arange(60))
    np.testing.assert_array_equal(first.val.index, again.val.index)
    assert not np.array_equal(first.val.index, other.val.index)
    np.testing.assert_array_equal(first.test.x, other.test.x)
    for words in ("by the publisher", "one patient's beats stand on both sides", "validation is 0.25 of train", "seed"):
        assert words in first.spec.split_rule


def test_dropped_rows_are_counted_and_named_at_every_start_and_the_others_keep_their_numbers(
    kaggle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, dropping = load(tmp_path, kaggle), load(tmp_path, kaggle, bad_rows="drop")
    assert_same_data(dropping, whole)
    assert dropping.checksum == whole.checksum
    for row in (3, 10, 20, 59):
        change_row(kaggle / TRAIN, row, lambda line: f"x{line}")
    change_row(kaggle / TEST, 0, lambda line: f"{line},1")
    kept = np.setdiff1d(np.arange(60), [3, 10, 20, 59])
    for _ in range(2):
        caplog.clear()
        data = load(tmp_path, kaggle, bad_rows="drop")
        np.testing.assert_array_equal(together(data, "index", ("train", "val")), kept)
        expected = together(whole, "x", ("train", "val"))[kept]
        np.testing.assert_array_equal(together(data, "x", ("train", "val")), expected)
        assert data.test.index.tolist() == list(range(1, 20))
        assert (data.train.dropped, data.val.dropped, data.test.dropped) == (4, 4, 1)
        of_train, of_test = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
        assert of_train.startswith(f"unusable rows dropped from {kaggle / TRAIN}: 4; line 4, column 1: 'x")
        assert ("line 21, " in of_train, "line 60, " in of_train, of_train.endswith("; ...")) == (True, False, True)
        assert of_test.endswith(f"{kaggle / TEST}: 1; line 1: 189 columns, expected 187 samples and a label")
    assert data.checksum != whole.checksum
    with pytest.raises(DataError, match="not a finite number"):
        load(tmp_path, kaggle)


def test_rows_of_train_and_validation_that_are_in_test_are_found(kaggle: Path, tmp_path: Path) -> None:
    data = load(tmp_path, kaggle)
    assert data.shared_rows.tolist() == []
    lines = (kaggle / TRAIN).read_text().splitlines()
    for row, source in ((2, data.val.index[0]), (17, data.train.index[0])):
        change_row(kaggle / TEST, row, lambda _, source=source: lines[source][:-1] + "0")  # under whatever label
    assert load(tmp_path, kaggle).shared_rows.tolist() == [2, 17]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_changed_file_is_parsed_again_and_a_touched_one_is_not(kaggle: Path, tmp_path: Path, form: str) -> None:
    members = {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST}
    source = make_zip(tmp_path / "a.zip", members) if form == "zip" else kaggle
    cache = tmp_path / "ecg" / "cache"
    first = load(tmp_path, source)
    assert len(os.listdir(cache)) == 1
    os.utime(source if form == "zip" else kaggle / TRAIN, ns=(0, 10**18))
    assert_same_data(load(tmp_path, source), first)
    assert len(list(cache.glob("mitbih_train-*"))) == 1
    write_csv(kaggle / TRAIN, 70)
    if form == "zip":
        make_zip(source, members)
    changed = load(tmp_path, source)
    assert len(changed.train) + len(changed.val) == 70
    assert len(list(cache.glob("mitbih_train-*"))) == 2
    assert changed.checksum != first.checksum


def test_the_test_file_is_not_opened_before_its_rows_are_asked_for(kaggle: Path, tmp_path: Path) -> None:
    (kaggle / TEST).write_text("broken\n")
    data = load(tmp_path, kaggle)
    assert len(data.train) == 54
    with pytest.raises(DataError, match="1 columns") as caught:
        data.test  # noqa: B018
    assert caught.value.where == f"{kaggle / TEST}, line 1"


def test_a_broken_file_is_named_by_line_and_a_damaged_zip_by_its_path(kaggle: Path, tmp_path: Path) -> None:
    change_row(kaggle / TRAIN, 6, lambda line: line.rsplit(",", 1)[0] + ",7")
    archive = make_zip(tmp_path / "a.zip", {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST})
    for source in (kaggle, archive):
        with pytest.raises(DataError, match="label 7 is not one of") as caught:
            load(tmp_path, source)
        assert caught.value.where == f"{source / TRAIN}, line 7, column 188"
    content = archive.read_bytes()
    archive.write_bytes(content[:5000] + bytes(500) + content[5500:])
    with pytest.raises(DataError) as caught:
        load(tmp_path, archive)
    assert str(archive) in caught.value.where


@pytest.mark.parametrize(("name", "missing", "there"), [
    ("ecg", TRAIN, TEST), ("ecg", TEST, TRAIN), ("ptbdb", NORMAL, ABNORMAL), ("ptbdb", ABNORMAL, NORMAL),
])  # fmt: skip
def test_a_missing_file_of_the_two_is_refused_at_once(tmp_path: Path, name: str, missing: str, there: str) -> None:
    folder = (write_kaggle if name == "ecg" else write_ptbdb)(tmp_path / "files")
    (folder / missing).unlink()
    for source in (folder, folder / there):
        with pytest.raises(DataError, match=f"{missing} is missing") as caught:
            load(tmp_path, source, name=name)
        assert caught.value.where == str(folder)
    assert not (tmp_path / "ecg").exists()


@pytest.mark.parametrize("closed", ["the folder around it", "the folder", TRAIN, "a.zip"])
def test_a_file_without_permission_is_a_resource_error(closed: str) -> None:
    with unprivileged() as folder:
        around = folder / "around"
        kaggle = write_kaggle(around / "kaggle")
        archive = make_zip(around / "a.zip", {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST})
        path = {"the folder around it": around, "the folder": kaggle, TRAIN: kaggle / TRAIN, "a.zip": archive}[closed]
        path.chmod(0)
        with pytest.raises(ResourceError, match="Permission denied"):
            load(folder, archive if closed == "a.zip" else kaggle)
        path.chmod(0o700)


def test_an_unusable_zip_does_not_hide_a_usable_one(
    kaggle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "root" / "ecg"
    make_zip(folder / "a_other.zip", {"readme.txt": "hello", TRAIN: "1"})
    make_zip(folder / "a_records_without_beats.zip", {"A1.hea": "A1 1 300 9000", "A1.mat": ""})
    (folder / "a_broken.zip").write_bytes(b"PK\x03\x04 and no more")
    make_zip(folder / "z.zip", {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST})
    assert_same_data(load(tmp_path / "root"), load(tmp_path / "elsewhere", kaggle))
    assert f"skipping {folder / 'a_broken.zip'}" in caplog.text


# ptbdb


def test_the_rows_of_both_ptbdb_files_are_there_once_with_the_label_of_their_file(ptbdb: Path, tmp_path: Path) -> None:
    data = load(tmp_path, ptbdb, name="ptbdb")
    np.testing.assert_array_equal(together(data, "index"), np.arange(150))
    np.testing.assert_array_equal(together(data, "y"), np.repeat([0, 1], [40, 110]))
    expected = np.concatenate([ptbdb_samples(NORMAL, 40), ptbdb_samples(ABNORMAL, 110)])
    np.testing.assert_array_equal(together(data, "x")[:, 0], expected)
    assert data.spec.classes == ("normal", "abnormal")


def test_a_fifth_of_ptbdb_tests_in_proportion_and_is_drawn_by_the_seed(ptbdb: Path, tmp_path: Path) -> None:
    data = load(tmp_path, ptbdb, name="ptbdb")
    assert [np.bincount(getattr(data, side).y).tolist() for side in SIDES] == [[29, 79], [3, 9], [8, 22]]
    assert not np.array_equal(load(tmp_path, ptbdb, name="ptbdb", seed=1).test.index, data.test.index)
    same = load(tmp_path, ptbdb, name="ptbdb", val_fraction=0.3)
    np.testing.assert_array_equal(same.test.index, data.test.index)
    for words in ("80/20, seed 42", "one patient's beats stand on both sides", "validation is 0.1 of train"):
        assert words in data.spec.split_rule


@pytest.mark.parametrize(("file", "label", "own"), [(NORMAL, 1, "0 (normal)"), (ABNORMAL, 0, "1 (abnormal)")])
def test_a_label_of_the_other_ptbdb_file_is_refused_by_line_and_column_or_dropped(
    ptbdb: Path, tmp_path: Path, file: str, label: int, own: str
) -> None:
    change_row(ptbdb / file, 6, lambda line: f"{line.rpartition(',')[0]},{label}")
    with pytest.raises(DataError, match=f"label {label} is not ") as caught:
        load(tmp_path, ptbdb, name="ptbdb")
    assert own in caught.value.what
    assert caught.value.where == f"{ptbdb / file}, line 7, column 188"
    data = load(tmp_path, ptbdb, name="ptbdb", bad_rows="drop")
    lost = 6 if file == NORMAL else 46
    np.testing.assert_array_equal(together(data, "index"), np.setdiff1d(np.arange(150), [lost]))
    assert data.train.dropped == 1
