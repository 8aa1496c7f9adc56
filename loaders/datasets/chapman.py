"""Dataset `chapman`: twelve leads, 10 s at 500 Hz, of 10,646 patients with a rhythm each; or WFDB records with SNOMED
codes.

The Chapman-Shaoxing database (Zheng et al., Sci Data 7:48, 2020) as on figshare, collection 4560497: a CSV for each
patient in ECGDataDenoised or ECGData, in microvolts, and Diagnostics.xlsx with rhythm and other conditions. Its larger
successor on PhysioNet (ecg-arrhythmia) and the sets of the PhysioNet/CinC Challenges 2020 and 2021: WFDB headers with
codes in #Dx, and MAT files.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from loaders.base import Data
from loaders.datasets import chapman_records
from loaders.datasets.chapman_records import CSV, WFDB, TwelveLeadFiles
from loaders.declaration import Request
from loaders.families import diagnoses, labels
from loaders.families.labels import ALIASES, RHYTHMS
from loaders.families.twelve_lead import TwelveLeadPlan
from loaders.files.archives import opened, reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import log, topmost
from toolbox import files
from toolbox.errors import DataError
from toolbox.runs.outputs import begins, check_head

NAME, RHYTHM = COLUMNS = ("FileName", "Rhythm")
CONDITIONS = "Beat"  # needed for several labels a record
HINT = "Diagnostics.xlsx as it is on figshare (collection 4560497)"
DAMAGED = (BadZipFile, KeyError, ValueError, TypeError, AttributeError, IndexError, SyntaxError)  # errors of openpyxl


def read_labels(path: Path) -> Arrays:
    """record (N,), rhythm (N,) and, if the workbook has them, conditions (N,), "" for an empty cell.

    Raises DataError for other tables and rhythms.
    """
    from openpyxl import load_workbook

    with reading(path):
        try:
            with opened(path):  # checked before a member is unpacked
                book = load_workbook(path, read_only=True, data_only=True)
            try:
                rows = list(book.worksheets[0].iter_rows(values_only=True))
            finally:
                book.close()
        except DAMAGED as error:
            raise DataError(f"the workbook cannot be read: {error}", where=str(path), hint=HINT) from error
    return _labels(rows, path)


def _labels(rows: list[tuple[Any, ...]], path: Path) -> Arrays:
    names = [_text(cell) for cell in rows[0]] if rows else []
    if missing := [column for column in COLUMNS if column not in names]:
        there = f"there are {', '.join(filter(None, names))[:200]}" if any(names) else "the first row is empty"
        raise DataError(f"the workbook has no column {' and '.join(missing)}; {there}", where=str(path), hint=HINT)
    columns = [*COLUMNS, *[CONDITIONS] * (CONDITIONS in names)]
    places = [names.index(column) for column in columns]
    found: dict[str, list[str]] = {}
    for number, row in enumerate(rows[1:], 2):
        name, rhythm, *others = (_text(row[place]) if place < len(row) else "" for place in places)
        rhythm = ALIASES.get(rhythm, rhythm)
        faults = (
            (not name and bool(rhythm), f"the {NAME} is empty"),
            (name in found, f"{name[:60]} has another row"),
            (bool(rhythm) and rhythm not in RHYTHMS, f"{RHYTHM} {rhythm[:40]!r} is none of {' '.join(RHYTHMS)}"),
        )
        if fault := next((text for is_so, text in faults if is_so), ""):
            raise DataError(fault, where=f"{path}, row {number}", hint="correct the row")
        if name:
            found[name] = [rhythm, *others]
    if not found:
        raise DataError("the workbook has no rows", where=str(path), hint=HINT)
    cells = dict(zip(("rhythm", "conditions"), zip(*found.values(), strict=True), strict=False))
    return {"record": np.array(list(found), str)} | {name: np.array(own, str) for name, own in cells.items()}


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


VERSION = 1  # raised when recordings or rows are read in another way
ONE_EACH = "rhythm"  # the set of --labels with one rhythm a record
LABELS, QUALITY = "Diagnostics.xlsx", "quality.csv"
QUALITY_HEAD = ("record", "fault")
SOURCES = {
    CSV: "Chapman-Shaoxing twelve-lead database, figshare collection 4560497",
    WFDB: "twelve-lead WFDB records with SNOMED CT codes (PhysioNet ecg-arrhythmia, or a challenge's)",
}
NAMED = 3  # records, in a warning
WITHOUT = "without a row in Diagnostics.xlsx"


def load(request: Request) -> Data:
    """The records at the user's path, else in the dataset's folder, else fetched into it.

    A record that fails the checks of `chapman_records` is left out with a warning, as in the published study; with
    --bad-rows error it is a DataError. <root>/chapman/quality.csv lists all faults. Raises UsageError for wrong
    options, DataError, DownloadError or ResourceError for missing or unusable files.
    """
    plan = TwelveLeadPlan.of(request)
    source: TwelveLeadFiles = request.source
    read = partial(chapman_records.read_all, source, request.cache)
    with reading(source.path):
        key = fingerprint(*source.paths)
    arrays, checksum = cached(request.cache / f"records-v{VERSION}-{key}", read, by_record=["samples"])
    if request.options.labels not in (None, ONE_EACH):
        return _diagnosed(plan, arrays, checksum, source=source, key=key)
    arrays, absent = _labelled(arrays, source, request)
    _report(arrays, absent, source, request)
    return plan.data(arrays, checksum, source=SOURCES[source.kind], refused=len(arrays["failed"]))


def _diagnosed(plan: TwelveLeadPlan, arrays: Arrays, checksum: str, *, source: TwelveLeadFiles, key: str) -> Data:
    """The records with any number of diagnoses, by their SNOMED CT codes."""
    request, names = plan.request, arrays["record"].tolist()
    absent: dict[str, str] = {}
    if source.kind == WFDB:
        found, _ = cached(request.cache / f"codes-v{VERSION}-{key}", partial(chapman_records.read_codes, source))
        codes = dict(zip(found["record"].tolist(), found["codes"].tolist(), strict=True))
    else:
        found, path, absent = _rows(arrays, source, request)
        codes = _codes(found, path)
    _report(arrays, absent, source, request)
    texts = [codes.get(name, "").replace(" ", "") for name in names]
    classes: tuple[str, ...] = diagnoses.CLASSES
    of: Mapping[str, str | Sequence[str]] = diagnoses.OF_CODE
    if labels.is_file(request.options.labels):
        classes, of = diagnoses.of_file(request.options.labels)
        diagnoses.report(texts, of, request.options.labels, ",")
    y, known = diagnoses.labelled(texts, of, classes, ","), np.flatnonzero([name in codes for name in names])
    if not len(known):
        what = f"no record has {RHYTHM} and {CONDITIONS} in {LABELS}"
        raise DataError(what, where=str(source.path), hint=HINT)
    refused = len(arrays["failed"])
    return plan.with_labels(arrays, checksum, y, classes, source=SOURCES[source.kind], refused=refused, known=known)


def _codes(found: Arrays, path: Path) -> dict[str, str]:
    """The SNOMED CT codes of the rows of the workbook with rhythm and conditions, by record. Raises DataError."""
    if "conditions" not in found:
        what = f"the workbook has no column {CONDITIONS}, which has the conditions besides the rhythm"
        raise DataError(what, where=str(path), hint=HINT)
    codes = {}
    columns = (found[name].tolist() for name in ("record", "rhythm", "conditions"))
    for name, rhythm, conditions in zip(*columns, strict=True):
        try:
            if rhythm and conditions:
                codes[name] = diagnoses.codes_of(rhythm, conditions)
        except ValueError as error:
            raise DataError(f"{CONDITIONS} {error}", where=f"{path}, record {name}", hint="correct the row") from error
    return codes


def _labelled(arrays: Arrays, source: TwelveLeadFiles, request: Request) -> tuple[Arrays, dict[str, str]]:
    """The arrays with the rhythms of the workbook (for CSV), and the names without a match, with the reason."""
    if source.kind != CSV:
        return arrays, {}
    found, _, absent = _rows(arrays, source, request)
    rhythms = dict(zip(found["record"].tolist(), found["rhythm"].tolist(), strict=True))
    rhythm = np.array([rhythms.get(name, "") for name in arrays["record"].tolist()], str)
    return arrays | {"rhythm": rhythm}, absent


def _rows(arrays: Arrays, source: TwelveLeadFiles, request: Request) -> tuple[Arrays, Path, dict[str, str]]:
    """The rows of the workbook, its path, and the names without a match, with the reason."""
    path = _workbook(source, request)
    found, _ = cached(request.cache / f"workbook-v{VERSION}-{fingerprint(path)}", partial(read_labels, path))
    here, there = {*arrays["record"].tolist(), *arrays["failed"].tolist()}, {*found["record"].tolist()}
    absent = dict.fromkeys(sorted(here - there), WITHOUT)
    absent |= dict.fromkeys(sorted(there - here), f"in {LABELS} without a recording")
    return found, path, absent


def _workbook(source: TwelveLeadFiles, request: Request) -> Path:
    """Diagnostics.xlsx in the recordings' folder or above, at the user's path, or in the dataset's folder."""
    near = [source.path, source.path.parent] if source.path.is_dir() else [source.path.parent]
    there = [path / LABELS for path in near if (path / LABELS).is_file()]
    if request.data_file and request.data_file.is_dir():
        there += topmost(request.data_file, LABELS)
    there += topmost(request.folder, LABELS)
    if not there:
        what, hint = f"{LABELS} with the rhythms is missing", f"put it into the folder of {source.path.name}"
        raise DataError(what, where=str(source.path), hint=hint)
    return there[0]


def _report(arrays: Arrays, absent: dict[str, str], source: TwelveLeadFiles, request: Request) -> None:
    """Warn of the records that cannot be used or matched, and list them. Raises DataError with --bad-rows error."""
    quality = request.folder / QUALITY
    faults = dict(zip(arrays["failed"].tolist(), arrays["fault"].tolist(), strict=True))
    lines = io.StringIO()
    csv.writer(lines).writerows([QUALITY_HEAD, *sorted((faults | absent).items())])
    head = ",".join(QUALITY_HEAD)
    if faults | absent:
        check_head(quality, head)
    if faults | absent or begins(quality, head):
        files.write_text(quality, lines.getvalue())
    of = f"{len(faults):,} of {len(source.files):,} records fail the checks"
    if faults and request.bad_rows == "error":
        name, fault = next(iter(faults.items()))
        what = f"{of}, the first {name}: {fault}"
        raise DataError(what, where=str(source.path), hint=f"--bad-rows drop leaves them out; all are in {quality}")
    if faults:
        kinds = Counter(fault.partition(":")[0] for fault in faults.values())
        counts = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
        log.warning("%s and are left out: %s (%s); all are in %s", of, counts, _named(list(faults)), quality)
    for what in dict.fromkeys(absent.values()):
        names = [name for name, own in absent.items() if own == what]
        log.warning("%s records are %s: %s; all are in %s", f"{len(names):,}", what, _named(names), quality)


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
