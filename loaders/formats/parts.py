"""The files of a recording, and its source: the SHA-256 of its header and of its samples."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from loaders.files.archives import as_folder, reading
from loaders.files.cache import Arrays, cached, fingerprint
from toolbox.files import sha256

HEADER = ".hea"
MOST = 2**20  # bytes of a header


def of(path: Path) -> list[Path]:
    """The file of a recording, and the signal files and segments that a WFDB header names, present or not."""
    found = [path]
    for part in found:
        named = dict.fromkeys(part.parent / name for name in _named(part))
        found += [each for each in named if each not in found]  # which the loop goes on with
    return found


def _named(header: Path) -> list[str]:
    """The names of signal files in a header, or those of the headers of segments; a pause is called `~`.

    A header with faults may still name files, so it is not parsed further.
    """
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
    """The files with these suffixes and those named in the headers among them, sorted. Raises OSError."""
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
    """A recording's file, its SHA-256 and, of a WFDB header, that of each file it names; None if unreadable."""
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
    """Whether a path is a file that can be read to its end, which a pipe or an impossible name is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
