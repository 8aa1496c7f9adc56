"""What a grid saves over separate commands: the same short runs, as many at a time, by commander.py and by research.py.

    python benchmarks/grid.py [--runs 8] [--workers 2] [--epochs 4] [--rounds 1] [--ways typed threads grid] [--branches
    1 2 4 8] [--only-short]

The flags of the runs are the same (no figures in either). Separate commands are timed as they are typed, each with all
cores for its threads, and with each its share (OMP_NUM_THREADS), which has to be known and set by hand. An empty run is
one whose training takes no time: what is left is the engine, the records and the claim of a run folder. The grid is
carried out with each number of branches that is named; a worker gets no more than its share of the runs.

A short run (--short-run, an epoch, its test) in a study, one worker after its first run, stands beside the same run as
a command of its own, with neither figures nor TensorBoard: wall and processor seconds, and the ratios of the medians of
five rounds; --only-short measures nothing else. Prints tables; asserts nothing.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # comes with Dask

from studies import runner
from studies.ledger import DONE, Job, Ledger

EMPTY = 200
WAYS = {"typed": "separate, as typed", "threads": "separate, own threads", "grid": "research.py"}
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@dataclass
class Cost:
    """What some runs took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def measured(work: Callable[[], None]) -> Cost:
    """Wall and processor seconds of the children that `work` starts and waits for, and the most memory they held
    together."""
    peaks, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            peaks.append(sum(map(held, psutil.Process().children(recursive=True))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    wall_s, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    over.set()
    watcher.join()
    return Cost(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, max(peaks) / 2**20)


def held(process: psutil.Process) -> float:
    """Memory of a process, what it shares with others in parts; in bytes."""
    try:
        return getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
    except psutil.Error:
        return 0.0


def separate(flags: list[str], rates: list[str], root: Path, *, workers: int, threads: int | None) -> None:
    """A command for each rate, `workers` at a time."""
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    env |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    left, running = list(rates), []
    while left or running:
        running = [process for process in running if process.poll() is None]
        while left and len(running) < workers:
            command = [sys.executable, str(ROOT / "commander.py"), *flags, "--lr", left.pop(), "--root-dir", str(root)]
            running.append(subprocess.Popen(command, env=env, **QUIET))
        time.sleep(0.02)


def ours(flags: dict[str, str], rates: list[str], root: Path, *, workers: int, branches: int) -> None:
    """The same as a grid."""
    base = ", ".join(f"{key}: {value}" for key, value in flags.items())
    grid = root / "grid.yaml"
    grid.write_text(f"base: {{{base}}}\ngrid: [{{cross: {{lr: [{', '.join(rates)}]}}}}]\n")
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, str(ROOT / "research.py"), str(grid), "--workers", str(workers), "--root-dir", str(root)]
    subprocess.run([*command, "--branches", str(branches)], check=True, env=env, **QUIET)


def in_study(root: Path, given: dict[str, Any], *, workers: int, runs: int, empty: bool = False) -> Cost:
    """Seconds of a worker that one of `runs` runs costs after the start of the workers; `empty` leaves all but the
    claim of a run folder out."""

    def emptied(program: str) -> None:
        import sys

        sys.path.insert(0, program)
        from commands import fit
        from toolbox.runs.folder import RunFolder

        def start(flags, given, stop, *, load, claimed, tested, study):
            claimed(RunFolder.claim(flags.root_dir, "empty", "empty", "bump"))

        fit.start = start

    ledger = Ledger.open(root, uuid.uuid4().hex)
    with runner.connected(workers=workers) as client:
        if empty:
            client.run(emptied, str(ROOT))
        made = runner.Engine(client, ledger)

        def carry_out(numbers: range) -> None:
            for number in numbers:
                made.submit(Job(f"{number:08d}", 0, "grid", given, {}, tested=not empty))
            while len(made):
                ended = made.next()
                if ended and ended[1]["state"] != DONE:
                    raise RuntimeError(ended[1])

        carry_out(range(workers))  # their imports, and the data
        begun, before = time.perf_counter(), sum(client.run(time.process_time).values())
        carry_out(range(workers, workers + runs))
        wall_s = (time.perf_counter() - begun) * workers / runs
        return Cost(wall_s, (sum(client.run(time.process_time).values()) - before) / runs, 0.0)


def short_runs(rounds: int = 5, runs: int = 16) -> str:
    """A table of a short run in a study and as a command: alternating, medians, and their ratios."""
    flags = {"dataset": "synth", "model_name": "cnn1d_3", "epochs": 1, "lr": 0.001}
    words = [word for key, value in flags.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    words += ["--short-run", "--no-figures", "--no-tensorboard"]
    given, costs = {**flags, "short_run": True, "no_figures": True}, ([], [])
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            separate(words, ["0.001"], root, workers=1, threads=1)  # the data is parsed
            costs[0].append(measured(lambda root=root: separate(words, ["0.001"], root, workers=1, threads=1)))
            costs[1].append(in_study(root, given, workers=1, runs=runs))
    rows = [[statistics.median(getattr(cost, key) for cost in each) for key in ("wall_s", "cpu_s")] for each in costs]
    rows.append([ours / theirs for theirs, ours in zip(*rows, strict=True)])
    names = ("as a command, s", "in a study, s", "ratio")
    lines = [f"{name:24}{wall:10.2f}{cpu:10.2f}" for name, (wall, cpu) in zip(names, rows, strict=True)]
    return "\n".join([f"{'a short run':24}{'wall':>10}{'CPU':>10}", *lines]) + "\n"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--branches", nargs="+", type=int, default=[1])
    parser.add_argument("--only-short", action="store_true")
    typed = parser.parse_args()
    if not typed.only_short:
        compare(typed)
    sys.stdout.write(short_runs())
    with tempfile.TemporaryDirectory() as folder:
        cost = in_study(Path(folder), {"dataset": "synth"}, workers=typed.workers, runs=EMPTY, empty=True)
    sys.stdout.write(f"an empty run: {1000 * cost.wall_s:.0f} ms, {1000 * cost.cpu_s:.0f} ms of CPU\n")


def compare(typed: argparse.Namespace) -> None:
    """Print the table of the ways to carry out the same runs."""
    flags = {"dataset": "synth", "model-name": "cnn1d_3", "epochs": str(typed.epochs)}
    command = [word for key, value in flags.items() for word in (f"--{key}", value)] + ["--no-figures"]
    rates = [f"{0.001 * (1 + number):g}" for number in range(typed.runs)]
    share = max(1, runner.cores() // typed.workers)
    how = {
        "typed": lambda root: separate(command, rates, root, workers=typed.workers, threads=None),
        "threads": lambda root: separate(command, rates, root, workers=typed.workers, threads=share),
    }
    how = {WAYS[name]: work for name, work in how.items() if name in typed.ways}
    for count in typed.branches if "grid" in typed.ways else ():
        told = WAYS["grid"] + f", branches {count}" * (count > 1)
        how[told] = lambda root, count=count: ours(flags, rates, root, workers=typed.workers, branches=count)
    costs: dict[str, list[Cost]] = {name: [] for name in how}
    for _ in range(typed.rounds):
        for name, work in how.items():
            with tempfile.TemporaryDirectory() as folder:
                # The data is parsed.
                separate([*command, "--short-run"], ["0.001"], Path(folder), workers=1, threads=share)
                costs[name].append(measured(lambda work=work, folder=folder: work(Path(folder))))
    said = f"{typed.runs} runs of {typed.epochs} epochs, {typed.workers} at a time, medians of {typed.rounds} rounds"
    sys.stdout.write(f"{said}\n{'':24}{'s a run':>10}{'runs/h':>10}{'CPU s/run':>12}{'peak MiB':>12}\n")
    for name, each in costs.items():
        wall_s, cpu_s, peak = (
            statistics.median(getattr(cost, key) for cost in each) for key in ("wall_s", "cpu_s", "peak_mib")
        )
        pace = f"{wall_s * typed.workers / typed.runs:10.1f}{3600 * typed.runs / wall_s:10.0f}"
        sys.stdout.write(f"{name:24}{pace}{cpu_s / typed.runs:12.1f}{peak:12.0f}\n")


if __name__ == "__main__":
    main()
