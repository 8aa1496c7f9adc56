"""The text of a table: its characters in any usual encoding, plain or gzipped, and its dialect.

`with opened(path) as text` gives a `TableText` with its `head`, which pandas reads like a file; `choose(lines)` gives
the `TableLayout` with the `Dialect` that fits the header and makes the most cells numbers. Binary files, endless lines
and gzip bombs are refused.
"""

import codecs
import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from loaders.files.archives import MOST_RATIO, SMALL, reading
from toolbox.errors import DataError

BOMS = {  # the longer first: UTF-32 and UTF-16 start alike
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
OTHER_FILES = {b"PK\x03\x04": "a zip archive or an Excel workbook", b"\xd0\xcf\x11\xe0": "an old Excel workbook"}
OTHER_FILES |= {b"%PDF": "a PDF"}
# A minus sign, spaces of other widths.
ODD = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
MANY_NULLS = 0.3  # of every second byte: the text has two bytes a character
GZIP_MAGIC = b"\x1f\x8b"
LONGEST_LINE = 2**24  # bytes: a row of 100,000 samples has a million
HEAD = 2**16  # bytes or characters at the start, for encoding and form
HINT = "a text table with a column per lead and a row per sample"
END = re.compile(r"\r\n|\n|\r")
LONE_BLANK = re.compile(r"(?<=[^\n])\n\n(?=[^\n]|\Z)")

DELIMITERS = {";": "semicolon", "\t": "tab", ",": "comma", "|": "vertical bar", " ": "spaces", "": "one column"}
DECIMALS = {".": "point", ",": "comma"}
GROUPS = {".": ",", ",": "."}  # the thousands separator for each decimal sign
PLAIN = {mark: re.compile(rf"[-+]?(?:\d+[{mark}]?\d*|[{mark}]\d+)(?:[eE][-+]?\d+)?") for mark in GROUPS}
GROUPED = {
    mark: re.compile(rf"[-+]?[1-9]\d{{0,2}}(?:[{group}]\d{{3}})+(?:[{mark}]\d*)?") for mark, group in GROUPS.items()
}
MISSING_WORDS = "- -- --- ? * na n/a #n/a <na> nan -nan null none nil missing #value! inf -inf +inf infinity"
MISSING = ("", *MISSING_WORDS.split())
AROUND = " \t\r\n\"'"
SINGLE_QUOTED = re.compile(r"(?:^|[,;\t|])\s*'[^']*'\s*(?:$|[,;\t|])")
WITH_BRACKETS = re.compile(r"[^\s\[(]+(?:\s*[\[(][^\])]*[\])])?")  # a name between spaces, with its unit
LEADING_ZERO = re.compile(r"0\d+")
LOOKED_AT = 400  # rows
MOSTLY = 0.9
EVERY_DIGIT = 9  # different digits: the last decimals of a signal have all ten, numbers of classes do not


def is_number(cell: str) -> bool:
    """Whether `float` accepts a cell."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


class LimitedStream(io.RawIOBase):
    """A stream without a line above LONGEST_LINE and of at most `most` bytes. Reading more raises DataError.

    `size` is the number of its bytes, None if unknown; `progress` gets the number of bytes of each part that is read.
    """

    def __init__(self, file: IO[bytes] | gzip.GzipFile, where: str, most: float, size: int | None = None) -> None:
        self.file, self.where, self.most, self.size = file, where, most, size
        self.progress: Callable[[int], Any] = lambda count: None
        self.line = self.total = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:  # parsers start again to name a fault
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place, the start of a line."""
        self.line, self.total = 0, self.file.seek(offset, whence)
        return self.total

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; returns the number of bytes."""
        part = self.file.read(memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[: len(part)] = part
        end = max(part.rfind(b"\n"), part.rfind(b"\r"))
        self.line = len(part) - 1 - end if end >= 0 else self.line + len(part)
        self.total += len(part)
        if self.line > LONGEST_LINE:
            what = f"a line has over {LONGEST_LINE:,} bytes: no row of a table"
            raise DataError(what, where=self.where, hint="a row of samples a line")
        if self.total > self.most:
            what = f"the gzip unpacks to over {self.most:,} bytes, more than {MOST_RATIO} times its size"
            raise DataError(what, where=self.where, hint="the unpacked file, if it is a table")
        self.progress(len(part))
        return len(part)


def unpacked(file: IO[bytes], where: str, *, measured: bool = False) -> "io.BufferedReader[LimitedStream]":
    """A binary file from its start, unpacked if it is gzipped; reading it raises DataError beyond the limits.

    A `measured` gzip is read to its end first: a parser that reads it as a whole would keep a bomb in memory.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    is_packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    if not is_packed:
        return io.BufferedReader(LimitedStream(file, where, float("inf"), size), HEAD)
    most = max(SMALL, MOST_RATIO * size)
    stream = io.BufferedReader(LimitedStream(gzip.GzipFile(fileobj=file), where, most), HEAD)
    while measured and stream.read(HEAD):
        pass
    stream.raw.size = stream.raw.total or None
    stream.seek(0)
    return stream


def encoding_of(begin: bytes) -> str:
    """The encoding of a text with these first bytes: by its mark, its zero bytes, or whether it is UTF-8."""
    if name := next((name for mark, name in BOMS.items() if begin.startswith(mark)), None):
        return name
    pairs = len(begin) // 2
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if pairs and begin[first::2].count(0) > MANY_NULLS * pairs:
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(begin)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


class TableText:
    """The text of a table from its `head` on; `skip(n)` leaves out the first n characters, `read` is for pandas.

    With `blank_rows` (a table of one column) blank lines in a run are rows without a value; single blank lines and
    blank lines at the end are ignored, and `lone_blanks` counts the single ones.
    """

    def __init__(self, handle: TextIO, path: Path) -> None:
        self.encoding = handle.encoding
        self.blank_rows, self.lone_blanks = False, 0
        self._handle, self._path = handle, path
        self._held = ""  # the last line read, with the line ends after it
        self.head, self.is_whole = "", False
        while not self.is_whole and (len(self.head) < HEAD or self.head.count("\n") + self.head.count("\r") < 3):
            part = self._next(max(HEAD, len(self.head)))
            self.head, self.is_whole = self.head + part, not part
        self._ahead = self.head

    def skip(self, characters: int) -> None:
        """Start after the first `characters` of the head."""
        self._ahead = self._ahead[characters:]

    def __iter__(self) -> Iterator[str]:
        """The lines, without their ends."""
        kept = ""
        while part := self.read(HEAD):
            *lines, kept = END.split(kept + part)
            yield from lines
        if kept:
            yield kept

    def read(self, size: int = -1) -> str:
        """The next characters, about `size` of them; "" at the end."""
        part, self._ahead = self._ahead or self._next(size), ""
        if not self.blank_rows:
            return part
        part = self._held + part
        while part:  # the last line is held, as more line ends may follow it
            start = max(part.rstrip("\r\n").rfind(end) for end in "\r\n") + 1
            if start:
                self._held = part[start:]
                part = part[:start].replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")
                part, count = LONE_BLANK.subn("\n", part)
                self.lone_blanks += count
                return part
            if not (more := self._next(size)):
                break
            part += more
        self._held = ""
        return part.rstrip("\r\n")

    def _next(self, size: int) -> str:
        part = self._handle.read(size)
        if "\0" in part:
            raise DataError("the file is binary, not a text table", where=str(self._path), hint=HINT)
        return part if part.isascii() else part.translate(ODD)


@contextmanager
def opened(path: Path) -> Iterator[TableText]:
    """The text of a table. Raises DataError for other or damaged files, ResourceError without permission."""
    with reading(path), open(path, "rb") as file:
        stream = unpacked(file, str(path))
        begin = stream.peek(HEAD)[:HEAD]
        if other := next((what for magic, what in OTHER_FILES.items() if begin.startswith(magic)), None):
            raise DataError(f"the file is {other}, not a text table", where=str(path), hint=f"a CSV: {HINT}")
        with io.TextIOWrapper(stream, encoding_of(begin), errors="replace", newline="") as handle:
            yield TableText(handle, path)


@dataclass(frozen=True)
class Dialect:
    """The delimiter of columns ("" in a table of one column, " " for runs of spaces), and the marks in a number."""

    delimiter: str
    decimal: str = "."
    thousands: str | None = None
    quote: str = '"'

    def cells(self, line: str) -> list[str]:
        """The cells of a line, without quotation marks and spaces around them."""
        if self.delimiter == "":
            cells = [line]
        elif self.delimiter == " ":
            cells = line.split()
        else:
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
        """Cells (N,) as numbers, NaN for any other text."""
        return np.array([self._value(cell) for cell in cells])

    def _value(self, cell: str) -> float:
        if not self.is_number(cell):
            return np.nan
        return float(cell.replace(GROUPS[self.decimal], "").replace(self.decimal, "."))


@dataclass(frozen=True)
class TableLayout:
    """A dialect, the cells of a row, the columns that hold numbers, and the line of the first row of data.

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
        numbers = [self.dialect.is_number(cell) for cell in own]
        complete = all(number or cell.lower() in MISSING for number, cell in zip(numbers, own, strict=True))
        return len(cells) <= self.width and any(numbers) and complete

    def names_in(self, line: str) -> list[str] | None:
        """The names of the columns in a line, with any delimiter; None for another number of names."""
        dialect, width = self.dialect, self.width
        own = dialect.cells(line)
        tried = [own]
        if dialect.delimiter in (" ", "\t"):
            tried += [re.split(r"\t|\s{2,}", line.strip()), WITH_BRACKETS.findall(line)]
        others = [mark for mark in DELIMITERS if mark not in ("", dialect.delimiter)]
        tried += [Dialect(mark, quote=dialect.quote).cells(line) for mark in others]
        for cells in tried:
            if len(cells) == width or (len(cells) > width and not any(cells[width:])):
                return [cell.strip(AROUND) for cell in cells[:width]]
        if 0 < width - len(own) <= self.spare:
            return own + [""] * (width - len(own))
        return ["", *own] if len(own) == width - 1 and all(own) else None  # as R writes row numbers


def choose(lines: Sequence[str]) -> TableLayout | None:
    """The layout that fits the lines of a table best, blank lines and comments aside; None without numbers."""
    quoted = any(SINGLE_QUOTED.search(line) for line in lines) and not any('"' in line for line in lines)
    tried = []
    for place, (delimiter, decimal) in enumerate(product(DELIMITERS, DECIMALS)):
        if fitted := _fitted(Dialect(delimiter, decimal, quote="'" if quoted else '"'), lines):
            tried.append((*fitted[0], -place, fitted[1]))
    return max(tried, key=lambda each: each[:-1])[-1] if tried else None


def _fitted(dialect: Dialect, lines: Sequence[str]) -> tuple[tuple, TableLayout] | None:
    """A score and the layout with a dialect; None if it finds no numbers, or splits them."""
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
    layout = TableLayout(dialect, most, numeric, spare=most - width + (width > 1 and not columns[-1]))
    first = next((k for k, line in enumerate(lines) if layout.is_row(dialect.cells(line))), 0)
    header_fits = _fit(layout, lines[first - 1], end) if first else 1.0
    doubts = _doubts(dialect, [cell for k in numeric for cell in columns[k]], has_header=first > 0)
    score = (header_fits, share >= MOSTLY, round(sum(hits) / sum(map(len, columns)), 2), len(numeric))
    return score, replace(layout, first=first, doubts=doubts)


def _fit(layout: TableLayout, header: str, end: Sequence[str]) -> float:
    """How well the line above the first row fits its columns: 1, 0.5 or 0."""
    if layout.names_in(header) is None:
        return 0.0
    if not layout.dialect.delimiter:  # one column, unless another delimiter is both in its name and in the rows
        return 0.5 if any(mark in header and any(mark in line for line in end) for mark in ",;\t|") else 1.0
    return 1.0 if layout.width - layout.spare <= len(layout.dialect.cells(header)) else 0.5


def _thousands(decimal: str, columns: Sequence[Sequence[str]]) -> str | None:
    """The thousands separator, if a column has it in all numbers above 999 and in no other; else None."""
    group = GROUPS[decimal]
    for cells in columns:
        grouped = [cell for cell in cells if group in cell]
        if grouped and all(map(GROUPED[decimal].fullmatch, grouped)):
            others = [re.split(r"\D", cell.lstrip("+-"))[0] for cell in cells if group not in cell]
            if all(len(whole) <= 3 for whole in others) and (others or any(decimal in cell for cell in grouped)):
                return group
    return None


def _doubts(dialect: Dialect, cells: Sequence[str], *, has_header: bool) -> tuple[str, ...]:
    """Guesses about the marks in the numbers of a dialect."""
    if dialect.thousands and (grouped := next((cell for cell in cells if dialect.thousands in cell), None)):
        return (f"numbers such as {grouped[:20]} are read with {dialect.thousands!r} as the thousands separator",)
    with_comma = next((cell for cell in cells if "," in cell), None)
    if dialect.delimiter == "" and with_comma and not has_header:
        return (f"numbers such as {with_comma[:20]} are read with a decimal comma",)
    return ()


def _cuts_numbers(dialect: Dialect, rows: Sequence[Sequence[str]], columns: Sequence[Sequence[str]]) -> bool:
    """Whether commas between columns are inside numbers: parts such as -0 or 0132 are no numbers.

    A comma is decimal sign and delimiter at once only with numbers in quotation marks.
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
