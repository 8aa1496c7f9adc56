"""Features beside beats: RR intervals and P waves against slow references, and no later beat is looked at."""

import math
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helpers.data import MITDB_ZIP
from loaders import get_data
from loaders.families.beat_features import (
    ALL,
    ENOUGH,
    P_FEATURES,
    RR_FEATURES,
    filled_intervals,
    is_early,
    over_gaps,
    p_features,
    rr_features,
)
from loaders.families.beat_features import P_FEWEST as FEWEST
from loaders.families.beat_features import P_RECENT as RECENT
from loaders.families.beat_features import p_wave_rows as rows
from toolbox.errors import UsageError

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


def test_a_beat_without_others_to_compare_counts_as_like_them() -> None:
    flat = rows(np.zeros((1, 5000)), RATE_HZ, np.arange(300, 4500, 100))
    assert (p_features(flat, np.ones(len(flat), bool)) == np.float32((ENOUGH, 0))).all()
    assert p_features(flat[:0], np.ones(0, bool)).shape == (0, len(P_FEATURES))


def test_fibrillation_in_real_records_has_no_p_waves(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Record 203 of DS1 fibrillates throughout, 101 and 115 never; 100 only stands for the test."""
    folder = tmp_path / "records"
    folder.mkdir()
    with zipfile.ZipFile(shared(MITDB_ZIP)) as archive:
        for member in map(Path, archive.namelist()):
            if member.stem in ("100", "101", "115", "118", "203", "220") and len(member.parts) < 3:
                (folder / member.name).write_bytes(archive.read(str(member)))
    how = {"split": "leave-one-record-out:100", "val_fraction": 0, "filter": "baseline", "p_waves": True}
    train = get_data("mitdb", tmp_path, data_file=folder, **how).train
    coherence, likeness = train.features.T
    medians = {name: np.median(coherence[train.record == name]) for name in ("101", "115", "203")}
    assert medians["203"] < 0.1 < ENOUGH == pytest.approx(min(medians["101"], medians["115"]))
    for name in ("118", "220"):
        normal, ectopic = (np.median(likeness[(train.record == name) & (train.y == k)]) for k in (0, 1))
        assert normal > 0.8
        assert ectopic < 0


# RR intervals


def rr_reference(times_s: list[float]) -> list[list[float]]:
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
    assert (found.shape, found.dtype) == ((len(times_s), len(RR_FEATURES)), np.float32)
    np.testing.assert_allclose(found, rr_reference(times_s.tolist()), rtol=1e-5, atol=1e-6)


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


@pytest.mark.parametrize(("unknown", "taken"), [
    ([0, 0, 0], [1, 2, 3]),
    ([0, 1, 0], [1, 1, 3]),
    ([1, 1, 0], [3, 3, 3]),
    ([0, 1, 1], [1, 1, 1]),
    ([1, 1, 1], [1, 2, 3]),
])  # fmt: skip
def test_an_unknown_interval_is_as_the_last_known_one(unknown: list[int], taken: list[float]) -> None:
    assert filled_intervals(np.array([1.0, 2.0, 3.0]), np.array(unknown, bool)).tolist() == taken


def test_without_beats_there_are_no_rows() -> None:
    assert rr_features(np.array([])).shape == (0, len(RR_FEATURES))


# Beside the beats of a dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def test_a_dataset_has_the_requested_features(folder: Path) -> None:
    everything = get_data("synth_patients", folder, rr_features=True, p_waves=True).train
    for rr, p in ((False, False), (True, False), (False, True), (True, True)):
        data = get_data("synth_patients", folder, rr_features=rr, p_waves=p)
        names = (*RR_FEATURES[: 7 * rr], *P_FEATURES[: 2 * p])
        columns = [ALL.index(name) for name in names]
        assert data.spec.features == names
        assert data.train.features.shape == (len(data.train), len(names))
        np.testing.assert_array_equal(data.train.features, everything.features[:, columns])


def test_supraventricular_beats_come_after_p_waves_of_another_kind(folder: Path) -> None:
    """Those of the generated patients have three fifths of a P wave: less like the others, but for noise the same."""
    train = get_data("synth_patients", folder, p_waves=True).train
    likeness = train.features[:, P_FEATURES.index("p_likeness")]
    by_class = [np.median(likeness[train.y == k]) for k in range(5)]
    assert by_class[0] == max(by_class)
    assert by_class[2] < by_class[1] < by_class[0]


def test_rows_too_coarse_to_show_a_p_wave_are_a_usage_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="40 Hz or more, --rate is 30"):
        get_data("synth_patients", folder, p_waves=True, rate=30)
