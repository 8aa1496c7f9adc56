"""A tested detector as files that a person reads: predictions first, then figures and a text made from them.

Arrays in, floats out: how well reconstruction errors tell anomalies from normal rows, by rank and at a threshold.

Anomalies are the positive class of AUROC, average precision (both as in scikit-learn) and F1. A row is called an
anomaly where its error is above the threshold. An undefined figure is NaN (null in JSON).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolbox import files, plain
from toolbox.metrics import bootstrap, classification, jackknife
from toolbox.plain import NOTICE
from toolbox.reports import plots
from toolbox.reports.plots import Panel
from toolbox.runs.predictions import Predictions
from toolbox.tasks.classify_report import between, of_intervals, shown

Array = NDArray[Any]
BY_RANK = ("auroc", "average_precision")
AT_THRESHOLD = ("normals_kept", "anomalies_caught", "balanced_accuracy", "f1")
DETECTION_FIGURES = (*BY_RANK, *AT_THRESHOLD)


def both_sides(anomaly: Array) -> bool:
    """Whether there are normal rows and anomalies in `anomaly` (N,), without which there is nothing to measure."""
    return bool(0 < anomaly.sum() < len(anomaly))


def detection_score(anomaly: Array, errors: Array, threshold: float) -> dict[str, float]:
    """Every figure of `errors` (N,), where `anomaly` (N,) says which rows are ones."""
    values = _weighted(anomaly, errors > threshold, _ranking(anomaly, errors), np.ones(len(errors)))
    return {name: float(value) for name, value in values.items()}


def of_weights(anomaly: Array, errors: Array, threshold: float) -> Callable[[Array], dict[str, Array]]:
    """Every figure (b,) of weights (b, N) of the rows; the threshold stays as it is."""
    ranking, flagged = _ranking(anomaly, errors), errors > threshold
    return lambda weights: _weighted(anomaly, flagged, ranking, weights)


def bootstrap_intervals(
    anomaly: Array, errors: Array, threshold: float, *, replicates: int = 1000, seed: int = 0
) -> dict[str, list[float]]:
    """95 % percentile intervals [low, high] of every figure over resampled rows; the threshold stays as it is."""
    rng, statistic = np.random.default_rng(seed), of_weights(anomaly, errors, threshold)
    blocks = (statistic(weights) for weights in classification.resamplings(rng, len(errors), replicates))
    return classification.percentile_intervals(
        DETECTION_FIGURES, np.concatenate([np.stack(list(block.values())) for block in blocks], 1)
    )


def by_class(target: Array, errors: Array, threshold: float, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many rows each class has in `target` (N,), and how many of them lie above the threshold."""
    flagged = np.bincount(target[errors > threshold], minlength=len(classes))
    rows = np.bincount(target, minlength=len(classes))
    return {name: {"rows": int(rows[k]), "flagged": int(flagged[k])} for k, name in enumerate(classes)}


def _ranking(anomaly: Array, errors: Array) -> classification.Ranking:
    return classification.Ranking((~anomaly).astype(int), errors[:, None])  # of class 0


def _weighted(anomaly: Array, flagged: Array, ranking: classification.Ranking, weight: Array) -> dict[str, Array]:
    """Every figure (...,) with `weight` (..., N) for the rows."""
    curve = ranking.curve(0, weight)
    normals, anomalies = weight @ ~anomaly, weight @ anomaly
    caught, false_alarms = weight @ (anomaly & flagged), weight @ (~anomaly & flagged)
    kept_share, caught_share = (
        classification.ratio(normals - false_alarms, normals),
        classification.ratio(caught, anomalies),
    )
    return {
        "auroc": classification.auroc(*curve),
        "average_precision": classification.average_precision(*curve),
        "normals_kept": kept_share,
        "anomalies_caught": caught_share,
        "balanced_accuracy": (kept_share + caught_share) / 2,
        "f1": classification.ratio(2 * caught, anomalies + caught + false_alarms),
    }


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
    told = both_sides(anomaly)
    values = _measured(anomaly, errors, threshold, record) if told else {}
    values |= {"threshold": threshold, "classes": by_class(target, errors, threshold, spec.classes)}
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
        intervals, lacking = jackknife.over_records(of_weights(anomaly, scores, threshold), unit, bounds={})
        method = jackknife.METHOD
    else:
        lacks = jackknife.too_few(len(record), "rows")
        intervals, lacking = bootstrap.allowed(bootstrap_intervals(anomaly, scores, threshold), lacks)
        method = bootstrap.METHOD
    figures = detection_score(anomaly, scores, threshold)
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
    for name in DETECTION_FIGURES:
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
    told = both_sides(anomaly)
    kinds = {"normal": ~anomaly, "anomaly": anomaly} if told else {"row": np.ones(len(anomaly), bool)}
    panel = errors_panel(
        {"train": train, **{f"test, {kind}": predictions.loss[of] for kind, of in kinds.items()}}, threshold
    )
    plots.save_panels([panel], folder / "errors", columns=1, title=under)
    by_error = ranked(predictions, normal, threshold)[0]
    for name, curves in CURVES.items() if told else ():
        plots.save_panels(curves(by_error, CLASSES[:1]), folder / name, columns=1, title=under)
    chosen = _extremes(predictions.loss, kinds)
    which = np.concatenate(list(chosen.values()))
    pairs = reconstruction_panels(chosen, *rows(which), predictions, spec)
    plots.save_panels(pairs, folder / "reconstructions", columns=SHOWN, title=under)


def ranked(predictions: Predictions, normal: int, threshold: float) -> tuple[Predictions, Array | None]:
    """The rows as those of two CLASSES, with the rank of the error, from 0 to 1, as the score of an anomaly; and the
    confusion matrix (2, 2) at the threshold, None where no row has a label."""
    from scipy.stats import rankdata

    anomaly, errors = predictions.target != normal, predictions.loss
    scores = (rankdata(errors) / len(errors))[:, None]
    rows = Predictions(predictions.index, predictions.record, (~anomaly).astype(int), scores, errors)
    if not both_sides(anomaly):
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
