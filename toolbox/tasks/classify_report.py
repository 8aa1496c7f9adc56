"""A tested run as files that a person reads: predictions first, then metrics, figures and a text made from them."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolbox import files, plain
from toolbox.metrics import bootstrap, classification, ec57, jackknife
from toolbox.plain import NOTICE
from toolbox.reports import plots
from toolbox.runs.predictions import Predictions

log = logging.getLogger("commander")
Array = NDArray[Any]
FIGURE = "{:<24}{:>10}{:>24}{:>14}"


class Facts(Protocol):
    """What the report says of the data."""

    classes: tuple[str, ...]
    split_rule: str


def write(
    folder: Path,
    predictions: Predictions,
    val: dict[str, Any],
    *,
    spec: Facts,
    title: str,
    remarks: Sequence[str] = (),
    scored: Sequence[str] = (),
) -> dict[str, Any]:
    """Put into `folder` what the test set showed, `remarks` below the split rule; return its metrics with 95 %
    intervals.

    `scored` are the classes whose mean F1 is the score of the data's publisher, of which there may be none.
    """
    predictions.save(folder / "predictions.npz")
    predictions.save_csv(folder / "predictions.csv", spec.classes)
    rows = (predictions.target, predictions.scores, predictions.loss)
    values = classification.name_classes(classification.score(*rows), spec.classes)
    values |= _intervals(predictions, spec.classes, scored)
    values |= classification.challenge_f1(values["per_class"], scored)
    val = val | classification.challenge_f1(val.get("per_class", {}), scored)
    files.write_json(folder / "metrics.json", {"split_rule": spec.split_rule, **values})
    text = summary(values, val, title=title, rules=[f"split: {spec.split_rule}", *remarks], classes=spec.classes)
    files.write_text(folder / "report.txt", text)
    log.info("\n%s", plain.Block(text))
    return values


def _intervals(predictions: Predictions, classes: Sequence[str], scored: Sequence[str]) -> dict[str, Any]:
    """The intervals of the metrics and of the F1 of each class, over records where rows share them, else over rows."""
    rows, names = (predictions.target, predictions.scores, predictions.loss), list(classes)
    if not bootstrap.several_rows_a_record(predictions.record):
        matrix = classification.confusion_matrix(rows[0], rows[1].argmax(1), len(names))
        lacks = jackknife.too_few(len(rows[0]), "rows")
        found, lacking = bootstrap.allowed(classification.bootstrap_intervals(*rows), lacks)
        of_f1, _ = bootstrap.allowed(classification.f1_intervals(matrix, names, scored=scored), lacks)
        method = bootstrap.METHOD
    else:
        unit, _ = bootstrap.units(predictions.record)
        found, lacking = jackknife.over_records(classification.of_weights(*rows), unit, bounds={"loss": (0.0, np.inf)})
        of_f1, method = _f1_over_records(*rows[:2], unit, names, scored), jackknife.METHOD
    return {"interval_method": method, "intervals": found, "without_interval": lacking, "f1_intervals": of_f1}


def _f1_over_records(
    target: Array, scores: Array, unit: Array, names: list[str], scored: Sequence[str]
) -> dict[str, list[float] | None]:
    """The intervals of the F1 of each class over records; of one that stands in few of them None."""
    matrices = ec57.by_unit(target, scores.argmax(1), unit, len(names))
    total = matrices.sum(0)
    value = {name: float(of[0]) for name, of in classification.f1_of_classes(total[None], names, scored).items()}
    without = classification.f1_of_classes(total - matrices, names, scored)
    known = ((matrices.sum(1) + matrices.sum(2)) > 0).sum(0)
    spreads = jackknife.spreads(value, without, dict(zip(names, map(int, known), strict=True)))
    return {name: jackknife.interval(of, jackknife.SHARE) for name, of in spreads.items()}


def draw(
    folder: Path,
    predictions: Predictions,
    values: dict[str, Any],
    history: Sequence[dict[str, Any]],
    *,
    spec: Facts,
    title: str,
) -> None:
    """Draw into `folder` the test set's confusion matrices and curves, and the run's history."""
    under = f"{title}\n{fill(spec.split_rule, 80)}"
    for name, normalised in (("confusion_matrix", False), ("confusion_matrix_normalised", True)):
        figure = plots.confusion_figure(
            np.array(values["confusion_matrix"]), spec.classes, normalised=normalised, title=f"test set, {under}"
        )
        plots.save_png(figure, folder / f"{name}.png")
    plots.save_panels(
        plots.roc_panels(predictions, spec.classes), folder / "roc", columns=1, title=f"test set, {under}"
    )
    plots.save_panels(
        plots.precision_recall_panels(predictions, spec.classes),
        folder / "precision_recall",
        columns=1,
        title=f"test set, {under}",
    )
    plots.save_panels(plots.history_panels(history), folder / "history", columns=3, title=under)


def summary(
    test: dict[str, Any], val: dict[str, Any], *, title: str, rules: Sequence[str], classes: Sequence[str]
) -> str:
    """Metrics of the test set with their intervals, validation beside them, and a line a class."""
    lines = [title, *rules, "", FIGURE.format("metric", "test", "95 % interval", "validation")]
    of_f1 = test.get("f1_intervals", {})
    intervals = test["intervals"] | ({"challenge_f1": of_f1["challenge_f1"]} if "challenge_f1" in of_f1 else {})
    lacking = test.get("without_interval", {})
    lacking |= {"challenge_f1": next(iter(lacking.values()), "")} if intervals.get("challenge_f1", ()) is None else {}
    for name, of in intervals.items():
        lines.append(FIGURE.format(name, shown(test[name]), between(of, lacking.get(name, "")), shown(val.get(name))))
    lines += ["", FIGURE.format("class", "Se", "+P", "F1") + f"{'95 % interval':>20}{'rows':>10}"]
    for k, name in enumerate(classes):
        parts, count = test["per_class"][name], sum(test["confusion_matrix"][k])
        figures = (shown(parts[part]) for part in ("recall", "precision", "f1"))
        lines.append(
            FIGURE.format(name, *figures) + f"{between(of_f1[name]) if name in of_f1 else '':>20}{count:>10,.0f}"
        )
    return (
        plain.lines([*lines, "", *of_intervals(test.get("interval_method", bootstrap.METHOD), lacking), NOTICE]) + "\n"
    )


def of_intervals(method: str, lacking: Mapping[str, str]) -> list[str]:
    """What the intervals are over, and why figures have none."""
    lines = ["The intervals resample rows (1,000 bootstrap replicates); rows of one patient are not independent."]
    if method != bootstrap.METHOD:
        lines = [f"The intervals are over records, not rows: {method}."]
    what = "rows" if method == bootstrap.METHOD else "records"
    few = bool({*lacking.values()} - {jackknife.UNDEFINED, jackknife.STILL})
    return lines + [f"n/a: no interval, which needs {jackknife.FEW} {what}."] * few


def between(bounds: Sequence[float] | None, lacks: str = "") -> str:
    """An interval as a person reads it, or why there is none."""
    return (f"n/a: {lacks}" if lacks else "n/a") if bounds is None else " - ".join(map(shown, bounds))


def shown(value: float | None) -> str:
    """A figure as a person reads it; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.4f}"
