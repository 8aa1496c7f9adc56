"""P waves against those of the beats before: whether these are alike, as they are not in fibrillation, and how like
them one is.

features = p_features(rows(signal, 125, places), usable)    # (N, 2)
"""

import numpy as np
from numpy.typing import NDArray

from loaders.filters import Signal, around

FEATURES = ("p_coherence", "p_likeness")
RECENT, FEWEST = 30, 5  # beats before that are compared, of which so many are needed
START_S, END_S = -0.28, -0.06  # where a P wave is, from the R peak
ENOUGH = 0.3  # of coherence; in fibrillation it is below 0.1, and how far above it is tells the patient
LOWEST_HZ = 40.0  # of a rate that shows a P wave
FLAT = 1e-6


def rows(signal: Signal, rate_hz: float, places: NDArray[np.floating]) -> NDArray[np.float32]:
    """What stands before each R peak, less its linear trend and of length 1, or 0 where it is flat: (N, C, W).

    Of the signal (C, T) at `rate_hz`, and R peaks at `places` (N,), samples of it.
    """
    first, samples = round(START_S * rate_hz), round((END_S - START_S) * rate_hz)
    cut = around(signal, places, first, samples)
    time = np.linspace(-1, 1, samples, dtype=np.float32)
    cut -= cut.mean(2, keepdims=True)
    cut -= (cut @ (time / (time @ time)))[..., None] * time
    length = np.linalg.norm(cut, axis=2, keepdims=True)
    return np.divide(cut, length, out=np.zeros_like(cut), where=length > FLAT)


def p_features(rows: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """FEATURES (N, 2) of beats whose `rows` (N, C, W) are as above, the means of the leads.

    Against the last 30 beats before each that are `usable` (N,), such as those that are not early. Coherence is the
    power of the mean of their rows by the mean of their powers, less what chance gives rows with nothing in common, and
    0.3 at most. Likeness is the cosine of a beat's own row and that mean, from -1 to 1. Of fewer than 5 beats they are
    0.3 and 0. That P waves are absent tells fibrillation: Slocum, Sahakian & Swiryn, J Electrocardiol 25(1):1-8, 1992.
    """
    until = np.concatenate([[0], usable.cumsum()])[: len(rows)]  # usable beats before each
    first = (until - RECENT).clip(0)
    found = np.zeros((len(rows), len(FEATURES)))
    for lead, own in zip(rows[usable].swapaxes(0, 1), rows.swapaxes(0, 1), strict=True):  # (M, W), (N, W)
        sums = np.concatenate([np.zeros((1, lead.shape[1])), lead.cumsum(0, dtype=np.float64)])
        shown = np.concatenate([[0], lead.any(1).cumsum()])
        total, many = sums[until] - sums[first], shown[until] - shown[first]
        length = np.linalg.norm(total, axis=1)
        coherence = ((length**2 / many.clip(1) - 1) / (many - 1).clip(1)).clip(0, ENOUGH)
        likeness = (total * own).sum(1) / length.clip(FLAT)
        found += np.where(many[:, None] < FEWEST, (ENOUGH, 0), np.stack([coherence, likeness], 1))
    return (found / rows.shape[1]).astype(np.float32)
