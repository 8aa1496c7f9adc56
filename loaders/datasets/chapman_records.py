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
from collections.abc import Callable, Iterator
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
from loaders.files import building
from loaders.files.archives import opened, reading
from loaders.files.cache import Arrays, gathered
from loaders.files.sources import log, topmost
from loaders.formats import twelve_leads
from loaders.formats.csv.text import AROUND, is_number
from loaders.formats.twelve_leads import LARGEST, LARGEST_FILE, LEADS, UNIT, UNREADABLE, WITHOUT_LEADS, Fault, Samples
from toolbox import files as temporary
from toolbox import terminal
from toolbox.errors import CommanderError, DataError

if TYPE_CHECKING:
    import pandas as pd

LEAST_UV = 20  # of a record's span; below it the numbers are in another unit
DX = re.compile(r"^#\s*Dx:\s*(.*)$", re.MULTILINE)
FLAT = "a lead is flat"


def of_csv(content: bytes) -> Samples:
    """The samples (12, 5000) of a CSV in microvolts; columns without names are the leads in the standard order."""
    import pandas as pd

    first = content.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    cells = [cell.strip(AROUND) for cell in first.split(",")]
    header = any(cell and not is_number(cell) for cell in cells)
    names = cells if header else list(LEADS)
    if len(cells) != len(names):
        raise Fault(WITHOUT_LEADS, f"it has {len(cells)} columns without names, the twelve leads are {len(LEADS)}")
    places = twelve_leads.ordered(names)
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
    for lead, place in zip(LEADS, places, strict=True):
        for row, cell in enumerate(table[place].dropna()):
            if (text := cell.strip(AROUND)) and not is_number(text):
                what = f"lead {lead} has {cell[:40]!r} about line {row + 1 + header}, which is no number"
                return Fault(UNREADABLE, what)
    return Fault(UNREADABLE, "it has columns of different lengths")


def of_wfdb(header: Path) -> tuple[Samples, str]:
    """The samples (12, 5000) of a record in microvolts, and the rhythm of the codes in its #Dx."""
    signal = twelve_leads.microvolts(header, rate_hz=twelve_lead.RATE_HZ)
    codes = DX.findall(header.read_text("ascii", errors="replace"))
    rhythm = labels.of_codes(code.strip() for text in codes for code in text.split(","))
    return checked(signal), rhythm


def checked(signal: NDArray[np.float64]) -> Samples:
    """Rounded microvolts (12, T). Raises Fault for missing values, a flat lead or another unit."""
    twelve_leads.check(signal, twelve_lead.SAMPLES)
    span = np.ptp(signal, axis=1)
    if flat := [lead for lead, own in zip(LEADS, span, strict=True) if own == 0]:
        raise Fault(FLAT, ", ".join(flat))
    if span.max() < LEAST_UV or np.abs(signal).max() > LARGEST:
        raise Fault(UNIT, f"the values lie between {signal.min():g} and {signal.max():g}")
    return np.round(signal).astype(np.int16)


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
                content = "" if isinstance(found, str) else building.content(found[0])
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


def read_codes(source: TwelveLeadFiles) -> Arrays:
    """The record (R,) of each WFDB header, and the text (R,) of its SNOMED CT codes, with commas between them."""
    with reading(source.path), _open_texts(source) as read:
        found = [",".join(DX.findall(read(file).decode("ascii", errors="replace"))) for file in source.files.values()]
    return {"record": np.array([*source.files], str), "codes": np.array(found, str)}


@contextmanager
def _open_texts(source: TwelveLeadFiles) -> Iterator[Callable[[str], bytes]]:
    """The function that reads a file of the source."""
    if source.path.is_dir():
        yield lambda file: (source.path / file).read_bytes()[:LARGEST_FILE]
        return
    with opened(source.path) as archive:
        yield lambda file: archive.read(file)[:LARGEST_FILE]


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
