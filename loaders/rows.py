"""A CSV of numbers, a row of samples and a label each, is read at full speed; what is wrong in it is named by line and column."""

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO

import numpy as np

from loaders.cache import Arrays
from toolbox.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
LARGEST = float(np.finfo(np.float32).max)
BLANK = " \t\r\n"


def read_rows(file: BinaryIO, *, samples: int, classes: Sequence[str], where: str, skip: Sequence[int] = ()) -> Arrays:
    """x (N, samples) float32 and y (N,), 0..len(classes)-1, of a CSV without header, plain or gzipped.

    Blank lines and the lines `skip` are passed over; for anything else that is no such row it raises DataError with `where`,
    line and column. All are counted from 1. `file` is open for reading and can be sought.
    """
    import pandas as pd

    file = _decompressed(file)
    how = {"header": None, "dtype": np.float32, "quoting": csv.QUOTE_NONE, "skiprows": [line - 1 for line in skip]}
    try:
        with np.errstate(over="ignore"):  # 1e39 becomes inf, which is refused below
            table = pd.read_csv(file, **how).to_numpy()
    except pd.errors.EmptyDataError as error:
        raise DataError("the file is empty", where=where, hint=f"rows of {samples} samples and a label") from error
    except ValueError as error:  # text, ragged rows, bytes that are not UTF-8
        raise _first_wrong(file, 0, samples, classes, where) from error
    if table.shape[1] != samples + 1:
        raise _first_wrong(file, 0, samples, classes, where)
    wrong = np.flatnonzero(~(np.isfinite(table).all(1) & np.isin(table[:, -1], range(len(classes)))))
    if len(wrong):
        raise _first_wrong(file, int(wrong[0]), samples, classes, where, also=f"; wrong rows: {len(wrong)}")
    return {"x": np.ascontiguousarray(table[:, :-1]), "y": table[:, -1].astype(np.int64)}


def read_good_rows(file: BinaryIO, *, samples: int, classes: Sequence[str], where: str) -> Arrays:
    """As `read_rows`, without the rows that it would refuse; DataError where none would be left.

    Where rows were dropped, `index` (N,) has the number in the file of each that was kept, and `dropped` a text for each that
    was not: its line, column and what is wrong.
    """
    layout = {"samples": samples, "classes": classes}
    try:
        return read_rows(file, where=where, **layout)
    except DataError as error:
        looked_at = [(line, *_complaint(cells, **layout)) for line, cells in _rows(_decompressed(file))]
        index = np.flatnonzero([not what for _, what, _ in looked_at])
        if len(index) == len(looked_at):
            raise
        if not len(index):
            raise DataError(f"no row can be kept: {error.what}", where=error.where, hint=error.hint) from error
    wrong = [(line, f"{_place(line, column)}: {what}") for line, what, column in looked_at if what]
    kept = read_rows(file, where=where, skip=[line for line, _ in wrong], **layout)
    return kept | {"index": index, "dropped": np.array([text for _, text in wrong])}


# What is done about rows that cannot be used.
BAD_ROWS: dict[str, Callable[..., Arrays]] = {"error": read_rows, "drop": read_good_rows}


def _decompressed(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    magic = file.read(2)
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if magic == GZIP_MAGIC else file


def _rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Line, counted from 1, and cells of each row; blank lines are no rows."""
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")
    try:
        for line, content in enumerate(text, 1):
            if content.strip(BLANK):
                yield line, content.strip(BLANK).split(",")
    finally:
        text.detach()  # or the file would be closed with it


def _first_wrong(file: BinaryIO, row: int, samples: int, classes: Sequence[str], where: str, *, also: str = "") -> DataError:
    """What is wrong in the first wrong row, from row number `row` on."""
    for line, cells in islice(_rows(file), row, None):
        what, column = _complaint(cells, samples, classes)
        if what:
            hint = "rows of numbers with commas between them, no header" if line == 1 else "correct the row, or --bad-rows drop"
            return DataError(what + also, where=f"{where}, {_place(line, column)}", hint=hint)
    return DataError("the file cannot be read as a table of numbers", where=where, hint="a plain CSV in UTF-8")


def _place(line: int, column: int) -> str:
    return f"line {line}" + (f", column {column}" if column else "")


def _complaint(cells: Sequence[str], samples: int, classes: Sequence[str]) -> tuple[str, int]:
    """What is wrong in a row and in which column, counted from 1 (0: in the row as a whole); "" if nothing is."""
    if len(cells) != samples + 1:
        return f"{len(cells)} columns, expected {samples} samples and a label", 0
    allowed = f"one of 0..{len(classes) - 1} ({' '.join(classes)})"
    for column, cell in enumerate(cells, 1):
        try:
            value = float(cell) if cell.isascii() and "_" not in cell else np.nan  # as the table is read
        except ValueError:
            value = np.nan
        if not abs(value) <= LARGEST:
            what = f"'{cell.strip()[:40]}' is not a finite number" if cell.strip() else "the cell is empty"
            return what + (f", the label is {allowed}" if column > samples else ""), column
    if value not in range(len(classes)):
        return f"label {value:g} is not {allowed}", len(cells)
    return "", 0
