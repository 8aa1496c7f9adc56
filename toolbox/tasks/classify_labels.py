"""Classification with many labels: any number of classes a row, from logits (B, K) of independent classes.

A class is predicted from its threshold on, which validation fixes: the best F1 of the class. Nothing is chosen on test.
Calibration moves probability and threshold together, and changes no decision.
The files of a test are those of `classify`, with figures of `toolbox/metrics/labels.py`.
"""

import logging
from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from toolbox import files
from toolbox.errors import UsageError
from toolbox.metrics import classification, labels, meanings, platt
from toolbox.registry import pick
from toolbox.reports import images, plots, tables
from toolbox.reports.plots import DataFacts
from toolbox.reports.run import examples
from toolbox.reports.run import labels as panels
from toolbox.reports.tables import between, shown
from toolbox.runs.predictions import Predictions
from toolbox.tasks.task import LAST, Evaluation, means
from toolbox.training import losses
from toolbox.training.losses import Mix

log = logging.getLogger("commander")


class ClassifyLabels:
    """Any number of classes a row: logits (B, K) against labels (B, K) of 0 and 1.

    `weights` (K,) weigh the classes in the loss of a row, and training takes the part `smoothing` of the labels for
    wrong (`losses.smoothed`); `decision` (K,) above 0 multiply the odds of each class. A row of zeros has none of the
    classes. `thresholds` (K,) are 0.5 until `fixed` sets them.
    """

    name: ClassVar = "classify"
    fixed_file: ClassVar = "thresholds.json"

    def __init__(
        self,
        classes: Sequence[str],
        criterion: str,
        *,
        weights: Tensor | None = None,
        decision: Tensor | None = None,
        smoothing: float = 0.0,
        monitor: str = "macro_auroc",
        calibrate: bool = False,
    ) -> None:
        self.classes, self.calibrate = tuple(classes), calibrate
        self.row_losses = pick("criterion", losses.LABEL_LOSSES, criterion)
        self.smoothed = partial(losses.smoothed, self.row_losses, part=smoothing, values=2)
        self.weights, self.decision = weights, decision
        if decision is not None and not bool((decision > 0).all()):
            absent = self.classes[int((decision <= 0).int().argmax())]
            what = f"the decision weight of {absent} is 0, which leaves no probability to rank its rows by"
            raise UsageError(what, hint="--decision-weights above 0 for rows with many labels")
        pick("monitor", {**labels.METRICS, LAST: None}, monitor)
        self.monitor = monitor
        self.thresholds = np.full(len(self.classes), labels.THRESHOLD)
        self.columns: list[int] | None = None  # of the network's outputs; None for all

    def among(self, classes: Sequence[str]) -> "ClassifyLabels":
        """The task of the same network for some of its classes."""
        task, columns = copy(self), [self.classes.index(name) for name in classes]
        task.classes, task.columns, task.thresholds = tuple(classes), columns, self.thresholds[columns]
        task.weights, task.decision = (None if of is None else of[columns] for of in (self.weights, self.decision))
        return task

    @property
    def kept(self) -> tuple[int, ...]:
        """(K,), the logits."""
        return (len(self.classes),)

    def per_row(self, outputs: Tensor, x: Tensor) -> Tensor:
        """The logits."""
        return outputs if self.columns is None else outputs[:, self.columns]

    def loss(self, rows: Tensor, labels: Tensor, mix: Mix | None = None) -> Tensor:
        """Mean over rows of the mean over classes, weighted if the task has weights.

        A blended row has the losses of both sets of labels, by their shares.
        """
        own = self._mean(self.smoothed(rows, labels))
        if mix is None:
            return own.mean()
        other = self._mean(self.smoothed(rows, labels[mix.partner]))
        return (mix.share * own + (1 - mix.share) * other).mean()

    def _mean(self, of_classes: Tensor) -> Tensor:
        """The loss (B,) of each row from that of its classes (B, K)."""
        if self.weights is None:
            return of_classes.mean(1)
        return (of_classes * self.weights).sum(1) / self.weights.sum()

    @staticmethod
    def pool(rows: Tensor, group: np.ndarray) -> Tensor:
        """The logits (R, K) of the mean probabilities of each record's pieces."""
        return means(rows.sigmoid(), group).logit(eps=torch.finfo(rows.dtype).eps / 2)

    def predictions(self, index: np.ndarray, record: np.ndarray, target: Tensor, rows: Tensor) -> Predictions:
        """Logits (N, K) of the rows `index` as decided probabilities, and unweighted losses, on the host."""
        loss = self.row_losses(rows, target).mean(1)
        scores = probabilities(rows, self.decision)
        return Predictions(index, record, target.cpu().numpy(), scores.cpu().numpy(), loss.cpu().numpy())

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """Every metric, and the figures of each class, at the present thresholds."""
        rows = (predictions.target, predictions.scores, predictions.loss)
        return labels.name_classes(labels.score(*rows, self.thresholds), self.classes)

    def running(self, rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The fraction of right decisions at 0.5, over all rows and classes."""
        return {"right": ((rows >= 0) == (labels == 1)).float().mean()}

    def fixed(self, val: Predictions) -> dict[str, Any]:
        """The threshold of each class, which `measure` uses from now on, and with --calibrate its line, for the
        report."""
        self.thresholds = labels.thresholds(val.target, val.scores)
        lacking = [name for name, count in zip(self.classes, val.target.sum(0), strict=True) if not count]
        if lacking:
            what = "validation has no row of %s: %s %g"
            theirs = "their thresholds are" if lacking[1:] else "its threshold is"
            log.warning(what, ", ".join(lacking), theirs, labels.THRESHOLD)
        found = {"thresholds": self.thresholds.tolist(), "validation_rows": len(val.target)}
        return found | ({"calibration": platt.fit(val.scores, val.target)} if self.calibrate else {})

    def report(self, tested: Evaluation) -> dict[str, Any]:
        """Metrics, report and figures."""
        folder, predictions, spec, title = tested.folder, tested.predictions, tested.data.spec, tested.title
        if not tested.fixed:
            log.warning("no row validates: every class is predicted from %g on", labels.THRESHOLD)
        remarks = [*tested.remarks, rule(tested.fixed)]
        fitted: platt.Fitted | None = tested.fixed.get("calibration")
        about: dict[str, Any] = {"spec": spec, "title": title, "fitted": fitted}
        values = write(folder, predictions, tested.val, at=self.thresholds, remarks=remarks, **about)
        chosen = examples.few(examples.doubtful_labels(predictions, self.thresholds), tested.data.test, len(spec.leads))
        examples.save(folder / examples.FILE, chosen, predictions, tested.data.test)
        if tested.figures:
            draw(folder, predictions, values, tested.history, **about)
        return values

    def show(self, recorders: Any, predictions: Predictions, values: dict[str, Any], *, step: int) -> None:
        """Scalars of all classes and of each, and the curves of the most frequent classes."""
        figures = classification.floats(values) | {
            f"{name}/{part}": of
            for name, parts in values["per_class"].items()
            for part, of in classification.floats(parts).items()
        }
        some, names = panels.frequent(predictions, self.classes)
        drawn = {f"{images.GROUP}/roc_test": images.curves(plots.roc_panels(some, names)[0])} if names else {}
        recorders.test(figures, predictions, drawn, curves=self.classes, step=step)


def probabilities(logits: Tensor, decision: Tensor | None) -> Tensor:
    """The probability of each class (N, K); its odds are multiplied by `decision` (K,), None for equal ones."""
    return (logits if decision is None else logits + decision.log()).sigmoid()


def rule(fixed: Mapping[str, Any]) -> str:
    """A line of a report on the thresholds."""
    if "thresholds" not in fixed:
        return f"thresholds: {labels.THRESHOLD:g} for every class, as no row validates"
    text = (
        f"thresholds: the best F1 of each class on {fixed['validation_rows']:,} validation rows, fixed before the test"
    )
    return text + ("; so are the lines of the calibration, which change no decision" if "calibration" in fixed else "")


def write(
    folder: Path,
    predictions: Predictions,
    val: Mapping[str, Any],
    *,
    at: np.ndarray,
    spec: DataFacts,
    title: str,
    fitted: platt.Fitted | None = None,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Write predictions, metrics and report of the test set into `folder`; return the metrics with 95 % intervals.

    A class is predicted from its threshold in `at` (K,) on. The files have the probabilities as trained; figures of
    calibration are also given for the `fitted` lines, as `calibrated`. `remarks` follow the split rule.
    """
    predictions.save(folder / "predictions.npz")
    predictions.save_csv(folder / "predictions.csv", spec.classes, at)
    rows = (predictions.target, predictions.scores, predictions.loss, at)
    values = labels.name_classes(labels.score(*rows), spec.classes)
    values["left_out"] = labels.left_out(predictions.target, spec.classes)
    found = labels.bootstrap(*rows, record=predictions.record, called=meanings.unit(spec.view))
    ends, lacks = found.pop("class_intervals"), found.pop("class_lacks")
    values |= found
    values["class_intervals"] = {name: dict(zip(spec.classes, of, strict=True)) for name, of in ends.items()}
    values["without_class_interval"] = {name: why for name, why in zip(spec.classes, lacks, strict=True) if why}
    values |= {"calibrated": calibrated(predictions, at, fitted, spec)} if fitted else {}
    files.write_json(folder / "metrics.json", {"split_rule": spec.split_rule, **values})
    text = summary(values, val, title=title, rules=[f"split: {spec.split_rule}", *remarks])
    tables.save_report(folder / "report.txt", text)
    return values


def calibrated(predictions: Predictions, at: np.ndarray, fitted: platt.Fitted, spec: DataFacts) -> dict[str, Any]:
    """The figures of calibration at the `fitted` lines: macro ones with intervals, those of each class with its line
    and its threshold in `at` (K,) on the calibrated probability."""
    rows = (predictions.target, platt.calibrated(predictions.scores, fitted), predictions.loss)
    moved = platt.calibrated(at, fitted)
    values = labels.name_classes(labels.score(*rows, moved), spec.classes)
    found = labels.bootstrap(*rows, moved, record=predictions.record, called=meanings.unit(spec.view))
    lines = {name: (slope, intercept) for name, slope, intercept in zip(spec.classes, *fitted.values(), strict=True)}
    return {
        **{name: values[name] for name in labels.CALIBRATION},
        "intervals": {name: found["intervals"][name] for name in labels.CALIBRATION},
        "without_interval": {
            name: why for name, why in found["without_interval"].items() if name in labels.CALIBRATION
        },
        "per_class": {
            name: {part: of[part] for part in ("ece", "brier", "threshold")}
            | dict(zip(fitted, lines[name], strict=True))
            for name, of in values["per_class"].items()
        },
    }


def draw(
    folder: Path,
    predictions: Predictions,
    values: Mapping[str, Any],
    history: Sequence[dict[str, Any]],
    *,
    spec: DataFacts,
    title: str,
    fitted: platt.Fitted | None = None,
) -> None:
    """Draw into `folder` the AUROC of each class, curves and calibration of the frequent ones, and the run's
    history."""
    under = f"{title}\n{fill(spec.split_rule, 80)}"
    some, names = panels.frequent(predictions, spec.classes)
    found = {"class_auroc": [panels.class_panel(values)]} if names else {}
    found |= {name: curves(some, names) for name, curves in plots.CURVES.items()} if names else {}
    found |= {"calibration": panels.calibration_panels(predictions, spec.classes, fitted)} if names else {}
    for name, drawn in found.items():
        cell = (8.0, 1.5 + 0.22 * len(values["per_class"])) if name == "class_auroc" else None
        plots.save_panels(drawn, folder / f"{name}.png", columns=1, title=f"test set, {under}", cell=cell)
    plots.save_panels(plots.history_panels(history), folder / "history.png", columns=3, title=under)


def summary(test: Mapping[str, Any], val: Mapping[str, Any], *, title: str, rules: Sequence[str]) -> str:
    """Metrics of the test set with their intervals and the values of validation, and one line per class."""
    lacking = test["without_interval"]
    metrics = [
        [meanings.name_of(name), shown(val.get(name)), shown(test[name]), between(ends, lacking.get(name, ""))]
        for name, ends in test["intervals"].items()
    ]
    of_metrics = tables.aligned(["metric", "validation", "test", "95 % interval"], metrics)
    of_classes = tables.aligned(panels.HEAD, panels.class_rows(test))
    of_lines = []
    if "calibrated" in test:
        macro, by_class = panels.calibration_rows(test)
        of_lines = ["", *tables.aligned(panels.CALIBRATED, macro), "", *tables.aligned(panels.LINES, by_class)]
    end = tables.of_intervals(test["interval_method"], lacking) + panels.remarks(test)
    return tables.text([title, *rules, "", *of_metrics, "", *of_classes, *of_lines, "", *end])
