"""A path becomes the recordings there: `for path in find(given): recording = open_recording(path, rate_hz=...)`.

A record (.hea, .dat, .mat or its name alone), an EDF, a CSV, a folder of any of them, or a RECORDS list.
"""

from collections.abc import Callable
from pathlib import Path

from loaders.edf import open_edf
from loaders.formats.csv_leads import open_table
from loaders.recording import Recording
from loaders.sources import topmost
from loaders.wfdbfiles import beside, open_wfdb
from toolbox.errors import DataError

Opener = Callable[[Path, float | None], Recording]
TABLES = (".csv", ".tsv", ".txt")
OPENERS: dict[str, Opener] = {
    ".hea": open_wfdb,
    ".dat": lambda path, rate_hz: open_wfdb(beside(path), rate_hz),
    ".mat": lambda path, rate_hz: open_wfdb(beside(path), rate_hz),
    ".edf": lambda path, _: open_edf(path),
    **dict.fromkeys((*TABLES, *(f"{suffix}.gz" for suffix in TABLES)), open_table),
}
IN_A_FOLDER = (  # the first that are there: a table beside records is about them, a text beside tables too
    ("*.hea", "*.[eE][dD][fF]"),
    ("*.[cC][sS][vV]", "*.[tT][sS][vV]", "*.[cC][sS][vV].[gG][zZ]", "*.[tT][sS][vV].[gG][zZ]"),
    ("*.[tT][xX][tT]", "*.[tT][xX][tT].[gG][zZ]"),
)
SIGNALS = (".dat", ".mat")  # of a record, which its header stands for
LIST = "RECORDS"
WOULD_DO = "a record's .hea, an EDF, a CSV with a column a lead, a folder of them, or a RECORDS list"


def find(path: Path) -> list[Path]:
    """The files of the recordings that `path` means, sorted or as listed. Raises DataError where there are none."""
    if path.is_dir():
        for patterns in IN_A_FOLDER:
            if found := [file for pattern in patterns for file in topmost(path, pattern)]:
                return sorted(found)
        raise DataError("there are no recordings in the folder", where=str(path), hint=WOULD_DO)
    if path.name == LIST and path.is_file():
        return _listed(path)
    named = path.with_name(f"{path.name}.hea")
    if kind(path) not in OPENERS and named.is_file():
        return [named]
    if not path.is_file():
        raise DataError("there is no such recording", where=str(path), hint=WOULD_DO)
    if kind(path) not in OPENERS:
        raise DataError("this is no recording that is read", where=str(path), hint=WOULD_DO)
    return [beside(path) if kind(path) in SIGNALS else path]


def kind(path: Path) -> str:
    """The ending of a file's name that tells its format, `.csv.gz` say, in small letters."""
    return "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower()


def _listed(path: Path) -> list[Path]:
    names = path.read_text(errors="replace").split()
    files = [path.parent / (name if kind(Path(name)) in OPENERS else f"{name}.hea") for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        what = f"not here: {' '.join(missing)[:200]}" if files else "the list is empty"
        raise DataError(f"of the recordings that are listed, {what}" if files else what, where=str(path), hint="a whole copy")
    return files


def open_recording(path: Path, *, rate_hz: float | None = None) -> Recording:
    """The recording in a file that `find` gave; `rate_hz` is for those that do not say it. Raises DataError, ResourceError."""
    recording = OPENERS[kind(path)](path, rate_hz)
    if rate_hz is not None and rate_hz != recording.rate_hz:
        what = f"it was sampled at {recording.rate_hz:g} Hz, not at {rate_hz:g} Hz"
        raise DataError(what, where=str(path), hint="the command without --rate-hz")
    return recording
