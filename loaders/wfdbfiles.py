"""WFDB records (.hea with .dat or the .mat of the PhysioNet challenges) open as recordings, read in pieces.

The header is held against the files first, as `loaders/records.py` does for a database.
"""

from contextlib import suppress
from copy import copy
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np

from loaders import records
from loaders.recording import MILLIVOLTS, Recording
from toolbox.errors import DataError
from toolbox.gaps import BLOCK, Signal

HINT = "a whole copy of the record"


def open_wfdb(header: Path, unstated_hz: float | None = None) -> Recording:
    """The record of a header; its annotations are those of the .atr beside it. Raises DataError, ResourceError.

    `unstated_hz` is the rate of a record whose header has none.
    """
    import wfdb

    name = str(header.with_suffix(""))
    with records.naming(header, "header", HINT):
        rate_hz, stated, leads = _facts(header, unstated_hz)
        volts = [k for k, lead in enumerate(leads) if lead.unit.lower() in MILLIVOLTS]
        if not volts:
            units = ", ".join(f"{lead.name} in {lead.unit}" for lead in leads)
            raise ValueError(f"no lead is in volts: {units[:200]}")
    with records.naming(header, "signal", HINT):
        for lead in leads:
            records.not_mat_5(header.with_name(lead.file))
        (samples,) = {records.room(header, k, leads, stated) for k in volts}

    @cache
    def whole(k: int) -> wfdb.Record:
        return wfdb.rdrecord(name, channels=[volts[k]], physical=False)

    def digital(k: int, first: int, last: int) -> wfdb.Record:
        if stated is None:  # wfdb reads pieces only of what has a stated length
            record = copy(whole(k))
            record.d_signal = record.d_signal[first:last]
            return record
        return wfdb.rdrecord(name, channels=[volts[k]], sampfrom=first, sampto=last, physical=False)

    def read(k: int, first: int, last: int) -> Signal:
        with records.naming(header, "signal", HINT):
            return digital(k, first, last).dac()[:, 0] * MILLIVOLTS[leads[volts[k]].unit.lower()]

    def check(k: int) -> None:
        with records.naming(header, "signal", HINT):
            if leads[volts[k]].checksum:
                parts = (digital(k, i, min(i + BLOCK, samples)).d_signal for i in range(0, samples, BLOCK))
                records.compare_sum(volts[k], leads[volts[k]], sum(int(part.sum(dtype=np.int64)) for part in parts))

    reference = None
    if header.with_suffix(".atr").exists():
        with records.naming(header, "annotations", "the record without its .atr"):
            reference = records.annotations(header, rate_hz, samples)
    names = tuple(leads[k].name for k in volts)
    return Recording(header, header.stem, names, rate_hz, samples, read, check, _start(header), reference)


def _facts(header: Path, unstated_hz: float | None) -> tuple[float, int | None, list[records.Lead]]:
    try:
        return records.facts(header, unstated_hz=unstated_hz)
    except records.NoRateError as error:
        raise DataError("the header does not say how often it was sampled", where=str(header), hint="--rate-hz HZ") from error


def beside(signal: Path) -> Path:
    """The header of a signal file."""
    header = signal.with_suffix(".hea")
    if not header.is_file():
        raise DataError(f"there is no {header.name} beside it", where=str(signal), hint="the record's header (.hea) too")
    return header


def _start(header: Path) -> datetime | None:
    """Time and date of the first sample, where the header has both."""
    lines = [line.split() for line in header.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for form in ("%H:%M:%S %d/%m/%Y", "%H:%M:%S.%f %d/%m/%Y"):
        with suppress(ValueError):
            return datetime.strptime(" ".join(lines[0][4:6]), form)
    return None
