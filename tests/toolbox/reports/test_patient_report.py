"""The report by patient: every figure with its interval, the protocol in every title, files that read without a
network."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import softmax
from scipy.stats import binomtest

from helpers.pages import Page
from toolbox.errors import UsageError
from toolbox.metrics import classification, ec57, intervals
from toolbox.reports import plots
from toolbox.reports.tables import shown
from toolbox.runs.predictions import Predictions
from toolbox.tasks import classify_patients

CLASSES = ("N", "S", "V", "F", "Q")
OTHERS = ("normal beat", "premature atrial contraction", "other")
PROTOCOL = "DS1 and DS2, no patient on two sides"
HOW = {"protocol": PROTOCOL, "title": "mitdb_cnn1d_3_1, best checkpoint"}


def said(classes: tuple[str, ...] = CLASSES, *, records: int = 12, rows: int = 960) -> Predictions:
    rng = np.random.default_rng(0)
    target = rng.choice(len(classes), rows, p=np.arange(len(classes), 0, -1) / np.arange(len(classes) + 1).sum())
    scores = softmax(rng.normal(size=(rows, len(classes))) + 2 * np.eye(len(classes))[target], axis=1)
    record = np.array([f"{100 + i}" for i in range(records)])[np.arange(rows) % records]
    return Predictions(np.arange(rows), record, target, scores, -np.log(scores[np.arange(rows), target]))


PREDICTIONS = said()
VALUES = classify_patients.measure(PREDICTIONS, CLASSES, temperature=1.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pred")
    classify_patients.write(folder, VALUES, **HOW)
    classify_patients.draw(folder, PREDICTIONS, VALUES, **HOW)
    return folder


def test_what_is_measured_is_what_the_parts_say() -> None:
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
    for name, label in (("accuracy", "accuracy"), ("jk", "j-kappa"), ("VEB +P", "VEB +P")):
        line = next(line for line in text.splitlines() if line.startswith(label))
        low, high = VALUES["intervals"]["gross"][name]
        assert f"{shown(VALUES['gross'][name])} {shown(low)} - {shown(high)}" in " ".join(line.split())
    for of in VALUES["calibration"].values():
        assert shown(of["figures"]["ece"]) in text
    for record, beats in zip(VALUES["by_record"]["record"], VALUES["by_record"]["beats"], strict=True):
        assert any(line.split()[:2] == [record, str(beats)] for line in text.splitlines())
    assert "macro F1 over N, S, V, F; Q reported but left out of it" in text
    assert f"The intervals are over the 12 records, not their beats: {intervals.RECORD_METHOD}." in text
    for name, of in VALUES["influence"].items():
        figures = [shown(of["value"]), of["record"], shown(of["without"])]
        assert any(
            line.split()[-3:] == figures for line in text.splitlines() if line.startswith(ec57.LABELS.get(name, name))
        )
    assert text.count(PROTOCOL) == 2


def test_four_records_have_no_interval_in_text_and_json_but_a_reason(tmp_path: Path) -> None:
    """Each of them has an accuracy of 0.6, which was an interval from 0.6000 to 0.6000."""
    target = np.tile([0] * 6 + [1] * 4, 4)
    scores = np.tile([[0.9, 0.1]], (40, 1))
    predictions = Predictions(np.arange(40), np.repeat(["a", "b", "c", "d"], 10), target, scores, -np.log(scores[:, 0]))
    values = classify_patients.measure(predictions, ("normal", "ill"), temperature=1.5)
    classify_patients.write(tmp_path, values, **HOW)
    classify_patients.draw(tmp_path, predictions, values, **HOW)
    text = (tmp_path / "by_patient.txt").read_text()
    accuracy = next(line for line in text.splitlines() if line.startswith("accuracy"))
    assert re.search("0.6000 +n/a: 4 records", accuracy)
    assert "0.6000 - 0.6000" not in text
    assert "No intervals: an interval over records needs at least 10 records, the test has 4 records." in text
    written = json.loads((tmp_path / "by_patient.json").read_text())
    assert written["gross"]["accuracy"] == 0.6
    for kind in ("gross", "average"):
        assert written["intervals"][kind]["accuracy"] is None
        assert written["without_interval"][kind]["accuracy"] == "4 records"
    assert written["calibration"]["as trained"]["without_interval"]["ece"] == "4 records"


@pytest.mark.parametrize("classes", [CLASSES, OTHERS, ("N", "S", "V")])
def test_the_columns_of_every_table_stand_below_their_names(classes: tuple[str, ...]) -> None:
    text = classify_patients.summary(classify_patients.measure(said(classes), classes), **HOW)
    for first in ("class, gross", "record "):
        lines = text.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(first))
        table = lines[at : at + len(classes)]
        assert len({len(line) for line in table}) == 1
    assert ("j-kappa" in text) == ({"S", "V"} <= set(classes))


def test_many_records_are_listed_by_the_least_accurate_and_all_stand_in_the_csv(tmp_path: Path) -> None:
    predictions = said(records=80)
    values = classify_patients.measure(predictions, CLASSES)
    classify_patients.write(tmp_path, values, **HOW)
    text = (tmp_path / "by_patient.txt").read_text()
    assert "by record (the 60 least accurate of 80)" in text
    listed = {line.split()[0] for line in text.partition("by record (")[2].splitlines() if line.strip()} & set(
        values["by_record"]["record"]
    )
    accuracy = dict(zip(values["by_record"]["record"], values["by_record"]["accuracy"], strict=True))
    assert len(listed) == 60
    assert max(accuracy[name] for name in listed) <= min(accuracy[name] for name in accuracy.keys() - listed)
    assert len((tmp_path / "by_record.csv").read_text().splitlines()) == 81
    assert all(len(panel.ticks[1]) == 61 for panel in classify_patients.record_panels(values))


def test_the_files_hold_the_protocol_and_the_same_figures(folder: Path) -> None:
    values = json.loads((folder / "by_patient.json").read_text())
    assert values["protocol"] == PROTOCOL
    assert values["gross"]["jk"] == VALUES["gross"]["jk"]
    with open(folder / "by_record.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["record"] for row in rows] == VALUES["by_record"]["record"]
    assert {row["protocol"] for row in rows} == {PROTOCOL}
    assert sum(int(row["VEB TP"]) for row in rows) == VALUES["counts"]["VEB"]["TP"]


def test_the_figures_are_there_and_read_without_a_network(folder: Path) -> None:
    for name in ("confusion_gross", "by_record", "reliability"):
        assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    for name in ("by_record", "reliability"):
        assert Page(folder / f"{name}.html").loaded == ["plotly.min.js"]
        assert PROTOCOL in (folder / f"{name}.html").read_text()


def test_every_picture_carries_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(plots, "save_png", lambda figure, path: drawn.update({path.name: figure}))
    classify_patients.draw(tmp_path, PREDICTIONS, VALUES, **HOW)
    assert {name: PROTOCOL in figure.get_suptitle() for name, figure in drawn.items()} == {
        "confusion_gross.png": True,
        "by_record.png": True,
        "reliability.png": True,
    }


def test_a_records_strokes_run_over_its_interval_through_its_estimate() -> None:
    found = classify_patients.record_panels(VALUES)
    assert [panel.x_label for panel in found] == ["SVEB Se", "SVEB +P", "VEB Se", "VEB +P"]
    (_, x, y), (_, marked, _) = found[2].lines
    table = VALUES["by_record"]
    for row, (hits, missed) in enumerate(zip(table["VEB TP"], table["VEB FN"], strict=True)):
        interval = binomtest(hits, hits + missed).proportion_ci(method="wilson")
        assert x[3 * row : 3 * row + 2] == pytest.approx(list(interval))
        assert marked[3 * row] == marked[3 * row + 1] == table["VEB Se"][row]
        assert y[3 * row] == -row
    assert x[-3:-1].tolist() == VALUES["intervals"]["gross"]["VEB Se"]
    assert np.isnan(x[2::3]).all()
    assert found[2].ticks[1] == [*table["record"], "gross"]


def test_classes_without_s_and_v_have_their_own_panels() -> None:
    values = classify_patients.measure(said(OTHERS), OTHERS)
    assert [panel.x_label for panel in classify_patients.record_panels(values)] == [
        f"{of} {part}" for of in OTHERS for part in ("Se", "+P")
    ]


def test_a_record_without_the_beat_has_no_stroke() -> None:
    predictions = said()
    without = predictions.record == "103"
    target = np.where(without, 0, predictions.target)
    values = classify_patients.measure(Predictions(**{**vars(predictions), "target": target}), CLASSES)
    (_, x, _), _ = classify_patients.record_panels(values)[2].lines
    row = values["by_record"]["record"].index("103")
    assert np.isnan(x[3 * row : 3 * row + 2]).all()
    assert np.isfinite(x[:2]).all()
