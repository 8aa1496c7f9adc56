"""WFDB records (.hea with its signal files, also the .mat of the PhysioNet challenges).

`open_wfdb(header)` opens a user's record as a `Recording`, with doubts. `read_leads(header, numbers)` reads a record of
a database, which must be whole. Both compare header, signal and annotations first (`wfdb_header`, `wfdb_signal`).
`files_of(path)` are the files of a recording.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.files.archives import as_folder, reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import log, topmost
from loaders.formats import wfdb_header, wfdb_signal
from loaders.formats.lead_names import is_electric
from loaders.formats.recording import Recording
from loaders.formats.wfdb_header import HIGHEST_HZ, LOWEST_HZ, WfdbLead
from toolbox.ecg.gaps import Signal
from toolbox.errors import DataError, ResourceError
from toolbox.files import sha256

Marks = tuple[list[str], NDArray[np.int64]]  # symbols and sample numbers of annotations
LARGEST_ANNOTATIONS = 2**22  # bytes; MIT-BIH has less than 2**15
DEFAULT_HZ = 250
HINT = "a whole copy of the record"
FIELD = "the header with that field as header(5) of WFDB has it"
# The errors of wfdb for damaged files.
FAULTS = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


@contextmanager
def naming(header: Path, part: str, hint: str = "fetch the database again") -> Iterator[None]:
    """Turn any error inside into a DataError (ResourceError without permission) about this part of the record."""
    try:
        yield
    except PermissionError as error:
        what, where = f"no permission to read record {header.stem}", str(error.filename or header)
        raise ResourceError(what, where=where, hint="check the permissions") from error
    except FAULTS as error:
        what = f"record {header.stem} cannot be read, {part}: {error}"
        raise DataError(what, where=str(header), hint=hint) from error


def find_records(folder: Path) -> list[Path]:
    """The headers of the records in `folder`, sorted; warns of records in its index RECORDS that are missing.

    Of nested folders only the topmost with records counts, to leave out excerpts below it (x_mitdb). Raises DataError
    without records.
    """
    headers = topmost(folder, "*.hea")
    if not headers:
        raise DataError("no WFDB records (*.hea) here", where=str(folder), hint="the unpacked database, or its zip")
    index = headers[0].with_name("RECORDS")
    listed = index.read_text(errors="replace").split() if index.is_file() else []
    if missing := sorted(set(listed) - {header.stem for header in headers}):
        log.warning("records in RECORDS are missing: %s", " ".join(missing)[:200])
    return headers


def lead_names(header: Path) -> list[str]:
    """The names of a record's leads, in their order. Raises the errors of `read_leads`."""
    with naming(header, "header"):
        return [lead.name for lead in facts(header)[2]]


def rate_hz(header: Path) -> float:
    """The sampling rate of a record. Raises the errors of `read_leads`."""
    with naming(header, "header"):
        return facts(header)[0]


def read_record(header: Path, name: str) -> tuple[NDArray[np.floating], float, list[str], NDArray[np.int64]]:
    """The lead `name`, or the first, in mV (T,); the other values as in `read_leads`."""
    signal, *rest = read_leads(header, [next((i for i, lead in enumerate(lead_names(header)) if lead == name), 0)])
    return signal[0], *rest


def read_leads(
    header: Path, numbers: Sequence[int]
) -> tuple[NDArray[np.floating], float, list[str], NDArray[np.int64]]:
    """The leads of these `numbers` in mV (C, T); their rate in Hz; the symbols and sample numbers of the annotations.

    Raises DataError that names the record and its fault, ResourceError without permission.
    """
    with naming(header, "header"):
        frames_hz, _, leads = facts(header)
        if len(frames := {leads[number].frame for number in numbers}) > 1:
            raise ValueError(f"its leads have {' and '.join(map(str, sorted(frames)))} samples a frame")
        rate_hz = frames_hz * frames.pop()
    with naming(header, "signal"):
        signal = np.stack([_whole(header, number) for number in numbers])
    with naming(header, "annotations"):
        symbols, places = marks(header, rate_hz, signal.shape[1], frames_hz=frames_hz)
        if len(places) and places[-1] >= signal.shape[1]:
            raise ValueError(f"they reach from sample {places[0]} to {places[-1]}, the signal has {signal.shape[1]}")
    return signal, rate_hz, symbols, places


def facts(header: Path) -> tuple[float, int | None, Sequence[WfdbLead]]:
    """Rate in Hz, samples of a lead (None if not stated) and leads. Raises ValueError if rate or gains are missing."""
    found = wfdb_header.read(header)
    if found.segments:
        raise ValueError("the record is made of segments, which are not read")
    if found.rate_hz is None:
        raise ValueError(f"the sampling rate is '', it should be {LOWEST_HZ} to {HIGHEST_HZ} Hz")
    if unknown := [k for k, lead in enumerate(found.leads, 1) if not lead.is_calibrated]:
        raise ValueError(f"the gain of lead {unknown[0]} is 0 or not stated")
    return found.rate_hz, found.samples, found.leads


def _whole(header: Path, number: int) -> NDArray[np.floating]:
    """One lead in mV (T,), with its checksum and without missing samples."""
    record = wfdb_signal.of(wfdb_header.read(header), [number])
    record.check(number)
    signal = record.read(number, 0, record.samples * record.leads[number].frame)
    if not np.isfinite(signal).all():
        raise ValueError(f"samples of lead {number + 1} are missing")
    return signal


def marks(header: Path, rate_hz: float, samples: int, ending: str = "atr", *, frames_hz: float | None = None) -> Marks:
    """The annotations of a record, in order, in samples of a signal of `samples` at `rate_hz`; annot(5).

    Their file counts frames of the record (`frames_hz`), or states another time resolution.
    """
    import wfdb

    path, frames_hz = header.with_suffix(f".{ending}"), frames_hz or rate_hz
    wfdb_header.size_of(path, LARGEST_ANNOTATIONS)
    if not path.read_bytes().endswith(b"\0\0"):
        raise ValueError(f"{path.name} is cut off")
    annotation: Any = wfdb.rdann(str(header.with_suffix("")), ending)
    places = annotation.sample
    if (np.diff(places) < 0).any():
        raise ValueError("they are not in the order of time")
    if len(places) and places[0] < 0:
        raise ValueError(f"they reach from sample {places[0]} to {places[-1]}, the signal has {samples}")
    stated = header.suffix != ".hea" or wfdb_header.read(header).rate_hz is not None
    assumed = (None,) if stated else (None, DEFAULT_HZ)  # by wfdb, if neither file states a rate
    ticks_hz = frames_hz if annotation.fs in assumed else float(annotation.fs)
    if not stated and ticks_hz != frames_hz:
        raise ValueError(f"they are timed at {ticks_hz:g} Hz, the signal at {frames_hz:g} Hz")
    if ticks_hz != rate_hz:
        exact = places * (rate_hz / ticks_hz)
        places = np.floor(exact + 0.5).astype(np.int64)
        places = np.where(exact < samples, np.minimum(places, samples - 1), places)
    return annotation.symbol, places


def open_wfdb(path: Path, unstated_hz: float | None = None) -> Recording:
    """The record of a header; its reference is its .atr file. Raises DataError, ResourceError.

    `unstated_hz` is the rate if the header states none.
    """
    with naming(path, "header", FIELD):
        header = wfdb_header.read(path)
        if header.is_layout:
            raise ValueError("it describes the leads of a record of segments, and has no samples")
        wanted = _electric(header.leads)
        frames_hz = header.rate_hz or wfdb_header.frames_hz(f"{unstated_hz:.10g}" if unstated_hz else "")
    if frames_hz is None:
        raise DataError("the header states no sampling rate", where=str(path), hint="--rate-hz HZ")
    with naming(path, "signal", HINT):
        signal = wfdb_signal.of(header, wanted)
        wanted = _electric(signal.leads)
    leads = [signal.leads[k] for k in wanted]

    def read(k: int, first: int, last: int) -> Signal:
        with naming(path, "signal", HINT):
            return signal.read(wanted[k], first, last)

    def check(k: int) -> None:
        with naming(path, "signal", HINT):
            signal.check(wanted[k])

    reference, doubts = _reference(path, frames_hz, signal.samples)
    if names := ", ".join(lead.name for lead in leads if not lead.is_calibrated)[:120]:
        gain = f"{wfdb_header.DEFAULT_GAIN:g} steps a mV are assumed, as WFDB does"
        doubts.insert(0, f"the header states no gain of {names}; {gain}")
    return Recording(
        path,
        leads=tuple(lead.name for lead in leads),
        units=tuple(lead.unit for lead in leads),
        shapes=tuple((frames_hz * lead.frame, signal.samples * lead.frame) for lead in leads),
        rate_hz=frames_hz,
        samples=signal.samples,
        read=read,
        check=check,
        start=header.start,
        reference=reference,
        doubts=(*header.doubts, *doubts),
    )


def _electric(leads: Sequence[WfdbLead]) -> list[int]:
    """The places of the leads in volts or in steps. Raises ValueError if no lead is."""
    found = [k for k, lead in enumerate(leads) if is_electric(lead.unit)]
    if leads and not found:
        raise ValueError(f"no lead is in volts: {', '.join(f'{lead.name} in {lead.unit}' for lead in leads)[:200]}")
    return found


def _reference(path: Path, rate_hz: float, samples: int) -> tuple[Marks | None, list[str]]:
    """The annotations in a record's .atr, None if they are missing or beyond its end, and doubts."""
    annotations = path.with_suffix(".atr")
    if not annotations.exists():
        return None, []
    if annotations.is_file() and not annotations.stat().st_size:
        return None, [f"{annotations.name} is empty: no annotations to compare with"]
    with naming(path, "annotations", "the record without its .atr"):
        symbols, places = marks(path, rate_hz, samples)
    if not (beyond := int((places >= samples).sum())):
        return (symbols, places), []
    what = f"{beyond} of {len(places)} annotations in {annotations.name} are after the end of the signal"
    return None, [f"{what}: they are not compared"]


def header_of(signal: Path) -> Path:
    """The header of a signal file. Raises DataError without it."""
    header = signal.with_suffix(".hea")
    if not header.is_file():
        raise DataError(f"its header {header.name} is missing", where=str(signal), hint="the header (.hea) too")
    return header


HEADER, OF_RECORDS = ".hea", (".hea", ".dat", ".atr")
MOST = 2**20  # bytes of a header


def files_of(path: Path) -> list[Path]:
    """The file of a recording, and the signal files and segments that a WFDB header names, present or not."""
    found = [path]
    for part in found:
        named = dict.fromkeys(part.parent / name for name in _named(part))
        found += [each for each in named if each not in found]  # the loop continues with these
    return found


def _named(header: Path) -> list[str]:
    """The names of the signal files in a header, or of the headers of segments; `~` is a pause.

    A header with faults may still name files, so it is not parsed further.
    """
    if header.suffix.lower() != HEADER or not is_plain(header):
        return []
    try:
        with open(header, "rb") as file:
            lines = file.read(MOST).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    first, *rest = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")] or [""]
    _, slash, segments = first.rpartition("/")
    return [f"{name}{HEADER}" if slash and segments.isdigit() else name for name in rest if name != "~"]


def parsed(
    source: Path, suffixes: Collection[str], name: Path, build: Callable[[Path], Arrays], *more: Path, **key: str
) -> tuple[Arrays, str]:
    """The arrays that `build` makes from a folder or the content of a zip, and their checksum; see `cache.cached`.

    The folder in the cache is `name`, a dash and a fingerprint of the files with these suffixes and the files that
    their headers name, or of the zip, of `more` files, and of `key`.
    """

    def made() -> Arrays:
        with as_folder(source) as folder:
            return build(folder)

    with reading(source):
        files = {source}
        if source.is_dir():
            files = {path for path in source.iterdir() if path.suffix in suffixes}
            files |= {part for path in files if path.suffix == HEADER for part in files_of(path) if is_plain(part)}
        return cached(name.with_name(f"{name.name}-{fingerprint(*sorted(files), *more, **key)}"), made)


def source(path: Path) -> dict[str, Any]:
    """A recording's file and SHA-256 (None if unreadable), and the SHA-256 of each file that a WFDB header names."""
    first, *rest = files_of(path)
    facts: dict[str, Any] = {"file": first.name, "sha256": _sum(first)}
    if first.suffix.lower() == HEADER:
        facts["signals"] = {os.path.relpath(part, first.parent): _sum(part) for part in rest}
    return facts


def _sum(path: Path) -> str | None:
    try:
        return sha256(path) if is_plain(path) else None
    except OSError:
        return None


def is_plain(path: Path) -> bool:
    """Whether a path is a file that can be read to its end: no pipe, and a possible name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
