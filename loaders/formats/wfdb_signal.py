"""The samples of a WFDB record, read by wfdb in pieces: `signal = of(header, wanted)`, `signal.read(k, first, last)`.

The header is compared with the size of the files before wfdb allocates memory. Formats are in signal(5).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.formats import wfdb_header
from loaders.formats.lead_names import millivolts
from loaders.formats.wfdb_header import Segment, WfdbHeader, WfdbLead, size_of
from toolbox.ecg.gaps import BLOCK

# Bytes and samples of a group, by format; a compressed file states its own length.
PACKED = {"8": (1, 1), "16": (2, 1), "24": (3, 1), "32": (4, 1), "61": (2, 1), "80": (1, 1), "160": (2, 1)}
PACKED |= {"212": (3, 2), "310": (4, 3), "311": (4, 3)}
DIFFERENCES = "8"  # each sample is the difference to the one before, so a file is read from its first sample
BIG_ENDIAN = "61"  # wfdb gives no steps of this format
# Formats whose samples numpy reads as they lie, and the step of 0: much faster than wfdb, which reads the header again
# for each piece. Format 212 is read here too (`_pairs`).
PLAIN = {"16": ("<i2", 0), "61": (">i2", 0), "32": ("<i4", 0), "80": ("u1", 2**7), "160": ("<u2", 2**15)}
PAIRS = "212"
# The step of a missing sample.
MISSING = {"16": -(2**15), "61": -(2**15), "32": -(2**31), "80": -(2**7), "160": -(2**15), "24": -(2**23)}
MISSING |= {"212": -(2**11), "310": -(2**9), "311": -(2**9)}
MISSING |= {"508": -(2**7), "516": -(2**15), "524": -(2**23)}
MATLAB = b"MATLAB "
MENDED = "r"
Digital = NDArray[np.integer]


def room(header: Path, number: int, leads: Sequence[WfdbLead], samples: int | None) -> int:
    """Frames of a lead: the stated `samples`, or all in its file. Raises ValueError if the two do not fit."""
    lead, path = leads[number], header.with_name(leads[number].file)
    same = [each for each in leads if each.file == lead.file]
    first = leads.index(same[0])
    if list(leads[first : first + len(same)]) != same or len({(each.format, each.offset) for each in same}) > 1:
        raise ValueError(f"the leads in {lead.file} differ in format or offset, or stand apart")
    if lead.format in PACKED:
        of_bytes, of_samples = PACKED[lead.format]
        frame = sum(each.frame for each in same)
        most = (size_of(path) - lead.offset) * of_samples // (frame * of_bytes)
    else:
        most = (_compressed(path) - lead.offset) // lead.frame
    found = most if samples is None else samples
    if most < 1:
        raise ValueError(f"{lead.file} has no whole sample of each lead")
    if not 0 < found <= most:
        raise ValueError(f"{lead.file} has room for {most} samples of each lead, the header says {samples}")
    if (skew := max(each.skew for each in same)) >= found:
        raise ValueError(f"lead {number + 1} is skewed by {skew} samples of {found}")
    return found


def _compressed(path: Path) -> int:
    """Samples of each channel in a FLAC file."""
    import soundfile

    size_of(path)
    try:
        return soundfile.info(str(path)).frames
    except RuntimeError as error:
        raise ValueError(f"{path.name} is no FLAC file: {error}") from error


def not_mat_5(path: Path) -> None:
    """Raise ValueError for a MAT file above version 4: its samples have no fixed place in the file."""
    if path.suffix.lower() == ".mat" and path.is_file():
        with open(path, "rb") as file:
            begin = file.read(len(MATLAB) + 3)
        if begin.startswith(MATLAB):
            version = begin[len(MATLAB) :].decode("ascii", errors="replace").removesuffix(".0")
            raise ValueError(f"{path.name} is a MAT file of version {version}; saved as version 4 (-v4) it is read")


def compare_sum(number: int, lead: WfdbLead, total: int) -> None:
    """Raise ValueError if the sum of a lead's samples is not the checksum of the header."""
    if lead.checksum and (total - lead.checksum) % 2**16:
        raise ValueError(f"lead {number + 1} in {lead.file} does not have the checksum {lead.checksum} of the header")


def of(header: WfdbHeader, wanted: Sequence[int]) -> "Single | Segmented":
    """The signal of a record, with the leads `wanted`. Raises ValueError if header and files do not fit."""
    return Segmented(header) if header.segments else Single(header, wanted)


class Single:
    """The signal of a record in one piece, of `samples` frames; the leads `wanted` must exist."""

    def __init__(self, header: WfdbHeader, wanted: Sequence[int]) -> None:
        for lead in header.leads:
            not_mat_5(header.path.with_name(lead.file))
        found = {room(header.path, k, header.leads, header.samples) for k in wanted}
        if len(found) > 1:
            raise ValueError(f"its files have room for {' and '.join(map(str, sorted(found)))} samples")
        (self.samples,) = found
        self.leads = header.leads
        self._layouts = {k: layout for k in wanted if (layout := _Layout.of(header, k))}
        self._mended = None if header.is_plain else _mended(header, self.samples)
        self.path = str(header.path.with_suffix("")) if self._mended is None else f"{self._mended.name}/{MENDED}"
        self._whole = cache(partial(self._frames, first=0, last=self.samples))

    def read(self, k: int, first: int, last: int) -> NDArray[np.float64]:
        """Samples of a lead at its own rate, in mV or, if its unit is no voltage, in that unit; NaN if missing."""
        lead = self.leads[k]
        digital = self._digital(k, first, last, skewed=True)
        values = digital.astype(np.float64)
        values -= lead.zero
        values /= lead.gain
        values *= millivolts(lead.unit) or 1.0
        if lead.format in MISSING:
            values[digital == MISSING[lead.format]] = np.nan
        return values

    def check(self, k: int) -> None:
        """Raise ValueError if a lead does not have the sum in the header."""
        lead, total = self.leads[k], 0
        if lead.checksum:
            for first in range(0, self.samples, BLOCK):
                last = min(first + BLOCK, self.samples)
                total += int(self._digital(k, first * lead.frame, last * lead.frame, skewed=False).sum(dtype=np.int64))
            compare_sum(k, lead, total)

    def _digital(self, k: int, first: int, last: int, *, skewed: bool) -> Digital:
        frame = self.leads[k].frame
        if k in self._layouts:
            return self._layouts[k].read(first, last)
        if self.leads[k].format == DIFFERENCES:
            return self._whole(k, skewed=skewed)[first:last]
        begin, end = first // frame, -(-last // frame)
        return self._frames(k, first=begin, last=end, skewed=skewed)[first - begin * frame : last - begin * frame]

    def _frames(self, k: int, *, first: int, last: int, skewed: bool) -> Digital:
        import wfdb

        odd = self.leads[k].format == BIG_ENDIAN
        record = wfdb.rdrecord(
            self.path,
            channels=[k],
            sampfrom=first,
            sampto=last,
            physical=odd,
            smooth_frames=False,
            ignore_skew=not skewed,
        )
        if odd:
            steps = np.rint(record.e_p_signal[0] * record.adc_gain[0] + record.baseline[0])
            return np.nan_to_num(steps, nan=MISSING[BIG_ENDIAN]).astype(np.int64)
        return record.e_d_signal[0]


@dataclass(frozen=True)
class _Layout:
    """Where the samples of a lead lie in its file: `first` to `first + frame` of the `width` samples of each frame."""

    path: Path
    format: str
    offset: int
    first: int
    frame: int
    width: int

    @classmethod
    def of(cls, header: WfdbHeader, k: int) -> "_Layout | None":
        """The layout of a lead; None for a format that wfdb has to read, or a skewed lead."""
        lead = header.leads[k]
        same = [each for each in header.leads if each.file == lead.file]
        if lead.format not in {*PLAIN, PAIRS} or any(each.skew for each in same):
            return None
        first = sum(each.frame for each in header.leads[header.leads.index(same[0]) : k])
        width = sum(each.frame for each in same)
        return cls(header.path.with_name(lead.file), lead.format, lead.offset, first, lead.frame, width)

    def read(self, first: int, last: int) -> Digital:
        """The samples of the lead from `first` to `last`. Raises ValueError if the file has become shorter."""
        begin, end = first // self.frame, -(-last // self.frame)
        place, count = begin * self.width, (end - begin) * self.width
        inside = slice(first - begin * self.frame, last - begin * self.frame)
        if self.format == PAIRS:
            return self._of_pairs(place, count)[inside]
        dtype, zero = PLAIN[self.format]
        frames = self._stored(np.dtype(dtype), place, count).reshape(-1, self.width)
        samples = frames[:, self.first : self.first + self.frame].reshape(-1)[inside]
        return samples.astype(np.int32) - zero if zero else samples

    def _of_pairs(self, place: int, count: int) -> Digital:
        """Samples of the lead in `count` of the file from `place` on: two of twelve bits in three bytes."""
        odd = place % 2
        stored = self._stored(np.dtype("u1"), place // 2 * 3, -(-(odd + count) * 3 // 2))
        three = np.append(stored, np.zeros(-len(stored) % 3, np.uint8))
        if self.width % 2 == 0 and self.frame == 1:  # the lead is the first or the second of its pairs
            return _half(three, self.first % 2)[self.first // 2 :: self.width // 2]
        both = np.stack([_half(three, 0), _half(three, 1)], axis=1).reshape(-1)[odd : odd + count]
        return both.reshape(-1, self.width)[:, self.first : self.first + self.frame].reshape(-1)

    def _stored(self, dtype: np.dtype[Any], place: int, count: int) -> NDArray[Any]:
        found = np.fromfile(self.path, dtype, count, offset=self.offset + place * dtype.itemsize)
        if len(found) < count:
            raise ValueError(f"{self.path.name} has become shorter")
        return found


def _half(three: NDArray[np.uint8], which: int) -> NDArray[np.int16]:
    """The first or second sample of each pair, with its sign, from its two bytes of `three`."""
    two = np.ndarray(len(three) // 3, "<i2", three.data, which, (3,))
    return two << 4 >> 4 if which == 0 else (two & 0xF0) << 8 >> 4 | two >> 8 & 0xFF


def _mended(header: WfdbHeader, samples: int) -> tempfile.TemporaryDirectory[str]:
    """A folder with links to the signal files and a header with the same content that wfdb accepts."""
    folder = tempfile.TemporaryDirectory(prefix="wfdb-")
    links = {file: f"s{number}.dat" for number, file in enumerate(dict.fromkeys(lead.file for lead in header.leads))}
    for file, link in links.items():
        Path(folder.name, link).symlink_to(header.path.with_name(file).resolve())
    lines = [f"{MENDED} {len(header.leads)} {wfdb_header.LOWEST_HZ} {samples}"]  # wfdb does not use the rate
    for lead in header.leads:
        how = f"{lead.format}x{lead.frame}:{lead.skew}+{lead.offset}"
        lines.append(f"{links[lead.file]} {how} {wfdb_header.DEFAULT_GAIN} 0 {lead.zero} {lead.first} 0 0 lead")
    Path(folder.name, f"{MENDED}.hea").write_text("\n".join([*lines, ""]))
    return folder


class Segmented:
    """The signal of a record of segments: all with the same leads, or each with some of the leads of a layout."""

    def __init__(self, header: WfdbHeader) -> None:
        self.samples = sum(segment.samples for segment in header.segments)
        if header.samples not in (None, self.samples):
            raise ValueError(f"its segments have {self.samples} samples, the header says {header.samples}")
        starts = np.cumsum([0, *(segment.samples for segment in header.segments)])[:-1].tolist()
        named = [pair for pair in zip(starts, header.segments, strict=True) if pair[1].name != "~"]
        parts = [(start, _part(header, segment)) for start, segment in named]
        if not any(part.samples for _, part in parts):
            raise ValueError("none of its segments has a signal")
        described, layout = parts[0][1].leads, parts[0][1].is_layout
        self._parts = [_Part(start, part, described, layout) for start, part in parts if not part.is_layout]
        self.leads = tuple(self._lead(k, lead) for k, lead in enumerate(described))

    def _lead(self, k: int, lead: WfdbLead) -> WfdbLead:
        """The description of a lead in its segments. Raises ValueError if they differ."""
        same = [part.signal.leads[i] for part in self._parts if (i := part.places[k]) is not None]
        if len({each.frame for each in same}) > 1:
            raise ValueError(f"its segments differ in the samples a frame of lead {lead.name}")
        if len({millivolts(each.unit) is None for each in same}) > 1:
            units = " and ".join(sorted({each.unit for each in same}))
            raise ValueError(f"lead {lead.name} is in {units} in its segments")
        calibrated = all(each.is_calibrated for each in same)
        return replace(same[0], name=lead.name, is_calibrated=calibrated) if same else lead

    def read(self, k: int, first: int, last: int) -> NDArray[np.float64]:
        """As `Single.read`; NaN in a pause, and in a segment without the lead."""
        frame, signal = self.leads[k].frame, np.full(last - first, np.nan)
        for part in self._parts:
            start, place = part.start * frame, part.places[k]
            begin, end = max(first, start), min(last, start + part.signal.samples * frame)
            if begin < end and place is not None:
                signal[begin - first : end - first] = part.signal.read(place, begin - start, end - start)
        return signal

    def check(self, k: int) -> None:
        """As `Single.check`, of each segment."""
        for part in self._parts:
            if (place := part.places[k]) is not None:
                part.signal.check(place)


class _Part:
    """A segment from the frame `start` on: its signal, and the place in it of each lead of the record, or None."""

    def __init__(self, start: int, header: WfdbHeader, leads: Sequence[WfdbLead], layout: bool) -> None:
        self.start = start
        names = [lead.name for lead in header.leads]
        if not layout and names != [lead.name for lead in leads]:
            raise ValueError(f"its segments differ in their leads: {', '.join(names)[:120]} in {header.path.stem}")
        by_name = [names.index(lead.name) if lead.name in names else None for lead in leads]
        self.places = by_name if layout else range(len(leads))
        self.signal = Single(header, range(len(names)))


def _part(record: WfdbHeader, segment: Segment) -> WfdbHeader:
    try:
        part = wfdb_header.read(record.path.with_name(f"{segment.name}.hea"))
        if part.segments:
            raise ValueError("it is made of segments too")
        if not part.is_layout and (part.rate_hz, part.samples) != (record.rate_hz, segment.samples):
            what = f"{part.samples} samples at {part.rate_hz} Hz, not {segment.samples} at {record.rate_hz} Hz"
            raise ValueError(f"its header says {what}")
    except ValueError as error:
        raise ValueError(f"segment {segment.name}: {error}") from error
    return part
