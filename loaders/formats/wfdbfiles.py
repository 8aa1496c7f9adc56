"""WFDB records (.hea with its signal files, the .mat of the PhysioNet challenges too) open as recordings, read in
pieces.

The header is held against the files first, as `loaders/formats/wfdb_signal.py` does for a database.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.formats import units, wfdb, wfdb_header, wfdb_signal
from loaders.formats.recording import Recording
from loaders.formats.wfdb_header import Lead
from toolbox.ecg.gaps import Signal
from toolbox.errors import DataError

HINT = "a whole copy of the record"
FIELD = "the header with that field as header(5) of WFDB has it"


def open_wfdb(path: Path, unstated_hz: float | None = None) -> Recording:
    """The record of a header; its annotations are those of the .atr beside it. Raises DataError, ResourceError.

    `unstated_hz` is the rate of a record whose header has none.
    """
    with wfdb.naming(path, "header", FIELD):
        header = wfdb_header.read(path)
        if header.is_layout:
            raise ValueError("it describes the leads of a record of segments, and has no samples")
        wanted = [k for k, lead in enumerate(header.leads) if _is_electric(lead)]
        if header.leads and not wanted:
            raise ValueError(f"no lead is in volts: {_units(header.leads)}")
        frames_hz = header.rate_hz or wfdb_header.frames_hz(f"{unstated_hz:.10g}" if unstated_hz else "")
    if frames_hz is None:
        raise DataError("the header does not say how often it was sampled", where=str(path), hint="--rate-hz HZ")
    with wfdb.naming(path, "signal", HINT):
        signal = wfdb_signal.of(header, wanted)
        wanted = [k for k, lead in enumerate(signal.leads) if _is_electric(lead)]
        if not wanted:
            raise ValueError(f"no lead is in volts: {_units(signal.leads)}")
    leads = [signal.leads[k] for k in wanted]

    def read(k: int, first: int, last: int) -> Signal:
        with wfdb.naming(path, "signal", HINT):
            return signal.read(wanted[k], first, last)

    def check(k: int) -> None:
        with wfdb.naming(path, "signal", HINT):
            signal.check(wanted[k])

    reference, doubts = _reference(path, frames_hz, signal.samples)
    return Recording(
        path,
        path.stem,
        tuple(lead.name for lead in leads),
        frames_hz,
        signal.samples,
        read,
        check,
        header.start,
        reference,
        doubts=(*header.doubts, *_uncalibrated(leads), *doubts),
        unit_unknown=frozenset(k for k, lead in enumerate(leads) if units.millivolts(lead.unit) is None),
        units=tuple(lead.unit for lead in leads),
        shapes=tuple((frames_hz * lead.frame, signal.samples * lead.frame) for lead in leads),
    )


def _is_electric(lead: Lead) -> bool:
    """Whether a lead is in volts, or in steps that `--unit` may make volts."""
    return units.millivolts(lead.unit) is not None or units.is_arbitrary(lead.unit)


def _units(leads: tuple[Lead, ...]) -> str:
    return ", ".join(f"{lead.name} in {lead.unit}" for lead in leads)[:200]


def _uncalibrated(leads: list[Lead]) -> list[str]:
    names = ", ".join(lead.name for lead in leads if not lead.is_calibrated)
    if not names:
        return []
    return [
        f"the header states no gain of {names[:120]}; {wfdb_header.DEFAULT_GAIN:g} steps a mV are assumed, as WFDB does"
    ]


def _reference(
    path: Path, rate_hz: float, samples: int
) -> tuple[tuple[list[str], NDArray[np.int64]] | None, list[str]]:
    """The annotations of the .atr beside a record, None where there are none or some stand after its end, and
    doubts."""
    if not path.with_suffix(".atr").exists():
        return None, []
    with wfdb.naming(path, "annotations", "the record without its .atr"):
        if path.with_suffix(".atr").is_file() and not path.with_suffix(".atr").stat().st_size:
            return None, [f"{path.stem}.atr is empty: there are no annotations to compare with"]
        symbols, places = wfdb.marks(path, rate_hz, samples)
    beyond = int((places >= samples).sum())
    if not beyond:
        return (symbols, places), []
    what = (
        f"{beyond} of {len(places)} annotations in {path.stem}.atr stand after the end of the signal: they are not"
        " compared"
    )
    return None, [what]


def beside(signal: Path) -> Path:
    """The header of a signal file."""
    header = signal.with_suffix(".hea")
    if not header.is_file():
        raise DataError(
            f"there is no {header.name} beside it", where=str(signal), hint="the record's header (.hea) too"
        )
    return header
