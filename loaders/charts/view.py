"""The view "chart": any dataset of signals becomes one of pictures of ECG paper, drawn once and kept in `store`.

    data = as_charts(get_data(...), root, layout="v1,v2", size=224)

A row is a chart: one row of the signals in one layout, and of what is longer than the layout one of the windows that
lie over it from its first sample to its last. The sides are those of the signals, so that all charts of a row stand on
one side, and they become one prediction. A unit that is not mV is drawn as if it were, which the spec says.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from loaders import base
from loaders.base import Data, DataSpec, part_of
from loaders.charts.rows import ChartKind, Charts
from loaders.charts.store import ChartStore, fill
from toolbox.paper import layouts
from toolbox.paper.drawing import Drawing
from toolbox.paper.layouts import Sheet
from toolbox.paper.pen import VERSION, Style, blank

SIZE = 224
FIT, TEST = "train and validation", "test"
CHECKED = 16  # charts of a side that are seen to be of their signals


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
    """The charts of `data`, drawn into <root>/<dataset>/charts where they are not there yet; those of the test when it
    is opened.

    `layout` and `style` are texts of --chart-layout and --chart-style, `leads` names with commas, `size` the height in
    pixels; `options` are those of the dataset that decide the samples of a row. As many processes draw, and threads
    read, as `workers` says; 0 stands for a process a core and one thread. Of validation and test only what a short run
    with batches of `short_batch` measures is drawn. Raises UsageError for what cannot be drawn, DataError for a store
    that cannot be used, ResourceError.
    """
    spec, looks, sheets = data.spec, Style.of(style), laid_out(data.spec, layout=layout, leads=leads, size=size or SIZE)
    kinds = {
        side: [
            _kind(sheet, spec, looks, root, {"side": side, "source": data.checksum, "options": {**(options or {})}})
            for sheet in sheets
        ]
        for side in (FIT, TEST)
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
        return Data(drawn, train, val, open_test, checksum)
    drawn = replace(drawn, split_rule=f"{drawn.split_rule}; {base.rule(most)}")
    return Data(drawn, train, val, open_test, checksum, whole=data)


def laid_out(spec: DataSpec, *, layout: str | None, leads: str | None, size: int) -> list[Sheet]:
    """The sheets that are asked for, `size` pixels high; what is not typed is as it suits the data. Raises
    UsageError."""
    chosen = tuple(name.strip() for name in leads.split(",")) if leads else None
    asked = layouts.parse(layout) if layout else [layouts.by_default(chosen or spec.leads, spec.samples / spec.rate_hz)]
    return layouts.sheets(asked, spec.leads, chosen=chosen, size=size)


def _kind(sheet: Sheet, spec: DataSpec, style: Style, root: Path, source: Mapping[str, Any]) -> ChartKind:
    samples = sheet.samples(spec.rate_hz)
    facts = {
        "drawing": VERSION,
        "dataset": spec.name,
        **source,
        "rate_hz": spec.rate_hz,
        "unit": spec.unit,
        "leads": spec.leads,
    }
    facts |= {"sheet": asdict(sheet), "image": sheet.image, "samples": samples, "line_mm": style.line}
    return ChartKind(sheet, samples, *blank(sheet, style), ChartStore(root / spec.name / "charts", facts, sheet.image))


def _spec(spec: DataSpec, sheets: list[Sheet]) -> DataSpec:
    """The facts of the charts."""
    drawn = sorted({cell.channel for sheet in sheets for cell in sheet.cells})
    names = " and ".join(sheet.layout.name for sheet in sheets)
    rule = (
        f"{spec.split_rule}; drawn as ECG paper ({names}) after the split, and scored once a row by the mean over its"
        " charts"
    )
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
    """Draw the charts of `sides` that are in no store yet, and check that the others are of these signals."""
    for number, kind in enumerate(sides[0].kinds):
        wanted = {side.keys[row]: (side, row) for side in sides for row in np.flatnonzero(side.kind == number)}
        missing = dict.fromkeys(kind.store.missing(wanted))
        there = [each for each in wanted if each not in missing]
        checked = [there[place] for place in np.linspace(0, len(there) - 1, min(CHECKED, len(there))).astype(int)]
        kind.store.check(checked, (side.window(row) for side, row in map(wanted.get, checked)))
        if missing:
            how = Drawing(kind.sheet, spec.rate_hz, kind.samples, style.line)
            fill(
                kind.store, list(missing), lambda each, of=wanted: of[each][0].window(of[each][1]), how, workers=workers
            )
