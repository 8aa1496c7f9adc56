"""Patients, each with a count of rows by class (P, K), are put together so that classes stand on every side in like
shares."""

import numpy as np

from loaders.splits.by_row import Indices

DRAWS = 256  # of patients in random order, from which the best is taken
LEAST_SHARE = 1e-3  # of the beats, for a class to count
MOST, SIZE_COUNTS = (
    2.0,
    3.0,
)  # times the fraction that may validate; how much that size counts against the share of one class
NEARLY_0 = 1e-3  # so that a share of 0 has a logarithm


def folds(counts: Indices, number: int, seed: int) -> Indices:
    """The fold (P,) of each of P persons, from 0 on.

    The largest shares come first, as chance has it, each to the fold with least of what it brings.
    """
    share = counts / counts.sum(0).clip(1)  # (P, K)
    order = np.argsort(-share.max(1) * np.random.default_rng(seed).uniform(0.5, 1, len(counts)), kind="stable")
    held, rows, fold = np.zeros((number, counts.shape[1])), np.zeros(number, int), np.zeros(len(counts), int)
    for person in order:  # tens of them
        fold[person] = np.lexsort((rows, held @ share[person]))[0]
        held[fold[person]] += share[person]
        rows[fold[person]] += counts[person].sum()
    return fold


def part(counts: Indices, fraction: float, seed: int) -> Indices:
    """Which of P persons make up about `fraction` of the rows, with the classes in them and in the others if that can
    be had.

    Of many draws the best is taken: one person, or at most twice the `fraction`, that lack the fewest classes, those of
    many persons first, and among such those whose shares of the rows and of each class are nearest to `fraction` by
    their ratio. A class that is all but absent does not count.
    """
    counts = counts[:, counts.sum(0) >= LEAST_SHARE * counts.sum()]
    rng, total = np.random.default_rng(seed), counts.sum(0)
    drawn = np.stack([rng.permutation(len(counts)) for _ in range(DRAWS)])  # (D, P)
    held = counts[drawn].cumsum(1)[:, :-1]  # (D, P - 1, K), of the first 1, 2, ... persons
    share, size = held / total, held.sum(2) / total.sum()
    lacking = ((share == 0) | (share == 1)) @ (counts > 0).sum(0)
    too_many = (size > MOST * fraction) & (np.arange(len(counts) - 1) > 0)
    off = np.abs(np.log((share + NEARLY_0) / fraction)).sum(2) + SIZE_COUNTS * np.abs(np.log(size / fraction))
    draw, last = np.unravel_index(np.lexsort((off.ravel(), lacking.ravel(), too_many.ravel()))[0], off.shape)
    return drawn[draw, : last + 1]
