"""Layers of the networks for signals, as fast as a CPU computes them; parameters and their names are torch's.

torch keeps (B, C, T) with the samples of a channel side by side. Its CPU kernels, oneDNN's too, are up to three times
as fast on (B, C, 1, T) with the channels of a sample side by side ("channels last"). In the form `lean` the layers
compute in that layout on a CPU and return (B, C, T) as a view of it, so that networks read as before and no layer
copies. The form `plain`, other devices, other types of numbers and traced networks (ONNX) take torch's own path.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import LEAN

NUMBERS = (torch.float32, torch.bfloat16)
CHANNELS_LAST = partial(torch.Tensor.contiguous, memory_format=torch.channels_last)


class LeanLayer(nn.Module):
    """A layer with two forms, which differ by rounding; `set_form` chooses."""

    form = LEAN

    def is_lean(self, x: Tensor) -> bool:
        """Whether the layer computes these rows (B, C, T) with the channels side by side."""
        fits = self.form == LEAN and x.dim() == 3 and x.device.type == "cpu" and x.dtype in NUMBERS
        return fits and not torch.jit.is_tracing()


class Conv1d(nn.Conv1d, LeanLayer):
    """torch's Conv1d; with a kernel of one sample and no stride it is a matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_lean(x) or self.padding_mode != "zeros" or isinstance(self.padding, str):
            return super().forward(x)
        if self.kernel_size == self.stride == (1,) and self.padding == (0,) and self.groups == 1:
            return F.linear(x.transpose(1, 2), self.weight.squeeze(2), self.bias).transpose(1, 2)
        weight, stride, padding = self.weight.unsqueeze(2), (1, *self.stride), (0, *self.padding)
        return F.conv2d(_wide(x), weight, self.bias, stride, padding, (1, *self.dilation), self.groups).squeeze(2)


class BatchNorm1d(nn.BatchNorm1d, LeanLayer):
    """torch's BatchNorm1d; `plus` is added to its result and `rectify` applies ReLU to the sum, both in place.

    torch's own kernel over channels last sums all B x T values of a channel in float32: the variance of 2^15 values is
    off by a relative 6e-6, that of 2^18 by 1e-4, and the mean by 1e-4 standard deviations where it is 30 of them. So a
    lean layer in training has sums of its own, which cost up to a quarter more.
    """

    of_torch = 0  # most values of a channel that torch's kernel sums

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4:
            super()._check_input_dim(input)

    def forward(self, x: Tensor, plus: Tensor | None = None, *, rectify: bool = False) -> Tensor:
        if not self.is_lean(x):
            out = super().forward(x)
            out = out if plus is None else out + plus
            return F.relu(out) if rectify else out
        exact = self.training and self.affine and self.momentum is not None and x.dtype == torch.float32
        exact = exact and x.numel() > self.of_torch * x.shape[1]
        out = self._exact(_wide(x)) if exact else super().forward(_wide(x))
        if plus is not None:
            out += _wide(plus)
        return (F.relu_(out) if rectify else out).squeeze(2)

    def _exact(self, x: Tensor) -> Tensor:
        """The rows (B, C, 1, T) in training, by sums over B values for each sample; moves the running statistics."""
        rows, channels, _, samples = x.shape
        row, count = channels * samples, rows * samples
        if count == 1:
            raise ValueError(f"expected more than 1 value per channel when training, got {(*x.shape,)}")
        with torch.no_grad():
            folded = x.as_strided((1, row, 1, rows), (row * rows, 1, row * rows, row))
            means, variances = torch.batch_norm_update_stats(folded, None, None, 0.0)
            means, variances = means.view(samples, channels), variances.view(samples, channels)
            mean = means.mean(0)
            apart = means - mean
            variance = torch.addcmul(variances, apart, apart).mean(0)
            if self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None:
                self.num_batches_tracked.add_(1)
                self.running_mean.lerp_(mean, self.momentum or 0.0)
                self.running_var.lerp_(variance * (count / (count - 1)), self.momentum or 0.0)
        return _Normalised.apply(x, self.weight, self.bias, mean, variance, self.eps)


class InnerNorm1d(BatchNorm1d):
    """A batch norm of features, whose means are small."""

    of_torch = 2**15


class _Normalised(torch.autograd.Function):
    """Batch norm of (B, C, 1, T) by the mean and variance (C,) of the batch, computed before, with its gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.eps = eps
        return torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        backward = torch.ops.aten.native_batch_norm_backward
        found = backward(gradient, x, weight, None, None, mean, scale, True, ctx.eps, [True] * 3)
        return *found, None, None, None


class RowNorm(nn.BatchNorm1d):
    """Features (B, F) to mean 0 and variance 1; a single row, which has no variance, by the running statistics."""

    def forward(self, numbers: Tensor) -> Tensor:
        if len(numbers) > 1:
            return super().forward(numbers)
        return F.batch_norm(numbers, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class MaxPool1d(nn.MaxPool1d, LeanLayer):
    """torch's MaxPool1d."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_lean(x) or self.return_indices:
            return super().forward(x)
        kernel, stride, padding, dilation = _sizes(self.kernel_size, self.stride, self.padding, self.dilation)
        how = (1, kernel), (1, stride), (0, padding), (1, dilation), self.ceil_mode
        out = F.max_pool2d(_wide(x), *how)
        if out.requires_grad:  # torch computes in the layout of the gradient, and copies all else to it
            out.register_hook(CHANNELS_LAST)
        return out.squeeze(2)


class AvgPool1d(nn.AvgPool1d, LeanLayer):
    """torch's AvgPool1d."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_lean(x):
            return super().forward(x)
        kernel, stride, padding = _sizes(self.kernel_size, self.stride, self.padding)
        how = (1, kernel), (1, stride), (0, padding), self.ceil_mode, self.count_include_pad
        return F.avg_pool2d(_wide(x), *how).squeeze(2)


class Dropout(nn.Dropout, LeanLayer):
    """torch's Dropout; its mask comes from random bits, 16 a value, so that the probability is within 1e-5 of `p`."""

    def forward(self, x: Tensor) -> Tensor:
        zeroed = round(self.p * 2**16)
        if not (self.training and self.is_lean(x) and 0 < zeroed < 2**16):
            return super().forward(x)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = torch.ge(bits, zeroed - 2**15, out=torch.empty_like(x, requires_grad=False))  # numbers; bools are slower
        return x * kept.mul_(2**16 / (2**16 - zeroed))


class Join(LeanLayer):
    """The channels of several (B, C, T), one after the other."""

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        if not self.is_lean(parts[0]):
            return torch.cat([*parts], 1)
        return torch.cat([part.transpose(1, 2) for part in parts], 2).transpose(1, 2)


def set_form(network: nn.Module, form: str) -> None:
    """Give every `LeanLayer` of the network the form `plain` or `lean`."""
    for part in network.modules():
        if isinstance(part, LeanLayer):
            part.form = form


def _sizes(*sizes: int | tuple[int, ...]) -> list[int]:
    """Sizes of one axis, which torch keeps as numbers or as tuples of one."""
    return [size[0] if isinstance(size, tuple) else size for size in sizes]


def _wide(x: Tensor) -> Tensor:
    """(B, C, T) as (B, C, 1, T) with the channels side by side; copies if they are not."""
    rows, channels, samples = x.shape
    if channels == 1 and x.is_contiguous():  # any strides fit one channel; torch reads these as channels last
        return x.as_strided((rows, 1, 1, samples), (samples, 1, samples, 1))
    return CHANNELS_LAST(x.unsqueeze(2))
