"""Figures: panels of lines and confusion matrices, as PNG for papers (matplotlib); pages draw the same panels.

save_panels(history_panels(history), folder / "history.png", columns=3, title="a run")
figures.of_panel(history_panels(history)[0])                                    # for a page, see figures.py
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolbox import files, plain
from toolbox.metrics import meanings
from toolbox.metrics.labels import EVERY
from toolbox.metrics.ranking import Ranking, auroc, average_precision, of_class
from toolbox.runs.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe & Ito's palette, distinct with every kind of colour vision, with brown for yellow, which white paper hides; then
# four of Tol's muted colours. Pages lighten the dark ones at night (templates/drawing.html).
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#9A6B3F"),
    *("#882255", "#999933", "#332288", "#888888"),
)
DOTS = 150  # an inch, of a PNG
MOST_POINTS = 1000  # of a line over steps
LABEL_WIDTH = 16  # letters of a class name before it is broken
SHORT_NAME = 14  # letters of a line's name that fits in a row of three
SIDES = {"train": "train", "val": "validation"}
COUNTED = ("epoch", "step")  # axes of whole numbers
FEW = 10  # rows of a point that say little


class DataFacts(Protocol):
    """The facts of the data in figures, reports and pages; `loaders.base.DataSpec` has them."""

    @property
    def name(self) -> str: ...
    @property
    def view(self) -> str: ...
    @property
    def rate_hz(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def leads(self) -> tuple[str, ...]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def split_rule(self) -> str: ...
    @property
    def many_labels(self) -> bool: ...


@dataclass
class Panel:
    """One plot: `lines` are (name, x, y), `bands` (x, low, high) filled in the colour of the line of the same place.

    `guide` is a grey dashed line (x, y) behind; `ticks` are (heights, names) in place of the y axis' numbers, where
    heights no longer mean values; `legend` names the lines. `counts` has the rows behind each point of each line, which
    a point of fewer than FEW shows.
    """

    title: str
    x_label: str
    y_label: str
    lines: list[tuple[str, Any, Any]] = field(default_factory=list)
    bands: list[tuple[Any, Any, Any]] = field(default_factory=list)
    guide: tuple[Any, Any] | None = None
    ticks: tuple[Any, Sequence[str]] | None = None
    legend: bool = True
    counts: list[Any] = field(default_factory=list)


def few(counts: Sequence[int]) -> list[str]:
    """The text at each point of a line: its number of rows, if they are few."""
    return [f"n={count:,}" if count < FEW else "" for count in counts]


def drawn(figure: "Figure") -> "FigureCanvasAgg":
    """The canvas with the figure drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(_as_written(figure))
    canvas.draw()
    return canvas


def save_png(figure: "Figure", path: Path) -> None:
    """Write a figure at 150 dots an inch; `savefig` would draw it twice, the first time for its layout.

    Without transparency, the file is hardly larger at a compression that takes two thirds of the time.
    """
    from PIL import Image

    figure.set_dpi(DOTS)
    page = Image.fromarray(np.asarray(drawn(figure).buffer_rgba())).convert("RGB")
    files.write_whole(path, partial(page.save, format="png", dpi=(DOTS, DOTS), compress_level=3))


def _as_written(figure: "Figure") -> "Figure":
    """`figure` with $ as a letter, not as the beginning of a formula, and control characters as escapes."""
    from matplotlib.ticker import FixedFormatter

    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if isinstance(names := axis.get_major_formatter(), FixedFormatter):
            names.seq = [*map(plain.block, names.seq)]
    for text in _texts(figure):
        text.set_parse_math(False)
        text.set_text(plain.block(text.get_text()))
    return figure


def _texts(artist: "Artist") -> "Iterator[Text]":
    """The texts within an artist, without the numbers of an axis, whose ticks would be made for it in vain."""
    from matplotlib.axis import Axis
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter

    if isinstance(artist, Text):
        yield artist
    if isinstance(artist, Axis) and not isinstance(artist.get_major_formatter(), FixedFormatter):
        yield artist.label
    else:
        for child in artist.get_children():
            yield from _texts(child)


def save_panels(
    panels: Sequence[Panel], path: Path, *, columns: int, title: str, cell: tuple[float, float] | None = None
) -> None:
    """Draw `panels` in a grid as the PNG `path`; `cell` is the width and height of a panel in inches."""
    cell = cell or ((4.2, 3.3) if columns > 1 else (7.0, 6.0))
    panels = [_seen(panel) for panel in panels]
    save_png(panels_figure(panels, columns, plain.block(title), cell), path)


def _seen(panel: Panel) -> Panel:
    """The panel with control characters in its texts as escapes."""
    title, x_label, y_label = map(plain.block, (panel.title, panel.x_label, panel.y_label))
    lines = [(plain.escaped(name), x, y) for name, x, y in panel.lines]
    ticks = panel.ticks and (panel.ticks[0], [*map(plain.escaped, panel.ticks[1])])
    return replace(panel, title=title, x_label=x_label, y_label=y_label, lines=lines, ticks=ticks)


def panels_figure(panels: Sequence[Panel], columns: int, title: str, cell: tuple[float, float]) -> "Figure":
    """`panels` in a grid as a matplotlib figure."""
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(7.0, cell[0] * columns), cell[1] * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=9)
    places = figure.subplots(rows, columns, squeeze=False).flat
    for panel, axes in zip(panels, places, strict=False):
        _draw(panel, axes)
    for axes in places[len(panels) :]:
        axes.remove()
    return figure


def _draw(panel: Panel, axes: Any) -> None:
    marker, width = "." if all(len(x) < 3 for _, x, _ in panel.lines) else None, 0.8 if panel.ticks else 1.6
    for (name, x, y), colour in zip(panel.lines, cycle(COLOURS), strict=False):
        axes.plot(x, y, label=name, color=colour, linewidth=width, marker=marker)
    for (_, x, y), counts, colour in zip(panel.lines, panel.counts, COLOURS, strict=False):
        axes.plot(x, y, ".", color=colour)
        for place, height, text in zip(x, y, few(counts), strict=True):
            axes.annotate(text, (place, height), (0, 4), textcoords="offset points", ha="center", fontsize=7)
    for (x, low, high), colour in zip(panel.bands, cycle(COLOURS), strict=False):
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    if panel.guide:
        axes.plot(*panel.guide, color="grey", linestyle="--", linewidth=1, zorder=1)
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
    axes.set_title(panel.title, fontsize="medium")
    if not panel.lines:
        axes.set(xticks=[], yticks=[])
    if panel.x_label in COUNTED:
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    if panel.ticks:
        axes.set_yticks(*panel.ticks)
    axes.grid(alpha=0.25)
    if panel.lines and panel.legend:
        short = max(len(name) for name, *_ in panel.lines) <= SHORT_NAME
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 5.0 if panel.x_label else 3.0}
        axes.legend(**below, ncols=min(len(panel.lines), 3) if short else 1, fontsize=8, frameon=False)


def confusion_figure(matrix: NDArray[Any], classes: Sequence[str], *, normalised: bool, title: str) -> "Figure":
    """A confusion matrix (K, K); shades are shares of the true class, texts are shares or counts."""
    from matplotlib.figure import Figure

    size = 2.2 + 0.75 * len(classes)
    figure = Figure(figsize=(size + 0.9, size), layout="constrained")
    image = ConfusionImage(figure.add_subplot(), classes, normalised=normalised)
    figure.colorbar(image.shades, ax=image.axes, label="share of the true class")
    image.show(matrix)
    figure.suptitle(title, fontsize=9)
    return figure


class ConfusionImage:
    """A confusion matrix on `axes`; `show` replaces it with another one of the same classes."""

    def __init__(self, axes: "Axes", classes: Sequence[str], *, normalised: bool) -> None:
        self.axes, self.normalised, places = axes, normalised, range(len(classes))
        self.shades = axes.imshow(np.zeros((len(classes),) * 2), cmap="Blues", vmin=0, vmax=1)
        self.texts = [axes.text(j, i, "", ha="center", va="center", fontsize=9) for i in places for j in places]
        names = [fill(plain.escaped(name), LABEL_WIDTH) for name in classes]
        axes.set_xticks(places, names, rotation=label_angle(classes))
        axes.set_yticks(places, names)
        axes.set(xlabel="predicted", ylabel="true")

    def show(self, matrix: NDArray[Any]) -> None:
        """Draw `matrix` (K, K), with empty cells for NaN."""
        share = shares(matrix)
        self.shades.set_data(share)
        for text, value, count in zip(self.texts, share.flat, matrix.flat, strict=True):
            text.set_text("" if np.isnan(value) else f"{value:.1%}" if self.normalised else f"{int(count):,}")
            text.set_color("white" if value > 0.5 else "black")


def label_angle(classes: Sequence[str]) -> int:
    """Rotation in degrees of class names below a matrix: 90 if they do not fit side by side."""
    return 90 if max(map(len, classes)) > LABEL_WIDTH / 2 else 0


def shares(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Each row of a confusion matrix (K, K) as shares of its true class; 0 where the class has no row."""
    return matrix / np.maximum(matrix.sum(-1, keepdims=True), 1)


def roc_panels(predictions: Predictions, classes: Sequence[str]) -> list[Panel]:
    """Receiver operating characteristic of each class against the rest."""
    panel = Panel("ROC, one class against the rest", "1 - specificity", "sensitivity (Se)", guide=([0, 1], [0, 1]))
    for name, hits, misses in _curves(predictions, classes):
        label = f"{name} (AUROC {auroc(hits, misses):.4f}, n={hits[-1]:,.0f})"
        bends = _bends(hits) | _bends(misses)
        x, y = misses[bends] / misses[-1], hits[bends] / hits[-1]
        panel.lines.append((label, np.append(0, x), np.append(0, y)))
    return [panel]


def precision_recall_panels(predictions: Predictions, classes: Sequence[str]) -> list[Panel]:
    """Positive predictivity against sensitivity of each class against the rest."""
    panel = Panel("Precision and recall, one class against the rest", "recall (Se)", "precision (+P)")
    for name, hits, misses in _curves(predictions, classes):
        label = f"{name} (AP {average_precision(hits, misses):.4f}, n={hits[-1]:,.0f})"
        steps = np.diff(hits, prepend=np.nan, append=np.nan)
        bends = (steps[1:] != 0) | (steps[:-1] != 0)  # straight only where no row of the class is passed
        x, y = hits[bends] / hits[-1], hits[bends] / (hits + misses)[bends]
        panel.lines.append((label, np.append(0, x), np.append(1, y)))
    return [panel]


def _curves(predictions: Predictions, classes: Sequence[str]) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Name and curve of each class with positive and negative rows."""
    ranking, ones = Ranking(predictions.target, predictions.scores), np.ones(len(predictions.target))
    for k, name in enumerate(classes):
        if 0 < of_class(predictions.target, k).sum() < len(predictions.target):
            yield name, *ranking.curve(k, ones)


def _bends(counts: NDArray[Any]) -> NDArray[np.bool_]:
    """The points where a growing count starts or stops growing, both ends included: enough to draw it as a line."""
    steps = np.diff(counts, prepend=np.nan, append=np.nan)
    return steps[1:] != steps[:-1]


CURVES = {"roc": roc_panels, "precision_recall": precision_recall_panels}


RATES = {"learning rate": ("lr", "backbone_lr"), "C, inverse regularisation": ("C",)}


def history_panels(history: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Every metric of train and validation, and the learning rate (of a probe C), by epoch."""
    sides = [side for side in SIDES if any(row[side] for row in history)]
    lines = {
        meanings.name_of(name): {SIDES[side]: [row[side].get(name) for row in history] for side in sides}
        for name in EVERY
        if any(name in row[side] for side in sides for row in history)
    }
    for title, names in RATES.items():
        if rates := [name for name in names if any(name in row for row in history)]:
            lines[title] = {name: [row.get(name) for row in history] for name in rates}
    epochs, panels = [row["epoch"] for row in history], []
    for title, each in lines.items():
        of = [(name, epochs, np.array(values, dtype=float)) for name, values in each.items()]
        panels.append(Panel(title, "epoch", "", of, legend=title not in RATES or len(of) > 1))
    return panels


def loss_panels(epoch: NDArray[np.int32], loss: NDArray[np.float32]) -> list[Panel]:
    """The training loss of every step (S,), means of several where they are above MOST_POINTS, and of each epoch.

    A band reaches from the least to the largest loss of the steps that a mean is over.
    """
    ends = np.append(np.flatnonzero(np.diff(epoch)) + 1, len(loss))
    firsts = np.concatenate([[0], ends[:-1]])
    means = np.add.reduceat(loss.astype(float), firsts) / np.diff(firsts, append=len(loss))
    many = -(-len(loss) // MOST_POINTS)
    starts = np.arange(0, len(loss), many)
    counts = np.diff(starts, append=len(loss))
    middle, mean = starts + (counts + 1) / 2, np.add.reduceat(loss.astype(float), starts) / counts
    name = "each step" if many == 1 else f"mean of {many} steps, and their range"
    lines = [(name, middle, mean), ("mean of an epoch", (firsts + ends + 1) / 2, means)]
    panel = Panel("loss of every step", "step", "training loss", lines)
    if many > 1:
        panel.bands = [(middle, np.minimum.reduceat(loss, starts), np.maximum.reduceat(loss, starts))]
    return [panel]


def steps(edges: NDArray[Any], heights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The outline of bins, `edges` (n + 1,) and `heights` (n,), as x and y (2 n + 2,); a gap where bins are empty."""
    x, y = np.repeat(edges, 2), np.concatenate([[0.0], np.repeat(heights, 2), [0.0]])
    beside = np.convolve(y > 0, np.ones(3), "same") > 0
    return x, np.where(beside, y, np.nan)


def extremes(signal: NDArray[Any], most: int) -> NDArray[np.int64]:
    """The indices of about `most` samples that draw like `signal` (T,): lowest and highest of each stretch."""
    if len(signal) <= most:
        return np.arange(len(signal))
    width = -(-2 * len(signal) // most)
    stretches = np.pad(signal, (0, -len(signal) % width), mode="edge").reshape(-1, width)
    ends = np.stack([stretches.argmin(1), stretches.argmax(1)]) + width * np.arange(len(stretches))
    return np.unique(np.minimum(ends, len(signal) - 1))
