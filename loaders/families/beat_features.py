"""The numbers that stand beside a beat's samples, by name: RR features, and its P wave against those before.

    numbers = beside.numbers(names, times_s, p_waves)    # (N, F)

Nothing after the next beat is looked at.

What the times of a record's beats tell beside the signal: RR intervals and their ratios, looking one beat ahead at
most.

P waves against those of the beats before: whether these are alike, as they are not in fibrillation, and how like
them one is.

features = p_features(rows(signal, 125, places), usable)    # (N, 2)
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
SHORTEST_S, LONGEST_S = 0.1, 5.0  # an RR interval; beyond is a doubled annotation or a stretch without any
ALONE_S = 1.0  # where a record has one beat, and no interval
RR_RECENT = 10
EARLY = 0.9  # of the mean RR interval
SENSITIVE = 10.0  # so that the few percent of a sinus rhythm and the tens of a fibrillation stand apart


def over_gaps(peaks: NDArray[np.integer], gaps: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which of the intervals (N-1,) between `peaks` (N,) have one of the `gaps` (G, 2) in them."""
    after = np.searchsorted(peaks, gaps[:, 1])
    over = np.zeros(max(len(peaks) - 1, 0), bool)
    over[after[(after > 0) & (after < len(peaks))] - 1] = True
    return over


def known_only(rr: Intervals, unknown: NDArray[np.bool_]) -> Intervals:
    """The intervals `rr` (N,), an `unknown` one taken to be as the last known before it, else as the first there is."""
    known = np.flatnonzero(~unknown)
    if not len(known):
        return rr
    return rr[known[np.maximum(np.searchsorted(known, np.arange(len(rr)), side="right") - 1, 0)]]


def intervals(times_s: NDArray[np.floating], unknown: NDArray[np.bool_] | None = None) -> tuple[Intervals, Intervals]:
    """The RR interval in s before each of the beats of one record at the ascending `times_s` (N,), and the one after
    it.

    The first beat takes the interval after it for the one before too, the last the one before it for the one after.
    Intervals are held within 0.1 and 5 s; those `unknown` (N-1,), as beats in a gap are, as in `known_only`.
    """
    rr = np.diff(times_s).clip(SHORTEST_S, LONGEST_S)
    rr = rr if unknown is None else known_only(rr, unknown)
    if not len(rr):
        rr = np.full(len(times_s[:1]), ALONE_S)
    return np.concatenate([rr[:1], rr])[: len(times_s)], np.concatenate([rr, rr[-1:]])[: len(times_s)]


def is_early(times_s: NDArray[np.floating], unknown: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Which beats (N,) come early against the mean of the intervals up to the one before them."""
    previous, _ = intervals(times_s, unknown)
    return previous < EARLY * _running_mean(previous)


def rr_features(times_s: NDArray[np.floating], unknown: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """FEATURES (N, 7) of the beats of one record, as natural logarithms; beats and intervals as in `intervals`.

    The RR interval before a beat and the one after, in s; both against the mean of all up to the one before; the one
    before against the one after, and against the mean of the ten before it; how irregular these ten are, as log(1 + 10
    times the median distance from their median, by their mean). Means, unlike medians, tell early beats in a record
    that is full of them. Nothing after the next beat is looked at.
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
    """Of the intervals (N,) up to each."""
    return previous.cumsum() / np.arange(1, len(previous) + 1)


P_FEATURES = ("p_coherence", "p_likeness")
P_RECENT, P_FEWEST = 30, 5  # beats before that are compared, of which so many are needed
P_START_S, P_END_S = -0.28, -0.06  # where a P wave is, from the R peak
ENOUGH = 0.3  # of coherence; in fibrillation it is below 0.1, and how far above it is tells the patient
P_LOWEST_HZ = 40.0  # of a rate that shows a P wave
FLAT = 1e-6


def p_wave_rows(signal: Signal, rate_hz: float, places: NDArray[np.floating]) -> NDArray[np.float32]:
    """What stands before each R peak, less its linear trend and of length 1, or 0 where it is flat: (N, C, W).

    Of the signal (C, T) at `rate_hz`, and R peaks at `places` (N,), samples of it.
    """
    first, samples = round(P_START_S * rate_hz), round((P_END_S - P_START_S) * rate_hz)
    cut = around(signal, places, first, samples)
    time = np.linspace(-1, 1, samples, dtype=np.float32)
    cut -= cut.mean(2, keepdims=True)
    cut -= (cut @ (time / (time @ time)))[..., None] * time
    length = np.linalg.norm(cut, axis=2, keepdims=True)
    return np.divide(cut, length, out=np.zeros_like(cut), where=length > FLAT)


def p_features(rows: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """FEATURES (N, 2) of beats whose `rows` (N, C, W) are as above, the means of the leads.

    Against the last 30 beats before each that are `usable` (N,), such as beats that are not early. Coherence is the
    power of the mean of their rows by the mean of their powers, less what chance gives rows with nothing in common, and
    0.3 at most. Likeness is the cosine of a beat's own row and that mean, from -1 to 1. Of fewer than 5 beats they are
    0.3 and 0. That P waves are absent tells fibrillation: Slocum, Sahakian & Swiryn, J Electrocardiol 25(1):1-8, 1992.
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
    """Those that are asked for. Raises UsageError for rows too coarse to show a P wave."""
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
    """Those of the `names` (F,) of the beats of one record at ascending `times_s` (N,), as (N, F).

    `p_waves` (N, C, W) are the `p_wave_rows` of the beats, None where no name asks for them; `unknown` as in
    `rr_features`.
    """
    found = dict(zip(RR_FEATURES, rr_features(times_s, unknown).T, strict=True))
    if p_waves is not None:
        usable = ~is_early(times_s, unknown)
        found |= zip(P_FEATURES, p_features(p_waves, usable).T, strict=True)
    return np.stack([found[name] for name in names], 1) if names else np.empty((len(times_s), 0), np.float32)
