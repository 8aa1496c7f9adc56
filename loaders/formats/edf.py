"""EDF, EDF+, BDF and BDF+ files open as recordings, read in pieces through the package edfio.

The header is checked by field before edfio reads the file: `read_header(path)` gives an `EdfHeader`. Each signal has
its own rate.

Kemp et al., Electroenceph Clin Neurophysiol 82:391-393, 1992; Kemp & Olivan, Clin Neurophysiol 114:1755-1761, 2003.
"""

import math
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.formats import lead_names
from loaders.formats.recording import Recording
from loaders.formats.wfdb import naming
from toolbox.ecg.gaps import Signal
from toolbox.errors import ResourceError

EDF, BDF = b"0       ", b"\xffBIOSEMI"
FIXED, OF_A_SIGNAL = 256, 256  # bytes of a header
# Bytes of each field: of the file after its version, and of a signal; a field of all signals is stored together.
FILE = {"patient": 80, "recording": 80, "date": 8, "time": 8, "bytes": 8, "reserved": 44}
FILE |= {"records": 8, "duration": 8, "signals": 4}
SIGNAL = {"label": 16, "transducer": 80, "unit": 8, "physical minimum": 8, "physical maximum": 8, "digital minimum": 8}
SIGNAL |= {"digital maximum": 8, "prefilter": 80, "samples": 8, "reserved": 32}
LONGEST_S = 31 * 86400  # of an interrupted recording, pauses included
APART_S = 1e-3  # between two data records: above it there is a pause
ONSET = re.compile(rb"([+-]\d{1,12}(?:\.\d{1,12})?)(?:\x15\d[\d.]*)?\x14")
HINT = "a whole copy of the file, or that field mended"


@dataclass(frozen=True)
class EdfHeader:
    """A file's header: whether it is BDF, seconds of a data record, and the fields of each signal as text.

    The file has `records` whole data records, the header states `stated`; `left` bytes follow them.
    """

    path: Path
    is_bdf: bool
    encoding: str
    reserved: str
    duration_s: float
    stated: int
    records: int
    left: int
    signals: tuple[dict[str, str], ...]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Differences between the header and the length of the file."""
        if not self.left and self.stated in (-1, self.records):
            return ()
        stated = "an unknown number of" if self.stated == -1 else str(self.stated)
        what = f"its header states {stated} data records, the file has {self.records} whole ones"
        return (f"{self.path.name} was cut off or not closed: {what}, which are read",)

    @property
    def annotations(self) -> list[int]:
        own = f"{'BDF' if self.is_bdf else 'EDF'} Annotations"
        return [k for k, signal in enumerate(self.signals) if signal["label"] == own]

    def samples(self, number: int) -> int:
        """Samples of a signal in a data record."""
        return int(self.signals[number]["samples"])

    def check_ranges(self, number: int) -> None:
        """Raise ValueError if the physical or digital range of a signal is empty or no range."""
        signal = self.signals[number]
        for kind in ("physical", "digital"):
            low, high = (_number(signal, f"{kind} {end}") for end in ("minimum", "maximum"))
            if low == high or (kind == "digital" and low > high):
                what = f"the {kind} range of signal {signal['label']!r}"
                raise ValueError(f"{what} is {low:g} to {high:g}, which is empty")

    def onsets_s(self) -> NDArray[np.float64] | None:
        """The start of each data record (R,), from its first annotation; None if the file does not state them.

        Raises ValueError for a file with pauses and a record without its start.
        """
        has_pauses = self.reserved.startswith(("EDF+D", "BDF+D"))
        if not self.annotations:
            if has_pauses:
                raise ValueError("it has pauses (EDF+D), and no signal EDF Annotations with their times")
            return None
        place, width = self.annotations[0], 3 if self.is_bdf else 2
        ends = width * np.cumsum([0, *(self.samples(k) for k in range(len(self.signals)))])
        offset = FIXED + OF_A_SIGNAL * len(self.signals)
        content = np.memmap(self.path, np.uint8, "r", offset=offset, shape=(self.records, int(ends[-1])))
        notes = np.ascontiguousarray(content[:, ends[place] : ends[place + 1]])
        found = [ONSET.match(row.tobytes()) for row in notes]
        if all(found):
            return np.array([float(each[1]) for each in found if each])
        if has_pauses:
            number = found.index(None) + 1
            raise ValueError(f"it has pauses (EDF+D), and data record {number} does not state its start")
        return None


def read_header(path: Path) -> EdfHeader:
    """The header of a file. Raises ValueError that names the field, OSError."""
    with open(path, "rb") as file:
        head = file.read(FIXED)
        if head[:8] not in (EDF, BDF) or len(head) < FIXED:
            raise ValueError("it does not start as an EDF or BDF file")
        (fields,) = _fields(head[8:].decode("latin-1"), FILE, 1)
        count = _whole(fields["signals"], "number of signals", least=1)
        length = count * OF_A_SIGNAL
        if _whole(fields["bytes"], "number of header bytes") != FIXED + length:
            raise ValueError(f"its header of {count} signals has {fields['bytes']} bytes, not {FIXED + length}")
        raw = file.read(length)
    if len(raw) < length:
        raise ValueError("its header is cut off")
    encoding = _encoding(raw)
    signals = tuple(_fields(raw, SIGNAL, count, encoding))
    stated = _whole(fields["records"], "number of data records", least=-1)
    duration_s, width = _duration(fields["duration"], signals), 3 if head[:8] == BDF else 2
    samples = [_whole(signal["samples"], f"samples of signal {signal['label']!r}", least=1) for signal in signals]
    records, left = divmod(path.stat().st_size - FIXED - length, width * sum(samples))
    if not records:
        raise ValueError("it has no whole data record")
    return EdfHeader(path, head[:8] == BDF, encoding, fields["reserved"], duration_s, stated, records, left, signals)


def _fields(content: Any, widths: dict[str, int], count: int, encoding: str = "") -> list[dict[str, str]]:
    """The fields of `count` signals from text or bytes, stored field by field."""
    found: list[dict[str, str]] = [{} for _ in range(count)]
    first = 0
    for name, width in widths.items():
        for own in found:
            piece = content[first : first + width]
            own[name] = (piece.decode(encoding, errors="replace") if encoding else piece).strip(" \0")
            first += width
    return found


def _encoding(content: bytes) -> str:
    for encoding in ("ascii", "utf-8"):
        with suppress(UnicodeDecodeError):
            content.decode(encoding)
            return encoding
    return "latin-1"


def _whole(text: str, what: str, least: int = 0) -> int:
    if not re.fullmatch(r"-?\d{1,8}", text) or int(text) < least:
        raise ValueError(f"the {what} is {text!r}")
    return int(text)


def _number(signal: dict[str, str], field: str) -> float:
    with suppress(ValueError):
        if math.isfinite(value := float(signal[field])):
            return value
    raise ValueError(f"the {field} of signal {signal['label']!r} is {signal[field]!r}, no number")


def _duration(text: str, signals: tuple[dict[str, str], ...]) -> float:
    with suppress(ValueError):
        if 0 < (duration_s := float(text)) < math.inf:
            return duration_s
    if all(signal["label"].endswith("Annotations") for signal in signals):
        raise ValueError("it has annotations only, and no signal")
    raise ValueError(f"a data record has a duration of {text!r} s")


def open_edf(path: Path) -> Recording:
    """The signals of a file in volts, or in steps of a converter. Raises DataError, ResourceError."""
    try:
        import edfio  # noqa: F401
    except ModuleNotFoundError as error:
        raise ResourceError("EDF files need the package edfio", where=str(path), hint="pip install edfio") from error
    with naming(path, "EDF", HINT):
        header = read_header(path)
        edf, numbers, runs = _opened(header), _electric(header), _runs(header)
    ordinary = [k for k in range(len(header.signals)) if k not in header.annotations]
    signals = dict(zip(ordinary, edf.signals, strict=True))
    rates = {k: header.samples(k) / header.duration_s for k in numbers}
    ends = {k: _placed(runs, rates[k], header.samples(k)) for k in numbers}

    def read(lead: int, first: int, last: int) -> Signal:
        with naming(path, "EDF", HINT):
            k = numbers[lead]
            factor = lead_names.millivolts(header.signals[k]["unit"]) or 1.0
            return factor * _piece(signals[k], rates[k], ends[k], first, last)

    def check(lead: int) -> None:
        with naming(path, "EDF", HINT):
            header.check_ranges(numbers[lead])

    shapes = tuple((rates[k], int(ends[k][-1, 0] + ends[k][-1, 2])) for k in numbers)
    return Recording(
        path,
        leads=tuple(header.signals[k]["label"] or f"lead {k + 1}" for k in numbers),
        units=tuple(header.signals[k]["unit"] for k in numbers),
        shapes=shapes,
        rate_hz=shapes[0][0],
        samples=shapes[0][1],
        read=read,
        check=check,
        start=_start(edf),
        doubts=header.doubts,
    )


def _opened(header: EdfHeader) -> Any:
    import edfio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the length, which `EdfHeader.doubts` reports
        if header.is_bdf:
            return edfio.read_bdf(header.path, header_encoding=header.encoding)
        return edfio.read_edf(header.path, lazy_load_data=True, header_encoding=header.encoding)


def _electric(header: EdfHeader) -> list[int]:
    """The places of the signals in volts or in steps. Raises ValueError if there are none."""
    signals = {k: signal for k, signal in enumerate(header.signals) if not signal["label"].endswith("Annotations")}
    if found := [k for k, signal in signals.items() if lead_names.is_electric(signal["unit"])]:
        return found
    there = ", ".join(f"{signal['label']} in {signal['unit'] or 'no unit'}" for signal in header.signals)
    raise ValueError(f"no signal is in volts: {there[:200]}")


def _runs(header: EdfHeader) -> NDArray[np.float64]:
    """Runs of data records without a pause (R, 3): start in s, number of the first record, number of records."""
    onsets_s = header.onsets_s()
    if onsets_s is None:
        return np.array([[0.0, 0, header.records]])
    onsets_s = onsets_s - onsets_s[0]
    after_s = np.diff(onsets_s) - header.duration_s
    if len(after_s) and after_s.min() < -APART_S:
        number = int(after_s.argmin()) + 2
        raise ValueError(f"data record {number} starts at {onsets_s[number - 1]:g} s, before record {number - 1} ends")
    if onsets_s[-1] > LONGEST_S:
        days = f"{onsets_s[-1] / 86400:.0f} days, at most {LONGEST_S // 86400} are read"
        raise ValueError(f"its data records are spread over {days}")
    first = np.flatnonzero(np.r_[True, after_s > APART_S])
    return np.stack([onsets_s[first], first, np.diff(np.r_[first, header.records])], axis=1)


def _placed(runs: NDArray[np.float64], rate_hz: float, each: int) -> NDArray[np.int64]:
    """Runs (R, 3) of a signal: their first sample in the recording and in the file, and their number of samples."""
    places = np.stack([np.round(runs[:, 0] * rate_hz), runs[:, 1] * each, runs[:, 2] * each], axis=1).astype(np.int64)
    for k in range(1, len(places)):  # a rounded start may lie in the run before
        places[k, 0] = max(places[k, 0], places[k - 1, 0] + places[k - 1, 2])
    return places


def _piece(signal: Any, rate_hz: float, runs: NDArray[np.int64], first: int, last: int) -> NDArray[np.float64]:
    """Samples of a signal, NaN in the pauses between its runs."""
    piece = np.full(last - first, np.nan)
    for start, stored, count in runs[(runs[:, 0] < last) & (runs[:, 0] + runs[:, 2] > first)]:
        begin, end = max(first, start), min(last, start + count)
        seconds = ((stored + begin - start) / rate_hz, (stored + end - start) / rate_hz)
        piece[begin - first : end - first] = signal.get_data_slice(*seconds)
    return piece


def _start(edf: Any) -> datetime | None:
    with suppress(ValueError):  # left out in anonymised files
        return edf.startdatetime
    return None
