"""The characters of a text table, plain or gzipped, in any usual encoding: `with opened(path) as text: text.head`.

pandas reads a `TableText` as it would a file. A binary file, a line without end and a gzip bomb are refused on the way.

A text file as bytes, unpacked where it is gzipped; a line or a content too large for a table is an error.
"""

import codecs
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from loaders.files.archives import MOST_RATIO, SMALL, reading
from toolbox.errors import DataError

BOMS = {  # the longer first: that of UTF-32 begins as that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
OTHER_FILES = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
}
ODD = str.maketrans(
    {"\u2212": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "}
)  # a minus sign, spaces of other widths
MANY_NULLS = 0.3  # of every second byte: the text has two bytes a character
GZIP_MAGIC = b"\x1f\x8b"
LONGEST_LINE = 2**24  # bytes or characters: a row of 100,000 samples has a million
HEAD = 2**16  # characters that are looked at first
HINT = "a text table with a column per lead and a row per sample"
END = re.compile(r"\r\n|\n|\r")
LONE_BLANK = re.compile(r"(?<=[^\n])\n\n(?=[^\n]|\Z)")


class TableText:
    """The text of a table from its `head` on; `skip(n)` leaves out the first n characters, `read` gives the rest to
    pandas.

    With `blank_rows` (a table of one column) a run of blank lines is rows without a value; single blank lines and those
    at the end are left out, and `lone_blanks` counts the single ones.
    """

    def __init__(self, handle: TextIO, path: Path, *, most: float) -> None:
        self.encoding = handle.encoding
        self.blank_rows, self.lone_blanks = False, 0
        self._handle, self._path, self._most = handle, path, most
        self._length = self._line = 0
        self._held = ""  # the last line read, with the line ends behind it
        self.head, self.is_whole = "", False
        while not self.is_whole and (len(self.head) < HEAD or self.head.count("\n") + self.head.count("\r") < 3):
            part = self._next(max(HEAD, len(self.head)))
            self.head, self.is_whole = self.head + part, not part
        self._ahead = self.head

    def skip(self, characters: int) -> None:
        """Begin behind the first `characters` of the head."""
        self._ahead = self._ahead[characters:]

    def __iter__(self) -> Iterator[str]:
        """The lines, without their ends."""
        kept = ""
        while part := self.read(HEAD):
            *lines, kept = END.split(kept + part)
            yield from lines
        if kept:
            yield kept

    def read(self, size: int = -1) -> str:
        """The next characters, about `size` of them; "" at the end."""
        part, self._ahead = self._ahead or self._next(size), ""
        if not self.blank_rows:
            return part
        part = self._held + part
        while part:
            start = (
                max(part.rstrip("\r\n").rfind(end) for end in "\r\n") + 1
            )  # of the last line, whose end may be to come
            if start:
                self._held = part[start:]
                return self._without_lone_blanks(part[:start])
            if not (more := self._next(size)):
                break
            part += more
        self._held = ""
        return part.rstrip("\r\n")

    def _without_lone_blanks(self, part: str) -> str:
        if "\r" in part:
            part = part.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")
        if "\n\n" not in part:
            return part
        part, count = LONE_BLANK.subn("\n", part)
        self.lone_blanks += count
        return part

    def _next(self, size: int) -> str:
        """The next characters of the file, looked over."""
        part = self._handle.read(size)
        self._length += len(part)
        end = max(part.rfind("\n"), part.rfind("\r"))
        self._line = len(part) - end - 1 if end >= 0 else self._line + len(part)
        if self._length > self._most:
            what = f"the gzip file unpacks to more than {self._most / 2**20:.0f} MB, {MOST_RATIO} times its size"
            raise DataError(what, where=str(self._path), hint="the file unpacked, if that is right")
        if self._line > LONGEST_LINE:
            raise DataError(f"a line has more than {LONGEST_LINE} characters", where=str(self._path), hint=HINT)
        if not part.isascii():
            part = part.translate(ODD)
        if "\0" in part:
            raise DataError("the file is binary, not a text table", where=str(self._path), hint=HINT)
        return part


@contextmanager
def opened(path: Path) -> Iterator[TableText]:
    """The text of a table. Raises DataError for what is no text or damaged, ResourceError for what may not be read."""
    with reading(path), open(path, "rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        raw = gzip.GzipFile(fileobj=file) if packed else file
        begin = raw.read(HEAD)
        raw.seek(0)
        if other := next((what for magic, what in OTHER_FILES.items() if begin.startswith(magic)), None):
            raise DataError(f"the file is {other}, not a text table", where=str(path), hint=f"a CSV: {HINT}")
        most = max(SMALL, MOST_RATIO * path.stat().st_size) if packed else float("inf")
        with io.TextIOWrapper(io.BufferedReader(raw), encoding_of(begin), errors="replace", newline="") as handle:
            yield TableText(handle, path, most=most)


def encoding_of(begin: bytes) -> str:
    """The encoding of a text that begins so: by its mark, its zero bytes, or whether it is UTF-8."""
    if name := next((name for mark, name in BOMS.items() if begin.startswith(mark)), None):
        return name
    pairs = len(begin) // 2
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if pairs and begin[first::2].count(0) > MANY_NULLS * pairs:
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(begin)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


CHUNK = 2**16


def text_stream(file: BinaryIO, where: str) -> BinaryIO:
    """`file` from its beginning, unpacked where it is gzipped; reading it raises DataError, with `where`, for a line or
    a content beyond the limits.

    A gzip is measured first, so that a bomb costs no more memory than a chunk.
    """
    file.seek(0)
    packed = file.read(2) == GZIP_MAGIC
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not packed:
        return _in_utf_8(io.BufferedReader(Limited(file, where), CHUNK), where)
    stream = io.BufferedReader(Limited(gzip.GzipFile(fileobj=file), where, most=max(SMALL, MOST_RATIO * size)), CHUNK)
    while stream.read(CHUNK):
        pass
    stream.seek(0)
    return _in_utf_8(stream, where)


def _in_utf_8(stream: io.BufferedReader, where: str) -> io.BufferedReader:
    """The same stream; DataError for one with two bytes or more a character."""
    encoding = encoding_of(stream.peek(HEAD)[:HEAD])
    if encoding.startswith(("utf-16", "utf-32")):
        name = encoding[:6].upper()
        raise DataError(
            f"the text is in {name}, not in UTF-8",
            where=f"{where}, line 1",
            hint=f"iconv -f {name} -t UTF-8 FILE > my.csv",
        )
    return stream


class Limited(io.RawIOBase):
    """A stream of which no line is longer than LONGEST_LINE, and all of it at most `most` bytes, where that is
    given."""

    def __init__(self, file: BinaryIO, where: str, *, most: int | None = None) -> None:
        self.file, self.where, self.most = file, where, most
        self.line = self.total = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True: parsers begin again to name a fault."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place; a line begins there."""
        self.line, self.total = 0, self.file.seek(offset, whence)
        return self.total

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer`; DataError where a limit is passed."""
        part = self.file.read(memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[: len(part)] = part
        end = max(part.rfind(b"\n"), part.rfind(b"\r"))
        self.line = len(part) - 1 - end if end >= 0 else self.line + len(part)
        self.total += len(part)
        if self.line > LONGEST_LINE:
            what = f"a line has over {LONGEST_LINE:,} bytes: no row of a table"
            raise DataError(what, where=self.where, hint="a row of samples a line")
        if self.most is not None and self.total > self.most:
            what = f"the gzip unpacks to over {self.most:,} bytes, more than {MOST_RATIO} times its size"
            raise DataError(what, where=self.where, hint="the unpacked file, where it is a table")
        return len(part)
