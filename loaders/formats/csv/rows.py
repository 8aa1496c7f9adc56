"""A CSV of numbers, with samples and a label in each row, read fast by pandas; errors name line and column of a fault.

`BAD_ROWS["error"](file, RowLayout(187, ("N", "S", "V", "F", "Q")), where="train.csv")` gives arrays; `read_file` parses
a file, loose or in a zip, once and maps it into memory; `read_parts` reads a file of any size part by part.
"""

import csv
import io
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from loaders.base import Split
from loaders.files.archives import reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import log, opened_in
from loaders.formats.csv.text import HEAD, LimitedStream, encoding_of, unpacked
from toolbox import plain, terminal
from toolbox.errors import DataError
from toolbox.registry import pick

MOST_COLUMNS = 100_000  # pandas needs a tenth of a millisecond for each
LARGEST = float(np.finfo(np.float32).max)
BLANK = " \t\r\n"
NOT_UTF8 = "is not UTF-8"
UNREAD = "cell"  # of a column that is not read
CONVERT = "'CSV UTF-8' in a spreadsheet, or iconv -f WINDOWS-1252 -t UTF-8 FILE > my.csv"
BYTES: dict[str, Any] = {"unit": "B", "unit_scale": True, "leave": False}  # of a progress bar
PLAIN = "rows of numbers with commas between them, no header"


@dataclass(frozen=True)
class RowLayout:
    """The cells of a row: `samples` numbers, and a label or text.

    The label, in the last column or the first, is the number of one of the `classes`, from `lowest` on; rows without
    classes have no label. `texts` has columns of text, counted from 0, by the name of their array; they may be empty if
    `blank`, and the one called `lacking` always. The columns `unread` may have any content. `hint` is for a wrong first
    row; errors also name the columns by their `names`, if given.
    """

    samples: int
    classes: Sequence[str] = ()
    lowest: int = 0
    label_first: bool = False
    texts: Mapping[str, int] = field(default_factory=dict)
    unread: Sequence[int] = ()
    hint: str = PLAIN
    delimiter: str = ","
    decimal: str = "."
    blank: bool = False
    lacking: str = ""
    names: Sequence[str] = ()

    @cached_property
    def columns(self) -> int:
        return self.samples + bool(self.classes) + len(self.texts) + len(self.unread)

    def may_lack(self, name: str) -> bool:
        """Whether a column of text may be empty."""
        return self.blank or name == self.lacking

    @cached_property
    def label(self) -> int:
        """The column of the label, counted from 0; -1 for none."""
        return (0 if self.label_first else self.columns - 1) if self.classes else -1

    @cached_property
    def labels(self) -> range:
        return range(self.lowest, self.lowest + len(self.classes))

    @cached_property
    def allowed(self) -> str:
        """The labels in words."""
        first, last = self.labels[0], self.labels[-1]
        names = (", " if any(" " in name for name in self.classes) else " ").join(self.classes)
        return (f"one of {first}..{last}" if first < last else f"{first}") + f" ({names})"

    @cached_property
    def expected(self) -> str:
        """A row in words."""
        parts = [f"{self.samples} samples", *(["a label"] if self.classes else []), *self.texts]
        return " and ".join(parts[::-1] if self.label_first else parts)

    @cached_property
    def types(self) -> dict[str, Any]:
        """The types of the columns for pandas; in a table with columns of text, NA is text too."""
        texts, marks = {*self.texts.values(), *self.unread}, {"sep": self.delimiter, "decimal": self.decimal}
        if not texts:
            return {"dtype": np.float32, **marks}
        types = {column: str if column in texts else np.float32 for column in range(self.columns)}
        return {"dtype": types, "keep_default_na": False, **marks}


def read_rows(file: IO[bytes], layout: RowLayout, *, where: str, skip: Sequence[int] = ()) -> Arrays:
    """x (N, samples) float32, y (N,) from 0 on with classes, and each text (N,), of a CSV, plain or gzipped.

    Blank lines and the lines `skip` are ignored. Raises DataError for another line that is no such row, with `where`,
    line and column, counted from 1. `file` is open for reading and can be sought.
    """
    import pandas as pd

    stream = _stream(file, where)
    wrong = partial(_first_wrong, stream, layout, where, skip)
    if any(len(cells) != layout.columns for _, cells in islice(_rows(stream, skip, where, layout.delimiter), 1)):
        raise wrong()  # before pandas makes a column of each cell
    try:
        table = _table(stream, layout, where, skip)
    except pd.errors.EmptyDataError as error:
        raise DataError("the file is empty", where=where, hint=f"rows of {layout.expected}") from error
    except ValueError as error:  # text, ragged rows, bytes that are not UTF-8
        raise wrong() from error
    if table.shape[1] != layout.columns:
        raise wrong()
    in_line = [~table[column].str.contains("\n").to_numpy(bool) for column in (*layout.texts.values(), *layout.unread)]
    columns = {name: table.pop(column).fillna("") for name, column in layout.texts.items()}
    texts = {name: column.str.strip(BLANK).to_numpy(str) for name, column in columns.items()}
    numbers = table.drop(columns=list(layout.unread)).to_numpy()
    full = [text != "" for name, text in texts.items() if not layout.may_lack(name)]
    good = np.isfinite(numbers).all(1) & np.all([*full, *in_line], 0)
    y = {}
    if layout.classes:
        good &= np.isin(numbers[:, layout.label], layout.labels)
        y = {"y": np.where(good, numbers[:, layout.label], layout.lowest).astype(np.int64) - layout.lowest}
        numbers = numbers[:, 1:] if layout.label_first else numbers[:, :-1]
    if not good.all():
        raise wrong(row=int(good.argmin()), also=f"; wrong rows: {(~good).sum()}")
    return {"x": np.ascontiguousarray(numbers)} | y | texts


def _table(stream: "io.BufferedReader[LimitedStream]", layout: RowLayout, where: str, skip: Sequence[int]) -> Any:
    """The table of pandas. A letter that is not UTF-8 passes where it stands in columns that are not read alone."""
    import pandas as pd

    def read(errors: str) -> Any:
        stream.seek(0)
        options: dict[str, Any] = {"skiprows": [line - 1 for line in skip], "encoding_errors": errors}
        # 1e39 becomes inf, which is refused later.
        with (
            np.errstate(over="ignore"),
            terminal.bar(total=stream.raw.size, desc=plain.escaped(Path(where).name), **BYTES) as bar,
        ):
            stream.raw.progress = bar.update
            return pd.read_csv(stream, header=None, skipinitialspace=True, **options, **layout.types)

    try:
        return read("strict")
    except UnicodeDecodeError:
        with closing(_rows(stream, skip, where, layout.delimiter)) as rows:
            if not layout.unread or any(_complaint(cells, layout)[0] for _, cells in rows):
                raise
        return read("replace")


def read_good_rows(file: IO[bytes], layout: RowLayout, *, where: str, skip: Sequence[int] = ()) -> Arrays:
    """As `read_rows` without unusable rows. Raises DataError if none is left.

    If rows were dropped, `index` (N,) has the number in the file of each kept row, and `dropped` the line, column and
    fault of each dropped row. Checksums depend on this text.
    """
    try:
        return read_rows(file, layout, where=where, skip=skip)
    except DataError as error:
        lines = [*_lines(_stream(file, where), skip, layout.delimiter)]
        looked_at = [(line, *_complaint(cells_of(text, layout.delimiter, where), layout)) for line, text in lines]
        index = np.flatnonzero([not what for _, what, _ in looked_at])
        if len(index) == len(looked_at):
            raise
        if not len(index):
            raise DataError(f"no row can be kept: {error.what}", where=error.where, hint=error.hint) from error
    wrong = {line: f"{_place(line, column)}: {what}" for line, what, column in looked_at if what}
    kept = _read_lines([lines[row] for row in index], layout, where)  # an open quotation mark outlasts a skipped line
    return kept | {"index": index, "dropped": np.array([*wrong.values()])}


# The treatments of unusable rows.
BAD_ROWS: dict[str, Callable[..., Arrays]] = {"error": read_rows, "drop": read_good_rows}


class RowsPart(NamedTuple):
    """Some rows of a file: their arrays, with the number of each in the file as `index` (n,), and its faulty rows."""

    arrays: Arrays
    dropped: list[str]
    rows: int  # read so far, the faulty ones too


def read_parts(
    file: IO[bytes], layout: RowLayout, *, where: str, rows: int, skip: Sequence[int] = (), drop: bool = False
) -> Iterator[RowsPart]:
    """As `read_rows`, at most `rows` rows at a time; with `drop` as `read_good_rows`. No part without rows."""
    first, lines = 0, _lines(_stream(file, where), skip, layout.delimiter)
    while part := list(islice(lines, rows)):
        index, wrong = np.arange(first, first + len(part)), {}
        try:
            arrays = _read_lines(part, layout, where)
        except DataError:
            found = [(line, *_complaint(cells_of(content, layout.delimiter, where), layout)) for line, content in part]
            wrong = {row: fault for row, fault in enumerate(found) if fault[1]}
            if not (wrong and drop):
                line, what, column = next(iter(wrong.values()), (0, "", 0))
                raise _error(line, what, column, layout=layout, where=where, skip=skip) from None
            index = np.delete(index, [*wrong])
            arrays = _read_lines([part[row - first] for row in index], layout, where) if len(index) else {}
        first += len(part)
        dropped = [f"{_place(line, column, layout.names)}: {what}" for line, what, column in wrong.values()]
        yield RowsPart(arrays | {"index": index}, dropped, first)


def _read_lines(part: Sequence[tuple[int, str]], layout: RowLayout, where: str) -> Arrays:
    text = "\n".join(content for _, content in part)
    arrays = read_rows(io.BytesIO(text.encode(errors="surrogateescape")), layout, where=where)
    if len(arrays["x"]) < len(part):
        raise DataError("a cell continues in the next line", where=where)  # the caller names the line
    return arrays


def first_lines(file: IO[bytes], count: int, where: str) -> list[tuple[int, str]]:
    """Number, counted from 1, and text of the first `count` lines that are not blank. DataError beyond limits."""
    return list(islice(_lines(_stream(file, where), (), "\t"), count))  # a tab may stand for an empty cell


def _stream(file: IO[bytes], where: str) -> "io.BufferedReader[LimitedStream]":
    """The bytes of a table, unpacked. Raises DataError for a text with two bytes or more a character."""
    stream = unpacked(file, where, measured=True)
    encoding = encoding_of(stream.peek(HEAD)[:HEAD])
    if encoding.startswith(("utf-16", "utf-32")):
        name = encoding[:6].upper()
        hint = f"iconv -f {name} -t UTF-8 FILE > my.csv"
        raise DataError(f"the text is in {name}, not in UTF-8", where=f"{where}, line 1", hint=hint)
    return stream


def _lines(file: IO[bytes], skip: Sequence[int], delimiter: str) -> Iterator[tuple[int, str]]:
    """Number, counted from 1, and text of each row; blank lines and the lines `skip` are no rows."""
    file.seek(0)
    text, blank = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape"), BLANK.replace(delimiter, "")
    try:
        for line, content in enumerate(text, 1):
            if line not in skip and content.strip(blank):
                yield line, content.strip(blank)
    finally:
        text.detach()  # or the file would be closed with it


def _rows(
    file: IO[bytes], skip: Sequence[int], where: str, delimiter: str
) -> Generator[tuple[int, list[str]], None, None]:
    """Line, counted from 1, and cells of each row."""
    for line, content in _lines(file, skip, delimiter):
        yield line, cells_of(content, delimiter, f"{where}, line {line}")


def cells_of(line: str, delimiter: str, where: str) -> list[str]:
    """The cells of a line, as CSV quotes them. Raises DataError for too many.

    A cell with a quotation mark that is not closed starts with it and ends with a line end, which no other cell has.
    """
    if (columns := line.count(delimiter) + 1) > MOST_COLUMNS:
        what = f"{columns:,} columns, at most {MOST_COLUMNS:,} are read"
        raise DataError(what, where=where, hint="a row of samples a line, or an NPZ")
    if '"' not in line:
        return line.split(delimiter)
    try:
        cells, *closed = csv.reader([line + "\n", ""], delimiter=delimiter, skipinitialspace=True)
    except csv.Error:  # a cell beyond csv's limit
        return line.split(delimiter)
    if closed:
        return cells
    *whole, rest = cells
    first, *others = rest.rstrip("\n").split(delimiter)
    return [*whole, f'"{first}\n', *others]


def foreign_text(cell: str) -> str:
    """The fault of a text that is not UTF-8, with its reading in Windows-1252 if it has one; "" if it is."""
    if not any("\udc80" <= letter <= "\udcff" for letter in cell):
        return ""
    try:
        return f"{NOT_UTF8}; in Windows-1252 it reads '{cell.encode(errors='surrogateescape').decode('cp1252')[:40]}'"
    except UnicodeDecodeError:
        return NOT_UTF8


def _first_wrong(
    file: IO[bytes], layout: RowLayout, where: str, skip: Sequence[int], *, row: int = 0, also: str = ""
) -> DataError:
    """The fault of the first wrong row, from row number `row` on."""
    for line, cells in islice(_rows(file, skip, where, layout.delimiter), row, None):
        what, column = _complaint(cells, layout)
        if what:
            return _error(line, what + also, column, layout=layout, where=where, skip=skip)
    return _error(0, "", 0, layout=layout, where=where)


def _error(line: int, what: str, column: int, *, layout: RowLayout, where: str, skip: Sequence[int] = ()) -> DataError:
    """The error for the fault `what` of a line, or for a file without a fault in any line."""
    if not what:
        return DataError("the file cannot be read as a table of numbers", where=where, hint="a plain CSV in UTF-8")
    hint = layout.hint if line == 1 or line - 1 in skip else "correct the row, or --bad-rows drop"
    hint = CONVERT if NOT_UTF8 in what else hint
    return DataError(what, where=f"{where}, {_place(line, column, layout.names)}", hint=hint)


def _place(line: int, column: int, names: Sequence[str] = ()) -> str:
    name = f" ({names[column - 1][:40]})" if names and column else ""
    return f"line {line}" + (f", column {column}{name}" if column else "")


def _complaint(cells: Sequence[str], layout: RowLayout) -> tuple[str, int]:
    """The fault of a row, "" for none, and its column, counted from 1 (0: the row as a whole)."""
    if len(cells) != layout.columns:
        return f"{len(cells)} columns, expected {layout.expected}", 0
    texts = {column: name for name, column in layout.texts.items()}
    for column, cell in enumerate(cells):
        if column in texts or column in layout.unread:
            name = texts.get(column, UNREAD)
            what = _text_fault(cell, name, column in layout.unread or layout.may_lack(name))
        else:
            what = _number_fault(cell, layout, column == layout.label)
        if what:
            return what, column + 1
    return "", 0


def _text_fault(cell: str, name: str, blank: bool) -> str:
    if (why := foreign_text(cell)) and name != UNREAD:
        return f"the {name} {why}"
    if cell.endswith("\n"):
        return f"the {name} has a quotation mark that is not closed in its line"
    return "" if blank or cell.strip(BLANK) else f"the {name} is empty"


def _number_fault(cell: str, layout: RowLayout, is_label: bool) -> str:
    other = {".": "_", ",": "._"}[layout.decimal]
    try:
        plain = cell.isascii() and not any(mark in cell for mark in other)
        value = float(cell.replace(layout.decimal, ".")) if plain else np.nan  # as the table is read
    except ValueError:
        value = np.nan
    if not abs(value) <= LARGEST:
        if why := foreign_text(cell):
            return f"the cell {why}"
        what = f"'{cell.strip()[:40]}' is not a finite number" if cell.strip() else "the cell is empty"
        return what + (f", the label is {layout.allowed}" if is_label else "")
    return f"label {value:g} is not {layout.allowed}" if is_label and value not in layout.labels else ""


NAMED = 3  # dropped rows in the warning
AsCsv = Callable[[IO[bytes], str], IO[bytes]]


def read_file(
    source: Path, name: str, cache: Path, *, layout: RowLayout, bad_rows: str, as_csv: AsCsv | None = None
) -> tuple[Split, str]:
    """The rows of the file `name` in `source`, a folder or zip, and the checksum of their content; parsed into `cache`.

    `bad_rows` is a name in BAD_ROWS; `as_csv` converts a file in another form, from the file and its path. Raises
    DataError that names file, line and column, ResourceError without permission.
    """
    key = fingerprint(source / name if source.is_dir() else source)
    build = partial(_parse, source, name, layout=layout, bad_rows=bad_rows, as_csv=as_csv)
    arrays, checksum = cached(cache / f"{Path(name).stem}-{bad_rows}-{key}", build)
    warn_of_dropped(arrays, source / name)
    return Split.of(arrays), checksum


def warn_of_dropped(arrays: Arrays, path: Path) -> None:
    """Warn of the dropped rows of `path`, with the first of them."""
    if "dropped" in arrays:
        first = "; ".join(arrays["dropped"][:NAMED]) + ("; ..." if len(arrays["dropped"]) > NAMED else "")
        log.warning("unusable rows dropped from %s: %d; %s", path, len(arrays["dropped"]), first)


def _parse(source: Path, name: str, *, layout: RowLayout, bad_rows: str, as_csv: AsCsv | None) -> Arrays:
    log.info("reading %s", source / name)
    with reading(source), opened_in(source, name) as file:
        table = as_csv(file, str(source / name)) if as_csv else file
        arrays = pick("bad-rows", BAD_ROWS, bad_rows)(table, layout, where=str(source / name))
    return arrays | {"record": np.full(len(arrays["x"]), "")}
