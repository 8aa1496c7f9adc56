"""What was parsed once is kept as arrays on disk, beside what it was parsed from, and mapped into memory at the next
start.

    <root>/<dataset>/cache/<name>/    an NPY file an array, and meta.json: the SHA-256 of their content and of each file

A process that opens a folder compares the files with meta.json; a folder that is damaged, or not whole, is built again.

A large array on disk is compared with the digests of its records as these are read, and not as a whole when it is
opened.

`digests(array)` are stored beside it; `watch(array, folder)` keeps them in memory; `check(array, rows)` compares those
of `rows`.
"""

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.files.archives import reading
from loaders.files.sources import log
from toolbox import files
from toolbox.errors import DataError, ResourceError

LARGE_ARRAY = 2**30  # bytes; smaller arrays are compared when they are opened
DIGESTS_SUFFIX = ".digests.npy"
LEAST_BLOCK = 2**16  # bytes of a block
DIGEST_SIZE = 16  # bytes of a digest

Rows = NDArray[np.int64]


@dataclass(eq=False)
class Watched:
    """An array, `rows` of which share a digest (B, SIZE), and which blocks (B,) are `sound`."""

    array: NDArray[Any]
    folder: Path
    rows: int
    digests: NDArray[np.uint8]
    sound: NDArray[np.bool_]

    def check(self, rows: Rows | None) -> None:
        """Compare the blocks of `rows`, None for all, that have not been compared yet; DataError for a damaged one."""
        if self.sound.all():
            return
        of = np.arange(len(self.sound)) if rows is None else np.unique(np.asarray(rows) // self.rows)
        for block in of[~self.sound[of]]:
            if _block_digest(self.array[block * self.rows : (block + 1) * self.rows]) != self.digests[block].tobytes():
                with suppress(OSError):
                    (self.folder / "meta.json").unlink()  # without it the next command builds the folder again
                what = f"the parsed data are damaged about record {block * self.rows}"
                raise DataError(
                    what, where=str(self.array.filename), hint="the same command again, which parses them again"
                )
            self.sound[block] = True


WATCHED: dict[str, Watched] = {}  # by file


def digests(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The digests (B, SIZE) of the blocks of an array (N, ...)."""
    rows = _rows(array)
    found = [_block_digest(array[begin : begin + rows]) for begin in range(0, len(array), rows)]
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, DIGEST_SIZE)


def watch(array: NDArray[Any], folder: Path) -> None:
    """From here on `check` knows the digests of a mapped array, which lie beside it. Raises what `np.load` does."""
    known = np.load(Path(str(array.filename)).with_suffix(DIGESTS_SUFFIX), allow_pickle=False)
    WATCHED[str(array.filename)] = Watched(array, folder, _rows(array), known, np.zeros(len(known), bool))


def check(array: NDArray[Any], rows: Rows | None = None) -> None:
    """Raise a DataError where `rows` of an array, None for all, are not what was stored; each is looked at once in a
    process."""
    if (watched := WATCHED.get(str(getattr(array, "filename", None)))) is not None:
        watched.check(rows)


def _rows(array: NDArray[Any]) -> int:
    """How many rows a block has: one record, or as many short ones as make the comparison worth its cost."""
    return max(1, LEAST_BLOCK // max(1, array[:1].nbytes))


def _block_digest(block: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(block).reshape(-1).view(np.uint8)).digest()[:DIGEST_SIZE]


FORMAT = 1  # raised when the parsed arrays change, so that older caches are not read
META = "meta.json"
LARGE = 2**30  # bytes of source files, beyond which they are not read for a fingerprint
EDGES = 2**24  # bytes that are read of them instead, of all together
SHORTEST_EDGE = 2**12
UNSETTLED_NS = 2 * 10**9  # two writes so close together may have one time stamp
HIDDEN = f".{files.PREFIX}"
LEFT_BEFORE = re.compile(rf"\.(.+)\.{files.RANDOM}")  # how an earlier version named what it was storing

Arrays = dict[str, NDArray[Any]]
Facts = tuple[tuple[str, int, int, int, int], ...]
DIGESTS: dict[tuple[int, ...], str] = {}  # of files that this process has read, by device, inode, size and times
SOUND: dict[
    Path, Facts
] = {}  # folders that this process has compared with their meta.json, and their files at that time


class Damaged(Exception):
    """A folder does not hold what was stored in it."""


# What a damaged folder raises: JSON and NPY headers may hold anything.
UNUSUAL = (AttributeError, ArithmeticError, EOFError, LookupError, MemoryError, RuntimeError, TypeError)
BROKEN = (Damaged, OSError, ValueError, *UNUSUAL)


def fingerprint(*paths: Path, **how: str | None) -> str:
    """A name for the content of some files and for `how` they are read.

    Of more than a gigabyte only head and tail are read; their SHA-256, resolved path, inode, size and times stand for
    the content. Raises ResourceError.
    """
    with reading(paths[0] if paths else Path()):
        states = [path.stat() for path in paths]
        if sum(state.st_size for state in states) <= LARGE:
            facts = [(path.name, _digest(path, state)) for path, state in zip(paths, states, strict=True)]
        else:
            edge = max(SHORTEST_EDGE, EDGES // (2 * len(paths)))
            facts = [(path.name, *_large(path, state, edge)) for path, state in zip(paths, states, strict=True)]
    return hashlib.sha256(json.dumps([FORMAT, facts] + [how] * bool(how)).encode()).hexdigest()[:16]


def _digest(path: Path, state: os.stat_result) -> str:
    """The SHA-256 of a file, which is read once in a process where its times tell of every change."""
    key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if (known := DIGESTS.get(key)) is not None:
        return known
    digest = files.sha256(path)
    if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > UNSETTLED_NS:
        DIGESTS[key] = digest
    return digest


def _large(path: Path, state: os.stat_result, edge: int) -> tuple[Any, ...]:
    with open(path, "rb") as file:
        head = file.read(edge)
        file.seek(max(0, state.st_size - edge))
        ends = hashlib.sha256(head + file.read(edge)).hexdigest()
    return str(path.resolve()), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns, ends


def cached(folder: Path, build: Callable[[], Arrays], *, by_record: Sequence[str] = ()) -> tuple[Arrays, str]:
    """The arrays that `build` makes, mapped into memory from `folder`, and the SHA-256 of their content.

    They are built and stored where they are not there or not what was stored, which is logged. The folder appears only
    when it is complete; where it may not be written the arrays stay in memory. Arrays `by_record` that are large are
    not compared here: `check` does that for the records that are read.
    Raises ResourceError if the folder cannot be read, or not be written for another reason, DataError if it does not
    keep what is written.
    """
    _sweep(folder.parent)
    if os.path.lexists(folder):
        try:
            return _opened(folder, by_record)
        except PermissionError as error:
            raise ResourceError(
                "the parsed arrays may not be read", where=str(folder), hint="check the permissions"
            ) from error
        except BROKEN as error:
            log.warning("the parsed data in %s are damaged (%s) and built again", folder, _reason(error))
    arrays = build()
    if not _store(folder, arrays, by_record):
        return arrays, checksum(arrays)
    try:
        return _opened(folder, by_record)
    except BROKEN as error:
        what = f"the parsed arrays are damaged: {error}"
        raise DataError(
            what, where=str(folder), hint="another --root-dir: this disk does not keep what is written"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{Path(error.filename).name}: {error.strerror}"
    return str(error) or type(error).__name__


def _opened(folder: Path, by_record: Sequence[str]) -> tuple[Arrays, str]:
    """The arrays of a sound folder and their checksum. Raises one of BROKEN."""
    meta = json.loads((folder / META).read_bytes())
    seen = SOUND.get(folder) == _facts(folder)
    if not seen and "seal" in meta:
        _compare(folder, meta)
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in meta["arrays"]}
    if not seen and "seal" in meta:
        _watch(folder, meta, arrays)
    elif not seen:
        if checksum(arrays) != meta["sha256"] or not all(array.dtype.isnative for array in arrays.values()):
            raise Damaged("the arrays do not have their checksum")
        with suppress(ResourceError, OSError):  # of an earlier version; a place that cannot be written stays as it is
            _describe(folder, arrays, meta["sha256"], by_record)
    SOUND[folder] = _facts(folder)
    return arrays, meta["sha256"]


def _compare(folder: Path, meta: Mapping[str, Any]) -> None:
    if meta["seal"] != _seal(meta):
        raise Damaged(f"{META} was changed")
    for name, digest in meta["files"].items():
        if files.sha256(folder / name) != digest:
            raise Damaged(f"{name} is not what was stored")


def _watch(folder: Path, meta: Mapping[str, Any], arrays: Arrays) -> None:
    for name, facts in meta["blocks"].items():
        if [arrays[name].dtype.str, [*arrays[name].shape]] != facts:
            raise Damaged(f"{name}.npy is not what was stored")
        watch(arrays[name], folder)


def _facts(folder: Path) -> Facts:
    """What changes when a file of the folder does."""
    with os.scandir(folder) as entries:
        states = [(entry.name, entry.stat()) for entry in entries]
    return tuple(sorted((name, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns) for name, of in states))


def _seal(meta: Mapping[str, Any]) -> str:
    """The SHA-256 of all else in meta.json."""
    text = json.dumps({name: value for name, value in meta.items() if name != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def gathered(parts: Iterable[NDArray[Any]], folder: Path) -> NDArray[Any] | None:
    """Parts of one shape as one array (N, ...), None for none: written one after the other to a temporary file in
    `folder`.

    So the memory that is needed is that of a part. The file is gone when nobody holds the array. Raises ResourceError.
    """
    count, part = 0, None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            for count, part in enumerate(parts, 1):  # noqa: B007
                file.write(np.ascontiguousarray(part))
            file.flush()
            return None if part is None else np.memmap(file, part.dtype, "r", shape=(count, *part.shape))
    except OSError as error:
        raise ResourceError(
            f"cannot store the parsed data: {error.strerror}",
            where=str(folder),
            hint="free space, or another --root-dir",
        ) from error


def _store(folder: Path, arrays: Arrays, by_record: Sequence[str]) -> bool:
    """Whether the arrays are in their folder, which they are not where that may not be written. Raises
    ResourceError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.folder(folder.parent, HIDDEN) as place:
            whole = place / folder.name
            whole.mkdir()
            _write(whole, arrays, by_record)
            _replace(whole, folder, place / "damaged", by_record)
        return True
    except OSError as error:
        if error.errno in files.NOT_WRITABLE:
            log.info("the parsed data are not kept: %s (%s)", error.strerror, folder)
            return False
        raise ResourceError(
            f"cannot store the parsed data: {error.strerror}",
            where=str(folder),
            hint="free space, or another --root-dir",
        ) from error


def _write(whole: Path, arrays: Arrays, by_record: Sequence[str]) -> None:
    for name, array in arrays.items():
        files.write_array(whole / f"{name}.npy", array)
    _describe(whole, arrays, checksum(arrays), by_record)


def _describe(folder: Path, arrays: Arrays, checksum: str, by_record: Sequence[str]) -> None:
    """Write meta.json, and the digests of the records of large arrays."""
    meta: dict[str, Any] = {"arrays": list(arrays), "sha256": checksum, "files": {}, "blocks": {}}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        if name in by_record and array.nbytes > LARGE_ARRAY:
            meta["blocks"][name] = [array.dtype.str, [*array.shape]]
            path = path.with_suffix(DIGESTS_SUFFIX)
            files.write_array(path, digests(array))
        meta["files"][path.name] = files.sha256(path)
    files.write_json(folder / META, meta | {"seal": _seal(meta)})


def _replace(whole: Path, folder: Path, aside: Path, by_record: Sequence[str]) -> None:
    """Put the folder `whole` in the place of `folder`, which goes `aside` unless another process has stored a sound one
    there."""
    try:
        whole.rename(folder)
    except OSError:
        if not os.path.lexists(folder):
            raise
        with suppress(*BROKEN):
            _opened(folder, by_record)
            return
        with suppress(FileNotFoundError):  # another process replaces it at this moment
            folder.rename(aside)
        with suppress(FileExistsError):
            whole.rename(folder)


def _sweep(cache: Path) -> None:
    """Remove what killed processes have left: of stored arrays in `cache`, of unpacked archives in the temporary
    folder."""
    files.sweep(cache, HIDDEN)
    files.sweep()
    with suppress(OSError):
        for path in cache.iterdir():
            if (name := LEFT_BEFORE.fullmatch(path.name)) and [name[1]] == os.listdir(path):
                files.remove_if_old(path)


def checksum(arrays: Arrays) -> str:
    """The SHA-256 of the names, shapes and values of `arrays`, in their order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update(
            "\n".join(array).encode() if array.dtype.kind == "U" else np.ascontiguousarray(array).view(np.uint8)
        )
    return digest.hexdigest()
