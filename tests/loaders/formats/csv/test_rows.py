"""The reader of Kaggle rows: what is a good file, and how a bad one is named by line and column."""

import gzip
import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from loaders.formats.csv.rows import BAD_ROWS, RowLayout, read_rows
from toolbox.errors import DataError

LAYOUT = RowLayout(187, ("N", "S", "V", "F", "Q"))
VALUES = np.random.default_rng(0).random((5, 187)).astype(np.float32)


def cells() -> list[list[str]]:
    """Five good rows, labelled 0 to 4."""
    return [[*(f"{value:.18e}" for value in row), f"{label:.18e}"] for label, row in enumerate(VALUES)]


def text(rows: list[list[str]], newline: str = "\n") -> str:
    return "".join(",".join(row) + newline for row in rows)


def read(content: bytes | str, bad_rows: str = "error") -> dict[str, np.ndarray]:
    content = content.encode() if isinstance(content, str) else content
    return BAD_ROWS[bad_rows](io.BytesIO(content), LAYOUT, where="train.csv")


def refused(content: bytes | str, bad_rows: str = "error") -> DataError:
    with pytest.raises(DataError) as caught:
        read(content, bad_rows)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


GOOD = text(cells())
bad_rows = pytest.mark.parametrize("bad_rows", BAD_ROWS)


@pytest.mark.parametrize("content", [
    pytest.param(GOOD.encode(), id="as Kaggle has it"),
    pytest.param(text(cells(), "\r\n").encode(), id="CRLF"),
    pytest.param(GOOD.rstrip().encode(), id="no final newline"),
    pytest.param(f"{GOOD}\n".encode(), id="a blank line at the end"),
    pytest.param(f"{GOOD}\r\n \n\n".encode(), id="several blank lines at the end"),
    pytest.param(GOOD.replace("\n", "\n\n").encode(), id="blank lines between rows"),
    pytest.param(GOOD.encode("utf-8-sig"), id="byte order mark"),
    pytest.param(GOOD.replace(",", ", ").encode(), id="spaces after the commas"),
    pytest.param(gzip.compress(GOOD.encode()), id="gzip"),
])  # fmt: skip
@bad_rows
def test_a_good_file_gives_its_samples_and_labels_however_its_lines_end(content: bytes, bad_rows: str) -> None:
    arrays = read(content, bad_rows)
    assert list(arrays) == ["x", "y"]
    x, y = arrays.values()
    np.testing.assert_array_equal(x, VALUES)
    np.testing.assert_array_equal(y, range(5))
    assert (x.dtype, y.dtype, x.flags.c_contiguous) == (np.float32, np.int64, True)


@bad_rows
def test_the_label_may_stand_first_count_from_one_and_other_columns_be_text(bad_rows: str) -> None:
    numbers = RowLayout(187, LAYOUT.classes, lowest=1, label_first=True)
    first = text([[f"{label + 1}", *row[:-1]] for label, row in enumerate(cells())]).encode()
    arrays = BAD_ROWS[bad_rows](io.BytesIO(first), numbers, where="a")
    np.testing.assert_array_equal(arrays["x"], VALUES)
    np.testing.assert_array_equal(arrays["y"], range(5))
    texts = RowLayout(187, texts={"record": 0, "name": 188})
    both = text([[f' "p{label}"', *row[:-1], "NA"] for label, row in enumerate(cells())]).encode()
    arrays = BAD_ROWS[bad_rows](io.BytesIO(b"a header\n" + both), texts, where="a", skip=[1])
    np.testing.assert_array_equal(arrays["x"], VALUES)
    assert (arrays["record"].tolist(), arrays["name"].tolist()) == ([f"p{k}" for k in range(5)], ["NA"] * 5)
    assert "y" not in arrays


@pytest.mark.parametrize(
    "content", ["", "\n\n", "\ufeff"], ids=["no bytes", "only blank lines", "only a byte order mark"]
)
@bad_rows
def test_an_empty_file_is_called_empty(content: str, bad_rows: str) -> None:
    error = refused(content, bad_rows)
    assert "empty" in error.what
    assert error.where == "train.csv"


def test_a_header_row_is_found_and_can_be_dropped() -> None:
    for header, what, column in (
        (",".join(f"t{i}" for i in range(188)), "'t0' is not a finite number", 1),
        (",".join(map(str, range(188))), "label 187 is not one of 0..4", 188),
    ):
        error = refused(f"{header}\n{GOOD}")
        assert error.what.startswith(what)
        assert error.where == f"train.csv, line 1, column {column}"
        assert "no header" in error.hint
        arrays = read(f"{header}\n{GOOD}", "drop")
        np.testing.assert_array_equal(arrays["x"], VALUES)
        assert arrays["index"].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("columns", [1, 187, 189])
def test_a_file_with_another_number_of_columns_is_refused_with_both_numbers(columns: int) -> None:
    error = refused(text([(row * 2)[:columns] for row in cells()]))
    assert error.what == f"{columns} columns, expected 187 samples and a label"
    assert error.where == "train.csv, line 1"
    assert columns > 1 or "commas" in refused(GOOD.replace(",", ";")).hint


CELLS = {
    "abc": "'abc' is not a finite number",
    "nan": "'nan' is not a finite number",
    "NA": "'NA' is not a finite number",
    "-Infinity": "'-Infinity' is not a finite number",
    "1e39": "'1e39' is not a finite number",
    '"0.5': "'\"0.5' is not a finite number",
    "1_0": "'1_0' is not a finite number",
    "\u0661": "'\u0661' is not a finite number",
    "": "the cell is empty",
    "  ": "the cell is empty",
}


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_that_is_no_finite_number_is_named_by_line_and_column(cell: str) -> None:
    for row, column in ((0, 0), (3, 100), (4, 187)):
        rows = cells()
        rows[row][column] = cell
        error = refused(text(rows))
        assert error.what.startswith(CELLS[cell])
        assert ("one of 0..4 (N S V F Q)" in error.what) == (column == 187)
        assert error.where == f"train.csv, line {row + 1}, column {column + 1}"


def test_the_line_is_the_one_an_editor_shows_also_after_blank_lines() -> None:
    rows = cells()
    rows[3][187], rows[4][50] = "9", "nan"
    assert "wrong rows: 2" in refused(text(rows)).what
    blank_after_each = text(rows, "\n\n")
    assert refused(blank_after_each).where == "train.csv, line 7, column 188"
    assert refused(blank_after_each.replace("\n", "\r\n")).where == "train.csv, line 7, column 188"


def test_a_long_wrong_cell_is_cut_short_in_the_message() -> None:
    rows = cells()
    rows[0][0] = "x" * 10_000
    assert len(str(refused(text(rows)))) < 300


@pytest.mark.parametrize(
    "content", [GOOD.encode("utf-16"), b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe"], ids=["UTF-16", "an image"]
)
def test_a_file_that_is_no_text_is_refused(content: bytes) -> None:
    assert refused(content).where.startswith("train.csv, line 1")


def test_an_error_in_a_zipped_file_is_named_as_in_a_loose_one() -> None:
    rows = cells()
    rows[4][20] = "?"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", text(rows))
    with zipfile.ZipFile(packed) as archive, archive.open("train.csv") as file, pytest.raises(DataError) as caught:
        read_rows(file, LAYOUT, where="heartbeat.zip/train.csv")
    assert caught.value.where == "heartbeat.zip/train.csv, line 5, column 21"


FAULTS = {
    "187 columns": (lambda row: row[:-1], "187 columns"),
    "189 columns": (lambda row: [*row, "0"], "189 columns"),
    "a comma at the end": (lambda row: [*row, ""], "189 columns"),
    "text": (lambda row: ["abc", *row[1:]], "column 1: 'abc' is not a finite number"),
    "NaN": (lambda row: [*row[:99], "nan", *row[100:]], "column 100: 'nan' is not a finite number"),
    "infinite": (lambda row: [*row[:99], "inf", *row[100:]], "column 100: 'inf' is not a finite number"),
    "an empty cell": (lambda row: [*row[:99], "", *row[100:]], "column 100: the cell is empty"),
    "bytes that are no UTF-8": (lambda row: ["\udcff", *row[1:]], "column 1: "),
    "a quotation mark": (lambda row: ['"0.5', *row[1:]], "column 1: "),
    "digits that only Python reads": (lambda row: ["1_0", *row[1:]], "column 1: "),
    "label 5": (lambda row: [*row[:-1], "5"], "column 188: label 5 is not one of 0..4"),
    "label -1": (lambda row: [*row[:-1], "-1"], "column 188: label -1 is not one of 0..4"),
    "label 1.5": (lambda row: [*row[:-1], "1.5"], "column 188: label 1.5 is not one of 0..4"),
    "an empty label": (lambda row: [*row[:-1], ""], "column 188: the cell is empty, the label is one of 0..4"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_row_is_named_or_dropped_and_the_others_keep_their_values_and_numbers(fault: str) -> None:
    spoil, what = FAULTS[fault]
    for wrong in ((0,), (4,), (0, 1, 4)):
        rows = cells()
        for row in wrong:
            rows[row] = spoil(rows[row])
        content = text(rows).encode(errors="surrogateescape")
        arrays = read(content, "drop")
        kept = [row for row in range(5) if row not in wrong]
        np.testing.assert_array_equal(arrays["x"], VALUES[kept])
        assert arrays["y"].tolist() == arrays["index"].tolist() == kept
        for row, told in zip(wrong, arrays["dropped"], strict=True):
            assert told.startswith(f"line {row + 1}")
            assert what in told
        assert refused(content).where.startswith(f"train.csv, line {wrong[0] + 1}")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\n\n", "\n \t\n"], ids=repr)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_rows_are_dropped_by_their_line_however_lines_end(newline: str, pack: Callable[[bytes], bytes]) -> None:
    rows = cells()
    rows[0][0], rows[3] = "t0", ["a", "b"]
    arrays = read(pack(text(rows, newline).encode("utf-8-sig")), "drop")
    np.testing.assert_array_equal(arrays["x"], VALUES[[1, 2, 4]])
    assert arrays["index"].tolist() == [1, 2, 4]
    line = 7 if newline.count("\n") == 2 else 4
    assert [told.split(":")[0] for told in arrays["dropped"]] == ["line 1, column 1", f"line {line}"]


def test_a_file_that_would_lose_all_of_its_rows_is_refused_with_what_is_wrong_in_the_first() -> None:
    error = refused(GOOD.replace(",", ";"), "drop")
    assert error.what.startswith("no row can be kept: 1 columns, expected 187")
    assert error.where == "train.csv, line 1"
