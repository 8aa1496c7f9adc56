"""The rate of a table of leads, the place of its rows in time, and numbers that stand for missing samples.

A column of times is compared with `--rate-hz` and with the lines above the rows (`timing`); a jump of it is a gap in
the signal (`rows_of`). A number such as -999 or -32768 is found by its distance from the signal (`sentinels`).
"""

from collections import Counter
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.formats.csv.clock import IRREGULAR, JITTERS, REGULAR, TIME, Timeline
from toolbox.ecg.gaps import BLOCK, Signal
from toolbox.errors import DataError

MOST_GAP_S = 24 * 3600
SLACK = 0.01  # between the mean rate of times that jitter and the rate that is given
DIGITS = 1e-3  # of a rate in words, such as 512.413 Hz: no more is meant
COARSE = 0.01  # of a step, its last digit
FAR_OFF = 2  # times, a mean rate from the rate that is given
OTHERWISE = "the command without --rate-hz, or the file without {} if its times are wrong"
HZ = "--rate-hz with the one that is right"


@dataclass(frozen=True)
class RowTimes:
    """Rows in time: those from row `rows_at[k]` on are samples from `samples_at[k]` on, of `samples` in all."""

    samples_at: NDArray[np.int64]
    rows_at: NDArray[np.int64]
    samples: int

    def read(self, values: NDArray[np.float32], first: int, last: int) -> Signal:
        """The samples from `first` up to before `last` of a column of values, one a row; NaN in gaps."""
        if len(self.rows_at) == 1:
            return np.array(values[first:last], dtype=np.float64)
        begin, end = self._row(first), self._row(last)
        at = np.arange(begin, end)
        part = np.searchsorted(self.rows_at, at, "right") - 1
        signal = np.full(max(0, min(last, self.samples) - first), np.nan)
        signal[at + (self.samples_at - self.rows_at)[part] - first] = values[begin:end]
        return signal

    def _row(self, sample: int) -> int:
        """The first row at `sample` or after it."""
        part = int(np.searchsorted(self.samples_at, sample, "right")) - 1
        row = int(self.rows_at[part]) + sample - int(self.samples_at[part])
        return min(row, int(self.rows_at[part + 1])) if part + 1 < len(self.rows_at) else row


@dataclass(frozen=True)
class Timing:
    """The rate in Hz, its source, doubts about it, and whether jumps of the clock are gaps in the signal."""

    hz: float = 0.0
    source: str = ""
    doubts: tuple[str, ...] = ()
    has_gaps: bool = False


def timing(path: Path, timeline: Timeline | None, *, stated_hz: float | None, given_hz: float | None) -> Timing:
    """The rate on which times, the lines above the rows and `given_hz` agree. Raises DataError if they do not."""
    times = _of_times(path, timeline, given_hz) if timeline else Timing()
    if times.hz and stated_hz and not isclose(times.hz, stated_hz, rel_tol=SLACK):
        told = f"{times.source} gives {times.hz:g} Hz, the lines above the rows state {stated_hz:g} Hz"
        if given_hz is None:
            raise DataError(f"the file contradicts itself: {told}", where=str(path), hint=HZ)
        return replace(times, doubts=(*times.doubts, told))
    if times.hz:
        return times
    if stated_hz and given_hz and not isclose(stated_hz, given_hz, rel_tol=DIGITS):
        what = f"the lines above the rows state {stated_hz:g} Hz, --rate-hz is {given_hz:g} Hz"
        raise DataError(what, where=str(path), hint="the command without --rate-hz")
    if stated_hz or given_hz:
        return replace(times, hz=given_hz or stated_hz, source="--rate-hz" if given_hz else "lines above the rows")
    what = "the file does not say how often it was sampled"
    if timeline:
        what += f": column {timeline.clock.name!r} {'counts rows' if timeline.clock.counts else 'is uneven'}"
    raise DataError(what, where=str(path), hint="--rate-hz HZ")


def _of_times(path: Path, timeline: Timeline, given_hz: float | None) -> Timing:
    """The rate that the clock of a file states: 0 Hz for none."""
    clock, doubts = timeline.clock, _doubts_of_order(timeline)
    source, found = f"column {clock.name!r}", timeline.rate()
    is_even = clock.quality != IRREGULAR and not (clock.quality == REGULAR and timeline.is_uneven)
    if clock.counts or not found:
        return Timing(doubts=tuple(doubts), has_gaps=is_even)
    hz, left = found
    if not is_even:
        if given_hz and not 1 / FAR_OFF < hz / given_hz < FAR_OFF:
            what = f"{source} has {hz:.4g} rows per second on average, --rate-hz is {given_hz:g} Hz"
            raise DataError(what, where=str(path), hint=OTHERWISE.format(source))
        doubts.append(f"{source} is uneven, {hz:.4g} Hz on average: the rate is not taken from it")
        return Timing(doubts=tuple(doubts), has_gaps=True)
    if clock.quality == JITTERS:
        doubts.append(f"the steps of {source} jitter: {hz:g} Hz is their mean")
        left = max(left, SLACK)
    is_rounded = hz != round(hz) and not timeline.odd and clock.resolution_s > COARSE * clock.period_s
    steps = f"{source} rises in steps of {clock.period_s:g} s, {hz:g} Hz"
    if given_hz is None or isclose(hz, given_hz, rel_tol=left):
        if given_hz is None and is_rounded:
            doubts.append(f"{steps}: --rate-hz states the rate if they are rounded")
        return Timing(given_hz or hz, source, tuple(doubts), has_gaps=True)
    if not clock.is_stated:
        doubts.append(f"{source} would give {hz:g} Hz if it is time in {clock.unit}; --rate-hz is taken")
    elif is_rounded and abs(1 / given_hz - clock.period_s) <= clock.resolution_s / 2:
        doubts.append(f"{steps}; --rate-hz is taken")
    else:
        what = f"{source} gives {hz:g} Hz, --rate-hz is {given_hz:g} Hz"
        raise DataError(what, where=str(path), hint=OTHERWISE.format(source))
    return Timing(given_hz, "--rate-hz", tuple(doubts))


def _doubts_of_order(timeline: Timeline) -> list[str]:
    clock, doubts = timeline.clock, []
    source = f"column {clock.name!r}"
    if timeline.backwards:
        often = "once" if timeline.backwards == 1 else f"{timeline.backwards} times"
        first = f"first after {timeline.first_back} rows"
        doubts.append(f"{source} goes back {often}, {first}: the rows are read in their order")
    if timeline.untimed:
        rows = "a row, which is" if timeline.untimed == 1 else f"{timeline.untimed} rows, which are"
        doubts.append(f"{source} has no time in {rows} placed by the rows beside")
    if clock.counts and TIME.fullmatch(clock.name):
        doubts.append(f"{source} rises by 1 per row: it is taken as a row number, not as time")
    return doubts


def rows_of(path: Path, timeline: Timeline | None, times: Timing, count: int) -> tuple[RowTimes, list[str]]:
    """The place of `count` rows in time, and a doubt about the gaps. Raises DataError for gaps beyond reason."""
    start = np.zeros(1, np.int64)
    if not timeline or not times.has_gaps or not len(timeline.jumps[0]):
        return RowTimes(start, start, count), []
    clock, (at, steps) = timeline.clock, timeline.jumps
    per_step = 1 / clock.period_s if clock.counts else times.hz
    lost = np.maximum(np.round(steps * per_step) - 1, 0)
    if lost.sum() > MOST_GAP_S * times.hz:
        row = int(at[lost.argmax()])
        what = f"column {clock.name!r} jumps by {lost.max() / times.hz / 3600:.4g} h after {row} rows"
        hint = f"the file cut there: gaps of up to {MOST_GAP_S // 3600} h in all are read"
        raise DataError(what, where=str(path), hint=hint)
    at, lost = at[lost > 0], lost[lost > 0].astype(np.int64)
    rows_at = np.concatenate([start, at])
    placed = RowTimes(rows_at + np.concatenate([start, lost.cumsum()]), rows_at, count + int(lost.sum()))
    many = f"{len(at)} gaps" if len(at) > 1 else "a gap"
    doubt = f"column {clock.name!r} has {many}, {lost.sum() / times.hz:.4g} s without samples"
    return placed, [doubt] if len(at) else []


NINES = (10**digits - 1 for digits in range(2, 10))
CODES = np.float32([*(sign * nines for nines in NINES for sign in (1, -1)), -32768, 32767, 65535, -(2**31), 2**31 - 1])
FAR, FURTHER = 2, 10  # spans of a signal beyond its edge, for codes and for other whole numbers
SAMPLED = 2**16  # samples that its usual values are taken from
EDGE = 0.05  # of the different values at each end that may be unusual
FEWEST = 4  # different values of a signal
MOST, OFTEN = 3, 3  # other whole numbers at an end: so many at most, so often at least


def sentinels(values: NDArray[np.float32], lowest: float, highest: float) -> dict[float, int]:
    """Codes and whole numbers far outside the other values (N,) of a column with this range, and the count of each."""
    some = np.unique(values[:: max(1, len(values) // SAMPLED)])
    some = some[np.isfinite(some)]
    usual = some[~np.isin(some, CODES)]
    if len(usual) < FEWEST:
        return {}
    low, high = map(float, np.quantile(usual, (EDGE, 1 - EDGE)))
    if not any(_is_suspect(edge, low, high) for edge in (lowest, highest)):
        return {}
    counts = _outside(values, low, high)
    others = {value: count for value, count in counts.items() if np.float32(value) not in CODES}
    found, (low, high) = _isolated(others, low, high)
    reach = FAR * (high - low)
    found += [value for value in counts if value not in others and not low - reach <= value <= high + reach]
    return {value: counts[value] for value in sorted(found)}


def _is_suspect(edge: float, low: float, high: float) -> bool:
    """Whether the lowest or highest value of a column may be no sample, if most are from `low` to `high`."""
    reach = FURTHER * (high - low)
    return np.float32(edge) in CODES or (edge == round(edge) and not low - reach <= edge <= high + reach)


def _outside(values: NDArray[np.float32], low: float, high: float) -> dict[float, int]:
    """The count of each value outside of `low` to `high`, in order of the values."""
    counts: Counter[float] = Counter()
    for first in range(0, len(values), BLOCK):
        block = values[first : first + BLOCK]
        different, often = np.unique(block[(block < low) | (block > high)], return_counts=True)
        counts.update(dict(zip(different.tolist(), often.tolist(), strict=True)))
    return dict(sorted(counts.items()))


def _isolated(others: dict[float, int], low: float, high: float) -> tuple[list[float], tuple[float, float]]:
    """Frequent whole numbers at either end of `others`, further out than any sample; and the range without them."""
    rest, found = sorted({*others, low, high}), []
    for end in (0, -1):
        for _ in range(MOST):
            inner = rest[1:] if end == 0 else rest[:-1]
            edge, apart = rest[end], abs(rest[end] - inner[end]) if len(inner) > 1 else 0.0
            if edge != round(edge) or others.get(edge, 0) < OFTEN or apart <= FURTHER * (inner[-1] - inner[0]):
                break
            found.append(edge)
            rest = inner
    return found, (rest[0], rest[-1])
