"""A loaded dataset: its facts, and arrays with batches that are slices by index.

A short run takes ten batches of each split: of training in each epoch, of validation and of test. A fixed seed draws
the rows of validation and test once from the whole split, since a file may sort its rows by class or patient.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders import splits
from loaders.declaration import Request
from loaders.files.cache import Arrays
from toolbox.errors import UsageError

BATCH_SIZE, SMALLEST = 128, 8
STEPS = 10  # least steps of an epoch: the default batch size is halved for them
BATCHES, SEED = 10, 0  # of each split in a short run, and of the draw of its rows


def batch_size(typed: int | None, train_rows: int) -> int:
    """Rows a step: the typed number, else 128, halved to no less than 8 until `train_rows` make ten steps."""
    if typed:
        return typed
    size = BATCH_SIZE
    while size > SMALLEST and -(-train_rows // size) < STEPS:
        size //= 2
    return size


def measured_rows(short_batch: int | None, train_rows: int) -> int | None:
    """Rows of validation and of test in a short run with batches of `short_batch` (0: the default); None: all rows."""
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
    """The facts of the requested data: as declared, or the given ones if the declaration leaves them open."""
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
    """At most `most` positions in `index` (N,), ascending; the pieces of one row have one index and stay together."""
    if len(index) <= most:
        return np.arange(len(index))
    rows, of, pieces = np.unique(index, return_inverse=True, return_counts=True)
    order = np.random.default_rng(SEED).permutation(len(rows))
    count = max(1, int(np.searchsorted(np.cumsum(pieces[order]), most, side="right")))
    return np.flatnonzero(np.isin(of, order[:count]))


def rule(most: int) -> str:
    """The part of a split rule that a short run adds."""
    return f"a short run: at most {most:,} rows of validation and of test, drawn by a fixed seed"


@dataclass(frozen=True)
class DataSpec:
    """The facts of a dataset: they size the models, and the reports show them.

    `view` is the kind of a row ("beat"); `unit` the unit of its samples; `leads` has a name for each channel,
    `importance` a weight for each class, `features` a name for each number that accompanies a row's samples; the
    publisher's score is the mean F1 of the `scored` classes; `image` is the height and width in pixels of rows that are
    pictures, drawn from `channels` leads of `samples` each. A user's table with a header has the names of its
    `columns` of samples, and of the columns of label and record. With `many_labels` a row has any number of classes.
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
    columns: tuple[str, ...] = ()
    label_name: str = ""
    record_name: str = ""
    many_labels: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a row as a network gets it: (C, T), or (3, H, W) of a picture."""
        return (3, *self.image) if self.image else (self.channels, self.samples)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for config.json; facts of OF_TABLES only where they are known."""
        return {name: value for name, value in asdict(self).items() if value or name not in OF_TABLES}


OF_TABLES = ("columns", "label_name", "record_name", "many_labels")


class Batches(Protocol):
    """Rows on the device. `y` has the targets as in `Split`; `rows` (M,) the row of each output in source order."""

    y: Tensor
    rows: Tensor

    def __len__(self) -> int: ...

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batches from number `start` on; an order of None is the source's order, without random changes."""


class Rows(Protocol):
    """One split of a dataset, as the loop and the reports see it: facts of each row (N,), and batches of samples."""

    @property
    def pooled(self) -> bool:
        """Whether rows are read in pieces: outputs of the same `index` become one prediction."""

    @property
    def dropped(self) -> int:
        """The number of unusable rows of the source."""

    @property
    def x(self) -> NDArray[np.float32]:
        """The samples of each row (N, C, T)."""

    @property
    def y(self) -> NDArray[np.int64]:
        """The targets (N,), (N, K) or (N, 0)."""

    @property
    def record(self) -> NDArray[np.str_]:
        """The name of each row's record (N,), or ""."""

    @property
    def index(self) -> NDArray[np.int64]:
        """The number of each row in the source (N,)."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of samples that each row is cut from (N,)."""

    def __len__(self) -> int: ...

    def signal(self, row: int) -> NDArray[np.float32]:
        """All samples (C, T) that a row is cut from."""

    def rows(self, which: NDArray[np.int64]) -> Self:
        """The rows `which`, in that order."""

    def batches(self, device: torch.device) -> Batches:
        """The rows on a device."""

    def shared(self, *others: Any) -> NDArray[np.int64]:
        """The rows that other splits of the same kind contain, too."""

    @property
    def digests(self) -> NDArray[np.uint64]:
        """Eight bytes (N,) of a digest of each row's samples."""

    @property
    def digested(self) -> str:
        """The samples of the digests, in words; runs keep this text."""


R = TypeVar("R", bound=Rows)


@dataclass(frozen=True)
class Split:
    """`Rows` in memory: x (N, C, T) float32; `dropped` rows of the source are left out.

    The targets y are int64: (N,) the class of each row; (N, K) 0 or 1 for each of K labels; or (N, 0) without targets.
    position (N,) int64 is the sample of the record at a row's R peak, -1 if unknown; features (N, F) float32 are F >= 0
    numbers for each row.
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
        """Parsed arrays x (N, T) or (N, C, T); optionally y, record, index, position, features, dropped (texts)."""
        x = arrays["x"] if arrays["x"].ndim == 3 else arrays["x"][:, None, :]
        rows = len(x)
        y = arrays["y"] if "y" in arrays else np.empty((rows, 0), np.int64)
        record, index = arrays.get("record", np.full(rows, "")), arrays.get("index", np.arange(rows))
        known = {name: arrays[name] for name in ("position", "features") if name in arrays}
        return cls(x, y, record, index, len(arrays.get("dropped", ())), **known)

    @classmethod
    def joined(cls, first: "Split", second: "Split") -> "Split":
        """The rows of two whole files; the index of the second continues the first."""
        shifted = replace(second, index=second.index + len(first) + first.dropped)
        return first.and_rows(shifted, dropped=first.dropped + second.dropped)

    def and_rows(self, other: "Split", *, dropped: int) -> "Split":
        """These rows, then the rows of another split; `dropped` in all were unusable."""
        both = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in OF_ROWS}
        return replace(self, **both, dropped=dropped)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.full(len(self), self.x.shape[2])

    def signal(self, row: int) -> NDArray[np.float32]:
        return self.x[row]

    def rows(self, which: NDArray[np.int64]) -> "Split":
        """A copy of the rows `which`, in that order."""
        return replace(self, **{name: getattr(self, name)[which] for name in OF_ROWS})

    def batches(self, device: torch.device) -> "TensorBatches":
        return TensorBatches(self, device)

    def shared(self, *others: "Split") -> NDArray[np.int64]:
        return splits.shared(self.x, *(other.x for other in others))

    @property
    def digests(self) -> NDArray[np.uint64]:
        return splits.digests(self.x)

    def with_sides(self, *others: "Split") -> "Split":
        """These rows and other splits of the source; a split with the same indices comes from another file."""
        both = self
        for other in others:
            shift = both.index.max() + 1 if np.intersect1d(both.index, other.index).size else 0
            both = both.and_rows(replace(other, index=other.index + shift), dropped=max(both.dropped, other.dropped))
        return both


OF_ROWS = ("x", "y", "record", "index", "position", "features")


@dataclass(frozen=True)
class Data:
    """A dataset ready to train on. The test split is read at the first access to `test`.

    `rates` gives the rate in Hz of the samples that `Split.position` counts, by record; None if it is unknown.
    """

    spec: DataSpec
    train: Rows
    val: Rows
    open_test: Callable[[], Rows]
    checksum: str
    rates: Callable[[], Mapping[str, float]] | None = None
    whole: "Data | None" = None  # if validation and test are a part of their splits
    left_out: str = ""  # the records of the source that are rows of no split, in words
    published: str = ""  # the name of a row in other databases too, as a format of its index

    def __post_init__(self) -> None:
        labels = getattr(getattr(self.train, "y", None), "shape", ())[1:]  # a user's dataset may lack them
        object.__setattr__(self, "spec", replace(self.spec, many_labels=labels > (0,)))

    @cached_property
    def test(self) -> Rows:
        """The test rows; only --test and the end of a fit open them."""
        return self.open_test()

    @cached_property
    def shared_rows(self) -> NDArray[np.int64]:
        """The index of the test rows with the same samples as a row of train or validation."""
        return self.test.index[self.test.shared(self.train, self.val)]

    def part(self, most: int | None) -> "Data":
        """The same data with at most `most` rows of validation and of test, as in a short run; None for all rows."""
        if most is None:
            return self
        ruled = self.ruled(f"{self.spec.split_rule}; {rule(most)}")
        return replace(ruled, whole=self, val=part_of(self.val, most), open_test=lambda: part_of(self.test, most))

    @property
    def covers(self) -> dict[str, list[int]]:
        """The numbers of measured rows and of all rows of validation and of test; {} if all are measured.

        Opens the test. A row that is read in several pieces counts once.
        """
        if self.whole is None:
            return {}
        sides = {"val_rows": (self.val, self.whole.val), "test_rows": (self.test, self.whole.test)}
        return {name: [len(np.unique(rows.index)) for rows in both] for name, both in sides.items()}

    def known_rates(self) -> Callable[[], Mapping[str, float]]:
        """`rates`. Raises UsageError if they are unknown."""
        if self.rates is None:
            what = f"--from: {self.spec.name} as {self.spec.view} does not state the times of its beats"
            raise UsageError(what, hint="mitdb or synth_patients as signals, or the command without --from")
        return self.rates

    def test_times_s(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """The time (M,) in s of the R peak in its record of each test row `index` (M,). Raises UsageError."""
        rates, test = self.known_rates()(), cast(Split, self.test)  # rows of beats
        order = np.argsort(test.index)
        which = order[np.searchsorted(test.index, index, sorter=order)]
        names, inverse = np.unique(test.record[which], return_inverse=True)
        return test.position[which] / np.array([rates[name] for name in names])[inverse]

    def ruled(self, split_rule: str) -> "Data":
        """The same rows with another `split_rule`."""
        return replace(self, spec=replace(self.spec, split_rule=split_rule))


def part_of(rows: R, most: int) -> R:
    """At most `most` of the rows, drawn by a fixed seed."""
    return rows if len(rows) <= most else rows.rows(drawn(rows.index, most))


class TensorBatches:
    """A split on the device as batches (inputs, y), without a worker and without a copy to the host.

    `inputs` are the arguments of the network: x (B, C, T) and, if the rows have features, features (B, F).
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        inputs = [split.x, split.features] if split.features.shape[1] else [split.x]
        self.inputs = [_tensor(each, device) for each in inputs]
        self.y = _tensor(split.y, device)
        self.rows = torch.arange(len(split), device=device)

    def __len__(self) -> int:
        return len(self.y)

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batches of `size` rows (the last may be shorter) from number `start` on; an order of None is the source's."""
        rows = len(self) if order is None else len(order)
        for begin in range(start * size, rows, size):
            if order is None:
                # Copies: a network may write into its rows.
                yield [each[begin : begin + size].clone() for each in self.inputs], self.y[begin : begin + size]
            else:
                chosen = order[begin : begin + size]
                yield [each.index_select(0, chosen) for each in self.inputs], self.y.index_select(0, chosen)


def _tensor(values: NDArray[Any], device: torch.device) -> Tensor:
    """The values on the device; on a CPU the array itself, if it may be written to."""
    return torch.as_tensor(values, device=device) if values.flags.writeable else torch.tensor(values, device=device)


def last_sample(x: Tensor) -> Tensor:
    """Index (B,) of the last time sample of x (B, C, T) with a channel that is not zero; 0 for an empty row."""
    time = torch.arange(x.shape[2], device=x.device)
    return ((x != 0).any(1) * time).amax(1)
