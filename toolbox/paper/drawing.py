"""ECG paper: a `Sheet` and a signal become pixels, with antialiasing, exact over the height of a pixel.

    pen = Pen(sheet, rate_hz, samples, line_mm=0.35)
    ink = pen.ink(signal)                      # (H, W) uint8, how much of each pixel the traces cover
    paper, colour = blank(sheet, style)        # (H, W, 3) uint8 and (3,), made once: grid, names, calibration pulses
    picture = inked(paper, colour, ink)        # (H, W, 3) uint8

A trace is a line with round joins and ends. A pixel is cut into SUB narrow columns; in each the trace reaches from a
lowest to a highest point, moved apart by a disc as wide as the line, and the covered part of each pixel is its ink.

`drawn(chunks, Drawing(sheet, rate_hz, samples, line_mm), workers, charts=N)` draws in parallel processes and gives the
packed charts of each chunk of signals, in order and the same with any number of processes. A packed chart is 8 bytes
that tell which signal was drawn, and its ink as deflated by zlib, with a checksum.
"""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import processes
from toolbox.errors import UsageError
from toolbox.paper.layouts import MM_PER_MV, Cell, Sheet

VERSION = 1  # raised when a signal gets other pixels
SUB = 5  # makes a line of one pixel equally wide in both directions
# How far apart and how wide: 0.04 s and 0.1 mV, 0.2 s and 0.5 mV.
GRID_MM = {"minor": (1.0, 0.12), "major": (5.0, 0.28)}
PULSE_MM = ((3.0, 0.0), (5.0, 0.0), (5.0, MM_PER_MV), (10.0, MM_PER_MV), (10.0, 0.0), (12.0, 0.0))  # 1 mV for 0.2 s
TICKS_MM = ((-4.0, -2.0), (2.0, 4.0))  # above and below the zero line, between two leads
# Height of the letters, and their smallest readable height.
NAME_MM, NAME_PIXELS, SCALE_MM, SCALE_PIXELS = (3.6, 10.0, 2.6, 9.0)
NAME_AT_MM, SCALE_AT_MM = (1.0, -10.5), (3.0, -5.5)  # from the zero line's begin, and from the lower left corner
SCALE = "25 mm/s   10 mm/mV"
EXAMPLE = "grid=off,line=0.5,trace=000080"
ALONE = 2000  # charts below which a second process takes longer to start than it saves
TOLD = 8  # bytes of the signal's digest
LEVEL = 1  # of zlib: 0.4 ms a chart; the best one takes three times as long for a seventh less
Pixels = NDArray[np.float64]
Signals = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Style:
    """Colours of paper and traces as RRGGBB, and widths of lines in mm; a line is at least a pixel wide."""

    grid: bool = True
    line: float = 0.35
    trace: str = "101018"
    paper: str = "FFFAF6"
    minor: str = "F0A8A0"
    major: str = "D9534A"

    @classmethod
    def of(cls, text: str | None) -> "Style":
        """From key=value,.... Raises UsageError for an unknown key or an invalid value."""
        style = cls()
        for part in text.split(",") if text else ():
            key, _, value = (word.strip() for word in part.partition("="))
            known = {field.name: field.type for field in fields(cls)}
            if key not in known:
                raise UsageError(f"--chart-style has no {key[:40]!r}, it has {', '.join(known)}", hint=EXAMPLE)
            style = replace(style, **{key: _value(key, value, type(getattr(style, key)))})
        return style


def _value(key: str, text: str, kind: type) -> Any:
    """The value of a style from its text."""
    if kind is bool and text in ("on", "off"):
        return text == "on"
    if kind is float:
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if 0.05 <= number <= 2:
            return number
    elif kind is str and len(text) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in text):
        return text.upper()
    rule = {bool: "on or off", float: "mm from 0.05 to 2", str: "a colour, RRGGBB"}[kind]
    raise UsageError(f"--chart-style {key}={text[:40]} must be {rule}", hint=EXAMPLE)


class Stroke:
    """Lines of a width in pixels through points at the same ascending places `x` (n,) in pixels: their ink."""

    def __init__(self, x: Pixels, width: float) -> None:
        first, last = int(np.floor((x[0] + 0.5) * SUB)), int(np.ceil((x[-1] + 0.5) * SUB))
        last = max(last, first + 1)
        edges = (np.arange(first, last + 1) / SUB - 0.5).clip(x[0], x[-1])
        before = (np.searchsorted(x, edges, "right") - 1).clip(0, max(len(x) - 2, 0))
        after = np.minimum(before + 1, len(x) - 1)
        reach = x[after] - x[before]
        share = np.divide(edges - x[before], reach, out=np.zeros(len(edges)), where=reach > 0)
        # Points come before an edge at the same place, so that upright lines are whole; but not before the first.
        own, late = np.arange(len(x)), np.concatenate([[-1], np.ones(len(edges) - 1), np.zeros(len(x))])
        order = np.lexsort([late, np.concatenate([edges, x])])
        self.before, self.after = np.concatenate([before, own])[order], np.concatenate([after, own])[order]
        self.share = np.concatenate([share, np.zeros(len(x))])[order].astype(np.float32)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        self.edges = place[: len(edges)]
        # Narrow columns that the disc reaches to either side.
        self.first, self.reach = (first, max(round(width / 2 * SUB - 0.5), 0))
        # Where a line slopes, the highest point of a narrow column stands at its far edge.
        away = (np.arange(self.reach + 1) + 0.5) / (self.reach + 0.5)
        self.raised = width / 2 * np.concatenate([[1.0], np.sqrt((1 - away[1:] ** 2).clip(0))])

    def spans(self, y: NDArray[np.float32]) -> tuple[Pixels, Pixels]:
        """The upper and the lower edge (m, columns), in pixels from the top, of lines through y (m, n) in each narrow
        column from `first - reach`; at a NaN, which has no line, the upper edge is below the lower one."""
        left = y[:, self.before]
        points = left + (y[:, self.after] - left) * self.share
        edges = points[:, self.edges]
        points, begins = points[:, : self.edges[-1] + 1], self.edges[:-1]
        top = np.fmin(np.fmin.reduceat(points, begins, axis=1), edges[:, 1:])
        bottom = np.fmax(np.fmax.reduceat(points, begins, axis=1), edges[:, 1:])
        gaps = np.isnan(top)
        return self._widened(np.where(gaps, np.inf, top)), -self._widened(np.where(gaps, np.inf, -bottom))

    def _widened(self, top: Pixels) -> Pixels:
        """The upper side (m, columns) of lines, moved up by the disc."""
        columns = top.shape[1]
        wide = np.full((len(top), columns + 2 * self.reach), np.inf)
        for shift in range(-self.reach, self.reach + 1):
            begin = self.reach + shift
            part = wide[:, begin : begin + columns]
            np.minimum(part, top - self.raised[abs(shift)], out=part)
        return wide


def covered(image: tuple[int, int], strokes: Sequence[tuple[Stroke, NDArray[np.float32]]]) -> NDArray[np.uint8]:
    """The ink (H, W), 0 to 255, of lines through points y (m, n) in pixels from the top."""
    height, width = image
    places, weights = [], []
    for stroke, y in strokes:
        spans = stroke.spans(y)
        column = (stroke.first - stroke.reach + np.arange(spans[0].shape[1])) // SUB
        drawn = (column >= 0) & (column < width) & (spans[0] < spans[1])
        column = np.broadcast_to(column, drawn.shape)[drawn]
        for span, sign in zip(spans, (1 / SUB, -1 / SUB), strict=True):
            edge = (span[drawn] + 0.5).clip(0, height)
            row = edge.astype(np.int64)
            part = (edge - row) * sign
            places += [row * width + column, (row + 1) * width + column]
            weights += [sign - part, part]
    steps = np.bincount(np.concatenate(places), np.concatenate(weights), (height + 2) * width)
    # Without any line bincount gives integers.
    ink: NDArray[np.float64] = steps[: height * width].reshape(image).astype(np.float64, copy=False)
    for above, row in pairwise(ink):  # four times as fast as a cumulative sum along this axis
        row += above
    ink.clip(0, 1, out=ink)
    ink *= 255
    ink += 0.5
    return ink.astype(np.uint8)


class Pen:
    """Draws signals of `samples` a lead at `rate_hz` onto a sheet; prepares everything independent of a signal."""

    def __init__(self, sheet: Sheet, rate_hz: float, samples: int, *, line_mm: float) -> None:
        self.image, self.parts, scale = sheet.image, [], sheet.pixels_per_mm
        self.steps_per_unit, width = np.float32(MM_PER_MV * scale), max(line_mm * scale, 1.0)
        for _, alike in groupby(sheet.cells, key=lambda cell: (cell.x_mm, cell.begin_s, cell.seconds)):
            cells: list[Cell] = list(alike)
            time, x_mm = cells[0].stretch(rate_hz, samples)
            if len(x_mm):
                zero = np.array([cell.y_mm * scale for cell in cells], np.float32)[:, None]
                self.parts.append((Stroke(x_mm * scale, width), [cell.channel for cell in cells], time, zero))

    def ink(self, signal: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The ink (H, W) of a signal (C, samples) in mV; non-finite samples are gaps."""
        finite = signal if np.isfinite(signal).all() else np.where(np.isfinite(signal), signal, np.nan)
        lines = [(stroke, zero - self.steps_per_unit * finite[lead, time]) for stroke, lead, time, zero in self.parts]
        return covered(self.image, lines)


def blank(sheet: Sheet, style: Style) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paper (H, W, 3) with grid, pulses, ticks and names; and the colour (3,) of the traces."""
    paper, colour = np.broadcast_to(rgb(style.paper), (*sheet.image, 3)), rgb(style.trace)
    for name, (apart_mm, wide_mm) in GRID_MM.items() if style.grid else ():
        down, across = (_lines(side, apart_mm, wide_mm, sheet.pixels_per_mm) for side in sheet.image)
        ink = (255 * (1 - (1 - down[:, None]) * (1 - across))).astype(np.uint8)
        paper = inked(paper, rgb(getattr(style, name)), ink)
    for ink in (_printed(sheet, style), _written(sheet)):
        paper = inked(paper, colour, ink)
    return paper, colour


def rgb(text: str) -> NDArray[np.uint8]:
    """The colour (3,) of six hexadecimal digits."""
    return np.frombuffer(bytes.fromhex(text), np.uint8)


def inked(paper: NDArray[np.uint8], colour: NDArray[np.uint8], ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Paper (H, W, 3) with ink (H, W) of a colour (3,) on it."""
    picture, there = np.array(paper), np.nonzero(ink)
    under, share = picture[there].astype(np.int64), ink[there].astype(np.int64)[:, None]
    picture[there] = (under * (255 - share) + colour.astype(np.int64) * share + 127) // 255
    return picture


def _lines(pixels: int, apart_mm: float, wide_mm: float, scale: float) -> Pixels:
    """How much (pixels,) grid lines every `apart_mm` darken: a line under a pixel wide is paler instead."""
    width, dark = max(wide_mm * scale, 1.0), min(wide_mm * scale, 1.0)
    centres = np.arange(0, pixels / scale + apart_mm, apart_mm) * scale
    low, high = centres[:, None] - width / 2, centres[:, None] + width / 2
    at = np.arange(pixels)
    return dark * (np.minimum(high, at + 0.5) - np.maximum(low, at - 0.5)).clip(0, 1).sum(0).clip(0, 1)


def _printed(sheet: Sheet, style: Style) -> NDArray[np.uint8]:
    """The ink of a calibration pulse at the start of each row, and of ticks between two leads."""
    scale, width = sheet.pixels_per_mm, max(style.line * sheet.pixels_per_mm, 1.0)
    rows = np.array(sheet.rows_mm)[:, None] * scale
    x, y = np.array(PULSE_MM).T * scale
    lines = [(Stroke(x, width), (rows - y).astype(np.float32))]
    for cell in sheet.cells:
        if cell.begin_s:
            y = (cell.y_mm + np.array(TICKS_MM)) * scale
            lines.append((Stroke(np.full(2, cell.x_mm * scale), width), y.astype(np.float32)))
    return covered(sheet.image, lines)


def _written(sheet: Sheet) -> NDArray[np.uint8]:
    """The ink of the names of the leads and of the scale."""
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    scale = sheet.pixels_per_mm
    page = Image.new("L", sheet.image[::-1])
    draw = ImageDraw.Draw(page)
    font = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"  # comes with matplotlib
    pixels = (max(NAME_MM * scale, NAME_PIXELS), max(SCALE_MM * scale, SCALE_PIXELS))  # height of the letters
    name, small = (ImageFont.truetype(font, round(height)) for height in pixels)
    for cell in sheet.cells:
        at = ((cell.x_mm + NAME_AT_MM[0]) * scale, (cell.y_mm + NAME_AT_MM[1]) * scale)
        draw.text(at, cell.lead, 255, name, anchor="lt")
    corner = (SCALE_AT_MM[0] * scale, min((sheet.height_mm + SCALE_AT_MM[1]) * scale, sheet.image[0] - small.size))
    draw.text(corner, SCALE, 255, small, anchor="lt")
    return np.asarray(page)


@dataclass(frozen=True)
class Drawing:
    """Draws signals (C, samples) at `rate_hz` on a sheet, with lines of a width."""

    sheet: Sheet
    rate_hz: float
    samples: int
    line_mm: float

    def __call__(self, signals: Signals) -> list[bytes]:
        """The charts of signals (C, samples), packed."""
        pen = _pen(self)
        return [packed(pen.ink(each), each) for each in signals]


@cache
def _pen(how: Drawing) -> Pen:
    """A pen is made once in each process."""
    return Pen(how.sheet, how.rate_hz, how.samples, line_mm=how.line_mm)


def packed(ink: NDArray[np.uint8], signal: NDArray[np.float32]) -> bytes:
    """The ink (H, W) of a signal (C, T), packed for storage."""
    return told(signal) + zlib.compress(ink.tobytes(), LEVEL)


def unpacked(value: bytes, image: tuple[int, int]) -> NDArray[np.uint8]:
    """The ink (H, W) of a packed chart. Raises ValueError for damaged bytes."""
    try:
        return np.frombuffer(zlib.decompress(value[TOLD:]), np.uint8).reshape(image)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def told(signal: NDArray[np.float32]) -> bytes:
    """8 bytes of a signal's digest."""
    return hashlib.blake2b(np.ascontiguousarray(signal).view(np.uint8).data, digest_size=TOLD).digest()


def drawn(chunks: Iterator[Signals], how: Drawing, workers: int, *, charts: int) -> Iterator[list[bytes]]:
    """The drawn charts of each chunk in order, by `workers` processes, 0 for one per core, of all `charts`.

    Raises ResourceError if a process is killed.
    """
    return processes.in_order(how, chunks, processes.count(charts, workers, alone=ALONE), doing="drew charts")
