"""Metrics of many labels a row: targets (N, K) of 0 and 1, scores (N, K), and a threshold (K,) for each class.

    fixed = thresholds(target, scores)                     # on validation rows: the best F1 of each class
    values = score(target, scores, row_loss, fixed)        # every metric, the figures of each class
    values |= bootstrap(target, scores, row_loss, fixed, record=record)

AUROC, average precision, F1, Hamming loss and Brier score follow scikit-learn. A class without a positive row, or
without a negative one, is left out of every macro average. Fmax is that of CAFA (Radivojac et al., Nat Methods
10:221-227, 2013) and of the PTB-XL benchmark (Strodthoff et al., JBHI 25(5), 2021): the largest F of mean precision and
mean recall of a row over thresholds 0, 0.01, ..., 1; precision is over rows with a predicted class, recall over rows
with a label. ECE is that of each class, over bins of its own probability. An undefined figure is NaN (null in JSON).

Intervals are percentiles of a bootstrap over records, rows of one record drawn together (over rows without records).
Repeated rows raise the average precision of a rare class and every ECE: their percentiles are moved, so that the median
is the estimate.
"""

from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import classification, intervals
from toolbox.metrics.classification import BINS, Metric
from toolbox.metrics.ranking import Ranked, Ranking, auroc, average_precision, mean, ratio

Array = NDArray[Any]
Rows = tuple[Array, Array, Array, Array]  # target, scores, row loss, thresholds
METRICS: dict[str, Metric] = {
    "loss": Metric((0.0, np.inf), lower_is_better=True),
    "macro_auroc": Metric(),
    "macro_average_precision": Metric(),
    "fmax": Metric(),
    "macro_f1": Metric(),
    "hamming_loss": Metric(lower_is_better=True),
    "exact_match": Metric(),
    "macro_ece": Metric(lower_is_better=True),
    "macro_brier": Metric(lower_is_better=True),
}
# Of one class a row and of many labels; names in both have the same range and better end.
EVERY = ChainMap(METRICS, classification.METRICS)
OF_CLASSES = ("auroc", "average_precision", "f1", "ece", "brier")  # each has a mean over the classes
MACRO = ("macro_auroc", "macro_average_precision", "macro_f1", "macro_ece", "macro_brier")  # these
CALIBRATION = ("macro_ece", "macro_brier")
CENTRED = ("macro_average_precision", "macro_ece", "average_precision", "ece")
THRESHOLD = 0.5  # of every class until validation fixes another, and of a class without a positive there
STEPS = 100  # of the thresholds of Fmax
PART = 2**14  # rows whose sums are made at once
NO_POSITIVE, NO_NEGATIVE = "no positive row", "no negative row"


def lower_is_better(name: str) -> bool:
    """Whether the lower value of a monitored metric, of one label a row or of many, is the better one."""
    return name in EVERY and EVERY[name].lower_is_better


def defined(name: str, target: Array) -> bool:
    """Whether rows with the labels `target` (N, K) define a metric."""
    if name in MACRO:
        return bool((target.any(0) & ~target.all(0)).any())
    return name != "fmax" or bool(target.any())


def thresholds(target: Array, scores: Array) -> Array:
    """The threshold (K,) of each class with the best F1 on these rows, where a row is positive from it on.

    Of equal F1 the lowest; THRESHOLD for a class without a positive row.
    """
    ranking, ones = Ranking(target, scores), np.ones(len(target))
    found = np.full(scores.shape[1], THRESHOLD)
    for k in np.flatnonzero(target.any(0)).tolist():
        hits, misses = ranking.curve(k, ones)
        f1 = 2 * hits / (hits + misses + hits[-1])
        best = np.flatnonzero(f1 == f1.max())[-1]  # the curve begins with the highest score
        found[k] = np.unique(scores[:, k])[::-1][best]
    return found


def left_out(target: Array, classes: Sequence[str]) -> dict[str, str]:
    """The classes without a positive or without a negative row, and which of the two."""
    positives = target.sum(0)
    whys = {0: NO_POSITIVE, len(target): NO_NEGATIVE}
    return {name: whys[count] for name, count in zip(classes, positives.tolist(), strict=True) if count in whys}


def score(target: Array, scores: Array, row_loss: Array, at: Array) -> dict[str, Any]:
    """Every metric with the thresholds `at` (K,), and the figures of each class, each (K,), as `of_classes`."""
    classes = scores.shape[1]
    parts = (slice(first, first + PART) for first in range(0, len(target), PART))
    sums = sum((_linear(target[of], scores[of], row_loss[of], at).sum(0) for of in parts), np.zeros(_width(classes)))
    ranking, ones = Ranking(target, scores), np.ones(len(target))
    curves = [ranking.curve(k, ones) for k in range(classes)]
    ranked = [np.array([[of(*curve) for curve in curves]]) for of in (auroc, average_precision)]
    ece = np.array([[classification.calibration_error(scores[:, k], target[:, k]) for k in range(classes)]])
    values, of_classes = _figures(sums[None], len(target), *ranked, ece=ece)
    counts = {"positives": target.sum(0), "threshold": np.asarray(at, float)}
    return {
        **{name: float(values[name][0]) for name in METRICS},
        "of_classes": {name: of[0] for name, of in of_classes.items()} | counts,
    }


def name_classes(values: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """`values` of `score` with the figures of each class under its name, plain values."""
    own = {name: of.tolist() for name, of in values["of_classes"].items()}
    per_class = {name: {part: of[k] for part, of in own.items()} for k, name in enumerate(classes)}
    return {name: value for name, value in values.items() if name != "of_classes"} | {"per_class": per_class}


def bootstrap(
    target: Array,
    scores: Array,
    row_loss: Array,
    at: Array,
    *,
    record: Array,
    called: str = "record",
    replicates: int | None = None,
) -> dict[str, Any]:
    """`interval_method`, `intervals`, `without_interval` of every metric; `class_intervals` of OF_CLASSES, [low, high]
    or None for each class (K,), and `class_lacks` (K,), "" or the reason.

    Over the records, or patients, as they are `called`, that `record` (N,) names; over rows if one names none.
    """
    unit, what = intervals.units(record)
    what = what if what == "rows" else f"{called}s"
    found = drawn(target, scores, row_loss, at, unit=unit, replicates=replicates)
    values, count = score(target, scores, row_loss, at), int(unit.max(initial=-1)) + 1
    ends = {name: _interval(found[name], values[name], centred=name in CENTRED) for name in METRICS}
    known, lacking = intervals.allowed(ends, count, what)
    own = values["of_classes"]
    lacks = [_too_few(unit, target[:, k] == 1, what) for k in range(scores.shape[1])]
    of_classes = {
        name: [None if lacks[k] else _known(found[name][:, k], own[name][k], name) for k in range(len(lacks))]
        for name in OF_CLASSES
    }
    return {
        "interval_method": intervals.BOOTSTRAP + what,
        "intervals": known,
        "without_interval": lacking,
        "class_intervals": of_classes,
        "class_lacks": lacks,
    }


def differences(
    first: Rows, other: Rows, *, unit: Array, what: str = "rows", replicates: int | None = None, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Each metric of the rows `other` minus that of `first`, two runs on the same rows, by name: the difference, its
    interval over units, called `what`, drawn for both at once or the reason for none, and the share of replicates
    above 0.
    """
    found = [drawn(*rows, unit=unit, replicates=replicates, seed=seed) for rows in (first, other)]
    values = [score(*rows) for rows in (first, other)]
    difference = {name: values[1][name] - values[0][name] for name in METRICS}
    spread = {name: found[1][name] - found[0][name] for name in METRICS}
    ends = {name: _interval(of, difference[name], centred=name in CENTRED, least=-1) for name, of in spread.items()}
    known, lacking = intervals.allowed(ends, int(unit.max(initial=-1)) + 1, what)
    return {
        name: {
            "difference": difference[name],
            "interval": known[name],
            "without_interval": lacking.get(name, ""),
            "above_0": None if known[name] is None else float((of[~np.isnan(of)] > 0).mean()),
        }
        for name, of in spread.items()
    }


def _interval(values: Array, estimate: float, *, centred: bool, least: float = 0) -> list[float]:
    """The percentile interval of replicates; `centred` ones are moved so that their median is the estimate."""
    ends = intervals.percentile_interval(values)
    if not centred or np.isnan(ends[0]):
        return ends
    return np.clip(np.array(ends) + estimate - np.nanmedian(values), least, 1).tolist()


def _known(values: Array, estimate: float, name: str) -> list[float] | None:
    """The interval of a figure of a class, None without a value and without a spread."""
    low, high = _interval(values, estimate, centred=name in CENTRED)
    return None if np.isnan(low) or low == high else [low, high]


def _too_few(unit: Array, positive: Array, what: str) -> str:
    """Why the figures of a class have no interval; "" if enough units are positive, and enough negative."""
    return intervals.too_few(min(len(np.unique(unit[of])) for of in (positive, ~positive)), what)


def drawn(
    target: Array,
    scores: Array,
    row_loss: Array,
    at: Array,
    *,
    unit: Array,
    replicates: int | None = None,
    seed: int = 0,
) -> dict[str, Array]:
    """Every metric (replicates,) and every figure of OF_CLASSES (replicates, K) of resampled units; `unit` (N,) from 0.

    The same `seed` draws the same units, so that two runs on the same rows are compared draw by draw.
    """
    statistic, count = of_weights(target, scores, row_loss, at), int(unit.max(initial=-1)) + 1
    own = np.array_equal(unit, np.arange(count))
    blocks = intervals.row_draws(count, replicates, seed)
    parts = [statistic(block if own else np.take(block, unit, 1)) for block in blocks]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def of_weights(target: Array, scores: Array, row_loss: Array, at: Array) -> Callable[[Array], dict[str, Array]]:
    """Every metric (b,) and every figure of OF_CLASSES (b, K) of weights (b, N), whole numbers, of the rows."""
    columns = _linear(target, scores, row_loss, at).astype(np.float32)
    areas = [Ranked.by(scores[:, k], target[:, k] == 1).areas() for k in range(scores.shape[1])]
    gaps = [*_gaps(target, scores)]

    def statistic(weights: Array) -> dict[str, Array]:
        weights = np.asarray(weights, np.float32)
        total = weights.sum(1, dtype=float)
        ranked = np.array([area(weights, total) for area in areas])  # (K, 2, b)
        ece = np.stack([ratio(np.abs(weights @ gap).sum(1, dtype=float), total) for gap in gaps], -1)
        sums = (weights @ columns).astype(float)
        values, of_classes = _figures(sums, total, ranked[:, 0].T, ranked[:, 1].T, ece=ece)
        return values | of_classes

    return statistic


def _linear(target: Array, scores: Array, row_loss: Array, at: Array) -> Array:
    """Columns (N, `_width`) whose sums give all figures but those of ranks and bins: see `_figures`."""
    predicted, of_row = scores >= at, target.sum(1)
    wrong = predicted != (target == 1)
    edges = np.arange(STEPS + 1) / STEPS
    place = np.searchsorted(edges, scores, "right")  # the thresholds that a score reaches
    rows = np.arange(len(target))[:, None] * (STEPS + 2)
    at_least = []
    for weight in (np.ones(scores.shape), target):
        counts = np.bincount((rows + place).ravel(), weight.ravel(), len(target) * (STEPS + 2))
        at_least.append(counts.reshape(len(target), STEPS + 2)[:, ::-1].cumsum(1)[:, ::-1][:, 1:])  # (N, thresholds)
    named, hits = at_least
    single = [row_loss, wrong.mean(1), ~wrong.any(1), of_row > 0]
    return np.concatenate(
        [
            np.stack(single, 1),
            *(target & predicted, predicted, target, np.square(scores - target, dtype=float)),
            *(hits / np.maximum(named, 1), named > 0, hits / np.maximum(of_row, 1)[:, None]),
        ],
        axis=1,
        dtype=float,
    )


def _width(classes: int) -> int:
    return 4 + 4 * classes + 3 * (STEPS + 1)


def _figures(
    sums: Array, rows: Any, aurocs: Array, precisions: Array, *, ece: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Every metric (b,) and the figures of each class (b, K), from sums (b, W) of `_linear` over `rows` (b,).

    `aurocs`, average `precisions` and `ece` are (b, K).
    """
    classes, steps = aurocs.shape[1], STEPS + 1
    loss, wrong, exact, labelled = (sums[:, k] for k in range(4))
    hits, predicted, positives, squares = np.split(sums[:, 4 : 4 + 4 * classes], 4, 1)
    precise, some, recalled = np.split(sums[:, 4 + 4 * classes :], [steps, 2 * steps], 1)
    rows = np.broadcast_to(np.asarray(rows, float), loss.shape)
    known = (positives > 0) & (positives < rows[:, None])
    own = {
        "auroc": aurocs,
        "average_precision": precisions,
        "f1": ratio(2 * hits, positives + predicted),
        "ece": ece,
        "brier": ratio(squares, rows[:, None]),
    }
    own = {name: np.where(known, of, np.nan) for name, of in own.items()}
    precision, recall = ratio(precise, some), ratio(recalled, labelled[:, None])
    f = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    values = {
        "loss": ratio(loss, rows),
        "hamming_loss": ratio(wrong, rows),
        "exact_match": ratio(exact, rows),
        "fmax": np.where(labelled > 0, f.max(1), np.nan),
        **{macro: _mean(own[name]) for macro, name in zip(MACRO, OF_CLASSES, strict=True)},
    }
    beside = {"precision": ratio(hits, predicted), "recall": ratio(hits, positives)}
    return {name: values[name] for name in METRICS}, own | beside


def _mean(values: Array) -> Array:
    """The mean (b,) over the known values of (b, K), summed one after another as scikit-learn's of a single row."""
    return np.array([mean(row) for row in values]) if len(values) == 1 else mean(values)


def _gaps(target: Array, scores: Array) -> Iterator[Array]:
    """For each class a matrix (N, bins) of label minus probability, in the column of the row's bin."""
    edges, rows = np.linspace(0, 1, BINS + 1)[1:-1], np.arange(len(target))
    for k in range(scores.shape[1]):
        _, column = np.unique(np.searchsorted(edges, scores[:, k]), return_inverse=True)
        gap = np.zeros((len(rows), int(column.max(initial=-1)) + 1), np.float32)
        gap[rows, column] = target[:, k] - scores[:, k]
        yield gap
