"""InceptionTime: convolutions of three lengths in parallel, with shortcuts (Ismail Fawaz et al., DMKD 34, 2020)."""

from torch import Tensor, nn

from loaders.base import DataSpec
from models.blocks import BatchNorm1d, Conv1d, Join, MaxPool1d

DEPTH_OF_BLOCK = 3  # modules between two residual connections


class InceptionModule(nn.Module):
    """(B, width_in, T) -> (B, 4 filters, T): a bottleneck into each of `kernels`, and a max-pooled path."""

    def __init__(self, width_in: int, filters: int, kernels: tuple[int, ...], bottleneck: int) -> None:
        super().__init__()
        squeezed = bottleneck if width_in > bottleneck else width_in
        self.squeeze = Conv1d(width_in, squeezed, 1, bias=False) if width_in > bottleneck else nn.Identity()
        self.branches = nn.ModuleList(
            Conv1d(squeezed, filters, kernel, padding=kernel // 2, bias=False) for kernel in kernels
        )
        self.pooled = nn.Sequential(MaxPool1d(3, 1, 1), Conv1d(width_in, filters, 1, bias=False))
        self.join, self.norm = Join(), BatchNorm1d(filters * (len(kernels) + 1))

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.squeeze(x)
        return self.norm(self.join([*(branch(squeezed) for branch in self.branches), self.pooled(x)]), rectify=True)


class Inception1d(nn.Module):
    """(B, C, T) -> logits (B, K): `depth` modules, a shortcut over every third, mean over time, dropout, linear.

    The published network has kernels of 40, 20 and 10 samples, 32 filters and six modules; odd kernels keep the length.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        filters: int = 32,
        depth: int = 6,
        kernels: tuple[int, ...] = (39, 19, 9),
        bottleneck: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width, width_in = filters * (len(kernels) + 1), spec.channels
        self.blocks, self.shortcuts = nn.ModuleList(), nn.ModuleList()
        for first in range(0, depth, DEPTH_OF_BLOCK):
            widths = [width_in] + [width] * (min(DEPTH_OF_BLOCK, depth - first) - 1)
            self.blocks.append(nn.Sequential(*(InceptionModule(each, filters, kernels, bottleneck) for each in widths)))
            self.shortcuts.append(nn.Sequential(Conv1d(width_in, width, 1, bias=False), BatchNorm1d(width)))
            width_in = width
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        for block, shortcut in zip(self.blocks, self.shortcuts, strict=True):
            projection, norm = shortcut.children()
            x = norm(projection(x), block(x), rectify=True)
        return self.head(self.dropout(x.mean(2)))
