"""How sure one can be of a figure: it is computed again for units drawn with replacement (Efron & Tibshirani 1993, ch.
13).

A unit is what is independent of the others: a record, or a row where nobody knows whose it is. A statistic is given how
often each unit was drawn, and is a product of matrices; nothing is looped over but blocks that fit the memory.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import jackknife

Array = NDArray[Any]
MOST = 2**22  # numbers of a block
METHOD = "percentile bootstrap over rows"


def units(record: Array) -> tuple[Array, str]:
    """Which unit each row of `record` (N,) is of, (N,) from 0, and what the units are: records, or rows where none is
    known."""
    if (record == "").any():
        return np.arange(len(record)), "rows"
    return np.unique(record, return_inverse=True)[1], "records"


def draws(count: int, replicates: int, seed: int) -> Iterator[Array]:
    """How often each of `count` units is drawn, (b, count), in blocks of b replicates; none where there are no two
    units."""
    rng, block = np.random.default_rng(seed), max(MOST // max(count, 1), 1)
    if count < 2:
        yield np.empty((0, count))
        return
    for begin in range(0, replicates, block):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(block, replicates - begin)).astype(float)


def replicated(
    statistic: Callable[[Array], dict[str, Array]], count: int, *, replicates: int = 1000, seed: int = 0
) -> dict[str, Array]:
    """Every figure of `statistic` (b, count) -> name: (b,), for each replicate, (replicates,)."""
    blocks = [statistic(drawn) for drawn in draws(count, replicates, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def interval(values: Array) -> list[float]:
    """The 2.5th and 97.5th percentile of the replicates that are defined; NaN where none is."""
    kept = values[~np.isnan(values)]
    return np.percentile(kept, [2.5, 97.5]).tolist() if len(kept) else [np.nan] * 2


def percentiles(
    statistic: Callable[[Array], dict[str, Array]], count: int, *, replicates: int = 1000, seed: int = 0
) -> tuple[dict[str, list[float] | None], dict[str, str]]:
    """The percentile interval of every figure of `statistic` over `count` rows, and why a figure has none: too few
    rows."""
    spread = replicated(statistic, count, replicates=replicates, seed=seed)
    return allowed({name: interval(column) for name, column in spread.items()}, jackknife.too_few(count, "rows"))


def several_rows_a_record(record: Array) -> bool:
    """Whether every row (N,) names its record, and records have more rows than one: then an interval is over
    records."""
    unit, what = units(record)
    return what == "records" and int(unit.max(initial=-1)) + 1 < len(unit)


def allowed(intervals: dict[str, list[float]], lacks: str) -> tuple[dict[str, list[float] | None], dict[str, str]]:
    """The intervals, None where `lacks` is a reason, or they are undefined or a single value, and why they are None."""
    reasons = {}
    for name, (low, high) in intervals.items():
        if reason := lacks or (jackknife.UNDEFINED if np.isnan(low) else jackknife.STILL if low == high else ""):
            reasons[name] = reason
    return {name: None if name in reasons else ends for name, ends in intervals.items()}, reasons
