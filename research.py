"""Studies: workers train many runs from a grid of the commander's flags; one table shows the results.

    python research.py grids/first.yaml --workers 2       train; the same command again resumes
    python research.py --results first                    print the table

`studies/stages.py` carries out a plan stage by stage; `commands/fit.py` trains one run.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolbox import plain, terminal
from toolbox.errors import CommanderError, UsageError, program
from toolbox.flags import COMMAND, Check, Declarations, Flag, Flags, Group, between
from toolbox.terminal import StopRequest

if TYPE_CHECKING:
    from studies.ledger import Ledger
    from studies.plans import Plan

MANY = between(1, 100_000)
GPUS = Check("numbers with commas between them", lambda text: all(word.strip().isdigit() for word in text.split(",")))
PROGRAM = program("research")
DESCRIPTION = f"""Run many trainings as one study, and read them as one table.

  see the runs     {PROGRAM} first --dry-run
  carry them out   {PROGRAM} first --workers 2     (the same command again resumes)
  read the table   {PROGRAM} --results first"""
SHORT_HELP = f"{DESCRIPTION}\n  all flags        {PROGRAM} --help\n"
EPILOG = "The same command again skips finished runs and resumes the others. Documentation: README.md and docs/."

# fmt: off
FLAGS = Declarations(PROGRAM, DESCRIPTION, EPILOG, (
    Group("grid", (
        Flag("grid", COMMAND, "file of a grid, .yaml or .py, or the name of a shipped grid; its keys are flags of the "
             "commander", metavar="GRID", nargs="?"),
        Flag("--name", COMMAND, "name of the study (default that of the file)", metavar="NAME"),
        Flag("--reps", COMMAND, "repetitions of each configuration, each with its own seed and split (default the "
             "file's)", type=int, metavar="N", check=MANY, tags="stage"),
        Flag("--folds", COMMAND, "folds of the training rows, each once for validation; the test stays closed "
             "(default the file's)", type=int, metavar="K", check=MANY),
        Flag("--root-dir", COMMAND, "folder of data and runs; ECG_COMMANDER_ROOT in the environment names another "
             "default", metavar="DIR", default="ecg_data", path="folder"),
        Flag("--dry-run", COMMAND, "list of the configurations with their parameters; nothing is run", type=bool),
        Flag("--no-test", COMMAND, "runs without their test; the same command without it tests them later", type=bool),
        Flag("--import", COMMAND, "file of your own datasets, networks, losses, metrics or augmentations, once for "
             "each file (default those of the study, for a new study those in ECG_COMMANDER_IMPORT)", metavar="FILE",
             repeated=True),
        Flag("--retry", COMMAND, "another try for runs that failed (default: they keep their error)", type=bool),
    )),
    Group("workers", (
        Flag("--workers", COMMAND, "processes on this machine, which share its cores (default one per core)", type=int,
             metavar="N", check=between(1, 1000)),
        Flag("--branches", COMMAND, "configurations that a worker trains step by step on the same batches, if their "
             "data and batch order are equal (default 1)", type=int, metavar="B", check=between(1, 1000)),
        Flag("--gpus", COMMAND, "GPUs for the workers, in this order (default all)", metavar="N,N,...", check=GPUS),
        Flag("--engine-address", COMMAND, "Dask scheduler, tcp://HOST:PORT; its workers must see these folders",
             metavar="URL"),
    )),
    Group("search", (
        Flag("--search", COMMAND, "search of a grid with ranges, loguniform(1e-4, 1e-2): tpe, random, or grid",
             metavar="HOW", tags="stage"),
        Flag("--trials", COMMAND, "number of configurations to try", type=int, metavar="N", check=MANY,
             tags="stage", command="search"),
        Flag("--pruner", COMMAND, "early end of runs that fall behind: median or hyperband (default none)",
             metavar="HOW", tags="stage", command="search"),
        Flag("--refine", COMMAND, "--reps runs of the best configuration and its neighbours in every range",
             type=bool, tags="stage"),
        Flag("--seeds", COMMAND, "with --best: number of new seeds to train and test the best configuration on",
             type=int, metavar="N", check=MANY, tags="stage"),
    )),
    Group("table", (
        Flag("--results", COMMAND, "study to print the table of", metavar="NAME"),
        Flag("--where", COMMAND, "with --results: condition for the runs of the table", metavar="KEY=VALUE", nargs="+",
             command="results"),
        Flag("--best", COMMAND, "validation metric to compare configurations by (default the one of their best "
             "epochs)", metavar="METRIC", nargs="?", const="", tags="stage"),
        Flag("--csv", COMMAND, "with --results: file for the table, one row a run", metavar="FILE", command="results"),
    )),
    Group("output", (
        Flag("--debug", COMMAND, "traceback of an error", type=bool),
    )),
))
# fmt: on
ANOTHER = "another --name for a new study"
ANY_FAILED = CommanderError.code
log = logging.getLogger("commander")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; exit code 1 if a run failed, else as the commander."""
    return terminal.guarded(argv, carry_out, SHORT_HELP)


def carry_out(argv: Sequence[str], stop: StopRequest) -> int:
    """Print a table, list the configurations, or train and test the runs."""
    flags = understood(argv)
    with terminal.importing():
        from studies import plans, runner
        from studies.ledger import Ledger

    terminal.log_to(runner.Above())
    if flags.results:
        ledger = Ledger.open(flags.root_dir, flags.results, make=False)
        use_files(flags, ledger.path, changed=True)
        return show(ledger, flags.best, where=flags.where or (), csv=Path(flags.csv) if flags.csv else None)
    use_files(flags, flags.root_dir / "research" / study_name(flags))
    typed = {name: getattr(flags, name) for name in FLAGS.names("stage")}
    plan = plans.read(plans.find(flags.grid)).ordered(typed, folds=flags.folds, tested=not flags.no_test)
    return dry_run(plan, flags.root_dir) if flags.dry_run else run(flags, plan, stop)


def study_name(flags: Flags) -> str:
    """The name of the study to carry out."""
    return flags.name or Path(flags.grid).stem


def use_files(flags: Flags, study: Path, *, changed: bool = False) -> None:
    """Register the typed files of --import, else those of the study, of a new study those of the environment.

    Raises UsageError for files other than those of the study, unless they may have `changed`: a table only needs the
    names of metrics.
    """
    from commands import own_parts
    from studies import ledger
    from toolbox import plugins

    before = ledger.imports(study)
    if (typed := getattr(flags, "import")) or before is None:
        own_parts.use(typed or plugins.from_environment())
    else:
        hint = f"the file as it was, or {ANOTHER}"
        own_parts.use(plugins.found(before, flags.root_dir, of="the study", hint=hint, changed=changed))
    if not changed and before is not None and (differ := plugins.difference(before)):
        what = f"--import is {differ[1]}, the study has {differ[0]}"
        raise UsageError(what, where=str(study), hint=f"the files of the study, or {ANOTHER}")


def understood(argv: Sequence[str]) -> Flags:
    """The flags with their defaults. Raises UsageError with all errors in them."""
    typed = FLAGS.parse(argv)
    flags = FLAGS.resolve(typed)
    if wrong := FLAGS.complaints(typed) + complaints(flags):
        raise UsageError("; ".join(wrong), hint=f"{PROGRAM} --help")
    return flags


def complaints(flags: Flags) -> list[str]:
    """Flags that exclude or need each other."""
    wrong = {
        "a grid is missing, a .yaml or .py file": not (flags.grid or flags.results),
        "--results NAME shows a study, leave the grid out": flags.grid and flags.results,
        "--workers is for this machine, the scheduler has its own": flags.engine_address and flags.workers,
        "--gpus is for this machine, the scheduler's workers have their own": flags.engine_address and flags.gpus,
        "--best goes with --results, or --seeds": flags.best is not None and not (flags.results or flags.seeds),
        "--seeds goes with --best": flags.seeds and flags.best is None,
        "--branches goes with a grid, a search draws one configuration at a time": flags.branches and flags.search,
        "--search needs --trials": flags.search and not flags.trials,
        "--dry-run lists a grid, not a search": flags.dry_run and (flags.search or flags.refine or flags.seeds),
    }
    return [text for text, broken in wrong.items() if broken]


def dry_run(plan: "Plan", root: Path) -> int:
    """List the configurations on stdout with trainable parameters and MACs of a row; warn of axes without effect."""
    from studies import cells, stages
    from studies.grid import Space, varying

    checked, stage = stages.check(plan), plan.stages[0]
    (_, found), runs = checked[stage.name], stages.series(plan, stage)
    if stage.named or isinstance(found, Space):
        sys.stdout.write(plain.lines(stages.listed(plan, checked)) + "\n")
        return 0
    axes, digests = varying([one.cell for one in found]), {}
    networks = cells.networks(found, root)
    for number, (one, (cost, digests[one.name])) in enumerate(zip(found, networks, strict=True), start=1):
        counts = f"{cost['trainable_parameters']:12,} parameters  {cost['macs']:15,} MACs"
        line = f"{number:4d}  {one.name}  {counts}  {cells.differing(one.cell, axes)}"
        sys.stdout.write(plain.escaped(line) + "\n")
    sys.stdout.write(f"{len(found)} configurations, {runs}, {len(found) * len(runs)} runs\n")
    for line in cells.idle_axes(found, digests):
        log.warning(line)
    return 0


def run(flags: Flags, plan: "Plan", stop: StopRequest) -> int:
    """Carry out the unfinished stages of a plan, show the table, and write the page of all runs of the root."""
    from commands import runs
    from studies import runner, stages, worker
    from studies.ledger import Ledger

    checked = stages.check(plan)  # before the study's folder is made
    ledger = Ledger.open(flags.root_dir, study_name(flags))
    with ledger.locked(), worker.logged(ledger.path / "research.log"):
        ledger.keep_imports()
        log.info("study folder %s", ledger.path)
        with runner.Workers(flags.workers, gpus=flags.gpus, address=flags.engine_address) as workers:
            study = stages.Study(plan, checked, ledger, workers, stop, flags.branches or 1, flags.retry, flags.best)
            study.carry_out()
        runs.refresh(flags.root_dir)
        return show(ledger, flags.best)


def show(ledger: "Ledger", metric: str | None, *, where: Sequence[str] = (), csv: Path | None = None) -> int:
    """Print the table, write its page and CSV into the study's folder; 1 if a run failed or is damaged.

    With conditions `where` the page stays as it is. Raises UsageError if no run meets them.
    """
    from commands import runs
    from studies import page, tables
    from studies.ledger import DAMAGED, FAILED

    rows = tables.where(tables.rows(ledger), where)
    if where and not rows:
        raise UsageError(f"no run has {' '.join(where)}", where=ledger.path.name, hint="another --where, or none")
    metric = tables.judged_by(ledger, rows, metric)
    axes, table = tables.axes(rows), tables.ranked(tables.cells(rows, metric), metric)
    remarks = plain.lines([*page.remarks(rows, metric), plain.NOTICE])
    sys.stdout.write(f"{page.text(table, axes, metric)}\n{remarks}\n")
    for row in [row for row in rows if row.get("error")]:
        kind = row["state"] if row["state"] in (FAILED, DAMAGED) else "runs again"
        log.warning("%s: configuration %s repetition %d: %s", kind, row["cell"], row["rep"], row["error"])
    tables.write_csv(rows, csv or ledger.path / "table.csv")
    failed = ANY_FAILED if any(row["state"] in (FAILED, DAMAGED) for row in rows) else 0
    if where:
        return failed
    found = page.with_axes(runs.rows(ledger.root), rows, axes, ledger.path.name)
    explored = runs.explored(found, ledger.root, up="../../", axes=axes)
    log.info("page %s", page.write(ledger, rows, table, explored=explored, axes=axes, metric=metric))
    return failed


if __name__ == "__main__":
    sys.exit(main())
