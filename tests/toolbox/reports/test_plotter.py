"""Figures and the report: drawn for any data, and never a number without its split and interval."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from sklearn import metrics as sk

from toolbox.metrics import classification, intervals
from toolbox.metrics.classification import METRICS
from toolbox.reports import plots
from toolbox.reports.plots import save_panels
from toolbox.runs.predictions import Predictions
from toolbox.tasks import classify
from toolbox.training.recorders import StepLosses

CLASSES = ("N", "S", "V")
PNG = b"\x89PNG"


def predictions(*, absent: tuple[int, ...] = (), rows: int = 40) -> Predictions:
    rng = np.random.default_rng(0)
    target = rng.choice([k for k in range(len(CLASSES)) if k not in absent], rows)
    scores = rng.dirichlet(np.ones(len(CLASSES)), rows)
    return Predictions(np.arange(rows), np.full(rows, ""), target, scores, -np.log(scores[np.arange(rows), target]))


def measured(rows: Predictions) -> dict[str, Any]:
    values = classification.name_classes(classification.score(rows.target, rows.scores, rows.loss), CLASSES)
    ends = intervals.of_statistic(classification.of_weights(rows.target, rows.scores, rows.loss), rows.record)
    return values | ends | {"f1_intervals": {name: [0.1, 0.2] for name in CLASSES}}


def history(epochs: int) -> list[dict[str, Any]]:
    values = measured(predictions())
    return [{"epoch": epoch, "lr": 0.1, "train": values, "val": values} for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize("normalised", [True, False])
def test_a_confusion_matrix_says_classes_and_shares_or_counts(normalised: bool) -> None:
    matrix = np.array([[1200, 300, 0], [0, 0, 0], [1, 0, 3]])
    figure = plots.confusion_figure(matrix, CLASSES, normalised=normalised, title="a title")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:6] == (["80.0%", "20.0%", "0.0%"] + ["0.0%"] * 3 if normalised else ["1,200", "300", "0"] + ["0"] * 3)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(CLASSES)
    assert "a title" in [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("absent", [(), (1,), (1, 2)], ids=["all classes", "one absent", "one alone"])
@pytest.mark.parametrize("panels", [plots.roc_panels, plots.precision_recall_panels])
def test_curves_are_drawn_for_the_classes_that_can_have_one(
    tmp_path: Path, panels: Any, absent: tuple[int, ...]
) -> None:
    rows = predictions(absent=absent)
    (panel,) = panels(rows, CLASSES)
    there = [name for k, name in enumerate(CLASSES) if k not in absent and len(absent) < 2]
    assert [name.split()[0] for name, _, _ in panel.lines] == there
    for name, x, y in panel.lines:
        assert f"n={(rows.target == CLASSES.index(name[0])).sum()})" in name
        assert np.isfinite(x).all()
        assert np.isfinite(y).all()
    save_panels([panel], tmp_path / "figure", columns=1, title="")
    assert (tmp_path / "figure.png").read_bytes()[:4] == PNG


@pytest.mark.parametrize("digits", [8, 1], ids=["no ties", "ties"])
def test_curves_and_areas_are_scikit_learns(digits: int) -> None:
    rows = predictions(rows=200)
    rows = replace(rows, scores=np.round(rows.scores, digits))
    (roc,), (recall,) = plots.roc_panels(rows, CLASSES), plots.precision_recall_panels(rows, CLASSES)
    for k, name in enumerate(CLASSES):
        positive, scores = rows.target == k, rows.scores[:, k]
        x, y, _ = sk.roc_curve(positive, scores)
        np.testing.assert_allclose(roc.lines[k][1:], (x, y))
        y, x, _ = sk.precision_recall_curve(positive, scores, drop_intermediate=True)
        np.testing.assert_allclose(recall.lines[k][1:], (x[::-1], y[::-1]))
        assert roc.lines[k][0] == f"{name} (AUROC {sk.roc_auc_score(positive, scores):.4f}, n={positive.sum()})"
        assert (
            recall.lines[k][0] == f"{name} (AP {sk.average_precision_score(positive, scores):.4f}, n={positive.sum()})"
        )


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_history_has_a_panel_for_every_metric_and_the_learning_rate(epochs: int) -> None:
    rows = history(epochs)
    rows[0]["val"] = rows[0]["val"] | {"macro_auroc": None}
    panels = plots.history_panels(rows)
    assert [panel.title for panel in panels] == [name.replace("_", " ") for name in METRICS] + ["learning rate"]
    for panel in panels[:-1]:
        assert [(name, len(x), len(y)) for name, x, y in panel.lines] == [
            ("train", epochs, epochs),
            ("val", epochs, epochs),
        ]
    assert np.isnan(panels[METRICS.index("macro_auroc")].lines[1][2][0])


def test_few_losses_of_steps_are_drawn_each_and_many_as_means_in_their_range() -> None:
    epoch, loss = np.repeat(np.arange(2, 5, dtype=np.int32), 4), np.arange(12, dtype=np.float32)
    ((_, x, y), (_, middles, means)) = plots.loss_panels(epoch, loss)[0].lines
    assert (x.tolist(), y.tolist()) == (list(range(1, 13)), loss.tolist())
    assert (middles.tolist(), means.tolist()) == ([2.5, 6.5, 10.5], [1.5, 5.5, 9.5])
    rng = np.random.default_rng(1)
    loss = rng.random(4321).astype(np.float32)
    (panel,) = plots.loss_panels(np.ones(4321, np.int32), loss)
    (name, x, y), ((_, low, high),) = panel.lines[0], panel.bands
    assert name == "mean of 5 steps, and their range"
    assert len(x) == 865
    assert (x[0], x[-1]) == (3, 4321)
    assert y == pytest.approx([loss[i : i + 5].mean() for i in range(0, 4321, 5)], rel=1e-6)
    assert low.tolist() == [loss[i : i + 5].min() for i in range(0, 4321, 5)]
    assert high.tolist() == [loss[i : i + 5].max() for i in range(0, 4321, 5)]


def test_losses_of_steps_are_read_as_they_were_written_and_nothing_else_is(tmp_path: Path) -> None:
    path, losses = tmp_path / "losses.npz", StepLosses()
    losses.add(3, torch.tensor([0.5, 0.25]))
    losses.add(4, torch.tensor([0.125]))
    losses.save(path)
    assert {name: values.tolist() for name, values in StepLosses.load(path).arrays().items()} == {
        "epoch": [3, 3, 4],
        "loss": [0.5, 0.25, 0.125],
    }
    for arrays in (
        {"loss": np.zeros(2)},
        {"epoch": np.zeros(2), "loss": np.zeros(2)},
        {"epoch": np.zeros(1, np.int32), "loss": np.zeros(2, np.float32)},
        {"epoch": np.array([{}]), "loss": np.zeros(1, np.float32)},
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=r"losses"):
            StepLosses.load(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"losses"):
        StepLosses.load(path)


def test_the_summary_has_the_split_rule_and_every_metric_with_its_interval() -> None:
    values = measured(predictions())
    text = classify.summary(values, values, title="a run", rules=["split: by patient"], classes=CLASSES)
    assert text.startswith("a run\nsplit: by patient\n")
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line}
    for name in METRICS:
        low, high = values["intervals"][name]
        figure = f"{values[name]:.4f}"
        assert lines[name] == [name, figure, f"{low:.4f}", "-", f"{high:.4f}", figure]
    for k, name in enumerate(CLASSES):
        parts = values["per_class"][name]
        figures = [f"{parts[part]:.4f}" for part in ("recall", "precision", "f1")]
        assert lines[name] == [name, *figures, "0.1000", "-", "0.2000", str(sum(values["confusion_matrix"][k]))]


def test_a_test_set_of_one_class_is_reported_without_the_metrics_it_cannot_have(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, spec = predictions(absent=(1, 2)), SimpleNamespace(classes=CLASSES, split_rule="by patient")
    (tmp_path / "pred").mkdir()
    with caplog.at_level(logging.INFO):
        values = classify.write(tmp_path / "pred", rows, {}, spec=spec, title="a run")
    classify.draw(tmp_path / "pred", rows, values, history(2), spec=spec, title="a run")
    written = json.loads((tmp_path / "pred" / "metrics.json").read_text())
    assert written["split_rule"] == "by patient"
    assert (written["macro_auroc"], written["intervals"]["macro_auroc"]) == (None, None)
    assert written["without_interval"]["macro_auroc"] == "undefined"
    assert written["accuracy"] == values["accuracy"] == (rows.scores.argmax(1) == 0).mean()
    text = (tmp_path / "pred" / "report.txt").read_text()
    assert text in caplog.text
    assert re.search("macro_auroc +- +n/a: undefined +-\n", text)
    assert {path.suffix for path in (tmp_path / "pred").iterdir()} == {
        ".npz",
        ".csv",
        ".json",
        ".txt",
        ".png",
        ".html",
        ".js",
    }


@pytest.mark.parametrize(
    ("records", "says"),
    [(4, "n/a: no interval, which needs 10 records."), (20, "The intervals are over records, not rows: jackknife t")],
)
def test_rows_of_records_have_intervals_over_records_or_none(tmp_path: Path, records: int, says: str) -> None:
    rows, spec = predictions(), SimpleNamespace(classes=CLASSES, split_rule="by patient")
    record = np.array([f"r{i}" for i in range(records)])[np.arange(len(rows.index)) % records]
    rows = Predictions(**{**vars(rows), "record": record})
    values = classify.write(tmp_path, rows, {}, spec=spec, title="a run", scored=CLASSES[:2])
    text = (tmp_path / "report.txt").read_text()
    assert says in text
    assert values["interval_method"] == intervals.RECORD_METHOD
    assert (values["intervals"]["accuracy"] is None) == (records < 10) == ("n/a: 4 records" in text)
    assert (values["f1_intervals"]["challenge_f1"] is None) == (records < 10)


def test_few_rows_have_no_interval(tmp_path: Path) -> None:
    rows = predictions().of(np.arange(9))
    rows = Predictions(**{**vars(rows), "record": np.full(9, "")})
    values = classify.write(tmp_path, rows, {}, spec=SimpleNamespace(classes=CLASSES, split_rule="x"), title="a run")
    assert (values["intervals"]["accuracy"], values["without_interval"]["accuracy"]) == (None, "9 rows")
    assert "n/a: no interval, which needs 10 rows." in (tmp_path / "report.txt").read_text()
