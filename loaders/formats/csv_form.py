"""What a text table is, understood from its first rows before it is read: `form = understand(text, path)`.

`form.columns` are its columns by what they hold, `form.clock` is the one that states time, `str(form)` is the whole in a line.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from loaders.formats import csv_dialect, csv_text, csv_time, units
from loaders.formats.csv_dialect import AROUND, DECIMALS, DELIMITERS, MISSING, Layout
from loaders.formats.csv_text import END, HINT, TableText
from loaders.formats.csv_time import Clock
from toolbox.errors import DataError

MOST_COLUMNS, MOST_UNNAMED = 1024, 32
SIDEWAYS_COLUMNS, SIDEWAYS_RATIO = 64, 4  # so many columns, and so many times as many as rows
COMMENT = "#%"
RATE = re.compile(
    r"(?:sampl\w*[\s_-]*(?:rate|freq\w*)|(?:rate|freq\w*)[\s_-]*of[\s_-]*sampl\w*|abtast\w*|messrate|\bfs\b|\bsrate\b|"
    r"fr[eé]quence d.[eé]chant\w*|frecuencia de muestreo|frequenza di campion\w*)[^\d]*?(\d+(?:[.,]\d+)?)\s*(k?)",
    re.IGNORECASE,
)
HERTZ = re.compile(r"(\d+(?:[.,]\d+)?)\s*(k?)(?:hz|hertz|herz|гц|赫兹)", re.IGNORECASE)
INTERVAL = re.compile(r"sampl\w*[\s_-]*(?:interval|period)\w*(.*?)(\d+(?:[.,]\d+)?(?:e-?\d+)?)(.*)", re.IGNORECASE)
NO_RATE = re.compile(r"filter|notch|pass|mains|cut", re.IGNORECASE)
UNIT_KEY = re.compile(r"units?|einheit|unit[eéà]|unidad|eenheid|enhet", re.IGNORECASE)
LEAD_KEY = re.compile(r"leads?|labels?|channels?|ableitung|d[eé]rivation|derivaci[oó]n|derivazione|afleiding", re.IGNORECASE)
BETWEEN = re.compile(r"\s*[:=,;\t]+\s*")
LEAD = re.compile(
    r".*(?:ecg|ekg|lead|ableitung).*|d?i{1,3}|m?[lc]?i{1,3}|d[123]|ml\w{1,3}|a?v[rlf]|m?c?l?v\d{1,2}r?|v[xyz]|v|c[mc]\d",
    re.IGNORECASE,
)
ASIDE = re.compile(
    r"(?:label|class|target|annotation|beat|event|marker|mark|trigger|flag|status|quality|battery|hr|heart[ _]?rate|bpm|pulse|"
    r"rr|rr[ _-]?interval|spo2|temp(?:erature)?|patient|subject|record|group|age|sex)s?[ _]?(?:id|type|index)?",
    re.IGNORECASE,
)
OTHER_UNITS = (
    "%",
    "bpm",
    "1/min",
    "mmhg",
    "kpa",
    "c",
    "°c",
    "degc",
    "g",
    "mg",
    "m/s2",
    "m/s^2",
    "m/s²",
    "dps",
    "deg/s",
    "ohm",
    "ohms",
)
OTHER_UNITS += ("hz", "l/min", "rpm", "nu/min", *csv_time.SPELLINGS)
RAW_UNITS = ("", "adu", "a.u.", "au", "nu", "raw", "counts", "count", "digit", "digits", "lsb", "bits", "adc", "-")
UNIT_ROW = re.compile(r"(?:h+:)?m+:s+(?:\.[ms]+)?|.*\byyyy\b.*", re.IGNORECASE)
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

    The first row of data is in line `line`, counted from 1, `skipped` characters from the start. `blank_rows` says that blank
    lines among the rows (of one column) are missing samples. `comment` begins lines without data.
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
            assumed = "" if clock.is_stated or clock.counts else ", assumed"
            parts.append(f"time column {clock.name!r} ({unit}{assumed})")
        else:
            parts.append("no time column")
        leads = ", ".join(f"{lead.name} in {lead.unit or 'an unstated unit'}" for lead in self.leads)
        aside = [column.name for column in self.columns if column.role != "lead" and not (clock and column.place == clock.place)]
        return "; ".join([*parts, f"leads {leads[:200]}", *([f"left out {', '.join(map(repr, aside))[:200]}"] if aside else [])])


@dataclass(frozen=True)
class Line:
    """A line of the file with text in it: its number from 1, and where its first character is."""

    number: int
    start: int
    text: str


def understand(text: TableText, path: Path, given_hz: float | None) -> Form:
    """The form of the table that `text` begins; `given_hz` decides where a column of time has no unit. Raises DataError."""
    lines = _lines(text)
    comment = "".join(dict.fromkeys(line.text[0] for line in lines if line.text[0] in COMMENT))
    plain = [line for line in lines if line.text[0] not in COMMENT]
    layout = csv_dialect.choose([line.text for line in plain])
    if layout is None:
        raise DataError("the file has no samples: there is no row of numbers", where=str(path), hint=HINT)
    rows = [layout.dialect.cells(line.text) for line in plain[layout.first :]]
    _check_width(layout, rows, path)
    above = [line for line in lines if line.number < plain[layout.first].number]
    facts = _facts([line.text for line in above], layout.width)
    header = _header(above, layout, facts)
    if not header.line and _counts_names(rows):
        header = Header(tuple(rows[0]), header.units, plain[layout.first].number, facts)
        layout, rows = replace(layout, first=layout.first + 1), rows[1:]
    if not header.line and len(layout.numeric) > MOST_UNNAMED:
        what = f"{len(layout.numeric)} columns of numbers without names are no leads"
        raise DataError(what, where=str(path), hint="--dataset table for rows of beats, or a line of names for leads")
    columns, clock = _columns(header, layout, rows, given_hz)
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
        stated_hz=facts.rate_hz,
        doubts=layout.doubts,
    )


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


def _check_width(layout: Layout, rows: Sequence[Sequence[str]], path: Path) -> None:
    """Raise DataError for a table on its side and for one with too many columns."""
    if layout.width >= SIDEWAYS_COLUMNS:
        with csv_text.opened(path) as text:
            count = sum(1 for _ in islice((line for line in text if line.strip()), layout.width))
        if count * SIDEWAYS_RATIO < layout.width:
            many = "1 row" if count == 1 else f"{count} rows"
            what = f"the table lies on its side (is transposed): {many} of {layout.width} numbers, a row per lead"
            raise DataError(what, where=str(path), hint=f"{HINT}; pandas.read_csv(FILE, header=None).T turns it")
    if layout.width > MOST_COLUMNS:
        raise DataError(f"the table has {layout.width} columns, at most {MOST_COLUMNS} are read", where=str(path), hint=HINT)


@dataclass(frozen=True)
class Facts:
    """What the lines above the rows state: the rate, the unit and the names of leads."""

    rate_hz: float | None = None
    unit: str | None = None
    leads: tuple[str, ...] = ()
    keyed: frozenset[int] = frozenset()  # of the lines, those that state any of it


def _facts(lines: Sequence[str], width: int) -> Facts:
    rate_hz, unit, leads, keyed = None, None, (), set()
    for k, line in enumerate(lines):
        line, is_comment = line.strip(f"{COMMENT} \t"), line[0] in COMMENT
        key, *values = [part.strip(AROUND) for part in BETWEEN.split(line, maxsplit=1)]
        value = values[0] if values else ""
        if line.startswith("{") and (found := _open_signals(line)):
            rate_hz, leads = found
        elif (hz := _rate(line)) is not None:
            rate_hz = hz
        elif UNIT_KEY.fullmatch(key) and value:
            unit = value
        elif LEAD_KEY.fullmatch(key) and value and (width == 1 or is_comment):
            leads = tuple(value.split() if width > 1 else [value])
        else:
            continue
        keyed.add(k)
    return Facts(rate_hz, unit, leads, frozenset(keyed))


def _rate(line: str) -> float | None:
    """The sampling rate that a line states in words."""
    if NO_RATE.search(line):
        return None
    cells = [cell.strip(AROUND) for cell in re.split(r"[:=;\t]|,(?!\d)|(?<!\d),", line)]
    if interval := INTERVAL.search(line):
        unit = csv_time.unit_of(f"{interval[1]} {interval[3]}", "") or "s"
        period = float(interval[2].replace(",", ".")) * csv_time.UNITS_S[unit]
        return 1 / period if period else None
    found = RATE.search(line) or next((hertz for cell in cells if (hertz := HERTZ.fullmatch(cell))), None)
    return float(found[1].replace(",", ".")) * (1000 if found[2] else 1) if found else None


def _open_signals(line: str) -> tuple[float | None, tuple[str, ...]] | None:
    """The rate and the names of columns in the JSON line of OpenSignals; None where it is none."""
    try:
        (facts, *_) = json.loads(line).values()
        names = [str(name) for name in facts.get("column", ())]
        sensors = dict(zip(facts.get("label", ()), facts.get("sensor", ()), strict=False))
        rate_hz = float(facts["sampling rate"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return rate_hz, tuple(str(sensors.get(name, name)) for name in names)


@dataclass(frozen=True)
class Header:
    """Names and units of the columns, "" where there is none, the line of the names (0: none), what other lines state."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    line: int
    facts: Facts

    def shown(self, k: int) -> str:
        """How column `k` is called in messages."""
        return self.names[k] or f"lead {k + 1}"


def _header(above: Sequence[Line], layout: Layout, facts: Facts) -> Header:
    """The names right above the rows, which are names of columns, not a rate or a unit with its key; and units below them."""
    none = ("",) * layout.width
    known = tuple(facts.leads) + none[len(facts.leads) :] if len(facts.leads) == layout.width - layout.spare else None
    if known is None and len(facts.leads) == len(layout.numeric) == 1:
        known = tuple(facts.leads[0] if k in layout.numeric else "" for k in range(layout.width))
    named = [(line, None if k in facts.keyed else _names(line.text, layout)) for k, line in enumerate(above)]
    plain = [each for each in named if each[0].text[0] not in COMMENT][-2:]
    above, found = zip(*(plain if plain and plain[-1][1] else named[-2:]), strict=True) if named else ((), ())
    if not found or not found[-1]:
        return Header(known or none, none, 0, facts)
    if not _are_units(found[-1]):
        return Header(known if known and layout.width == 1 else found[-1], none, above[-1].number, facts)
    if len(found) > 1 and found[0]:
        return Header(found[0], found[-1], above[-2].number, facts)
    return Header(known, found[-1], above[-1].number, facts) if known else Header(found[-1], none, above[-1].number, facts)


def _names(line: str, layout: Layout) -> tuple[str, ...] | None:
    """The names of the columns in a line above the rows; in a comment only where it is sure to have them."""
    names = layout.names_in(line.lstrip(COMMENT))
    if names and (not any(names) or any(layout.dialect.is_number(name) and not name.isdecimal() for name in names)):
        return None
    return None if names and line[0] in COMMENT and layout.width == 1 and not LEAD.fullmatch(names[0]) else names and tuple(names)


def _are_units(cells: Sequence[str]) -> bool:
    """Whether the cells of a line are units, as PhysioBank writes them below the names."""
    known = [units.millivolts(cell) is not None or UNIT_ROW.fullmatch(cell) is not None for cell in cells]
    others = [cell.lower() in (*OTHER_UNITS, *RAW_UNITS) for cell in cells]
    return any(known) and all(a or b for a, b in zip(known, others, strict=True))


def _counts_names(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is the names that pandas gives to columns without: 0, 1, 2, ..., above numbers with decimals."""
    first, rest = list(rows[0]), rows[1:]
    names = first[1:] if first and not first[0] else first
    if not rest or not names or names != [str(k) for k in range(len(names))]:
        return False
    if len(names) < len(first):
        return all(row and row[0] for row in rest)
    return all(any("." in cell or "," in cell for cell in row) for row in rest)


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
    if not any(column.role == "lead" for column in columns):  # then a column of numbers is the signal, whatever its name
        columns = [_lead(column.place, header) if column.role == "other" else column for column in columns]
    best = {clock: (clock.quality, clock.counts, not clock.is_stated, clock.resolution_s / clock.period_s) for clock in clocks}
    return tuple(columns), min(best, key=best.get, default=None)


def _column(
    k: int, header: Header, layout: Layout, cells: Sequence[str], *, given_hz: float | None
) -> tuple[Column, Clock | None]:
    """A column by its name and its first cells, and its clock where it is one."""
    name, shown, numeric = header.names[k], header.shown(k), k in layout.numeric
    short, unit = units.named(name)
    unit = (header.units[k] or unit or "").lower()
    is_empty = all(cell.lower() in MISSING for cell in cells)
    if LEAD.fullmatch(short or name) and (numeric or is_empty) and unit not in OTHER_UNITS:
        return _lead(k, header), None
    find = partial(csv_time.clock_of, k, name, unit, dialect=layout.dialect, numeric=numeric, given_hz=given_hz)
    is_time = csv_time.TIME.fullmatch(short) or csv_time.unit_of(name, unit)
    is_count = csv_time.COUNT.fullmatch(short) and (name or (header.line and k == 0))
    values = layout.dialect.numbers(cells) if numeric else np.empty(0)
    clock = find(cells=cells)
    if clock and (is_time or is_count or not numeric or _is_ramp(values)):
        return Column(k, shown, "count" if clock.counts else "time"), clock
    if (is_time or not numeric or _is_ramp(-values)) and not clock and find(cells=cells[::-1]):
        return Column(k, shown, "backwards"), None
    if not numeric:
        return Column(k, shown, "text"), None
    if csv_time.TIME.fullmatch(short) or _is_ramp(values):
        return Column(k, shown, "time"), None
    if is_time or is_count or _is_sawtooth(values) or ASIDE.fullmatch(short) or unit in OTHER_UNITS:
        return Column(k, shown, "other"), None
    return _lead(k, header), None


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
    return len(steps) >= LEAST_RAMP and np.median(steps) > 0 and bool((steps == np.median(steps)).mean() >= csv_dialect.MOSTLY)
