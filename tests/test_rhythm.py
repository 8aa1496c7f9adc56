"""RR features against a slow reference, and that they look one beat ahead at most."""

import math
from itertools import chain, pairwise
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.rhythm import FEATURES, known_only, over_gaps, rr_features


def reference(times_s: list[float]) -> list[list[float]]:
    """Beat by beat, as the docstring tells it."""
    rows, last = [], len(times_s) - 1
    between = [min(max(later - earlier, 0.1), 5.0) for earlier, later in pairwise(times_s)] or [1.0]
    past = between[:1]
    for i in range(len(times_s)):
        before, after = between[max(i - 1, 0)], between[min(i, last - 1)] if last else 1.0
        known = past[::-1]
        past += between[i - 1 : i]
        mean, earlier = sum(past) / len(past), [*known, known[-1]]
        both = (before + after) / 2 / median(repeated(known, 10))
        ratios = [before, after, before / mean, after / mean, before / after, before / earlier[0], earlier[0] / earlier[1], both]
        windows = [repeated(known, count) for count in (10, 30, 100, 300)]
        rows.append([*map(math.log, ratios), *chain.from_iterable(against(before, window) for window in windows)])
    return rows


def repeated(latest: list[float], count: int) -> list[float]:
    return (latest * count)[:count]


def against(rr: float, window: list[float]) -> list[float]:
    """An interval against those before it, the latest first."""
    middle = median(window)
    spread = median(abs(each - middle) for each in window) / middle
    steps = median(abs(later - earlier) for earlier, later in pairwise(window)) / middle
    shorter = sum((rr - each > 0.0005) + (rr - each >= -0.0005) for each in window) / 2 / len(window)
    distance = math.asinh((rr / middle - 1) / (spread + 0.02))
    return [math.log(rr / middle), distance, shorter, math.log(1 + 10 * spread), math.log(1 + 10 * steps)]


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


def column(features: np.ndarray, name: str) -> np.ndarray:
    return features[:, FEATURES.index(name)]


def test_an_early_beat_with_a_pause_stands_out() -> None:
    features = rr_features(np.array([0, 0.8, 1.6, 2.1, 3.2, 4.0]))
    for name in ("rr_previous_to_mean", "rr_previous_to_next", "rr_previous_to_one_before", "rr_to_median_10", "rr_distance_100"):
        assert column(features, name).argmin() == 3
    assert np.exp(features[3, :2]) == pytest.approx([0.5, 1.1])
    assert np.exp(column(features, "rr_both_to_median_10")[3]) == pytest.approx(1)  # the pause makes up for it


def test_fibrillation_is_irregular_an_early_beat_and_a_drifting_rate_are_not() -> None:
    rng = np.random.default_rng(0)
    fibrillating = np.cumsum(rng.uniform(0.5, 1.1, 200))
    for name in ("rr_irregularity_10", "rr_irregularity_30", "rr_steps_100"):
        early = column(rr_features(np.cumsum(np.where(np.arange(200) == 50, 0.5, 0.8))), name)
        drifting = column(rr_features(np.cumsum(np.linspace(0.6, 1.2, 200))), name)
        assert max(early.max(), drifting[name.startswith("rr_irr") * 200 :].max(initial=0)) < 0.1
        assert np.median(column(rr_features(fibrillating), name)[20:]) > 0.5


def test_in_a_record_of_many_beats_windows_are_taken_in_parts_that_meet() -> None:
    times_s = np.cumsum(np.random.default_rng(1).uniform(0.4, 1.2, 9000))
    whole = rr_features(times_s)
    for first in (4000, 8100):  # all that is looked back at, but the mean of all, lies within what is left after 302 beats
        part = rr_features(times_s[first:])
        np.testing.assert_allclose(part[302:, 7:], whole[first + 302 :, 7:], rtol=1e-5, atol=1e-6)


def test_an_interval_over_a_gap_is_not_known_and_takes_nothing_with_it() -> None:
    peaks = np.r_[np.arange(100, 2000, 200), np.arange(9000, 12000, 200)]
    over = over_gaps(peaks, np.array([[0, 50], [2000, 8900], [11950, 20000]]))
    assert np.flatnonzero(over).tolist() == [9]
    np.testing.assert_allclose(rr_features(peaks / 250, over), rr_features(np.arange(len(peaks)) * 0.8), atol=1e-6)
    assert np.abs(rr_features(peaks / 250) - rr_features(peaks / 250, over)).max() > 1


@pytest.mark.parametrize(
    ("unknown", "taken"),
    [([0, 0, 0], [1, 2, 3]), ([0, 1, 0], [1, 1, 3]), ([1, 1, 0], [3, 3, 3]), ([0, 1, 1], [1, 1, 1]), ([1, 1, 1], [1, 2, 3])],
)
def test_an_unknown_interval_is_as_the_last_known_one(unknown: list[int], taken: list[float]) -> None:
    assert known_only(np.array([1.0, 2.0, 3.0]), np.array(unknown, bool)).tolist() == taken


def test_without_beats_there_are_no_rows() -> None:
    assert rr_features(np.array([])).shape == (0, len(FEATURES))
