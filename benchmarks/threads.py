"""What --threads auto costs against the best fixed number: whole runs, in turn, beside some busy processes.

    python benchmarks/threads.py [--busy 0 1 12] [--many 2] [--model resnet1d_10] [--epochs 1] [--rounds 3]

Each run is an epoch on `synth` without figures, from the start of the process to its end, with one thread, with `many`,
and with `auto`. A busy process computes without a pause. Prints a table in markdown; asserts nothing.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from peers import environment, machine, say, spent, spread
from ways import ROOT

BUSY = [sys.executable, "-c", "while True: pass"]
AUTO = "auto"


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute meanwhile."""
    started = [subprocess.Popen(BUSY) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def compared(words: list[str], many: int, rounds: int) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of the runs by number of threads, and for each round the ratio of auto to the best fixed number."""
    env = environment(many)
    seconds: dict[str, list[float]] = {"1": [], str(many): [], AUTO: []}
    for _ in range(rounds):
        for number, of in seconds.items():
            of.append(spent(sys.executable, ROOT / "commander.py", *words, "--threads", number, env=env).wall_s)
    best = min((of for number, of in seconds.items() if number != AUTO), key=statistics.median)
    return seconds, [a / b for a, b in zip(seconds[AUTO], best, strict=True)]


def main() -> None:
    """Print a row for each load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1, 12], help="numbers of busy processes")
    parser.add_argument("--many", type=int, default=max(2, os.cpu_count() or 2), help="threads against one")
    parser.add_argument("--model", default="resnet1d_10")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    typed = parser.parse_args()
    say(f"{machine()}, cores {os.cpu_count()}, {typed.model}, epochs {typed.epochs}, rounds {typed.rounds}\n")
    say(f"| busy processes | 1 thread, s | {typed.many} threads, s | auto, s | auto / best |\n" + "| --- " * 5 + "|")
    with tempfile.TemporaryDirectory() as root:
        words = ["--dataset", "synth", "--root-dir", root, "--model-name", typed.model]
        spent(sys.executable, ROOT / "commander.py", *words, "--download", env=environment(typed.many))
        words += ["--epochs", str(typed.epochs), "--no-tensorboard", "--no-figures"]
        for count in typed.busy:
            with busy(count):
                seconds, ratios = compared(words, typed.many, typed.rounds)
            cells = [spread(of, 1) for of in seconds.values()]
            say(f"| {count} | {' | '.join(cells)} | {spread(ratios, 2)} |")


if __name__ == "__main__":
    main()
