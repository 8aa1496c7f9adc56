"""The task of many labels: its losses, its thresholds from validation, its figures and its report."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from toolbox.errors import UsageError
from toolbox.metrics import intervals, labels
from toolbox.runs.predictions import Predictions
from toolbox.tasks import ClassifyLabels, Detect, classify_labels, kind
from toolbox.training.losses import LABEL_LOSSES

CLASSES = ("AFIB", "LBBB", "PVC")
ROWS = 40
DRAWN = torch.Generator().manual_seed(1)
LOGITS = torch.randn(ROWS, 3, generator=DRAWN)
LABELS = (torch.rand(ROWS, 3, generator=DRAWN) < 0.4).long()
P = LOGITS.sigmoid()
RIGHT = torch.where(LABELS == 1, P, 1 - P)
LOWERED = (P - 0.05).clamp(min=0)
FORMULAS = {
    "bce": -RIGHT.log(),
    "focal": -((1 - RIGHT) ** 2) * RIGHT.log(),
    "asymmetric": torch.where(LABELS == 1, -P.log(), -(LOWERED**4) * (1 - LOWERED).log()),
}
INDEX, RECORD = np.arange(ROWS), np.array([f"r{row // 2}" for row in range(ROWS)])


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_a_loss_is_its_formula_and_finite_at_extremes(name: str) -> None:
    torch.testing.assert_close(LABEL_LOSSES[name](LOGITS, LABELS), FORMULAS[name])
    for size in (1e4, 1e30):
        logits = (size * torch.tensor([[1.0, -1.0, 0.0]])).requires_grad_()
        for labels_of in (torch.tensor([[1, 0, 1]]), torch.tensor([[0, 1, 0]])):
            loss = LABEL_LOSSES[name](logits, labels_of)
            (gradient,) = torch.autograd.grad(loss.sum(), logits)
            assert loss.isfinite().all()
            assert gradient.isfinite().all()
            assert (loss >= 0).all()


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_right_logits_have_the_smaller_loss_and_a_gradient_reaches_every_class(name: str) -> None:
    right = 4.0 * (2 * LABELS - 1)
    assert (LABEL_LOSSES[name](right.float(), LABELS) < LABEL_LOSSES[name](-right.float(), LABELS)).all()
    logits = LOGITS.clone().requires_grad_()
    LABEL_LOSSES[name](logits, LABELS).sum().backward()
    assert (logits.grad.abs().sum(0) > 0).all()


def test_classes_weigh_in_the_loss_and_blended_rows_share_both_sets_of_labels() -> None:
    weights = torch.tensor([0.0, 1.0, 3.0])
    task = ClassifyLabels(CLASSES, "bce", weights=weights)
    each = F.binary_cross_entropy_with_logits(LOGITS, LABELS.float(), reduction="none")
    torch.testing.assert_close(task.loss(LOGITS, LABELS), ((each * weights).sum(1) / 4).mean())
    plain = ClassifyLabels(CLASSES, "bce")
    torch.testing.assert_close(plain.loss(LOGITS, LABELS), each.mean())
    partner, share = torch.arange(ROWS).flip(0), torch.linspace(0.05, 0.95, ROWS)
    soft = share[:, None] * LABELS + (1 - share[:, None]) * LABELS[partner]
    expected = F.binary_cross_entropy_with_logits(LOGITS, soft)  # the loss is linear in the labels
    torch.testing.assert_close(plain.loss(LOGITS, LABELS, SimpleNamespace(partner=partner, share=share)), expected)


def test_a_weighed_decision_multiplies_odds_and_leaves_the_losses() -> None:
    decision = torch.tensor([1.0, 3.0, 0.5])
    weighed = ClassifyLabels(CLASSES, "bce", decision=decision).predictions(INDEX, RECORD, LABELS, LOGITS)
    before = ClassifyLabels(CLASSES, "bce").predictions(INDEX, RECORD, LABELS, LOGITS)
    odds = before.scores / (1 - before.scores) * decision.numpy()
    np.testing.assert_allclose(weighed.scores, odds / (1 + odds), rtol=1e-4)
    np.testing.assert_array_equal(weighed.loss, before.loss)
    assert weighed.objection() == ""


def test_a_decision_weight_of_0_leaves_nothing_to_rank_a_class_by_and_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the decision weight of LBBB is 0, .* Try: --decision-weights above 0"):
        ClassifyLabels(CLASSES, "bce", decision=torch.tensor([2.0, 0.0, 1.0]))


def test_pieces_of_a_record_have_the_mean_of_their_probabilities() -> None:
    group = np.array([0, 0, 1, 2, 2, 2])
    pooled = ClassifyLabels(CLASSES, "bce").pool(LOGITS[:6], group).sigmoid()
    expected = torch.stack([P[:6][torch.from_numpy(group == record)].mean(0) for record in range(3)])
    torch.testing.assert_close(pooled, expected)
    certain = ClassifyLabels(CLASSES, "bce").pool(torch.full((2, 3), 1e4), np.array([0, 0]))
    assert certain.isfinite().all()


def test_thresholds_are_fixed_on_validation_and_decide_from_then_on() -> None:
    task = ClassifyLabels(CLASSES, "bce")
    val = task.predictions(INDEX, RECORD, LABELS, LOGITS)
    before = task.measure(val)
    assert {of["threshold"] for of in before["per_class"].values()} == {0.5}
    fixed = task.fixed(val)
    assert fixed == {"thresholds": labels.thresholds(val.target, val.scores).tolist(), "validation_rows": ROWS}
    after = task.measure(val)
    assert [of["threshold"] for of in after["per_class"].values()] == fixed["thresholds"]
    assert after["macro_f1"] >= before["macro_f1"]
    assert after["macro_auroc"] == before["macro_auroc"]


def test_a_class_that_validation_lacks_has_the_threshold_half_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    task, lacking = ClassifyLabels(CLASSES, "bce"), LABELS.clone()
    lacking[:, 1] = 0
    fixed = task.fixed(task.predictions(INDEX, RECORD, lacking, LOGITS))
    assert fixed["thresholds"][1] == labels.THRESHOLD
    assert "validation has no row of LBBB: its threshold is 0.5" in caplog.text
    lacking[:, 2] = 0
    task.fixed(task.predictions(INDEX, RECORD, lacking, LOGITS))
    assert "validation has no row of LBBB, PVC: their thresholds are 0.5" in caplog.text


def test_names_of_other_tasks_are_refused() -> None:
    for names in ({"criterion": "crossentropy"}, {"criterion": "bce", "monitor": "accuracy"}):
        with pytest.raises(UsageError, match="known are"):
            ClassifyLabels(CLASSES, **names)


def test_the_data_selects_the_form_of_the_task() -> None:
    assert kind("classify", many_labels=True) is ClassifyLabels
    assert kind("classify", many_labels=False) is not ClassifyLabels
    assert kind("detect", many_labels=True) is Detect


@pytest.mark.usefixtures("few_replicates")
def test_a_report_names_classes_left_out_and_writes_what_was_decided(tmp_path: Path) -> None:
    task, lacking = ClassifyLabels(CLASSES, "bce"), LABELS.clone()
    lacking[:, 2] = 0
    predictions = task.predictions(INDEX, RECORD, lacking, LOGITS)
    at = np.array([0.3, 0.6, 0.5])
    spec = SimpleNamespace(classes=CLASSES, split_rule="by hand", leads=("I",), many_labels=True, view="beat")
    values = classify_labels.write(tmp_path, predictions, {}, at=at, spec=spec, title="a run")
    assert values["left_out"] == {"PVC": labels.NO_POSITIVE}
    assert values["class_intervals"]["auroc"]["PVC"] is None
    text = (tmp_path / "report.txt").read_text()
    assert "Left out of every macro average, no positive row: PVC." in text
    assert "rows of one record are drawn together" in text
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["split_rule"] == "by hand"
    assert metrics["per_class"]["PVC"]["auroc"] is None
    assert Predictions.load(tmp_path / "predictions.npz").target.shape == (ROWS, 3)
    head, *lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert head == "row,record,true,predicted,p_AFIB,p_LBBB,p_PVC"
    decided = [";".join(np.array(CLASSES)[row >= at]) for row in predictions.scores]
    assert [line.split(",")[3] for line in lines] == decided


@pytest.mark.usefixtures("few_replicates")
@pytest.mark.parametrize(("view", "unit"), [("beat", "record"), ("record", "patient")])
def test_the_report_calls_rows_of_one_name_as_the_view_of_the_data_does(view: str, unit: str, tmp_path: Path) -> None:
    predictions = ClassifyLabels(CLASSES, "bce").predictions(INDEX, RECORD, LABELS, LOGITS).of(np.arange(18))
    fitted = {"slope": [1.0] * 3, "intercept": [0.0] * 3}
    spec = SimpleNamespace(classes=CLASSES, split_rule="by hand", leads=("I",), many_labels=True, view=view)
    values = classify_labels.write(tmp_path, predictions, {}, at=np.full(3, 0.5), spec=spec, title="", fitted=fitted)
    assert values["interval_method"] == f"percentile bootstrap over {unit}s"
    count = len(np.unique(predictions.record))
    why = f"{count} {unit}s"
    assert {*values["without_interval"].values()} == {why} == {*values["calibrated"]["without_interval"].values()}
    text = (tmp_path / "report.txt").read_text()
    assert f"The intervals resample {unit}s" in text
    assert f"rows of one {unit} are drawn together" in text
    assert f"One needs {intervals.FEW} {unit}s with it" in text
    assert f"One needs {intervals.FEW} {unit}s in which" in text
