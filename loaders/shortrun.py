"""The default batch size, which depends on the number of training rows, and the rows that --short-run validates and
tests on.

A short run takes ten batches of every side: of training in each epoch, of validation and of test. The rows of
validation and test are drawn once, by a fixed seed, from the whole side: not its first rows, which a file may keep by
class or by patient, and not every k-th row, which may fall in step with how the file is ordered.
"""

import numpy as np
from numpy.typing import NDArray

BATCH_SIZE, SMALLEST = 128, 8
STEPS = 10  # of an epoch at least, for which the default batch size is halved
BATCHES = 10  # of each side in a short run
SEED = 0


def batch_size(typed: int | None, train_rows: int) -> int:
    """Rows a step: the typed number, else 128, halved to no less than 8 until `train_rows` make ten steps."""
    if typed:
        return typed
    size = BATCH_SIZE
    while size > SMALLEST and -(-train_rows // size) < STEPS:
        size //= 2
    return size


def measured_rows(short_batch: int | None, train_rows: int) -> int | None:
    """Rows of validation and of test in a short run with batches of `short_batch`, 0 for the default; None for a whole
    run."""
    return None if short_batch is None else BATCHES * batch_size(short_batch, train_rows)


def drawn(index: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` positions in `index` (N,), ascending; positions of equal index, the pieces of one row, stay
    together."""
    if len(index) <= most:
        return np.arange(len(index))
    rows, whose, pieces = np.unique(index, return_inverse=True, return_counts=True)
    order = np.random.default_rng(SEED).permutation(len(rows))
    count = max(1, int(np.searchsorted(np.cumsum(pieces[order]), most, side="right")))
    return np.flatnonzero(np.isin(whose, order[:count]))


def rule(most: int) -> str:
    """The part of a split rule that a short run adds."""
    return f"a short run: at most {most:,} rows of validation and of test, drawn by a fixed seed"
