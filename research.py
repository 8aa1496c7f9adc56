"""Many runs: a grid of the commander's flags, carried out by workers, killed and resumed at will, read as one table.

python research.py grids/first.yaml --workers 2           the same command again goes on where this one ended
python research.py --results first                        the table
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import args
import commander
import researchflags
from toolbox.errors import CommanderError, UsageError
from toolbox.signals import StopRequest

if TYPE_CHECKING:
    from cells import Experiment
    from engine import Engine
    from search import Space
    from toolbox.grid import Cell
    from toolbox.gridfile import Plan
    from toolbox.ledger import Ledger, Task
    from toolbox.progress import Progress

SHORT_HELP = """A table over many runs. Three lines to start with:
  python research.py grids/first.yaml --dry-run       what would be run
  python research.py grids/first.yaml --workers 2     run it; the same line again goes on
  python research.py --results first                  the table
"""
PARSER, DEFAULTS = args.build_parser(
    "research.py",
    researchflags.GROUPS,
    description="Many runs of the commander, as one table.",
    epilog="The same command again skips what is finished and goes on with what was begun.",
)
ANY_FAILED = CommanderError.code
COUNTS = ("reps", "workers", "trials", "seeds")
UNSEEN = 1000  # seeds between those of the repetitions and those that the best cell is trained again with
log = logging.getLogger("commander")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; 1 where a run failed, else as the commander."""
    return commander.guarded(argv, carry_out, SHORT_HELP)


def carry_out(argv: Sequence[str], stop: StopRequest) -> int:
    """What a command line asks for: a table, a list of cells, or the runs."""
    from toolbox import progress

    flags = understood(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO, handlers=[progress.Above()])
    if flags.results:
        return show(flags)
    from toolbox import gridfile

    plan = gridfile.read(Path(flags.grid))
    return dry_run(flags, plan) if flags.dry_run else run(flags, plan, stop)


def understood(argv: Sequence[str]) -> SimpleNamespace:
    """What was typed, with the defaults; a UsageError says everything that is wrong with it."""
    flags = SimpleNamespace(**{**DEFAULTS, **vars(PARSER.parse_args(argv))})
    flags.root_dir = Path(flags.root_dir)
    if wrong := complaints(flags):
        raise UsageError("; ".join(wrong), hint="python research.py --help")
    return flags


def complaints(flags: SimpleNamespace) -> list[str]:
    """Everything that is wrong with the flags as typed."""
    counts = [name for name in COUNTS if getattr(flags, name) is not None and getattr(flags, name) < 1]
    together = (
        (not (flags.grid or flags.results), "a grid is missing, a .yaml or .py file"),
        (bool(flags.grid and flags.results), "--results NAME reads a research, leave the grid out"),
        (bool(flags.engine_address and flags.workers), "--workers is for this machine, the scheduler has its own"),
        (bool(flags.engine_address and flags.gpus), "--gpus is for this machine, the scheduler's workers have their own"),
        (bool(flags.best is not None and not (flags.results or flags.seeds)), "--best goes with --results, or --seeds"),
        (bool(flags.seeds and flags.best is None), "--seeds goes with --best"),
        (bool((flags.pruner or flags.trials) and not flags.search), "--pruner and --trials go with --search"),
        (bool(flags.search and not flags.trials), "--search needs --trials"),
        (bool((flags.where or flags.csv) and not flags.results), "--where and --csv go with --results"),
        (bool(flags.gpus) and not all(word.strip().isdigit() for word in (flags.gpus or "").split(",")), "--gpus are numbers"),
    )
    return [f"--{name} must be from 1 on" for name in counts] + [text for broken, text in together if broken]


def checked(flags: SimpleNamespace, plan: "Plan") -> "list[Experiment]":
    """The cells of a plan, each seen to be a run that could begin."""
    import cells

    return cells.experiments(plan.grid.cells())


def dry_run(flags: SimpleNamespace, plan: "Plan") -> int:
    """List the cells with their parameters on stdout; warn of axes that make no difference to the network."""
    import cells
    from toolbox.grid import varying

    found = checked(flags, plan)
    axes, told = varying([one.cell for one in found]), {}
    networks = cells.networks(found, flags.root_dir, cells.Memo())
    for number, (one, (count, told[one.name])) in enumerate(zip(found, networks, strict=True), start=1):
        sys.stdout.write(f"{number:4d}  {one.name}  {count:12,} parameters  {cells.said(one.cell, axes)}\n")
    reps = flags.reps or plan.reps
    sys.stdout.write(f"{len(found)} cells, {reps} repetitions, {len(found) * reps} runs\n")
    for line in cells.idle_axes(found, told):
        log.warning(line)
    return 0


def run(flags: SimpleNamespace, plan: "Plan", stop: StopRequest) -> int:
    """Carry out what is asked for and not done, a stage after the other, and show the table."""
    from toolbox import progress
    from toolbox.ledger import Ledger

    flags.reps = flags.reps or plan.reps
    stages = [stage for flag, stage in STAGES.items() if getattr(flags, flag)] or [GRID]
    prepared = [(carry, prepare(flags, plan)) for prepare, carry in stages]  # what is wrong is said before a folder is made
    ledger = Ledger.open(flags.root_dir, flags.name or Path(flags.grid).stem)
    with ledger.locked(), progress.logged(ledger.path / "research.log"):
        log.info("research folder %s", ledger.path)
        for carry, what in prepared:
            carry(flags, what, ledger, stop)
        return show(flags, ledger)


def run_grid(flags: SimpleNamespace, found: "list[Experiment]", ledger: "Ledger", stop: StopRequest) -> None:
    """Every cell, as often as is asked for, a whole grid first."""
    import cells

    new = ledger.freeze(flags.reps, cells=[{"name": one.name, "cell": one.cell} for one in found])
    log.info("%d cells, %d of them new, %d repetitions", len(found), new, flags.reps)
    tasks = [cells.repeated(one, rep, tested=not flags.no_test) for rep in range(flags.reps) for one in found]
    carry_out_all(flags, ledger, tasks, stop)


def space_of(flags: SimpleNamespace, plan: "Plan") -> "Space":
    """The space that a search draws from, each value of it seen to be a run that could begin."""
    import cells
    import search

    search.known(flags.search, flags.pruner)
    space = search.Space.of(plan.grid)
    for cell in space.probes():
        cells.experiment(cell)
    return space


def run_search(flags: SimpleNamespace, space: "Space", ledger: "Ledger", stop: StopRequest) -> None:
    """Cells that Optuna asks for, one run of each, judged by validation; the test stays closed."""
    import search

    ledger.freeze(flags.reps, space=str(space))
    made = search.Search(ledger, space, sampler=flags.search, pruner=flags.pruner, trials=flags.trials)
    log.info("%d of %d trials are left", left := made.left(), made.trials)
    if left or made.under_way():
        with at_work(flags, ledger, made.trials, done=made.trials - left, most=made.trials) as (engine, bar), stop.deferred():
            made.run(engine, bar, stop)
        stop.check()


def run_refine(flags: SimpleNamespace, space: "Space", ledger: "Ledger", stop: StopRequest) -> None:
    """The best cell and its neighbours, as often as is asked for, judged by validation."""
    import cells
    import search

    found = cells.experiments(search.around(best_cell(flags, ledger), space))
    tasks = [cells.repeated(one, rep, stage="search", tested=False) for rep in range(flags.reps) for one in found]
    carry_out_all(flags, ledger, tasks, stop)


def run_best(flags: SimpleNamespace, plan: "Plan", ledger: "Ledger", stop: StopRequest) -> None:
    """The best cell on seeds that no choice has seen, each run tested once."""
    import cells

    one = cells.experiment(best_cell(flags, ledger))
    log.info("the best cell is %s: %s", one.name, cells.said(one.cell, one.cell))
    tasks = [cells.repeated(one, rep, stage="best", seeds=UNSEEN) for rep in range(flags.seeds)]
    carry_out_all(flags, ledger, tasks, stop)


# What a flag asks for: what is made of the plan before anything is written, and what is done with it.
GRID = (checked, run_grid)
STAGES = {"search": (space_of, run_search), "refine": (space_of, run_refine), "seeds": (lambda flags, plan: plan, run_best)}


def best_cell(flags: SimpleNamespace, ledger: "Ledger") -> "Cell":
    """The best cell so far, on validation; a UsageError where nothing is done."""
    from toolbox import gridtable

    metric, rows = flags.best or gridtable.judged_by(ledger), gridtable.rows(ledger)
    best = gridtable.best(gridtable.cells(rows, metric), metric)
    if best is None:
        raise UsageError("no run of this research is done, so none is the best", where=str(ledger.path), hint="the grid first")
    return next(record["flags"] for record in ledger.records().values() if record["cell"] == best["cell"])


def carry_out_all(flags: SimpleNamespace, ledger: "Ledger", tasks: "Sequence[Task]", stop: StopRequest) -> None:
    """Have the tasks done that are not; an Interrupted where a signal came, when all are at rest."""
    import engine
    from toolbox.ledger import DONE, FAILED

    states = {task.key: ledger.state(ledger.record(task.key), tested=task.tested) for task in tasks}
    failed = [key for key, state in states.items() if state == FAILED]
    left = [task for task in tasks if states[task.key] != DONE and (flags.retry or states[task.key] != FAILED)]
    if failed and not flags.retry:
        log.warning("%d failed before and are left so (--retry runs them again): %s", len(failed), ", ".join(failed))
    if left:
        with at_work(flags, ledger, len(tasks), done=len(tasks) - len(left), most=len(left)) as (made, bar), stop.deferred():
            engine.carry_out(made, left, bar, stop)
        stop.check()


@contextmanager
def at_work(flags: SimpleNamespace, ledger: "Ledger", total: int, *, done: int, most: int) -> "Iterator[tuple[Engine, Progress]]":
    """An engine with no more workers than are of use, and a bar."""
    import engine
    from toolbox.progress import Progress

    workers, gpus = min(flags.workers or engine.cores(), most), flags.gpus or engine.gpus()
    connected = engine.connected(workers=workers, gpus=gpus, address=flags.engine_address)
    with connected as client, Progress(total, done=done) as bar:
        yield engine.Engine(client, ledger), bar


def show(flags: SimpleNamespace, ledger: "Ledger | None" = None) -> int:
    """The table on stdout, and its page and CSV in the research's folder; 1 where a run failed."""
    from toolbox import gridpage, gridtable
    from toolbox.ledger import FAILED, Ledger

    ledger = ledger or Ledger.open(flags.root_dir, flags.results, make=False)
    rows = gridtable.where(gridtable.rows(ledger), flags.where or ())
    metric = flags.best or gridtable.judged_by(ledger)
    axes, table = gridtable.axes(rows), gridtable.cells(rows, metric)
    gridtable.write_csv(rows, Path(flags.csv) if flags.csv else ledger.path / "table.csv")
    page = gridpage.write(ledger, rows, table, axes=axes, metric=metric)
    sys.stdout.write(f"{gridtable.text(table, axes, metric)}\n")
    failed = [row for row in rows if row["state"] == FAILED]
    for row in failed:
        log.warning("failed: cell %s repetition %d: %s", row["cell"], row["rep"], row["error"])
    log.info("page %s", page)
    return ANY_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
