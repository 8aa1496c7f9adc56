"""R peaks of one lead, of any length and polarity: `detect(read, samples, rate_hz)`, or `in_signal(signal, rate_hz)`.

The slope's energy, as in Pan & Tompkins (IEEE TBME 32(3):230-236, 1985), but with symmetric windows: filter, slope,
moving mean. Its peaks above a fraction of the local level are beats. Then T waves and peaks between two regular beats
are removed, and a lower peak is added where a beat is overdue. Every step uses at most one minute around a sample, so
that reading in blocks gives the same beats as reading at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolbox.ecg.gaps import SHORT_S, Reader, Signal, bridged
from toolbox.errors import DataError

Samples = NDArray[np.int64]
LOWEST_HZ = 50
BLOCK_S, AROUND_S = 600, 60
BAND_HZ, FILTER_S, MEAN_S = (4, 20), 0.4, 0.14
REFRACTORY_S = 0.2
WAVE_S, WAVE_PART = 0.36, 0.4  # a T wave follows its beat within this time, with less than this part of its energy
# The level: median of the highest energy of 1.5 s, over 4 s to either side.
LEVEL_S, LEVEL_AROUND_S, GRID_S = (1.5, 4, 0.25)
LOWEST_LEVEL = 1.0  # mV/s: a lead that was off has noise of a level of its own
HIGH, LOW = 0.3, 0.18  # of the level: a beat, and one that is overdue
BEATS = 15  # their median RR interval is the usual one
OVERDUE = 1.6  # RR intervals
IN_TIME, LESSER = 0.1, 0.8  # two intervals that make a usual one, within a tenth, with a peak of less energy between
ROUNDS = 3
PIECE_S, PIECES = 10, 60  # pieces that tell a lead from noise
LEAST_PEAKED = 4.0  # kurtosis; noise has 3, every lead of MIT-BIH above 4.9, except V1 of 101, which shows no beats
PEAK_S, OPPOSITE = 0.08, 1.2  # R peak: the highest value nearby, or the lowest if this factor larger


@dataclass
class Candidates:
    """Peaks of the energy: sample, part of the local level, and whether each counts as a beat, all (N,)."""

    at: Samples
    part: NDArray[np.float64]
    taken: NDArray[np.bool_]

    @property
    def beats(self) -> NDArray[np.int64]:
        """The indices of the taken peaks."""
        return np.flatnonzero(self.taken)


def in_signal(signal: Signal, rate_hz: float, *, where: str = "") -> Samples:
    """The R peaks (N,) of a signal (T,) in mV, NaN where it is missing. Raises as `detect`."""
    return detect(lambda first, last: signal[first:last], len(signal), rate_hz, where=where)


def detect(read: Reader, samples: int, rate_hz: float, *, block_s: float = BLOCK_S, where: str = "") -> Samples:
    """The R peaks (N,) of a lead, read `block_s` at a time. Raises DataError for a rate below 50 Hz."""
    if rate_hz < LOWEST_HZ:
        what = f"beat detection needs at least {LOWEST_HZ} Hz, the signal has {rate_hz:g} Hz"
        raise DataError(what, where=where, hint=f"{LOWEST_HZ} Hz or more")
    step = _odd(GRID_S * rate_hz)
    block, around = (round(seconds * rate_hz / step) * step for seconds in (block_s, AROUND_S))
    found = [np.empty(0, dtype=np.int64)]
    for first in range(0, samples, block):
        start = max(first - around, 0)
        peaks = start + _peaks(read(start, min(first + block + around, samples)), rate_hz)
        found.append(peaks[(peaks >= first) & (peaks < first + block)])
    return np.concatenate(found)


def is_noise(read: Reader, samples: int, rate_hz: float) -> bool:
    """Whether a lead looks like noise: median kurtosis of 10 s in the band of a QRS (Li et al., 2008).

    Uses at most 60 pieces; False if no piece is free of gaps.
    """
    piece = round(PIECE_S * rate_hz)
    starts = np.unique(np.linspace(0, samples - piece, PIECES).astype(np.int64)).tolist() if samples >= piece else []
    pieces = (read(first, first + piece) for first in starts)
    found = [_kurtosis(_filtered(each.astype(np.float64), rate_hz)) for each in pieces if np.isfinite(each).all()]
    return bool(found) and float(np.median(found)) < LEAST_PEAKED


def _kurtosis(values: NDArray[np.float64]) -> float:
    squares = (values - values.mean()) ** 2
    return float((squares**2).mean() / max(squares.mean() ** 2, np.finfo(float).tiny))


def _peaks(signal: Signal, rate_hz: float) -> Samples:
    filled, missing = bridged(signal, round(SHORT_S * rate_hz))
    filtered = _filtered(filled, rate_hz)
    candidates = _candidates(filtered, missing, rate_hz)
    _without_waves(candidates, rate_hz)
    for _ in range(ROUNDS):
        _without_inserted(candidates)
        _with_overdue(candidates, rate_hz)
    return _refined(filtered, candidates.at[candidates.taken], rate_hz)


def _filtered(signal: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    from scipy.signal import firwin, oaconvolve

    taps = firwin(_odd(FILTER_S * rate_hz), BAND_HZ, pass_zero=False, fs=rate_hz)
    return oaconvolve(np.pad(signal, len(taps) // 2, mode="edge"), taps, mode="valid")


def _candidates(filtered: NDArray[np.float64], missing: NDArray[np.bool_], rate_hz: float) -> Candidates:
    """Every peak of the energy outside of gaps that is the highest within the refractory period."""
    from numpy.lib.stride_tricks import sliding_window_view
    from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d

    slope = np.gradient(filtered) * rate_hz if len(filtered) > 1 else np.zeros_like(filtered)
    energy = np.sqrt(np.maximum(uniform_filter1d(slope**2, _odd(MEAN_S * rate_hz)), 0))
    alone = maximum_filter1d(energy, _odd(2 * REFRACTORY_S * rate_hz)) == energy
    at = np.flatnonzero(alone & (energy > 0) & ~missing)
    step, width = (_odd(seconds * rate_hz) for seconds in (GRID_S, LEVEL_S))
    highest = sliding_window_view(np.pad(energy, width // 2), width)[::step].max(1)  # much faster than for each sample
    level = median_filter(highest, _odd(2 * LEVEL_AROUND_S / GRID_S), mode="nearest")
    part = energy[at] / np.maximum(level[np.minimum((at + step // 2) // step, len(level) - 1)], LOWEST_LEVEL)
    return Candidates(at, part, part > HIGH)


def _without_waves(candidates: Candidates, rate_hz: float) -> None:
    """Remove T waves: peaks soon after a beat and much lower."""
    for _ in range(ROUNDS):
        beats = candidates.beats
        soon = np.diff(candidates.at[beats]) < WAVE_S * rate_hz
        part = candidates.part[beats]
        candidates.taken[beats[1:][soon & (part[1:] < WAVE_PART * part[:-1])]] = False


def _without_inserted(candidates: Candidates) -> None:
    """Remove a peak between two regular beats if it is lower than both."""
    beats = candidates.beats
    if len(beats) < 4:
        return
    at, part = candidates.at[beats], candidates.part[beats]
    usual = _usual(at)[:-1]
    in_time = np.abs(at[2:] - at[:-2] - usual) < IN_TIME * usual
    candidates.taken[beats[1:-1][in_time & (part[1:-1] < LESSER * np.minimum(part[:-2], part[2:]))]] = False


def _with_overdue(candidates: Candidates, rate_hz: float) -> None:
    """Add the highest remaining peak of each interval in which a beat is overdue."""
    beats = candidates.beats
    if len(beats) < 4:
        return
    at = candidates.at[beats]
    overdue = np.diff(at) > OVERDUE * _usual(at)
    interval = np.searchsorted(at, candidates.at, side="right") - 1
    inside = (interval >= 0) & (interval < len(overdue)) & ~candidates.taken & (candidates.part > LOW)
    places = np.flatnonzero(inside)
    before, after = at[interval[places]], at[interval[places] + 1]
    since, until = candidates.at[places] - before, after - candidates.at[places]
    late = (since > WAVE_S * rate_hz) & (until > REFRACTORY_S * rate_hz)
    places = places[late & overdue[interval[places]]]
    places = places[np.lexsort((-candidates.part[places], interval[places]))]
    candidates.taken[places[np.diff(interval[places], prepend=-1) > 0]] = True


def _usual(at: Samples) -> NDArray[np.float64]:
    """The median RR interval around each interval of beats (N,), (N-1,)."""
    from scipy.ndimage import median_filter

    return median_filter(np.diff(at).astype(np.float64), BEATS, mode="nearest")


def _refined(filtered: NDArray[np.float64], at: Samples, rate_hz: float) -> Samples:
    """R peaks near the energy's peaks: of the lead's usual polarity, or of the other if far larger."""
    from scipy.ndimage import median_filter

    reach = round(PEAK_S * rate_hz)
    if not len(at):
        return at
    near = np.clip(at[:, None] + np.arange(-reach, reach + 1), 0, len(filtered) - 1)
    values = filtered[near]
    up, down = values.max(1), -values.min(1)
    points_up = median_filter(np.log(np.maximum(up, 1e-9) / np.maximum(down, 1e-9)), 2 * BEATS + 1, mode="nearest") > 0
    points_up = np.where(points_up, down < OPPOSITE * up, up > OPPOSITE * down)
    place = np.where(points_up, values.argmax(1), values.argmin(1))
    return np.unique(near[np.arange(len(at)), place])


def _odd(samples: float) -> int:
    return round(samples) | 1
