"""Drawn charts on disk: the packed ink of each, by a key of 12 bytes, in LMDB files that do not change when complete.

    <root>/<dataset>/charts/<digest>/manifest.json    the facts of the drawing: another layout is another folder
                                     part-000/        an LMDB of charts; later charts are in other parts
                                     building/        the unfinished part; the next process continues it

The store has the ink (H, W) uint8 of a picture, packed by `drawing`: all have the same paper. One process writes the
unfinished part. A complete part is opened without a lock, once in each process, and read by any number of threads. Its
file is compared with its SHA-256 at opening; above a gigabyte only the checksum of each chart is compared.
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
ROOM = 2**26  # bytes for the tree of keys
HINT = "remove that folder; its charts are drawn again"
OPENED: dict[Path, tuple[tuple[int, int], "Environment"]] = {}  # by part: LMDB opens a file once in a process
OPENING = threading.Lock()
SOUND: set[tuple[Any, ...]] = set()  # the facts of files that this process has compared
os.register_at_fork(before=OPENING.acquire, after_in_parent=OPENING.release, after_in_child=OPENING.release)


class Building:
    """The unfinished part, perhaps of another process."""

    def __init__(self, path: Path, size: int) -> None:
        import lmdb

        self.path = path
        if path.exists() and not _is_whole(path):
            log.warning("the charts in %s are damaged, and drawn again", path)
            shutil.rmtree(path)
        (path / SEAL).unlink(missing_ok=True)
        try:
            there = os.path.getsize(path / DATA) if path.exists() else 0
            # As large as it may become.
            self.environment = lmdb.open(str(path), map_size=there + size + ROOM, lock=False)
        except lmdb.Error as error:
            raise _refused(path, str(error), 0) from error

    def __len__(self) -> int:
        return self.environment.stat()["entries"]

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys without a chart."""
        with self.environment.begin() as transaction:
            return [each for each in keys if transaction.get(each) is None]

    def put(self, charts: Mapping[bytes, bytes]) -> None:
        """Add all charts or none. Raises ResourceError for a full disk; earlier charts are kept."""
        import lmdb

        try:
            with self.environment.begin(write=True) as transaction:
                for each, value in charts.items():
                    transaction.put(each, value)
        except lmdb.Error as error:
            raise _refused(self.path, str(error), sum(map(len, charts.values()))) from error


def _refused(path: Path, what: str, size: int) -> ResourceError:
    """The reason why `size` more bytes could not be written: LMDB does not state it, so another file is tried."""
    there = os.path.getsize(path / DATA) if (path / DATA).exists() else 0
    room = path.parent / ".room.tmp"
    try:
        with open(room, "wb") as file:
            file.write(bytes(size + 2**16))
            file.seek(there + size)  # fails at a limit of the size of a file
            file.write(b"-")
    except OSError as error:
        what = error.strerror or what
    with suppress(OSError):
        room.unlink()
    hint = "free space; the same command continues then"
    return ResourceError(f"cannot write {path / DATA}: {what}", where=f"{there} bytes written", hint=hint)


def _check_seal(part: Path) -> None:
    """Raise DataError for a part that differs from its SHA-256; older parts have none."""
    path = part / DATA
    try:
        state = path.stat()
        facts = (str(path), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if facts in SOUND or state.st_size > LARGE or not (part / SEAL).exists():
            return
        if (part / SEAL).read_text("ascii", errors="replace") != files.sha256(path):
            raise DataError(f"charts are damaged: {DATA} differs from the stored file", where=str(part), hint=HINT)
    except OSError as error:
        raise DataError(f"charts cannot be read: {error.strerror}", where=str(part), hint=HINT) from error
    SOUND.add(facts)


def _is_whole(part: Path) -> bool:
    """Whether a file has all of its pages; none is read."""
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
    """The part, opened by this process; the file of a parent before a fork is not used."""
    try:
        own = os.getpid(), os.stat(part / DATA).st_ino
    except OSError as error:
        raise DataError(f"charts cannot be read: {error.strerror}", where=str(part), hint=HINT) from error
    with OPENING:
        opened = OPENED.get(part)
        if opened is None or opened[0] != own:
            if opened is not None:
                opened[1].close()  # of the parent, which keeps its own, or of a file that was replaced
            opened = OPENED[part] = own, _open(part)
        return opened[1]


@contextmanager
def reading(part: Path) -> Iterator[Any]:
    """The function that gives the value of a key of a part, or None."""
    import lmdb

    try:
        with reader(part).begin() as transaction:
            yield transaction.get
    except lmdb.Error as error:
        raise DataError(f"charts cannot be read: {error}", where=str(part), hint=HINT) from error


FORMAT = 1  # raised when charts are kept in another form
CHUNK = 64  # charts that are drawn and stored together
MANIFEST, BUILDING, PART = "manifest.json", "building", "part-{:03}"
LARGEST = 2**14  # bytes of a chart in addition to its ink


def key(index: int, window: int) -> bytes:
    """The key of a window of the row that is number `index` in its source."""
    return struct.pack(">QI", index, window)


class ChartStore:
    """The charts with these `facts`, in a folder below `root`; `image` is the size (H, W) of their ink.

    Raises DataError for a damaged folder and for other charts in it.
    """

    def __init__(self, root: Path, facts: Mapping[str, Any], image: tuple[int, int]) -> None:
        self.facts = json.loads(json.dumps({"format": FORMAT, **facts}))
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()
        self.folder, self.image, self.digest = root.resolve() / digest[:16], image, digest
        self.parts = sorted(self.folder.glob("part-*"))
        if self.folder.exists():
            self._check()

    def __len__(self) -> int:
        return sum(reader(part).stat()["entries"] for part in self.parts)

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys without a chart, each once, in their order."""
        wanted = dict.fromkeys(keys)
        for part in self.parts:
            with reading(part) as get:
                wanted = {each: None for each in wanted if get(each) is None}
        return list(wanted)

    def read(self, keys: Sequence[bytes]) -> NDArray[np.uint8]:
        """The ink (B, H, W) of stored charts."""
        ink = np.empty((len(keys), *self.image), np.uint8)
        for place, value in enumerate(self._values(keys)):
            try:
                ink[place] = drawing.unpacked(value, self.image)
            except ValueError as error:
                raise DataError(f"a chart is damaged: {error}", where=str(self.folder), hint=HINT) from error
        return ink

    def check(self, keys: Sequence[bytes], signals: Iterable[NDArray[np.float32]]) -> None:
        """Raise DataError for a chart that was drawn from another signal than its own of `signals`."""
        for value, signal in zip(self._values(keys), signals, strict=True):
            if value[: drawing.TOLD] != drawing.told(signal):
                raise DataError("the charts were drawn from other signals", where=str(self.folder), hint=HINT)

    def _values(self, keys: Sequence[bytes]) -> Iterator[bytes]:
        with ExitStack() as stack:
            gets = [stack.enter_context(reading(part)) for part in self.parts]
            for each in keys:
                value = next((found for get in gets if (found := get(each)) is not None), None)
                if value is None:
                    raise DataError("a chart is missing", where=str(self.folder), hint=HINT)
                yield value

    @contextmanager
    def building(self, charts: int) -> Iterator["Building"]:
        """Lock the folder against other processes while at most `charts` charts are put into an unfinished part.

        The part is complete then and can be read; after an exception it stays unfinished.
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
                    under_way.environment.close()
                self._add(charts)
        except OSError as error:
            what = f"cannot store charts: {error.strerror}"
            raise ResourceError(what, where=str(self.folder), hint="free space") from error

    def _add(self, charts: int) -> None:
        if not charts:  # another process was faster
            shutil.rmtree(self.folder / BUILDING)
            return
        building, part = self.folder / BUILDING, self.folder / PART.format(len(self.parts))
        files.write_text(building / SEAL, files.sha256(building / DATA))
        building.rename(part)
        self.parts.append(part)
        files.write_json(self.folder / MANIFEST, {**self.facts, "charts": len(self)})

    def _check(self) -> None:
        """Raise DataError for a folder that is damaged or has other charts."""
        manifest, facts = self.folder / MANIFEST, None
        if not manifest.exists() and all(path.name.startswith(".") for path in self.folder.iterdir()):
            return
        try:
            if manifest.exists():  # checked again: another process may just have written it
                facts = files.read_json(manifest)
                del facts["charts"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{MANIFEST} cannot be read: {error}", where=str(self.folder), hint=HINT) from error
        if facts != self.facts:
            raise DataError(f"{MANIFEST} describes other charts", where=str(self.folder), hint=HINT)
        for part in self.parts:
            reader(part)


def fill(
    store: ChartStore, windows: Mapping[bytes, Callable[[], NDArray[np.float32]]], how: Drawing, *, workers: int = 0
) -> None:
    """Draw the charts of the signals that the functions `windows` give, by key, into the store, in `workers` processes.

    Raises ResourceError for a full disk or a killed process; the charts drawn before are kept.
    """
    with store.building(len(windows)) as part:
        missing = part.missing(store.missing(windows))  # another process may have drawn some
        chunks = [missing[begin : begin + CHUNK] for begin in range(0, len(missing), CHUNK)]
        signals = ([windows[each]() for each in chunk] for chunk in chunks)
        values: Any = drawing.drawn(signals, how, workers, charts=len(missing))
        title, done = f"charts {how.sheet.layout.name}", len(windows) - len(missing)
        log.info("drawing %s charts of layout %s into %s", f"{len(missing):,}", how.sheet.layout.name, store.folder)
        with closing(values), terminal.bar(desc=title, total=len(windows), initial=done, unit="chart") as bar:
            for chunk, charts in zip(chunks, values, strict=True):
                part.put(dict(zip(chunk, charts, strict=True)))
                bar.update(len(chunk))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock `folder` against other processes; the kernel releases it when this one dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, f"draws into {folder}")
        yield
    finally:
        os.close(handle)
