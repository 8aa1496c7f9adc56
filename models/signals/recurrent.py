"""LSTM and GRU networks over the samples of a beat (Hochreiter & Schmidhuber 1997; Cho et al. 2014)."""

import torch
from torch import Tensor, nn

from loaders.base import DataSpec, last_sample

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """(B, C, T) -> logits (B, K) from the last layer's outputs, averaged over the samples before the zero padding.

    The network is causal: padding cannot reach the outputs before it, so leaving the later outputs out of the mean
    masks the padding without packing. Each row is scaled to unit variance first, because gates hardly react to a
    beat's few tenths of a mV. `flat` feeds the whole row as a single step of C * T values, as some published code does.
    """

    def __init__(self, spec: DataSpec, *, kind: str, layers: int, hidden: int = 100, flat: bool = False) -> None:
        super().__init__()
        self.flat = flat
        self.cells = CELLS[kind](spec.channels * spec.samples if flat else spec.channels, hidden, layers)
        self.head = nn.Linear(hidden, len(spec.classes))
        if not flat:
            start_able_to_remember(self.cells)

    def forward(self, x: Tensor) -> Tensor:
        if self.flat:
            return self.head(self.cells(x.flatten(1).unsqueeze(0))[0][-1])
        inside = torch.arange(x.shape[2], device=x.device)[:, None] <= last_sample(x)  # (T, B)
        weights = inside / inside.sum(0)
        outputs, _ = self.cells(_standardised(x.permute(2, 0, 1), weights))  # (T, B, hidden)
        return self.head(torch.einsum("tbh,tb->bh", outputs, weights))


def start_able_to_remember(cells: nn.RNNBase) -> None:
    """Initial weights for a single input channel; with torch's own the network ignores it for epochs.

    Input weights by fan-in, orthogonal recurrence (Saxe et al. 2014), forget gates open (Jozefowicz et al. 2015).
    """
    hidden = cells.hidden_size
    for name, parameter in cells.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.uniform_(parameter, -(parameter.shape[1] ** -0.5), parameter.shape[1] ** -0.5)
        elif name.startswith("weight_hh"):
            for gate in parameter.data.split(hidden):
                nn.init.orthogonal_(gate)
        elif isinstance(cells, nn.LSTM) and name.startswith("bias_ih"):
            nn.init.ones_(parameter.data[hidden : 2 * hidden])


def _standardised(x: Tensor, weights: Tensor) -> Tensor:
    """x (T, B, C) of mean 0 and variance 1 in each row and channel, over the samples that have `weights` (T, B)."""
    centred = x - torch.einsum("tbc,tb->bc", x, weights)
    variance = torch.einsum("tbc,tb->bc", centred.square(), weights)
    return centred * torch.rsqrt(variance + 1e-5)
