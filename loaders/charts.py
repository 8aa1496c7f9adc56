"""The view "chart": any dataset of signals becomes one of pictures of ECG paper, drawn once and kept in `chartstore`.

    data = as_charts(get_data(...), root, layout="v1,v2", size=224)

A row is a chart: one row of the signals under one layout, and of what is longer than the layout one of the windows that lie over
it from its first sample to its last. The sides are those of the signals, so that all charts of a row stand on one side, and they
become one prediction. A unit that is not mV is drawn as if it were, which the spec says.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders import drawing, layouts
from loaders.base import Data, DataSpec, Rows
from loaders.chartstore import ChartStore, key
from loaders.crops import windows
from loaders.layouts import Sheet
from loaders.paper import VERSION, Style, blank, inked
from toolbox.errors import DataError

SIZE = 224
FIT, TEST = "train and validation", "test"
OF_SIDES = ("fold", "label_map", "drop_labels", "rename_labels", "crops", "resample", "rr_features")  # not of a row's samples
CHECKED = 16  # rows of a side whose charts are seen to be of their signals
AHEAD = 2  # batches that each thread has read before they are asked for


@dataclass(frozen=True)
class Kind:
    """One layout of a dataset: its sheet, how many samples it shows, its paper (H, W, 3) and the colour (3,) of its traces, and
    where its charts are kept."""

    sheet: Sheet
    samples: int
    paper: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    store: ChartStore


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
) -> Data:
    """The charts of `data`, drawn into <root>/<dataset>/charts where they are not there yet; those of the test when it is opened.

    `layout` and `style` are texts of --chart-layout and --chart-style, `leads` names with commas, `size` the height in pixels;
    `options` are those of the loader. As many processes draw, and threads read, as `workers` says; 0 stands for a process a core
    and one thread. Raises UsageError for what cannot be drawn, DataError for a store that cannot be used, ResourceError.
    """
    spec, looks = data.spec, Style.of(style)
    chosen = tuple(name.strip() for name in leads.split(",")) if leads else None
    asked = layouts.parse(layout) if layout else [layouts.by_default(chosen or spec.leads, spec.samples / spec.rate_hz)]
    sheets = layouts.sheets(asked, spec.leads, chosen=chosen, size=size or SIZE)
    told = {name: value for name, value in (options or {}).items() if name not in OF_SIDES}
    kinds = {
        side: [_kind(sheet, spec, looks, root, {"side": side, "source": data.checksum, "options": told}) for sheet in sheets]
        for side in (FIT, TEST)
    }
    train, val = (Charts.of(side, kinds[FIT], workers) for side in (data.train, data.val))
    draw((train, val), spec, looks, workers)

    def open_test() -> Charts:
        test = Charts.of(data.open_test(), kinds[TEST], workers)
        draw((test,), spec, looks, workers)
        return test

    digests = " ".join(kind.store.digest for kind in (*kinds[FIT], *kinds[TEST]))
    checksum = hashlib.sha256(f"{data.checksum} {digests}".encode()).hexdigest()
    return Data(_spec(spec, sheets), train, val, open_test, checksum)


def _kind(sheet: Sheet, spec: DataSpec, style: Style, root: Path, source: Mapping[str, Any]) -> Kind:
    samples = round(sheet.layout.whole_s * spec.rate_hz)
    facts = {"drawing": VERSION, "dataset": spec.name, **source, "rate_hz": spec.rate_hz, "unit": spec.unit, "leads": spec.leads}
    facts |= {"sheet": asdict(sheet), "image": sheet.image, "samples": samples, "line_mm": style.line}
    return Kind(sheet, samples, *blank(sheet, style), ChartStore(root / spec.name / "charts", facts, sheet.image))


def _spec(spec: DataSpec, sheets: list[Sheet]) -> DataSpec:
    """The facts of the charts."""
    drawn = sorted({cell.channel for sheet in sheets for cell in sheet.cells})
    names = " and ".join(sheet.layout.name for sheet in sheets)
    rule = f"{spec.split_rule}; drawn as ECG paper ({names}) after the split, and scored once a row by the mean over its charts"
    return replace(
        spec,
        view="chart",
        image=sheets[0].image,
        channels=len(drawn),
        leads=tuple(spec.leads[channel] for channel in drawn),
        samples=round(max(sheet.layout.whole_s for sheet in sheets) * spec.rate_hz),
        unit=spec.unit if spec.unit.split()[0] == "mV" else f"{spec.unit}, 1 drawn as 1 mV",
        split_rule=rule,
    )


def draw(sides: tuple["Charts", ...], spec: DataSpec, style: Style, workers: int) -> None:
    """Draw the charts of `sides` that are in no store yet, and see that those that are there are of these signals."""
    for number, kind in enumerate(sides[0].kinds):
        wanted: dict[bytes, tuple[Charts, int]] = {}
        for side in sides:
            own = np.flatnonzero(side.kind == number)
            for row in own[np.linspace(0, len(own) - 1, min(CHECKED, len(own))).astype(int)]:
                wanted[side.keys[row]] = side, row
        checked = {each: wanted[each] for each in wanted.keys() - set(kind.store.missing(wanted))}
        kind.store.check(list(checked), (side.window(row) for side, row in checked.values()))
        wanted = {side.keys[row]: (side, row) for side in sides for row in np.flatnonzero(side.kind == number)}
        if missing := kind.store.missing(wanted):
            pen = drawing.Drawing(kind.sheet, spec.rate_hz, kind.samples, style.line)
            drawing.fill(kind.store, missing, lambda each, of=wanted: of[each][0].window(of[each][1]), pen, workers=workers)


@dataclass(frozen=True)
class Charts:
    """Rows of pictures: chart i is of row `whose[i]` of the signals, in the layout `kind[i]`, from its sample `begin[i]` on."""

    signals: Rows
    kinds: list[Kind]
    whose: NDArray[np.int64]
    kind: NDArray[np.int64]
    begin: NDArray[np.int64]
    number: NDArray[np.int64]
    workers: int = 0

    @classmethod
    def of(cls, signals: Rows, kinds: list[Kind], workers: int = 0) -> "Charts":
        """All charts of the rows of `signals`, those of a row one after the other; DataError for a row without samples."""
        lengths = signals.lengths
        if (empty := np.flatnonzero(lengths == 0)).size:
            names = ", ".join(str(signals.record[row] or signals.index[row]) for row in empty[:3])
            raise DataError(f"rows without a sample cannot be drawn: {names}", hint="data without them")
        parts = []
        for number, kind in enumerate(kinds):
            whose, begin = windows(lengths, kind.samples)
            first = np.searchsorted(whose, whose)
            parts.append(np.stack([whose, np.full(len(whose), number), begin, np.arange(len(whose)) - first]))
        columns = np.concatenate(parts, axis=1)
        return cls(signals, kinds, *columns[:, np.argsort(columns[0], kind="stable")], workers)

    def __len__(self) -> int:
        return len(self.whose)

    @property
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
        everything = self.batches(torch.device("cpu")).batches(None, max(len(self), 1))
        return next(everything)[0][0].numpy()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many samples each chart's row has (N,)."""
        return self.signals.lengths[self.whose]

    def signal(self, row: int) -> NDArray[np.float32]:
        """The samples (C, T) of the row that a chart is of."""
        return self.signals.signal(self.whose[row])

    def window(self, row: int) -> NDArray[np.float32]:
        """The samples (C, T) that a chart shows; where its row ends before it does they are not numbers."""
        samples, begin = self.kinds[self.kind[row]].samples, self.begin[row]
        part = np.asarray(self.signal(row)[:, begin : begin + samples], np.float32)
        return np.pad(part, ((0, 0), (0, samples - part.shape[1])), constant_values=np.nan)

    def picture(self, row: int) -> NDArray[np.uint8]:
        """A chart (H, W, 3) as a picture."""
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
        own = [(side.signals, np.unique(side.whose)) for side in (self, *others)]
        rows = own[0][1][self.signals.rows(own[0][1]).shared(*(signals.rows(which) for signals, which in own[1:]))]
        return np.flatnonzero(np.isin(self.whose, rows))


class ChartBatches:
    """Charts as batches of (inputs, y): x (B, 3, H, W) in [0, 1], and features where there are; threads read ahead.

    What is read and moved to the device is the ink (B, H, W) uint8; there it is put on the paper.
    """

    def __init__(self, charts: Charts, device: torch.device) -> None:
        self.charts, self.device = charts, device
        self.y = torch.tensor(charts.y, device=device)
        self.rows = torch.arange(len(charts), device=device)
        self.papers = torch.stack([self._unit(kind.paper).permute(2, 0, 1) for kind in charts.kinds])  # (kinds, 3, H, W)
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
        for rows, (ink, kind) in zip(parts, self._read(parts), strict=True):
            paper = self.papers[0] if len(self.papers) == 1 else self.papers[kind.to(self.device)]
            x = torch.lerp(paper, self.colour, ink.to(self.device)[:, None].float() / 255)
            beside = [] if self.features is None else [self.features.index_select(0, rows)]
            yield [x, *beside], self.y.index_select(0, rows)

    def _read(self, parts: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """The ink (B, H, W) and the layouts (B,) of each batch, in their order, read in threads."""
        threads = max(self.charts.workers, 1)
        with ThreadPoolExecutor(threads, thread_name_prefix="charts") as pool:
            waiting, rest = deque(), iter(parts)
            try:
                for _ in range(AHEAD * threads):
                    waiting.extend(pool.submit(self._ink, rows.cpu().numpy()) for rows in _one(rest))
                while waiting:
                    read = waiting.popleft().result()
                    waiting.extend(pool.submit(self._ink, rows.cpu().numpy()) for rows in _one(rest))
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


def _one(rest: Iterator[Tensor]) -> Iterator[Tensor]:
    """The next of `rest`, if there is one."""
    yield from (part for _, part in zip(range(1), rest, strict=False))
