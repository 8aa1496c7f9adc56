"""EDF, EDF+, BDF and BDF+ files open as recordings, read in pieces through the package edfio; each signal has its own
rate.

What the header of an EDF or BDF file states, checked by field before edfio reads the file: `read(path)` gives a
`Header`.

Kemp et al., Electroenceph Clin Neurophysiol 82:391-393, 1992; Kemp & Olivan, Clin Neurophysiol 114:1755-1761, 2003.
"""

import math
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.formats import units
from loaders.formats.recording import Recording
from loaders.formats.wfdb import naming
from toolbox.ecg.gaps import Signal
from toolbox.errors import ResourceError

EDF, BDF = b"0       ", b"\xffBIOSEMI"
FIXED, OF_A_SIGNAL = 256, 256  # bytes of a header
# Bytes of each field: of the file after its version and of a signal, whose fields stand together.
FILE = {
    "patient": 80,
    "recording": 80,
    "date": 8,
    "time": 8,
    "bytes": 8,
    "reserved": 44,
    "records": 8,
    "duration": 8,
    "signals": 4,
}
SIGNAL = {"label": 16, "transducer": 80, "unit": 8, "physical minimum": 8, "physical maximum": 8, "digital minimum": 8}
SIGNAL |= {"digital maximum": 8, "prefilter": 80, "samples": 8, "reserved": 32}
LONGEST_S = 31 * 86400  # of an interrupted recording, pauses and all
ONSET = re.compile(rb"([+-]\d{1,12}(?:\.\d{1,12})?)(?:\x15\d[\d.]*)?\x14")


@dataclass(frozen=True)
class Header:
    """A file's header: whether it is BDF, seconds of a data record, and the fields of each signal as text.

    `records` are the whole ones that the file has, `stated` is their number as the header has it, `left` bytes follow
    them.
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
        """What the length of the file says against the header."""
        if self.left or (self.stated != -1 and self.stated != self.records):
            stated = "an unknown number of" if self.stated == -1 else str(self.stated)
            what = f"its header states {stated} data records, the file has {self.records} whole ones"
            return (f"{self.path.name} was cut off or not closed: {what}, which are read",)
        return ()

    @property
    def is_discontinuous(self) -> bool:
        """Whether the header says that there are pauses between data records."""
        return self.reserved.startswith(("EDF+D", "BDF+D"))

    @cached_property
    def samples(self) -> tuple[int, ...]:
        """Samples of each signal in a data record."""
        return tuple(int(signal["samples"]) for signal in self.signals)

    def scale(self, number: int) -> None:
        """Raise ValueError where the physical or digital range of a signal is no range."""
        signal, ends = self.signals[number], {}
        for name in ("physical minimum", "physical maximum", "digital minimum", "digital maximum"):
            try:
                ends[name] = float(signal[name])
            except ValueError:
                ends[name] = math.nan
            if not math.isfinite(ends[name]):
                raise ValueError(f"the {name} of signal {signal['label']!r} is {signal[name]!r}, no number")
        for kind in ("physical", "digital"):
            low, high = ends[f"{kind} minimum"], ends[f"{kind} maximum"]
            if low == high or (kind == "digital" and low > high):
                raise ValueError(
                    f"the {kind} range of signal {signal['label']!r} is {low:g} to {high:g}, which is empty"
                )

    def onsets_s(self) -> NDArray[np.float64] | None:
        """When each data record begins (R,), as its first annotation says; None where the file does not tell.

        Raises ValueError where it has pauses and a record does not say when it begins.
        """
        place = next(
            (k for k, signal in enumerate(self.signals) if signal["label"] in ("EDF Annotations", "BDF Annotations")),
            None,
        )
        if place is None:
            if self.is_discontinuous:
                raise ValueError("it has pauses (EDF+D), and no signal EDF Annotations that tells when")
            return None
        width = 3 if self.is_bdf else 2
        whole, first = width * sum(self.samples), width * sum(self.samples[:place])
        offset = FIXED + OF_A_SIGNAL * len(self.signals)
        content = np.memmap(self.path, np.uint8, "r", offset=offset, shape=(self.records, whole))
        notes = np.ascontiguousarray(content[:, first : first + width * self.samples[place]])
        found = [ONSET.match(row.tobytes()) for row in notes]
        if all(found):
            return np.array([float(each[1]) for each in found if each])
        if self.is_discontinuous:
            raise ValueError(
                f"it has pauses (EDF+D), and data record {found.index(None) + 1} does not tell when it begins"
            )
        return None


def read_header(path: Path) -> Header:
    """The header of a file; raises ValueError that names the field, OSError."""
    with open(path, "rb") as file:
        head = file.read(FIXED)
        if head[:8] not in (EDF, BDF) or len(head) < FIXED:
            raise ValueError("it does not begin as an EDF or BDF file")
        fields = _fields(head[8:].decode("latin-1"), FILE, 1)[0]
        count = _whole(fields["signals"], "number of signals", least=1)
        if _whole(fields["bytes"], "number of header bytes") != FIXED + count * OF_A_SIGNAL:
            raise ValueError(
                f"its header of {count} signals has {fields['bytes']} bytes, not {FIXED + count * OF_A_SIGNAL}"
            )
        raw = file.read(count * OF_A_SIGNAL)
    if len(raw) < count * OF_A_SIGNAL:
        raise ValueError("its header is cut off")
    encoding = _encoding(raw)
    signals = tuple(_fields(raw, SIGNAL, count, encoding))
    stated = _whole(fields["records"], "number of data records", least=-1)
    duration_s = _duration(fields["duration"], signals)
    width = 3 if head[:8] == BDF else 2
    each = width * sum(
        _whole(signal["samples"], f"samples of signal {signal['label']!r}", least=1) for signal in signals
    )
    records, left = divmod(path.stat().st_size - FIXED - count * OF_A_SIGNAL, each)
    if not records:
        raise ValueError("it has no whole data record")
    return Header(path, head[:8] == BDF, encoding, fields["reserved"], duration_s, stated, records, left, signals)


def _fields(content: Any, widths: dict[str, int], count: int, encoding: str = "") -> list[dict[str, str]]:
    """The fields of `count` signals from text or bytes; all of one field stand together."""
    found, first = [{} for _ in range(count)], 0
    for name, width in widths.items():
        for own in found:
            piece = content[first : first + width]
            own[name] = (piece.decode(encoding, errors="replace") if encoding else piece).strip(" \0")
            first += width
    return found


def _encoding(content: bytes) -> str:
    for encoding in ("ascii", "utf-8"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def _whole(text: str, what: str, least: int = 0) -> int:
    if not re.fullmatch(r"-?\d{1,8}", text) or int(text) < least:
        raise ValueError(f"the {what} is {text!r}")
    return int(text)


def _duration(text: str, signals: tuple[dict[str, str], ...]) -> float:
    try:
        duration_s = float(text)
    except ValueError:
        duration_s = math.nan
    if not 0 < duration_s < math.inf:
        only = all(signal["label"].endswith("Annotations") for signal in signals)
        raise ValueError(
            "it has annotations only, and no signal" if only else f"a data record has a duration of {text!r} s"
        )
    return duration_s


HINT = "a whole copy of the file, or that field mended"
APART_S = 1e-3  # between two data records, from which on there is a pause


def open_edf(path: Path) -> Recording:
    """The signals of a file that are in volts, or in steps of a converter. Raises DataError, ResourceError."""
    try:
        import edfio
    except ModuleNotFoundError as error:
        raise ResourceError(
            "EDF files are read with the package edfio", where=str(path), hint="pip install edfio"
        ) from error
    with naming(path, "EDF", HINT):
        header = read_header(path)
        edf = _opened(edfio, header)
        numbers = [k for k, signal in enumerate(header.signals) if _is_electric(signal)]
        if not numbers:
            raise ValueError(f"no signal is in volts: {', '.join(map(_in_unit, header.signals))[:200]}")
        runs = _runs(header)
    signals = {k: signal for k, signal in zip(_ordinary(header), edf.signals, strict=True) if k in numbers}
    rates = {k: header.samples[k] / header.duration_s for k in numbers}
    ends = {k: _placed(runs, rates[k], header.samples[k]) for k in numbers}

    def read(k: int, first: int, last: int) -> Signal:
        with naming(path, "EDF", HINT):
            number = numbers[k]
            factor = units.millivolts(header.signals[number]["unit"]) or 1.0
            return factor * _piece(signals[number], rates[number], ends[number], first, last)

    def check(k: int) -> None:
        with naming(path, "EDF", HINT):
            header.scale(numbers[k])

    stated = tuple(header.signals[k]["unit"] for k in numbers)
    shapes = tuple((rates[k], int(ends[k][-1, 0] + ends[k][-1, 2])) for k in numbers)
    return Recording(
        path,
        path.stem,
        tuple(header.signals[k]["label"] or f"lead {k + 1}" for k in numbers),
        *shapes[0],
        read,
        check,
        _start(edf),
        doubts=header.doubts,
        unit_unknown=frozenset(k for k, unit in enumerate(stated) if units.millivolts(unit) is None),
        units=stated,
        shapes=shapes,
    )


def _opened(edfio: ModuleType, header: Header) -> Any:
    """The file as edfio has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the length, which the header is held against already
        if header.is_bdf:
            return edfio.read_bdf(header.path, header_encoding=header.encoding)
        return edfio.read_edf(header.path, lazy_load_data=True, header_encoding=header.encoding)


def _ordinary(header: Header) -> list[int]:
    """The places of the signals that edfio gives: all but annotations."""
    kind = "BDF" if header.is_bdf else "EDF"
    return [k for k, signal in enumerate(header.signals) if signal["label"] != f"{kind} Annotations"]


def _is_electric(signal: dict[str, str]) -> bool:
    unit = signal["unit"]
    is_signal = not signal["label"].endswith("Annotations")
    return is_signal and (units.millivolts(unit) is not None or units.is_arbitrary(unit))


def _in_unit(signal: dict[str, str]) -> str:
    return f"{signal['label']} in {signal['unit'] or 'no unit'}"


def _runs(header: Header) -> NDArray[np.float64]:
    """Data records without a pause between them (R, 3): seconds of their begin, the first of them, how many."""
    onsets_s = header.onsets_s()
    if onsets_s is None:
        return np.array([[0.0, 0, header.records]])
    onsets_s = onsets_s - onsets_s[0]
    after_s = np.diff(onsets_s) - header.duration_s
    if len(after_s) and after_s.min() < -APART_S:
        number = int(after_s.argmin()) + 2
        raise ValueError(f"data record {number} begins at {onsets_s[number - 1]:g} s, before the one before it ends")
    if onsets_s[-1] > LONGEST_S:
        raise ValueError(
            f"its data records are spread over {onsets_s[-1] / 86400:.0f} days, at most {LONGEST_S // 86400} are read"
        )
    first = np.flatnonzero(np.r_[True, after_s > APART_S])
    return np.stack([onsets_s[first], first, np.diff(np.r_[first, header.records])], axis=1)


def _placed(runs: NDArray[np.float64], rate_hz: float, each: int) -> NDArray[np.int64]:
    """Runs (R, 3) of a signal: their first sample in the recording and in the file, and how many samples they have."""
    places = np.stack([np.round(runs[:, 0] * rate_hz), runs[:, 1] * each, runs[:, 2] * each], axis=1).astype(np.int64)
    for k in range(1, len(places)):  # a rounded begin may lie in the run before
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
    with suppress(ValueError):  # left out, as it says who was recorded
        return edf.startdatetime
    return None
