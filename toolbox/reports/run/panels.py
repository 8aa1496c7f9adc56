"""Panels of a test: Se and +P by record, reliability, and the errors of a detector.

`plots.save_panels` draws them as PNG with the test, `figures.of_panel` for the report, which has no data at hand.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import classification
from toolbox.reports import plots
from toolbox.reports.plots import Panel
from toolbox.reports.tables import shown
from toolbox.runs.predictions import Predictions

Array = NDArray[Any]
Z = 1.959964  # of a 95 % interval
MOST_RECORDS = 60  # listed and drawn; by_record.csv has all
MARK = 0.3  # half the height of the stroke that marks an estimate
BINS = 60  # of reconstruction errors
CLASSES = ("anomaly", "normal")  # a row with a label is one of these


def record_panels(values: Mapping[str, Any]) -> list[Panel]:
    """One panel each for Se and +P of SVEB and VEB (else of each class of macro F1): one row per record, gross below.

    A record's interval is Wilson's (1927), as if its beats were independent; the gross interval is over records. A
    record without true beats of the class has no Se, without predicted ones no +P, and is left out.
    """
    table, _ = listed(values["by_record"])
    panels: list[Panel] = []
    for of in values["counts"] or values["macro_over"]:
        for part, missing in (("Se", "FN"), ("+P", "FP")):
            share = np.array(table[f"{of} {part}"], dtype=float)
            there = ~np.isnan(share)
            low, high = wilson(share, np.add(table[f"{of} TP"], table[f"{of} {missing}"]))
            gross = np.array(values["gross"][f"{of} {part}"], dtype=float)
            lowest, highest = values["intervals"]["gross"][f"{of} {part}"] or (np.nan, np.nan)
            names = [*np.array(table["record"])[there], "gross"]
            heights = -np.arange(len(names), dtype=float)
            ends, estimates = (
                (np.append(low[there], lowest), np.append(high[there], highest)),
                np.append(share[there], gross),
            )
            lines = [
                ("95 % interval", *strokes(*ends, heights, heights)),
                ("estimate", *strokes(estimates, estimates, heights - MARK, heights + MARK)),
            ]
            title, guide = (
                f"{of} {part}, dashed: gross {shown(float(gross))}",
                ([gross, gross], [heights[-1], heights[0]]),
            )
            panels.append(Panel(title, f"{of} {part}", "", lines, guide=guide, ticks=(heights, names)))
    return panels


def reliability_panels(named: Mapping[str, tuple[Array, Array]], *, bins: int = classification.BINS) -> list[Panel]:
    """Reliability and the distribution of the confidence, of (scores (N, K), target (N,)) by name."""
    edges = np.linspace(0, 1, bins + 1)
    title = f"reliability; calibrated on the dashed line; n: a point of fewer than {plots.FEW} rows"
    curve = Panel(title, "confidence", "share that is right", guide=([0, 1], [0, 1]))
    often = Panel("how often each confidence occurs", "confidence", "share of the rows")
    for name, (scores, target) in named.items():
        confidence, right = scores.max(1), scores.argmax(1) == target
        binned = classification.reliability(confidence, right, bins=bins)
        there = binned["rows"] > 0
        label = f"{name} (ECE {classification.calibration_error(confidence, right, bins=bins):.4f})"
        curve.lines.append((label, binned["probability"][there], binned["share"][there]))
        curve.counts.append(binned["rows"][there].astype(int))
        often.lines.append((name, *plots.steps(edges, binned["rows"] / len(target))))
    return [curve, often]


def wilson(share: Array, beats: Array) -> tuple[Array, Array]:
    """Lower and upper end of the 95 % score interval of a share of `beats` beats; NaN for none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (share + Z**2 / (2 * beats)) / (1 + Z**2 / beats)
        half = Z / (1 + Z**2 / beats) * np.sqrt(share * (1 - share) / beats + (Z / (2 * beats)) ** 2)
    return middle - half, middle + half


def strokes(x: Array, to_x: Array, y: Array, to_y: Array) -> tuple[Array, Array]:
    """Strokes from (x, y) to (to_x, to_y), (n,) each, as one line with gaps."""
    gap = np.full(len(x), np.nan)
    return np.stack([x, to_x, gap], 1).ravel(), np.stack([y, to_y, gap], 1).ravel()


def temperatures(scores: Array, temperature: float | None) -> dict[str, Array]:
    """Probabilities (N, K) as trained and, if given, at the `temperature` fitted on validation, by name."""
    named = {"as trained": scores}
    if temperature is None:
        return named
    return named | {f"T = {temperature:.3f}": classification.at_temperature(scores, temperature)}


def listed(table: Mapping[str, list[Any]]) -> tuple[dict[str, list[Any]], str]:
    """The least accurate records of the table, and a remark if others are left out."""
    records = len(table["record"])
    if records <= MOST_RECORDS:
        return dict(table), ""
    chosen = np.sort(np.argsort(table["accuracy"], kind="stable")[:MOST_RECORDS])
    rows = {name: [column[row] for row in chosen] for name, column in table.items()}
    return rows, f" (the {MOST_RECORDS} least accurate of {records:,})"


def both_sides(anomaly: Array) -> bool:
    """Whether `anomaly` (N,) has normal rows and anomalies, as every figure needs."""
    return bool(0 < anomaly.sum() < len(anomaly))


def ranked(predictions: Predictions, normal: int, threshold: float) -> tuple[Predictions, Array | None]:
    """Rows of two CLASSES, scored by the rank of the error, 0 to 1; and the confusion matrix (2, 2) at the threshold.

    The matrix is None without labels.
    """
    from scipy.stats import rankdata

    anomaly, errors = predictions.target != normal, predictions.loss
    scores = (rankdata(errors) / len(errors))[:, None]
    rows = Predictions(predictions.index, predictions.record, (~anomaly).astype(int), scores, errors)
    if not both_sides(anomaly):
        return rows, None
    return rows, classification.confusion_matrix(rows.target, (errors <= threshold).astype(int), len(CLASSES))


def errors_panel(groups: Mapping[str, Array], threshold: float) -> Panel:
    """Histograms of each group's errors as shares, and the threshold; the last bin includes larger errors."""
    everything = np.concatenate(list(groups.values()))
    top = max(np.percentile(everything, 99), 1.5 * threshold)
    edges = np.linspace(0, top, BINS + 1)
    title, x_label = f"reconstruction errors, threshold {threshold:.4g}", "error (the last bin has all beyond)"
    panel = Panel(title, x_label, "share of the rows")
    for name, errors in groups.items():
        if len(errors):
            share = np.histogram(np.minimum(errors, top), edges)[0] / len(errors)
            panel.lines.append((f"{name} (n={len(errors):,})", *plots.steps(edges, share)))
    highest = max((np.nanmax(line[2]) for line in panel.lines), default=1.0)
    panel.lines.append(("threshold", np.array([threshold, threshold]), np.array([0, highest])))
    return panel
