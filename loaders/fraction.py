"""A part of the training rows: whole patients, in proportion to the classes, and a small part lies in every larger one.

data = of(data, 0.1, seed)        # validation and test stay as they are
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data
from toolbox.metrics import meanings

Array = NDArray[Any]


def of(data: Data, fraction: float | None, seed: int) -> Data:
    """The data with this part of its training rows; None and 1 for all. The split rule states it."""
    if fraction in (None, 1):
        return data
    rows = data.train
    named = len(rows.record) > 0 and bool((rows.record != "").all())
    unit = np.unique(rows.record if named else rows.index, return_inverse=True)[1]
    taken = np.isin(unit, kept(unit, indicator(rows.y), float(fraction or 1), seed))
    called = meanings.unit(data.spec.view) if named and unit.max() + 1 < len(rows) else "record"
    what = f"{len(np.unique(unit[taken])):,} of {unit.max() + 1:,} {called}s" if named else "rows without records"
    told = f"{fraction:g} of the training rows, {taken.sum():,} of {len(rows):,}, {what}"
    rule, _, short = data.spec.split_rule.rpartition("; ") if data.whole else (data.spec.split_rule, "", "")
    fewer = replace(data, train=rows.rows(np.flatnonzero(taken)))
    return fewer.ruled("; ".join(filter(None, (rule, told, short))))  # the part of a short run stays the last


def indicator(y: Array) -> Array:
    """Whether each row (N, K) has each class, of classes (N,) or many labels (N, K)."""
    if y.ndim == 2:
        return y == 1
    return y[:, None] == np.arange(y.max(initial=-1) + 1)


def kept(unit: Array, has: Array, fraction: float, seed: int) -> Array:
    """The units, numbers in `unit` (N,) of each row, that this part has; `has` (N, K) is that of `indicator`.

    A unit counts for its rarest class. The units of a class are in a random order by `seed`, and the first ones are
    kept, at least one; of a class without any of its own, the first unit that has it too.
    """
    units = int(unit.max(initial=-1)) + 1
    holds = np.zeros((units, has.shape[1] + 1), bool)
    np.logical_or.at(holds, unit, np.column_stack([has, ~has.any(1)]))
    common = holds.sum(0)
    rarest = np.where(holds, common, units + 1).argmin(1)
    order = np.random.default_rng(seed).permutation(units)
    place = np.empty(units)
    for k in range(holds.shape[1]):
        own = order[rarest[order] == k]
        place[own] = np.arange(len(own)) / max(len(own), 1)
    for column in holds.T:
        if column.any():
            place[order[column[order]][place[order[column[order]]].argmin()]] = 0
    return np.flatnonzero(place < fraction)
