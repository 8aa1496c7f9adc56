"""Drawn charts on disk: the ink of each, packed, by a key of 12 bytes, in LMDB files that are never changed once they
are whole.

    <root>/<dataset>/charts/<digest>/manifest.json    what was drawn, and how: another layout is another folder
                                     part-000/        an LMDB of charts; what is asked for later goes into another part
                                     building/        the part that is under way; an interrupted one is gone on with

Kept is not the picture but its ink (H, W) uint8, packed by `drawing`: the paper is the same for all. Readers take no
lock, and each process opens the files itself.

One LMDB file of charts: the part that is under way, written by one process, or a whole part, which is only read.

A whole part is opened without a lock, once in each process, and read by any number of threads. The file is compared
then with the SHA-256 that it had when it became whole; of a file above a gigabyte only the checksum of each chart is.
"""

import hashlib
import json
import os
import shutil
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loaders.files.sources import log
from toolbox import files, terminal
from toolbox.errors import DataError, ResourceError
from toolbox.files import lock
from toolbox.paper import drawing
from toolbox.paper.drawing import Drawing

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
            # As large as it may become.
            self.environment = lmdb.open(str(path), map_size=there + size + ROOM, lock=False)
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


FORMAT = 1  # raised when charts are kept otherwise
CHUNK = 64  # charts that are drawn and kept at once
MANIFEST, BUILDING, PART = "manifest.json", "building", "part-{:03}"
LARGEST = 2**14  # bytes a chart takes beside its ink at most


def key(index: int, window: int) -> bytes:
    """The key of a window of the row that is number `index` in its source."""
    return struct.pack(">QI", index, window)


class ChartStore:
    """The charts that `facts` describe, in a folder of their own below `root`; the ink of each is (H, W) as `image`
    says.

    Raises DataError for a folder that is damaged or has other charts in it.
    """

    def __init__(self, root: Path, facts: Mapping[str, Any], image: tuple[int, int]) -> None:
        self.facts = json.loads(json.dumps({"format": FORMAT, **facts}))
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()
        self.folder, self.image, self.digest = root.resolve() / digest[:16], image, digest
        self.parts = sorted(self.folder.glob("part-*"))
        if self.folder.exists():
            self._check()

    def __len__(self) -> int:
        """How many charts there are."""
        return sum(reader(part).stat()["entries"] for part in self.parts)

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys that have no chart, each once, in their order."""
        wanted = dict.fromkeys(keys)
        for part in self.parts:
            with reading(part) as get:
                wanted = {each: None for each in wanted if get(each) is None}
        return list(wanted)

    def read(self, keys: Sequence[bytes]) -> NDArray[np.uint8]:
        """The ink (B, H, W) of charts that are there."""
        ink = np.empty((len(keys), *self.image), np.uint8)
        for place, value in enumerate(self._values(keys)):
            try:
                ink[place] = drawing.unpacked(value, self.image)
            except ValueError as error:
                raise DataError(f"a chart is damaged: {error}", where=str(self.folder), hint=HINT) from error
        return ink

    def check(self, keys: Sequence[bytes], signals: Iterable[NDArray[np.float32]]) -> None:
        """Raise a DataError where a chart was drawn from another signal than it is asked for."""
        for value, signal in zip(self._values(keys), signals, strict=True):
            if value[: drawing.TOLD] != drawing.told(signal):
                raise DataError("the charts were drawn from other signals", where=str(self.folder), hint=HINT)

    def _values(self, keys: Sequence[bytes]) -> Iterator[bytes]:
        with ExitStack() as stack:
            gets = [stack.enter_context(reading(part)) for part in self.parts]
            for each in keys:
                value = next((found for get in gets if (found := get(each)) is not None), None)
                if value is None:
                    raise DataError("a chart is gone", where=str(self.folder), hint=HINT)
                yield value

    @contextmanager
    def building(self, charts: int) -> Iterator["Building"]:
        """Hold the folder against other processes that draw into it, until as many `charts`, at most, are put into a
        part of it.

        An exception leaves the part under way for the next time; without one its charts can be read from here on.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _alone(self.folder):
                if not (self.folder / MANIFEST).exists():
                    files.write_json(self.folder / MANIFEST, {**self.facts, "charts": 0})
                self._check()
                self.parts = sorted(self.folder.glob("part-*"))  # another process may just have made one
                under_way = Building(self.folder / BUILDING, charts * (LARGEST + int(np.prod(self.image))))
                try:
                    yield under_way
                    charts = len(under_way)
                finally:
                    under_way.close()
                self._add(charts)
        except OSError as error:
            raise ResourceError(
                f"cannot keep charts: {error.strerror}", where=str(self.folder), hint="free space"
            ) from error

    def _add(self, charts: int) -> None:
        if not charts:  # another process was faster
            shutil.rmtree(self.folder / BUILDING)
            return
        seal(self.folder / BUILDING)
        part = self.folder / PART.format(len(self.parts))
        (self.folder / BUILDING).rename(part)
        self.parts.append(part)
        files.write_json(self.folder / MANIFEST, {**self.facts, "charts": len(self)})

    def _check(self) -> None:
        """Raise a DataError where the folder is not whole, or is of other charts."""
        manifest, facts = self.folder / MANIFEST, None
        if not manifest.exists() and all(path.name.startswith(".") for path in self.folder.iterdir()):
            return
        try:
            if manifest.exists():  # looked for again: another process may just have begun
                facts = files.read_json(manifest)
                del facts["charts"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{MANIFEST} cannot be read: {error}", where=str(self.folder), hint=HINT) from error
        if facts != self.facts:
            raise DataError(f"{MANIFEST} is of other charts", where=str(self.folder), hint=HINT)
        for part in self.parts:
            reader(part)


def fill(
    store: ChartStore,
    keys: Sequence[bytes],
    window: Callable[[bytes], NDArray[np.float32]],
    how: Drawing,
    *,
    workers: int = 0,
) -> None:
    """Draw the charts of `keys`, of the signals that `window` gives, into the store, by as many processes as `workers`
    says.

    Raises ResourceError where the disk has no room or a process is killed; what was drawn until then is kept.
    """
    with store.building(len(keys)) as part:
        missing = part.missing(store.missing(keys))  # another process may have drawn some
        chunks = [missing[begin : begin + CHUNK] for begin in range(0, len(missing), CHUNK)]
        signals = ([window(each) for each in chunk] for chunk in chunks)
        values = drawing.drawn(signals, how, drawing.processes(len(missing), workers))
        title, done = f"charts {how.sheet.layout.name}", len(keys) - len(missing)
        log.info("drawing %s charts of layout %s into %s", f"{len(missing):,}", how.sheet.layout.name, store.folder)
        with closing(values), terminal.bar(desc=title, total=len(keys), initial=done, unit="chart") as bar:
            for chunk, charts in zip(chunks, values, strict=True):
                part.put(dict(zip(chunk, charts, strict=True)))
                bar.update(len(chunk))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold `folder` against other processes; the kernel lets go of it when this one dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, f"draws into {folder}")
        yield
    finally:
        os.close(handle)
