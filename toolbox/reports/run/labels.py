"""Parts of the report of many labels: the table of classes, and panels of AUROC, curves and calibration.

`plots.save_panels` draws the panels as PNG with the test, `figures.of_panel` for the page; both read what metrics.json
and predictions.npz hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import classification, intervals, labels, meanings, platt
from toolbox.reports import plots
from toolbox.reports.plots import Panel
from toolbox.reports.run.panels import MARK, strokes
from toolbox.reports.tables import between, shown, with_interval
from toolbox.runs.predictions import Predictions

Array = NDArray[Any]
MOST_COUNTED = 3  # classes whose points in the figure of calibration state their rows
MOST_CURVES = 12  # classes of a figure of curves, as many as there are colours
HEAD = (
    "class", "rows", "AUROC", "95 % interval", "average precision", "threshold", "Se", "+P", "F1", "95 % "
                                                                                                   "interval of F1",
    "ECE", "Brier",
)  # fmt: skip
CALIBRATED = ("calibration", "as trained", "95 % interval", "calibrated", "95 % interval")
LINES = ("class", "ECE", "calibrated", "Brier", "calibrated", "slope", "intercept", "threshold", "calibrated")
CURVED = f"curves and calibration are of the {MOST_CURVES} classes with most rows"


def class_rows(test: Mapping[str, Any]) -> list[list[str]]:
    """The rows of a table below HEAD, one a class; the rows of the class are those of the test."""
    ends, lacks = test["class_intervals"], test["without_class_interval"]
    found = []
    for name, of in test["per_class"].items():
        auroc, f1 = (between(ends[part].get(name), lacks.get(name, "")) for part in ("auroc", "f1"))
        parts = [shown(of[part]) for part in ("average_precision", "threshold", "recall", "precision", "f1")]
        found.append([name, f"{of['positives']:,}", shown(of["auroc"]), auroc, *parts, f1, shown(of["ece"])])
        found[-1].append(shown(of["brier"]))
    return found


def calibration_rows(test: Mapping[str, Any]) -> tuple[list[list[str]], list[list[str]]]:
    """The rows of a table below CALIBRATED, one a macro figure, and of one below LINES, one a class, of a test with
    lines fitted on validation."""
    after = test["calibrated"]
    both = [
        [meanings.name_of(name), *with_interval(test, name), *with_interval(after, name)] for name in labels.CALIBRATION
    ]
    by_class = []
    for name, of in after["per_class"].items():
        pairs = [shown(each[part]) for part in ("ece", "brier") for each in (test["per_class"][name], of)]
        by_class.append([name, *pairs, f"{of['slope']:.3f}", f"{of['intercept']:+.3f}"])
        by_class[-1] += [shown(each["threshold"]) for each in (test["per_class"][name], of)]
    return both, by_class


def remarks(test: Mapping[str, Any]) -> list[str]:
    """Lines below the table of classes: those left out of macro averages, and those without an interval."""
    lines = [f"Left out of every macro average, {left_out(test)}."] if test.get("left_out") else []
    if any(ends is None for of in test["class_intervals"].values() for ends in of.values()):
        few = f"{intervals.FEW} {intervals.units_of(test['interval_method'])} with it, and {intervals.FEW} without it"
        lines.append(f"n/a: no interval of a class. One needs {few}, and replicates that differ.")
    return lines


def left_out(test: Mapping[str, Any]) -> str:
    """The classes that no macro average has, by reason."""
    found = test.get("left_out", {})
    by_reason = {why: [name for name, own in found.items() if own == why] for why in dict.fromkeys(found.values())}
    return "; ".join(f"{why}: {', '.join(names)}" for why, names in by_reason.items())


def frequent(predictions: Predictions, classes: Sequence[str]) -> tuple[Predictions, tuple[str, ...]]:
    """The predictions of at most MOST_CURVES classes, those with most rows, in their order; and the names of these.

    None without a positive row, or without a negative one.
    """
    rows = predictions.target.sum(0)
    order = np.argsort(-rows, kind="stable")
    able = order[(rows[order] > 0) & (rows[order] < len(predictions.target))]
    chosen = np.sort(able[:MOST_CURVES])
    return predictions.among(chosen), tuple(classes[k] for k in chosen)


def class_panel(test: Mapping[str, Any]) -> Panel:
    """The AUROC of each class with its interval, the best above; dashed the macro average."""
    own = {name: of["auroc"] for name, of in test["per_class"].items() if of["auroc"] == of["auroc"]}
    own = {name: value for name, value in own.items() if value is not None}
    names = sorted(own, key=lambda name: -own[name])
    ends = test["class_intervals"]["auroc"]
    low, high = np.array([ends.get(name) or (np.nan, np.nan) for name in names], dtype=float).reshape(-1, 2).T
    estimates, heights = np.array([own[name] for name in names]), -np.arange(len(names), dtype=float)
    lines = [
        ("95 % interval", *strokes(low, high, heights, heights)),
        ("estimate", *strokes(estimates, estimates, heights - MARK, heights + MARK)),
    ]
    macro, counts = test["macro_auroc"], test["per_class"]
    ticks = heights, [f"{name} (n={counts[name]['positives']:,})" for name in names]
    guide = ([macro, macro], [heights[-1] - MARK, heights[0] + MARK])
    return Panel(f"AUROC of each class, dashed: macro {shown(macro)}", "AUROC", "", lines, guide=guide, ticks=ticks)


def calibration_panels(
    predictions: Predictions, classes: Sequence[str], fitted: platt.Fitted | None = None
) -> list[Panel]:
    """Reliability of the frequent classes as trained and, if given, at the `fitted` lines."""
    some, names = frequent(predictions, classes)
    if not fitted:
        return [reliability_panel(some, names)]
    scores = platt.calibrated(predictions.scores, fitted)
    after, _ = frequent(replace(predictions, scores=scores), classes)
    return [reliability_panel(some, names, which="as trained: "), reliability_panel(after, names, which="calibrated: ")]


def reliability_panel(
    predictions: Predictions, classes: Sequence[str], *, bins: int = classification.BINS, which: str = ""
) -> Panel:
    """The share of rows with a class against its probability, a line for each class."""
    title = f"{which}reliability of each class; calibrated on the dashed line"
    title += f"; n: a point of fewer than {plots.FEW} rows" if len(classes) <= MOST_COUNTED else ""
    panel = Panel(title, "probability of the class", "share of rows with the class", guide=([0, 1], [0, 1]))
    for name, scores, target in zip(classes, predictions.scores.T, predictions.target.T, strict=True):
        binned = classification.reliability(scores, target, bins=bins)
        there = binned["rows"] > 0
        label = f"{name} (ECE {classification.calibration_error(scores, target, bins=bins):.4f})"
        panel.lines.append((label, binned["probability"][there], binned["share"][there]))
        if len(classes) <= MOST_COUNTED:
            panel.counts.append(binned["rows"][there].astype(int))
    return panel
