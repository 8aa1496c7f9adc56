"""Arrays in, floats out: what the scores of a classifier are worth, and how sure one can be of it.

Definitions follow scikit-learn: balanced accuracy is the mean recall of the classes that occur, macro averages run over
the classes that occur or are predicted, IoU is the Jaccard index, AUROC and average precision are one against the rest.
An undefined metric is NaN (null in JSON).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
METRICS = (
    "loss",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_auroc",
    "macro_average_precision",
    "mean_iou",
    "frequency_weighted_iou",
)
LOWER_IS_BETTER = {"loss"}


def confusion_matrix(target: Array, predicted: Array, classes: int, weight: Array | None = None) -> Array:
    """Rows (or their weights) by true class and predicted class, (K, K)."""
    return np.bincount(target * classes + predicted, weight, classes * classes).reshape(classes, classes)


def from_confusion(matrix: Array) -> dict[str, float]:
    """The metrics that a confusion matrix (K, K) decides."""
    parts = per_class(matrix)
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    iou = _ratio(np.diag(matrix), union)
    return {
        "accuracy": float(_ratio(np.trace(matrix), matrix.sum())),
        "balanced_accuracy": _mean(np.where(matrix.sum(1) > 0, parts["recall"], np.nan)),
        "macro_f1": _mean(np.where(union > 0, parts["f1"], np.nan)),
        "mean_iou": _mean(iou),
        "frequency_weighted_iou": float(np.nansum(iou * matrix.sum(1)) / max(matrix.sum(), 1)),
    }


def per_class(matrix: Array) -> dict[str, Array]:
    """Precision (+P), recall (Se) and F1 of each class (K,); 0 where nothing was there to be right about."""
    hits = np.diag(matrix)
    return {
        "precision": np.nan_to_num(_ratio(hits, matrix.sum(0))),
        "recall": np.nan_to_num(_ratio(hits, matrix.sum(1))),
        "f1": np.nan_to_num(_ratio(2 * hits, matrix.sum(0) + matrix.sum(1))),
    }


class Ranking:
    """The rows sorted once by the score of each class, so that AUROC and average precision of a reweighting are sums."""

    def __init__(self, target: Array, scores: Array) -> None:
        self._sorted = []
        for k in range(scores.shape[1]):
            order = np.argsort(-scores[:, k], kind="stable")
            ends = np.append(np.flatnonzero(np.diff(scores[order, k])), len(order) - 1)
            self._sorted.append((order, target[order] == k, ends))

    def curve(self, k: int, weight: Array) -> tuple[Array, Array]:
        """Rows of class k and of the rest (or their `weight` (N,)) above each score that occurs, highest first."""
        order, positive, ends = self._sorted[k]
        weight = weight[order]
        hits = np.cumsum(weight * positive)[ends]
        return hits, np.cumsum(weight)[ends] - hits

    def metrics(self, weight: Array) -> dict[str, float]:
        """Macro AUROC and average precision with `weight` (N,) for the rows."""
        curves = [self.curve(k, weight) for k in range(len(self._sorted))]
        return {
            "macro_auroc": _mean(np.array([auroc(*curve) for curve in curves])),
            "macro_average_precision": _mean(np.array([average_precision(*curve) for curve in curves])),
        }


def score(target: Array, scores: Array, row_loss: Array) -> dict[str, Any]:
    """Every metric of `target` (N,) and `scores` (N, K), the mean of `row_loss` (N,), and the confusion matrix."""
    matrix = confusion_matrix(target, scores.argmax(1), scores.shape[1])
    ranking = Ranking(target, scores).metrics(np.ones(len(target)))
    values = {"loss": float(row_loss.mean()), **from_confusion(matrix), **ranking}
    return {name: values[name] for name in METRICS} | {"confusion_matrix": matrix.tolist()}


def name_classes(values: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """`values` of `score` with the precision, recall and F1 of each class under its name."""
    parts = per_class(np.array(values["confusion_matrix"]))
    return values | {"per_class": {name: {part: float(row[k]) for part, row in parts.items()} for k, name in enumerate(classes)}}


def bootstrap_intervals(
    target: Array, scores: Array, row_loss: Array, *, replicates: int = 1000, seed: int = 0
) -> dict[str, list[float]]:
    """95 % percentile intervals [low, high] of every metric over resampled rows (Efron & Tibshirani 1993, ch. 13)."""
    rng, rows, classes = np.random.default_rng(seed), len(target), scores.shape[1]
    predicted, ranking = scores.argmax(1), Ranking(target, scores)
    table = np.empty((replicates, len(METRICS)))
    for replicate in table:
        weight = np.bincount(rng.integers(rows, size=rows), minlength=rows).astype(float)
        values = {
            "loss": row_loss @ weight / rows,
            **ranking.metrics(weight),
            **from_confusion(confusion_matrix(target, predicted, classes, weight)),
        }
        replicate[:] = [values[name] for name in METRICS]
    bounds = {name: column[~np.isnan(column)] for name, column in zip(METRICS, table.T, strict=True)}
    return {name: np.percentile(column, [2.5, 97.5]).tolist() if len(column) else [np.nan] * 2 for name, column in bounds.items()}


def f1_intervals(
    matrix: Array, classes: Sequence[str], *, scored: Sequence[str] = (), replicates: int = 1000, seed: int = 0
) -> dict[str, list[float]]:
    """95 % percentile intervals [low, high] of the F1 of each class over resampled rows, and of `challenge_f1` of the `scored`.

    A row drawn with replacement falls into a cell of the confusion matrix (K, K) with that cell's share, so cells are drawn.
    """
    rows = round(matrix.sum())
    drawn = np.random.default_rng(seed).multinomial(rows, matrix.ravel() / max(rows, 1), size=replicates)
    drawn = drawn.reshape(replicates, *matrix.shape)
    f1 = np.nan_to_num(_ratio(2 * np.diagonal(drawn, axis1=1, axis2=2), drawn.sum(1) + drawn.sum(2)))
    figures = dict(zip(classes, f1.T, strict=True))
    figures |= {"challenge_f1": f1[:, [classes.index(name) for name in scored]].mean(1)} if scored else {}
    return {name: np.percentile(values, [2.5, 97.5]).tolist() for name, values in figures.items()}


def challenge_f1(per_class: Mapping[str, Mapping[str, float]], scored: Sequence[str]) -> dict[str, float]:
    """The mean F1 of the classes that a challenge scores, as `challenge_f1`; nothing where it scores none."""
    return {"challenge_f1": float(np.mean([per_class[name]["f1"] for name in scored]))} if scored and per_class else {}


def auroc(hits: Array, misses: Array) -> float:
    """Area under the ROC curve that `Ranking.curve` gave; NaN where one side is empty."""
    if hits[-1] == 0 or misses[-1] == 0:
        return np.nan
    return float(np.trapezoid(np.append(0, hits), np.append(0, misses)) / (hits[-1] * misses[-1]))


def average_precision(hits: Array, misses: Array) -> float:
    """Mean precision over the steps in recall of the curve that `Ranking.curve` gave; NaN where one side is empty."""
    if hits[-1] == 0 or misses[-1] == 0:
        return np.nan
    return float(np.nansum(np.diff(hits, prepend=0) * _ratio(hits, hits + misses)) / hits[-1])


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(part, whole)


def _mean(values: Array) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
