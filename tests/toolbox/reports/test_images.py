"""Images for recorders: a picture for every kind of row and any name, in which cells and captions are right."""

import numpy as np
import pytest

from toolbox.reports import images, plots
from toolbox.runs.predictions import Predictions

CLASSES = ("N", "心房颤动 with a very long name", "\x1b[31m")


def predictions(rows: int = 30, classes: int = 3) -> Predictions:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(classes), rows)
    target, loss = np.arange(rows) % classes, rng.random(rows)
    return Predictions(np.arange(rows) + 100, np.full(rows, "p1"), target, scores, loss)


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_a_confusion_matrix_is_darkest_where_all_rows_of_a_class_are(classes: int) -> None:
    matrix = np.zeros((classes, classes))
    matrix[0, 0], matrix[1, 0] = 7, 3
    names = [*CLASSES, *map(str, range(classes))][:classes]
    image = images.confusion(matrix, names, title="validation, epoch 1")
    assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)
    blue = (image == images.FULL).all(2).mean(0)
    assert blue.argmax() < image.shape[1] / 2  # in the column of the first class
    assert blue.any()


def test_curves_and_rows_are_drawn_for_signals_charts_and_a_flat_line() -> None:
    of = predictions()
    (panel,) = plots.roc_panels(of, CLASSES)
    assert images.curves(panel).std() > 0
    captions, wrong = images.captions(of.of(np.arange(3)), CLASSES)
    signals = np.random.default_rng(0).normal(size=(3, 2, 5000)).astype(np.float32)
    signals[1] = 0
    charts = np.random.default_rng(0).random((3, 3, 40, 60)).astype(np.float32)
    for x in (signals, signals[..., :50], charts):
        image = images.rows(x, captions, wrong)
        assert image.dtype == np.uint8
        assert image.std() > 0


def test_captions_name_true_and_predicted_class_and_mark_the_wrong_ones() -> None:
    of = predictions(6)
    lines, wrong = images.captions(of, ("A", "B", "C"))
    predicted = of.scores.argmax(1)
    assert wrong == (predicted != of.target).tolist()
    assert lines[0] == f"row 100 of p1: true A, predicted {'ABC'[predicted[0]]} ({of.scores[0].max():.2f})"
    errors = Predictions(of.index, of.record, of.target, of.loss[:, None], of.loss)
    lines, wrong = images.captions(errors, ("A", "B", "C"))
    assert lines[1] == f"row 101 of p1: true B, error {of.loss[1]:.3g}"
    assert not any(wrong)


def test_the_chosen_rows_are_the_worst_and_the_best_of_many_classes() -> None:
    of = predictions(60)
    chosen = images.worth_seeing(of)
    assert len(chosen) == images.MOST_ROWS
    assert {of.loss.argmax(), of.loss.argmin()} <= {*chosen}
    assert {*of.target[chosen]} == {0, 1, 2}
    assert len(images.worth_seeing(predictions(2, 2))) == 2
