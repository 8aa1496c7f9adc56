"""A residual network whose every size is a choice, for grids over sizes; nothing stands between a sum and the next
block.

    resnet1d_grid --model-args filters=4-8-16-32-64-128-256,blocks=1-1-1-1-1-1-1,layout=cna,stem=32

He et al., CVPR 2016, in one dimension; `layout` spells a block: c a convolution of 3 samples, n a batch norm, a a ReLU.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from loaders.base import DataSpec
from toolbox.errors import UsageError

STEM_KERNEL, KERNEL = 7, 3


class GridBlock(nn.Module):
    """(B, width_in, T) -> (B, width, T / stride): the path that `layout` spells plus the input, or a bare 1x1
    convolution of it.

    The convolution stands in where stride or width change the shape. The first convolution of the path has the stride.
    """

    def __init__(self, width_in: int, width: int, stride: int, layout: str) -> None:
        super().__init__()
        self.shortcut = (
            nn.Identity() if stride == 1 and width_in == width else nn.Conv1d(width_in, width, 1, stride, bias=False)
        )
        path: list[nn.Module] = []
        for letter in layout:
            if letter == "c":
                path.append(nn.Conv1d(width_in, width, KERNEL, stride, KERNEL // 2, bias=False))
                width_in, stride = width, 1
            else:
                path.append(nn.BatchNorm1d(width_in) if letter == "n" else nn.ReLU())
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
            what = f"{len(filters)} filters and {len(blocks)} blocks, there should be one of each for a group"
            raise UsageError(what, hint="filters=64-128,blocks=2-2")
        if set(layout) - set("cna") or "c" not in layout:
            raise UsageError(
                f"the layout {layout[:40]!r} is not of c, n and a with a c in it", hint="layout=cna or layout=cnacna"
            )
        self.stem = nn.Sequential(
            nn.Conv1d(spec.channels, stem, STEM_KERNEL, 2, STEM_KERNEL // 2, bias=False),
            nn.BatchNorm1d(stem),
            nn.ReLU(),
            nn.MaxPool1d(3, 2, 1),
        )
        groups, width_in = [], stem
        for group, (count, width) in enumerate(zip(blocks, filters, strict=True)):
            for block in range(count):
                groups.append(GridBlock(width_in, width, 2 if group and not block else 1, layout))
                width_in = width
        self.groups = nn.Sequential(*groups)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width_in, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.groups(self.stem(x)).mean(2)))
