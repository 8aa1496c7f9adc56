"""Residual networks with a stem of three convolutions and averages in the shortcuts: xresnet1d, small and published.

He et al., CVPR 2019, in one dimension, after Strodthoff et al., IEEE JBHI 25(5), 2021, the benchmark of PTB-XL.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec
from models.blocks import AvgPool1d, BatchNorm1d, Conv1d, MaxPool1d, RowNorm
from models.signals.resnet1d import in_groups
from toolbox.errors import UsageError

STEM = (32, 32, 64)  # channels of the published stem


def _conv(width_in: int, width: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [Conv1d(width_in, width, kernel, stride, kernel // 2, bias=False), BatchNorm1d(width)]


def _stem(channels: int, widths: Sequence[int], kernel: int) -> list[nn.Module]:
    """A convolution, batch norm and ReLU for each of `widths`; the first convolution halves the time axis."""
    parts: list[nn.Module] = []
    for number, width in enumerate(widths):
        parts += [*_conv(channels, width, kernel, 1 if number else 2), nn.ReLU()]
        channels = width
    return parts


class XBlock(nn.Module):
    """(B, width_in, T) -> (B, width, T / stride); the shortcut averages before it is projected.

    The path has two convolutions of `kernel` samples. With an `expansion` above 1 it is a bottleneck: one convolution
    of `kernel` samples, which has the stride, with `width / expansion` channels between two of one sample.
    """

    def __init__(self, width_in: int, width: int, stride: int, *, kernel: int, expansion: int = 1) -> None:
        super().__init__()
        inner = width // expansion
        steps = [(width_in, inner, kernel, stride), (inner, width, kernel, 1)]
        if expansion > 1:
            steps = [(width_in, inner, 1, 1), (inner, inner, kernel, stride), (inner, width, 1, 1)]
        path = [part for step in steps for part in (*_conv(*step), nn.ReLU())]
        self.path = nn.Sequential(*path[:-1])  # the last ReLU is that of the sum
        average = [AvgPool1d(2, ceil_mode=True, count_include_pad=False)] if stride > 1 else []
        self.shortcut = nn.Sequential(*average, *(_conv(width_in, width, 1) if width_in != width else []))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.path(x) + self.shortcut(x))


class XResNet1d(nn.Module):
    """(B, C, T) -> logits (B, K): a stem of three convolutions, groups of blocks, mean and maximum over time, linear.

    Every group but the first halves the time axis.
    """

    def __init__(
        self, spec: DataSpec, *, blocks: Sequence[int], widths: Sequence[int], kernel: int = 5, dropout: float = 0.0
    ) -> None:
        super().__init__()
        stem = widths[0]
        self.stem = nn.Sequential(*_stem(spec.channels, (stem // 2, stem // 2, stem), kernel))
        self.groups = in_groups(partial(XBlock, kernel=kernel), stem, blocks, widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * widths[-1], len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.stem(x))
        return self.head(self.dropout(torch.cat([x.mean(2), x.amax(2)], 1)))


class DeepXResNet1d(nn.Module):
    """(B, C, T) -> logits (B, K): the networks of the PTB-XL benchmark, for rows of any length.

    A stem of three convolutions and a max-pool, groups of bottleneck blocks, maximum and mean over time, and a head of
    two linear layers, each after batch norm and dropout (half of `dropout` before the first). Every group but the first
    halves the time axis. Sizes, order of the tensors and initial weights are those of
    `code/models/xresnet1d.py` in helme/ecg_ptbxl_benchmarking with the settings of its configurations (kernels of 5
    samples, `hidden` 128, `dropout` 0.5): all four groups have 64 x 4 channels, whereas those of the network for
    pictures widen. The benchmark sets the last batch norm of each block to 0 when it builds the network and to 1 before
    it trains it, so it is 1 here. Only names of parameters differ.

    Raises UsageError for a number of widths that differs from that of blocks.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        blocks: Sequence[int] = (3, 4, 23, 3),
        widths: Sequence[int] = (64, 64, 64, 64),
        expansion: int = 4,
        kernel: int = 5,
        hidden: int = 128,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks):
            what = f"{len(widths)} widths and {len(blocks)} blocks, must be one of each per group"
            raise UsageError(what, hint="widths=64-64,blocks=3-4")
        wide = [expansion * width for width in widths]
        self.stem = nn.Sequential(*_stem(spec.channels, STEM, kernel), MaxPool1d(3, 2, 1))
        self.groups = in_groups(partial(XBlock, kernel=kernel, expansion=expansion), STEM[-1], blocks, wide)
        self.head = nn.Sequential(
            RowNorm(2 * wide[-1]),
            nn.Dropout(dropout / 2),
            nn.Linear(2 * wide[-1], hidden),
            nn.ReLU(),
            RowNorm(hidden),
            nn.Dropout(dropout),
            nn.Linear(hidden, len(spec.classes)),
        )
        for part in self.modules():
            if isinstance(part, nn.Conv1d | nn.Linear):
                nn.init.kaiming_normal_(part.weight)
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.stem(x))
        return self.head(torch.cat([x.amax(2), x.mean(2)], 1))
