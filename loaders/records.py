"""A WFDB record is read only where its header, signal and annotations fit each other; what does not is named by record and field.

Files as in header(5), signal(5) and annot(5) of the WFDB Applications Guide (physionet.org). What a header says is held against
the size of the files before wfdb makes room for it, and what wfdb would take for a default is missing here.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.sources import log, topmost
from toolbox.errors import DataError, ResourceError

LARGEST_HEADER, LARGEST_ANNOTATIONS = 2**16, 2**22  # bytes; those of MIT-BIH have less than 2**11 and 2**15
MAT_5 = b"MATLAB 5.0"
LOWEST_HZ, HIGHEST_HZ = 10, 100_000
DEFAULT_HZ = 250
# Bytes of a sample, by format; not the compressed ones, which do not tell how much they hold.
BYTES = {"16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5}
NUMBER = r"\d{1,9}(?:\.\d{1,18})?"  # wfdb writes all digits of a float
RATE = re.compile(rf"({NUMBER})(?:/\S+)?")
LEAD = re.compile(
    r"(?P<file>\S+) (?P<format>\S+?)(?:x(?P<frame>[1-9]\d{0,5}))?(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,15}))?"
    rf" (?P<gain>-?{NUMBER}(?:e[-+]?\d\d?)?)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?"
    r" \d+ (?P<zero>-?\d+) -?\d+ (?P<checksum>-?\d{1,9}) \d+ (?P<name>.+)"
)
LEAD_FIELDS = "file, format, gain, resolution, zero, first value, checksum, block size, name"


@dataclass(frozen=True)
class Lead:
    """What a header says of a lead: its file and format, samples a frame, first byte in the file, steps of a unit and the unit,
    the step that is 0 units, 16 bits of its sum."""

    file: str
    format: str
    frame: int
    offset: int
    gain: float
    unit: str
    zero: int
    checksum: int
    name: str


def find_records(folder: Path) -> list[Path]:
    """The headers of the records in `folder`, sorted; what its index RECORDS names and is not there is said.

    Of nested folders only the topmost with records counts, so that none of what stands below it (x_mitdb) slips in. Raises
    DataError where there is none.
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


def read_leads(header: Path, numbers: Sequence[int]) -> tuple[NDArray[np.floating], float, list[str], NDArray[np.int64]]:
    """The leads of these `numbers` in mV (C, T); their rate in Hz; the symbols and sample numbers of the annotations.

    Raises DataError that names the record and what is wrong in it, ResourceError for a file that may not be read.
    """
    with naming(header, "header"):
        rate_hz, samples, leads = facts(header)
    with naming(header, "signal"):
        signal = np.stack([_signal(header, number, leads, samples) for number in numbers])
    with naming(header, "annotations"):
        symbols, places = annotations(header, rate_hz, signal.shape[1])
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
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:  # wfdb raises them all
        raise DataError(f"record {header.stem} cannot be read, {part}: {error}", where=str(header), hint=hint) from error


class NoRateError(ValueError):
    """A header states no sampling rate, for which header(5) has a default that is seldom true."""


def facts(header: Path, *, unstated_hz: float | None = None) -> tuple[float, int | None, list[Lead]]:
    """Rate in Hz, `unstated_hz` where it is not stated, samples of a lead, None where they are not stated, and leads."""
    lines = _lines(header)
    if not lines:
        raise ValueError("it is empty")
    if not "".join(lines).isascii():
        raise ValueError("it is no ASCII text")
    name, number, rate, samples = [*lines[0].split(), "", "", ""][:4]
    if "/" in name:
        raise ValueError("the record is made of segments, which are not read")
    if name != header.stem:
        raise ValueError(f"it is that of record {name[:40]!r}")
    if not (number.isdigit() and 0 < int(number) == len(lines) - 1):
        raise ValueError(f"the number of leads is {number[:40]!r}, {len(lines) - 1} are described")
    rate = rate or ("" if unstated_hz is None else str(unstated_hz))
    known = RATE.fullmatch(rate)
    if not (known and LOWEST_HZ <= float(known[1]) <= HIGHEST_HZ):
        what = f"the sampling rate is {rate[:40]!r}, it should be {LOWEST_HZ} to {HIGHEST_HZ} Hz"
        raise (ValueError if rate else NoRateError)(what)
    if samples and not (samples.isdigit() and int(samples)):
        raise ValueError(f"the number of samples is {samples[:40]!r}")
    return float(known[1]), int(samples) if samples else None, [_lead(i, line) for i, line in enumerate(lines[1:], 1)]


def _lines(header: Path) -> list[str]:
    """What a header says, without its comments."""
    text = _content(header, LARGEST_HEADER).decode("ascii", errors="replace")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _lead(number: int, line: str) -> Lead:
    known = LEAD.fullmatch(line)
    if not known:
        raise ValueError(f"lead {number} is described as {line[:80]!r}, not as {LEAD_FIELDS}")
    if not re.fullmatch(r"[-\w]+(\.\w+)?", known["file"], re.ASCII):
        raise ValueError(f"the signal file of lead {number} is {known['file'][:40]!r}, no name of a file beside the header")
    if known["format"] not in BYTES:
        raise ValueError(f"the format of lead {number} is {known['format'][:40]!r}, not one of {' '.join(BYTES)}")
    if not float(known["gain"]) > 0:
        raise ValueError(f"the gain of lead {number} is {known['gain']}, it should be above 0")
    if int(known["skew"] or 0):
        raise ValueError(f"lead {number} is skewed, which is not read")
    return Lead(
        file=known["file"],
        format=known["format"],
        frame=int(known["frame"] or 1),
        offset=int(known["offset"] or 0),
        gain=float(known["gain"]),
        unit=known["unit"] or "mV",
        zero=int(known["baseline"] or known["zero"]),
        checksum=int(known["checksum"]),
        name=known["name"],
    )


def _signal(header: Path, number: int, leads: list[Lead], samples: int | None) -> NDArray[np.floating]:
    """One lead in mV (T,), all of whose samples are there and have the sum that the header states."""
    import wfdb

    room(header, number, leads, samples)
    record = wfdb.rdrecord(str(header.with_suffix("")), channels=[number], physical=False)
    compare_sum(number, leads[number], int(record.d_signal.sum()))
    signal = record.dac()[:, 0]
    if not np.isfinite(signal).all():
        raise ValueError(f"samples of lead {number + 1} are missing")
    return signal


def room(header: Path, number: int, leads: list[Lead], samples: int | None) -> int:
    """Samples of a lead, as the header says or as its file has room for; a ValueError where the two do not fit."""
    lead, path = leads[number], header.with_name(leads[number].file)
    beside = [each for each in leads if each.file == lead.file]
    first = leads.index(beside[0])
    if leads[first : first + len(beside)] != beside or len({(each.format, each.offset) for each in beside}) > 1:
        raise ValueError(f"the leads in {lead.file} differ in format or offset, or stand apart")
    most = int((_size(path) - lead.offset) / (sum(each.frame for each in beside) * BYTES[lead.format]))
    if not 0 < (most if samples is None else samples) <= most:
        raise ValueError(f"{lead.file} has room for {most} samples of each lead, the header says {samples}")
    return most if samples is None else samples


def compare_sum(number: int, lead: Lead, total: int) -> None:
    """A ValueError where the samples of a lead do not have the sum of the header."""
    if lead.checksum and lead.frame == 1 and (total - lead.checksum) % 2**16:
        raise ValueError(f"lead {number + 1} in {lead.file} does not have the checksum {lead.checksum} of the header")


def annotations(header: Path, rate_hz: float, samples: int, ending: str = "atr") -> tuple[list[str], NDArray[np.int64]]:
    """Symbols and sample numbers, in order and inside of a signal of that many samples."""
    import wfdb

    path = header.with_suffix(f".{ending}")
    if not _content(path, LARGEST_ANNOTATIONS).endswith(b"\0\0"):
        raise ValueError(f"{path.name} is cut off")
    annotation: Any = wfdb.rdann(str(header.with_suffix("")), ending)
    places = annotation.sample
    assumed = () if len(_lines(header)[0].split()) > 2 else (DEFAULT_HZ,)  # by wfdb, where neither file states a rate
    if annotation.fs not in (None, rate_hz, *assumed):
        raise ValueError(f"they are timed at {annotation.fs} Hz, the signal at {rate_hz:g} Hz")
    if (np.diff(places) < 0).any():
        raise ValueError("they are not in the order of time")
    if len(places) and not 0 <= places[0] <= places[-1] < samples:
        raise ValueError(f"they reach from sample {places[0]} to {places[-1]}, the signal has {samples}")
    return annotation.symbol, places


def not_mat_5(path: Path) -> None:
    """A ValueError for a MAT file whose samples do not stand at a fixed place in it, as those of version 4 do."""
    if path.suffix == ".mat" and path.is_file():
        with open(path, "rb") as file:
            if file.read(len(MAT_5)) == MAT_5:
                raise ValueError(f"{path.name} is a MAT file of version 5; saved as version 4 (-v4) it is read")


def _content(path: Path, most: int) -> bytes:
    if _size(path) > most:
        raise ValueError(f"{path.name} has more than {most} bytes")
    return path.read_bytes()


def _size(path: Path) -> int:
    """Bytes of a file; a pipe, which would be waited for, is none."""
    if not path.is_file():
        raise ValueError(f"{path.name} is missing or no plain file")
    return path.stat().st_size
