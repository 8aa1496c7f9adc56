"""The tasks: the loss that is descended, the outputs as scores, the metrics, and what is better."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from toolbox.errors import UsageError
from toolbox.metrics.classification import METRICS
from toolbox.tasks import Classify, Detect, is_better, mode

CLASSES = ("N", "S", "V")
LOGITS = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(20) % 3
WEIGHTS = torch.tensor([0.2, 1.0, 3.0])


def test_the_loss_is_the_mean_over_rows() -> None:
    torch.testing.assert_close(Classify(CLASSES, "crossentropy").loss(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))


def test_class_weights_are_those_of_torchs_cross_entropy() -> None:
    task = Classify(CLASSES, "crossentropy", weights=WEIGHTS)
    torch.testing.assert_close(task.loss(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS, weight=WEIGHTS))


def test_a_batch_without_a_row_that_weighs_anything_teaches_nothing() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = Classify(CLASSES, "crossentropy", weights=torch.tensor([0.0, 0.0, 1.0])).loss(logits, LABELS % 2)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_a_weighed_decision_multiplies_probabilities_and_leaves_the_losses() -> None:
    index, record, plain = np.arange(20), np.full(20, ""), Classify(CLASSES, "crossentropy")
    weighed = Classify(CLASSES, "crossentropy", decision=WEIGHTS).predictions(index, record, LABELS, LOGITS)
    before = plain.predictions(index, record, LABELS, LOGITS)
    expected = before.scores * WEIGHTS.numpy()
    np.testing.assert_allclose(weighed.scores, expected / expected.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(weighed.loss, before.loss)
    never = Classify(CLASSES, "crossentropy", decision=torch.tensor([1.0, 0.0, 1.0])).predictions(
        index, record, LABELS, LOGITS
    )
    assert not (never.scores.argmax(1) == 1).any()


def test_predictions_hold_probabilities_and_unweighted_losses() -> None:
    task = Classify(CLASSES, "crossentropy", weights=WEIGHTS)
    index, record = np.arange(20) + 100, np.full(20, "100")
    predictions = task.predictions(index, record, LABELS, LOGITS)
    np.testing.assert_allclose(predictions.scores, LOGITS.softmax(1))
    np.testing.assert_allclose(predictions.loss, F.cross_entropy(LOGITS, LABELS, reduction="none"))
    np.testing.assert_array_equal(predictions.target, LABELS)
    assert (predictions.index is index, predictions.record is record) == (True, True)


def test_what_is_measured_is_what_was_predicted() -> None:
    task = Classify(CLASSES, "crossentropy")
    values = task.measure(task.predictions(np.arange(20), np.full(20, ""), LABELS, LOGITS))
    right = LOGITS.argmax(1) == LABELS
    assert (
        values["accuracy"] == pytest.approx(float(right.float().mean())) == float(task.running(LOGITS, LABELS)["acc"])
    )
    assert values["loss"] == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)))
    assert values["per_class"]["V"]["recall"] == pytest.approx(float(right[LABELS == 2].float().mean()))
    assert {*METRICS, "confusion_matrix", "per_class"} == values.keys()


@pytest.mark.parametrize(("monitor", "good", "bad"), [("macro_f1", 0.9, 0.1), ("loss", 0.1, 0.9)])
def test_better_is_higher_for_a_score_and_lower_for_the_loss(monitor: str, good: float, bad: float) -> None:
    assert is_better(monitor, good, bad)
    assert not is_better(monitor, bad, good)
    assert not is_better(monitor, good, good)
    assert is_better(monitor, bad, None)
    assert mode(monitor) == ("max" if good > bad else "min")


@pytest.mark.parametrize("monitor", ["macro_f1", "loss"])
def test_nan_is_never_better_than_a_number_and_never_stays_best(monitor: str) -> None:
    assert not is_better(monitor, float("nan"), 0.5)
    assert is_better(monitor, 0.5, float("nan"))


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_a_blended_row_has_the_losses_of_both_by_their_shares(weights: torch.Tensor | None) -> None:
    task = Classify(CLASSES, "crossentropy", weights=weights)
    partner, share = torch.arange(20).flip(0), torch.linspace(0.05, 0.95, 20)
    of = torch.ones(3) if weights is None else weights
    own, other = (F.cross_entropy(LOGITS, labels, reduction="none") for labels in (LABELS, LABELS[partner]))
    w_own, w_other = share * of[LABELS], (1 - share) * of[LABELS[partner]]
    expected = (w_own * own + w_other * other).sum() / (w_own + w_other).sum()
    torch.testing.assert_close(task.loss(LOGITS, LABELS, SimpleNamespace(partner=partner, share=share)), expected)


def test_a_row_blended_with_nothing_is_a_row() -> None:
    task = Classify(CLASSES, "crossentropy", weights=WEIGHTS)
    mix = SimpleNamespace(partner=torch.arange(20).flip(0), share=torch.ones(20))
    torch.testing.assert_close(task.loss(LOGITS, LABELS, mix), task.loss(LOGITS, LABELS))


@pytest.mark.parametrize(("criterion", "distance"), [("l1", np.abs), ("mse", np.square)])
def test_a_detectors_loss_and_score_is_the_distance_to_the_row(criterion: str, distance: Callable) -> None:
    task = Detect(("ill", "normal"), criterion, normal="normal")
    x, outputs = torch.randn(2, 6, 2, 9, generator=torch.Generator().manual_seed(2))
    errors = distance((outputs - x).numpy()).mean((1, 2))
    rows = task.per_row(outputs, x)
    predictions = task.predictions(np.arange(6), np.full(6, ""), torch.ones(6, dtype=torch.long), rows)
    np.testing.assert_allclose(predictions.loss, errors, rtol=1e-6)
    np.testing.assert_array_equal(predictions.scores[:, 0], predictions.loss)
    assert float(task.loss(rows, torch.ones(6, dtype=torch.long))) == pytest.approx(errors.mean())
    assert task.measure(predictions) == {"loss": pytest.approx(errors.mean())}
    assert task.normal == 1


def test_a_detectors_threshold_comes_from_validation_and_a_classifier_fixes_nothing() -> None:
    task = Detect(("normal", "ill"), "l1", normal="normal", threshold="percentile:90")
    errors = torch.linspace(0, 1, 101)
    val = task.predictions(np.arange(101), np.full(101, ""), torch.zeros(101, dtype=torch.long), errors)
    assert task.fixed(val) == {"rule": "percentile:90", "threshold": pytest.approx(0.9), "validation_rows": 101}
    assert Classify(CLASSES, "crossentropy").fixed(val) == {}


@pytest.mark.parametrize("choice", [{"criterion": "hinge"}, {"criterion": "mse", "monitor": "f1"}])
def test_an_unknown_name_is_a_usage_error(choice: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="unknown --"):
        Classify(CLASSES, **choice)


@pytest.mark.parametrize("choice", [{"criterion": "focal"}, {"criterion": "l1", "monitor": "macro_f1"}])
def test_what_is_for_classes_is_not_for_a_detector(choice: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="unknown --"):
        Detect(("normal", "ill"), normal="normal", **choice)
