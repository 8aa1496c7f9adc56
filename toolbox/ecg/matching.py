"""Detected beats are held against reference beats, as in ANSI/AAMI EC57: each is used once, at most 150 ms apart.

`match(reference, detected, tolerance)` pairs them, `scores` counts the pairs, `confusion` compares the classes of the
paired.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.integer]
TOLERANCE_S = 0.15


def match(reference: Samples, detected: Samples, tolerance: int) -> NDArray[np.int64]:
    """Pairs (M, 2) of places in `reference` (N,) and `detected` (L,), both in rising order, in that of time.

    The nearest two make a pair first, then the nearest of the rest, while they are at most `tolerance` samples apart.
    """
    left, right = np.arange(len(reference)), np.arange(len(detected))
    pairs = [np.empty((0, 2), dtype=np.int64)]
    while len(left) and len(right):
        mine, theirs = reference[left], detected[right]
        # Of two that are equally near the later detected and the earlier reference count, so that a chain of them falls
        # apart.
        chosen = _nearest(mine, theirs, later=True)
        mutual = _nearest(theirs, mine, later=False)[chosen] == np.arange(len(left))
        mutual &= np.abs(mine - theirs[chosen]) <= tolerance
        if not mutual.any():
            break
        pairs.append(np.stack([left[mutual], right[chosen[mutual]]], axis=1))
        left, right = left[~mutual], np.delete(right, chosen[mutual])
    found = np.concatenate(pairs)
    return found[np.argsort(found[:, 0])]


def _nearest(points: Samples, among: Samples, *, later: bool) -> NDArray[np.int64]:
    """Of each of `points` the place in `among` of the nearest; of two that are equally near, the later or the
    earlier."""
    after = np.searchsorted(among, points)
    before, after = np.maximum(after - 1, 0), np.minimum(after, len(among) - 1)
    back, ahead = np.abs(points - among[before]), np.abs(among[after] - points)
    return np.where((back < ahead) if later else (back <= ahead), before, after)


def summed(parts: list[dict[str, Any]]) -> dict[str, float]:
    """The gross figures of several recordings, from the counts of each: sensitivity Se and positive predictivity +P are
    NaN where there are no beats."""
    counts = {name: sum(part[name] for part in parts) for name in ("matched", "missed", "extra")}
    found = counts["matched"]
    return counts | {"Se": _share(found, found + counts["missed"]), "+P": _share(found, found + counts["extra"])}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def confusion(
    reference: NDArray[np.integer], detected: NDArray[np.integer], pairs: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Counts (K+1, K+1) of class against class, rows of reference (N,), columns of detected (L,), paired by `pairs` (M,
    2).

    The last column counts the reference beats that were missed, the last row those that are extra.
    """
    counts = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    np.add.at(counts, (reference[pairs[:, 0]], detected[pairs[:, 1]]), 1)
    counts[:-1, -1] = np.bincount(np.delete(reference, pairs[:, 0]), minlength=classes)
    counts[-1, :-1] = np.bincount(np.delete(detected, pairs[:, 1]), minlength=classes)
    return counts
