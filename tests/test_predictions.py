"""What was predicted comes back from the file as it was, and the table says it in words."""

import csv
from dataclasses import fields
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


def test_arrays_come_back_exactly_with_their_types(tmp_path: Path) -> None:
    PREDICTIONS.save(tmp_path / "x.npz")
    loaded = Predictions.load(tmp_path / "x.npz")
    for field in fields(Predictions):
        one, other = getattr(PREDICTIONS, field.name), getattr(loaded, field.name)
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
