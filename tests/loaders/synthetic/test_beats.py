"""The generated beats: the same for the same seed, laid out and imbalanced as the real ones, and not too easy."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from helpers.data import make_spec
from loaders import get_data
from loaders.base import Data
from loaders.synthetic import beats


@pytest.fixture(scope="module")
def data(synth_cache: Path) -> Data:
    return get_data("synth", synth_cache.parent.parent)


def test_the_same_seed_gives_the_same_beats_and_another_seed_others() -> None:
    first, again, other = (beats.beats(300, seed) for seed in (5, 5, 6))
    for name in ("x", "y", "record"):
        np.testing.assert_array_equal(first[name], again[name], strict=True)
    assert not np.array_equal(first["y"], other["y"])
    assert not (first["x"][:, None] == other["x"][None]).all(2).any()


def test_there_are_12000_training_and_3000_test_rows_in_the_layout_and_imbalance_of_the_real_ones(data: Data) -> None:
    assert (len(data.train) + len(data.val), len(data.test)) == (12_000, 3_000)
    real = np.array([90_589, 2_779, 7_236, 803, 8_039]) / 109_446
    for split in (data.train, data.val, data.test):
        assert split.x.shape == (len(split), 1, 187)
        assert (split.x.dtype, split.y.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(split.x.min((1, 2)), 0)
        np.testing.assert_array_equal(split.x.max((1, 2)), 1)
        np.testing.assert_allclose(np.bincount(split.y, minlength=5) / len(split), real, atol=0.002)
    assert data.spec.classes == ("N", "S", "V", "F", "Q")
    assert (data.spec.channels, data.spec.samples, data.spec.rate_hz) == (1, 187, 125)
    assert data.spec.importance == make_spec().importance


def test_rows_are_padded_with_zeros_to_different_lengths(data: Data) -> None:
    x = data.train.x[:, 0]
    lengths = 187 - (x[:, ::-1] != 0).argmax(1)
    assert np.mean(lengths < 187) > 0.9
    assert np.std(lengths) > 10
    assert not any(row[length:].any() for row, length in zip(x, lengths, strict=True))


def test_no_beat_stands_on_two_sides(data: Data) -> None:
    rows = [row.tobytes() for split in (data.train, data.val, data.test) for row in split.x]
    assert len(set(rows)) == 15_000
    assert not set(data.train.index) & set(data.val.index)


def test_the_seed_draws_the_validation_rows_and_changes_nothing_else(data: Data, synth_cache: Path) -> None:
    other = get_data("synth", synth_cache.parent.parent, seed=43)
    assert not np.array_equal(other.val.index, data.val.index)
    np.testing.assert_array_equal(other.test.x, data.test.x)
    assert other.checksum == data.checksum


def test_a_linear_model_does_not_solve_it(data: Data) -> None:
    few = data.train.rows(np.arange(4000))
    scaler = StandardScaler().fit(few.x[:, 0])
    model = LogisticRegression(max_iter=300).fit(scaler.transform(few.x[:, 0]), few.y)
    macro_f1 = f1_score(data.test.y, model.predict(scaler.transform(data.test.x[:, 0])), average="macro")
    assert 0.3 < macro_f1 < 0.75


def test_generation_has_no_python_loop_over_rows() -> None:
    def lines_executed(rows: int) -> int:
        """The lines of the project's own code that run to generate `rows` beats; NumPy's loops in C are not counted."""
        count = 0

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal count
            count += event == "line"
            return trace if "loaders" in frame.f_code.co_filename else None

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            beats.beats(rows, 1)
        finally:
            sys.settrace(before)
        return count

    assert lines_executed(200) == lines_executed(1200)
