"""An open table with a row a line: its separator, its decimal sign, and its header.

`with opened(path) as head` gives the cells of the first line and the file, for `rows.read_rows`. Columns are separated
by commas, semicolons, tabs or bars; with another separator than the comma, numbers may have a decimal comma.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from loaders.files.archives import reading
from loaders.formats import label_columns, ucr
from loaders.formats.csv.rows import BLANK, CONVERT, cells_of, first_lines, foreign_text
from loaders.formats.csv.text import DECIMALS, DELIMITERS, Dialect, choose, is_number
from toolbox.errors import DataError

COUNTING = 8  # this many names that count up from 0 or 1 are a header of pandas, and no samples
LOOKED_AT, MOST_CHARACTERS = 20, 2**17  # first lines, for the separator
MARKS = (";", "\t", "|")  # separators other than the comma
SEPARATOR_STATED = re.compile(r"sep=(.)", re.IGNORECASE)  # a first line for spreadsheets


@dataclass(frozen=True)
class Head:
    """An open table: its lines with their numbers, its separator and decimal sign, and whether it has a header.

    `line` and `cells` are number and cells of the first line, `last` those of the second (or only) one; `skip` are the
    lines that are no rows.
    """

    file: IO[bytes]
    where: str
    line: int
    cells: list[str]
    last: tuple[int, list[str]]
    header: bool
    separators: tuple[str, str]
    skip: list[int]

    @property
    def place(self) -> str:
        """The place of the header in an error."""
        return f"{self.where}, line {self.line}"


@contextmanager
def opened(path: Path, names: Collection[str] = ()) -> Iterator[Head]:
    """A table, open for reading. A first line with one of `names` is a header. Raises DataError for an empty file."""
    where = str(path)
    with reading(path), open(path, "rb") as raw:
        file, (delimiter, decimal) = _converted(raw, path)
        lines = first_lines(file, 3, where)
        skip = [line for line, content in lines[:1] if SEPARATOR_STATED.fullmatch(content)]
        rows = [(line, cells_of(content, delimiter, f"{where}, line {line}")) for line, content in lines[len(skip) :]]
        if not rows:
            raise DataError("the file is empty", where=where, hint="rows of samples and a label")
        line, cells = rows[0][0], [cell.strip(BLANK) for cell in rows[0][1]]
        header = is_header([cell.replace(decimal, ".") for cell in cells], names)
        if header:
            _check_texts(rows[0][1], f"{where}, line {line}")
        skip += [line] if header else []
        yield Head(file, where, line, cells, rows[min(1, len(rows) - 1)], header, (delimiter, decimal), skip)


def _check_texts(cells: Sequence[str], where: str) -> None:
    """Raise DataError for names that are not UTF-8, or continue in the next line."""
    for column, cell in enumerate(cells, 1):
        if why := foreign_text(cell):
            raise DataError(f"the name of column {column} {why}", where=where, hint=CONVERT)
        if cell.endswith("\n"):
            what = f"the name of column {column} has a quotation mark that is not closed in its line"
            raise DataError(what, where=where, hint="a header in one line")


def part_names(*, label: str | None, record: str | None, split: str | None) -> dict[str, str]:
    """The requested columns by part, without unread ones; a label of "" is the default one. Several columns of labels
    are a part each."""
    asked = {**label_columns.parts(label), "record": record, "split": split}
    return {part: name for part, name in asked.items() if name is not None}


def is_header(cells: Sequence[str], names: Collection[str]) -> bool:
    """Whether the first line has names: one of `names`, names only, or numbers that count up."""
    numbers = [cell for cell in cells if is_number(cell)]
    if any(name in cells for name in names if name and not is_number(name)):
        return True
    if len(numbers) >= COUNTING and any(numbers == [str(i + start) for i in range(len(numbers))] for start in (0, 1)):
        return all(cells[1:])
    aside = {int(name) - 1 for name in names if name.isdecimal()} | {len(cells) - 1}
    samples = [cell for column, cell in enumerate(cells) if column not in aside and (cell or column)]
    return bool(samples) and all(cell and not is_number(cell) for cell in samples)


def _converted(raw: IO[bytes], path: Path) -> tuple[IO[bytes], tuple[str, str]]:
    """The text of a table, separator and decimal sign; commas between the columns for most files of the archive.

    Raises DataError for a table whose separator is not certain.
    """
    suffix, where = path.suffix.lower(), str(path)
    if suffix in ucr.WITH_HEADER:
        return ucr.as_csv(raw, where, suffix=suffix), (",", ".")
    lines = first_lines(raw, LOOKED_AT, where)
    found = _dialect([content for _, content in lines])
    mark = found.delimiter if found else ","
    raw.seek(0)
    if suffix in ucr.FORMS and mark not in MARKS and (found is None or found.decimal == "."):
        return ucr.as_csv(raw, where, suffix=suffix), (",", ".")
    if found is None or mark in (",", ""):
        return raw, (",", ".")
    if mark in MARKS and not found.thousands:
        return raw, (mark, found.decimal)
    first = [cell.replace(found.decimal, ".") for cell in found.cells(lines[0][1])]
    header, there = ("", "") if is_header(first, ()) else (", header=None", ", header=False")
    separator = r"\s+" if mark == " " else mark
    how = f"sep={separator!r}" + ", decimal=','" * (found.decimal == ",") + header
    how += f", thousands={found.thousands!r}" * bool(found.thousands)
    hint = f"commas between the columns: pandas.read_csv({path.name!r}, {how}).to_csv('my.csv', index=False{there})"
    what = f"the separator is {DELIMITERS[mark]}, the decimal sign {DECIMALS[found.decimal]}"
    what += f", and numbers may have {found.thousands!r} between thousands" if found.thousands else ""
    raise DataError(what, where=f"{path}, line {lines[min(1, len(lines) - 1)][0]}", hint=hint)


def _dialect(lines: Sequence[str]) -> Dialect | None:
    """The dialect of the first lines of a table; None without numbers. A separator stands in each line."""
    if lines and (stated := SEPARATOR_STATED.fullmatch(lines[0])):
        lines = [line for line in lines[1:] if stated[1] in line]
    characters = np.cumsum([len(line) for line in lines])
    lines = lines[: max(2, int((characters < MOST_CHARACTERS).sum()))]
    layout = choose(lines)
    if layout is None or not all(layout.dialect.delimiter in line for line in lines):
        return None
    return layout.dialect
