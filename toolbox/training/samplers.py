"""Samplers by name: the order of the training rows in an epoch.

Without a sampler every row is visited once. Samplers draw as many rows with replacement: `equal` gives each class the
same share, `importance` a share in proportion to the dataset's importance of the class; `records` weighs a record's
rows of a class by the root of their number. `--class-balance` uses the first two as weights of the loss. Samplers only
affect training rows.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from toolbox.errors import UsageError
from toolbox.registry import pick

# The target share of each class in an epoch, or in the loss, up to a factor.
BALANCES: dict[str, Callable[[Sequence[float]], Sequence[float]]] = {
    "equal": lambda importance: [1.0] * len(importance),
    "importance": lambda importance: importance,
}


def class_weights(balance: str, labels: Tensor, importance: Sequence[float]) -> Tensor:
    """Weight of each class (K,), 0 without rows, averaging 1 over `labels`: classes (N,) or 0 and 1 (N, K)."""
    counts = (labels.sum(0) if labels.ndim > 1 else torch.bincount(labels, minlength=len(importance))).double()
    share = torch.tensor(pick("class-balance", BALANCES, balance)(importance), dtype=torch.float64)
    weights = torch.where(counts > 0, share / counts.clamp(min=1), 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def _by_class(balance: str, labels: Tensor, importance: Sequence[float], records: NDArray[np.str_]) -> Tensor:
    """The weight of a row's class; the mean of several labels, 1 without a label."""
    weights = class_weights(balance, labels, importance)
    if labels.ndim == 1:
        return weights[labels]
    return torch.where(labels.any(1), labels.float() @ weights / labels.sum(1).clamp(min=1), 1.0)


def _by_record(labels: Tensor, importance: Sequence[float], records: NDArray[np.str_]) -> Tensor:
    """Each class in proportion to its rows; within it each record in proportion to the square root of its own."""
    names, of = np.unique(records, return_inverse=True)
    if names.tolist() == [""]:
        raise UsageError("--sampler records needs rows with record names, this data has none", hint="--sampler equal")
    if labels.ndim > 1:  # rows of the same set of labels are a class
        labels = (
            torch.unique(labels, dim=0, return_inverse=True)[1] if labels.shape[1] else labels.new_zeros(len(labels))
        )
    groups = torch.from_numpy(of) * (int(labels.max()) + 1) + labels
    weights = torch.bincount(groups)[groups].double().rsqrt()
    return weights * (torch.bincount(labels) / torch.bincount(labels, weights))[labels]


# Weights (N,) of rows by their labels (N,) or (N, K), the importance of the classes and the rows' records (N,).
SAMPLERS: dict[str, Callable[[Tensor, Sequence[float], NDArray[np.str_]], Tensor]] = {
    **{name: partial(_by_class, name) for name in BALANCES},
    "records": _by_record,
}


def row_weights(sampler: str, labels: Tensor, importance: Sequence[float], records: NDArray[np.str_]) -> Tensor:
    """The sampling weight of each row (N,), up to a factor. Raises UsageError for `records` without record names."""
    return pick("sampler", SAMPLERS, sampler)(labels, importance, records)


def epoch_order(
    weights: Tensor | None, rows: int, *, seed: int, epoch: int, members: int = 1, batch: int = 1
) -> Tensor:
    """Indices (M * N,) into N rows of these weights, a pure function of the arguments.

    Each of M members has its own order; the first member's order is that of a single network. Each batch of M * `batch`
    rows has `batch` rows of every member, one member after the other.
    """
    generator = Generator().manual_seed(seed * 1_000_003 + epoch)
    orders = torch.stack([_order(weights, rows, generator) for _ in range(members)])  # (M, N)
    return torch.cat([part.flatten() for part in orders.split(batch, 1)])


def _order(weights: Tensor | None, rows: int, generator: Generator) -> Tensor:
    if weights is None:
        return torch.randperm(rows, generator=generator)
    return torch.multinomial(weights, rows, True, generator=generator)
