"""Classification: the loss that is descended, the outputs as scores, the metrics, and what is better."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from toolbox.errors import UsageError
from toolbox.metrics import METRICS
from toolbox.tasks import Classify

CLASSES = ("N", "S", "V")
LOGITS = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(20) % 3
WEIGHTS = torch.tensor([0.2, 1.0, 3.0])


def test_the_loss_is_the_mean_over_rows() -> None:
    torch.testing.assert_close(Classify(CLASSES, "crossentropy").loss(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))


def test_class_weights_are_those_of_torchs_cross_entropy() -> None:
    task = Classify(CLASSES, "crossentropy", weights=WEIGHTS)
    torch.testing.assert_close(task.loss(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS, weight=WEIGHTS))


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
    assert values["accuracy"] == pytest.approx(float(right.float().mean())) == float(task.correct(LOGITS, LABELS))
    assert values["loss"] == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)))
    assert values["per_class"]["V"]["recall"] == pytest.approx(float(right[LABELS == 2].float().mean()))
    assert {*METRICS, "confusion_matrix", "per_class"} == values.keys()


@pytest.mark.parametrize(("monitor", "good", "bad"), [("macro_f1", 0.9, 0.1), ("loss", 0.1, 0.9)])
def test_better_is_higher_for_a_score_and_lower_for_the_loss(monitor: str, good: float, bad: float) -> None:
    task = Classify(CLASSES, "crossentropy", monitor=monitor)
    assert task.is_better(good, bad)
    assert not task.is_better(bad, good)
    assert not task.is_better(good, good)
    assert task.is_better(bad, None)


@pytest.mark.parametrize("monitor", ["macro_f1", "loss"])
def test_nan_is_never_better_than_a_number_and_never_stays_best(monitor: str) -> None:
    task = Classify(CLASSES, "crossentropy", monitor=monitor)
    assert not task.is_better(float("nan"), 0.5)
    assert task.is_better(0.5, float("nan"))


@pytest.mark.parametrize("choice", [{"criterion": "hinge"}, {"criterion": "mse", "monitor": "f1"}])
def test_an_unknown_name_is_a_usage_error(choice: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="unknown --"):
        Classify(CLASSES, **choice)
