"""S4D: diagonal state spaces as convolutions over whole rows (Gu et al., NeurIPS 2022; S4 on ECG after Mehari &
Strodthoff, IEEE JBHI 27, 2023).

A state space of N numbers h turns a signal u into y by h' = A h + u, y = C h + D u. With A diagonal, its samples are a
convolution of u with K[t] = 2 Re sum over N / 2 states of C (exp(dt A) - 1) / A exp(dt A t): the states come in
conjugate pairs, of which one is stored.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec
from toolbox.errors import UsageError
from toolbox.registry import pick

STEPS = (0.001, 0.1)  # initial dt of a channel, in samples
# Imaginary parts of A for N states; the real parts begin at -1/2.
STARTS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "lin": lambda pair, states: math.pi * pair,
    "inv": lambda pair, states: states / math.pi * (states / (2 * pair + 1) - 1),
}


class StateSpace(nn.Module):
    """(B, T, H) -> (B, T, H): each channel passes a state space of its own, with `directions` both ways through time.

    Both directions share A and dt. The one from the end reads the later samples, the one from the start the present and
    earlier ones. Everything is computed in float32, under autocast too: half precision cannot hold a long kernel.
    """

    def __init__(self, width: int, states: int, *, start: str, directions: int) -> None:
        super().__init__()
        pairs = states // 2
        shortest, longest = map(math.log, STEPS)
        frequency = STARTS[start](torch.arange(pairs, dtype=torch.float32), states)
        self.log_step = nn.Parameter(shortest + (longest - shortest) * torch.rand(width))
        self.log_decay = nn.Parameter(torch.full((width, pairs), math.log(0.5)))  # of -Re A
        self.frequency = nn.Parameter(frequency.expand(width, pairs).clone())  # Im A
        self.output = nn.Parameter(math.sqrt(0.5) * torch.randn(directions, width, pairs, 2))  # C
        self.skip = nn.Parameter(torch.randn(width))  # D

    def kernel(self, samples: int) -> Tensor:
        """K (directions, H, samples), in real arithmetic; D is part of the first lag."""
        step = self.log_step.exp()[:, None]
        decay, turn = -self.log_decay.exp(), self.frequency
        grown, angle = step * decay, step * turn
        # exp(dt A) - 1, without the difference of two numbers near 1; ONNX has no expm1.
        real = (grown.exp() + 1) * (grown / 2).tanh() * angle.cos() - 2 * (angle / 2).sin().square()
        imaginary = grown.exp() * angle.sin()
        norm = decay.square() + turn.square()
        real, imaginary = (real * decay + imaginary * turn) / norm, (imaginary * decay - real * turn) / norm  # over A
        c, d = self.output.unbind(3)
        real, imaginary = c * real - d * imaginary, c * imaginary + d * real  # (directions, H, N / 2)
        times = torch.arange(samples, device=step.device, dtype=step.dtype)
        size, angle = (grown[..., None] * times).exp(), angle[..., None] * times  # (H, N / 2, T)
        waves = torch.cat([size * angle.cos(), -size * angle.sin()], 1)
        kernel = 2 * (torch.cat([real, imaginary], 2)[..., None] * waves).sum(2)
        return torch.cat([kernel[:1] + self.skip[:, None] * (times == 0), kernel[1:]])

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.skip.dtype)
            samples = int(x.shape[1])
            return convolved(x, self.kernel(samples))


def convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """x (B, T, H), zero outside, convolved with `kernel` (directions, H, T) of the lags 0, 1, ... and then -1, -2, ...

    By fast Fourier transforms, or, for a traced network (ONNX has none), by sums.
    """
    rows, samples = x.transpose(1, 2), int(x.shape[1])
    if torch.jit.is_tracing():
        lags = torch.cat([kernel[0].flip(1), *kernel[1:]], 1)[:, None]  # T - 1 to 0, and on to -T
        padded = F.pad(rows, (samples - 1, samples * (len(kernel) - 1)))
        return F.conv1d(padded, lags, groups=len(lags)).transpose(1, 2)
    length = fast_length(2 * samples)
    whole = F.pad(kernel[0], (0, length - samples))
    for other in kernel[1:]:  # lag -1 is the last: a transform is periodic
        whole = whole + F.pad(other.flip(1), (length - samples, 0))
    spectrum = torch.fft.rfft(rows, length) * torch.fft.rfft(whole)
    return torch.fft.irfft(spectrum, length)[..., :samples].transpose(1, 2)


def fast_length(samples: int) -> int:
    """`samples` or up to a quarter more: 4 to 8 times a power of two, whose transform takes half the time of others."""
    step = 2 ** max(0, samples.bit_length() - 3)
    return -(-samples // step) * step


class S4DLayer(nn.Module):
    """(B, T, H) -> (B, T, H): a state space, GELU, a gated linear layer, and the input added; layer norm first or last.

    Dropout takes whole channels of a row.
    """

    def __init__(self, width: int, states: int, *, start: str, directions: int, dropout: float, prenorm: bool) -> None:
        super().__init__()
        self.prenorm = prenorm
        self.space = StateSpace(width, states, start=start, directions=directions)
        self.mix = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout1d(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        out = F.gelu(self.space(self.norm(x) if self.prenorm else x))
        out = x + self._dropped(F.glu(self.mix(self._dropped(out)), 2))
        return out if self.prenorm else self.norm(out)

    def _dropped(self, x: Tensor) -> Tensor:
        return self.dropout(x.transpose(1, 2)).transpose(1, 2)


class S4D(nn.Module):
    """(B, C, T) -> logits (B, K): samples embedded, layers of state spaces, mean over time, linear.

    It takes rows of any length, and its time is in samples: a network for another rate is another network. Published
    for PTB-XL at 100 Hz and rows of 2.5 s (250 samples): four layers of width 512 with 8 states, in both directions,
    norm last and dropout 0.2, AdamW with a rate of 0.001 for all parameters. That network has states with a low-rank
    term (S4); those here are diagonal, which Gu et al. find as good. `start` is that of A: lin (A = -1/2 + i pi n) or
    inv (A = -1/2 + i N / pi (N / (2 n + 1) - 1)).

    Raises UsageError for an odd number of states, or an unknown start.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        width: int = 64,
        layers: int = 4,
        states: int = 8,
        start: str = "lin",
        both_ways: bool = True,
        prenorm: bool = False,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if states % 2:
            raise UsageError(f"the number of states is {states}, must be even: they come in pairs", hint="states=8")
        pick("model-args start", STARTS, start)
        self.embedding = nn.Linear(spec.channels, width)
        self.layers = nn.Sequential(
            *(
                S4DLayer(width, states, start=start, directions=1 + both_ways, dropout=dropout, prenorm=prenorm)
                for _ in range(layers)
            )
        )
        self.head = nn.Linear(width, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(x.transpose(1, 2))).mean(1))
