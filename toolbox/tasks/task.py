"""`Task`, the interface between the loop and a task, and the comparison of monitored values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from toolbox.runs.predictions import Predictions
from toolbox.training.losses import Mix

LAST = "epoch"  # monitor without a choice: the last epoch is the best


@dataclass(frozen=True)
class Evaluation:
    """The input of a task's report: the predictions of the test rows, and all facts known before them.

    `data` has spec, val and test; `train` are the training rows, cut to the steps of a short run. `fixed` holds the
    values fixed on validation, `val` its metrics. `predict(rows)` gives Predictions, `outputs(x)` the network's raw
    outputs for x (B, C, T). Files go into `folder`, pages load plotly's library from `library`; `figures` asks for
    PNGs.
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
    library: Path
    title: str
    remarks: Sequence[str]
    figures: bool


class Task(Protocol):
    """The methods of a task that the loop calls. `monitor` is the metric of the best epoch."""

    name: ClassVar[str]
    fixed_file: ClassVar[str]  # in the run folder, with the values fixed on validation
    classes: tuple[str, ...]
    monitor: str

    @property
    def kept(self) -> tuple[int, ...]:
        """The shape of the output of `per_row` for one row."""

    def per_row(self, outputs: Tensor, x: Tensor) -> Tensor:
        """The kept part (B, ...) of the network's outputs for x (B, C, T)."""

    def loss(self, rows: Tensor, labels: Tensor, mix: Mix | None = None) -> Tensor:
        """The training loss, from outputs of `per_row` and labels (B,)."""

    @staticmethod
    def pool(rows: Tensor, group: np.ndarray) -> Tensor:
        """The outputs (R, ...) of R whole records from their pieces; piece i is of record `group[i]`."""

    def predictions(self, index: np.ndarray, record: np.ndarray, target: Tensor, rows: Tensor) -> Predictions:
        """The predictions, on the host, from outputs of `per_row` for the rows `index`."""

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """The metrics of train or validation."""

    def running(self, rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Metrics for the progress bar besides the loss, still on the device."""

    def fixed(self, val: Predictions) -> dict[str, Any]:
        """The values fixed on validation before the test set is opened."""

    def report(self, tested: Evaluation) -> dict[str, Any]:
        """Write tables, texts and figures; return the test's metrics with their intervals."""

    def show(self, recorders: Any, predictions: Predictions, values: dict[str, Any], *, step: int) -> None:
        """Record the test's metrics `values`."""


def means(rows: Tensor, group: np.ndarray) -> Tensor:
    """The mean (R, ...) of the rows (M, ...) of each group; `group` (M,) is the group of each row, from 0.

    Summed on the host in a fixed order, so that the last bit is always the same.
    """
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    sums = np.add.reduceat(rows.double().cpu().numpy()[order], np.cumsum(counts) - counts)
    means = sums / counts.reshape(-1, *[1] * (sums.ndim - 1))
    return torch.from_numpy(means).to(rows)
