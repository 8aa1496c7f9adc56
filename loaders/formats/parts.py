"""Which files a recording consists of, and what tells it from every other: the SHA-256 of its header and of its
samples."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from loaders.files.archives import as_folder, reading
from loaders.files.cache import Arrays, cached, fingerprint
from toolbox.files import sha256

HEADER = ".hea"
MOST = 2**20  # bytes of a header that are looked at


def of(path: Path) -> list[Path]:
    """The file of a recording; of a WFDB header also the signal files and the segments that it names, there or not."""
    found, waiting = dict.fromkeys([path]), [path]
    while waiting:
        header = waiting.pop(0)
        named = [header.parent / name for name in _named(header)]
        new = [each for each in dict.fromkeys(named) if each not in found]
        found |= dict.fromkeys(new)
        waiting += [each for each in new if each.suffix.lower() == HEADER]
    return list(found)


def _named(header: Path) -> list[str]:
    """The names of files in a header: of signals, or of the headers of segments, of which an empty one is called
    `~`."""
    if header.suffix.lower() != HEADER or not is_plain(header):
        return []
    try:
        with open(header, "rb") as file:
            lines = file.read(MOST).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    first, *rest = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")] or [""]
    _, slash, segments = first.rpartition("/")
    return [f"{name}{HEADER}" if slash and segments.isdigit() else name for name in rest if name != "~"]


def of_folder(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files with these suffixes, and those that the headers among them name, sorted. Raises OSError."""
    files = {path for path in folder.iterdir() if path.suffix in suffixes}
    named = {part for path in files if path.suffix == HEADER for part in of(path) if is_plain(part)}
    return sorted(files | named)


def parsed(
    source: Path, suffixes: Collection[str], name: Path, build: Callable[[Path], Arrays], *beside: Path, **key: str
) -> tuple[Arrays, str]:
    """What `build` makes of a folder, or of the content of a zip, and its checksum; parsed once, see `cache.cached`.

    The arrays are kept as `name`, a dash and a fingerprint of the files with these suffixes, or of the zip, of those
    `beside` it, and of `key`.
    """

    def made() -> Arrays:
        with as_folder(source) as folder:
            return build(folder)

    with reading(source):
        files = of_folder(source, suffixes) if source.is_dir() else [source]
        return cached(name.with_name(f"{name.name}-{fingerprint(*files, *beside, **key)}"), made)


def source(path: Path) -> dict[str, Any]:
    """A recording's file, its SHA-256 and, of a WFDB header, that of each file it names; None where it cannot be
    read."""
    first, *rest = of(path)
    told: dict[str, Any] = {"file": first.name, "sha256": _sum(first)}
    if first.suffix.lower() == HEADER:
        told["signals"] = {os.path.relpath(part, first.parent): _sum(part) for part in rest}
    return told


def _sum(path: Path) -> str | None:
    try:
        return sha256(path) if is_plain(path) else None
    except OSError:
        return None


def is_plain(path: Path) -> bool:
    """Whether a path is a file that can be read to its end; a pipe, and a name that no system takes, are none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
