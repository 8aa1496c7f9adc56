"""The twelve-lead recordings of a folder or zip, read side by side and once; what cannot be used is told, with its
fault.

    source = tracings.find(folder)
    arrays = tracings.read_all(source, cache)

CSV files of a folder, the denoised ones first, or WFDB records in folders of any depth.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import numpy as np

from loaders.datasets import chapman_tracing
from loaders.datasets.chapman_tracing import LARGEST_FILE
from loaders.families import twelve_lead
from loaders.files.archives import opened, reading
from loaders.files.cache import Arrays, gathered
from loaders.files.sources import log, topmost
from toolbox import temporary, terminal
from toolbox.errors import CommanderError, DataError

# In this order: a folder of CSV files or a zip; WFDB headers may stand in many folders, and tables beside them.
PLACES = ("ECGDataDenoised/*.csv", "ECGDataDenoised.zip", "ECGData/*.csv", "ECGData.zip", "MUSE_*.csv")
OTHERS = ("*.zip", "*.csv")
CSV, WFDB = ".csv", ".hea"
SIGNALS = (WFDB, ".mat", ".dat")
COPY = "a copy"
WORKERS, AT_ONCE = 8, 256
WOULD_DO = (
    "a folder or zip of CSV files (ECGDataDenoised) with Diagnostics.xlsx beside it, or of WFDB records (*.hea, *.mat)"
)


@dataclass(frozen=True)
class Source:
    """Recordings in a folder or zip: by name, sorted, the file of each, below the folder or in the zip, all of one
    `kind`."""

    path: Path
    kind: str
    files: dict[str, str]

    @property
    def paths(self) -> list[Path]:
        """What would change if a recording did."""
        if not self.path.is_dir():
            return [self.path]
        given = [self.path / file for file in self.files.values()]
        if self.kind == CSV:
            return [path for path in given if path.is_file()]
        folders = dict.fromkeys(path.parent for path in given)  # a header may name a signal file of another stem
        return [
            path for folder in folders for path in sorted(folder.iterdir()) if path.suffix in SIGNALS and path.is_file()
        ]


def find(place: Path, *, pointed_at: bool = True) -> Source | None:
    """The recordings in a folder, or nested in it; in a zip; beside a file of them. None where there are none.

    CSV files of any name are taken where the user `pointed_at` the place; among other things they may be anything.
    Raises DataError where two recordings have one name, or for a zip that is none.
    """
    if place.is_file():
        return BESIDE[place.suffix.lower()](place) if place.suffix.lower() in BESIDE else None
    for pattern in PLACES:
        if found := _usable(topmost(place, pattern)):
            return found
    if found := _headers(place):
        return found
    others = OTHERS if pointed_at else OTHERS[:1]
    return next((found for pattern in others if (found := _usable(topmost(place, pattern)))), None)


def _headers(folder: Path) -> Source | None:
    headers = sorted(path for path in folder.rglob(f"*{WFDB}") if not path.name.startswith("."))
    return _named(folder, WFDB, [path.relative_to(folder).as_posix() for path in headers]) if headers else None


def _usable(found: list[Path]) -> Source | None:
    """The CSV files that were found, or the first zip with recordings; a damaged zip is passed over, which is said."""
    if found and found[0].suffix.lower() == CSV:
        return _named(found[0].parent, CSV, [path.name for path in found])
    for path in found:
        try:
            return _in_zip(path)
        except CommanderError as error:
            log.warning("passing over %s: %s", path, error.what)
    return None


def _in_zip(path: Path) -> Source:
    with reading(path), opened(path) as archive:
        members = [name for name in archive.namelist() if not PurePosixPath(name).name.startswith(".")]
    for kind in (WFDB, CSV):
        folders: dict[str, list[str]] = {}
        for name in sorted(members):
            if name.lower().endswith(kind):
                folders.setdefault("" if kind == WFDB else str(PurePosixPath(name).parent), []).append(name)
        if folders:
            denoised = [folder for folder in folders if PurePosixPath(folder).name == "ECGDataDenoised"]
            return _named(
                path, kind, folders[denoised[0] if denoised else max(folders, key=lambda name: len(folders[name]))]
            )
    raise DataError("there are no recordings in the zip", where=str(path), hint=WOULD_DO)


def _named(path: Path, kind: str, files: list[str]) -> Source:
    names = {PurePosixPath(file).stem: file for file in reversed(files)}
    if len(names) < len(files):
        twice = next(file for file in files if names[PurePosixPath(file).stem] != file)
        what = f"two recordings are called {PurePosixPath(twice).stem}, {twice} and another"
        raise DataError(what, where=str(path), hint="one copy of each")
    return Source(path, kind, dict(sorted(names.items())))


# By the ending of a file that the user points at, what it stands for.
BESIDE: dict[str, Callable[[Path], Source | None]] = {
    ".zip": _in_zip,
    ".csv": lambda path: _usable(topmost(path.parent, "*.csv")),
    ".xlsx": lambda path: find(path.parent),
    ".hea": lambda path: _headers(path.parent),
    ".mat": lambda path: _headers(path.parent),
}


def read_all(source: Source, folder: Path) -> Arrays:
    """samples (R, 12, 5000) int16, record, rhythm and content (R,), and failed and fault (F,) of those that cannot be
    used.

    Of records with the same samples the first is used. The samples lie in a temporary file in `folder`.
    Raises DataError where no recording can be used.
    """
    told: dict[str, list[str]] = {name: [] for name in ("record", "rhythm", "content", "failed", "fault")}

    def usable() -> Iterator[chapman_tracing.Samples]:
        first: dict[
            str, str
        ] = {}  # of the records with some content, which on two sides would be known before it is tested
        with reading(source.path):
            for name, found in _read(source):
                content = "" if isinstance(found, str) else twelve_lead.content(found[0])
                if content in first:
                    found = f"{COPY}: of {first[content]}"
                if isinstance(found, str):
                    told["failed"].append(name)
                    told["fault"].append(found)
                    continue
                first[content] = name
                for key, value in (("record", name), ("rhythm", found[1]), ("content", content)):
                    told[key].append(value)
                yield found[0]

    samples = gathered(usable(), folder)
    if samples is None:
        what = f"none of {len(source.files)} recordings can be used; {told['failed'][0]}: {told['fault'][0]}"
        raise DataError(what, where=str(source.path), hint=WOULD_DO)
    return {"samples": samples} | {key: np.array(own, str) for key, own in told.items()}


def _read(source: Source) -> Iterator[tuple[str, tuple[chapman_tracing.Samples, str] | str]]:
    """Name by name samples and rhythm, or the fault."""
    names, workers = list(source.files), min(WORKERS, os.cpu_count() or 1)
    with (
        _open(source) as read,
        ThreadPoolExecutor(workers) as pool,
        terminal.bar(total=len(names), desc="records", unit="record") as bar,
    ):
        for begin in range(0, len(names), AT_ONCE):
            some = names[begin : begin + AT_ONCE]
            for name, found in zip(some, pool.map(partial(_attempt, read), map(source.files.get, some)), strict=True):
                bar.update()
                yield name, found


def _attempt(
    read: Callable[[str], tuple[chapman_tracing.Samples, str]], file: str
) -> tuple[chapman_tracing.Samples, str] | str:
    try:
        return read(file)
    except chapman_tracing.Fault as fault:
        return str(fault)


@contextmanager
def _open(source: Source) -> Iterator[Callable[[str], tuple[chapman_tracing.Samples, str]]]:
    """What reads a file of the source."""
    if source.path.is_dir():
        yield partial(_from_folder, source.path)
        return
    with opened(source.path) as archive, temporary.folder() as there:
        yield partial(_from_zip, archive, there, source.kind)


def _from_folder(folder: Path, file: str) -> tuple[chapman_tracing.Samples, str]:
    path = folder / file
    if path.suffix == WFDB:
        return chapman_tracing.of_wfdb(path)
    _check_size(path.stat().st_size if path.is_file() else 0)
    return chapman_tracing.of_csv(path.read_bytes()), ""


def _from_zip(archive: ZipFile, there: Path, kind: str, file: str) -> tuple[chapman_tracing.Samples, str]:
    for member in (file, _mat(file)):
        if member in archive.NameToInfo:
            _check_size(archive.getinfo(member).file_size)
    if kind == CSV:
        return chapman_tracing.of_csv(archive.read(file)), ""
    with tempfile.TemporaryDirectory(dir=there) as name:
        for member in (file, _mat(file)):
            if member in archive.NameToInfo:
                (Path(name) / PurePosixPath(member).name).write_bytes(archive.read(member))
        return chapman_tracing.of_wfdb(Path(name) / PurePosixPath(file).name)


def _check_size(size: int) -> None:
    if not 0 < size <= LARGEST_FILE:
        raise chapman_tracing.Fault(chapman_tracing.UNREADABLE, f"the file has {size} bytes")


def _mat(header: str) -> str:
    return f"{header.removesuffix(WFDB)}.mat"
