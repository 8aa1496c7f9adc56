"""What a research does: a grid, a search, a small grid around the best, the best cell on unseen seeds.

Each is a pair: what is made of the plan before anything is written, and what is done with that. `STAGES` has one a
flag; of a file with stages `chain` carries out each by them, with `flags.stage` for a name.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from studies import cells, engine, table_cells, tables
from studies.cells import Experiment
from studies.engine import Engine
from studies.grid import Cell
from studies.ledger import DONE, FAILED, FIRST, MOST_RUNS, Ledger, Task
from studies.plans import Plan
from studies.progress import Progress
from studies.series import UNSEEN, Series
from studies.space import Space, around
from toolbox.errors import UsageError
from toolbox.signals import StopRequest

SEARCH = "search"  # the stage, in a research without stages
log = logging.getLogger("commander")


def series(flags: SimpleNamespace, name: str, *, tested: bool = False) -> Series:
    """The runs of a cell, of the stage that is carried out or else of `name`. Where there are folds the test stays
    closed."""
    tested = tested and not flags.no_test and flags.folds == 1
    return Series(flags.stage or name, flags.reps, flags.folds, tested)


def checked(flags: SimpleNamespace, plan: Plan) -> list[Experiment]:
    """The cells of a plan, each seen to be a run that could begin."""
    runs, found = series(flags, FIRST), plan.grid.cells()
    if len(found) * len(runs) > MOST_RUNS:
        what = (
            f"{len(found):,} cells, {runs}, are {len(found) * len(runs):,} runs; a research has at most {MOST_RUNS:,}"
        )
        raise UsageError(what, hint="fewer cells or repetitions")
    return runs.experiments(found)


def run_grid(flags: SimpleNamespace, found: list[Experiment], ledger: Ledger, stop: StopRequest) -> None:
    """Every cell, as often as is asked for, a whole grid first."""
    runs = series(flags, FIRST, tested=not flags.stage)
    new = ledger.freeze(**kept(flags), cells=[{"name": one.name, "cell": one.cell} for one in found])
    log.info("%d cells, %d of them new, %s", len(found), new, runs)
    carry_out_all(flags, ledger, runs.tasks(found, ledger), stop)


def kept(flags: SimpleNamespace) -> dict[str, Any]:
    """What the research keeps of how often a cell is run."""
    return {"reps": flags.reps, "folds": flags.folds, "stage": flags.stage or FIRST}


def space_of(flags: SimpleNamespace, plan: Plan) -> Space:
    """The space that a search draws from, each value of it seen to be a run that could begin."""
    if flags.search:
        from studies import search

        search.known(flags.search, flags.pruner)
    space, runs = Space.of(plan.grid), series(flags, SEARCH)
    for cell in space.probes():
        runs.experiment(cell)
    return space


def run_search(flags: SimpleNamespace, space: Space, ledger: Ledger, stop: StopRequest) -> None:
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


def run_refine(flags: SimpleNamespace, space: Space, ledger: Ledger, stop: StopRequest) -> None:
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


def run_best(flags: SimpleNamespace, plan: Plan, ledger: Ledger, stop: StopRequest) -> None:
    """The best cell on seeds that no choice has seen, each run tested once; after folds, trained on all training
    rows."""
    runs = again(flags, tables.BEST)
    one = runs.experiment(best_cell(ledger, FIRST, flags.best))
    log.info("the best cell is %s: %s", one.name, cells.said(one.cell, one.cell))
    carry_out_all(flags, ledger, runs.tasks([one], ledger), stop)


def again(flags: SimpleNamespace, name: str, *, tested: bool = True, after: str = "") -> Series:
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
    best = table_cells.best(table_cells.cells(rows, metric), metric, stage)
    if best is None:
        what = (
            "no cell of this research is done, so none is the best"
            if stage == FIRST
            else f"no cell of stage {stage} is done"
        )
        raise UsageError(what, where=str(ledger.path), hint="the grid first; --retry where runs have failed")
    return ledger.flags_of(best["stage"], best["cell"])


def carry_out_all(flags: SimpleNamespace, ledger: Ledger, tasks: Sequence[Task], stop: StopRequest) -> None:
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
            engine.carry_out(made, groups, bar, stop)
        stop.check()


def branches(flags: SimpleNamespace, runs: int) -> int:
    """How many of so many runs a worker steps in turn: as asked for, and none is left without any for it."""
    here = 1 if flags.engine_address else flags.workers or engine.cores()
    return max(1, min(flags.branches or 1, -(-runs // here)))


@contextmanager
def at_work(
    flags: SimpleNamespace, ledger: Ledger, total: int, *, done: int, most: int
) -> Iterator[tuple[Engine, Progress]]:
    """An engine with no more workers than are of use, and a bar."""
    workers, gpus = min(flags.workers or engine.cores(), most), flags.gpus or engine.gpus()
    connected = flags.connected or engine.connected
    with (
        connected(workers=workers, gpus=gpus, address=flags.engine_address) as client,
        Progress(total, done=done) as bar,
    ):
        yield engine.Engine(client, ledger), bar
