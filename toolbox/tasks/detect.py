"""Anomaly detection: a network reconstructs normal rows, and a row with an error above a threshold is an anomaly.

A rule sets the threshold from validation rows, which are all normal: `percentile:98` passes 98 % of them, `sd:3` is
three standard deviations above their mean, `rate:2` raises a false alarm for at most 2 % of new normal rows, also with
few validation rows, `value:0.2` is a fixed number.

The files of a test start with the predictions. Anomalies are the positive class of AUROC, average precision (both as in
scikit-learn) and F1. An undefined figure is NaN (null in JSON).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from toolbox import files
from toolbox.errors import UsageError
from toolbox.metrics import classification, intervals, meanings
from toolbox.metrics.ranking import Ranking, auroc, average_precision, ratio
from toolbox.registry import pick
from toolbox.reports import images, plots, tables
from toolbox.reports.plots import DataFacts, Panel
from toolbox.reports.run import examples
from toolbox.reports.run.panels import CLASSES, both_sides, errors_panel, ranked
from toolbox.runs.predictions import Predictions
from toolbox.tasks.task import LAST, Evaluation, means
from toolbox.training import baselines, losses
from toolbox.training.losses import Mix

MEASURED = "Normals are kept and anomalies caught at the threshold, which does not depend on any test row."
UNMEASURED = "Nothing can be measured: no row has a label. A row above the threshold is odd; its label is unknown."
SHOWN = 3  # drawn reconstructions of each kind
Array = NDArray[Any]
Errors = NDArray[np.floating]


def limit_of_rate(errors: Errors, percent: float) -> float:
    """The threshold that a new normal row exceeds with a probability of at most `percent` %.

    Of enough rows it is one of their errors, which needs no more than that the new row is drawn as they were (Vovk et
    al., 2005). Fewer rows have no such error: it is the upper prediction limit of normally distributed log errors.
    Raises UsageError for fewer than two rows then.
    """
    rows, part = len(errors), percent / 100
    place = math.ceil(round((rows + 1) * (1 - part), 9))
    if place <= rows:
        return float(np.sort(errors)[max(place, 1) - 1])
    if rows < 2:
        what = f"--threshold rate:{percent:g} needs two validation rows, there is {rows}"
        raise UsageError(what, hint="a larger --val-fraction, or --threshold value:V")
    from scipy.stats import t

    logs = np.log(np.maximum(errors, np.finfo(np.float32).tiny).astype(np.float64))
    reach = t.ppf(1 - part, rows - 1) * math.sqrt(1 + 1 / rows) if part else math.inf
    return float(np.exp(logs.mean() + reach * logs.std(ddof=1)))


THRESHOLDS: dict[str, Callable[[Errors, float], float]] = {
    "percentile": lambda errors, percent: float(np.percentile(errors, percent)),
    "sd": lambda errors, factor: float(errors.mean() + factor * errors.std()),
    "rate": limit_of_rate,
    "value": lambda errors, value: value,
}
LARGEST = dict.fromkeys(THRESHOLDS, 1e9) | {"percentile": 100.0, "rate": 100.0}


def parse(rule: str) -> Callable[[Errors], dict[str, Any]]:
    """The text of --threshold as a function from errors (N,) to the threshold, with its rule and the number of rows.

    Raises UsageError for an unknown rule or a number out of range.
    """
    name, _, text = rule.partition(":")
    threshold = pick("threshold", THRESHOLDS, name)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= LARGEST[name]:
        what = f"--threshold is {rule[:40]}, {name} takes a number from 0 to {LARGEST[name]:,.0f}"
        raise UsageError(what, hint="--threshold percentile:98")
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
        threshold: str,
        monitor: str = "loss",
        baseline: str = "nearest_neighbours",
    ) -> None:
        self.classes, self.normal = tuple(classes), tuple(classes).index(normal)
        self.row_loss = pick("criterion", losses.RECONSTRUCTION, criterion)
        self.monitor = pick("monitor", {"loss": "loss", LAST: LAST}, monitor)
        self.threshold_of, self.baseline = parse(threshold), baseline

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

    @staticmethod
    def pool(rows: Tensor, group: np.ndarray) -> Tensor:
        """The mean error (R,) of each record's pieces."""
        return means(rows, group)

    def predictions(self, index: np.ndarray, record: np.ndarray, target: Tensor, rows: Tensor) -> Predictions:
        """Errors (N,) as the only score (N, 1), and as losses."""
        errors = rows.cpu().numpy()
        return Predictions(index, record, target.cpu().numpy(), errors[:, None], errors)

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """The mean error: train and validation have no anomalies."""
        return {"loss": float(predictions.loss.mean())}

    def running(self, rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def fixed(self, val: Predictions) -> dict[str, Any]:
        """The threshold, from the errors of the validation rows, which are normal."""
        return self.threshold_of(val.loss)

    def report(self, tested: Evaluation) -> dict[str, Any]:
        """Metrics at the threshold, of the network and of the baseline; report and figures."""
        data, train, threshold = tested.data, tested.train, tested.fixed["threshold"]
        score = baselines.BASELINES[self.baseline](_flat(train))
        baseline = (self.baseline, score(_flat(data.test)), self.threshold_of(score(_flat(data.val)))["threshold"])
        facts = {"normal": self.normal, "spec": data.spec, "title": tested.title}
        test, remarks = (tested.folder, tested.predictions), tested.remarks
        values = write(*test, tested.fixed, baseline=baseline, remarks=remarks, **facts)
        errors = tested.predict(train).loss
        self._keep_rows(tested, errors, threshold)
        if tested.figures:
            x = data.test.x
            draw(*test, errors, threshold, rows=lambda at: (x[at], tested.outputs(x[at])), **facts)
            panels = plots.history_panels(tested.history)
            plots.save_panels(panels, tested.folder / "history.png", columns=2, title=tested.title)
        return values

    def _keep_rows(self, tested: Evaluation, train_errors: Array, threshold: float) -> None:
        """Keep for the report a few test rows with their reconstructions, and the errors of training rows."""
        predictions, test = tested.predictions, tested.data.test
        anomaly = predictions.target != self.normal
        groups = examples.beyond(predictions.loss, anomaly if both_sides(anomaly) else None, threshold)
        chosen = examples.few(groups, test, len(tested.data.spec.leads))
        places = examples.places_in(predictions, test, np.concatenate([*chosen.values()]))
        outputs = [*tested.outputs(np.stack([test.signal(row) for row in places]))] if len(places) else []
        path = tested.folder / examples.FILE
        examples.save(path, chosen, predictions, test, outputs=outputs, train_errors=train_errors)

    def show(self, recorders: Any, predictions: Predictions, values: dict[str, Any], *, step: int) -> None:
        """Scalars; rows without labels have no curve and no matrix."""
        rows, matrix = ranked(predictions, self.normal, values["threshold"])
        curves: Sequence[str] = () if matrix is None else CLASSES[:1]
        drawn = {} if matrix is None else images.of_test(rows, matrix, CLASSES, curves_of=curves, epoch=step)
        recorders.test(classification.floats(values), rows, drawn, curves=curves, step=step)


def _flat(rows: Any) -> np.ndarray:
    return rows.x.reshape(len(rows), -1)


def detection_score(anomaly: Array, errors: Array, threshold: float) -> dict[str, float]:
    """Every figure of `errors` (N,); `anomaly` (N,) marks the anomalies."""
    values = of_weights(anomaly, errors, threshold)(np.ones(len(errors)))
    return {name: float(value) for name, value in values.items()}


def of_weights(anomaly: Array, errors: Array, threshold: float) -> Callable[[Array], dict[str, Array]]:
    """Every figure (...,) of weights (..., N) of the rows; the threshold stays as it is."""
    ranking = Ranking((~anomaly).astype(int), errors[:, None])  # of class 0
    flagged = errors > threshold

    def statistic(weight: Array) -> dict[str, Array]:
        curve = ranking.curve(0, weight)
        normals, anomalies = weight @ ~anomaly, weight @ anomaly
        caught, false_alarms = weight @ (anomaly & flagged), weight @ (~anomaly & flagged)
        kept_share, caught_share = ratio(normals - false_alarms, normals), ratio(caught, anomalies)
        return {
            "auroc": auroc(*curve),
            "average_precision": average_precision(*curve),
            "normals_kept": kept_share,
            "anomalies_caught": caught_share,
            "balanced_accuracy": (kept_share + caught_share) / 2,
            "f1": ratio(2 * caught, anomalies + caught + false_alarms),
        }

    return statistic


def by_class(target: Array, errors: Array, threshold: float, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """The number of rows of each class in `target` (N,), and of its rows above the threshold."""
    flagged = np.bincount(target[errors > threshold], minlength=len(classes))
    rows = np.bincount(target, minlength=len(classes))
    return {name: {"rows": int(rows[k]), "flagged": int(flagged[k])} for k, name in enumerate(classes)}


def write(
    folder: Path,
    predictions: Predictions,
    fixed: Mapping[str, Any],
    *,
    baseline: tuple[str, Array, float] | None,
    normal: int,
    spec: DataFacts,
    title: str,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Write into `folder` the test at the threshold `fixed` on validation; return the figures with intervals.

    `baseline` is a method's name, its scores of the test rows, and its own threshold by the same rule. Rows without
    labels have no figures but the number above the threshold.
    """
    predictions.save(folder / "predictions.npz")
    target, errors, threshold = predictions.target, predictions.loss, fixed["threshold"]
    anomaly, record = target != normal, predictions.record
    columns = {"row": predictions.index, "record": record, "true": np.array(spec.classes)[target]}
    columns |= {"error": errors, "anomaly": errors > threshold}
    files.write_csv(folder / "predictions.csv", columns, "%.6g")
    labelled = both_sides(anomaly)
    values = _measured(anomaly, errors, threshold, record) if labelled else {}
    values |= {"threshold": threshold, "classes": by_class(target, errors, threshold, spec.classes)}
    if baseline and labelled:
        name, scores, of_baseline = baseline
        measured = _measured(anomaly, scores, of_baseline, record)
        values["baseline"] = {"name": name, "threshold": of_baseline, **measured}
    files.write_json(folder / "metrics.json", {"split_rule": spec.split_rule, **values})
    rules = [f"split: {spec.split_rule}", *remarks]
    rules.append(f"threshold: {fixed['rule']} of {fixed['validation_rows']:,} validation rows, {threshold:.4g}")
    text = summary(values, title=title, rules=rules, normal=spec.classes[normal] if labelled else None)
    tables.save_report(folder / "report.txt", text)
    return values


def _measured(anomaly: Array, scores: Array, threshold: float, record: Array) -> dict[str, Any]:
    figures = detection_score(anomaly, scores, threshold)
    return figures | intervals.of_statistic(of_weights(anomaly, scores, threshold), record)


def summary(values: Mapping[str, Any], *, title: str, rules: Sequence[str], normal: str | None) -> str:
    """The figures of the network and of a baseline, and one line per class; no figures if `normal` is None."""
    figures, end = [UNMEASURED], []
    if normal:
        baseline = values.get("baseline")
        measured = [values, baseline] if baseline else [values]
        head = ["", "test", "95 % interval", *([baseline["name"], "95 % interval"] if baseline else [])]
        rows = [
            [meanings.name_of(name), *(cell for of in measured for cell in tables.with_interval(of, name))]
            for name in values["intervals"]
        ]
        figures = tables.aligned(head, rows)
        end = [MEASURED, *tables.of_intervals(values["interval_method"], values["without_interval"])]
    rows = [
        [
            name + (" (normal)" if name == normal else ""),
            f"{of['rows']:,}",
            f"{of['flagged']:,}",
            tables.shown(of["flagged"] / of["rows"] if of["rows"] else None),
        ]
        for name, of in values["classes"].items()
    ]
    classes = tables.aligned(["class", "rows", "above", "share"], rows)
    return tables.text([title, *rules, "", *figures, "", *classes, "", *end])


def draw(
    folder: Path,
    predictions: Predictions,
    train: Array,
    threshold: float,
    *,
    normal: int,
    rows: Callable[[Array], tuple[Array, Array]],
    spec: DataFacts,
    title: str,
) -> None:
    """Draw into `folder` the errors with the threshold, ROC, precision-recall, best and worst reconstructions.

    `train` (M,) are errors of training rows; `rows(which)` gives test rows and their reconstructions, (n, C, T) each.
    Rows without labels are drawn as one kind, without curves.
    """
    under = f"{title}\n{fill(spec.split_rule, 80)}"
    anomaly = predictions.target != normal
    labelled = both_sides(anomaly)
    kinds = {"normal": ~anomaly, "anomaly": anomaly} if labelled else {"row": np.ones(len(anomaly), bool)}
    of_kinds = {f"test, {kind}": predictions.loss[of] for kind, of in kinds.items()}
    panel = errors_panel({"train": train, **of_kinds}, threshold)
    plots.save_panels([panel], folder / "errors.png", columns=1, title=under)
    by_error = ranked(predictions, normal, threshold)[0]
    for name, curves in plots.CURVES.items() if labelled else ():
        plots.save_panels(curves(by_error, CLASSES[:1]), folder / f"{name}.png", columns=1, title=under)
    chosen = {}
    for kind, of in kinds.items():
        order = np.flatnonzero(of)[np.argsort(predictions.loss[of], kind="stable")]
        chosen[f"best {kind}"], chosen[f"worst {kind}"] = order[:SHOWN], order[::-1][:SHOWN]
    which = np.concatenate(list(chosen.values()))
    pairs = reconstruction_panels(chosen, *rows(which), predictions, spec)
    plots.save_panels(pairs, folder / "reconstructions.png", columns=SHOWN, title=under)


def reconstruction_panels(
    chosen: Mapping[str, Array], x: Array, outputs: Array, predictions: Predictions, spec: DataFacts
) -> list[Panel]:
    """A panel for each chosen row: its first lead (T,) and the reconstruction, with the error in the title."""
    seconds = np.arange(x.shape[2]) / spec.rate_hz
    pairs: list[Panel] = []
    for kind, row in ((kind, row) for kind, rows in chosen.items() for row in rows):
        i = len(pairs)
        unit = "" if i % SHOWN else fill(spec.unit, 18)
        title = f"{kind}: {spec.classes[predictions.target[row]]}, error {predictions.loss[row]:.3g}"
        lines = [(spec.leads[0], seconds, x[i, 0]), ("reconstruction", seconds, outputs[i, 0])]
        pairs.append(Panel(title, "time (s)", unit, lines))
    return pairs
