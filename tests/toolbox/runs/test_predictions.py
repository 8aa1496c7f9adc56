"""Predictions come back from their file as they were, and the table has the names of the classes."""

import csv
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from toolbox.runs.predictions import Predictions

CLASSES = ("N", "S", "V")
PREDICTIONS = Predictions(
    index=np.array([4, 7, 9]),
    record=np.array(["100", "", "a,b"]),
    target=np.array([0, 2, 1]),
    scores=np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.25, 0.5, 0.25]], dtype=np.float32),
    loss=np.array([0.35, 2.3, 0.7], dtype=np.float32),
)


MANY = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
NONE = np.empty((3, 0), np.int64)


@pytest.mark.parametrize("target", [PREDICTIONS.target, MANY, NONE], ids=["classes", "many labels", "none"])
def test_arrays_come_back_exactly_with_their_types(tmp_path: Path, target: np.ndarray) -> None:
    predictions = replace(PREDICTIONS, target=target)
    predictions.save(tmp_path / "x.npz")
    loaded = Predictions.load(tmp_path / "x.npz")
    for field in fields(Predictions):
        one, other = getattr(predictions, field.name), getattr(loaded, field.name)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_the_table_names_rows_records_classes_and_probabilities(tmp_path: Path) -> None:
    PREDICTIONS.save_csv(tmp_path / "x.csv", CLASSES)
    with open(tmp_path / "x.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["row", "record", "true", "predicted", "p_N", "p_S", "p_V"]
    assert [row[:4] for row in rows] == [["4", "100", "N", "N"], ["7", "", "V", "S"], ["9", "a,b", "S", "S"]]
    for row, scores in zip(rows, PREDICTIONS.scores, strict=True):
        assert [float(cell) for cell in row[4:]] == pytest.approx(scores.tolist(), abs=1e-6)


def test_the_table_of_many_labels_names_all_of_a_row_and_none_where_there_are_none(tmp_path: Path) -> None:
    for target, true in ((MANY, ["N;V", "", "S"]), (NONE, ["", "", ""])):
        replace(PREDICTIONS, target=target).save_csv(tmp_path / "x.csv", CLASSES)
        with open(tmp_path / "x.csv", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["row", "record", "true", "p_N", "p_S", "p_V"]
        assert [row[2] for row in rows] == true


@pytest.mark.parametrize("target", [MANY[:, :2], MANY + 1, -MANY, np.array([0, 3, 1])], ids=str)
def test_targets_that_the_scores_cannot_have_are_refused(tmp_path: Path, target: np.ndarray) -> None:
    replace(PREDICTIONS, target=target).save(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="target has"):
        Predictions.load(tmp_path / "x.npz")
