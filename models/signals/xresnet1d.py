"""Residual networks with a stem of three convolutions, shortcuts that average, and two poolings at the end.

He et al., CVPR 2019; in one dimension Strodthoff et al., IEEE JBHI 25(5), 2021.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec


def _conv(width_in: int, width: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv1d(width_in, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm1d(width)]


class XBlock(nn.Module):
    """(B, width_in, T) -> (B, width, T / stride); the shortcut averages before it is projected."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(*_conv(width_in, width, kernel, stride), nn.ReLU(), *_conv(width, width, kernel))
        average = [nn.AvgPool1d(2, ceil_mode=True, count_include_pad=False)] if stride > 1 else []
        self.shortcut = nn.Sequential(*average, *(_conv(width_in, width, 1) if width_in != width else []))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.path(x) + self.shortcut(x))


class XResNet1d(nn.Module):
    """(B, C, T) -> logits (B, K): stem, a group of blocks for each width, mean and maximum over time side by side,
    linear.

    Every group but the first halves the time axis.
    """

    def __init__(
        self, spec: DataSpec, *, blocks: Sequence[int], widths: Sequence[int], kernel: int = 5, dropout: float = 0.0
    ) -> None:
        super().__init__()
        stem = widths[0]
        layers = [
            *_conv(spec.channels, stem // 2, kernel, 2),
            nn.ReLU(),
            *_conv(stem // 2, stem // 2, kernel),
            nn.ReLU(),
        ]
        self.stem = nn.Sequential(*layers, *_conv(stem // 2, stem, kernel), nn.ReLU())
        groups, width_in = [], stem
        for group, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            for block in range(count):
                groups.append(XBlock(width_in, width, kernel, stride=2 if group and not block else 1))
                width_in = width
        self.groups = nn.Sequential(*groups)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width_in, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.stem(x))
        return self.head(self.dropout(torch.cat([x.mean(2), x.amax(2)], 1)))
