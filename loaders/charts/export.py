"""Charts as files for people: PNG of 300 dots an inch, and PDF that is printed true to scale.

    table = export(data, folder, layout="v1", style="line=0.4")

writes <folder>/train and <folder>/validation with a PNG and a PDF for each chart, named by record and layout, and
charts.csv, which says of each whose it is, from when, and of which class. The test rows stay closed.

A chart as a page of PDF on which a mm of the paper is a mm: A4 where it fits, lines as lines, to be printed at 100
%.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data, DataSpec, Rows
from loaders.charts.rows import cut, window
from loaders.charts.view import SIZE, laid_out
from toolbox import files, terminal
from toolbox.outputs import Claim, distinct, safe_name
from toolbox.paper import layouts
from toolbox.paper.layouts import MM_PER_MV, Sheet
from toolbox.paper.pen import (
    GRID_MM,
    NAME_AT_MM,
    NAME_MM,
    PULSE_MM,
    SCALE,
    SCALE_AT_MM,
    SCALE_MM,
    TICKS_MM,
    Pen,
    Style,
    blank,
    inked,
)
from toolbox.plain import NOTICE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MM_PER_INCH = 25.4
POINTS_PER_INCH = 72
A4_MM = (297.0, 210.0)
EDGE_MM = 10.0  # above and below a chart, for a line of text
TITLE = 150  # characters


def save(path: Path, sheet: Sheet, signal: NDArray[np.float32], *, rate_hz: float, style: Style, title: str) -> None:
    """Write a signal (C, T) in mV on a sheet as a page; `title` stands above it. Raises ResourceError."""
    from matplotlib.figure import Figure

    own = (sheet.width_mm, sheet.height_mm + 2 * EDGE_MM)
    width, height = A4_MM if all(side <= most for side, most in zip(own, A4_MM, strict=True)) else own
    left, top = (width - sheet.width_mm) / 2, (height - sheet.height_mm) / 2
    figure = Figure(figsize=(width / MM_PER_INCH, height / MM_PER_INCH))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-left, width - left), ylim=(height - top, -top))
    axes.set_axis_off()
    _draw_paper(axes, sheet, style)
    _draw_traces(axes, sheet, signal, rate_hz, style)
    axes.text(0, -2, title[:TITLE], fontsize=8, va="bottom", parse_math=False)
    axes.text(0, sheet.height_mm + 2, NOTICE, fontsize=7, va="top", parse_math=False)
    plain = {"CreationDate": None, "Producer": None, "Creator": "ECG Commander", "Title": title[:TITLE]}
    files.write_whole(path, lambda file: figure.savefig(file, format="pdf", metadata=plain))


def _points(mm: float) -> float:
    return mm / MM_PER_INCH * POINTS_PER_INCH


def _draw_paper(axes: "Axes", sheet: Sheet, style: Style) -> None:
    """Paper and grid."""
    from matplotlib.patches import Rectangle

    width, height = sheet.width_mm, sheet.height_mm
    axes.add_patch(Rectangle((0, 0), width, height, facecolor=f"#{style.paper}", edgecolor="none", zorder=0))
    for order, (name, (apart_mm, wide_mm)) in enumerate(GRID_MM.items() if style.grid else (), start=1):
        how = {"colors": f"#{getattr(style, name)}", "linewidths": _points(wide_mm), "zorder": order}
        axes.vlines(np.arange(0, width + apart_mm / 2, apart_mm), 0, height, **how)
        axes.hlines(np.arange(0, height + apart_mm / 2, apart_mm), 0, width, **how)


def _draw_traces(axes: "Axes", sheet: Sheet, signal: NDArray[np.float32], rate_hz: float, style: Style) -> None:
    """Pulses, ticks, names and traces, cut at the edge of the paper."""
    from matplotlib.patches import Rectangle

    edge = Rectangle((0, 0), sheet.width_mm, sheet.height_mm, transform=axes.transData)
    how = {"color": f"#{style.trace}", "linewidth": _points(style.line), "solid_joinstyle": "round", "zorder": 3}
    letters = {"color": f"#{style.trace}", "va": "top", "parse_math": False, "zorder": 3}
    pulse_x, pulse_y = np.array(PULSE_MM).T
    for row_mm in sheet.rows_mm:
        axes.plot(pulse_x, row_mm - pulse_y, **how)
    for cell in sheet.cells:
        time, x_mm = cell.stretch(rate_hz, signal.shape[1])
        axes.plot(x_mm, cell.y_mm - MM_PER_MV * signal[cell.channel, time], clip_path=edge, **how)
        for tick in TICKS_MM if cell.begin_s else ():
            axes.plot([cell.x_mm] * 2, cell.y_mm + np.array(tick), **how)
        axes.text(cell.x_mm + NAME_AT_MM[0], cell.y_mm + NAME_AT_MM[1], cell.lead, fontsize=_points(NAME_MM), **letters)
    axes.text(SCALE_AT_MM[0], sheet.height_mm + SCALE_AT_MM[1], SCALE, fontsize=_points(SCALE_MM), **letters)


DOTS_PER_INCH = 300
COLUMNS = ("file", "side", "record", "row", "class", "layout", "begin_s", "end_s")
TABLE, ENDINGS = "charts.csv", (".png", ".pdf")


@dataclass(frozen=True)
class PrintKind:
    """A layout at the resolution of print: what draws its traces, and its paper (H, W, 3) and the colour (3,) of the
    ink."""

    sheet: Sheet
    pen: Pen
    paper: NDArray[np.uint8]
    colour: NDArray[np.uint8]


@dataclass(frozen=True)
class PrintedChart:
    """A file's name without its ending, and what it shows: a row from its sample `begin` on, on a paper of a kind."""

    name: str
    row: int
    kind: int
    begin: int


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

    `data` are signals; `layout`, `leads` and `style` as of `charts.as_charts`. Raises UsageError, DataError,
    ResourceError.
    """
    looks = Style.of(style)
    asked = [None] if layout is None else [one.name for one in layouts.parse(layout)]  # each on a paper of its own
    kinds = [_kind(*laid_out(data.spec, layout=one, leads=leads, size=SIZE), data.spec, looks) for one in asked]
    sides = {"train": data.train, "validation": data.val}
    sides = {side: rows.rows(np.arange(len(rows))[:most]) for side, rows in sides.items()}
    charts = {side: _planned(rows, data.spec, kinds) for side, rows in sides.items()}
    _claim(folder, data, charts).take()
    lines = [
        (f"{side}/{facts[0]}", side, *facts[1:])
        for side, rows in sides.items()
        for facts in _side(rows, data.spec, kinds, charts[side], looks, folder / side)
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *lines])
    files.write_text(folder / TABLE, text.getvalue())
    return folder / TABLE


def _claim(folder: Path, data: Data, charts: Mapping[str, list[PrintedChart]]) -> Claim:
    """The claim on the table and on the files of all charts; an earlier version wrote those that its table lists."""
    names = [f"{side}/{chart.name}{ending}" for side, drawn in charts.items() for chart in drawn for ending in ENDINGS]
    of = {"output": "charts", "dataset": data.spec.name, "data": data.checksum}
    listed = _listed(folder / TABLE)
    return Claim(folder, "", [TABLE, *names], of, lambda path: of if path in listed else None, flag="--export-charts")


def _listed(table: Path) -> set[Path]:
    """A table of charts, and the files that it lists; none where it is another table."""
    try:
        with open(table, encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            if tuple(next(lines, ())) != COLUMNS:
                return set()
            return {table, *((table.parent / line[0]).with_suffix(ending) for line in lines for ending in ENDINGS)}
    except (OSError, ValueError, LookupError, csv.Error):
        return set()


def _kind(sheet: Sheet, spec: DataSpec, style: Style) -> PrintKind:
    printed = sheet.sized(round(sheet.height_mm * DOTS_PER_INCH / MM_PER_INCH))
    pen = Pen(printed, spec.rate_hz, printed.samples(spec.rate_hz), line_mm=style.line)
    return PrintKind(printed, pen, *blank(printed, style))


def _planned(rows: Rows, spec: DataSpec, kinds: list[PrintKind]) -> list[PrintedChart]:
    """The charts of one side, under names that differ from each other."""
    whole, named = cut(rows, [kind.sheet.samples(spec.rate_hz) for kind in kinds]).T.tolist(), _names(rows)
    layout = [re.sub(r"[^A-Za-z0-9.+-]", "_", kind.sheet.layout.name) for kind in kinds]
    names = distinct(
        f"{named[row]}_{layout[of]}" + (f"_{number + 1}" if number else "") for row, of, _, number in whole
    )
    return [PrintedChart(name, *place) for name, (*place, _) in zip(names, whole, strict=True)]


def _side(
    rows: Rows, spec: DataSpec, kinds: list[PrintKind], charts: list[PrintedChart], style: Style, folder: Path
) -> Iterator[tuple[Any, ...]]:
    """Write the charts of one side; of each what the table says."""
    named = _names(rows)
    for chart in terminal.bar(iterable=charts, desc=f"charts of {folder.name}", unit="chart"):
        kind, row = kinds[chart.kind], chart.row
        signal = window(rows, row, chart.begin, kind.sheet.samples(spec.rate_hz))
        layout = kind.sheet.layout.name
        _save_png(folder / f"{chart.name}.png", kind, signal)
        begin_s, end_s = (
            at / spec.rate_hz for at in (chart.begin, min(chart.begin + signal.shape[1], int(rows.lengths[row])))
        )
        title = f"{spec.name}: {named[row]}, {begin_s:g} to {end_s:g} s, layout {layout}"
        save(folder / f"{chart.name}.pdf", kind.sheet, signal, rate_hz=spec.rate_hz, style=style, title=title)
        label = spec.classes[rows.y[row]]
        yield (
            f"{chart.name}.png",
            str(rows.record[row]),
            int(rows.index[row]),
            label,
            layout,
            f"{begin_s:g}",
            f"{end_s:g}",
        )


def _save_png(path: Path, kind: PrintKind, signal: NDArray[np.float32]) -> None:
    """Write a picture that knows how large it is on paper."""
    from PIL import Image

    picture = Image.fromarray(inked(kind.paper, kind.colour, kind.pen.ink(signal)))
    files.write_whole(path, lambda file: picture.save(file, "png", dpi=(kind.sheet.pixels_per_mm * MM_PER_INCH,) * 2))


def _names(rows: Rows) -> list[str]:
    """A name for each row: its record's where no other row is of it, with the number of the row otherwise."""
    several = len(np.unique(rows.record)) < len(rows)
    names = []
    for record, index in zip(rows.record.tolist(), rows.index.tolist(), strict=True):
        name = safe_name(re.sub(r"[^\w.+-]", "_", record), "") if record else ""
        names.append("_".join(filter(None, (name, f"row{index}" if several or not name else ""))))
    return names
