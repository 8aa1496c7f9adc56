"""EDF and EDF+ files open as recordings, read in pieces, through the package edfio.

Kemp et al., Electroenceph Clin Neurophysiol 82:391-393, 1992; Kemp & Olivan, Clin Neurophysiol 114:1755-1761, 2003.
"""

import warnings
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from loaders.recording import HEART, MILLIVOLTS, Recording
from loaders.records import naming
from toolbox.errors import ResourceError
from toolbox.gaps import Signal

HINT = "a whole copy of the file"


def open_edf(path: Path) -> Recording:
    """The signals of an EDF file that are in volts and have the rate of its first one. Raises DataError, ResourceError."""
    try:
        from edfio import read_edf
    except ModuleNotFoundError as error:
        raise ResourceError("EDF files are read with the package edfio", where=str(path), hint="pip install edfio") from error
    with naming(path, "EDF", HINT), warnings.catch_warnings():
        warnings.simplefilter("error")  # a file that is cut off is one for edfio
        try:
            edf = read_edf(path, lazy_load_data=True)
        except UserWarning as warning:
            raise ValueError(str(warning)) from warning
        signals = _leads(edf)
    rate_hz, each = signals[0].sampling_frequency, signals[0].samples_per_data_record

    def read(k: int, first: int, last: int) -> Signal:
        with naming(path, "EDF", HINT):
            return signals[k].get_data_slice(first / rate_hz, last / rate_hz) * MILLIVOLTS[signals[k].physical_dimension.lower()]

    names = tuple(signal.label.strip() or f"lead {k}" for k, signal in enumerate(signals, 1))
    return Recording(path, path.stem, names, rate_hz, edf.num_data_records * each, read, start=_start(edf))


def _leads(edf: Any) -> list[Any]:
    """Signals in volts of one rate: that of those called ECG, where there are any."""
    if not edf.is_continuous:
        raise ValueError("it has interruptions (EDF+D), which are not read")
    volts = [signal for signal in edf.signals if signal.physical_dimension.lower() in MILLIVOLTS]
    first = next((signal for signal in volts if HEART.search(signal.label)), volts[0] if volts else None)
    if first is None or not edf.num_data_records:
        units = ", ".join(f"{signal.label} in {signal.physical_dimension or 'no unit'}" for signal in edf.signals)
        raise ValueError(f"no signal is in volts: {units[:200]}" if edf.num_data_records else "it has no samples")
    return [signal for signal in volts if signal.samples_per_data_record == first.samples_per_data_record]


def _start(edf: Any) -> datetime | None:
    with suppress(ValueError):  # left out, as it says who was recorded
        return edf.startdatetime
    return None
