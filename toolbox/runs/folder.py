"""The run folder: its name, its version, its lock and its paths.

`<root>/<dataset>/runs/<dataset>_<model>_<version>/` is the interface between training and everything after it. A
version is claimed with mkdir, so that two commands at once get two numbers; one process at a time writes into a folder.
"""

import fcntl
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from glob import escape
from itertools import chain, count
from pathlib import Path
from typing import Any

from toolbox import files
from toolbox.errors import BusyError, CheckpointError, ResourceError, UsageError
from toolbox.runs import history

LATEST = "checkpoint.pth.tar"
BEST = "model_best.pth.tar"
CONFIG = "config.json"
HISTORY = "logger.json"
EPOCH = "checkpoint_epoch{}.pth.tar"
PARTS = ("res", "pred", "tensorboard")
RESULTS = "results.json"
OF_A_TEST = (RESULTS, "pred", "temperature.json", "threshold.json")  # the first says that the run is finished
BEFORE = "before"
log = logging.getLogger("commander")


class ReadOnlyError(ResourceError):
    """A run folder may not be written."""


class RunFolder:
    """Where one run keeps everything; `path` exists."""

    def __init__(self, path: Path) -> None:
        self.path, self.writable = path, True

    @classmethod
    def claim(cls, root: Path, dataset: str, model: str, version: str) -> "RunFolder":
        """Make the folder of a new run: the next free version for "bump", else exactly `version`."""
        runs = root / dataset / "runs"
        try:
            runs.mkdir(parents=True, exist_ok=True)
            taken = versions(root, dataset, model)
            number = max(taken, default=0) + 1 if version == "bump" else int(version)
            while True:
                try:
                    path = runs / f"{dataset}_{model}_{number}"
                    path.mkdir()
                    break
                except FileExistsError as error:
                    if version != "bump":
                        raise UsageError(
                            f"version {version} of {dataset} {model} exists already",
                            where=str(path),
                            hint="--version bump, or --resume latest to go on with it",
                        ) from error
                    number += 1
            for part in PARTS:
                (path / part).mkdir()
        except OSError as error:
            raise ResourceError(
                f"cannot make a run folder: {error.strerror}", where=str(runs), hint="another --root-dir"
            ) from error
        return cls(path)

    @classmethod
    def find(cls, root: Path, dataset: str, model: str, version: str) -> "RunFolder":
        """The folder of an existing run, the highest version for "latest"."""
        taken = versions(root, dataset, model)
        if version == "latest" and taken:
            version = str(taken[-1])
        if not version.isdigit() or int(version) not in taken:
            there = (
                f"versions {', '.join(map(str, taken))} are there"
                if taken
                else f"runs there: {', '.join(_names(root, dataset)) or 'none'}"
            )
            raise CheckpointError(
                f"no run of {model} on {dataset} with version {version}; {there}",
                where=str(root / dataset / "runs"),
                hint="train one with --version bump, or name one that is there",
            )
        path = root / dataset / "runs" / f"{dataset}_{model}_{int(version)}"
        if not path.resolve().is_relative_to(root.resolve()):
            raise UsageError(
                f"the run folder is a link out of {root}", where=str(path), hint="a copy of the folder itself"
            )
        return cls(path)

    @classmethod
    def named(cls, name: str, root: Path) -> "RunFolder":
        """The run whose folder `name` is, or that is called so below `root`; a CheckpointError lists those there."""
        path = Path(name)
        there = [] if path.name != name else sorted(root.glob(f"*/runs/{escape(name)}"))
        found = next((folder for folder in (path, *there) if (folder / CONFIG).is_file()), None)
        if found is None:
            known = ", ".join(sorted(config.parent.name for config in root.glob(f"*/runs/*/{CONFIG}"))) or "none"
            raise CheckpointError(f"no run is called so; runs are {known}", where=name, hint="a run's name or folder")
        return cls(found)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def checkpoint(self, which: str) -> Path:
        """The path of the checkpoint "latest", "best" or of an epoch's number; raises if it is not there."""
        path = self.path / {"latest": LATEST, "best": BEST}.get(which, EPOCH.format(which))
        if not path.is_file():
            kept = sorted(self.path.glob("*.pth.tar"))
            raise CheckpointError(
                f"no checkpoint '{which}' in this run; kept are {', '.join(p.name for p in kept) or 'none'}",
                where=str(self.path),
                hint="--resume latest, best or an epoch that was kept",
            )
        return path

    def read_json(self, name: str) -> Any:
        """The content of one of the run's JSON files."""
        path = self.path / name
        try:
            return files.read_json(path)
        except files.UnreadableError as error:
            hint = "mend the file; the weights are in the *.pth.tar files" if path.exists() else "another --version"
            what = (
                error.what.replace("cannot be read", f"cannot read {name}")
                if not path.is_file()
                else f"{name} {error.what}"
            )
            raise CheckpointError(what, where=f"{path}{error.place}", hint=hint) from error

    def read_history(self) -> list[dict[str, Any]]:
        """The rows of logger.json; a CheckpointError where they are no history."""
        rows = self.read_json(HISTORY)
        if why := history.objection(rows):
            hint = "move the file away: --resume latest writes it again from the checkpoint"
            raise CheckpointError(f"{HISTORY} is no history of a run: {why}", where=str(self.path / HISTORY), hint=hint)
        return rows

    def write_json(self, name: str, value: Any) -> None:
        """Write one of the run's JSON files, whole or not at all."""
        files.write_json(self.path / name, value)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other processes, and see that it can be written.

        A lock whose process is dead is taken over with a warning.
        """
        with held(self.path / "lock"):
            self._make_ready()
            yield

    @contextmanager
    def locked_or_read_only(self) -> Iterator[None]:
        """As `locked`; a folder that this user may not write is not held, and `writable` is False within."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.locked())
            except ReadOnlyError as error:
                self.writable = False
                log.warning("nothing is saved, the results are only printed: %s (%s)", error.what, error.where)
            yield

    def set_aside(self, epoch: int) -> None:
        """Move what the last test left, results.json first, into before/epochN: the run is trained on, to other
        weights.

        So a run that is killed after this is not taken for finished, and has no figures, threshold or temperature of
        before.
        """
        left = [self.path / name for name in OF_A_TEST if (self.path / name).exists()]
        left = [path for path in left if path.is_file() or any(path.iterdir())]
        if not left:
            return
        names = chain([f"epoch{epoch}"], (f"epoch{epoch}_{number}" for number in count(2)))
        folder = next(path for name in names if not (path := self.path / BEFORE / name).exists())
        try:
            folder.mkdir(parents=True)
            for path in left:
                path.rename(folder / path.name)
            for part in PARTS:
                (self.path / part).mkdir(exist_ok=True)
        except OSError as error:
            what = f"cannot move the results of before: {error.strerror}"
            raise ResourceError(what, where=str(folder), hint="check the permissions") from error
        log.info("the results of epoch %d are in %s/%s until the run is tested again", epoch, BEFORE, folder.name)

    def _make_ready(self) -> None:
        """Clear what a killed process left, make the parts that are gone, and find what cannot be written before the
        work."""
        for left_over in self.path.rglob(".*.tmp"):
            left_over.unlink()
        for part in PARTS:
            path = self.path / part
            try:
                path.mkdir(exist_ok=True)
            except OSError as error:
                raise _refused(f"cannot make {part}", error, path, hint="check the folder") from error
            if path.resolve().parent != self.path.resolve():
                raise UsageError(
                    f"{part} is a link out of the run folder", where=str(path), hint="a copy of the folder itself"
                )
            if not os.access(path, os.W_OK | os.X_OK):
                raise ReadOnlyError("the run folder cannot be written", where=str(path), hint="check the permissions")


def _refused(what: str, error: OSError, path: Path, *, hint: str) -> ResourceError:
    """What the system does not do in a run folder; a ReadOnlyError where that is not to be written at all."""
    kind = ReadOnlyError if error.errno in files.NOT_WRITABLE else ResourceError
    return kind(f"{what}: {error.strerror}", where=str(path), hint=hint)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file `path` against other processes; a BusyError where one of them has it."""
    handle = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def versions(root: Path, dataset: str, model: str) -> list[int]:
    """The versions of a model's runs on a dataset, ascending."""
    name = re.compile(re.escape(f"{dataset}_{model}_") + r"(\d+)")
    return sorted(int(match[1]) for folder in _names(root, dataset) if (match := name.fullmatch(folder)))


def _names(root: Path, dataset: str) -> list[str]:
    runs = root / dataset / "runs"
    return sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []


def _acquire(path: Path) -> int:
    """Open and flock the lock file; the kernel frees it when its process dies, its text says who holds it."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _refused("cannot lock the run", error, path, hint="check the folder's permissions") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(handle)
            os.close(handle)
            raise BusyError(
                f"the run is held by process {holder.get('pid', '?')} on {holder.get('host', '?')}",
                where=str(path.parent),
                hint="wait for it, or --version bump for a new run",
            ) from error
        if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
            break
        os.close(handle)
    holder = _holder(handle)
    if holder and holder.get("host") != socket.gethostname():
        os.close(handle)
        raise BusyError(
            f"the run is held by process {holder.get('pid')} on another host, {holder.get('host')}",
            where=str(path),
            hint="remove the lock file if that process is gone",
        )
    if holder:
        logging.getLogger(__name__).warning(
            "took over the lock of process %s, which is gone (%s)", holder.get("pid"), path
        )
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}).encode(), 0)
    return handle


def _holder(handle: int) -> dict[str, Any]:
    try:
        return json.loads(os.pread(handle, 4096, 0) or b"{}")
    except ValueError:
        return {"pid": "?", "host": socket.gethostname()}
