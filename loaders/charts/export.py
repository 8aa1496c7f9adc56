"""Charts as files for people: PNG with 300 dots per inch, and PDF in true scale.

    table = export(data, folder, layout="v1", style="line=0.4")

writes <folder>/train and <folder>/validation with a PNG and a PDF for each chart, named by record and layout, and
charts.csv with the record, time and class of each. The test rows stay closed. A page of PDF, printed at 100 %, has the
true size; it is A4 if the chart fits.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data, DataSpec, Rows
from loaders.charts.rows import SIZE, cut, laid_out, window
from toolbox import files, terminal
from toolbox.paper import layouts
from toolbox.paper.drawing import (
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
from toolbox.paper.layouts import MM_PER_MV, Sheet
from toolbox.plain import NOTICE
from toolbox.runs.outputs import Claim, distinct, safe_name

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
    from matplotlib.patches import Rectangle

    width, height = sheet.width_mm, sheet.height_mm
    axes.add_patch(Rectangle((0, 0), width, height, facecolor=f"#{style.paper}", edgecolor="none", zorder=0))
    for order, (name, (apart_mm, wide_mm)) in enumerate(GRID_MM.items() if style.grid else (), start=1):
        grid: Any = {"colors": f"#{getattr(style, name)}", "linewidths": _points(wide_mm), "zorder": order}
        axes.vlines(np.arange(0, width + apart_mm / 2, apart_mm), 0, height, **grid)
        axes.hlines(np.arange(0, height + apart_mm / 2, apart_mm), 0, width, **grid)


def _draw_traces(axes: "Axes", sheet: Sheet, signal: NDArray[np.float32], rate_hz: float, style: Style) -> None:
    """Pulses, ticks, names and traces, cut at the edge of the paper."""
    from matplotlib.patches import Rectangle

    edge = Rectangle((0, 0), sheet.width_mm, sheet.height_mm, transform=axes.transData)
    line: Any = {"color": f"#{style.trace}", "linewidth": _points(style.line), "solid_joinstyle": "round", "zorder": 3}
    letters: Any = {"color": f"#{style.trace}", "va": "top", "parse_math": False, "zorder": 3}
    pulse_x, pulse_y = np.array(PULSE_MM).T
    for row_mm in sheet.rows_mm:
        axes.plot(pulse_x, row_mm - pulse_y, **line)
    for cell in sheet.cells:
        time, x_mm = cell.stretch(rate_hz, signal.shape[1])
        axes.plot(x_mm, cell.y_mm - MM_PER_MV * signal[cell.channel, time], clip_path=edge, **line)
        for tick in TICKS_MM if cell.begin_s else ():
            axes.plot([cell.x_mm] * 2, cell.y_mm + np.array(tick), **line)
        axes.text(cell.x_mm + NAME_AT_MM[0], cell.y_mm + NAME_AT_MM[1], cell.lead, fontsize=_points(NAME_MM), **letters)
    axes.text(SCALE_AT_MM[0], sheet.height_mm + SCALE_AT_MM[1], SCALE, fontsize=_points(SCALE_MM), **letters)


DOTS_PER_INCH = 300
COLUMNS = ("file", "side", "record", "row", "class", "layout", "begin_s", "end_s")
TABLE, ENDINGS = "charts.csv", (".png", ".pdf")


@dataclass(frozen=True)
class PrintKind:
    """A layout at print resolution: its pen, its paper (H, W, 3) and the colour (3,) of the ink."""

    sheet: Sheet
    pen: Pen
    paper: NDArray[np.uint8]
    colour: NDArray[np.uint8]


@dataclass(frozen=True)
class PrintedChart:
    """A file's name without its ending, and its content: a row from its sample `begin` on, on a paper of a kind."""

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

    `data` are signals; `layout`, `leads` and `style` as in `as_charts`. Raises UsageError, DataError, ResourceError.
    """
    looks = Style.of(style)
    asked = [None] if layout is None else [one.name for one in layouts.parse(layout)]  # each on its own paper
    sheets = [sheet for one in asked for sheet in laid_out(data.spec, layout=one, leads=leads, size=SIZE)]
    kinds = [_kind(sheet, data.spec, looks) for sheet in sheets]
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
    """The claim on the table and all charts; files in the table of an earlier version may be replaced."""
    names = [f"{side}/{chart.name}{ending}" for side, drawn in charts.items() for chart in drawn for ending in ENDINGS]
    of = {"output": "charts", "dataset": data.spec.name, "data": data.checksum}
    listed = _listed(folder / TABLE)
    return Claim(folder, "", [TABLE, *names], of, lambda path: of if path in listed else None, flag="--export-charts")


def _listed(table: Path) -> set[Path]:
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
    whole, named = cut(rows, [kind.sheet.samples(spec.rate_hz) for kind in kinds]).T.tolist(), _names(rows)
    layout = [re.sub(r"[^A-Za-z0-9.+-]", "_", kind.sheet.layout.name) for kind in kinds]
    names = distinct(f"{named[row]}_{layout[of]}{f'_{number + 1}' if number else ''}" for row, of, _, number in whole)
    return [PrintedChart(name, *place) for name, (*place, _) in zip(names, whole, strict=True)]


def _side(
    rows: Rows, spec: DataSpec, kinds: list[PrintKind], charts: list[PrintedChart], style: Style, folder: Path
) -> Iterator[tuple[Any, ...]]:
    """Write the charts of one split; yields the columns of the table after the second."""
    named = _names(rows)
    for chart in terminal.bar(iterable=charts, desc=f"charts of {folder.name}", unit="chart"):
        kind, row = kinds[chart.kind], chart.row
        signal = window(rows, row, chart.begin, kind.sheet.samples(spec.rate_hz))
        layout = kind.sheet.layout.name
        _save_png(folder / f"{chart.name}.png", kind, signal)
        end = min(chart.begin + signal.shape[1], int(rows.lengths[row]))
        times = [f"{at / spec.rate_hz:g}" for at in (chart.begin, end)]
        title = f"{spec.name}: {named[row]}, {' to '.join(times)} s, layout {layout}"
        save(folder / f"{chart.name}.pdf", kind.sheet, signal, rate_hz=spec.rate_hz, style=style, title=title)
        facts = str(rows.record[row]), int(rows.index[row]), _named(rows.y[row], spec.classes)
        yield f"{chart.name}.png", *facts, layout, *times


def _save_png(path: Path, kind: PrintKind, signal: NDArray[np.float32]) -> None:
    from PIL import Image

    picture = Image.fromarray(inked(kind.paper, kind.colour, kind.pen.ink(signal)))
    files.write_whole(path, lambda file: picture.save(file, "png", dpi=(kind.sheet.pixels_per_mm * MM_PER_INCH,) * 2))


def _names(rows: Rows) -> list[str]:
    """A name for each row: its record's, with the number of the row if another row has the same record."""
    several = len(np.unique(rows.record)) < len(rows)
    names = []
    for record, index in zip(rows.record.tolist(), rows.index.tolist(), strict=True):
        name = safe_name(re.sub(r"[^\w.+-]", "_", record), "") if record else ""
        names.append("_".join(filter(None, (name, f"row{index}" if several or not name else ""))))
    return names


def _named(label: NDArray[np.int64], classes: Sequence[str]) -> str:
    """The class of a row, or its classes with ";" between them."""
    return classes[int(label)] if label.ndim == 0 else ";".join(classes[k] for k in np.flatnonzero(label).tolist())
