"""The confusion matrices of all epochs of a run, train left, validation right, as a GIF or a page.

`save_confusion_video(history, classes, "run.gif", title=...)` writes a GIF; `save_confusion_page` writes the same as an
HTML page with a slider. `history` is the list of a run's logger.json.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.errors import CheckpointError
from toolbox.reports import pages, plots

if TYPE_CHECKING:
    from plotly.graph_objects import Heatmap

FRAMES = 60
SECONDS = 12  # of the whole GIF, within the bounds of a frame
FRAME_MS = (100, 600)
LAST_MS = 3000
History = Sequence[Mapping[str, Any]]


def chosen(history: History) -> list[Mapping[str, Any]]:
    """At most 60 rows of `history`, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(history) - 1, min(FRAMES, len(history))).round().astype(int)
    return [history[place] for place in places]


def matrices(history: History, classes: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Confusion matrices (epochs, K, K) of train and validation by name, NaN for an epoch without one.

    A split without any is left out. Raises CheckpointError if both are, or for a matrix of another size.
    """
    sides = {}
    for split, name in plots.SIDES.items():
        found = [(row.get(split) or {}).get("confusion_matrix") for row in history]
        if any(found):
            sides[name] = np.stack([_matrix(matrix, len(classes)) for matrix in found])
    if not sides:
        hint = "a run with a complete epoch"
        raise CheckpointError("no epoch of this history has a confusion matrix", where="logger.json", hint=hint)
    return sides


def _matrix(found: Any, size: int) -> NDArray[np.float64]:
    matrix = np.array(found, dtype=float) if found else np.full((size, size), np.nan)
    if matrix.shape != (size, size):
        what = f"a confusion matrix is not one of {size} classes"
        raise CheckpointError(what, where="logger.json", hint="mend the file, or another --version")
    return matrix


def frame_ms(frames: int) -> list[int]:
    """The duration of each frame; the last one is longer, to be readable."""
    each = int(np.clip(1000 * SECONDS / frames, *FRAME_MS))
    return [each] * (frames - 1) + [LAST_MS]


def frames(history: History, classes: Sequence[str], *, title: str) -> Iterator[NDArray[np.uint8]]:
    """An image (H, W, 3) for each row of `history`, all of one size and from one figure."""
    from matplotlib.figure import Figure

    sides = matrices(history, classes)
    size = 2.2 + 0.75 * len(classes)
    width, height = size * len(sides) + 1.2, size + 0.4
    figure, letters = Figure(figsize=(width, height), layout="constrained"), int(11 * width)
    places = figure.subplots(1, len(sides), squeeze=False)[0]
    images = [plots.ConfusionImage(axes, classes, normalised=True) for axes in places]
    figure.colorbar(images[0].shades, ax=[image.axes for image in images], label="share of the true class")
    for name, image in zip(sides, images, strict=True):
        image.axes.set_title(name)
    heading = figure.suptitle(" \n" * (len(title) // letters + 1), fontsize=10)
    parts = (part for image in images for part in (image.shades, *image.axes.spines.values(), *image.texts))
    moving = [heading, *parts]
    for artist in moving:
        artist.set_animated(True)  # left out when the rest is drawn, which is once
    canvas = plots.drawn(figure)
    still = canvas.copy_from_bbox(figure.bbox)
    for i, row in enumerate(history):
        canvas.restore_region(still)
        heading.set_text(fill(f"{title}, epoch {row['epoch']} of {history[-1]['epoch']}", letters))
        for stack, image in zip(sides.values(), images, strict=True):
            image.show(stack[i])
        for artist in moving:
            figure.draw_artist(artist)
        yield np.array(canvas.buffer_rgba())[..., :3]


def save_confusion_video(history: History, classes: Sequence[str], path: Path, *, title: str) -> None:
    """Write the matrices of `history` as a GIF, whole or not at all.

    Raises CheckpointError as `matrices`.
    """
    from PIL import Image

    rows = chosen(history)
    pictures = (Image.fromarray(picture) for picture in frames(rows, classes, title=title))
    first = next(pictures).quantize(dither=Image.Dither.NONE)  # its colour bar has every shade
    rest = (picture.quantize(palette=first, dither=Image.Dither.NONE) for picture in pictures)
    gif = {"save_all": True, "append_images": rest, "duration": frame_ms(len(rows)), "loop": 0}
    files.write_whole(path, lambda file: first.save(file, format="GIF", **gif))


def save_confusion_page(history: History, classes: Sequence[str], path: Path, *, title: str, library: Path) -> None:
    """Write the matrices of `history` as an HTML page with a slider and a play button, which needs no network.

    `library` is the folder of plotly's library.
    """
    from plotly.graph_objects import Frame
    from plotly.subplots import make_subplots

    rows = chosen(history)
    sides = matrices(rows, classes)
    figure = make_subplots(1, len(sides), subplot_titles=list(sides))
    steps = [[_heatmap(stack[i], classes) for stack in sides.values()] for i in range(len(rows))]
    names = [str(row["epoch"]) for row in rows]
    for column, heatmap in enumerate(steps[-1], start=1):
        figure.add_trace(heatmap, row=1, col=column)
    figure.frames = [Frame(data=step, name=name) for step, name in zip(steps, names, strict=True)]
    angle = plots.label_angle(classes)
    side, below = 320 + 45 * len(classes), 60 + angle  # pixels
    bar_title = {"text": "share of the true class", "side": "right"}
    figure.update_xaxes(title_text="predicted", type="category", tickangle=-angle)
    figure.update_yaxes(title_text="true", type="category", autorange="reversed")
    figure.update_layout(
        title=title.replace("\n", "<br>"),
        title_font_size=14,
        template="plotly_white",
        width=side * len(sides) + 160,
        height=side + 170 + below,
        margin={"t": 110, "b": below + 80},
        coloraxis={"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar_title": bar_title},
        sliders=[_slider(names, below)],
        updatemenus=[_buttons(frame_ms(len(rows))[0] if len(rows) > 1 else FRAME_MS[1], below)],
    )
    pages.save_figure(path, figure, title=title, library=library)


def _heatmap(matrix: NDArray[np.float64], classes: Sequence[str]) -> "Heatmap":
    from plotly.graph_objects import Heatmap

    names = [fill(name, plots.LABEL_WIDTH).replace("\n", "<br>") for name in classes]
    return Heatmap(
        z=plots.shares(matrix).round(4),
        x=names,
        y=names,
        customdata=matrix,
        coloraxis="coloraxis",
        texttemplate="%{z:.1%}",
        hovertemplate="true %{y}, predicted %{x}<br>%{customdata:,} rows, %{z:.2%} of the true class<extra></extra>",
    )


def _slider(names: Sequence[str], below: int) -> dict[str, Any]:
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"method": "animate", "label": name, "args": [[name], at_once]} for name in names]
    place = {"pad": {"t": below}, "x": 0.1, "len": 0.9}
    return {"active": len(names) - 1, "currentvalue": {"prefix": "epoch "}, "steps": steps, **place}


def _buttons(each_ms: int, below: int) -> dict[str, Any]:
    play = {"frame": {"duration": each_ms, "redraw": True}, "transition": {"duration": 0}, "fromcurrent": False}
    stop = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}, "transition": {"duration": 0}}
    buttons = [
        {"label": "play", "method": "animate", "args": [None, play]},
        {"label": "stop", "method": "animate", "args": [[None], stop]},
    ]
    place = {"x": 0, "xanchor": "left", "y": 0, "yanchor": "top", "pad": {"t": below + 25}, "direction": "right"}
    return {"type": "buttons", "showactive": False, "buttons": buttons, **place}
