"""A user's own NPY: x (N, C, T) or (N, T), with the labels in a file next to it.

rows.npy           the samples
rows_labels.npy    a label for each row (N,), or labels.npy in the same folder
rows_labels.csv    the same as text, or labels.csv: a line a row; with a header also columns of record and split
rows_records.npy   the record of each row (N,), or records.npy; not needed

Arrays of Python objects are refused: reading them could run code.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.datasets import table_npz
from loaders.files.archives import reading
from loaders.files.cache import Arrays
from loaders.files.sources import log
from loaders.formats import label_columns
from loaders.formats.csv.columns import find_columns
from loaders.formats.csv.heads import part_names
from loaders.formats.csv.rows import CONVERT, foreign_text
from loaders.formats.labels import NO_LABEL
from toolbox.errors import DataError, UsageError
from toolbox.flags import words

HINT = "np.save(path, x) with numbers (rows, leads, samples) or (rows, samples)"
WITHOUT = f"--label-column {NO_LABEL} to detect anomalies"


def beside(path: Path, what: str) -> list[Path]:
    """The places of the labels or records of the rows in `path`, in the order of the search."""
    endings = (".npy", ".csv") if what == "labels" else (".npy",)
    return [path.with_name(name + ending) for name in (f"{path.stem}_{what}", what) for ending in endings]


def files_of(path: Path) -> list[Path]:
    """The files that `read_npy` reads: the rows, labels and records."""
    found = [next((place for place in beside(path, what) if place.is_file()), None) for what in ("labels", "records")]
    return [path, *filter(None, found)]


def load_array(path: Path) -> NDArray:
    """The array of a file, mapped into memory. Raises DataError for another file and for Python objects."""
    with reading(path):
        try:
            return np.lib.format.open_memmap(path, mode="r")
        except (ValueError, EOFError, SyntaxError) as error:
            what = "the array holds Python objects, which are not read"
            what = what if "Python objects" in str(error) else f"the file cannot be read as NPY: {str(error)[:100]}"
            raise DataError(what, where=str(path), hint=HINT) from error


def read_npy(
    path: Path, *, label: str | None, record: str | None, split: str | None, bad_rows: str, ids: str | None = None
) -> Arrays:
    """As `table_npz.read_npz`, with labels and records from files next to `path`; see the module."""
    x = table_npz.samples_of(load_array(path), path)
    texts, recognised = texts_beside(path, len(x), {"label": label, "record": record, "split": split}, ids=ids)
    if label is not None and not any(part.startswith("label") for part in texts):
        names = " or ".join(place.name for place in beside(path, "labels")[:2])
        raise DataError("there are no labels next to the rows", where=str(path), hint=f"{names}, or {WITHOUT}")
    arrays = table_npz.finite({"x": x} | texts, bad_rows, path)
    table_npz.check_samples(arrays["x"], path)
    arrays |= label_columns.stated(label)
    return arrays | ({"recognised": np.array([recognised])} if recognised else {})


def texts_beside(
    path: Path, rows: int, asked: dict[str, str | None], *, ids: str | None = None, blank: bool = False
) -> tuple[Arrays, str]:
    """Label, record and split (N,) of the rows, if they are there, and the name of a recognised column of records.

    Raises DataError for another number of rows, and for an empty text unless `blank`.
    """
    _, *others = files_of(path)
    for place in others:
        log.info("%s of %s are those in %s", place.stem.rpartition("_")[2], path.name, place.name)
    labels = next((place for place in others if place in beside(path, "labels")), None)
    records = next((place for place in others if place in beside(path, "records")), None)
    texts: Arrays = {}
    named_columns = (*label_columns.names_of(asked["label"]), asked["record"], asked["split"])
    recognised, marked = "", bool(label_columns.separator_of(asked["label"]))
    if labels is not None and labels.suffix == ".csv":
        texts, recognised = _of_table(labels, rows, asked, ids)
    elif named := next((name for name in named_columns if name and name != NO_LABEL), None):
        what = f"there is no column {named}: the labels of an NPY have columns only in a CSV"
        raise UsageError(what, where=str(path), hint=f"{beside(path, 'labels')[1].name} with a header")
    elif labels is not None and asked["label"] is not None:
        texts["label"] = load_array(labels)
    if records is not None and "record" not in texts and asked["record"] != NO_LABEL:
        texts["record"], recognised = load_array(records), ""
    places = {"record": records or labels}
    if "label" in texts and texts["label"].ndim == 2 and len(texts["label"]) == rows:
        values, name = texts.pop("label"), f"the label in {(labels or path).name}"
        texts[label_columns.LABELS] = label_columns.table_of(values, name, str(labels))
    for part, values in texts.items():
        if part == label_columns.LABELS:
            continue
        place = places.get(part) or labels or path
        texts[part] = table_npz.texts_of(
            values, f"the {part} in {place.name}", rows, path, blank=blank or (part == "label" and marked)
        )
    return texts, recognised


def _of_table(path: Path, rows: int, asked: dict[str, str | None], ids: str | None) -> tuple[Arrays, str]:
    """Label, record and split of a CSV; its first line is a header if it has a line more than there are rows."""
    with reading(path), open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        file.seek(0)
        mark = next((mark for mark in ";\t" if mark in first), ",")
        lines = [[cell.strip() for cell in line] for line in csv.reader(file, delimiter=mark) if any(line)]
    header = len(lines) == rows + 1
    if len(lines) - header != rows:
        what = f"{path.name} has {len(lines)} lines, there are {rows} rows"
        raise DataError(what, where=str(path), hint="a label for each row, with a header or without")
    foreign = ((number, why) for number, line in enumerate(lines, 1) if (why := foreign_text("".join(line))))
    if number_why := next(foreign, None):
        raise DataError(f"the line {number_why[1]}", where=f"{path}, line {number_why[0]}", hint=CONVERT)
    if wrong := next((number for number, line in enumerate(lines, 1) if len(line) != len(lines[0])), 0):
        what = f"{len(lines[wrong - 1])} columns, expected {len(lines[0])}"
        raise DataError(what, where=f"{path}, line {wrong}", hint="the same columns in each line")
    given = part_names(label=asked["label"], record=asked["record"], split=asked["split"])
    found = find_columns(lines[0], given, words(ids) or (), header=header, where=str(path))
    cells = np.array(lines[header:], str)
    return {part: cells[:, column] for part, column in found.texts.items()}, found.recognised
