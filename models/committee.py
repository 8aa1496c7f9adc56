"""A committee: several equal networks, trained separately, with averaged probabilities.

Features of a row, such as RR intervals, enter every network in the same way, at its head.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.blocks import RowNorm

CITES = ("lakshminarayanan2017",)


class Committee(nn.Module):
    """Inputs (B, ...) -> logits (B, K): the log of the members' mean probabilities (deep ensembles, arXiv 1612.01474).

    In training each row of a batch goes to one member, and only that member learns from it. `samplers.epoch_order`
    builds the batches: each member gets every row once an epoch, in its own order, as if it were trained alone. Members
    differ in that order and in their initial weights. With `many_labels` each class has a probability of its own, and
    the outputs are the logits of the means.
    """

    def __init__(self, members: Iterable[nn.Module], *, many_labels: bool = False) -> None:
        super().__init__()
        self.members, self.many_labels = nn.ModuleList(members), many_labels

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.training:
            hands = min(len(self.members), len(inputs[0]))
            dealt = zip(*(each.tensor_split(hands) for each in inputs), strict=True)
            return torch.cat([member(*rows) for member, rows in zip(self.members, dealt, strict=False)])
        if self.many_labels:
            logits = torch.stack([member(*inputs) for member in self.members])
            return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)
        voices = torch.stack([member(*inputs).log_softmax(1) for member in self.members])
        return voices.logsumexp(0) - math.log(len(self.members))


WIDTH = 32  # of the features' hidden layer


class Fused(nn.Module):
    """(B, C, T) and features (B, F) -> logits (B, K): outputs of `network` without its head and features, a new head.

    The features are normalised by training statistics and pass a hidden layer. The network loses its own `head`.
    """

    def __init__(self, network: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        width = next(
            part for part in network.get_submodule("head").modules() if isinstance(part, nn.Linear)
        ).in_features
        network.head = nn.Identity()
        self.network = network
        self.features = nn.Sequential(RowNorm(features), nn.Linear(features, WIDTH), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(width + WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        return self.head(torch.cat([self.network(x), self.features(features)], 1))
