"""Dataset `chapman`: twelve leads, 10 s at 500 Hz, of 10,646 patients with a rhythm each; or any WFDB records with
SNOMED codes.

The Chapman-Shaoxing database (Zheng et al., Sci Data 7:48, 2020) as on figshare, collection 4560497: a CSV a patient in
ECGDataDenoised or ECGData, in microvolts, and Diagnostics.xlsx with the rhythms. Its larger successor on PhysioNet
(ecg-arrhythmia) and the sets of the PhysioNet/CinC Challenges 2020 and 2021: WFDB headers with codes in #Dx, and MAT
files.

Diagnostics.xlsx of the Chapman-Shaoxing database becomes the rhythm of each recording; faults are named by row and
column.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from loaders.base import Data
from loaders.datasets import chapman_records
from loaders.datasets.chapman_records import CSV, Source
from loaders.families import labels as labels_diagnoses
from loaders.families import twelve_lead
from loaders.files.archives import opened, reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import Remote, download, log, topmost
from loaders.splits.by_row import Holdout
from toolbox import files
from toolbox.errors import DataError, DownloadError
from toolbox.outputs import begins, check_head

NAME, RHYTHM = COLUMNS = ("FileName", "Rhythm")
HINT = "Diagnostics.xlsx as it is on figshare (collection 4560497)"
DAMAGED = (BadZipFile, KeyError, ValueError, TypeError, AttributeError, IndexError, SyntaxError)  # what openpyxl raises


def read_rhythms(path: Path) -> Arrays:
    """record (N,), as FileName has it, and rhythm (N,), "" where its cell is empty.

    Raises DataError for what is no such workbook or has a rhythm that is not known.
    """
    from openpyxl import load_workbook

    with reading(path):
        try:
            with opened(path):  # looked over before anything in it is unpacked
                book = load_workbook(path, read_only=True, data_only=True)
            try:
                rows = list(book.worksheets[0].iter_rows(values_only=True))
            finally:
                book.close()
        except DAMAGED as error:
            raise DataError(f"it is no workbook that can be read: {error}", where=str(path), hint=HINT) from error
    return _rhythms(rows, path)


def _rhythms(rows: list[tuple[Any, ...]], path: Path) -> Arrays:
    names = [_text(cell) for cell in rows[0]] if rows else []
    if missing := [column for column in COLUMNS if column not in names]:
        there = f"there are {', '.join(filter(None, names))[:200]}" if any(names) else "the first row is empty"
        raise DataError(f"the workbook has no column {' and '.join(missing)}; {there}", where=str(path), hint=HINT)
    places = [names.index(column) for column in COLUMNS]
    found: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        name, rhythm = (_text(row[place]) if place < len(row) else "" for place in places)
        rhythm = labels_diagnoses.ALIASES.get(rhythm, rhythm)
        faults = (
            (not name and bool(rhythm), f"there is no {NAME}"),
            (name in found, f"{name[:60]} is there twice"),
            (
                bool(rhythm) and rhythm not in labels_diagnoses.RHYTHMS,
                f"{RHYTHM} {rhythm[:40]!r} is none of {_listed()}",
            ),
        )
        if fault := next((text for is_so, text in faults if is_so), ""):
            raise DataError(fault, where=f"{path}, row {number}", hint="correct the row")
        if name:
            found[name] = rhythm
    if not found:
        raise DataError("the workbook has no rows", where=str(path), hint=HINT)
    return {"record": np.array(list(found), str), "rhythm": np.array(list(found.values()), str)}


def _listed(names: Iterable[str] = labels_diagnoses.RHYTHMS) -> str:
    return " ".join(names)


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


VERSION = 1  # raised when recordings or rows are read another way
LABELS, QUALITY = "Diagnostics.xlsx", "quality.csv"
QUALITY_HEAD = ("record", "fault")
SITE = "https://ndownloader.figshare.com/files"
REMOTES = (Remote(LABELS, f"{SITE}/15653771"), Remote("ECGDataDenoised.zip", f"{SITE}/15652862"))
HELP = (
    "put ECGDataDenoised.zip, or its folder, and Diagnostics.xlsx of figshare (collection 4560497) into {}, or"
    " --data-file"
)
LICENCE = "CC BY 4.0"
SOURCES = {
    CSV: "Chapman-Shaoxing twelve-lead database, figshare collection 4560497",
    chapman_records.WFDB: "twelve-lead WFDB records with SNOMED CT codes (PhysioNet ecg-arrhythmia, or a challenge's)",
}
NAMED = 3  # records, in a warning
WITHOUT = "without a row in Diagnostics.xlsx"


def load(
    root: Path,
    *,
    data_file: Path | None,
    val_fraction: Holdout,
    seed: int,
    bad_rows: str = "drop",
    leads: str | None = None,
    rate: float | None = None,
    filter: str | None = None,
    normalise: str | None = None,
    label_map: str | None = None,
) -> Data:
    """The records from `data_file`, else from <root>/chapman, else fetched into it; options as of
    `twelve_lead.Choices`.

    A record that fails the checks of `chapman_records` is left out, which is told, as in the published study; with
    `bad_rows` "error" it is a DataError. All faults stand in <root>/chapman/quality.csv. Raises UsageError for what
    cannot be asked for, DataError for what cannot be used, DownloadError where nothing can be fetched, ResourceError
    for a lack of permission.
    """
    how = {"leads": leads, "rate": rate, "filter": filter, "normalise": normalise, "label_map": label_map}
    choices, folder = twelve_lead.Choices.of(**how, val_fraction=val_fraction, seed=seed), root / "chapman"
    source = _find(data_file, folder)
    cache = folder / "cache"
    read = partial(chapman_records.read_all, source, cache)
    with reading(source.path):
        key = fingerprint(*source.paths)
    arrays, checksum = cached(cache / f"records-v{VERSION}-{key}", read, by_record=["samples"])
    arrays, absent = _labelled(arrays, source, data_file, folder)
    _report(arrays, absent, source, folder, bad_rows=bad_rows)
    facts = {"source": SOURCES[source.kind], "licence": LICENCE}
    how = {
        "choices": choices,
        "cache": cache,
        "facts": facts,
        "refused": len(arrays["failed"]),
        "where": str(source.path),
    }
    return twelve_lead.as_data("chapman", arrays, checksum, **how)


def _find(data_file: Path | None, folder: Path) -> Source:
    """The recordings; fetched where no place is named and none are there."""
    if data_file and not data_file.exists():
        raise DataError(
            "there is no such file or folder", where=str(data_file), hint=f"--data-file with {chapman_records.WOULD_DO}"
        )
    with reading(data_file or folder):
        source = chapman_records.find(data_file) if data_file else chapman_records.find(folder, pointed_at=False)
    if source is None and data_file:
        raise DataError("there are no twelve-lead recordings here", where=str(data_file), hint=chapman_records.WOULD_DO)
    return source or _fetched(folder)


def _fetched(folder: Path) -> Source:
    """The zip of the denoised recordings from figshare, and the workbook, where it is not there."""
    try:
        for remote in REMOTES:
            if not (folder / remote.name).is_file():
                download(remote, folder)
    except DownloadError as error:
        what = f"the data is not here and cannot be fetched: {error.what}"
        raise DownloadError(what, hint=HELP.format(folder)) from error
    with reading(folder):
        source = chapman_records.find(folder, pointed_at=False)
    if source is None:
        raise DataError(
            "there are no twelve-lead recordings in what was fetched", where=str(folder), hint=HELP.format(folder)
        )
    return source


def _labelled(arrays: Arrays, source: Source, data_file: Path | None, folder: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays with the rhythms of the workbook, for CSV files; what is on one side only, by record."""
    if source.kind != CSV:
        return arrays, {}
    path = _workbook(source, data_file, folder)
    key = fingerprint(path)
    labels, _ = cached(folder / "cache" / f"labels-v{VERSION}-{key}", partial(read_rhythms, path))
    rhythms = dict(zip(labels["record"].tolist(), labels["rhythm"].tolist(), strict=True))
    here = {*arrays["record"].tolist(), *arrays["failed"].tolist()}
    absent = dict.fromkeys(sorted(here - rhythms.keys()), WITHOUT)
    absent |= dict.fromkeys(sorted(rhythms.keys() - here), f"in {LABELS} without a recording")
    rhythm = np.array([rhythms.get(name, "") for name in arrays["record"].tolist()], str)
    return arrays | {"rhythm": rhythm}, absent


def _workbook(source: Source, data_file: Path | None, folder: Path) -> Path:
    """Diagnostics.xlsx in the folder of the recordings, beside it or the zip, where the user points, or in `folder`."""
    beside = [source.path, source.path.parent] if source.path.is_dir() else [source.path.parent]
    there = [path / LABELS for path in beside if (path / LABELS).is_file()]
    there += topmost(data_file, LABELS) if data_file and data_file.is_dir() else []
    there += topmost(folder, LABELS)
    if not there:
        raise DataError(
            f"{LABELS} with the rhythms is missing", where=str(source.path), hint=f"put it beside {source.path.name}"
        )
    return there[0]


def _report(arrays: Arrays, absent: dict[str, str], source: Source, folder: Path, *, bad_rows: str) -> None:
    """Tell of the records that cannot be used or matched, and write them down; a DataError where there may be none."""
    faults = dict(zip(arrays["failed"].tolist(), arrays["fault"].tolist(), strict=True))
    lines = io.StringIO()
    csv.writer(lines).writerows([QUALITY_HEAD, *sorted((faults | absent).items())])
    head = ",".join(QUALITY_HEAD)
    if faults | absent:
        check_head(folder / QUALITY, head)
    if faults | absent or begins(folder / QUALITY, head):
        files.write_text(folder / QUALITY, lines.getvalue())
    of = f"{len(faults):,} of {len(source.files):,} records fail the checks"
    if faults and bad_rows == "error":
        name, fault = next(iter(faults.items()))
        what = f"{of}, the first {name}: {fault}"
        raise DataError(
            what, where=str(source.path), hint=f"--bad-rows drop leaves them out; all are in {folder / QUALITY}"
        )
    if faults:
        kinds = Counter(fault.partition(":")[0] for fault in faults.values())
        told = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
        log.warning("%s and are left out: %s (%s); all are in %s", of, told, _named(list(faults)), folder / QUALITY)
    for what in dict.fromkeys(absent.values()):
        names = [name for name, own in absent.items() if own == what]
        log.warning("%s records are %s: %s; all are in %s", f"{len(names):,}", what, _named(names), folder / QUALITY)


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
