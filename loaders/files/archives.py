"""Zips, checked before a member is read: a zip that could leave its folder, hide a file or fill the disk is refused."""

import gzip
import re
import stat
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from toolbox import files as temporary
from toolbox.errors import CommanderError, DataError, DownloadError, ResourceError
from toolbox.files import sha256

CHECKSUMS = "SHA256SUMS.txt"
MOST_BYTES = 100 * 2**30  # of all members: ten times the largest zip of a database of heartbeats
MOST_RATIO, SMALL = 100, 2**28  # recordings shrink to a half, tables of beats to a tenth; small zips are harmless
# A drive, or the separator of another system.
STRANGE = re.compile(r"[a-zA-Z]:|.*[\\\0]", re.DOTALL)
# RuntimeError: a version or method that zipfile does not know; UnicodeDecodeError: a member's name.
DAMAGED = (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError, RuntimeError)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors in the use of `path` into DataError for a damaged archive, ResourceError for an OSError."""
    try:
        yield
    except DAMAGED as error:
        raise DataError(f"the file is damaged: {error}", where=str(path), hint="fetch it again") from error
    except OSError as error:
        what, where = f"cannot be read: {error.strerror or error}", str(error.filename or path)
        raise ResourceError(what, where=where, hint="check the permissions and the free space") from error


def is_page(path: Path) -> bool:
    """Whether a file is a web page, which a server may send in place of the requested file."""
    with open(path, "rb") as file:
        return file.read(512).lstrip().startswith(b"<")


@contextmanager
def opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """A zip with safe members: each is a plain file or folder with a unique name, and the sizes are plausible.

    zipfile reads no more of a member than the size in the directory, and then compares checksums. Raises DownloadError
    with the fault of an unsafe zip, and the errors of zipfile for a file that is damaged or no zip.
    """
    with zipfile.ZipFile(archive) as file:
        if fault := _unsafe(file.infolist(), archive.stat().st_size):
            what = f"the zip is not safe to read: {fault}"
            raise DownloadError(what, where=str(archive), hint="a copy from the publisher")
        yield file


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """The content of a zip in a temporary folder, verified against its SHA256SUMS.txt, if it has one.

    Raises DataError for a damaged zip, DownloadError for other sums and, before a byte is written, for an unsafe zip.
    An error in the use of the folder names the zip.
    """
    with temporary.folder() as folder:
        with reading(archive), opened(archive) as file:
            file.extractall(folder)
        for sums in folder.rglob(CHECKSUMS):
            _check_sums(sums, archive)
        try:
            yield folder
        except CommanderError as error:
            where = error.where.replace(str(folder), str(archive))
            raise type(error)(error.what, where=where, hint=error.hint) from error


@contextmanager
def as_folder(source: Path) -> Iterator[Path]:
    """A folder, or the content of a zip as in `unpacked`."""
    if source.is_dir():
        yield source
        return
    with unpacked(source) as folder:
        yield folder


def _unsafe(members: list[zipfile.ZipInfo], packed: int) -> str:
    """The fault of a zip of `packed` bytes with these members; "" for none."""
    files = Counter(_place(member) for member in members if not member.filename.endswith("/"))
    for member in members:
        if fault := _fault(member, files):
            return f"{member.orig_filename!r} {fault}"
    size = sum(member.file_size for member in members)
    if size > MOST_BYTES or size > max(SMALL, MOST_RATIO * packed):
        return f"its {packed} bytes unpack to {size}"
    return ""


def _fault(member: zipfile.ZipInfo, files: Counter[PurePosixPath]) -> str:
    place, is_file = _place(member), not member.filename.endswith("/")
    faults = (
        (place.is_absolute() or ".." in place.parts or STRANGE.match(member.orig_filename), "leads out of the folder"),
        (is_file and not place.parts, "has no name"),
        (
            stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR),
            "is neither a file nor a folder",
        ),
        (member.flag_bits & 1, "is encrypted"),
        # With other methods a few bytes become a gigabyte in memory, whatever the stated size.
        (
            member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
            "is packed by another method than deflate",
        ),
        (member.header_offset < 0, "starts before the zip"),
        (files[place] > is_file or any(folder in files for folder in place.parents[:-1]), "is there twice"),
    )
    return next((fault for is_so, fault in faults if is_so), "")


def _place(member: zipfile.ZipInfo) -> PurePosixPath:
    """The place of a member; names that are equal on some file system have one place."""
    return PurePosixPath(unicodedata.normalize("NFC", member.filename.casefold()))


def _check_sums(sums: Path, archive: Path) -> None:
    files = {path.relative_to(sums.parent): path for path in sums.parent.rglob("*") if path.is_file()}
    for line in sums.read_text(errors="replace").splitlines():
        known, _, name = line.partition(" ")
        path = files.get(Path(name.strip().lstrip("*")))
        if path is not None and (found := sha256(path)) != known.lower():
            what = f"{path.name} has the SHA-256 {found}, its publisher states {known}"
            raise DownloadError(what, where=str(archive), hint="fetch it again")
