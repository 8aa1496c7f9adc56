"""A user's own CSV: which of its columns are samples, and which the label, the record and the side of the split.

A column is asked for by its name in the header, or by its number counted from 1. Without a header every line is a row.
Files of the UCR archive (.ts, .arff, .tsv, .txt) are read in the same way, see `ucr`.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loaders.files.archives import reading
from loaders.files.cache import Arrays
from loaders.files.sources import log
from loaders.formats import ucr
from loaders.formats.csv import columnnames, rownumbers, separators
from loaders.formats.csv.columnnames import COUNTING, is_number
from loaders.formats.csv.rows import AROUND_TEXT, BAD_ROWS, Layout, first_lines
from loaders.formats.labels import NO_LABEL, stand_first
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

FEWEST_SAMPLES = 2
LISTED = 12  # of the columns, in an error
FLAGS = {"label": "--label-column", "record": "--record-column", "split": "--split column"}
HINT = (
    "numbers in every column but those of --label-column, --record-column and --split column:NAME; no column of row"
    " numbers"
)
WITHOUT = "a file without it: pandas writes none with to_csv(path, index=False)"


class Columns(NamedTuple):
    """The column, counted from 0, of each part that is text; columns not read; the name of a record column nobody asked
    for."""

    texts: dict[str, int]
    unread: list[int]
    recognised: str


def read_csv(path: Path, *, label: str | None, record: str | None, split: str | None, bad_rows: str) -> Arrays:
    """x (N, T) float32, and as text (N,) label, record and split, those that are not None; see `rows.BAD_ROWS` for the
    rest.

    A record of None is in the column that is called so, if there is one, and `recognised` (1,) is its name; of "none"
    it is not read. Raises UsageError for a column that is not there, DataError, naming line and column, for what is no
    such table.
    """
    asked = {part: name for part, name in (("label", label), ("record", record), ("split", split)) if name is not None}
    with reading(path), open(path, "rb") as raw:
        file = ucr.as_csv(raw, str(path), suffix=suffix) if (suffix := path.suffix.lower()) in ucr.FORMS else raw
        lines = first_lines(file, 2, str(path))
        if not lines:
            raise DataError("the file is empty", where=str(path), hint="rows of samples and a label")
        line, cells = lines[0][0], [cell.strip(AROUND_TEXT) for cell in lines[0][1]]
        header = is_header(cells, asked)
        _check_separators(lines, path)
        columns = find_columns(cells, asked, header=header, where=str(path))
        layout = _layout(cells, columns, where=f"{path}, line {line}", header=header)
        if label == "" and len(lines) > header:
            _check_text_first(lines[-1], columns, str(path))
        _tell(path, cells, columns, header=header)
        arrays = pick("bad-rows", BAD_ROWS, bad_rows)(file, layout, where=str(path), skip=[line] if header else [])
    if label == "" and stand_first(arrays["x"][:, 0], arrays["label"]):
        what = (
            f"column 1 has a few whole numbers, and the label would be in column {columns.texts['label'] + 1}, which"
            " has many"
        )
        hint = f"--label-column 1, or --label-column {columns.texts['label'] + 1} if that is the label"
        raise DataError(what, where=str(path), hint=hint)
    places = [column for column in range(len(cells)) if column not in {*columns.texts.values(), *columns.unread}]
    _check_samples(arrays["x"], places, cells if header else [], str(path))
    return arrays | ({"recognised": np.array([columns.recognised])} if columns.recognised else {})


def _layout(cells: Sequence[str], columns: Columns, *, where: str, header: bool) -> Layout:
    """What a row is made of; DataError where it has too few samples, or a name among theirs that is no sample's."""
    aside = {*columns.texts.values(), *columns.unread}
    layout = Layout(len(cells) - len(aside), texts=columns.texts, unread=columns.unread, hint=HINT)
    if layout.samples < FEWEST_SAMPLES:
        what = (
            f"a row has {len(cells)} columns, of them {max(layout.samples, 0)} samples, expected {FEWEST_SAMPLES} or"
            " more"
        )
        raise DataError(what, where=where, hint="commas between the columns")
    if header:
        _check_names([cell for column, cell in enumerate(cells) if column not in aside], where)
    return layout


def _tell(path: Path, cells: Sequence[str], columns: Columns, *, header: bool) -> None:
    """Log how the file is read."""
    taken = ", ".join(f"{part} in column {column + 1}" for part, column in columns.texts.items()) or "no label"
    taken += "".join(f", column {column + 1} ({cells[column]}) not read" for column in columns.unread)
    samples = len(cells) - len(columns.texts) - len(columns.unread)
    log.info("reading %s: %s header, %d samples, %s", path, "a" if header else "no", samples, taken)


def is_header(cells: Sequence[str], asked: Mapping[str, str]) -> bool:
    """Whether the first line is names: it has one that is asked for, or nothing but names, or numbers that just count
    up."""
    numbers = [cell for cell in cells if is_number(cell)]
    if any(name in cells for name in asked.values() if name and not is_number(name)):
        return True
    if len(numbers) >= COUNTING and any(numbers == [str(i + start) for i in range(len(numbers))] for start in (0, 1)):
        return all(cells[1:])
    aside = {int(name) - 1 for name in asked.values() if name.isdecimal()} | {len(cells) - 1}
    samples = [cell for column, cell in enumerate(cells) if column not in aside and (cell or column)]
    return bool(samples) and all(cell and not is_number(cell) for cell in samples)


def find_columns(cells: Sequence[str], asked: Mapping[str, str], *, header: bool, where: str) -> Columns:
    """The columns of the parts that are asked for; a label asked for as "" is in the last that is left.

    With a header, a record that is not asked for is in the column that is called so; others that are called so are not
    read.
    """
    explicit = {part: name for part, name in asked.items() if name and (part, name) != ("record", NO_LABEL)}
    found = {part: _find(cells, name, FLAGS[part], header=header, where=where) for part, name in explicit.items()}
    left = [column for column in range(len(cells)) if column not in found.values()]
    whose = [column for column in columnnames.of_records(cells) if column in left] if header else []
    if asked.get("label") == "":
        found["label"] = _default_label(cells, left, whose)
    whose = [column for column in whose if column != found.get("label")]
    recognised = bool(whose) and "record" not in asked
    found |= {"record": whose[0]} if recognised else {}
    if len(set(found.values())) < len(found):
        raise UsageError(
            f"one column cannot be {' and '.join(found)} at once", where=where, hint="another column for each"
        )
    return Columns(found, sorted(set(whose) - set(found.values())), cells[whose[0]] if recognised else "")


def _default_label(cells: Sequence[str], left: Sequence[int], whose: Sequence[int]) -> int:
    """The last column, or the last that is not called a record's where a name that is no sample's stands there."""
    others = [column for column in left if column not in whose]
    strange, _ = columnnames.odd([cells[column] for column in others]) if others else ([], "")
    if left and left[-1] in whose and strange and strange[-1] == len(others) - 1:
        return others[-1]
    return left[-1] if left else 0


def _find(cells: Sequence[str], name: str, flag: str, *, header: bool, where: str) -> int:
    if header and cells.count(name) == 1:
        return cells.index(name)
    if header and name in cells:
        raise UsageError(
            f"{flag} {name}: {cells.count(name)} columns have that name", where=where, hint="the column's number"
        )
    if name.isdecimal() and 0 < int(name) <= len(cells):
        return int(name) - 1
    listed = ", ".join(cells[:LISTED]) + (f", ... {cells[-1]}" if len(cells) > LISTED else "")
    there = f"there are {listed}" if header else "there is no header"
    raise UsageError(
        f"{flag} {name[:60]}: no such column; {there}", where=where, hint=f"a name, or a number in 1..{len(cells)}"
    )


def _check_separators(lines: Sequence[tuple[int, list[str]]], path: Path) -> None:
    """Refuse a file whose columns are not separated by commas, with the line of pandas that makes it a CSV."""
    dialect = separators.other(",".join(lines[-1][1]))
    if dialect is None:
        return
    first = [cell.replace(dialect.decimal, ".") for cell in dialect.cells(",".join(lines[0][1]))]
    header, there = ("", "") if is_header(first, {}) else (", header=None", ", header=False")
    read = f"pandas.read_csv({path.name!r}, {separators.as_arguments(dialect)}{header})"
    hint = f"commas between the columns: {read}.to_csv('my.csv', index=False{there})"
    raise DataError(separators.in_words(dialect), where=f"{path}, line {lines[-1][0]}", hint=hint)


def _check_names(there: Sequence[str], where: str) -> None:
    """A patient's age among t0, t1, t2, ... would be learned from, and so would numbers of rows: both are refused."""
    if "" in there:
        what = "a column has no name in the header: numbers of rows, as pandas writes them, are no samples"
        raise DataError(what, where=where, hint=WITHOUT)
    strange, sample = columnnames.odd(there)
    if strange:
        what = (
            f"{', '.join(there[column] for column in strange)[:100]} among samples that are called {sample} and the"
            " like"
        )
        name = shlex.quote(there[strange[0]][:40])
        raise DataError(what, where=where, hint=f"--label-column {name}, --record-column {name}, or a file without it")


def _check_text_first(line: tuple[int, list[str]], columns: Columns, where: str) -> None:
    """Refuse text in the first column where a number in the last would be the label."""
    number, cells = line
    label = columns.texts["label"]
    aside = {*columns.texts.values(), *columns.unread}
    if label >= len(cells) or 0 in aside or not cells[0].strip(AROUND_TEXT) or is_number(cells[0].strip(AROUND_TEXT)):
        return
    if is_number(cells[label].strip(AROUND_TEXT)):
        first, last = cells[0].strip(AROUND_TEXT)[:40], cells[label].strip(AROUND_TEXT)[:40]
        what = f"column 1 has the text '{first}', and the label would be the number {last} in column {label + 1}"
        raise DataError(
            what, where=f"{where}, line {number}", hint="--label-column 1, or --record-column 1 if it names the record"
        )


def _check_samples(x: NDArray[np.float32], places: Sequence[int], cells: Sequence[str], where: str) -> None:
    """Refuse a column among the samples that numbers the rows or their records; `places` are the columns of the
    samples."""
    if counting := rownumbers.counting(x):
        column, values = places[counting[0]], x[:, counting[0]]
        name = f" ({cells[column][:40]})" if cells else ""
        what = (
            f"column {column + 1}{name} is no sample, it numbers the rows or their records: {values[0]:g},"
            f" {values[1]:g}, ... "
        )
        hint = f"{WITHOUT}; --record-column {column + 1} if it numbers the records"
        raise DataError(f"{what}{values[-1]:g}", where=where, hint=hint)
