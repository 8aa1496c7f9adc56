"""Find, download and verify what a dataset is made from.

`Wanted` says what files that is; `locate` finds them where a user points, `search` below a folder, `fetch_first` on a
server.
"""

import logging
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from loaders.files.archives import is_page, opened, reading
from toolbox import files
from toolbox.errors import CommanderError, DataError, DownloadError, ResourceError
from toolbox.files import lock

log = logging.getLogger("commander")
LATER = "again later, or --data-file with a copy of your own"


@dataclass(frozen=True)
class Remote:
    """A file to fetch; `size` in bytes and `sha256` where its publisher states them."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What a dataset is read from: a folder with a file like one of `files` or `others`, or a zip whose names are
    `enough`.

    One of `files` stands for its folder. `what` they are and what `would_do` are words for the user.
    """

    files: tuple[str, ...]
    enough: Callable[[set[str]], bool]
    what: str
    would_do: str
    others: tuple[str, ...] = ()


def locate(path: Path, wanted: Wanted) -> Path:
    """The folder or zip that `path` means; a DataError says what would do."""
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path), hint=f"--data-file with {wanted.would_do}")
    if any(path.match(pattern) for pattern in wanted.files):
        path = path.parent
    found = search(path, wanted) if path.is_dir() else path if wanted.enough(names_in(path, wanted)) else None
    if found is None:
        raise DataError(f"{wanted.what} here", where=str(path), hint=wanted.would_do)
    return found


def search(folder: Path, wanted: Wanted) -> Path | None:
    """The first usable source in `folder` or nested in it: the folder of the files, else a zip with them."""
    for pattern in (*wanted.files, *wanted.others):
        if found := topmost(folder, pattern):
            return found[0].parent
    return next((path for path in topmost(folder, "*.zip") if _is_usable(path, wanted)), None)


def fetch_first(remotes: Sequence[Remote], folder: Path, wanted: Wanted, hint: str) -> Path:
    """What is `wanted` from the first of `remotes` that brings it into `folder`; a DownloadError has the reasons of
    all."""
    reasons = []
    for remote in remotes:
        try:
            return locate(download(remote, folder, partial(search, folder, wanted)), wanted)
        except (DownloadError, DataError) as error:
            reasons.append(error.what)
    raise DownloadError("the data is not here and cannot be fetched: " + "; ".join(reasons), hint=hint)


def names_in(source: Path, wanted: Wanted) -> set[str]:
    """The names, without folders, of the files in a folder or zip; DataError for what is neither."""
    if source.is_dir():
        return {path.name for path in source.iterdir() if path.is_file()}
    try:
        with opened(source) as file:
            return {Path(name).name for name in file.namelist()}
    except zipfile.BadZipFile as error:
        reason = "it is a web page, often a quota notice" if is_page(source) else error
        what = f"neither a folder nor a zip that can be read: {reason}"
        hint = f"{wanted.would_do}; rows of your own are read with --dataset table"
        raise DataError(what, where=str(source), hint=hint) from error


@contextmanager
def opened_in(source: Path, name: str) -> Iterator[BinaryIO]:
    """The file `name` of a folder, or the least nested one of that name in a zip, open for reading."""
    if source.is_dir():
        with open(source / name, "rb") as file:
            yield file
        return
    with opened(source) as archive:
        members = [member for member in archive.namelist() if Path(member).name == name]
        with archive.open(min(members, key=lambda member: member.count("/"))) as file:
            yield file


def _is_usable(archive: Path, wanted: Wanted) -> bool:
    """Whether a zip that stands in a searched folder holds what is wanted; a damaged one is passed over, which is
    said."""
    try:
        with reading(archive):
            return wanted.enough(names_in(archive, wanted))
    except CommanderError as error:
        log.warning("passing over %s: %s", archive, error.what)
        return False


def topmost(folder: Path, pattern: str) -> list[Path]:
    """The files like `pattern` in the first folder that has any, sorted: `folder` itself, else one at most three levels
    down.

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

    An interrupted transfer is gone on with. A second process waits for the first and takes what it brought, which
    `find` finds where that may be another file. Raises DownloadError, or ResourceError where the folder cannot be
    written.
    """
    from loaders.files.transfers import fetch

    path, part = folder / remote.name, folder / f".{remote.name}.part"
    try:
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
            f"cannot store {remote.name}: {error.strerror or error}",
            where=str(folder),
            hint="free space, or another --root-dir",
        ) from error
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Make `folder` and hold it against other processes that fetch into it; true if one had to be waited for.

    What was made for a transfer that failed goes again, unless something is in it.
    """
    waited = False
    while True:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            waited |= lock(handle, f"fetches into {folder}")
            if folder.exists() and os.path.samestat(os.fstat(handle), os.stat(folder)):  # else its holder took it away
                yield waited
                return
        except BaseException:
            with suppress(OSError):
                for path in made:
                    path.rmdir()
            raise
        finally:
            os.close(handle)


def _verify(part: Path, remote: Remote) -> None:
    sha256, size = files.sha256(part) if remote.sha256 else None, part.stat().st_size
    for what, known, found in (("size", remote.size, size), ("SHA-256", remote.sha256, sha256)):
        if known is not None and known != found:
            raise DownloadError(
                f"{remote.name} came with {what} {found}, it should be {known}",
                where=remote.url,
                hint="--download again",
            )
    if remote.name.endswith(".zip") and not zipfile.is_zipfile(part):
        came = f"a web page of {size} bytes, often a quota notice" if is_page(part) else f"{size} bytes that are no zip"
        raise DownloadError(f"what came for {remote.name} is {came}", where=remote.url, hint=LATER)
