"""Diagnostics.xlsx of the Chapman-Shaoxing database becomes the rhythm of each recording; faults are named by row and
column."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from loaders.families import labels_diagnoses
from loaders.files.archives import opened, reading
from loaders.files.cache import Arrays
from toolbox.errors import DataError

NAME, RHYTHM = COLUMNS = ("FileName", "Rhythm")
HINT = "Diagnostics.xlsx as it is on figshare (collection 4560497)"
DAMAGED = (BadZipFile, KeyError, ValueError, TypeError, AttributeError, IndexError, SyntaxError)  # what openpyxl raises


def read_rhythms(path: Path) -> Arrays:
    """record (N,), as FileName has it, and rhythm (N,), "" where its cell is empty.

    Raises DataError for what is no such workbook or has a rhythm that is not known.
    """
    from openpyxl import load_workbook

    with reading(path):
        try:
            with opened(path):  # looked over before anything in it is unpacked
                book = load_workbook(path, read_only=True, data_only=True)
            try:
                rows = list(book.worksheets[0].iter_rows(values_only=True))
            finally:
                book.close()
        except DAMAGED as error:
            raise DataError(f"it is no workbook that can be read: {error}", where=str(path), hint=HINT) from error
    return _rhythms(rows, path)


def _rhythms(rows: list[tuple[Any, ...]], path: Path) -> Arrays:
    names = [_text(cell) for cell in rows[0]] if rows else []
    if missing := [column for column in COLUMNS if column not in names]:
        there = f"there are {', '.join(filter(None, names))[:200]}" if any(names) else "the first row is empty"
        raise DataError(f"the workbook has no column {' and '.join(missing)}; {there}", where=str(path), hint=HINT)
    places = [names.index(column) for column in COLUMNS]
    found: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        name, rhythm = (_text(row[place]) if place < len(row) else "" for place in places)
        rhythm = labels_diagnoses.ALIASES.get(rhythm, rhythm)
        faults = (
            (not name and bool(rhythm), f"there is no {NAME}"),
            (name in found, f"{name[:60]} is there twice"),
            (
                bool(rhythm) and rhythm not in labels_diagnoses.RHYTHMS,
                f"{RHYTHM} {rhythm[:40]!r} is none of {_listed()}",
            ),
        )
        if fault := next((text for is_so, text in faults if is_so), ""):
            raise DataError(fault, where=f"{path}, row {number}", hint="correct the row")
        if name:
            found[name] = rhythm
    if not found:
        raise DataError("the workbook has no rows", where=str(path), hint=HINT)
    return {"record": np.array(list(found), str), "rhythm": np.array(list(found.values()), str)}


def _listed(names: Iterable[str] = labels_diagnoses.RHYTHMS) -> str:
    return " ".join(names)


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()
