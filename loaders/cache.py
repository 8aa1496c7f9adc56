"""What was parsed once is kept as arrays on disk, beside what it was parsed from, and mapped into memory at the next start."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.errors import DataError, ResourceError

FORMAT = 1  # raised when the parsed arrays change, so that older caches are not read

Arrays = dict[str, NDArray[Any]]


def fingerprint(*paths: Path, **how: str | None) -> str:
    """A name for the state of some files (names, sizes, times of change, without reading them) and for `how` they are read."""
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps([FORMAT, facts] + [how] * bool(how)).encode()).hexdigest()[:16]


def cached(folder: Path, build: Callable[[], Arrays]) -> tuple[Arrays, str]:
    """The arrays that `build` makes, mapped into memory from `folder`, and the SHA-256 of their content.

    The first call builds and stores them; the folder appears only when it is complete. Raises DataError if it is damaged,
    ResourceError if it cannot be read or written.
    """
    if not os.path.isfile(folder / "meta.json"):
        _store(folder, build())
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in meta["arrays"]}
        return arrays, meta["sha256"]
    except PermissionError as error:
        raise ResourceError("the parsed arrays may not be read", where=str(folder), hint="check the permissions") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(
            f"the parsed arrays are damaged: {error}", where=str(folder), hint="remove that folder; it is built again"
        ) from error


def gathered(parts: Iterable[NDArray[Any]], folder: Path) -> NDArray[Any] | None:
    """Parts of one shape as one array (N, ...), None for none: written one after the other to a temporary file in `folder`.

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
            f"cannot store the parsed data: {error.strerror}", where=str(folder), hint="free space, or another --root-dir"
        ) from error


def _store(folder: Path, arrays: Arrays) -> None:
    meta = {"arrays": list(arrays), "sha256": checksum(arrays)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
            whole = Path(name) / folder.name
            whole.mkdir()
            for key, array in arrays.items():
                files.write_array(whole / f"{key}.npy", array)
            files.write_json(whole / "meta.json", meta)
            whole.rename(folder)
    except OSError as error:
        if not os.path.isfile(folder / "meta.json"):  # else another process was faster
            raise ResourceError(
                f"cannot store the parsed data: {error.strerror}", where=str(folder), hint="free space, or another --root-dir"
            ) from error


def checksum(arrays: Arrays) -> str:
    """The SHA-256 of the names, shapes and values of `arrays`, in their order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update("\n".join(array).encode() if array.dtype.kind == "U" else np.ascontiguousarray(array).view(np.uint8))
    return digest.hexdigest()
