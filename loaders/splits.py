"""Index arrays that divide rows into sides; a side never shares a row with another."""

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import DataError

Indices = NDArray[np.int64]


def stratified(labels: NDArray[np.int64], second: int, seed: int, *, where: str = "") -> tuple[Indices, Indices]:
    """Two ascending index arrays, the second of `second` rows, with each class in proportion (largest remainder).

    A class of two rows or more has at least one on either side as far as the total allows. Raises DataError, with `where`,
    where a side would be empty.
    """
    if not 0 < second < len(labels):
        raise DataError(
            f"cannot set {second} of {len(labels)} rows aside and have rows on both sides",
            where=where,
            hint="more data, or another --val-fraction",
        )
    rng = np.random.default_rng(seed)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quota = counts * second / len(labels)
    take = np.floor(quota).astype(int)
    take[np.argsort(take - quota, kind="stable")[: second - take.sum()]] += 1
    take = _lend_to_empty(take, counts)
    take = counts - _lend_to_empty(counts - take, counts)
    chosen = [rng.permutation(np.flatnonzero(inverse == k))[:n] for k, n in enumerate(take)]
    picked = np.sort(np.concatenate(chosen))
    rest = np.setdiff1d(np.arange(len(labels)), picked, assume_unique=True)
    return rest, picked


def _lend_to_empty(take: Indices, counts: Indices) -> Indices:
    """Give a class that got no row one of the class that got most; the total stays."""
    take = take.copy()
    for k in np.flatnonzero((take == 0) & (counts > 1)):
        richest = int(take.argmax())
        if take[richest] > 1:
            take[richest] -= 1
            take[k] += 1
    return take


def validation_rule(fraction: float, seed: int) -> str:
    """How validation rows were chosen, for the split rule."""
    return f"validation is {fraction:.3g} of train, stratified by class, seed {seed}"
