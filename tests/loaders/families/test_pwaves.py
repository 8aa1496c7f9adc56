"""P waves against those before: by a slow reference, and that no later beat is looked at."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helpers.data import MITDB_ZIP
from loaders import get_data
from loaders.families.beat_features import ENOUGH, p_features
from loaders.families.beat_features import P_FEATURES as FEATURES
from loaders.families.beat_features import P_FEWEST as FEWEST
from loaders.families.beat_features import P_RECENT as RECENT
from loaders.families.beat_features import p_wave_rows as rows

RATE_HZ = 125


def beating(rng: np.random.Generator, *, alike: bool, beats: int = 150, leads: int = 1) -> tuple[NDArray, NDArray]:
    """A signal (C, T) with a bump before each R peak, the same in each beat or anywhere, and the R peaks."""
    peaks = 200 + 100 * np.arange(beats)
    time = np.arange(peaks[-1] + 200)
    at = peaks - 20 + (0 if alike else rng.integers(-60, 60, beats))
    bumps = (np.exp(-(((time - at[:, None]) / 3) ** 2)) * (1 if alike else rng.choice([-1, 1], (beats, 1)))).sum(0)
    return np.tile(bumps, (leads, 1)) + 0.02 * rng.normal(size=(leads, len(time))), peaks


def of(signal: NDArray, peaks: NDArray) -> tuple[NDArray, NDArray]:
    return tuple(p_features(rows(signal, RATE_HZ, peaks), np.ones(len(peaks), bool)).T)


@pytest.mark.parametrize("leads", [1, 2])
def test_p_waves_that_stand_before_each_beat_are_alike_and_what_fibrillates_is_not(leads: int) -> None:
    coherence, likeness = of(*beating(np.random.default_rng(0), alike=True, leads=leads))
    assert (coherence == np.float32(ENOUGH)).all()
    assert (likeness[FEWEST:] > 0.9).all()
    coherence, likeness = of(*beating(np.random.default_rng(0), alike=False, leads=leads))
    assert np.median(coherence[RECENT:]) < 0.1
    assert np.median(likeness[RECENT:]) < 0.5


def test_neither_offset_nor_drift_nor_gain_counts() -> None:
    signal, peaks = beating(np.random.default_rng(1), alike=True)
    changed = 3 * signal + 5 + 0.01 * np.arange(signal.shape[1])
    np.testing.assert_allclose(rows(changed, RATE_HZ, peaks), rows(signal, RATE_HZ, peaks), atol=1e-3)


def test_a_beat_from_elsewhere_in_the_atria_is_not_like_the_others() -> None:
    signal, peaks = beating(np.random.default_rng(2), alike=True)
    signal[:, peaks[60] + np.arange(-35, 0)] *= -1
    _, likeness = of(signal, peaks)
    assert likeness[FEWEST:].argmin() == 60 - FEWEST
    assert likeness[60] < -0.9


def reference(cut: NDArray, usable: NDArray, beat: int) -> NDArray:
    """Lead by lead, as the docstring tells it."""
    values = []
    for lead in range(cut.shape[1]):
        before = cut[np.flatnonzero(usable[:beat])[-RECENT:], lead]
        before = before[before.any(1)].astype(float)
        if len(before) < FEWEST:
            values.append((ENOUGH, 0))
            continue
        mean, chance = before.mean(0), 1 / len(before)
        power = (mean**2).sum() / (before**2).sum(1).mean()
        coherence = min(max(0, (power - chance) / (1 - chance)), ENOUGH)
        values.append((coherence, float(mean @ cut[beat, lead]) / np.linalg.norm(mean)))
    return np.mean(values, axis=0)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 2))
def test_both_are_those_of_the_slow_reference_and_no_later_beat_is_looked_at(seed: int, beats: int, leads: int) -> None:
    rng = np.random.default_rng(seed)
    cut = rng.normal(size=(beats, leads, 28)) + rng.uniform(0, 1) * rng.normal(size=28)
    cut = (cut / np.linalg.norm(cut, axis=2, keepdims=True) * (rng.random((beats, leads, 1)) > 0.1)).astype(np.float32)
    usable = rng.random(beats) > 0.3
    found = p_features(cut, usable)
    np.testing.assert_allclose(found, [reference(cut, usable, beat) for beat in range(beats)], atol=1e-5)
    beat = int(rng.integers(beats))
    cut[beat + 1 :], usable[beat:] = rng.normal(size=cut[beat + 1 :].shape), True
    np.testing.assert_array_equal(p_features(cut, usable)[: beat + 1], found[: beat + 1])


def test_where_nothing_can_be_compared_nothing_is_said_against_the_beat() -> None:
    flat = rows(np.zeros((1, 5000)), RATE_HZ, np.arange(300, 4500, 100))
    assert (p_features(flat, np.ones(len(flat), bool)) == np.float32((ENOUGH, 0))).all()
    assert p_features(flat[:0], np.ones(0, bool)).shape == (0, len(FEATURES))


def test_of_real_records_it_is_fibrillation_that_has_no_p_waves(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Record 203 of DS1 fibrillates throughout, 101 and 115 never."""
    train = get_data(
        "mitdb", tmp_path, data_file=shared(MITDB_ZIP), val_fraction=0, filter="baseline", p_waves=True
    ).train
    coherence, likeness = train.features.T
    medians = {name: np.median(coherence[train.record == name]) for name in ("101", "115", "203")}
    assert medians["203"] < 0.1 < ENOUGH == pytest.approx(min(medians["101"], medians["115"]))
    for name in ("118", "220"):
        normal, ectopic = (np.median(likeness[(train.record == name) & (train.y == k)]) for k in (0, 1))
        assert normal > 0.8
        assert ectopic < 0
