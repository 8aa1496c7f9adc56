"""Rows of the normal class are reconstructed; a row whose error is above a threshold is an anomaly.

A rule becomes that threshold. It reads validation rows alone, which are all normal: `percentile:98` lets 98 % of them
pass, `sd:3` is three standard deviations above their mean, `value:0.2` is given by hand.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from toolbox.errors import UsageError
from toolbox.metrics import classification
from toolbox.registry import pick
from toolbox.runs.predictions import Predictions
from toolbox.tasks.task import LAST, Evaluation, means
from toolbox.training import losses
from toolbox.training.losses import Mix

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
    return lambda errors: {"rule": rule, "threshold": float(threshold(errors, number)), "validation_rows": len(errors)}


class Detect:
    """Rows of the class `normal` reconstructed: outputs (B, C, T) against x; a row's error is its loss and its score.

    The report compares the network with `baseline`, a method of `training/baselines.py` fitted to the same rows.
    """

    name: ClassVar = "detect"
    fixed_file: ClassVar = "threshold.json"

    def __init__(
        self,
        classes: Sequence[str],
        criterion: str,
        *,
        normal: str,
        monitor: str = "loss",
        threshold: str = DEFAULT,
        baseline: str = "nearest_neighbours",
    ) -> None:
        self.classes, self.normal = tuple(classes), tuple(classes).index(normal)
        self.row_loss = pick("criterion", losses.RECONSTRUCTION, criterion)
        self.monitor = pick("monitor", {"loss": "loss", LAST: LAST}, monitor)
        self.threshold, self.baseline = parse(threshold), baseline

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
        return means(rows, whose)

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

    def report(self, tested: Evaluation) -> dict[str, Any]:
        """Metrics at the threshold beside those of the baseline; report and figures."""
        from toolbox.reports import plots
        from toolbox.tasks import detect_report
        from toolbox.training import baselines

        data, train, threshold = tested.data, tested.train, tested.fixed["threshold"]
        score = baselines.BASELINES[self.baseline](_flat(train))
        baseline = (self.baseline, score(_flat(data.test)), self.threshold(score(_flat(data.val)))["threshold"])
        said = {"normal": self.normal, "spec": data.spec, "title": tested.title}
        before = {**tested.fixed, "val": tested.val}
        values = detect_report.write(
            tested.folder, tested.predictions, before, baseline=baseline, remarks=tested.remarks, **said
        )
        if tested.figures:
            errors, x = tested.predict(train).loss, data.test.x

            def rows(which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                return x[which], tested.outputs(x[which])

            detect_report.draw(tested.folder, tested.predictions, errors, threshold, rows=rows, **said)
            panels = plots.history_panels(tested.history)
            plots.save_panels(panels, tested.folder / "history", columns=2, title=tested.title)
        return values

    def show(self, board: Any, predictions: Predictions, values: dict[str, Any], *, step: int) -> None:
        """Scalars; rows without labels have no curve and no matrix."""
        from toolbox.reports import plots
        from toolbox.tasks import detect_report

        ranked, matrix = detect_report.ranked(predictions, self.normal, values["threshold"])
        classes = detect_report.CLASSES
        curves: Sequence[str] = () if matrix is None else classes[:1]
        images = {} if matrix is None else plots.test_images(ranked, matrix, classes, curves=curves, epoch=step)
        board.test(classification.floats(values), ranked, images, curves=curves, step=step)


def _flat(rows: Any) -> np.ndarray:
    return rows.x.reshape(len(rows), -1)
