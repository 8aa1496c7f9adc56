"""A short WFDB record of twelve leads in format 16, read at once in microvolts.

    samples = twelve_leads.read(header, rate_hz=100, samples=1000)      # (12, T) int16

An unusable record raises `Fault("another length", "900 samples, not 1000")`: the kind of the fault, for counting, and
the fault. Caches and checksums keep the text of the faults. The module imports no torch: processes start in a moment.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from loaders.files.archives import reading
from loaders.formats import wfdb, wfdb_signal
from loaders.formats.lead_names import millivolts
from loaders.formats.wfdb_header import WfdbLead
from toolbox import files
from toolbox.errors import DataError

Samples = NDArray[np.int16]
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LARGEST = 2**15 - 1  # microvolts
LARGEST_FILE = 2**23  # bytes; a CSV of chapman has less than 2**20
UNREADABLE, LACKING, LENGTH = "cannot be read", "values are missing", "another length"
PARTS = (".hea", ".dat")  # the files of a record
RATE, WITHOUT_LEADS, UNIT = "another rate", "leads are missing", "no microvolts"


class Fault(Exception):
    """The reason for which a record is left out."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")


def ordered(names: Sequence[str]) -> list[int]:
    """The place of each of LEADS among `names` in any case. Raises Fault for missing and repeated leads."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name.strip().lower(), []).append(place)
    missing, there = [lead for lead in LEADS if lead.lower() not in places], ", ".join(names)[:120]
    if len(missing) == len(LEADS):
        what = f"no lead is called {', '.join(LEADS)}; they are called {there}: rename them"
        raise Fault(WITHOUT_LEADS, what)
    if missing:
        raise Fault(WITHOUT_LEADS, f"of the twelve leads {', '.join(missing)} is missing; there are {there}")
    if twice := [lead for lead in LEADS if len(places[lead.lower()]) > 1]:
        raise Fault(WITHOUT_LEADS, f"lead {twice[0]} is there twice")
    return [places[lead.lower()][0] for lead in LEADS]


def microvolts(header: Path, *, rate_hz: float) -> NDArray[np.float64]:
    """The twelve leads (12, T) of a record at `rate_hz` in the order of LEADS, NaN for missing samples.

    Raises Fault for other leads, another rate, and files that differ from the header.
    """
    try:
        with wfdb.naming(header, "header"):
            found_hz, stated, leads = wfdb.facts(header)
        places = ordered([lead.name for lead in leads])
        if found_hz != rate_hz:
            raise Fault(RATE, f"{found_hz:g} Hz, not {rate_hz:g}")
        with wfdb.naming(header, "signal"):
            return _signal(header, stated, leads, places)
    except DataError as error:
        raise Fault(UNREADABLE, error.what) from None


def _signal(header: Path, stated: int | None, leads: Sequence[WfdbLead], places: list[int]) -> NDArray[np.float64]:
    """The leads at `places` (12, T), NaN for missing samples. Raises ValueError for a file unlike its header."""
    first = leads[0]
    same = {(lead.file, lead.format, lead.frame, lead.offset) for lead in leads}
    if len(same) > 1 or (first.format, first.frame, *{lead.skew for lead in leads}) != ("16", 1, 0):
        raise ValueError("its leads are not together in one file of format 16, which alone is read")
    if odd := [lead for lead in leads if millivolts(lead.unit) is None]:
        raise ValueError(f"lead {odd[0].name} is in {odd[0].unit}, not in volts")
    path = header.with_name(first.file)
    wfdb_signal.not_mat_5(path)
    samples = wfdb_signal.room(header, 0, leads, stated)
    if samples > LARGEST_FILE // len(leads):
        raise ValueError(f"{path.name} has {samples} samples of each lead")
    digital = np.fromfile(path, "<i2", samples * len(leads), offset=first.offset).reshape(samples, len(leads)).T
    for place in places:
        wfdb_signal.compare_sum(place, leads[place], int(digital[place].sum(dtype=np.int64)))
    own = [leads[place] for place in places]
    zero = np.array([lead.zero for lead in own])[:, None]
    steps_per_uv = np.array([lead.gain / ((millivolts(lead.unit) or 1) * 1000) for lead in own])[:, None]
    signal = (digital[places] - zero) / steps_per_uv
    return np.where(digital[places] == wfdb_signal.MISSING["16"], np.nan, signal)


def check(signal: NDArray[np.float64], samples: int) -> None:
    """Raise Fault for microvolts (12, T) of another length, or with missing values."""
    if signal.shape[1] != samples:
        raise Fault(LENGTH, f"{signal.shape[1]} samples, not {samples}")
    lacking = ~np.isfinite(signal)
    if lacking.any():
        lead, sample = np.argwhere(lacking)[0]
        raise Fault(LACKING, f"{lacking.sum()}, the first in lead {LEADS[lead]}, sample {sample}")


def read(header: Path, *, rate_hz: float, samples: int) -> Samples:
    """Rounded microvolts (12, `samples`); a flat lead is kept. Raises Fault."""
    signal = microvolts(header, rate_hz=rate_hz)
    check(signal, samples)
    if np.abs(signal).max() > LARGEST:
        raise Fault(UNIT, f"the values lie between {signal.min():g} and {signal.max():g}")
    return np.round(signal).astype(np.int16)


def read_some(source: Path, names: Sequence[str], *, rate_hz: float, samples: int) -> list[Samples | str]:
    """The samples of each record, or its fault; `names` are paths without an ending in a folder or zip."""
    if source.is_dir():
        return [_attempt(source / (name + PARTS[0]), rate_hz, samples) for name in names]
    found = []
    with reading(source), files.folder() as there:
        archive = _archive(source, source.stat().st_mtime_ns)
        for name in names:
            for part in PARTS:
                if archive.getinfo(name + part).file_size <= LARGEST_FILE:
                    (there / (PurePosixPath(name).name + part)).write_bytes(archive.read(name + part))
            found.append(_attempt(there / (PurePosixPath(name).name + PARTS[0]), rate_hz, samples))
    return found


@lru_cache(maxsize=1)
def _archive(path: Path, changed_ns: int) -> ZipFile:
    """An open zip, whose members the caller has checked; a process reads the directory of a large one once."""
    return ZipFile(path)


def _attempt(header: Path, rate_hz: float, samples: int) -> Samples | str:
    try:
        return read(header, rate_hz=rate_hz, samples=samples)
    except Fault as fault:
        return str(fault)
