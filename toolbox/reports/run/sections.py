"""The parts of a report below its verdict, each as plain values for templates/report.html, None or empty without
data."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import classification, ec57, meanings
from toolbox.metrics import labels as labels_of
from toolbox.reports import figures, pages, plots, tables
from toolbox.reports.figures import Figure
from toolbox.reports.run import labels, panels, sheets
from toolbox.reports.run.verdict import Material
from toolbox.reports.tables import between, shown
from toolbox.runs import outcome
from toolbox.runs.predictions import Predictions

Array = NDArray[Any]
MOST_CLASSES = 25  # of a matrix that is a table
MOST_RECORDS = 400  # of the table by record; by_record.csv has all
WIDE, WIDE_PIXELS = 2000, 380  # units of a sheet, and pixels of a chart, that take more than a third of the page
CALIBRATION = ("ece", "brier", "nll")
GROUPS = {
    "worst": "Wrong, with the largest loss: the network was most certain of another class.",
    "least certain": "Least certain: the two largest probabilities are closest.",
    "worst labels": "With a wrong class, and the largest loss.",
    "least certain labels": "Least certain: the probabilities of the classes are nearest to 0.5.",
    "missed anomalies": "Missed anomalies, smallest error first: the network reconstructs them well.",
    "false alarms": "False alarms, largest error first: normal rows that the network reconstructs badly.",
    "largest error": "Largest reconstruction error; the rows have no labels.",
    "nearest to the threshold": "Nearest to the threshold: a small change would decide them otherwise.",
}
log = logging.getLogger("commander")


def metrics(material: Material) -> dict[str, Any]:
    """Every metric of the test with interval and validation, and what it means."""
    test, val = material.test, material.val
    of_all = {name: of for name, of in outcome.figures(test).items() if not name.startswith(meanings.GROSS_PREFIX)}
    of_all = {name: of for name, of in of_all.items() if of.ends or of.lacks}
    baseline = test.get("baseline") or {}
    head = ["metric", *(["validation"] if not material.detects else []), "test", meanings.INTERVAL]
    head += [f"baseline: {baseline['name'].replace('_', ' ')}", meanings.INTERVAL] if baseline else []
    rows = []
    for name, of in of_all.items():
        row: list[Any] = [{"text": meanings.name_of(name), "key": name}]
        row += [shown(val.get(name))] if not material.detects else []
        row += [shown(of.value), between(*of[1:])]
        row += tables.with_interval(baseline, name) if baseline else []
        rows.append(row)
    words = meanings.definitions([*of_all])
    method = tables.of_intervals(test["interval_method"], test["without_interval"]) if "interval_method" in test else []
    return {"head": head, "rows": rows, "definitions": words, "remarks": method}


def classes(material: Material) -> dict[str, Any]:
    """Each class: meaning, rows of each split, and its figures."""
    if material.many_labels and material.test:
        return _of_labels(material)
    test, names = material.test, material.spec.classes
    source, words = meanings.of_classes(names)
    rows_of = material.facts.get("rows", {})
    splits = [split for split in ("train", "validation", "test") if split in rows_of]
    head, per_class = ["class", *(["meaning"] if words else []), *splits], test.get("per_class", {})
    head += ["Se", "+P", "F1", f"{meanings.INTERVAL} of F1"] if per_class else []
    lacks = outcome.lacking_f1(test)
    flagged = test.get("classes", {}) if material.detects else {}
    head += [*(["rows"] if "test" not in splits else []), "above the threshold", "share of them"] if flagged else []
    rows = []
    for k, name in enumerate(names):
        row = [name, *([words[name]] if words else []), *(f"{rows_of[split][k]:,}" for split in splits)]
        if per_class:
            row += [shown(per_class[name][part]) for part in ("recall", "precision", "f1")]
            row.append(between(test["f1_intervals"].get(name), lacks.get(name, "")))
        if flagged:
            of = flagged[name]
            row += [f"{of['rows']:,}"] if "test" not in splits else []
            row += [f"{of['flagged']:,}", shown(of["flagged"] / of["rows"] if of["rows"] else None)]
        rows.append(row)
    return {"head": head, "rows": rows, "source": source, "definitions": meanings.PARTS if per_class else ()}


def _of_labels(material: Material) -> dict[str, Any]:
    """Each class of many labels: meaning, rows of each split, and its figures at its threshold."""
    source, words = meanings.of_classes(material.spec.classes)
    rows_of = material.facts.get("rows", {})
    splits = [split for split in ("train", "validation") if split in rows_of]
    head = ["class", *(["meaning"] if words else []), *splits, "test", *labels.HEAD[2:]]
    rows = [
        [name, *([words[name]] if words else []), *(f"{rows_of[split][k]:,}" for split in splits)]
        + [_brief(cell) for cell in figures_of]
        for k, (name, *figures_of) in enumerate(labels.class_rows(material.test))
    ]
    remarks = [("notes", " ".join(found))] if (found := labels.remarks(material.test)) else []
    definitions = [*meanings.PARTS, *meanings.OF_LABELS_PARTS, *remarks]
    return {"head": head, "rows": rows, "source": source, "definitions": definitions}


def _brief(cell: str) -> Any:
    """A cell of a table with many columns: the reason of n/a is its tooltip."""
    text, colon, why = cell.partition(": ")
    return {"text": text, "key": why} if colon else cell


def learning(material: Material) -> list[Figure]:
    """A figure for each metric by epoch, and the loss of every step."""
    best = material.results.get("best_epoch")
    marks = [(best, f"best epoch, {best}")] if best else []
    found = [figures.of_panel(panel, marks=marks) for panel in plots.history_panels(material.history)]
    if len(material.losses.get("loss", ())):
        (panel,) = plots.loss_panels(material.losses["epoch"], material.losses["loss"])
        found.append(figures.of_panel(panel))
    return found if material.history else []


def confusion(material: Material) -> dict[str, Any] | None:
    """The confusion matrix as cells of a table with counts and rates, or as a figure of many classes."""
    matrix, names = _matrix(material)
    if matrix is None:
        return None
    if len(names) > MOST_CLASSES:
        return {"figure": figures.confusion(matrix, names, title="confusion matrix")}
    of_true, of_predicted = plots.shares(matrix), plots.shares(matrix.T).T
    cells = [
        [
            {
                "count": f"{matrix[i, j]:,}",
                "of_true": f"{of_true[i, j]:.1%}",
                "of_predicted": f"{of_predicted[i, j]:.1%}",
                "shade": f"{of_true[i, j]:.2f}",
                "right": i == j,
            }
            for j in range(len(names))
        ]
        for i in range(len(names))
    ]
    totals = [f"{rows:,}" for rows in matrix.sum(1)]
    return {"classes": names, "rows": list(zip(names, cells, totals, strict=True)), "figure": None}


def _matrix(material: Material) -> tuple[Array | None, Sequence[str]]:
    if not material.detects:
        matrix = material.test.get("confusion_matrix")
        return None if matrix is None else np.array(matrix), material.spec.classes
    if material.normal is None or material.predictions is None:
        return None, ()
    return panels.ranked(material.predictions, material.normal, material.results["threshold"])[1], panels.CLASSES


def curves(material: Material) -> list[Figure]:
    """ROC and precision-recall, and the errors of a detector."""
    predictions = material.predictions
    if predictions is None:
        return []
    if material.many_labels:
        some, names = labels.frequent(predictions, material.spec.classes)
        drawn = [panel for draw in plots.CURVES.values() for panel in draw(some, names)] if names else []
        return [figures.of_panel(panel) for panel in ([labels.class_panel(material.test)] if names else []) + drawn]
    if not material.detects:
        return [
            figures.of_panel(panel)
            for draw in plots.CURVES.values()
            for panel in draw(predictions, material.spec.classes)
        ]
    threshold, normal = material.results["threshold"], material.normal
    anomaly = predictions.target != normal
    labelled = normal is not None and panels.both_sides(anomaly)
    kinds = {"normal": ~anomaly, "anomaly": anomaly} if labelled else {"row": np.ones(len(predictions.loss), bool)}
    errors = {f"test, {kind}": predictions.loss[of] for kind, of in kinds.items()}
    errors = ({} if material.train_errors is None else {"train": material.train_errors}) | errors
    found = [figures.of_panel(panels.errors_panel(errors, threshold))]
    if labelled and normal is not None:
        rows = panels.ranked(predictions, normal, threshold)[0]
        found += [figures.of_panel(panel) for draw in plots.CURVES.values() for panel in draw(rows, panels.CLASSES[:1])]
    return found


def calibration(material: Material) -> dict[str, Any] | None:
    """Reliability of the probabilities, and the figures of calibration with their intervals."""
    predictions = material.predictions
    if predictions is None or material.detects:
        return None
    if material.many_labels:
        return _calibration_of_labels(material, predictions)
    named = panels.temperatures(predictions.scores, material.results.get("temperature"))
    of_name = material.by_patient.get("calibration") or {
        name: dict(zip(("intervals", "without_interval"), _intervals(material, of), strict=True))
        | {"figures": classification.calibration(of, predictions.target)}
        for name, of in named.items()
    }
    head = ["", *(cell for name in of_name for cell in (name, meanings.INTERVAL))]
    rows = [
        [
            meanings.name_of(name),
            *(cell for of in of_name.values() for cell in tables.with_interval(of["figures"] | of, name)),
        ]
        for name in CALIBRATION
    ]
    drawn = panels.reliability_panels({name: (of, predictions.target) for name, of in named.items()})
    shown_as = [figures.of_panel(panel) for panel in drawn]
    return {"head": head, "rows": rows, "definitions": meanings.definitions(CALIBRATION), "figures": shown_as}


def _calibration_of_labels(material: Material, predictions: Predictions) -> dict[str, Any] | None:
    """Reliability of the probability of each frequent class, and the macro figures; both also at the lines fitted on
    validation, with the figures of each class."""
    test, of, fitted = material.test, labels_of.CALIBRATION, material.results.get("calibration")
    if not labels.frequent(predictions, material.spec.classes)[1]:
        return None
    drawn = [figures.of_panel(panel) for panel in labels.calibration_panels(predictions, material.spec.classes, fitted)]
    words = meanings.definitions(of)
    found: dict[str, Any] = {"figures": drawn}
    if not fitted or "calibrated" not in test:
        rows = [[meanings.name_of(name), *tables.with_interval(test, name)] for name in of]
        return {"head": ["", "test", meanings.INTERVAL], "rows": rows, "definitions": words, **found}
    rows, by_class = labels.calibration_rows(test)
    words += [*meanings.OF_LABELS_PARTS[1:], *meanings.OF_LINES]
    found |= {"by_class": (labels.LINES, by_class), "definitions": words}
    return {"head": ["", *labels.CALIBRATED[1:]], "rows": rows, **found}


def _intervals(material: Material, scores: Array) -> tuple[Any, Any]:
    predictions = material.predictions
    if predictions is None:
        return {}, {}
    return classification.calibration_intervals(scores, predictions.target, predictions.record)


def by_record(material: Material) -> dict[str, Any] | None:
    """Gross and average figures by EC57, their classes, and a table that sorts with a row for each record."""
    values = material.by_patient
    if not values:
        return None
    table, names = values["by_record"], values["classes"]
    of_figures = ["accuracy", *(f"{task} {part}" for task in (values["counts"] or names) for part in ("Se", "+P"))]
    order = np.argsort(np.array(table["accuracy"], dtype=float), kind="stable")[:MOST_RECORDS]
    heads = ["record", "beats", *(f"{name} beats" for name in names), *of_figures]
    rows = [
        [table["record"][i], *(f"{table[key][i]:,}" for key in ("beats", *(f"{name} beats" for name in names))),
         *(shown(table[key][i]) for key in of_figures)]
        for i in sorted(order.tolist())
    ]  # fmt: skip
    more = len(table["record"]) - len(rows)
    return {
        "head_of_overall": tables.OF_PATIENTS,
        "overall": tables.of_patients(values),
        "classes": _of_classes(values),
        "rules": ec57.rules(values),
        "head": heads,
        "rows": rows,
        "remark": f"The {len(rows)} least accurate records; by_record.csv has {more:,} more." if more else "",
        "moved": tables.moved(values["influence"], over=meanings.part(values["macro_over"], values["classes"])),
        "figures": [figures.of_panel(panel) for panel in panels.record_panels(values)],
        "from_s": tables.clock(values["from_s"]) if values.get("from_s") else "",
        "left_out": f"{values.get('beats_left_out', 0):,}",
        "kinds": meanings.GROSS,
        "missing": tables.of_missing("records") if any(values["without_interval"].values()) else "",
        "definitions": [*meanings.PARTS, meanings.FALSE_RATE, *meanings.definitions(("kappa", "jk"))],
    }


def _of_classes(values: Mapping[str, Any]) -> list[list[str]]:
    """For each class its beats, its records, and its gross figures with their intervals."""
    rows, gross = [], tables.of_kind(values, "gross")
    for name in values["classes"]:
        beats = np.array(values["by_record"][f"{name} beats"])
        row = [name, f"{beats.sum():,}", f"{(beats > 0).sum()}"]
        for part in ec57.PARTS:
            figure = f"{name} {part}"
            row += tables.with_interval(gross, figure)
        rows.append(row)
    return rows


def rows_to_look_at(material: Material) -> list[dict[str, Any]]:
    """The groups of rows on paper: heading, cards, scale, and whether cards are large."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in material.rows:
        drawn = None if row.signal is None else sheets.on_paper(row.signal, material.spec, output=row.output)
        picture = None if row.picture is None else pages.png(row.picture)
        wide = drawn.width > WIDE if drawn else row.picture is not None and row.picture.shape[1] > WIDE_PIXELS
        card = {"title": _title(material, row.place), "paper": drawn, "picture": picture, "wide": wide}
        groups.setdefault(row.group, []).append(card)
    return [_group(name, cards) for name, cards in groups.items()]


def _group(name: str, cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    papers = [card["paper"] for card in cards if card["paper"]]
    remarks = list(dict.fromkeys(text for paper in papers for text in (paper.scale, paper.left_out) if text))
    return {
        "heading": GROUPS.get(name, name),
        "cards": cards,
        "scale": "; ".join(remarks),
        "outputs": any(line.is_output for paper in papers for line in paper.lines),
        "wide": any(card["wide"] for card in cards),
    }


def _title(material: Material, place: int) -> str:
    """A row in words: its number and record, its true and predicted class, its probability or error."""
    predictions, names = material.predictions, material.spec.classes
    if predictions is None:
        return ""
    record = f", record {predictions.record[place]}" if predictions.record[place] else ""
    row = f"row {predictions.index[place]:,}{record}: "
    if material.detects:
        error, threshold = predictions.loss[place], material.results["threshold"]
        kind = "above" if error > threshold else "at or below"
        return f"{row}{names[predictions.target[place]]}, error {error:.3g} is {kind} the threshold, {threshold:.3g}"
    scores, target = predictions.scores[place], predictions.target[place]
    if material.many_labels:
        return row + _title_of_labels(scores, target == 1, material)
    order = np.argsort(-scores, kind="stable")
    guess = f"predicted {names[order[0]]} ({scores[order[0]]:.3f})"
    second = f"true {names[target]} ({scores[target]:.3f})"
    if order[0] == target and len(order) > 1:
        return f"{row}{second}, predicted so; then {names[order[1]]} ({scores[order[1]]:.3f})"
    return f"{row}{second}, {guess}"


def _title_of_labels(scores: Array, target: Array, material: Material) -> str:
    """The true and the predicted classes of a row, each with its probability."""
    names = material.spec.classes
    at = np.array([of["threshold"] for of in material.test["per_class"].values()])
    of_true, of_predicted = (
        ", ".join(f"{names[k]} ({scores[k]:.3f})" for k in np.flatnonzero(which)) or "none"
        for which in (target, scores >= at)
    )
    return f"true {of_true}; predicted {of_predicted}"
