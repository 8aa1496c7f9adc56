"""A text file as bytes, unpacked where it is gzipped; a line or a content too large for a table is an error."""

import gzip
import io
from typing import BinaryIO

from loaders.files.archives import MOST_RATIO, SMALL
from loaders.formats.csv.characters import GZIP_MAGIC, HEAD, LONGEST_LINE, encoding_of
from toolbox.errors import DataError

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
