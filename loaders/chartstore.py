"""Drawn charts on disk: the ink of each, packed, by a key of 12 bytes, in LMDB files that are never changed once they are whole.

    <root>/<dataset>/charts/<digest>/manifest.json    what was drawn, and how: another layout is another folder
                                     part-000/        an LMDB of charts; what is asked for later goes into another part
                                     building/        the part that is under way; an interrupted one is gone on with

Kept is not the picture but its ink (H, W) uint8, a tenth of the work and a thirtieth of the room: the paper is the same for all.
A value is 8 bytes that tell which signal was drawn, and the ink as deflated by zlib, whose checksum is verified when it is read.
Readers take no lock, and each process opens the files itself.
"""

import fcntl
import hashlib
import json
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loaders.sources import log
from toolbox import files
from toolbox.errors import DataError, ResourceError

if TYPE_CHECKING:
    from lmdb import Environment

FORMAT = 1  # raised when charts are kept otherwise
MANIFEST, BUILDING, PART = "manifest.json", "building", "part-{:03}"
DATA = "data.mdb"
TOLD = 8  # bytes that tell of the signal
LEVEL = 1  # of zlib: 0.4 ms a chart; the best one takes three times as long for a seventh less
ROOM = 2**40  # bytes that a file may grow to; no more is taken than is written
HINT = "remove that folder; its charts are drawn again"
OPENED: dict[Path, tuple[tuple[int, int], "Environment"]] = {}  # by part, which LMDB opens only once in a process
OPENING = threading.Lock()
os.register_at_fork(before=OPENING.acquire, after_in_parent=OPENING.release, after_in_child=OPENING.release)


def key(index: int, window: int) -> bytes:
    """The key of a window of the row that is number `index` in its source."""
    return struct.pack(">QI", index, window)


def packed(ink: NDArray[np.uint8], signal: NDArray[np.float32]) -> bytes:
    """A value: the ink (H, W) of a signal (C, T)."""
    return told(signal) + zlib.compress(ink.tobytes(), LEVEL)


def told(signal: NDArray[np.float32]) -> bytes:
    """8 bytes that tell a signal from another."""
    return hashlib.blake2b(np.ascontiguousarray(signal).view(np.uint8), digest_size=TOLD).digest()


class ChartStore:
    """The charts that `facts` describe, in a folder of their own below `root`; the ink of each is (H, W) as `image` says.

    Raises DataError for a folder that is damaged or has other charts in it.
    """

    def __init__(self, root: Path, facts: Mapping[str, Any], image: tuple[int, int]) -> None:
        self.facts = json.loads(json.dumps({"format": FORMAT, **facts}))
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()
        self.folder, self.image, self.digest = root / digest[:16], image, digest
        self.parts = sorted(self.folder.glob("part-*"))
        if self.folder.exists():
            self._check()

    def __len__(self) -> int:
        """How many charts there are."""
        return sum(_reader(part).stat()["entries"] for part in self.parts)

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys that have no chart, each once, in their order."""
        wanted = dict.fromkeys(keys)
        for part in self.parts:
            with _reading(part) as get:
                wanted = {each: None for each in wanted if get(each) is None}
        return list(wanted)

    def read(self, keys: Sequence[bytes]) -> NDArray[np.uint8]:
        """The ink (B, H, W) of charts that are there."""
        ink = np.empty((len(keys), *self.image), np.uint8)
        for place, value in enumerate(self._values(keys)):
            try:
                ink[place] = np.frombuffer(zlib.decompress(value[TOLD:]), np.uint8).reshape(self.image)
            except (zlib.error, ValueError) as error:
                raise DataError(f"a chart is damaged: {error}", where=str(self.folder), hint=HINT) from error
        return ink

    def check(self, keys: Sequence[bytes], signals: Iterable[NDArray[np.float32]]) -> None:
        """Raise a DataError where a chart was drawn from another signal than it is asked for."""
        for value, signal in zip(self._values(keys), signals, strict=True):
            if value[:TOLD] != told(signal):
                raise DataError("the charts were drawn from other signals", where=str(self.folder), hint=HINT)

    def _values(self, keys: Sequence[bytes]) -> Iterator[bytes]:
        with ExitStack() as stack:
            gets = [stack.enter_context(_reading(part)) for part in self.parts]
            for each in keys:
                value = next((found for get in gets if (found := get(each)) is not None), None)
                if value is None:
                    raise DataError("a chart is gone", where=str(self.folder), hint=HINT)
                yield value

    @contextmanager
    def building(self) -> Iterator["Building"]:
        """Hold the folder against other processes that draw into it; what is put into the part is there once it is whole."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _alone(self.folder):
                if not (self.folder / MANIFEST).exists():
                    files.write_json(self.folder / MANIFEST, {**self.facts, "charts": 0})
                self._check()
                self.parts = sorted(self.folder.glob("part-*"))  # another process may just have made one
                under_way = Building(self.folder / BUILDING)
                try:
                    yield under_way
                finally:
                    under_way.close()
                self._add()
        except OSError as error:
            raise ResourceError(f"cannot keep charts: {error.strerror}", where=str(self.folder), hint="free space") from error

    def _add(self) -> None:
        part = self.folder / PART.format(len(self.parts))
        (self.folder / BUILDING).rename(part)
        self.parts.append(part)
        files.write_json(self.folder / MANIFEST, {**self.facts, "charts": len(self)})

    def _check(self) -> None:
        """Raise a DataError where the folder is not whole, or is of other charts."""
        try:
            facts = json.loads((self.folder / MANIFEST).read_text("utf-8"))
            del facts["charts"]
        except FileNotFoundError:
            if not any(self.folder.iterdir()):
                return
            facts = None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{MANIFEST} cannot be read: {error}", where=str(self.folder), hint=HINT) from error
        if facts != self.facts:
            raise DataError(f"{MANIFEST} is of other charts", where=str(self.folder), hint=HINT)
        for part in self.parts:
            _reader(part)


class Building:
    """The part that is under way, which another process may have begun."""

    def __init__(self, path: Path) -> None:
        import lmdb

        self.path = path
        if path.exists() and not _is_whole(path):
            log.warning("what was drawn into %s is damaged, and drawn again", path)
            shutil.rmtree(path)
        try:
            self.environment = lmdb.open(str(path), map_size=ROOM, lock=False)
        except lmdb.Error as error:
            raise _refused(path, str(error), 0) from error

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
    """Why the system did not take `size` bytes, of which LMDB only says that it failed: a file is tried."""
    try:
        files.write_whole(path.parent / "room", lambda file: file.write(bytes(size + 2**16)))
    except ResourceError as error:
        return error
    with suppress(OSError):
        (path.parent / "room").unlink()
    return ResourceError(f"cannot write {path}: {what}", where=f"{size} bytes", hint="free space, or check the permissions")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold `folder` against other processes; the kernel lets go of it when this one dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("waiting for another process that draws into %s", folder)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


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
    return environment


def _reader(part: Path) -> "Environment":
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
def _reading(part: Path) -> Iterator[Any]:
    with _reader(part).begin() as transaction:
        yield transaction.get
