"""RR features against a slow reference, and that they look one beat ahead at most."""

import math
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.families.beat_features import RR_FEATURES as FEATURES
from loaders.families.beat_features import filled_intervals, is_early, over_gaps, rr_features


def reference(times_s: list[float]) -> list[list[float]]:
    """Beat by beat, as the docstring tells it."""
    rows, last = [], len(times_s) - 1
    between = [min(max(later - earlier, 0.1), 5.0) for earlier, later in pairwise(times_s)] or [1.0]
    past = [between[0]]
    for i in range(len(times_s)):
        past += between[i - 1 : i] if i else []
        before, after = past[-1], between[min(i, last - 1)] if last else 1.0
        ten = ([between[0]] * 10 + past[:-1])[-10:]
        mean, local = sum(past) / len(past), sum(ten) / 10
        spread = median(abs(rr - median(ten)) for rr in ten) / local
        ratios = [before, after, before / mean, after / mean, before / after, before / local]
        rows.append([*map(math.log, ratios), math.log(1 + 10 * spread)])
    return rows


times = st.lists(st.floats(0, 8), min_size=1, max_size=40).map(lambda gaps: np.cumsum(gaps))


@settings(deadline=None)
@given(times)
def test_features_are_those_of_the_slow_reference(times_s: np.ndarray) -> None:
    found = rr_features(times_s)
    assert (found.shape, found.dtype) == ((len(times_s), len(FEATURES)), np.float32)
    np.testing.assert_allclose(found, reference(times_s.tolist()), rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@given(times, times, st.data())
def test_nothing_after_the_next_beat_is_looked_at(times_s: np.ndarray, other: np.ndarray, data: st.DataObject) -> None:
    beat = data.draw(st.integers(0, len(times_s) - 1))
    until = times_s[: beat + 2]
    changed = np.concatenate([until, until[-1] + other])
    if beat + 2 <= len(times_s):
        np.testing.assert_array_equal(rr_features(changed)[: beat + 1], rr_features(times_s)[: beat + 1])


def test_an_early_beat_with_a_pause_stands_out() -> None:
    features = rr_features(np.array([0, 0.8, 1.6, 2.1, 3.2, 4.0]))
    assert features[:, 2].argmin() == features[:, 4].argmin() == features[:, 5].argmin() == 3
    assert np.exp(features[3, :2]) == pytest.approx([0.5, 1.1])


def test_a_beat_is_early_against_the_mean_so_far_and_not_for_a_gap_before_it() -> None:
    times_s = np.array([0, 0.8, 1.6, 2.1, 3.2, 4.0, 9.0, 9.8])
    assert np.flatnonzero(is_early(times_s)).tolist() == [3, 7]  # after 5 s, which make the mean what it is not
    assert np.flatnonzero(is_early(times_s, np.diff(times_s) > 2)).tolist() == [3]


def test_fibrillation_is_irregular_and_a_single_early_beat_is_not() -> None:
    rng = np.random.default_rng(0)
    early = rr_features(np.cumsum(np.where(np.arange(100) == 50, 0.5, 0.8)))[:, 6]
    assert early.max() < 0.1 < np.median(rr_features(np.cumsum(rng.uniform(0.5, 1.1, 100)))[20:, 6])


def test_an_interval_over_a_gap_is_not_known_and_takes_nothing_with_it() -> None:
    peaks = np.r_[np.arange(100, 2000, 200), np.arange(9000, 12000, 200)]
    over = over_gaps(peaks, np.array([[0, 50], [2000, 8900], [11950, 20000]]))
    assert np.flatnonzero(over).tolist() == [9]
    np.testing.assert_allclose(rr_features(peaks / 250, over), rr_features(np.arange(len(peaks)) * 0.8), atol=1e-6)
    assert np.abs(rr_features(peaks / 250) - rr_features(peaks / 250, over)).max() > 1


@pytest.mark.parametrize(
    ("unknown", "taken"),
    [
        ([0, 0, 0], [1, 2, 3]),
        ([0, 1, 0], [1, 1, 3]),
        ([1, 1, 0], [3, 3, 3]),
        ([0, 1, 1], [1, 1, 1]),
        ([1, 1, 1], [1, 2, 3]),
    ],
)
def test_an_unknown_interval_is_as_the_last_known_one(unknown: list[int], taken: list[float]) -> None:
    assert filled_intervals(np.array([1.0, 2.0, 3.0]), np.array(unknown, bool)).tolist() == taken


def test_without_beats_there_are_no_rows() -> None:
    assert rr_features(np.array([])).shape == (0, len(FEATURES))
