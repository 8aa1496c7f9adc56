"""Percentile bootstrap intervals: a figure of units drawn with replacement (Efron & Tibshirani 1993, ch. 13).

A unit is independent of the others: a record, or a row if no record is known. A statistic gets the number of times each
unit was drawn, (b, units), and returns every figure (b,). Draws come in blocks of b replicates to save memory.

    intervals = percentiles(statistic, row_draws(1000))      # name -> [low, high]
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import jackknife

Array = NDArray[Any]
Statistic = Callable[[Array], Mapping[str, Array]]
REPLICATES = 1000  # default number of an interval
MOST = 2**22  # numbers in a block of `draws`
CACHED = 2**14  # numbers in a block of `row_draws`: fits into a processor's cache
METHOD = "percentile bootstrap over rows"


def units(record: Array) -> tuple[Array, str]:
    """The unit of each row of `record` (N,), (N,) from 0, and their kind: records, or rows if a row names no record."""
    if (record == "").any():
        return np.arange(len(record)), "rows"
    return np.unique(record, return_inverse=True)[1], "records"


def several_rows_a_record(record: Array) -> bool:
    """Whether every row (N,) names its record and some share one: then intervals are over records."""
    unit, what = units(record)
    return what == "records" and int(unit.max(initial=-1)) + 1 < len(unit)


def draws(count: int, replicates: int | None = None, seed: int = 0) -> Iterator[Array]:
    """Multinomial counts of `count` units, (b, count); no replicates for fewer than two units."""
    replicates = REPLICATES if replicates is None else replicates
    rng, block = np.random.default_rng(seed), max(MOST // max(count, 1), 1)
    if count < 2:
        yield np.empty((0, count))
        return
    for begin in range(0, replicates, block):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(block, replicates - begin)).astype(float)


def row_draws(rows: int, replicates: int | None = None, seed: int = 0) -> Iterator[Array]:
    """Counts of rows drawn one by one, (b, rows), which is faster for many rows."""
    replicates = REPLICATES if replicates is None else replicates
    rng, block = np.random.default_rng(seed), max(1, CACHED // max(rows, 1))
    for begin in range(0, replicates, block):
        drawn = range(begin, min(begin + block, replicates))
        yield np.array([np.bincount(rng.integers(rows, size=rows), minlength=rows) for _ in drawn], float)


def matrix_draws(matrix: Array, replicates: int | None = None, seed: int = 0) -> Iterator[Array]:
    """Confusion matrices (b, K, K) of resampled rows of `matrix` (K, K): a row falls into a cell by its share."""
    replicates, rows = REPLICATES if replicates is None else replicates, round(matrix.sum())
    drawn = np.random.default_rng(seed).multinomial(rows, matrix.ravel() / max(rows, 1), size=replicates)
    yield drawn.reshape(replicates, *matrix.shape)


def replicated(statistic: Statistic, drawn: Iterable[Array]) -> dict[str, Array]:
    """Every figure of `statistic` for each replicate, (replicates,)."""
    blocks = [statistic(block) for block in drawn]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def interval(values: Array) -> list[float]:
    """The 2.5th and 97.5th percentile of the defined replicates; NaN without any."""
    kept = values[~np.isnan(values)]
    return np.percentile(kept, [2.5, 97.5]).tolist() if len(kept) else [np.nan] * 2


def percentiles(statistic: Statistic, drawn: Iterable[Array]) -> dict[str, list[float]]:
    """The 95 % percentile interval [low, high] of every figure of `statistic`."""
    return {name: interval(values) for name, values in replicated(statistic, drawn).items()}


def allowed(intervals: Mapping[str, list[float]], rows: int) -> tuple[dict[str, list[float] | None], dict[str, str]]:
    """The intervals over `rows` rows, and a reason for each None: too few rows, undefined, no spread."""
    reasons = {}
    for name, (low, high) in intervals.items():
        undefined, still = np.isnan(low), low == high
        lacks = jackknife.UNDEFINED if undefined else jackknife.STILL if still else ""
        if reason := jackknife.too_few(rows, "rows") or lacks:
            reasons[name] = reason
    return {name: None if name in reasons else ends for name, ends in intervals.items()}, reasons


def intervals(
    statistic: Statistic, record: Array, *, bounds: Mapping[str, jackknife.Bounds] | None = None
) -> dict[str, Any]:
    """`interval_method`, `intervals` and `without_interval` of every figure of row weights (b, N).

    By the jackknife over records if rows of `record` (N,) share one, else over resampled rows. `bounds` (default 0 to
    1) by name.
    """
    if several_rows_a_record(record):
        found, lacking = jackknife.over_records(statistic, units(record)[0], bounds=bounds or {})
    else:
        found, lacking = allowed(percentiles(statistic, row_draws(len(record))), len(record))
    method = jackknife.METHOD if several_rows_a_record(record) else METHOD
    return {"interval_method": method, "intervals": found, "without_interval": lacking}
