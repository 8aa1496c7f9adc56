"""What a research does: a grid, a search, a small grid around the best, the best cell on unseen seeds.

Each is a pair: what is made of the plan before anything is written, and what is done with that. `STAGES` has one a
flag; a file with stages is carried out by them one after another, with `flags.stage` for a name.

A research of several stages, in one file: each begins from what the one before found best, the last trains that
anew.

    head    a grid, the network's head alone
    all     from head: a search and a grid around its best, begun with the head's weights of the same seed and fold
    final   from all, seeds: the whole way again on all training rows, and one test a seed

The same command again goes on: what is done is passed over, and a stage that would begin from another best cell is
refused.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from studies import cells, plans, runner, tables
from studies.cells import UNSEEN, Experiment, Series
from studies.grid import Cell, Grid, Space, around, varying
from studies.ledger import DONE, FAILED, FIRST, MOST_RUNS, Ledger, Task
from studies.plans import Plan, Stage
from studies.runner import Engine, Progress
from toolbox.errors import UsageError
from toolbox.flags import Flags
from toolbox.terminal import StopRequest

SEARCH = "search"  # the stage, in a research without stages
log = logging.getLogger("commander")


def series(flags: Flags, name: str, *, tested: bool = False) -> Series:
    """The runs of a cell, of the stage that is carried out or else of `name`. Where there are folds the test stays
    closed."""
    tested = tested and not flags.no_test and flags.folds == 1
    return Series(flags.stage or name, flags.reps, flags.folds, tested)


def checked(flags: Flags, plan: Plan) -> list[Experiment]:
    """The cells of a plan, each seen to be a run that could begin."""
    runs, found = series(flags, FIRST), plan.grid.cells()
    if len(found) * len(runs) > MOST_RUNS:
        what = (
            f"{len(found):,} cells, {runs}, are {len(found) * len(runs):,} runs; a research has at most {MOST_RUNS:,}"
        )
        raise UsageError(what, hint="fewer cells or repetitions")
    return runs.experiments(found)


def run_grid(flags: Flags, found: list[Experiment], ledger: Ledger, stop: StopRequest) -> None:
    """Every cell, as often as is asked for, a whole grid first."""
    runs = series(flags, FIRST, tested=not flags.stage)
    new = ledger.freeze(**kept(flags), cells=[{"name": one.name, "cell": one.cell} for one in found])
    log.info("%d cells, %d of them new, %s", len(found), new, runs)
    carry_out_all(flags, ledger, runs.tasks(found, ledger), stop)


def kept(flags: Flags) -> dict[str, Any]:
    """What the research keeps of how often a cell is run."""
    return {"reps": flags.reps, "folds": flags.folds, "stage": flags.stage or FIRST}


def space_of(flags: Flags, plan: Plan) -> Space:
    """The space that a search draws from, each value of it seen to be a run that could begin."""
    if flags.search:
        from studies import search

        search.known(flags.search, flags.pruner)
    space, runs = Space.of(plan.grid), series(flags, SEARCH)
    for cell in space.probes():
        runs.experiment(cell)
    return space


def run_search(flags: Flags, space: Space, ledger: Ledger, stop: StopRequest) -> None:
    """Cells that Optuna asks for, one run of each or one a fold, judged by validation; the test stays closed."""
    from studies import search

    ledger.freeze(**kept(flags), space=str(space))
    runs = replace(series(flags, SEARCH), reps=1)
    made = search.Search(ledger, space, runs, sampler=flags.search, pruner=flags.pruner, trials=flags.trials)
    log.info("%d of %d trials are left", left := made.left(), made.trials)
    if left or made.under_way():
        most = made.trials * len(runs)
        with at_work(flags, ledger, made.trials, done=made.trials - left, most=most) as (engine, bar), stop.deferred():
            made.run(engine, bar, stop)
        stop.check()


def run_refine(flags: Flags, space: Space, ledger: Ledger, stop: StopRequest) -> None:
    """The best cell and its neighbours, as often as is asked for, judged by validation."""
    runs, before = series(flags, SEARCH), ledger.plan(flags.stage or FIRST)["cells"]
    if flags.stage and before:  # gone on with: the best may be one of them by now
        found = runs.experiments([cell["cell"] for cell in before])
    else:
        found = runs.experiments(around(best_cell(ledger, flags.stage or FIRST, flags.best), space))
    if flags.stage:
        ledger.freeze(**kept(flags), cells=[{"name": one.name, "cell": one.cell} for one in found])
    log.info("%d cells around the best, %s", len(found), runs)
    carry_out_all(flags, ledger, runs.tasks(found, ledger), stop)


def run_best(flags: Flags, plan: Plan, ledger: Ledger, stop: StopRequest) -> None:
    """The best cell on seeds that no choice has seen, each run tested once; after folds, trained on all training
    rows."""
    runs = repeat_series(flags, tables.BEST)
    one = runs.experiment(best_cell(ledger, FIRST, flags.best))
    log.info("the best cell is %s: %s", one.name, cells.said(one.cell, one.cell))
    carry_out_all(flags, ledger, runs.tasks([one], ledger), stop)


def repeat_series(flags: Flags, name: str, *, tested: bool = True, after: str = "") -> Series:
    """The runs of a cell that was found best."""
    return Series(name, flags.seeds, 1, tested and not flags.no_test, seeds=UNSEEN, whole=flags.folds > 1, after=after)


# What a flag asks for: what is made of the plan before anything is written, and what is done with it.
GRID = (checked, run_grid)
STAGES = {
    "search": (space_of, run_search),
    "refine": (space_of, run_refine),
    "seeds": (lambda flags, plan: plan, run_best),
}


def best_cell(ledger: Ledger, stage: str, metric: str | None) -> Cell:
    """The best cell of a stage so far, on validation; a UsageError where nothing is done."""
    rows = tables.rows(ledger)
    metric = tables.judged_by(ledger, rows, metric)
    best = tables.best(tables.cells(rows, metric), metric, stage)
    if best is None:
        what = (
            "no cell of this research is done, so none is the best"
            if stage == FIRST
            else f"no cell of stage {stage} is done"
        )
        raise UsageError(what, where=str(ledger.path), hint="the grid first; --retry where runs have failed")
    return ledger.flags_of(best["stage"], best["cell"])


def carry_out_all(flags: Flags, ledger: Ledger, tasks: Sequence[Task], stop: StopRequest) -> None:
    """Have the tasks done that are not; an Interrupted where a signal came, when all are at rest."""
    states = {task.key: ledger.state(ledger.known(task), tested=task.tested) for task in tasks}
    for task in tasks:
        if trouble := ledger.trouble(task):
            log.warning("%s is run again: %s", task.key, trouble)
    failed = [key for key, state in states.items() if state == FAILED]
    left = [task for task in tasks if states[task.key] != DONE and (flags.retry or states[task.key] != FAILED)]
    if failed and not flags.retry:
        log.warning("%d failed before and are left so (--retry runs them again): %s", len(failed), ", ".join(failed))
    if left:
        groups = cells.groups(left, branches(flags, len(left)))
        with (
            at_work(flags, ledger, len(tasks), done=len(tasks) - len(left), most=len(groups)) as (made, bar),
            stop.deferred(),
        ):
            runner.carry_out(made, groups, bar, stop)
        stop.check()


def branches(flags: Flags, runs: int) -> int:
    """How many of so many runs a worker steps in turn: as asked for, and none is left without any for it."""
    here = 1 if flags.engine_address else flags.workers or runner.cores()
    return max(1, min(flags.branches or 1, -(-runs // here)))


@contextmanager
def at_work(flags: Flags, ledger: Ledger, total: int, *, done: int, most: int) -> Iterator[tuple[Engine, Progress]]:
    """An engine with no more workers than are of use, and a bar."""
    workers, gpus = min(flags.workers or runner.cores(), most), flags.gpus or runner.gpus()
    connected = flags.connected or runner.connected
    with (
        connected(workers=workers, gpus=gpus, address=flags.engine_address) as client,
        Progress(total, done=done) as bar,
    ):
        yield runner.Engine(client, ledger), bar


NOT_WITH = ("reps", "search", "trials", "pruner", "refine", "seeds", "best")


@dataclass(frozen=True)
class Chain:
    """The stages of a file, and what they have in common."""

    plan: Plan
    stages: list[Stage]


def read(flags: Flags, plan: Plan) -> Chain:
    """The stages of a plan, each seen to be one that could begin, as far as that can be told before the first is
    done."""
    if typed := [name for name in NOT_WITH if getattr(flags, name) not in (None, False)]:
        raise UsageError(
            f"--{typed[0]} is for a grid without stages, here the file says it", hint=f"{typed[0]}: in a stage"
        )
    found = plans.read_stages(plan.stages, reps=plan.reps)
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


def _tried(flags: Flags, plan: Plan, stage: Stage, tried: dict[str, Cell], *, again: bool) -> Cell:
    """A cell of the stage; every value of it is seen to be one that a run could begin with, on all rows too where it
    may be."""
    if stage.seeds:
        return tried[stage.source]
    how, own = of_stage(flags, stage), replace(plan, grid=grid_of(plan, stage, tried))
    found = list(space_of(how, own).probes()) if stage.search else [one.cell for one in checked(how, own)]
    if again:
        for cell in found:
            repeat_series(how, stage.name).experiment(cell)
    if stage.refine and not space_of(how, own).ranges():
        raise UsageError("refine varies numbers, and the grid has no range", hint="loguniform(1e-4, 1e-2) in the grid")
    return found[0]


def _check_weights(stage: Stage, cell: Cell, found: list[Stage]) -> None:
    """Raise where a run would begin with the weights of a repetition that there is none of."""
    begun = plans.named(cell, [other.name for other in found])
    source = next((other for other in found if begun and other.name == begun[0]), stage)
    if stage.reps > source.reps:
        what = (
            f"stage {stage.name} has {stage.reps} repetitions, {source.name}, whose weights it begins with, has"
            f" {source.reps}"
        )
        raise UsageError(what, hint="as many in both")


def of_stage(flags: Flags, stage: Stage) -> Flags:
    """The flags with which a stage is carried out as a research without stages would be."""
    how = {name: getattr(stage, name) for name in ("reps", "search", "trials", "pruner", "refine", "seeds")}
    return flags.replace(**how, stage=stage.name, best=None)


def grid_of(plan: Plan, stage: Stage, best: dict[str, Cell], names: dict[str, str] | None = None) -> Grid:
    """The grid of a stage; `best` has the best cell of earlier stages, `names` what each is called, to begin with its
    weights."""
    names = names or {name: f"{name}-00000000" for name in best}
    return stage.whole(best[stage.source] if stage.source else plan.base, names)


def carry_out(flags: Flags, chain: Chain, ledger: Ledger, stop: StopRequest) -> None:
    """Every stage in its order, as far as it is not done."""
    with runner.one_for_all(flags.workers or runner.cores()) as connected:
        _carry_out(flags.replace(connected=connected), chain, ledger, stop)


def _carry_out(flags: Flags, chain: Chain, ledger: Ledger, stop: StopRequest) -> None:
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
            space = space_of(how, own)
            run_search(how, space, ledger, stop)
            if stage.refine:
                run_refine(how, space, ledger, stop)
        else:
            run_grid(how, checked(how, own), ledger, stop)
        best[stage.name] = cell = best_cell(ledger, stage.name, None)
        log.info("the best of stage %s is %s: %s", stage.name, cells.experiment(cell).name, cells.said(cell, cell))


def _again(how: Flags, best: Cell, ledger: Ledger, stop: StopRequest) -> None:
    """The best cell on unseen seeds; where it began with weights, those are trained anew first, each seed its own."""
    after = f"{how.stage}."
    for cell, stage in reversed(list(_way(best, ledger))):
        runs = repeat_series(how, after + stage if stage else how.stage, tested=not stage, after=after)
        one = runs.experiment(cell)
        kept = {"name": one.name, "cell": one.cell}
        ledger.freeze(how.seeds, cells=[kept], stage=runs.stage, chosen=True)
        carry_out_all(how, ledger, runs.tasks([one], ledger), stop)


def _way(cell: Cell, ledger: Ledger) -> Iterator[tuple[Cell, str]]:
    """The cell, and before it those whose weights it began with, each with the name of its stage, "" for the first."""
    stage = ""
    while True:
        yield cell, stage
        begun = plans.named(cell, ledger.plans())
        if begun is None:
            return
        stage, name = begun
        cell = ledger.flags_of(stage, name)


def listed(flags: Flags, chain: Chain) -> Iterator[str]:
    """A line for each stage and each of its cells, as far as they are known before the first is done."""
    plan, tried = chain.plan, {}
    for stage in chain.stages:
        if stage.seeds:
            whole = ", trained on all training rows" * (flags.folds > 1)
            yield f"{stage.name}: the best cell of {stage.source} again, {stage.seeds} seeds{whole}, tested"
            continue
        how, own = of_stage(flags, stage), replace(plan, grid=grid_of(plan, stage, tried))
        runs = series(how, stage.name)
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
        each = checked(how, own)
        yield f"{stage.name}: {len(each)} cells{since}, {runs}, {len(each) * len(runs)} runs"
        axes = varying([one.cell for one in each])
        yield from (f"{number:6d}  {cells.said(one.cell, axes)}" for number, one in enumerate(each, start=1))
        tried[stage.name] = each[0].cell
