"""Find, download and verify what a dataset is made from."""

import fcntl
import hashlib
import logging
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from loaders.archives import is_page
from toolbox.errors import DownloadError, ResourceError

log = logging.getLogger("commander")
LATER = "again later, or --data-file with a copy of your own"


@dataclass(frozen=True)
class Remote:
    """A file to fetch; `size` in bytes and `sha256` where its publisher states them."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


def topmost(folder: Path, pattern: str) -> list[Path]:
    """The files like `pattern` in the first folder that has any, sorted: `folder` itself, else one at most three levels down.

    Hidden ones do not count: macOS leaves a `._100.hea` beside every 100.hea on a disk that is not its own.
    """
    if folder.is_dir():
        os.listdir(folder)  # raises where it may not be read, which glob passes over
    for depth in range(4):
        found = sorted(path for path in folder.glob("*/" * depth + pattern) if not path.name.startswith("."))
        if found:
            return [path for path in found if path.parent == found[0].parent]
    return []


def download(remote: Remote, folder: Path, find: Callable[[], Path | None] | None = None) -> Path:
    """Fetch `remote` into `folder`; the file appears there only once it is whole and verified.

    An interrupted transfer is gone on with. A second process waits for the first and takes what it brought, which `find` finds
    where that may be another file. Raises DownloadError, or ResourceError where the folder cannot be written.
    """
    from loaders.transfers import fetch

    path, part = folder / remote.name, folder / f".{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder) as waited:
            if waited and (there := find() if find else path.is_file() and path):
                return there
            log.info("fetching %s from %s", remote.name, remote.url)
            fetch(remote, part)
            try:
                _verify(part, remote)
                part.chmod(0o644)  # gdown makes it for its owner alone
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(
            f"cannot store {remote.name}: {error.strerror or error}", where=str(folder), hint="free space, or another --root-dir"
        ) from error
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold `folder` against other processes that fetch into it; true if one had to be waited for."""
    handle, waited = os.open(folder, os.O_RDONLY), False
    try:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("waiting for another process that fetches into %s", folder)
                waited = True
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield waited
    finally:
        os.close(handle)


def _verify(part: Path, remote: Remote) -> None:
    with open(part, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest() if remote.sha256 else None
        size = file.seek(0, os.SEEK_END)
    for what, known, found in (("size", remote.size, size), ("SHA-256", remote.sha256, sha256)):
        if known is not None and known != found:
            raise DownloadError(
                f"{remote.name} came with {what} {found}, it should be {known}", where=remote.url, hint="--download again"
            )
    if remote.name.endswith(".zip") and not zipfile.is_zipfile(part):
        came = f"a web page of {size} bytes, often a quota notice" if is_page(part) else f"{size} bytes that are no zip"
        raise DownloadError(f"what came for {remote.name} is {came}", where=remote.url, hint=LATER)
