"""How a text table separates its columns and writes its numbers: `choose(lines)` is a `Layout` with its `Dialect`.

Every usual delimiter is tried with both decimal signs; the pair that fits the header and makes the most cells numbers
is taken.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

DELIMITERS = {";": "semicolon", "\t": "tab", ",": "comma", "|": "vertical bar", " ": "spaces", "": "one column"}
DECIMALS = {".": "point", ",": "comma"}
GROUPS = {".": ",", ",": "."}  # the thousands separator that goes with a decimal sign
PLAIN = {mark: re.compile(rf"[-+]?(?:\d+[{mark}]?\d*|[{mark}]\d+)(?:[eE][-+]?\d+)?") for mark in GROUPS}
GROUPED = {
    mark: re.compile(rf"[-+]?[1-9]\d{{0,2}}(?:[{group}]\d{{3}})+(?:[{mark}]\d*)?") for mark, group in GROUPS.items()
}
MISSING = (
    "",
    "-",
    "--",
    "---",
    "?",
    "*",
    "na",
    "n/a",
    "#n/a",
    "<na>",
    "nan",
    "-nan",
    "null",
    "none",
    "nil",
    "missing",
    "#value!",
)
MISSING += ("inf", "-inf", "+inf", "infinity")
AROUND = " \t\r\n\"'"
SINGLE_QUOTED = re.compile(r"(?:^|[,;\t|])\s*'[^']*'\s*(?:$|[,;\t|])")
WITH_BRACKETS = re.compile(r"[^\s\[(]+(?:\s*[\[(][^\])]*[\])])?")  # a name between spaces, with the unit behind it
LEADING_ZERO = re.compile(r"0\d+")
LOOKED_AT = 400  # rows
MOSTLY = 0.9
EVERY_DIGIT = 9  # of ten: the last decimals of a signal have them all, numbers of classes do not


@dataclass(frozen=True)
class Dialect:
    """What stands between columns ("" in a table of one column, " " for runs of spaces), and the marks in a number."""

    delimiter: str
    decimal: str = "."
    thousands: str | None = None
    quote: str = '"'

    def cells(self, line: str) -> list[str]:
        """The cells of a line, without quotation marks and spaces around them."""
        if self.delimiter == "":
            return [line.strip(AROUND)]
        if self.delimiter == " ":
            return [cell.strip(AROUND) for cell in line.split()]
        try:
            (cells,) = csv.reader([line], delimiter=self.delimiter, quotechar=self.quote, skipinitialspace=True)
        except (csv.Error, ValueError):  # a cell beyond csv's limit
            cells = line.split(self.delimiter)
        return [cell.strip(AROUND) for cell in cells]

    def is_number(self, cell: str) -> bool:
        """Whether a cell is a number."""
        if PLAIN[self.decimal].fullmatch(cell):
            return True
        return self.thousands is not None and GROUPED[self.decimal].fullmatch(cell) is not None

    def numbers(self, cells: Sequence[str]) -> NDArray[np.float64]:
        """Cells (N,) as numbers, NaN where there is none."""
        return np.array([self._value(cell) for cell in cells])

    def _value(self, cell: str) -> float:
        if not self.is_number(cell):
            return np.nan
        return float(cell.replace(GROUPS[self.decimal], "").replace(self.decimal, "."))


@dataclass(frozen=True)
class Layout:
    """A dialect, how many cells a row has, which columns hold numbers, and which line has the first row of data.

    `spare` columns at the end need no name: rows end with a delimiter, or some have cells more than others.
    """

    dialect: Dialect
    width: int
    numeric: tuple[int, ...]
    first: int = 0
    spare: int = 0
    doubts: tuple[str, ...] = ()

    def is_row(self, cells: Sequence[str]) -> bool:
        """Whether the cells of a line are a row of data: numbers in the columns of numbers."""
        own = [cells[k] for k in self.numeric if k < len(cells)]
        is_number = [self.dialect.is_number(cell) for cell in own]
        return (
            len(cells) <= self.width
            and any(is_number)
            and all(number or cell.lower() in MISSING for number, cell in zip(is_number, own, strict=True))
        )

    def names_in(self, line: str) -> list[str] | None:
        """The names of the columns in a line of text, whatever separates them; None where it has another number of
        them."""
        dialect, width = self.dialect, self.width
        tried = [dialect.cells(line)]
        if dialect.delimiter in (" ", "\t"):
            tried += [re.split(r"\t|\s{2,}", line.strip()), WITH_BRACKETS.findall(line)]
        tried += [
            Dialect(other, quote=dialect.quote).cells(line)
            for other in DELIMITERS
            if other not in ("", dialect.delimiter)
        ]
        for cells in tried:
            spare = len(cells) - width
            if spare == 0 or (spare > 0 and not any(cells[width:])):
                return [cell.strip(AROUND) for cell in cells[:width]]
        if 0 < width - len(tried[0]) <= self.spare:
            return tried[0] + [""] * (width - len(tried[0]))
        return ["", *tried[0]] if len(tried[0]) == width - 1 and all(tried[0]) else None  # as R writes row numbers


def choose(lines: Sequence[str]) -> Layout | None:
    """The layout that fits the lines of a table best, blank lines and comments left out; None where none has
    numbers."""
    quoted = any(SINGLE_QUOTED.search(line) for line in lines) and not any('"' in line for line in lines)
    tried = []
    for place, (delimiter, decimal) in enumerate(product(DELIMITERS, DECIMALS)):
        if fitted := _fitted(Dialect(delimiter, decimal, quote="'" if quoted else '"'), lines):
            tried.append((*fitted[0], -place, fitted[1]))
    return max(tried, key=lambda each: each[:-1])[-1] if tried else None


def _fitted(dialect: Dialect, lines: Sequence[str]) -> tuple[tuple, Layout] | None:
    """A score and the layout with a dialect; None where it finds no numbers, or cuts them in two."""
    end = lines[len(lines) // 2 :][-LOOKED_AT:]
    rows = [dialect.cells(line) for line in end]
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    columns = [[row[k] for row in rows if k < len(row) and row[k].lower() not in MISSING] for k in range(width)]
    dialect = replace(dialect, thousands=_thousands(dialect.decimal, columns))
    hits = [sum(map(dialect.is_number, column)) for column in columns]
    numeric = tuple(k for k in range(width) if hits[k] and 2 * hits[k] >= len(columns[k]))
    if not numeric or (width == 1) == bool(dialect.delimiter) or _cuts_numbers(dialect, rows, columns):
        return None
    share = sum(len(row) == width for row in rows) / len(rows)
    over = [cell for row in rows for cell in row[width:]]  # remarks in some rows; a number there is a fault
    most = max(map(len, rows)) if share >= MOSTLY and not any(map(dialect.is_number, over)) else width
    layout = Layout(dialect, most, numeric, spare=most - width + (width > 1 and not columns[-1]))
    first = next((k for k, line in enumerate(lines) if layout.is_row(dialect.cells(line))), 0)
    score = (
        _fit(layout, lines[first - 1], end) if first else 1.0,
        share >= MOSTLY,
        round(sum(hits) / sum(map(len, columns)), 2),
    )
    doubts = _doubts(dialect, [cell for k in numeric for cell in columns[k]], has_header=first > 0)
    return (*score, len(numeric)), replace(layout, first=first, doubts=doubts)


def _fit(layout: Layout, header: str, end: Sequence[str]) -> float:
    """How well the line above the first row fits its columns: 1, 0.5 or 0."""
    names = layout.names_in(header)
    if names is None:
        return 0.0
    if not layout.dialect.delimiter:  # one column: nothing that may separate columns is in its name and in the rows
        return 0.5 if any(mark in header and any(mark in line for line in end) for mark in ",;\t|") else 1.0
    return 1.0 if layout.width - layout.spare <= len(layout.dialect.cells(header)) else 0.5


def _thousands(decimal: str, columns: Sequence[Sequence[str]]) -> str | None:
    """The thousands separator of a column, None where none has one: it is in all numbers above 999, and in no other."""
    group = GROUPS[decimal]
    for cells in columns:
        grouped = [cell for cell in cells if group in cell]
        if grouped and all(map(GROUPED[decimal].fullmatch, grouped)):
            others = [re.split(r"\D", cell.lstrip("+-"))[0] for cell in cells if group not in cell]
            if all(len(whole) <= 3 for whole in others) and (others or any(decimal in cell for cell in grouped)):
                return group
    return None


def _doubts(dialect: Dialect, cells: Sequence[str], *, has_header: bool) -> tuple[str, ...]:
    """What is a guess about the marks in the numbers of a dialect."""
    if dialect.thousands and (grouped := next((cell for cell in cells if dialect.thousands in cell), None)):
        return (f"numbers such as {grouped[:20]} are read with {dialect.thousands!r} as the thousands separator",)
    with_comma = next((cell for cell in cells if "," in cell), None)
    if dialect.delimiter == "" and with_comma and not has_header:
        return (f"numbers such as {with_comma[:20]} are read with a decimal comma",)
    return ()


def _cuts_numbers(dialect: Dialect, rows: Sequence[Sequence[str]], columns: Sequence[Sequence[str]]) -> bool:
    """Whether commas between columns stand inside numbers: whole parts such as -0, decimals such as 0132 are no
    numbers.

    A comma can be both only where numbers are in quotation marks.
    """
    if dialect.delimiter != ",":
        return False
    if dialect.decimal == ",":
        return not any("," in cell for row in rows for cell in row)
    if len(columns) % 2 or any("." in cell for column in columns for cell in column):
        return False
    decimals = [cell for column in columns[1::2] for cell in column]
    if not all(cell.isdecimal() for cell in decimals):
        return False
    if set(map(len, decimals)) == {1} and len(columns) == 2 and len(set(decimals)) >= EVERY_DIGIT:
        return True
    return any(map(LEADING_ZERO.fullmatch, decimals)) or any(cell == "-0" for column in columns[::2] for cell in column)
