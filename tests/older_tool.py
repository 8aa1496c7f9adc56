"""What the older tool leaves behind: networks of its structure, and checkpoints pickled by a process that has its
classes."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PACKAGE = {
    "__init__": "",
    "logger": """
from collections import defaultdict
class Experiment:
    def __init__(self, options):
        self.name, self.options, self.date_and_time = "run", options, "01-03-2020--10-00-00"
        self.info, self.logged, self.meters = defaultdict(dict), defaultdict(dict), defaultdict(dict)
""",
    "metrics": """
import numpy
class AverageMeter:
    def __init__(self): self.val = self.avg = numpy.float64(71.5)
class SumMeter(AverageMeter): pass
class ValueMeter(AverageMeter): pass
class ConfusionMeter:
    def __init__(self): self.conf, self.k = numpy.eye(5, dtype=numpy.int32), 5
""",
}
# Each file of plain values becomes a checkpoint in both formats; the one with a mark creates that file when it is
# unpickled.
MAKE = """
import pathlib, sys, numpy, torch
from toolbox import logger, metrics
class Payload:
    def __init__(self, mark): self.mark = mark
    def __reduce__(self): return open, (self.mark, "w")
for path in map(pathlib.Path, sys.argv[1:]):
    plain = torch.load(path, weights_only=True)
    experiment = logger.Experiment(plain["options"])
    for meter in (metrics.AverageMeter, metrics.SumMeter, metrics.ValueMeter, metrics.ConfusionMeter):
        experiment.meters["val"][meter.__name__] = meter()
    experiment.logged["val"]["mAP"] = {1: numpy.float64(71.5)}
    if plain["mark"]:
        experiment.logged["payload"] = Payload(plain["mark"])
    state = {"epoch": 8, "state_dict": plain["state_dict"], "best_score": numpy.float64(71.5), "best_epoch": 6}
    state |= {"exp_logger": experiment, "res_list": {0: [1, 1]}}
    for name, zipped in (("zip", True), ("old", False)):
        torch.save(state, path.with_suffix(f".{name}.pth.tar"), _use_new_zipfile_serialization=zipped)
"""


def write(folder: Path, files: Mapping[str, dict[str, Any]]) -> None:
    """<name>.zip.pth.tar and <name>.old.pth.tar in `folder` from each name's state_dict, options and mark; saved in
    epoch 7."""
    package = folder / "package"
    (package / "toolbox").mkdir(parents=True)
    for name, text in PACKAGE.items():
        (package / "toolbox" / f"{name}.py").write_text(text)
    (package / "make.py").write_text(MAKE)
    for name, content in files.items():
        torch.save({"options": {}, "mark": None, **content}, folder / name)
    subprocess.run([sys.executable, package / "make.py", *map(folder.joinpath, files)], check=True)


class Cnn(nn.Module):
    """Two convolutions; the batch norm is there and never called."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1, self.conv2 = nn.Conv1d(1, 8, 7), nn.BatchNorm1d(8), nn.Conv1d(8, 32, 7)
        self.fc1 = nn.Linear(576, classes)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in (self.conv1, self.conv2):
            x = F.max_pool1d(convolution(x).relu(), 3)
        return self.fc1(x.flatten(1)).log_softmax(1)


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(before, width, 5, stride, 2), nn.BatchNorm1d(width)
        self.conv2, self.bn2 = nn.Conv1d(width, width, 5, 1, 2), nn.BatchNorm1d(width)
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv1d(before, width, 1, stride, bias=False), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + shortcut).relu()


class Resnet(nn.Module):
    """A stem and four groups of blocks."""

    def __init__(self, classes: int, blocks: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(1, 32, 5, 1, 2, bias=False), nn.BatchNorm1d(32)
        for group, (before, width) in enumerate(zip((32, *widths), widths, strict=False)):
            rest = [Block(width, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{group + 1}", nn.Sequential(Block(before, width, 2 if group else 1), *rest))
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for group in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = group(x)
        return self.fc(F.adaptive_avg_pool1d(x, 1).flatten(1)).log_softmax(1)


class Lstm(nn.Module):
    """A beat as one step of 187 values."""

    def __init__(self, classes: int, layers: int) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(187, 100, layers, batch_first=True), nn.Linear(100, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x)[0][:, -1]).log_softmax(1)


WIDE = (32, 64, 128, 254)
# By the name that each has in this program.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "cnn1d_3": Cnn,
    "resnet1d_10": lambda classes: Resnet(classes, 1, (32,) * 4),
    "resnet1d_18": lambda classes: Resnet(classes, 2, (32,) * 4),
    "resnet1d_v2_10": lambda classes: Resnet(classes, 1, WIDE),
    "resnet1d_v2_18": lambda classes: Resnet(classes, 2, WIDE),
    **{f"lstm_{layers}_flat": lambda classes, layers=layers: Lstm(classes, layers) for layers in (1, 2, 3)},
}


def network(name: str, classes: int = 5) -> nn.Module:
    """The older tool's `name` as after some training: seeded weights, and statistics of beats in every norm that it
    calls."""
    torch.manual_seed(1)
    model = NETWORKS[name](classes)
    model(torch.rand(64, 1, 187))
    return model.eval()
