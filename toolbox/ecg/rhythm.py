"""The rhythm of a short recording in numbers: RR intervals by their R peaks, and the size and roughness of the signal.

    values = rhythm.numbers(signal, 300)    # (20,) float32, in the order of NAMES

Gain, offset and polarity of the lead change them only where other R peaks are found. Irregular intervals without a
pattern are the sign of atrial fibrillation (Camm et al., Eur Heart J 31(19):2369-2429, 2010).
"""

import numpy as np
from numpy.typing import NDArray

from toolbox.ecg import rpeaks
from toolbox.ecg.gaps import Signal

OF_RR = (
    "rr_median_s",
    "rr_mean_s",
    "rr_sd",
    "rr_rmssd",
    "rr_change_median",
    "rr_lowest",
    "rr_highest",
    "rr_90th",
    "rr_10th",
    "rr_changes_above_50_ms",
    "rr_changes_above_tenth",
    "rr_entropy",
    "rr_correlation",
    "rr_short",
    "rr_long",
    "rr_short_then_long",
)
NAMES = ("beats_per_s", *OF_RR, "length_30_s", "signal_sd", "signal_change")
VERSION = 1  # raised when a number changes, also by other R peaks: caches keep the numbers
LARGEST = 5.0  # of a number; a pause or an artefact says no more by being longer
SHORT, LONG, TENTH, SHORT_CHANGE_S = 0.85, 1.1, 0.1, 0.05
BINS = np.linspace(0.4, 1.8, 15)  # of RR intervals divided by their median
FEWEST = 3  # RR intervals, for numbers of them


def numbers(signal: Signal, rate_hz: float, *, where: str = "") -> NDArray[np.float32]:
    """NAMES (20,) of a lead (T,) in mV, from -1 to 5.

    Of RR intervals (R,) in s: median and mean; divided by the median their standard deviation, root mean square and
    median of successive differences, lowest, highest, 90th and 10th percentile; the parts of differences above 50 ms
    and above a tenth of the median; the entropy of intervals divided by the median, in nats; the correlation of
    successive intervals; the parts of intervals below 0.85 and above 1.1 of the median, and of a short one before a
    long one. All are 0 for fewer than three intervals. The standard deviation and the mean difference of successive
    samples, per hundredth of a second, are divided by the height of the lead. Raises DataError, with
    `where`, for a rate below 50 Hz.
    """
    signal = np.asarray(signal, np.float64)
    peaks = rpeaks.in_signal(signal, rate_hz, where=where)
    away = np.abs(signal - np.median(signal)) if len(signal) else np.zeros(1)
    height = (4 * np.median(away) + np.percentile(away, 98)) / 2
    length_s = max(len(signal), 1) / rate_hz
    change = np.abs(np.diff(signal, prepend=signal[:1])).mean() * rate_hz / 100 if len(signal) else 0.0
    of_signal = np.array([signal.std(), change]) / height if height > 0 else np.zeros(2)
    values = np.concatenate([[len(peaks) / length_s], _of_rr(np.diff(peaks) / rate_hz), [length_s / 30], of_signal])
    return values.clip(-1, LARGEST).astype(np.float32)


def _of_rr(rr: NDArray[np.float64]) -> NDArray[np.float64]:
    """OF_RR (16,) of RR intervals (R,) in s."""
    if len(rr) < FEWEST:
        return np.zeros(len(OF_RR))
    median = np.median(rr)
    relative, change = rr / median, np.abs(np.diff(rr))
    counts = np.histogram(relative.clip(BINS[0], BINS[-1]), BINS)[0]
    part = counts[counts > 0] / len(rr)
    apart = rr - rr.mean()
    short, long = relative < SHORT, relative > LONG
    return np.array([
        median,
        rr.mean(),
        relative.std(),
        np.sqrt((change**2).mean()) / median,
        np.median(change) / median,
        relative.min(),
        relative.max(),
        *np.percentile(relative, [90, 10]),
        (change > SHORT_CHANGE_S).mean(),
        (change > TENTH * median).mean(),
        -(part * np.log(part)).sum(),
        (apart[1:] * apart[:-1]).sum() / max((apart**2).sum(), np.finfo(float).tiny),
        short.mean(),
        long.mean(),
        (short[:-1] & long[1:]).mean(),
    ])  # fmt: skip
