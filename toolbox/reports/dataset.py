"""Figures of a dataset: rows of each class, examples, mean and spread, a beat under each augmentation, and one page.

`explore(folder, root, x=..., y=..., ...)` writes each as PNG, and index.html with all of them to zoom and hover.
It takes training and validation rows only: the test rows stay closed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics.ranking import of_class
from toolbox.plain import NOTICE
from toolbox.reports import figures, pages, plots
from toolbox.reports.plots import COLOURS, DataFacts, Panel
from toolbox.runs.outputs import Claim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
POINTS = 1000  # of a drawn line, at most
BLOCK = 4_000_000  # samples in memory at a time
CELL = (3.0, 2.2)  # inches
ABREAST, AUGMENTED = 5, 3  # panels in a row: means of classes, augmentations
SMALL = 170  # pixels of the axes of a panel on the page
RATES = "each split by itself: rows (share)"
CLOSED = "Train and validation rows only; the test rows are not opened."
SPLITS = {"train": "#444444", "validation": "#AAAAAA"}
PICTURES = {"classes": "Classes", "examples": "Examples", "mean": "Mean and spread", "augmentations": "Augmentations"}


def example_panels(x: Array, y: Array, index: Array, *, spec: DataFacts, seed: int, examples: int) -> list[Panel]:
    """`examples` panels per class with random rows; panels without a row stay empty.

    `x` (N, C, T), `y` (N,) and `index` (N,), the row in the source.
    """
    rng, grid = np.random.default_rng(seed), []
    for k, name in enumerate(spec.classes):
        own = np.flatnonzero(of_class(y, k))
        drawn = np.sort(rng.choice(own, min(examples, len(own)), replace=False))
        grid += [_signal(x[row], spec, f"{name}, row {index[row]:,}") for row in drawn]
        grid += [_panel(f"{name}: no {'other ' if len(drawn) else ''}row") for _ in range(examples - len(drawn))]
    return _labelled(grid, examples, spec.unit)


def _signal(row: Array, spec: DataFacts, title: str, reach: Array | None = None) -> Panel:
    """A row (C, T), with a band of `reach` (C, T): one lead over its unit, several a stated step above each other."""
    time_s, several = (np.arange(row.shape[-1]) / spec.rate_hz).astype(np.float32), len(spec.leads) > 1
    low, high = (row, row) if reach is None else (row - reach, row + reach)
    step = _step(float((high.max(-1) - low.min(-1)).max()))
    panel = _panel(title, f"\nleads {step:g} {spec.unit} apart" if several else "")
    for lead, (name, signal) in enumerate(zip(spec.leads, row, strict=True)):
        shown, base = plots.extremes(signal, POINTS), lead * step
        panel.lines.append((name, time_s[shown], signal[shown] - base))
        if reach is not None:
            panel.bands.append((time_s[shown], low[lead, shown] - base, high[lead, shown] - base))
    if several:
        panel.ticks = (-step * np.arange(len(spec.leads)), spec.leads)
    return panel


def _step(span: float) -> float:
    """A round distance (1, 2 or 5 times a power of ten) at which leads of range `span` hardly touch."""
    span = span or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= 0.7 * span)


def mean_panels(x: Array, y: Array, spec: DataFacts) -> list[Panel]:
    """A panel for each class: the mean of its rows (N, C, T), and a band of two standard deviations to either side."""
    counts, mean, sd = moments(x, y, len(spec.classes))
    grid = []
    for k, name in enumerate(spec.classes):
        title = f"{name}, {counts[k]:,} row{'' if counts[k] == 1 else 's'}"
        grid.append(_signal(mean[k], spec, title, 2 * sd[k]) if counts[k] else _panel(title))
    return _labelled(grid, ABREAST, spec.unit)


def moments(x: Array, y: Array, classes: int) -> tuple[Array, Array, Array]:
    """Rows (K,), mean and standard deviation (K, C, T) float32 of each class; zeros for a class without rows.

    `x` (N, C, T) may be a memory map; it is read once, in blocks.
    """
    counts, block = _counts(y, classes), max(1, BLOCK // max(1, int(np.prod(x.shape[1:]))))
    sums = np.zeros((2, classes, *x.shape[1:]))
    origin = x[:1].astype(float).sum(0)  # near the values, so that the difference of squares keeps its digits
    for begin in range(0, len(x), block):
        part = x[begin : begin + block] - origin
        member = np.stack([of_class(y[begin : begin + block], k) for k in range(classes)]).astype(float)
        sums[0] += np.tensordot(member, part, 1)
        sums[1] += np.tensordot(member, part**2, 1)
    mean, square = sums / np.maximum(counts, 1)[:, None, None]
    sd = np.sqrt(np.maximum(square - mean**2, 0))
    there = counts[:, None, None] > 0
    return counts, np.where(there, mean + origin, 0).astype(np.float32), sd.astype(np.float32)


def _counts(y: Array, classes: int) -> Array:
    """The rows (K,) of each class of y, (N,) or many labels (N, K)."""
    return np.bincount(y, minlength=classes) if y.ndim == 1 else y.sum(0)


def augmentation_panels(rows: Mapping[str, Array], *, rate_hz: float, unit: str) -> list[Panel]:
    """One lead (T,) under each augmentation, by name, with "original" in grey behind it."""
    grid, guide = [], (np.arange(len(rows["original"])) / rate_hz, rows["original"])
    for name, signal in rows.items():
        panel = _panel(name.replace("_", " "))
        panel.lines = [(name, np.arange(len(signal)) / rate_hz, signal)]
        panel.guide = None if name == "original" else guide
        grid.append(panel)
    return _labelled(grid, AUGMENTED, unit)


def _panel(title: str, second: str = "") -> Panel:
    return Panel(fill(title, 34) + second, "", "", legend=False)


def _labelled(grid: list[Panel], columns: int, unit: str) -> list[Panel]:
    """Name the axes at the edge of the grid only."""
    for place, panel in enumerate(grid):
        panel.x_label = "time (s)" if place >= len(grid) - columns else ""
        panel.y_label = fill(unit, 18) if place % columns == 0 and panel.lines and not panel.ticks else ""
    return grid


def _is_own(path: Path) -> bool:
    """Whether an earlier version of this program, without markers, wrote a file, by the text of its page."""
    try:
        return f"<p>{CLOSED} {NOTICE}</p>" in path.with_name("index.html").read_text("utf-8")
    except (OSError, ValueError):
        return False


def explore(
    folder: Path,
    root: Path,
    *,
    x: Array,
    y: Array,
    index: Array,
    y_val: Array,
    spec: DataFacts,
    seed: int,
    examples: int = 5,
    augmented: Mapping[str, Array] | None = None,
) -> Path:
    """Write the figures of a dataset into `folder`; return the path of their page, which `root` has the library of.

    `x` (N, C, T), `y` (N,) and `index` (N,), the row in the source, are the training rows; `y_val` (M,) are of
    validation. `seed` draws `examples` rows per class; `augmented` are the rows of `augmentation_panels`. Raises
    ResourceError.
    """
    names = ["index.html", *(f"{name}{ending}" for name in PICTURES for ending in (".png", ".html"))]
    of = {"output": "exploration", "dataset": spec.name}
    Claim(folder, "", names, of, lambda path: of if _is_own(path) else None, flag="--root-dir").take()
    cell = (CELL[0], max(CELL[1], 1 + 0.35 * len(spec.leads)))
    counts = np.stack([_counts(labels, len(spec.classes)) for labels in (y, y_val)])
    plots.save_png(classes_figure(counts, spec.classes, f"{spec.name}\n{CLOSED}"), folder / "classes.png")
    grids = {
        "examples": (example_panels(x, y, index, spec=spec, seed=seed, examples=examples), examples, cell),
        "mean": (mean_panels(x, y, spec), min(len(spec.classes), ABREAST), cell),
    }
    if augmented:
        panels = augmentation_panels(augmented, rate_hz=spec.rate_hz, unit=spec.unit)
        grids["augmentations"] = (panels, min(len(panels), AUGMENTED), CELL)
    for name, (panels, columns, of_cell) in grids.items():
        title = f"{spec.name}: {_of_grid(name, spec, seed)}\n{CLOSED}"
        plots.save_panels(panels, folder / f"{name}.png", columns=columns, title=title, cell=of_cell)
    drawn = {"classes": [figures.bars(dict(zip(SPLITS, counts, strict=True)), spec.classes, title=RATES)]}
    drawn |= {name: [_on_page(panel) for panel in panels] for name, (panels, *_) in grids.items()}
    page, about = folder / "index.html", _facts(spec, counts.sum(1), x.shape[-1])
    sections = [(PICTURES[name], _said(name, spec, seed), f"{name}.png", each) for name, each in drawn.items()]
    library = pages.shared(page, root)
    pages.save(page, "dataset.html", library=library, title=spec.name, closed=CLOSED, about=about, sections=sections)
    return page


def _on_page(panel: Panel) -> figures.Figure:
    """A panel without names of axes, which stand in the caption of its group."""
    return figures.of_panel(replace(panel, x_label="", y_label=""), height=SMALL)


def _said(name: str, spec: DataFacts, seed: int) -> str:
    """The caption of a group of figures."""
    if name == "classes":
        return "rows of each class"
    return f"{_of_grid(name, spec, seed)}; time in s, unit {spec.unit or 'not stated'}"


def _of_grid(name: str, spec: DataFacts, seed: int) -> str:
    return {
        "examples": f"{spec.view}s of train drawn with seed {seed}",
        "mean": f"{spec.view}s of train: mean, and two standard deviations to either side",
        "augmentations": "a beat under each augmentation; the original in grey",
    }[name]


def _facts(spec: DataFacts, rows: Array, samples: int) -> list[tuple[str, str]]:
    """The facts of the dataset for the page, by name; `rows` (2,) of train and validation."""
    return [
        ("rows", f"{rows[0]:,} train, {rows[1]:,} validation"),
        ("classes", ", ".join(spec.classes)),
        ("one row", f"{spec.view}, {samples:,} samples at {spec.rate_hz:g} Hz = {samples / spec.rate_hz:.4g} s"),
        ("leads", ", ".join(spec.leads)),
        ("unit", spec.unit),
        *([("features", ", ".join(spec.features))] if spec.features else []),
        ("split", spec.split_rule),
        ("source", spec.source),
        ("licence", spec.licence),
    ]


def classes_figure(counts: Array, classes: Sequence[str], title: str) -> "Figure":
    """Rows of each class, `counts` (2, K) of train and validation: a pie of both together, bars of each apart."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(12, 2.6 + 0.5 * len(classes)), layout="constrained")
    figure.suptitle(title, fontsize=9)
    pie, bars = figure.subplots(1, 2, width_ratios=(2, 3))
    total, labels = counts.sum(0), _labels(counts.sum(0))
    if total.sum():
        colours = list(islice(cycle(COLOURS), len(classes)))
        pie.pie(total, colors=colours, startangle=90, counterclock=False)
        wedges = [Patch(color=colour) for colour in colours]
        names = [f"{name}  {label}" for name, label in zip(_broken(classes), labels, strict=True)]
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": 2 if len(classes) > 5 else 1}
        pie.legend(wedges, names, **place, fontsize=9, frameon=False)
    pie.set_title(f"train and validation together, {total.sum():,} rows")
    for i, (name, colour) in enumerate(SPLITS.items()):
        bar = bars.barh(np.arange(len(classes)) + 0.4 * i - 0.2, _percent(counts[i]), 0.36, label=name, color=colour)
        bars.bar_label(bar, _labels(counts[i]), padding=3, fontsize=9)
    bars.set_yticks(range(len(classes)), _broken(classes))
    bars.invert_yaxis()
    bars.margins(x=0.25)
    bars.set(xlabel="share of the split's rows (%)", title="each split by itself: rows (share)")
    bars.grid(axis="x", alpha=0.25)
    bars.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.0, ncols=2, frameon=False)
    return figure


def _broken(classes: Sequence[str]) -> list[str]:
    return [fill(name, 20) for name in classes]


def _percent(counts: Array) -> Array:
    return 100 * counts / np.maximum(counts.sum(-1, keepdims=True), 1)


def _labels(counts: Array) -> list[str]:
    return [f"{count:,} ({share:.1f}%)" for count, share in zip(counts, _percent(counts), strict=True)]
