"""The form of a text table with a column per lead, inferred from its first rows: `form = understand(text, path)`.

`form.columns` are its columns with their role, `form.clock` is the column of time, `str(form)` describes it in a line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from loaders.formats import lead_names
from loaders.formats.csv import clock as csv_time
from loaders.formats.csv import header as head
from loaders.formats.csv import text as csv_text
from loaders.formats.csv.clock import Clock
from loaders.formats.csv.header import COMMENT, Line, TableHeader
from loaders.formats.csv.text import DECIMALS, DELIMITERS, END, HINT, MISSING, MOSTLY, TableLayout, TableText
from loaders.formats.lead_names import is_aside, is_lead
from toolbox.errors import DataError

MOST_COLUMNS, MOST_UNNAMED = 1024, 32
SIDEWAYS_COLUMNS, SIDEWAYS_RATIO = 64, 4  # of a transposed table: least columns, and least ratio of columns to rows
ROWS_OR_NAMES = "--read-as rows or --dataset table for rows of beats, or a line of names for leads"
COMMAS = re.compile(r"-?\d+(?:,-?\d+)+")
LEAST_RAMP, RAMP, FALLING, JUMP = 20, 0.999, 0.02, 3
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Column:
    """A column of the file: its place, name, role and stated unit.

    `role` is lead, time, count, text, other, or a reason to refuse the table (long, backwards). `mv` is the size of its
    unit in mV, None if the file does not state it.
    """

    place: int
    name: str
    role: str
    unit: str = ""
    mv: float | None = None


@dataclass(frozen=True)
class TableForm:
    """The form of a table: its encoding and layout, its columns, its clock, and the rate stated above its rows.

    The first row of data is in line `line`, counted from 1, `skipped` characters from the start. With `blank_rows`
    blank lines among the rows (of one column) are missing samples. Lines with one of the characters `comment` first
    have no data.
    """

    encoding: str
    layout: TableLayout
    line: int
    skipped: int
    header: int
    comment: str
    blank_rows: bool
    columns: tuple[Column, ...]
    clock: Clock | None
    stated_hz: float | None
    doubts: tuple[str, ...]

    @property
    def leads(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role == "lead")

    def __str__(self) -> str:
        dialect, clock, time = self.layout.dialect, self.clock, "no time column"
        if clock:
            unit = f"{clock.unit if clock.kind == 'number' else clock.kind}{'' if clock.is_stated else ', assumed'}"
            time = f"row numbers in column {clock.name!r}" if clock.counts else f"time column {clock.name!r} ({unit})"
        named: dict[str, list[str]] = {}
        for lead in self.leads:
            named.setdefault(lead.unit or "an unstated unit", []).append(lead.name)
        leads = ", ".join(f"{', '.join(names)[:150]} in {unit}" for unit, names in named.items())
        used = {lead.place for lead in self.leads} | ({clock.place} if clock else set())
        aside = ", ".join(repr(column.name) for column in self.columns if column.place not in used)
        parts = [self.encoding, DELIMITERS[dialect.delimiter], f"decimal {DECIMALS[dialect.decimal]}"]
        parts += [f"names in line {self.header}" if self.header else "no header", time, f"leads {leads[:400]}"]
        return "; ".join([*parts, *([f"left out {aside[:200]}"] if aside else [])])


def understand(text: TableText, path: Path, given_hz: float | None) -> TableForm:
    """The form of a table; `given_hz` decides the unit of a column of time without one.

    Raises DataError for a table without leads in columns.
    """
    lines = _lines(text)
    comment = "".join(dict.fromkeys(line.text[0] for line in lines if line.text[0] in COMMENT))
    plain = [line for line in lines if line.text[0] not in COMMENT]
    layout = csv_text.choose([line.text for line in plain])
    if layout is None:
        raise _no_numbers(plain, path)
    rows = [layout.dialect.cells(line.text) for line in plain[layout.first :]]
    _check_width(layout, path)
    above = [line for line in lines if line.number < plain[layout.first].number]
    header = head.header_of(above, layout, head.facts_in([line.text for line in above], layout.width))
    if not header.line and head.counts_names(rows):
        header = replace(header, names=tuple(rows[0]), line=plain[layout.first].number)
        layout, rows = replace(layout, first=layout.first + 1), rows[1:]
    if not header.line and len(layout.numeric) > MOST_UNNAMED:
        what = f"{len(layout.numeric)} columns of numbers without names are no leads"
        raise DataError(what, where=str(path), hint=ROWS_OR_NAMES)
    columns, clock = _columns(header, layout, rows, given_hz)
    for column in columns:
        if column.role == "long":
            raise DataError(f"column {column.name!r} names the lead of each row", where=str(path), hint=HINT)
        if column.role == "backwards" and not clock:
            what = f"column {column.name!r} runs backwards"
            raise DataError(what, where=str(path), hint="the rows in order of time")
    begin, apart = plain[layout.first], np.diff([line.number for line in plain[layout.first :]])
    # Nearly every row is followed by the same number of blank lines, one or more.
    is_spaced = len(apart) > 0 and np.median(apart) > 1 and (apart == np.median(apart)).mean() >= MOSTLY
    return TableForm(
        encoding=text.encoding,
        layout=layout,
        line=begin.number,
        skipped=begin.start,
        header=header.line,
        comment=comment,
        blank_rows=layout.width == 1 and not is_spaced,
        columns=columns,
        clock=clock,
        stated_hz=header.rate_hz or _rate_in(header, layout, rows),
        doubts=(*layout.doubts, *([] if clock else _unread_times(columns, rows))),
    )


def _no_numbers(lines: Sequence[Line], path: Path) -> DataError:
    if any(COMMAS.fullmatch(line.text.strip()) for line in lines):
        what, hint = "commas are decimal signs and delimiters at once", "decimal points, or semicolons between columns"
        return DataError(what, where=str(path), hint=hint)
    return DataError("the file has no samples: no line is a row of numbers", where=str(path), hint=HINT)


def _unread_times(columns: Sequence[Column], rows: Rows) -> list[str]:
    """A doubt for each column of text with a name of times and different cells."""
    doubts = []
    for column in columns:
        cells = list(dict.fromkeys(row[column.place] for row in rows if column.place < len(row)))
        if column.role == "text" and csv_time.TIME.fullmatch(column.name) and len(cells) > 1:
            what = f"the times in column {column.name!r}, such as {cells[0][:40]!r}, are in an unknown form"
            doubts.append(f"{what}: gaps between rows are not detected")
    return doubts


def _lines(text: TableText) -> list[Line]:
    """The lines of the head that are not blank; the last is left out if the head may have a part of it only."""
    ends = list(END.finditer(text.head))
    starts = [0, *(end.end() for end in ends)]
    stops = [*(end.start() for end in ends), len(text.head)]
    spans = list(zip(range(1, len(starts) + 1), starts, stops, strict=True))
    if not text.is_whole and len(spans) > 1:
        spans.pop()
    found = [Line(number, start, text.head[start:stop]) for number, start, stop in spans]
    return [line for line in found if line.text.strip()]


def _check_width(layout: TableLayout, path: Path) -> None:
    if layout.width >= SIDEWAYS_COLUMNS:
        with csv_text.opened(path) as text:
            count = sum(1 for _ in islice((line for line in text if line.strip()), layout.width))
        if count * SIDEWAYS_RATIO < layout.width:
            many = "1 row" if count == 1 else f"{count} rows"
            what = f"the table is transposed: {many} of {layout.width} numbers, a row per lead"
            raise DataError(what, where=str(path), hint=f"{HINT}; pandas.read_csv(FILE, header=None).T transposes it")
    if layout.width > MOST_COLUMNS:
        what = f"the table has {layout.width} columns, at most {MOST_COLUMNS} are read"
        raise DataError(what, where=str(path), hint=HINT)


def _rate_in(header: TableHeader, layout: TableLayout, rows: Rows) -> float | None:
    """The rate in a column that states it in each row, or in one row."""
    for k, name in enumerate(header.names):
        if k in layout.numeric and head.RATE_COLUMN.fullmatch(name):
            values = layout.dialect.numbers([row[k] for row in rows if k < len(row)])
            values = np.unique(values[np.isfinite(values)])
            if len(values) == 1 and head.LEAST_HZ <= values[0] <= head.MOST_HZ:
                return float(values[0])
    return None


def _columns(
    header: TableHeader, layout: TableLayout, rows: Rows, given_hz: float | None
) -> tuple[tuple[Column, ...], Clock | None]:
    columns, clocks = [], {}
    for k in range(layout.width):
        cells = [row[k] if k < len(row) else "" for row in rows]
        column, clock = _column(k, header, layout, cells, given_hz=given_hz)
        columns.append(column)
        if clock:
            clocks[clock] = (clock.quality, clock.counts, not clock.is_stated, clock.resolution_s / clock.period_s)
    if not any(column.role == "lead" for column in columns):  # then any column of numbers is the signal
        columns = [_lead(column.place, header) if column.role == "other" else column for column in columns]
    return tuple(columns), min(clocks, key=lambda clock: clocks[clock], default=None)


def _column(
    k: int, header: TableHeader, layout: TableLayout, cells: Sequence[str], *, given_hz: float | None
) -> tuple[Column, Clock | None]:
    """A column by its name and its first cells, and its clock, if it is one."""
    name, numeric = header.names[k], k in layout.numeric
    short, unit = lead_names.named(name)
    unit = (header.units[k] or unit or "").lower()
    is_time = csv_time.TIME.fullmatch(short) or csv_time.unit_of(name, unit)
    is_count = csv_time.COUNT.fullmatch(short) and (name or (header.line and k == 0))
    aside = is_aside(short) or head.RATE_COLUMN.fullmatch(name) or unit in head.OTHER_UNITS
    find = partial(csv_time.clock_of, k, name, unit, dialect=layout.dialect, numeric=numeric, given_hz=given_hz)
    clock = find(cells=cells)
    is_clock = clock is not None and (is_time or is_count)
    is_empty = all(cell.lower() in MISSING for cell in cells)
    if is_lead(short or name) and (numeric or is_empty) and not aside and not is_clock:
        return _lead(k, header), None
    values = layout.dialect.numbers(cells) if numeric else np.empty(0)
    role = "other"
    if clock and (is_clock or not numeric or _is_ramp(values)):
        return Column(k, header.shown(k), "count" if clock.counts else "time"), clock
    if not clock and (is_time or not numeric or _is_ramp(-values)) and find(cells=cells[::-1]):
        role = "backwards"
    elif not numeric:
        leads = {cell for cell in cells if cell}
        role = "long" if len(leads) > 1 and all(map(is_lead, leads)) else "text"
    elif (csv_time.TIME.fullmatch(short) and len(cells) < LEAST_RAMP) or _is_ramp(values):
        role = "time"
    elif not (is_time or is_count or aside or _is_sawtooth(values)):
        return _lead(k, header), None
    return Column(k, header.shown(k), role), None


def _lead(k: int, header: TableHeader) -> Column:
    """A column as a lead, with the unit of its name, of the line below it or of the lines above."""
    name, (short, unit) = header.names[k], lead_names.named(header.names[k])
    if unit is not None and not lead_names.is_electric(unit):
        short, unit = name, None  # brackets in a name
    if lead_names.millivolts(name) is not None and len(name) > 1:
        unit = name
    unit = header.units[k] or unit or header.facts.unit or ""
    return Column(k, short or header.shown(k), "lead", unit, lead_names.millivolts(unit) if unit else None)


def _is_ramp(values: np.ndarray) -> bool:
    """Whether numbers rise steadily, jumps aside."""
    steps = np.diff(values[np.isfinite(values)])
    if len(steps) < LEAST_RAMP or (steps < 0).mean() > FALLING or not (steps > 0).any():
        return False
    rise = np.clip(steps, None, JUMP * np.median(steps[steps > 0])).cumsum()
    return bool(np.ptp(rise) > 0 and np.corrcoef(rise, np.arange(len(rise)))[0, 1] >= RAMP)


def _is_sawtooth(values: np.ndarray) -> bool:
    """Whether numbers count up by a constant step, again and again."""
    steps = np.diff(values[np.isfinite(values)])
    if len(steps) < LEAST_RAMP or not (usual := np.median(steps)) > 0:
        return False
    return bool((steps == usual).mean() >= MOSTLY)
