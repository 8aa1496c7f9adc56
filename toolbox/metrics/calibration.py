"""Calibration of probabilities: measures of it, and the temperature that improves it.

Expected calibration error and temperature scaling follow Guo et al., ICML 2017; the Brier score is the original one
(1950), over all classes. A temperature is fitted on validation rows only.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import bootstrap, classification, jackknife

Array = NDArray[Any]
BINS = 15
BOUNDS = {"brier": (0.0, 2.0), "nll": (0.0, np.inf)}  # of figures beyond 0 to 1
LEAST = float(np.finfo(np.float32).tiny)  # in place of a probability rounded to 0
COLDEST, HOTTEST = 0.02, 50.0


def score(scores: Array, target: Array, *, bins: int = BINS) -> dict[str, float]:
    """Every figure of `scores` (N, K), probabilities, for `target` (N,)."""
    sums = _sums_of_units(scores, target, np.zeros(len(target), int), bins)
    return {name: float(value[0]) for name, value in _figures(np.ones((1, 1)), *sums).items()}


def intervals(
    scores: Array, target: Array, record: Array, *, bins: int = BINS, replicates: int | None = None, seed: int = 0
) -> tuple[dict[str, list[float] | None], dict[str, str]]:
    """95 % intervals [low, high] of every figure, and the reasons for missing ones; the bins stay.

    Over records if each row of `record` (N,) names one, else over resampled rows. Resampling adds noise to a
    calibration error, so that replicates of a small one lie above it.
    """
    unit, what = bootstrap.units(record)
    rows, added = _sums_of_units(scores, target, unit, bins)
    if what == "rows":
        drawn = bootstrap.draws(len(rows), replicates, seed)
        return bootstrap.allowed(bootstrap.percentiles(lambda each: _figures(each, rows, added), drawn), len(rows))
    values = {name: float(value[0]) for name, value in _figures(np.ones((1, len(rows))), rows, added).items()}
    without = _means({name: table.sum(0) - table for name, table in added.items()}, rows.sum() - rows)
    return jackknife.intervals(jackknife.spreads(values, without), BOUNDS)


def calibration_error(probability: Array, event: Array, *, bins: int = BINS) -> float:
    """Mean over rows (N,) of |share of events - mean probability| of the row's bin, of equal width."""
    gap = np.bincount(_equal_width(probability, bins), event - probability, bins)
    return float(np.abs(gap).sum() / len(probability))


def reliability(probability: Array, event: Array, *, bins: int = BINS) -> dict[str, Array]:
    """Rows, mean probability and share of events of each bin of equal width, (bins,); NaN for an empty bin."""
    place = _equal_width(probability, bins)
    rows, expected, happened = (np.bincount(place, weight, bins) for weight in (None, probability, event))
    ratio = classification.ratio
    return {"rows": rows, "probability": ratio(expected, rows), "share": ratio(happened, rows)}


def fit_temperature(logits: Array, target: Array) -> float:
    """The temperature, 0.02 to 50, at which `logits` (N, K) make `target` (N,) likeliest; 1 if none improves it."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows = np.arange(len(target))

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[rows, target].mean()

    logits = np.asarray(logits, dtype=float)
    found = minimize_scalar(loss, bounds=np.log([COLDEST, HOTTEST]), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def apply(scores: Array, temperature: float) -> Array:
    """`scores` (N, K), probabilities, at another temperature; their order in a row stays."""
    from scipy.special import softmax

    return softmax(log_probabilities(scores) / temperature, axis=1)


def log_probabilities(scores: Array) -> Array:
    """The logarithm of probabilities (N, K), which are logits; a probability of 0 counts as the smallest float32."""
    return np.log(np.maximum(scores, LEAST, dtype=float))


def _sums_of_units(scores: Array, target: Array, unit: Array, bins: int) -> tuple[Array, dict[str, Array]]:
    """Rows of each unit (U,), and each figure's sums by unit and bin, (U, bins); a loss has one bin."""
    confidence, right, rows = scores.max(1), scores.argmax(1) == target, np.bincount(unit)

    def sums(weight: Array, place: Array, width: int) -> Array:
        return np.bincount(unit * width + place, weight, len(rows) * width).reshape(-1, width)

    # The original score sums over classes, 0 to 2: for two classes twice the often quoted version.
    squares = np.square(scores - np.eye(scores.shape[1])[target], dtype=float).sum(1)
    surprise = -np.log(np.maximum(scores[np.arange(len(target)), target], LEAST, dtype=float))
    alone = np.zeros(len(unit), int)
    return rows, {
        "ece": sums(right - confidence, _equal_width(confidence, bins), bins),
        "brier": sums(squares, alone, 1),
        "nll": sums(surprise, alone, 1),
    }


def _figures(drawn: Array, rows: Array, added: dict[str, Array]) -> dict[str, Array]:
    """Every figure of each replicate in `drawn` (b, U)."""
    return _means({name: drawn @ table for name, table in added.items()}, drawn @ rows)


def _means(gaps: dict[str, Array], rows: Array) -> dict[str, Array]:
    """The sizes of the sums (b, bins) of all bins, by `rows` (b,); NaN without a row."""
    return {name: classification.ratio(np.abs(gap).sum(1), rows) for name, gap in gaps.items()}


def _equal_width(probability: Array, bins: int) -> Array:
    """The bin of each row, its upper edge included."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probability)
