"""Numbers of a rhythm: each by its definition from the R peaks, free of gain and polarity, finite for any signal."""

from itertools import pairwise

import numpy as np
import pytest

from loaders.synthetic import strips
from toolbox.ecg import rhythm, rpeaks
from toolbox.errors import DataError

RATE_HZ = 300
SIGNALS = {label: strips.strip(label, np.random.default_rng(3)) / 1000 for label in strips.LABELS}


@pytest.mark.parametrize("label", ["N", "A", "O"])
def test_each_number_is_that_of_its_definition(label: str) -> None:
    signal = SIGNALS[label]
    found = dict(zip(rhythm.NAMES, rhythm.numbers(signal, RATE_HZ), strict=True))
    rr = np.diff(rpeaks.in_signal(signal, RATE_HZ)) / RATE_HZ
    middle, steps = np.median(rr), [abs(after - before) for before, after in pairwise(rr)]
    bins = np.bincount(np.digitize(rr / middle, np.linspace(0.4, 1.8, 15)[1:-1]))
    away = abs(signal - np.median(signal))
    height = 2 * np.median(away) + np.percentile(away, 98) / 2
    expected = {
        "beats_per_s": (len(rr) + 1) / (len(signal) / RATE_HZ),
        "rr_median_s": middle,
        "rr_mean_s": rr.mean(),
        "rr_sd": rr.std() / middle,
        "rr_rmssd": np.sqrt(np.mean(np.square(steps))) / middle,
        "rr_change_median": np.median(steps) / middle,
        "rr_lowest": rr.min() / middle,
        "rr_highest": rr.max() / middle,
        "rr_90th": np.percentile(rr, 90) / middle,
        "rr_10th": np.percentile(rr, 10) / middle,
        "rr_changes_above_50_ms": np.mean([step > 0.05 for step in steps]),
        "rr_changes_above_tenth": np.mean([step > 0.1 * middle for step in steps]),
        "rr_entropy": -sum(n / len(rr) * np.log(n / len(rr)) for n in bins if n),
        "rr_correlation": ((rr[1:] - rr.mean()) * (rr[:-1] - rr.mean())).sum() / ((rr - rr.mean()) ** 2).sum(),
        "rr_short": np.mean(rr < 0.85 * middle),
        "rr_long": np.mean(rr > 1.1 * middle),
        "rr_short_then_long": np.mean((rr[:-1] < 0.85 * middle) & (rr[1:] > 1.1 * middle)),
        "length_30_s": len(signal) / RATE_HZ / 30,
        "signal_sd": signal.std() / height,
        "signal_change": sum(abs(b - a) for a, b in pairwise(signal)) / len(signal) * RATE_HZ / 100 / height,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("label", ["N", "A", "O"])
@pytest.mark.parametrize(("gain", "offset"), [(3, 0), (1, 2), (0.5, -1), (-1, 0)])
def test_gain_offset_and_polarity_change_no_number(label: str, gain: float, offset: float) -> None:
    signal = SIGNALS[label]
    np.testing.assert_allclose(
        rhythm.numbers(gain * signal + offset, RATE_HZ), rhythm.numbers(signal, RATE_HZ), rtol=1e-3, atol=1e-4
    )


def test_a_rate_too_low_for_r_peaks_is_refused_with_the_place() -> None:
    with pytest.raises(DataError, match=r"at least 50 Hz, the signal has 40 Hz \(some.hea\)"):
        rhythm.numbers(SIGNALS["N"], 40, where="some.hea")


def test_fibrillation_is_told_from_a_regular_rhythm() -> None:
    place = rhythm.NAMES.index("rr_rmssd")
    assert rhythm.numbers(SIGNALS["A"], RATE_HZ)[place] > 3 * rhythm.numbers(SIGNALS["N"], RATE_HZ)[place]


@pytest.mark.parametrize("signal", [
    np.zeros(3000), np.zeros(1), np.zeros(0), SIGNALS["N"][:150], SIGNALS["N"][:400], SIGNALS["~"],
    np.r_[np.zeros(2999), 5.0], np.full(3000, 7.0),
], ids=["zeros", "one sample", "nothing", "half a second", "a second", "noise", "a step", "constant"])  # fmt: skip
def test_every_signal_has_finite_numbers_in_bounds(signal: np.ndarray) -> None:
    found = rhythm.numbers(signal, RATE_HZ)
    assert found.shape == (len(rhythm.NAMES),)
    assert np.isfinite(found).all()
    assert -1 <= found.min() <= found.max() <= rhythm.LARGEST
