"""A column of times, of a clock or of row numbers: its unit, and the rate, the gaps and the order of the rows.

`clock = clock_of(place, name, unit, cells, ...)` uses the first rows; `Timeline(clock)` gets the seconds of all rows.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isclose
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from loaders.formats.csv.text import AROUND, LOOKED_AT, Dialect

if TYPE_CHECKING:
    import pandas as pd

Seconds = NDArray[np.float64]
UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "d": 86400.0}
WORDS = {
    "s": "s sec secs second seconds sek sekunden secondes segundos",
    "ms": "ms msec msecs millis milli millisecond milliseconds millisekunden",
    "us": "us µs μs usec usecs micros microsecond microseconds",
    "ns": "ns nsec nsecs nanos nanosecond nanoseconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
}
SPELLINGS = {word: unit for unit, words in WORDS.items() for word in words.split()}
TIME = re.compile(
    r"t|.*(?:time|stamp|zeit|uhr|datum|date|elapsed|epoch|clock|temps|tiempo|tempo|utc|unix|hh:mm).*",
    re.IGNORECASE | re.DOTALL,
)
COUNT = re.compile(
    r"|(?:unnamed.*|index|idx|samples?|points?|no|nr|num|number|row|rows|id|n|i|#|n?seq\w*|frames?|count|counter|ticks?"
    r"|packet)(?:[ _]*(?:#|no|nr|num|number|index|idx|id|count|interval))?",
    re.IGNORECASE,
)
SLOWEST_HZ, FASTEST_HZ = 20, 5_000  # possible rates of a column without a unit
EPOCHS = ((1e9, 1e10, "s"), (1e12, 1e13, "ms"), (1e15, 1e16, "us"), (1e18, 1e19, "ns"))  # time since 1970, today
DAYS = ("%d.%m.%Y", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%Y%m%d", "%d-%m-%Y", "%Y-%m-%d")
TIMES = ("%H:%M:%S.%f", "%H:%M:%S", "%I:%M:%S.%f %p", "%I:%M:%S %p")
DATES = ("ISO8601", *(f"{day}{between}{time}" for day in DAYS for between in " T" for time in TIMES))
DATES += ("%H:%M:%S.%f %d/%m/%Y",)  # as PhysioBank writes it, in square brackets
TIME_OF_DAY = re.compile(r"(?:\d+:)?\d{1,2}:\d{2}(?:\.\d+)?")
BEFORE_MS = re.compile(r"[,:](\d{3,9})$")
DAY_S = 86400.0
LEAST_ROWS = 3
REGULAR, JITTERS, IRREGULAR = range(3)
EVEN, WITHIN, HALVES = 0.1, 0.95, 0.02
LEFT_OPEN = 1e-5  # the error of any clock's rate: a second a day


@dataclass(frozen=True)
class Clock:
    """A column that states the times of its rows.

    `kind` is number, date or time of day; `unit` the unit of a number, "rows" for row numbers. `is_stated` is false for
    a guessed unit. `period_s` is its usual step, `resolution_s` the step of its last digit; a step above `jump_s` is a
    gap. Its seconds count from `origin`, in units of the cells; `start` is the first date.
    """

    place: int
    name: str
    kind: str
    unit: str
    is_stated: bool
    form: str
    period_s: float
    resolution_s: float
    jump_s: float
    quality: int
    origin: float
    start: datetime | None

    @property
    def counts(self) -> bool:
        """Whether it has row numbers, and no times."""
        return self.unit == "rows"

    def seconds(self, cells: "pd.Series", dialect: Dialect) -> Seconds:
        """Cells as seconds (N,), or as row numbers, NaN for any other text."""
        return _raw(cells, self.kind, self.form, dialect, self.origin) * UNITS_S.get(self.unit, 1.0)


def unit_of(name: str, unit: str) -> str | None:
    """The unit of time in the unit or the name of a column, or None."""
    spelled = SPELLINGS.get(unit.lower())
    tokens = [token.lower() for token in re.split(r"[\s_\[\]()/.,-]+", name) if token]
    found = [SPELLINGS[token] for token in tokens if token in SPELLINGS and (len(token) > 1 or token == tokens[-1])]
    found = [unit for unit in found if unit not in ("min", "h")]  # as in HR min
    camel = re.search(r"[a-z](Ms|Us|Ns|Millis|Micros|Nanos|Seconds|Sec)$", name)
    return spelled or (found[-1] if found else SPELLINGS[camel[1].lower()] if camel else None)


def clock_of(
    place: int, name: str, unit: str, *, cells: Sequence[str], dialect: Dialect, numeric: bool, given_hz: float | None
) -> Clock | None:
    """The clock in a column with `cells` in its first rows; None if these do not rise like time."""
    import pandas as pd

    kind, form = ("number", "") if numeric else _kind(cells)
    raw = _raw(pd.Series(cells, dtype=object), kind, form, dialect, 0) if kind else np.empty(0)
    there = np.flatnonzero(np.isfinite(raw)).tolist()
    if len(there) < LEAST_ROWS:
        return None
    resolution = _resolution([cells[k] for k in there], raw[there], kind, dialect)
    if (seen := _steps(raw[there], resolution)) is None:
        return None
    period, jump, quality = seen
    stated, is_stated = ("s", True) if kind != "number" else _unit(raw, period, name, unit_of(name, unit), given_hz)
    if stated is None:
        return None
    factor, origin, start = UNITS_S.get(stated, 1.0), float(np.floor(raw[there[0]])), None
    if kind == "date":
        start = pd.to_datetime(_point(cells[there[0]]), format=form).to_pydatetime().replace(tzinfo=None)
    lengths = (period * factor, resolution * factor, jump * factor)
    return Clock(place, name, kind, stated, is_stated, form, *lengths, quality, origin, start)


def _kind(cells: Sequence[str]) -> tuple[str, str]:
    """The kind of time in text cells, and the form of dates; "" for other text."""
    import pandas as pd

    some = pd.Series([cell for cell in cells if cell][:200], dtype=object).map(_point)
    if len(some) < LEAST_ROWS:
        return "", ""
    if some.map(lambda cell: TIME_OF_DAY.fullmatch(cell) is not None).mean() >= WITHIN:
        return "time of day", ""
    for form in DATES:
        if pd.to_datetime(some, format=form, errors="coerce", utc=True).notna().mean() >= WITHIN:
            return "date", form
    return "", ""


def _point(cell: str) -> str:
    return BEFORE_MS.sub(r".\1", cell.strip(AROUND + "[]"))


def _raw(cells: "pd.Series", kind: str, form: str, dialect: Dialect, origin: float) -> Seconds:
    """Cells (N,) less `origin`: in seconds for dates and clocks, else in their own unit; NaN for any other text.

    `origin` is subtracted before whole numbers are rounded to float64, which can hold days in ns but not years.
    """
    import pandas as pd

    if kind == "number":
        if cells.dtype.kind in "iuf":
            values = cells.to_numpy()
            return (values - values.dtype.type(origin)).astype(np.float64)
        return dialect.numbers([str(cell).strip(AROUND) for cell in cells]) - origin
    text = cells.map(str, na_action="ignore")
    if any(_point(cell) != cell for cell in text[:LOOKED_AT].dropna()):
        text = text.map(_point, na_action="ignore")
    if kind == "date":
        times = pd.to_datetime(text, format=form, errors="coerce", utc=True).dt.as_unit("us")
        whole = times.astype("int64").to_numpy() - round(origin * 1e6)
        return np.where(times.notna(), whole / 1e6, np.nan)
    text = text.where(text.str.count(":") != 1, "0:" + text)
    seconds = pd.to_timedelta(text, errors="coerce").dt.total_seconds()
    return np.asarray(seconds.to_numpy(np.float64) - origin, np.float64)


def _resolution(cells: Sequence[str], values: Seconds, kind: str, dialect: Dialect) -> float:
    """The step of the last digit of cells, or a larger common step, such as of a clock that repeats values."""
    mark = dialect.decimal if kind == "number" else "."
    parts = [(cell if kind == "number" else _point(cell)).partition(mark)[2] for cell in cells]
    digit = 10.0 ** -max(len(re.findall(r"\d*", part)[0]) for part in parts)
    steps = np.diff(values) / digit
    whole = np.unique(np.round(steps[np.abs(steps) < 2**52]).astype(np.int64))
    common = int(np.gcd.reduce(whole)) if len(whole) > 1 else 0
    return digit * common if common and (0 in whole or common < np.abs(whole).min()) else digit


def _steps(values: Seconds, resolution: float) -> tuple[float, float, int] | None:
    """The usual step, the largest step without a gap, and their quality; None if values do not rise."""
    steps = np.diff(values[np.isfinite(values)])
    up = steps[steps > 0]
    if len(up) < max(1, len(steps) * 0.001) or (steps < 0).mean() > 1 - WITHIN:
        return None
    usual = steps[(steps >= 0) & (steps <= 3 * np.median(up))]
    for _ in range(3):  # without steps over lost samples, unless all rises are such steps
        period = usual.mean()
        rounds = (usual < 0.75 * period).mean() > 1 - WITHIN  # else the last digit is finer than the steps
        jump = period + max(1.001 * resolution if rounds else 0.0, 0.5 * period)
        if usual[usual <= jump].sum() < 0.5 * usual.sum():
            break
        usual = usual[usual <= jump]
    within = np.abs(usual - period) <= resolution * 1.001 + EVEN * period
    if within.mean() >= WITHIN:
        return period, jump, REGULAR
    halves = [half.mean() for half in np.array_split(usual, 2) if len(half)]
    even = len(halves) == 2 and abs(halves[0] - halves[1]) <= HALVES * period
    return period, 3 * float(np.quantile(usual, 0.995)) + period, JITTERS if even else IRREGULAR


def _unit(
    values: Seconds, period: float, name: str, stated: str | None, given_hz: float | None
) -> tuple[str | None, bool]:
    """The unit of numbers that rise by `period`, None if no unit fits, and whether the file states it."""
    if stated:
        return stated, True
    first, last = np.nanmin(values), np.nanmax(values)
    if epoch := next((unit for low, high, unit in EPOCHS if low <= first <= last < high), None):
        return epoch, True
    if COUNT.fullmatch(name) and period > 0.5 and isclose(period, round(period), rel_tol=1e-3):
        return "rows", False
    if isclose(period, 1, rel_tol=1e-3):
        return ("ms", False) if given_hz and isclose(given_hz, 1000) and TIME.fullmatch(name) else ("rows", False)
    guesses = [unit for unit in ("s", "ms", "us", "ns") if SLOWEST_HZ <= 1 / (period * UNITS_S[unit]) < FASTEST_HZ]
    if given_hz:
        fitting = [unit for unit, size in UNITS_S.items() if isclose(period * size * given_hz, 1, rel_tol=0.01)]
        guesses = fitting + guesses
    return (guesses[0], guesses[0] == "s" or TIME.fullmatch(name) is not None) if guesses else (None, False)


class Timeline:
    """The steps of a clock over all rows: `add` gets the seconds of each block, in order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.rows = self.untimed = self.backwards = self.first_back = self.odd = 0
        self._last = math.nan
        self._sum, self._count, self._days_s = 0.0, 0, 0.0
        self._jumps: list[tuple[NDArray[np.int64], Seconds]] = [(np.empty(0, np.int64), np.empty(0))]
        self._edges: tuple[int, float, int, float] | None = None  # row and time of the first and the last change

    def add(self, seconds: Seconds) -> None:
        """Take the next rows (N,)."""
        clock = self.clock
        t = self._filled(seconds) + self._days_s
        steps = np.diff(t, prepend=self._last if self.rows else t[0])
        if clock.kind == "time of day" and (midnight := steps < -DAY_S / 2).any():
            steps[midnight] += DAY_S
            t = t + DAY_S * np.cumsum(midnight)
            self._days_s += DAY_S * float(midnight.sum())
        at = np.arange(self.rows, self.rows + len(t))
        back, jump = steps < -1.001 * clock.resolution_s, steps > clock.jump_s
        if back.any():
            self.first_back = self.first_back or int(at[back.argmax()])
            self.backwards += int(back.sum())
        if jump.any():
            self._jumps.append((at[jump], steps[jump]))
        usual = ~(back | jump)
        odd = usual & (np.abs(steps - clock.period_s) > clock.resolution_s * 1.001 + EVEN * clock.period_s)
        self.odd += int(odd[0 if self.rows else 1 :].sum())  # the first row has no step
        self._sum += float(steps[usual].sum())
        self._count += int(usual.sum()) - (self.rows == 0)
        self._note_edges(at, t, steps)
        self.rows, self._last = self.rows + len(t), float(t[-1])

    def _filled(self, seconds: Seconds) -> Seconds:
        there = np.isfinite(seconds)
        if there.all():
            return seconds
        self.untimed += int((~there).sum())
        place = np.arange(len(seconds))
        if not there.any():
            first_s = self._last - self._days_s if self.rows else 0.0
            return np.asarray(first_s + self.clock.period_s * (place + 1), np.float64)
        filled = np.interp(place, place[there], seconds[there])
        first, last = place[there][[0, -1]]
        filled[:first] -= self.clock.period_s * (first - place[:first])
        filled[last:] += self.clock.period_s * (place[last:] - last)
        return filled

    def _note_edges(self, at: NDArray[np.int64], t: Seconds, steps: Seconds) -> None:
        changes = np.flatnonzero(steps > 0)
        if len(changes):
            first, last = changes[[0, -1]]
            begin = self._edges[:2] if self._edges else (int(at[first]), float(t[first]))
            self._edges = (*begin, int(at[last]), float(t[last]))

    @property
    def jumps(self) -> tuple[NDArray[np.int64], Seconds]:
        """The rows (G,) after a gap, and their steps (G,) in seconds."""
        rows, steps = zip(*self._jumps, strict=True)
        return np.concatenate(rows), np.concatenate(steps)

    def rate(self) -> tuple[float, float] | None:
        """The rate in Hz, whole as far as the printed digits allow, and its relative error by these digits."""
        clock = self.clock
        if clock.counts or not self._count or not self._sum > 0:
            return None
        breaks = 1 + self.backwards + len(self.jumps[0])
        rate_hz, span_s, open_s = self._count / self._sum, self._sum, clock.resolution_s
        if breaks == 1 and self._edges and self._edges[3] > self._edges[1]:
            rows, span_s = self._edges[2] - self._edges[0], self._edges[3] - self._edges[1]
            rate_hz, open_s = rows / span_s, min(clock.resolution_s, clock.period_s)
        left = math.sqrt(breaks) * open_s / span_s + LEFT_OPEN
        if abs(round(rate_hz) - rate_hz) <= left * rate_hz and left * rate_hz < 0.5:
            rate_hz = float(round(rate_hz))
        return rate_hz, left
