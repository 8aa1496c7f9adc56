"""LSTM and GRU networks over the samples of a beat (Hochreiter & Schmidhuber 1997; Cho et al. 2014)."""

import torch
from torch import Tensor, nn

from loaders.base import DataSpec

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """(B, C, T) -> logits (B, K) from the last layer's output at the last sample before the zero padding.

    The network is causal, so that what comes after that sample cannot reach it: reading there masks the padding, without
    packing. `flat` feeds the whole row as a single step of C * T values, as some published code does.
    """

    def __init__(self, spec: DataSpec, *, kind: str, layers: int, hidden: int = 100, flat: bool = False) -> None:
        super().__init__()
        self.flat = flat
        self.cells = CELLS[kind](spec.channels * spec.samples if flat else spec.channels, hidden, layers)
        self.head = nn.Linear(hidden, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        if self.flat:
            return self.head(self.cells(x.flatten(1).unsqueeze(0))[0][-1])
        outputs, _ = self.cells(x.permute(2, 0, 1))  # (T, B, hidden)
        rows = torch.arange(x.shape[0], device=x.device)
        return self.head(outputs[last_sample(x), rows])


def last_sample(x: Tensor) -> Tensor:
    """Index (B,) of the last time sample of x (B, C, T) that is not zero in every channel; 0 for an empty row."""
    time = torch.arange(x.shape[2], device=x.device)
    return ((x != 0).any(1) * time).amax(1)
