"""What the times of a record's beats tell beside the signal: RR intervals and their ratios, looking one beat ahead at most."""

import numpy as np
from numpy.typing import NDArray

FEATURES = ("rr_previous_s", "rr_next_s", "rr_previous_to_mean", "rr_previous_to_next", "rr_mean_of_10_s")
SHORTEST_S, LONGEST_S = 0.1, 5.0  # an RR interval; beyond is a doubled annotation or a stretch without any
ALONE_S = 1.0  # where a record has one beat, and no interval
LOCAL = 10


def rr_features(times_s: NDArray[np.floating]) -> NDArray[np.float32]:
    """FEATURES (N, 5) of the beats of one record at the ascending `times_s` (N,).

    The RR interval before a beat and the one after, in s; the one before against the mean of all up to it, and against the one
    after; the mean of the last ten up to it, in s. Nothing after the next beat is looked at. The first beat takes the interval
    after it for the one before too, the last the one before it for the one after. Intervals are held within 0.1 and 5 s.
    """
    rr = np.diff(times_s).clip(SHORTEST_S, LONGEST_S)
    if not len(rr):
        return np.tile(np.float32([ALONE_S, ALONE_S, 1, 1, ALONE_S]), (len(times_s), 1))
    previous, following = np.concatenate([rr[:1], rr]), np.concatenate([rr, rr[-1:]])
    number = np.arange(1, len(rr) + 1)
    total = np.concatenate([[0], rr.cumsum()])
    first = np.maximum(number - LOCAL, 0)
    mean = np.concatenate([rr[:1], total[1:] / number])
    local = np.concatenate([rr[:1], (total[1:] - total[first]) / (number - first)])
    return np.stack([previous, following, previous / mean, previous / following, local], 1).astype(np.float32)
