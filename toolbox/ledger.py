"""The folder of a research, `<root-dir>/research/<name>/`: its cells, and which run is which cell's.

    grid.json           the cells as they were asked for, by stage where there are stages
    runs/CELL_REP.json  one record a run, written before the run starts and when it ends: its folder, its state
    logs/CELL_REP.log   what the run said
    research.log        what the whole said; index.html and table.csv are read from the runs

A run's folder is a normal one. Its results.json, not the record, says that it is done; so nothing that is finished is lost or
done twice, whoever is killed.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from toolbox import files
from toolbox.errors import BusyError, ResourceError, UsageError
from toolbox.runs import held

FIRST = "grid"  # the stage of a research without stages
NO_PLAN: dict[str, Any] = {"reps": 0, "space": None, "cells": [], "folds": 1, "chosen": False}
DONE, FAILED, STARTED, STOPPED, PRUNED, WAITING = "done", "failed", "started", "stopped", "pruned", "waiting"
OTHER = "another --name, or the file as it was"
NAME = re.compile(r"[\w][\w.-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Task:
    """One run to carry out: a cell, its repetition, the stage it is of, and what its command would have been typed with."""

    cell: str
    rep: int
    stage: str
    given: dict[str, Any]
    flags: dict[str, str] = field(default_factory=dict)  # the cell as the grid has it
    tested: bool = True

    @property
    def key(self) -> str:
        """The name of its record."""
        return key_of(self.stage, self.cell, self.rep)


def key_of(stage: str, cell: str, rep: int) -> str:
    """The name of the record of a run."""
    return f"{cell}_{rep}" if stage == FIRST else f"{stage}-{cell}_{rep}"


def stage_of(key: str) -> str:
    """What a run was for, which its key begins with: a stage, or without any a cell of the grid, of a search, or the best one."""
    stage, dash, _ = key.partition("-")
    return stage if dash else FIRST


class Ledger:
    """Records of the runs of one research; `path` exists."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root

    @classmethod
    def open(cls, root: Path, name: str, *, make: bool = True) -> "Ledger":
        """The folder called `name`, made where it is not there; a UsageError lists those there are where it is to be."""
        if not NAME.fullmatch(name):
            raise UsageError(f"--name {name[:60]} is no name for a folder", hint="letters, digits, dots and dashes")
        path = root / "research" / name
        if not make and not (path / "grid.json").is_file():
            there = ", ".join(sorted(found.parent.name for found in root.glob("research/*/grid.json"))) or "none"
            raise UsageError(f"no research is called {name}; there is {there}", where=str(root / "research"), hint="another name")
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
            raise BusyError(what, where=error.where, hint="wait for it, or another --name") from error

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
        """Keep the cells, with a name each, or the space that is searched, the repetitions and folds; how many cells are new.

        `chosen` are cells that an earlier stage found best. A UsageError where a cell of before is not among them, or where space
        or folds are others.
        """
        path, plans, before = self.path / "grid.json", self.plans(), self.plan(stage)
        if plans and (stage == FIRST) != (FIRST in plans):
            raise UsageError(
                "this research is one with stages, or the file has them and it has none", where=str(path), hint=OTHER
            )
        if before["reps"] and before["folds"] != folds:
            raise UsageError(f"this research has {before['folds']} folds, not {folds}", where=str(path), hint=OTHER)
        cells = before["cells"] if cells is None else list(cells)
        names = {cell["name"] for cell in cells}
        if lost := [cell for cell in before["cells"] if cell["name"] not in names]:
            what = f"{len(lost)} of {len(before['cells'])} cells of this research are not in the grid any more"
            raise UsageError(what, where=str(path), hint="another --name, or the grid with its old cells beside the new")
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
        found = _read(path) if path.is_file() else {"stages": {}}
        return found["stages"] if "stages" in found else {FIRST: NO_PLAN | found}

    def plan(self, stage: str = FIRST) -> dict[str, Any]:
        """What was kept of a stage; of one that is new, nothing."""
        return self.plans().get(stage, NO_PLAN)

    def record(self, key: str) -> dict[str, Any] | None:
        """What is known of a run; None of one that never began."""
        path = self.path / "runs" / f"{key}.json"
        return _read(path) if path.is_file() else None

    def records(self) -> dict[str, dict[str, Any]]:
        """Every record, by key."""
        return {path.stem: _read(path) for path in sorted((self.path / "runs").glob("*.json"))}

    def write(self, task: Task, state: str, **facts: Any) -> None:
        """Put down how a run stands, beside what was known of it."""
        before = self.record(task.key) or {"run": None}
        record = before | asdict(task) | {"error": None} | facts | {"state": state}
        files.write_json(self.path / "runs" / f"{task.key}.json", record)

    def folder(self, record: dict[str, Any] | None) -> Path | None:
        """The run folder of a record, where it has got one."""
        return self.root / record["run"] if record and record.get("run") else None

    def state(self, record: dict[str, Any] | None, *, tested: bool = True) -> str:
        """How a run stands; its results, where they are there, outweigh its record. `tested` says whether it needs any."""
        if record is None:
            return WAITING
        folder = self.folder(record)
        if folder and (folder / "results.json").is_file():
            return DONE
        return STARTED if record["state"] == DONE and tested else record["state"]

    def can_go_on(self, record: dict[str, Any] | None) -> bool:
        """Whether a run has a checkpoint to go on from."""
        folder = self.folder(record)
        return bool(folder) and any(folder.glob("*.pth.tar")) and (folder / "config.json").is_file()

    def holder(self, record: dict[str, Any] | None) -> dict[str, Any] | None:
        """Host and process that hold a run, None where none does."""
        path = self.folder(record)
        try:
            found = json.loads((path / "lock").read_bytes()) if path else {}
        except (OSError, ValueError):
            return None
        return {"host": found.get("host"), "pid": found.get("pid")} if found else None

    def epoch(self, key: str) -> str:
        """How far a run is, as a few words; none where it is not known."""
        record = self.record(key)
        folder = self.folder(record)
        if not folder or not (folder / "logger.json").is_file():
            return ""
        return f" epoch {len(_read(folder / 'logger.json'))}/{record['given'].get('epochs', '')}".rstrip("/")

    def log(self, key: str) -> Path:
        """The file of what a run says."""
        return self.path / "logs" / f"{key}.log"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ResourceError(
            f"a record cannot be read: {error}", where=str(path), hint="remove it; its run begins anew"
        ) from error
