"""What the times of a record's beats tell beside the signal: RR intervals against others, looking one beat ahead at most."""

import numpy as np
from numpy.typing import NDArray

Intervals = NDArray[np.floating]

RECENT = (10, 30, 100, 300)  # intervals before: of the moment, of half a minute, of one and a half, of four
SINGLE = (
    "rr_previous",
    "rr_next",
    "rr_previous_to_mean",
    "rr_next_to_mean",
    "rr_previous_to_next",
    "rr_previous_to_one_before",
    "rr_one_before_to_two_before",
    "rr_both_to_median_10",
)
AGAINST = ("rr_to_median", "rr_distance", "rr_rank", "rr_irregularity", "rr_steps")
FEATURES = (*SINGLE, *(f"{name}_{count}" for count in RECENT for name in AGAINST))
SHORTEST_S, LONGEST_S = 0.1, 5.0  # an RR interval; beyond is a doubled annotation or a stretch without any
ALONE_S = 1.0  # where a record has one beat, and no interval
SENSITIVE = 10.0  # so that the few percent of a sinus rhythm and the tens of a fibrillation stand apart
STEADIEST = 0.02  # of the median: no rhythm is taken for steadier, so that a distance stays finite
ALIKE_S = 0.0005  # intervals no further apart are of one length, whatever rounding made of them
AT_ONCE = 4096  # beats whose intervals before are in memory


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


def rr_features(times_s: Intervals, unknown: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """FEATURES (N, 28) of the beats of one record at the ascending `times_s` (N,); nothing after the next beat is looked at.

    Natural logarithms: the RR interval before a beat and the one after, in s; both against the mean of all up to the one before;
    the one before against the one after, and against the one before it; that one against its own forerunner; the mean of the one
    before and the one after against the median of ten before. Means, unlike medians, tell early beats in a record that is full of
    them. Then the one before `_against` 10, 30, 100 and 300 intervals before it.

    The first beat takes the interval after it for the one before too, the last the one before it for the one after. Intervals are
    held within 0.1 and 5 s; those `unknown` (N-1,), as beats in a gap are, as in `known_only`.
    """
    rr = np.diff(times_s).clip(SHORTEST_S, LONGEST_S)
    rr = rr if unknown is None else known_only(rr, unknown)
    if not len(rr):
        rr = np.full(len(times_s[:1]), ALONE_S)
    previous, following = np.concatenate([rr[:1], rr])[: len(times_s)], np.concatenate([rr, rr[-1:]])[: len(times_s)]
    mean = previous.cumsum() / np.arange(1, len(previous) + 1)
    before = np.concatenate([previous[:1], previous[:-1]])
    earlier = np.concatenate([before[:1], before[:-1]])
    against = [_against(previous, count) for count in RECENT]
    both = (previous + following) / 2 / (previous / np.exp(against[0][:, 0]))
    single = [previous, following, previous / mean, following / mean, previous / following, previous / before, before / earlier]
    return np.column_stack([np.log([*single, both]).T, *against]).astype(np.float32)


def _against(rr: Intervals, count: int) -> Intervals:
    """AGAINST (N, 5): each interval against the `count` before it, in parts; fewer count as often as it takes to be as many.

    The log of the ratio to their median; the distance from it in their median distances, as arcsinh; the share of them that are
    shorter, with half of those as long; how irregular they are, as log(1 + 10 times the median distance by the median), and the
    same of the steps from each to the next: both are large in fibrillation, steps are small where a rate drifts.
    """
    parts = [np.empty((0, len(AGAINST)))]
    for first in range(0, len(rr), AT_ONCE):
        here = rr[first : first + AT_ONCE]
        there_are = np.arange(first, first + len(here)).clip(1)[:, None]  # before each; the first is before itself
        parts.append(_of(here, rr[(there_are - 1 - np.arange(count)) % there_are]))
    return np.concatenate(parts)


def _of(rr: Intervals, before: Intervals) -> Intervals:
    """The same of intervals (N,) and those before each (N, count)."""
    median = np.median(before, axis=1)
    spread = np.median(np.abs(before - median[:, None]), axis=1) / median
    steps = np.median(np.abs(np.diff(before, axis=1)), axis=1) / median
    distance = np.arcsinh((rr / median - 1) / (spread + STEADIEST))
    longer_by = rr[:, None] - before
    rank = ((longer_by > ALIKE_S).mean(1) + (longer_by >= -ALIKE_S).mean(1)) / 2
    return np.stack([np.log(rr / median), distance, rank, *np.log1p([SENSITIVE * spread, SENSITIVE * steps])], 1)
