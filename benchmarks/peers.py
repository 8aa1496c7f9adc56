"""A whole training beside its peers: processes of this program, a bare loop, Lightning and Accelerate, in turn.

    python benchmarks/peers.py [--models resnet1d_10 cnn1d_3] [--rows 78799] [--epochs 1] [--threads 1] [--rounds 3]
    [--precision float32] [--ways here bare lightning lightning-tensors accelerate]

Every way (`ways.py`) is a process of its own, from its start to its end, with imports, reading of one file of rows,
training, and here also the checkpoint, the test of a row of each class and the report. The ways alternate within a
round; the last line of a table has the ratios to the best peer in each column. Before the first of several rounds every
way runs once on a few rows, so that compiled files and, here, the cache of the rows exist. Prints tables in markdown;
asserts nothing.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import date
from pathlib import Path

import ways
from ways import BATCH, HERE, MIXED, PEERS, ROOT, ROWS, Cost

PACKAGES = sorted({peer.package for peer in PEERS.values()})
COLUMNS = ("process, s", "process, CPU s", "peak, MiB", "epochs, s", "epochs, CPU s", "MiB more")
FEW = 512  # rows before the first round
LAUNCHER = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
spent = [time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]
print(json.dumps([*spent, os.waitstatus_to_exitcode(status)]))
"""


def spent(*command: object, env: Mapping[str, str] | None = None) -> Cost:
    """What a process costs from its start to its end. Raises RuntimeError if it fails.

    A small process starts it: on Linux the peak of a process includes the memory of the one that started it.
    """
    launch = [sys.executable, "-c", LAUNCHER, *map(str, command)]
    done = subprocess.run(launch, capture_output=True, text=True, check=True, env=env)
    wall_s, cpu_s, usage, code = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {code}:\n{done.stderr[-2000:]}")
    return Cost(wall_s, cpu_s, ways.peak_mib(usage))


def environment(threads: int) -> dict[str, str]:
    """Of every way: the number of threads; compiled files are kept, else each start would compile its imports."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"OMP_NUM_THREADS": str(threads)}


def run(way: str, rows: Path, model: str, typed: argparse.Namespace) -> tuple[float, ...]:
    """The costs of the process and of its epochs, in the order of COLUMNS."""
    with tempfile.TemporaryDirectory() as folder:
        costs = Path(folder, "costs.json")
        how = ["--epochs", typed.epochs, "--device", typed.device, "--precision", typed.precision, "--costs", costs]
        how += ["--rows-file", rows, "--root-dir", rows.parent, "--model", model]
        whole = spent(sys.executable, ROOT / "benchmarks" / "ways.py", way, *how, env=environment(typed.threads))
        return (*astuple(whole), *json.loads(costs.read_text()).values())


def warm(chosen: Sequence[str], rows: Path, few: Path, typed: argparse.Namespace) -> None:
    """Run every way once on a few rows, and let this program cache the rows."""
    for way in chosen:
        run(way, few, typed.models[0], typed)
    if HERE in chosen:
        look = ["--download", *ways.command(rows, rows.parent)]
        spent(sys.executable, ROOT / "commander.py", *look, env=environment(typed.threads))


def table(costs: dict[str, list[tuple[float, ...]]]) -> str:
    """Medians [range] of each way, and the ratio of this program to the best peer of each column."""
    lines = [f"| | {' | '.join(COLUMNS)} |", "| --- " * (len(COLUMNS) + 1) + "|"]
    columns = {way: list(zip(*of, strict=True)) for way, of in costs.items()}
    for way, of in columns.items():
        cells = [spread(values, 0 if "MiB" in name else 2) for name, values in zip(COLUMNS, of, strict=True)]
        title = "this program" if way == HERE else PEERS[way].title
        lines.append(f"| {title} | {' | '.join(cells)} |")
    if ours := columns.pop(HERE, None):
        best = [min(of, key=statistics.median) for of in zip(*columns.values(), strict=True)]
        cells = [ratio(a, b) for a, b in zip(ours, best, strict=True)] if columns else []
        lines += [f"| this / best peer | {' | '.join(cells)} |"] if cells else []
    return "\n".join(lines)


def ratio(values: Sequence[float], others: Sequence[float]) -> str:
    """The ratios within each round; "-" where the others are 0."""
    return spread([a / b for a, b in zip(values, others, strict=True)], 2) if all(others) else "-"


def spread(values: Sequence[float], digits: int) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def say(line: str) -> None:
    """Results go to stdout."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def machine() -> str:
    """Date, processor, and versions of the packages that are compared."""
    try:
        name = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    there = [package for package in PACKAGES if importlib.util.find_spec(package)]
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in there)
    return f"{date.today()}, {name.partition(':')[2].strip() or name}, {versions}"


def installed(chosen: Sequence[str]) -> list[str]:
    """The chosen ways whose package is installed; says which are left out."""
    missing = [package for package in PACKAGES if not importlib.util.find_spec(package)]
    for package in missing:
        say(f"{package} is not installed, and left out (pip install {package})")
    return [way for way in chosen if way == HERE or PEERS[way].package not in missing]


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--models", nargs="+", default=["resnet1d_10", "cnn1d_3"])
    parser.add_argument("--ways", nargs="+", default=[HERE, *PEERS], choices=[HERE, *PEERS])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="with 1 nothing runs before it")
    parser.add_argument("--precision", default="float32", choices=MIXED)
    parser.add_argument("--device", default="cpu")
    typed = parser.parse_args()
    say(machine())
    chosen = installed(typed.ways)
    with tempfile.TemporaryDirectory() as folder:
        rows, few = Path(folder, "rows.npz"), Path(folder, "few.npz")
        ways.written(rows, typed.rows)
        if typed.rounds > 1:
            ways.written(few, FEW)
            warm(chosen, rows, few, typed)
        for model in typed.models:
            costs: dict[str, list[tuple[float, ...]]] = {way: [] for way in chosen}
            for _ in range(typed.rounds):
                for way in chosen:
                    costs[way].append(run(way, rows, model, typed))
            what = f"rows {typed.rows:,}, epochs {typed.epochs}, batch {BATCH}, {typed.precision}, {typed.device}"
            say(f"\n{model}: {what}, threads {typed.threads}, rounds {typed.rounds}, medians [range]\n")
            say(table(costs))


if __name__ == "__main__":
    main()
