"""The folder of a research, `<root-dir>/research/<name>/`: its cells, and which run is which cell's.

    grid.json           the cells as they were asked for, by stage where there are stages
    runs/CELL_REP.json  one record a run, written before the run starts and when it ends: its folder, its state
    logs/CELL_REP.log   what the run said
    research.log        what the whole said; index.html and table.csv are read from the runs

A run's folder is a normal one. Its results.json, not the record, says that it is done; so nothing that is finished is
lost or done twice, whoever is killed. The run of a record is the run folder whose config.json has the flags and the
seed of the cell; any other folder that a record names is left alone, and the cell is run again.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import args
from toolbox import files
from toolbox.errors import BusyError, CheckpointError, ResourceError, UsageError, program
from toolbox.runs.folder import CONFIG, held

FIRST = "grid"  # the stage of a research without stages
NO_PLAN: dict[str, Any] = {"reps": 0, "space": None, "cells": [], "folds": 1, "chosen": False}
DONE, FAILED, STARTED, STOPPED, PRUNED, WAITING = "done", "failed", "started", "stopped", "pruned", "waiting"
DAMAGED = "damaged"  # of a row: its record, or a file of its run, cannot be used
OTHER = "another --name, or the file as it was"
NAME = re.compile(r"[\w][\w.-]{0,99}", re.ASCII)
# Flags that are no difference between two runs: how and where they are carried out.
OF_THE_MACHINE = frozenset(args.FLAGS.names(identifies=False))
# Flags that a resumed run may change without a note in its config.json.
LENGTH = args.FLAGS.names("length", on_resume="free")
PATHS = {flag.name for flag in args.FLAGS if flag.path}  # in config.json relative to the root
FOREIGN = {"overrides": "it was resumed with --override", "imported": "it was imported"}  # by key of config.json
# The fields of a record, beside those that older versions did not write.
FIELDS = {"cell": str, "rep": int, "stage": str, "given": dict, "flags": dict, "tested": bool, "state": str}
MOST_RUNS = 100_000


@dataclass(frozen=True)
class Task:
    """One run to carry out: a cell, its repetition, the stage it is of, and what its command would have been typed
    with.

    `length` has the flags of LENGTH, typed or not.
    """

    cell: str
    rep: int
    stage: str
    given: dict[str, Any]
    flags: dict[str, str] = field(default_factory=dict)  # the cell as the grid has it
    tested: bool = True
    length: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The name of its record."""
        return key_of(self.stage, self.cell, self.rep)


def key_of(stage: str, cell: str, rep: int) -> str:
    """The name of the record of a run."""
    return f"{cell}_{rep}" if stage == FIRST else f"{stage}-{cell}_{rep}"


def stage_of(key: str) -> str:
    """What a run was for, which its key begins with: a stage, or without any a cell of the grid, of a search, or the
    best one."""
    stage, dash, _ = key.partition("-")
    return stage if dash else FIRST


@dataclass(frozen=True)
class Found:
    """The run of a record: its own folder and config.json, or `why` the folder that the record names is not its own."""

    folder: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    damaged: bool = False  # its config.json cannot be read


class Ledger:
    """Records of the runs of one research; `path` exists."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root

    @classmethod
    def open(cls, root: Path, name: str, *, make: bool = True) -> "Ledger":
        """The folder called `name`, made where it is not there; a UsageError lists those there are where it is to
        be."""
        if not NAME.fullmatch(name):
            hint = "--name NAME" if make else "--results NAME"
            raise UsageError(
                f"{name[:60]!r} is no name of a research", hint=f"{hint}, of letters, digits, dots and dashes"
            )
        path = root / "research" / name
        if not make and not (path / "grid.json").is_file():
            there = ", ".join(sorted(found.parent.name for found in root.glob("research/*/grid.json"))) or "none"
            raise UsageError(
                f"no research is called {name}; there is {there}", where=str(root / "research"), hint="another name"
            )
        try:
            for part in ("runs", "logs") if make else ():
                (path / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"cannot make the folder of the research: {error.strerror}"
            raise ResourceError(what, where=str(path), hint="another --root-dir, or check the permissions") from error
        return cls(path, root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the research against other commands."""
        try:
            with held(self.path / "lock"):
                yield
        except BusyError as error:
            what = error.what.replace("the run is", "the research is")
            hint = error.hint.replace("--version bump for a new run", "another --name")
            raise BusyError(what, where=error.where, hint=hint) from error

    def freeze(
        self,
        reps: int,
        *,
        cells: Sequence[dict[str, Any]] | None = None,
        space: str | None = None,
        folds: int = 1,
        stage: str = FIRST,
        chosen: bool = False,
    ) -> int:
        """Keep the cells, with a name each, or the space that is searched, the repetitions and folds; how many cells
        are new.

        `chosen` are cells that an earlier stage found best. A UsageError where a cell of before is not among them, or
        where space or folds are others.
        """
        path, plans, before = self.path / "grid.json", self.plans(), self.plan(stage)
        if plans and (stage == FIRST) != (FIRST in plans):
            raise UsageError(
                "this research is one with stages, or the file has them and it has none", where=str(path), hint=OTHER
            )
        if before["reps"] and before["folds"] != folds:
            hint = f"--folds {before['folds']}, or another --name"
            raise UsageError(f"this research has {before['folds']} folds, not {folds}", where=str(path), hint=hint)
        cells = before["cells"] if cells is None else list(cells)
        names = {cell["name"] for cell in cells}
        if lost := [cell for cell in before["cells"] if cell["name"] not in names]:
            what = f"{len(lost)} of {len(before['cells'])} cells of this research are not in the grid any more"
            raise UsageError(
                what, where=str(path), hint="another --name, or the grid with its old cells beside the new"
            )
        if space and before["space"] not in (None, space):
            what = "this research has searched another grid"
            raise UsageError(what, where=str(path), hint="another --name, or the grid as it was")
        plan = {"reps": max(reps, before["reps"]), "space": space or before["space"], "cells": cells}
        plan |= {"folds": folds, "chosen": chosen}
        if plan != before:
            files.write_json(path, {"stages": {**plans, stage: plan}})
        return len(cells) - len(before["cells"])

    def plans(self) -> dict[str, dict[str, Any]]:
        """Of each stage, in order, the cells, the space that is searched, repetitions and folds, as they were kept."""
        path = self.path / "grid.json"
        try:
            found = files.read_json(path) if path.is_file() else {"stages": {}}
            plans = found.get("stages", {FIRST: found})
            return {stage: _plan(plan) for stage, plan in plans.items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            what = f"the cells of this research cannot be read: {type(error).__name__}, {error}"
            hint = f"remove this file; {program('research')} GRID --name {self.path.name} with the grid writes it again"
            raise CheckpointError(what, where=str(path), hint=hint) from error

    def plan(self, stage: str = FIRST) -> dict[str, Any]:
        """What was kept of a stage; of one that is new, nothing."""
        return self.plans().get(stage, NO_PLAN)

    def record(self, key: str) -> dict[str, Any] | None:
        """What is known of a run; None of one that never began, or of which the record is damaged."""
        path = self._record_path(key)
        try:
            return _record(path) if path.is_file() else None
        except (OSError, ValueError):
            return None

    def known(self, task: Task) -> dict[str, Any] | None:
        """The record of a task's run, with what the task asks for now."""
        record = self.record(task.key)
        return record and record | asdict(task)

    def records(self) -> dict[str, dict[str, Any]]:
        """Every record that can be read, by key."""
        return self.looked_through()[0]

    def looked_through(self) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Every record that can be read, and of every other the reason, by key."""
        records, damaged = {}, {}
        for path in sorted((self.path / "runs").glob("*.json")):
            try:
                records[path.stem] = _record(path)
            except (OSError, ValueError) as error:
                damaged[path.stem] = _lost(path, error)
        return records, damaged

    def flags_of(self, stage: str, cell: str) -> dict[str, str]:
        """A cell of a stage as the grid has it, by its name; a CheckpointError where no record of it can be read."""
        for record in self.records().values():
            if (record["stage"], record["cell"]) == (stage, cell):
                return record["flags"]
        what = f"no record of cell {cell} of stage {stage} can be read"
        raise CheckpointError(what, where=str(self.path / "runs"), hint="the stage again, with the same command")

    def _record_path(self, key: str) -> Path:
        return self.path / "runs" / f"{key}.json"

    def write(self, task: Task, state: str, **facts: Any) -> None:
        """Put down how a run stands, beside what was known of it."""
        before = self.record(task.key) or {"run": None}
        record = before | asdict(task) | {"error": None} | facts | {"state": state}
        files.write_json(self._record_path(task.key), record)

    def found(self, record: Mapping[str, Any] | None) -> Found:
        """The run of a record, which is a run folder of this root whose config.json has the record's flags and seed."""
        if not record or record.get("run") is None:
            return Found()
        folder = self._place(record["run"])
        if folder is None:
            return Found(why=f"{str(record['run'])[:200]!r} is no run folder of {self.root}")
        if not folder.is_dir():
            return Found(why=f"its run {folder} is gone")
        if not (folder / CONFIG).is_file():
            return Found()
        try:
            config = files.read_json(folder / CONFIG)
            why = _difference(config, record, {str(self.root), str(record.get("root", self.root))})
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            return Found(why=f"{CONFIG} of its run cannot be read, {error} ({folder})", damaged=True)
        return Found(why=f"{folder} is another run: {why}") if why else Found(folder, config)

    def _place(self, run: Any) -> Path | None:
        """The folder that a record names, where it is DATASET/runs/NAME and no link."""
        parts = PurePosixPath(run).parts if isinstance(run, str) and "\0" not in run else ()
        if len(parts) != 3 or parts[0] == "/" or parts[1] != "runs" or ".." in parts:
            return None
        folder = self.root.joinpath(*parts)
        return folder if folder.resolve() == (self.root / parts[0]).resolve() / "runs" / parts[2] else None

    def is_below(self, folder: Path) -> bool:
        """Whether a run folder stands below the root, no link on the way to it."""
        return folder.resolve().is_relative_to(self.root.resolve())

    def folder(self, record: Mapping[str, Any] | None) -> Path | None:
        """The run folder of a record, where it has got one that is its own."""
        return self.found(record).folder

    def state(self, record: Mapping[str, Any] | None, *, tested: bool = True, found: Found | None = None) -> str:
        """How a run stands; its results, where they are there, outweigh its record. `tested` says whether it needs any.

        `found` is what `found` gives for the record, where that is known.
        """
        if record is None:
            return WAITING
        found = found or self.found(record)
        if found.folder and _has_results(found.folder):
            return DONE
        if record["state"] == DONE:
            return WAITING if found.folder is None else STARTED if tested else DONE
        return WAITING if found.why and record["state"] in (STARTED, STOPPED) else record["state"]

    def trouble(self, task: Task) -> str:
        """Why what was kept of a task's run is not used, so that it is run again; empty where it is used or nothing was
        kept."""
        path = self._record_path(task.key)
        try:
            record = _record(path) | asdict(task) if path.is_file() else None
        except (OSError, ValueError) as error:
            return _lost(path, error)
        if record is None:
            return ""
        return self.found(record).why if record["state"] in (DONE, STARTED, STOPPED) else ""

    def can_go_on(self, record: Mapping[str, Any] | None) -> bool:
        """Whether a run has a checkpoint to go on from."""
        folder = self.folder(record)
        return bool(folder) and any(folder.glob("*.pth.tar"))

    def holder(self, record: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Host and process that hold a run, None where none does."""
        path = self.folder(record)
        try:
            found = files.read_json(path / "lock") if path else {}
            return {"host": found.get("host"), "pid": found.get("pid")} if found else None
        except (OSError, ValueError, AttributeError):
            return None

    def epoch(self, key: str) -> str:
        """How far a run is, as a few words; none where it is not known."""
        record = self.record(key)
        folder = self.folder(record)
        try:
            done = len(files.read_json(folder / "logger.json")) if folder else 0
        except (OSError, ValueError, TypeError):
            return ""
        return f" epoch {done}/{record['given'].get('epochs', '')}".rstrip("/") if folder else ""

    def log(self, key: str) -> Path:
        """The file of what a run says."""
        return self.path / "logs" / f"{key}.log"


def _plan(found: Mapping[str, Any]) -> dict[str, Any]:
    """A stage of grid.json; an error where it is not as it was written."""
    plan = NO_PLAN | found
    if not all(type(plan[name]) is int and plan[name] >= 0 for name in ("reps", "folds")) or plan["folds"] < 1:
        raise ValueError("repetitions and folds are no whole numbers")
    if not all(isinstance(cell["name"], str) and _is_cell(cell["cell"]) for cell in plan["cells"]):
        raise ValueError("a cell is no flags with their values")
    if plan["reps"] * plan["folds"] * len(plan["cells"]) > MOST_RUNS:
        raise ValueError(f"more than {MOST_RUNS} runs")
    return plan


def _record(path: Path) -> dict[str, Any]:
    """A record; a ValueError where it is not as it was written, or is that of another run."""
    record = files.read_json(path)
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    if odd := [name for name, kind in FIELDS.items() if type(record.get(name)) is not kind]:
        raise ValueError(f"its {odd[0]} is {str(record.get(odd[0]))[:40]!r}")
    if key_of(record["stage"], record["cell"], record["rep"]) != path.stem:
        raise ValueError("it is the record of another run")
    if not _is_cell(record["flags"]) or type(record["given"].get("seed", 0)) is not int:
        raise ValueError("it has no flags with their values, or no seed")
    if not isinstance(record.get("spent_s", 0.0), int | float):
        raise ValueError("its spent_s is no number")
    return {"run": None, "error": None} | record


def _is_cell(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _lost(path: Path, error: Exception) -> str:
    return f"its record cannot be read, {error} ({path})"


def _difference(config: Mapping[str, Any], record: Mapping[str, Any], roots: set[str]) -> str:
    """The first difference between a run's config.json and what its record asks for, in words; empty where there is
    none."""
    flags, given = config["flags"], {key: value for key, value in record["given"].items() if key not in OF_THE_MACHINE}
    for name, value in {**record.get("length", {}), **given}.items():
        if name not in flags or not _same(name, flags[name], value, roots):
            there = str(flags[name])[:80] if name in flags else "not in it"
            return f"--{name.replace('_', '-')} is {there}, the cell has {value}"
    if typed := set(config.get("given", ())) - given.keys() - OF_THE_MACHINE:
        return f"it was started with --{min(typed).replace('_', '-')}, the cell has none"
    return next((why for key, why in FOREIGN.items() if config.get(key)), "")


def _same(name: str, there: Any, value: Any, roots: set[str]) -> bool:
    """Whether a flag of config.json is the one that was given; a path there is relative to the root."""
    if there == value or name not in PATHS or not (isinstance(there, str) and isinstance(value, str)):
        return there == value
    if os.path.isabs(value):
        return there in {os.path.relpath(os.path.realpath(value), os.path.realpath(root)) for root in roots}
    # Of older records, from any folder.
    return name == "label_map" and os.path.basename(there) == os.path.basename(value)


def _has_results(folder: Path) -> bool:
    """Whether a run has results that can be read."""
    try:
        return isinstance(files.read_json(folder / "results.json"), dict)
    except (OSError, ValueError):
        return False
