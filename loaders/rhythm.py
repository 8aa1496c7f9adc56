"""What the times of a record's beats tell beside the signal: RR intervals against others, looking one beat ahead at most."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Intervals = NDArray[np.floating]

RECENT = (10, 30, 100)  # intervals before, of the moment, of half a minute and of a minute and a half
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
STEADIEST = 0.02  # of the median: a rhythm is not taken for steadier, so that a distance stays finite
AT_ONCE = 4096  # beats whose windows are in memory


def rr_features(times_s: Intervals) -> NDArray[np.float32]:
    """FEATURES (N, 23) of the beats of one record at the ascending `times_s` (N,); nothing after the next beat is looked at.

    Natural logarithms: the RR interval before a beat and the one after, in s; both against the mean of all up to the one before;
    the one before against the one after, and against the one before it; that one against its own forerunner; the mean of the one
    before and the one after against the median of the ten before. Means, unlike medians, tell early beats in a record that is
    full of them.

    Then `_against` the 10, the 30 and the 100 intervals before. The first beat takes the interval after it for those before too,
    the last the one before it for the one after. Intervals are held within 0.1 and 5 s.
    """
    rr = np.diff(times_s).clip(SHORTEST_S, LONGEST_S)
    if not len(rr):
        rr = np.full(len(times_s[:1]), ALONE_S)
    previous, following = np.concatenate([rr[:1], rr])[: len(times_s)], np.concatenate([rr, rr[-1:]])[: len(times_s)]
    mean = previous.cumsum() / np.arange(1, len(previous) + 1)
    before, earlier = _shifted(previous, 1), _shifted(previous, 2)
    against = [_against(previous, count) for count in RECENT]
    middle = previous / np.exp(against[0][:, 0])
    single = [previous, following, previous / mean, following / mean, previous / following, previous / before, before / earlier]
    return np.column_stack([np.log([*single, (previous + following) / 2 / middle]).T, *against]).astype(np.float32)


def _shifted(rr: Intervals, beats: int) -> Intervals:
    """The intervals (N,) that many beats earlier; before the first, the first."""
    return np.concatenate([np.repeat(rr[:1], beats), rr[: max(len(rr) - beats, 0)]])[: len(rr)]


def _against(rr: Intervals, count: int) -> Intervals:
    """AGAINST (N, 5): intervals against the `count` before each, the first of all standing for those before it.

    The log of the ratio to their median; the distance from it in their median distances, as arcsinh; the share of them that are
    shorter; how irregular they are, as log(1 + 10 times the median distance by the median), and the same of the steps from each
    to the next: both are large in fibrillation, steps are small where a rate drifts.
    """
    if not len(rr):
        return np.empty((0, len(AGAINST)))
    windows = sliding_window_view(np.concatenate([np.repeat(rr[:1], count), rr[:-1]]), count)
    return np.concatenate([_of_windows(rr[at : at + AT_ONCE], windows[at : at + AT_ONCE]) for at in range(0, len(rr), AT_ONCE)])


def _of_windows(rr: Intervals, windows: Intervals) -> Intervals:
    """The same of intervals (N,) and the windows (N, count) before them."""
    median = np.median(windows, axis=1)
    spread = np.median(np.abs(windows - median[:, None]), axis=1) / median
    steps = np.median(np.abs(np.diff(windows, axis=1)), axis=1) / median
    distance = np.arcsinh((rr / median - 1) / (spread + STEADIEST))
    shorter = (windows < rr[:, None]).mean(1)
    return np.stack([np.log(rr / median), distance, shorter, *np.log1p([SENSITIVE * spread, SENSITIVE * steps])], 1)
