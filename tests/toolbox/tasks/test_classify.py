"""The classifier's task: its loss, its outputs as probabilities, the metrics, what is better, and the report."""

import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from toolbox.errors import UsageError
from toolbox.metrics import classification, intervals, meanings
from toolbox.metrics.classification import METRICS
from toolbox.runs.predictions import Predictions
from toolbox.tasks import Classify, classify
from toolbox.training.losses import Mix

CLASSES = ("N", "S", "V")
LOGITS = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(20) % 3
WEIGHTS = torch.tensor([0.2, 1.0, 3.0])
INDEX, RECORD = np.arange(20) + 100, np.full(20, "")


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_the_loss_is_torchs_and_shared_by_both_labels_of_a_blended_row(weights: torch.Tensor | None) -> None:
    task = Classify(CLASSES, "crossentropy", weights=weights)
    plain = F.cross_entropy(LOGITS, LABELS, weight=weights)
    torch.testing.assert_close(task.loss(LOGITS, LABELS), plain)
    partner, share = torch.arange(20).flip(0), torch.linspace(0.05, 0.95, 20)
    of = torch.ones(3) if weights is None else weights
    own, other = (F.cross_entropy(LOGITS, labels, reduction="none") for labels in (LABELS, LABELS[partner]))
    w_own, w_other = share * of[LABELS], (1 - share) * of[LABELS[partner]]
    expected = (w_own * own + w_other * other).sum() / (w_own + w_other).sum()
    torch.testing.assert_close(task.loss(LOGITS, LABELS, SimpleNamespace(partner=partner, share=share)), expected)
    alone = SimpleNamespace(partner=partner, share=torch.ones(20))
    torch.testing.assert_close(task.loss(LOGITS, LABELS, alone), plain)


def test_labels_are_smoothed_in_training_and_not_where_rows_are_measured() -> None:
    plain, task = Classify(CLASSES, "crossentropy"), Classify(CLASSES, "crossentropy", smoothing=0.1)
    logits = torch.randn(8, len(CLASSES), generator=torch.Generator().manual_seed(1))
    labels = torch.arange(8) % len(CLASSES)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(task.loss(logits, labels), expected)
    same = Mix(torch.arange(8), torch.full((8,), 0.3))
    torch.testing.assert_close(task.loss(logits, labels, same), expected)
    rows = np.arange(8), np.full(8, "r"), labels, logits
    np.testing.assert_array_equal(task.predictions(*rows).loss, plain.predictions(*rows).loss)


def test_a_smoothed_label_has_the_weight_of_each_class_that_it_may_be() -> None:
    """As if every row stood there once for each class, with the probability of that class as its share."""
    task = Classify(CLASSES, "crossentropy", weights=WEIGHTS, smoothing=0.3)
    share = 0.7 * F.one_hot(LABELS, 3) + 0.1
    weights = share * WEIGHTS
    expected = -(weights * LOGITS.log_softmax(1)).sum() / weights.sum()
    torch.testing.assert_close(task.loss(LOGITS, LABELS), expected)
    blended = Mix(torch.arange(20).flip(0), torch.full((20,), 0.25))
    both = 0.25 * share + 0.75 * share.flip(0)
    expected = -(both * WEIGHTS * LOGITS.log_softmax(1)).sum() / (both * WEIGHTS).sum()
    torch.testing.assert_close(task.loss(LOGITS, LABELS, blended), expected)
    task.weights = torch.tensor([1.0, 1.0, 0.0])
    assert task.loss(LOGITS, torch.full((20,), 2)).isfinite()


def test_a_batch_in_which_no_row_weighs_anything_has_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = Classify(CLASSES, "crossentropy", weights=torch.tensor([0.0, 0.0, 1.0])).loss(logits, LABELS % 2)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_a_weighed_decision_multiplies_probabilities_and_leaves_the_losses() -> None:
    def predicted(decision: torch.Tensor | None) -> Predictions:
        return Classify(CLASSES, "crossentropy", decision=decision).predictions(INDEX, RECORD, LABELS, LOGITS)

    weighed, before = predicted(WEIGHTS), predicted(None)
    expected = before.scores * WEIGHTS.numpy()
    np.testing.assert_allclose(weighed.scores, expected / expected.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(weighed.loss, before.loss)
    assert not (predicted(torch.tensor([1.0, 0.0, 1.0])).scores.argmax(1) == 1).any()


def test_predictions_hold_probabilities_and_unweighted_losses_and_are_measured() -> None:
    task = Classify(CLASSES, "crossentropy", weights=WEIGHTS)
    predictions = task.predictions(INDEX, RECORD, LABELS, LOGITS)
    np.testing.assert_allclose(predictions.scores, LOGITS.softmax(1))
    np.testing.assert_allclose(predictions.loss, F.cross_entropy(LOGITS, LABELS, reduction="none"))
    np.testing.assert_array_equal(predictions.target, LABELS)
    assert (predictions.index is INDEX, predictions.record is RECORD) == (True, True)
    values, right = task.measure(predictions), LOGITS.argmax(1) == LABELS
    accuracy = float(right.float().mean())
    assert values["accuracy"] == pytest.approx(accuracy) == float(task.running(LOGITS, LABELS)["acc"])
    assert values["loss"] == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)))
    assert values["per_class"]["V"]["recall"] == pytest.approx(float(right[LABELS == 2].float().mean()))
    assert {*METRICS, "confusion_matrix", "per_class"} == values.keys()
    assert task.fixed(predictions) == {}


@pytest.mark.parametrize("choice", [{"criterion": "hinge"}, {"criterion": "mse", "monitor": "f1"}])
def test_an_unknown_name_is_a_usage_error(choice: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="unknown --"):
        Classify(CLASSES, **choice)


# The report

SPEC = SimpleNamespace(classes=CLASSES, split_rule="by patient")


def drawn(*, absent: tuple[int, ...] = (), records: int = 0, rows: int = 40) -> Predictions:
    rng = np.random.default_rng(0)
    target = rng.choice([k for k in range(len(CLASSES)) if k not in absent], rows)
    scores = rng.dirichlet(np.ones(len(CLASSES)), rows)
    record = np.array([f"r{i % records}" if records else "" for i in range(rows)])
    return Predictions(np.arange(rows), record, target, scores, -np.log(scores[np.arange(rows), target]))


def measured(rows: Predictions) -> dict[str, Any]:
    values = classification.name_classes(classification.score(rows.target, rows.scores, rows.loss), CLASSES)
    ends = intervals.of_statistic(classification.of_weights(rows.target, rows.scores, rows.loss), rows.record)
    return values | ends | {"f1_intervals": {name: [0.1, 0.2] for name in CLASSES}}


def test_the_summary_has_the_split_rule_and_every_metric_with_its_interval() -> None:
    values, before = measured(drawn()), measured(drawn(absent=(2,)))
    text = classify.summary(values, before, title="a run", rules=["split: by patient"], classes=CLASSES)
    assert text.startswith("a run\nsplit: by patient\n")
    lines = {line.partition("  ")[0]: line.split() for line in text.splitlines() if line}
    for name in METRICS:
        (low, high), figure = values["intervals"][name], f"{values[name]:.4f}"
        words = meanings.name_of(name)
        assert lines[words] == [*words.split(), f"{before[name]:.4f}", figure, f"{low:.4f}", "-", f"{high:.4f}"]
    for k, name in enumerate(CLASSES):
        figures = [f"{values['per_class'][name][part]:.4f}" for part in ("recall", "precision", "f1")]
        assert lines[name] == [name, *figures, "0.1000", "-", "0.2000", str(sum(values["confusion_matrix"][k]))]


def test_a_test_set_of_one_class_has_no_auroc(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows, values = drawn(absent=(1, 2)), measured(drawn())
    history = [{"epoch": 1, "lr": 0.1, "train": values, "val": values}]
    with caplog.at_level(logging.INFO):
        values = classify.write(tmp_path, rows, {}, spec=SPEC, title="a run")
    classify.draw(tmp_path, rows, values, history, spec=SPEC, title="a run")
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["split_rule"] == "by patient"
    assert (written["macro_auroc"], written["intervals"]["macro_auroc"]) == (None, None)
    assert written["without_interval"]["macro_auroc"] == "undefined"
    assert written["accuracy"] == values["accuracy"] == (rows.scores.argmax(1) == 0).mean()
    text = (tmp_path / "report.txt").read_text()
    assert text in caplog.text
    assert re.search("macro AUROC +- +- +n/a: not defined\n", text)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npz", ".csv", ".json", ".txt", ".png"}


@pytest.mark.parametrize(
    ("records", "says"),
    [(4, "n/a: no interval. One needs 10 records in which"), (20, "The intervals leave out one record at a time")],
)
def test_rows_of_records_have_intervals_over_records_or_none(tmp_path: Path, records: int, says: str) -> None:
    values = classify.write(tmp_path, drawn(records=records), {}, spec=SPEC, title="a run", scored=CLASSES[:2])
    text = (tmp_path / "report.txt").read_text()
    assert says in text
    assert values["interval_method"] == intervals.RECORD_METHOD
    assert (values["intervals"]["accuracy"] is None) == (records < 10) == ("n/a: known in 4 records" in text)
    assert (values["f1_intervals"]["challenge_f1"] is None) == (records < 10)


def test_few_rows_have_no_interval(tmp_path: Path) -> None:
    values = classify.write(tmp_path, drawn(rows=9), {}, spec=SPEC, title="a run")
    assert (values["intervals"]["accuracy"], values["without_interval"]["accuracy"]) == (None, "9 rows")
    assert "n/a: no interval. One needs 10 rows in which" in (tmp_path / "report.txt").read_text()
