"""MIT-BIH Arrhythmia Database records become beats in the layout of the Kaggle heartbeat files.

Moody & Mark, IEEE Eng Med Biol 20(3):45-50, 2001; beats as in Kachuee et al., arXiv 1805.00794; classes as in ANSI/AAMI
EC57.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.families import labels_symbols
from loaders.filters import resample
from loaders.formats.wfdb import find_records, read_record
from toolbox import terminal

RATE_HZ = 125
SAMPLES = 187
SPAN = 1.2  # of the distance to the next R peak
FLAT = 1e-3  # of the whole signal's range: a row that spans less is a lead that was off, and no beat to be blown up
SUFFIXES = (".hea", ".dat", ".atr")
CLASSES = tuple(labels_symbols.AAMI)
AAMI = {symbol: k for k, own in enumerate(labels_symbols.AAMI.values()) for symbol in own}


def beats(folder: Path) -> dict[str, NDArray[Any]]:
    """Every beat of the records in `folder` that has a next one: x (N, 187) in [0, 1], y (N,), record (N,).

    Raises DataError for a record that cannot be read or is not whole, ResourceError for one that may not be read.
    """
    headers = find_records(folder)
    parts = [
        record_beats(header) for header in terminal.bar(iterable=headers, desc="beats from records", unit="record")
    ]
    names = [np.full(len(y), header.stem) for (_, y), header in zip(parts, headers, strict=True)]
    return {
        "x": np.concatenate([x for x, _ in parts]),
        "y": np.concatenate([y for _, y in parts]),
        "record": np.concatenate(names),
    }


def record_beats(header: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The beats of one record: x (N, 187) float32 and y (N,), the last annotated beat left out."""
    signal, rate_hz, annotated, samples = read_record(header, "MLII")
    keep = np.array([symbol in AAMI for symbol in annotated], dtype=bool)
    labels = np.array([AAMI[symbol] for symbol in np.array(annotated)[keep]], dtype=np.int64)
    peaks = samples[keep] * RATE_HZ / rate_hz
    return cut(resample(signal, rate_hz, RATE_HZ), peaks[:-1], np.diff(peaks)), labels[:-1]


def cut(
    signal: NDArray[np.floating], peaks: NDArray[np.floating], rr: NDArray[np.floating], *, span: float | None = None
) -> NDArray[np.float32]:
    """Rows (N, 187) from each R peak (N,) over 1.2 of the distance (N,) to the next, both in samples of `signal`.

    Each row is scaled to [0, 1] by its own minimum and maximum and padded with zeros; a row that is (nearly) constant
    is zeros. `span` is from the lowest to the highest value of the record, where `signal` is not the whole of it.
    """
    starts = np.round(peaks).astype(int)
    lengths = np.clip(np.round(SPAN * rr).astype(int), 1, SAMPLES)
    time = np.arange(SAMPLES)
    inside = (time < lengths[:, None]) & (starts[:, None] + time < len(signal))
    rows = signal[np.minimum(starts[:, None] + time, len(signal) - 1)]
    low = np.where(inside, rows, np.inf).min(1, keepdims=True)
    height = np.where(inside, rows, -np.inf).max(1, keepdims=True) - low
    scaled = np.divide(
        rows - low, height, out=np.zeros_like(rows), where=height > FLAT * (np.ptp(signal) if span is None else span)
    )
    return np.where(inside, scaled, 0).astype(np.float32)
