"""The features of a beat by name: RR intervals and their ratios, and its P wave compared with earlier P waves.

    features = beat_features.numbers(names, times_s, p_waves)    # (N, F)

Nothing after the next beat is used. P waves of earlier beats are alike, except in fibrillation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from loaders.filters import Signal, around
from toolbox.errors import UsageError

Intervals = NDArray[np.floating]

RR_FEATURES = (
    "rr_previous",
    "rr_next",
    "rr_previous_to_mean",
    "rr_next_to_mean",
    "rr_previous_to_next",
    "rr_previous_to_last_10",
    "rr_irregularity",
)
SHORTEST_S, LONGEST_S = 0.1, 5.0  # an RR interval; others are doubled or missing annotations
ALONE_S = 1.0  # for a record with one beat, and no interval
RR_RECENT = 10
EARLY = 0.9  # of the mean RR interval
SENSITIVE = 10.0  # separates a few percent, of a sinus rhythm, from tens, of a fibrillation


def over_gaps(peaks: NDArray[np.integer], gaps: NDArray[np.integer]) -> NDArray[np.bool_]:
    """The intervals (N-1,) between `peaks` (N,) that contain one of the `gaps` (G, 2)."""
    after = np.searchsorted(peaks, gaps[:, 1])
    over = np.zeros(max(len(peaks) - 1, 0), bool)
    over[after[(after > 0) & (after < len(peaks))] - 1] = True
    return over


def filled_intervals(rr: Intervals, unknown: NDArray[np.bool_]) -> Intervals:
    """The intervals `rr` (N,), an `unknown` one replaced by the last known before it, else by the first known."""
    known = np.flatnonzero(~unknown)
    if not len(known):
        return rr
    return rr[known[np.maximum(np.searchsorted(known, np.arange(len(rr)), side="right") - 1, 0)]]


def intervals(times_s: NDArray[np.floating], unknown: NDArray[np.bool_] | None = None) -> tuple[Intervals, Intervals]:
    """The RR intervals in s before and after each beat of one record, at ascending `times_s` (N,).

    The first beat has the interval after it twice, the last the interval before it. Intervals are clipped to 0.1 and
    5 s; `unknown` (N-1,) ones, as in a gap, are replaced as in `filled_intervals`.
    """
    rr = np.diff(times_s).clip(SHORTEST_S, LONGEST_S)
    rr = rr if unknown is None else filled_intervals(rr, unknown)
    if not len(rr):
        rr = np.full(len(times_s[:1]), ALONE_S)
    return np.concatenate([rr[:1], rr])[: len(times_s)], np.concatenate([rr, rr[-1:]])[: len(times_s)]


def is_early(times_s: NDArray[np.floating], unknown: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """The beats (N,) with an interval well below the mean of the intervals up to then."""
    previous, _ = intervals(times_s, unknown)
    return previous < EARLY * _running_mean(previous)


def rr_features(times_s: NDArray[np.floating], unknown: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """RR_FEATURES (N, 7) of the beats of one record, as natural logarithms; beats and intervals as in `intervals`.

    The RR intervals before and after a beat, in s; both divided by the mean of all intervals up to the beat; the
    interval before divided by the one after, and by the mean of the ten before it; the irregularity of these ten as
    log(1 + 10 times the median distance from their median, divided by their mean). Means, unlike medians, detect early
    beats in a record with many of them.
    """
    previous, following = intervals(times_s, unknown)
    mean = _running_mean(previous)
    before = np.concatenate([np.repeat(previous[:1], RR_RECENT), previous[:-1]])
    recent = sliding_window_view(before, RR_RECENT) if len(previous) else np.empty((0, RR_RECENT))
    local, middle = recent.mean(1), np.median(recent, axis=1, keepdims=True)
    spread = np.median(np.abs(recent - middle), axis=1) / local
    ratios = [previous, following, previous / mean, following / mean, previous / following, previous / local]
    return np.stack([*map(np.log, ratios), np.log1p(SENSITIVE * spread)], 1).astype(np.float32)


def _running_mean(previous: Intervals) -> Intervals:
    """The mean (N,) of the intervals (N,) up to each."""
    return previous.cumsum() / np.arange(1, len(previous) + 1)


P_FEATURES = ("p_coherence", "p_likeness")
P_RECENT, P_FEWEST = 30, 5  # the earlier beats for a comparison: at most, at least
P_START_S, P_END_S = -0.28, -0.06  # the place of a P wave from the R peak
ENOUGH = 0.3  # of coherence; in fibrillation it is below 0.1, and higher values would identify the patient
P_LOWEST_HZ = 40.0  # of a rate that shows a P wave
FLAT = 1e-6


def p_wave_rows(signal: Signal, rate_hz: float, places: NDArray[np.floating]) -> NDArray[np.float32]:
    """The signal (C, T) at `rate_hz` before each R peak (N, C, W), detrended and of norm 1, or 0 if flat.

    R peaks are at the samples `places` (N,).
    """
    first, samples = round(P_START_S * rate_hz), round((P_END_S - P_START_S) * rate_hz)
    cut = around(signal, places, first, samples)
    time = np.linspace(-1, 1, samples, dtype=np.float32)
    cut -= cut.mean(2, keepdims=True)
    cut -= (cut @ (time / (time @ time)))[..., None] * time
    length = np.linalg.norm(cut, axis=2, keepdims=True)
    return np.divide(cut, length, out=np.zeros_like(cut), where=length > FLAT)


def p_features(rows: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """P_FEATURES (N, 2) of beats with these `p_wave_rows` (N, C, W): means over the leads.

    Each beat is compared with the last 30 `usable` (N,) beats before it, such as beats that are not early. Coherence is
    the power of the mean of their rows divided by the mean of their powers, less the value of unrelated rows, at most
    0.3. Likeness is the cosine of the beat's row and that mean, from -1 to 1. With fewer than 5 beats they are 0.3 and
    0. Absent P waves are a sign of fibrillation: Slocum, Sahakian & Swiryn, J Electrocardiol 25(1):1-8, 1992.
    """
    until = np.concatenate([[0], usable.cumsum()])[: len(rows)]  # usable beats before each
    first = (until - P_RECENT).clip(0)
    found = np.zeros((len(rows), len(P_FEATURES)))
    for lead, own in zip(rows[usable].swapaxes(0, 1), rows.swapaxes(0, 1), strict=True):  # (M, W), (N, W)
        sums = np.concatenate([np.zeros((1, lead.shape[1])), lead.cumsum(0, dtype=np.float64)])
        shown = np.concatenate([[0], lead.any(1).cumsum()])
        total, many = sums[until] - sums[first], shown[until] - shown[first]
        length = np.linalg.norm(total, axis=1)
        coherence = ((length**2 / many.clip(1) - 1) / (many - 1).clip(1)).clip(0, ENOUGH)
        likeness = (total * own).sum(1) / length.clip(FLAT)
        found += np.where(many[:, None] < P_FEWEST, (ENOUGH, 0), np.stack([coherence, likeness], 1))
    return (found / rows.shape[1]).astype(np.float32)


ALL = (*RR_FEATURES, *P_FEATURES)


def names(rr_features: bool, p_waves: bool, rate_hz: float) -> tuple[str, ...]:
    """The names of the requested features. Raises UsageError for a rate too low for P waves."""
    if p_waves and rate_hz < P_LOWEST_HZ:
        what = f"--p-waves needs rows of {P_LOWEST_HZ:g} Hz or more, --rate is {rate_hz:g}"
        raise UsageError(what, hint="--rate 125")
    return (*(RR_FEATURES if rr_features else ()), *(P_FEATURES if p_waves else ()))


def numbers(
    names: Sequence[str],
    times_s: NDArray[np.floating],
    p_waves: NDArray[np.float32] | None,
    unknown: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """The features `names` (N, F) of the beats of one record at ascending `times_s` (N,).

    `p_waves` (N, C, W) are the `p_wave_rows` of the beats, None without such a name; `unknown` as in `intervals`.
    """
    if not names:
        return np.empty((len(times_s), 0), np.float32)
    found = dict(zip(RR_FEATURES, rr_features(times_s, unknown).T, strict=True))
    if p_waves is not None:
        usable = ~is_early(times_s, unknown)
        found |= zip(P_FEATURES, p_features(p_waves, usable).T, strict=True)
    return np.stack([found[name] for name in names], 1)
