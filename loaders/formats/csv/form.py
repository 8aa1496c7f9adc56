"""What a text table is, understood from its first rows before it is read: `form = understand(text, path)`.

`form.columns` are its columns by what they hold, `form.clock` is the one that states time, `str(form)` is the whole in
a line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from loaders.formats import units
from loaders.formats.csv import characters
from loaders.formats.csv import clock as csv_time
from loaders.formats.csv import dialect as csv_dialect
from loaders.formats.csv.characters import END, HINT, TableText
from loaders.formats.csv.clock import Clock
from loaders.formats.csv.dialect import DECIMALS, DELIMITERS, MISSING, Layout
from loaders.formats.csv.header import (
    COMMENT,
    LEAD,
    LEAST_HZ,
    MOST_HZ,
    OTHER_UNITS,
    RATE_COLUMN,
    RAW_UNITS,
    Header,
    Line,
    counts_names,
    facts_in,
    header_of,
)
from toolbox.errors import DataError

MOST_COLUMNS, MOST_UNNAMED = 1024, 32
SIDEWAYS_COLUMNS, SIDEWAYS_RATIO = 64, 4  # so many columns, and so many times as many as rows
ASIDE = re.compile(
    r"(?:(?:ecg|ekg|lead)[\s_-]*)?(?:label|class|target|annotation|beat|event|marker|mark|trigger|flag|status|quality|battery|off|hr|"
    r"heart[ _]?rate|bpm|pulse|rr|rr[ _-]?interval|spo2|temp(?:erature)?|patient|subject|record|group|age|sex|"
    r"(?:acc\w*|gyro\w*|mag\w*)[ _-]?[xyz]?)s?[ _]?(?:id|type|index)?",
    re.IGNORECASE,
)
COMMAS = re.compile(r"-?\d+(?:,-?\d+)+")
LEAST_RAMP, RAMP, FALLING, JUMP = 20, 0.999, 0.02, 3


@dataclass(frozen=True)
class Column:
    """A column of the file: its place there, its name and unit as stated, and what it holds.

    `role` is lead, time, count, text or other. `mv` is how many mV its unit is, None where the file does not state it.
    """

    place: int
    name: str
    role: str
    unit: str = ""
    mv: float | None = None


@dataclass(frozen=True)
class Form:
    """A table understood: how its text is written, its columns, its clock, and the rate that stands above its rows.

    The first row of data is in line `line`, counted from 1, `skipped` characters from the start. `blank_rows` says that
    blank lines among the rows (of one column) are missing samples. `comment` begins lines without data.
    """

    encoding: str
    layout: Layout
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
        """The columns of leads."""
        return tuple(column for column in self.columns if column.role == "lead")

    def __str__(self) -> str:
        dialect, clock = self.layout.dialect, self.clock
        parts = [self.encoding, DELIMITERS[dialect.delimiter], f"decimal {DECIMALS[dialect.decimal]}"]
        parts += [f"names in line {self.header}" if self.header else "no header"]
        if clock:
            unit = clock.unit if clock.kind == "number" else clock.kind
            told = f"time column {clock.name!r} ({unit}{'' if clock.is_stated else ', assumed'})"
            parts.append(f"row numbers in column {clock.name!r}" if clock.counts else told)
        else:
            parts.append("no time column")
        named: dict[str, list[str]] = {}
        for lead in self.leads:
            named.setdefault(lead.unit or "an unstated unit", []).append(lead.name)
        leads = ", ".join(f"{', '.join(names)[:150]} in {unit}" for unit, names in named.items())
        aside = [
            column.name
            for column in self.columns
            if column.role != "lead" and not (clock and column.place == clock.place)
        ]
        return "; ".join(
            [*parts, f"leads {leads[:400]}", *([f"left out {', '.join(map(repr, aside))[:200]}"] if aside else [])]
        )


def understand(text: TableText, path: Path, given_hz: float | None) -> Form:
    """The form of the table that `text` begins; `given_hz` decides where a column of time has no unit. Raises
    DataError."""
    lines = _lines(text)
    comment = "".join(dict.fromkeys(line.text[0] for line in lines if line.text[0] in COMMENT))
    plain = [line for line in lines if line.text[0] not in COMMENT]
    layout = csv_dialect.choose([line.text for line in plain])
    if layout is None:
        both = any(COMMAS.fullmatch(line.text.strip()) for line in plain)
        what = (
            "commas are decimal signs and delimiters at once"
            if both
            else "the file has no samples: there is no row of numbers"
        )
        raise DataError(
            what, where=str(path), hint="decimal points, or semicolons between the columns" if both else HINT
        )
    rows = [layout.dialect.cells(line.text) for line in plain[layout.first :]]
    _check_width(layout, path)
    above = [line for line in lines if line.number < plain[layout.first].number]
    facts = facts_in([line.text for line in above], layout.width)
    header = header_of(above, layout, facts)
    if not header.line and counts_names(rows):
        header = Header(tuple(rows[0]), header.units, plain[layout.first].number, facts)
        layout, rows = replace(layout, first=layout.first + 1), rows[1:]
    if not header.line and len(layout.numeric) > MOST_UNNAMED:
        what = f"{len(layout.numeric)} columns of numbers without names are no leads"
        raise DataError(what, where=str(path), hint="--dataset table for rows of beats, or a line of names for leads")
    columns, clock = _columns(header, layout, rows, given_hz)
    if long := next((column for column in columns if column.role == "long"), None):
        raise DataError(f"column {long.name!r} names the lead of each row", where=str(path), hint=HINT)
    if not clock and (back := next((column for column in columns if column.role == "backwards"), None)):
        raise DataError(f"column {back.name!r} runs backwards", where=str(path), hint="the rows in order of time")
    begin = plain[layout.first]
    return Form(
        encoding=text.encoding,
        layout=layout,
        line=begin.number,
        skipped=begin.start,
        header=header.line,
        comment=comment,
        blank_rows=layout.width == 1 and not _is_spaced(plain[layout.first :]),
        columns=columns,
        clock=clock,
        stated_hz=header.rate_hz or _rate_in(header, layout, rows),
        doubts=(*layout.doubts, *([] if clock else _unread_times(columns, rows))),
    )


def _unread_times(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """A doubt for each column of text that is called as times are, and changes."""
    texts = [column for column in columns if column.role == "text" and csv_time.TIME.fullmatch(column.name)]
    cells = {
        column.name: list(dict.fromkeys(row[column.place] for row in rows if column.place < len(row)))
        for column in texts
    }
    return [
        f"the times in column {name!r}, such as {found[0][:40]!r}, are in a form that is not read: gaps between rows"
        " are not seen"
        for name, found in cells.items()
        if len(found) > 1
    ]


def _lines(text: TableText) -> list[Line]:
    """The lines of the head that are not blank; the last is left out where it goes on behind the head."""
    ends = list(END.finditer(text.head))
    starts = [0, *(end.end() for end in ends)]
    stops = [*(end.start() for end in ends), len(text.head)]
    spans = list(zip(range(1, len(starts) + 1), starts, stops, strict=True))
    if not text.is_whole and len(spans) > 1:
        spans.pop()
    found = [Line(number, start, text.head[start:stop]) for number, start, stop in spans]
    return [line for line in found if line.text.strip()]


def _is_spaced(lines: Sequence[Line]) -> bool:
    """Whether the same number of blank lines, one or more, is behind nearly every row."""
    apart = np.diff([line.number for line in lines])
    return bool(len(apart)) and np.median(apart) > 1 and bool((apart == np.median(apart)).mean() >= csv_dialect.MOSTLY)


def _check_width(layout: Layout, path: Path) -> None:
    """Raise DataError for a table on its side and for one with too many columns."""
    if layout.width >= SIDEWAYS_COLUMNS:
        with characters.opened(path) as text:
            count = sum(1 for _ in islice((line for line in text if line.strip()), layout.width))
        if count * SIDEWAYS_RATIO < layout.width:
            many = "1 row" if count == 1 else f"{count} rows"
            what = f"the table lies on its side (is transposed): {many} of {layout.width} numbers, a row per lead"
            raise DataError(what, where=str(path), hint=f"{HINT}; pandas.read_csv(FILE, header=None).T turns it")
    if layout.width > MOST_COLUMNS:
        raise DataError(
            f"the table has {layout.width} columns, at most {MOST_COLUMNS} are read", where=str(path), hint=HINT
        )


def _rate_in(header: Header, layout: Layout, rows: Sequence[Sequence[str]]) -> float | None:
    """The rate in a column that states it in each row, or in the first."""
    for k, name in enumerate(header.names):
        if k in layout.numeric and RATE_COLUMN.fullmatch(name):
            values = layout.dialect.numbers([row[k] for row in rows if k < len(row)])
            values = np.unique(values[np.isfinite(values)])
            if len(values) == 1 and LEAST_HZ <= values[0] <= MOST_HZ:
                return float(values[0])
    return None


def _columns(
    header: Header, layout: Layout, rows: Sequence[Sequence[str]], given_hz: float | None
) -> tuple[tuple[Column, ...], Clock | None]:
    """The columns, and the best clock among them."""
    columns, clocks = [], []
    for k in range(layout.width):
        cells = [row[k] if k < len(row) else "" for row in rows]
        column, clock = _column(k, header, layout, cells, given_hz=given_hz)
        columns.append(column)
        clocks += [clock] if clock else []
    if not any(
        column.role == "lead" for column in columns
    ):  # then a column of numbers is the signal, whatever its name
        columns = [_lead(column.place, header) if column.role == "other" else column for column in columns]
    best = {
        clock: (clock.quality, clock.counts, not clock.is_stated, clock.resolution_s / clock.period_s)
        for clock in clocks
    }
    return tuple(columns), min(best, key=best.get, default=None)


def _column(
    k: int, header: Header, layout: Layout, cells: Sequence[str], *, given_hz: float | None
) -> tuple[Column, Clock | None]:
    """A column by its name and its first cells, and its clock where it is one."""
    name, shown, numeric = header.names[k], header.shown(k), k in layout.numeric
    short, unit = units.named(name)
    unit = (header.units[k] or unit or "").lower()
    is_empty = all(cell.lower() in MISSING for cell in cells)
    is_time = csv_time.TIME.fullmatch(short) or csv_time.unit_of(name, unit)
    is_count = csv_time.COUNT.fullmatch(short) and (name or (header.line and k == 0))
    is_aside = ASIDE.fullmatch(short) or RATE_COLUMN.fullmatch(name) or unit in OTHER_UNITS
    find = partial(csv_time.clock_of, k, name, unit, dialect=layout.dialect, numeric=numeric, given_hz=given_hz)
    clock = find(cells=cells)
    if (
        LEAD.fullmatch(short or name)
        and (numeric or is_empty)
        and not is_aside
        and not (clock and (is_time or is_count))
    ):
        return _lead(k, header), None
    values = layout.dialect.numbers(cells) if numeric else np.empty(0)
    if clock and (is_time or is_count or not numeric or _is_ramp(values)):
        return Column(k, shown, "count" if clock.counts else "time"), clock
    if (is_time or not numeric or _is_ramp(-values)) and not clock and find(cells=cells[::-1]):
        return Column(k, shown, "backwards"), None
    if not numeric:
        leads = {cell for cell in cells if cell}
        return Column(k, shown, "long" if len(leads) > 1 and all(map(LEAD.fullmatch, leads)) else "text"), None
    if (csv_time.TIME.fullmatch(short) and len(cells) < LEAST_RAMP) or _is_ramp(values):
        return Column(k, shown, "time"), None
    return (
        (Column(k, shown, "other"), None)
        if is_time or is_count or is_aside or _is_sawtooth(values)
        else (_lead(k, header), None)
    )


def _lead(k: int, header: Header) -> Column:
    """A column as a lead, with the unit of its name, of the line below it or of the lines above."""
    name, (short, unit) = header.names[k], units.named(header.names[k])
    if unit is not None and units.millivolts(unit) is None and unit.lower() not in RAW_UNITS:
        short, unit = name, None  # brackets in a name
    if units.millivolts(name) is not None and len(name) > 1:
        unit = name
    unit = header.units[k] or unit or header.facts.unit or ""
    return Column(k, short or header.shown(k), "lead", unit, units.millivolts(unit) if unit else None)


def _is_ramp(values: np.ndarray) -> bool:
    """Whether numbers go on rising all along, jumps apart."""
    steps = np.diff(values[np.isfinite(values)])
    if len(steps) < LEAST_RAMP or (steps < 0).mean() > FALLING or not (steps > 0).any():
        return False
    rise = np.clip(steps, None, JUMP * np.median(steps[steps > 0])).cumsum()
    return bool(np.ptp(rise) > 0 and np.corrcoef(rise, np.arange(len(rise)))[0, 1] >= RAMP)


def _is_sawtooth(values: np.ndarray) -> bool:
    """Whether numbers count up by one step, over and over."""
    steps = np.diff(values[np.isfinite(values)])
    return (
        len(steps) >= LEAST_RAMP
        and np.median(steps) > 0
        and bool((steps == np.median(steps)).mean() >= csv_dialect.MOSTLY)
    )
