"""Arrays become figures: PNG through matplotlib, and the same lines as interactive HTML through plotly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files, metrics
from toolbox.metrics import METRICS
from toolbox.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's palette, told apart with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


@dataclass
class Panel:
    """One plot: `lines` are (name, x, y); `guide` is a grey dashed line (x, y)."""

    title: str
    x_label: str
    y_label: str
    lines: list[tuple[str, Any, Any]] = field(default_factory=list)
    guide: tuple[Any, Any] | None = None


def confusion_figure(matrix: NDArray[Any], classes: Sequence[str], *, normalised: bool, title: str) -> "Figure":
    """A confusion matrix (K, K) with class names; shades are always shares of the true class, texts shares or counts."""
    from matplotlib.figure import Figure

    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    size = 2.2 + 0.75 * len(classes)
    figure = Figure(figsize=(size + 0.9, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class")
    for (row, column), value in np.ndenumerate(share):
        text = f"{value:.1%}" if normalised else f"{int(matrix[row, column]):,}"
        axes.text(column, row, text, ha="center", va="center", color="white" if value > 0.5 else "black", fontsize=9)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true")
    figure.suptitle(title, fontsize=9)
    return figure


def pixels(figure: "Figure") -> NDArray[np.uint8]:
    """The figure drawn, (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save_png(figure: "Figure", path: Path) -> None:
    """Write a figure at 150 dots an inch."""
    files.write_whole(path, lambda file: figure.savefig(file, format="png", dpi=150))


def save_panels(panels: Sequence[Panel], path: Path, *, columns: int, title: str) -> None:
    """Draw `panels` in a grid, as `path`.png and, to zoom and hover, as `path`.html; both read without a network."""
    save_png(_panels_figure(panels, columns, title), path.with_suffix(".png"))
    page = _panels_page(panels, columns, title)
    library = path.parent / "plotly.min.js"
    if not library.exists():
        from plotly.offline import get_plotlyjs

        files.write_text(library, get_plotlyjs())
    files.write_text(path.with_suffix(".html"), page)


def roc_panels(predictions: Predictions, classes: Sequence[str]) -> list[Panel]:
    """Receiver operating characteristic of each class against the rest."""
    panel = Panel("ROC, one class against the rest", "1 - specificity", "sensitivity (Se)", guide=([0, 1], [0, 1]))
    for name, hits, misses in _curves(predictions, classes):
        label = f"{name} (AUROC {metrics.auroc(hits, misses):.4f}, n={hits[-1]:,.0f})"
        bends = _bends(hits) | _bends(misses)
        x, y = misses[bends] / misses[-1], hits[bends] / hits[-1]
        panel.lines.append((label, np.append(0, x), np.append(0, y)))
    return [panel]


def precision_recall_panels(predictions: Predictions, classes: Sequence[str]) -> list[Panel]:
    """Positive predictivity against sensitivity of each class against the rest."""
    panel = Panel("Precision and recall, one class against the rest", "recall (Se)", "precision (+P)")
    for name, hits, misses in _curves(predictions, classes):
        label = f"{name} (AP {metrics.average_precision(hits, misses):.4f}, n={hits[-1]:,.0f})"
        steps = np.diff(hits, prepend=np.nan, append=np.nan)
        bends = (steps[1:] != 0) | (steps[:-1] != 0)  # straight only where no row of the class is passed
        x, y = hits[bends] / hits[-1], hits[bends] / (hits + misses)[bends]
        panel.lines.append((label, np.append(0, x), np.append(1, y)))
    return [panel]


def _curves(predictions: Predictions, classes: Sequence[str]) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Name and curve of each class that has rows on both sides."""
    ranking, ones = metrics.Ranking(predictions.target, predictions.scores), np.ones(len(predictions.target))
    for k, name in enumerate(classes):
        if 0 < (predictions.target == k).sum() < len(predictions.target):
            yield name, *ranking.curve(k, ones)


def _bends(counts: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a count that grows step by step begins or ends to grow: the points a line needs, ends included."""
    steps = np.diff(counts, prepend=np.nan, append=np.nan)
    return steps[1:] != steps[:-1]


def history_panels(history: Sequence[dict[str, Any]]) -> list[Panel]:
    """Every metric of train and validation, and the learning rate, by epoch."""
    epochs = [row["epoch"] for row in history]
    panels = [
        Panel(
            name.replace("_", " "),
            "epoch",
            "",
            [(split, epochs, _numbers(row[split][name] for row in history)) for split in ("train", "val")],
        )
        for name in METRICS
        if name in history[0]["val"]
    ]
    return [*panels, Panel("learning rate", "epoch", "", [("lr", epochs, _numbers(row["lr"] for row in history))])]


def _numbers(values: Any) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _panels_figure(panels: Sequence[Panel], columns: int, title: str) -> "Figure":
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    height = 3.0 * rows if columns > 1 else 6.0
    figure = Figure(figsize=(max(7.0, 4.2 * columns), height + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=9)
    for panel, axes in zip(panels, figure.subplots(rows, columns, squeeze=False).flat, strict=False):
        marker = "." if all(len(x) < 3 for _, x, _ in panel.lines) else None
        for i, (name, x, y) in enumerate(panel.lines):
            axes.plot(x, y, label=name, color=COLOURS[i % len(COLOURS)], linewidth=1.6, marker=marker)
        if panel.guide:
            axes.plot(*panel.guide, color="grey", linestyle="--", linewidth=1)
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        if panel.x_label == "epoch":
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        if panel.lines:
            axes.legend(fontsize=8)
    return figure


def _panels_page(panels: Sequence[Panel], columns: int, title: str) -> str:
    from plotly.subplots import make_subplots

    rows = -(-len(panels) // columns)
    figure = make_subplots(rows, columns, subplot_titles=[panel.title for panel in panels], vertical_spacing=0.25 / rows)
    for place, panel in enumerate(panels):
        cell = {"row": place // columns + 1, "col": place % columns + 1}
        for i, (name, x, y) in enumerate(panel.lines):
            figure.add_scatter(
                x=x,
                y=y,
                name=name,
                mode="lines+markers" if len(x) < 50 else "lines",
                legendgroup=name,
                showlegend=columns == 1 or place == 0,
                line_color=COLOURS[i % len(COLOURS)],
                **cell,
            )
        if panel.guide:
            figure.add_scatter(
                x=panel.guide[0],
                y=panel.guide[1],
                mode="lines",
                showlegend=False,
                hoverinfo="skip",
                line={"color": "grey", "dash": "dash", "width": 1},
                **cell,
            )
        figure.update_xaxes(title_text=panel.x_label, **cell)
        figure.update_yaxes(title_text=panel.y_label, **cell)
    figure.update_layout(
        title=title.replace("\n", "<br>"),
        title_font_size=14,
        margin_t=150,
        template="plotly_white",
        height=340 * rows if columns > 1 else 650,
    )
    return figure.to_html(include_plotlyjs="directory")
