"""A name becomes the order in which the rows of the training set are drawn in an epoch.

Without a name every row is visited once. `equal` and `importance` draw as many rows, with replacement, so that the classes appear
equally often, or in proportion to the importance the dataset gives them. The same shares as weights of the loss are
`--class-balance`. Neither ever touches validation or test data.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from toolbox.registry import pick

# The share of an epoch, or of the loss, that each class is to have, up to a factor.
BALANCES: dict[str, Callable[[Sequence[float]], Sequence[float]]] = {
    "equal": lambda importance: [1.0] * len(importance),
    "importance": lambda importance: importance,
}


def class_weights(balance: str, labels: Tensor, importance: Sequence[float]) -> Tensor:
    """Weight of each class (K,), averaging 1 over the rows of `labels` (N,); 0 for a class that has no rows."""
    counts = torch.bincount(labels, minlength=len(importance)).double()
    share = torch.tensor(pick("class-balance", BALANCES, balance)(importance), dtype=torch.float64)
    weights = torch.where(counts > 0, share / counts.clamp(min=1), 0.0)
    return (weights * len(labels) / (weights * counts).sum()).float()


def epoch_order(
    sampler: str | None, labels: Tensor, importance: Sequence[float], *, seed: int, epoch: int, members: int = 1, batch: int = 1
) -> Tensor:
    """Indices (M * N,) into the rows of `labels`, a pure function of its arguments: a resumed epoch has the same order.

    Of several members each has an order of its own, that of the first being that of one network alone; each batch of M * `batch`
    rows has `batch` rows of every member, one member after the other.
    """
    generator = Generator().manual_seed(seed * 1_000_003 + epoch)
    orders = torch.stack([_order(sampler, labels, importance, generator) for _ in range(members)])  # (M, N)
    return torch.cat([rows.flatten() for rows in orders.split(batch, 1)])


def _order(sampler: str | None, labels: Tensor, importance: Sequence[float], generator: Generator) -> Tensor:
    if sampler is None:
        return torch.randperm(len(labels), generator=generator)
    return torch.multinomial(class_weights(sampler, labels, importance)[labels], len(labels), True, generator=generator)
