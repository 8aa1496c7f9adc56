"""Temporary folders that no killed process leaves for ever: the next user of the same place removes them.

    with temporary.folder(parent) as path: ...    # removed at the end; after SIGKILL by the next call of `sweep`

A folder holds a lock file that its process keeps locked; the kernel unlocks it when the process dies. The file also names the
boot of the kernel, because a lock on a network file system does not always reach other hosts: a folder of another boot, and
one without a lock, is removed only when nothing in it has changed for a day.
"""

import fcntl
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "ecg_commander_"  # of folders in the system's own place for temporary files
LOCK = ".lock"
RANDOM = r"[a-z0-9_]{8}"  # how `tempfile` ends a name
DAY_S = 24 * 3600
log = logging.getLogger("commander")


@contextmanager
def folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """An empty folder in a locked folder below `parent` (default: the system's temporary folder), removed at the end.

    Raises OSError.
    """
    while True:
        outer = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            handle = _locked(outer)
        except OSError:
            shutil.rmtree(outer, ignore_errors=True)
            raise
        if handle is not None:
            break
    try:
        inner = outer / "content"
        inner.mkdir()
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)
        os.close(handle)


def sweep(parent: Path | None = None, prefix: str = PREFIX) -> None:
    """Remove the folders of dead processes that begin with `prefix` below `parent`, as far as they belong to this user."""
    parent = parent or Path(tempfile.gettempdir())
    name = re.compile(re.escape(prefix) + r".*?" + RANDOM, re.DOTALL)
    with suppress(OSError), os.scandir(parent) as entries:
        found = [entry for entry in entries if name.fullmatch(entry.name)]
        for entry in found:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    _remove_if_abandoned(Path(entry.path))


def _locked(outer: Path) -> int | None:
    """An open, locked file in a new folder; None where another process has swept the folder in between."""
    try:
        handle = os.open(outer / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)  # a sweep may hold it for a moment
    os.write(handle, _boot().encode())  # only now: an unlocked file that names this boot is of a dead process
    with suppress(OSError):
        if os.path.samestat(os.fstat(handle), os.stat(outer / LOCK)):
            return handle
    os.close(handle)
    return None


def _remove_if_abandoned(outer: Path) -> None:
    with suppress(OSError):
        outer.rmdir()  # empty: its process was killed before the first file, or makes another one
        return
    try:
        handle = os.open(outer / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:  # made by a version of this program without locks
        remove_if_old(outer)
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where a living process holds it, and without locks
    except BlockingIOError:
        pass
    except OSError:
        remove_if_old(outer)
    else:
        if os.pread(handle, 100, 0).decode(errors="replace") == _boot() != "":
            _remove(outer)
        else:
            remove_if_old(outer)
    finally:
        os.close(handle)


def remove_if_old(outer: Path) -> None:
    """Remove a folder in which nothing has changed for a day. Raises OSError."""
    paths = [outer, *outer.rglob("*")]
    if time.time() - max(path.lstat().st_ctime for path in paths) > DAY_S:
        _remove(outer)


def _remove(outer: Path) -> None:
    log.info("removing %s, which a process left behind when it was killed", outer)
    shutil.rmtree(outer, ignore_errors=True)


def _boot() -> str:
    """What tells this kernel since its start from every other; "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
