"""A path becomes the recordings there: `for path in find(given): recording = open_recording(path, rate_hz=...)`.

A record (.hea, .dat, .mat or its name alone), an EDF or BDF, a CSV, a folder of any of them, or a RECORDS list.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from loaders.files.archives import reading
from loaders.files.sources import log
from loaders.formats import edf_header, signatures, wfdb_header
from loaders.formats.csv.leads import open_table
from loaders.formats.edf import open_edf
from loaders.formats.recording import Recording
from loaders.formats.wfdbfiles import beside, open_wfdb
from toolbox import outputs
from toolbox.errors import DataError

Opener = Callable[[Path, float | None], Recording]
TABLES, TEXTS = (".csv", ".tsv", ".csv.gz", ".tsv.gz"), (".txt", ".txt.gz")
OPENERS: dict[str, Opener] = {
    ".hea": open_wfdb,
    ".dat": lambda path, rate_hz: open_wfdb(beside(path), rate_hz),
    ".mat": lambda path, rate_hz: open_wfdb(beside(path), rate_hz),
    **dict.fromkeys((".edf", ".bdf", ".rec"), lambda path, _: open_edf(path)),
    **dict.fromkeys((*TABLES, *TEXTS), open_table),
}
SIGNALS = (".dat", ".mat")  # of a record, which its header stands for
RECORDS = (".hea", ".edf", ".bdf", ".rec")  # what is looked for in folders
LIST = "RECORDS"
WOULD_DO = "a record's .hea, an EDF or BDF, a CSV with a column a lead, a folder of them, or a RECORDS list"
CONVERT = "it converted to WFDB (.hea and .dat), EDF, or a CSV with a column a lead"


def find(path: Path) -> list[Path]:
    """The files of the recordings that `path` means, sorted or as listed. Raises DataError where there are none."""
    if path.is_dir():
        with reading(path):
            if found := _below(path):
                return found
        raise DataError("there are no recordings in the folder", where=str(path), hint=WOULD_DO)
    if path.name == LIST and path.is_file():
        return _listed(path)
    named = path.with_name(f"{path.name}.hea")
    if _ending(path) not in OPENERS and named.is_file():
        return [named]
    if not path.is_file():
        raise DataError("there is no such recording", where=str(path), hint=WOULD_DO)
    alone = _ending(path) in SIGNALS and not path.with_suffix(".hea").is_file()
    if (alone or _ending(path) not in OPENERS) and (known := signatures.known(path)):
        raise DataError(f"it is {known}, which is not read", where=str(path), hint=CONVERT)
    if _ending(path) not in OPENERS:
        raise DataError("this is no recording that is read", where=str(path), hint=WOULD_DO)
    return [beside(path) if _ending(path) in SIGNALS else path]


def _ending(path: Path) -> str:
    """The longest ending of a name by which it is opened, else its last one."""
    name = path.name.lower()
    return max((ending for ending in OPENERS if name.endswith(ending)), key=len, default=path.suffix.lower())


def _listed(path: Path) -> list[Path]:
    names = path.read_text(errors="replace").split()
    files = [_of_list(path.parent, name) for name in names]
    missing = [name for name, file in zip(names, files, strict=True) if not file.is_file()]
    if missing or not files:
        what = f"not here: {' '.join(missing)[:200]}" if files else "the list is empty"
        raise DataError(
            f"of the recordings that are listed, {what}" if files else what, where=str(path), hint="a whole copy"
        )
    return files


def _of_list(folder: Path, name: str) -> Path:
    return folder / (name if _ending(Path(name)) in OPENERS else f"{name}.hea")


def _below(folder: Path) -> list[Path]:
    """The recordings in a folder and in all folders below it, sorted.

    What a RECORDS list does not name in the folders below it (MIT-BIH has such a folder of excerpts) is passed over, as
    are the segments of a record, and what this program has written. A table in the folder of a record, above or below
    it, is about the record, and a text is a recording only where there is nothing else.
    """
    files = [path for path in _files(folder) if not path.name.startswith(".")]
    if packed := [str(path.relative_to(folder)) for path in files if path.suffix.lower() == ".zip"]:
        log.warning("zips are not looked into, unpack those with recordings: %s", ", ".join(packed)[:200])
    found = _unlisted([path for path in files if _is_record(path)], folder)
    segments = {segment for path in found if path.suffix.lower() == ".hea" for segment in _segments(path)}
    found = [path for path in found if path not in segments]
    where = {path.parent for path in found}
    with_records = where | {above for each in where for above in each.parents}
    files = [path for path in files if not _is_own(path)]
    found += [
        path
        for path in files
        if _ending(path) in TABLES and path.parent not in with_records and not where & {*path.parents}
    ]
    return sorted(found or [path for path in files if _ending(path) in TEXTS])


def _files(folder: Path) -> Iterable[Path]:
    """All files below a folder but results of this program; raises where it may not be read, and passes over hidden
    folders."""
    own = outputs.marked(folder)
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if not path.name.startswith(".") and not folder.resolve().is_relative_to(
                path.resolve()
            ):  # as a link to above is
                yield from _files(path)
        elif path.is_file() and path.name not in own:
            yield path


def _is_record(path: Path) -> bool:
    """Whether a file is a record by its ending; of an ending that others use too, by its begin."""
    if path.suffix.lower() not in RECORDS:
        return False
    if path.suffix.lower() != ".rec":
        return True
    with open(path, "rb") as file:
        return file.read(8) in (edf_header.EDF, edf_header.BDF)


def _unlisted(found: list[Path], folder: Path) -> list[Path]:
    """The records without those in folders below a RECORDS list that does not name them; a line says how many these
    are."""
    for index in sorted({above / LIST for path in found for above in path.parents if above.is_relative_to(folder)}):
        if not index.is_file():
            continue
        names = index.read_text(errors="replace").split()
        named = {_of_list(index.parent, name) for name in names}
        if missing := [
            name for name in names if not (_of_list(index.parent, name).is_file() or (index.parent / name).is_dir())
        ]:
            log.warning("%d recordings that %s names are not here: %s", len(missing), index, ", ".join(missing)[:200])
        left = [path for path in found if index.parent in path.parent.parents and path not in named]
        if left and named & {*found}:
            places = ", ".join(sorted({str(path.parent.relative_to(folder)) for path in left}))
            log.warning("%d recordings in %s are left out, which %s does not name", len(left), places[:200], index)
            found = [path for path in found if path not in left]
    return found


def _segments(header: Path) -> list[Path]:
    """The headers of the segments of a record; none of one that cannot be read, which its opener says."""
    try:
        found = wfdb_header.read(header)
    except (OSError, ValueError):
        return []
    return [header.with_name(f"{segment.name}.hea") for segment in found.segments]


def _is_own(table: Path) -> bool:
    """Whether a table or text is what a prediction of an earlier version left: the beats of a recording, or a
    summary."""
    summary = table.name == "summary.csv" and table.with_name("index.html").is_file()
    return summary or (table.with_suffix(".pred").is_file() and table.with_suffix(".json").is_file())


def open_recording(path: Path, *, rate_hz: float | None = None) -> Recording:
    """The recording in a file that `find` gave; `rate_hz` is for those that do not say it. Raises DataError,
    ResourceError."""
    recording = OPENERS[_ending(path)](path, rate_hz)
    stated = {rate for rate, _ in recording.shapes} or {recording.rate_hz}
    if rate_hz is not None and rate_hz not in {*stated, recording.rate_hz}:
        what = f"it was sampled at {' and '.join(f'{rate:g}' for rate in sorted(stated))} Hz, not at {rate_hz:g} Hz"
        raise DataError(what, where=str(path), hint="the command without --rate-hz")
    return recording
