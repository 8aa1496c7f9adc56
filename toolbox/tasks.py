"""What a network is trained for: the loss of a batch, the outputs as scores, the metrics, and what "best" means."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from toolbox import losses, metrics
from toolbox.predictions import Predictions
from toolbox.registry import pick


class Classify:
    """One class a row: logits (B, K) against labels (B,)."""

    def __init__(
        self, classes: Sequence[str], criterion: str, *, weights: Tensor | None = None, monitor: str = "macro_f1"
    ) -> None:
        self.classes = tuple(classes)
        self.row_loss = pick("criterion", losses.LOSSES, criterion)
        self.weights = weights
        self.monitor = pick("monitor", {name: name for name in metrics.METRICS}, monitor)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The value to descend: mean over rows, weighted by class where --class-balance asks for it."""
        rows = self.row_loss(logits, labels)
        if self.weights is None:
            return rows.mean()
        weights = self.weights[labels]
        return (weights * rows).sum() / weights.sum()

    def predictions(self, index: np.ndarray, record: np.ndarray, target: Tensor, logits: Tensor) -> Predictions:
        """Logits (N, K) of the rows `index` as probabilities and unweighted losses, on the host."""
        loss = self.row_loss(logits, target)
        return Predictions(index, record, target.cpu().numpy(), logits.softmax(1).cpu().numpy(), loss.cpu().numpy())

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """Every metric, the confusion matrix and the figures of each class."""
        values = metrics.score(predictions.target, predictions.scores, predictions.loss)
        return metrics.name_classes(values, self.classes)

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The fraction of rows that are right, still on the device."""
        return (logits.argmax(1) == labels).float().mean()

    @property
    def mode(self) -> str:
        """Which way the monitored metric is better, min or max."""
        return "min" if self.monitor in metrics.LOWER_IS_BETTER else "max"

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether a monitored value beats the best so far; a number beats NaN, NaN beats nothing but having none."""
        if best is None or np.isnan(best):
            return True
        return value < best if self.mode == "min" else value > best
