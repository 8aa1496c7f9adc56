"""EDF, EDF+, BDF and BDF+ files open as recordings, read in pieces through the package edfio; each signal has its own
rate."""

import warnings
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.formats import edf_header, units
from loaders.formats.edf_header import LONGEST_S, Header
from loaders.formats.recording import Recording
from loaders.formats.wfdb import naming
from toolbox.ecg.gaps import Signal
from toolbox.errors import ResourceError

HINT = "a whole copy of the file, or that field mended"
APART_S = 1e-3  # between two data records, from which on there is a pause


def open_edf(path: Path) -> Recording:
    """The signals of a file that are in volts, or in steps of a converter. Raises DataError, ResourceError."""
    try:
        import edfio
    except ModuleNotFoundError as error:
        raise ResourceError(
            "EDF files are read with the package edfio", where=str(path), hint="pip install edfio"
        ) from error
    with naming(path, "EDF", HINT):
        header = edf_header.read(path)
        edf = _opened(edfio, header)
        numbers = [k for k, signal in enumerate(header.signals) if _is_electric(signal)]
        if not numbers:
            raise ValueError(f"no signal is in volts: {', '.join(map(_in_unit, header.signals))[:200]}")
        runs = _runs(header)
    signals = {k: signal for k, signal in zip(_ordinary(header), edf.signals, strict=True) if k in numbers}
    rates = {k: header.samples[k] / header.duration_s for k in numbers}
    ends = {k: _placed(runs, rates[k], header.samples[k]) for k in numbers}

    def read(k: int, first: int, last: int) -> Signal:
        with naming(path, "EDF", HINT):
            number = numbers[k]
            factor = units.millivolts(header.signals[number]["unit"]) or 1.0
            return factor * _piece(signals[number], rates[number], ends[number], first, last)

    def check(k: int) -> None:
        with naming(path, "EDF", HINT):
            header.scale(numbers[k])

    stated = tuple(header.signals[k]["unit"] for k in numbers)
    shapes = tuple((rates[k], int(ends[k][-1, 0] + ends[k][-1, 2])) for k in numbers)
    return Recording(
        path,
        path.stem,
        tuple(header.signals[k]["label"] or f"lead {k + 1}" for k in numbers),
        *shapes[0],
        read,
        check,
        _start(edf),
        doubts=header.doubts,
        unit_unknown=frozenset(k for k, unit in enumerate(stated) if units.millivolts(unit) is None),
        units=stated,
        shapes=shapes,
    )


def _opened(edfio: ModuleType, header: Header) -> Any:
    """The file as edfio has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the length, which the header is held against already
        if header.is_bdf:
            return edfio.read_bdf(header.path, header_encoding=header.encoding)
        return edfio.read_edf(header.path, lazy_load_data=True, header_encoding=header.encoding)


def _ordinary(header: Header) -> list[int]:
    """The places of the signals that edfio gives: all but annotations."""
    kind = "BDF" if header.is_bdf else "EDF"
    return [k for k, signal in enumerate(header.signals) if signal["label"] != f"{kind} Annotations"]


def _is_electric(signal: dict[str, str]) -> bool:
    unit = signal["unit"]
    is_signal = not signal["label"].endswith("Annotations")
    return is_signal and (units.millivolts(unit) is not None or units.is_arbitrary(unit))


def _in_unit(signal: dict[str, str]) -> str:
    return f"{signal['label']} in {signal['unit'] or 'no unit'}"


def _runs(header: Header) -> NDArray[np.float64]:
    """Data records without a pause between them (R, 3): seconds of their begin, the first of them, how many."""
    onsets_s = header.onsets_s()
    if onsets_s is None:
        return np.array([[0.0, 0, header.records]])
    onsets_s = onsets_s - onsets_s[0]
    after_s = np.diff(onsets_s) - header.duration_s
    if len(after_s) and after_s.min() < -APART_S:
        number = int(after_s.argmin()) + 2
        raise ValueError(f"data record {number} begins at {onsets_s[number - 1]:g} s, before the one before it ends")
    if onsets_s[-1] > LONGEST_S:
        raise ValueError(
            f"its data records are spread over {onsets_s[-1] / 86400:.0f} days, at most {LONGEST_S // 86400} are read"
        )
    first = np.flatnonzero(np.r_[True, after_s > APART_S])
    return np.stack([onsets_s[first], first, np.diff(np.r_[first, header.records])], axis=1)


def _placed(runs: NDArray[np.float64], rate_hz: float, each: int) -> NDArray[np.int64]:
    """Runs (R, 3) of a signal: their first sample in the recording and in the file, and how many samples they have."""
    places = np.stack([np.round(runs[:, 0] * rate_hz), runs[:, 1] * each, runs[:, 2] * each], axis=1).astype(np.int64)
    for k in range(1, len(places)):  # a rounded begin may lie in the run before
        places[k, 0] = max(places[k, 0], places[k - 1, 0] + places[k - 1, 2])
    return places


def _piece(signal: Any, rate_hz: float, runs: NDArray[np.int64], first: int, last: int) -> NDArray[np.float64]:
    """Samples of a signal, NaN in the pauses between its runs."""
    piece = np.full(last - first, np.nan)
    for start, stored, count in runs[(runs[:, 0] < last) & (runs[:, 0] + runs[:, 2] > first)]:
        begin, end = max(first, start), min(last, start + count)
        seconds = ((stored + begin - start) / rate_hz, (stored + end - start) / rate_hz)
        piece[begin - first : end - first] = signal.get_data_slice(*seconds)
    return piece


def _start(edf: Any) -> datetime | None:
    with suppress(ValueError):  # left out, as it says who was recorded
        return edf.startdatetime
    return None
