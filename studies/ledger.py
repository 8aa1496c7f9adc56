"""The folder of a study, `<root-dir>/research/<name>/`: its configurations, and a record of each run.

    grid.json           the configurations by stage
    imports.json        the files of --import with their digests, if there are any
    runs/CELL_REP.json  one record a run, written before the run starts and when it ends: its folder, its state
    logs/CELL_REP.log   the log of the run
    research.log        the log of the study; index.html and table.csv are made from the runs

A run has a normal run folder. Its results.json, not the record, shows that it is done, so a kill at any time neither
loses nor repeats finished work. A record's folder counts only if its config.json has the flags and the seed of the
configuration; any other folder stays untouched, and the configuration runs again.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import args
from commands import own_parts
from toolbox import files, plugins, schema
from toolbox.errors import BusyError, CheckpointError, ResourceError, UsageError, program
from toolbox.runs.folder import CONFIG, HISTORY, RESULTS, held

STAGES = FIRST, SEARCH, BEST = "grid", "search", "best"  # of a file without stages
NO_PLAN: dict[str, Any] = {"reps": 0, "space": None, "cells": [], "folds": 1, "chosen": False}
DONE, FAILED, STARTED, STOPPED, PRUNED, WAITING = "done", "failed", "started", "stopped", "pruned", "waiting"
DAMAGED = "damaged"  # state of a row with an unusable record or run file
NAME = re.compile(r"[\w][\w.-]{0,99}", re.ASCII)
# Flags that do not distinguish runs: how and where they are carried out.
OF_THE_MACHINE = frozenset(args.FLAGS.names(identifies=False))
# Flags that a resumed run may change without a note in its config.json.
LENGTH = args.FLAGS.names("length", on_resume="free")
FOREIGN = {"overrides": "it was resumed with --override", "imported": "it was imported"}  # by key of config.json
NO_FIGURES = {"no_figures": True}  # of every run; --test draws them later
MOST_RUNS = 100_000
FLAGS = {"*": str}
IMPORTS, PLANS = "imports.json", "grid.json"
PLAN = {"reps": schema.Count(), "folds": schema.Count(1), "cells": [{"name": str, "cell": FLAGS}]}
RECORD = {
    **{"cell": str, "rep": schema.Count(), "stage": str, "state": str, "tested": bool, "flags": FLAGS},
    **{"given": {"seed?": int}, "spent_s?": schema.Number()},
}
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)
Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One run to carry out: repetition `rep` of the configuration `cell`, started with the flags `given`.

    `flags` is the configuration in the grid's words; `length` has the flags of LENGTH, typed or not.
    """

    cell: str
    rep: int
    stage: str
    given: dict[str, Any]
    flags: dict[str, str] = field(default_factory=dict)
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
    """The stage of a record, by its name."""
    stage, dash, _ = key.partition("-")
    return stage if dash else FIRST


def imports(study: Path) -> list[dict[str, str]] | None:
    """The files that the study in this folder imports, with their digests; None for a new study.

    Raises CheckpointError for a damaged list.
    """
    path = study / IMPORTS
    if not path.is_file():
        return [] if (study / PLANS).is_file() else None
    try:
        found = files.read_json(path)
        if why := schema.misfit(found, [{"file": str, "sha256": str}]):
            raise ValueError(why)
    except UNREADABLE as error:
        what = f"the list of imported files cannot be read: {type(error).__name__}, {error}"
        raise CheckpointError(what, where=str(path), hint="another --name for a new study") from error
    return found


@dataclass(frozen=True)
class Status:
    """The state of a run with its folder and config.json, or `why` the folder or the record is unusable."""

    state: str = WAITING
    folder: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    damaged: bool = False  # its config.json cannot be read


class Ledger:
    """Records of the runs of one study; `path` exists."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root

    @classmethod
    def open(cls, root: Path, name: str, *, make: bool = True) -> "Ledger":
        """The folder of the study `name`, created if missing. Raises UsageError for an invalid name and, without
        `make`, for an unknown study."""
        path = root / "research" / name
        if not NAME.fullmatch(name):
            hint = f"--{'name' if make else 'results'} NAME, of letters, digits, dots and dashes"
            raise UsageError(f"{name[:60]!r} is not a valid name of a study", hint=hint)
        if not make and not (path / "grid.json").is_file():
            known = ", ".join(sorted(found.parent.name for found in root.glob("research/*/grid.json"))) or "none"
            what = f"unknown study '{name}'; available: {known}"
            raise UsageError(what, where=str(root / "research"), hint="another name")
        try:
            for part in ("runs", "logs") if make else ():
                (path / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"cannot make the folder of the study: {error.strerror}"
            raise ResourceError(what, where=str(path), hint="another --root-dir, or check the permissions") from error
        return cls(path, root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the study against other commands."""
        try:
            with held(self.path / "lock"):
                yield
        except BusyError as error:
            what = error.what.replace("the run is", "the study is")
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
        """Store the named configurations of a stage, or its search space; returns the number of new ones.

        `chosen`: an earlier stage found them best. Raises UsageError if an earlier configuration is missing, or if
        space, folds or the kind of study differ from the stored ones.
        """
        plans, before = self.plans(), self.plan(stage)
        cells = before["cells"] if cells is None else list(cells)
        names = {cell["name"] for cell in cells}
        if plans and (stage == FIRST) != (FIRST in plans):
            self._refuse("either the study or the file has stages, not both", "the earlier file")
        if before["reps"] and before["folds"] != folds:
            self._refuse(f"this study has {before['folds']} folds, not {folds}", f"--folds {before['folds']}")
        if lost := sum(cell["name"] not in names for cell in before["cells"]):
            what = f"the grid lacks {lost} of the {len(before['cells'])} configurations of this study"
            self._refuse(what, "the grid with its old configurations and the new")
        if space and before["space"] not in (None, space):
            self._refuse("this study has searched another grid", "the earlier grid")
        plan = {"reps": max(reps, before["reps"]), "space": space or before["space"], "cells": cells}
        plan |= {"folds": folds, "chosen": chosen}
        if plan != before:
            files.write_json(self.path / PLANS, {"stages": {**plans, stage: plan}})
        return len(cells) - len(before["cells"])

    def keep_imports(self) -> None:
        """Store the files in use of a new study, before its first plan."""
        if plugins.IN_USE and imports(self.path) is None:
            files.write_json(self.path / IMPORTS, plugins.stored(self.root))

    def use_imports(self) -> None:
        """Register the parts of the files of the study. Raises DataError or UsageError if one is missing or changed."""
        listed = imports(self.path) or []
        own_parts.use(plugins.found(listed, self.root, of="the study", hint="the file as it was, and --retry"))

    def _refuse(self, what: str, hint: str) -> None:
        raise UsageError(what, where=str(self.path / PLANS), hint=f"another --name, or {hint}")

    def plans(self) -> dict[str, dict[str, Any]]:
        """The stored configurations, space, repetitions and folds of each stage, in order."""
        path = self.path / PLANS
        try:
            found = files.read_json(path) if path.is_file() else {"stages": {}}
            return {stage: _plan(plan) for stage, plan in found.get("stages", {FIRST: found}).items()}
        except UNREADABLE as error:
            what = f"the configurations of this study cannot be read: {type(error).__name__}, {error}"
            hint = f"remove this file; {program('research')} GRID --name {self.path.name} with the grid writes it again"
            raise CheckpointError(what, where=str(path), hint=hint) from error

    def plan(self, stage: str = FIRST) -> dict[str, Any]:
        """The stored plan of a stage; NO_PLAN for a new one."""
        return self.plans().get(stage, NO_PLAN)

    def _read(self, key: str) -> tuple[Record | None, str]:
        """The record of a run, or the reason why it is unreadable; neither if the run never started."""
        path = self._record_path(key)
        if not path.is_file():
            return None, ""
        try:
            record = files.read_json(path)
            why = schema.misfit(record, RECORD)
            if not why and key_of(record["stage"], record["cell"], record["rep"]) != key:
                why = "it is the record of another run"
        except ValueError as error:
            why = str(error)
        if why:
            return None, f"its record cannot be read, {why} ({path})"
        return {"run": None, "error": None} | record, ""

    def record(self, key: str) -> Record | None:
        """The record of a run; None if it never started or the record is damaged."""
        return self._read(key)[0]

    def read_all(self) -> tuple[dict[str, Record], dict[str, str]]:
        """The readable records, and the reasons of the unreadable ones, by key."""
        found = {path.stem: self._read(path.stem) for path in sorted((self.path / "runs").glob("*.json"))}
        records = {key: record for key, (record, _) in found.items() if record}
        return records, {key: why for key, (_, why) in found.items() if why}

    def records(self) -> dict[str, Record]:
        """The readable records, by key."""
        return self.read_all()[0]

    def flags_of(self, stage: str, cell: str) -> dict[str, str]:
        """A configuration in the grid's words, by stage and name. Raises CheckpointError without a record of it."""
        for record in self.records().values():
            if (record["stage"], record["cell"]) == (stage, cell):
                return record["flags"]
        what = f"no readable record of configuration {cell} of stage {stage}"
        raise CheckpointError(what, where=str(self.path / "runs"), hint="run the stage again with the same command")

    def _record_path(self, key: str) -> Path:
        return self.path / "runs" / f"{key}.json"

    def write(self, job: Job, state: str, **facts: Any) -> None:
        """Update the record of a run."""
        before = self.record(job.key) or {"run": None}
        files.write_json(self._record_path(job.key), before | asdict(job) | {"error": None} | facts | {"state": state})

    def status(self, record: Record | None) -> Status:
        """The run of a record: a run folder of this root with the record's flags and seed in config.json.

        Its results, where they exist, outweigh the recorded state, and a tested run needs them.
        """
        if record is None:
            return Status()
        found, state = self._found(record), record["state"]
        if found.folder and _has_results(found.folder):
            state = DONE
        elif state == DONE:
            state = WAITING if found.folder is None else STARTED if record["tested"] else DONE
        elif found.why and state in (STARTED, STOPPED):
            state = WAITING
        return replace(found, state=state)

    def status_of(self, job: Job) -> Status:
        """The earlier run of a job, if it has the job's flags."""
        record, why = self._read(job.key)
        return self.status(record | asdict(job)) if record else Status(why=why)

    def folder(self, record: Record | None) -> Path | None:
        """The run folder of a record, if it has one."""
        return self.status(record).folder

    def _found(self, record: Record) -> Status:
        if record.get("run") is None:
            return Status()
        folder = self._place(record["run"])
        if folder is None:
            return Status(why=f"{str(record['run'])[:200]!r} is no run folder of {self.root}")
        if not folder.is_dir():
            return Status(why=f"its run {folder} is gone")
        if not (folder / CONFIG).is_file():
            return Status()
        try:
            config = files.read_json(folder / CONFIG)
            why = _difference(config, record, {str(self.root), str(record.get("root", self.root))})
        except UNREADABLE as error:
            return Status(why=f"{CONFIG} of its run cannot be read, {error} ({folder})", damaged=True)
        return Status(why=f"{folder} is another run: {why}") if why else Status(folder=folder, config=config)

    def _place(self, run: Any) -> Path | None:
        """The folder of a record, if it is DATASET/runs/NAME and not a link."""
        parts = PurePosixPath(run).parts if isinstance(run, str) and "\0" not in run else ()
        if len(parts) != 3 or parts[0] == "/" or parts[1] != "runs" or ".." in parts:
            return None
        folder = self.root.joinpath(*parts)
        return folder if folder.resolve() == (self.root / parts[0]).resolve() / "runs" / parts[2] else None

    def epoch(self, key: str) -> str:
        """The epoch of a run as text; empty if unknown."""
        record = self.record(key)
        folder = self.folder(record)
        if not (record and folder):
            return ""
        try:
            done = len(files.read_json(folder / HISTORY))
        except (ValueError, TypeError):
            return ""
        return f" epoch {done}/{record['given'].get('epochs', '')}".rstrip("/")

    def log(self, key: str) -> Path:
        """The log file of a run."""
        return self.path / "logs" / f"{key}.log"


def _plan(found: dict[str, Any]) -> dict[str, Any]:
    """A stage of grid.json. Raises ValueError for a misfit."""
    plan = NO_PLAN | found
    if why := schema.misfit(plan, PLAN):
        raise ValueError(why)
    if plan["reps"] * plan["folds"] * len(plan["cells"]) > MOST_RUNS:
        raise ValueError(f"more than {MOST_RUNS} runs")
    return plan


def _difference(config: Mapping[str, Any], record: Mapping[str, Any], roots: set[str]) -> str:
    """The first difference between a run's config.json and its record; empty without any."""
    flags, given = args.FLAGS.renamed(config["flags"]), args.FLAGS.renamed(record["given"])
    given = {key: value for key, value in given.items() if key not in OF_THE_MACHINE}
    for name, value in {**record.get("length", {}), **given}.items():
        if name not in flags or not _same(name, flags[name], value, roots):
            other = str(flags[name])[:80] if name in flags else "not in it"
            return f"--{name.replace('_', '-')} is {other}, the configuration has {value}"
    if typed := args.FLAGS.renamed(dict.fromkeys(config.get("given", ()))).keys() - given.keys() - OF_THE_MACHINE:
        return f"it was started with --{min(typed).replace('_', '-')}, the configuration has none"
    return next((why for key, why in FOREIGN.items() if config.get(key)), "")


def _same(name: str, kept: Any, value: Any, roots: set[str]) -> bool:
    """Whether a flag of config.json, with paths relative to the root, equals the given value."""
    flag = args.FLAGS.by_name.get(name)  # paths in config.json are relative to the root
    if kept == value or not (flag and flag.path) or not (isinstance(kept, str) and isinstance(value, str)):
        return kept == value
    if os.path.isabs(value):
        return kept in {os.path.relpath(os.path.realpath(value), os.path.realpath(root)) for root in roots}
    return name == "label_map" and os.path.basename(kept) == os.path.basename(value)  # of older records


def _has_results(folder: Path) -> bool:
    """Whether a run has readable results."""
    try:
        return isinstance(files.read_json(folder / RESULTS), dict)
    except ValueError:
        return False
