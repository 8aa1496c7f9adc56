"""One epoch, written in every way: by this program, a bare loop, Lightning's Trainer, Accelerate.

    python benchmarks/ways.py WAY --rows-file ROWS.npz --model cnn1d_3 --epochs 1 --costs COSTS.json

`throughput.py` calls the functions, `peers.py` starts a process of this file for each way and reads the costs of its
epochs. All ways train on the same rows with the same network, batch size and optimizer, each epoch in a new random
order. The networks of the peers have torch's own layers. Peers have neither logger, bar, checkpoint nor summary.
"""

import argparse
import json
import logging
import resource
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from loaders.base import DataSpec
from models import PLAIN, get_model

ROWS = 78_799  # training rows of ecg after validation is set aside
BATCH, LR, SEED = 128, 0.003, 0
MIXED = {"float32": ("32-true", "no"), "bfloat16": ("bf16-mixed", "bf16")}  # as Lightning and Accelerate name them
Train = Callable[[int], object]  # so many epochs


@dataclass(frozen=True)
class Setting:
    """What every way gets: rows x (N, C, T) and y (N,) in memory, and how to train on them."""

    model: str
    spec: DataSpec
    x: Tensor
    y: Tensor
    device: str = "cpu"
    precision: str = "float32"

    @classmethod
    def of(cls, path: Path, model: str, device: str, precision: str) -> "Setting":
        """The training rows of an NPZ that `written` made, without a copy of them."""
        with np.load(path) as file:
            rows = int((file["split"] == "train").sum())
            x, y = torch.from_numpy(file["x"])[:rows], torch.from_numpy(file["y"])[:rows]
        classes = tuple(map(str, range(int(y.max()) + 1)))
        leads, weights = tuple(map(str, range(x.shape[1]))), (1.0,) * len(classes)
        spec = DataSpec("rows", "beat", len(leads), x.shape[2], 125, "", leads, classes, weights, "", "", "")
        return cls(model, spec, x, y, device, precision)

    def network(self) -> nn.Module:
        """The network with torch's own layers."""
        torch.manual_seed(SEED)
        return get_model(self.model, self.spec, form=PLAIN).to(self.device).train()

    def loader(self) -> DataLoader:
        """The rows as users of torch load them."""
        return DataLoader(TensorDataset(self.x, self.y), BATCH, shuffle=True)

    def autocast(self) -> AbstractContextManager:
        """The context of a forward pass."""
        kind = torch.device(self.device).type
        return nullcontext() if self.precision == "float32" else torch.autocast(kind, torch.bfloat16)


def written(path: Path, rows: int) -> None:
    """An NPZ with `rows` generated beats to train on and, last, one of each class to test: this program always
    tests."""
    from loaders.synthetic import beats

    train, test = beats.beats(rows, seed=1), beats.beats(100, seed=2)
    _, first = np.unique(test["y"], return_index=True)
    x = np.concatenate([train["x"], test["x"][first]])[:, None]
    split = np.repeat(["train", "test"], [rows, len(first)])
    np.savez(path, x=x, y=np.concatenate([train["y"], test["y"][first]]), split=split, rate_hz=125)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """The fastest form of the optimizer that all ways use."""
    return torch.optim.AdamW(model.parameters(), LR, fused=True)


def bare(setting: Setting) -> Train:
    """The least that training can be: shuffled rows of a tensor on the device, forward, backward, step."""
    model, x, y = setting.network(), setting.x.to(setting.device), setting.y.to(setting.device)
    optimizer = adamw(model)

    def train(epochs: int) -> object:
        for _ in range(epochs):
            for rows in torch.randperm(len(y)).to(setting.device).split(BATCH):
                with setting.autocast():
                    outputs = model(x[rows])
                loss = F.cross_entropy(outputs.float(), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return loss.item()

    return train


@dataclass(frozen=True)
class Tensors:
    """Batches sliced from tensors, in a new order each time: what Lightning takes in place of a DataLoader."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return -(-len(self.y) // BATCH)

    def __iter__(self) -> Iterator[list[Tensor]]:
        for rows in torch.randperm(len(self.y)).split(BATCH):
            yield [self.x[rows], self.y[rows]]


def lightning(setting: Setting, loader: Callable[[Setting], object] = Setting.loader) -> Train:
    """Lightning's Trainer on the same rows, without all that costs time."""
    import lightning as L

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = setting.network()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return F.cross_entropy(self.model(batch[0]).float(), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return adamw(self)

    rows, module = loader(setting), Module()
    kind, (precision, _) = "gpu" if setting.device.startswith("cuda") else "cpu", MIXED[setting.precision]

    def train(epochs: int) -> object:
        trainer = L.Trainer(max_epochs=epochs, accelerator=kind, devices=1, precision=precision, barebones=True)
        return trainer.fit(module, rows)

    return train


def lightning_tensors(setting: Setting) -> Train:
    """The same on batches that are slices of tensors, as the bare loop has them."""
    return lightning(setting, lambda setting: Tensors(setting.x, setting.y))


def accelerate(setting: Setting) -> Train:
    """The loop that Accelerate's users write, over a DataLoader."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=setting.device == "cpu", mixed_precision=MIXED[setting.precision][1])
    network = setting.network()
    model, optimizer, loader = accelerator.prepare(network, adamw(network), setting.loader())

    def train(epochs: int) -> object:
        for _ in range(epochs):
            for x, y in loader:
                loss = F.cross_entropy(model(x), y)
                optimizer.zero_grad()
                accelerator.backward(loss)
                optimizer.step()
        return loss.item()

    return train


class Peer(NamedTuple):
    """A way, as a table names it, and the package that it needs."""

    title: str
    package: str
    way: Callable[[Setting], Train]


PEERS = {
    "bare": Peer("bare loop", "torch", bare),
    "lightning": Peer("Lightning, DataLoader", "lightning", lightning),
    "lightning-tensors": Peer("Lightning, tensors", "lightning", lightning_tensors),
    "accelerate": Peer("Accelerate, DataLoader", "accelerate", accelerate),
}
HERE = "here"


def command(rows: Path, root: Path) -> list[str]:
    """The words of commander.py that say where the rows are."""
    words = ["--dataset", "table", "--data-file", rows, "--split", "column:split", "--val-fraction", 0]
    return [*map(str, words), "--root-dir", str(root)]


def typed(model: str, epochs: int, device: str, precision: str) -> list[str]:
    """The words of commander.py that train on them as the peers do: same optimizer, no clipping, no schedule."""
    words = ["--model-name", model, "--epochs", epochs, "--device", device, "--precision", precision]
    words += ["--batch-size", BATCH, "--optimizer", "adamw", "--lr", LR, "--scheduler", "none", "--grad-clip", 0]
    return [*map(str, words), "--seed", str(SEED), "--no-tensorboard", "--no-figures"]


@dataclass
class Cost:
    """Wall and processor seconds, and the peak of memory; of a part, by how much it raised the peak."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    mib: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add what runs within."""
        begun, worked, held = time.perf_counter(), time.process_time(), peak_mib()
        yield
        self.wall_s += time.perf_counter() - begun
        self.cpu_s += time.process_time() - worked
        self.mib += peak_mib() - held


def peak_mib(usage: float | None = None) -> float:
    """The peak of memory of this process, or of a `usage` that is in bytes on macOS and in KiB elsewhere."""
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if usage is None else usage
    return usage / (2**20 if sys.platform == "darwin" else 2**10)


def here(words: list[str], costs: Cost) -> None:
    """commander.py as typed, its epochs measured."""
    import trainer

    train_epoch = trainer.Trainer.train_epoch

    def epoch(self: trainer.Trainer, *of: object) -> object:
        with costs.measured():
            return train_epoch(self, *of)

    trainer.Trainer.train_epoch = epoch
    sys.argv = ["commander.py", *words]
    try:
        runpy.run_path(str(ROOT / "commander.py"), run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise


def main() -> None:
    """Train in one way, and write the costs of the epochs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("way", choices=[HERE, *PEERS])
    parser.add_argument("--rows-file", type=Path, required=True)
    parser.add_argument("--root-dir", type=Path, help=f"of {HERE}")
    parser.add_argument("--model", required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=MIXED)
    parser.add_argument("--costs", type=Path, required=True, help="file for the costs of the epochs")
    asked, costs = parser.parse_args(), Cost()
    how = (asked.device, asked.precision)
    if asked.way == HERE:
        here([*command(asked.rows_file, asked.root_dir), *typed(asked.model, asked.epochs, *how)], costs)
    else:
        train = PEERS[asked.way].way(Setting.of(asked.rows_file, asked.model, *how))
        with costs.measured():
            train(asked.epochs)
    asked.costs.write_text(json.dumps(asdict(costs)))


if __name__ == "__main__":
    main()
