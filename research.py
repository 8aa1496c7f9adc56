"""Studies: many runs from a grid of the commander's flags, carried out by workers, resumed at will, read as one table.

    python research.py grids/first.yaml --workers 2       carry it out; the same command again goes on
    python research.py --results first                    the table

`studies/stages.py` carries out a plan stage by stage; a run is the commander's.
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
from toolbox.errors import CommanderError, UsageError
from toolbox.terminal import StopRequest

if TYPE_CHECKING:
    from studies.ledger import Ledger
    from studies.plans import Plan


def _grid_flags(flag: Any) -> None:
    flag("grid", nargs="?", metavar="GRID", help="grid file, .yaml or .py, with flags of commander.py as keys")
    flag("--name", metavar="NAME", help="name of the study (default that of the file)")
    flag(
        "--reps", type=int, metavar="N", help="repetitions of every configuration, each with its own seed and split "
        "(default the file's)",
    )  # fmt: skip
    flag(
        "--folds", type=int, metavar="K", help="number of folds of the training rows that validate in turn; the test "
        "stays closed (default the file's)",
    )  # fmt: skip
    flag("--root-dir", metavar="DIR", default="ecg_data", help="folder of data and runs")
    flag("--dry-run", help="list the configurations with their parameters, and stop")
    flag("--no-test", help="leave the test split closed; the same command without it opens it later, once a run")
    flag("--retry", help="run again what failed before")


def _engine_flags(flag: Any) -> None:
    flag(
        "--workers", type=int, metavar="N", help="processes of this machine, which share its cores (default one a core)"
    )
    flag(
        "--branches", type=int, metavar="B", help="configurations with the same data and batch order that a worker "
        "steps in turn on the same batches (default 1)",
    )  # fmt: skip
    flag("--gpus", metavar="N,N,...", help="GPUs that the workers are pinned to, in turn (default all of the machine)")
    flag("--engine-address", metavar="URL", help="a Dask scheduler, tcp://HOST:PORT, whose workers see these folders")


def _search_flags(flag: Any) -> None:
    flag("--search", metavar="HOW", help="draw from a grid with ranges, loguniform(1e-4, 1e-2): tpe, random, or grid")
    flag("--trials", type=int, metavar="N", help="number of configurations to try, in all")
    flag("--pruner", metavar="HOW", help="stop runs that fall behind: median or hyperband (default none)")
    flag("--refine", help="run the best configuration and its nearest neighbours in every range, --reps times")
    flag("--seeds", type=int, metavar="N", help="with --best: train the best configuration on N new seeds, and test it")


def _table_flags(flag: Any) -> None:
    flag("--results", metavar="NAME", help="show the table of a study, and stop")
    flag("--where", metavar="KEY=VALUE", nargs="+", help="with --results: only runs with these values")
    flag(
        "--best", metavar="METRIC", nargs="?", const="", help="validation metric that ranks configurations (default "
        "the monitor of their best epochs)",
    )  # fmt: skip
    flag("--csv", metavar="FILE", help="with --results: write the table, a row a run")


def _output_flags(flag: Any) -> None:
    flag("--debug", help="show the traceback of an error")


GROUPS = {
    "grid": _grid_flags,
    "workers": _engine_flags,
    "search": _search_flags,
    "table": _table_flags,
    "output": _output_flags,
}
SHORT_HELP = """A table over many runs. Three lines to start with:
  python research.py grids/first.yaml --dry-run       list what would be run
  python research.py grids/first.yaml --workers 2     run it; the same line again goes on
  python research.py --results first                  show the table
"""
PARSER, DEFAULTS = args.build_parser(
    "research.py",
    GROUPS,
    description="Many runs of the commander, as one table.",
    epilog="The same command again skips finished runs and resumes the others.",
)
ANY_FAILED = CommanderError.code
# The most of each number.
COUNTS = {**dict.fromkeys(("reps", "folds", "trials", "seeds"), 100_000), "workers": 1_000, "branches": 1_000}
log = logging.getLogger("commander")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; 1 where a run failed, else as the commander."""
    return commander.guarded(argv, carry_out, SHORT_HELP)


def carry_out(argv: Sequence[str], stop: StopRequest) -> int:
    """A table, a list of configurations, or the runs, as the command line says."""
    from studies import runner
    from toolbox import terminal

    flags = understood(argv)
    terminal.log_to(runner.Above())
    if flags.results:
        from studies.ledger import Ledger

        ledger = Ledger.open(flags.root_dir, flags.results, make=False)
        return show(ledger, flags.best, where=flags.where or (), csv=Path(flags.csv) if flags.csv else None)
    from studies import plans

    typed = {name: getattr(flags, name) for name in ("reps", "search", "trials", "pruner", "refine", "seeds", "best")}
    plan = plans.read(Path(flags.grid)).ordered(folds=flags.folds, tested=not flags.no_test, **typed)
    return dry_run(plan, flags.root_dir) if flags.dry_run else run(flags, plan, stop)


def understood(argv: Sequence[str]) -> SimpleNamespace:
    """The flags with their defaults. Raises UsageError with everything that is wrong with them."""
    flags = SimpleNamespace(**{**DEFAULTS, **vars(PARSER.parse_args(argv))})
    flags.root_dir = Path(flags.root_dir)
    if wrong := complaints(flags):
        raise UsageError("; ".join(wrong), hint="python research.py --help")
    return flags


def complaints(flags: SimpleNamespace) -> list[str]:
    """Everything that is wrong with the flags as typed."""
    wrong = {
        f"--{name} must be from 1 on, at most {most:,}": getattr(flags, name) is not None
        and not 1 <= getattr(flags, name) <= most
        for name, most in COUNTS.items()
    }
    wrong |= {
        "a grid is missing, a .yaml or .py file": not (flags.grid or flags.results),
        "--results NAME shows a study, leave the grid out": flags.grid and flags.results,
        "--workers is for this machine, the scheduler has its own": flags.engine_address and flags.workers,
        "--gpus is for this machine, the scheduler's workers have their own": flags.engine_address and flags.gpus,
        "--best goes with --results, or --seeds": flags.best is not None and not (flags.results or flags.seeds),
        "--seeds goes with --best": flags.seeds and flags.best is None,
        "--pruner and --trials go with --search": (flags.pruner or flags.trials) and not flags.search,
        "--branches goes with a grid, a search draws one configuration at a time": flags.branches and flags.search,
        "--search needs --trials": flags.search and not flags.trials,
        "--dry-run lists a grid, not a search": flags.dry_run and (flags.search or flags.refine or flags.seeds),
        "--where and --csv go with --results": (flags.where or flags.csv) and not flags.results,
        "--gpus are numbers": flags.gpus and not all(word.strip().isdigit() for word in flags.gpus.split(",")),
    }
    return [text for text, broken in wrong.items() if broken]


def dry_run(plan: "Plan", root: Path) -> int:
    """List the configurations on stdout with trainable parameters and multiply-accumulates of a row; warn of axes
    without effect."""
    from studies import cells, stages
    from studies.grid import varying

    checked, stage = stages.check(plan), plan.stages[0]
    if stage.named:
        sys.stdout.write(plain.lines(stages.listed(plan, checked)) + "\n")
        return 0
    (_, found), runs = checked[stage.name], stages.series(plan, stage)
    axes, digests = varying([one.cell for one in found]), {}
    networks = cells.networks(found, root, cells.Memo())
    for number, (one, (cost, digests[one.name])) in enumerate(zip(found, networks, strict=True), start=1):
        counts = f"{cost['trainable_parameters']:12,} parameters  {cost['macs']:15,} MACs"
        sys.stdout.write(plain.escaped(f"{number:4d}  {one.name}  {counts}  {cells.said(one.cell, axes)}") + "\n")
    sys.stdout.write(f"{len(found)} configurations, {runs}, {len(found) * len(runs)} runs\n")
    for line in cells.idle_axes(found, digests):
        log.warning(line)
    return 0


def run(flags: SimpleNamespace, plan: "Plan", stop: StopRequest) -> int:
    """Carry out the stages of a plan as far as they are not done, and show the table."""
    from studies import runner, stages, worker
    from studies.ledger import Ledger

    checked = stages.check(plan)  # before a folder is made
    ledger = Ledger.open(flags.root_dir, flags.name or Path(flags.grid).stem)
    with ledger.locked(), worker.logged(ledger.path / "research.log"):
        log.info("study folder %s", ledger.path)
        with runner.Workers(flags.workers, gpus=flags.gpus, address=flags.engine_address) as workers:
            how = {"branches": flags.branches, "retry": flags.retry, "metric": flags.best}
            stages.Study(plan, checked, ledger, workers, stop, **how).carry_out()
        return show(ledger, flags.best)


def show(ledger: "Ledger", metric: str | None, *, where: Sequence[str] = (), csv: Path | None = None) -> int:
    """The table on stdout, and its page and CSV in the study's folder; 1 where a run failed or is damaged."""
    from studies import page, tables
    from studies.ledger import DAMAGED, FAILED

    rows = tables.where(tables.rows(ledger), where)
    metric = tables.judged_by(ledger, rows, metric)
    axes, table = tables.axes(rows), tables.cells(rows, metric)
    remarks = plain.lines([*page.remarks(rows, metric), plain.NOTICE])
    sys.stdout.write(f"{page.text(table, axes, metric)}\n{remarks}\n")
    for row in [row for row in rows if row.get("error")]:
        kind = row["state"] if row["state"] in (FAILED, DAMAGED) else "to be run again"
        log.warning("%s: configuration %s repetition %d: %s", kind, row["cell"], row["rep"], row["error"])
    tables.write_csv(rows, csv or ledger.path / "table.csv")
    log.info("page %s", page.write(ledger, rows, table, axes=axes, metric=metric))
    return ANY_FAILED if any(row["state"] in (FAILED, DAMAGED) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
