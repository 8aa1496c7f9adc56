"""A path becomes the recordings there: `for path in find(given): recording = open_recording(path, rate_hz=...)`.

A record (.hea, .dat, .mat or its name alone), an EDF or BDF, a CSV, a folder of any of them, or a RECORDS list.

Recordings of formats that are not read, known by how they begin or are called: `known(path)` names the format.

Which leads of a recording a network is given: those it was trained on, those that are named, or the next best, with
a doubt.

leads = inputs.leads_of(recording, ("MLII",), asked=None)    # a Lead a channel
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from loaders.files.archives import reading
from loaders.files.sources import log
from loaders.formats import edf, lead_names, wfdb_header
from loaders.formats.csv.leads import open_table
from loaders.formats.edf import open_edf
from loaders.formats.lead_names import POSITIONS, TURNED, Kind, parse_leads
from loaders.formats.recording import FlatError, Lead, Recording
from loaders.formats.wfdb import beside, open_wfdb
from toolbox import outputs
from toolbox.errors import DataError, UsageError

BEGIN = 4096  # bytes
# Format by the bytes that stand at a place in the file.
MARKS: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", "a DICOM file"),
    (16, b"SCPECG", "an SCP-ECG file"),
    (0, b"ISHNE1.0", "an ISHNE Holter file"),
    (0, b"ANN  1.0", "annotations of an ISHNE Holter file"),
    (0, b"MATLAB ", "a MATLAB file without a WFDB header (.hea) beside it"),
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
ENDINGS |= {
    ".mat": "a MATLAB file without a WFDB header (.hea) beside it",
    ".h5": "an HDF5 file",
    ".fit": "a FIT file of Garmin",
}
ENDINGS |= {
    ".xlsx": "a workbook of Excel",
    ".xls": "a workbook of Excel",
    ".json": "a JSON file",
    ".zip": "a zip archive",
}


def known_format(path: Path) -> str | None:
    """The format of a file that is not read, with its article; None where it is not known."""
    with open(path, "rb") as file:
        begin = file.read(BEGIN)
    for place, mark, name in MARKS:
        if begin[place : place + len(mark)] == mark:
            return name
    text = begin.replace(b"\0", b"")  # of UTF-16 too
    if b"<?xml" in text[:64] or path.suffix.lower() == ".xml":
        return next((name for mark, name in XML if mark in text), ENDINGS[".xml"])
    return ENDINGS.get(path.suffix.lower())


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
    if (alone or _ending(path) not in OPENERS) and (known := known_format(path)):
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
        return file.read(8) in (edf.EDF, edf.BDF)


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


HINT = "--leads with one of its leads for each of the network's"
MORE = "expect more mistakes"


def leads_of(recording: Recording, trained: Sequence[str], asked: str | None, *, unit: str | None = None) -> list[Lead]:
    """A lead for each channel of a network that was `trained` on such ones; `asked` is as --leads, a - before a name
    turns it.

    `unit` is as --unit. Raises UsageError where other than as many are asked for, DataError where one is not there,
    flat, of another rate or in another unit.
    """
    channels = parse_leads(asked or ",".join(trained))
    if len(channels) != len(trained):
        what = f"--leads names {len(channels)}, the network has a channel each for {', '.join(trained)}"
        raise UsageError(what, hint="as many, in that order")
    leads: dict[int, Lead] = {}
    for channel in channels:
        found = [place for name in channel if (place := _find(recording, name, leads, sure=bool(asked)))]
        if not found and (asked or len(channels) > 1):
            left = any(_find(recording, name, (), sure=bool(asked)) for name in channel)
            what = f"{'no lead is left for' if left else 'there is no lead'} {'|'.join(channel)[:80]!r}"
            what += "" if asked else f"; the network needs {', '.join(trained)}"
            hint = HINT if len(recording.leads) >= len(trained) else "a run on fewer leads; here"
            raise DataError(what, where=str(recording.path), hint=f"{hint}: {', '.join(recording.leads)[:300]}")
        place, lead = _named(recording, *found[0], unit) if found else _next_best(recording, channel, unit)
        leads[place] = lead
    return _of_one_rate(recording, list(leads.values()))


def turn(name: str) -> str:
    """How a lead that is called so is asked for the other way up."""
    return name.removeprefix(TURNED) if name.startswith(TURNED) else f"{TURNED}{name}"


def _find(
    recording: Recording, name: str, taken: Sequence[int] | dict[int, Lead], *, sure: bool
) -> tuple[str, int, bool] | None:
    """A name, the place of its lead and whether that is to be turned; None where there is none.

    Nothing but an ECG is meant where nobody is `sure`.
    """
    for text, turned in ((name, False), (name.removeprefix(TURNED), True)):
        place = lead_names.place_of(recording.leads, text, taken)
        if place is not None and (sure or lead_names.kind(recording.leads[place]) is not Kind.OTHER):
            return text, place, turned
    return None


def _named(recording: Recording, name: str, place: int, turned: bool, unit: str | None) -> tuple[int, Lead]:
    """The lead at a place; of several with its name the first in which something was recorded."""
    names, doubts = recording.leads, []
    same = (
        [place]
        if name in POSITIONS
        else [place, *(k for k in range(place + 1, len(names)) if names[k] == names[place])]
    )
    place, lead = _first_moving(recording, same, turned=turned, unit=unit)
    if len(same) > 1:
        doubts.append(f"{len(same)} leads of {recording.name} are called {names[place]}; lead {place + 1} is taken")
    kind = lead_names.kind(names[place])
    if kind is Kind.OTHER:
        doubts.append(f"lead {names[place]} of {recording.name} is no ECG by its name")
    elif kind is Kind.UNKNOWN and name in POSITIONS:
        doubts.append(f"the name of lead {names[place]} of {recording.name} does not say that it is an ECG")
    return place, replace(lead, doubts=(*lead.doubts, *doubts))


def _next_best(recording: Recording, trained: Sequence[str], unit: str | None) -> tuple[int, Lead]:
    """A lead of the same direction, else the first ECG lead; a doubt says that it is another one."""
    directions = {lead_names.KIN.get(lead_names.standard(name)) for name in trained} - {None}
    places = recording.candidates([each for each in directions if each])
    same = [k for k in places if recording.leads[k] == recording.leads[places[0]]]
    place, lead = _first_moving(recording, same, turned=False, unit=unit)
    name = lead.name
    if lead_names.kind(name) is not Kind.ECG:
        name += ", of which the name does not say that it is an ECG"
    elif len(same) > 1:
        name += f" (lead {place + 1}; {len(same)} leads have that name)"
    wanted = "|".join(trained)
    doubt = f"{recording.name} has no lead {wanted}, which the network was trained on; taking {name}: {MORE}"
    return place, replace(lead, doubts=(*lead.doubts, doubt))


def _first_moving(recording: Recording, places: Sequence[int], *, turned: bool, unit: str | None) -> tuple[int, Lead]:
    """The first of several leads that is not flat; the error of the first where all are."""
    for place in places[:-1]:
        try:
            return place, recording.lead(place, turned=turned, unit=unit)
        except FlatError:
            continue
    return places[-1], recording.lead(places[-1], turned=turned, unit=unit)


def _of_one_rate(recording: Recording, leads: list[Lead]) -> list[Lead]:
    if len({(lead.rate_hz, lead.samples) for lead in leads}) > 1:
        rates = ", ".join(f"{lead.name} at {lead.rate_hz:g} Hz" for lead in leads)
        what = f"leads of different rates are not classified together: {rates}"
        raise DataError(what, where=str(recording.path), hint="--leads with leads of one rate, or a run on one lead")
    return leads
