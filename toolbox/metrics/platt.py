"""Calibration of the probabilities of many labels a row: a line on the logit of each class, fitted on validation rows.

    fitted = fit(scores, target)                # {"slope": [...], "intercept": [...]}, a number each a class
    better = calibrated(scores, fitted)         # sigmoid(slope * logit(score) + intercept)

This is Platt scaling (Platt, Advances in Large Margin Classifiers, 61-74, 1999), with the targets of that publication,
which keep a class with few rows, or one that a threshold separates, from probabilities of 0 and 1. A temperature a
class (the slope alone) leaves a probability of 0.5 where it is; a loss with weights, and focal and asymmetric losses,
move the probabilities of rare classes as a whole, which the intercept takes back. The slope is above 0: the order of
the rows of a class stays, and with it AUROC, average precision and every decision at a threshold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import schema
from toolbox.metrics.classification import COLDEST, HOTTEST, LEAST

Array = NDArray[Any]
Fitted = Mapping[str, Sequence[float]]
CITES = ("platt1999",)
FURTHEST = 100.0  # largest size of an intercept
FORM = {"slope": [schema.Number(1 / HOTTEST, 1 / COLDEST)], "intercept": [schema.Number(-FURTHEST, FURTHEST)]}
MOST = 1 - float(np.finfo(np.float32).epsneg)  # in place of a probability rounded to 1


def fit(scores: Array, target: Array) -> dict[str, list[float]]:
    """The `slope`, 0.02 to 50, and the `intercept` of each class at which `scores` (N, K), probabilities, make the
    labels `target` (N, K) likeliest.

    1 and 0, which change nothing, for a class without a positive or without a negative row, and where none is better.
    """
    lines = [_line(of, target[:, k] == 1) for k, of in enumerate(_logits(scores).T)]
    return {"slope": [slope for slope, _ in lines], "intercept": [intercept for _, intercept in lines]}


def calibrated(scores: Array, fitted: Fitted) -> Array:
    """`scores` (..., K), probabilities, at the `fitted` lines, in float64; of equal ones equal ones."""
    from scipy.special import expit

    return expit(np.asarray(fitted["slope"]) * _logits(scores) + np.asarray(fitted["intercept"]))


def _logits(scores: Array) -> Array:
    """Finite logits (..., K) of probabilities; those rounded to 0 and 1 count as their neighbours in float32."""
    from scipy.special import logit

    return logit(np.clip(np.asarray(scores, float), LEAST, MOST))


def _line(logits: Array, positive: Array) -> tuple[float, float]:
    """Slope and intercept of one class, from logits (N,) and whether a row has it (N,)."""
    from scipy.optimize import minimize
    from scipy.special import expit

    rows, hits = len(positive), int(positive.sum())
    if not 0 < hits < rows:
        return 1.0, 0.0
    aims = np.where(positive, (hits + 1) / (hits + 2), 1 / (rows - hits + 2))

    def loss(line: Array) -> tuple[float, Array]:
        z = line[0] * logits + line[1]
        gap = expit(z) - aims
        return float(np.mean(np.logaddexp(0, z) - aims * z)), np.array([np.mean(gap * logits), np.mean(gap)])

    start = np.array([1.0, 0.0])
    bounds = [(1 / HOTTEST, 1 / COLDEST), (-FURTHEST, FURTHEST)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-9})
    slope, intercept = map(float, found.x)
    return (slope, intercept) if found.fun < loss(start)[0] else (1.0, 0.0)
