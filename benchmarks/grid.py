"""What a grid saves over separate commands: the same short runs, as many at a time, by commander.py and by research.py.

    python benchmarks/grid.py [--runs 8] [--workers 2] [--epochs 4] [--rounds 1] [--ways typed threads grid] [--branches
    1 2 4 8]

The flags of the runs are the same (no figures in either). Separate commands are timed as they are typed, each with all
cores for its threads, and with each its share (OMP_NUM_THREADS), which has to be known and set by hand. An empty run is
one whose training takes no time: what is left is the engine, the records and the claim of a run folder. The grid is
carried out with each number of branches that is named; a worker gets no more than its share of the runs. Prints a
table; asserts nothing.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


def empty_run_s(root: Path, workers: int) -> float:
    """Seconds of a worker that a run costs whose training takes no time."""

    def emptied(program: str) -> None:
        import sys

        sys.path.insert(0, program)
        from commands import fit
        from toolbox.runs.folder import RunFolder

        def start(flags, given, stop, *, load, claimed, tested):
            claimed(RunFolder.claim(flags.root_dir, "empty", "empty", "bump"))

        fit.start = start

    ledger = Ledger.open(root, "empty")
    with runner.connected(workers=workers) as client:
        client.run(emptied, str(ROOT))
        made = runner.Engine(client, ledger)
        for number in range(EMPTY + workers):
            made.submit(Job(f"{number:08d}", 0, "grid", {"dataset": "synth"}, {}, tested=False))
        for _ in range(workers):
            while made.next() is None:
                pass
        begun = time.perf_counter()
        while len(made):
            ended = made.next()
            if ended and ended[1]["state"] != DONE:
                raise RuntimeError(ended[1])
        return (time.perf_counter() - begun) * workers / EMPTY


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--branches", nargs="+", type=int, default=[1])
    typed = parser.parse_args()
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
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(f"an empty run: {1000 * empty_run_s(Path(folder), typed.workers):.0f} ms\n")


if __name__ == "__main__":
    main()
