"""The rate of a table of leads, and where its rows belong in time: `timing`, `rows_of`.

A column of times is compared with `--rate-hz` and with the lines above the rows; where it jumps there is a gap in the
signal.
"""

from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.formats.csv.clock import IRREGULAR, JITTERS, REGULAR, TIME, Timeline
from loaders.formats.csv.form import Form
from toolbox.ecg.gaps import Signal
from toolbox.errors import DataError

MOST_GAP_S = 24 * 3600
SLACK = 0.01  # between the mean rate of times that jitter and the rate that is given
DIGITS = 1e-3  # of a rate in words, such as 512.413 Hz: no more is meant
COARSE = 0.01  # of a step, its last digit
FAR_OFF = 2  # times, a mean rate from the rate that is given
OTHERWISE = "the command without --rate-hz, or the file without {} if its times are wrong"
HZ = "--rate-hz with the one that is right"


@dataclass(frozen=True)
class Rows:
    """Where rows are in time: from sample `samples_at[k]` on, those from row `rows_at[k]` on, without a gap. `samples`
    in all."""

    samples_at: NDArray[np.int64]
    rows_at: NDArray[np.int64]
    samples: int

    def read(self, values: NDArray[np.float32], first: int, last: int) -> Signal:
        """The samples from `first` up to before `last` of a column of values, a row each; NaN in gaps."""
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
    """The rate in Hz, where it is from, what is doubtful about it, and whether jumps of the clock are gaps in the
    signal."""

    hz: float = 0.0
    source: str = ""
    doubts: tuple[str, ...] = ()
    has_gaps: bool = False


def timing(path: Path, form: Form, timeline: Timeline | None, given_hz: float | None) -> Timing:
    """The rate that times, the lines above the rows and `given_hz` agree upon. Raises DataError where they do not."""
    times, stated_hz = _of_times(path, timeline, given_hz) if timeline else Timing(), form.stated_hz
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
    """What the clock of a file states about its rate: 0 Hz where it is nothing."""
    clock, doubts = timeline.clock, []
    source, found = f"column {clock.name!r}", timeline.rate()
    if timeline.backwards:
        often = "once" if timeline.backwards == 1 else f"{timeline.backwards} times"
        doubts.append(
            f"{source} goes back {often}, first after {timeline.first_back} rows: the rows are read in their order"
        )
    if timeline.untimed:
        rows = "a row, which is" if timeline.untimed == 1 else f"{timeline.untimed} rows, which are"
        doubts.append(f"{source} has no time in {rows} placed by the rows beside")
    is_even = clock.quality != IRREGULAR and not (clock.quality == REGULAR and timeline.is_uneven)
    if clock.counts and TIME.fullmatch(clock.name):
        doubts.append(f"{source} rises by 1 per row: it is taken as a row number, not as time")
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
    if given_hz is None and is_rounded:
        doubts.append(
            f"{source} rises in steps of {clock.period_s:g} s, {hz:g} Hz: --rate-hz states the rate if they are rounded"
        )
    if given_hz is None or isclose(hz, given_hz, rel_tol=left):
        return Timing(given_hz or hz, source, tuple(doubts), has_gaps=True)
    if not clock.is_stated:
        doubts.append(f"{source} would give {hz:g} Hz if it is time in {clock.unit}; --rate-hz is taken")
        return Timing(given_hz, "--rate-hz", tuple(doubts))
    if is_rounded and abs(1 / given_hz - clock.period_s) <= clock.resolution_s / 2:
        doubts.append(f"{source} rises in steps of {clock.period_s:g} s, {hz:g} Hz; --rate-hz is taken")
        return Timing(given_hz, "--rate-hz", tuple(doubts))
    raise DataError(
        f"{source} gives {hz:g} Hz, --rate-hz is {given_hz:g} Hz", where=str(path), hint=OTHERWISE.format(source)
    )


def rows_of(path: Path, timeline: Timeline | None, times: Timing, count: int) -> tuple[Rows, list[str]]:
    """Where `count` rows are in time, and a doubt about the gaps. Raises DataError for gaps beyond reason."""
    start = np.zeros(1, np.int64)
    if not timeline or not times.has_gaps or not len(timeline.jumps[0]):
        return Rows(start, start, count), []
    clock, (at, steps) = timeline.clock, timeline.jumps
    per_step = 1 / clock.period_s if clock.counts else times.hz
    lost = np.maximum(np.round(steps * per_step) - 1, 0)
    if lost.sum() > MOST_GAP_S * times.hz:
        row = int(at[lost.argmax()])
        what = f"column {clock.name!r} jumps by {lost.max() / times.hz / 3600:.4g} h after {row} rows"
        hint = f"the file cut there: gaps of up to {MOST_GAP_S // 3600} h in all are read"
        raise DataError(what, where=str(path), hint=hint)
    at, lost = at[lost > 0], lost[lost > 0].astype(np.int64)
    many = f"{len(at)} gaps" if len(at) > 1 else "a gap"
    told = f"column {clock.name!r} has {many}, {lost.sum() / times.hz:.4g} s without samples"
    rows_at = np.concatenate([start, at])
    return Rows(rows_at + np.concatenate([start, lost.cumsum()]), rows_at, count + int(lost.sum())), [told] if len(
        at
    ) else []
