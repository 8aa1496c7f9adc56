"""A row of signals on ECG paper, as the parts of an SVG: 25 mm/s and, where the unit is mV, 10 mm/mV.

    sheet = on_paper(signal, spec)             # lines, names and size, in units of 0.05 mm
    {{ paper(sheet) }}                         # the macro of report.html

Rows of at most ten seconds have a line for each lead; twelve leads of ten seconds are laid out as on a printed ECG
(toolbox/paper/layouts.py), and longer rows of few leads have a line for every ten seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.paper import layouts
from toolbox.paper.layouts import BOTTOM_MM, LEFT_MM, MM_PER_MV, MM_PER_S, RIGHT_MM, TWELVE, Cell
from toolbox.reports import plots
from toolbox.reports.plots import DataFacts

Array = NDArray[Any]
UNITS = 20  # of the SVG in a mm
LINE_S, MOST_LINES = 10.0, 6  # seconds of a line, lines of a row
SHORTEST_S, LONGEST_S = 0.2, 600.0  # of rows with a plausible rate
TALLEST_MM, SCALED_MM, AROUND_MM = 60.0, 20.0, 4.0  # a trace in mV, a trace in another unit, and the margin of both
POINTS_MM = 5.0  # drawn points in a mm


@dataclass(frozen=True)
class Trace:
    """A path of an SVG; `is_output` marks a reconstruction."""

    path: str
    is_output: bool


@dataclass(frozen=True)
class Paper:
    """A sheet: its size, lines, and names of leads (x, y, text), in units; `scale` in words; `left_out`: a remark."""

    width: int
    height: int
    lines: list[Trace]
    names: list[tuple[int, int, str]]
    scale: str
    left_out: str = ""


def on_paper(signal: Array, spec: DataFacts, *, output: Array | None = None) -> Paper:
    """The leads (C, T) on paper, with a reconstruction (C, T) in another colour."""
    samples, rate_hz = signal.shape[1], spec.rate_hz
    timed = rate_hz > 0 and SHORTEST_S <= samples / rate_hz <= LONGEST_S
    rate_hz = rate_hz if timed else samples / min(LINE_S, max(1.0, samples / 100))
    per_unit, amplitude = _amplitude(signal, spec.unit)
    cells, width_mm, height_mm, cut = _cells(signal, spec.leads, samples / rate_hz, per_unit)
    rows = [(signal, False)] if output is None else [(signal, False), (output, True)]
    middle = np.median(signal, axis=1) if len(cells) > len(signal) else (signal.max(1) + signal.min(1)) / 2
    lines = [
        Trace(_path(row[cell.channel], cell, rate_hz, middle[cell.channel], per_unit), is_output)
        for row, is_output in rows
        for cell in cells
    ]
    names = [(_units(cell.x_mm - LEFT_MM + 2), _units(cell.y_mm - 6), cell.lead) for cell in cells]
    if _is_printed(spec.leads, samples / rate_hz):
        names = [(_units(cell.x_mm + 1), _units(cell.y_mm - 8), cell.lead) for cell in cells]
    speed = f"{MM_PER_S:g} mm/s" if timed else "the time scale is not known"
    return Paper(_units(width_mm), _units(height_mm), lines, names, f"{speed}, {amplitude}", cut)


def _amplitude(signal: Array, unit: str) -> tuple[float, str]:
    """Millimetres per unit, and the scale in words."""
    span = float(np.ptp(signal, axis=1).max()) or 1.0
    if unit.partition(" ")[0].partition(",")[0] != "mV":
        return SCALED_MM / span, "amplitude scaled to the row"
    per_mv = next((MM_PER_MV / by for by in (1, 2, 4, 8) if span * MM_PER_MV / by <= TALLEST_MM), TALLEST_MM / span)
    return per_mv, f"{per_mv:g} mm/mV"


def _is_printed(leads: Sequence[str], seconds: float) -> bool:
    return {lead.casefold() for lead in TWELVE} <= {lead.casefold() for lead in leads} and seconds >= LINE_S


def _cells(
    signal: Array, leads: Sequence[str], seconds: float, per_unit: float
) -> tuple[list[Cell], float, float, str]:
    """The stretches of each lead, the size of the paper in mm, and a remark on the part that is not drawn."""
    if _is_printed(leads, seconds):
        (sheet,) = layouts.sheets([layouts.PRESETS["v1"]], leads, size=layouts.SMALLEST)
        cut = "" if seconds < LINE_S * 1.01 else f"the first {LINE_S:g} of {seconds:.4g} s"
        return list(sheet.cells), sheet.width_mm, sheet.height_mm, cut
    most = max(1, MOST_LINES // len(leads))
    begins = [LINE_S * line for line in range(min(most, max(1, int(np.ceil(seconds / LINE_S - 1e-6)))))]
    tall = [max(8.0, float(np.ptp(lead)) * per_unit) + 2 * AROUND_MM for lead in signal]
    cells, y_mm = [], 0.0
    for begin_s in begins:
        for channel, name in enumerate(leads[: len(signal)]):
            length_s = min(LINE_S, seconds - begin_s)
            cells.append(Cell(name, channel, LEFT_MM, y_mm + tall[channel] / 2, begin_s, length_s))
            y_mm += tall[channel]
    shown = min(seconds, LINE_S * len(begins))
    cut = f"the first {shown:.4g} of {seconds:.4g} s" if shown < seconds * 0.999 else ""
    return cells, LEFT_MM + min(LINE_S, seconds) * MM_PER_S + RIGHT_MM, y_mm + BOTTOM_MM / 4, cut


def _path(lead: Array, cell: Cell, rate_hz: float, middle: float, per_unit: float) -> str:
    """The stretch of a cell as the path of an SVG, in whole units."""
    which, x_mm = cell.stretch(rate_hz, len(lead))
    y_mm = cell.y_mm - (lead[which] - middle) * per_unit
    if not len(y_mm):
        return ""
    kept = plots.extremes(y_mm, max(50, round(POINTS_MM * cell.seconds * MM_PER_S)))
    points = np.round(UNITS * np.stack([x_mm[kept], y_mm[kept]], 1)).astype(int)
    moves = np.diff(points, axis=0)
    moves = moves[(moves != 0).any(1)]
    return f"M{points[0, 0]} {points[0, 1]}l" + _joined(moves.ravel().tolist())


def _joined(numbers: Sequence[int]) -> str:
    """Numbers with a space between two only where the second has no sign."""
    if not numbers:
        return "0 0"
    parts = [f"{second}" if second < 0 else f" {second}" for _, second in pairwise(numbers)]
    return f"{numbers[0]}" + "".join(parts)


def _units(length_mm: float) -> int:
    return round(UNITS * length_mm)
