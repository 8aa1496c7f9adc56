"""Find, download and verify the files of a dataset.

`find` uses the user's path, else searches below the root folder, else fetches; `locate`, `search` and `download` are
its steps. A broken transfer is continued, and repeated if that may help. gdown and requests, which are slow to import,
are imported for a download only.
"""

import fnmatch
import logging
import os
import random
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from loaders.declaration import Files, Remote, loaded
from loaders.files.archives import is_page, opened, reading
from toolbox import files, terminal
from toolbox.errors import CommanderError, DataError, DownloadError, ResourceError
from toolbox.files import lock

log = logging.getLogger("commander")
LATER = "again later, or --data-file with your own copy"
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 30
ATTEMPTS = 4
BACKOFF_S = 1.0  # before the second attempt, twice as long before each further one
LONGEST_WAIT_S = 30  # of a server's Retry-After


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
    path, part = folder / remote.name, folder / f".{remote.name}.part"
    try:
        with _alone(folder) as waited:
            if waited and (there := find() if find else path.is_file() and path):
                return there
            log.info("fetching %s from %s", remote.name, remote.url)
            _transfer(remote, part)
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


def _transfer(remote: Remote, part: Path) -> None:
    """Fetch `remote` into `part`, not verified; the bytes of a broken attempt are kept in its folder and continued.

    There is no second attempt if the server cannot be reached, refuses, or sends a page. Raises DownloadError, and
    OSError of the disk.
    """
    import requests
    from gdown.exceptions import DownloadError as DriveError

    for attempt in range(1, ATTEMPTS + 1):
        try:
            _attempt(remote, part)
            return
        except (DriveError, requests.RequestException) as error:
            reason, may_pass = _reason(error, first=attempt == 1)
            wait_s = _asked_wait_s(error)
            if wait_s is None:
                wait_s = BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            if attempt == ATTEMPTS or wait_s > LONGEST_WAIT_S or not may_pass:
                raise DownloadError(f"cannot fetch {remote.name}: {reason}", where=remote.url, hint=LATER) from error
            log.info("%s; attempt %d of %d in %.0f s", reason, attempt + 1, ATTEMPTS, wait_s)
            time.sleep(wait_s)


def _attempt(remote: Remote, part: Path) -> None:
    import gdown
    from gdown.exceptions import DownloadError as DriveError
    from gdown.exceptions import FileURLRetrievalError

    kept = {path: path.stat().st_size for path in part.parent.glob(f"{part.name}????????.part")}
    try:
        with terminal.bar(unit="B", unit_scale=True, desc=remote.name) as bar:
            gdown.download(
                remote.url, str(part), progress=partial(_show, bar),
                quiet=True, use_cookies=False, resume=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            )  # fmt: skip
    except DriveError as error:
        useless = [path for path, size in kept.items() if path.stat().st_size == size]
        if isinstance(error, FileURLRetrievalError) or "incomplete" in str(error) or not useless:
            raise
        log.info("the server cannot continue the last transfer; starting again")
        for path in useless:
            path.unlink()
        _attempt(remote, part)


def _show(bar: tqdm, done: int, total: int | None) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _asked_wait_s(error: Exception) -> float | None:
    """The seconds of the error's Retry-After (RFC 9110: a number or a date), None without one."""
    response = getattr(error, "response", None)
    text = "" if response is None else response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _reason(error: Exception, *, first: bool) -> tuple[str, bool]:
    """Why an attempt failed, and whether another may succeed: after a server under load, a stall, a broken
    connection."""
    import requests
    from gdown.exceptions import DownloadError as DriveError
    from gdown.exceptions import FileURLRetrievalError

    if isinstance(error, requests.HTTPError):
        asked_s, status = _asked_wait_s(error), error.response.status_code
        wait = f" and asks to wait {asked_s:.0f} s" if asked_s else ""
        return f"the server answers {status}{wait}", status == requests.codes.too_many_requests or status >= 500
    if isinstance(error, FileURLRetrievalError):
        return "Google Drive sends a web page instead, often a quota notice", False
    if isinstance(error, DriveError):
        return "the transfer is incomplete", True
    # Only where the name, the port, the proxy or the certificate failed, urllib3 gives a reason.
    never_connected = any(hasattr(cause, "reason") for cause in error.args)
    broke = isinstance(error, requests.ConnectionError | requests.Timeout)
    text, may_pass = " ".join(str(error).split())[:200], broke and not (first and never_connected)
    if isinstance(error, requests.Timeout) or "timed out" in text.lower():
        return "the server does not answer in time", may_pass
    return (("no connection" if never_connected else "the connection broke") if broke else text), may_pass
