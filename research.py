"""Many runs: a grid of the commander's flags, carried out by workers, killed and resumed at will, read as one table.

    python research.py grids/first.yaml --workers 2       carry it out; the same command again goes on
    python research.py --results first                    the table

What is done, stage by stage, stands in `stages`; what a run is, in `commander`.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import args
import commander
from studies import researchflags
from toolbox import plain
from toolbox.errors import CommanderError, UsageError
from toolbox.signals import StopRequest

if TYPE_CHECKING:
    from studies.ledger import Ledger
    from studies.plans import Plan

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
# The most of what is counted.
COUNTS = {**dict.fromkeys(("reps", "folds", "trials", "seeds"), 100_000), "workers": 1_000, "branches": 1_000}
log = logging.getLogger("commander")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; 1 where a run failed, else as the commander."""
    return commander.guarded(argv, carry_out, SHORT_HELP)


def carry_out(argv: Sequence[str], stop: StopRequest) -> int:
    """What a command line asks for: a table, a list of cells, or the runs."""
    from studies import progress
    from toolbox import terminal

    flags = understood(argv)
    terminal.log_to(progress.Above())
    if flags.results:
        return show(flags)
    from studies import plans

    plan = plans.read(Path(flags.grid))
    flags.stage, flags.connected, flags.folds = None, None, flags.folds or plan.folds
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
    from studies import cells, chain, stages
    from studies.grid import varying

    if plan.stages:
        sys.stdout.write(plain.lines(chain.listed(flags, chain.read(flags, plan))) + "\n")
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
    from studies import chain, progress, stages
    from studies.ledger import Ledger

    asked = [stage for flag, stage in stages.STAGES.items() if getattr(flags, flag)] or [stages.GRID]
    if plan.stages:
        asked = [(chain.read, chain.carry_out)]
    else:
        flags.reps = flags.reps or plan.reps
    prepared = [
        (carry, prepare(flags, plan)) for prepare, carry in asked
    ]  # what is wrong is said before a folder is made
    ledger = Ledger.open(flags.root_dir, flags.name or Path(flags.grid).stem)
    with ledger.locked(), progress.logged(ledger.path / "research.log"):
        log.info("research folder %s", ledger.path)
        for carry, what in prepared:
            carry(flags, what, ledger, stop)
        return show(flags, ledger)


def show(flags: SimpleNamespace, ledger: "Ledger | None" = None) -> int:
    """The table on stdout, and its page and CSV in the research's folder; 1 where a run failed or is damaged."""
    from studies import page, table_cells, table_text, tables
    from studies.ledger import DAMAGED, FAILED, Ledger

    ledger = ledger or Ledger.open(flags.root_dir, flags.results, make=False)
    rows = tables.where(tables.rows(ledger), flags.where or ())
    metric = tables.judged_by(ledger, rows, flags.best)
    axes, table = tables.axes(rows), table_cells.cells(rows, metric)
    sys.stdout.write(f"{table_text.text(table, axes, metric)}\n{plain.lines(table_text.remarks(rows, metric))}\n")
    for row in [row for row in rows if row.get("error")]:
        kind = row["state"] if row["state"] in (FAILED, DAMAGED) else "to be run again"
        log.warning("%s: cell %s repetition %d: %s", kind, row["cell"], row["rep"], row["error"])
    table_text.write_csv(rows, Path(flags.csv) if flags.csv else ledger.path / "table.csv")
    log.info("page %s", page.write(ledger, rows, table, axes=axes, metric=metric))
    return ANY_FAILED if any(row["state"] in (FAILED, DAMAGED) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
