"""Gaps of a lead: runs of missing (NaN) samples, and stretches of one constant value, where the lead was off.

`survey(read, samples)` reads a lead of any length in blocks; `bridged(signal)` fills the gaps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.floating]
Reader = Callable[[int, int], Signal]  # (first, end) -> the samples before `end` in mV, NaN where missing
BLOCK = 2**18  # samples
NONE = np.empty((0, 2), dtype=np.int64)
STILL_S = 5.0  # of one value to the last bit: longer than a heart pauses, the lead was off; MIT-BIH has 0.7 s at most
SHORT_S = 0.1  # of a QRS complex: shorter gaps are bridged, longer ones have no beats


@dataclass(frozen=True)
class Survey:
    """A lead's gaps (G, 2) as (first sample, end), and its lowest and highest value in mV."""

    gaps: NDArray[np.int64]
    low: float
    high: float

    @property
    def is_flat(self) -> bool:
        """Whether the lead has one value throughout, or no sample."""
        return not self.high > self.low


def survey(read: Reader, samples: int, *, longest: int = 0, still: int | None = None) -> Survey:
    """Find gaps longer than `longest` samples, and stretches of one value of at least `still` samples."""
    missing, equal, low, high = [NONE], [NONE], np.inf, -np.inf
    for first in range(0, samples, BLOCK):
        before = min(first, 1)  # one sample more, to compare with the block's first
        signal = read(first - before, min(first + BLOCK, samples))
        there = np.isfinite(signal)
        where = True if there.all() else there  # a mask costs ten times as much
        low = min(low, signal.min(where=where, initial=np.inf))
        high = max(high, signal.max(where=where, initial=-np.inf))
        if where is not True:
            missing.append(runs(~there[before:]) + first)
        same = (signal[1:] == signal[:-1]) & there[1:]
        equal.append(_long(runs(same), len(same), still or samples) + first - before)
    gaps, flat = _joined(np.concatenate(missing)), _joined(np.concatenate(equal))
    flat[:, 1] += 1  # a run of equal neighbours ends one sample later
    kept = [gaps[np.diff(gaps)[:, 0] > longest], flat[np.diff(flat)[:, 0] >= (still or samples)]]
    gaps = np.concatenate(kept)
    return Survey(_joined(gaps[gaps[:, 0].argsort()]), float(low), float(high))


def _long(spans: NDArray[np.int64], end: int, least: int) -> NDArray[np.int64]:
    """The long spans of a block of length `end`, and its spans at either edge, which may continue in the next block."""
    return spans[(spans[:, 1] - spans[:, 0] >= least - 1) | (spans[:, 0] == 0) | (spans[:, 1] == end)]


def runs(where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The runs (R, 2) of true values as (first index, end)."""
    padded = np.zeros(len(where) + 2, np.bool_)
    padded[1:-1] = where
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def _joined(spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted spans, with touching spans merged."""
    apart = spans[1:, 0] > spans[:-1, 1]
    return np.stack([spans[np.r_[True, apart][: len(spans)], 0], spans[np.r_[apart, True][: len(spans)], 1]], axis=1)


def bridged(signal: Signal, longest: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`signal` (T,) with straight lines over its gaps, or zeros, and which samples (T,) lie in gaps above `longest`."""
    missing = ~np.isfinite(signal)
    filled = np.array(signal, dtype=np.float64)
    if not missing.any():
        return filled, missing
    if missing.all():
        return np.zeros_like(filled), missing
    there = np.flatnonzero(~missing)
    filled[missing] = np.interp(np.flatnonzero(missing), there, filled[there])
    spans = runs(missing)
    long = spans[spans[:, 1] - spans[:, 0] > longest]
    edges = np.zeros(len(filled) + 1, dtype=np.int8)
    edges[long[:, 0]], edges[long[:, 1]] = 1, -1
    return filled, np.cumsum(edges[:-1]).astype(bool)
