"""P waves against those before: by a slow reference, and that no later beat is looked at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loaders.pwaves import FEATURES, FEWEST, RECENT, UNKNOWN, p_features, rows

RATE_HZ = 125


def beating(rng: np.random.Generator, *, alike: bool, beats: int = 150, leads: int = 1) -> tuple[NDArray, NDArray]:
    """A signal (C, T) with a bump before each R peak, the same in each beat or anywhere, and the R peaks."""
    peaks = 200 + 100 * np.arange(beats)
    time = np.arange(peaks[-1] + 200)
    at = peaks - 20 + (0 if alike else rng.integers(-60, 60, beats))
    bumps = (np.exp(-(((time - at[:, None]) / 3) ** 2)) * (1 if alike else rng.choice([-1, 1], (beats, 1)))).sum(0)
    return np.tile(bumps, (leads, 1)) + 0.02 * rng.normal(size=(leads, len(time))), peaks


@pytest.mark.parametrize("leads", [1, 2])
@pytest.mark.parametrize("alike", [True, False])
def test_p_waves_that_stand_before_each_beat_are_alike_and_what_fibrillates_is_not(alike: bool, leads: int) -> None:
    signal, peaks = beating(np.random.default_rng(0), alike=alike, leads=leads)
    found = p_features(rows(signal, RATE_HZ, peaks), np.ones(len(peaks), bool))
    assert (found.shape, found.dtype) == ((len(peaks), len(FEATURES)), np.float32)
    coherence, likeness = found[20:, 1:3], found[20:, 4:]
    assert ((coherence > 0.9) & (likeness > 0.9)).all() if alike else (coherence < 0.2).all() and np.median(likeness) < 0.5


def test_neither_offset_nor_drift_nor_gain_counts() -> None:
    signal, peaks = beating(np.random.default_rng(1), alike=True)
    changed = 3 * signal + 5 + 0.01 * np.arange(signal.shape[1])
    np.testing.assert_allclose(rows(changed, RATE_HZ, peaks), rows(signal, RATE_HZ, peaks), atol=1e-3)


def test_a_beat_from_elsewhere_in_the_atria_is_not_like_the_others() -> None:
    signal, peaks = beating(np.random.default_rng(2), alike=True)
    at = peaks[60] + np.arange(-35, 0)
    signal[:, at] *= -1
    found = p_features(rows(signal, RATE_HZ, peaks), np.ones(len(peaks), bool))
    assert found[20:, 4].argmin() == 40
    assert found[60, 4] < -0.9


def reference(cut: NDArray, usable: NDArray, beat: int, count: int) -> tuple[float, float]:
    """Lead by lead, as the docstring tells it."""
    values = []
    for lead in range(cut.shape[1]):
        before = cut[np.flatnonzero(usable[:beat])[-count:], lead]
        before = before[before.any(1)].astype(float)
        if len(before) < FEWEST:
            values.append(UNKNOWN)
            continue
        mean, chance = before.mean(0), 1 / len(before)
        power = (mean**2).sum() / (before**2).sum(1).mean()
        values.append((max(0, (power - chance) / (1 - chance)), float(mean @ cut[beat, lead]) / np.linalg.norm(mean)))
    return tuple(np.mean(values, axis=0))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 2))
def test_both_are_those_of_the_slow_reference_and_no_later_beat_is_looked_at(seed: int, beats: int, leads: int) -> None:
    rng = np.random.default_rng(seed)
    cut = rng.normal(size=(beats, leads, 28)) + rng.uniform(0, 3) * rng.normal(size=28)
    cut = (cut / np.linalg.norm(cut, axis=2, keepdims=True) * (rng.random((beats, leads, 1)) > 0.1)).astype(np.float32)
    usable = rng.random(beats) > 0.3
    found = p_features(cut, usable)
    expected = [np.transpose([reference(cut, usable, beat, count) for count in RECENT]).ravel() for beat in range(beats)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    beat = int(rng.integers(beats))
    cut[beat + 1 :], usable[beat:] = rng.normal(size=cut[beat + 1 :].shape), True
    np.testing.assert_array_equal(p_features(cut, usable)[: beat + 1], found[: beat + 1])


def test_where_nothing_can_be_compared_that_is_what_is_said() -> None:
    flat = rows(np.zeros((1, 5000)), RATE_HZ, np.arange(300, 4500, 100))
    coherence, likeness = np.split(p_features(flat, np.ones(len(flat), bool)), 2, axis=1)
    assert (coherence == UNKNOWN[0]).all()
    assert (likeness == UNKNOWN[1]).all()
    assert p_features(flat[:0], np.ones(0, bool)).shape == (0, len(FEATURES))
