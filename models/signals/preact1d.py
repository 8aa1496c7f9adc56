"""A residual network with normalisation first, for strips: few blocks, and a head that reads extremes.

He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, in one dimension. The head reads the mean and the
maximum over time: an early beat is one moment of half a minute.

    preact1d --model-args widths=32-48-72,kernel=9,dropout=0.1
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from loaders.base import DataSpec
from models.blocks import AvgPool1d, BatchNorm1d, Conv1d, Dropout
from toolbox.errors import UsageError

STEM_KERNEL = 15


class PreactBlock(nn.Module):
    """(B, width_in, T) -> (B, width, T / stride): twice batch norm, ReLU and a convolution, plus the averaged input."""

    def __init__(self, width_in: int, width: int, stride: int, *, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = BatchNorm1d(width_in), BatchNorm1d(width)
        self.conv1 = Conv1d(width_in, width, kernel, stride, kernel // 2, bias=False)
        self.conv2 = Conv1d(width, width, kernel, 1, kernel // 2, bias=False)
        self.dropout = Dropout(dropout)
        halve = [AvgPool1d(stride, stride, ceil_mode=True)] if stride > 1 else []
        project = [Conv1d(width_in, width, 1, bias=False)] if width_in != width else []
        self.shortcut = nn.Sequential(*halve, *project)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.norm1(x, rectify=True))
        return self.conv2(self.dropout(self.norm2(out, rectify=True))) + self.shortcut(x)


class Preact1d(nn.Module):
    """(B, C, T) -> logits (B, K): stem, a block for each of `widths`, mean and maximum over time, dropout, linear.

    Stem and every block but the first halve the time axis. Raises UsageError for an even `kernel`, which would shift
    the time axis.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        widths: Sequence[int] = (32, 48, 72, 112, 160, 240),
        kernel: int = 7,
        dropout: float = 0.2,
        head_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UsageError(f"the kernel has {kernel} samples, must be an odd number", hint=f"kernel={kernel + 1}")
        self.stem = Conv1d(spec.channels, widths[0], STEM_KERNEL, 2, STEM_KERNEL // 2, bias=False)
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.blocks = nn.Sequential(
            *(
                PreactBlock(width_in, width, 2 if number else 1, kernel=kernel, dropout=dropout)
                for number, (width_in, width) in enumerate(pairs)
            )
        )
        self.norm = BatchNorm1d(widths[-1])
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(2 * widths[-1], len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.blocks(self.stem(x)), rectify=True)
        return self.head(self.dropout(torch.cat([out.mean(2), out.amax(2)], 1)))
