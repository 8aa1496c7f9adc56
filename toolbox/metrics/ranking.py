"""Rows ranked by their scores: AUROC and average precision, one class against the rest, as scikit-learn has them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Ranked(NamedTuple):
    """Rows by falling score, `order` (N,); whether each is `positive`, of the class; and the last row of each tie."""

    order: Array
    positive: Array
    ends: Array

    @classmethod
    def by(cls, score: Array, positive: Array) -> "Ranked":
        """Rank by `score` (N,) the rows, of which some are `positive` (N,)."""
        order = np.argsort(-score, kind="stable")
        return cls(order, positive[order], np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1))

    def areas(self) -> Callable[[Array, Array], tuple[Array, Array]]:
        """AUROC and average precision (b,) as a function of weights (b, N), whole numbers, and their sums (b,).

        Only rows from the first negative one to the last positive one, with their ties, need their place; the others
        count together. Of ties, only those with a positive row matter.
        """
        until = np.append(0, self.ends + 1)
        hits = np.append(0, np.cumsum(self.positive))[until]
        pure = int(until[hits == until].max())  # the places of positive rows before any other
        some = np.flatnonzero((np.diff(hits) > 0) & (until[1:] > pure))
        last = int(until[some + 1].max(initial=pure))
        first, between = self.order[:pure], self.order[pure:last]
        rows = np.flatnonzero(self.positive[pure:last])
        ties, above, end = np.append(hits[some] - pure, len(rows)), until[some] - pure, until[some + 1] - pure
        tied = len(some) < len(rows)

        def areas(weight: Array, total: Array) -> tuple[Array, Array]:
            before, zone = np.take(weight, first, -1).sum(-1, keepdims=True), np.take(weight, between, -1)
            added = np.take(zone, rows, -1)
            hits, every = sums(added, before), sums(zone, before)
            if tied:
                hits = np.take(hits, ties, -1)
                added = np.diff(hits)
            below, positives, before = np.take(every, end, -1), hits[:, -1].astype(float), before[:, 0].astype(float)
            pairs = positives * (total - positives)
            # The rows above a positive one, and half of its tie, without the pairs of positive rows: wrong pairs.
            above_each = np.einsum("bt,bt->b", added, np.take(every, above, -1) + below, dtype=float)
            wrong = (above_each - positives**2 + before**2) / 2
            precision = np.divide(hits[:, 1:], np.maximum(below, 1, out=below), out=below)
            steps = before + np.einsum("bt,bt->b", added, precision, dtype=float)
            return ratio(pairs - wrong, pairs), np.where(pairs > 0, ratio(steps, positives), np.nan)

        return areas


class Ranking:
    """Rows sorted once by the score of each class, so that AUROC and average precision of weighted rows are sums."""

    def __init__(self, target: Array, scores: Array) -> None:
        self._classes = [Ranked.by(column, of_class(target, k)) for k, column in enumerate(scores.T)]

    def curve(self, k: int, weight: Array) -> tuple[Array, Array]:
        """Rows of class k and of the rest (or their `weight` (..., N)) above each score that occurs, highest first."""
        of = self._classes[k]
        weight = np.take(weight, of.order, -1)
        hits, rows = (np.take(np.cumsum(part, -1), of.ends, -1) for part in (weight * of.positive, weight))
        return hits, rows - hits

    def metrics(self, weight: Array) -> dict[str, Array]:
        """Macro AUROC and average precision (...,) with `weight` (..., N) for the rows."""
        curves = [self.curve(k, weight) for k in range(len(self._classes))]
        return _macro([(auroc(*curve), average_precision(*curve)) for curve in curves])

    def quick_metrics(self) -> Callable[[Array, Array], dict[str, Array]]:
        """`metrics` but for rounding, as a function of many weights (b, N), whole numbers, and of their sums (b,)."""
        areas = [of.areas() for of in self._classes]
        return lambda weight, total: _macro([each(weight, total) for each in areas])


def of_class(target: Array, k: int) -> Array:
    """Whether each row is of class k (N,); `target` is the class (N,) of a row, or 0 and 1 for many labels (N, K)."""
    return target == k if target.ndim == 1 else target[:, k] == 1


def _macro(of_classes: Sequence[tuple[Array, Array]]) -> dict[str, Array]:
    """The means over the classes of AUROC and average precision (...,)."""
    areas, precisions = zip(*of_classes, strict=True)
    return {"macro_auroc": mean(np.stack(areas, -1)), "macro_average_precision": mean(np.stack(precisions, -1))}


def sums(values: Array, start: Array) -> Array:
    """`start` (b, 1) and the sums of it and the first 1, 2, ... of `values` (b, n), whole numbers, (b, n + 1).

    torch's are three times as fast as numpy's; over all rows in one go it uses one thread.
    """
    import torch

    found = np.empty((len(values), values.shape[-1] + 1), values.dtype)
    run = torch.from_numpy(values).flatten().cumsum(0).reshape(values.shape).numpy()
    before = np.append(np.zeros((1, 1), values.dtype), run[:-1, -1:], 0) if values.size else 0
    found[:, :1] = start
    np.subtract(run, before - start, out=found[:, 1:])
    return found


def auroc(hits: Array, misses: Array) -> Array:
    """Area (...,) under the ROC curves (..., n) of `Ranking.curve`; NaN without positives or without negatives."""
    zero = np.zeros_like(hits[..., :1])
    area = np.trapezoid(np.concatenate([zero, hits], -1), np.concatenate([zero, misses], -1))
    return ratio(area, hits[..., -1] * misses[..., -1])


def average_precision(hits: Array, misses: Array) -> Array:
    """Average precision (...,) of the curves (..., n) of `Ranking.curve`; NaN without positives or negatives."""
    steps = np.nansum(np.diff(hits, prepend=0) * ratio(hits, hits + misses), -1)
    return np.where(misses[..., -1] > 0, ratio(steps, hits[..., -1]), np.nan)[()]


def ratio(part: Array, whole: Array) -> Array:
    """`part / whole`; NaN where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(part, whole)


def mean(values: Array) -> Any:
    """The mean (...,) over the values that are not NaN in `values` (..., K)."""
    if values.ndim > 1:
        known = ~np.isnan(values)
        return ratio(np.where(known, values, 0).sum(-1), known.sum(-1))
    values = values[~np.isnan(values)]
    return values.mean() if len(values) else np.float64(np.nan)
