"""What the pixels of a chart are of: its paper without a trace, where a lead is drawn, and where its R peaks stand.

empty = chartmarks.papers(charts)                     # (N, 3, H, W) in [0, 1]
near, room = chartmarks.at_peaks(charts, peaks, 125)  # (N, 1, H, W), from samples of the window that each chart shows
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loaders.charts.rows import Charts
from loaders.families.row_forms_peaks import QRS_S
from toolbox.paper.layouts import MM_PER_S, ROW_MM, Cell, Sheet

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
