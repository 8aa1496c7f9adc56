"""Net1D: stages of bottleneck blocks with convolutions in groups, whose channels are weighed by their means.

Hong et al., KDD 2020 (github.com/hsd1503/resnet1d); stages of grouped convolutions after
Radosavovic et al., CVPR 2020, channel weights ("squeeze and excitation") after Hu et al., CVPR 2018.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec
from models.blocks import BatchNorm1d, Conv1d, Dropout, LeanLayer, MaxPool1d
from toolbox.errors import UsageError

REDUCTION = 2  # of the channels, in the hidden layer of the channel weights


class Padded(LeanLayer):
    """(B, C, T) with zeros before and after the samples, and before and after the channels."""

    def forward(self, x: Tensor, samples: tuple[int, int], channels: tuple[int, int] = (0, 0)) -> Tensor:
        if not any(samples + channels):
            return x
        if not self.is_lean(x):
            return F.pad(x, (*samples, *channels))
        return F.pad(x.transpose(1, 2), (*channels, *samples)).transpose(1, 2)


class SameConv1d(Conv1d):
    """(B, C, T) -> (B, width, ceil(T / stride)): zeros on both sides of the row, an odd one after it."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int, *, groups: int = 1) -> None:
        super().__init__(width_in, width, kernel, stride, groups=groups)
        self.padded = Padded()

    def forward(self, x: Tensor) -> Tensor:
        (kernel,), (stride,), samples = self.kernel_size, self.stride, int(x.shape[2])
        zeros = max(0, (-(-samples // stride) - 1) * stride + kernel - samples)
        return super().forward(self.padded(x, (zeros // 2, zeros - zeros // 2)))


def _before(width: int, norm: bool, dropout: float) -> nn.Sequential:
    """What stands before a convolution."""
    return nn.Sequential(BatchNorm1d(width) if norm else nn.Identity(), nn.SiLU(), Dropout(dropout))


class Net1dBlock(nn.Module):
    """(B, width_in, T) -> (B, width, ceil(T / stride)): convolutions of 1, `kernel` and 1 samples, and the input added.

    The middle one has `inner` channels in `groups`. Batch norm (with `norm`), swish and dropout stand before each,
    except before the first of a network's first block. A hidden layer turns the means over time of the result into the
    weights of its channels. Of the input the largest sample of each stride is added; where channels are wanting, zeros.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        stride: int,
        *,
        inner: int,
        kernel: int,
        groups: int,
        norm: bool,
        dropout: float,
        first: bool,
    ) -> None:
        super().__init__()
        self.before1 = nn.Identity() if first else _before(width_in, norm, dropout)
        self.conv1 = Conv1d(width_in, inner, 1)
        self.before2 = _before(inner, norm, dropout)
        self.conv2 = SameConv1d(inner, inner, kernel, stride, groups=groups)
        self.before3 = _before(inner, norm, dropout)
        self.conv3 = Conv1d(inner, width, 1)
        self.squeeze, self.excite = nn.Linear(width, width // REDUCTION), nn.Linear(width // REDUCTION, width)
        self.padded, self.largest = Padded(), MaxPool1d(stride)
        self.more = (width - width_in) // 2, width - width_in - (width - width_in) // 2  # channels of zeros
        self.zeros = (stride - 1) // 2, stride - 1 - (stride - 1) // 2  # the pool leaves those out that fill no stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.before1(x))
        out = self.conv3(self.before3(self.conv2(self.before2(out))))
        weights = torch.sigmoid(self.excite(F.silu(self.squeeze(out.mean(2)))))
        return out * weights[:, :, None] + self.padded(self.largest(self.padded(x, self.zeros)), (0, 0), self.more)


class Net1d(nn.Module):
    """(B, C, T) -> logits (B, K): a convolution, a stage of blocks for each of `widths`, mean over time, linear.

    The first convolution halves the time axis, the first block of each stage has `stride`. A group of the convolutions
    has `group_width` channels, the middle ones of a block have `ratio` times its width. Sizes and order of the tensors
    are the published ones, for any number of samples; the backbone of ECGFounder (Li et al., NEJM AI 2025;
    github.com/PKUDigitalHealth/ECGFounder) is this network with

        widths=64-160-160-400-400-1024-1024,blocks=2-2-2-3-3-4-4,stem=64,norm=false

    Its weights have the names in brackets here: stem (first_conv.conv), norm (first_bn), stages.I.J
    (stage_list.I.block_list.J) with beforeN.0 (bnN), convN (convN.conv), squeeze (se_fc1), excite (se_fc2), and head
    (dense). The published code keeps batch norms that it does not use: all of them without `norm`, and bn1 of the first
    block; here there are none.

    Raises UsageError for sizes that do not fit each other.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        widths: Sequence[int] = (32, 32, 64, 64, 128),
        blocks: Sequence[int] = (1, 1, 1, 1, 1),
        stem: int = 32,
        ratio: float = 1.0,
        kernel: int = 16,
        stride: int = 2,
        group_width: int = 16,
        norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check(widths, blocks, ratio, group_width)
        self.stem = SameConv1d(spec.channels, stem, kernel, 2)
        self.norm = BatchNorm1d(stem) if norm else nn.Identity()
        self.stages, width_in = nn.Sequential(), stem
        for width, count in zip(widths, blocks, strict=True):
            stage = nn.Sequential()
            for number in range(count):
                block = Net1dBlock(
                    width_in,
                    width,
                    1 if number else stride,
                    inner=int(width * ratio),
                    kernel=kernel,
                    groups=width // group_width,
                    norm=norm,
                    dropout=dropout,
                    first=not len(self.stages) and not number,
                )
                stage.append(block)
                width_in = width
            self.stages.append(stage)
        self.head = nn.Linear(width_in, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(F.silu(self.norm(self.stem(x)))).mean(2))


def _check(widths: Sequence[int], blocks: Sequence[int], ratio: float, group_width: int) -> None:
    """Raise UsageError for another number of blocks than of widths, or channels that make no equal groups."""
    if len(widths) != len(blocks):
        what = f"{len(widths)} widths and {len(blocks)} blocks, must be one of each per stage"
        raise UsageError(what, hint="widths=32-64,blocks=1-2")
    for width in widths:
        groups, inner = width // group_width, int(width * ratio)
        if not groups or not inner or inner % groups or width < REDUCTION:
            what = f"a stage of width {width} and ratio {ratio:g} has {inner} channels for {groups} groups"
            raise UsageError(what, hint=f"widths that are multiples of group_width={group_width}, and a ratio for them")
