"""Residual networks over the samples of a beat or a recording: plain, and with every size a choice.

He et al., CVPR 2016, in one dimension. For grids over sizes:

    resnet1d_grid --model-args filters=4-8-16-32-64-128-256,blocks=1-1-1-1-1-1-1,layout=cna,stem=32
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from loaders.base import DataSpec
from models.blocks import BatchNorm1d, Conv1d, InnerNorm1d, MaxPool1d
from toolbox.errors import UsageError

KERNEL, GRID_KERNEL, GRID_STEM_KERNEL = 5, 3, 7


def _stem(channels: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    conv = Conv1d(channels, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, BatchNorm1d(width), MaxPool1d(3, 2, 1), nn.ReLU())


def in_groups(
    block: Callable[[int, int, int], nn.Module], width_in: int, blocks: Sequence[int], widths: Sequence[int]
) -> nn.Sequential:
    """A group of `block(width_in, width, stride)` for each of `widths`; all but the first halve the time axis."""
    parts = []
    for group, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        for number in range(count):
            parts.append(block(width_in, width, 2 if group and not number else 1))
            width_in = width
    return nn.Sequential(*parts)


class BasicBlock(nn.Module):
    """(B, width_in, T) -> (B, width, T / stride): two convolutions and a shortcut, projected for another shape."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv1d(width_in, width, KERNEL, stride, KERNEL // 2)
        self.norm1 = InnerNorm1d(width)
        self.conv2 = Conv1d(width, width, KERNEL, 1, KERNEL // 2)
        self.norm2 = InnerNorm1d(width)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and width_in == width
            else nn.Sequential(Conv1d(width_in, width, 1, stride, bias=False), InnerNorm1d(width))
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm1(self.conv1(x), rectify=True)
        return self.norm2(self.conv2(out), self.shortcut(x), rectify=True)


class ResNet1d(nn.Module):
    """(B, C, T) -> logits (B, K): stem, a group of basic blocks for each width, mean over time, linear.

    `blocks` and `widths` have one entry a group; every group but the first halves the time axis.
    """

    def __init__(self, spec: DataSpec, *, blocks: Sequence[int], widths: Sequence[int], stem: int = 32) -> None:
        super().__init__()
        self.stem = _stem(spec.channels, stem, KERNEL, 1)
        self.groups = in_groups(BasicBlock, stem, blocks, widths)
        self.head = nn.Linear(widths[-1], len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.groups(self.stem(x)).mean(2))


class GridBlock(nn.Module):
    """(B, width_in, T) -> (B, width, T / stride): the path that `layout` spells plus the input.

    c is a convolution of 3 samples, n a batch norm, a a ReLU; nothing stands between the sum and the next block. A bare
    1x1 convolution takes the input's place where stride or width change the shape. The first convolution of the path
    has the stride.
    """

    def __init__(self, width_in: int, width: int, stride: int, *, layout: str) -> None:
        super().__init__()
        self.shortcut = (
            nn.Identity() if stride == 1 and width_in == width else Conv1d(width_in, width, 1, stride, bias=False)
        )
        path: list[nn.Module] = []
        for letter in layout:
            if letter == "c":
                path.append(Conv1d(width_in, width, GRID_KERNEL, stride, GRID_KERNEL // 2, bias=False))
                width_in, stride = width, 1
            else:
                path.append(BatchNorm1d(width_in) if letter == "n" else nn.ReLU())
        self.path = nn.Sequential(*path)

    def forward(self, x: Tensor) -> Tensor:
        return self.path(x) + self.shortcut(x)


class ResNet1dGrid(nn.Module):
    """(B, C, T) -> logits (B, K): stem, a group of blocks for each of `filters`, mean over time, dropout, linear.

    `filters` and `blocks` have one entry a group; every group but the first halves the time axis. Raises UsageError for
    sizes that do not fit each other, or a layout of other letters or without a convolution.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        filters: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        layout: str = "cnacna",
        stem: int = 64,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if len(filters) != len(blocks):
            what = f"{len(filters)} filters and {len(blocks)} blocks, must be one of each per group"
            raise UsageError(what, hint="filters=64-128,blocks=2-2")
        if set(layout) - set("cna") or "c" not in layout:
            what = f"the layout is {layout[:40]!r}, must be letters c, n and a with at least one c"
            raise UsageError(what, hint="layout=cna or layout=cnacna")
        self.stem = _stem(spec.channels, stem, GRID_STEM_KERNEL, 2)
        self.groups = in_groups(partial(GridBlock, layout=layout), stem, blocks, filters)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(filters[-1], len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.groups(self.stem(x)).mean(2)))
