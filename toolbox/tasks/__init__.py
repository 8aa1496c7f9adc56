"""What a network is trained for: the loss of a batch, what is kept of its outputs, the metrics, and what "best" means.

`classify` gives a row a class; `detect` reconstructs rows of the normal class alone, and what it cannot is an anomaly.
The loop is the same: `rows = task.per_row(model(x), x)`, then `task.loss(rows, y)`, and in the end
`task.predictions(..., rows)`.

A rule becomes the reconstruction error from which on a row is an anomaly. It only ever reads validation rows, all
normal.

`percentile:98` lets 98 % of them pass, `sd:3` lies three standard deviations above their mean, `value:0.2` is given by
hand.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toolbox.errors import UsageError
from toolbox.metrics import calibration, classification
from toolbox.registry import pick
from toolbox.runs.predictions import Predictions
from toolbox.training import losses

DEFAULT = "percentile:98"
Errors = NDArray[np.floating]

THRESHOLDS: dict[str, Callable[[Errors, float], float]] = {
    "percentile": lambda errors, percent: float(np.percentile(errors, percent)),
    "sd": lambda errors, factor: float(errors.mean() + factor * errors.std()),
    "value": lambda errors, value: value,
}
LARGEST = dict.fromkeys(THRESHOLDS, 1e9) | {"percentile": 100.0}


def parse(rule: str) -> Callable[[Errors], dict[str, Any]]:
    """The function that makes a threshold of errors (N,): rule, value and the number of rows it was taken from.

    Raises UsageError for an unknown rule or a number it cannot have.
    """
    name, _, text = rule.partition(":")
    threshold = pick("threshold", THRESHOLDS, name)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= LARGEST[name]:
        what = f"--threshold is {rule[:40]}, {name} takes a number from 0 to {LARGEST[name]:,.0f}"
        raise UsageError(what, hint=f"--threshold {DEFAULT}")
    return lambda errors: {"rule": rule, "threshold": threshold(errors, number), "validation_rows": len(errors)}


class Mix(Protocol):
    """Rows blended in pairs (mixup): `share` (B,) of each row is its own, the rest that of row `partner` (B,)."""

    @property
    def partner(self) -> Tensor: ...

    @property
    def share(self) -> Tensor: ...


class Task(Protocol):
    """What the loop asks of a task. `monitor` is the metric behind the best epoch."""

    classes: tuple[str, ...]
    monitor: str

    @property
    def kept(self) -> tuple[int, ...]:
        """The shape of what `per_row` keeps of a row."""

    def per_row(self, outputs: Tensor, x: Tensor) -> Tensor:
        """What is kept of the network's outputs for each row of x (B, C, T)."""

    def loss(self, rows: Tensor, labels: Tensor, mix: Mix | None = None) -> Tensor:
        """The value to descend, from what `per_row` gave and labels (B,)."""

    def pool(self, rows: Tensor, whose: np.ndarray) -> Tensor:
        """What `per_row` would have given for each of R whole records, from pieces of them; piece i is of record
        `whose[i]`."""

    def predictions(self, index: np.ndarray, record: np.ndarray, target: Tensor, rows: Tensor) -> Predictions:
        """What `per_row` gave for the rows `index`, on the host."""

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """The metrics of train or validation."""

    def running(self, rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What the progress bar shows beside the loss, still on the device."""

    def fixed(self, val: Predictions) -> dict[str, Any]:
        """What has to be decided on validation before the test set is opened."""


class Classify:
    """One class a row: logits (B, K) against labels (B,)."""

    def __init__(
        self,
        classes: Sequence[str],
        criterion: str,
        *,
        weights: Tensor | None = None,
        decision: Tensor | None = None,
        monitor: str = "macro_f1",
        calibrate: bool = False,
    ) -> None:
        self.classes, self.calibrate = tuple(classes), calibrate
        self.row_loss = pick("criterion", losses.LOSSES, criterion)
        self.weights, self.decision = weights, decision
        self.monitor = pick("monitor", {name: name for name in (*classification.METRICS, LAST)}, monitor)

    @property
    def kept(self) -> tuple[int, ...]:
        """(K,), the logits."""
        return (len(self.classes),)

    def per_row(self, outputs: Tensor, x: Tensor) -> Tensor:
        """The logits."""
        return outputs

    def loss(self, rows: Tensor, labels: Tensor, mix: Mix | None = None) -> Tensor:
        """Mean over rows, weighted by class where weights are given, 0 where no row of the batch has any.

        A blended row has the losses of both, by their shares.
        """
        if mix is None:
            own, weights = self.row_loss(rows, labels), None if self.weights is None else self.weights[labels]
        else:
            labels = torch.cat([labels, labels[mix.partner]])
            own = self.row_loss(torch.cat([rows, rows]), labels)
            weights = torch.cat([mix.share, 1 - mix.share]) * (1 if self.weights is None else self.weights[labels])
        if weights is None:
            return own.mean()
        return (weights * own).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)

    def pool(self, rows: Tensor, whose: np.ndarray) -> Tensor:
        """The logarithm (R, K) of the mean probabilities of each record's pieces."""
        return _means(rows.softmax(1), whose).clamp(min=torch.finfo(rows.dtype).tiny).log()

    def predictions(self, index: np.ndarray, record: np.ndarray, target: Tensor, rows: Tensor) -> Predictions:
        """Logits (N, K) of the rows `index` as probabilities, decided as asked for, and unweighted losses, on the
        host."""
        loss = self.row_loss(rows, target)
        scores = decided(rows, self.decision).softmax(1)
        return Predictions(index, record, target.cpu().numpy(), scores.cpu().numpy(), loss.cpu().numpy())

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """Every metric, the confusion matrix and the figures of each class."""
        values = classification.score(predictions.target, predictions.scores, predictions.loss)
        return classification.name_classes(values, self.classes)

    def running(self, rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The fraction of rows that are right."""
        return {"acc": (rows.argmax(1) == labels).float().mean()}

    def fixed(self, val: Predictions) -> dict[str, Any]:
        """The temperature of the probabilities, where they are to be calibrated; it never changes which class is
        said."""
        if not self.calibrate:
            return {}
        logits = calibration.log_probabilities(val.scores)
        return {"temperature": calibration.fit_temperature(logits, val.target), "validation_rows": len(val.target)}


class Detect:
    """Rows of the class `normal` reconstructed: outputs (B, C, T) against x; a row's error is its loss and its
    score."""

    def __init__(
        self, classes: Sequence[str], criterion: str, *, normal: str, monitor: str = "loss", threshold: str = DEFAULT
    ) -> None:
        self.classes, self.normal = tuple(classes), tuple(classes).index(normal)
        self.row_loss = pick("criterion", losses.RECONSTRUCTION, criterion)
        self.monitor = pick("monitor", {"loss": "loss", LAST: LAST}, monitor)
        self.threshold = parse(threshold)

    @property
    def kept(self) -> tuple[int, ...]:
        """(), the error."""
        return ()

    def per_row(self, outputs: Tensor, x: Tensor) -> Tensor:
        """The reconstruction error (B,)."""
        return self.row_loss(outputs, x)

    def loss(self, rows: Tensor, labels: Tensor, mix: Mix | None = None) -> Tensor:
        """The mean error; a blended row is reconstructed as it is."""
        return rows.mean()

    def pool(self, rows: Tensor, whose: np.ndarray) -> Tensor:
        """The mean error (R,) of each record's pieces."""
        return _means(rows, whose)

    def predictions(self, index: np.ndarray, record: np.ndarray, target: Tensor, rows: Tensor) -> Predictions:
        """Errors (N,) as the only score (N, 1), and as losses."""
        errors = rows.cpu().numpy()
        return Predictions(index, record, target.cpu().numpy(), errors[:, None], errors)

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """The mean error: train and validation hold no anomaly to be found."""
        return {"loss": float(predictions.loss.mean())}

    def running(self, rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def fixed(self, val: Predictions) -> dict[str, Any]:
        """The threshold, from the errors of the validation rows, which are normal."""
        return self.threshold(val.loss)


def decided(logits: Tensor, weights: Tensor | None) -> Tensor:
    """Logits (N, K) whose probabilities are those before by the `weights` (K,), None for equal ones (Elkan, IJCAI
    2001)."""
    return logits if weights is None else logits + weights.log()


def _means(rows: Tensor, whose: np.ndarray) -> Tensor:
    """The mean (R, ...) of the rows (M, ...) of each group, where `whose` (M,) counts the groups from 0.

    It is summed on the host, where the order of the sum, and so its last bit, is always the same.
    """
    order = np.argsort(whose, kind="stable")
    counts = np.bincount(whose)
    sums = np.add.reduceat(rows.double().cpu().numpy()[order], np.cumsum(counts) - counts)
    means = sums / counts.reshape(-1, *[1] * (sums.ndim - 1))
    return torch.from_numpy(means).to(rows)


TASKS: dict[str, type[Classify] | type[Detect]] = {"classify": Classify, "detect": Detect}
LAST = "epoch"  # monitored where nothing is to be chosen: the last epoch is the best


def mode(monitor: str) -> Literal["min", "max"]:
    """Which way a monitored metric is better, min or max."""
    return "min" if monitor in classification.LOWER_IS_BETTER else "max"


def is_better(monitor: str, value: float, best: float | None) -> bool:
    """Whether a monitored value beats the best so far; a number beats NaN, NaN beats nothing but having none."""
    if best is None or np.isnan(best):
        return True
    return value < best if mode(monitor) == "min" else value > best
