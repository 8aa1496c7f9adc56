"""A file is written whole or not at all: to a temporary name beside it, synced, then renamed. And the SHA-256 of a file."""

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO

from toolbox.errors import ResourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_JSON = 2**28  # bytes that are read, a history of a hundred thousand epochs


LONGEST = 200  # bytes of a name that a temporary name takes over; a file system allows 255


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a new file that replaces `path` once it is complete.

    On any failure the temporary file is removed and what stood at `path` before stays. A failure of the disk
    (full, no permission, too large) is a ResourceError that names the path and the bytes written.
    """
    temporary = path.with_name(f".{os.fsdecode(os.fsencode(path.name)[:LONGEST])}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise refused(path, error, temporary) from error
    finally:
        temporary.unlink(missing_ok=True)


def refused(path: Path, error: OSError, written: Path) -> ResourceError:
    """The system does not let `path` be written; `written` is the file that has got as far as it did."""
    size = written.stat().st_size if written.exists() else 0
    hint = "free space, or check the permissions"
    return ResourceError(f"cannot write {path}: {error.strerror or error}", where=f"{size} bytes written", hint=hint)


def write_array(path: Path, array: "NDArray[Any]") -> None:
    """Write `array` as NPY, whole or not at all."""
    import numpy as np

    # Given a file, np.save writes past it and cannot say why the system refused.
    write_whole(path, lambda file: np.save(SimpleNamespace(write=file.write), array, allow_pickle=False))


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON that every parser reads: NaN and infinities become null. A list has a line an item."""
    if isinstance(value, list):  # without an indent json is ten times as fast, which a history of many epochs notices
        text = "[\n" + ",\n".join(json.dumps(finite(item), allow_nan=False) for item in value) + "\n]"
    else:
        text = json.dumps(finite(value), indent=1, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file; a ValueError gives the reason for whatever a file can contain, an OSError that of the system."""
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"larger than {LARGEST_JSON // 2**20} MiB")
    try:
        return json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8, byte {error.start}: {error.reason}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"a number is too long: {error}") from error


def finite(value: Any) -> Any:
    """`value` (dicts, lists, numbers, strings, None) with every NaN or infinite float replaced by None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
