"""What every dataset is once it is loaded: its facts, and arrays whose batches are slices by index.

A short run takes ten batches of each split: of training in each epoch, of validation and of test. The rows of
validation and test are drawn once, by a fixed seed, from the whole split: not its first rows, which a file may keep by
class or by patient, and not every k-th row, which may fall in step with how the file is ordered.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.declaration import Request
from loaders.files.cache import Arrays
from loaders.splits import by_row
from toolbox.errors import UsageError

BATCH_SIZE, SMALLEST = 128, 8
STEPS = 10  # of an epoch at least, for which the default batch size is halved
BATCHES = 10  # of each side in a short run
SEED = 0


def batch_size(typed: int | None, train_rows: int) -> int:
    """Rows a step: the typed number, else 128, halved to no less than 8 until `train_rows` make ten steps."""
    if typed:
        return typed
    size = BATCH_SIZE
    while size > SMALLEST and -(-train_rows // size) < STEPS:
        size //= 2
    return size


def measured_rows(short_batch: int | None, train_rows: int) -> int | None:
    """Rows of validation and of test in a short run with batches of `short_batch`, 0 for the default; None for a whole
    run."""
    return None if short_batch is None else BATCHES * batch_size(short_batch, train_rows)


def describe(
    request: Request,
    split_rule: str,
    *,
    samples: int,
    leads: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
    importance: tuple[float, ...] = (),
    rate_hz: float | None = None,
    unit: str = "",
    source: str = "",
    features: tuple[str, ...] = (),
    scored: tuple[str, ...] = (),
) -> "DataSpec":
    """The facts of the data that were asked for: as declared, or as read where the declaration leaves them open."""
    of = request.dataset
    leads, classes = leads or of.leads, classes or of.classes
    return DataSpec(
        name=request.name,
        view=of.view,
        channels=len(leads),
        samples=samples,
        rate_hz=of.rate_hz if rate_hz is None else rate_hz,
        unit=unit or of.unit,
        leads=leads,
        classes=classes,
        importance=importance or of.importance or (1.0,) * len(classes),
        source=source or of.source,
        licence=of.licence,
        split_rule=split_rule,
        features=features,
        scored=scored,
    )


def drawn(index: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` positions in `index` (N,), ascending; positions of equal index, the pieces of one row, stay
    together."""
    if len(index) <= most:
        return np.arange(len(index))
    rows, whose, pieces = np.unique(index, return_inverse=True, return_counts=True)
    order = np.random.default_rng(SEED).permutation(len(rows))
    count = max(1, int(np.searchsorted(np.cumsum(pieces[order]), most, side="right")))
    return np.flatnonzero(np.isin(whose, order[:count]))


def rule(most: int) -> str:
    """The part of a split rule that a short run adds."""
    return f"a short run: at most {most:,} rows of validation and of test, drawn by a fixed seed"


@dataclass(frozen=True)
class DataSpec:
    """The facts of a dataset, which size the models and stand beside the results.

    `view` is what a row is ("beat"); `unit` of its samples; `leads` one name a channel; `importance` one weight a
    class; `features` one name for each number that stands beside a row's samples; `scored` the classes whose mean F1 is
    the score that the data's publisher asks for; `image` the height and width in pixels of rows that are pictures,
    drawn from `channels` leads of `samples` each.
    """

    name: str
    view: str
    channels: int
    samples: int
    rate_hz: float
    unit: str
    leads: tuple[str, ...]
    classes: tuple[str, ...]
    importance: tuple[float, ...]
    source: str
    licence: str
    split_rule: str
    features: tuple[str, ...] = ()
    scored: tuple[str, ...] = ()
    image: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row, as a network is called with it: (C, T), or (3, H, W) of a picture."""
        return (3, *self.image) if self.image else (self.channels, self.samples)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for config.json."""
        return asdict(self)


class Batches(Protocol):
    """Rows on the device, in batches. `y` are the targets as `Split` has them; `rows` (M,) is the row of each output in
    source order."""

    y: Tensor
    rows: Tensor

    def __len__(self) -> int: ...

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batches from number `start` on; None is the source's order, with nothing random in it."""


class Rows(Protocol):
    """One side of a dataset, as the loop and the reports see it: facts of each row (N,), and batches of their samples.

    `pooled` rows are read in pieces: outputs of the same `index` become one prediction.
    """

    pooled: bool
    digested: str
    dropped: int
    y: NDArray[np.int64]
    record: NDArray[np.str_]
    index: NDArray[np.int64]

    @property
    def x(self) -> NDArray[np.float32]:
        """The samples of each row (N, C, T)."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many samples each row is cut from (N,)."""

    def __len__(self) -> int: ...

    def signal(self, row: int) -> NDArray[np.float32]:
        """All samples (C, T) that a row is cut from."""

    def rows(self, which: NDArray[np.int64]) -> "Rows":
        """The rows `which`, in that order."""

    def batches(self, device: torch.device) -> Batches:
        """Its rows on a device."""

    def shared(self, *others: Any) -> NDArray[np.int64]:
        """Which of its rows stand in one of the other sides, of the same kind, too."""

    @property
    def digests(self) -> NDArray[np.uint64]:
        """Eight bytes (N,) of a digest of each row's samples, which are taken as `digested` says."""


@dataclass(frozen=True)
class Split:
    """x (N, C, T) float32, record (N,) names or "", index (N,) row in the source, which lost `dropped` rows.

    The targets y are int64 (N,), a class a row; (N, K), 0 or 1 for each of K labels; or (N, 0) where there are none.
    position (N,) int64 is the sample of its record at which a row's R peak stands, -1 where unknown; features (N, F)
    float32 are numbers beside the samples, of which there may be none.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    record: NDArray[np.str_]
    index: NDArray[np.int64]
    dropped: int = 0
    position: NDArray[np.int64] = None  # type: ignore[assignment]
    features: NDArray[np.float32] = None  # type: ignore[assignment]
    pooled: ClassVar[bool] = False
    digested: ClassVar[str] = "float32 samples of rows"

    def __post_init__(self) -> None:
        if self.position is None:
            object.__setattr__(self, "position", np.full(len(self.x), -1))
        if self.features is None:
            object.__setattr__(self, "features", np.empty((len(self.x), 0), np.float32))

    @classmethod
    def of(cls, arrays: Arrays) -> "Split":
        """Parsed arrays x (N, T) or (N, C, T) and, where known, y, record, index, position, features, and a text for
        each dropped row."""
        x = arrays["x"] if arrays["x"].ndim == 3 else arrays["x"][:, None, :]
        rows = len(x)
        y = arrays["y"] if "y" in arrays else np.empty((rows, 0), np.int64)
        record, index = arrays.get("record", np.full(rows, "")), arrays.get("index", np.arange(rows))
        dropped = len(arrays.get("dropped", ()))
        return cls(x, y, record, index, dropped, arrays.get("position"), arrays.get("features"))

    @classmethod
    def joined(cls, first: "Split", second: "Split") -> "Split":
        """The rows of two whole files, one after the other; the index goes on where the first file ends."""
        shifted = replace(second, index=second.index + len(first) + first.dropped)
        return first.and_rows(shifted, dropped=first.dropped + second.dropped)

    def and_rows(self, other: "Split", *, dropped: int) -> "Split":
        """These rows, then those of another split, of which `dropped` could not be used."""
        both = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in OF_ROWS}
        return replace(self, **both, dropped=dropped)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many samples each row has (N,)."""
        return np.full(len(self), self.x.shape[2])

    def signal(self, row: int) -> NDArray[np.float32]:
        """The samples (C, T) of a row."""
        return self.x[row]

    def rows(self, which: NDArray[np.int64]) -> "Split":
        """The rows `which`, in that order, copied into arrays of their own."""
        return replace(self, **{name: getattr(self, name)[which] for name in OF_ROWS})

    def batches(self, device: torch.device) -> "TensorBatches":
        """All rows on a device."""
        return TensorBatches(self, device)

    def shared(self, *others: "Split") -> NDArray[np.int64]:
        """Which rows stand in one of `others` too, sample for sample."""
        return by_row.shared(self.x, *(other.x for other in others))

    @property
    def digests(self) -> NDArray[np.uint64]:
        """Eight bytes (N,) of a digest of each row's samples."""
        return by_row.digests(self.x)

    def with_sides(self, *others: "Split") -> "Split":
        """These rows and those of other sides of the same source; a side that counts its rows anew is of another
        file."""
        both = self
        for other in others:
            shift = both.index.max() + 1 if np.intersect1d(both.index, other.index).size else 0
            both = both.and_rows(replace(other, index=other.index + shift), dropped=max(both.dropped, other.dropped))
        return both


OF_ROWS = ("x", "y", "record", "index", "position", "features")


@dataclass(frozen=True)
class Data:
    """A dataset ready to train on. The test split is read when it is first asked for, and not before.

    `rates` gives the rate in Hz of the samples that `Split.position` counts, by record; None where it is not known.
    """

    spec: DataSpec
    train: Rows
    val: Rows
    open_test: Callable[[], Rows]
    checksum: str
    rates: Callable[[], Mapping[str, float]] | None = None
    whole: "Data | None" = None  # where validation and test are a part of their sides

    @cached_property
    def test(self) -> Rows:
        """The test rows; only --test and the end of a fit ask for them."""
        return self.open_test()

    @cached_property
    def shared_rows(self) -> NDArray[np.int64]:
        """Rows in the source of those test rows that stand in train or validation too, sample for sample."""
        return self.test.index[self.test.shared(self.train, self.val)]

    def part(self, most: int | None) -> "Data":
        """The same data with at most `most` rows of validation and of test, as a short run measures; None for all
        rows."""
        if most is None:
            return self
        spec = replace(self.spec, split_rule=f"{self.spec.split_rule}; {rule(most)}")
        sides = {"val": part_of(self.val, most), "open_test": lambda: part_of(self.test, most)}
        return replace(self, spec=spec, whole=self, **sides)

    @property
    def covers(self) -> dict[str, list[int]]:
        """Rows of validation and of test that are measured, and of the whole sides; {} where these are all. Opens the
        test."""
        if self.whole is None:
            return {}
        return {f"{side}_rows": [_count(getattr(of, side)) for of in (self, self.whole)] for side in ("val", "test")}

    def known_rates(self) -> Callable[[], Mapping[str, float]]:
        """`rates`; a UsageError where they are not known."""
        if self.rates is None:
            what = f"--from: {self.spec.name} as {self.spec.view} does not state when its beats are"
            raise UsageError(what, hint="mitdb or synth_patients as signals, or the command without --from")
        return self.rates

    def test_times_s(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Seconds from the beginning of its record (M,) to the R peak of each of the test rows with this `index` (M,)
        in the source. Raises UsageError where the dataset does not know them."""
        rates = self.known_rates()()
        order = np.argsort(self.test.index)
        which = order[np.searchsorted(self.test.index, index, sorter=order)]
        names, inverse = np.unique(self.test.record[which], return_inverse=True)
        return self.test.position[which] / np.array([rates[name] for name in names])[inverse]

    def ruled(self, split_rule: str) -> "Data":
        """The same rows under `split_rule`, for a run that has more to say of them."""
        return replace(self, spec=replace(self.spec, split_rule=split_rule))


def part_of(rows: Rows, most: int) -> Rows:
    """At most `most` of the rows, drawn by a fixed seed."""
    return rows if len(rows) <= most else rows.rows(drawn(rows.index, most))


def _count(rows: Rows) -> int:
    """Rows of the source, each of which may be read in several pieces."""
    return len(np.unique(rows.index))


class TensorBatches:
    """A split on the device, whose batches are (inputs, y), without a worker and without a copy to the host.

    `inputs` is what the network is called with: x (B, C, T) and, where there are features, these (B, F).
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self.inputs = [torch.tensor(split.x, device=device)]
        if split.features.shape[1]:
            self.inputs.append(torch.tensor(split.features, device=device))
        self.y = torch.tensor(split.y, device=device)
        self.rows = torch.arange(len(split), device=device)

    def __len__(self) -> int:
        return len(self.y)

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batches of `size` rows (the last may be shorter) from batch number `start` on; None is the source's order.

        They are the same in every `epoch`.
        """
        rows = len(self) if order is None else len(order)
        for begin in range(start * size, rows, size):
            if order is None:
                yield [each[begin : begin + size] for each in self.inputs], self.y[begin : begin + size]
            else:
                chosen = order[begin : begin + size]
                yield [each.index_select(0, chosen) for each in self.inputs], self.y.index_select(0, chosen)


def last_sample(x: Tensor) -> Tensor:
    """Index (B,) of the last time sample of x (B, C, T) that is not zero in every channel; 0 for an empty row."""
    time = torch.arange(x.shape[2], device=x.device)
    return ((x != 0).any(1) * time).amax(1)
