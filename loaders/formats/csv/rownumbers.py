"""Columns of a table that tell rows apart rather than describe them: row numbers, time stamps, numbers of records.

A network learns from such a column where a row stands in its file, and so its class where rows are sorted by class.
"""

import math

import numpy as np
from numpy.typing import NDArray

FEWEST = 20  # rows, or different values; below them samples may be in order by chance
FEW_WHOLE = 0.1  # of samples with decimals
CERTAIN = 14  # -log of the probability that as many random values as there are rows would all be different


def counting(x: NDArray[np.float32]) -> list[int]:
    """Which columns of x (N, T) rise or fall from row to row, and whether the first or the last has numbers of rows or
    records.

    A column that rises or falls may repeat a value, as the number of a record does, and may have gaps, as numbers of
    rows have of which some were left out. Shuffled numbers of rows are all different, though they have few values to
    choose from; those of records are whole beside samples with decimals.
    """
    if len(x) < FEWEST:
        return []
    found = {column for column in _ordered(x) if len(np.unique(x[:, column])) >= FEWEST}
    found |= {column for column in (0, x.shape[1] - 1) if _all_different(x[:, column]) or _alone_whole(x, column)}
    return sorted(found)


def _ordered(x: NDArray[np.float32]) -> list[int]:
    """Columns that never fall, or never rise; the first rows rule out most of them."""
    columns = np.arange(x.shape[1])
    for rows in (x[:FEWEST], x):
        steps = np.diff(rows[:, columns], axis=0)
        columns = columns[(steps >= 0).all(0) | (steps <= 0).all(0)]
    return columns.tolist()


def _alone_whole(x: NDArray[np.float32], column: int) -> bool:
    """Whether a column has three or more whole numbers and nothing else, and the other columns hardly any."""
    different = np.unique(x[:, column])
    if len(different) < 3 or (different != np.floor(different)).any() or x.shape[1] < 2:
        return False
    others = np.delete(x, column, axis=1)
    return bool((others == np.floor(others)).mean() < FEW_WHOLE)


def _all_different(values: NDArray[np.float32]) -> bool:
    """Whether values (N,) are all different on so coarse a grid that random ones would not be.

    N values drawn from P places are all different with the probability P! / ((P - N)! P**N), the birthday problem.
    """
    steps = np.diff(np.sort(values.astype(np.float64)))
    if steps.min() <= 0:
        return False
    rows, places = len(values), max(steps.sum() / steps.min() + 1, len(values))
    if places > rows**2:  # where they may well be, and lgamma is no longer exact
        return False
    return math.lgamma(places - rows + 1) + rows * math.log(places) - math.lgamma(places + 1) > CERTAIN
