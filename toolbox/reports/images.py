"""Small images for the recorders of a training, drawn with Pillow in milliseconds where matplotlib takes tenths.

`of_epoch(row, classes)` after an epoch, `of_rows(x, captions)` at its end, `of_test(...)` after the test: by tag, each
(H, W, 3). TensorBoard sorts tags by their first word and opens the first two groups: metrics, and these.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolbox import plain
from toolbox.reports import plots
from toolbox.runs.predictions import Predictions

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

Image = NDArray[np.uint8]
GROUP = "pictures"
INK, PAPER, GREY = (30, 30, 30), (255, 255, 255), (150, 150, 150)
FULL, WRONG = np.array((8, 81, 156)), (190, 30, 45)  # of a cell with all rows of its class; of a wrong prediction
COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75))
LETTERS, CELL, SMALL_CELL, EDGE = 11, 58, 12, 6  # pixels
WRITTEN = 20  # classes whose cells are large enough for numbers
TRACE, PLOT, COLUMNS = (340, 120), (320, 240), 2
MOST_ROWS = 8
LONGEST = 14  # letters of a class name at a matrix


@cache
def _font() -> "FreeTypeFont":
    """The font that comes with matplotlib, found without the tenths of a second of its import."""
    from PIL import ImageFont

    (folder,) = find_spec("matplotlib").submodule_search_locations  # type: ignore[union-attr, misc]
    return ImageFont.truetype(f"{folder}/mpl-data/fonts/ttf/DejaVuSans.ttf", LETTERS)


def _blank(width: int, height: int) -> tuple[Any, "ImageDraw"]:
    """White paper and its pen."""
    from PIL import Image as Images
    from PIL import ImageDraw

    page = Images.new("RGB", (width, height), PAPER)
    return page, ImageDraw.Draw(page)


def confusion(matrix: NDArray[Any], classes: Sequence[str], *, title: str) -> Image:
    """A confusion matrix (K, K): rows are true classes, shaded by their share, with counts and shares."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    written, names = len(classes) <= WRITTEN, [plain.escaped(name)[:LONGEST] for name in classes]
    cell = CELL if written else SMALL_CELL
    left = EDGE + LETTERS + (max(int(_font().getlength(name)) for name in names) + EDGE if written else 0)
    top, size = 3 * (LETTERS + EDGE), cell * len(classes)
    page, pen = _blank(max(left + size, int(_font().getlength(title))) + 2 * EDGE, top + size + EDGE)
    pen.text((EDGE, EDGE), title, INK, _font())
    pen.text((left, EDGE + LETTERS + EDGE), "predicted", GREY, _font())
    for i, j in np.ndindex(matrix.shape):
        x, y, share = left + j * cell, top + i * cell, float(shares[i, j])
        colour = tuple(map(int, np.array(PAPER) + share * (FULL - PAPER)))
        pen.rectangle((x, y, x + cell - 1, y + cell - 1), colour, GREY if written else None)
        if written:
            text = f"{matrix[i, j]:,.0f}\n{share:.1%}"
            at, ink = (x + cell / 2, y + cell / 2), INK if share < 0.5 else PAPER
            pen.multiline_text(at, text, ink, _font(), anchor="mm", align="center")
    for k, name in enumerate(names if written else ()):
        pen.text((left + (k + 0.5) * cell, top - EDGE / 2), name, INK, _font(), anchor="ms")
        pen.text((left - EDGE, top + (k + 0.5) * cell), name, INK, _font(), anchor="rm")
    return np.asarray(page)


def curves(panel: plots.Panel) -> Image:
    """The lines of a panel whose axes are shares from 0 to 1."""
    width, height = PLOT
    base = height + 2 * (LETTERS + EDGE)
    page, pen = _blank(width + 2 * EDGE, base + (len(panel.lines) + 1) * (LETTERS + EDGE))
    pen.text((EDGE, EDGE), panel.title, INK, _font())
    corner = (EDGE, base - height, EDGE + width, base)
    pen.rectangle(corner, None, GREY)
    pen.text((EDGE, base + EDGE / 2), f"{panel.y_label} against {panel.x_label}", GREY, _font())
    for k, (name, x, y) in enumerate(panel.lines):
        colour = COLOURS[k % len(COLOURS)]
        points = np.stack([EDGE + np.asarray(x) * width, base - np.asarray(y) * height], 1)
        pen.line([*map(tuple, points.tolist())], colour, 2)
        pen.text((EDGE, base + (k + 1) * (LETTERS + EDGE)), plain.escaped(name), colour, _font())
    return np.asarray(page)


def rows(x: NDArray[np.float32], captions: Sequence[str], wrong: Sequence[bool]) -> Image:
    """Signals (N, C, T), of which the first lead is drawn, or charts (N, 3, H, W), with a caption above each.

    The captions of `wrong` rows are red.
    """
    charts = x.ndim == 4
    width, height = (x.shape[3], x.shape[2]) if charts else TRACE
    head = LETTERS + 2 * EDGE
    page, pen = _blank(COLUMNS * (width + EDGE) + EDGE, -(-len(x) // COLUMNS) * (height + head) + EDGE)
    for k, (row, caption) in enumerate(zip(x, captions, strict=True)):
        left, top = EDGE + k % COLUMNS * (width + EDGE), k // COLUMNS * (height + head) + head
        pen.text((left, top - head + EDGE), plain.escaped(caption), WRONG if wrong[k] else INK, _font())
        if charts:
            page.paste(_chart(row), (left, top))
        else:
            pen.rectangle((left, top, left + width, top + height), None, GREY)
            pen.line(_trace(row[0], left, top), INK, 1)
    return np.asarray(page)


def _chart(row: NDArray[np.float32]) -> Any:
    from PIL import Image as Images

    low, span = row.min(), np.ptp(row) or 1
    return Images.fromarray(((row - low) / span * 255).astype(np.uint8).transpose(1, 2, 0))


def _trace(signal: NDArray[np.float32], left: int, top: int) -> list[tuple[float, float]]:
    """The points of a signal (T,) in its frame; of a long one the lowest and highest sample of each pixel."""
    width, height = TRACE
    if len(signal) > 2 * width:
        parts = np.array_split(signal, width)
        signal = np.array([end for part in parts for end in (part.min(), part.max())])
    low, span = np.nanmin(signal), float(np.ptp(signal)) or 1.0
    y = top + height - EDGE - (signal - low) / span * (height - 2 * EDGE)
    return list(zip(np.linspace(left, left + width, len(y)).tolist(), y.tolist(), strict=True))


def of_epoch(row: dict[str, Any], classes: Sequence[str]) -> dict[str, Image]:
    """Confusion matrices of an epoch of a history, train and validation."""
    sides = {"train": "train", "val": "validation"} if "confusion_matrix" in row["val"] else {}
    return {
        f"{GROUP}/confusion_{split}": confusion(
            np.array(row[split]["confusion_matrix"]), classes, title=f"{name}, epoch {row['epoch']}"
        )
        for split, name in sides.items()
    }


def of_test(
    predictions: Predictions, matrix: NDArray[Any], classes: Sequence[str], *, curves_of: Sequence[str], epoch: int
) -> dict[str, Image]:
    """The confusion matrix (K, K) of a test, and the ROC of the classes `curves_of`."""
    (panel,) = plots.roc_panels(predictions, curves_of)
    drawn = confusion(matrix, classes, title=f"test, epoch {epoch}")
    return {f"{GROUP}/confusion_test": drawn, f"{GROUP}/roc_test": curves(panel)}


def worth_seeing(predictions: Predictions) -> NDArray[np.int64]:
    """At most eight rows to draw: half with the highest losses, half with the lowest, of many classes."""
    order = np.argsort(-predictions.loss, kind="stable")
    if predictions.target.ndim != 1:
        return order[:MOST_ROWS]
    ends = (_of_many_classes(order, predictions.target), _of_many_classes(order[::-1], predictions.target))
    return np.unique(np.concatenate([end[: MOST_ROWS // 2] for end in ends]))


def _of_many_classes(order: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows in `order`, the first of each class before the others."""
    first = np.sort(np.unique(target[order], return_index=True)[1])
    return np.concatenate([order[first], np.delete(order, first)])


def captions(predictions: Predictions, classes: Sequence[str]) -> tuple[list[str], list[bool]]:
    """A line for each row, with its true class, and the predicted one or the error; and which are wrong."""
    lines, wrong = [], []
    for at in range(len(predictions.index)):
        target, scores = predictions.target[at], predictions.scores[at]
        record = f" of {predictions.record[at]}" if predictions.record[at] else ""
        named = [classes[int(target)]] if target.ndim == 0 else [classes[k] for k in np.flatnonzero(target).tolist()]
        found, is_wrong = f"error {predictions.loss[at]:.3g}", False
        if len(scores) == len(classes) > 1:
            k = int(scores.argmax())
            found, is_wrong = f"predicted {classes[k]} ({scores[k]:.2f})", classes[k] not in named
        lines.append(f"row {predictions.index[at]}{record}: true {', '.join(named) or 'unknown'}, {found}")
        wrong.append(is_wrong and bool(named))
    return lines, wrong
