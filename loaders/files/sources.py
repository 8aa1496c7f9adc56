"""Find, download and verify the files of a dataset.

`find` uses the user's path, else searches below the root folder, else fetches; `locate`, `search` and `download` are
its steps.
"""

import fnmatch
import logging
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from loaders.declaration import Files, Remote, loaded
from loaders.files.archives import is_page, opened, reading
from toolbox import files
from toolbox.errors import CommanderError, DataError, DownloadError, ResourceError
from toolbox.files import lock

log = logging.getLogger("commander")
LATER = "again later, or --data-file with your own copy"


def find(files: Files, root: Path, folder: Path, data_file: Path | None) -> Any:
    """The folder or zip to read: at `data_file`, else in one of the dataset's folders, else fetched into `folder`.

    With a `files.finder` its result. Raises DataError for a `data_file` without the files, DownloadError if no download
    succeeds, ResourceError.
    """
    with reading(data_file or folder):
        if data_file:
            return locate(data_file, files)
        places = [root / name for name in files.folders] or [folder]
        there = next((found for place in places if (found := search(place, files))), None)
    return there or _fetch(files, root, folder)


def locate(path: Path, files: Files) -> Any:
    """The folder or zip at a user's `path`. Raises DataError that describes the missing files."""
    would_do = f"a folder or zip with {files.needs}"
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path), hint=f"--data-file with {would_do}")
    if any(path.match(pattern) for pattern in files.marks):
        path = path.parent
    try:
        if files.finder:
            found = loaded(files.finder)(path, pointed_at=True)
        else:
            found = search(path, files) if path.is_dir() else path if _is_enough(path, files) else None
        if found is None:
            raise DataError(f"there are no {files.needs} here", where=str(path), hint=would_do)
    except DataError:
        if files.diagnose:
            loaded(files.diagnose)(path, files)
        raise
    return found


def search(folder: Path, files: Files) -> Any:
    """The first usable source in `folder` or below it: the folder of the files, else a zip with them, else None."""
    if files.finder:
        return loaded(files.finder)(folder, pointed_at=False)
    for pattern in (*files.marks, *files.other_marks):
        if found := topmost(folder, pattern):
            return found[0].parent
    return next((path for path in topmost(folder, "*.zip") if _is_usable(path, files)), None)


def _fetch(files: Files, root: Path, folder: Path) -> Any:
    """Fetch the first remote with the files, and the extras; the source. Raises DownloadError with all reasons."""
    reasons = []
    for remote in files.remotes:
        into = root / remote.folder if remote.folder else folder
        try:
            download(remote, into, partial(search, into, files))
        except DownloadError as error:
            reasons.append(error.what)
            continue
        with reading(into):
            if found := search(into, files):
                for extra in files.extras:
                    try:
                        if not (folder / extra.name).is_file():
                            download(extra, folder)
                    except DownloadError as error:
                        log.warning("the data is used without %s: %s", extra.name, error.what)
                return found
        reasons.append(f"{remote.name} has no {files.needs}")
    what = "the data is not here and cannot be fetched: " + "; ".join(reasons)
    raise DownloadError(what, hint=f"put {files.put} into {folder}, or name it with --data-file")


def names_in(source: Path, files: Files) -> set[str]:
    """The names, without folders, of the files in a folder or zip. Raises DataError for another file."""
    if source.is_dir():
        return {path.name for path in source.iterdir() if path.is_file()}
    try:
        with opened(source) as file:
            return {Path(name).name for name in file.namelist()}
    except zipfile.BadZipFile as error:
        reason = "it is a web page, often a quota notice" if is_page(source) else error
        what = f"neither a folder nor a readable zip: {reason}"
        hint = f"a folder or zip with {files.needs}; --dataset table for your own rows"
        raise DataError(what, where=str(source), hint=hint) from error


def _is_enough(archive: Path, files: Files) -> bool:
    names = names_in(archive, files)
    return any(all(fnmatch.filter(names, pattern) for pattern in group) for group in files.enough)


@contextmanager
def opened_in(source: Path, name: str) -> Iterator[IO[bytes]]:
    """The file `name` of a folder, or the least nested one of that name in a zip, open for reading."""
    if source.is_dir():
        with open(source / name, "rb") as file:
            yield file
        return
    with opened(source) as archive:
        members = [member for member in archive.namelist() if Path(member).name == name]
        with archive.open(min(members, key=lambda member: member.count("/"))) as file:
            yield file


def _is_usable(archive: Path, files: Files) -> bool:
    """Whether a zip in a searched folder has enough files; a damaged one is skipped with a warning."""
    try:
        with reading(archive):
            return _is_enough(archive, files)
    except CommanderError as error:
        log.warning("skipping %s: %s", archive, error.what)
        return False


def topmost(folder: Path, pattern: str) -> list[Path]:
    """The files that match `pattern` in the first folder with such files, sorted: `folder`, else one at most three
    levels below.

    Hidden files do not count: macOS adds a `._100.hea` to every 100.hea on a foreign disk.
    """
    if folder.is_dir():
        os.listdir(folder)  # raises without permission, unlike glob
    for depth in range(4):
        found = sorted(path for path in folder.glob("*/" * depth + pattern) if not path.name.startswith("."))
        if found:
            return [path for path in found if path.parent == found[0].parent]
    return []


def download(remote: Remote, folder: Path, find: Callable[[], Any] | None = None) -> Any:
    """Fetch `remote` into `folder`; the file appears there when it is whole and verified.

    An interrupted transfer is continued. A second process waits for the first and takes its file, or the result of
    `find`. Raises DownloadError, ResourceError if the folder cannot be written.
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
        what = f"cannot store {remote.name}: {error.strerror or error}"
        raise ResourceError(what, where=str(folder), hint="free space, or another --root-dir") from error
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Make `folder` and lock it against other processes that fetch into it; true after a wait for one.

    New folders of a failed transfer are removed, unless they have files.
    """
    waited = False
    while True:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            waited |= lock(handle, f"fetches into {folder}")
            if folder.exists() and os.path.samestat(os.fstat(handle), os.stat(folder)):  # else its holder removed it
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
            fault = f"the download of {remote.name} has the {what} {found}, it should be {known}"
            raise DownloadError(fault, where=remote.url, hint="--download again")
    if remote.name.endswith(".zip") and not zipfile.is_zipfile(part):
        came = f"a web page of {size} bytes, often a quota notice" if is_page(part) else f"{size} bytes that are no zip"
        raise DownloadError(f"the download of {remote.name} is {came}", where=remote.url, hint=LATER)
