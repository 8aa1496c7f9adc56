"""What a classifier said becomes figures: confusion matrices, and the panels of curves and of a run's history."""

from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolbox import plain
from toolbox.metrics import classification
from toolbox.metrics.classification import METRICS
from toolbox.reports.panels import Panel
from toolbox.runs.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 1000  # of a line over steps
LABEL_WIDTH = 16  # letters of a class name before it is broken


def confusion_figure(matrix: NDArray[Any], classes: Sequence[str], *, normalised: bool, title: str) -> "Figure":
    """A confusion matrix (K, K) with class names; shades are always shares of the true class, texts shares or
    counts."""
    from matplotlib.figure import Figure

    size = 2.2 + 0.75 * len(classes)
    figure = Figure(figsize=(size + 0.9, size), layout="constrained")
    image = ConfusionImage(figure.add_subplot(), classes, normalised=normalised)
    figure.colorbar(image.shades, ax=image.axes, label="share of the true class")
    image.show(matrix)
    figure.suptitle(title, fontsize=9)
    return figure


class ConfusionImage:
    """A confusion matrix on `axes`, which can be shown another one of the same classes."""

    def __init__(self, axes: "Axes", classes: Sequence[str], *, normalised: bool) -> None:
        self.axes, self.normalised, places = axes, normalised, range(len(classes))
        self.shades = axes.imshow(np.zeros((len(classes),) * 2), cmap="Blues", vmin=0, vmax=1)
        self.texts = [axes.text(j, i, "", ha="center", va="center", fontsize=9) for i in places for j in places]
        names = [fill(plain.escaped(name), LABEL_WIDTH) for name in classes]
        axes.set_xticks(places, names, rotation=label_angle(classes))
        axes.set_yticks(places, names)
        axes.set(xlabel="predicted", ylabel="true")

    def show(self, matrix: NDArray[Any]) -> None:
        """Draw `matrix` (K, K); where it is NaN nothing is written."""
        share = shares(matrix)
        self.shades.set_data(share)
        for text, value, count in zip(self.texts, share.flat, matrix.flat, strict=True):
            text.set_text("" if np.isnan(value) else f"{value:.1%}" if self.normalised else f"{int(count):,}")
            text.set_color("white" if value > 0.5 else "black")


def label_angle(classes: Sequence[str]) -> int:
    """Degrees by which class names below a matrix are turned: 90 where they would not fit beside each other."""
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
    """Name and curve of each class that has rows on both sides."""
    ranking, ones = classification.Ranking(predictions.target, predictions.scores), np.ones(len(predictions.target))
    for k, name in enumerate(classes):
        if 0 < (predictions.target == k).sum() < len(predictions.target):
            yield name, *ranking.curve(k, ones)


def _bends(counts: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a count that grows step by step begins or ends to grow: the points a line needs, ends included."""
    steps = np.diff(counts, prepend=np.nan, append=np.nan)
    return steps[1:] != steps[:-1]


def history_panels(history: Sequence[dict[str, Any]]) -> list[Panel]:
    """Every metric of train and, where there is any, validation, and the learning rate, by epoch."""
    epochs, sides = (
        [row["epoch"] for row in history],
        [side for side in ("train", "val") if any(row[side] for row in history)],
    )
    panels = [
        Panel(
            name.replace("_", " "),
            "epoch",
            "",
            [(split, epochs, _numbers(row[split].get(name) for row in history)) for split in sides],
        )
        for name in METRICS
        if any(name in row[side] for side in sides for row in history)
    ]
    rates = [name for name in ("lr", "backbone_lr") if any(name in row for row in history)]
    lines = [(name, epochs, _numbers(row.get(name) for row in history)) for name in rates]
    return [*panels, Panel("learning rate", "epoch", "", lines)]


def loss_panels(epoch: NDArray[np.int32], loss: NDArray[np.float32]) -> list[Panel]:
    """The training loss of every step (S,), the means of many steps where there are more than MOST_POINTS, and of each
    epoch.

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
    panel = Panel(
        "loss of every step",
        "step",
        "training loss",
        [(name, middle, mean), ("mean of an epoch", (firsts + ends + 1) / 2, means)],
    )
    if many > 1:
        panel.bands = [(middle, np.minimum.reduceat(loss, starts), np.maximum.reduceat(loss, starts))]
    return [panel]


def _numbers(values: Any) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
