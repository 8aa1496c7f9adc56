"""What the times of a record's beats tell beside the signal: RR intervals and their ratios, looking one beat ahead at
most."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Intervals = NDArray[np.floating]

FEATURES = (
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
RECENT = 10
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
    before = np.concatenate([np.repeat(previous[:1], RECENT), previous[:-1]])
    recent = sliding_window_view(before, RECENT) if len(previous) else np.empty((0, RECENT))
    local, middle = recent.mean(1), np.median(recent, axis=1, keepdims=True)
    spread = np.median(np.abs(recent - middle), axis=1) / local
    ratios = [previous, following, previous / mean, following / mean, previous / following, previous / local]
    return np.stack([*map(np.log, ratios), np.log1p(SENSITIVE * spread)], 1).astype(np.float32)


def _running_mean(previous: Intervals) -> Intervals:
    """Of the intervals (N,) up to each."""
    return previous.cumsum() / np.arange(1, len(previous) + 1)
