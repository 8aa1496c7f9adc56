"""One twelve-lead recording, a CSV with a column a lead or a WFDB record, becomes samples in microvolts, checked.

What cannot be used raises `Fault("a lead is flat: V3")`: its kind, by which faults are counted, and what it is.
"""

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from loaders.families import labels_diagnoses, twelve_lead
from loaders.formats import wfdb, wfdb_signal
from loaders.formats.units import millivolts
from loaders.formats.wfdb_header import Lead
from toolbox.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Samples = NDArray[np.int16]
LARGEST_FILE = 2**23  # bytes; a CSV of the database has less than 2**20
AROUND = " \t\r\n\"'"
LEAST_UV = 20  # that a record spans; below it the numbers are of another unit
DX = re.compile(r"^#\s*Dx:\s*(.*)$", re.MULTILINE)
MISSING = -(2**15)  # what WFDB writes for a sample that is none
UNREADABLE, LACKING, LENGTH, RATE, LEADS = (
    "cannot be read",
    "values are missing",
    "another length",
    "another rate",
    "leads are missing",
)
FLAT, UNIT = "a lead is flat", "no microvolts"


class Fault(Exception):
    """Why a record is left out."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")


def of_csv(content: bytes) -> Samples:
    """The samples (12, 5000) of a CSV in microvolts: names above the columns, or none and the leads in the standard
    order."""
    import pandas as pd

    first = content.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    cells = [cell.strip(AROUND) for cell in first.split(",")]
    header = any(cell and not _is_number(cell) for cell in cells)
    names = cells if header else list(twelve_lead.LEADS)
    if len(cells) != len(names):
        raise Fault(LEADS, f"it has {len(cells)} columns without names, the twelve leads are {len(twelve_lead.LEADS)}")
    places = _ordered(names)
    how = {"header": None, "skiprows": int(header), "encoding": "utf-8-sig"}
    try:
        try:
            table = pd.read_csv(BytesIO(content), dtype=dict.fromkeys(places, np.float64), **how)
        except ValueError:
            raise _no_number(pd.read_csv(BytesIO(content), dtype=str, **how), places, header=header) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise Fault(UNREADABLE, f"it is no table: {error}") from None
    return checked(table[places].to_numpy().T)


def _no_number(table: "pd.DataFrame", places: list[int], *, header: bool) -> Fault:
    """The first cell of a lead that is no number."""
    for lead, place in zip(twelve_lead.LEADS, places, strict=True):
        for row, cell in enumerate(table[place].dropna()):
            if not _is_number(cell.strip(AROUND)):
                return Fault(
                    UNREADABLE, f"lead {lead} has {cell[:40]!r} about line {row + 1 + header}, which is no number"
                )
    return Fault(UNREADABLE, "it has columns of different lengths")


def of_wfdb(header: Path) -> tuple[Samples, str]:
    """The samples (12, 5000) of a record in microvolts, and the rhythm that the codes of its #Dx name."""
    try:
        with wfdb.naming(header, "header"):
            rate_hz, stated, leads = wfdb.facts(header)
            codes = DX.findall(header.read_text("ascii", errors="replace"))
        places = _ordered([lead.name for lead in leads])
        if rate_hz != twelve_lead.RATE_HZ:
            raise Fault(RATE, f"{rate_hz:g} Hz, not {twelve_lead.RATE_HZ}")
        with wfdb.naming(header, "signal"):
            signal = _microvolts(header, stated, leads, places)
    except DataError as error:
        raise Fault(UNREADABLE, error.what) from None
    rhythm = labels_diagnoses.of_codes(code.strip() for text in codes for code in text.split(","))
    return checked(signal), rhythm


def _microvolts(header: Path, stated: int | None, leads: Sequence[Lead], places: list[int]) -> NDArray[np.float64]:
    """The leads at `places` (12, T); NaN where a sample is missing. A ValueError where the file is not as its header
    says."""
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
    zero, gain = (np.array([value(leads[place]) for place in places])[:, None] for value in (_zero, _gain))
    signal = (digital[places] - zero) / gain
    return np.where(digital[places] == MISSING, np.nan, signal)


def _zero(lead: Lead) -> float:
    return lead.zero


def _gain(lead: Lead) -> float:
    """Steps of a microvolt."""
    return lead.gain / ((millivolts(lead.unit) or 1) * 1000)


def checked(signal: NDArray[np.float64]) -> Samples:
    """Microvolts (12, T), whole, where there is a value for each of 5,000 samples and something in each lead."""
    if signal.shape[1] != twelve_lead.SAMPLES:
        raise Fault(LENGTH, f"{signal.shape[1]} samples, not {twelve_lead.SAMPLES}")
    lacking = ~np.isfinite(signal)
    if lacking.any():
        lead, sample = np.argwhere(lacking)[0]
        raise Fault(LACKING, f"{lacking.sum()}, the first in lead {twelve_lead.LEADS[lead]}, sample {sample}")
    span = np.ptp(signal, axis=1)
    if flat := [lead for lead, own in zip(twelve_lead.LEADS, span, strict=True) if own == 0]:
        raise Fault(FLAT, ", ".join(flat))
    if span.max() < LEAST_UV or np.abs(signal).max() > twelve_lead.LARGEST:
        raise Fault(UNIT, f"the values lie between {signal.min():g} and {signal.max():g}")
    return np.round(signal).astype(np.int16)


def _ordered(names: list[str]) -> list[int]:
    try:
        return twelve_lead.ordered(names)
    except ValueError as error:
        raise Fault(LEADS, str(error)) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True
