"""The lines above the rows of a text table: names and units of columns, and facts such as the sampling rate.

`facts_in(lines, width)` reads lines with a key; `header_of(above, layout, facts)` finds the names.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import isclose

from loaders.formats import lead_names
from loaders.formats.csv import clock
from loaders.formats.csv.text import AROUND, TableLayout
from loaders.formats.lead_names import is_lead

COMMENT = "#%"
RATE = re.compile(
    r"(?:sampl\w*[\s_-]*(?:rate|freq\w*)|(?:rate|freq\w*)[\s_-]*of[\s_-]*sampl\w*|abtast\w*|messrate|\bfs\b|\bsrate\b|"
    r"fr[eé]quence d.[eé]chant\w*|frecuencia de muestreo|frequenza di campion\w*)[^\d]*?(\d+(?:[.,]\d+)?)\s*(k?)",
    re.IGNORECASE,
)
HERTZ = re.compile(
    r"(\d+(?:[.,]\d+)?)\s*(k?)(?:hz|hertz|herz|hercios?|гц|герц|赫兹|赫茲|ヘルツ|헤르츠|sps|"
    r"samples?\s*(?:/|per)\s*s(?:ec(?:ond)?)?)",
    re.IGNORECASE,
)
INTERVAL = re.compile(
    r"sampl\w*[\s_-]*(?:interval|period)\w*(.*?)(?<!\w)(\d+(?:[.,]\d+)?(?:e-?\d+)?)(.*)", re.IGNORECASE
)
NO_RATE = re.compile(r"filter|notch|pass|mains|cut", re.IGNORECASE)
UNIT_KEY = re.compile(r"units?|einheit|unit[eéà]|unidad|eenheid|enhet", re.IGNORECASE)
LEAD_KEY = re.compile(
    r"leads?|labels?|channels?|ableitung|d[eé]rivation|derivaci[oó]n|derivazione|deriva[cç][aã]o|afleiding|"
    r"av?f?ledning|odprowadzenie|отведение|导联|導程|リード|誘導|리드",
    re.IGNORECASE,
)
RATE_COLUMN = re.compile(r"(?:sampl\w*[\s_-]*(?:rate|freq\w*)|fs)[\s_-]*[\[(]?(?:hz)?[\])]?", re.IGNORECASE)
LEAST_HZ, MOST_HZ = 10, 1e5
KEYED = re.compile(r"[^,;\t:=]*\w\s*[:=]\s*[,;\t]")  # a key of LabChart
IN_A_NAME = re.compile(r"[\s_@(\[](\d+(?:\.\d+)?)\s*(k?)hz\b", re.IGNORECASE)
BETWEEN = re.compile(r"\s*[:=,;\t]+\s*")
OTHER_UNITS = {
    *[
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
        "hz",
        "l/min",
        "rpm",
        "nu/min",
    ],
    *clock.SPELLINGS,
}
UNIT_ROW = re.compile(r"(?:h+:)?m+:s+(?:\.[ms]+)?|.*\byyyy\b.*", re.IGNORECASE)
STEP = re.compile(r"(\d*\.?\d+(?:e-?\d+)?)\s*sec", re.IGNORECASE)  # below `sample #` in tables of PhysioBank


@dataclass(frozen=True)
class Line:
    """A line of the file with text in it: its number from 1, and the place of its first character."""

    number: int
    start: int
    text: str


@dataclass(frozen=True)
class TableFacts:
    """Facts in the lines above the rows: the rate, the unit and the names of leads."""

    rate_hz: float | None = None
    unit: str | None = None
    leads: tuple[str, ...] = ()
    keyed: frozenset[int] = frozenset()  # the lines with such a fact


def facts_in(lines: Sequence[str], width: int) -> TableFacts:
    """The facts in the lines above the rows of a table of `width` columns."""
    rate_hz: float | None = None
    unit: str | None = None
    leads: tuple[str, ...] = ()
    keyed: set[int] = set()
    for k, line in enumerate(lines):
        line, is_comment = line.strip(f"{COMMENT} \t"), line[0] in COMMENT
        key, *values = [part.strip(AROUND) for part in BETWEEN.split(line, maxsplit=1)]
        value = values[0] if values else ""
        is_voltage = len(value) > 1 and lead_names.millivolts(value) is not None
        if line.startswith("{") and (found := _open_signals(line)):
            rate_hz, leads = found
        elif (hz := _rate(line)) is not None:
            rate_hz = hz
        elif value and (UNIT_KEY.fullmatch(key) or (width == 1 and is_voltage and not is_lead(key))):
            unit = value.strip("[]()")
        elif LEAD_KEY.fullmatch(key) and value and (width == 1 or is_comment):
            leads = tuple(value.split() if width > 1 else [value])
        elif not KEYED.match(line):
            continue
        keyed.add(k)
    return TableFacts(rate_hz, unit, leads, frozenset(keyed))


def _rate(line: str) -> float | None:
    if NO_RATE.search(line):
        return None
    if interval := INTERVAL.search(line):
        unit = clock.unit_of(f"{interval[1]} {interval[3]}", "") or "s"
        return _of_step(float(interval[2].replace(",", ".")) * clock.UNITS_S[unit])
    cells = [cell.strip(AROUND) for cell in re.split(r"[:=;\t]|,(?!\d)|(?<!\d),", line)]
    found = RATE.search(line) or next((whole for cell in cells if (whole := HERTZ.fullmatch(cell))), None)
    return _hertz(found) if found else None


def _of_step(step_s: float) -> float | None:
    """The rate of a step in seconds, whole as far as its six digits allow; None for an impossible rate."""
    rate_hz = 1 / step_s if step_s > 0 else 0.0
    if not LEAST_HZ <= rate_hz <= MOST_HZ:
        return None
    return float(round(rate_hz)) if isclose(rate_hz, round(rate_hz), rel_tol=1e-5) else rate_hz


def _hertz(found: re.Match[str]) -> float | None:
    """The rate in a match of number and kilo; None for an impossible rate."""
    rate_hz = float(found[1].replace(",", ".")) * (1000 if found[2] else 1)
    return rate_hz if LEAST_HZ <= rate_hz <= MOST_HZ else None


def _open_signals(line: str) -> tuple[float | None, tuple[str, ...]] | None:
    """The rate and the names of columns in the JSON line of OpenSignals; None for another line."""
    try:
        (facts, *_) = json.loads(line).values()
        names = [str(name) for name in facts.get("column", ())]
        sensors = dict(zip(facts.get("label", ()), facts.get("sensor", ()), strict=False))
        rate_hz = float(facts["sampling rate"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return rate_hz, tuple(str(sensors.get(name, name)) for name in names)


@dataclass(frozen=True)
class TableHeader:
    """Names and units of the columns, "" for none, the line of the names (0: none), facts in other lines."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    line: int
    facts: TableFacts

    @property
    def rate_hz(self) -> float | None:
        """The rate in the lines above the rows, in the names or in the units."""
        named = (_hertz(found) for name in self.names if (found := IN_A_NAME.search(name)))
        steps = (_of_step(float(found[1])) for unit in self.units if (found := STEP.fullmatch(unit)))
        return self.facts.rate_hz or next(chain(named, steps), None)

    def shown(self, k: int) -> str:
        """The name of column `k` in messages."""
        return self.names[k] or f"lead {k + 1}"


def header_of(above: Sequence[Line], layout: TableLayout, facts: TableFacts) -> TableHeader:
    """The names of the columns in the line above the rows, and the units below the names.

    A line with a rate or a unit and its key has no names.
    """
    none, known = ("",) * layout.width, _known_names(layout, facts)
    named = [(line, () if k in facts.keyed else _names(line.text, layout)) for k, line in enumerate(above)]
    plain = [each for each in named if each[0].text[0] not in COMMENT][-2:]
    last = plain if plain and plain[-1][1] else named[-2:]
    if not last or not last[-1][1]:
        return TableHeader(known or none, none, 0, facts)
    (line, names), (before, names_before) = last[-1], last[0]
    own = tuple(name.strip("[]()") for name in names)
    if not _are_units(own):
        return TableHeader(known if known and layout.width == 1 else names, none, line.number, facts)
    if len(last) > 1 and names_before:
        return TableHeader(names_before, own, before.number, facts)
    return TableHeader(known or names, own if known else none, line.number, facts)


def _known_names(layout: TableLayout, facts: TableFacts) -> tuple[str, ...] | None:
    names, width = facts.leads, layout.width
    if len(names) == width - layout.spare:
        return names + ("",) * layout.spare
    if len(names) == len(layout.numeric) == 1:
        return tuple(names[0] if k in layout.numeric else "" for k in range(width))
    return None


def _names(line: str, layout: TableLayout) -> tuple[str, ...]:
    """The names of the columns in a line above the rows, () without any; in a comment only certain names."""
    names = layout.names_in(line.lstrip(COMMENT))
    if not names or not any(names):
        return ()
    if any(layout.dialect.is_number(name) and not name.isdecimal() for name in names):
        return ()
    return () if line[0] in COMMENT and layout.width == 1 and not is_lead(names[0]) else tuple(names)


def _are_units(cells: Sequence[str]) -> bool:
    """Whether the cells of a line are units: PhysioBank has them below the names."""
    certain = [
        cell for cell in cells if lead_names.millivolts(cell) or UNIT_ROW.fullmatch(cell) or STEP.fullmatch(cell)
    ]
    raw = [cell for cell in cells if lead_names.is_arbitrary(cell)]
    if not certain and not any(cell.strip("-") for cell in raw):
        return False
    return all(cell in certain or cell in raw or cell.lower() in OTHER_UNITS for cell in cells)


def counts_names(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has the names that pandas gives to columns: 0, 1, 2, ..., above numbers with decimals."""
    first, rest = list(rows[0]), rows[1:]
    names = first[1:] if first and not first[0] else first
    if not rest or not names or names != [str(k) for k in range(len(names))]:
        return False
    if len(names) < len(first):
        return all(row and row[0] for row in rest)
    return all(any("." in cell or "," in cell for cell in row) for row in rest)
