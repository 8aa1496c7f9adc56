"""Atomic writes (temporary file in the same folder, sync, rename), JSON, locks and temporary folders.

The next process that uses the same parent folder removes the temporary folders of a killed one.

    with files.folder(parent) as path: ...    # removed at the end; after SIGKILL by the next call of `sweep`

A folder holds a lock file that its process keeps locked; the kernel unlocks it when the process dies. The file also
names the boot of the kernel, because a lock on a network file system does not always reach other hosts: a folder of
another boot is removed only after a day without changes.
"""

import csv
import errno
import fcntl
import hashlib
import io
import json
import logging
import math
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO

from toolbox.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
LONGEST = 200  # bytes of the file's name in its temporary name; a file system allows 255
YAML_BYTES, YAML_DEPTH, YAML_VALUES = 2**20, 20, 100_000  # of a YAML file, with expanded aliases
NULL = ("", "~", "null")  # in YAML
MOST_BYTES, MOST_DEPTH, MOST_DIGITS = 64 * 2**20, 64, 18  # of JSON that the program reads
PREFIX = "ecg_commander_"  # of folders in the system's temporary folder
LOCK, CONTENT = ".ecg_commander.lock", "content"
CELLS = 2**14  # of a column of CSV, at a time
RANDOM = r"[a-z0-9_]{8}"  # the suffix of `tempfile`
DAY_S = 24 * 3600
log = logging.getLogger("commander")


def sha256(path: Path) -> str:
    """The SHA-256 of the content of a regular file. Raises OSError."""
    with regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a new file, which then replaces `path`; on failure the old file at `path` stays.

    Raises ResourceError with the path and the bytes written for a failure of the disk (full, no permission, too large).
    """
    temporary = path.with_name(f".{os.fsdecode(os.fsencode(path.name)[:LONGEST])}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise refused(path, error, temporary) from error
    finally:
        temporary.unlink(missing_ok=True)


def refused(path: Path, error: OSError, written: Path) -> ResourceError:
    """The error for a failed write of `path`; `written` is the incomplete file."""
    size = written.stat().st_size if written.exists() else 0
    hint = "free space, or check the permissions"
    return ResourceError(f"cannot write {path}: {error.strerror or error}", where=f"{size} bytes written", hint=hint)


def write_array(path: Path, array: "NDArray[Any]") -> None:
    """Write `array` as NPY, whole or not at all."""
    import numpy as np

    # np.save writes to a real file by its descriptor and loses the system's reason for a failure.
    write_whole(path, lambda file: np.save(SimpleNamespace(write=file.write), array, allow_pickle=False))


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all; undecodable bytes of file names as escapes."""
    write_whole(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def write_csv(path: Path, columns: Mapping[str, "Sequence[Any] | NDArray[Any]"], form: str = "%r") -> None:
    """Write columns of one length as CSV, floats in the `form` of printf; None and NaN are empty cells."""
    rows = zip(*(_cells(column, form) for column in columns.values()), strict=True)

    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        csv.writer(text, lineterminator="\n").writerows(chain([columns], rows))
        text.flush()
        text.detach()  # closes it else

    write_whole(path, write)


def _cells(column: Any, form: str) -> Iterator[Any]:
    """The cells of a column; the csv module writes a float as %r does. An array becomes cells part by part."""
    kind = getattr(column, "dtype", object)
    for first in range(0, len(column), CELLS):
        part = column[first : first + CELLS]
        values = part if kind is object else part.tolist()
        if kind in (int, bool) or (str(kind) == "float64" and form == "%r" and not (part != part).any()):
            yield from values
            continue
        for one in values:
            missing = one is None or one != one
            yield "" if missing else form % float(one) if isinstance(one, float) else one


def write_json(path: Path, value: Any) -> None:
    """Write `value` as standard JSON: NaN and infinities become null; a list has one line per item."""
    if isinstance(value, list):  # json without an indent is ten times faster, which matters for a long history
        text = "[\n" + ",\n".join(json.dumps(finite(item), allow_nan=False) for item in value) + "\n]"
    else:
        text = json.dumps(finite(value), indent=1, allow_nan=False)
    write_text(path, text + "\n")


def finite(value: Any) -> Any:
    """`value` (dicts, lists, numbers, strings, None) with every NaN or infinite float replaced by None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def regular(path: Path) -> BufferedReader:
    """A regular file, opened for reading. Raises OSError for a folder or a pipe, which may block forever."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file


class UnreadableError(ValueError):
    """A JSON file cannot be read: `what` names the fault, `place` the line or byte where known."""

    def __init__(self, what: str, place: str = "") -> None:
        self.what, self.place = what, place
        super().__init__(what + place)


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises UnreadableError for excess size, depth or digits, or a repeated name."""
    try:
        with regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise UnreadableError(f"has {size:,} bytes, at most {MOST_BYTES:,} are read")
            return of_json(file.read().decode("utf-8-sig"))
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not text: {error.reason}", f", byte {error.start}") from error


def of_json(text: str) -> Any:
    """The value of a JSON text. Raises UnreadableError as `read_json`."""
    try:
        value = json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_real, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is not JSON: {error.msg}", f", line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise UnreadableError(f"is nested more than {MOST_DEPTH} deep") from error
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [item for each in level if isinstance(each, list) for item in each]
        if not level:
            return value
    raise UnreadableError(f"is nested more than {MOST_DEPTH} deep")


def read_yaml(path: Path, shape: str) -> Any:
    """The content of a YAML file, every scalar as text; `shape` says in errors what it should be.

    Raises UsageError if its size, depth or aliases exceed the limits of a grid.
    """
    import yaml

    class Loader(yaml.BaseLoader):
        """Reads every scalar as text, a bare null, ~ or nothing as None; refuses a key that occurs twice."""

        def construct_scalar(self, node: Any) -> Any:
            text = super().construct_scalar(node)
            return None if node.style is None and text in NULL else text

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key in [key for key, _ in node.value if isinstance(key.value, str)]:
                if key.value in seen:
                    what = f"'{key.value[:40]}' stands twice, at line {key.start_mark.line + 1}"
                    raise UsageError(what, hint="each once")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    with path.open("rb") as file:
        content = file.read(YAML_BYTES + 1)
    if len(content) > YAML_BYTES:
        what = f"the file is larger than {YAML_BYTES:,} bytes"
        raise UsageError(what, hint="fewer values, or several files")
    try:
        loader = Loader(content.decode("utf-8-sig"))
        node = loader.get_single_node()
        values, depth = _size(node, {}) if node else (0, 0)
        if depth > YAML_DEPTH:
            raise UsageError(f"the file is nested {depth} deep, the limit is {YAML_DEPTH}", hint=shape)
        if values > YAML_VALUES:
            what = f"the file has {values:,} values with expanded aliases, the limit is {YAML_VALUES:,}"
            raise UsageError(what, hint="fewer values, or several files")
        found = loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        mark, why = error.problem_mark, ": ".join(filter(None, (error.context, error.problem)))
        place = f", at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"the file is not YAML: {why}{place}", hint=shape) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"the file is not YAML: {error}".replace(' in "<unicode string>"', ""), hint=shape) from error
    except RecursionError as error:
        raise UsageError(f"the file is nested more than {YAML_DEPTH} deep", hint=shape) from error
    return found


def _size(node: Any, sizes: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Number of values and depth below a node; `sizes` has the sizes of earlier nodes, None for enclosing nodes."""
    if id(node) not in sizes:
        sizes[id(node)] = None
        inner = node.value if isinstance(node.value, list) else []
        parts = [part for each in inner for part in (each if isinstance(each, tuple) else (each,))]
        found = [_size(part, sizes) for part in parts]
        sizes[id(node)] = (1 + sum(count for count, _ in found), 1 + max((depth for _, depth in found), default=0))
    size = sizes[id(node)]
    if size is None:
        what = f"an alias at line {node.start_mark.line + 1} contains itself"
        raise UsageError(what, hint="the values instead of the alias")
    return size


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise UnreadableError(f"has a whole number of {len(text)} digits, at most {MOST_DIGITS} are read")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UnreadableError(f"has the number {text[:20]}, which is not finite")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise UnreadableError(f"names {next(name for name in value if names.count(name) > 1)[:40]} twice in an object")
    return value


def lock(handle: int, work: str) -> bool:
    """Lock an open folder; true if it had to wait for another process, which does the `work`.

    The lock is on the folder itself: no lock file stays behind in a user's folder, or keeps it from being removed.
    """
    with suppress(OSError):  # a file system without locks
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that %s", work)
            fcntl.flock(handle, fcntl.LOCK_EX)
            return True
    return False


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
    """Remove this user's folders named `prefix`... below `parent` that dead processes left."""
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
        os.write(handle, _boot().encode())  # locked first: an unlocked file of this boot is of a dead process
        yield
    finally:
        os.close(handle)


def _remove_if_abandoned(outer: Path) -> None:
    """Raises OSError, also for a folder without a lock file, which may belong to another program."""
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
    """Remove a folder unchanged for a day. Raises OSError."""
    paths = [outer, *outer.rglob("*")]
    if time.time() - max(path.lstat().st_ctime for path in paths) > DAY_S:
        _remove(outer)


def _remove(outer: Path) -> None:
    log.info("removing %s, left behind by a killed process", outer)
    shutil.rmtree(outer, ignore_errors=True)


def _boot() -> str:
    """The id of this boot of the kernel; "" if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
