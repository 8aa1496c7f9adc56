"""One LMDB file of charts: the part that is under way, written by one process, or a whole part, which is only read.

A whole part is opened without a lock, once in each process, and read by any number of threads. The file is compared
then with the SHA-256 that it had when it became whole; of a file above a gigabyte only the checksum of each chart is.
"""

import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.files.sources import log
from toolbox import files
from toolbox.errors import DataError, ResourceError

if TYPE_CHECKING:
    from lmdb import Environment

DATA, SEAL = "data.mdb", "data.sha256"
LARGE = 2**30  # bytes
ROOM = 2**26  # bytes for what is not charts
HINT = "remove that folder; its charts are drawn again"
OPENED: dict[Path, tuple[tuple[int, int], "Environment"]] = {}  # by part, which LMDB opens only once in a process
OPENING = threading.Lock()
SOUND: set[tuple[Any, ...]] = set()  # files that this process has compared, as they were then
os.register_at_fork(before=OPENING.acquire, after_in_parent=OPENING.release, after_in_child=OPENING.release)


class Building:
    """The part that is under way, which another process may have begun."""

    def __init__(self, path: Path, size: int) -> None:
        import lmdb

        self.path = path
        if path.exists() and not _is_whole(path):
            log.warning("what was drawn into %s is damaged, and drawn again", path)
            shutil.rmtree(path)
        (path / SEAL).unlink(missing_ok=True)
        try:
            there = os.path.getsize(path / DATA) if path.exists() else 0
            self.environment = lmdb.open(
                str(path), map_size=there + size + ROOM, lock=False
            )  # as large as it may become
        except lmdb.Error as error:
            raise _refused(path, str(error), 0) from error

    def __len__(self) -> int:
        """How many charts it has."""
        return self.environment.stat()["entries"]

    def close(self) -> None:
        """Let go of the file."""
        self.environment.close()

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys that have no chart here."""
        with self.environment.begin() as transaction:
            return [each for each in keys if transaction.get(each) is None]

    def put(self, charts: Mapping[bytes, bytes]) -> None:
        """Add charts, all of them or none; ResourceError where the disk has no room, with all before them kept."""
        import lmdb

        try:
            with self.environment.begin(write=True) as transaction:
                for each, value in charts.items():
                    transaction.put(each, value)
        except lmdb.Error as error:
            raise _refused(self.path, str(error), sum(map(len, charts.values()))) from error


def _refused(path: Path, what: str, size: int) -> ResourceError:
    """Why the system did not take `size` bytes more, of which LMDB only says that it failed: a file is tried."""
    there = os.path.getsize(path / DATA) if (path / DATA).exists() else 0
    room = path.parent / ".room.tmp"
    try:
        with open(room, "wb") as file:
            file.write(bytes(size + 2**16))
            file.seek(there + size)  # a limit to the size of a file shows only here
            file.write(b"-")
    except OSError as error:
        what = error.strerror or what
    with suppress(OSError):
        room.unlink()
    return ResourceError(
        f"cannot write {path / DATA}: {what}", where=f"{there} bytes written", hint="free space; it goes on then"
    )


def seal(part: Path) -> None:
    """Write down the SHA-256 of a part that is whole."""
    files.write_text(part / SEAL, files.sha256(part / DATA))


def _check_seal(part: Path) -> None:
    """A DataError for a part, as this version makes them, that is not what it was."""
    path = part / DATA
    try:
        state = path.stat()
        facts = (str(path), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if facts in SOUND or state.st_size > LARGE or not (part / SEAL).exists():
            return
        if (part / SEAL).read_text("ascii", errors="replace") != files.sha256(path):
            raise DataError(f"charts are damaged: {DATA} is not what was stored", where=str(part), hint=HINT)
    except OSError as error:
        raise DataError(f"charts cannot be read: {error.strerror}", where=str(part), hint=HINT) from error
    SOUND.add(facts)


def _is_whole(part: Path) -> bool:
    """Whether a file can be read without running past its end; no page is taken from it."""
    try:
        _open(part).close()
    except DataError:
        return False
    return True


def _open(part: Path) -> "Environment":
    import lmdb

    try:
        environment = lmdb.open(str(part), readonly=True, lock=False, create=False, readahead=False)
        size = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    except lmdb.Error as error:
        raise DataError(f"charts cannot be read: {error}", where=str(part), hint=HINT) from error
    found = os.path.getsize(part / DATA)
    if found < size:
        environment.close()
        raise DataError(f"charts are cut off: {found:,} bytes of {size:,}", where=str(part), hint=HINT)
    try:
        _check_seal(part)
    except DataError:
        environment.close()
        raise
    return environment


def reader(part: Path) -> "Environment":
    """The part as this process has it open; what a parent had open before a fork is not used."""
    try:
        own = os.getpid(), os.stat(part / DATA).st_ino
    except OSError as error:
        raise DataError(f"charts cannot be read: {error.strerror}", where=str(part), hint=HINT) from error
    with OPENING:
        opened, environment = OPENED.get(part, (None, None))
        if opened != own:
            if environment is not None:
                environment.close()  # of a parent, whose own stays open, or of a file that was replaced
            environment = _open(part)
            OPENED[part] = own, environment
        return environment


@contextmanager
def reading(part: Path) -> Iterator[Any]:
    """What gives the value of a key of a part, None where it has none."""
    import lmdb

    try:
        with reader(part).begin() as transaction:
            yield transaction.get
    except lmdb.Error as error:
        raise DataError(f"charts cannot be read: {error}", where=str(part), hint=HINT) from error
