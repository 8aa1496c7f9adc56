"""Metrics of a classifier from its scores, with intervals, and tests for a collapsed or overfitted network.

Definitions follow scikit-learn: balanced accuracy is the mean recall of the classes that occur, macro averages run over
the classes that occur or are predicted, IoU is the Jaccard index, AUROC and average precision are one against the rest.
An undefined metric is NaN (null in JSON).

`why` detects a collapsed network: it predicts one class for nearly every row, or has the macro F1 of a guess.
`memorised` detects a network that only fits its training rows: right on nearly all of them, at chance on validation.
Both read confusion matrices (K, K), rows by true class.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import bootstrap

Array = NDArray[Any]
METRICS = (
    *("loss", "accuracy", "balanced_accuracy", "macro_f1"),
    *("macro_auroc", "macro_average_precision", "mean_iou", "frequency_weighted_iou"),
)
LOWER_IS_BETTER = {"loss"}


def confusion_matrix(target: Array, predicted: Array, classes: int, weight: Array | None = None) -> Array:
    """Rows (or their weights) by true class and predicted class, (K, K)."""
    return np.bincount(target * classes + predicted, weight, classes * classes).reshape(classes, classes)


def from_confusion(matrix: Array) -> dict[str, Array]:
    """The metrics (...,) of confusion matrices (..., K, K)."""
    parts, hits, target, predicted = per_class(matrix), np.diagonal(matrix, 0, -2, -1), matrix.sum(-1), matrix.sum(-2)
    union, rows = target + predicted - hits, matrix.sum((-2, -1))
    iou = ratio(hits, union)
    return {
        "accuracy": ratio(hits.sum(-1), rows),
        "balanced_accuracy": _mean(np.where(target > 0, parts["recall"], np.nan)),
        "macro_f1": _mean(np.where(union > 0, parts["f1"], np.nan)),
        "mean_iou": _mean(iou),
        "frequency_weighted_iou": np.nansum(iou * target, -1) / np.maximum(rows, 1),
    }


def per_class(matrix: Array) -> dict[str, Array]:
    """Precision (+P), recall (Se) and F1 of each class (..., K); 0 where undefined."""
    hits, target, predicted = np.diagonal(matrix, 0, -2, -1), matrix.sum(-1), matrix.sum(-2)
    return {
        "precision": np.nan_to_num(ratio(hits, predicted)),
        "recall": np.nan_to_num(ratio(hits, target)),
        "f1": np.nan_to_num(ratio(2 * hits, predicted + target)),
    }


class Ranking:
    """Rows sorted once by the score of each class, so that AUROC and average precision of weighted rows are sums."""

    def __init__(self, target: Array, scores: Array) -> None:
        self._sorted = []
        for k in range(scores.shape[1]):
            order = np.argsort(-scores[:, k], kind="stable")
            ends = np.append(np.flatnonzero(np.diff(scores[order, k])), len(order) - 1)
            self._sorted.append((order, target[order] == k, ends))

    def curve(self, k: int, weight: Array) -> tuple[Array, Array]:
        """Rows of class k and of the rest (or their `weight` (..., N)) above each score that occurs, highest first."""
        order, positive, ends = self._sorted[k]
        weight = np.take(weight, order, -1)
        hits, rows = (np.take(np.cumsum(part, -1), ends, -1) for part in (weight * positive, weight))
        return hits, rows - hits

    def metrics(self, weight: Array) -> dict[str, Array]:
        """Macro AUROC and average precision (...,) with `weight` (..., N) for the rows."""
        curves = (self.curve(k, weight) for k in range(len(self._sorted)))
        areas, precisions = zip(*((auroc(*curve), average_precision(*curve)) for curve in curves), strict=True)
        return {"macro_auroc": _mean(np.stack(areas, -1)), "macro_average_precision": _mean(np.stack(precisions, -1))}


def score(target: Array, scores: Array, row_loss: Array) -> dict[str, Any]:
    """Every metric of `target` (N,) and `scores` (N, K), the mean of `row_loss` (N,), and the confusion matrix."""
    matrix = confusion_matrix(target, scores.argmax(1), scores.shape[1])
    ranking = Ranking(target, scores).metrics(np.ones(len(target)))
    values = {"loss": row_loss.mean(), **from_confusion(matrix), **ranking}
    return {name: float(values[name]) for name in METRICS} | {"confusion_matrix": matrix.tolist()}


def name_classes(values: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """`values` of `score` with the precision, recall and F1 of each class under its name."""
    parts = per_class(np.array(values["confusion_matrix"]))
    return values | {
        "per_class": {name: {part: float(row[k]) for part, row in parts.items()} for k, name in enumerate(classes)}
    }


def of_weights(target: Array, scores: Array, row_loss: Array) -> Callable[[Array], dict[str, Array]]:
    """Every metric (b,) of weights (b, N) of the rows."""
    classes, predicted, ranking = scores.shape[1], scores.argmax(1), Ranking(target, scores)

    def statistic(weights: Array) -> dict[str, Array]:
        matrices = np.stack([confusion_matrix(target, predicted, classes, weight) for weight in weights])
        loss = np.array([row_loss @ weight / weight.sum() for weight in weights])
        values = {"loss": loss, **ranking.metrics(weights), **from_confusion(matrices)}
        return {name: values[name] for name in METRICS}

    return statistic


def f1_intervals(
    matrix: Array, classes: Sequence[str], *, scored: Sequence[str] = (), replicates: int | None = None
) -> dict[str, list[float]]:
    """95 % intervals over resampled rows of a matrix (K, K): F1 of each class, `challenge_f1` of the `scored`."""
    drawn = bootstrap.matrix_draws(matrix, replicates)
    return bootstrap.percentiles(lambda matrices: f1_of_classes(matrices, classes, scored), drawn)


def f1_of_classes(matrices: Array, classes: Sequence[str], scored: Sequence[str] = ()) -> dict[str, Array]:
    """The F1 (b,) of each class in matrices (b, K, K), and `challenge_f1` of the `scored`."""
    f1 = per_class(matrices)["f1"]
    figures = dict(zip(classes, f1.T, strict=True))
    return figures | ({"challenge_f1": f1[:, [classes.index(name) for name in scored]].mean(1)} if scored else {})


def challenge_f1(per_class: Mapping[str, Mapping[str, float]], scored: Sequence[str]) -> dict[str, float]:
    """The mean F1 of the classes scored by a challenge, as `challenge_f1`; {} without scored classes."""
    return {"challenge_f1": float(np.mean([per_class[name]["f1"] for name in scored]))} if scored and per_class else {}


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


def _mean(values: Array) -> Any:
    """The mean (...,) over the values that are not NaN in `values` (..., K)."""
    if values.ndim > 1:
        return np.array([_mean(row) for row in values])
    values = values[~np.isnan(values)]
    return values.mean() if len(values) else np.float64(np.nan)


ONE_CLASS = 0.99  # of the rows predicted as one class
MARGIN = 0.02  # of macro F1 above a guess
LEARNED = 0.95  # accuracy and balanced accuracy on training rows
ERRORS, LEAST_ABOVE, MOST_ABOVE = 2.0, 0.05, 0.15  # standard errors above chance; lower and upper bound of their sum
RULE = (
    f"A run counts as collapsed if, of K classes that occur, it predicts one for at least {100 * ONE_CLASS:.0f} % of"
    f" the rows, or if its macro F1 is below 1/K + {MARGIN}: 1/K is the most that a signal-blind guess can expect."
)


def why(matrix: NDArray[np.integer]) -> str | None:
    """Why a run with this matrix counts as collapsed; None if it does not, and for rows of one class.

    Guessing class k of share p_k with probability q_k gives an expected F1 of 2 p_k q_k / (p_k + q_k), at most
    (p_k + q_k) / 2, and so a macro F1 of at most 1/K for any shares.
    """
    matrix = np.asarray(matrix)
    occurring, predicted = int((matrix.sum(1) > 0).sum()), matrix.sum(0)
    if occurring < 2:
        return None
    if predicted.max() >= ONE_CLASS * predicted.sum():
        return f"one class for {100 * predicted.max() / predicted.sum():.1f} % of the rows"
    score = from_confusion(matrix)["macro_f1"]
    return f"macro F1 {score:.3f}, guessing {1 / occurring:.3f}" if score < 1 / occurring + MARGIN else None


def memorised(train: NDArray[np.integer], val: NDArray[np.integer]) -> str | None:
    """A warning if a network is right on nearly all training rows and at chance on validation; else None.

    `train` and `val` are confusion matrices (K, K). Any signal-blind guess has a balanced accuracy of 1 / K over the K
    classes that occur; at chance means at most two standard errors above that.
    """
    rows = np.asarray(val).sum(1)
    occurring = rows > 0
    if occurring.sum() < 2:
        return None
    learned, chance = from_confusion(np.asarray(train)), 1 / occurring.sum()
    error = chance * np.sqrt((chance * (1 - chance) / rows[occurring]).sum())
    reached = float(from_confusion(np.asarray(val))["balanced_accuracy"])
    if min(learned["accuracy"], learned["balanced_accuracy"]) < LEARNED:
        return None
    if reached > chance + np.clip(ERRORS * error, LEAST_ABOVE, MOST_ABOVE):
        return None
    return (
        f"the accuracy on training rows is {float(learned['accuracy']):.3f}, the balanced accuracy on validation"
        f" {reached:.3f}, and guessing has {chance:.3f}: the network fits its training rows alone, or its batch norms"
        " need more steps"
    )


def floats(values: Mapping[str, Any]) -> dict[str, float]:
    """The plain numbers among metrics."""
    return {name: value for name, value in values.items() if isinstance(value, float)}
