"""The twelve-lead recordings of `chapman`: CSVs with a column for each lead, or WFDB records, in microvolts.

    source = chapman_records.find(folder)
    arrays = chapman_records.read_all(source, cache)

CSV files of a folder or zip, the denoised ones first, or WFDB records in folders of any depth are read in threads. An
unusable recording raises `Fault("a lead is flat", "V3")`: the kind of the fault, for counting, and the fault. Caches
and checksums keep the text of the faults.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from loaders.families import labels, twelve_lead
from loaders.files.archives import opened, reading
from loaders.files.cache import Arrays, gathered
from loaders.files.sources import log, topmost
from loaders.formats import wfdb, wfdb_signal
from loaders.formats.csv.text import AROUND, is_number
from loaders.formats.lead_names import millivolts
from loaders.formats.wfdb_header import WfdbLead
from toolbox import files as temporary
from toolbox import terminal
from toolbox.errors import CommanderError, DataError

if TYPE_CHECKING:
    import pandas as pd

Samples = NDArray[np.int16]
LARGEST_FILE = 2**23  # bytes; a CSV of the database has less than 2**20
LEAST_UV = 20  # of a record's span; below it the numbers are in another unit
DX = re.compile(r"^#\s*Dx:\s*(.*)$", re.MULTILINE)
UNREADABLE, LACKING, LENGTH = "cannot be read", "values are missing", "another length"
RATE, LEADS = "another rate", "leads are missing"
FLAT, UNIT = "a lead is flat", "no microvolts"


class Fault(Exception):
    """The reason for which a record is left out."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")


def of_csv(content: bytes) -> Samples:
    """The samples (12, 5000) of a CSV in microvolts; columns without names are the leads in the standard order."""
    import pandas as pd

    first = content.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    cells = [cell.strip(AROUND) for cell in first.split(",")]
    header = any(cell and not is_number(cell) for cell in cells)
    names = cells if header else list(twelve_lead.LEADS)
    if len(cells) != len(names):
        raise Fault(LEADS, f"it has {len(cells)} columns without names, the twelve leads are {len(twelve_lead.LEADS)}")
    places = _ordered(names)
    layout: dict[str, Any] = {"header": None, "skiprows": int(header), "encoding": "utf-8-sig"}
    try:
        try:
            table = pd.read_csv(BytesIO(content), dtype=dict.fromkeys(places, np.float64), **layout)
        except ValueError:
            raise _no_number(pd.read_csv(BytesIO(content), dtype=str, **layout), places, header=header) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise Fault(UNREADABLE, f"it is no table: {error}") from None
    return checked(table[places].to_numpy().T)


def _no_number(table: "pd.DataFrame", places: list[int], *, header: bool) -> Fault:
    """The fault of the first cell of a lead that is no number."""
    for lead, place in zip(twelve_lead.LEADS, places, strict=True):
        for row, cell in enumerate(table[place].dropna()):
            if (text := cell.strip(AROUND)) and not is_number(text):
                what = f"lead {lead} has {cell[:40]!r} about line {row + 1 + header}, which is no number"
                return Fault(UNREADABLE, what)
    return Fault(UNREADABLE, "it has columns of different lengths")


def of_wfdb(header: Path) -> tuple[Samples, str]:
    """The samples (12, 5000) of a record in microvolts, and the rhythm of the codes in its #Dx."""
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
    rhythm = labels.of_codes(code.strip() for text in codes for code in text.split(","))
    return checked(signal), rhythm


def _microvolts(header: Path, stated: int | None, leads: Sequence[WfdbLead], places: list[int]) -> NDArray[np.float64]:
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


def checked(signal: NDArray[np.float64]) -> Samples:
    """Rounded microvolts (12, T). Raises Fault for missing values, a flat lead or another unit."""
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


# In this order: a folder of CSV files or a zip; WFDB headers may be in many folders, with other tables.
PLACES = ("ECGDataDenoised/*.csv", "ECGDataDenoised.zip", "ECGData/*.csv", "ECGData.zip", "MUSE_*.csv")
OTHERS = ("*.zip", "*.csv")
CSV, WFDB = ".csv", ".hea"
SIGNALS = (WFDB, ".mat", ".dat")
COPY = "a copy"
WORKERS, AT_ONCE = 8, 256
WOULD_DO = "a folder or zip of CSV files (ECGDataDenoised), or of WFDB records (*.hea, *.mat)"


@dataclass(frozen=True)
class TwelveLeadFiles:
    """Recordings of one `kind` in a folder or zip: the file of each by name, sorted, relative to `path`."""

    path: Path
    kind: str
    files: dict[str, str]

    def __str__(self) -> str:
        return str(self.path)

    @property
    def paths(self) -> list[Path]:
        """The files that change with a recording."""
        if not self.path.is_dir():
            return [self.path]
        given = [self.path / file for file in self.files.values()]
        if self.kind == CSV:
            return [path for path in given if path.is_file()]
        folders = dict.fromkeys(path.parent for path in given)  # a header may name a signal file of another stem
        found = (path for folder in folders for path in sorted(folder.iterdir()))
        return [path for path in found if path.suffix in SIGNALS and path.is_file()]


def find(place: Path, *, pointed_at: bool = True) -> TwelveLeadFiles | None:
    """The recordings in a folder or below it, in a zip, or in the folder of one of their files; None without any.

    CSV files of any name count if the user `pointed_at` the place; in another folder they may be other tables. Raises
    DataError for two recordings of one name, or for a damaged zip.
    """
    if place.is_file():
        return OF_FILE[place.suffix.lower()](place) if place.suffix.lower() in OF_FILE else None
    for pattern in PLACES:
        if found := _usable(topmost(place, pattern)):
            return found
    if found := _headers(place):
        return found
    others = OTHERS if pointed_at else OTHERS[:1]
    return next((found for pattern in others if (found := _usable(topmost(place, pattern)))), None)


def _headers(folder: Path) -> TwelveLeadFiles | None:
    headers = sorted(path for path in folder.rglob(f"*{WFDB}") if not path.name.startswith("."))
    return _named(folder, WFDB, [path.relative_to(folder).as_posix() for path in headers]) if headers else None


def _usable(found: list[Path]) -> TwelveLeadFiles | None:
    """The found CSV files, or the first zip with recordings; a damaged zip is skipped with a warning."""
    if found and found[0].suffix.lower() == CSV:
        return _named(found[0].parent, CSV, [path.name for path in found])
    for path in found:
        try:
            return _in_zip(path)
        except CommanderError as error:
            log.warning("skipping %s: %s", path, error.what)
    return None


def _in_zip(path: Path) -> TwelveLeadFiles:
    with reading(path), opened(path) as archive:
        members = [name for name in archive.namelist() if not PurePosixPath(name).name.startswith(".")]
    for kind in (WFDB, CSV):
        folders: dict[str, list[str]] = {}
        for name in sorted(members):
            if name.lower().endswith(kind):
                folders.setdefault("" if kind == WFDB else str(PurePosixPath(name).parent), []).append(name)
        if folders:
            denoised = [folder for folder in folders if PurePosixPath(folder).name == "ECGDataDenoised"]
            largest = max(folders, key=lambda name: len(folders[name]))
            return _named(path, kind, folders[denoised[0] if denoised else largest])
    raise DataError("the zip has no recordings", where=str(path), hint=WOULD_DO)


def _named(path: Path, kind: str, files: list[str]) -> TwelveLeadFiles:
    names = {PurePosixPath(file).stem: file for file in reversed(files)}
    if len(names) < len(files):
        twice = next(file for file in files if names[PurePosixPath(file).stem] != file)
        what = f"two recordings have the name {PurePosixPath(twice).stem}, {twice} and another"
        raise DataError(what, where=str(path), hint="one copy of each")
    return TwelveLeadFiles(path, kind, dict(sorted(names.items())))


# The recordings of a file that the user points at, by its ending.
OF_FILE: dict[str, Callable[[Path], TwelveLeadFiles | None]] = {
    ".zip": _in_zip,
    ".csv": lambda path: _usable(topmost(path.parent, "*.csv")),
    ".xlsx": lambda path: find(path.parent),
    ".hea": lambda path: _headers(path.parent),
    ".mat": lambda path: _headers(path.parent),
}


def read_all(source: TwelveLeadFiles, folder: Path) -> Arrays:
    """samples (R, 12, 5000) int16, record, rhythm and content (R,), and failed and fault (F,) of unusable records.

    Of records with the same samples the first is used: the others could be in another split. The samples are in a
    temporary file in `folder`. Raises DataError if no recording can be used.
    """
    facts: dict[str, list[str]] = {name: [] for name in ("record", "rhythm", "content", "failed", "fault")}

    def usable() -> Iterator[Samples]:
        first: dict[str, str] = {}  # the record of each content
        with reading(source.path):
            for name, found in _read(source):
                content = "" if isinstance(found, str) else twelve_lead.content(found[0])
                if content in first:
                    found = f"{COPY}: of {first[content]}"
                if isinstance(found, str):
                    facts["failed"].append(name)
                    facts["fault"].append(found)
                    continue
                first[content] = name
                for key, value in (("record", name), ("rhythm", found[1]), ("content", content)):
                    facts[key].append(value)
                yield found[0]

    samples = gathered(usable(), folder)
    if not len(samples):
        what = f"none of {len(source.files)} recordings can be used; {facts['failed'][0]}: {facts['fault'][0]}"
        raise DataError(what, where=str(source.path), hint=WOULD_DO)
    return {"samples": samples} | {key: np.array(own, str) for key, own in facts.items()}


def _read(source: TwelveLeadFiles) -> Iterator[tuple[str, tuple[Samples, str] | str]]:
    """The name of each record, and its samples and rhythm, or its fault."""
    names, workers = list(source.files), min(WORKERS, os.cpu_count() or 1)
    with (
        _open(source) as read,
        ThreadPoolExecutor(workers) as pool,
        terminal.bar(total=len(names), desc="records", unit="record") as bar,
    ):
        for begin in range(0, len(names), AT_ONCE):
            some = names[begin : begin + AT_ONCE]
            files = [source.files[name] for name in some]
            for name, found in zip(some, pool.map(partial(_attempt, read), files), strict=True):
                bar.update()
                yield name, found


def _attempt(read: Callable[[str], tuple[Samples, str]], file: str) -> tuple[Samples, str] | str:
    try:
        return read(file)
    except Fault as fault:
        return str(fault)


@contextmanager
def _open(source: TwelveLeadFiles) -> Iterator[Callable[[str], tuple[Samples, str]]]:
    if source.path.is_dir():
        yield partial(_from_folder, source.path)
        return
    with opened(source.path) as archive, temporary.folder() as there:
        yield partial(_from_zip, archive, there, source.kind)


def _from_folder(folder: Path, file: str) -> tuple[Samples, str]:
    path = folder / file
    if path.suffix == WFDB:
        return of_wfdb(path)
    _check_size(path.stat().st_size if path.is_file() else 0)
    return of_csv(path.read_bytes()), ""


def _from_zip(archive: ZipFile, there: Path, kind: str, file: str) -> tuple[Samples, str]:
    for member in (file, _mat(file)):
        if member in archive.NameToInfo:
            _check_size(archive.getinfo(member).file_size)
    if kind == CSV:
        return of_csv(archive.read(file)), ""
    with tempfile.TemporaryDirectory(dir=there) as name:
        for member in (file, _mat(file)):
            if member in archive.NameToInfo:
                (Path(name) / PurePosixPath(member).name).write_bytes(archive.read(member))
        return of_wfdb(Path(name) / PurePosixPath(file).name)


def _check_size(size: int) -> None:
    if not 0 < size <= LARGEST_FILE:
        raise Fault(UNREADABLE, f"the file has {size} bytes")


def _mat(header: str) -> str:
    return f"{header.removesuffix(WFDB)}.mat"
