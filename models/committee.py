"""Networks alike that are trained apart and speak as one, which steadies what few patients' beats can teach."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Committee(nn.Module):
    """Inputs (B, ...) -> logits (B, K): the logarithm of the members' mean probabilities (deep ensembles, arXiv
    1612.01474).

    In training a batch is dealt out: each row goes to one member, which alone learns from it, so that the loss of a
    step is that of every member by itself. Batches are made for that (`samplers.epoch_order`): each member gets every
    row once an epoch, in an order of its own, as if it were trained alone. Members differ in that order and in their
    first weights.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.training:
            hands = min(len(self.members), len(inputs[0]))
            dealt = zip(*(each.tensor_split(hands) for each in inputs), strict=True)
            return torch.cat([member(*rows) for member, rows in zip(self.members, dealt, strict=False)])
        voices = torch.stack([member(*inputs).log_softmax(1) for member in self.members])
        return voices.logsumexp(0) - math.log(len(self.members))
