"""Rows around R peaks: where the peak stands, what is filtered, resampled and normalised, and which choices are
refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, medfilt, resample_poly, sosfiltfilt

from loaders import filters
from loaders.families.beats import NORMALISATIONS, Recipe, usual_beats
from toolbox.errors import UsageError

PEAKS = np.array([100, 400, 688, 1048, 1300])


def rows(recipe: Recipe, signal: np.ndarray, rate_hz: float, peaks: np.ndarray) -> np.ndarray:
    """The rows of a signal (C, T), cut as those of a record."""
    return recipe.normalised(recipe.prepared(signal, rate_hz), recipe.places(peaks, rate_hz))


def ecg(leads: int = 1, rate_hz: float = 360, samples: int = 1440) -> np.ndarray:
    """Narrow peaks at PEAKS, in mV, each lead twice as high as the one before (C, T)."""
    time = np.arange(samples)
    one = 0.1 * np.sin(time / 90) + sum(np.exp(-(((time - peak) / 6) ** 2)) for peak in PEAKS)
    return np.stack([one * 2**i for i in range(leads)])


@pytest.mark.parametrize("window", ["-0.4,0.8", "-0.1,0.2", "0,0.3", "-1,1", "-0.333,0.111"])
@pytest.mark.parametrize("rate", [125, 360, 250, 100.5])
def test_the_r_peak_stands_at_one_sample_of_every_row(window: str, rate: float) -> None:
    recipe = Recipe.of(window=window, rate=rate)
    start, end = map(float, window.split(","))
    x = rows(recipe, ecg(), 360, PEAKS)
    assert x.shape == (5, 1, round((end - start) * rate))
    assert x.dtype == np.float32
    assert recipe.r_peak == min(round(-start * rate), recipe.samples - 1)
    near = x[:, 0, max(0, recipe.r_peak - 12) : recipe.r_peak + 12]
    assert (np.abs(near.argmax(1) + max(0, recipe.r_peak - 12) - recipe.r_peak) <= 1).all()


def test_rows_are_slices_of_the_signal_resampled_by_scipy() -> None:
    signal, recipe = ecg(2), Recipe.of()
    whole = resample_poly(signal, 25, 72, axis=1, padtype="median")
    x = rows(recipe, signal, 360, PEAKS)
    for row, peak in zip(x[1:4], PEAKS[1:4], strict=True):
        start = round(peak * 125 / 360) - 50
        np.testing.assert_allclose(row, whole[:, start : start + 150], rtol=1e-5, atol=1e-6)


def test_at_the_signals_own_rate_rows_are_the_signal_itself() -> None:
    signal = ecg()
    x = rows(Recipe.of(rate=360, window="-0.1,0.2"), signal, 360, PEAKS)
    for row, peak in zip(x[:, 0], PEAKS, strict=True):
        np.testing.assert_allclose(row, signal[0, peak - 36 : peak + 72], atol=1e-6)


def test_no_beat_is_lost_at_the_ends_where_the_first_and_last_sample_go_on() -> None:
    signal = np.arange(1.0, 101)[None]
    x = rows(Recipe.of(rate=100, window="-0.05,0.05"), signal, 100, np.array([0, 2, 99]))
    np.testing.assert_allclose(
        x[:, 0], [[1] * 5 + [1, 2, 3, 4, 5], [1] * 3 + [1, 2, 3, 4, 5, 6, 7], [95, 96, 97, 98, 99] + [100] * 5]
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(30, 400), st.integers(0, 99))
def test_the_baseline_is_that_of_two_median_filters_away_from_the_ends(rate_hz: int, seed: int) -> None:
    signal = np.random.default_rng(seed).normal(size=(2, 3 * rate_hz)).cumsum(1)
    sizes = [2 * round(width * rate_hz / 2) + 1 for width in (0.2, 0.6)]
    expected = np.stack([lead - medfilt(medfilt(lead, sizes[0]), sizes[1]) for lead in signal])
    inside = slice(sum(sizes), -sum(sizes))
    np.testing.assert_allclose(filters.remove_baseline(signal, rate_hz)[:, inside], expected[:, inside])


def test_the_baseline_filter_takes_wander_out_and_leaves_the_r_peaks() -> None:
    time_s = np.arange(3600) / 360
    wander = 0.5 * np.sin(2 * np.pi * 0.3 * time_s)
    peaks = np.where(np.arange(3600) % 300 == 150, 1.0, 0)
    left = filters.remove_baseline((peaks + wander)[None], 360)[0, 300:-300]
    assert np.abs(left - peaks[300:-300]).max() < 0.1


def test_the_band_pass_is_scipys_and_delays_nothing() -> None:
    signal = np.random.default_rng(0).normal(size=(2, 2000))
    [step] = filters.parse("bandpass:0.5:40")
    expected = sosfiltfilt(butter(2, (0.5, 40), "bandpass", fs=360, output="sos"), signal, axis=1, padlen=360)
    np.testing.assert_allclose(step(signal, 360), expected)
    x = rows(Recipe.of(filter="baseline+bandpass:0.5:40"), ecg(), 360, PEAKS)
    assert (np.abs(x[:, 0, 40:60].argmax(1) - 10) <= 1).all()


def test_filters_run_in_the_order_given() -> None:
    signal = ecg()
    one, two = filters.parse("baseline+bandpass:1:30")
    expected = rows(Recipe.of(rate=360), two(one(signal, 360), 360), 360, PEAKS)
    np.testing.assert_array_equal(
        rows(Recipe.of(rate=360, filter="baseline+bandpass:1:30"), signal, 360, PEAKS), expected
    )
    assert filters.parse("none") == []


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_normalised_rows_do_not_depend_on_the_leads_gain_and_offset(normalise: str) -> None:
    recipe = Recipe.of(normalise=normalise)
    x, other = (rows(recipe, signal, 360, PEAKS) for signal in (ecg(), 3 * ecg() - 2))
    assert np.allclose(x, other, atol=1e-4) == (normalise != "none")
    assert np.isfinite(rows(recipe, np.full((1, 1440), 1.235), 360, PEAKS)).all()


def test_normalisation_by_record_and_by_beat_is_what_it_says() -> None:
    beat = rows(Recipe.of(normalise="beat"), ecg(2), 360, PEAKS)
    np.testing.assert_allclose(beat.mean(2), 0, atol=1e-5)
    np.testing.assert_allclose(beat.std(2), 1, atol=1e-5)
    plain, record = (rows(Recipe.of(normalise=how, rate=360), ecg(), 360, PEAKS) for how in ("none", "record"))
    low, middle, high = np.percentile(ecg(), [25, 50, 75])
    np.testing.assert_allclose(record, (plain - middle) / (high - low), rtol=1e-3, atol=1e-3)
    window = rows(Recipe.of(normalise="typical", rate=360), ecg(), 360, PEAKS)
    middle = np.median(plain[usual_beats(PEAKS)], 0)
    np.testing.assert_allclose(window, (plain - middle) / np.ptp(middle, axis=1), rtol=1e-4, atol=1e-4)
    flat = rows(Recipe.of(normalise="beat"), np.full((1, 1440), 1.235), 360, PEAKS)
    assert not flat.any()


def test_a_typical_beat_is_of_beats_that_are_not_early_however_many_are() -> None:
    rr = np.tile([0.5, 0.5, 0.5, 1.5], 500)
    assert set(usual_beats(np.cumsum(rr)).tolist()) == set(range(3, 2000, 4))
    assert usual_beats(np.cumsum(np.ones(50))).tolist() == list(range(50))
    assert [len(usual_beats(np.arange(n))) for n in (0, 1, 2, 2000, 2001, 100_000)] == [0, 1, 2, 2000, 1001, 2000]


@pytest.mark.parametrize(("asked", "says"), [
    ({"window": "0.2,0.2"}, "--window 0.2,0.2, expected"),
    ({"window": "0.4,-0.4"}, "--window"),
    ({"window": "0.1,0.8"}, "with the R peak, 0, between"),
    ({"window": "-0.8,-0.1"}, "--window"),
    ({"window": "-11,1"}, "at most 10 s away"),
    ({"window": "-0.4"}, "--window"),
    ({"window": "a,b"}, "--window"),
    ({"window": "nan,1"}, "--window"),
    ({"window": "-0.001,0.001"}, "has 0 samples at 125 Hz"),
    ({"rate": 0}, "--rate is 0"),
    ({"rate": -125}, "--rate is -125"),
    ({"rate": float("nan")}, "--rate is nan"),
    ({"rate": 1e9}, "--rate is 1e"),
    ({"filter": "lowpass"}, "unknown --filter 'lowpass'"),
    ({"filter": "bandpass:40:0.5"}, "the lower one first"),
    ({"filter": "bandpass:a:b"}, "the lower one first"),
    ({"filter": "bandpass:1:2:3"}, "the lower one first"),
    ({"filter": "baseline:3"}, "cannot be read"),
    ({"filter": "none+baseline"}, "cannot be read"),
    ({"normalise": "zscore"}, "unknown --normalise"),
])  # fmt: skip
def test_a_choice_that_makes_no_rows_is_a_usage_error_in_one_line(asked: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        Recipe.of(**asked)
    assert "\n" not in str(caught.value)


def test_a_band_above_half_the_recordings_rate_is_refused() -> None:
    with pytest.raises(UsageError, match="200 Hz is not below half the recording's 360 Hz"):
        rows(Recipe.of(filter="bandpass:0.5:200"), ecg(), 360, PEAKS)
