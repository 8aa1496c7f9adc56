"""Metrics of a classifier from its scores, with intervals; calibration; tests for a collapsed or overfitted network.

Definitions follow scikit-learn: balanced accuracy is the mean recall of the classes that occur, macro averages run over
the classes that occur or are predicted, IoU is the Jaccard index, AUROC and average precision are one against the rest.
An undefined metric is NaN (null in JSON).

Expected calibration error and temperature scaling follow Guo et al., ICML 2017; the Brier score is the original one
(1950), over all classes. A temperature is fitted on validation rows only.

`why` detects a collapsed network: it predicts one class for nearly every row, or has the macro F1 of a guess.
`memorised` detects a network that only fits its training rows: right on nearly all of them, at chance on validation.
Both read confusion matrices (K, K), rows by true class.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import OwnPartError, source
from toolbox.metrics import intervals
from toolbox.metrics.ranking import Ranking, mean, ratio

Array = NDArray[Any]
CITES = ("guo2017",)  # of the temperature


class Metric(NamedTuple):
    """The range of a metric and its better end; `of` is a user's function from labels (N,) and scores (N, K)."""

    bounds: intervals.Bounds = intervals.SHARE
    lower_is_better: bool = False
    of: Callable[[Array, Array], float] | None = None


METRICS: dict[str, Metric] = {
    "loss": Metric((0.0, np.inf), lower_is_better=True),
    "accuracy": Metric(),
    "balanced_accuracy": Metric(),
    "macro_f1": Metric(),
    "macro_auroc": Metric(),
    "macro_average_precision": Metric(),
    "mean_iou": Metric(),
    "frequency_weighted_iou": Metric(),
}
OF_RANKS = ("macro_auroc", "macro_average_precision")  # they need two classes
BINS = 15  # of probabilities
CALIBRATION_BOUNDS = {"brier": (0.0, 2.0), "nll": (0.0, np.inf)}  # of figures beyond 0 to 1
LEAST = float(np.finfo(np.float32).tiny)  # in place of a probability rounded to 0
COLDEST, HOTTEST = 0.02, 50.0
ONE_CLASS = 0.99  # of the rows predicted as one class
MARGIN = 0.02  # of macro F1 above a guess
LEARNED = 0.95  # accuracy and balanced accuracy on training rows
ERRORS, LEAST_ABOVE, MOST_ABOVE = 2.0, 0.05, 0.15  # standard errors above chance; lower and upper bound of their sum
RULE = (
    f"A run counts as collapsed if, of K classes that occur, it predicts one for at least {100 * ONE_CLASS:.0f} % of"
    f" the rows, or if its macro F1 is below 1/K + {MARGIN}: 1/K is the most that a signal-blind guess can expect."
)


def defined(name: str, target: Array) -> bool:
    """Whether rows of the classes `target` (N,) define a metric."""
    return name not in OF_RANKS or len(np.unique(target)) > 1


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
        "balanced_accuracy": mean(np.where(target > 0, parts["recall"], np.nan)),
        "macro_f1": mean(np.where(union > 0, parts["f1"], np.nan)),
        "mean_iou": mean(iou),
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


def score(target: Array, scores: Array, row_loss: Array) -> dict[str, Any]:
    """Every metric of `target` (N,) and `scores` (N, K), the mean of `row_loss` (N,), and the confusion matrix."""
    matrix = confusion_matrix(target, scores.argmax(1), scores.shape[1])
    ranking = Ranking(target, scores).metrics(np.ones(len(target)))
    values = {"loss": row_loss.mean(), **from_confusion(matrix), **ranking, **_own(target, scores)}
    return {name: float(values[name]) for name in METRICS} | {"confusion_matrix": matrix.tolist()}


def name_classes(values: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """`values` of `score` with the precision, recall and F1 of each class under its name."""
    parts = per_class(np.array(values["confusion_matrix"]))
    return values | {
        "per_class": {name: {part: float(row[k]) for part, row in parts.items()} for k, name in enumerate(classes)}
    }


def of_weights(target: Array, scores: Array, row_loss: Array) -> Callable[[Array], dict[str, Array]]:
    """Every metric (b,) of weights (b, N) of the rows."""
    classes, ranking = scores.shape[1], Ranking(target, scores)
    cell = target * classes + scores.argmax(1)
    areas, largest = ranking.quick_metrics(), np.bincount(cell).argmax()
    others = np.flatnonzero(cell != largest)  # its rows are what is left of all
    others = others[np.argsort(cell[others], kind="stable")]
    cells, begins = np.unique(cell[others], return_index=True)

    def statistic(weights: Array) -> dict[str, Array]:
        total, matrices = weights @ np.ones_like(weights[0]), np.zeros((len(weights), classes * classes))
        if len(cells):
            matrices[:, cells] = np.add.reduceat(np.take(weights, others, -1), begins, -1)
        matrices[:, largest] = total - matrices.sum(-1)
        loss = ratio(weights @ row_loss, total)
        of_matrix = from_confusion(matrices.reshape(-1, classes, classes))
        values = {"loss": loss, **areas(weights, total.astype(float)), **of_matrix, **own(weights)}
        return {name: values[name] for name in METRICS}

    def own(weights: Array) -> dict[str, Array]:
        """The user's metrics, of rows that are repeated by their whole weights."""
        if not any(metric.of for metric in METRICS.values()):
            return {}
        drawn = [np.repeat(np.arange(len(target)), weight.astype(int)) for weight in weights]
        found = [_own(target[rows], scores[rows]) for rows in drawn]
        return {name: np.array([each[name] for each in found]) for name in found[0]}

    return statistic


def _own(target: Array, scores: Array) -> dict[str, float]:
    """The user's metrics; NaN without a row. Raises OwnPartError for a result that is no number."""
    functions = {name: metric.of for name, metric in METRICS.items() if metric.of}
    values: dict[str, float] = {}
    for name, function in functions.items():
        value = function(target, scores) if len(target) else np.nan
        try:
            values[name] = float(value)
        except (TypeError, ValueError) as error:
            path, line = source(function)
            what = f"your metric {name} gives a {type(value).__name__}, it must give a number"
            raise OwnPartError(what, where=f"{path}, line {line}", hint="float(...)") from error
    return values


def f1_intervals(
    matrix: Array, classes: Sequence[str], *, scored: Sequence[str] = (), replicates: int | None = None
) -> dict[str, list[float]]:
    """95 % intervals over resampled rows of a matrix (K, K): F1 of each class, `challenge_f1` of the `scored`."""
    drawn = intervals.matrix_draws(matrix, replicates)
    return intervals.percentiles(lambda matrices: f1_of_classes(matrices, classes, scored), drawn)


def f1_of_classes(matrices: Array, classes: Sequence[str], scored: Sequence[str] = ()) -> dict[str, Array]:
    """The F1 (b,) of each class in matrices (b, K, K), and `challenge_f1` of the `scored`."""
    f1 = per_class(matrices)["f1"]
    figures = dict(zip(classes, f1.T, strict=True))
    return figures | ({"challenge_f1": f1[:, [classes.index(name) for name in scored]].mean(1)} if scored else {})


def challenge_f1(per_class: Mapping[str, Mapping[str, float]], scored: Sequence[str]) -> dict[str, float]:
    """The mean F1 of the classes scored by a challenge, as `challenge_f1`; {} without scored classes."""
    return {"challenge_f1": float(np.mean([per_class[name]["f1"] for name in scored]))} if scored and per_class else {}


def floats(values: Mapping[str, Any]) -> dict[str, float]:
    """The plain numbers among metrics."""
    return {name: value for name, value in values.items() if isinstance(value, float)}


def calibration(scores: Array, target: Array, *, bins: int = BINS) -> dict[str, float]:
    """Calibration error, Brier score and log loss of `scores` (N, K), probabilities, for `target` (N,)."""
    sums = _sums_of_units(scores, target, np.zeros(len(target), int), bins)
    return {name: float(value[0]) for name, value in _figures(np.ones((1, 1)), *sums).items()}


def calibration_intervals(
    scores: Array, target: Array, record: Array, *, bins: int = BINS
) -> tuple[dict[str, list[float] | None], dict[str, str]]:
    """95 % intervals [low, high] of the figures of `calibration`, and the reasons for missing ones; the bins stay.

    By `intervals.of_statistic`, as those of other metrics, so that a log loss has the interval of the loss. Resampling
    adds noise to a calibration error, so that replicates of a small one lie above it.
    """
    rows, added = _sums_of_units(scores, target, np.arange(len(target)), bins)
    found = intervals.of_statistic(lambda each: _figures(each, rows, added), record, bounds=CALIBRATION_BOUNDS)
    return found["intervals"], found["without_interval"]


def calibration_error(probability: Array, event: Array, *, bins: int = BINS) -> float:
    """Mean over rows (N,) of |share of events - mean probability| of the row's bin, of equal width."""
    gap = np.bincount(_equal_width(probability, bins), event - probability, bins)
    return float(np.abs(gap).sum() / len(probability))


def reliability(probability: Array, event: Array, *, bins: int = BINS) -> dict[str, Array]:
    """Rows, mean probability and share of events of each bin of equal width, (bins,); NaN for an empty bin."""
    place = _equal_width(probability, bins)
    rows, expected, happened = (np.bincount(place, weight, bins) for weight in (None, probability, event))
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


def at_temperature(scores: Array, temperature: float) -> Array:
    """`scores` (N, K), probabilities, at another temperature; their order in a row stays."""
    from scipy.special import softmax

    return softmax(log_probabilities(scores) / temperature, axis=1)


def log_probabilities(scores: Array) -> Array:
    """The logarithm of probabilities (N, K), which are logits; a probability of 0 counts as the smallest float32."""
    return np.log(np.maximum(scores, LEAST, dtype=float))


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
    return {name: ratio(np.abs(gap).sum(1), rows) for name, gap in gaps.items()}


def _equal_width(probability: Array, bins: int) -> Array:
    """The bin of each row, its upper edge included."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probability)
