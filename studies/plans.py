"""Reads a plan from a file: YAML, or Python that sets GRID (and BASE, REPS, FOLDS) in the algebra of `studies.grid`.

    base: {dataset: synth, epochs: 5}
    reps: 3
    grid:
      - zip: {optimizer: [sgd, adam], lr: [0.05, 0.001]}     first with first, second with second
        cross: {model-name: [cnn1d_3, resnet1d_10]}          each with each
      - cross: {model-name: lstm_1}                          more configurations

Every value is text, as on a command line: 1e-4, no and 12:30 mean themselves. A bare ~ leaves the flag out. `folds` is
the number of folds of the training rows, each once for validation. A file can have stages in place of `grid`:

    stages:
      - name: head
        base: {train: head, epochs: 5}                       added to the file's base
        grid: {cross: {lr: [0.001, 0.01]}}
      - {name: all, from: head, base: {pretrained: head, train: all}, grid: {cross: {lr: 'loguniform(1e-5, 1e-3)'}},
         search: tpe, trials: 20, pruner: median, refine: true}
      - {name: final, from: all, seeds: 10}

`from` takes the flags of the best configuration of an earlier stage. If `pretrained` names a stage, each run starts
with the weights of that stage's best configuration, from the run with the same seed and fold: those weights never saw
the validation rows.
"""

import re
import runpy
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from operator import add, mul
from pathlib import Path
from typing import Any

from studies import grid as algebra
from studies.grid import Axis, Cell, Grid, Option, few_enough, fixed, flag_key, parse_range, same
from studies.ledger import BEST, FIRST, SEARCH, STAGES
from toolbox import files
from toolbox.errors import ROOT, DataError, UsageError

SHIPPED = ROOT / "grids"
MOST_COUNT = 100_000  # of repetitions, folds, trials and seeds
SHAPE = "base, reps, folds and grid, or stages; in grid a list of zip and cross"
NAME = re.compile(r"[A-Za-z]\w{0,29}", re.ASCII)
PRETRAINED = "pretrained"
SWITCH = {"true": True, "false": False}
EMPTY = Grid(())


@dataclass(frozen=True)
class Stage:
    """A grid, a search with `trials`, or the best configuration of the stage `source` again on new `seeds`.

    The names in `ledger.STAGES` are for files without stages; the grid of these stages is already whole.
    """

    name: str
    source: str = ""
    base: Mapping[str, str | None] = field(default_factory=dict)
    grid: Grid = EMPTY
    reps: int = 1
    search: str = ""
    trials: int = 0
    pruner: str = ""
    refine: bool = False
    seeds: int = 0

    @property
    def named(self) -> bool:
        """Whether the stage comes from the file."""
        return self.name not in STAGES

    @property
    def label(self) -> str:
        """The stage's name in its records."""
        return SEARCH if self.name == FIRST and (self.search or self.refine) else self.name

    def whole(self, inherited: Mapping[str, str | None], best: Mapping[str, str]) -> Grid:
        """The grid with all flags: `inherited`, overridden by the stage's base, overridden by its axes.

        `best` has the name of every earlier stage's best configuration, as a source of weights.
        """
        if not self.named:
            return self.grid
        axes = {key: None for term in self.grid.terms for axis in term for key in axis.keys}
        own = over(over(inherited, self.base), axes)
        grid = fixed(own) * (self.grid if self.grid.terms else fixed({}))
        return Grid(tuple(tuple(_starting(axis, best) for axis in term) for term in grid.terms))


OF_THE_LAST = {"name", "from", "seeds"}
OF_A_STAGE = {"from" if each.name == "source" else each.name for each in fields(Stage)} - {"seeds"}


@dataclass(frozen=True)
class Plan:
    """The runs of a study: a grid, or `stages` with their own grids and a common `base`.

    `folds` is 1 for no folds; with `tested` False no run opens the test split.
    """

    grid: Grid
    reps: int
    folds: int = 1
    base: Mapping[str, str | None] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    tested: bool = True

    def ordered(self, typed: Mapping[str, Any], *, folds: int | None = None, tested: bool = True) -> "Plan":
        """The plan with its stages, from the file or else from the `typed` flags.

        Raises UsageError if the file has stages and a flag for stages is typed.
        """
        plan = replace(self, folds=folds or self.folds, tested=tested)
        typed = {name: value for name, value in typed.items() if value not in (None, False)}
        if self.stages and typed:
            name = next(iter(typed))
            what = f"--{name} is only valid for a file without stages"
            raise UsageError(what, hint=f"{name}: in a stage")
        if self.stages:
            return plan
        own = {name: value for name, value in typed.items() if name in OF_A_STAGE}
        first, seeds = replace(Stage(FIRST, grid=self.grid, reps=self.reps), **own), typed.get("seeds", 0)
        again = [Stage(BEST, FIRST, seeds=seeds)] if seeds else []
        return replace(plan, stages=[first] * (not seeds or bool(first.search) or first.refine) + again)


def find(grid: str) -> Path:
    """The path of a grid: a file, or a shipped grid by name. Raises UsageError for an unknown name."""
    path, shipped = Path(grid), {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}
    if path.suffix or path.exists():
        return path
    if grid not in shipped:
        raise UsageError(f"unknown grid '{grid[:60]}'", hint=f"a .yaml or .py file, or one of {', '.join(shipped)}")
    return shipped[grid]


def read(path: Path) -> Plan:
    """The plan of a .yaml, .yml or .py file. Raises UsageError for an invalid grid, DataError if unreadable."""
    try:
        return _of_python(path) if path.suffix == ".py" else _of_yaml(mapping(files.read_yaml(path, SHAPE), "the file"))
    except UsageError as error:
        where = f"{path}, {error.where}" if error.where else str(path)
        raise UsageError(error.what, where=where, hint=error.hint) from error
    except OSError as error:
        what = f"the grid cannot be read: {error.strerror}"
        raise DataError(what, where=str(path), hint="another path") from error


def _of_python(path: Path) -> Plan:
    """The plan of a Python file. Raises UsageError for any error in the file."""
    sys.modules["toolbox.grid"] = algebra  # grids for earlier versions import this name
    try:
        found = runpy.run_path(str(path))
    except (UsageError, OSError):
        raise
    except (Exception, SystemExit) as error:
        what = f"the file fails with {type(error).__name__}: {error}"
        raise UsageError(what, hint="run it with python") from error
    finally:
        del sys.modules["toolbox.grid"]
    grid, base = found.get("GRID"), found.get("BASE", {})
    if not isinstance(base, Mapping):
        raise UsageError("BASE is not a mapping of flags", hint='BASE = {"dataset": "synth"}')
    if not isinstance(grid, Grid):
        raise UsageError("the file sets no GRID", hint='GRID = Option("lr", [0.001, 0.01]), from studies.grid')
    grid = fixed(base) * (grid if grid.terms else fixed({}))
    return Plan(grid, count("reps", found.get("REPS", 1)), count("folds", found.get("FOLDS", 1)))


def _of_yaml(found: Mapping[str, Any]) -> Plan:
    if unknown := found.keys() - {"base", "reps", "folds", "grid", "stages"}:
        raise UsageError(f"a grid has no '{min(unknown)}'", hint=SHAPE)
    base, grid, stages = read_base(found.get("base", {})), read_grid(found.get("grid", [])), found.get("stages", [])
    if stages and (grid.terms or not isinstance(stages, list)):
        raise UsageError("the file needs either a grid or a list of stages", hint="grid within a stage")
    grid = fixed(base) * (grid if grid.terms else fixed({}))
    reps, folds = (count(name, found.get(name, "1")) for name in ("reps", "folds"))
    return Plan(grid, reps, folds, base, read_stages(stages, reps=reps))


def read_grid(found: Any) -> Grid:
    """The sum of the lines of `grid`; a grid without terms if there is no line."""
    few_enough(len(_list(found)))
    return reduce(add, map(_entry, _list(found)), EMPTY)


def read_base(found: Any) -> Mapping[str, str | None]:
    """Flags with their values, None for a flag to leave out."""
    base = mapping(found, "base")
    if odd := [key for key, value in base.items() if not (value is None or isinstance(value, str))]:
        hint = f'{odd[0]}: "one,other", commas and all as on a command line'
        raise UsageError(f"{odd[0]} in base must be a single value", hint=hint)
    return {flag_key(key): value for key, value in base.items()}


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _entry(found: Any) -> Grid:
    """One line of `grid`: the product of its zip, or list of zips, and its cross."""
    entry = mapping(found, "a line of grid")
    if not entry or (unknown := entry.keys() - {"zip", "cross"}):
        raise UsageError(f"a line of grid has no '{min(unknown)}'" if entry else "a line of grid is empty", hint=SHAPE)
    factors: list[Grid] = []
    for name, axes in entry.items():
        factors += (
            _axes(axes, name) if name == "cross" else [Option.product(*_axes(each, name)) for each in _list(axes)]
        )
    return reduce(mul, factors)


def _axes(found: Any, where: str) -> list[Grid]:
    axes = mapping(found, where)
    if not axes:
        raise UsageError(f"{where} is empty", hint=SHAPE)
    return [_axis(key, values) for key, values in axes.items()]


def _axis(key: str, found: Any) -> Grid:
    values = _list(found)
    if not all(value is None or isinstance(value, str) for value in values):
        raise UsageError(f"the values of {key} are not a list of words", hint=f"{key}: [one, other]")
    return Option(key, (parse_range(found) if isinstance(found, str) else None) or values)


def mapping(found: Any, where: str) -> Mapping[str, Any]:
    """A mapping of names, empty for None. Raises UsageError for anything else."""
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UsageError(f"{where} is not a mapping of names", hint=SHAPE)
    return found


def count(name: str, found: Any) -> int:
    """The whole number from 1 at the key `name`. Raises UsageError for anything else."""
    text = str(found)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MOST_COUNT):
        what = f"{name} is {text[:40]}, must be a number from 1 on, at most {MOST_COUNT:,}"
        raise UsageError(what, hint=f"{name}: 5")
    return int(text)


def over(below: Mapping[str, str | None], above: Mapping[str, str | None]) -> dict[str, str | None]:
    """The flags `below`, overridden by `above`; a flag and a part of it (model-args.dropout) count as the same."""
    return {key: value for key, value in below.items() if not any(same(key, other) for other in above)} | {**above}


def _starting(axis: Axis, best: Mapping[str, str]) -> Axis:
    """An axis with each stage's name in `pretrained` replaced by its best configuration."""
    rows = ({key: best.get(value, value) if key == PRETRAINED else value for key, value in row.items()}
            for row in axis.rows)  # fmt: skip
    return replace(axis, rows=tuple(rows))


def source_of(cell: Cell, stages: Collection[str]) -> tuple[str, str] | None:
    """Stage and name of the configuration that `cell` takes its initial weights from; None if not from a stage."""
    stage, dash, name = cell.get(PRETRAINED, "").partition("-")
    return (stage, name) if dash and stage in stages else None


def read_stages(found: Sequence[Any], *, reps: int) -> list[Stage]:
    """The stages of a file, with `reps` as their default. Raises UsageError for an invalid stage."""
    stages: list[Stage] = []
    for number, written in enumerate(found, start=1):
        try:
            stages.append(_stage(mapping(written, "a stage"), stages, reps))
        except UsageError as error:
            raise UsageError(error.what, where=f"stage {number} of {len(found)}", hint=error.hint) from error
    return stages


def _stage(found: Mapping[str, Any], before: Sequence[Stage], reps: int) -> Stage:
    name, last = str(found.get("name", "")), "seeds" in found
    if not NAME.fullmatch(name) or name in (*STAGES, *(stage.name for stage in before)):
        what = f"'{name[:40]}' is not a valid, free name of a stage" if name else "a stage has no name"
        raise UsageError(what, hint=f"name: head; letters and digits, not {', '.join(STAGES)}")
    known = OF_THE_LAST if last else OF_A_STAGE
    if unknown := found.keys() - known:
        what = f"{'a stage with seeds' if last else 'a stage'} has no '{min(unknown)}'"
        raise UsageError(what, hint=", ".join(sorted(known)))
    source, sources = found.get("from") or "", [stage.name for stage in before if not stage.seeds]
    if source not in (*sources, *[""] * (not last)):
        what = f"no earlier stage is named {str(source)[:40]}" if source else "a stage with seeds needs from"
        raise UsageError(what, hint=f"from: {', '.join(sources) or 'nothing, in the first stage'}")
    refine = str(found.get("refine", "false"))
    if refine not in SWITCH:
        raise UsageError(f"refine is {refine}, must be true or false", hint="true or false")
    values: dict[str, Any] = {key: count(key, found[key]) for key in ("trials", "seeds") if key in found}
    values |= {key: str(found[key]) for key in ("search", "pruner") if found.get(key)}
    reps, base = count("reps", found.get("reps", reps)), read_base(found.get("base", {}))
    stage = Stage(name, source, base, read_grid(found.get("grid", [])), reps, refine=SWITCH[refine], **values)
    if (stage.trials or stage.pruner or stage.refine) and not stage.search:
        raise UsageError("trials, pruner and refine need search", hint="search: tpe")
    if stage.search and not stage.trials:
        raise UsageError("search needs trials", hint="trials: 20")
    return stage
