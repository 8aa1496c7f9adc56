"""Temporary folders that no killed process leaves for ever: the next user of the same place removes them.

    with temporary.folder(parent) as path: ...    # removed at the end; after SIGKILL by the next call of `sweep`

A folder holds a lock file that its process keeps locked; the kernel unlocks it when the process dies. The file also
names the boot of the kernel, because a lock on a network file system does not always reach other hosts: a folder of
another boot is removed only when nothing in it has changed for a day.
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
LOCK, CONTENT = ".ecg_commander.lock", "content"
RANDOM = r"[a-z0-9_]{8}"  # how `tempfile` ends a name
DAY_S = 24 * 3600
log = logging.getLogger("commander")


@contextmanager
def folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """An empty folder in a locked folder below `parent` (default: the system's temporary folder), removed at the end.

    Raises OSError.
    """
    outer = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with _locked(outer):
            inner = outer / CONTENT
            inner.mkdir()
            yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def sweep(parent: Path | None = None, prefix: str = PREFIX) -> None:
    """Remove the folders of dead processes that begin with `prefix` below `parent`, as far as they belong to this
    user."""
    name = re.compile(re.escape(prefix) + RANDOM)
    with suppress(OSError), os.scandir(parent or tempfile.gettempdir()) as entries:
        for entry in [entry for entry in entries if name.fullmatch(entry.name)]:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    _remove_if_abandoned(Path(entry.path))


@contextmanager
def _locked(outer: Path) -> Iterator[None]:
    """Hold the lock file of a new folder."""
    handle = os.open(outer / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)  # a sweep may hold it for a moment
        os.write(handle, _boot().encode())  # only now: an unlocked file that names this boot is of a dead process
        yield
    finally:
        os.close(handle)


def _remove_if_abandoned(outer: Path) -> None:
    """Raises OSError, also for a folder without a lock file: somebody else may have called theirs so."""
    handle = os.open(outer / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if not {*os.listdir(outer)} <= {LOCK, CONTENT}:
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a living process holds it
            return
        except OSError:  # a file system without locks
            remove_if_old(outer)
            return
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
