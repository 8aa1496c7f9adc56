"""A file becomes a grid: YAML, or Python that says GRID (and BASE, REPS) in the algebra of `studies.grid`.

    base: {dataset: synth, epochs: 5}
    reps: 3
    grid:
      - zip: {optimizer: [sgd, adam], lr: [0.05, 0.001]}     side by side
        cross: {model-name: [cnn1d_3, resnet1d_10]}          each with each
      - cross: {model-name: lstm_1}                          and these cells after those

Every value is read as the text it is, as on a command line: 1e-4, no and 12:30 mean themselves. A bare ~ leaves the
flag out. In place of `grid` there may be `stages` (`studies.plans`); `folds` says in how many the training rows
validate in turn.

The stages of a file, in the order in which they are carried out.

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
import runpy
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add, mul
from pathlib import Path
from typing import Any

from studies.grid import Axis, Cell, Grid, Option, few_enough, fixed, flag_key, parse_range
from toolbox.errors import ResourceError, UsageError
from toolbox.yours import ROOT

SHIPPED = ROOT / "grids"
NULL = ("", "~", "null")
MOST_BYTES = 2**20
MOST_COUNT = 100_000  # of repetitions, folds, trials and seeds
MOST_DEPTH, MOST_VALUES = 20, 100_000  # of a file, with its aliases written out
SHAPE = "base, reps, folds and grid, or stages; in grid a list of zip and cross"


@dataclass(frozen=True)
class Plan:
    """What a file asks for: the cells, base in each of them, how often, and on how many folds, 1 for none.

    Where there are `stages`, as they are written, each has a grid of its own, and `base` is what they have in common.
    """

    grid: Grid
    reps: int
    folds: int = 1
    base: Mapping[str, str | None] = field(default_factory=dict)
    stages: list[Any] = field(default_factory=list)


def find(grid: str) -> Path:
    """The file of a grid; raises UsageError for a name without ending that neither a file nor a shipped grid has."""
    path, shipped = Path(grid), {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}
    if path.suffix or path.exists():
        return path
    if grid not in shipped:
        raise UsageError(f"unknown grid '{grid[:60]}'", hint=f"a .yaml or .py file, or one of {', '.join(shipped)}")
    return shipped[grid]


def read(path: Path) -> Plan:
    """The plan of a .yaml, .yml or .py file; a UsageError says what in it is no grid, a ResourceError that it cannot be
    read."""
    try:
        if path.suffix == ".py":
            found = _ran(path)
            grid, base, reps = found.get("GRID"), found.get("BASE", {}), found.get("REPS", 1)
            folds, stages = found.get("FOLDS", 1), []
        else:
            found = _loaded(path)
            if unknown := found.keys() - {"base", "reps", "folds", "grid", "stages"}:
                raise UsageError(f"a grid has no '{min(unknown)}'", hint=SHAPE)
            base, reps, folds, stages = (
                read_base(found.get("base", {})),
                found.get("reps", "1"),
                found.get("folds", "1"),
                found.get("stages", []),
            )
            grid = read_grid(found.get("grid", []))
        if not isinstance(base, Mapping):
            raise UsageError("BASE is no mapping of flags", hint='BASE = {"dataset": "synth"}')
        if not isinstance(grid, Grid):
            raise UsageError("the file sets no GRID", hint='GRID = Option("lr", [0.001, 0.01]), from studies.grid')
        if stages and (grid.terms or not isinstance(stages, list)):
            raise UsageError("a file has a grid or a list of stages", hint="grid within a stage")
        grid = grid if grid.terms else fixed({})
        return Plan(fixed(base) * grid, count("reps", reps), count("folds", folds), base, stages)
    except UsageError as error:
        raise UsageError(error.what, where=str(path), hint=error.hint) from error
    except OSError as error:
        raise ResourceError(
            f"the grid cannot be read: {error.strerror}", where=str(path), hint="another path"
        ) from error


def _ran(path: Path) -> dict[str, Any]:
    """What a Python file has set; a fault in it is its writer's."""
    try:
        return runpy.run_path(str(path))
    except (UsageError, OSError):
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"the file cannot be run, {type(error).__name__}: {error}", hint="python, and the file"
        ) from error


def _loaded(path: Path) -> dict[str, Any]:
    import yaml

    class Loader(yaml.BaseLoader):
        """Every scalar a text, but null where nothing, ~ or null stands bare; no key of a mapping twice."""

        def construct_scalar(self, node: Any) -> str | None:
            text = super().construct_scalar(node)
            return None if node.style is None and text in NULL else text

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
            if twice := [key for key, count in keys.items() if count > 1]:
                raise UsageError(
                    f"'{twice[0][:40]}' stands twice, at line {node.start_mark.line + 1}", hint="each once"
                )
            return super().construct_mapping(node, deep)

    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UsageError(
            f"the file is larger than {MOST_BYTES:,} bytes", hint="a grid of fewer values, or several files"
        )
    try:
        loader = Loader(content.decode("utf-8-sig"))
        node = loader.get_single_node()
        _check_size(node)
        found = loader.construct_document(node) if node else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"the file is not YAML: {error}", hint=SHAPE) from error
    except RecursionError as error:
        raise UsageError(f"the file is nested more than {MOST_DEPTH} deep", hint=SHAPE) from error
    return mapping(found, "the file")


def _check_size(node: Any) -> None:
    """Raise where a tree of YAML is deeper, or with its aliases written out larger, than any grid is."""
    values, depth = _size(node, {}) if node else (0, 0)
    if depth > MOST_DEPTH:
        raise UsageError(f"the file is nested {depth} deep, at most {MOST_DEPTH} are read", hint=SHAPE)
    if values > MOST_VALUES:
        what = f"the file has {values:,} values, its aliases written out; at most {MOST_VALUES:,} are read"
        raise UsageError(what, hint="a grid of fewer values, or several files")


def _size(node: Any, sizes: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many values a node stands for, and how deep it is; `sizes` has those of the nodes met before, None within
    them."""
    if id(node) not in sizes:
        sizes[id(node)] = None
        inner = node.value if isinstance(node.value, list) else []
        parts = [part for each in inner for part in (each if isinstance(each, tuple) else (each,))]
        found = [_size(part, sizes) for part in parts]
        sizes[id(node)] = (1 + sum(count for count, _ in found), 1 + max((depth for _, depth in found), default=0))
    size = sizes[id(node)]
    if size is None:
        raise UsageError(
            f"an alias stands within what it names, at line {node.start_mark.line + 1}", hint="the values in its place"
        )
    return size


def read_grid(found: Any) -> Grid:
    """The lines of `grid`, one after the other; one of none where there is none."""
    few_enough(len(_entries(found)))
    return reduce(add, [_entry(entry) for entry in _entries(found)], Grid(()))


def read_base(found: Any) -> Mapping[str, str | None]:
    """Flags with a value each, None for one that is left out."""
    base = mapping(found, "base")
    if odd := [key for key, value in base.items() if not (value is None or isinstance(value, str))]:
        raise UsageError(
            f"{odd[0]} in base is not one value", hint=f'{odd[0]}: "one,other", commas and all as on a command line'
        )
    return {flag_key(key): value for key, value in base.items()}


def _entries(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _entry(found: Any) -> Grid:
    """One line of `grid`: its zip and its cross, each with each."""
    entry = mapping(found, "a line of grid")
    if not entry or (unknown := entry.keys() - {"zip", "cross"}):
        raise UsageError(f"a line of grid has no '{min(unknown)}'" if entry else "a line of grid is empty", hint=SHAPE)
    return reduce(mul, [part for name, axes in entry.items() for part in PARTS[name](axes)])


def _zipped(found: Any) -> Iterator[Grid]:
    for axes in _entries(found):
        yield Option.product(*_axes(axes, "zip"))


def _crossed(found: Any) -> Iterator[Grid]:
    yield from _axes(found, "cross")


PARTS = {"zip": _zipped, "cross": _crossed}


def _axes(found: Any, where: str) -> list[Grid]:
    axes = mapping(found, where)
    if not axes:
        raise UsageError(f"{where} is empty", hint=SHAPE)
    return [_axis(key, values) for key, values in axes.items()]


def _axis(key: str, values: Any) -> Grid:
    if isinstance(values, str):
        return Option(key, parse_range(values) or [values])
    if not isinstance(values, list) or not all(value is None or isinstance(value, str) for value in values):
        raise UsageError(f"the values of {key} are no list of words", hint=f"{key}: [one, other]")
    return Option(key, values)


def mapping(found: Any, where: str) -> Mapping[str, Any]:
    """A mapping of names, empty for none."""
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UsageError(f"{where} is no mapping of names", hint=SHAPE)
    return found


def count(name: str, found: Any) -> int:
    """The number from 1 on that stands at `name`."""
    text = str(found)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MOST_COUNT):
        raise UsageError(
            f"{name} is {text[:40]}, must be a number from 1 on, at most {MOST_COUNT:,}", hint=f"{name}: 5"
        )
    return int(text)


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


def read_stages(found: Sequence[Any], *, reps: int) -> list[Stage]:
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
