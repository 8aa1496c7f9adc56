"""Linear layers fitted to features by logistic regression on standardised columns, for the features as they are.

    weight, bias = fit(features, y, 0.1)         # (K, D) and (K,), for classes (N,) or many labels (N, K)

scikit-learn, L2 regularisation with the inverse strength C, L-BFGS from zero: nothing is random.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
STRENGTHS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)  # C
MOST_STEPS = 2000


def fit(features: Array, y: Array, strength: float, classes: int) -> tuple[Array, Array]:
    """The layer's weight (K, D) and bias (K,) for features (N, D) and targets y: classes (N,), or 0 and 1 (N, K).

    A class without a row, or without a row of another, has no slope: its bias is the logarithm of the odds of half a
    row.
    """
    mean, spread = features.mean(0, dtype=float), features.std(0, dtype=float)
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
    columns = (features - mean) * scale
    weight, bias = _many(columns, y, strength) if y.ndim == 2 else _one(columns, y, strength, classes)
    weight = weight * scale
    return weight, bias - weight @ mean


def _many(columns: Array, y: Array, strength: float) -> tuple[Array, Array]:
    weight, bias = np.zeros((y.shape[1], columns.shape[1])), np.zeros(y.shape[1])
    for k, positive in enumerate(y.T):
        if 0 < (count := int(positive.sum())) < len(positive):
            weight[k], bias[k] = (each[0] for each in _logistic(columns, positive, strength))
        else:
            bias[k] = np.log((count + 0.5) / (len(positive) - count + 0.5))
    return weight, bias


def _one(columns: Array, y: Array, strength: float, classes: int) -> tuple[Array, Array]:
    there = np.unique(y)
    weight, bias = np.zeros((classes, columns.shape[1])), np.full(classes, np.log(0.5 / (len(y) + 0.5)))
    if len(there) == 1:
        bias[there] = 0
    elif len(there) == 2:  # one logit, the second class against the first
        slope, height = _logistic(columns, y, strength)
        weight[there], bias[there] = np.array([[-0.5], [0.5]]) * slope, np.array([-0.5, 0.5]) * height
    else:
        weight[there], bias[there] = _logistic(columns, y, strength)
    return weight, bias


def _logistic(columns: Array, y: Array, strength: float) -> tuple[Array, Array]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=strength, max_iter=MOST_STEPS).fit(columns, y)
    return fitted.coef_, fitted.intercept_
