"""A test by patient, as files: a text, a table by record, and figures, each with its protocol.

`measure` makes plain values from predictions, `write` writes them and their text into a folder, `draw` the figures.
`protocol` is the split rule of the records, a part of every title. Every row must name its record.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.metrics import classification, ec57, intervals, meanings
from toolbox.reports import plots, tables
from toolbox.reports.run.panels import listed, record_panels, reliability_panels, temperatures
from toolbox.reports.tables import aligned, shown, with_interval
from toolbox.runs.predictions import Predictions

Array = NDArray[Any]
CALIBRATION = ("ece", "brier", "nll")
WIDE = 120
CUT = 12  # letters of a class name above a column of numbers


def measure(
    predictions: Predictions,
    classes: Sequence[str],
    *,
    macro_over: Sequence[str] | None = None,
    temperature: float | None = None,
) -> dict[str, Any]:
    """The figures of `ec57.measure`, and calibration as trained and, if given, at `temperature`.

    Raises UsageError as `ec57.measure` does.
    """
    target, scores, record = predictions.target, predictions.scores, predictions.record
    values = ec57.measure(target, scores.argmax(1), record, classes=classes, macro_over=macro_over)
    values["calibration"] = {}
    for name, of in temperatures(scores, temperature).items():
        ends, lacking = classification.calibration_intervals(of, target, record)
        figures = classification.calibration(of, target)
        values["calibration"][name] = {"figures": figures, "intervals": ends, "without_interval": lacking}
    return values | ({} if temperature is None else {"temperature": temperature})


def write(folder: Path, values: Mapping[str, Any], *, protocol: str, title: str) -> None:
    """Write by_patient.json, by_patient.txt and by_record.csv into `folder`."""
    files.write_json(folder / "by_patient.json", {"protocol": protocol, **values})
    protocols = [protocol] * len(values["by_record"]["record"])
    columns = {"record": [], "protocol": protocols} | values["by_record"]  # the protocol second
    files.write_csv(folder / "by_record.csv", columns, "%.6g")
    tables.save_report(folder / "by_patient.txt", summary(values, protocol=protocol, title=title))


def summary(values: Mapping[str, Any], *, protocol: str, title: str) -> str:
    """Gross and average figures with their intervals, one line per class, calibration, and one line per record."""
    lines = [f"{title}, by patient", f"protocol: {protocol}", *ec57.rules(values)]
    if values.get("from_s"):
        left_out = f"{values['beats_left_out']:,} earlier beats are left out"
        lines.append(f"scored from {tables.clock(values['from_s'])} of each record on: {left_out}")
    by_record, remark = _record_lines(values)
    flat = [of["figures"] | of for of in values["calibration"].values()]
    rows = [
        [meanings.name_of(name), *(cell for of in flat for cell in with_interval(of, name))] for name in CALIBRATION
    ]
    heads = ["calibration", *(head for name in values["calibration"] for head in (name, "95 % interval"))]
    head = ["most moved by one record", "gross"]
    moved = tables.influences(values["influence"], head, over=meanings.part(values["macro_over"], values["classes"]))
    overall = aligned(tables.OF_PATIENTS, tables.of_patients(values))
    for part in (overall, _class_lines(values), aligned(heads, rows), moved):
        lines += ["", *part]
    words = [f"{kind}: {what}." for kind, what in meanings.GROSS]
    return tables.text([*lines, "", f"by record{remark}, {protocol}", *by_record, "", *words, *_interval_lines(values)])


def _class_lines(values: Mapping[str, Any]) -> list[str]:
    """For each class its beats, its records, and its gross figures with their intervals."""
    rows = []
    for name in values["classes"]:
        beats = np.array(values["by_record"][f"{name} beats"])
        cells = [_class_cell(values, f"{name} {part}") for part in ec57.PARTS]
        rows.append([name, f"{beats.sum():,}", f"{(beats > 0).sum()}", *cells])
    return aligned(["class, gross", "beats", "records", *ec57.PARTS], rows)


def _class_cell(values: Mapping[str, Any], name: str) -> str:
    value, interval = values["gross"][name], values["intervals"]["gross"][name]
    if np.isnan(value):
        return "-"
    return f"{value:.3f} (n/a)" if interval is None else f"{value:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


def _record_lines(values: Mapping[str, Any]) -> tuple[list[str], str]:
    """Beats, accuracy, Se and +P of SVEB and VEB of each record, and a remark if records are missing."""
    table, remark = listed(values["by_record"])
    figures = ["accuracy", *(f"{task} {part}" for task in values["counts"] for part in ("Se", "+P"))]
    heads = ["record", "beats", *(name[:CUT] for name in values["classes"]), *figures]
    counts = [table[key] for key in ("beats", *(f"{name} beats" for name in values["classes"]))]
    columns = [table["record"], *([f"{count:,}" for count in column] for column in counts)]
    columns += [[*map(shown, table[name])] for name in figures]
    return aligned(heads, [*zip(*columns, strict=True)]), remark


def _interval_lines(values: Mapping[str, Any]) -> list[str]:
    """The method of the intervals, its simulated coverage, and the meaning of n/a."""
    records = len(values["by_record"]["record"])
    if lacks := intervals.too_few(records):
        return [f"No intervals: an interval over records needs at least {intervals.FEW} records, the test has {lacks}."]
    lines = [f"The intervals are over the {records} records, not their beats: {values['interval_method']}."]
    simulated = values["simulated_coverage"]
    covered = [
        f"{meanings.name_of(name)} {low:.0f}-{high:.0f}"
        for name, (low, high) in simulated["percent"].items()
        if name in values["gross"]
    ]
    if covered:
        counted = f"Of 100 in simulated tests of {simulated['records']} records they held the truth in"
        lines += fill(f"{counted}: {', '.join(covered)}.", WIDE).split("\n")
    if any(values["without_interval"].values()):
        lines.append(tables.of_missing("records"))
    return lines


def draw(folder: Path, predictions: Predictions, values: Mapping[str, Any], *, protocol: str, title: str) -> None:
    """Draw into `folder` Se and +P by record, and the reliability diagram."""
    under = f"{title}\n{fill(protocol, 80)}"
    table, remark = listed(values["by_record"])
    cell = (5.0, 1.4 + 0.17 * (len(table["record"]) + 1))
    what = f"by record{remark}; a record's interval is of its beats, that of gross of the records\n{under}"
    plots.save_panels(record_panels(values), folder / "by_record.png", columns=2, title=what, cell=cell)
    scores = temperatures(predictions.scores, values.get("temperature"))
    curves = reliability_panels({name: (of, predictions.target) for name, of in scores.items()})
    plots.save_panels(curves, folder / "reliability.png", columns=2, title=f"test set, {under}", cell=(5.0, 4.3))
