"""Records of one length, kept once as whole numbers, out of which batches become float32 on the device.

A `Stack` holds the samples of all records, mapped into memory and so shared by every process; `Stacked` is one side of
a dataset made of it, in place of a `Split`. Ten thousand records of twelve leads are 1.3 GB so, and 2.6 GB as float32.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.files import blocks
from loaders.files.cache import gathered
from loaders.splits import by_row

IN_MEMORY = 2**27  # samples: half a gigabyte of float32


@dataclass(frozen=True, eq=False)
class Stack:
    """Records of the same leads: `samples` (R, C, T) int16, and of each record (R,) its name and a hash of its samples.

    A network gets the `leads`, numbers of channels, in their order, as (sample - zero) * factor; both are (R, leads)
    float32.
    """

    samples: NDArray[np.int16]
    name: NDArray[np.str_]
    content: NDArray[np.str_]
    zero: NDArray[np.float32]
    factor: NDArray[np.float32]
    leads: tuple[int, ...]
    copies: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    def on(self, device: torch.device) -> Tensor:
        """The samples on a device; on the CPU the memory map itself, elsewhere one copy."""
        if device not in self.copies:
            if device.type != "cpu":
                blocks.check(self.samples)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that a map cannot be written to; nobody does
                self.copies[device] = torch.from_numpy(self.samples).to(device)
        return self.copies[device]


@dataclass(frozen=True)
class Stacked:
    """Rows: row i is record `of[i]` of the stack and has the label `y[i]`; `dropped` records of the source could not be
    used."""

    stack: Stack
    of: NDArray[np.int64]
    y: NDArray[np.int64]
    dropped: int = 0
    pooled: ClassVar[bool] = False
    digested: ClassVar[str] = "recorded samples of twelve leads"

    def __len__(self) -> int:
        return len(self.y)

    @property
    def index(self) -> NDArray[np.int64]:
        """The number of each row's record in the stack (N,)."""
        return self.of

    @property
    def record(self) -> NDArray[np.str_]:
        """The name of each row's record (N,)."""
        return self.stack.name[self.of]

    @property
    def x(self) -> NDArray[np.float32]:
        """The samples of each row (N, C, T); where they are many, in a temporary file beside those of the stack."""
        rows, shape = map(self.signal, range(len(self))), (len(self.stack.leads), self.stack.samples.shape[2])
        if len(self) * math.prod(shape) > IN_MEMORY and isinstance(self.stack.samples, np.memmap):
            return gathered(rows, Path(self.stack.samples.filename).parent.parent)
        return np.stack([*rows]) if len(self) else np.empty((0, *shape), np.float32)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many samples each row has (N,)."""
        return np.full(len(self), self.stack.samples.shape[2])

    def signal(self, row: int) -> NDArray[np.float32]:
        """The samples (C, T) of a row."""
        stack, record = self.stack, self.of[row]
        blocks.check(stack.samples, record)
        return (stack.samples[record, stack.leads] - stack.zero[record, :, None]) * stack.factor[record, :, None]

    def rows(self, which: NDArray[np.int64]) -> "Stacked":
        """The rows `which`, in that order; the stack is the same."""
        return replace(self, of=self.of[which], y=self.y[which])

    def batches(self, device: torch.device) -> "StackedBatches":
        """Its rows on a device."""
        return StackedBatches(self, device)

    def shared(self, *others: "Stacked") -> NDArray[np.int64]:
        """Which rows are of a record whose samples are those of a record of one of `others`."""
        there = np.concatenate([other.stack.content[other.of] for other in others])
        return np.flatnonzero(np.isin(self.stack.content[self.of], there))

    @property
    def digests(self) -> NDArray[np.uint64]:
        """Eight bytes (N,) of the digest of each row's record."""
        return by_row.numbered(self.stack.content[self.of])

    def with_sides(self, *others: "Stacked") -> "Stacked":
        """These rows and those of other sides of the same source, each record once."""
        of, first = np.unique(np.concatenate([side.of for side in (self, *others)]), return_index=True)
        return replace(self, of=of, y=np.concatenate([side.y for side in (self, *others)])[first])


class StackedBatches:
    """Rows on a device, as batches of (inputs, y): x (B, C, T) float32 made of the whole numbers as they are asked
    for."""

    def __init__(self, side: Stacked, device: torch.device) -> None:
        self.stack = stack = side.stack
        self.samples = stack.on(device)
        self.of, self.y = torch.tensor(side.of, device=device), torch.tensor(side.y, device=device)
        self.zero, self.factor = torch.tensor(stack.zero, device=device), torch.tensor(stack.factor, device=device)
        self.rows = torch.arange(len(side), device=device)
        everything = stack.leads == tuple(range(stack.samples.shape[1]))
        self.leads = None if everything else torch.tensor(stack.leads, device=device)

    def __len__(self) -> int:
        return len(self.y)

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batches of `size` rows (the last may be shorter) from batch number `start` on; None is the source's order.

        They are the same in every `epoch`.
        """
        order = self.rows if order is None else order
        for begin in range(start * size, len(order), size):
            chosen = order[begin : begin + size]
            yield [self.of_records(self.of[chosen])], self.y[chosen]

    def of_records(self, of: Tensor) -> Tensor:
        """The records `of` (B,) as the network gets them (B, C, T)."""
        if of.device.type == "cpu":
            blocks.check(self.stack.samples, of.numpy())
        x = self.samples.index_select(0, of)
        x = x if self.leads is None else x.index_select(1, self.leads)
        return x.float().sub_(self.zero[of, :, None]).mul_(self.factor[of, :, None])
