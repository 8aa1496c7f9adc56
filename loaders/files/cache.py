"""Parsed arrays on disk, in the dataset's folder; later starts map them into memory.

    <root>/<dataset>/cache/<name>/    an NPY file for each array, and meta.json: SHA-256 of the content and of each file

A process that opens a folder compares its files with meta.json; a damaged or incomplete folder is built again.

A large array is compared with the digests of its records when these are read, and not as a whole when it is opened:
`digests(array)` are stored with it, `watch(array, folder)` keeps them in memory, `check(array, rows)` compares `rows`.
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

LARGE_ARRAY = 2**30  # bytes; smaller arrays are compared at opening
DIGESTS_SUFFIX = ".digests.npy"
LEAST_BLOCK = 2**16  # bytes of a block
DIGEST_SIZE = 16  # bytes of a digest

Rows = NDArray[np.int64]


@dataclass(eq=False)
class Watched:
    """An array with a digest (B, SIZE) for each block of `rows`, and the `sound` blocks (B,)."""

    array: NDArray[Any]
    folder: Path
    rows: int
    digests: NDArray[np.uint8]
    sound: NDArray[np.bool_]

    def check(self, rows: Rows | int | None) -> None:
        """Compare the blocks of `rows` (None: all) once. Raises DataError for a damaged one."""
        if self.sound.all():
            return
        of = np.arange(len(self.sound)) if rows is None else np.unique(np.asarray(rows) // self.rows)
        for block in of[~self.sound[of]]:
            if _block_digest(self.array[block * self.rows : (block + 1) * self.rows]) != self.digests[block].tobytes():
                with suppress(OSError):
                    (self.folder / "meta.json").unlink()  # without it the next command builds the folder again
                what = f"the parsed data are damaged about record {block * self.rows}"
                raise DataError(what, where=_file(self.array), hint="the same command again, which parses them again")
            self.sound[block] = True


WATCHED: dict[str, Watched] = {}  # by file


def digests(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The digests (B, SIZE) of the blocks of an array (N, ...)."""
    rows = _rows(array)
    found = [_block_digest(array[begin : begin + rows]) for begin in range(0, len(array), rows)]
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, DIGEST_SIZE)


def watch(array: NDArray[Any], folder: Path) -> None:
    """Load the digests of a mapped array for `check`. Raises the errors of `np.load`."""
    known = np.load(Path(_file(array)).with_suffix(DIGESTS_SUFFIX), allow_pickle=False)
    WATCHED[_file(array)] = Watched(array, folder, _rows(array), known, np.zeros(len(known), bool))


def check(array: NDArray[Any], rows: Rows | int | None = None) -> None:
    """Raise DataError if `rows` of an array (None: all) differ from the stored ones; a process checks each once."""
    if (watched := WATCHED.get(_file(array))) is not None:
        watched.check(rows)


def _file(array: NDArray[Any]) -> str:
    """The file of a mapped array, "" for an array in memory."""
    return str(getattr(array, "filename", ""))


def _rows(array: NDArray[Any]) -> int:
    """The number of rows of a block: one record, or more if they are short."""
    return max(1, LEAST_BLOCK // max(1, array[:1].nbytes))


def _block_digest(block: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(block).data).digest()[:DIGEST_SIZE]


FORMAT = 1  # raised when the parsed arrays change, so that older caches are not read
META = "meta.json"
LARGE = 2**30  # bytes of source files; of larger ones a fingerprint reads the ends alone
EDGES = 2**24  # bytes of these ends, of all files together
SHORTEST_EDGE = 2**12
UNSETTLED_NS = 2 * 10**9  # two writes so close together may have one time stamp
HIDDEN = f".{files.PREFIX}"
LEFT_BEFORE = re.compile(rf"\.(.+)\.{files.RANDOM}")  # the name of an unfinished folder of an earlier version

Arrays = dict[str, NDArray[Any]]
Facts = tuple[tuple[str, int, int, int, int], ...]
DIGESTS: dict[tuple[int, ...], str] = {}  # of files that this process has read, by device, inode, size and times
SOUND: dict[Path, Facts] = {}  # folders that this process has compared with their meta.json, and their files then


class Damaged(Exception):
    """The content of a folder differs from the stored one."""


# The errors of a damaged folder: JSON and NPY headers may hold anything.
UNUSUAL = (AttributeError, ArithmeticError, EOFError, LookupError, MemoryError, RuntimeError, TypeError)
BROKEN = (Damaged, OSError, ValueError, *UNUSUAL)


def fingerprint(*paths: Path, **options: str | None) -> str:
    """A name for the content of files and for the `options` of their reader.

    Of more than a gigabyte only head and tail are read; their SHA-256, resolved path, inode, size and times stand for
    the content. Raises ResourceError.
    """
    with reading(paths[0] if paths else Path()):
        states = [path.stat() for path in paths]
        if sum(state.st_size for state in states) <= LARGE:
            facts: list[tuple[Any, ...]] = [(p.name, _digest(p, state)) for p, state in zip(paths, states, strict=True)]
        else:
            edge = max(SHORTEST_EDGE, EDGES // (2 * len(paths)))
            facts = [(path.name, *_large(path, state, edge)) for path, state in zip(paths, states, strict=True)]
    return hashlib.sha256(json.dumps([FORMAT, facts] + [options] * bool(options)).encode()).hexdigest()[:16]


def _digest(path: Path, state: os.stat_result) -> str:
    """The SHA-256 of a file; a process reads it once, unless a change could leave its times as they are."""
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

    Missing or damaged arrays are built and stored; damage is logged. The folder appears when it is complete; arrays
    stay in memory without permission to write it. Large arrays `by_record` are not compared here: `check` compares the
    records that are read. Raises ResourceError if the folder cannot be read, or not be written for another reason than
    permission, DataError if it does not keep the written bytes.
    """
    _sweep(folder.parent)
    if os.path.lexists(folder):
        try:
            return _opened(folder, by_record)
        except PermissionError as error:
            what = "no permission to read the parsed arrays"
            raise ResourceError(what, where=str(folder), hint="check the permissions") from error
        except BROKEN as error:
            log.warning("the parsed data in %s are damaged (%s) and built again", folder, _reason(error))
    arrays = build()
    if not _store(folder, arrays, by_record):
        return arrays, checksum(arrays)
    try:
        return _opened(folder, by_record)
    except BROKEN as error:
        what, hint = f"the parsed arrays are damaged: {error}", "another --root-dir: this disk loses written bytes"
        raise DataError(what, where=str(folder), hint=hint) from error


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
        with suppress(ResourceError, OSError):  # of an earlier version; a read-only folder stays as it is
            _describe(folder, arrays, meta["sha256"], by_record)
    SOUND[folder] = _facts(folder)
    return arrays, meta["sha256"]


def _compare(folder: Path, meta: Mapping[str, Any]) -> None:
    if meta["seal"] != _seal(meta):
        raise Damaged(f"{META} was changed")
    for name, digest in meta["files"].items():
        if files.sha256(folder / name) != digest:
            raise Damaged(f"{name} differs from the stored file")


def _watch(folder: Path, meta: Mapping[str, Any], arrays: Arrays) -> None:
    for name, facts in meta["blocks"].items():
        if [arrays[name].dtype.str, [*arrays[name].shape]] != facts:
            raise Damaged(f"{name}.npy differs from the stored file")
        watch(arrays[name], folder)


def _facts(folder: Path) -> Facts:
    """Facts that change with a file of the folder."""
    with os.scandir(folder) as entries:
        states = [(entry.name, entry.stat()) for entry in entries]
    return tuple(sorted((name, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns) for name, of in states))


def _seal(meta: Mapping[str, Any]) -> str:
    """The SHA-256 of the other entries of meta.json."""
    text = json.dumps({name: value for name, value in meta.items() if name != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def gathered(parts: Iterable[NDArray[Any]], folder: Path) -> NDArray[Any]:
    """Parts of one shape as one array (N, ...), (0,) without a part: written one after the other to a temporary file in
    `folder`.

    This needs memory for one part. The file is removed with the last reference to the array. Raises ResourceError.
    """
    count, part = 0, np.empty(0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            for count, part in enumerate(parts, 1):  # noqa: B007
                file.write(np.ascontiguousarray(part).data)
            file.flush()
            return np.memmap(file, part.dtype, "r", shape=(count, *part.shape)) if count else part
    except OSError as error:
        raise _no_room(folder, error) from error


def _no_room(folder: Path, error: OSError) -> ResourceError:
    what = f"cannot store the parsed data: {error.strerror}"
    return ResourceError(what, where=str(folder), hint="free space, or another --root-dir")


def _store(folder: Path, arrays: Arrays, by_record: Sequence[str]) -> bool:
    """Store the arrays; False without permission to write the folder. Raises ResourceError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.folder(folder.parent, HIDDEN) as place:
            whole = place / folder.name
            whole.mkdir()
            for name, array in arrays.items():
                files.write_array(whole / f"{name}.npy", array)
            _describe(whole, arrays, checksum(arrays), by_record)
            _replace(whole, folder, place / "damaged", by_record)
        return True
    except OSError as error:
        if error.errno in files.NOT_WRITABLE:
            log.info("the parsed data are not kept: %s (%s)", error.strerror, folder)
            return False
        raise _no_room(folder, error) from error


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
    """Move `folder` `aside` and `whole` to its place, unless another process stored a sound one."""
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
    """Remove unfinished folders of killed processes, in `cache` and in the temporary folder."""
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
        digest.update("\n".join(array).encode() if array.dtype.kind == "U" else np.ascontiguousarray(array).data)
    return digest.hexdigest()
