"""Dataset `cinc2017`: 8,528 strips of one lead, 9 to 61 s at 300 Hz, of four rhythms: normal, atrial fibrillation,
other, noise.

The training set of the PhysioNet/Computing in Cardiology Challenge 2017, recorded with a hand-held device (Clifford et
al., Computing in Cardiology 44, 2017; Goldberger et al., Circulation 101(23), 2000): `training2017`, a folder or zip of
WFDB headers, MAT files of version 4, and REFERENCE.csv with a label a record. The labels were revised twice; which
revision is named.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data
from loaders.families import strips
from loaders.files.archives import reading, unpacked
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import Remote, Wanted, download, fetch_first, locate, log, search, topmost
from loaders.formats import wfdb, wfdb_signal
from loaders.formats.units import millivolts
from loaders.formats.wfdb_header import WfdbLead as Lead
from loaders.splits.by_row import Holdout
from toolbox import files, terminal
from toolbox.errors import DataError, DownloadError

RATE_HZ = 300
LABELS = ("N", "A", "O", "~")
SCORED = ("N", "A", "O")  # of the challenge
# The third revision goes before the other, also where it is beside a zip.
REFERENCES = ("REFERENCE-v3.csv", "REFERENCE.csv")
# By SHA-256 of its file, and of the whole set by how many records have each of LABELS.
REVISIONS = {
    "7d637aa12a29e2e7be82ed18c383ab44e71aecae28035ed65ef49d4440dc69f9": "third revision, records A00001 to A02000"
}
COUNTS = {
    (5154, 771, 2557, 46): "first revision",
    (5050, 738, 2456, 284): "second revision",
    (5076, 758, 2415, 279): "third revision",
}
MISSING = -(2**15)  # what WFDB writes for a sample that is none
LARGEST_REFERENCE = 2**22  # bytes
SUFFIXES = (".hea", ".mat", ".dat", ".csv")
RECORD, ORIGINAL = "A*", "REFERENCE-original.csv"
SITE = "https://physionet.org/files/challenge-2017/1.0.0"
REMOTES = (Remote("training2017.zip", f"{SITE}/training2017.zip"),)
# Stands beside the zip, whose own labels may be an older revision.
NEWEST = Remote(REFERENCES[0], f"{SITE}/{REFERENCES[0]}")
HELP = "put training2017.zip of physionet.org (challenge-2017), or its folder, into {}, or name it with --data-file"
WANTED = Wanted(
    files=(f"{RECORD}.hea",),
    enough=lambda names: {".hea", ".mat"} <= {Path(name).suffix for name in names},
    what="no records of the challenge of 2017 are",
    would_do="training2017.zip, or its folder (*.hea, *.mat, REFERENCE.csv)",
)


def load(
    root: Path,
    *,
    data_file: Path | None,
    val_fraction: Holdout,
    seed: int,
    bad_rows: str = "error",
    drop_labels: str | None = None,
    rename_labels: str | None = None,
    normalise: str | None = None,
    polarity: str | None = None,
    crops: str | None = None,
    resample: float | None = None,
) -> Data:
    """The records from `data_file`, else from <root>/cinc2017, else fetched into it; options as of `strips.Choices`.

    `seed` draws the test records, 20 % of each class, and `val_fraction` of the others for validation. Raises
    UsageError for what cannot be asked for, DataError for what cannot be used, DownloadError where nothing can be
    fetched, ResourceError for a lack of permission.
    """
    view = {"normalise": normalise, "polarity": polarity, "crops": crops, "resample": resample}
    how = {"drop_labels": drop_labels, "rename_labels": rename_labels, "val_fraction": val_fraction, "seed": seed}
    choices, folder = strips.Choices.of(LABELS, **view, **how), root / "cinc2017"
    with reading(data_file or folder):
        source = _located(data_file) if data_file else search(folder, WANTED)
    source = source or _fetched(folder)
    arrays, checksum = _decoded(source, folder / "cache")
    facts = {
        "leads": ("I",),
        "source": f"PhysioNet/CinC Challenge 2017, training set; labels: {_revision(arrays)}",
        "licence": "ODC-By 1.0",
    }
    how = {"rate_hz": RATE_HZ, "choices": choices, "scored": SCORED, "facts": facts, "where": str(source)}
    return strips.as_data("cinc2017", arrays, checksum, **how)


def _located(path: Path) -> Path:
    """The folder or zip that a user points at; where the headers are missing, an error that says so."""
    try:
        return locate(path, WANTED)
    except DataError as error:
        signals = [signal.name for signal in topmost(path, f"{RECORD}.mat")]
        if not signals:
            raise
        header = Path(signals[0]).with_suffix(".hea")
        what = f"{len(signals)} recordings have no header: {header} is missing beside {signals[0]}, and so on"
        raise DataError(
            what, where=str(path), hint="training2017.zip of physionet.org (challenge-2017), which has them"
        ) from error


def _fetched(folder: Path) -> Path:
    """The zip from its publisher, and beside it the newest labels; without these the zip's own are used, which is
    said."""
    source = fetch_first(REMOTES, folder, WANTED, HELP.format(folder))
    try:
        download(NEWEST, folder)
    except DownloadError as error:
        log.warning("the labels in %s are used: %s", source.name, error.what)
    return source


def _revision(arrays: Arrays) -> str:
    """Which revision the labels are; one that is not known is told of."""
    sha256 = str(arrays["reference"][0])
    counts = tuple(int((arrays["label"] == label).sum()) for label in LABELS)
    if name := REVISIONS.get(sha256) or COUNTS.get(counts):
        return f"{name}, SHA-256 {sha256}"
    told = ", ".join(f"{label} {count:,}" for label, count in zip(LABELS, counts, strict=True))
    log.warning("the labels are of no known revision: %s, SHA-256 %s", told, sha256)
    return f"no known revision, SHA-256 {sha256}"


def _decoded(source: Path, cache: Path) -> tuple[Arrays, str]:
    """The records of a folder or zip in one array, made once, and the checksum of the arrays."""

    beside = source.with_name(REFERENCES[0])

    def build() -> Arrays:
        if source.is_dir():
            return _read(source, None)
        with unpacked(source) as folder:
            return _read(folder, beside if beside.is_file() else None)

    with reading(source):
        files = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES) if source.is_dir() else [source]
        files += [beside] * (beside.is_file() and not source.is_dir())
        return cached(cache / f"strips-{fingerprint(*files)}", build)


def _read(folder: Path, reference: Path | None) -> Arrays:
    headers = wfdb.find_records(folder)
    reference = reference or next((path for name in REFERENCES if (path := headers[0].with_name(name)).is_file()), None)
    if reference is None:
        raise _no_labels(headers[0].parent)
    labels = read_labels(reference)
    names = [header.stem for header in headers]
    for what, those in (
        ("has no label", set(names) - labels.keys()),
        ("has a label and is not here", labels.keys() - set(names)),
    ):
        if those:
            more = f", and {len(those) - 1} more" if len(those) > 1 else ""
            raise DataError(
                f"record {min(those)} {what}{more}", where=str(reference), hint="a whole copy of the dataset"
            )
    read = [read_record(header) for header in terminal.bar(iterable=headers, desc="records", unit="record")]
    how = {"record": names, "label": [labels[name] for name in names], "gain": [gain for _, gain in read]}
    arrays = strips.together([signal for signal, _ in read], RATE_HZ, **how)
    return arrays | {"reference": np.array([files.sha256(reference)])}


def _no_labels(folder: Path) -> DataError:
    """What is missing, and where the labels are found."""
    newest = f"{NEWEST.name} of {NEWEST.url} beside the records"
    if not (folder / ORIGINAL).is_file():
        return DataError(f"{REFERENCES[-1]} with the labels is missing", where=str(folder), hint=newest)
    what = f"{REFERENCES[-1]} with the labels is missing; {ORIGINAL} has the first ones, which were revised twice"
    return DataError(
        what, where=str(folder), hint=f"{newest}; or a copy of {ORIGINAL} as {REFERENCES[-1]} to use the first ones"
    )


def read_labels(reference: Path) -> dict[str, str]:
    """The label of each record, from lines like "A00001,N"; a DataError names the line that is not like that."""
    if reference.stat().st_size > LARGEST_REFERENCE:
        raise DataError(
            f"it has more than {LARGEST_REFERENCE} bytes", where=str(reference), hint="REFERENCE.csv of the dataset"
        )
    labels: dict[str, str] = {}
    for number, line in enumerate(reference.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        name, comma, label = (part.strip() for part in line.partition(","))
        if not line.strip():
            continue
        if not (name and comma) or label not in LABELS:
            what, hint = f"{line[:60]!r} is not a record and one of {', '.join(LABELS)}", "correct the line"
            raise DataError(what, where=f"{reference}, line {number}", hint=hint)
        if name in labels:
            raise DataError(
                f"record {name[:40]} has two labels", where=f"{reference}, line {number}", hint="one of them"
            )
        labels[name] = label
    return labels


def read_record(header: Path) -> tuple[NDArray[np.int16], float]:
    """The only lead of a record (T,) in steps, and how many of them are a mV; raises DataError that names the
    record."""
    with wfdb.naming(header, "header"):
        rate_hz, samples, leads = wfdb.facts(header)
        _check(rate_hz, leads)
    with wfdb.naming(header, "signal"):
        wfdb_signal.not_mat_5(header.with_name(leads[0].file))
        samples = wfdb_signal.room(header, 0, leads, samples)
        signal = np.fromfile(header.with_name(leads[0].file), "<i2", samples, offset=leads[0].offset)
        wfdb_signal.compare_sum(0, leads[0], int(signal.sum(dtype=np.int64)))
        if (signal == MISSING).any():
            raise ValueError(f"sample {int((signal == MISSING).argmax())} is missing")
    return signal.astype(np.int16), leads[0].gain


def _check(rate_hz: float, leads: Sequence[Lead]) -> None:
    """A ValueError for a record that is not one lead of this dataset."""
    lead = leads[0]
    if len(leads) > 1 or rate_hz != RATE_HZ:
        raise ValueError(f"it has {len(leads)} leads at {rate_hz:g} Hz, this dataset has one at {RATE_HZ}")
    if (lead.format, lead.frame, lead.skew, millivolts(lead.unit)) != ("16", 1, 0, 1.0):
        raise ValueError(f"its samples are of format {lead.format} in {lead.unit}, those of this dataset of 16 in mV")
