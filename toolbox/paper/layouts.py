"""Layouts of charts on ECG paper: place and duration of each lead, at 25 mm/s and 10 mm/mV.

    v1, v2 = sheets(parse("v1,v2"), spec.leads, size=224)

A layout is a preset or COLUMNSxSECONDS[+LEAD...]: the leads fill one column after the other, and each lead after a + is
a rhythm strip below them, over the whole time. Layouts of one command share one paper, of the size of the largest. All
lengths are in mm of paper from its upper left corner; mm 0 is the centre of the first pixel.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import UsageError

MM_PER_S, MM_PER_MV = 25.0, 10.0
# Both presets have whole pixels a mm or a large square at 224 pixels: 112 mm are 2 a mm, 160 mm are 7 for 5 mm.
ROW_MM, TOP_MM, BOTTOM_MM, LEFT_MM, RIGHT_MM = 24.0, 8.0, 8.0, 15.0, 5.0
LIMBS, CHEST = ("I", "II", "III", "aVR", "aVL", "aVF"), ("V1", "V2", "V3", "V4", "V5", "V6")
TWELVE = LIMBS + CHEST
CUSTOM = re.compile(r"(\d{1,2})x(\d{1,3}(?:\.\d{1,3})?)((?:\+[^+]+)*)")
LONGEST_S, SHORTEST_S, DEFAULT = 60.0, 0.2, "v1"
SMALLEST, LARGEST, WIDEST = 32, 4096, 32_767  # pixels


@dataclass(frozen=True)
class Layout:
    """`columns` of `seconds` each, and rhythm strips; `leads` are the leads it needs, () for any."""

    name: str
    columns: int
    seconds: float
    rhythm: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()

    @property
    def whole_s(self) -> float:
        """The seconds of a recording that it shows."""
        return self.columns * self.seconds


PRESETS = {
    "v1": Layout("v1", columns=4, seconds=2.5, rhythm=("II",), leads=TWELVE),
    "v2": Layout("v2", columns=2, seconds=5.0, leads=TWELVE),
}


@dataclass(frozen=True)
class Cell:
    """A stretch of a lead: `channel` of the signal from `begin_s` on, from `x_mm` on around the zero line at `y_mm`."""

    lead: str
    channel: int
    x_mm: float
    y_mm: float
    begin_s: float
    seconds: float

    def stretch(self, rate_hz: float, samples: int) -> tuple[slice, NDArray[np.float64]]:
        """The shown slice of a signal of `samples`, and the place of each of its samples in mm from the left (n,)."""
        begin, end = (math.ceil(round(second * rate_hz, 6)) for second in (self.begin_s, self.begin_s + self.seconds))
        at = np.arange(begin, max(begin, min(end, samples)))
        return slice(begin, begin + len(at)), self.x_mm + (at / rate_hz - self.begin_s) * MM_PER_S


@dataclass(frozen=True)
class Sheet:
    """A layout of leads on a paper, and its pixels per mm; `rows_mm` are the zero lines of its rows."""

    layout: Layout
    cells: tuple[Cell, ...]
    rows_mm: tuple[float, ...]
    width_mm: float
    height_mm: float
    pixels_per_mm: float

    def samples(self, rate_hz: float) -> int:
        """The number of samples of a lead that it shows."""
        return round(self.layout.whole_s * rate_hz)

    @property
    def image(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return round(self.height_mm * self.pixels_per_mm), round(self.width_mm * self.pixels_per_mm)

    def sized(self, height: int) -> "Sheet":
        """The same paper in another resolution."""
        return replace(self, pixels_per_mm=height / self.height_mm)


def parse(text: str) -> list[Layout]:
    """The layouts of a text like "v1,v2" or "4x2.5+II". Raises UsageError for an invalid or repeated layout."""
    layouts = [_layout(part.strip()) for part in text.split(",")]
    names = [layout.name for layout in layouts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--chart-layout names {twice} twice", hint="each layout once")
    return layouts


def _layout(text: str) -> Layout:
    if text in PRESETS:
        return PRESETS[text]
    found = CUSTOM.fullmatch(text)
    if not found or not int(found[1]):
        known = ", ".join(PRESETS)
        what = f"--chart-layout {text[:40]!r} is none of {known} and not COLUMNSxSECONDS+LEAD"
        raise UsageError(what, hint="v1, 4x2.5+II or 1x10")
    rhythm = tuple(name.strip() for name in found[3].split("+")[1:])
    layout = Layout(text, int(found[1]), float(found[2]), rhythm)
    if layout.seconds < SHORTEST_S or layout.whole_s > LONGEST_S:
        what = f"--chart-layout {text[:40]} shows {layout.whole_s:g} s in columns of {layout.seconds:g} s"
        raise UsageError(what, hint=f"columns of {SHORTEST_S:g} s or more, {LONGEST_S:g} s in all at most")
    return layout


def by_default(leads: Sequence[str], length_s: float) -> Layout:
    """v1 for rows of 10 s and twelve leads; for others one column, as long as the row."""
    preset = PRESETS[DEFAULT]
    if {lead.casefold() for lead in preset.leads} <= {lead.casefold() for lead in leads} and length_s >= preset.whole_s:
        return preset
    if length_s > LONGEST_S:
        hint = f"--chart-layout 1x10, or --rate-hz where the rate is not known; {LONGEST_S:g} s are the most"
        raise UsageError(f"a row lasts {length_s:,.5g} s, too long for one line of a chart", hint=hint)
    return Layout(f"1x{length_s:.4g}", 1, max(length_s, SHORTEST_S))


def sheets(
    layouts: Sequence[Layout], leads: Sequence[str], *, chosen: Sequence[str] | None = None, size: int
) -> list[Sheet]:
    """The layouts for data with these `leads`, or the `chosen` of them, on one paper `size` pixels high.

    Raises UsageError for a missing lead, and for a paper that is too wide.
    """
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"--chart-size is {size}, must be from {SMALLEST} to {LARGEST}", hint="--chart-size 224")
    placed = [_placed(layout, tuple(chosen or layout.leads or leads), leads) for layout in layouts]
    width_mm, height_mm = (max(getattr(sheet, side) for sheet in placed) for side in ("width_mm", "height_mm"))
    found = [_moved(sheet, width_mm, height_mm).sized(size) for sheet in placed]
    if found[0].image[1] > WIDEST:
        what = f"a chart of {layouts[0].name} would be {found[0].image[1]:,} pixels wide, {size} high"
        raise UsageError(what, hint="a smaller --chart-size, or a shorter --chart-layout")
    return found


def _placed(layout: Layout, shown: tuple[str, ...], leads: Sequence[str]) -> Sheet:
    """A layout on a paper of its own."""
    there = {lead.casefold(): channel for channel, lead in enumerate(leads)}  # aVR is also written AVR
    if missing := [lead for lead in (*shown, *layout.rhythm) if lead.casefold() not in there]:
        what = f"layout {layout.name} needs lead {missing[0]}, the data has {', '.join(leads)[:120]}"
        raise UsageError(what, hint="--chart-leads with existing leads, or another --chart-layout such as 1x10")
    deep = -(-len(shown) // layout.columns)
    rows_mm = tuple(TOP_MM + ROW_MM / 2 + ROW_MM * row for row in range(deep + len(layout.rhythm)))
    cells = []
    for place, lead in enumerate(shown):
        column, row = divmod(place, deep)
        begin_s, channel = column * layout.seconds, there[lead.casefold()]
        cells.append(Cell(lead, channel, LEFT_MM + begin_s * MM_PER_S, rows_mm[row], begin_s, layout.seconds))
    for lead, y_mm in zip(layout.rhythm, rows_mm[deep:], strict=True):
        cells.append(Cell(lead, there[lead.casefold()], LEFT_MM, y_mm, 0.0, layout.whole_s))
    width_mm = LEFT_MM + layout.whole_s * MM_PER_S + RIGHT_MM
    return Sheet(layout, tuple(cells), rows_mm, width_mm, rows_mm[-1] + ROW_MM / 2 + BOTTOM_MM, 1.0)


def _moved(sheet: Sheet, width_mm: float, height_mm: float) -> Sheet:
    """The same sheet on a larger paper, vertically centred on a whole mm."""
    down_mm = (height_mm - sheet.height_mm) // 2
    cells = tuple(replace(cell, y_mm=cell.y_mm + down_mm) for cell in sheet.cells)
    rows_mm = tuple(row + down_mm for row in sheet.rows_mm)
    return replace(sheet, cells=cells, rows_mm=rows_mm, width_mm=width_mm, height_mm=height_mm)
