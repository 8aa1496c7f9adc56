"""A user's own CSV: which of its columns are samples, and which the label, the record and the side of the split.

A column is asked for by its name in the header, or by its number counted from 1. Without a header every line is a row.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from loaders.archives import reading
from loaders.cache import Arrays
from loaders.rows import AROUND_TEXT, BAD_ROWS, Layout, first_lines
from loaders.sources import log
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

FEWEST_SAMPLES = 2
COUNTING = 8  # so many names that count up from 0 or 1 are a header that pandas wrote, and no samples
ALIKE = 0.9  # of the names of samples differ in their numbers only: then another name is no sample's
LISTED = 12  # of the columns, in an error
FLAGS = {"label": "--label-column", "record": "--record-column", "split": "--split column"}
HINT = "numbers in every column but those of --label-column, --record-column and --split column:NAME; no column of row numbers"


def read_csv(path: Path, *, label: str | None, record: str | None, split: str | None, bad_rows: str) -> Arrays:
    """x (N, T) float32, and as text (N,) label, record and split, those that are not None; see `rows.BAD_ROWS` for the rest.

    Raises UsageError for a column that is not there, DataError, naming line and column, for what is no such table.
    """
    asked = {part: name for part, name in (("label", label), ("record", record), ("split", split)) if name is not None}
    with reading(path), open(path, "rb") as file:
        first = first_lines(file, 1)
        if not first:
            raise DataError("the file is empty", where=str(path), hint="rows of samples and a label")
        line, cells = first[0][0], [cell.strip(AROUND_TEXT) for cell in first[0][1]]
        header = is_header(cells, asked)
        texts = find_columns(cells, asked, header=header, where=str(path))
        layout = Layout(len(cells) - len(texts), texts=texts, hint=HINT)
        if layout.samples < FEWEST_SAMPLES:
            what = f"a row has {len(cells)} columns, of them {max(layout.samples, 0)} samples, expected {FEWEST_SAMPLES} or more"
            raise DataError(what, where=f"{path}, line {line}", hint="commas between the columns")
        if header:
            _check_names([cell for column, cell in enumerate(cells) if column not in texts.values()], f"{path}, line {line}")
        taken = ", ".join(f"{part} in column {column + 1}" for part, column in texts.items()) or "no label"
        log.info("reading %s: %s header, %d samples, %s", path, "a" if header else "no", layout.samples, taken)
        return pick("bad-rows", BAD_ROWS, bad_rows)(file, layout, where=str(path), skip=[line] if header else [])


def is_header(cells: Sequence[str], asked: Mapping[str, str]) -> bool:
    """Whether the first line is names: it has one that is asked for, or nothing but names, or numbers that just count up."""
    numbers = [cell for cell in cells if _is_number(cell)]
    if any(name in cells for name in asked.values() if name and not _is_number(name)):
        return True
    if len(numbers) >= COUNTING and any(numbers == [str(i + start) for i in range(len(numbers))] for start in (0, 1)):
        return all(cells)
    aside = {int(name) - 1 for name in asked.values() if name.isdecimal()} | {len(cells) - 1}
    samples = [cell for column, cell in enumerate(cells) if column not in aside]
    return bool(samples) and all(cell and not _is_number(cell) for cell in samples)


def find_columns(cells: Sequence[str], asked: Mapping[str, str], *, header: bool, where: str) -> dict[str, int]:
    """The column, counted from 0, of each part that is asked for; a label asked for as "" is in the last that is left."""
    found = {part: _find(cells, name, FLAGS[part], header=header, where=where) for part, name in asked.items() if name}
    if asked.get("label") == "":
        found["label"] = max(set(range(len(cells))) - set(found.values()), default=0)
    if len(set(found.values())) < len(found):
        raise UsageError(f"one column cannot be {' and '.join(found)} at once", where=where, hint="another column for each")
    return found


def _find(cells: Sequence[str], name: str, flag: str, *, header: bool, where: str) -> int:
    if header and cells.count(name) == 1:
        return cells.index(name)
    if header and name in cells:
        raise UsageError(f"{flag} {name}: {cells.count(name)} columns have that name", where=where, hint="the column's number")
    if name.isdecimal() and 0 < int(name) <= len(cells):
        return int(name) - 1
    names = ", ".join(cells[:LISTED]) + (f", ... {cells[-1]}" if len(cells) > LISTED else "")
    there = f"there are {names}" if header else "there is no header"
    raise UsageError(f"{flag} {name[:60]}: no such column; {there}", where=where, hint=f"a name, or a number in 1..{len(cells)}")


def _check_names(names: Sequence[str], where: str) -> None:
    """A patient's number or age among t0, t1, t2, ... would be learned from: it is refused."""
    stems = [re.sub(r"[\d.]+", "", name) for name in names]
    usual, count = Counter(stems).most_common(1)[0]
    odd = [name for name, stem in zip(names, stems, strict=True) if stem != usual]
    if odd and len(names) > COUNTING and count >= ALIKE * len(names):
        what = f"{', '.join(odd)[:100]} among samples that are called {names[stems.index(usual)]} and the like"
        raise DataError(what, where=where, hint="--record-column or --label-column for it, or a file without it")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
