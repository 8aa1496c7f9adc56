"""RR features against a slow reference, and that they look one beat ahead at most."""

import math
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.rhythm import FEATURES, rr_features


def reference(times_s: list[float]) -> list[list[float]]:
    """Beat by beat, as the docstring tells it."""
    rows, last = [], len(times_s) - 1
    between = [min(max(later - earlier, 0.1), 5.0) for earlier, later in pairwise(times_s)] or [1.0]
    past = [between[0]] * 101
    for i in range(len(times_s)):
        past += between[i - 1 : i] if i else between[:1]
        before, after = past[-1], between[min(i, last - 1)] if last else 1.0
        mean = sum(past[101:]) / len(past[101:])
        both = (before + after) / 2 / median(past[-11:-1])
        ratios = [before, after, before / mean, after / mean, before / after, before / past[-2], past[-2] / past[-3], both]
        rows.append([*map(math.log, ratios), *against(past, 10), *against(past, 30), *against(past, 100)])
    return rows


def against(past: list[float], count: int) -> list[float]:
    """The last interval against those before it."""
    *window, rr = past[-count - 1 :]
    middle = median(window)
    spread = median(abs(each - middle) for each in window) / middle
    steps = median(abs(later - earlier) for earlier, later in pairwise(window)) / middle
    shorter = sum(each < rr for each in window) / count
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
    for first in (4000, 8100):  # from here on, all that a beat looks back at but the mean of all is within the cut
        part = rr_features(times_s[first:])
        np.testing.assert_allclose(part[102:, 7:], whole[first + 102 :, 7:], rtol=1e-5, atol=1e-6)


def test_without_beats_there_are_no_rows() -> None:
    assert rr_features(np.array([])).shape == (0, len(FEATURES))
