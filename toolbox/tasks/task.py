"""What the loop asks of a task, whichever it is: `Task`, and which of two monitored values is better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from toolbox.metrics import classification
from toolbox.runs.predictions import Predictions
from toolbox.training.losses import Mix

LAST = "epoch"  # monitored where nothing is to be chosen: the last epoch is the best


@dataclass(frozen=True)
class Evaluation:
    """What a task reports on: the predictions of the test rows, and all that was known before these were opened.

    `data` has spec, val and test; `train` are the training rows, cut to the steps of a short run. `fixed` is what
    validation fixed, `val` its metrics. `predict(rows)` gives Predictions, `outputs(x)` the network's own outputs for
    x (B, C, T). Files go into `folder`, figures only where `figures` says so.
    """

    folder: Path
    predictions: Predictions
    fixed: dict[str, Any]
    val: dict[str, Any]
    history: Sequence[dict[str, Any]]
    data: Any
    train: Any
    predict: Callable[[Any], Predictions]
    outputs: Callable[[np.ndarray], np.ndarray]
    title: str
    remarks: Sequence[str]
    figures: bool


class Task(Protocol):
    """What the loop asks of a task. `monitor` is the metric behind the best epoch."""

    name: ClassVar[str]
    fixed_file: ClassVar[str]  # in the run folder, of what validation fixed
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
        """What `per_row` would have given for R whole records; piece i of them is of record `whose[i]`."""

    def predictions(self, index: np.ndarray, record: np.ndarray, target: Tensor, rows: Tensor) -> Predictions:
        """What `per_row` gave for the rows `index`, on the host."""

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """The metrics of train or validation."""

    def running(self, rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What the progress bar shows beside the loss, still on the device."""

    def fixed(self, val: Predictions) -> dict[str, Any]:
        """What has to be decided on validation before the test set is opened."""

    def report(self, tested: Evaluation) -> dict[str, Any]:
        """The test's metrics with their intervals, once tables, texts and figures are written."""

    def show(self, board: Any, predictions: Predictions, values: dict[str, Any], *, step: int) -> None:
        """Put the test's metrics `values` on TensorBoard."""


def means(rows: Tensor, whose: np.ndarray) -> Tensor:
    """The mean (R, ...) of the rows (M, ...) of each group, where `whose` (M,) counts the groups from 0.

    It is summed on the host, where the order of the sum, and so its last bit, is always the same.
    """
    order = np.argsort(whose, kind="stable")
    counts = np.bincount(whose)
    sums = np.add.reduceat(rows.double().cpu().numpy()[order], np.cumsum(counts) - counts)
    means = sums / counts.reshape(-1, *[1] * (sums.ndim - 1))
    return torch.from_numpy(means).to(rows)


def mode(monitor: str) -> str:
    """Which way a monitored metric is better, min or max."""
    return "min" if monitor in classification.LOWER_IS_BETTER else "max"


def is_better(monitor: str, value: float, best: float | None) -> bool:
    """Whether a monitored value beats the best so far; a number beats NaN, NaN beats nothing but having none."""
    if best is None or np.isnan(best):
        return True
    return value < best if mode(monitor) == "min" else value > best
