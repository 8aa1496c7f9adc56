"""Which files a recording consists of, and what tells it from every other: the SHA-256 of its header and of its samples."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from toolbox.files import sha256

HEADER = ".hea"
MOST = 2**20  # bytes of a header that are looked at


def parts(path: Path) -> list[Path]:
    """The file of a recording; of a WFDB header also the signal files and the segments that it names, there or not.

    Raises OSError where a header cannot be read.
    """
    return list(_parts(path, {}))


def _parts(path: Path, found: dict[Path, None]) -> dict[Path, None]:
    if path in found:
        return found
    found[path] = None
    if path.suffix.lower() != HEADER or not path.is_file():
        return found
    with open(path, "rb") as file:
        lines = file.read(MOST).decode("utf-8", errors="replace").splitlines()
    words = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    _, slash, count = words[0][0].rpartition("/") if words else ("", "", "")
    segments = bool(slash) and count.isdigit()
    for name in dict.fromkeys(line[0] for line in words[1:]):
        if name != "~" and "\0" not in name:
            _parts(path.parent / (f"{name}{HEADER}" if segments else name), found)
    return found


def of_folder(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files with these suffixes, and those that the headers among them name, sorted. Raises OSError."""
    files = {path for path in folder.iterdir() if path.suffix in suffixes}
    named = {part for path in files if path.suffix == HEADER for part in parts(path) if part.is_file()}
    return sorted(files | named)


def source(path: Path) -> dict[str, Any]:
    """A recording's file, its SHA-256 and, of a WFDB header, that of each file it names; None where it cannot be read."""
    first, *rest = _or_alone(path)
    told: dict[str, Any] = {"file": first.name, "sha256": _sum(first)}
    if first.suffix.lower() == HEADER:
        told["signals"] = {part.name: _sum(part) for part in rest}
    return told


def _or_alone(path: Path) -> list[Path]:
    try:
        return parts(path)
    except OSError:
        return [path]


def _sum(path: Path) -> str | None:
    """Of a plain file: a pipe would be waited for."""
    try:
        return sha256(path) if path.is_file() else None
    except OSError:
        return None
