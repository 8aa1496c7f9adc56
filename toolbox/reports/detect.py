"""A tested detector as files that a person reads: predictions first, then figures and a text made from them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolbox import files, plain
from toolbox.metrics import bootstrap, classification, detection, jackknife
from toolbox.notice import NOTICE
from toolbox.reports import panels, plots
from toolbox.reports.classify import between, of_intervals, shown
from toolbox.reports.panels import Panel
from toolbox.runs.predictions import Predictions

log = logging.getLogger("commander")
FIGURE = "{:<20}{:>10}{:>22}{:>20}{:>22}"
MEASURED = "Normals are kept and anomalies caught at the threshold, which no test row had a say in."
UNMEASURED = (
    "Nothing can be measured: no row has a label. What lies above the threshold is odd; what it is, nobody has said."
)
BINS = 60
SHOWN = 3  # rows of each kind whose reconstructions are drawn
CURVES = {"roc": plots.roc_panels, "precision_recall": plots.precision_recall_panels}
CLASSES = ("anomaly", "normal")  # a row with a label is one of these
Array = NDArray[Any]


class Facts(Protocol):
    """What the report says of the data."""

    classes: tuple[str, ...]
    split_rule: str
    rate_hz: float
    unit: str
    leads: tuple[str, ...]


def write(
    folder: Path,
    predictions: Predictions,
    fixed: Mapping[str, Any],
    *,
    baseline: tuple[str, Array, float] | None,
    normal: int,
    spec: Facts,
    title: str,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Put into `folder` what the test set showed at the threshold `fixed` on validation; return the figures with
    intervals.

    `baseline` is a method's name, its scores of the test rows, and its own threshold by the same rule. Of rows without
    labels nothing can be measured: what is returned says how many lie above the threshold, and no more.
    """
    predictions.save(folder / "predictions.npz")
    _save_csv(folder / "predictions.csv", predictions, fixed["threshold"], spec.classes)
    target, errors, threshold = predictions.target, predictions.loss, fixed["threshold"]
    anomaly, record = target != normal, predictions.record
    told = detection.both_sides(anomaly)
    values = _measured(anomaly, errors, threshold, record) if told else {}
    values |= {"threshold": threshold, "classes": detection.by_class(target, errors, threshold, spec.classes)}
    if baseline and told:
        name, scores, of_baseline = baseline
        values["baseline"] = {
            "name": name,
            "threshold": of_baseline,
            **_measured(anomaly, scores, of_baseline, predictions.record),
        }
    files.write_json(folder / "metrics.json", {"split_rule": spec.split_rule, **values})
    rules = [f"split: {spec.split_rule}", *remarks]
    rules.append(f"threshold: {fixed['rule']} of {fixed['validation_rows']:,} validation rows, {threshold:.4g}")
    text = summary(values, title=title, rules=rules, normal=spec.classes[normal] if told else None)
    files.write_text(folder / "report.txt", text)
    log.info("\n%s", plain.Block(text))
    return values


def _measured(anomaly: Array, scores: Array, threshold: float, record: Array) -> dict[str, Any]:
    if bootstrap.several_rows_a_record(record):
        unit, _ = bootstrap.units(record)
        intervals, lacking = jackknife.over_records(detection.of_weights(anomaly, scores, threshold), unit, bounds={})
        method = jackknife.METHOD
    else:
        lacks = jackknife.too_few(len(record), "rows")
        intervals, lacking = bootstrap.allowed(detection.bootstrap_intervals(anomaly, scores, threshold), lacks)
        method = bootstrap.METHOD
    figures = detection.score(anomaly, scores, threshold)
    return figures | {"interval_method": method, "intervals": intervals, "without_interval": lacking}


def _save_csv(path: Path, predictions: Predictions, threshold: float, classes: Sequence[str]) -> None:
    import pandas as pd

    columns = {"row": predictions.index, "record": predictions.record, "true": np.array(classes)[predictions.target]}
    columns |= {"error": predictions.loss, "anomaly": predictions.loss > threshold}
    files.write_text(path, pd.DataFrame(columns).to_csv(index=False, float_format="%.6g"))


def summary(values: Mapping[str, Any], *, title: str, rules: Sequence[str], normal: str | None) -> str:
    """The figures with their intervals, a baseline's beside them, and a line a class; no figures where none is
    `normal`."""
    figures, end = ([UNMEASURED], [])
    if normal:
        figures, end = (
            _figures(values),
            [MEASURED, *of_intervals(values["interval_method"], values["without_interval"])],
        )
    lines = [title, *rules, "", *figures, "", f"{'class':<24}{'rows':>8}{'above':>8}{'share':>9}"]
    for name, counts in values["classes"].items():
        share = f"{counts['flagged'] / counts['rows']:.4f}" if counts["rows"] else "-"
        lines.append(
            f"{name + (' (normal)' if name == normal else ''):<24}{counts['rows']:>8,}{counts['flagged']:>8,}{share:>9}"
        )
    return plain.lines([*lines, "", *end, NOTICE]) + "\n"


def _figures(values: Mapping[str, Any]) -> list[str]:
    """A line a figure, under their heads."""
    baseline = values.get("baseline")
    lines = [
        FIGURE.format("", "test", "95 % interval", *((baseline["name"], "95 % interval") if baseline else ("", "")))
    ]
    for name in detection.FIGURES:
        cells = [cell for of in (values, baseline) if of for cell in _cells(of, name)]
        lines.append(FIGURE.format(name, *cells, *[""] * (4 - len(cells))).rstrip())
    return lines


def _cells(values: Mapping[str, Any], name: str) -> tuple[str, str]:
    return shown(values[name]), between(values["intervals"][name], values["without_interval"].get(name, ""))


def draw(
    folder: Path,
    predictions: Predictions,
    train: Array,
    threshold: float,
    *,
    normal: int,
    rows: Callable[[Array], tuple[Array, Array]],
    spec: Facts,
    title: str,
) -> None:
    """Draw into `folder` the errors with the threshold, ROC and precision-recall, and the best and worst
    reconstructions.

    `train` (M,) are errors of training rows; `rows(which)` gives those test rows and their reconstructions, (n, C, T)
    each. Where no row has a label there is one kind of row, and no curve.
    """
    under = f"{title}\n{fill(spec.split_rule, 80)}"
    anomaly = predictions.target != normal
    told = detection.both_sides(anomaly)
    kinds = {"normal": ~anomaly, "anomaly": anomaly} if told else {"row": np.ones(len(anomaly), bool)}
    panel = errors_panel(
        {"train": train, **{f"test, {kind}": predictions.loss[of] for kind, of in kinds.items()}}, threshold
    )
    panels.save_panels([panel], folder / "errors", columns=1, title=under)
    by_error = ranked(predictions, normal, threshold)[0]
    for name, curves in CURVES.items() if told else ():
        panels.save_panels(curves(by_error, CLASSES[:1]), folder / name, columns=1, title=under)
    chosen = _extremes(predictions.loss, kinds)
    which = np.concatenate(list(chosen.values()))
    pairs = reconstruction_panels(chosen, *rows(which), predictions, spec)
    panels.save_panels(pairs, folder / "reconstructions", columns=SHOWN, title=under)


def ranked(predictions: Predictions, normal: int, threshold: float) -> tuple[Predictions, Array | None]:
    """The rows as those of two CLASSES, with the rank of the error, from 0 to 1, as the score of an anomaly; and the
    confusion matrix (2, 2) at the threshold, None where no row has a label."""
    from scipy.stats import rankdata

    anomaly, errors = predictions.target != normal, predictions.loss
    scores = (rankdata(errors) / len(errors))[:, None]
    rows = Predictions(predictions.index, predictions.record, (~anomaly).astype(int), scores, errors)
    if not detection.both_sides(anomaly):
        return rows, None
    return rows, classification.confusion_matrix(rows.target, (errors <= threshold).astype(int), len(CLASSES))


def errors_panel(groups: Mapping[str, Array], threshold: float) -> Panel:
    """Histograms of the errors of each group as shares of it, and the threshold as a line; the last bin has all
    beyond."""
    everything = np.concatenate(list(groups.values()))
    top = max(np.percentile(everything, 99), 1.5 * threshold)
    edges = np.linspace(0, top, BINS + 1)
    panel = Panel(
        f"reconstruction errors, threshold {threshold:.4g}", "error (the last bin has all beyond)", "share of the rows"
    )
    for name, errors in groups.items():
        if len(errors):
            share = np.histogram(np.minimum(errors, top), edges)[0] / len(errors)
            panel.lines.append((f"{name} (n={len(errors):,})", np.repeat(edges, 2)[1:-1], np.repeat(share, 2)))
    highest = max((line[2].max() for line in panel.lines), default=1.0)
    panel.lines.append(("threshold", np.array([threshold, threshold]), np.array([0, highest])))
    return panel


def _extremes(errors: Array, kinds: Mapping[str, Array]) -> dict[str, Array]:
    """The rows that are reconstructed best and worst of each kind, which says of every row whether it is of it."""
    chosen = {}
    for kind, of in kinds.items():
        which = np.flatnonzero(of)
        order = which[np.argsort(errors[which], kind="stable")]
        chosen[f"best {kind}"], chosen[f"worst {kind}"] = order[:SHOWN], order[::-1][:SHOWN]
    return chosen


def reconstruction_panels(
    chosen: Mapping[str, Array], x: Array, outputs: Array, predictions: Predictions, spec: Facts
) -> list[Panel]:
    """A panel for each chosen row: its first lead (T,) as it is and as it was reconstructed, the error in the title."""
    seconds, pairs = np.arange(x.shape[2]) / spec.rate_hz, []
    for kind, row in ((kind, row) for kind, rows in chosen.items() for row in rows):
        i = len(pairs)
        unit = "" if i % SHOWN else fill(spec.unit, 18)
        title = f"{kind}: {spec.classes[predictions.target[row]]}, error {predictions.loss[row]:.3g}"
        lines = [(spec.leads[0], seconds, x[i, 0]), ("reconstruction", seconds, outputs[i, 0])]
        pairs.append(Panel(title, "time (s)", unit, lines))
    return pairs
