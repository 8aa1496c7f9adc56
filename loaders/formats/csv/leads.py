"""A text table with a column per lead opens as a recording: `open_table(path, rate_hz)`.

Its form is inferred first (`form`), then it is parsed once, in blocks, to a temporary file; pieces are read from it. A
column of times is compared with `--rate-hz` and with the lines above the rows (`timing`); a jump is a gap in the signal
(`rows_of`). A code for missing samples such as -999 or -32768 is found by its distance from the signal (`sentinels`).
"""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from loaders.files.sources import log
from loaders.formats.csv import text as csv_text
from loaders.formats.csv.clock import IRREGULAR, JITTERS, REGULAR, TIME, WITHIN, Timeline
from loaders.formats.csv.form import TableForm, understand
from loaders.formats.csv.text import AROUND, HINT, TableText
from loaders.formats.csv.text import MISSING as WORDS
from loaders.formats.lead_names import is_lead
from loaders.formats.recording import Recording
from toolbox.ecg.gaps import BLOCK, Signal
from toolbox.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MOST_GAP_S = 24 * 3600
SLACK = 0.01  # between the mean rate of times that jitter and the given rate
DIGITS = 1e-3  # the precision of a rate in words, such as 512.413 Hz
COARSE = 0.01  # the last digit, as a part of the step
FAR_OFF = 2  # the ratio of a mean rate to the given rate
OTHERWISE = "the command without --rate-hz, or the file without {} if its times are wrong"
HZ = "--rate-hz with the correct rate"


@dataclass(frozen=True)
class RowTimes:
    """Rows in time: row `rows_at[k]` and the next are the samples from `samples_at[k]` on, of `samples` in all."""

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
        rates = f"{times.source} gives {times.hz:g} Hz, the lines above the rows state {stated_hz:g} Hz"
        if given_hz is None:
            raise DataError(f"the file states two rates: {rates}", where=str(path), hint=HZ)
        return replace(times, doubts=(*times.doubts, rates))
    if times.hz:
        return times
    if stated_hz and given_hz and not isclose(stated_hz, given_hz, rel_tol=DIGITS):
        what = f"the lines above the rows state {stated_hz:g} Hz, --rate-hz is {given_hz:g} Hz"
        raise DataError(what, where=str(path), hint="the command without --rate-hz")
    if hz := given_hz or stated_hz:
        return replace(times, hz=hz, source="--rate-hz" if given_hz else "lines above the rows")
    what = "the file states no sampling rate"
    if timeline:
        what += f": column {timeline.clock.name!r} {'counts rows' if timeline.clock.counts else 'is uneven'}"
    raise DataError(what, where=str(path), hint="--rate-hz HZ")


def _of_times(path: Path, timeline: Timeline, given_hz: float | None) -> Timing:
    """The rate of the clock of a file: 0 Hz for none."""
    clock, doubts = timeline.clock, _doubts_of_order(timeline)
    source, found = f"column {clock.name!r}", timeline.rate()
    is_uneven = timeline.odd > (1 - WITHIN) * timeline.rows  # many steps, gaps aside, differ from the usual one
    is_even = clock.quality != IRREGULAR and not (clock.quality == REGULAR and is_uneven)
    if clock.counts or not found:
        return Timing(doubts=tuple(doubts), has_gaps=is_even)
    hz, left = found
    if not is_even:
        if given_hz and not 1 / FAR_OFF < hz / given_hz < FAR_OFF:
            what = f"{source} has {hz:.4g} rows per second on average, --rate-hz is {given_hz:g} Hz"
            raise DataError(what, where=str(path), hint=OTHERWISE.format(source))
        doubts.append(f"{source} is uneven, {hz:.4g} Hz on average: its rate is not used")
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
        doubts.append(f"{source} would give {hz:g} Hz if it is time in {clock.unit}; --rate-hz is used")
    elif is_rounded and abs(1 / given_hz - clock.period_s) <= clock.resolution_s / 2:
        doubts.append(f"{steps}; --rate-hz is used")
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
        rows = "a row" if timeline.untimed == 1 else f"{timeline.untimed} rows"
        doubts.append(f"{source} has no time in {rows}: the times are interpolated")
    if clock.counts and TIME.fullmatch(clock.name):
        doubts.append(f"{source} rises by 1 per row: it has row numbers, not times")
    return doubts


def rows_of(path: Path, timeline: Timeline | None, times: Timing, count: int) -> tuple[RowTimes, list[str]]:
    """The place of `count` rows in time, and a doubt about gaps. Raises DataError for gaps above MOST_GAP_S."""
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
CODES = [*(sign * nines for nines in NINES for sign in (1, -1)), -32768, 32767, 65535, -(2**31), 2**31 - 1]
CODES = [float(np.float32(code)) for code in CODES]
FAR, FURTHER = 2, 10  # spans of a signal beyond its edge, for codes and for other whole numbers
SAMPLED = 2**16  # samples, for the usual values of a signal
EDGE = 0.05  # of the different values at each end that may be unusual
FEWEST = 4  # different values of a signal
MOST, OFTEN = 3, 3  # other whole numbers at an end: at most, and their least count


def sentinels(values: NDArray[np.float32], lowest: float, highest: float) -> dict[float, int]:
    """Codes and whole numbers far outside the other values (N,) of a column with this range, with their counts."""
    some = np.unique(values[:: max(1, len(values) // SAMPLED)])
    some = some[np.isfinite(some)]
    usual = some[~np.isin(some, CODES)]
    if len(usual) < FEWEST:
        return {}
    low, high = map(float, np.quantile(usual, (EDGE, 1 - EDGE)))
    if not any(_is_suspect(edge, low, high) for edge in (lowest, highest)):
        return {}
    counts = _outside(values, low, high)
    others = {value: count for value, count in counts.items() if value not in CODES}
    found, (low, high) = _isolated(others, low, high)
    reach = FAR * (high - low)
    found += [value for value in counts if value not in others and not low - reach <= value <= high + reach]
    return {value: counts[value] for value in sorted(found)}


def _is_suspect(edge: float, low: float, high: float) -> bool:
    """Whether the lowest or highest value of a column may be a code; most values are from `low` to `high`."""
    reach = FURTHER * (high - low)
    return edge in CODES or (edge == round(edge) and not low - reach <= edge <= high + reach)


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


ROWS, CELLS = 2**17, 2**20  # in memory at a time
MISSING = sorted({form for word in WORDS for form in (word, word.upper(), word.title())} - {""})  # as pandas compares
TOO_LONG = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
NO_DELIMITER = "\x1f"  # in a table of one column


def open_table(path: Path, rate_hz: float | None) -> Recording:
    """The leads of a text table, sampled as its times or `rate_hz` state. Raises DataError with line and column."""
    with csv_text.opened(path) as text, tempfile.TemporaryFile() as file:
        form = understand(text, path, rate_hz)
        if not form.leads:
            names = ", ".join(column.name for column in form.columns)
            raise DataError(f"no column is a lead: {names[:200]}", where=str(path), hint=HINT)
        timeline = Timeline(form.clock) if form.clock else None
        count = _parse(path, text, form, file=file, timeline=timeline)
        if not count:
            raise DataError("the file has no samples", where=str(path), hint=HINT)
        values = np.memmap(file, dtype=np.float32, mode="r", shape=(count, len(form.leads)))
        lone_blanks = text.lone_blanks
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)  # (leads,), without NaN
    moving = low < high
    # A column of one value is left out if others vary, unless it has the name of a lead.
    kept = [k for k, lead in enumerate(form.leads) if moving[k] or is_lead(lead.name) or not moving.any()]
    leads = [form.leads[k] for k in kept]
    columns = tuple(replace(c, role="other") if c.role == "lead" and c not in leads else c for c in form.columns)
    times = timing(path, timeline, stated_hz=form.stated_hz, given_hz=rate_hz)
    log.info("%s is read as: %s; %g Hz (%s)", path.name, replace(form, columns=columns), times.hz, times.source)
    rows, doubts = rows_of(path, timeline, times, count)
    if lone_blanks:
        doubts.append(f"{lone_blanks} single blank lines between the rows are ignored")
    codes = [sentinels(values[:, k], float(low[k]), float(high[k])) for k in kept]
    for lead, found in zip(leads, codes, strict=True):
        for value, often in found.items():
            what = f"{often} samples of lead {lead.name} are {value:g}, far outside the signal"
            doubts.append(f"{what}, and count as missing")

    def read(k: int, first: int, last: int) -> Signal:
        signal = rows.read(values[:, kept[k]], first, last)
        if codes[k]:
            signal[np.isin(signal, list(codes[k]))] = np.nan
        return signal * (leads[k].mv or 1.0)

    return Recording(
        path,
        leads=tuple(lead.name for lead in leads),
        units=tuple(lead.unit.strip(" -") for lead in leads),
        shapes=((times.hz, rows.samples),) * len(leads),
        rate_hz=times.hz,
        samples=rows.samples,
        read=read,
        start=form.clock.start if form.clock else None,
        doubts=(*form.doubts, *times.doubts, *doubts),
    )


def _parse(path: Path, text: TableText, form: TableForm, *, file: BinaryIO, timeline: Timeline | None) -> int:
    """Write the leads to `file` as float32, row by row, and note their times. Returns the number of rows."""
    rows, dialect = 0, form.layout.dialect
    text.skip(form.skipped)
    text.blank_rows = form.blank_rows
    for block in _blocks(path, text, form):
        numbers = np.empty((len(block), len(form.leads)), np.float32)
        for k, lead in enumerate(form.leads):
            numbers[:, k] = _numbers(block[lead.place], path, form, lead.name, rows)
        numbers.tofile(file)
        if timeline:
            timeline.add(timeline.clock.seconds(block[timeline.clock.place], dialect))
        rows += len(block)
    file.flush()
    return rows


def _blocks(path: Path, text: Any, form: TableForm) -> Iterator["pd.DataFrame"]:
    """The rows of a `TableText` in blocks, columns numbered."""
    import pandas as pd

    dialect, width, numeric = form.layout.dialect, form.layout.width, form.layout.numeric
    texts = [column.place for column in form.columns if column.place not in numeric and column.role != "lead"]
    try:
        yield from pd.read_csv(
            text,
            sep={"": NO_DELIMITER, " ": r"\s+"}.get(dialect.delimiter, dialect.delimiter),
            header=None,
            names=list(range(width)),
            index_col=False,
            dtype=dict.fromkeys(texts, str),
            decimal=dialect.decimal,
            thousands=dialect.thousands,
            quotechar=dialect.quote,
            comment=form.comment or None,
            skipinitialspace=True,
            na_values=MISSING,
            skip_blank_lines=not form.blank_rows,
            chunksize=max(1, min(ROWS, CELLS // width)),
        )
    except pd.errors.EmptyDataError:
        return
    except pd.errors.ParserError as error:
        what = str(error)
        if found := TOO_LONG.search(what):
            what = f"line {form.line - 1 + int(found[2])} has {found[3]} cells, {found[1]} are expected"
        raise DataError(f"it is no table: {what}", where=str(path), hint=HINT) from error


def _numbers(column: "pd.Series", path: Path, form: TableForm, name: str, rows: int) -> NDArray[np.float32]:
    """A column of a block as numbers, NaN if missing. Raises DataError that names the first cell with a word."""
    if column.dtype.kind in "iuf":
        numbers = column.to_numpy(np.float32)
    else:
        there = column.notna().to_numpy()
        cells = [str(cell).strip(AROUND) for cell in column]
        numbers = form.layout.dialect.numbers(cells).astype(np.float32)
        wrong = there & np.isnan(numbers) & ~np.isin([cell.lower() for cell in cells], WORDS)
        if wrong.any():
            row = int(wrong.argmax())
            what = f"column {name[:40]!r} has {cells[row][:40]!r}, which is no number"
            raise DataError(what, where=f"{path}, line {_line_of(path, form, rows + row)}", hint=HINT)
    return np.where(np.isfinite(numbers), numbers, np.float32("nan"))


def _line_of(path: Path, form: TableForm, row: int) -> int:
    """The line of the file, counted from 1, of a row of data, counted from 0."""
    with csv_text.opened(path) as text:
        for number, line in enumerate(text, 1):
            is_comment = form.comment and line.startswith(form.comment)
            if number >= form.line and (form.blank_rows or line.strip()) and not is_comment:
                if not row:
                    return number
                row -= 1
    return 0
