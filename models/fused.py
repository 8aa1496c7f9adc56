"""Numbers beside the samples, such as RR intervals, enter every network in one way: where its head reads what it made
of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 32  # of what the numbers become before they meet the samples'


class RowNorm(nn.BatchNorm1d):
    """Numbers (B, F) to mean 0 and variance 1; one row alone, which has no variance, by those that were seen before."""

    def forward(self, numbers: Tensor) -> Tensor:
        if len(numbers) > 1:
            return super().forward(numbers)
        return F.batch_norm(numbers, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Fused(nn.Module):
    """(B, C, T) and features (B, F) -> logits (B, K): `network` without its head, beside the features, into one new
    head.

    The features are brought to mean 0 and variance 1 as seen in training, and pass a hidden layer of their own. What
    the network is after is changed: its `head` no longer exists.
    """

    def __init__(self, network: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        width = next(part for part in network.head.modules() if isinstance(part, nn.Linear)).in_features
        network.head = nn.Identity()
        self.network = network
        self.features = nn.Sequential(RowNorm(features), nn.Linear(features, WIDTH), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(width + WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        return self.head(torch.cat([self.network(x), self.features(features)], 1))
