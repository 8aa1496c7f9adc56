"""A tested classifier as files: predictions first, then metrics, figures and a text made from them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files, plain
from toolbox.metrics import bootstrap, classification, ec57, jackknife
from toolbox.reports import plots, tables
from toolbox.reports.plots import DataFacts
from toolbox.reports.tables import between, shown
from toolbox.runs.predictions import Predictions

log = logging.getLogger("commander")
Array = NDArray[Any]


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

    `remarks` stand below the split rule. `scored` are the classes whose mean F1 is the score of the data's publisher,
    if it has one.
    """
    predictions.save(folder / "predictions.npz")
    predictions.save_csv(folder / "predictions.csv", spec.classes)
    rows = (predictions.target, predictions.scores, predictions.loss)
    values = classification.name_classes(classification.score(*rows), spec.classes)
    bounds = {"loss": (0.0, np.inf)}
    values |= bootstrap.intervals(classification.of_weights(*rows), predictions.record, bounds=bounds)
    values["f1_intervals"] = _f1_intervals(predictions, list(spec.classes), scored)
    if values["f1_intervals"].get("challenge_f1", ()) is None:
        reasons = values["without_interval"]
        reasons["challenge_f1"] = next(iter(reasons.values()), "")
    values |= classification.challenge_f1(values["per_class"], scored)
    val = val | classification.challenge_f1(val.get("per_class", {}), scored)
    files.write_json(folder / "metrics.json", {"split_rule": spec.split_rule, **values})
    text = summary(values, val, title=title, rules=[f"split: {spec.split_rule}", *remarks], classes=spec.classes)
    files.write_text(folder / "report.txt", text)
    log.info("\n%s", plain.Block(text))
    return values


def _f1_intervals(predictions: Predictions, names: list[str], scored: Sequence[str]) -> dict[str, list[float] | None]:
    """Intervals of each class's F1 and of the mean of the `scored`, over records where rows share them."""
    target, predicted = predictions.target, predictions.scores.argmax(1)
    if not bootstrap.several_rows_a_record(predictions.record):
        matrix = classification.confusion_matrix(target, predicted, len(names))
        return bootstrap.allowed(classification.f1_intervals(matrix, names, scored=scored), len(target))[0]
    matrices = ec57.by_unit(target, predicted, bootstrap.units(predictions.record)[0], len(names))
    total = matrices.sum(0)
    value = {name: float(of[0]) for name, of in classification.f1_of_classes(total[None], names, scored).items()}
    without = classification.f1_of_classes(total - matrices, names, scored)
    known = ((matrices.sum(1) + matrices.sum(2)) > 0).sum(0)
    spreads = jackknife.spreads(value, without, dict(zip(names, map(int, known), strict=True)))
    return jackknife.intervals(spreads, {})[0]


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
    under = f"{title}\n{fill(spec.split_rule, 80)}"
    for name, normalised in (("confusion_matrix", False), ("confusion_matrix_normalised", True)):
        matrix = np.array(values["confusion_matrix"])
        figure = plots.confusion_figure(matrix, spec.classes, normalised=normalised, title=f"test set, {under}")
        plots.save_png(figure, folder / f"{name}.png")
    for name, curves in plots.CURVES.items():
        panels = curves(predictions, spec.classes)
        plots.save_panels(panels, folder / name, columns=1, title=f"test set, {under}")
    plots.save_panels(plots.history_panels(history), folder / "history", columns=3, title=under)


def summary(
    test: dict[str, Any], val: dict[str, Any], *, title: str, rules: Sequence[str], classes: Sequence[str]
) -> str:
    """Metrics of the test set with their intervals, validation beside them, and a line a class."""
    of_f1, lacking = test["f1_intervals"], test["without_interval"]
    intervals = test["intervals"] | {name: ends for name, ends in of_f1.items() if name == "challenge_f1"}
    metrics = [
        [name, shown(test[name]), between(ends, lacking.get(name, "")), shown(val.get(name))]
        for name, ends in intervals.items()
    ]
    rows = [
        [name]
        + [shown(test["per_class"][name][part]) for part in ("recall", "precision", "f1")]
        + [between(of_f1[name]), f"{sum(count):,.0f}"]
        for name, count in zip(classes, test["confusion_matrix"], strict=True)
    ]
    of_metrics = tables.aligned(["metric", "test", "95 % interval", "validation"], metrics)
    of_classes = tables.aligned(["class", "Se", "+P", "F1", "95 % interval", "rows"], rows)
    end = tables.of_intervals(test["interval_method"], lacking)
    return tables.text([title, *rules, "", *of_metrics, "", *of_classes, "", *end])
