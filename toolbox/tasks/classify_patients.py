"""What a test showed by patient, as files that a person reads: a text, a table by record, and figures, each with its
protocol.

`measure` makes plain values of predictions, `write` puts them and their text into a folder, `draw` the figures.
`protocol` is the name of the division of the records, which stands in every title. Only where all rows name their
record.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files, plain
from toolbox.ecg.rhythm import clock
from toolbox.metrics import calibration, ec57, jackknife
from toolbox.plain import NOTICE
from toolbox.reports import plots
from toolbox.reports.plots import Panel
from toolbox.runs.predictions import Predictions
from toolbox.tasks.classify_report import between, shown

log = logging.getLogger("commander")
Array = NDArray[Any]
FIGURE = "{:<24}{:>10}{:>22}{:>12}{:>22}"
CLASS = "{:>9}{:>9}" + "{:>22}" * 4
CALIBRATION = {"ece": "ECE", "brier": "Brier score", "nll": "negative log likelihood"}
Z = 1.959964  # of a 95 % interval
INFLUENCE = "{:<24}{:>10}{:>22}{:>12}"
WIDE = 120
MOST_RECORDS = 60  # that are listed and drawn; by_record.csv has all
CUT = 12  # letters of a class name above a column of numbers
MARK = 0.3  # half the height of the stroke that marks an estimate


def measure(
    predictions: Predictions,
    classes: Sequence[str],
    *,
    macro_over: Sequence[str] | None = None,
    temperature: float | None = None,
) -> dict[str, Any]:
    """The figures of `ec57.measure`, and those of calibration as trained and, where there is one, at `temperature`.

    Raises UsageError as `ec57.measure` does.
    """
    target, scores, record = predictions.target, predictions.scores, predictions.record
    values = ec57.measure(target, scores.argmax(1), record, classes=classes, macro_over=macro_over)
    calibrated = {}
    for name, of in _temperatures(scores, temperature).items():
        intervals, lacking = calibration.intervals(of, target, record)
        calibrated[name] = {
            "figures": calibration.score(of, target),
            "intervals": intervals,
            "without_interval": lacking,
        }
    return values | {"calibration": calibrated, **({} if temperature is None else {"temperature": temperature})}


def write(folder: Path, values: Mapping[str, Any], *, protocol: str, title: str) -> None:
    """Put into `folder` by_patient.json, by_patient.txt and by_record.csv."""
    import pandas as pd

    files.write_json(folder / "by_patient.json", {"protocol": protocol, **values})
    table = pd.DataFrame(values["by_record"])
    table.insert(1, "protocol", protocol)
    files.write_text(folder / "by_record.csv", table.to_csv(index=False, float_format="%.6g"))
    text = summary(values, protocol=protocol, title=title)
    files.write_text(folder / "by_patient.txt", text)
    log.info("\n%s", plain.Block(text))


def summary(values: Mapping[str, Any], *, protocol: str, title: str) -> str:
    """Gross and average figures with their intervals, a line a class, calibration, and a line a record."""
    lines = [f"{title}, by patient", f"protocol: {protocol}", *ec57.rules(values), *_beginning(values), ""]
    lines.append(FIGURE.format("", "gross", "95 % interval", "average", "95 % interval").rstrip())
    overall = [name for name in values["gross"] if _of(name) not in values["classes"]]
    lines += [_line(values, name) for name in overall]
    lines += ["", *_class_lines(values), "", *_calibration_lines(values["calibration"])]
    lines += ["", *_influence_lines(values), "", *_record_lines(values, protocol), ""]
    lines.append(
        "gross: the beats of all records pooled. average: the mean over the records in which the figure is defined."
    )
    return plain.lines([*lines, *_interval_lines(values), NOTICE]) + "\n"


def _beginning(values: Mapping[str, Any]) -> list[str]:
    """A line where the score leaves out the beginning of each record."""
    if not values.get("from_s"):
        return []
    return [
        f"scored from {clock(values['from_s'])} of each record on: {values['beats_left_out']:,} beats before are"
        " left out"
    ]


def _interval_lines(values: Mapping[str, Any]) -> list[str]:
    """How the intervals were made, how often such intervals hold the truth, and what n/a means."""
    records = len(values["by_record"]["record"])
    lacks = jackknife.too_few(records)
    if lacks:
        return [f"There are no intervals: {lacks} of at least {jackknife.FEW} that an interval over records needs."]
    lines = [f"The intervals are over the {records} records, not their beats: {values['interval_method']}."]
    covered = [
        f"{ec57.LABELS.get(name, name)} {low:.0f}-{high:.0f}"
        for name, (low, high) in values["simulated_coverage"]["percent"].items()
        if name in values["gross"]
    ]
    if covered:
        counted = f"{values['simulated_coverage']['records']} records"
        lines += fill(
            f"Of 100 in simulated tests of {counted} they held the truth in: {', '.join(covered)}.", WIDE
        ).split("\n")
    if any(of for of in values["without_interval"].values()):
        lines.append(
            f"n/a: no interval; it needs {jackknife.FEW} records in which the figure is known, and which differ in it."
        )
    return lines


def _influence_lines(values: Mapping[str, Any]) -> list[str]:
    """Of each headline figure the record whose absence moves it most, and the figure without it."""
    lines = [INFLUENCE.format("most moved by", "gross", "record", "without it")] if values["influence"] else []
    for name, of in values["influence"].items():
        lines.append(
            INFLUENCE.format(ec57.LABELS.get(name, name), shown(of["value"]), of["record"], shown(of["without"]))
        )
    return lines


def draw(folder: Path, predictions: Predictions, values: Mapping[str, Any], *, protocol: str, title: str) -> None:
    """Draw into `folder` the gross confusion matrix, Se and +P by record, and the reliability diagram."""
    under, classes = f"{title}\n{fill(protocol, 80)}", values["classes"]
    gross = np.array(values["confusion_matrix"])
    figure = plots.confusion_figure(gross, classes, normalised=False, title=f"all records pooled, {under}")
    plots.save_png(figure, folder / "confusion_gross.png")
    table, remark = _listed(values["by_record"])
    height = 1.2 + 0.17 * (len(table["record"]) + 1)
    what = f"by record{remark}; a record's interval is of its beats, that of gross of the records"
    plots.save_panels(
        record_panels(values), folder / "by_record", columns=2, title=f"{what}\n{under}", cell=(5.0, height)
    )
    scores = _temperatures(predictions.scores, values.get("temperature"))
    curves = calibration.reliability_panels({name: (of, predictions.target) for name, of in scores.items()})
    plots.save_panels(curves, folder / "reliability", columns=2, title=f"test set, {under}", cell=(5.0, 4.0))


def record_panels(values: Mapping[str, Any]) -> list[Panel]:
    """Se and +P of SVEB and VEB (else of each class of macro F1) a record a row, gross below; a panel each, Se left, +P
    right.

    A record's interval is Wilson's (1927), of beats as if they were independent; that of gross is over records, where
    there is one. A record without such a beat has no Se, one where none is called so no +P.
    """
    (table, _), counted = _listed(values["by_record"]), values["counts"]
    names = [*table["record"], "gross"]
    heights = -np.arange(len(names), dtype=float)
    found = []
    for of in counted or values["macro_over"]:
        for part, missing in (("Se", "FN"), ("+P", "FP")):
            share = np.array(table[f"{of} {part}"], dtype=float)
            low, high = wilson(share, np.add(table[f"{of} TP"], table[f"{of} {missing}"]))
            gross = values["gross"][f"{of} {part}"]
            lowest, highest = values["intervals"]["gross"][f"{of} {part}"] or (np.nan, np.nan)
            estimates = np.append(share, gross)
            lines = [
                ("95 % interval", *_strokes(np.append(low, lowest), np.append(high, highest), heights, heights)),
                ("estimate", *_strokes(estimates, estimates, heights - MARK, heights + MARK)),
            ]
            panel = Panel(
                f"{of} {part}, dashed: gross {shown(gross)}", f"{of} {part}", "", lines, ticks=(heights, names)
            )
            panel.guide, panel.legend = ([gross, gross], [heights[-1], heights[0]]), not found
            found.append(panel)
    return found


def wilson(share: Array, beats: Array) -> tuple[Array, Array]:
    """Lower and upper end of the 95 % score interval of a share among so many beats; NaN where there are none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (share + Z**2 / (2 * beats)) / (1 + Z**2 / beats)
        half = Z / (1 + Z**2 / beats) * np.sqrt(share * (1 - share) / beats + (Z / (2 * beats)) ** 2)
    return middle - half, middle + half


def _strokes(x: Array, to_x: Array, y: Array, to_y: Array) -> tuple[Array, Array]:
    """Strokes from (x, y) to (to_x, to_y), (n,) each, as one line with gaps."""
    gap = np.full(len(x), np.nan)
    return np.stack([x, to_x, gap], 1).ravel(), np.stack([y, to_y, gap], 1).ravel()


def _temperatures(scores: Array, temperature: float | None) -> dict[str, Array]:
    named = {"as trained": scores}
    return named if temperature is None else named | {f"T = {temperature:.3f}": calibration.apply(scores, temperature)}


def _line(values: Mapping[str, Any], name: str) -> str:
    cells = []
    for kind in ("gross", "average"):
        if name in values[kind]:
            lacks = values["without_interval"][kind].get(name, "")
            cells += [shown(values[kind][name]), between(values["intervals"][kind][name], lacks)]
    return FIGURE.format(ec57.LABELS.get(name, name), *cells, *[""] * (4 - len(cells))).rstrip()


def _class_lines(values: Mapping[str, Any]) -> list[str]:
    """Of each class its beats, the records that have some, and its gross figures with their intervals."""
    wide = max(map(len, ["class, gross", *values["classes"]]))
    lines = ["class, gross".ljust(wide) + CLASS.format("beats", "records", *ec57.PARTS)]
    for name in values["classes"]:
        beats = np.array(values["by_record"][f"{name} beats"])
        cells = [_class_cell(values, f"{name} {part}") for part in ec57.PARTS]
        lines.append(name.ljust(wide) + CLASS.format(f"{beats.sum():,}", int((beats > 0).sum()), *cells))
    return lines


def _class_cell(values: Mapping[str, Any], name: str) -> str:
    value, interval = values["gross"][name], values["intervals"]["gross"][name]
    if np.isnan(value):
        return "-"
    return f"{value:.3f} (n/a)" if interval is None else f"{value:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


def _calibration_lines(calibrated: Mapping[str, Any]) -> list[str]:
    lines = [
        FIGURE.format(
            "calibration", *(cell for name in calibrated for cell in (name, "95 % interval")), *[""] * 4
        ).rstrip()
    ]
    for name in calibration.FIGURES:
        cells = []
        for of in calibrated.values():
            cells += [shown(of["figures"][name]), between(of["intervals"][name], of["without_interval"].get(name, ""))]
        lines.append(FIGURE.format(CALIBRATION[name], *cells, *[""] * 4).rstrip())
    return lines


def _record_lines(values: Mapping[str, Any], protocol: str) -> list[str]:
    """A line a record: its beats, those of each class, its accuracy, and Se and +P of SVEB and VEB."""
    table, remark = _listed(values["by_record"])
    keys = ["record", "beats", *(f"{name} beats" for name in values["classes"]), "accuracy"]
    heads = ["record", "beats", *(name[:CUT] for name in values["classes"]), "accuracy"]
    figures = [f"{task} {part}" for task in values["counts"] for part in ("Se", "+P")]
    rows = zip(*(_texts(table[key]) for key in keys + figures), strict=True)
    wide = [max(map(len, [*table["record"], "record"])), *(max(7, len(head) + 2) for head in (heads + figures)[1:])]
    lines = [
        "".join([of.ljust(wide[0])] + [text.rjust(width) for text, width in zip(rest, wide[1:], strict=True)])
        for of, *rest in [heads + figures, *rows]
    ]
    return [f"by record{remark}, {protocol}", *lines]


def _texts(column: Sequence[Any]) -> list[str]:
    return [
        cell if isinstance(cell, str) else shown(cell) if isinstance(cell, float) else f"{cell:,}" for cell in column
    ]


def _listed(table: Mapping[str, list[Any]]) -> tuple[dict[str, list[Any]], str]:
    """The rows of the table by record that are shown, and what they are where they are not all: the least accurate."""
    records = len(table["record"])
    if records <= MOST_RECORDS:
        return dict(table), ""
    chosen = np.sort(np.argsort(table["accuracy"], kind="stable")[:MOST_RECORDS])
    return {
        name: [column[row] for row in chosen] for name, column in table.items()
    }, f" (the {MOST_RECORDS} least accurate of {records:,})"


def _of(name: str) -> str:
    """The task or class that a figure is of; "" where it is of all."""
    return name.rpartition(" ")[0]
