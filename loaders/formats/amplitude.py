"""How large a lead is in most of its pieces: `typical_mv(read, samples, rate_hz)`. It tells volts and microvolts from
mV."""

import numpy as np

from toolbox.ecg.gaps import Reader

PIECE_S, PIECES = 10, 60  # pieces looked at, over the whole lead
INNER = (0.2, 99.8)  # percentiles of a piece: an R peak reaches them, a spike does not
LEAST_MV, MOST_MV = 0.02, 30.0  # an ECG on the skin: low voltage is 0.5, the largest QRS complexes reach 10


def typical_mv(read: Reader, samples: int, rate_hz: float) -> float | None:
    """The median over pieces of 10 s of what a piece spans, without its outermost values; None where nothing moves."""
    piece = max(1, min(round(PIECE_S * rate_hz), samples))
    spans = []
    for first in np.linspace(0, samples - piece, min(PIECES, samples // piece)).astype(np.int64):
        values = read(int(first), int(first) + piece)
        values = values[np.isfinite(values)]
        if 2 * len(values) >= piece:
            spans.append(np.ptp(np.percentile(values, INNER)))
    moving = [span for span in spans if span > 0]
    return float(np.median(moving)) if moving else None


def is_plausible(span_mv: float) -> bool:
    """Whether an ECG can be that large."""
    return LEAST_MV <= span_mv <= MOST_MV
