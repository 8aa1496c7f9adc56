"""RR features against a slow reference, and that they look one beat ahead at most."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.rhythm import FEATURES, rr_features


def reference(times_s: list[float]) -> list[list[float]]:
    """Beat by beat, as the docstring tells it."""
    rows, last = [], len(times_s) - 1
    between = [min(max(later - earlier, 0.1), 5.0) for earlier, later in pairwise(times_s)]
    for i in range(len(times_s)):
        if not between:
            rows.append([1.0, 1.0, 1.0, 1.0, 1.0])
            continue
        past = between[:i] or between[:1]
        following = between[i] if i < last else between[-1]
        recent = past[-10:]
        rows.append([past[-1], following, past[-1] / (sum(past) / len(past)), past[-1] / following, sum(recent) / len(recent)])
    return rows


times = st.lists(st.floats(0, 8), min_size=1, max_size=40).map(lambda gaps: np.cumsum(gaps))


@settings(deadline=None)
@given(times)
def test_features_are_those_of_the_slow_reference(times_s: np.ndarray) -> None:
    found = rr_features(times_s)
    assert (found.shape, found.dtype) == ((len(times_s), len(FEATURES)), np.float32)
    np.testing.assert_allclose(found, reference(times_s.tolist()), rtol=1e-5)


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
    assert features[:, 2].argmin() == features[:, 3].argmin() == 3
    assert features[3, :2] == pytest.approx([0.5, 1.1])


def test_without_beats_there_are_no_rows() -> None:
    assert rr_features(np.array([])).shape == (0, len(FEATURES))
