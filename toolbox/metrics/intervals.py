"""Confidence intervals of 95 %: over records by the jackknife, over rows by the bootstrap; and influential records.

    intervals = percentiles(statistic, row_draws(1000))      # name -> [low, high]
    of = spread(value, without)                              # without (R,): the figure, leaving out one record each
    t_interval(of, (0, 1)), of.lacks                         # [low, high], or None and the reason

Over records the interval is Student's on the logit scale of the figure's range, with the standard error of the
jackknife (Efron & Tibshirani 1993, ch. 11) and as many degrees of freedom as 1.25 times the effective number of
records, (sum d^2)^2 / sum d^4 of the influences d: if one record holds most of a class, 22 records hold little more
information than one. `benchmarks/coverage.py` compares it with the percentile, the expanded percentile (Hesterberg, The
American Statistician 69(4):371-386, 2015), BCa and bootstrap-t intervals; COVERAGE is its result. A figure known in
fewer than FEW records has no interval.

Over rows it is the percentile interval of a figure of rows drawn with replacement (Efron & Tibshirani 1993, ch. 13). A
statistic gets the number of times each unit was drawn, (b, units), and returns every figure (b,). Draws come in blocks
of b replicates to save memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Bounds = tuple[float, float]
Statistic = Callable[[Array], Mapping[str, Array]]
Found = tuple[dict[str, list[float] | None], dict[str, str]]  # intervals, and a reason for each missing one
REPLICATES = 1000  # default number of an interval
LARGEST_BLOCK = 2**22  # numbers in a block of `draws`
CACHED = 2**18  # numbers in a block of `row_draws`: few blocks, and fits into a processor's cache
BOOTSTRAP = "percentile bootstrap over "  # rows, records or patients
ROW_METHOD = f"{BOOTSTRAP}rows"
RECORD_METHOD = "jackknife t over records, effective degrees of freedom"
SHARE: Bounds = (0.0, 1.0)
UNDEFINED, STILL = "undefined", "no spread"
FEW = 10  # fewest units of an interval
MOST_GROUPS = 1000  # records left out one by one; more are grouped
FREEDOM = 1.25  # degrees of freedom an effective record
LEVEL = 0.975
SAME = 1e-12  # a standard error below is rounding
OUT_OF_RANGE = 1e-9  # distance of a figure from the ends of its range, as part of it
# Percent of simulated tests of 22 records with the truth in the interval: lowest and highest of four populations.
COVERAGE_RECORDS = 22
COVERAGE: dict[str, tuple[float, float]] = {
    "accuracy": (91.1, 95.5),
    "SVEB Se": (94.1, 96.6),
    "SVEB +P": (95.6, 97.6),
    "VEB Se": (94.2, 97.1),
    "VEB +P": (96.2, 97.5),
    "macro_f1": (90.4, 96.5),
}


@dataclass(frozen=True)
class Spread:
    """A figure, standard error and degrees of freedom of its jackknife; or the reason for no interval."""

    value: float
    error: float
    freedom: float
    lacks: str = ""


def too_few(count: int, what: str = "records") -> str:
    """Why `count` units give no interval; "" if they do."""
    return "" if count >= FEW else f"{count} {what if count != 1 else what.removesuffix('s')}"


def spread(value: float, without: Array, known: int | None = None) -> Spread:
    """The spread of a figure from its values `without` (R,) each record; `known` records define it (None: all)."""
    count = len(without)
    error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    lacks = too_few(count if known is None else min(known, count))
    lacks = lacks or (UNDEFINED if np.isnan(value) or np.isnan(error) else STILL if error <= SAME else "")
    if lacks:
        return Spread(value, np.nan, np.nan, lacks)
    square = (without - without.mean()) ** 2
    return Spread(value, error, np.clip(FREEDOM * square.sum() ** 2 / (square**2).sum(), 1, count - 1))


def t_interval(of: Spread, bounds: Bounds) -> list[float] | None:
    """The 95 % interval of a figure between `bounds`; on the log scale where the upper one is infinite."""
    from scipy.special import expit, logit, stdtrit

    if of.lacks:
        return None
    low, high = bounds
    half = stdtrit(of.freedom, LEVEL) * of.error
    if np.isinf(high):
        ends = low + (of.value - low) * np.exp(np.array([-1, 1]) * half / (of.value - low))
    else:
        share = np.clip((of.value - low) / (high - low), OUT_OF_RANGE, 1 - OUT_OF_RANGE)
        slope = (high - low) * share * (1 - share)
        ends = low + (high - low) * expit(logit(share) + np.array([-1, 1]) * half / slope)
    return ends.tolist()


def difference_interval(of: Spread, bounds: Bounds) -> list[float] | None:
    """The symmetric 95 % interval of a difference of two figures that lie between `bounds`."""
    from scipy.special import stdtrit

    if of.lacks:
        return None
    half, widest = stdtrit(of.freedom, LEVEL) * of.error, bounds[1] - bounds[0]
    return np.clip([of.value - half, of.value + half], -widest, widest).tolist()


def above_0(of: Spread) -> float | None:
    """The confidence that a difference is above 0, from the distribution of its interval."""
    from scipy.special import stdtr

    return None if of.lacks else float(stdtr(of.freedom, of.value / of.error))


def spreads(
    values: Mapping[str, float], without: Mapping[str, Array], known: Mapping[str, int] | None = None
) -> dict[str, Spread]:
    """The spread of each figure by name; a figure missing in `known` is known in all records."""
    return {name: spread(float(value), without[name], (known or {}).get(name)) for name, value in values.items()}


def over_records(statistic: Statistic, unit: Array, *, bounds: Mapping[str, Bounds]) -> Found:
    """The interval of every figure of `statistic`, a function of row weights (1, N), and reasons for missing ones.

    `unit` (N,) gives the record of each row, from 0; more than MOST_GROUPS records are joined into that many groups.
    """
    group = unit % MOST_GROUPS
    values = {name: float(value[0]) for name, value in statistic(np.ones((1, len(unit)))).items()}
    parts = [statistic((group != left_out)[None].astype(float)) for left_out in range(int(group.max()) + 1)]
    without = {name: np.array([float(part[name][0]) for part in parts]) for name in values}
    return t_intervals(spreads(values, without), bounds)


def t_intervals(of: Mapping[str, Spread], bounds: Mapping[str, Bounds]) -> Found:
    """The interval of every figure within its `bounds` (default 0 to 1), and reasons for missing ones."""
    found = {name: t_interval(each, bounds.get(name, SHARE)) for name, each in of.items()}
    return found, {name: each.lacks for name, each in of.items() if each.lacks}


def influence(
    values: Mapping[str, float], without: Mapping[str, Array], units: Sequence[str], names: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """For each figure in `names` the most influential unit, and the value without it (NaN: undefined)."""
    found = {}
    for name in names:
        value, others = float(values[name]), without[name]
        if len(units) > 1 and not np.isnan(value):
            most = int(np.argmax(np.nan_to_num(np.abs(others - value), nan=np.inf)))
            found[name] = {"record": str(units[most]), "value": value, "without": float(others[most])}
    return found


def units(record: Array) -> tuple[Array, str]:
    """The unit of each row of `record` (N,), (N,) from 0, and their kind: records, or rows if a row names no record."""
    if (record == "").any():
        return np.arange(len(record)), "rows"
    return np.unique(record, return_inverse=True)[1], "records"


def units_of(method: str) -> str:
    """The units that a method draws or leaves out: rows, records or patients."""
    return method.removeprefix(BOOTSTRAP) if method.startswith(BOOTSTRAP) else "records"


def several_rows_a_record(record: Array) -> bool:
    """Whether every row (N,) names its record and some share one: then intervals are over records."""
    unit, what = units(record)
    return what == "records" and int(unit.max(initial=-1)) + 1 < len(unit)


def draws(count: int, replicates: int | None = None, seed: int = 0) -> Iterator[Array]:
    """Multinomial counts of `count` units, (b, count); no replicates for fewer than two units."""
    replicates = REPLICATES if replicates is None else replicates
    rng, block = np.random.default_rng(seed), max(LARGEST_BLOCK // max(count, 1), 1)
    if count < 2:
        yield np.empty((0, count))
        return
    for begin in range(0, replicates, block):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(block, replicates - begin)).astype(float)


def row_draws(rows: int, replicates: int | None = None, seed: int = 0) -> Iterator[Array]:
    """Counts of rows drawn one by one, (b, rows), which is faster for many rows; float32 while that counts exactly."""
    replicates, kind = REPLICATES if replicates is None else replicates, np.float32 if rows < 2**24 else np.float64
    rng, block = np.random.default_rng(seed), max(1, CACHED // max(rows, 1))
    for begin in range(0, replicates, block):
        drawn = range(begin, min(begin + block, replicates))
        yield np.array([np.bincount(rng.integers(rows, size=rows), minlength=rows) for _ in drawn], kind)


def matrix_draws(matrix: Array, replicates: int | None = None, seed: int = 0) -> Iterator[Array]:
    """Confusion matrices (b, K, K) of resampled rows of `matrix` (K, K): a row falls into a cell by its share."""
    replicates, rows = REPLICATES if replicates is None else replicates, round(matrix.sum())
    drawn = np.random.default_rng(seed).multinomial(rows, matrix.ravel() / max(rows, 1), size=replicates)
    yield drawn.reshape(replicates, *matrix.shape)


def replicated(statistic: Statistic, drawn: Iterable[Array]) -> dict[str, Array]:
    """Every figure of `statistic` for each replicate, (replicates,)."""
    blocks = [statistic(block) for block in drawn]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def percentile_interval(values: Array) -> list[float]:
    """The 2.5th and 97.5th percentile of the defined replicates; NaN without any."""
    kept = values[~np.isnan(values)]
    return np.percentile(kept, [2.5, 97.5]).tolist() if len(kept) else [np.nan] * 2


def percentiles(statistic: Statistic, drawn: Iterable[Array]) -> dict[str, list[float]]:
    """The 95 % percentile interval [low, high] of every figure of `statistic`."""
    return {name: percentile_interval(values) for name, values in replicated(statistic, drawn).items()}


def allowed(intervals: Mapping[str, list[float]], count: int, what: str = "rows") -> Found:
    """The intervals over `count` rows or other units, and a reason for each None: too few units, undefined, no
    spread."""
    reasons = {}
    for name, (low, high) in intervals.items():
        undefined, still = np.isnan(low), low == high
        lacks = UNDEFINED if undefined else STILL if still else ""
        if reason := too_few(count, what) or lacks:
            reasons[name] = reason
    return {name: None if name in reasons else ends for name, ends in intervals.items()}, reasons


def of_statistic(statistic: Statistic, record: Array, *, bounds: Mapping[str, Bounds] | None = None) -> dict[str, Any]:
    """`interval_method`, `intervals` and `without_interval` of every figure of row weights (b, N).

    By the jackknife over records if rows of `record` (N,) share one, else over resampled rows. `bounds` (default 0 to
    1) by name.
    """
    if several_rows_a_record(record):
        found, lacking = over_records(statistic, units(record)[0], bounds=bounds or {})
    else:
        found, lacking = allowed(percentiles(statistic, row_draws(len(record))), len(record))
    method = RECORD_METHOD if several_rows_a_record(record) else ROW_METHOD
    return {"interval_method": method, "intervals": found, "without_interval": lacking}
