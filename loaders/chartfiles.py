"""Charts as files for people: PNG of 300 dots an inch, and PDF that is printed true to scale.

    table = export(data, folder, layout="v1", style="line=0.4")

writes <folder>/train and <folder>/validation with a PNG and a PDF for each chart, named by record and layout, and charts.csv,
which says of each whose it is, from when, and of which class. The test rows stay closed.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders import chartpdf
from loaders.base import Data, DataSpec, Rows
from loaders.chartrows import cut, window
from loaders.charts import SIZE, laid_out
from toolbox import files, layouts, terminal
from toolbox.errors import ResourceError
from toolbox.layouts import Sheet
from toolbox.paper import Pen, Style, blank, inked

MM_PER_INCH, DOTS_PER_INCH = 25.4, 300
COLUMNS = ("file", "side", "record", "row", "class", "layout", "begin_s", "end_s")
LONGEST_NAME = 150


@dataclass(frozen=True)
class Kind:
    """A layout at the resolution of print: what draws its traces, and its paper (H, W, 3) and the colour (3,) of the ink."""

    sheet: Sheet
    pen: Pen
    paper: NDArray[np.uint8]
    colour: NDArray[np.uint8]


def export(
    data: Data,
    folder: Path,
    *,
    layout: str | None = None,
    leads: str | None = None,
    style: str | None = None,
    most: int | None = None,
) -> Path:
    """Write the charts of train and validation, of the first `most` rows of each; the table that lists them.

    `data` are signals; `layout`, `leads` and `style` as of `charts.as_charts`. Raises UsageError, DataError, ResourceError.
    """
    looks, lines = Style.of(style), []
    asked = [None] if layout is None else [one.name for one in layouts.parse(layout)]  # each on a paper of its own
    kinds = [_kind(*laid_out(data.spec, layout=one, leads=leads, size=SIZE), data.spec, looks) for one in asked]
    for side, rows in {"train": data.train, "validation": data.val}.items():
        _make(folder / side)
        some = rows.rows(np.arange(len(rows))[:most])
        lines += [(side, *facts) for facts in _side(some, data.spec, kinds, looks, folder / side)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *((f"{side}/{name}", side, *rest) for side, name, *rest in lines)])
    files.write_text(folder / "charts.csv", text.getvalue())
    return folder / "charts.csv"


def _kind(sheet: Sheet, spec: DataSpec, style: Style) -> Kind:
    printed = sheet.sized(round(sheet.height_mm * DOTS_PER_INCH / MM_PER_INCH))
    pen = Pen(printed, spec.rate_hz, printed.samples(spec.rate_hz), line_mm=style.line)
    return Kind(printed, pen, *blank(printed, style))


def _side(rows: Rows, spec: DataSpec, kinds: list[Kind], style: Style, folder: Path) -> Iterator[tuple[Any, ...]]:
    """Write the charts of one side; of each what the table says."""
    whole, named = cut(rows, [kind.sheet.samples(spec.rate_hz) for kind in kinds]), _names(rows)
    for row, of, begin, number in terminal.bar(iterable=whole.T.tolist(), desc=f"charts of {folder.name}", unit="chart"):
        kind = kinds[of]
        signal = window(rows, row, begin, kind.sheet.samples(spec.rate_hz))
        layout = kind.sheet.layout.name
        name = f"{named[row]}_{re.sub(r'[^A-Za-z0-9.+-]', '_', layout)}" + (f"_{number + 1}" if number else "")
        _save_png(folder / f"{name}.png", kind, signal)
        begin_s, end_s = begin / spec.rate_hz, min(begin + signal.shape[1], int(rows.lengths[row])) / spec.rate_hz
        title = f"{spec.name}: {named[row]}, {begin_s:g} to {end_s:g} s, layout {layout}"
        chartpdf.save(folder / f"{name}.pdf", kind.sheet, signal, rate_hz=spec.rate_hz, style=style, title=title)
        label = spec.classes[rows.y[row]]
        yield f"{name}.png", str(rows.record[row]), int(rows.index[row]), label, layout, f"{begin_s:g}", f"{end_s:g}"


def _save_png(path: Path, kind: Kind, signal: NDArray[np.float32]) -> None:
    """Write a picture that knows how large it is on paper."""
    from PIL import Image

    picture = Image.fromarray(inked(kind.paper, kind.colour, kind.pen.ink(signal)))
    files.write_whole(path, lambda file: picture.save(file, "png", dpi=(kind.sheet.pixels_per_mm * MM_PER_INCH,) * 2))


def _names(rows: Rows) -> list[str]:
    """A name for each row: its record's where no other row is of it, with the number of the row otherwise."""
    several = len(np.unique(rows.record)) < len(rows)
    names = (
        (str(record), f"row{index}" if several or not record else "")
        for record, index in zip(rows.record, rows.index.tolist(), strict=True)
    )
    return [re.sub(r"[^\w.+-]", "_", "_".join(filter(None, parts)))[:LONGEST_NAME] for parts in names]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "another --export-charts, or free space"
        raise ResourceError(f"cannot make the folder: {error.strerror}", where=str(folder), hint=hint) from error
