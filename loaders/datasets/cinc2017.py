"""Dataset `cinc2017`: 8,528 strips of one lead, 9 to 61 s at 300 Hz, of four rhythms: normal, atrial fibrillation,
other, noise.

The training set of the PhysioNet/Computing in Cardiology Challenge 2017, recorded with a hand-held device (Clifford et
al., Computing in Cardiology 44, 2017; Goldberger et al., Circulation 101(23), 2000): `training2017`, a folder or zip of
WFDB headers, MAT files of version 4, and REFERENCE.csv with a label for each record. The labels were revised twice; the
source of the data states the revision.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders import DATASETS
from loaders.base import Data
from loaders.declaration import Files, Request
from loaders.families.strips import StripPlan
from loaders.files.cache import Arrays
from loaders.files.sources import log, topmost
from loaders.formats import wfdb, wfdb_signal
from loaders.formats.lead_names import millivolts
from loaders.formats.wfdb_header import WfdbLead
from toolbox import terminal
from toolbox.errors import DataError
from toolbox.files import sha256

DECLARED = DATASETS["cinc2017"]
RATE_HZ, LABELS, (NEWEST,) = DECLARED.rate_hz, DECLARED.classes, DECLARED.files.extras
PLAIN, ORIGINAL = "REFERENCE.csv", "REFERENCE-original.csv"
# Revisions by the SHA-256 of the file, and of the whole set by the number of records of each of LABELS.
REVISIONS = {
    "7d637aa12a29e2e7be82ed18c383ab44e71aecae28035ed65ef49d4440dc69f9": "third revision, records A00001 to A02000"
}
COUNTS: dict[tuple[int, ...], str] = {
    (5154, 771, 2557, 46): "first revision",
    (5050, 738, 2456, 284): "second revision",
    (5076, 758, 2415, 279): "third revision",
}
LARGEST_REFERENCE = 2**22  # bytes
SUFFIXES = (".hea", ".mat", ".dat", ".csv")


def load(request: Request) -> Data:
    """The records, divided with the seed; a file of labels in the folder of a zip replaces the labels in the zip.

    Raises UsageError for wrong options, DataError for unusable files.
    """
    plan, source = StripPlan.of(request), request.source
    newest = source.with_name(NEWEST.name)
    outside = [newest] if newest.is_file() and not source.is_dir() else []
    build = partial(_read, plan=plan, reference=next(iter(outside), None))
    arrays, checksum = wfdb.parsed(source, SUFFIXES, request.cache / "strips", build, *outside, **plan.key)
    return plan.data(arrays, checksum, source=f"{request.dataset.source}; labels: {_revision(arrays)}")


def diagnose(path: Path, files: Files) -> None:
    """Raise DataError for recordings of this set without their headers."""
    if signals := [signal.name for signal in topmost(path, "A*.mat")]:
        header = Path(signals[0]).with_suffix(".hea")
        what = f"{len(signals)} recordings have no header, the first {signals[0]}: {header} is missing"
        hint = "training2017.zip of physionet.org (challenge-2017), which has them"
        raise DataError(what, where=str(path), hint=hint)


def _revision(arrays: Arrays) -> str:
    """The revision of the labels; an unknown one is a warning."""
    sha256 = str(arrays["reference"][0])
    counts = tuple(int((arrays["label"] == label).sum()) for label in LABELS)
    if name := REVISIONS.get(sha256) or COUNTS.get(counts):
        return f"{name}, SHA-256 {sha256}"
    listed = ", ".join(f"{label} {count:,}" for label, count in zip(LABELS, counts, strict=True))
    log.warning("the labels are of no known revision: %s, SHA-256 %s", listed, sha256)
    return f"no known revision, SHA-256 {sha256}"


def _read(folder: Path, plan: StripPlan, reference: Path | None) -> Arrays:
    headers = wfdb.find_records(folder)
    places = (headers[0].with_name(name) for name in (NEWEST.name, PLAIN))
    reference = reference or next((path for path in places if path.is_file()), None)
    if reference is None:
        raise _no_labels(headers[0].parent)
    labels, names = read_labels(reference), [header.stem for header in headers]
    unlabelled, absent = set(names) - labels.keys(), labels.keys() - set(names)
    for fault, odd in (("has no label", unlabelled), ("has a label and is missing", absent)):
        if odd:
            what = f"record {min(odd)} {fault}" + (f", and {len(odd) - 1} more" if len(odd) > 1 else "")
            raise DataError(what, where=str(reference), hint="a whole copy of the dataset")
    with terminal.bar(iterable=headers, desc="records", unit="record") as bar:
        read = [read_record(header) for header in bar]
    signals, gains = [signal for signal, _ in read], [gain for _, gain in read]
    arrays = plan.arrays(signals, record=names, label=[labels[name] for name in names], gain=gains)
    return arrays | {"reference": np.array([sha256(reference)])}


def _no_labels(folder: Path) -> DataError:
    what, hint = f"{PLAIN} with the labels is missing", f"{NEWEST.name} of {NEWEST.url} in the folder of the records"
    if (folder / ORIGINAL).is_file():
        what += f"; {ORIGINAL} has the first ones, which were revised twice"
        hint += f"; or a copy of {ORIGINAL} as {PLAIN} to use the first ones"
    return DataError(what, where=str(folder), hint=hint)


def read_labels(reference: Path) -> dict[str, str]:
    """The label of each record, from lines such as "A00001,N". Raises DataError with the number of a wrong line."""
    if reference.stat().st_size > LARGEST_REFERENCE:
        what = f"it has more than {LARGEST_REFERENCE} bytes"
        raise DataError(what, where=str(reference), hint="REFERENCE.csv of the dataset")
    labels: dict[str, str] = {}
    for number, line in enumerate(reference.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        name, comma, label = (part.strip() for part in line.partition(","))
        if not line.strip():
            continue
        if not (name and comma) or label not in LABELS:
            what, hint = f"{line[:60]!r} is not a record and one of {', '.join(LABELS)}", "correct the line"
            raise DataError(what, where=f"{reference}, line {number}", hint=hint)
        if name in labels:
            what = f"record {name[:40]} has two labels"
            raise DataError(what, where=f"{reference}, line {number}", hint="one of them")
        labels[name] = label
    return labels


def read_record(header: Path) -> tuple[NDArray[np.int16], float]:
    """The only lead of a record (T,) in steps, and the steps per mV. Raises DataError with the name of the record."""
    with wfdb.naming(header, "header"):
        rate_hz, stated, leads = wfdb.facts(header)
        _check(rate_hz, leads)
    with wfdb.naming(header, "signal"):
        wfdb_signal.not_mat_5(header.with_name(leads[0].file))
        samples = wfdb_signal.room(header, 0, leads, stated)
        signal = np.fromfile(header.with_name(leads[0].file), "<i2", samples, offset=leads[0].offset)
        wfdb_signal.compare_sum(0, leads[0], int(signal.sum(dtype=np.int64)))
        if (missing := signal == wfdb_signal.MISSING["16"]).any():
            raise ValueError(f"sample {int(missing.argmax())} is missing")
    return signal.astype(np.int16), leads[0].gain


def _check(rate_hz: float, leads: Sequence[WfdbLead]) -> None:
    """Raise ValueError for a record unlike this dataset: another number of leads, rate, format or unit."""
    lead = leads[0]
    if len(leads) > 1 or rate_hz != RATE_HZ:
        raise ValueError(f"it has {len(leads)} leads at {rate_hz:g} Hz, this dataset has one at {RATE_HZ}")
    if (lead.format, lead.frame, lead.skew, millivolts(lead.unit)) != ("16", 1, 0, 1.0):
        raise ValueError(f"its samples have format {lead.format} in {lead.unit}, in this dataset format 16 in mV")
