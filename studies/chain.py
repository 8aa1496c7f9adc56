"""A research of several stages, in one file: each begins from what the one before found best, the last trains that
anew.

    head    a grid, the network's head alone
    all     from head: a search and a grid around its best, begun with the head's weights of the same seed and fold
    final   from all, seeds: the whole way again on all training rows, and one test a seed

The same command again goes on: what is done is passed over, and a stage that would begin from another best cell is
refused.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

from studies import cells, engine, plans_stages, stages
from studies.grid import Cell, Grid, varying
from studies.ledger import Ledger
from studies.plans import Plan
from studies.plans_stages import Stage
from studies.space import Space
from toolbox.errors import UsageError
from toolbox.signals import StopRequest

NOT_WITH = ("reps", "search", "trials", "pruner", "refine", "seeds", "best")
log = logging.getLogger("commander")


@dataclass(frozen=True)
class Chain:
    """The stages of a file, and what they have in common."""

    plan: Plan
    stages: list[Stage]


def read(flags: SimpleNamespace, plan: Plan) -> Chain:
    """The stages of a plan, each seen to be one that could begin, as far as that can be told before the first is
    done."""
    if typed := [name for name in NOT_WITH if getattr(flags, name) not in (None, False)]:
        raise UsageError(
            f"--{typed[0]} is for a grid without stages, here the file says it", hint=f"{typed[0]}: in a stage"
        )
    found = plans_stages.read(plan.stages, reps=plan.reps)
    tried: dict[str, Cell] = {}  # a cell of each stage, in place of its best
    monitors = {}
    for stage in found:
        try:
            first = _tried(flags, plan, stage, tried, again=any(other.seeds for other in found))
        except UsageError as error:
            raise UsageError(
                error.what, where=": ".join(filter(None, [f"stage {stage.name}", error.where])), hint=error.hint
            ) from error
        if not stage.seeds:
            tried[stage.name] = first
            monitors[stage.name] = cells.settled(cells.experiment(first)).monitor
            _check_weights(stage, first, found)
    if len(set(monitors.values())) > 1:
        told = ", ".join(f"{name} by {metric}" for name, metric in monitors.items())
        raise UsageError(f"stages are judged by one metric, these are by several: {told}", hint="monitor in base")
    return Chain(plan, found)


def _tried(flags: SimpleNamespace, plan: Plan, stage: Stage, tried: dict[str, Cell], *, again: bool) -> Cell:
    """A cell of the stage; every value of it is seen to be one that a run could begin with, on all rows too where it
    may be."""
    if stage.seeds:
        return tried[stage.source]
    how, own = of_stage(flags, stage), replace(plan, grid=grid_of(plan, stage, tried))
    found = list(stages.space_of(how, own).probes()) if stage.search else [one.cell for one in stages.checked(how, own)]
    if again:
        for cell in found:
            stages.again(how, stage.name).experiment(cell)
    if stage.refine and not stages.space_of(how, own).ranges():
        raise UsageError("refine varies numbers, and the grid has no range", hint="loguniform(1e-4, 1e-2) in the grid")
    return found[0]


def _check_weights(stage: Stage, cell: Cell, found: list[Stage]) -> None:
    """Raise where a run would begin with the weights of a repetition that there is none of."""
    begun = plans_stages.named(cell, [other.name for other in found])
    source = next((other for other in found if begun and other.name == begun[0]), stage)
    if stage.reps > source.reps:
        what = (
            f"stage {stage.name} has {stage.reps} repetitions, {source.name}, whose weights it begins with, has"
            f" {source.reps}"
        )
        raise UsageError(what, hint="as many in both")


def of_stage(flags: SimpleNamespace, stage: Stage) -> SimpleNamespace:
    """The flags with which a stage is carried out as a research without stages would be."""
    how = {name: getattr(stage, name) for name in ("reps", "search", "trials", "pruner", "refine", "seeds")}
    return SimpleNamespace(**{**vars(flags), **how, "stage": stage.name, "best": None})


def grid_of(plan: Plan, stage: Stage, best: dict[str, Cell], names: dict[str, str] | None = None) -> Grid:
    """The grid of a stage; `best` has the best cell of earlier stages, `names` what each is called, to begin with its
    weights."""
    names = names or {name: f"{name}-00000000" for name in best}
    return stage.whole(best[stage.source] if stage.source else plan.base, names)


def carry_out(flags: SimpleNamespace, chain: Chain, ledger: Ledger, stop: StopRequest) -> None:
    """Every stage in its order, as far as it is not done."""
    with engine.one_for_all(flags.workers or engine.cores()) as connected:
        _carry_out(SimpleNamespace(**{**vars(flags), "connected": connected}), chain, ledger, stop)


def _carry_out(flags: SimpleNamespace, chain: Chain, ledger: Ledger, stop: StopRequest) -> None:
    plan, best = chain.plan, {}
    for stage in chain.stages:
        how = of_stage(flags, stage)
        log.info("stage %s", stage.name)
        if stage.seeds:
            _again(how, best[stage.source], ledger, stop)
            continue
        names = {name: f"{name}-{cells.experiment(cell).name}" for name, cell in best.items()}
        own = replace(plan, grid=grid_of(plan, stage, best, names))
        if stage.search:
            space = stages.space_of(how, own)
            stages.run_search(how, space, ledger, stop)
            if stage.refine:
                stages.run_refine(how, space, ledger, stop)
        else:
            stages.run_grid(how, stages.checked(how, own), ledger, stop)
        best[stage.name] = cell = stages.best_cell(ledger, stage.name, None)
        log.info("the best of stage %s is %s: %s", stage.name, cells.experiment(cell).name, cells.said(cell, cell))


def _again(how: SimpleNamespace, best: Cell, ledger: Ledger, stop: StopRequest) -> None:
    """The best cell on unseen seeds; where it began with weights, those are trained anew first, each seed its own."""
    after = f"{how.stage}."
    for cell, stage in reversed(list(_way(best, ledger))):
        runs = stages.again(how, after + stage if stage else how.stage, tested=not stage, after=after)
        one = runs.experiment(cell)
        kept = {"name": one.name, "cell": one.cell}
        ledger.freeze(how.seeds, cells=[kept], stage=runs.stage, chosen=True)
        stages.carry_out_all(how, ledger, runs.tasks([one], ledger), stop)


def _way(cell: Cell, ledger: Ledger) -> Iterator[tuple[Cell, str]]:
    """The cell, and before it those whose weights it began with, each with the name of its stage, "" for the first."""
    stage = ""
    while True:
        yield cell, stage
        begun = plans_stages.named(cell, ledger.plans())
        if begun is None:
            return
        stage, name = begun
        cell = ledger.flags_of(stage, name)


def listed(flags: SimpleNamespace, chain: Chain) -> Iterator[str]:
    """A line for each stage and each of its cells, as far as they are known before the first is done."""
    plan, tried = chain.plan, {}
    for stage in chain.stages:
        if stage.seeds:
            whole = ", trained on all training rows" * (flags.folds > 1)
            yield f"{stage.name}: the best cell of {stage.source} again, {stage.seeds} seeds{whole}, tested"
            continue
        how, own = of_stage(flags, stage), replace(plan, grid=grid_of(plan, stage, tried))
        runs = stages.series(how, stage.name)
        since = f", from the best cell of {stage.source}" if stage.source else ""
        if stage.search:
            space = Space.of(own.grid)
            around = f", then the best and its neighbours, {runs}" if stage.refine else ""
            yield f"{stage.name}: {stage.trials} trials by {stage.search}{since}, {replace(runs, reps=1)}{around}"
            yield from (
                f"      {name}: {axis if not isinstance(axis, dict) else ', '.join(axis)}"
                for name, axis in space.drawn().items()
            )
            tried[stage.name] = next(space.probes())
            continue
        each = stages.checked(how, own)
        yield f"{stage.name}: {len(each)} cells{since}, {runs}, {len(each) * len(runs)} runs"
        axes = varying([one.cell for one in each])
        yield from (f"{number:6d}  {cells.said(one.cell, axes)}" for number, one in enumerate(each, start=1))
        tried[stage.name] = each[0].cell
