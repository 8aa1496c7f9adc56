"""A WFDB record of a database is read where its header, signal and annotations fit each other; a fault has record and
field.

Files as in header(5), signal(5) and annot(5) of the WFDB Applications Guide (physionet.org); see
`formats/wfdb_header.py`.

WFDB records (.hea with its signal files, the .mat of the PhysioNet challenges too) open as recordings, read in
pieces.

The header is held against the files first, as `loaders/formats/wfdb_signal.py` does for a database.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.files.sources import log, topmost
from loaders.formats import units, wfdb_header, wfdb_signal
from loaders.formats.recording import Recording
from loaders.formats.wfdb_header import HIGHEST_HZ, LOWEST_HZ, Lead
from toolbox.ecg.gaps import Signal
from toolbox.errors import DataError, ResourceError

LARGEST_ANNOTATIONS = 2**22  # bytes; those of MIT-BIH have less than 2**15
DEFAULT_HZ = 250
FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)  # wfdb raises them all


def find_records(folder: Path) -> list[Path]:
    """The headers of the records in `folder`, sorted; what its index RECORDS names and is not there is said.

    Of nested folders only the topmost with records counts, so that none of what stands below it (x_mitdb) slips in.
    Raises DataError where there is none.
    """
    headers = topmost(folder, "*.hea")
    if not headers:
        raise DataError("no WFDB records (*.hea) here", where=str(folder), hint="the unpacked database, or its zip")
    index = headers[0].with_name("RECORDS")
    listed = index.read_text(errors="replace").split() if index.is_file() else []
    if missing := sorted(set(listed) - {header.stem for header in headers}):
        log.warning("records that RECORDS names and that are not here: %s", " ".join(missing)[:200])
    return headers


def lead_names(header: Path) -> list[str]:
    """The names of a record's leads, in their order; raises as `read_leads`."""
    with naming(header, "header"):
        return [lead.name for lead in facts(header)[2]]


def rate_hz(header: Path) -> float:
    """The sampling rate of a record; raises as `read_leads`."""
    with naming(header, "header"):
        return facts(header)[0]


def read_record(header: Path, name: str) -> tuple[NDArray[np.floating], float, list[str], NDArray[np.int64]]:
    """The lead called `name`, or the first, in mV (T,); the rest as `read_leads`."""
    signal, *rest = read_leads(header, [next((i for i, lead in enumerate(lead_names(header)) if lead == name), 0)])
    return signal[0], *rest


def read_leads(
    header: Path, numbers: Sequence[int]
) -> tuple[NDArray[np.floating], float, list[str], NDArray[np.int64]]:
    """The leads of these `numbers` in mV (C, T); their rate in Hz; the symbols and sample numbers of the annotations.

    Raises DataError that names the record and what is wrong in it, ResourceError for a file that may not be read.
    """
    with naming(header, "header"):
        frames_hz, _, leads = facts(header)
        if len(frames := {leads[number].frame for number in numbers}) > 1:
            raise ValueError(f"its leads have {' and '.join(map(str, sorted(frames)))} samples a frame")
        rate_hz = frames_hz * frames.pop()
    with naming(header, "signal"):
        signal = np.stack([_signal(header, number) for number in numbers])
    with naming(header, "annotations"):
        symbols, places = annotations(header, rate_hz, signal.shape[1], frames_hz=frames_hz)
    return signal, rate_hz, symbols, places


@contextmanager
def naming(header: Path, part: str, hint: str = "fetch the database again") -> Iterator[None]:
    """What goes wrong inside is wrong in this part of the record."""
    try:
        yield
    except PermissionError as error:
        raise ResourceError(
            f"record {header.stem} may not be read", where=str(error.filename or header), hint="check the permissions"
        ) from error
    except FAULTS as error:
        raise DataError(
            f"record {header.stem} cannot be read, {part}: {error}", where=str(header), hint=hint
        ) from error


def facts(header: Path) -> tuple[float, int | None, Sequence[Lead]]:
    """Rate in Hz, samples of a lead, None where they are not stated, and leads, as a database has to state them."""
    found = wfdb_header.read(header)
    if found.segments:
        raise ValueError("the record is made of segments, which are not read")
    if found.rate_hz is None:
        raise ValueError(f"the sampling rate is '', it should be {LOWEST_HZ} to {HIGHEST_HZ} Hz")
    if unknown := [k for k, lead in enumerate(found.leads, 1) if not lead.is_calibrated]:
        raise ValueError(f"the gain of lead {unknown[0]} is 0 or not stated")
    return found.rate_hz, found.samples, found.leads


def _signal(header: Path, number: int) -> NDArray[np.floating]:
    """One lead in mV (T,), all of whose samples are there and have the sum that the header states."""
    record = wfdb_signal.of(wfdb_header.read(header), [number])
    record.check(number)
    signal = record.read(number, 0, record.samples * record.leads[number].frame)
    if not np.isfinite(signal).all():
        raise ValueError(f"samples of lead {number + 1} are missing")
    return signal


def annotations(
    header: Path, rate_hz: float, samples: int, ending: str = "atr", *, frames_hz: float | None = None
) -> tuple[list[str], NDArray[np.int64]]:
    """As `marks`, and a ValueError where one stands after the end of the signal."""
    symbols, places = marks(header, rate_hz, samples, ending, frames_hz=frames_hz)
    if len(places) and places[-1] >= samples:
        raise ValueError(f"they reach from sample {places[0]} to {places[-1]}, the signal has {samples}")
    return symbols, places


def marks(
    header: Path, rate_hz: float, samples: int, ending: str = "atr", *, frames_hz: float | None = None
) -> tuple[list[str], NDArray[np.int64]]:
    """Symbols and places, in order, of the annotations beside a record, in samples at `rate_hz` of a signal of that
    many.

    Their file counts them in frames of the record (`frames_hz`), or in the time resolution that it states.
    """
    import wfdb

    path, frames_hz = header.with_suffix(f".{ending}"), frames_hz or rate_hz
    if not _content(path, LARGEST_ANNOTATIONS).endswith(b"\0\0"):
        raise ValueError(f"{path.name} is cut off")
    annotation: Any = wfdb.rdann(str(header.with_suffix("")), ending)
    places = annotation.sample
    if (np.diff(places) < 0).any():
        raise ValueError("they are not in the order of time")
    if len(places) and places[0] < 0:
        raise ValueError(f"they reach from sample {places[0]} to {places[-1]}, the signal has {samples}")
    stated = header.suffix != ".hea" or wfdb_header.read(header).rate_hz is not None
    assumed = (None,) if stated else (None, DEFAULT_HZ)  # by wfdb, where neither file states a rate
    ticks_hz = frames_hz if annotation.fs in assumed else float(annotation.fs)
    if not stated and ticks_hz != frames_hz:
        raise ValueError(f"they are timed at {ticks_hz:g} Hz, the signal at {frames_hz:g} Hz")
    if ticks_hz != rate_hz:
        exact = places * (rate_hz / ticks_hz)
        places = np.floor(exact + 0.5).astype(np.int64)
        places = np.where(exact < samples, np.minimum(places, samples - 1), places)
    return annotation.symbol, places


def _content(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path.name} is missing or no plain file")
    if path.stat().st_size > most:
        raise ValueError(f"{path.name} has more than {most} bytes")
    return path.read_bytes()


HINT = "a whole copy of the record"
FIELD = "the header with that field as header(5) of WFDB has it"


def open_wfdb(path: Path, unstated_hz: float | None = None) -> Recording:
    """The record of a header; its annotations are those of the .atr beside it. Raises DataError, ResourceError.

    `unstated_hz` is the rate of a record whose header has none.
    """
    with naming(path, "header", FIELD):
        header = wfdb_header.read(path)
        if header.is_layout:
            raise ValueError("it describes the leads of a record of segments, and has no samples")
        wanted = [k for k, lead in enumerate(header.leads) if _is_electric(lead)]
        if header.leads and not wanted:
            raise ValueError(f"no lead is in volts: {_units(header.leads)}")
        frames_hz = header.rate_hz or wfdb_header.frames_hz(f"{unstated_hz:.10g}" if unstated_hz else "")
    if frames_hz is None:
        raise DataError("the header does not say how often it was sampled", where=str(path), hint="--rate-hz HZ")
    with naming(path, "signal", HINT):
        signal = wfdb_signal.of(header, wanted)
        wanted = [k for k, lead in enumerate(signal.leads) if _is_electric(lead)]
        if not wanted:
            raise ValueError(f"no lead is in volts: {_units(signal.leads)}")
    leads = [signal.leads[k] for k in wanted]

    def read(k: int, first: int, last: int) -> Signal:
        with naming(path, "signal", HINT):
            return signal.read(wanted[k], first, last)

    def check(k: int) -> None:
        with naming(path, "signal", HINT):
            signal.check(wanted[k])

    reference, doubts = _reference(path, frames_hz, signal.samples)
    return Recording(
        path,
        path.stem,
        tuple(lead.name for lead in leads),
        frames_hz,
        signal.samples,
        read,
        check,
        header.start,
        reference,
        doubts=(*header.doubts, *_uncalibrated(leads), *doubts),
        unit_unknown=frozenset(k for k, lead in enumerate(leads) if units.millivolts(lead.unit) is None),
        units=tuple(lead.unit for lead in leads),
        shapes=tuple((frames_hz * lead.frame, signal.samples * lead.frame) for lead in leads),
    )


def _is_electric(lead: Lead) -> bool:
    """Whether a lead is in volts, or in steps that `--unit` may make volts."""
    return units.millivolts(lead.unit) is not None or units.is_arbitrary(lead.unit)


def _units(leads: tuple[Lead, ...]) -> str:
    return ", ".join(f"{lead.name} in {lead.unit}" for lead in leads)[:200]


def _uncalibrated(leads: list[Lead]) -> list[str]:
    names = ", ".join(lead.name for lead in leads if not lead.is_calibrated)
    if not names:
        return []
    return [
        f"the header states no gain of {names[:120]}; {wfdb_header.DEFAULT_GAIN:g} steps a mV are assumed, as WFDB does"
    ]


def _reference(
    path: Path, rate_hz: float, samples: int
) -> tuple[tuple[list[str], NDArray[np.int64]] | None, list[str]]:
    """The annotations of the .atr beside a record, None where there are none or some stand after its end, and
    doubts."""
    if not path.with_suffix(".atr").exists():
        return None, []
    with naming(path, "annotations", "the record without its .atr"):
        if path.with_suffix(".atr").is_file() and not path.with_suffix(".atr").stat().st_size:
            return None, [f"{path.stem}.atr is empty: there are no annotations to compare with"]
        symbols, places = marks(path, rate_hz, samples)
    beyond = int((places >= samples).sum())
    if not beyond:
        return (symbols, places), []
    what = (
        f"{beyond} of {len(places)} annotations in {path.stem}.atr stand after the end of the signal: they are not"
        " compared"
    )
    return None, [what]


def beside(signal: Path) -> Path:
    """The header of a signal file."""
    header = signal.with_suffix(".hea")
    if not header.is_file():
        raise DataError(
            f"there is no {header.name} beside it", where=str(signal), hint="the record's header (.hea) too"
        )
    return header
