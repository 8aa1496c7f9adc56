"""What a research does, a stage at a time: a grid, a search, a small grid around the best, the best cell on unseen seeds.

A stage is a pair: what is made of the plan before anything is written, and what is done with that. `STAGES` has one a flag.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import cells
import engine
from cells import Experiment
from engine import Engine
from toolbox import gridtable
from toolbox.errors import UsageError
from toolbox.grid import Cell
from toolbox.gridfile import Plan
from toolbox.ledger import DONE, FAILED, Ledger, Task
from toolbox.progress import Progress
from toolbox.signals import StopRequest
from toolbox.space import Space, around

UNSEEN = 1000  # seeds between those of the repetitions and those that the best cell is trained again with
log = logging.getLogger("commander")


def checked(flags: SimpleNamespace, plan: Plan) -> list[Experiment]:
    """The cells of a plan, each seen to be a run that could begin."""
    return cells.experiments(plan.grid.cells())


def run_grid(flags: SimpleNamespace, found: list[Experiment], ledger: Ledger, stop: StopRequest) -> None:
    """Every cell, as often as is asked for, a whole grid first."""
    new = ledger.freeze(flags.reps, cells=[{"name": one.name, "cell": one.cell} for one in found])
    log.info("%d cells, %d of them new, %d repetitions", len(found), new, flags.reps)
    tasks = [cells.repeated(one, rep, tested=not flags.no_test) for rep in range(flags.reps) for one in found]
    carry_out_all(flags, ledger, tasks, stop)


def space_of(flags: SimpleNamespace, plan: Plan) -> Space:
    """The space that a search draws from, each value of it seen to be a run that could begin."""
    if flags.search:
        import search

        search.known(flags.search, flags.pruner)
    space = Space.of(plan.grid)
    for cell in space.probes():
        cells.experiment(cell)
    return space


def run_search(flags: SimpleNamespace, space: Space, ledger: Ledger, stop: StopRequest) -> None:
    """Cells that Optuna asks for, one run of each, judged by validation; the test stays closed."""
    import search

    ledger.freeze(flags.reps, space=str(space))
    made = search.Search(ledger, space, sampler=flags.search, pruner=flags.pruner, trials=flags.trials)
    log.info("%d of %d trials are left", left := made.left(), made.trials)
    if left or made.under_way():
        with at_work(flags, ledger, made.trials, done=made.trials - left, most=made.trials) as (engine, bar), stop.deferred():
            made.run(engine, bar, stop)
        stop.check()


def run_refine(flags: SimpleNamespace, space: Space, ledger: Ledger, stop: StopRequest) -> None:
    """The best cell and its neighbours, as often as is asked for, judged by validation."""
    found = cells.experiments(around(best_cell(flags, ledger), space))
    tasks = [cells.repeated(one, rep, stage="search", tested=False) for rep in range(flags.reps) for one in found]
    carry_out_all(flags, ledger, tasks, stop)


def run_best(flags: SimpleNamespace, plan: Plan, ledger: Ledger, stop: StopRequest) -> None:
    """The best cell on seeds that no choice has seen, each run tested once."""
    one = cells.experiment(best_cell(flags, ledger))
    log.info("the best cell is %s: %s", one.name, cells.said(one.cell, one.cell))
    tasks = [cells.repeated(one, rep, stage="best", seeds=UNSEEN) for rep in range(flags.seeds)]
    carry_out_all(flags, ledger, tasks, stop)


# What a flag asks for: what is made of the plan before anything is written, and what is done with it.
GRID = (checked, run_grid)
STAGES = {"search": (space_of, run_search), "refine": (space_of, run_refine), "seeds": (lambda flags, plan: plan, run_best)}


def best_cell(flags: SimpleNamespace, ledger: Ledger) -> Cell:
    """The best cell so far, on validation; a UsageError where nothing is done."""
    rows = gridtable.rows(ledger)
    metric = gridtable.judged_by(ledger, rows, flags.best)
    best = gridtable.best(gridtable.cells(rows, metric), metric)
    if best is None:
        raise UsageError("no run of this research is done, so none is the best", where=str(ledger.path), hint="the grid first")
    return next(record["flags"] for record in ledger.records().values() if record["cell"] == best["cell"])


def carry_out_all(flags: SimpleNamespace, ledger: Ledger, tasks: Sequence[Task], stop: StopRequest) -> None:
    """Have the tasks done that are not; an Interrupted where a signal came, when all are at rest."""
    states = {task.key: ledger.state(ledger.record(task.key), tested=task.tested) for task in tasks}
    failed = [key for key, state in states.items() if state == FAILED]
    left = [task for task in tasks if states[task.key] != DONE and (flags.retry or states[task.key] != FAILED)]
    if failed and not flags.retry:
        log.warning("%d failed before and are left so (--retry runs them again): %s", len(failed), ", ".join(failed))
    if left:
        groups = cells.groups(left, branches(flags, len(left)))
        with at_work(flags, ledger, len(tasks), done=len(tasks) - len(left), most=len(groups)) as (made, bar), stop.deferred():
            engine.carry_out(made, groups, bar, stop)
        stop.check()


def branches(flags: SimpleNamespace, runs: int) -> int:
    """How many of so many runs a worker steps in turn: as asked for, and none is left without any for it."""
    here = 1 if flags.engine_address else flags.workers or engine.cores()
    return max(1, min(flags.branches or 1, -(-runs // here)))


@contextmanager
def at_work(flags: SimpleNamespace, ledger: Ledger, total: int, *, done: int, most: int) -> Iterator[tuple[Engine, Progress]]:
    """An engine with no more workers than are of use, and a bar."""
    workers, gpus = min(flags.workers or engine.cores(), most), flags.gpus or engine.gpus()
    connected = engine.connected(workers=workers, gpus=gpus, address=flags.engine_address)
    with connected as client, Progress(total, done=done) as bar:
        yield engine.Engine(client, ledger), bar
