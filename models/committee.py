"""Networks alike that are trained apart and speak as one, which steadies what few patients' beats can teach.

Numbers beside the samples, such as RR intervals, enter every network in one way: where its head reads what it made
of them.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Committee(nn.Module):
    """Inputs (B, ...) -> logits (B, K): the log of the members' mean probabilities (deep ensembles, arXiv 1612.01474).

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


WIDTH = 32  # of what the numbers become before they meet the samples'


class RowNorm(nn.BatchNorm1d):
    """Numbers (B, F) to mean 0 and variance 1; one row alone, which has no variance, by those that were seen before."""

    def forward(self, numbers: Tensor) -> Tensor:
        if len(numbers) > 1:
            return super().forward(numbers)
        return F.batch_norm(numbers, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Fused(nn.Module):
    """(B, C, T) and features (B, F) -> logits (B, K): `network` without its head beside the features, into a new head.

    The features are brought to mean 0 and variance 1 as seen in training, and pass a hidden layer of their own. What
    the network is after is changed: its `head` no longer exists.
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
