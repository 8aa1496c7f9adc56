"""The flags of research.py, in groups, declared as `flags` declares the commander's; the standard library alone."""

from typing import Any


def _grid_flags(flag: Any) -> None:
    flag(
        "grid",
        nargs="?",
        metavar="GRID",
        help="file of a grid, .yaml or .py (README); its keys are flags of commander.py",
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
