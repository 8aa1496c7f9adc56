"""The preparation of a whole lead before rows are cut from it: filters by name, and resampling.

for step in filters.parse("baseline+bandpass:0.5:40"):
    signal = step(signal, 360)
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import UsageError
from toolbox.registry import pick

Signal = NDArray[np.floating]
Step = Callable[[Signal, float], Signal]
BASELINE_S = (0.2, 0.6)  # of the two median filters
ORDER = 2  # of the Butterworth filter, which runs forwards and backwards
BAND_HZ = (0.5, 40.0)


def parse(text: str) -> list[Step]:
    """The filters of `text` in their order: none, or baseline and bandpass:LOW:HIGH, joined by +. Raises UsageError."""
    steps: list[Step] = []
    for part in text.split("+"):
        name, *numbers = part.strip().split(":")
        build = pick("filter", FILTERS, name)
        if (name == "none" and text.strip() != "none") or (numbers and name != "bandpass"):
            hint = "none, baseline, bandpass:0.5:40 or the two with +"
            raise UsageError(f"--filter {text[:60]} cannot be read", hint=hint)
        steps += build(*numbers)
    return steps


def remove_baseline(signal: Signal, rate_hz: float) -> Signal:
    """The signal (C, T) less its baseline: a median filter of 200 ms removes P waves and QRS, one of 600 ms the T
    waves.

    de Chazal, O'Dwyer & Reilly, IEEE Trans Biomed Eng 51(7):1196-1206, 2004. The first and last sample are repeated at
    the ends.
    """
    from scipy.ndimage import median_filter

    baseline = signal
    for width_s in BASELINE_S:
        samples = 2 * round(width_s * rate_hz / 2) + 1
        baseline = np.stack([median_filter(lead, samples, mode="nearest") for lead in baseline])  # much faster by lead
    return signal - baseline


def band_pass(signal: Signal, rate_hz: float, *, low_hz: float, high_hz: float) -> Signal:
    """The signal (C, T) from `low_hz` to `high_hz` by a Butterworth filter, forwards and backwards to delay no wave."""
    from scipy.signal import butter, sosfiltfilt

    if high_hz >= rate_hz / 2:
        what = f"--filter: {high_hz:g} Hz is not below half the recording's {rate_hz:g} Hz"
        raise UsageError(what, hint=f"bandpass:{BAND_HZ[0]:g}:{min(BAND_HZ[1], 0.4 * rate_hz):g}")
    sections = butter(ORDER, (low_hz, high_hz), "bandpass", fs=rate_hz, output="sos")
    return sosfiltfilt(sections, signal, axis=-1, padlen=min(int(rate_hz), signal.shape[-1] - 1))


def _band(low: str = str(BAND_HZ[0]), high: str = str(BAND_HZ[1]), *more: str) -> list[Step]:
    try:
        low_hz, high_hz = float(low), float(high)
    except ValueError:
        low_hz = high_hz = math.nan
    if more or not 0 < low_hz < high_hz < math.inf:
        text = ":".join((low, high, *more))[:60]
        what = f"--filter bandpass:{text}, expected two frequencies in Hz, the lower one first"
        raise UsageError(what, hint="bandpass:0.5:40")
    return [partial(band_pass, low_hz=low_hz, high_hz=high_hz)]


FILTERS: dict[str, Callable[..., list[Step]]] = {"none": list, "baseline": lambda: [remove_baseline], "bandpass": _band}


def resample(signal: Signal, rate_hz: float, to_hz: float) -> Signal:
    """The signal (T,) or (C, T) of `rate_hz` at `to_hz`, by a polyphase filter; a constant stays constant."""
    from scipy.signal import resample_poly

    ratio = resampling(rate_hz, to_hz)
    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="median")


def resampling(rate_hz: float, to_hz: float) -> Fraction:
    """The number of samples at `to_hz` for one at `rate_hz`, as in `resample`."""
    return (Fraction(to_hz) / Fraction(rate_hz)).limit_denominator(10_000)  # resample_poly's filter grows with it


def around(signal: Signal, places: NDArray[np.floating], first: int, samples: int) -> NDArray[np.float32]:
    """Rows (N, C, samples) of a signal (C, T), each from `first` samples after one of the `places` (N,) on (before it
    if negative); the first and last sample of the signal are repeated beyond its ends."""
    starts = np.round(places).astype(int) + first
    time = (starts[:, None] + np.arange(samples)).clip(0, signal.shape[1] - 1)
    return signal.astype(np.float32)[:, time].swapaxes(0, 1)
