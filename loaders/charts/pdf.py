"""A chart as a page of PDF on which a mm of the paper is a mm: A4 where it fits, lines as lines, to be printed at 100
%."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.notice import NOTICE
from toolbox.paper.layouts import MM_PER_MV, Sheet
from toolbox.paper.pen import GRID_MM, NAME_AT_MM, NAME_MM, PULSE_MM, SCALE, SCALE_AT_MM, SCALE_MM, TICKS_MM, Style

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
