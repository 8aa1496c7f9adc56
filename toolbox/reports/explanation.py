"""Figures of attributions, one per row, and a page of all with the checks.

    figure = row_figure(x, attribution, spec=spec, title="row 12, V")      # x and attribution (C, T)
    figure = picture_figure(image, attribution, title="row 12, V")         # (3, H, W)
    write(folder, examples, ...)                                           # index.html, with every picture in it

Leads are drawn on ECG paper, coloured by evidence for and against a class.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolbox.reports import pages
from toolbox.reports.plots import DataFacts, Panel, panels_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Array = NDArray[Any]
# Correctness and confidence of a row's prediction.
GROUPS = {
    "right-most": "right, most certain",
    "right-least": "right, least certain",
    "wrong-most": "wrong, most certain",
    "wrong-least": "wrong, least certain",
    "named": "named",
}
CELL = (3.4, 2.7)  # inches of a panel of the checks
PAPER, FINE, COARSE = "#FFFBF8", "#FBE5DD", "#F0BFAE"
INK = "#44474F"
FOR, AGAINST = "#D4470C", "#0067A5"
FULL = 98.0  # percentile of the sizes at which a colour is full
FAINT, SOFT = 0.05, 0.7
DARKEST = 0.4  # shade of black on a chart, so that colour shows on the trace too
NARROW, WIDE = 5.2, 10.5  # inches of a picture
TITLE_PT, LETTER_IN, LINE_IN = 10, 0.095, 0.17  # of a title, and the inches of a capital letter and of a line
BOX_S, SMALL_S = 0.2, 0.04
LABEL = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1}
HIGHEST_MV = 40.0  # of an axis with boxes
LONG_S, LONGEST_S = 3.0, 15.0  # longest row with small boxes, with any boxes
ONE_COLUMN = 3  # leads


@dataclass(frozen=True)
class Example:
    """A row of the source with its true, predicted and explained class, and whether anything is marked.

    `probability` is of the predicted class; of `many_labels` a row it is of the explained one.
    """

    index: int
    record: str
    true: str
    said: str
    probability: float
    explained: str
    group: str
    picture: str
    marked: bool = True
    many_labels: bool = False

    @property
    def title(self) -> str:
        """The title of its picture."""
        record = f", record {self.record}" if self.record else ""
        if self.many_labels:
            classes = f"{self.explained} ({self.probability:.3f}) explained; true {self.true}; predicted {self.said}"
        else:
            classes = f"true {self.true}, predicted {self.said} ({self.probability:.3f})"
            classes += f", {self.explained} explained" if self.explained != self.said else ""
        return f"row {self.index:,}{record}: {classes}" + ("" if self.marked else ", nothing marked")


@dataclass(frozen=True)
class Doubt:
    """One check: its name, its figure as text, and the figure's meaning."""

    name: str
    figure: str
    meaning: str


def write(
    folder: Path,
    examples: Sequence[Example],
    *,
    classes: Sequence[str],
    title: str,
    facts: Sequence[tuple[str, str]],
    doubts: Sequence[Doubt],
    wide: bool,
    by: str = "true",
) -> Path:
    """Write the page of the (`wide`) pictures in `folder`; return its path. Raises ResourceError."""
    sections = []
    for name in classes:
        of_class = [each for each in examples if getattr(each, by) == name]
        parts = [(text, [each for each in of_class if each.group == key]) for key, text in GROUPS.items()]
        sections.append((name, [part for part in parts if part[1]]))
    curves = folder / "doubts.png"
    pages.save(
        folder / "index.html",
        "explanation.html",
        title=title,
        kind="wide" if wide else "narrow",
        about=facts,
        doubts=doubts,
        curves=curves if curves.exists() else None,
        trues=[(name, name) for name, parts in sections if parts],
        said=[(name, name) for name in classes if by == "true" and any(each.said == name for each in examples)],
        by=by,
        groups=[(key, text) for key, text in GROUPS.items() if any(each.group == key for each in examples)],
        sections=[(name, parts) for name, parts in sections if parts],
        folder=folder,
    )
    return folder / "index.html"


def curves_figure(curves: Mapping[str, Array], cascade: tuple[Sequence[float], Sequence[float]]) -> "Figure":
    """Mean curves (N, S) of deletion and insertion with random ones, and the cascade (parts, correlations).

    Axes reach from 0 to 1, so that small differences look small.
    """
    panels = []
    for name in ("deletion", "insertion"):
        taken = np.linspace(0, 1, curves[name].shape[1])
        lines = [("as marked", taken, curves[name].mean(0)), ("random", taken, curves[f"random_{name}"].mean(0))]
        panels.append(Panel(name, "part of the row", "probability" if name == "deletion" else "", lines))
    parts, correlations = cascade
    line, title = (
        ("with the trained", np.append(0, parts), np.append(1, correlations)),
        "weights reinitialised, from the head",
    )
    panels.append(Panel(f"{title} on", "part of the layers", "rank correlation", [line], legend=False))
    figure = panels_figure(panels, len(panels), "", CELL)
    for axes, lowest in zip(figure.axes, (0, 0, min(0, *correlations) - 0.02), strict=True):
        axes.set(xlim=(0, 1), ylim=(lowest, 1))
    return figure


def scaled(attribution: Array) -> Array:
    """Attribution from -1 to 1, full at the 98th percentile; zeros if it is constant."""
    if not np.ptp(attribution) > 0:
        return np.zeros_like(attribution)
    return np.clip(attribution / np.percentile(np.abs(attribution[attribution != 0]), FULL), -1, 1)


def colours(middle: str) -> "Colormap":
    """The colour map from against (-1) over `middle` (0) to for (1)."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("evidence", [AGAINST, middle, FOR])


def is_wide(samples: int, spec: DataFacts) -> bool:
    """Whether a row of `samples` samples needs a wide picture."""
    return samples > LONG_S * spec.rate_hz or len(spec.leads) > ONE_COLUMN


def is_wide_picture(height: int, width: int) -> bool:
    """Whether a picture of this size, in pixels, is a wide one."""
    return width > 2 * height


def row_figure(x: Array, attribution: Array, *, spec: DataFacts, title: str, peaks: Collection[int] = ()) -> "Figure":
    """Leads x (C, T) with their attribution and R peaks; leads share the scales of amplitude and colour."""
    from matplotlib.figure import Figure

    heat, leads = scaled(attribution), len(x)
    # Leaves out zero padding without attribution.
    drawn = np.flatnonzero((x != 0).any(0) | (np.abs(heat) > FAINT).any(0))
    end = drawn[-1] + 2 if len(drawn) else x.shape[1]
    x, heat = x[:, :end], heat[:, :end]
    columns = 1 if leads <= ONE_COLUMN else 2
    rows = -(-leads // columns)
    height = 3.1 if leads == 1 else 0.5 + 1.25 * rows
    width = WIDE if is_wide(x.shape[1], spec) else NARROW
    lines = _lines(title, width)
    height += LINE_IN * (len(lines) - 1)
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.suptitle("\n".join(lines), fontsize=TITLE_PT, wrap=True)
    reach = 0.62 * float(np.ptp(x, axis=1).max() or 1)  # half the height of the axes, the same for all leads
    if leads == 1:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _lead(above, x[0], heat[0], spec=spec, reach=reach, peaks=peaks)
        _area(below, heat[0], spec)
        above.set_ylabel(spec.unit if len(spec.unit) < 12 else "", fontsize=8)
        return figure
    figure.supylabel(spec.unit, fontsize=8)
    places = figure.subplots(rows, columns, sharex=True, squeeze=False).T.flat
    for place, (name, lead, warm, axes) in enumerate(zip(spec.leads, x, heat, places, strict=False)):
        _lead(axes, lead, warm, spec=spec, reach=reach, peaks=peaks if place % rows == 0 else (), strip=True)
        if place % rows == rows - 1 or place == leads - 1:
            axes.set_xlabel("time (s)", fontsize=8)
        bold = {"fontsize": 9, "fontweight": "bold", "va": "top"}
        axes.text(0.008, 0.94, name, transform=axes.transAxes, zorder=6, bbox=LABEL, **bold)
    for axes in list(places)[leads:]:
        axes.remove()
    return figure


def _lines(title: str, width: float) -> list[str]:
    """The lines of a title above a picture of `width` inches; matplotlib breaks lines of wider letters again."""
    return wrap(title, int(width / LETTER_IN)) or [""]


def _lead(
    axes: "Axes", lead: Array, heat: Array, *, spec: DataFacts, reach: float, peaks: Iterable[int], strip: bool = False
) -> None:
    """A lead on paper, its line coloured and thickened by the heat; with a `strip` of the same colours below it."""
    from matplotlib.collections import LineCollection

    time_s, middle = np.arange(len(lead)) / spec.rate_hz, (float(lead.min()) + float(lead.max())) / 2
    low, high = middle - reach * (1.3 if strip else 1), middle + reach
    _paper(axes, time_s[-1], spec, low, high)
    axes.plot(time_s, lead, color=INK, linewidth=0.7, zorder=3)
    points = np.stack([time_s, lead], 1)
    between = (heat[1:] + heat[:-1]) / 2
    lines = LineCollection([*np.stack([points[:-1], points[1:]], 1)], cmap=colours(INK), zorder=4, capstyle="round")
    lines.set_array(between)
    lines.set_clim(-1, 1)
    lines.set_linewidth((0.7 + 3.2 * np.abs(between)).tolist())
    axes.add_collection(lines)
    for peak in peaks:
        axes.plot(peak / spec.rate_hz, high, marker="v", markersize=4, color=INK, clip_on=False, zorder=5)
    if strip:
        place, white = (0, time_s[-1], low, low + 0.3 * reach), colours("white")
        axes.imshow(heat[None], white, vmin=-1, vmax=1, extent=place, aspect="auto", interpolation="nearest", zorder=2)
        axes.set(xlim=(0, time_s[-1]), ylim=(low, high))


def _paper(axes: "Axes", end_s: float, spec: DataFacts, low: float, high: float) -> None:
    """The boxes of ECG paper: 0.2 s and, if they fit, 0.04 s; 0.5 mV and 0.1 mV where the unit is mV."""
    from matplotlib.ticker import MultipleLocator

    axes.set(xlim=(0, end_s), ylim=(low, high), facecolor=PAPER)
    if end_s <= LONGEST_S:
        axes.xaxis.set_major_locator(MultipleLocator(BOX_S if end_s <= LONG_S else 1.0))
        times_s = np.arange(0, end_s, SMALL_S if end_s <= LONG_S else BOX_S)
        axes.vlines(times_s, low, high, FINE, linewidth=0.4, zorder=0.5)
    if spec.unit.startswith("mV") and high - low < HIGHEST_MV:
        step = next(step for step in (0.5, 1.0, 2.0, 5.0) if high - low <= 8 * step)
        axes.yaxis.set_major_locator(MultipleLocator(step))
        heights = step / 5 * np.arange(math.ceil(5 * low / step), 5 * high / step)
        axes.hlines(heights, 0, end_s, FINE, linewidth=0.4, zorder=0.5)
    axes.grid(color=COARSE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=7, colors=INK)
    for side in axes.spines.values():
        side.set_color(COARSE)


def _area(axes: "Axes", heat: Array, spec: DataFacts) -> None:
    """The heat of one lead as areas above and below zero."""
    time_s, signed = np.arange(len(heat)) / spec.rate_hz, heat.min() < 0
    axes.fill_between(time_s, np.maximum(heat, 0), color=FOR, linewidth=0, step="mid")
    axes.fill_between(time_s, np.minimum(heat, 0), color=AGAINST, linewidth=0, step="mid")
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set(xlim=(0, time_s[-1]), ylim=(-1.05 if signed else 0, 1.05), yticks=[])
    axes.set_xlabel("time (s)", fontsize=8)
    axes.set_ylabel("against | for" if signed else "weight", fontsize=8)
    axes.tick_params(labelsize=7, colors=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def picture_figure(image: Array, attribution: Array, *, title: str) -> "Figure":
    """A grey image (3, H, W) in [0, 1], coloured by its attribution (3, H, W), summed over colours."""
    from matplotlib.figure import Figure

    heat = scaled(attribution.sum(0))
    height, width = heat.shape
    inches = WIDE if is_wide_picture(height, width) else NARROW
    lines = _lines(title, inches)
    figure = Figure(figsize=(inches, inches * height / width + 0.4 + LINE_IN * (len(lines) - 1)), layout="constrained")
    figure.suptitle("\n".join(lines), fontsize=TITLE_PT, wrap=True)
    axes = figure.subplots()
    shades = DARKEST + (1 - DARKEST) * image.mean(0) / image.mean(0).max()
    light = colours("white")((np.sign(heat) * np.abs(heat) ** SOFT + 1) / 2)[..., :3]
    axes.imshow(light * shades[..., None], interpolation="antialiased", aspect="equal")
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_color(COARSE)
    return figure
