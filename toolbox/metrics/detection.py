"""Arrays in, floats out: how well reconstruction errors tell anomalies from normal rows, by rank and at a threshold.

Anomalies are the positive class of AUROC, average precision (both as in scikit-learn) and F1. A row is called an
anomaly where its error is above the threshold. An undefined figure is NaN (null in JSON).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import classification

Array = NDArray[Any]
BY_RANK = ("auroc", "average_precision")
AT_THRESHOLD = ("normals_kept", "anomalies_caught", "balanced_accuracy", "f1")
FIGURES = (*BY_RANK, *AT_THRESHOLD)


def both_sides(anomaly: Array) -> bool:
    """Whether there are normal rows and anomalies in `anomaly` (N,), without which there is nothing to measure."""
    return bool(0 < anomaly.sum() < len(anomaly))


def score(anomaly: Array, errors: Array, threshold: float) -> dict[str, float]:
    """Every figure of `errors` (N,), where `anomaly` (N,) says which rows are ones."""
    values = _figures(anomaly, errors > threshold, _ranking(anomaly, errors), np.ones(len(errors)))
    return {name: float(value) for name, value in values.items()}


def of_weights(anomaly: Array, errors: Array, threshold: float) -> Callable[[Array], dict[str, Array]]:
    """Every figure (b,) of weights (b, N) of the rows; the threshold stays as it is."""
    ranking, flagged = _ranking(anomaly, errors), errors > threshold
    return lambda weights: _figures(anomaly, flagged, ranking, weights)


def bootstrap_intervals(
    anomaly: Array, errors: Array, threshold: float, *, replicates: int = 1000, seed: int = 0
) -> dict[str, list[float]]:
    """95 % percentile intervals [low, high] of every figure over resampled rows; the threshold stays as it is."""
    rng, statistic = np.random.default_rng(seed), of_weights(anomaly, errors, threshold)
    blocks = (statistic(weights) for weights in classification.resamplings(rng, len(errors), replicates))
    return classification.percentile_intervals(
        FIGURES, np.concatenate([np.stack(list(block.values())) for block in blocks], 1)
    )


def by_class(target: Array, errors: Array, threshold: float, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many rows each class has in `target` (N,), and how many of them lie above the threshold."""
    flagged = np.bincount(target[errors > threshold], minlength=len(classes))
    rows = np.bincount(target, minlength=len(classes))
    return {name: {"rows": int(rows[k]), "flagged": int(flagged[k])} for k, name in enumerate(classes)}


def _ranking(anomaly: Array, errors: Array) -> classification.Ranking:
    return classification.Ranking((~anomaly).astype(int), errors[:, None])  # of class 0


def _figures(anomaly: Array, flagged: Array, ranking: classification.Ranking, weight: Array) -> dict[str, Array]:
    """Every figure (...,) with `weight` (..., N) for the rows."""
    curve = ranking.curve(0, weight)
    normals, anomalies = weight @ ~anomaly, weight @ anomaly
    caught, false_alarms = weight @ (anomaly & flagged), weight @ (~anomaly & flagged)
    kept_share, caught_share = (
        classification.ratio(normals - false_alarms, normals),
        classification.ratio(caught, anomalies),
    )
    return {
        "auroc": classification.auroc(*curve),
        "average_precision": classification.average_precision(*curve),
        "normals_kept": kept_share,
        "anomalies_caught": caught_share,
        "balanced_accuracy": (kept_share + caught_share) / 2,
        "f1": classification.ratio(2 * caught, anomalies + caught + false_alarms),
    }
