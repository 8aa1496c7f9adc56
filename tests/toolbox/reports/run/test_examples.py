"""Rows to look at: the worst and the least certain, the same signals after the file, and faults of the file."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from toolbox.reports.run import examples
from toolbox.runs.predictions import Predictions

RNG = np.random.default_rng(1)


def predicted(rows: int = 50, index: np.ndarray | None = None) -> Predictions:
    target, scores = RNG.integers(0, 3, rows), RNG.dirichlet(np.ones(3), rows)
    loss = -np.log(scores[np.arange(rows), target])
    return Predictions(np.arange(rows) + 7 if index is None else index, np.full(rows, ""), target, scores, loss)


def source(signals: list[np.ndarray], index: np.ndarray) -> SimpleNamespace:
    lengths = np.array([signal.shape[1] for signal in signals])

    class Rows(SimpleNamespace):
        def __len__(self) -> int:
            return len(signals)

    return Rows(index=index, lengths=lengths, signal=lambda row: signals[row])


def test_the_worst_rows_are_wrong_with_the_largest_loss_and_the_least_certain_are_others() -> None:
    rows = predicted()
    groups = examples.doubtful(rows)
    worst, least = groups["worst"], groups["least certain"]
    wrong = rows.scores.argmax(1) != rows.target
    assert wrong[worst].all()
    assert rows.loss[worst].min() >= np.delete(rows.loss[wrong], np.argsort(-rows.loss[wrong])[:6]).max()
    assert not {*worst} & {*least}
    margins = np.diff(np.sort(rows.scores, 1)[:, -2:])[:, 0]
    others = np.delete(np.arange(50), worst)
    assert sorted(margins[least]) == pytest.approx(sorted(margins[others])[:6])
    right = Predictions(rows.index, rows.record, rows.scores.argmax(1), rows.scores, rows.loss)
    assert len(examples.doubtful(right)["worst"]) == 0


def test_a_detectors_rows_are_on_the_wrong_end_of_the_threshold_or_near_it() -> None:
    errors, anomaly = RNG.random(60), np.arange(60) % 3 == 0
    groups = examples.beyond(errors, anomaly, 0.5)
    missed, alarms = groups["missed anomalies"], groups["false alarms"]
    assert anomaly[missed].all()
    assert (errors[missed] <= 0.5).all()
    assert not anomaly[alarms].any()
    assert (np.diff(errors[alarms]) <= 0).all()
    assert (errors[alarms] > 0.5).all()
    assert [*examples.beyond(errors, None, 0.5)] == ["largest error", "nearest to the threshold"]


@pytest.mark.parametrize("lengths", [(40,) * 50, tuple(range(30, 80))], ids=["one length", "strips"])
def test_signals_are_the_same_after_the_file(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    signals = [RNG.normal(5, 2, (2, length)).astype(np.float32) for length in lengths]
    signals[3][1] = 4.0  # a flat lead
    rows, of = predicted(), source(signals, np.arange(50) + 7)
    groups = {"worst": np.array([3, 1]), "least certain": np.array([40])}
    path = tmp_path / examples.FILE
    examples.save(path, groups, rows, of, train_errors=RNG.random(70_000))
    shown, errors = examples.load(path, rows)
    assert [(row.group, row.place) for row in shown] == [("worst", 3), ("worst", 1), ("least certain", 40)]
    for row in shown:
        np.testing.assert_allclose(row.signal, signals[row.place], atol=2e-4)
        assert (row.output, row.picture) == (None, None)
    assert 10_000 < len(errors) <= examples.MOST_ERRORS
    other = Predictions(rows.index + 1, rows.record, rows.target, rows.scores, rows.loss)
    assert examples.load(path, other) == ([], None)


def test_a_prediction_of_several_pieces_finds_its_first_piece(tmp_path: Path) -> None:
    pieces, rows = np.repeat([9, 4, 6], 2), predicted(3, np.array([4, 6, 9]))
    pictures = RNG.integers(0, 255, (6, 8, 12, 3)).astype(np.uint8)
    of = source([np.zeros((1, 5), np.float32)] * 6, pieces)
    of.picture = lambda row: pictures[row]
    assert examples.places_in(rows, of, np.array([0, 2])).tolist() == [2, 0]
    examples.save(tmp_path / examples.FILE, {"worst": np.array([0, 2])}, rows, of)
    shown, _ = examples.load(tmp_path / examples.FILE, rows)
    for row, place in zip(shown, (2, 0), strict=True):
        np.testing.assert_array_equal(row.picture, pictures[place])


def test_no_row_at_all_is_a_file_too(tmp_path: Path) -> None:
    rows = predicted(0)
    examples.save(tmp_path / examples.FILE, examples.doubtful(rows), rows, source([], np.empty(0, int)))
    assert examples.load(tmp_path / examples.FILE, rows) == ([], None)
