"""Rows of pictures: one side of a dataset whose charts lie in a `ChartStore`, read in threads while the network
computes.

`Charts` stands in place of the `Split` it was drawn from. A chart is a window of one of its rows in one layout; all
charts of a row have its index, so that they become one prediction.

What the pixels of a chart are of: its paper without a trace, where a lead is drawn, and where its R peaks stand.

empty = chartmarks.papers(charts)                     # (N, 3, H, W) in [0, 1]
near, room = chartmarks.at_peaks(charts, peaks, 125)  # (N, 1, H, W), from samples of the window that each chart shows
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.base import Rows
from loaders.charts.store import ChartStore, key
from loaders.families.row_forms import QRS_S
from loaders.records import windows
from toolbox.errors import DataError
from toolbox.paper.layouts import MM_PER_S, ROW_MM, Cell, Sheet
from toolbox.paper.pen import inked

AHEAD = 2  # batches that each thread has read before they are asked for


@dataclass(frozen=True)
class ChartKind:
    """One layout of a dataset: its sheet, how many samples it shows, its paper (H, W, 3) and the colour (3,) of its
    traces, and where its charts are kept."""

    sheet: Sheet
    samples: int
    paper: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    store: ChartStore


def cut(rows: Rows, samples: Sequence[int]) -> NDArray[np.int64]:
    """Windows of each of `samples` over all rows, those of a row one after the other: of which row each is, of which of
    `samples`, where it begins and its number (4, M). DataError for a row without samples."""
    lengths = rows.lengths
    if (empty := np.flatnonzero(lengths == 0)).size:
        names = ", ".join(str(rows.record[row] or rows.index[row]) for row in empty[:3])
        raise DataError(f"rows without a sample cannot be drawn: {names}", hint="data without them")
    parts = []
    for kind, size in enumerate(samples):
        whose, begin = windows(lengths, size)
        number = np.arange(len(whose)) - np.searchsorted(whose, whose)
        parts.append(np.stack([whose, np.full(len(whose), kind), begin, number]))
    columns = np.concatenate(parts, axis=1)
    return columns[:, np.argsort(columns[0], kind="stable")]


def window(rows: Rows, row: int, begin: int, samples: int) -> NDArray[np.float32]:
    """The samples (C, samples) of a row from `begin` on; after its end they are not numbers."""
    part = np.asarray(rows.signal(row)[:, begin : begin + samples], np.float32)
    return np.pad(part, ((0, 0), (0, samples - part.shape[1])), constant_values=np.nan)


@dataclass(frozen=True)
class Charts:
    """Chart i is of row `whose[i]` of the signals, in the layout `kinds[kind[i]]`, from its sample `begin[i]` on:
    window `number[i]` of the two. `workers` threads read, one at least."""

    signals: Rows
    kinds: list[ChartKind]
    whose: NDArray[np.int64]
    kind: NDArray[np.int64]
    begin: NDArray[np.int64]
    number: NDArray[np.int64]
    workers: int = 0

    @classmethod
    def of(cls, signals: Rows, kinds: list[ChartKind], workers: int = 0) -> "Charts":
        """All charts of the rows of `signals`; DataError for a row without samples."""
        return cls(signals, kinds, *cut(signals, [kind.samples for kind in kinds]), workers)

    def __len__(self) -> int:
        return len(self.whose)

    @cached_property
    def pooled(self) -> bool:
        """Whether a row of the signals has several charts."""
        return len(np.unique(self.index)) < len(self)

    @property
    def dropped(self) -> int:
        """Rows that the source lost."""
        return self.signals.dropped

    @property
    def y(self) -> NDArray[np.int64]:
        """The label of each chart (N,)."""
        return self.signals.y[self.whose]

    @property
    def record(self) -> NDArray[np.str_]:
        """The name of each chart's record (N,)."""
        return self.signals.record[self.whose]

    @property
    def index(self) -> NDArray[np.int64]:
        """The number of each chart's row in the source (N,)."""
        return self.signals.index[self.whose]

    @cached_property
    def keys(self) -> list[bytes]:
        """Where each chart is kept."""
        return [key(index, number) for index, number in zip(self.index.tolist(), self.number.tolist(), strict=True)]

    @property
    def x(self) -> NDArray[np.float32]:
        """The pictures (N, 3, H, W) in [0, 1]; all of them in memory, so ask for a few rows."""
        batches = self.batches(torch.device("cpu")).batches(None, 1)
        return np.concatenate([inputs[0].numpy() for inputs, _ in batches])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many samples each chart's row has (N,)."""
        return self.signals.lengths[self.whose]

    def signal(self, row: int) -> NDArray[np.float32]:
        """The samples (C, T) of the row that a chart is of."""
        return self.signals.signal(self.whose[row])

    def window(self, row: int) -> NDArray[np.float32]:
        """The samples (C, T) that a chart shows."""
        return window(self.signals, self.whose[row], self.begin[row], self.kinds[self.kind[row]].samples)

    def picture(self, row: int) -> NDArray[np.uint8]:
        """A chart (H, W, 3)."""
        kind = self.kinds[self.kind[row]]
        return inked(kind.paper, kind.colour, kind.store.read([self.keys[row]])[0])

    def rows(self, which: NDArray[np.int64]) -> "Charts":
        """The charts `which`, in that order."""
        return replace(self, **{name: getattr(self, name)[which] for name in ("whose", "kind", "begin", "number")})

    def batches(self, device: torch.device) -> "ChartBatches":
        """The charts on a device, read as they are asked for."""
        return ChartBatches(self, device)

    def shared(self, *others: "Charts") -> NDArray[np.int64]:
        """Which charts are of a row that stands in one of `others` too, sample for sample."""
        own, *rest = (side.signals.rows(np.unique(side.whose)) for side in (self, *others))
        return np.flatnonzero(np.isin(self.whose, np.unique(self.whose)[own.shared(*rest)]))

    @property
    def digested(self) -> str:
        """What the digests are of: a chart is known by the signals that it is drawn from."""
        return self.signals.digested

    @property
    def digests(self) -> NDArray[np.uint64]:
        """Eight bytes (N,) of a digest of the samples of each chart's row."""
        return self.signals.digests[self.whose]


class ChartBatches:
    """Charts as batches of (inputs, y): x (B, 3, H, W) in [0, 1] and, where there are features, these (B, F).

    What is read, and moved to the device, is the ink (B, H, W) uint8; there it is put on the paper.
    """

    def __init__(self, charts: Charts, device: torch.device) -> None:
        self.charts, self.device = charts, device
        self.y = torch.tensor(charts.y, device=device)
        self.rows = torch.arange(len(charts), device=device)
        self.papers = torch.stack(
            [self._unit(kind.paper).permute(2, 0, 1) for kind in charts.kinds]
        )  # (kinds, 3, H, W)
        self.colour = self._unit(charts.kinds[0].colour)[:, None, None]
        features = getattr(charts.signals, "features", None)
        beside = features is not None and features.shape[1]
        self.features = torch.tensor(features[charts.whose], device=device) if beside else None

    def _unit(self, colours: NDArray[np.uint8]) -> Tensor:
        return torch.tensor(colours, device=self.device).float() / 255

    def __len__(self) -> int:
        return len(self.y)

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batches of `size` charts from number `start` on, the same in every `epoch`; None is the source's order."""
        order = self.rows if order is None else order
        parts = [order[begin : begin + size] for begin in range(start * size, len(order), size)]
        for rows, (ink, kind) in zip(parts, self._read([part.cpu().numpy() for part in parts]), strict=True):
            paper = self.papers[0] if len(self.papers) == 1 else self.papers[kind.to(self.device)]
            x = torch.lerp(paper, self.colour, ink.to(self.device)[:, None].float() / 255)
            beside = [] if self.features is None else [self.features.index_select(0, rows)]
            yield [x, *beside], self.y.index_select(0, rows)

    def _read(self, parts: list[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The ink (B, H, W) and the layouts (B,) of each batch, in their order, read in threads."""
        threads, rest, waiting = max(self.charts.workers, 1), iter(parts), deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="charts")
        try:
            waiting.extend(pool.submit(self._ink, rows) for rows in islice(rest, AHEAD * threads))
            while waiting:
                read = waiting.popleft().result()
                waiting.extend(pool.submit(self._ink, rows) for rows in islice(rest, 1))
                yield read
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ink(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        charts = self.charts
        kind = charts.kind[rows]
        ink = np.empty((len(rows), *charts.kinds[0].sheet.image), np.uint8)
        for number in np.unique(kind):
            of_kind = np.flatnonzero(kind == number)
            ink[of_kind] = charts.kinds[number].store.read([charts.keys[row] for row in rows[of_kind]])
        return torch.from_numpy(ink), torch.from_numpy(kind)


Mask = NDArray[np.bool_]


def papers(charts: Charts) -> NDArray[np.float32]:
    """The paper (N, 3, H, W) in [0, 1] of each chart."""
    kinds = np.stack([kind.paper for kind in charts.kinds]).transpose(0, 3, 1, 2)
    return (kinds[charts.kind] / 255).astype(np.float32)


def at_peaks(charts: Charts, peaks: Sequence[NDArray[np.int64]], rate_hz: float) -> tuple[Mask, Mask]:
    """Which pixels (N, 1, H, W) lie within 60 ms of an R peak, in the row of the lead, and which where a lead is
    drawn."""
    near, room = (np.zeros((len(charts), 1, *charts.kinds[0].sheet.image), bool) for _ in range(2))
    for row, own in enumerate(peaks):
        sheet = charts.kinds[charts.kind[row]].sheet
        for cell in sheet.cells:
            room[row, 0][_part(sheet, cell, cell.begin_s, cell.begin_s + cell.seconds)] = True
            for peak_s in own / rate_hz:
                near[row, 0][_part(sheet, cell, peak_s - QRS_S, peak_s + QRS_S)] = True
    return near, room


def _part(sheet: Sheet, cell: Cell, begin_s: float, end_s: float) -> tuple[slice, slice]:
    """The rows and columns of pixels on which a cell shows what is from `begin_s` to `end_s`."""
    times = (min(max(second, cell.begin_s), cell.begin_s + cell.seconds) for second in (begin_s, end_s))
    across = [cell.x_mm + (second - cell.begin_s) * MM_PER_S for second in times]
    down = (cell.y_mm - ROW_MM / 2, cell.y_mm + ROW_MM / 2)
    first, last = ([max(round(mm * sheet.pixels_per_mm), 0) for mm in side] for side in (down, across))
    return slice(*first), slice(*last)
