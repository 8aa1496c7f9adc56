"""The report by patient: every figure with its interval, the protocol in every title, files that need no network."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import softmax
from scipy.stats import binomtest

from toolbox.errors import UsageError
from toolbox.metrics import classification, ec57, intervals, meanings
from toolbox.reports import plots
from toolbox.reports.run import panels
from toolbox.reports.tables import shown
from toolbox.runs.predictions import Predictions
from toolbox.tasks import classify_patients

CLASSES = ("N", "S", "V", "F", "Q")
OTHERS = ("normal beat", "premature atrial contraction", "other")
PROTOCOL = "DS1 and DS2, no patient in two splits"
HOW = {"protocol": PROTOCOL, "title": "mitdb_cnn1d_3_1, best checkpoint"}


def drawn(classes: tuple[str, ...] = CLASSES, *, records: int = 12, rows: int = 960) -> Predictions:
    rng = np.random.default_rng(0)
    target = rng.choice(len(classes), rows, p=np.arange(len(classes), 0, -1) / np.arange(len(classes) + 1).sum())
    scores = softmax(rng.normal(size=(rows, len(classes))) + 2 * np.eye(len(classes))[target], axis=1)
    record = np.array([f"{100 + i}" for i in range(records)])[np.arange(rows) % records]
    return Predictions(np.arange(rows), record, target, scores, -np.log(scores[np.arange(rows), target]))


PREDICTIONS = drawn()
VALUES = classify_patients.measure(PREDICTIONS, CLASSES, temperature=1.5)


def test_the_values_are_those_of_ec57_and_of_the_calibration() -> None:
    of = PREDICTIONS
    alone = ec57.measure(of.target, of.scores.argmax(1), of.record, classes=CLASSES)
    assert {name: VALUES[name] for name in alone} == alone
    for name, scores in (("as trained", of.scores), ("T = 1.500", classification.at_temperature(of.scores, 1.5))):
        assert VALUES["calibration"][name]["figures"] == classification.calibration(scores, of.target)
    assert list(classify_patients.measure(of, CLASSES)["calibration"]) == ["as trained"]
    with pytest.raises(UsageError):
        classify_patients.measure(of, CLASSES, macro_over=("X",))


def test_the_text_has_every_figure_beside_its_interval_and_a_line_a_record() -> None:
    text = classify_patients.summary(VALUES, **HOW)
    lines = text.splitlines()
    for name, label in (("accuracy", "accuracy"), ("jk", "j-kappa"), ("VEB +P", "VEB +P")):
        line = next(line for line in lines if line.startswith(label))
        low, high = VALUES["intervals"]["gross"][name]
        assert f"{shown(VALUES['gross'][name])} {shown(low)} - {shown(high)}" in " ".join(line.split())
    for of in VALUES["calibration"].values():
        assert shown(of["figures"]["ece"]) in text
    for record, beats in zip(VALUES["by_record"]["record"], VALUES["by_record"]["beats"], strict=True):
        assert any(line.split()[:2] == [record, str(beats)] for line in lines)
    assert "macro F1 over N, S, V, F; Q reported but left out of it" in text
    assert f"The intervals are over the 12 records, not their beats: {intervals.RECORD_METHOD}." in text
    for name, of in VALUES["influence"].items():
        figures = [shown(of["value"]), of["record"], shown(of["without"])]
        of_figure = [line for line in lines if line.startswith(meanings.name_of(name))]
        assert any(line.split()[-3:] == figures for line in of_figure)
    assert text.count(PROTOCOL) == 2


def test_four_records_have_a_reason_in_place_of_an_interval(tmp_path: Path) -> None:
    """Each of them has an accuracy of 0.6, which was an interval from 0.6000 to 0.6000."""
    target, scores = np.tile([0] * 6 + [1] * 4, 4), np.tile([[0.9, 0.1]], (40, 1))
    predictions = Predictions(np.arange(40), np.repeat(["a", "b", "c", "d"], 10), target, scores, -np.log(scores[:, 0]))
    values = classify_patients.measure(predictions, ("normal", "ill"), temperature=1.5)
    classify_patients.write(tmp_path, values, **HOW)
    text = (tmp_path / "by_patient.txt").read_text()
    accuracy = next(line for line in text.splitlines() if line.startswith("accuracy"))
    assert re.search("0.6000 +n/a: known in 4 records", accuracy)
    assert "0.6000 - 0.6000" not in text
    assert "No intervals: an interval over records needs at least 10 records, the test has 4 records." in text
    written = json.loads((tmp_path / "by_patient.json").read_text())
    assert written["gross"]["accuracy"] == 0.6
    for kind in ("gross", "average"):
        assert written["intervals"][kind]["accuracy"] is None
        assert written["without_interval"][kind]["accuracy"] == "4 records"
    assert written["calibration"]["as trained"]["without_interval"]["ece"] == "4 records"


@pytest.mark.parametrize("classes", [CLASSES, OTHERS])
def test_the_columns_of_every_table_stand_below_their_names(classes: tuple[str, ...]) -> None:
    values = classify_patients.measure(drawn(classes), classes)
    lines = classify_patients.summary(values, **HOW).splitlines()
    for first in ("class, gross", "record "):
        at = next(i for i, line in enumerate(lines) if line.startswith(first))
        assert len({len(line) for line in lines[at : at + len(classes)]}) == 1
    labels = [panel.x_label for panel in panels.record_panels(values)]
    of = classes if classes is OTHERS else ("SVEB", "VEB")
    assert labels == [f"{name} {part}" for name in of for part in ("Se", "+P")]
    assert any(line.startswith("j-kappa") for line in lines) == (classes is CLASSES)


def test_many_records_are_listed_by_the_least_accurate_and_all_stand_in_the_csv(tmp_path: Path) -> None:
    values = classify_patients.measure(drawn(records=80), CLASSES)
    classify_patients.write(tmp_path, values, **HOW)
    text, table = (tmp_path / "by_patient.txt").read_text(), values["by_record"]
    assert "by record (the 60 least accurate of 80)" in text
    lines = text.partition("by record (")[2].splitlines()
    listed = {line.split()[0] for line in lines if line.strip()} & set(table["record"])
    accuracy = dict(zip(table["record"], table["accuracy"], strict=True))
    assert len(listed) == 60
    assert max(accuracy[name] for name in listed) <= min(accuracy[name] for name in accuracy.keys() - listed)
    assert len((tmp_path / "by_record.csv").read_text().splitlines()) == 81
    assert all({*panel.ticks[1]} <= listed | {"gross"} for panel in panels.record_panels(values))


def test_every_file_and_picture_has_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: dict[str, Figure] = {}
    monkeypatch.setattr(plots, "save_png", lambda figure, path: pictures.update({path.name: figure}))
    classify_patients.write(tmp_path, VALUES, **HOW)
    classify_patients.draw(tmp_path, PREDICTIONS, VALUES, **HOW)
    assert pictures.keys() == {"by_record.png", "reliability.png"}
    assert all(PROTOCOL in figure.get_suptitle() for figure in pictures.values())
    values = json.loads((tmp_path / "by_patient.json").read_text())
    assert (values["protocol"], values["gross"]["jk"]) == (PROTOCOL, VALUES["gross"]["jk"])
    with open(tmp_path / "by_record.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["record"] for row in rows] == VALUES["by_record"]["record"]
    assert {row["protocol"] for row in rows} == {PROTOCOL}
    assert sum(int(row["VEB TP"]) for row in rows) == VALUES["counts"]["VEB"]["TP"]


def test_a_records_strokes_run_over_its_interval_through_its_estimate() -> None:
    panel = panels.record_panels(VALUES)[2]
    (_, x, y), (_, marked, _) = panel.lines
    table = VALUES["by_record"]
    for row, (hits, missed) in enumerate(zip(table["VEB TP"], table["VEB FN"], strict=True)):
        interval = binomtest(hits, hits + missed).proportion_ci(method="wilson")
        assert x[3 * row : 3 * row + 2] == pytest.approx(list(interval))
        assert marked[3 * row] == marked[3 * row + 1] == table["VEB Se"][row]
        assert y[3 * row] == -row
    assert x[-3:-1].tolist() == VALUES["intervals"]["gross"]["VEB Se"]
    assert np.isnan(x[2::3]).all()
    assert panel.ticks[1] == [*table["record"], "gross"]
    without = replace(PREDICTIONS, target=np.where(PREDICTIONS.record == "103", 0, PREDICTIONS.target))
    values = classify_patients.measure(without, CLASSES)
    panel = panels.record_panels(values)[2]
    there = [name for name in values["by_record"]["record"] if name != "103"]
    assert panel.ticks[1] == [*there, "gross"], "a record without the beat has no row"
    assert np.isfinite(panel.lines[0][1][:2]).all()
