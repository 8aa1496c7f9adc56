"""A CSV of numbers, a row of samples and a label each, is read at full speed; what is wrong in it is named by line and column."""

import csv
import io
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import DataError


def read_rows(file: BinaryIO, *, samples: int, classes: int, where: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Samples (N, samples) and labels (N,) of a CSV without header; DataError with file and line for anything else."""
    import pandas as pd

    try:
        table = pd.read_csv(file, header=None, dtype=np.float32, skip_blank_lines=False).to_numpy()
    except pd.errors.EmptyDataError as error:
        raise DataError("the file is empty", where=where, hint=f"rows of {samples} samples and a label") from error
    except (ValueError, pd.errors.ParserError) as error:
        file.seek(0)
        raise _diagnose(file, samples, where) from error
    if table.shape[1] != samples + 1:
        raise DataError(
            f"{table.shape[1]} columns, expected {samples} samples and a label",
            where=f"{where}, line 1",
            hint="the Kaggle heartbeat layout, without header",
        )
    bad = ~np.isfinite(table)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"a cell is empty or not a finite number ({bad.sum()} such cells)",
            where=f"{where}, line {row + 1}, column {column + 1}",
            hint="fill or remove the row",
        )
    return np.ascontiguousarray(table[:, :-1]), check_labels(table[:, -1], classes, where)


def check_labels(labels: NDArray[Any], classes: int, where: str) -> NDArray[np.int64]:
    """Labels (N,) as integers; DataError with the line of the first that is not one of 0..classes-1."""
    wrong = np.flatnonzero((labels != np.round(labels)) | (labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(
            f"label {labels[wrong[0]]:g} is not one of 0..{classes - 1} ({len(wrong)} such rows)",
            where=f"{where}, line {wrong[0] + 1}",
            hint="correct or remove the row",
        )
    return labels.astype(np.int64)


def _diagnose(file: BinaryIO, samples: int, where: str) -> DataError:
    """The first line that is not `samples` numbers and a label."""
    for line, cells in enumerate(csv.reader(io.TextIOWrapper(file, encoding="utf-8", errors="replace")), 1):
        if len(cells) != samples + 1:
            return DataError(
                f"{len(cells)} columns, expected {samples} samples and a label",
                where=f"{where}, line {line}",
                hint="correct or remove the row",
            )
        for column, cell in enumerate(cells, 1):
            try:
                float(cell or "nan")
            except ValueError:
                hint = "remove the header row" if line == 1 else "correct or remove the row"
                return DataError(f"'{cell[:40]}' is not a number", where=f"{where}, line {line}, column {column}", hint=hint)
    return DataError("the file cannot be read as a table of numbers", where=where, hint="a plain CSV")
