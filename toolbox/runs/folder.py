"""The run folder: its name, its version, its lock, its paths, and the history of its epochs.

`<root>/<dataset>/runs/<dataset>_<model>_<version>/` is the interface between training and everything after it. mkdir
claims a version, so that two simultaneous commands get two numbers; one process at a time writes into a folder.
"""

import fcntl
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from difflib import get_close_matches
from glob import escape
from itertools import chain, count
from pathlib import Path
from typing import Any

from toolbox import files, schema
from toolbox.errors import BusyError, CheckpointError, ResourceError, UsageError
from toolbox.metrics.labels import EVERY
from toolbox.runs import study
from toolbox.schema import is_finite, is_number

LATEST = "checkpoint.pth.tar"
BEST = "model_best.pth.tar"
CONFIG = "config.json"
LISTED = 10  # runs in an error
HISTORY = "logger.json"
EPOCH = "checkpoint_epoch{}.pth.tar"
PARTS = ("res", "pred", "tensorboard")
RESULTS = "results.json"
# results.json marks a finished run
OF_A_TEST = (RESULTS, "report.html", "pred", "temperature.json", "threshold.json", "thresholds.json")
BEFORE = "before"
SIDES = ("train", "val")
MOST_EPOCHS = 10**9
ROW = {"epoch": schema.Count(1, MOST_EPOCHS), "train": dict, "val": dict}
TIMES = ("lr", "backbone_lr", "C", "seconds", "samples_per_s")  # C: of a probe
LOGGED = {"loss": "loss", "accuracy": "acc", "macro_f1": "macro F1"}  # in the line of an epoch
OF_LABELS = {"loss": "loss", "macro_auroc": "macro AUROC"}  # of many labels
log = logging.getLogger("commander")


class ReadOnlyError(ResourceError):
    """A run folder is not writable."""


class RunFolder:
    """The folder of one run; `path` exists."""

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
                        what = f"version {version} of {dataset} {model} exists already"
                        hint = "--version bump, or --resume latest"
                        raise UsageError(what, where=str(path), hint=hint) from error
                    number += 1
        except OSError as error:
            what = f"cannot make a run folder: {error.strerror}"
            raise ResourceError(what, where=str(runs), hint="another --root-dir") from error
        return cls(path)

    @classmethod
    def find(cls, root: Path, dataset: str, model: str, version: str) -> "RunFolder":
        """The folder of an existing run; for "latest" the highest version that no study carried out."""
        taken = versions(root, dataset, model)
        if version == "latest" and taken:
            version = str(_latest(root, dataset, model, taken))
        if not version.isdigit() or int(version) not in taken:
            there = nearest(f"{dataset}_{model}_{version}", _names(root, dataset))
            there = f"existing versions: {', '.join(map(str, taken))}" if taken else there
            what = f"no run of {model} on {dataset} with version {version}; {there}"
            hint = "train one with --version bump, or name an existing one"
            raise CheckpointError(what, where=str(root / dataset / "runs"), hint=hint)
        path = root / dataset / "runs" / f"{dataset}_{model}_{int(version)}"
        if not path.resolve().is_relative_to(root.resolve()):
            what = f"the run folder is a link out of {root}"
            raise UsageError(what, where=str(path), hint="a copy of the folder itself")
        return cls(path)

    @classmethod
    def named(cls, name: str, root: Path) -> "RunFolder":
        """The run of a folder or run name below `root`. Raises CheckpointError with the existing runs."""
        path = Path(name)
        there = [] if path.name != name else sorted(root.glob(f"*/runs/{escape(name)}"))
        found = next((folder for folder in (path, *there) if (folder / CONFIG).is_file()), None)
        if found is None and (lacking := next((folder for folder in (path, *there) if _was_a_run(folder)), None)):
            what = f"the run {lacking.name} has no {CONFIG}, which holds its flags"
            raise CheckpointError(what, where=str(lacking), hint=f"{CONFIG} from a copy, or another run")
        if found is None:
            known = [config.parent.name for config in root.glob(f"*/runs/*/{CONFIG}")]
            what = f"unknown run {name}; {nearest(path.name, known)}"
            raise CheckpointError(what, where=str(root), hint="a run's name or folder")
        return cls(found)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def checkpoint(self, which: str) -> Path:
        """The path of the checkpoint "latest", "best" or of an epoch's number. Raises CheckpointError if missing."""
        path = self.path / {"latest": LATEST, "best": BEST}.get(which, EPOCH.format(which))
        if not path.is_file():
            kept = ", ".join(sorted(path.name for path in self.path.glob("*.pth.tar"))) or "none"
            what = f"no checkpoint '{which}' in this run; kept are {kept}"
            hint = "--resume latest, best or a kept epoch"
            raise CheckpointError(what, where=str(self.path), hint=hint)
        return path

    def read_json(self, name: str) -> Any:
        """The content of one of the run's JSON files."""
        path = self.path / name
        try:
            return files.read_json(path)
        except files.UnreadableError as error:
            hint = "mend the file; the weights are in the *.pth.tar files" if path.exists() else "another --version"
            missing = error.what.replace("cannot be read", f"cannot read {name}")
            what = f"{name} {error.what}" if path.is_file() else missing
            raise CheckpointError(what, where=f"{path}{error.place}", hint=hint) from error

    def read_history(self) -> list[dict[str, Any]]:
        """The rows of logger.json. Raises CheckpointError if they are no history."""
        rows = self.read_json(HISTORY)
        if why := history_objection(rows):
            hint = "move the file away: --resume latest writes it again from the checkpoint"
            raise CheckpointError(f"{HISTORY} is no history of a run: {why}", where=str(self.path / HISTORY), hint=hint)
        return rows

    def write_json(self, name: str, value: Any) -> None:
        """Write one of the run's JSON files, whole or not at all."""
        files.write_json(self.path / name, value)

    def log_epoch(self, history: list[dict[str, Any]], epochs: int) -> None:
        """Write logger.json, one row per epoch, and log the last row in a line."""
        self.write_json(HISTORY, history)
        last = history[-1]
        logged = OF_LABELS if "fmax" in last["train"] else LOGGED
        figures = "  ".join(
            f"{side} " + " ".join(f"{name} {last[side][key]:.4f}" for key, name in logged.items() if key in last[side])
            for side in SIDES
            if last[side]
        )
        named = {"C": "C {:g}", "lr": "lr {:.2e}", "backbone_lr": "backbone {:.2e}"}
        rates = ", ".join(form.format(last[name]) for name, form in named.items() if name in last)
        log.info("epoch %d/%d  %s  %s  %.1f s", last["epoch"], epochs, rates, figures, last["seconds"])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder and check that it is writable; takes over the lock of a dead process with a warning."""
        with held(self.path / "lock"):
            self._make_ready()
            yield

    @contextmanager
    def locked_or_read_only(self) -> Iterator[None]:
        """As `locked`; a folder without write permission is not locked, and `writable` is False within."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.locked())
            except ReadOnlyError as error:
                self.writable = False
                log.warning("nothing is saved, the results are only printed: %s (%s)", error.what, error.where)
            yield

    def set_aside(self, epoch: int) -> None:
        """Move the files of the last test, results.json first, into before/epochN, before training goes further.

        So a run killed later does not look finished, and keeps no figures, threshold or temperature of old weights.
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
        except OSError as error:
            what = f"cannot move the earlier results: {error.strerror}"
            raise ResourceError(what, where=str(folder), hint="check the permissions") from error
        log.info("the results of epoch %d are in %s/%s until the run is tested again", epoch, BEFORE, folder.name)

    def part(self, name: str) -> Path:
        """The folder `name` in the run's, made if it is missing. Raises ResourceError."""
        path = self.path / name
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise _refused(f"cannot make {name}", error, path, hint="check the folder") from error
        return path

    @contextmanager
    def filled(self, *names: str) -> Iterator[Path]:
        """The folder of these `names`, one in another; removed again if nothing was written into it."""
        path = self.path
        for name in names:
            path = RunFolder(path).part(name)
        try:
            yield path
        finally:
            with suppress(OSError):  # a folder with files stays
                for _ in names:
                    path.rmdir()
                    path = path.parent

    def _make_ready(self) -> None:
        """Remove the leftovers of a killed process, and check that the subfolders are writable."""
        for left_over in self.path.rglob(".*.tmp"):
            left_over.unlink()
        for part in PARTS:
            if not os.path.lexists(self.path / part):
                continue
            path = self.part(part)
            if path.resolve().parent != self.path.resolve():
                what = f"{part} is a link out of the run folder"
                raise UsageError(what, where=str(path), hint="a copy of the folder itself")
            if not os.access(path, os.W_OK | os.X_OK):
                raise ReadOnlyError("the run folder cannot be written", where=str(path), hint="check the permissions")


def _refused(what: str, error: OSError, path: Path, *, hint: str) -> ResourceError:
    """The error for a failed write in a run folder; a ReadOnlyError for missing permission."""
    kind = ReadOnlyError if error.errno in files.NOT_WRITABLE else ResourceError
    return kind(f"{what}: {error.strerror}", where=str(path), hint=hint)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file `path`. Raises BusyError if another process holds it."""
    handle = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def nearest(name: str, known: Iterable[str]) -> str:
    """The names of runs for the error of an unknown one: all of a few, the nearest of many."""
    names = sorted(known)
    if len(names) <= LISTED:
        return f"existing runs: {', '.join(names) or 'none'}"
    return f"the nearest of {len(names):,} runs: {', '.join(get_close_matches(name, names, LISTED, cutoff=0))}"


def _was_a_run(folder: Path) -> bool:
    """Whether a folder has the history, the results or weights of a run."""
    return any((folder / name).is_file() for name in (HISTORY, RESULTS, BEST, LATEST))


def versions(root: Path, dataset: str, model: str) -> list[int]:
    """The versions of a model's runs on a dataset, ascending."""
    name = re.compile(re.escape(f"{dataset}_{model}_") + r"(\d+)")
    return sorted(int(match[1]) for folder in _names(root, dataset) if (match := name.fullmatch(folder)))


def _names(root: Path, dataset: str) -> list[str]:
    runs = root / dataset / "runs"
    return sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []


def _latest(root: Path, dataset: str, model: str, taken: list[int]) -> int:
    """The highest version that belongs to no study. Raises CheckpointError if there is none."""
    kept: dict[str, study.StudyRecord] | None = None  # read for runs of earlier versions alone
    for number in reversed(taken):
        name = f"{dataset}/runs/{dataset}_{model}_{number}"
        try:
            config = files.read_json(root / name / CONFIG)
        except files.UnreadableError:
            return number
        if kept is None and not study.study_of(config, None):
            kept = study.by_run(study.records(root))
        if not study.study_of(config, (kept or {}).get(name)):
            return number
    what = f"every run of {model} on {dataset} belongs to a study; versions: {', '.join(map(str, taken))}"
    hint = f"--version {taken[-1]}, or train a run of its own with --version bump"
    raise CheckpointError(what, where=str(root / dataset / "runs"), hint=hint)


def _acquire(path: Path) -> int:
    """Open and flock the lock file; the kernel frees it when its process dies, its text names that process."""
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
            what = f"the run is held by process {holder.get('pid', '?')} on {holder.get('host', '?')}"
            hint = "wait for it, or --version bump for a new run"
            raise BusyError(what, where=str(path.parent), hint=hint) from error
        if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
            break
        os.close(handle)
    holder = _holder(handle)
    if holder and holder.get("host") != socket.gethostname():
        os.close(handle)
        what = f"the run is held by process {holder.get('pid')} on another host, {holder.get('host')}"
        raise BusyError(what, where=str(path), hint="remove the lock file if that process is gone")
    if holder:
        log.warning("took over the lock of process %s, which is gone (%s)", holder.get("pid"), path)
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}).encode(), 0)
    return handle


def _holder(handle: int) -> dict[str, Any]:
    try:
        return json.loads(os.pread(handle, 4096, 0) or b"{}")
    except ValueError:
        return {"pid": "?", "host": socket.gethostname()}


def history_objection(rows: Any) -> str:
    """The first reason why `rows` is no history; "" if it is one."""
    before = 0
    for number, row in enumerate(rows if isinstance(rows, list) else (), 1):
        if why := schema.misfit(row, ROW) or _of_row(row):
            return f"row {number}: {why}"
        if row["epoch"] <= before:
            return f"row {number} is of epoch {row['epoch']}, the row before it of epoch {before}"
        before = row["epoch"]
    return schema.misfit(rows, list)


def _of_row(row: Mapping[str, Any]) -> str:
    odd = [name for name in TIMES if row.get(name) is not None and not is_number(row[name])]
    if odd or not {"lr", "C"} & row.keys():
        return f"{(odd or TIMES)[0]} is {schema.kind(row.get((odd or TIMES)[0]))}, it must be a number"
    return next((f"{side}.{why}" for side in SIDES if (why := _of_side(row[side]))), "")


def _of_side(values: Mapping[str, Any]) -> str:
    for name in EVERY:
        if values.get(name) is not None and not is_number(values[name]):
            return f"{name} is {schema.kind(values[name])}, it must be a number"
    matrix = values.get("confusion_matrix")
    rows = matrix if isinstance(matrix, list) else []
    square = rows and all(isinstance(row, list) and len(row) == len(rows) for row in rows)
    if matrix is None or (square and all(is_finite(value) and value >= 0 for row in rows for value in row)):
        return ""
    return "confusion_matrix must be a square of numbers from 0"
