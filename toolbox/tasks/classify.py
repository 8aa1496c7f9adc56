"""Classification: one class per row from logits (B, K), and the files of a tested classifier, predictions first."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from toolbox import files
from toolbox.metrics import classification, ec57, intervals, meanings
from toolbox.registry import pick
from toolbox.reports import animation, images, plots, tables
from toolbox.reports.plots import DataFacts
from toolbox.reports.run import examples
from toolbox.reports.tables import between, shown
from toolbox.runs.predictions import Predictions
from toolbox.tasks import classify_patients
from toolbox.tasks.task import LAST, Evaluation, means
from toolbox.training import losses
from toolbox.training.losses import Mix

OF_PATIENTS = (
    "macro_over", "rule", "gross", "average", "interval_method", "intervals", "without_interval", "simulated_coverage",
    "influence", "calibration", "from_s", "beats_left_out",
)  # fmt: skip
NO_PATIENTS = (
    "figures by patient need a record name in every row, and a record with several rows; macro F1 is over all classes"
)
log = logging.getLogger("commander")


class Classify:
    """One class per row: logits (B, K) against labels (B,).

    `weights` (K,) weigh the rows of each class in the loss of training, which takes the part `smoothing` of the labels
    for wrong (`losses.smoothed`); `decision` (K,) weigh the probabilities before the argmax. The report's figures by
    patient average over the classes `macro_over` and leave out beats before `start_s`; `film` saves the confusion
    matrices of all epochs as a GIF and a page.
    """

    name: ClassVar = "classify"
    fixed_file: ClassVar = "temperature.json"

    def __init__(
        self,
        classes: Sequence[str],
        criterion: str,
        *,
        weights: Tensor | None = None,
        decision: Tensor | None = None,
        smoothing: float = 0.0,
        monitor: str = "macro_f1",
        calibrate: bool = False,
        macro_over: Sequence[str] | None = None,
        start_s: float = 0.0,
        film: bool = False,
    ) -> None:
        self.classes, self.calibrate = tuple(classes), calibrate
        self.row_loss = pick("criterion", losses.LOSSES, criterion)
        self.weights, self.decision = weights, decision
        self.smoothed = partial(losses.smoothed, part=smoothing, values=len(self.classes))
        self.macro_over, self.start_s, self.film = macro_over, start_s, film
        pick("monitor", {**classification.METRICS, LAST: None}, monitor)
        self.monitor = monitor

    @property
    def kept(self) -> tuple[int, ...]:
        """(K,), the logits."""
        return (len(self.classes),)

    def per_row(self, outputs: Tensor, x: Tensor) -> Tensor:
        """The logits."""
        return outputs

    def loss(self, rows: Tensor, labels: Tensor, mix: Mix | None = None) -> Tensor:
        """Mean over rows, weighted by class if the task has weights; 0 if all rows have the weight 0.

        A blended row has the losses of both labels, by their shares. A smoothed row has those of all labels, by their
        probabilities, each with the weight of its class.
        """
        if mix is None and self.weights is None:
            return self.smoothed(self.row_loss, rows, labels).mean()
        share = torch.ones(len(labels), device=rows.device)
        if mix is not None:
            labels, share = torch.cat([labels, labels[mix.partner]]), torch.cat([mix.share, 1 - mix.share])
            rows = torch.cat([rows, rows])

        def weight(_: Tensor, label: Tensor) -> Tensor:
            return share if self.weights is None else share * self.weights[label]

        def weighted(outputs: Tensor, label: Tensor) -> Tensor:
            return weight(outputs, label) * self.row_loss(outputs, label)

        total = self.smoothed(weight, rows, labels).sum()
        return self.smoothed(weighted, rows, labels).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)

    @staticmethod
    def pool(rows: Tensor, group: np.ndarray) -> Tensor:
        """The logarithm (R, K) of the mean probabilities of each record's pieces."""
        return means(rows.softmax(1), group).clamp(min=torch.finfo(rows.dtype).tiny).log()

    def predictions(self, index: np.ndarray, record: np.ndarray, target: Tensor, rows: Tensor) -> Predictions:
        """Logits (N, K) of the rows `index` as decided probabilities, and unweighted losses, on the host."""
        loss = self.row_loss(rows, target)
        scores = decided(rows, self.decision).softmax(1)
        return Predictions(index, record, target.cpu().numpy(), scores.cpu().numpy(), loss.cpu().numpy())

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """Every metric, the confusion matrix and the figures of each class."""
        values = classification.score(predictions.target, predictions.scores, predictions.loss)
        return classification.name_classes(values, self.classes)

    def running(self, rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The fraction of correct rows."""
        return {"acc": (rows.argmax(1) == labels).float().mean()}

    def fixed(self, val: Predictions) -> dict[str, Any]:
        """The temperature of the probabilities, with --calibrate; it changes no predicted class."""
        if not self.calibrate:
            return {}
        logits = classification.log_probabilities(val.scores)
        return {"temperature": classification.fit_temperature(logits, val.target), "validation_rows": len(val.target)}

    def report(self, tested: Evaluation) -> dict[str, Any]:
        """Metrics, report and figures; also by patient if records have several rows."""
        folder, predictions, spec, title = tested.folder, tested.predictions, tested.data.spec, tested.title
        remarks, scored = tested.remarks, spec.scored
        values = write(folder, predictions, tested.val, spec=spec, title=title, remarks=remarks, scored=scored)
        if why := classification.why(np.array(values["confusion_matrix"])):
            log.warning("the network has collapsed: %s", why)
        chosen = examples.few(examples.doubtful(predictions), tested.data.test, len(spec.leads))
        examples.save(folder / examples.FILE, chosen, predictions, tested.data.test)
        if tested.figures:
            draw(folder, predictions, values, tested.history, spec=spec, title=title)
        if intervals.several_rows_a_record(predictions.record):
            values |= self._by_patient(tested)
        elif self.macro_over:
            log.warning("--macro-over %s has no effect here: %s", ",".join(self.macro_over), NO_PATIENTS)
        if self.film:
            animation.save_confusion_video(tested.history, spec.classes, folder / "confusion.gif", title=title)
            page, library = folder / "confusion.html", tested.library
            animation.save_confusion_page(tested.history, spec.classes, page, title=title, library=library)
        return values

    def _by_patient(self, tested: Evaluation) -> dict[str, Any]:
        """Figures by patient with intervals over records; writes table, text and figures into the folder."""
        data, predictions, start_s = tested.data, tested.predictions, self.start_s
        scored = predictions.of(data.test_times_s(predictions.index) >= start_s) if start_s else predictions
        if not len(scored.index):
            log.warning("no test beat is at or after --from, %g s: no figures by patient", start_s)
            return {}
        temperature, protocol = tested.fixed.get("temperature"), data.spec.split_rule
        values = classify_patients.measure(
            scored, data.spec.classes, macro_over=self.macro_over, temperature=temperature
        )
        values |= {"from_s": start_s, "beats_left_out": len(predictions.index) - len(scored.index)}
        classify_patients.write(tested.folder, values, protocol=protocol, title=tested.title)
        if tested.figures:
            classify_patients.draw(tested.folder, scored, values, protocol=protocol, title=tested.title)
        return {"by_patient": {name: values[name] for name in OF_PATIENTS}}

    def show(self, recorders: Any, predictions: Predictions, values: dict[str, Any], *, step: int) -> None:
        """Scalars of all classes and of each, the confusion matrix and the curves."""
        figures = classification.floats(values) | {
            f"{name}/{part}": of
            for name, parts in values["per_class"].items()
            for part, of in classification.floats(parts).items()
        }
        matrix = np.array(values["confusion_matrix"])
        drawn = images.of_test(predictions, matrix, self.classes, curves_of=self.classes, epoch=step)
        recorders.test(figures, predictions, drawn, curves=self.classes, step=step)


def decided(logits: Tensor, weights: Tensor | None) -> Tensor:
    """Logits (N, K) with probabilities multiplied by `weights` (K,), None for equal ones (Elkan, IJCAI 2001)."""
    return logits if weights is None else logits + weights.log()


def write(
    folder: Path,
    predictions: Predictions,
    val: dict[str, Any],
    *,
    spec: DataFacts,
    title: str,
    remarks: Sequence[str] = (),
    scored: Sequence[str] = (),
) -> dict[str, Any]:
    """Write predictions, metrics and report of the test set into `folder`; return the metrics with 95 % intervals.

    `remarks` follow the split rule. `scored` are the classes of the publisher's own score, a mean F1, if it has one.
    """
    predictions.save(folder / "predictions.npz")
    predictions.save_csv(folder / "predictions.csv", spec.classes)
    rows = (predictions.target, predictions.scores, predictions.loss)
    values = classification.name_classes(classification.score(*rows), spec.classes)
    bounds = {name: metric.bounds for name, metric in classification.METRICS.items()}
    values |= intervals.of_statistic(classification.of_weights(*rows), predictions.record, bounds=bounds)
    values["f1_intervals"] = _f1_intervals(predictions, list(spec.classes), scored)
    if values["f1_intervals"].get("challenge_f1", ()) is None:
        reasons = values["without_interval"]
        reasons["challenge_f1"] = next(iter(reasons.values()), "")
    values |= classification.challenge_f1(values["per_class"], scored)
    val = val | classification.challenge_f1(val.get("per_class", {}), scored)
    files.write_json(folder / "metrics.json", {"split_rule": spec.split_rule, **values})
    text = summary(values, val, title=title, rules=[f"split: {spec.split_rule}", *remarks], classes=spec.classes)
    tables.save_report(folder / "report.txt", text)
    return values


def _f1_intervals(predictions: Predictions, names: list[str], scored: Sequence[str]) -> dict[str, list[float] | None]:
    """Intervals of each class's F1 and of the mean over `scored`: over records if rows share them, else over rows."""
    target, predicted = predictions.target, predictions.scores.argmax(1)
    if not intervals.several_rows_a_record(predictions.record):
        matrix = classification.confusion_matrix(target, predicted, len(names))
        return intervals.allowed(classification.f1_intervals(matrix, names, scored=scored), len(target))[0]
    matrices = ec57.by_unit(target, predicted, intervals.units(predictions.record)[0], len(names))
    total = matrices.sum(0)
    value = {name: float(of[0]) for name, of in classification.f1_of_classes(total[None], names, scored).items()}
    without = classification.f1_of_classes(total - matrices, names, scored)
    known = ((matrices.sum(1) + matrices.sum(2)) > 0).sum(0)
    spreads = intervals.spreads(value, without, dict(zip(names, map(int, known), strict=True)))
    return intervals.t_intervals(spreads, {})[0]


def draw(
    folder: Path,
    predictions: Predictions,
    values: dict[str, Any],
    history: Sequence[dict[str, Any]],
    *,
    spec: DataFacts,
    title: str,
) -> None:
    """Draw into `folder` the test set's confusion matrices and curves, and the run's history."""
    under, matrix = f"{title}\n{fill(spec.split_rule, 80)}", np.array(values["confusion_matrix"])
    for name, normalised in (("confusion_matrix", False), ("confusion_matrix_normalised", True)):
        figure = plots.confusion_figure(matrix, spec.classes, normalised=normalised, title=f"test set, {under}")
        plots.save_png(figure, folder / f"{name}.png")
    for name, curves in plots.CURVES.items():
        panels = curves(predictions, spec.classes)
        plots.save_panels(panels, folder / f"{name}.png", columns=1, title=f"test set, {under}")
    plots.save_panels(plots.history_panels(history), folder / "history.png", columns=3, title=under)


def summary(
    test: dict[str, Any], val: dict[str, Any], *, title: str, rules: Sequence[str], classes: Sequence[str]
) -> str:
    """Metrics of the test set with their intervals and the values of validation, and one line per class."""
    of_f1, lacking = test["f1_intervals"], test["without_interval"]
    found = test["intervals"] | {name: ends for name, ends in of_f1.items() if name == "challenge_f1"}
    metrics = [
        [meanings.name_of(name), shown(val.get(name)), shown(test[name]), between(ends, lacking.get(name, ""))]
        for name, ends in found.items()
    ]
    rows = [
        [name]
        + [shown(test["per_class"][name][part]) for part in ("recall", "precision", "f1")]
        + [between(of_f1[name]), f"{sum(count):,.0f}"]
        for name, count in zip(classes, test["confusion_matrix"], strict=True)
    ]
    of_metrics = tables.aligned(["metric", "validation", "test", "95 % interval"], metrics)
    of_classes = tables.aligned(["class", "Se", "+P", "F1", "95 % interval", "rows"], rows)
    end = tables.of_intervals(test["interval_method"], lacking)
    return tables.text([title, *rules, "", *of_metrics, "", *of_classes, "", *end])
