"""Dataset `ptbxl`: twelve leads, 10 s at 100 and 500 Hz, of 18,869 patients, with up to 71 statements a record.

PTB-XL (Wagner et al., Sci Data 7:154, 2020) as on PhysioNet, version 1.0.3 or 1.0.1: two tables, and WFDB records in
records100 and records500.
"""

import hashlib
import json
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from loaders.base import Data
from loaders.datasets.ptbxl import tables
from loaders.datasets.ptbxl.plan import Records, StatementPlan
from loaders.datasets.ptbxl.tables import DATABASE, FOLDS, PATHS, STATEMENTS
from loaders.declaration import Request
from loaders.files import building
from loaders.files.archives import reading
from loaders.files.building import Reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import log
from loaders.formats import twelve_leads
from loaders.formats.twelve_leads import LEADS, PARTS
from loaders.splits import Indices
from toolbox.errors import DataError

VERSION = 1  # raised when tables or records are read in another way
SECONDS = 10
WHOLE = {"1.0.3": 21_799, "1.0.1": 21_837}  # records of the versions
NAMED = 3  # records, in a message
PUBLISHED = "HR{:05}"  # record of this ecg_id in the sets of the PhysioNet/CinC Challenges


def load(request: Request) -> Data:
    """The records at the user's path, else in the dataset's folder, else fetched into it; any part of the database.

    A record without its file, or one that fails the checks of `twelve_leads`, is a DataError; with --bad-rows drop it
    is left out with a warning. Raises UsageError for wrong options, DataError, DownloadError or ResourceError for
    missing or unusable files.
    """
    plan = StatementPlan.of(request, tuple(PATHS))
    source, rate_hz = request.source, int(request.options.rate)
    found = _tables(source, request)
    there = _there(source, found, rate_hz, request)
    names = found[PATHS[rate_hz]][there].tolist()
    read = partial(twelve_leads.read_some, source, rate_hz=rate_hz, samples=SECONDS * rate_hz)
    what = Reading(names, (len(LEADS), SECONDS * rate_hz), read)
    folder = request.cache / f"records-v{VERSION}-{rate_hz}-{_key(source, names)}"
    arrays, checksum = building.kept(folder, what, workers=request.workers)
    sound = arrays["fault"] == ""
    _report(arrays, found["ecg_id"][there], source, request)
    classes, y = tables.labelled(found, plan.labels)
    arrays = {
        "samples": arrays["samples"], "content": arrays["content"], "record": found["patient_id"][there],
        "number": found["ecg_id"][there],
    }  # fmt: skip
    records = Records(
        arrays, checksum, found["strat_fold"][there], FOLDS,
        np.flatnonzero(sound), len(y) - int(sound.sum()), _remarks(found, there, sound), PUBLISHED,
    )  # fmt: skip
    return plan.data(records, classes, y[there])


def _tables(source: Path, request: Request) -> Arrays:
    """The tables of a folder or zip, parsed once; in a zip, with the records that it contains at each rate."""
    with reading(source):
        given = [source / name for name in (DATABASE, STATEMENTS)] if source.is_dir() else [source]
        if missing := [path.name for path in given if not path.is_file()]:
            raise DataError(f"{missing[0]} is missing", where=str(source), hint=tables.HINT)
        key = fingerprint(*given)
    return cached(request.cache / f"tables-v{VERSION}-{key}", partial(tables.read, source))[0]


def _there(source: Path, rows: Arrays, rate_hz: int, request: Request) -> Indices:
    """The records with files at this rate.

    Raises DataError without any, and for missing files without --bad-rows drop.
    """
    found = {rate: _present(source, rows, rate) for rate in PATHS}
    here, count = found[rate_hz], len(found[rate_hz])
    if here.all():
        return np.arange(count)
    other = next(rate for rate in PATHS if rate != rate_hz)
    first = rows["ecg_id"][~here][0]
    what = f"{count - here.sum():,} of {count:,} records have no files at {rate_hz} Hz, the first is record {first}"
    what += f"; {found[other].sum():,} have files at {other} Hz"
    if here.any() and request.bad_rows == "drop":
        log.warning("%s; they are left out", what)
        return np.flatnonzero(here)
    hints = [f"--rate {other}"] * bool(found[other].sum() > here.sum())
    hints += [f"--bad-rows drop for the {here.sum():,} records that have them"] * bool(here.any())
    hint = ", or ".join(hints) or "the whole database"
    raise DataError(what, where=str(source), hint=hint)


def _present(source: Path, rows: Arrays, rate_hz: int) -> Indices:
    """Whether each record has its files (N,)."""
    if f"there_{rate_hz}" in rows:
        return rows[f"there_{rate_hz}"]
    with reading(source):
        names = rows[PATHS[rate_hz]].tolist()
        folders = {str(PurePosixPath(name).parent) for name in names}
        files = {f"{folder}/{path.name}" for folder in folders for path in _listed(source / folder)}
    return np.array([{str(PurePosixPath(name + part)) for part in PARTS} <= files for name in names], bool)


def _listed(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


def _key(source: Path, names: list[str]) -> str:
    """A name for the records in these files: their names, sizes and times, or the content of the zip."""
    with reading(source):
        facts: list[Any] = [names]
        if source.is_dir():
            states = ((source / (name + part)).stat() for name in names for part in PARTS)
            facts.append([(state.st_size, state.st_mtime_ns) for state in states])
        else:
            facts.append(fingerprint(source))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _report(arrays: Arrays, numbers: Indices, source: Path, request: Request) -> None:
    """Warn of the records that fail the checks. Raises DataError with --bad-rows error, or without a sound record."""
    failed = np.flatnonzero(arrays["fault"] != "")
    if not failed.size:
        return
    first = f"record {numbers[failed[0]]}: {arrays['fault'][failed[0]]}"
    what = f"{failed.size:,} of {len(numbers):,} records fail the checks, the first {first}"
    if request.bad_rows == "error" or failed.size == len(numbers):
        raise DataError(what, where=str(source), hint="a whole copy, or --bad-rows drop to leave them out")
    names = ", ".join(map(str, numbers[failed][:NAMED])) + (", ..." if failed.size > NAMED else "")
    log.warning("%s; they are left out: %s", what, names)


def _remarks(rows: Arrays, there: Indices, sound: Indices) -> tuple[str, ...]:
    """The part of the database that is read, and the records that are left out, for the split rule."""
    here = len(rows["ecg_id"])
    whole = next((count for count in WHOLE.values() if here <= count), here)
    remarks = [f"{here:,} of {whole:,} records"] if here < whole else []
    remarks += [f"{here - len(there):,} records without files in no split"] * (len(there) < here)
    remarks += [f"{(~sound).sum():,} records that fail the checks in no split"] * (not sound.all())
    return tuple(remarks)
