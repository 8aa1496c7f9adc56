"""The view "chart": a dataset of signals becomes pictures of ECG paper, drawn once and kept in `store`.

    data = as_charts(get_data(...), root, layout="v1,v2", size=224)
    empty = papers(data.val)                     # (N, 3, H, W) in [0, 1], the paper without a trace
    near, room = at_peaks(data.val, peaks, 125)  # (N, 1, H, W): pixels of R peaks, and of leads

`Charts` replaces the `Split` that it was drawn from; its pictures are read in threads while the network computes. A
chart is one row of the signals in one layout; a row that is longer than the layout has several charts, windows from its
first sample to its last. The splits are the splits of the signals, so that all charts of a row are in one split, and
they become one prediction. Another unit than mV is drawn like mV; the spec states it.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders import base
from loaders.base import Data, DataSpec, Rows, part_of
from loaders.charts.store import ChartStore, fill, key
from loaders.families.row_forms import QRS_S
from loaders.records import windows
from toolbox.errors import DataError
from toolbox.paper import layouts
from toolbox.paper.drawing import VERSION, Drawing, Style, blank, inked
from toolbox.paper.layouts import MM_PER_S, ROW_MM, Cell, Sheet

AHEAD = 2  # batches that each thread reads in advance


@dataclass(frozen=True)
class ChartKind:
    """One layout of a dataset: its sheet, the number of samples in it, its paper (H, W, 3), the colour (3,) of its
    traces, and the store of its charts."""

    sheet: Sheet
    samples: int
    paper: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    store: ChartStore


def cut(rows: Rows, samples: Sequence[int]) -> NDArray[np.int64]:
    """Windows of each of `samples` over all rows, row by row: the row of each, the place of its width in `samples`, its
    first sample and its number (4, M). Raises DataError for a row without samples."""
    lengths = rows.lengths
    if (empty := np.flatnonzero(lengths == 0)).size:
        names = ", ".join(str(rows.record[row] or rows.index[row]) for row in empty[:3])
        raise DataError(f"rows without a sample cannot be drawn: {names}", hint="data without them")
    parts = []
    for kind, size in enumerate(samples):
        row, begin = windows(lengths, size)
        number = np.arange(len(row)) - np.searchsorted(row, row)
        parts.append(np.stack([row, np.full(len(row), kind), begin, number]))
    columns = np.concatenate(parts, axis=1)
    return columns[:, np.argsort(columns[0], kind="stable")]


def window(rows: Rows, row: int, begin: int, samples: int) -> NDArray[np.float32]:
    """The samples (C, samples) of a row from `begin` on; NaN after its end."""
    part = np.asarray(rows.signal(row)[:, begin : begin + samples], np.float32)
    return np.pad(part, ((0, 0), (0, samples - part.shape[1])), constant_values=np.nan)


@dataclass(frozen=True)
class Charts:
    """`Rows` of charts: chart i shows row `row[i]` of the signals from its sample `begin[i]` on, in the layout
    `kinds[kind[i]]`; `number[i]` counts the charts of that row and layout. `workers` threads read, one at least."""

    signals: Rows
    kinds: list[ChartKind]
    row: NDArray[np.int64]
    kind: NDArray[np.int64]
    begin: NDArray[np.int64]
    number: NDArray[np.int64]
    workers: int = 0

    @classmethod
    def of(cls, signals: Rows, kinds: list[ChartKind], workers: int = 0) -> "Charts":
        """All charts of the rows of `signals`. Raises DataError for a row without samples."""
        row, kind, begin, number = cut(signals, [kind.samples for kind in kinds])
        return cls(signals, kinds, row, kind, begin, number, workers)

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def pooled(self) -> bool:
        return len(np.unique(self.index)) < len(self)

    @property
    def dropped(self) -> int:
        return self.signals.dropped

    @property
    def y(self) -> NDArray[np.int64]:
        return self.signals.y[self.row]

    @property
    def record(self) -> NDArray[np.str_]:
        return self.signals.record[self.row]

    @property
    def index(self) -> NDArray[np.int64]:
        return self.signals.index[self.row]

    @cached_property
    def keys(self) -> list[bytes]:
        """The keys of the charts in their stores."""
        return [key(index, number) for index, number in zip(self.index.tolist(), self.number.tolist(), strict=True)]

    @property
    def x(self) -> NDArray[np.float32]:
        """The pictures (N, 3, H, W) in [0, 1], in memory: for a few rows only."""
        batches = self.batches(torch.device("cpu")).batches(None, 1)
        return np.concatenate([inputs[0].numpy() for inputs, _ in batches])

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.signals.lengths[self.row]

    def signal(self, row: int) -> NDArray[np.float32]:
        return self.signals.signal(self.row[row])

    def window(self, row: int) -> NDArray[np.float32]:
        """The samples (C, T) in a chart."""
        return window(self.signals, self.row[row], self.begin[row], self.kinds[self.kind[row]].samples)

    def picture(self, row: int) -> NDArray[np.uint8]:
        """A chart (H, W, 3)."""
        kind = self.kinds[self.kind[row]]
        return inked(kind.paper, kind.colour, kind.store.read([self.keys[row]])[0])

    def rows(self, which: NDArray[np.int64]) -> "Charts":
        return replace(self, **{name: getattr(self, name)[which] for name in ("row", "kind", "begin", "number")})

    def batches(self, device: torch.device) -> "ChartBatches":
        return ChartBatches(self, device)

    def shared(self, *others: "Charts") -> NDArray[np.int64]:
        own, *rest = (side.signals.rows(np.unique(side.row)) for side in (self, *others))
        return np.flatnonzero(np.isin(self.row, np.unique(self.row)[own.shared(*rest)]))

    @property
    def digested(self) -> str:
        return self.signals.digested

    @property
    def digests(self) -> NDArray[np.uint64]:
        """Eight bytes (N,) of a digest of the signal of each chart."""
        return self.signals.digests[self.row]


class ChartBatches:
    """Charts as batches (inputs, y): x (B, 3, H, W) in [0, 1] and, if the rows have features, features (B, F).

    The ink (B, H, W) uint8 is read and moved to the device, and put on the paper there.
    """

    def __init__(self, charts: Charts, device: torch.device) -> None:
        self.charts, self.device = charts, device
        self.y = torch.tensor(charts.y, device=device)
        self.rows = torch.arange(len(charts), device=device)
        papers = [self._unit(kind.paper).permute(2, 0, 1) for kind in charts.kinds]
        self.papers = torch.stack(papers)  # (kinds, 3, H, W)
        self.colour = self._unit(charts.kinds[0].colour)[:, None, None]
        self.features: list[Tensor] = []
        if (features := getattr(charts.signals, "features", None)) is not None and features.shape[1]:
            self.features = [torch.tensor(features[charts.row], device=device)]

    def _unit(self, colours: NDArray[np.uint8]) -> Tensor:
        return torch.tensor(colours, device=self.device).float() / 255

    def __len__(self) -> int:
        return len(self.y)

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batches of `size` charts from number `start` on, the same in every `epoch`; an order of None is the source's
        order."""
        order = self.rows if order is None else order
        parts = [order[begin : begin + size] for begin in range(start * size, len(order), size)]
        for rows, (ink, kind) in zip(parts, self._read([part.cpu().numpy() for part in parts]), strict=True):
            paper = self.papers[0] if len(self.papers) == 1 else self.papers[kind.to(self.device)]
            x = torch.lerp(paper, self.colour, ink.to(self.device)[:, None].float() / 255)
            yield [x, *(each.index_select(0, rows) for each in self.features)], self.y.index_select(0, rows)

    def _read(self, parts: list[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The ink (B, H, W) and the layouts (B,) of each batch, in their order, read in threads."""
        threads, rest = max(self.charts.workers, 1), iter(parts)
        waiting: deque[Future[tuple[Tensor, Tensor]]] = deque()
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
    """The pixels (N, 1, H, W) within 60 ms of an R peak, in the row of the lead, and the pixels of all leads."""
    near, room = (np.zeros((len(charts), 1, *charts.kinds[0].sheet.image), bool) for _ in range(2))
    for row, own in enumerate(peaks):
        sheet = charts.kinds[charts.kind[row]].sheet
        for cell in sheet.cells:
            room[row, 0][_part(sheet, cell, cell.begin_s, cell.begin_s + cell.seconds)] = True
            for peak_s in own / rate_hz:
                near[row, 0][_part(sheet, cell, peak_s - QRS_S, peak_s + QRS_S)] = True
    return near, room


def _part(sheet: Sheet, cell: Cell, begin_s: float, end_s: float) -> tuple[slice, slice]:
    """The rows and columns of pixels from `begin_s` to `end_s` in a cell."""
    times = (min(max(second, cell.begin_s), cell.begin_s + cell.seconds) for second in (begin_s, end_s))
    across = [cell.x_mm + (second - cell.begin_s) * MM_PER_S for second in times]
    down = (cell.y_mm - ROW_MM / 2, cell.y_mm + ROW_MM / 2)
    first, last = ([max(round(mm * sheet.pixels_per_mm), 0) for mm in side] for side in (down, across))
    return slice(*first), slice(*last)


SIZE = 224
FIT, TEST = "train and validation", "test"
CHECKED = 16  # stored charts that are compared with their signals


def as_charts(
    data: Data,
    root: Path,
    *,
    layout: str | None = None,
    leads: str | None = None,
    size: int | None = None,
    style: str | None = None,
    workers: int = 0,
    options: Mapping[str, Any] | None = None,
    short_batch: int | None = None,
) -> Data:
    """The charts of `data`; missing ones are drawn into <root>/<dataset>/charts, the charts of the test when it is
    opened.

    `layout` and `style` are texts of --chart-layout and --chart-style, `leads` names with commas, `size` the height in
    pixels; `options` are the dataset's options that change the samples of a row. `workers` processes draw, and as many
    threads read (0: a process per core, and one thread). A short run with batches of `short_batch` draws the measured
    rows of validation and test only. Raises UsageError for impossible charts, DataError for an unusable store,
    ResourceError.
    """
    spec, looks, sheets = data.spec, Style.of(style), laid_out(data.spec, layout=layout, leads=leads, size=size or SIZE)
    source = {"source": data.checksum, "options": {**(options or {})}}
    kinds = {
        side: [_kind(sheet, spec, looks, root, {"side": side, **source}) for sheet in sheets] for side in (FIT, TEST)
    }
    train, val = (Charts.of(side, kinds[FIT], workers) for side in (data.train, data.val))
    most = base.measured_rows(short_batch, len(train))
    val = val if most is None else part_of(val, most)
    _draw((train, val), spec, looks, workers)

    def open_test() -> Charts:
        test = Charts.of(data.test, kinds[TEST], workers)
        test = test if most is None else part_of(test, most)
        _draw((test,), spec, looks, workers)
        return test

    digests = " ".join(kind.store.digest for kind in (*kinds[FIT], *kinds[TEST]))
    checksum = hashlib.sha256(f"{data.checksum} {digests}".encode()).hexdigest()
    drawn = _spec(spec, sheets)
    if most is None:
        return Data(drawn, train, val, open_test, checksum, published=data.published)
    drawn = replace(drawn, split_rule=f"{drawn.split_rule}; {base.rule(most)}")
    return Data(drawn, train, val, open_test, checksum, whole=data, published=data.published)


def laid_out(spec: DataSpec, *, layout: str | None, leads: str | None, size: int) -> list[Sheet]:
    """The requested sheets, `size` pixels high; layout and leads have defaults by the data. Raises UsageError."""
    chosen = tuple(name.strip() for name in leads.split(",")) if leads else None
    asked = layouts.parse(layout) if layout else [layouts.by_default(chosen or spec.leads, spec.samples / spec.rate_hz)]
    return layouts.sheets(asked, spec.leads, chosen=chosen, size=size)


def _kind(sheet: Sheet, spec: DataSpec, style: Style, root: Path, source: Mapping[str, Any]) -> ChartKind:
    samples = sheet.samples(spec.rate_hz)
    facts: dict[str, Any] = {"drawing": VERSION, "dataset": spec.name, **source}
    facts |= {"rate_hz": spec.rate_hz, "unit": spec.unit, "leads": spec.leads}
    facts |= {"sheet": asdict(sheet), "image": sheet.image, "samples": samples, "line_mm": style.line}
    return ChartKind(sheet, samples, *blank(sheet, style), ChartStore(root / spec.name / "charts", facts, sheet.image))


def _spec(spec: DataSpec, sheets: list[Sheet]) -> DataSpec:
    drawn = sorted({cell.channel for sheet in sheets for cell in sheet.cells})
    names = " and ".join(sheet.layout.name for sheet in sheets)
    rule = f"{spec.split_rule}; drawn as ECG paper ({names}) after the split"
    rule += ", and scored once a row by the mean over its charts"
    return replace(
        spec,
        view="chart",
        image=sheets[0].image,
        channels=len(drawn),
        leads=tuple(spec.leads[channel] for channel in drawn),
        samples=max(sheet.samples(spec.rate_hz) for sheet in sheets),
        unit=spec.unit if spec.unit.partition(" ")[0] == "mV" else f"{spec.unit or 'not known'}, 1 drawn as 1 mV",
        split_rule=rule,
    )


def _draw(sides: tuple[Charts, ...], spec: DataSpec, style: Style, workers: int) -> None:
    """Draw the missing charts of `sides`, and compare some of the stored ones with their signals."""
    for number, kind in enumerate(sides[0].kinds):
        rows = ((side, row) for side in sides for row in np.flatnonzero(side.kind == number).tolist())
        windows = {side.keys[row]: partial(side.window, row) for side, row in rows}
        missing = dict.fromkeys(kind.store.missing(windows))
        there = [each for each in windows if each not in missing]
        checked = [there[place] for place in np.linspace(0, len(there) - 1, min(CHECKED, len(there))).astype(int)]
        kind.store.check(checked, (windows[each]() for each in checked))
        if missing:
            how = Drawing(kind.sheet, spec.rate_hz, kind.samples, style.line)
            fill(kind.store, {each: windows[each] for each in missing}, how, workers=workers)
