"""The stages of a file, in the order in which they are carried out.

    stages:
      - name: head
        base: {train: head, epochs: 5}                     over the file's base
        grid: {cross: {lr: [0.001, 0.01]}}
      - {name: all, from: head, base: {pretrained: head, train: all}, grid: {cross: {lr: 'loguniform(1e-5, 1e-3)'}},
         search: tpe, trials: 20, pruner: median, refine: true}
      - {name: final, from: all, seeds: 10}

`from` begins with the flags of the best cell of an earlier stage. Where `pretrained` names one, a run begins with the
weights of the run of that stage's best cell that has the same seed and fold, so that nothing it is validated on was
trained on before.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from studies.grid import Axis, Cell, Grid, fixed
from studies.plans import count, mapping, read_base, read_grid
from toolbox.errors import UsageError

NAME = re.compile(r"[A-Za-z]\w{0,29}", re.ASCII)
TAKEN = ("grid", "search", "best")  # by researches without stages
OF_A_STAGE = {"name", "from", "base", "grid", "reps", "search", "trials", "pruner", "refine"}
OF_THE_LAST = {"name", "from", "seeds"}
PRETRAINED = "pretrained"
SWITCH = {"true": True, "false": False}


@dataclass(frozen=True)
class Stage:
    """One stage: a grid, a search through one, or the best cell of another again on `seeds` that no choice has seen."""

    name: str
    source: str | None
    base: Mapping[str, str | None]
    grid: Grid
    reps: int
    search: str | None
    trials: int | None
    pruner: str | None
    refine: bool
    seeds: int | None

    def whole(self, inherited: Mapping[str, str | None], best: Mapping[str, str]) -> Grid:
        """The grid with what stands in every cell of it: `inherited`, over it the stage's base, over that its axes.

        `best` has the best cell of every earlier stage by the stage's name, for whoever begins with its weights.
        """
        axes = [key for term in self.grid.terms for axis in term for key in axis.keys]
        own = {
            key: value for key, value in over(inherited, self.base).items() if not any(same(key, axis) for axis in axes)
        }
        grid = fixed(own) * (self.grid if self.grid.terms else fixed({}))
        return Grid(tuple(tuple(_resolved(axis, best) for axis in term) for term in grid.terms))


def over(below: Mapping[str, str | None], above: Mapping[str, str | None]) -> dict[str, str | None]:
    """Two sets of flags as one, in which those `above` count; a flag and a part of it (model-args.dropout) are the
    same."""
    kept = {key: value for key, value in below.items() if not any(same(key, other) for other in above)}
    return {**kept, **above}


def same(key: str, other: str) -> bool:
    """Whether two flags of a grid are one, or one a part of the other."""
    return key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.")


def _resolved(axis: Axis, best: Mapping[str, str]) -> Axis:
    rows = tuple(
        {**row, PRETRAINED: best.get(row[PRETRAINED], row[PRETRAINED])} if PRETRAINED in row else row
        for row in axis.rows
    )
    return replace(axis, rows=rows)


def named(cell: Cell, stages: Collection[str]) -> tuple[str, str] | None:
    """Stage and cell whose weights a cell begins with, None where it does not begin with those of a stage."""
    stage, dash, cell_name = cell.get(PRETRAINED, "").partition("-")
    return (stage, cell_name) if dash and stage in stages else None


def read(found: Sequence[Any], *, reps: int) -> list[Stage]:
    """The stages as they are written, each `reps` times where it does not say; a UsageError says what in them is
    none."""
    stages: list[Stage] = []
    for number, written in enumerate(found, start=1):
        try:
            stages.append(_stage(mapping(written, "a stage"), stages, reps))
        except UsageError as error:
            raise UsageError(error.what, where=f"stage {number} of {len(found)}", hint=error.hint) from error
    return stages


def _stage(found: Mapping[str, Any], before: Sequence[Stage], reps: int) -> Stage:
    name, last = str(found.get("name", "")), "seeds" in found
    if not NAME.fullmatch(name) or name in (*TAKEN, *(stage.name for stage in before)):
        what = f"'{name[:40]}' is no name of a stage, or another's" if name else "a stage has no name"
        raise UsageError(what, hint=f"name: head; letters and digits, not {', '.join(TAKEN)}")
    if unknown := found.keys() - (OF_THE_LAST if last else OF_A_STAGE):
        known = ", ".join(sorted(OF_THE_LAST if last else OF_A_STAGE))
        raise UsageError(f"{'a stage with seeds' if last else 'a stage'} has no '{min(unknown)}'", hint=known)
    source, there = found.get("from"), [stage.name for stage in before if not stage.seeds]
    if source not in (None, *there) or (last and source is None):
        told = (
            f"no stage before is called {str(source)[:40]}" if source else "which stage's best cell is trained again?"
        )
        raise UsageError(told, hint=f"from: {', '.join(there) or 'nothing, in the first stage'}")
    numbers = {key: count(key, found[key]) if key in found else None for key in ("reps", "trials", "seeds")}
    how = {
        "search": found.get("search"),
        "pruner": found.get("pruner"),
        "refine": _switch(found.get("refine", "false")),
    }
    if any((numbers["trials"], how["pruner"], how["refine"])) and not how["search"]:
        raise UsageError("trials, pruner and refine go with search", hint="search: tpe")
    if how["search"] and not numbers["trials"]:
        raise UsageError("search needs trials", hint="trials: 20")
    numbers["reps"] = numbers["reps"] or reps
    return Stage(name, source, read_base(found.get("base", {})), read_grid(found.get("grid", [])), **numbers, **how)


def _switch(text: Any) -> bool:
    if text not in SWITCH:
        raise UsageError(f"refine is {text}, it is a switch", hint="true or false")
    return SWITCH[text]
