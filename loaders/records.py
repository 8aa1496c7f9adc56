"""Recorded samples, kept once as whole numbers; batches become float32 on the device.

A `RecordStore` holds the samples of all records, mapped into memory, so that all processes share them: ten thousand
records of twelve leads are 1.3 GB, and 2.6 GB as float32. `RecordRows` is one split of a dataset made of it, in place
of a `base.Split`. A row is a whole record, or `samples` of it. In training this is a crop with a random start, which
depends on (seed, epoch, step) alone: an exact resume needs no stored state. Without an order, as in validation and
test, windows cover each record from its first sample to its last.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders import splits
from loaders.augment import Chance
from loaders.files import cache
from loaders.files.cache import gathered

IN_MEMORY = 2**27  # samples: half a gigabyte of float32
OWN = 1  # after (seed, epoch, step): other random numbers than in the augmentations
FASTEST, SLOWEST = 2.0, 0.5  # bounds of a resampling, as factors of the rate


@dataclass(frozen=True, eq=False)
class RecordStore:
    """`flat` (S,) int16: record by record, each lead by lead. For each record (R,) its `first` sample and the `length`
    of its leads, its name, and a hash of its samples.

    A network gets the `leads` (numbers of channels) in their order, as (sample - zero) * factor; both are (R, leads)
    float32. `number` (R,) is the number of each record in its source, None for 0, 1, ...; `features`
    (R, F) float32 are numbers of each record, None for none.
    """

    flat: NDArray[np.int16]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    name: NDArray[np.str_]
    content: NDArray[np.str_]
    zero: NDArray[np.float32]
    factor: NDArray[np.float32]
    leads: tuple[int, ...] = (0,)
    number: NDArray[np.int64] | None = None
    features: NDArray[np.float32] | None = None
    copies: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of_one_length(
        cls,
        samples: NDArray[np.int16],
        name: NDArray[np.str_],
        content: NDArray[np.str_],
        zero: NDArray[np.float32],
        factor: NDArray[np.float32],
        leads: tuple[int, ...],
    ) -> "RecordStore":
        """Records of one length: samples (R, C, T)."""
        records, channels, length = samples.shape
        first = np.arange(records) * (channels * length)
        return cls(samples.reshape(-1), first, np.full(records, length), name, content, zero, factor, leads)

    def signal(self, record: int) -> NDArray[np.float32]:
        """The leads (C, T) of a record as in a batch."""
        cache.check(self.flat, record)
        length = self.length[record]
        begins = self.first[record] + np.array(self.leads) * length
        leads = np.stack([self.flat[begin : begin + length] for begin in begins])
        return (leads - self.zero[record, :, None]) * self.factor[record, :, None]

    def on(self, device: torch.device) -> Tensor:
        """The samples on a device; on the CPU the memory map itself, elsewhere one copy."""
        if device not in self.copies:
            if device.type != "cpu":
                cache.check(self.flat)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the map is read-only, and never written to
                self.copies[device] = torch.from_numpy(self.flat).to(device)
        return self.copies[device]


@dataclass(frozen=True)
class RecordRows:
    """`Rows` of a store: row i is record `of[i]` and has the target `y[i]`; `dropped` records of the source are
    unusable.

    Without `samples` a row is a whole record, and all records have one length. With them rows are cropped: an epoch has
    a crop for each time that a record is in `of`, and `spread` is the standard deviation of the factor by which a
    training crop's rate is changed (0: not changed). Windows of twelve leads begin at most `stride` samples apart,
    those of strips side by side.
    """

    store: RecordStore
    of: NDArray[np.int64]
    y: NDArray[np.int64]
    samples: int | None = None
    seed: int = 0
    spread: float = 0.0
    dropped: int = 0
    stride: int | None = None

    def __len__(self) -> int:
        return len(self.of)

    @property
    def pooled(self) -> bool:
        return self.samples is not None

    @property
    def digested(self) -> str:
        of_strips = self.pooled and self.stride is None
        return "recorded samples of whole strips" if of_strips else "recorded samples of twelve leads"

    @property
    def index(self) -> NDArray[np.int64]:
        return self.of if self.store.number is None else self.store.number[self.of]

    @property
    def record(self) -> NDArray[np.str_]:
        return self.store.name[self.of]

    @property
    def features(self) -> NDArray[np.float32]:
        """The features (N, F) of each row's record, F 0 without any."""
        features = self.store.features
        return np.empty((len(self), 0), np.float32) if features is None else features[self.of]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.store.length[self.of]

    @property
    def width(self) -> int:
        """The number of samples of a row in a batch."""
        return self.samples or int(self.store.length[0])

    @property
    def x(self) -> NDArray[np.float32]:
        """Each row's record (N, C, T), or its middle if rows are cropped; many rows are in a temporary file."""
        rows, shape = map(self._middle, range(len(self))), (len(self.store.leads), self.width)
        if len(self) * shape[0] * shape[1] > IN_MEMORY and isinstance(self.store.flat, np.memmap):
            return gathered(rows, Path(str(self.store.flat.filename)).parent.parent)
        return np.stack([*rows]) if len(self) else np.empty((0, *shape), np.float32)

    def _middle(self, row: int) -> NDArray[np.float32]:
        signal = self.signal(row)
        begin = max(signal.shape[1] - self.width, 0) // 2
        return np.pad(signal[:, begin : begin + self.width], ((0, 0), (max(self.width - signal.shape[1], 0), 0)))

    def signal(self, row: int) -> NDArray[np.float32]:
        """All samples (C, T) of a row's record."""
        return self.store.signal(self.of[row])

    def rows(self, which: NDArray[np.int64]) -> "RecordRows":
        """The rows `which`, in that order; the store is the same."""
        return replace(self, of=self.of[which], y=self.y[which])

    def repeated(self, times: NDArray[np.int64]) -> "RecordRows":
        """Each row (N,) repeated `times` (K,) by its class."""
        return self.rows(np.repeat(np.arange(len(self)), times[self.y]))

    def batches(self, device: torch.device) -> "RecordBatches":
        return RecordBatches(self, device)

    def shared(self, *others: "RecordRows") -> NDArray[np.int64]:
        there = np.concatenate([other.store.content[other.of] for other in others])
        return np.flatnonzero(np.isin(self.store.content[self.of], there))

    @property
    def digests(self) -> NDArray[np.uint64]:
        return splits.numbered(self.store.content[self.of])

    def with_sides(self, *others: "RecordRows") -> "RecordRows":
        """The rows of these and other splits of the same source, each record once."""
        of, first = np.unique(np.concatenate([split.of for split in (self, *others)]), return_index=True)
        return replace(self, of=of, y=np.concatenate([split.y for split in (self, *others)])[first])


def windows(
    length: NDArray[np.int64], samples: int, stride: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fewest windows of `samples`, evenly spread and at most `stride` apart (default `samples`), that cover each
    record of `length` (R,): their records and first samples (M,).

    The first window starts with its record and the last ends with it; a record shorter than a window has one.
    """
    count = 1 - (-(length - samples).clip(0) // (stride or samples))
    record = np.repeat(np.arange(len(length)), count)
    number = np.arange(len(record)) - np.repeat(np.cumsum(count) - count, count)
    room = (length - samples).clip(0)[record]
    return record, number * room // np.maximum(count - 1, 1)[record]


class RecordBatches:
    """Rows on a device as batches (inputs, y): x (B, C, T) float32 is made from the whole numbers; features (B, F)."""

    def __init__(self, split: RecordRows, device: torch.device) -> None:
        self.split, self.device, self.store = split, device, split.store
        self.flat = self.store.on(device)
        arrays = (self.store.first, self.store.length, self.store.zero, self.store.factor)
        self.first, self.length, self.zero, self.factor = (torch.tensor(each, device=device) for each in arrays)
        self.leads = torch.tensor(self.store.leads, device=device)
        features = split.features
        self.features = [torch.tensor(features, device=device)] if features.shape[1] else []
        self.of, self.y = torch.tensor(split.of, device=device), torch.tensor(split.y, device=device)
        rows, begin = np.arange(len(split)), np.zeros(len(split), np.int64)
        if split.samples:  # each record once, also one with several crops
            records, own = np.unique(split.of, return_index=True)
            of, begin = windows(self.store.length[records], split.samples, split.stride)
            rows = own[of]
        self.rows, self.begin = torch.tensor(rows, device=device), torch.tensor(begin, device=device)

    def __len__(self) -> int:
        return len(self.y)

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batches of `size` rows in this `order`, from batch number `start` of the `epoch` on (the last may be
        shorter). Without an order all rows, or the windows of every record: output i belongs to row `rows[i]`."""
        chosen = self.rows if order is None else order
        for step, begin in enumerate(range(start * size, len(chosen), size), start):
            rows = chosen[begin : begin + size]
            of = self.of[rows]
            if not self.split.samples:
                x = self.whole(of)
            elif order is None:
                x = self.cut(of, self.begin[begin : begin + size])
            else:
                x = self.drawn(of, Chance(self.device, 1.0, (self.split.seed, epoch, step, OWN)))
            yield [x, *(each[rows] for each in self.features)], self.y[rows]

    def whole(self, of: Tensor) -> Tensor:
        """The records `of` (B,), all of one length (B, C, T)."""
        if of.device.type == "cpu":
            cache.check(self.store.flat, of.numpy())
        x = self.flat.view(len(self.first), -1, self.split.width).index_select(0, of)
        if self.store.leads != tuple(range(x.shape[1])):
            x = x.index_select(1, self.leads)
        return x.float().sub_(self.zero[of, :, None]).mul_(self.factor[of, :, None])

    def drawn(self, of: Tensor, chance: Chance) -> Tensor:
        """Crops (B, C, T) of the records `of` (B,) with random starts, resampled if the rows have a spread.

        The new rate is normally distributed around the old one; its inverse is the step at which a crop is read.
        """
        step: Tensor | None = None
        reach: Tensor | float = self.split.width - 1.0  # samples of the record from the first to the last of a crop
        if self.split.spread:
            step = 1 / (1 + self.split.spread * chance.normal(len(of))).clamp(SLOWEST, FASTEST)
            reach = (self.split.width - 1) * step
        room: Tensor = (self.length[of] - 1 - reach).floor().clamp(min=0)
        start = torch.minimum((chance.uniform(len(of)) * (room + 1)).floor(), room).long()
        return self.cut(of, start, step)

    def cut(self, of: Tensor, start: Tensor, step: Tensor | None = None) -> Tensor:
        """Crops (B, C, T) of the records `of` (B,) from their sample `start` (B,) on, at a step of 1 or of `step` (B,).

        Values between samples are interpolated linearly. Zeros fill the start of a crop of a shorter record.
        """
        samples, last = self.split.width, self.length[of][:, None] - 1
        time = torch.arange(samples, device=self.device)
        if step is None:
            missing = (samples - 1 - last).clamp(min=0)
            x = self._at(of, (start[:, None] + time - missing).clamp(min=0), last)
        else:
            missing = (samples - 1 - (last / step[:, None]).floor()).clamp(min=0)
            place = (time - missing).clamp(min=0) * step[:, None]
            before = place.floor()
            at = start[:, None] + before.long()
            left, right = self._at(of, at, last), self._at(of, at + 1, last)
            x = left + (place - before)[:, None] * (right - left)
        x = (x - self.zero[of, :, None]) * self.factor[of, :, None]
        return x.masked_fill((time < missing)[:, None], 0)

    def _at(self, of: Tensor, sample: Tensor, last: Tensor) -> Tensor:
        """Samples (B, C, T) of the records `of` (B,), none after their `last` (B, 1)."""
        begins = self.first[of][:, None] + self.leads * self.length[of][:, None]  # (B, C)
        return self.flat[begins[..., None] + torch.minimum(sample, last)[:, None]].float()
