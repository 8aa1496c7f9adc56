"""Residual networks over the samples of a beat or a recording (He et al., CVPR 2016, in one dimension)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec

KERNEL = 5


class BasicBlock(nn.Module):
    """(B, width_in, T) -> (B, width, T / stride): two convolutions and a shortcut, projected where the shape
    changes."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width_in, width, KERNEL, stride, KERNEL // 2)
        self.norm1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, KERNEL, 1, KERNEL // 2)
        self.norm2 = nn.BatchNorm1d(width)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and width_in == width
            else nn.Sequential(nn.Conv1d(width_in, width, 1, stride, bias=False), nn.BatchNorm1d(width))
        )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class ResNet1d(nn.Module):
    """(B, C, T) -> logits (B, K): stem, a group of basic blocks for each width, mean over time, linear.

    `blocks` and `widths` have one entry a group; every group but the first halves the time axis.
    """

    def __init__(self, spec: DataSpec, *, blocks: Sequence[int], widths: Sequence[int], stem: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(spec.channels, stem, KERNEL, padding=KERNEL // 2, bias=False),
            nn.BatchNorm1d(stem),
            nn.ReLU(),
            nn.MaxPool1d(3, 2, 1),
        )
        groups, width_in = [], stem
        for group, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            for block in range(count):
                groups.append(BasicBlock(width_in, width, stride=2 if group and not block else 1))
                width_in = width
        self.groups = nn.Sequential(*groups)
        self.head = nn.Linear(width_in, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.groups(self.stem(x)).mean(2))
