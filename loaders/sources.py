"""Find, download and verify what a dataset is made from."""

import fcntl
import hashlib
import logging
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from loaders.archives import is_page
from toolbox.errors import DownloadError, ResourceError

log = logging.getLogger("commander")
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 30


@dataclass(frozen=True)
class Remote:
    """A file to fetch; `size` in bytes and `sha256` where its publisher states them."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


def topmost(folder: Path, pattern: str) -> list[Path]:
    """The files like `pattern` in the first folder that has any, sorted: `folder` itself, else one at most three levels down."""
    if folder.is_dir():
        os.listdir(folder)  # raises where it may not be read, which glob passes over
    for depth in range(4):
        found = sorted(folder.glob("*/" * depth + pattern))
        if found:
            return [path for path in found if path.parent == found[0].parent]
    return []


def download(remote: Remote, folder: Path) -> Path:
    """Fetch `remote` into `folder`; the file appears there only once it is whole and verified.

    An interrupted transfer is gone on with; a second process waits for the first. Raises DownloadError, or ResourceError
    where the folder cannot be written.
    """
    import requests
    from gdown.exceptions import DownloadError as DriveError

    path = folder / remote.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder) as waited:
            if waited and path.is_file():
                return path
            log.info("fetching %s from %s", remote.name, remote.url)
            part = _transfer(remote, folder)
            try:
                _verify(part, remote)
                part.chmod(0o644)  # gdown makes it for its owner alone
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
    except (DriveError, requests.RequestException) as error:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, requests.Timeout) or "timed out" in reason.lower():
            reason = "the server does not answer in time"
        elif isinstance(error, requests.ConnectionError):
            reason = "no connection"
        raise DownloadError(f"cannot fetch {remote.name}: {reason}", where=remote.url) from error
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


def _transfer(remote: Remote, folder: Path) -> Path:
    """The path of the bytes of `remote`, not verified, under a hidden name in `folder`."""
    import gdown
    from gdown.exceptions import DownloadError as DriveError
    from gdown.exceptions import FileURLRetrievalError

    part = folder / f".{remote.name}.part"
    how = {"quiet": True, "use_cookies": False, "resume": True, "timeout": (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)}
    while True:
        kept = {path: path.stat().st_size for path in folder.glob(f"{part.name}????????.part")}
        try:
            with tqdm(unit="B", unit_scale=True, desc=remote.name, disable=None) as bar:
                gdown.download(remote.url, str(part), progress=partial(_show, bar), **how)
            return part
        except DriveError as error:
            useless = [path for path, size in kept.items() if path.stat().st_size == size]
            if isinstance(error, FileURLRetrievalError) or not useless:
                raise
            log.info("the server does not go on where the last transfer ended; starting again")
            for path in useless:
                path.unlink()


def _show(bar: tqdm, done: int, total: int | None) -> None:
    bar.total = total
    bar.update(done - bar.n)


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
        raise DownloadError(
            f"what came for {remote.name} is {came}", where=remote.url, hint="again later, or --data-file with a copy of your own"
        )
