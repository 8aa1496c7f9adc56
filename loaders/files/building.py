"""The samples of many records in one array on disk, read by parallel processes, continued after a kill.

    arrays, checksum = building.kept(cache / "records-1f", Reading(names, read, shape), workers=0)

    <cache>/records-1f.building/    samples.i2: the records that were read; done.jsonl: a line for each part of them
    <cache>/records-1f/             the complete array, as `cache.cached` keeps it

No process holds more than some records in memory. A part counts as read if its line is whole and its samples have the
digests in that line; parts after it are read again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.files.cache import META, Arrays, cached
from loaders.files.sources import log
from toolbox import files, processes, terminal
from toolbox.errors import ResourceError

PART = 64  # records that are read and stored together
ALONE = 4 * PART  # records below which a second process takes longer to start than it saves
SAMPLES, JOURNAL, SUFFIX = "samples.i2", "done.jsonl", ".building"
Found = NDArray[np.int16] | str  # the samples of a record, or its fault


@dataclass(frozen=True)
class Reading:
    """The records to read: their `names`, the `shape` (C, T) of each, and `read`, which gives the samples or the fault
    of each of some names, in another process."""

    names: Sequence[str]
    shape: tuple[int, int]
    read: Callable[[Sequence[str]], list[Found]]

    @property
    def parts(self) -> list[tuple[int, Sequence[str]]]:
        """The first record and the names of each part."""
        return [(begin, self.names[begin : begin + PART]) for begin in range(0, len(self.names), PART)]


def kept(folder: Path, reading: Reading, *, workers: int) -> tuple[Arrays, str]:
    """samples (R, C, T) int16, content and fault (R,) of the records, kept in `folder`, and their checksum.

    `content` is a hash of a record's samples, "" for a record with a `fault`, whose samples are 0. `workers` processes
    read (0: one per core). Raises ResourceError for a full disk or a killed process; the samples read before are kept.
    """
    with ExitStack() as stack:
        if not (folder / META).exists():
            stack.enter_context(_alone(folder.parent))
        arrays, checksum = cached(folder, partial(_built, folder, reading, workers), by_record=("samples",))
        if (there := _place(folder)).exists():
            shutil.rmtree(there, ignore_errors=True)
        return arrays, checksum


def content(samples: NDArray[np.int16]) -> str:
    """A hash of a record's samples (C, T)."""
    return hashlib.sha256(np.ascontiguousarray(samples).data).hexdigest()[:32]


def _place(folder: Path) -> Path:
    return folder.with_name(folder.name + SUFFIX)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Lock the folder `cache` against other processes that read records."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        handle = os.open(cache, os.O_RDONLY)
    except OSError as error:
        raise _refused(cache, error) from error
    try:
        files.lock(handle, f"reads records into {cache}")
        yield
    finally:
        os.close(handle)


def _refused(place: Path, error: OSError) -> ResourceError:
    what, hint = f"cannot store the records: {error.strerror or error}", "free space; the same command continues then"
    return ResourceError(what, where=str(place), hint=hint)


def _built(folder: Path, reading: Reading, workers: int) -> Arrays:
    place, size = _place(folder), (len(reading.names), *reading.shape)
    for other in folder.parent.glob(f"*{SUFFIX}"):
        with suppress(OSError):
            if other != place:
                files.remove_if_old(other)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with open(place / SAMPLES, "ab") as file:
            file.truncate(int(np.prod(size)) * 2)
        samples = np.memmap(place / SAMPLES, np.int16, "r", shape=size)
        done = _done(place, reading, samples)
        files.write_text(place / JOURNAL, "".join(f"{json.dumps(line)}\n" for line in done))
        done += _rest(place, reading, workers, done)
    except OSError as error:
        raise _refused(place, error) from error
    texts = {name: [text for line in done for text in line[name]] for name in ("content", "fault")}
    return {"samples": samples} | {name: np.array(own, str) for name, own in texts.items()}


def _done(place: Path, reading: Reading, samples: NDArray[np.int16]) -> list[dict[str, Any]]:
    """The lines of the parts that were read before, up to the first one that is not as its line describes it."""
    found: list[dict[str, Any]] = []
    lines = (place / JOURNAL).read_text("utf-8", errors="replace").splitlines() if (place / JOURNAL).exists() else []
    for line, (begin, names) in zip(lines, reading.parts, strict=False):
        with suppress(ValueError, TypeError, KeyError):
            part = json.loads(line)
            stored = samples[begin : begin + len(names)]
            digests = [content(own) if known else "" for own, known in zip(stored, part["content"], strict=True)]
            if part["begin"] == begin and digests == part["content"] and len(part["fault"]) == len(names):
                found.append(part)
                continue
        break
    if found:
        log.info("%s of %s records were read before", f"{_read(found):,}", f"{len(reading.names):,}")
    return found


def _read(lines: Sequence[dict[str, Any]]) -> int:
    return sum(len(line["content"]) for line in lines)


def _rest(place: Path, reading: Reading, workers: int, done: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read the parts that are not done; their lines."""
    total, found = len(reading.names), []
    work = partial(_fill, place / SAMPLES, reading.shape, reading.read)
    number = processes.count(total - _read(done), workers, alone=ALONE)
    lines = processes.in_order(work, reading.parts[len(done) :], number, doing="read records")
    with (
        open(place / JOURNAL, "a", encoding="utf-8") as journal,
        terminal.bar(desc="records", total=total, initial=_read(done), unit="record") as bar,
    ):
        for line in lines:
            journal.write(f"{json.dumps(line)}\n")
            journal.flush()
            found.append(line)
            bar.update(len(line["content"]))
    return found


def _fill(
    path: Path, shape: tuple[int, int], read: Callable[[Sequence[str]], list[Found]], part: tuple[int, Sequence[str]]
) -> dict[str, Any]:
    """Read a part of the records and write their samples; its line of the journal."""
    begin, names = part
    block = np.zeros((len(names), *shape), np.int16)
    line: dict[str, Any] = {"begin": begin, "content": [], "fault": []}
    for own, found in zip(block, read(names), strict=True):
        if not isinstance(found, str):
            own[...] = found
        line["content"].append("" if isinstance(found, str) else content(own))
        line["fault"].append(found if isinstance(found, str) else "")
    with open(path, "r+b") as file:
        file.seek(begin * block[0].nbytes)
        file.write(block.data)
        file.flush()
        os.fsync(file.fileno())
    return line
