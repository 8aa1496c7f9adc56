"""A CSV of numbers, a row of samples and a label each, is read at full speed; what is wrong in it is named by line and column."""

import csv
import gzip
import io
from collections.abc import Sequence
from itertools import islice
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
LARGEST = float(np.finfo(np.float32).max)


def read_rows(
    file: BinaryIO, *, samples: int, classes: Sequence[str], where: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Samples (N, samples) and labels (N,), 0..len(classes)-1, of a CSV without header, plain or gzipped.

    Blank lines are passed over; for anything else that is no such row it raises DataError with `where`, line and column,
    counted from 1. `file` is open for reading and can be sought.
    """
    import pandas as pd

    file = _decompressed(file)
    how = {"header": None, "dtype": np.float32, "quoting": csv.QUOTE_NONE}
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
    return np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int64)


def _decompressed(file: BinaryIO) -> BinaryIO:
    magic = file.read(2)
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if magic == GZIP_MAGIC else file


def _first_wrong(file: BinaryIO, row: int, samples: int, classes: Sequence[str], where: str, *, also: str = "") -> DataError:
    """What is wrong in the first wrong line, from row number `row` on; blank lines are no rows."""
    file.seek(0)
    lines = enumerate(io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace"), 1)
    for line, text in islice(((line, text) for line, text in lines if not text.isspace()), row, None):
        what, column = _complaint(text.rstrip("\r\n").split(","), samples, classes)
        if what:
            place = f"{where}, line {line}" + (f", column {column}" if column else "")
            hint = "rows of numbers with commas between them, no header" if line == 1 else "correct or remove the row"
            return DataError(what + also, where=place, hint=hint)
    return DataError("the file cannot be read as a table of numbers", where=where, hint="a plain CSV in UTF-8")


def _complaint(cells: Sequence[str], samples: int, classes: Sequence[str]) -> tuple[str, int]:
    """What is wrong in a row and in which column, counted from 1 (0: in the row as a whole); "" if nothing is."""
    if len(cells) != samples + 1:
        return f"{len(cells)} columns, expected {samples} samples and a label", 0
    for column, cell in enumerate(cells, 1):
        if not cell.strip():
            return "the cell is empty", column
        try:
            value = float(cell)
        except ValueError:
            value = np.nan
        if not abs(value) <= LARGEST:
            return f"'{cell.strip()[:40]}' is not a finite number", column
    if value not in range(len(classes)):
        return f"label {value:g} is not one of 0..{len(classes) - 1} ({' '.join(classes)})", len(cells)
    return "", 0
