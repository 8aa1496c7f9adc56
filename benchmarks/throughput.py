"""What the harness costs over the bare model step: one epoch of ours, of a plain loop and of Lightning, in turn.

    python benchmarks/throughput.py [--data-file FILE] [--rounds 3] [--models resnet1d_10 cnn1d_3]
    python benchmarks/throughput.py --rows 2560 --rounds 9 --threads 1 --cpu-seconds --models all

Times on a busy machine drift, so the columns alternate within a round and the ratios are medians over rounds; with
--cpu-seconds they are times of the processor, which other programs change less. Without --data-file the rows are
generated, as many as in `ecg`, or --rows. The bare loop computes the plain form of a network. Prints tables; asserts
nothing.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from peers import environment, machine, say, spent, spread
from ways import BATCH, ROOT, ROWS, Cost, Setting, Train, bare, lightning

import args as commander_args
from commands import build, choices
from loaders import get_data
from loaders.base import Data, Split
from loaders.synthetic import beats

NETWORKS = ["resnet1d_10", "resnet1d_v2_10", "inception1d", "cnn1d_3", "lstm_2", "ecgformer_patch", "ecgformer_small"]
COMMANDER, TORCH = str(ROOT / "commander.py"), "`import torch`"
PROBE = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import commander, trainer
step = trainer.Trainer._step
def once(self, *batch):
    step(self, *batch)
    os._exit(0)
trainer.Trainer._step = once
commander.main(sys.argv[1:])
"""  # ends with the first training step
NEVER = SimpleNamespace(requested=None)


def generated(rows: int) -> Data:
    """Rows from the generator, none for validation."""
    data = get_data("synth", Path(tempfile.mkdtemp()))
    arrays = beats.beats(rows, seed=1)
    return Data(
        data.spec,
        Split(arrays["x"][:, None, :], arrays["y"], arrays["record"], np.arange(rows)),
        data.val,
        data.open_test,
        "",
    )


def ours(name: str, data: Data, device: str, precision: str = "float32") -> Callable[[], object]:
    """One epoch of the trainer: order, steps, meters, checks; without validation, like the others."""
    typed = {"model_name": name, "device": device, "batch_size": BATCH, "epochs": 1000, "precision": precision}
    typed |= {"threads": str(torch.get_num_threads())}
    trainer = build.build(choices.settle(commander_args.resolve(typed)), data)

    def epoch() -> object:
        trainer.meter, trainer.seconds = None, 0.0
        return trainer.train_epoch("", NEVER)

    return epoch


def peer(name: str, data: Data, device: str, *, way: Callable[[Setting], Train]) -> Callable[[], object]:
    """One epoch of a peer, on the same rows."""
    x, y = torch.tensor(data.train.x), torch.tensor(data.train.y)
    return partial(way(Setting(name, data.spec, x, y, device)), 1)


def epochs(data: Data, device: str, models: list[str], rounds: int, *, clock: Callable[[], float]) -> None:
    """A row a model: seconds of each column, and the ratio of each to the bare loop, as medians over rounds."""
    columns = {"bare": partial(peer, way=bare), "ours": ours, "bfloat16": partial(ours, precision="bfloat16")}
    columns |= {"lightning": partial(peer, way=lightning)} if importlib.util.find_spec("lightning") else {}
    clocked = "CPU seconds" if clock is time.process_time else "seconds"
    where = f"batch {BATCH}, on {device_name(device)}, {clocked}"
    say(f"\nOne epoch of {len(data.train):,} rows, {where}; medians of {rounds} rounds [range]")
    say(
        "model".ljust(16)
        + "".join(f"{name + ' s':>24}" for name in columns)
        + "".join(f"{name + '/bare':>22}" for name in list(columns)[1:])
    )
    for name in models:
        runs = {column: make(name, data, device) for column, make in columns.items()}
        for run in runs.values():
            run()
        times = {column: [] for column in columns}
        for _ in range(rounds):
            for column, run in runs.items():
                begun = clock()
                run()
                times[column].append(clock() - begun)
        ratios = {
            column: [a / b for a, b in zip(times[column], times["bare"], strict=True)] for column in list(columns)[1:]
        }
        say(
            name.ljust(16)
            + "".join(f"{spread(times[c], 2):>24}" for c in columns)
            + "".join(f"{spread(r, 3):>22}" for r in ratios.values())
        )


def commands(data_file: Path | None, rounds: int) -> None:
    """What a person waits for: processes from start to end, in turn, and their CPU seconds to those of importing
    torch."""
    env = environment(torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        where = ["--root-dir", folder, *(["--data-file", str(data_file)] if data_file else ["--dataset", "synth"])]
        short = [COMMANDER, "--short-run", "--epochs", "1", *where]
        first = [spent(sys.executable, COMMANDER, "--download", *where, env=env)]
        lines = {
            TORCH: ["-c", "import torch"],
            "`--help`": [COMMANDER, "--help"],
            "`--list models`": [COMMANDER, "--list", "models"],
            "start to first step": ["-c", PROBE, *where],
            "short run, no figures": [*short, "--no-tensorboard", "--no-figures"],
            "short run": short,
        }
        costs: dict[str, list[Cost]] = {title: [] for title in lines}
        for _ in range(rounds):
            for title, words in lines.items():
                costs[title].append(spent(sys.executable, *words, env=env))
    say(f"\n| | s | CPU s | peak, MiB | CPU s / {TORCH} |\n" + "| --- " * 5 + "|")
    for title, of in {"the data, parsed or made": first, **costs}.items():
        wall_s, cpu_s, mib = zip(*map(astuple, of), strict=True)
        shares = [one.cpu_s / base.cpu_s for one, base in zip(of, costs[TORCH], strict=False)]
        say(f"| {title} | {spread(wall_s, 2)} | {spread(cpu_s, 2)} | {spread(mib, 0)} | {spread(shares, 2)} |")


def device_name(device: str) -> str:
    """The device as a person would name it."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else f"cpu, {torch.get_num_threads()} threads"


def main() -> None:
    """Print every table, the epochs once more for CUDA where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data-file", type=Path, help="the MIT-BIH zip or the Kaggle files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["resnet1d_10", "cnn1d_3"], help="all is one of each kind")
    parser.add_argument("--rows", type=int, help="generated rows; the commands are left out")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-seconds", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    say(machine())
    models = NETWORKS if options.models == ["all"] else options.models
    clock = time.process_time if options.cpu_seconds else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        data = (
            get_data("ecg", Path(folder), data_file=options.data_file)
            if options.data_file
            else generated(options.rows or ROWS)
        )
        for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
            epochs(data, device, models, options.rounds, clock=clock)
    if not options.rows:
        commands(options.data_file, options.rounds)


if __name__ == "__main__":
    main()
