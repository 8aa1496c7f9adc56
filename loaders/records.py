"""Records of one length, kept once as whole numbers, out of which batches become float32 on the device.

A `Stack` holds the samples of all records, mapped into memory and so shared by every process; `Stacked` is one side of
a dataset made of it, in place of a `Split`. Ten thousand records of twelve leads are 1.3 GB so, and 2.6 GB as float32.

Records of unequal length, kept once as whole numbers, out of which rows are cut on the device as they are asked for.

A `Store` holds the samples of all records one after the other, mapped into memory and so shared by every process;
`Crops` is one side of a dataset made of it, in place of a `Split`. In training a row is a crop that starts anywhere in
its record; its chance comes from (seed, epoch, step) alone, so that nothing is stored to go on exactly. Without an
order, as in validation and test, nothing is random: windows lie over each record from its first sample to its last.
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

from loaders.augment.signals import Chance
from loaders.files import cache
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
                cache.check(self.samples)
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
        cache.check(stack.samples, record)
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
            cache.check(self.stack.samples, of.numpy())
        x = self.samples.index_select(0, of)
        x = x if self.leads is None else x.index_select(1, self.leads)
        return x.float().sub_(self.zero[of, :, None]).mul_(self.factor[of, :, None])


OWN = 1  # after (seed, epoch, step): these numbers are not those of the augmentations
FASTEST, SLOWEST = 2.0, 0.5  # bounds of a resampling, as factors of the rate
SHOWN = 512  # crops cut at a time where all are asked for


@dataclass(frozen=True, eq=False)
class Store:
    """Records of one lead: `flat` (S,) int16, and of each record (R,) the first sample and how many, and a hash of
    them.

    Samples enter a network as (flat - zero) * factor, with `zero` and `factor` (R,) of the record.
    """

    flat: NDArray[np.int16]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    name: NDArray[np.str_]
    content: NDArray[np.str_]
    zero: NDArray[np.float32]
    factor: NDArray[np.float32]
    copies: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    def on(self, device: torch.device) -> Tensor:
        """The samples on a device; on the CPU the memory map itself, elsewhere one copy."""
        if device not in self.copies:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that a map cannot be written to; nobody does
                self.copies[device] = torch.from_numpy(self.flat).to(device)
        return self.copies[device]


@dataclass(frozen=True)
class Crops:
    """Rows of `samples` samples: row i is cut out of record `of[i]` of the store and has the label `y[i]`.

    A record may stand in `of` several times, which is how often it is cropped in an epoch. `spread` is the standard
    deviation of the factor by which a training crop's rate is changed, 0 for none.
    """

    store: Store
    of: NDArray[np.int64]
    y: NDArray[np.int64]
    samples: int
    seed: int = 0
    spread: float = 0.0
    pooled: ClassVar[bool] = True
    dropped: ClassVar[int] = 0
    digested: ClassVar[str] = "recorded samples of whole strips"

    def __len__(self) -> int:
        return len(self.y)

    @property
    def index(self) -> NDArray[np.int64]:
        """The number of each row's record in the source (N,)."""
        return self.of

    @property
    def record(self) -> NDArray[np.str_]:
        """The name of each row's record (N,)."""
        return self.store.name[self.of]

    @property
    def x(self) -> NDArray[np.float32]:
        """The middle of each row's record (N, 1, samples), for pictures and for methods that take a matrix."""
        batches, middle = self.batches(torch.device("cpu")), (self.store.length[self.of] - self.samples).clip(0) // 2
        parts = zip(torch.from_numpy(self.of).split(SHOWN), torch.from_numpy(middle).split(SHOWN), strict=True)
        return np.concatenate([batches.cut(of, start).numpy() for of, start in parts])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many samples each row's record has (N,)."""
        return self.store.length[self.of]

    def signal(self, row: int) -> NDArray[np.float32]:
        """All samples (1, T) of a row's record."""
        record, store = self.of[row], self.store
        first = store.first[record]
        return (store.flat[None, first : first + store.length[record]] - store.zero[record]) * store.factor[record]

    def rows(self, which: NDArray[np.int64]) -> "Crops":
        """The rows `which`, in that order; the store is the same."""
        return replace(self, of=self.of[which], y=self.y[which])

    def repeated(self, times: NDArray[np.int64]) -> "Crops":
        """Each row (N,) as often as `times` (K,) says of its class."""
        return self.rows(np.repeat(np.arange(len(self)), times[self.y]))

    def batches(self, device: torch.device) -> "CropBatches":
        """Its rows on a device."""
        return CropBatches(self, device)

    def shared(self, *others: "Crops") -> NDArray[np.int64]:
        """Which rows are of a record whose samples are those of a record of one of `others`."""
        there = np.concatenate([other.store.content[other.of] for other in others])
        return np.flatnonzero(np.isin(self.store.content[self.of], there))

    @property
    def digests(self) -> NDArray[np.uint64]:
        """Eight bytes (N,) of the digest of each row's record."""
        return by_row.numbered(self.store.content[self.of])

    def with_sides(self, *others: "Crops") -> "Crops":
        """These rows and those of other sides of the same source, each record once."""
        of, first = np.unique(np.concatenate([side.of for side in (self, *others)]), return_index=True)
        return replace(self, of=of, y=np.concatenate([side.y for side in (self, *others)])[first])


def windows(length: NDArray[np.int64], samples: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As few windows of `samples` as cover each record of `length` (R,), evenly spread: whose each is and where it
    begins (M,).

    The first window begins with its record and the last ends with it; a record shorter than a window has one.
    """
    count = np.maximum(-(-length // samples), 1)
    whose = np.repeat(np.arange(len(length)), count)
    number = np.arange(len(whose)) - np.repeat(np.cumsum(count) - count, count)
    room = (length - samples).clip(0)[whose]
    return whose, number * room // np.maximum(count - 1, 1)[whose]


class CropBatches:
    """Crops on a device, as batches of (inputs, y): x (B, 1, T) cut by index arithmetic out of the one flat array."""

    def __init__(self, crops: Crops, device: torch.device) -> None:
        self.crops, self.device, store = crops, device, crops.store
        self.flat = store.on(device)
        self.first, self.length, self.zero, self.factor = (
            torch.tensor(each, device=device) for each in (store.first, store.length, store.zero, store.factor)
        )
        self.of, self.y = torch.tensor(crops.of, device=device), torch.tensor(crops.y, device=device)
        records, rows = np.unique(crops.of, return_index=True)  # each record is seen once, however often it is cropped
        whose, begin = windows(store.length[records], crops.samples)
        self.rows, self.begin = torch.tensor(rows[whose], device=device), torch.tensor(begin, device=device)

    def __len__(self) -> int:
        return len(self.y)

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batches of `size` crops of the rows in `order`, from batch number `start` of the `epoch` on; None for the
        windows of every record, of which output i is of row `rows[i]`."""
        if order is None:
            for begin in range(start * size, len(self.rows), size):
                rows = self.rows[begin : begin + size]
                yield [self.cut(self.of[rows], self.begin[begin : begin + size])], self.y[rows]
            return
        for step, begin in enumerate(range(start * size, len(order), size), start):
            rows = order[begin : begin + size]
            chance = Chance(self.device, 1.0, (self.crops.seed, epoch, step, OWN))
            yield [self.drawn(self.of[rows], chance)], self.y[rows]

    def drawn(self, of: Tensor, chance: Chance) -> Tensor:
        """Crops (B, 1, T) of the records `of` (B,) that start anywhere, resampled where the crops have a spread.

        The new rate is normally distributed around the old one; a crop is read at the step that the rate asks for.
        """
        step = None
        if self.crops.spread:
            step = 1 / (1 + self.crops.spread * chance.normal(len(of))).clamp(SLOWEST, FASTEST)
        reach = (self.crops.samples - 1) * (
            1.0 if step is None else step
        )  # (B,) samples of the record from first to last
        room = (self.length[of] - 1 - reach).floor().clamp(min=0)
        start = torch.minimum((chance.uniform(len(of)) * (room + 1)).floor(), room).long()
        return self.cut(of, start, step)

    def cut(self, of: Tensor, start: Tensor, step: Tensor | None = None) -> Tensor:
        """Crops (B, 1, T) of the records `of` (B,) from their sample `start` (B,) on, at a step of 1 or of `step` (B,).

        Between samples the value is interpolated linearly. What a record lacks stands before it, as zeros.
        """
        time = torch.arange(self.crops.samples, device=self.device)
        last, zero, factor = (each[of][:, None] for each in (self.length - 1, self.zero, self.factor))
        if step is None:
            missing = (self.crops.samples - 1 - last).clamp(min=0)
            x = self._at(of, (start[:, None] + time - missing).clamp(min=0), last)
        else:
            missing = (self.crops.samples - 1 - (last / step[:, None]).floor()).clamp(min=0)
            place = (time - missing).clamp(min=0) * step[:, None]
            before = place.floor()
            at = start[:, None] + before.long()
            left, right = self._at(of, at, last), self._at(of, at + 1, last)
            x = left + (place - before) * (right - left)
        return ((x - zero) * factor).masked_fill(time < missing, 0)[:, None]

    def _at(self, of: Tensor, sample: Tensor, last: Tensor) -> Tensor:
        """Samples (B, T) of the records `of` (B,), none after their `last` (B, 1)."""
        return self.flat[self.first[of][:, None] + torch.minimum(sample, last)].float()
