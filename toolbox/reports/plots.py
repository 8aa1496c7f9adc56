"""Figures: confusion matrices, and panels of lines as PNG (matplotlib) and as interactive HTML (plotly).

save_panels(history_panels(history), folder / "history", columns=3, title="a run")      # history.png, history.html
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolbox import files, plain
from toolbox.metrics import classification
from toolbox.metrics.classification import METRICS
from toolbox.reports import pages
from toolbox.runs.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Page

# Okabe & Ito's palette, distinct with every kind of colour vision; then four of Tol's muted colours.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"),
    *("#882255", "#999933", "#332288", "#888888"),
)
DOTS = 90  # of a page, an inch
TITLE_LINE = 19  # dots of a line of a page's title
WIDE = 1500  # dots; wider pages scroll instead of shrinking to the window
MOST_POINTS = 1000  # of a line over steps
LABEL_WIDTH = 16  # letters of a class name before it is broken


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


@dataclass
class Panel:
    """One plot: `lines` are (name, x, y), `bands` (x, low, high) filled in the colour of the line of the same place.

    `guide` is a grey dashed line (x, y) behind; `ticks` are (heights, names) in place of the y axis' numbers, where
    heights no longer mean values; `legend` names the lines.
    """

    title: str
    x_label: str
    y_label: str
    lines: list[tuple[str, Any, Any]] = field(default_factory=list)
    bands: list[tuple[Any, Any, Any]] = field(default_factory=list)
    guide: tuple[Any, Any] | None = None
    ticks: tuple[Any, Sequence[str]] | None = None
    legend: bool = True


def drawn(figure: "Figure") -> "FigureCanvasAgg":
    """The canvas with the figure drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(_as_written(figure))
    canvas.draw()
    return canvas


def save_png(figure: "Figure", path: Path) -> None:
    """Write a figure at 150 dots an inch."""
    files.write_whole(path, lambda file: _as_written(figure).savefig(file, format="png", dpi=150))


def _as_written(figure: "Figure") -> "Figure":
    """`figure` with $ as a letter, not as the beginning of a formula, and control characters as escapes."""
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter

    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if isinstance(names := axis.get_major_formatter(), FixedFormatter):
            names.seq = [*map(plain.block, names.seq)]
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(plain.block(text.get_text()))
    return figure


def save_panels(
    panels: Sequence[Panel], path: Path, *, columns: int, title: str, cell: tuple[float, float] | None = None
) -> None:
    """Draw `panels` in a grid, as `path`.png and, to zoom and hover, as `path`.html; both read without a network.

    `cell` is the width and height of a panel in inches.
    """
    cell = cell or ((4.2, 3.0) if columns > 1 else (7.0, 6.0))
    panels, title = [_seen(panel) for panel in panels], plain.block(title)
    save_png(panels_figure(panels, columns, title, cell), path.with_suffix(".png"))
    pages.save_figure(path.with_suffix(".html"), panels_page(panels, columns, title, cell), title=title)


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
    for (x, low, high), colour in zip(panel.bands, cycle(COLOURS), strict=False):
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    if panel.guide:
        axes.plot(*panel.guide, color="grey", linestyle="--", linewidth=1, zorder=1)
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
    axes.set_title(panel.title, fontsize="medium")
    if not panel.lines:
        axes.set(xticks=[], yticks=[])
    if panel.x_label in ("epoch", "step"):
        axes.xaxis.get_major_locator().set_params(integer=True)
    if panel.ticks:
        axes.set_yticks(*panel.ticks)
    axes.grid(alpha=0.25)
    if panel.lines and panel.legend:
        axes.legend(fontsize=8)


def panels_page(panels: Sequence[Panel], columns: int, title: str, cell: tuple[float, float]) -> "Page":
    """`panels` in a grid as a plotly figure."""
    from plotly.subplots import make_subplots

    rows = -(-len(panels) // columns)
    titles = [_lines(panel.title) for panel in panels]
    # Pixels between rows: the names of the upper one's axes, the titles of the lower one.
    named, highest = any(panel.x_label for panel in panels[:-columns]), max(text.count("<br>") + 1 for text in titles)
    gap = 45 + 20 * named + 15 * highest
    top = max(90, 20 + TITLE_LINE * (title.count("\n") + 1)) + gap
    height, width = rows * (DOTS * cell[1] - 60) + (rows - 1) * gap, DOTS * cell[0] * columns
    figure = make_subplots(rows, columns, subplot_titles=titles, vertical_spacing=gap / height)
    figure.update_annotations(font_size=13)
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        _add(panel, figure, {"row": row + 1, "col": column + 1}, legend=columns == 1 or place == 0)
    figure.update_layout(
        title={"text": _lines(title), "font_size": 14, "y": 1, "yanchor": "top", "pad_t": 30},
        margin_t=top,
        template="plotly_white",
        height=top + height + 80,
        width=width + 160 if width > WIDE else None,
    )
    return figure


def _lines(text: str) -> str:
    return text.replace("\n", "<br>")


def _add(panel: Panel, figure: "Page", cell: dict[str, int], *, legend: bool) -> None:
    for (x, low, high), colour in zip(panel.bands, cycle(COLOURS), strict=False):
        edges = {"x": np.concatenate([x, x[::-1]]), "y": np.concatenate([low, high[::-1]])}
        filled = {"fill": "toself", "fillcolor": colour, "opacity": 0.2, "line_width": 0}
        figure.add_scatter(**edges, **filled, mode="lines", hoverinfo="skip", showlegend=False, **cell)
    for (name, x, y), colour in zip(panel.lines, cycle(COLOURS), strict=False):
        figure.add_scatter(
            x=x,
            y=y,
            name=name,
            mode="lines+markers" if len(x) < 50 else "lines",
            legendgroup=name,
            showlegend=panel.legend and legend,
            line_color=colour,
            hoverinfo="x+name" if panel.ticks else None,
            **cell,
        )
    if panel.guide:
        line = {"color": "grey", "dash": "dash", "width": 1}
        x, y = panel.guide
        figure.add_scatter(x=x, y=y, mode="lines", showlegend=False, hoverinfo="skip", line=line, **cell)
    figure.update_xaxes(title_text=panel.x_label, **cell)
    figure.update_yaxes(title_text=_lines(panel.y_label), **cell)
    if panel.ticks:
        figure.update_yaxes(tickvals=panel.ticks[0], ticktext=panel.ticks[1], **cell)


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
        label = f"{name} (AUROC {classification.auroc(hits, misses):.4f}, n={hits[-1]:,.0f})"
        bends = _bends(hits) | _bends(misses)
        x, y = misses[bends] / misses[-1], hits[bends] / hits[-1]
        panel.lines.append((label, np.append(0, x), np.append(0, y)))
    return [panel]


def precision_recall_panels(predictions: Predictions, classes: Sequence[str]) -> list[Panel]:
    """Positive predictivity against sensitivity of each class against the rest."""
    panel = Panel("Precision and recall, one class against the rest", "recall (Se)", "precision (+P)")
    for name, hits, misses in _curves(predictions, classes):
        label = f"{name} (AP {classification.average_precision(hits, misses):.4f}, n={hits[-1]:,.0f})"
        steps = np.diff(hits, prepend=np.nan, append=np.nan)
        bends = (steps[1:] != 0) | (steps[:-1] != 0)  # straight only where no row of the class is passed
        x, y = hits[bends] / hits[-1], hits[bends] / (hits + misses)[bends]
        panel.lines.append((label, np.append(0, x), np.append(1, y)))
    return [panel]


def _curves(predictions: Predictions, classes: Sequence[str]) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Name and curve of each class with positive and negative rows."""
    ranking, ones = classification.Ranking(predictions.target, predictions.scores), np.ones(len(predictions.target))
    for k, name in enumerate(classes):
        if 0 < (predictions.target == k).sum() < len(predictions.target):
            yield name, *ranking.curve(k, ones)


def _bends(counts: NDArray[Any]) -> NDArray[np.bool_]:
    """The points where a growing count starts or stops growing, both ends included: enough to draw it as a line."""
    steps = np.diff(counts, prepend=np.nan, append=np.nan)
    return steps[1:] != steps[:-1]


CURVES = {"roc": roc_panels, "precision_recall": precision_recall_panels}


def history_panels(history: Sequence[dict[str, Any]]) -> list[Panel]:
    """Every metric of train and validation, and the learning rate, by epoch."""
    sides = [side for side in ("train", "val") if any(row[side] for row in history)]
    lines = {
        name.replace("_", " "): {side: [row[side].get(name) for row in history] for side in sides}
        for name in METRICS
        if any(name in row[side] for side in sides for row in history)
    }
    rates = [name for name in ("lr", "backbone_lr") if any(name in row for row in history)]
    lines["learning rate"] = {name: [row.get(name) for row in history] for name in rates}
    epochs = [row["epoch"] for row in history]
    return [
        Panel(title, "epoch", "", [(name, epochs, np.array(values, dtype=float)) for name, values in each.items()])
        for title, each in lines.items()
    ]


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
    """A line through the tops of bins: `edges` (n + 1,), `heights` (n,) -> x and y (2 n,)."""
    return np.repeat(edges, 2)[1:-1], np.repeat(heights, 2)
