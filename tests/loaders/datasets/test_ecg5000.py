"""ecg5000 from every form of the archive's files: the same arrays, splits, and faults named by file and line."""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from helpers.data import mutated
from helpers.ecg5000 import SMALL, content, table, write
from helpers.kaggle import assert_same_data, make_zip
from loaders import DATASETS, get_data
from loaders.base import Data
from loaders.datasets.ecg5000 import TEST, TRAIN
from loaders.formats import ucr
from toolbox.errors import CommanderError, DataError, UsageError

COUNTS = [292, 177, 10, 19, 2]
CLASSES = DATASETS["ecg5000"].classes
SIDES = ("train", "val", "test")
FORMS = [suffix for suffix in ucr.FORMS if suffix]
FEW = {TRAIN: [12, 8, 4, 4, 4]}


def load(root: Path, data_file: Path | None = None, **how: Any) -> Data:
    return get_data("ecg5000", root, data_file=data_file, **how)


@pytest.fixture
def both(tmp_path: Path) -> Path:
    return write(tmp_path / "both", **SMALL)


def rows_of(data: Data) -> np.ndarray:
    return np.concatenate([getattr(data, side).index for side in SIDES])


def refused(root: Path, data_file: Path, **how: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        load(root, data_file, **how)
    return caught.value


# Forms


def test_the_real_train_file_has_the_same_arrays_in_every_form(shared: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared("ecg5000")
    first, *others = (load(tmp_path, folder / f"{TRAIN}.{form}") for form in ("txt", "ts", "arff"))
    for data in others:
        assert_same_data(data, first)
        assert data.checksum == first.checksum
    expected = np.loadtxt(folder / f"{TRAIN}.txt")
    order = np.argsort(rows_of(first))
    for side, column in (("x", expected[:, 1:]), ("y", expected[:, 0] - 1)):
        got = np.concatenate([getattr(getattr(first, part), side) for part in SIDES])[order]
        np.testing.assert_array_equal(got.reshape(column.shape), column.astype(got.dtype))
    assert np.bincount(expected[:, 0].astype(int)).tolist() == [0, *COUNTS]
    assert [len(getattr(first, side)) for side in SIDES] == [360, 40, 100]
    assert (first.train.x.shape[1:], first.train.x.dtype) == ((1, 140), np.float32)


@pytest.mark.parametrize("form", ucr.FORMS)
def test_every_form_gives_the_same_data_whatever_its_line_ends(tmp_path: Path, form: str, both: Path) -> None:
    folder = write(tmp_path / "other", form, **SMALL)
    expected = load(tmp_path, both)
    assert_same_data(load(tmp_path, folder / f"{TEST}{form}"), expected)
    path = folder / f"{TRAIN}{form}"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert load(tmp_path, folder).checksum == expected.checksum


def test_the_named_file_decides_the_form(both: Path, tmp_path: Path) -> None:
    write(both, ".arff", **{TRAIN: [30, 5, 5, 5, 5]})
    assert len(load(tmp_path, both / f"{TRAIN}.arff").train) == 45
    assert len(load(tmp_path, both / f"{TRAIN}.txt").train) == 90


# Splits


def test_the_official_split_trains_on_one_file_and_tests_on_the_other(both: Path, tmp_path: Path) -> None:
    data = load(tmp_path, both, val_fraction=0.2)
    assert [len(getattr(data, side)) for side in SIDES] == [80, 20, 200]
    assert np.bincount(data.val.y).tolist() == [12, 4, 2, 1, 1]
    assert np.bincount(data.test.y).tolist() == SMALL[TEST]
    np.testing.assert_array_equal(load(tmp_path, both, seed=1).test.x, data.test.x)
    for words in ("archive's train and test files", "one patient's"):
        assert words in data.spec.split_rule
    spec = data.spec
    assert (spec.channels, spec.samples, spec.classes, spec.importance) == (1, 140, CLASSES, (1,) * 5)
    assert "rate is nominal" in spec.source
    (both / f"{TEST}.txt").write_text("broken\n")
    opened_later = load(tmp_path, both)
    with pytest.raises(DataError, match="1 columns"):
        opened_later.test  # noqa: B018


def test_the_pooled_split_divides_all_rows_by_class_and_seed(both: Path, tmp_path: Path) -> None:
    data = load(tmp_path, both, split="pooled")
    assert [len(getattr(data, side)) for side in SIDES] == [256, 22, 22]
    np.testing.assert_array_equal(np.sort(rows_of(data)), np.arange(300))
    assert all(np.bincount(getattr(data, side).y, minlength=5).all() for side in SIDES)
    assert not np.array_equal(load(tmp_path, both, split="pooled", seed=1).test.index, data.test.index)
    assert data.checksum != load(tmp_path, both).checksum


@pytest.mark.parametrize("normal", ["Normal", "UB"])
def test_detection_trains_on_one_class_and_tests_on_all_others(both: Path, tmp_path: Path, normal: str) -> None:
    data = load(tmp_path, both, detect=True, normal_class=normal)
    k, total = CLASSES.index(normal), np.array(SMALL[TRAIN]) + SMALL[TEST]
    part = round(0.075 * total[k])
    assert set(data.train.y) == set(data.val.y) == {k}
    assert len(data.val) == part
    total[k] = part
    assert np.bincount(data.test.y).tolist() == total.tolist()
    np.testing.assert_array_equal(np.sort(rows_of(data)), np.arange(300))
    assert normal in data.spec.split_rule
    data = load(tmp_path, both, detect=True, normal_class=normal, split="official")
    assert len(data.train) + len(data.val) == SMALL[TRAIN][k]
    assert set(data.train.y) == set(data.val.y) == {k}
    assert np.bincount(data.test.y).tolist() == SMALL[TEST]
    assert f"{100 - SMALL[TRAIN][k]} other rows of theirs left out" in data.spec.split_rule


def test_the_train_file_alone_is_divided_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write(tmp_path / "a", **{TRAIN: SMALL[TRAIN]})
    for how in ({}, {"split": "pooled"}, {"detect": True}):
        caplog.clear()
        data = load(tmp_path, folder, **how)
        assert f"{TEST} is missing" in caplog.records[0].getMessage()
        assert caplog.records[0].levelno == logging.WARNING
        assert "the train file alone" in data.spec.split_rule
        np.testing.assert_array_equal(np.sort(rows_of(data)), np.arange(100))
    for how in ({}, {"detect": True, "normal_class": "SP"}):
        assert refused(tmp_path, folder, split="official", **how).what == f"{TEST} is missing"


def test_unknown_names_are_usage_errors_that_list_the_known(both: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown --normal-class 'normal'; classes are Normal, R-on-T PVC, PVC, SP"):
        load(tmp_path, both, detect=True, normal_class="normal")
    with pytest.raises(UsageError, match="unknown --split 'random'; known are official, pooled"):
        load(tmp_path, both, split="random")


def test_detection_needs_normal_rows_and_others(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", **{TRAIN: [40, 0, 0, 0, 0], TEST: [40, 0, 0, 0, 0]})
    assert "every row is Normal" in refused(tmp_path, folder, detect=True).what
    assert "no row is PVC" in refused(tmp_path, folder, detect=True, normal_class="PVC").what


# Faults


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fault", ["sample", "label", "length"])
def test_a_wrong_cell_is_named_by_line_and_column_and_can_be_dropped(tmp_path: Path, form: str, fault: str) -> None:
    first, rows, folder = form in (".txt", ".tsv"), table(FEW[TRAIN]), tmp_path / "a"
    folder.mkdir()
    path = folder / f"{TRAIN}{form}"
    rows[7, 0 if fault == "label" else 101] = 6 if fault == "label" else np.nan
    if fault == "length":
        rows = np.column_stack([table(FEW[TRAIN]), np.zeros(len(rows))])
    path.write_text(content(rows, form))
    begin = len(path.read_text().splitlines()) - len(rows)
    error = refused(tmp_path, folder)
    if fault == "length":
        expected = "a label and 140 samples" if first else "140 samples and a label"
        assert error.what.startswith(f"142 columns, expected {expected}")
        assert error.where == f"{path}, line {begin + 1}"
        return
    said = {
        "sample": "'nan' is not a finite number",
        "label": "label 6 is not one of 1..5 (Normal, R-on-T PVC, PVC, SP",
    }
    assert error.what.startswith(said[fault])
    column = (1 if first else 141) if fault == "label" else 101 + first
    assert error.where == f"{path}, line {begin + 8}, column {column}"
    data = load(tmp_path, folder, bad_rows="drop")
    assert data.train.dropped == 1
    np.testing.assert_array_equal(np.sort(rows_of(data)), np.setdiff1d(np.arange(32), [7]))


@pytest.mark.parametrize(("form", "old", "new", "what", "line"), [
    (".ts", "@equalLength true", "@equalLength false", "@equalLength is false, expected true", ", line 6"),
    (".ts", "@seriesLength 140", "@seriesLength 96", "@seriesLength is 96, expected 140", ", line 7"),
    (".ts", "@problemName ECG5000", "@problemName ECG200", "@problemName is ECG200, expected ecg5000", ", line 2"),
    (".ts", "@univariate true", "@univariate false", "@univariate is false, expected true", ", line 5"),
    (".arff", "@Relation ECG5000", "@relation 'TwoLeadECG'", "@relation is TwoLeadECG, expected ecg5000", ", line 2"),
    (".ts", "@data", "data", "there is no line @data", ""),
    (".arff", "@data", "", "there is no line @data", ""),
])  # fmt: skip
def test_a_header_of_another_dataset_is_refused(
    tmp_path: Path, form: str, old: str, new: str, what: str, line: str
) -> None:
    folder = write(tmp_path / "a", form, **FEW)
    path = folder / f"{TRAIN}{form}"
    path.write_text(path.read_text().replace(old, new))
    error = refused(tmp_path, folder)
    assert (error.what, error.where) == (what, f"{path}{line}")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_without_rows_is_a_data_error_that_names_it(tmp_path: Path, form: str) -> None:
    folder = write(tmp_path / "a", form, **FEW)
    for text in ("", "\n\n", "hello\n", "\x00\x01", "@data\n", "1\n"):
        (folder / f"{TRAIN}{form}").write_text(text)
        for bad_rows in ("error", "drop"):
            error = refused(tmp_path, folder, bad_rows=bad_rows)
            assert error.where.startswith(str(folder / f"{TRAIN}{form}"))


def test_a_beat_file_of_another_dataset_of_the_archive_is_refused(both: Path, tmp_path: Path) -> None:
    (both / f"{TRAIN}.txt").rename(both / "ECG200_TRAIN.txt")
    assert "the file is of ECG200, not of ECG5000" in refused(tmp_path, both / "ECG200_TRAIN.txt").what
    assert f"{TRAIN} is missing" in refused(tmp_path, both).what
    alone = make_zip(tmp_path / "a.zip", {f"{TEST}.txt": both / f"{TEST}.txt"})
    assert f"there are no {TRAIN} and {TEST}" in refused(tmp_path, alone).what


OTHER_SETS = {
    ".ts": ("@problemName ECG200\n@data\n1,2:1\n", ""),
    ".arff": ("@RELATION 'ECG200'\n@data\n1,2,1\n", ""),
    ".tsv": ("1\t2\t3\n", " --label-column 1"),
}


@pytest.mark.parametrize("form", OTHER_SETS)
def test_another_set_of_the_archive_is_answered_with_the_way_to_read_it(tmp_path: Path, form: str) -> None:
    text, first = OTHER_SETS[form]
    path = tmp_path / "own" / ("ECG200_TEST.tsv" if form == ".tsv" else f"mine{form}")
    path.parent.mkdir()
    path.write_text(text)
    error = refused(tmp_path, path)
    assert error.what == "the file is of ECG200, not of ECG5000"
    assert error.hint.startswith(f"--dataset table --data-file {path}{first} --rate-hz HZ")
    path = path.rename(path.with_name(f"ECG200_TRAIN{form}"))
    archive = make_zip(tmp_path / "a.zip", {path.name: path})
    for source, named, before in ((path.parent, path, ""), (archive, Path(path.name), "unpack it, and ")):
        error = refused(tmp_path, source)
        assert error.what == "it holds ECG200, not ECG5000"
        assert error.hint == f"{before}--dataset table --data-file {named}{first} --rate-hz HZ"


def test_a_table_and_a_file_of_another_name_are_answered_with_what_to_do(tmp_path: Path) -> None:
    for name in ("ecg.csv", "ecg.csv.gz", "ecg.npz"):
        path = tmp_path / name
        np.savez(path, x=np.zeros((3, 140))) if name.endswith("npz") else path.write_text("1,2,3\n")
        assert refused(tmp_path, path).hint == f"--dataset table --data-file {path} --rate-hz HZ"
    (tmp_path / "train.ts").write_text("@problemName ECG5000\n@data\n")
    error = refused(tmp_path, tmp_path / "train.ts")
    assert "a file of ECG5000 is called ECG5000_TRAIN" in error.what
    assert error.hint == "rename it"


@pytest.mark.parametrize("form", FORMS)
def test_any_bytes_are_a_table_or_an_error_of_one_line(tmp_path: Path, form: str) -> None:
    folder = write(tmp_path / "a", form, **{TRAIN: [6, 4, 2, 2, 2]})
    path = folder / f"{TRAIN}{form}"
    whole = path.read_bytes()

    @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(some.one_of(mutated(whole), some.binary(max_size=100)), some.sampled_from(["error", "drop"]))
    def holds(content: bytes, bad_rows: str) -> None:
        path.write_bytes(content)
        with suppress(CommanderError):  # anything else is a fault of the program
            data = load(tmp_path, folder, bad_rows=bad_rows)
            assert all(np.isfinite(getattr(data, side).x).all() for side in SIDES)

    holds()
