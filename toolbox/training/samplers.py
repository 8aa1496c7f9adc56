"""A name becomes the order in which the rows of the training set are drawn in an epoch.

Without a name every row is visited once. The others draw as many rows, with replacement: `equal` and `importance` so
that the classes appear equally often, or in proportion to the importance the dataset gives them; `records` so that a
record's rows of a class count by the root of their number. The first two as weights of the loss are `--class-balance`.
None ever touches validation or test data.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from toolbox.errors import UsageError
from toolbox.registry import pick

# The share of an epoch, or of the loss, that each class is to have, up to a factor.
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
    """The weight of a row's class, of several labels their mean, and 1 of none."""
    weights = class_weights(balance, labels, importance)
    if labels.ndim == 1:
        return weights[labels]
    return torch.where(labels.any(1), labels.float() @ weights / labels.sum(1).clamp(min=1), 1.0)


def _by_record(labels: Tensor, importance: Sequence[float], records: NDArray[np.str_]) -> Tensor:
    """Each class in proportion to its rows; within it each record in proportion to the square root of its own."""
    names, of = np.unique(records, return_inverse=True)
    if names.tolist() == [""]:
        raise UsageError("--sampler records: these rows do not say which record they are of", hint="--sampler equal")
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
    """How often each row (N,) is drawn, up to a factor. Raises UsageError where records are asked for and not known."""
    return pick("sampler", SAMPLERS, sampler)(labels, importance, records)


def epoch_order(
    weights: Tensor | None, rows: int, *, seed: int, epoch: int, members: int = 1, batch: int = 1
) -> Tensor:
    """Indices (M * N,) into N rows of these weights, a pure function of its arguments.

    Of several members each has an order of its own, that of the first being that of one network alone; each batch of M
    * `batch` rows has `batch` rows of every member, one member after the other.
    """
    generator = Generator().manual_seed(seed * 1_000_003 + epoch)
    orders = torch.stack([_order(weights, rows, generator) for _ in range(members)])  # (M, N)
    return torch.cat([part.flatten() for part in orders.split(batch, 1)])


def _order(weights: Tensor | None, rows: int, generator: Generator) -> Tensor:
    if weights is None:
        return torch.randperm(rows, generator=generator)
    return torch.multinomial(weights, rows, True, generator=generator)
