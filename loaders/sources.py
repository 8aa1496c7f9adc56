"""Find, download, verify and unpack what a dataset is made from, and keep what was parsed as arrays beside it."""

import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from toolbox import files
from toolbox.errors import DataError, DownloadError, ResourceError

log = logging.getLogger("commander")
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 30
CHECKSUMS = "SHA256SUMS.txt"
CACHE_FORMAT = 1  # raised when the parsed arrays change, so that older caches are not read

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Remote:
    """A file to fetch; `size` in bytes and `sha256` where its publisher states them."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


def download(remote: Remote, folder: Path) -> Path:
    """Fetch `remote` into `folder` with a progress bar; the file appears there only once it is whole and verified."""
    import gdown
    import requests
    from gdown.exceptions import DownloadError as DriveError

    path, part = folder / remote.name, folder / f".{remote.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    log.info("fetching %s from %s", remote.name, remote.url)
    try:
        with tqdm(unit="B", unit_scale=True, desc=remote.name, disable=None) as bar:

            def show(done: int, total: int | None) -> None:
                bar.total = total
                bar.update(done - bar.n)

            gdown.download(
                remote.url,
                str(part),
                quiet=True,
                use_cookies=False,
                resume=True,
                progress=show,
                hasher=digest,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            )
    except (DriveError, requests.RequestException, OSError) as error:
        reason = str(error).split("\n")[0][:200]
        raise DownloadError(f"cannot fetch {remote.name}: {type(error).__name__}: {reason}", where=remote.url) from error
    _verify(part, remote, digest.hexdigest())
    os.replace(part, path)
    return path


def _verify(part: Path, remote: Remote, sha256: str) -> None:
    size = part.stat().st_size
    for what, known, found in (("size", remote.size, size), ("SHA-256", remote.sha256, sha256)):
        if known is not None and known != found:
            part.unlink()
            raise DownloadError(
                f"{remote.name} came with {what} {found}, it should be {known}", where=remote.url, hint="--download again"
            )
    if remote.name.endswith(".zip") and not zipfile.is_zipfile(part):
        part.unlink()
        raise DownloadError(
            f"what came for {remote.name} is no zip but a page of {size} bytes, often a quota notice",
            where=remote.url,
            hint="again later, or --data-file with a copy of your own",
        )


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """The content of a zip in a temporary folder, verified against the SHA256SUMS.txt inside it where there is one."""
    with tempfile.TemporaryDirectory(prefix="ecg_commander_") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(archive) as file:
                _refuse_unsafe(file, archive)
                file.extractall(folder)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise DataError(
                f"the zip is damaged or cannot be unpacked: {error}", where=str(archive), hint="fetch it again"
            ) from error
        for sums in folder.rglob(CHECKSUMS):
            _check_sums(sums, archive)
        yield folder


def _refuse_unsafe(file: zipfile.ZipFile, archive: Path) -> None:
    for item in file.infolist():
        path = PurePosixPath(item.filename.replace("\\", "/"))
        kind = stat.S_IFMT(item.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DownloadError(
                f"the zip holds '{item.filename}', which does not belong in an archive",
                where=str(archive),
                hint="a copy from the publisher",
            )


def _check_sums(sums: Path, archive: Path) -> None:
    for line in sums.read_text().splitlines():
        known, _, name = line.partition(" ")
        path = sums.parent / name.strip().lstrip("*")
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != known:
            raise DataError(
                f"{name.strip()} does not have the checksum its publisher states", where=str(archive), hint="fetch it again"
            )


def fingerprint(path: Path) -> str:
    """A name for the state of a file or of the files in a folder: names, sizes and times of change, without reading them."""
    entries = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    facts = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in entries]
    return hashlib.sha256(json.dumps([CACHE_FORMAT, facts]).encode()).hexdigest()[:16]


def cached(folder: Path, build: Callable[[], Arrays]) -> tuple[Arrays, str]:
    """The arrays that `build` makes, mapped into memory from `folder`, and the SHA-256 of their content.

    The first call builds and stores them; a folder appears only when it is complete.
    """
    if not (folder / "meta.json").is_file():
        _store(folder, build())
    try:
        meta = json.loads((folder / "meta.json").read_text())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in meta["arrays"]}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the parsed arrays are damaged: {error}", where=str(folder), hint="remove that folder; it is built again"
        ) from error
    return arrays, meta["sha256"]


def _store(folder: Path, arrays: Arrays) -> None:
    digest = hashlib.sha256()
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for name, array in arrays.items():
            array = np.ascontiguousarray(array)
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
            digest.update(array.view(np.uint8) if array.dtype.kind != "U" else "\n".join(array).encode())
        files.write_json(temporary / "meta.json", {"arrays": list(arrays), "sha256": digest.hexdigest()})
        if not folder.exists():
            temporary.rename(folder)
    except OSError as error:
        if not (folder / "meta.json").is_file():
            raise ResourceError(
                f"cannot store the parsed data: {error.strerror}", where=str(folder), hint="free space, or another --root-dir"
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
