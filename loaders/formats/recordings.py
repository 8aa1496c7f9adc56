"""A path becomes the recordings there: `for path in find(given): recording = open_recording(path, rate_hz=...)`.

A path is a WFDB record (.hea, .dat, .mat or its name alone), an EDF or BDF, a CSV, a folder of any of them, or a
RECORDS list. The error for another format names it.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from loaders.files.archives import reading
from loaders.files.sources import log
from loaders.formats import wfdb_header
from loaders.formats.csv.leads import open_table
from loaders.formats.edf import BDF, EDF, open_edf
from loaders.formats.recording import Recording
from loaders.formats.wfdb import header_of, open_wfdb
from toolbox.errors import DataError
from toolbox.runs import outputs

BEGIN = 4096  # bytes
ALONE_MAT = "a MATLAB file without its WFDB header (.hea)"
# Unsupported formats, by the bytes at a place in the file, by a word in XML, and by the ending.
MARKS = (
    (128, b"DICM", "a DICOM file"),
    (16, b"SCPECG", "an SCP-ECG file"),
    (0, b"ISHNE1.0", "an ISHNE Holter file"),
    (0, b"ANN  1.0", "annotations of an ISHNE Holter file"),
    (0, b"MATLAB ", ALONE_MAT),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as MATLAB 7.3 writes it"),
    (0, b"GDF ", "a GDF file"),
    (0, b"MFER", "an MFER file"),
    (0, b"fLaC", "a FLAC file without a WFDB header (.hea)"),
    (0, b"Brain Vision", "a BrainVision header"),
    (0, b"\x93NUMPY", "an array of NumPy"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"\xd0\xcf\x11\xe0", "an old workbook of Excel"),
    (0, b"PK\x03\x04", "a zip archive or a workbook"),
    (0, b"\x1f\x8b", "a compressed file"),
)
XML = (
    (b"AnnotatedECG", "an HL7 aECG file (XML)"),
    (b"RestingECG", "a MUSE file of GE (XML)"),
    (b"restingecgdata", "a Philips file (XML)"),
)
ENDINGS = {".xml": "an XML file", ".dcm": "a DICOM file", ".scp": "an SCP-ECG file", ".ecg": "an ISHNE Holter file"}
ENDINGS |= {".mat": ALONE_MAT, ".h5": "an HDF5 file", ".fit": "a FIT file of Garmin", ".json": "a JSON file"}
ENDINGS |= {".xlsx": "a workbook of Excel", ".xls": "a workbook of Excel", ".zip": "a zip archive"}

TABLES, TEXTS = (".csv", ".tsv", ".csv.gz", ".tsv.gz"), (".txt", ".txt.gz")
SIGNALS = (".dat", ".mat")  # of a record; its header is opened
EDFS = (".edf", ".bdf", ".rec")
OPENERS: dict[str, Callable[[Path, float | None], Recording]] = {
    ".hea": open_wfdb,
    **dict.fromkeys(SIGNALS, lambda path, rate_hz: open_wfdb(header_of(path), rate_hz)),
    **dict.fromkeys(EDFS, lambda path, _: open_edf(path)),
    **dict.fromkeys((*TABLES, *TEXTS), open_table),
}
LIST = "RECORDS"
WOULD_DO = "a record's .hea, an EDF or BDF, a CSV with a column a lead, a folder of them, or a RECORDS list"
CONVERT = "it converted to WFDB (.hea and .dat), EDF, or a CSV with a column a lead"


def open_recording(path: Path, *, rate_hz: float | None = None) -> Recording:
    """Open a file of `find`; `rate_hz` is for files without a rate. Raises DataError, ResourceError."""
    recording = OPENERS[_ending(path)](path, rate_hz)
    stated = {rate for rate, _ in recording.shapes}
    if rate_hz is not None and rate_hz not in {*stated, recording.rate_hz}:
        what = f"it was sampled at {' and '.join(f'{rate:g}' for rate in sorted(stated))} Hz, not at {rate_hz:g} Hz"
        raise DataError(what, where=str(path), hint="the command without --rate-hz")
    return recording


def find(path: Path) -> list[Path]:
    """The files of the recordings at `path`, sorted or as listed. Raises DataError for none."""
    if path.is_dir():
        with reading(path):
            if found := _below(path):
                return found
        raise DataError("the folder has no recordings", where=str(path), hint=WOULD_DO)
    if path.name == LIST and path.is_file():
        return _listed(path)
    is_known, is_signal = _ending(path) in OPENERS, _ending(path) in SIGNALS
    if not is_known and (named := path.with_name(f"{path.name}.hea")).is_file():
        return [named]
    if not path.is_file():
        raise DataError("there is no such recording", where=str(path), hint=WOULD_DO)
    alone = is_signal and not path.with_suffix(".hea").is_file()
    if (alone or not is_known) and (known := _unread_format(path)):
        raise DataError(f"it is {known}, which is not read", where=str(path), hint=CONVERT)
    if not is_known:
        raise DataError("the file is no recording in a known format", where=str(path), hint=WOULD_DO)
    return [header_of(path) if is_signal else path]


def _unread_format(path: Path) -> str | None:
    """The unsupported format of a file, with its article; None if it is unknown."""
    with open(path, "rb") as file:
        begin = file.read(BEGIN)
    for place, mark, name in MARKS:
        if begin[place : place + len(mark)] == mark:
            return name
    text = begin.replace(b"\0", b"")  # of UTF-16 too
    if b"<?xml" in text[:64] or path.suffix.lower() == ".xml":
        return next((name for mark, name in XML if mark in text), ENDINGS[".xml"])
    return ENDINGS.get(path.suffix.lower())


def _ending(path: Path) -> str:
    """The longest ending of a name that is opened, else its last one."""
    name = path.name.lower()
    return max((ending for ending in OPENERS if name.endswith(ending)), key=len, default=path.suffix.lower())


def _listed(path: Path) -> list[Path]:
    files = _named_in(path)
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing or not files:
        what = f"listed recordings are missing: {' '.join(missing)[:200]}"
        raise DataError(what if files else "the list is empty", where=str(path), hint="a whole copy")
    return list(files.values())


def _named_in(index: Path) -> dict[str, Path]:
    names = index.read_text(errors="replace").split()
    return {name: index.parent / (name if _ending(Path(name)) in OPENERS else f"{name}.hea") for name in names}


def _below(folder: Path) -> list[Path]:
    """The recordings in a folder and in all folders below it, sorted.

    Left out are records that a RECORDS list above them does not name (MIT-BIH has a folder of excerpts), segments of a
    record, and results of this program. A table in the folder of a record, above or below it, is about the record. A
    text is a recording if there is no other.
    """
    files = [path for path in _files(folder) if not path.name.startswith(".")]
    if packed := [str(path.relative_to(folder)) for path in files if path.suffix.lower() == ".zip"]:
        log.warning("zips are skipped, unpack a zip with recordings: %s", ", ".join(packed)[:200])
    found = _unlisted([path for path in files if _is_record(path)], folder)
    segments = {segment for path in found if path.suffix.lower() == ".hea" for segment in _segments(path)}
    found = [path for path in found if path not in segments]
    where = {path.parent for path in found}
    with_records = where | {above for each in where for above in each.parents}
    files = [path for path in files if not _is_own(path)]
    tables = [path for path in files if _ending(path) in TABLES]
    found += [path for path in tables if path.parent not in with_records and not where & {*path.parents}]
    return sorted(found or [path for path in files if _ending(path) in TEXTS])


def _files(folder: Path) -> Iterable[Path]:
    """All files below a folder except results of this program and hidden folders. Raises OSError."""
    own = outputs.marked(folder)
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            is_loop = folder.resolve().is_relative_to(path.resolve())  # a link to a folder above
            if not path.name.startswith(".") and not is_loop:
                yield from _files(path)
        elif path.is_file() and path.name not in own:
            yield path


def _is_record(path: Path) -> bool:
    """Whether a file is a record by its ending; a .rec by its first bytes, as other formats have that ending too."""
    ending = path.suffix.lower()
    if ending != ".rec":
        return ending == ".hea" or ending in EDFS
    with open(path, "rb") as file:
        return file.read(8) in (EDF, BDF)


def _unlisted(found: list[Path], folder: Path) -> list[Path]:
    """The records without the ones in folders below a RECORDS list that does not name them, with a warning."""
    for index in sorted({above / LIST for path in found for above in path.parents if above.is_relative_to(folder)}):
        if not index.is_file():
            continue
        named = _named_in(index)
        missing = [name for name, file in named.items() if not (file.is_file() or (index.parent / name).is_dir())]
        if missing:
            log.warning("%d recordings in %s are missing: %s", len(missing), index, ", ".join(missing)[:200])
        left = [path for path in found if index.parent in path.parent.parents and path not in named.values()]
        if left and {*named.values()} & {*found}:
            places = ", ".join(sorted({str(path.parent.relative_to(folder)) for path in left}))
            log.warning("%d recordings in %s are left out: %s does not name them", len(left), places[:200], index)
            found = [path for path in found if path not in left]
    return found


def _segments(header: Path) -> list[Path]:
    """The headers of the segments of a record; none of a damaged header, which its opener reports."""
    try:
        found = wfdb_header.read(header)
    except (OSError, ValueError):
        return []
    return [header.with_name(f"{segment.name}.hea") for segment in found.segments]


def _is_own(table: Path) -> bool:
    """Whether a table or text is a result of an earlier version: the beats of a recording, or a summary."""
    summary = table.name == "summary.csv" and table.with_name("index.html").is_file()
    return summary or (table.with_suffix(".pred").is_file() and table.with_suffix(".json").is_file())
