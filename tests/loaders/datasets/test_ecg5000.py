"""ecg5000 from every form of the archive's files: same arrays, honest splits, faults named by file and line."""

import logging
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from helpers.data import mutated
from helpers.ecg5000 import SMALL, write
from helpers.kaggle import NOWHERE, assert_same_data, make_zip
from loaders import DATASETS, get_data
from loaders.base import Data
from loaders.datasets.ecg5000 import TEST, TRAIN
from loaders.formats import ucr
from toolbox.errors import CommanderError, DataError, DownloadError, UsageError

COUNTS = [292, 177, 10, 19, 2]
CLASSES = DATASETS["ecg5000"].classes
SIDES = ("train", "val", "test")
FORMS = [suffix for suffix in ucr.FORMS if suffix]


def load(root: Path, data_file: Path | None = None, *, val_fraction: float = 0.1, seed: int = 42, **how: str) -> Data:
    return get_data("ecg5000", root, data_file=data_file, val_fraction=val_fraction, seed=seed, **how)


@pytest.fixture
def both(tmp_path: Path) -> Path:
    return write(tmp_path / "both", **SMALL)


def rows_of(data: Data) -> np.ndarray:
    return np.concatenate([getattr(data, side).index for side in SIDES])


# The real file


def test_every_form_of_the_real_train_file_gives_the_same_arrays(shared: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared("ecg5000")
    first, *others = (load(tmp_path, folder / f"{TRAIN}.{form}") for form in ("txt", "ts", "arff"))
    for data in (*others, load(tmp_path, folder)):
        assert_same_data(data, first)
        assert data.checksum == first.checksum
    expected = np.loadtxt(folder / f"{TRAIN}.txt")
    order = np.argsort(rows_of(first))
    for side, column in (("x", expected[:, 1:]), ("y", expected[:, 0] - 1)):
        got = np.concatenate([getattr(getattr(first, part), side) for part in SIDES])[order]
        np.testing.assert_array_equal(got.reshape(column.shape), column.astype(got.dtype))


def test_the_real_train_file_has_the_published_classes(shared: Callable[[str], Path], tmp_path: Path) -> None:
    data = load(tmp_path, shared("ecg5000"))
    assert np.bincount(np.concatenate([getattr(data, side).y for side in SIDES])).tolist() == COUNTS
    assert [len(getattr(data, side)) for side in SIDES] == [360, 40, 100]
    assert data.train.x.shape[1:] == (1, 140)
    assert data.train.x.dtype == np.float32


# Forms and places


@pytest.mark.parametrize("form", ucr.FORMS)
@pytest.mark.parametrize("split", ["official", "pooled"])
def test_every_form_of_the_same_files_gives_the_same_data(tmp_path: Path, form: str, split: str, both: Path) -> None:
    folder = write(tmp_path / "other", form, **SMALL)
    archive = make_zip(tmp_path / "ECG5000.zip", {f"a/{side}{form}": folder / f"{side}{form}" for side in SMALL})
    loose = write(tmp_path / "root" / "ecg5000" / "deep", form, **SMALL).parent.parent
    expected = load(tmp_path, both, split=split)
    for data in (
        load(tmp_path, folder, split=split),
        load(tmp_path, folder / f"{TEST}{form}", split=split),
        load(tmp_path, archive, split=split),
        load(loose, split=split),
    ):
        assert_same_data(data, expected)
        assert data.checksum == expected.checksum


def test_the_file_that_is_named_decides_the_form(both: Path, tmp_path: Path) -> None:
    write(both, ".arff", **{TRAIN: [30, 5, 5, 5, 5]})
    assert len(load(tmp_path, both / f"{TRAIN}.arff").train) == 45
    assert len(load(tmp_path, both / f"{TRAIN}.txt").train) == 90


@pytest.mark.parametrize("form", FORMS)
def test_lines_may_end_as_they_like(tmp_path: Path, form: str) -> None:
    folder = write(tmp_path / "a", form, **{TRAIN: [60, 20, 8, 6, 6]})
    expected = load(tmp_path, folder)
    path = folder / f"{TRAIN}{form}"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert load(tmp_path, folder).checksum == expected.checksum


# Splits


def test_the_official_split_trains_on_one_file_and_tests_on_the_other(both: Path, tmp_path: Path) -> None:
    data = load(tmp_path, both, val_fraction=0.2)
    assert (len(data.train), len(data.val), len(data.test)) == (80, 20, 200)
    assert np.bincount(data.val.y).tolist() == [12, 4, 2, 1, 1]
    assert np.bincount(data.test.y).tolist() == SMALL[TEST]
    np.testing.assert_array_equal(load(tmp_path, both, seed=1).test.x, data.test.x)
    assert "archive's train and test files" in data.spec.split_rule


def test_the_test_file_is_not_opened_before_its_rows_are_asked_for(both: Path, tmp_path: Path) -> None:
    (both / f"{TEST}.txt").write_text("broken\n")
    data = load(tmp_path, both)
    with pytest.raises(DataError, match="1 columns"):
        data.test  # noqa: B018


def test_the_pooled_split_divides_all_rows_by_class_and_seed(both: Path, tmp_path: Path) -> None:
    data = load(tmp_path, both, split="pooled")
    assert [len(getattr(data, side)) for side in SIDES] == [256, 22, 22]
    np.testing.assert_array_equal(np.sort(rows_of(data)), np.arange(300))
    assert all(np.bincount(getattr(data, side).y, minlength=5).all() for side in SIDES)
    assert not np.array_equal(load(tmp_path, both, split="pooled", seed=1).test.index, data.test.index)
    assert data.checksum != load(tmp_path, both).checksum


@pytest.mark.parametrize("normal", CLASSES)
def test_detection_trains_on_one_class_and_tests_on_all_others(both: Path, tmp_path: Path, normal: str) -> None:
    data = load(tmp_path, both, detect=True, normal_class=normal)
    k = CLASSES.index(normal)
    total = np.array(SMALL[TRAIN]) + SMALL[TEST]
    assert set(data.train.y) == set(data.val.y) == {k}
    part = round(0.075 * total[k])
    assert len(data.val) == part
    total[k] = part
    assert np.bincount(data.test.y).tolist() == total.tolist()
    np.testing.assert_array_equal(np.sort(rows_of(data)), np.arange(300))
    assert normal in data.spec.split_rule


def test_detection_on_the_whole_archive_has_the_published_sizes(tmp_path: Path) -> None:
    folder = write(tmp_path / "whole", ".tsv", **{TRAIN: COUNTS, TEST: [2627, 1590, 86, 175, 22]})
    data = load(tmp_path, folder, detect=True, normal_class="Normal")
    assert (len(data.train), len(data.val)) == (2481, 219)
    assert ((data.test.y == 0).sum(), (data.test.y > 0).sum()) == (219, 2081)


def test_detection_can_keep_to_the_official_files(both: Path, tmp_path: Path) -> None:
    data = get_data("ecg5000", tmp_path, data_file=both, detect=True, split="official")
    assert (len(data.train), len(data.val)) == (55, 5)
    assert set(data.train.y) == set(data.val.y) == {0}
    assert np.bincount(data.test.y).tolist() == SMALL[TEST]
    assert "40 other rows of theirs left out" in data.spec.split_rule


@pytest.mark.parametrize("how", [{}, {"split": "pooled"}, {"detect": True}])
def test_with_the_train_file_alone_it_is_divided_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: dict[str, str]
) -> None:
    folder = write(tmp_path / "a", **{TRAIN: SMALL[TRAIN]})
    data = load(tmp_path, folder, **how)
    assert f"{TEST} is missing" in caplog.records[0].getMessage()
    assert caplog.records[0].levelno == logging.WARNING
    assert "the train file alone" in data.spec.split_rule
    np.testing.assert_array_equal(np.sort(rows_of(data)), np.arange(100))


@pytest.mark.parametrize("how", [{"split": "official"}, {"split": "official", "detect": True, "normal_class": "SP"}])
def test_the_official_split_cannot_be_had_without_the_test_file(tmp_path: Path, how: dict[str, str]) -> None:
    folder = write(tmp_path / "a", **{TRAIN: SMALL[TRAIN]})
    with pytest.raises(DataError, match=f"{TEST} is missing"):
        load(tmp_path, folder, **how)


def test_unknown_names_are_usage_errors_that_list_the_known(both: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="unknown --normal-class 'normal'; classes are Normal, R-on-T PVC, PVC, SP, UB"
    ):
        load(tmp_path, both, detect=True, normal_class="normal")
    with pytest.raises(UsageError, match="unknown --split 'random'; known are official, pooled"):
        load(tmp_path, both, split="random")


def test_detection_needs_normal_rows_and_others(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", **{TRAIN: [40, 0, 0, 0, 0], TEST: [40, 0, 0, 0, 0]})
    with pytest.raises(DataError, match="every row is Normal"):
        load(tmp_path, folder, detect=True)
    with pytest.raises(DataError, match="no row is PVC"):
        load(tmp_path, folder, detect=True, normal_class="PVC")


# Faults


def spoil(text: str, row: int, change: Callable[[str], str]) -> tuple[str, int]:
    """The file with a changed row, counted from 0 after its header, and the line it is on."""
    lines = text.splitlines()
    first = next((i + 1 for i, line in enumerate(lines) if line == "@data"), 0)
    lines[first + row] = change(lines[first + row])
    return "\n".join(lines) + "\n", first + row + 1


def swap(form: str, cell: int, new: str) -> Callable[[str], str]:
    """A change of a row: another value of sample `cell`, counted from 0, or of the label (-1)."""
    mark = {".tsv": "\t", ".txt": "   "}.get(form, ",")

    def change(line: str) -> str:
        if form == ".ts" and cell == -1:
            return line.rsplit(":", 1)[0] + f":{new}"
        cells = line.split(mark)
        where = {".txt": 1, ".tsv": 0}.get(form, -1) if cell == -1 else cell + {".txt": 2, ".tsv": 1}.get(form, 0)
        cells[where] = new
        return mark.join(cells)

    return change


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("cell", "new", "what"),
    [
        (4, "?", "'?' is not a finite number"),
        (0, "NaN", "'NaN' is not a finite number"),
        (100, "x", "'x' is not a finite number"),
        (-1, "6", "label 6 is not one of 1..5 (Normal, R-on-T PVC, PVC, SP, UB)"),
        (-1, "0", "label 0 is not one of 1..5"),
        (-1, "1.5", "label 1.5 is not one of 1..5"),
    ],
)
def test_a_wrong_cell_is_named_by_line_and_column_and_can_be_dropped(
    tmp_path: Path, form: str, cell: int, new: str, what: str
) -> None:
    folder = write(tmp_path / "a", form, **SMALL)
    path = folder / f"{TRAIN}{form}"
    text, line = spoil(path.read_text(), 7, swap(form, cell, new))
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load(tmp_path, folder)
    first = form in (".txt", ".tsv")
    column = (1 if first else 141) if cell == -1 else cell + 1 + first
    assert caught.value.what.startswith(what)
    assert caught.value.where == f"{path}, line {line}, column {column}"
    data = load(tmp_path, folder, bad_rows="drop")
    assert (data.train.dropped, data.test.dropped) == (1, 0)
    np.testing.assert_array_equal(np.sort([*data.train.index, *data.val.index]), np.setdiff1d(np.arange(100), [7]))
    assert load(tmp_path, folder, bad_rows="drop", split="pooled").test.index.max() < 300


@pytest.mark.parametrize("form", FORMS)
def test_a_series_of_another_length_is_named_by_its_line(tmp_path: Path, form: str) -> None:
    folder = write(tmp_path / "a", form, **SMALL)
    path = folder / f"{TRAIN}{form}"
    mark = "\t" if form == ".tsv" else ","
    longer = (
        (lambda line: line + "   0.5") if form == ".txt" else lambda line: line.replace(mark, f"{mark}0.5{mark}", 1)
    )
    text, line = spoil(path.read_text(), 3, longer)
    path.write_text(text)
    expected = "a label and 140 samples" if form in (".txt", ".tsv") else "140 samples and a label"
    with pytest.raises(DataError, match=f"142 columns, expected {expected}") as caught:
        load(tmp_path, folder)
    assert caught.value.where == f"{path}, line {line}"


@pytest.mark.parametrize(
    ("form", "old", "new", "what", "line"),
    [
        (".ts", "@equalLength true", "@equalLength false", "@equalLength is false, expected true", 6),
        (".ts", "@seriesLength 140", "@seriesLength 96", "@seriesLength is 96, expected 140", 7),
        (".ts", "@problemName ECG5000", "@problemName ECG200", "@problemName is ECG200, expected ecg5000", 2),
        (".ts", "@univariate true", "@univariate false", "@univariate is false, expected true", 5),
        (".arff", "@Relation ECG5000", "@relation 'TwoLeadECG'", "@relation is TwoLeadECG, expected ecg5000", 2),
        (".ts", "@data", "data", "there is no line @data", None),
        (".arff", "@data", "", "there is no line @data", None),
    ],
)
def test_a_header_of_another_dataset_is_refused(
    tmp_path: Path, form: str, old: str, new: str, what: str, line: int | None
) -> None:
    folder = write(tmp_path / "a", form, **{TRAIN: SMALL[TRAIN]})
    path = folder / f"{TRAIN}{form}"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError) as caught:
        load(tmp_path, folder)
    assert caught.value.what == what
    assert caught.value.where == (f"{path}, line {line}" if line else str(path))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["", "\n\n", "hello\n", "\x00\x01", "@data\n", "1\n"])
def test_what_is_no_such_file_is_a_data_error_that_names_it(tmp_path: Path, form: str, text: str) -> None:
    folder = write(tmp_path / "a", form, **{TRAIN: SMALL[TRAIN]})
    (folder / f"{TRAIN}{form}").write_text(text)
    for bad_rows in ("error", "drop"):
        with pytest.raises(DataError) as caught:
            load(tmp_path, folder, bad_rows=bad_rows)
        assert caught.value.where.startswith(str(folder / f"{TRAIN}{form}"))


def test_a_beat_file_of_another_dataset_of_the_archive_is_refused(both: Path, tmp_path: Path) -> None:
    (both / f"{TRAIN}.txt").rename(both / "ECG200_TRAIN.txt")
    with pytest.raises(DataError, match="the file is of ECG200, not of ECG5000"):
        load(tmp_path, both / "ECG200_TRAIN.txt")
    with pytest.raises(DataError, match=f"{TRAIN} is missing"):
        load(tmp_path, both)
    with pytest.raises(DataError, match=f"there are no {TRAIN} and {TEST}"):
        load(tmp_path, make_zip(tmp_path / "a.zip", {f"{TEST}.txt": both / f"{TEST}.txt"}))
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path, tmp_path / "nowhere")


OTHER_SETS = {
    ".ts": ("@problemName ECG200\n@data\n1,2:1\n", "the file is of ECG200, not of ECG5000", ""),
    ".arff": ("@RELATION 'ECG200'\n@data\n1,2,1\n", "the file is of ECG200, not of ECG5000", ""),
    ".tsv": ("1\t2\t3\n", "the file is of ECG200, not of ECG5000", " --label-column 1"),
}


@pytest.mark.parametrize("form", OTHER_SETS)
def test_another_set_of_the_archive_is_answered_with_the_way_to_read_it(tmp_path: Path, form: str) -> None:
    text, what, first = OTHER_SETS[form]
    path = tmp_path / "own" / ("ECG200_TEST.tsv" if form == ".tsv" else f"mine{form}")
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load(tmp_path, path)
    assert caught.value.what == what
    assert caught.value.hint.startswith(f"--dataset table --data-file {path}{first} --rate-hz HZ")
    path = path.rename(path.with_name(f"ECG200_TRAIN{form}"))
    sources = (
        (path.parent, path, ""),
        (make_zip(tmp_path / "a.zip", {path.name: path}), Path(path.name), "unpack it, and "),
    )
    for source, named, before in sources:
        with pytest.raises(DataError) as caught:
            load(tmp_path, source)
        assert caught.value.what == "it holds ECG200, not ECG5000"
        assert caught.value.hint == f"{before}--dataset table --data-file {named}{first} --rate-hz HZ"


@pytest.mark.parametrize("name", ["ecg.csv", "ecg.csv.gz", "ecg.npz"])
def test_a_table_is_answered_with_the_dataset_that_reads_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    np.savez(path, x=np.zeros((3, 140))) if name.endswith("npz") else path.write_text("1,2,3\n")
    with pytest.raises(DataError) as caught:
        load(tmp_path, path)
    assert caught.value.hint == f"--dataset table --data-file {path} --rate-hz HZ"


def test_a_file_of_this_set_under_another_name_is_to_be_renamed(both: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.ts"
    path.write_text("@problemName ECG5000\n@data\n")
    with pytest.raises(DataError, match="a file of ECG5000 is called ECG5000_TRAIN") as caught:
        load(tmp_path, path)
    assert caught.value.hint == "rename it"


def test_a_damaged_zip_is_a_data_error(both: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{side}.txt": both / f"{side}.txt" for side in SMALL})
    packed = path.read_bytes()
    path.write_bytes(packed[:3000] + bytes(300) + packed[3300:])
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 2
    with pytest.raises(DataError) as caught:
        load(tmp_path, path)
    assert str(path) in caught.value.where


@pytest.mark.parametrize("form", FORMS)
def test_whatever_the_bytes_are_it_is_a_table_or_one_line(tmp_path: Path, form: str) -> None:
    folder = write(tmp_path / "a", form, **{TRAIN: [12, 8, 4, 4, 4]})
    path = folder / f"{TRAIN}{form}"
    whole = path.read_bytes()

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(some.one_of(mutated(whole), some.binary(max_size=100)), some.sampled_from(["error", "drop"]))
    def holds(content: bytes, bad_rows: str) -> None:
        path.write_bytes(content)
        with suppress(CommanderError):  # anything else is a fault of the program
            data = load(tmp_path, folder, bad_rows=bad_rows)
            assert all(np.isfinite(getattr(data, side).x).all() for side in SIDES)

    holds()


def test_without_a_network_one_line_says_how_to_place_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DownloadError, match=r"cannot fetch ECG5000\.zip") as caught:
        load(tmp_path)
    assert str(tmp_path / "ecg5000") in caught.value.hint


def test_the_facts_are_stated(both: Path, tmp_path: Path) -> None:
    spec = load(tmp_path, both).spec
    assert (spec.channels, spec.samples, spec.classes, spec.importance) == (1, 140, CLASSES, (1,) * 5)
    assert "rate is nominal" in spec.source
    assert "one patient's" in spec.split_rule
