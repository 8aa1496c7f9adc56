"""Many runs: a grid of the commander's flags, carried out by workers, killed and resumed at will, read as one table.

    python research.py grids/first.yaml --workers 2       carry it out; the same command again goes on
    python research.py --results first                    the table

What is done, stage by stage, stands in `stages`; what a run is, in `commander`.

The flags of research.py, in groups, declared as `flags` declares the commander's; the standard library alone.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import args
import commander
from toolbox import plain
from toolbox.errors import CommanderError, UsageError, program
from toolbox.terminal import StopRequest


def _grid_flags(flag: Any) -> None:
    flag(
        "grid",
        nargs="?",
        metavar="GRID",
        help="file of a grid, .yaml or .py, or the name of a grid that comes with the program (README)",
    )
    flag("--name", metavar="NAME", help="name of the research (default that of the file)")
    flag(
        "--reps",
        type=int,
        metavar="N",
        help="repetitions of every cell, each with its own seed and split (default the file's)",
    )
    flag(
        "--folds",
        type=int,
        metavar="K",
        help="run every cell on each of K folds of the training rows, which validate in turn; "
        "the test stays closed (default the file's)",
    )
    flag("--root-dir", metavar="DIR", default="ecg_data", help="folder of data and runs")
    flag("--dry-run", help="list the cells with their parameters, and stop")
    flag("--no-test", help="leave the test set closed; the same command without it opens it later, once a run")
    flag("--retry", help="run again what failed before; else it stays a row that says why")


def _engine_flags(flag: Any) -> None:
    flag(
        "--workers", type=int, metavar="N", help="processes of this machine, which share its cores (default one a core)"
    )
    flag(
        "--branches",
        type=int,
        metavar="B",
        help="cells that a worker steps in turn on the same batches, where they have the "
        "same data and batch order (default 1)",
    )
    flag("--gpus", metavar="N,N,...", help="GPUs that the workers are pinned to, in turn (default all there are)")
    flag("--engine-address", metavar="URL", help="a Dask scheduler, tcp://HOST:PORT, whose workers see these folders")


def _search_flags(flag: Any) -> None:
    flag(
        "--search",
        metavar="HOW",
        help="draw cells from a grid with ranges, loguniform(1e-4, 1e-2): tpe, random, or grid",
    )
    flag("--trials", type=int, metavar="N", help="cells that are tried, in all")
    flag("--pruner", metavar="HOW", help="give up runs that fall behind: median or hyperband (default none)")
    flag("--refine", help="run the best cell and its nearest neighbours in every range, --reps times")
    flag(
        "--seeds",
        type=int,
        metavar="N",
        help="with --best: train the best cell on N seeds not seen before, and test it",
    )


def _table_flags(flag: Any) -> None:
    flag("--results", metavar="NAME", help="read the table of a research, and stop")
    flag("--where", metavar="KEY=VALUE", nargs="+", help="only the runs of which this holds, with --results")
    flag(
        "--best",
        metavar="METRIC",
        nargs="?",
        const="",
        help="validation metric that cells are judged by (default the one that their best epochs were chosen by)",
    )
    flag("--csv", metavar="FILE", help="write the table, a row a run, with --results")


def _output_flags(flag: Any) -> None:
    flag("--debug", help="show the traceback of an error")


GROUPS = {
    "grid": _grid_flags,
    "workers": _engine_flags,
    "search": _search_flags,
    "table": _table_flags,
    "output": _output_flags,
}


if TYPE_CHECKING:
    from studies.ledger import Ledger
    from studies.plans import Plan

PROGRAM = program("research")
SHORT_HELP = f"""A table over many runs. Three lines to start with:
  {PROGRAM} first --dry-run       what would be run
  {PROGRAM} first --workers 2     run it; the same line again goes on
  {PROGRAM} --results first       the table
"""
PARSER, DEFAULTS = args.build_parser(
    PROGRAM,
    GROUPS,
    description="Many runs of the commander, as one table.",
    epilog="The same command again skips what is finished and goes on with what was begun.",
)
ANY_FAILED = CommanderError.code
# The most of what is counted.
COUNTS = {**dict.fromkeys(("reps", "folds", "trials", "seeds"), 100_000), "workers": 1_000, "branches": 1_000}
log = logging.getLogger("commander")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; 1 where a run failed, else as the commander."""
    return commander.guarded(argv, carry_out, SHORT_HELP)


def carry_out(argv: Sequence[str], stop: StopRequest) -> int:
    """What a command line asks for: a table, a list of cells, or the runs."""
    from studies import runner
    from toolbox import terminal

    flags = understood(argv)
    terminal.log_to(runner.Above())
    if flags.results:
        return show(flags)
    from studies import plans

    plan = plans.read(plans.find(flags.grid))
    flags.stage, flags.connected, flags.folds = None, None, flags.folds or plan.folds
    return dry_run(flags, plan) if flags.dry_run else run(flags, plan, stop)


def understood(argv: Sequence[str]) -> SimpleNamespace:
    """What was typed, with the defaults; a UsageError says everything that is wrong with it."""
    flags = SimpleNamespace(**{**DEFAULTS, **vars(PARSER.parse_args(argv))})
    flags.root_dir = Path(flags.root_dir)
    if wrong := complaints(flags):
        raise UsageError("; ".join(wrong), hint=f"{PROGRAM} --help")
    return flags


def complaints(flags: SimpleNamespace) -> list[str]:
    """Everything that is wrong with the flags as typed."""
    counts = [
        f"--{name} must be from 1 on, at most {most:,}"
        for name, most in COUNTS.items()
        if getattr(flags, name) is not None and not 1 <= getattr(flags, name) <= most
    ]
    together = (
        (not (flags.grid or flags.results), "a grid is missing, a .yaml or .py file"),
        (bool(flags.grid and flags.results), "--results NAME reads a research, leave the grid out"),
        (bool(flags.engine_address and flags.workers), "--workers is for this machine, the scheduler has its own"),
        (
            bool(flags.engine_address and flags.gpus),
            "--gpus is for this machine, the scheduler's workers have their own",
        ),
        (bool(flags.best is not None and not (flags.results or flags.seeds)), "--best goes with --results, or --seeds"),
        (bool(flags.seeds and flags.best is None), "--seeds goes with --best"),
        (bool((flags.pruner or flags.trials) and not flags.search), "--pruner and --trials go with --search"),
        (bool(flags.branches and flags.search), "--branches goes with a grid, a search draws one cell at a time"),
        (bool(flags.search and not flags.trials), "--search needs --trials"),
        (bool(flags.dry_run and (flags.search or flags.refine or flags.seeds)), "--dry-run lists a grid, not a search"),
        (bool((flags.where or flags.csv) and not flags.results), "--where and --csv go with --results"),
        (
            bool(flags.gpus) and not all(word.strip().isdigit() for word in (flags.gpus or "").split(",")),
            "--gpus are numbers",
        ),
    )
    return counts + [text for broken, text in together if broken]


def dry_run(flags: SimpleNamespace, plan: "Plan") -> int:
    """List the cells on stdout with trainable parameters and multiply-accumulates of a row; warn of axes without
    effect."""
    from studies import cells, stages
    from studies.grid import varying

    if plan.stages:
        sys.stdout.write(plain.lines(stages.listed(flags, stages.read(flags, plan))) + "\n")
        return 0
    flags.reps = flags.reps or plan.reps
    found, runs = stages.checked(flags, plan), stages.series(flags, "grid")
    axes, told = varying([one.cell for one in found]), {}
    networks = cells.networks(found, flags.root_dir, cells.Memo())
    for number, (one, (cost, told[one.name])) in enumerate(zip(found, networks, strict=True), start=1):
        counts = f"{cost['trainable_parameters']:12,} parameters  {cost['macs']:15,} MACs"
        sys.stdout.write(plain.escaped(f"{number:4d}  {one.name}  {counts}  {cells.said(one.cell, axes)}") + "\n")
    sys.stdout.write(f"{len(found)} cells, {runs}, {len(found) * len(runs)} runs\n")
    for line in cells.idle_axes(found, told):
        log.warning(line)
    return 0


def run(flags: SimpleNamespace, plan: "Plan", stop: StopRequest) -> int:
    """Carry out what is asked for and not done, a stage after the other, and show the table."""
    from studies import runner, stages
    from studies.ledger import Ledger

    asked = [stage for flag, stage in stages.STAGES.items() if getattr(flags, flag)] or [stages.GRID]
    if plan.stages:
        asked = [(stages.read, stages.carry_out)]
    else:
        flags.reps = flags.reps or plan.reps
    prepared = [
        (carry, prepare(flags, plan)) for prepare, carry in asked
    ]  # what is wrong is said before a folder is made
    ledger = Ledger.open(flags.root_dir, flags.name or Path(flags.grid).stem)
    with ledger.locked(), runner.logged(ledger.path / "research.log"):
        log.info("research folder %s", ledger.path)
        for carry, what in prepared:
            carry(flags, what, ledger, stop)
        return show(flags, ledger)


def show(flags: SimpleNamespace, ledger: "Ledger | None" = None) -> int:
    """The table on stdout, and its page and CSV in the research's folder; 1 where a run failed or is damaged."""
    from studies import page, tables
    from studies.ledger import DAMAGED, FAILED, Ledger

    ledger = ledger or Ledger.open(flags.root_dir, flags.results, make=False)
    rows = tables.where(tables.rows(ledger), flags.where or ())
    metric = tables.judged_by(ledger, rows, flags.best)
    axes, table = tables.axes(rows), tables.cells(rows, metric)
    sys.stdout.write(f"{page.text(table, axes, metric)}\n{plain.lines(page.remarks(rows, metric))}\n")
    for row in [row for row in rows if row.get("error")]:
        kind = row["state"] if row["state"] in (FAILED, DAMAGED) else "to be run again"
        log.warning("%s: cell %s repetition %d: %s", kind, row["cell"], row["rep"], row["error"])
    page.write_csv(rows, Path(flags.csv) if flags.csv else ledger.path / "table.csv")
    log.info("page %s", page.write(ledger, rows, table, axes=axes, metric=metric))
    return ANY_FAILED if any(row["state"] in (FAILED, DAMAGED) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
