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
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

import args as commander_args
from commands import build, choices
from loaders import get_data
from loaders.base import Data, Split
from loaders.synthetic import beats
from models import PLAIN, get_model

ROWS = 78_799  # training rows of ecg after validation is set aside
BATCH = 128
NETWORKS = ["resnet1d_10", "resnet1d_v2_10", "inception1d", "cnn1d_3", "lstm_2", "ecgformer_patch", "ecgformer_small"]
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
    trainer = build.build(choices.settle(commander_args.resolve(typed)), data)

    def epoch() -> object:
        trainer.meter, trainer.seconds = None, 0.0
        return trainer.train_epoch("", NEVER)

    return epoch


def bare(name: str, data: Data, device: str) -> Callable[[], object]:
    """The least that training can be: shuffled rows of a tensor on the device, forward, backward, step."""
    model = get_model(name, data.spec, form=PLAIN).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), 0.003, fused=True)
    x, y = torch.tensor(data.train.x, device=device), torch.tensor(data.train.y, device=device)

    def epoch() -> object:
        for rows in torch.randperm(len(y)).to(device).split(BATCH):
            loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return epoch


def lightning(name: str, data: Data, device: str) -> Callable[[], object]:
    """Lightning's Trainer on the same tensors through a DataLoader, as its users write it, without logger or bar."""
    import logging

    import lightning as L

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = get_model(name, data.spec, form=PLAIN)

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 0.003, fused=True)

    rows = torch.utils.data.TensorDataset(torch.tensor(data.train.x), torch.tensor(data.train.y))
    loader, module = torch.utils.data.DataLoader(rows, BATCH, shuffle=True), Module()

    def epoch() -> object:
        kind = "gpu" if device.startswith("cuda") else "cpu"
        quiet = {
            "logger": False,
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "enable_model_summary": False,
        }
        trainer = L.Trainer(max_epochs=1, accelerator=kind, devices=1, **quiet)
        return trainer.fit(module, loader)

    return epoch


def epochs(data: Data, device: str, models: list[str], rounds: int, *, clock: Callable[[], float]) -> None:
    """A row a model: seconds of each column, and the ratio of each to the bare loop, as medians over rounds."""
    columns = {"bare": bare, "ours": ours, "bfloat16": partial(ours, precision="bfloat16")}
    columns |= {"lightning": lightning} if importlib.util.find_spec("lightning") else {}
    say(
        f"\nOne epoch of {len(data.train):,} rows, batch {BATCH}, on {device_name(device)}; medians of {rounds} rounds"
        " [range]"
    )
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


def commands(data_file: Path | None) -> None:
    """What a person waits for: --help, parsing the recordings, start to first step from a warm cache; and the memory it
    takes."""
    with tempfile.TemporaryDirectory() as folder:
        where = ["--root-dir", folder, *(["--data-file", str(data_file)] if data_file else ["--dataset", "synth"])]
        seconds, _ = timed("--help")
        say(f"\n--help                             {seconds:6.2f} s")
        seconds, _ = (
            timed("--download", *where)
            if data_file
            else timed("--short-run", "--epochs", "1", "--model-name", "cnn1d_3", *where)
        )
        say(f"data parsed or made, first start   {seconds:6.2f} s")
        first = [first_step(where) for _ in range(3)]
        say(f"warm cache to the first step       {statistics.median(first):6.2f} s [{min(first):.2f}-{max(first):.2f}]")
        _, peak = timed("--model-name", "resnet1d_10", "--epochs", "1", "--short-run", *where)
        say(f"peak memory of training and test   {peak:6.0f} MB")


def timed(*flags: str) -> tuple[float, float]:
    """Seconds and peak memory (MB) of a whole command."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, ROOT / "commander.py", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - begun, usage.ru_maxrss / (1 if sys.platform == "darwin" else 1024) / (
        1e6 if sys.platform == "darwin" else 1
    )


def first_step(where: list[str]) -> float:
    """Seconds from the start of the process to the end of its first training step."""
    probe = (
        "import sys, time, trainer, commander\nstep = trainer.Trainer._step\ndef once(self, *batch):\n    step(self,"
        " *batch); sys.stderr.flush(); sys.stdout.write('first'); sys.stdout.flush(); import os;"
        " os._exit(0)\ntrainer.Trainer._step = once\ncommander.main(sys.argv[1:])\n"
    )
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", probe, *where], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - begun


def device_name(device: str) -> str:
    """The device as a person would name it."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else f"cpu, {torch.get_num_threads()} threads"


def spread(values: list[float], digits: int) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def say(line: str) -> None:
    """Results go to stdout."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


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
        commands(options.data_file)


if __name__ == "__main__":
    main()
