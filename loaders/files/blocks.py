"""A large array on disk is compared with the digests of its records as these are read, and not as a whole when it is
opened.

`digests(array)` are stored beside it; `watch(array, folder)` keeps them in memory; `check(array, rows)` compares those
of `rows`.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import DataError

LARGE = 2**30  # bytes; smaller arrays are compared when they are opened
SUFFIX = ".digests.npy"
LEAST = 2**16  # bytes of a block
SIZE = 16  # bytes of a digest

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
            if _digest(self.array[block * self.rows : (block + 1) * self.rows]) != self.digests[block].tobytes():
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
    found = [_digest(array[begin : begin + rows]) for begin in range(0, len(array), rows)]
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, SIZE)


def watch(array: NDArray[Any], folder: Path) -> None:
    """From here on `check` knows the digests of a mapped array, which lie beside it. Raises what `np.load` does."""
    known = np.load(Path(str(array.filename)).with_suffix(SUFFIX), allow_pickle=False)
    WATCHED[str(array.filename)] = Watched(array, folder, _rows(array), known, np.zeros(len(known), bool))


def check(array: NDArray[Any], rows: Rows | None = None) -> None:
    """Raise a DataError where `rows` of an array, None for all, are not what was stored; each is looked at once in a
    process."""
    if (watched := WATCHED.get(str(getattr(array, "filename", None)))) is not None:
        watched.check(rows)


def _rows(array: NDArray[Any]) -> int:
    """How many rows a block has: one record, or as many short ones as make the comparison worth its cost."""
    return max(1, LEAST // max(1, array[:1].nbytes))


def _digest(block: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(block).reshape(-1).view(np.uint8)).digest()[:SIZE]
