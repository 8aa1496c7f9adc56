"""A WFDB header, see header(5) of the WFDB Applications Guide (physionet.org): `read(path)` gives a `WfdbHeader`.

Headers that wfdb reads correctly are accepted. Other spellings, such as a rate of `2.5e2`, are refused. Caches of
chapman keep the text of errors.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

LARGEST = 2**20  # bytes; of a record of a thousand segments less than 2**15
LOWEST_HZ, HIGHEST_HZ = 10, 100_000
LOWEST_FRAMES_HZ = 0.01  # of several samples a frame; an EDF that became WFDB may have a frame each 30 s
FORMATS = ("8", "16", "24", "32", "61", "80", "160", "212", "310", "311", "508", "516", "524")
DEFAULT_GAIN = 200.0
NUMBER = r"(?:\d{1,9}(?:\.\d{0,18})?|\.\d{1,18})"  # wfdb writes all digits of a float
RATE = re.compile(rf"({NUMBER})(?:/-?{NUMBER})?(?:\(-?{NUMBER}\))?")
LEAD = re.compile(
    r"(?P<file>\S+) (?P<format>\S+?)(?:x(?P<frame>[1-9]\d{0,5}))?(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,15}))?"
    rf"(?: (?P<gain>-?{NUMBER}(?:e[-+]?\d\d?)?)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?"
    r"(?: \d+)?(?: (?P<zero>-?\d+))?(?: (?P<first>-?\d+))?(?: (?P<checksum>-?\d{1,9}))?(?: (?P<block>\d+))?"
    r"(?: (?P<name>.+))?)?"
)
UNNUMBERED = re.compile(r"(?=\S*[^\W\d])\S+(?: (?=\S*[^\W\d])\S+)*")  # a name if fields before it are left out
LEAD_FIELDS = "file, format, gain, resolution, zero, first value, checksum, block size, name"
SEGMENT = re.compile(r"(?P<name>[-\w]+|~) (?P<samples>\d{1,15})")
CLOCKS = ("%H:%M:%S", "%H:%M:%S.%f", "%M:%S", "%M:%S.%f", "%S", "%S.%f")


@dataclass(frozen=True)
class WfdbLead:
    """The line of a lead: its file and format, samples per frame, delay in frames, first byte in the file, steps per
    unit, whether these are stated, the unit, the step of 0 units, its first step, 16 bits of its sum, its name."""

    file: str
    format: str
    frame: int
    skew: int
    offset: int
    gain: float
    is_calibrated: bool
    unit: str
    zero: int
    first: int
    checksum: int
    name: str


@dataclass(frozen=True)
class Segment:
    """A part of a record: the name of its own record, `~` for a pause, and its frames."""

    name: str
    samples: int


@dataclass(frozen=True)
class WfdbHeader:
    """A header: frames per second and frames, None if not stated, and leads, or segments instead.

    `start` is the time of the first sample, if time and date are stated. `is_plain` is true if wfdb accepts the header
    unchanged; `doubts` names impossible fields.
    """

    path: Path
    rate_hz: float | None
    samples: int | None
    leads: tuple[WfdbLead, ...]
    segments: tuple[Segment, ...]
    start: datetime | None
    is_plain: bool
    doubts: tuple[str, ...]

    @property
    def is_layout(self) -> bool:
        """Whether it only describes the leads of the segments after it."""
        return bool(self.leads) and all(lead.file == "~" for lead in self.leads)


def size_of(path: Path, most: float = float("inf")) -> int:
    """Bytes of a file. Raises ValueError above `most`, and for a pipe, which would block, or a missing file."""
    if not path.is_file():
        packed = path.with_name(f"{path.name}.gz")
        also = f"; {packed.name} is there, unpack it" if packed.is_file() else ""
        raise ValueError(f"{path.name} is missing or no plain file{also}")
    if path.stat().st_size > most:
        raise ValueError(f"{path.name} has more than {most} bytes")
    return path.stat().st_size


def read(path: Path) -> WfdbHeader:
    """The header in a file. Raises ValueError that names the field, OSError."""
    text = _text(path)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError("it is empty")
    name, number, rate, samples, *when = [*lines[0].split(), "", "", ""][: max(4, len(lines[0].split()))]
    segments = _segments(path, name, lines[1:])
    if not number.isdigit() or not 0 < int(number) == (int(number) if segments else len(lines) - 1):
        raise ValueError(f"the number of leads is {number[:40]!r}, {len(lines) - 1} are described")
    if samples and not samples.isdigit():
        raise ValueError(f"the number of samples is {samples[:40]!r}")
    leads = () if segments else tuple(_lead(i, line) for i, line in enumerate(lines[1:], 1))
    start, doubt = _start(when)
    plain = text.isascii() and not doubt and bool(samples) and int(samples) > 0 and ("/" not in name or bool(segments))
    rate_hz = frames_hz(rate, max((lead.frame for lead in leads), default=1))
    doubts = (doubt,) if doubt else ()
    return WfdbHeader(path, rate_hz, int(samples or 0) or None, leads, segments, start, plain, doubts)


def _text(path: Path) -> str:
    size_of(path, LARGEST)
    content = path.read_bytes()
    if b"\0" in content:
        raise ValueError("it is no text in ASCII or UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _segments(path: Path, name: str, lines: list[str]) -> tuple[Segment, ...]:
    """The segments of a record, none for a record in one piece. Raises ValueError for the header of another record."""
    own, _, number = name.rpartition("/")
    found = [SEGMENT.fullmatch(line) for line in lines]
    is_segmented = bool(own) and number.isdigit() and (all(found) or number != path.stem)
    stated = own if is_segmented else name.rpartition("/")[2]
    if stated != path.stem:
        raise ValueError(f"it is that of record {(own if is_segmented else name)[:40]!r}")
    if not is_segmented:
        return ()
    if not (all(found) and int(number) == len(found)):
        raise ValueError(f"it has {len(lines)} segments of {number[:40]} that it states")
    return tuple(Segment(each["name"], int(each["samples"])) for each in found if each)


def frames_hz(rate: str, frame: int = 1) -> float | None:
    """Frames per second, with up to `frame` samples of a lead each; None for "". Raises ValueError for another text."""
    if not rate:
        return None
    known = RATE.fullmatch(rate)
    lowest = LOWEST_HZ if frame == 1 else LOWEST_FRAMES_HZ
    if not (known and lowest <= float(known[1]) and float(known[1]) * frame <= HIGHEST_HZ):
        raise ValueError(f"the sampling rate is {rate[:40]!r}, it should be {LOWEST_HZ} to {HIGHEST_HZ} Hz")
    return float(known[1])


def _start(when: list[str]) -> tuple[datetime | None, str]:
    """The time of the first sample, None if time or date is not stated, and a doubt about a wrong one."""
    if not when:
        return None, ""
    clock, date = [*when, ""][:2]
    for form in CLOCKS:
        with suppress(ValueError):
            time = datetime.strptime(clock, form).time()
            day = datetime.strptime(date, "%d/%m/%Y") if date else None
            return (datetime.combine(day, time) if day and clock.count(":") == 2 else None), ""
    what = f"the header's time and date are {' '.join(when)[:40]!r}, not HH:MM:SS DD/MM/YYYY"
    return None, f"{what}: the start of the recording is unknown"


def _lead(number: int, line: str) -> WfdbLead:
    known = LEAD.fullmatch(line)
    if not known or (known["name"] and not known["block"] and not UNNUMBERED.fullmatch(known["name"])):
        raise ValueError(f"lead {number} is described as {line[:80]!r}, not as {LEAD_FIELDS}")
    file, form = known["file"], known["format"]
    if (file, form) != ("~", "0"):
        if not re.fullmatch(r"[-\w]+(\.\w+)?", file):
            raise ValueError(f"the signal file of lead {number} is {file[:40]!r}, no file name in its folder")
        if form not in FORMATS:
            raise ValueError(f"the format of lead {number} is {form[:40]!r}, not one of {' '.join(FORMATS)}")
    gain = float(known["gain"] or 0)
    return WfdbLead(
        file=file,
        format=form,
        frame=int(known["frame"] or 1),
        skew=int(known["skew"] or 0),
        offset=int(known["offset"] or 0),
        gain=gain or DEFAULT_GAIN,
        is_calibrated=bool(gain),
        unit=known["unit"] or "mV",
        zero=int(known["baseline"] or known["zero"] or 0),
        first=int(known["first"] or 0),
        checksum=int(known["checksum"] or 0),
        name=known["name"] or f"lead {number}",
    )
