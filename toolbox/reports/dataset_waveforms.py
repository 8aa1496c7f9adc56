"""Rows of a dataset become panels: examples of each class, its mean and spread, and one beat under each
augmentation."""

import math
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolbox.reports import panels
from toolbox.reports.panels import Panel

Array = NDArray[Any]
POINTS = 1000  # drawn of a line at most
BLOCK = 4_000_000  # samples taken into memory at a time
CELL = (3.0, 2.2)  # inches
ABREAST = 5  # classes in a row of means


class Facts(Protocol):
    """What the axes say of the data."""

    rate_hz: float
    unit: str
    leads: tuple[str, ...]
    classes: tuple[str, ...]


def example_panels(x: Array, y: Array, index: Array, *, spec: Facts, seed: int, examples: int) -> list[Panel]:
    """`examples` panels a class with rows of it drawn at random; the panels of a class with fewer rows stay empty.

    `x` (N, C, T), `y` (N,) and `index` (N,), the row in the source.
    """
    rng, grid = np.random.default_rng(seed), []
    for k, name in enumerate(spec.classes):
        of_class = np.flatnonzero(y == k)
        drawn = np.sort(rng.choice(of_class, min(examples, len(of_class)), replace=False))
        grid += [_signal(x[row], spec, f"{name}, row {index[row]:,}") for row in drawn]
        grid += [_panel(f"{name}: no {'other ' if len(drawn) else ''}row") for _ in range(examples - len(drawn))]
    return _labelled(grid, examples, spec.unit)


def cell(leads: int) -> tuple[float, float]:
    """Width and height in inches of a panel with a row."""
    return CELL[0], max(CELL[1], 1 + 0.35 * leads)


def _signal(row: Array, spec: Facts, title: str, reach: Array | None = None) -> Panel:
    """A row (C, T), with a band of `reach` (C, T) to either side: one lead over its unit, several above each other.

    The title then states the step between them.
    """
    time_s, several = (np.arange(row.shape[-1]) / spec.rate_hz).astype(np.float32), len(spec.leads) > 1
    low, high = (row, row) if reach is None else (row - reach, row + reach)
    step = _step(float((high.max(-1) - low.min(-1)).max()))
    panel = _panel(title, f"\nleads {step:g} {spec.unit} apart" if several else "")
    for lead, (name, signal) in enumerate(zip(spec.leads, row, strict=True)):
        shown, base = thinned(signal), lead * step
        panel.lines.append((name, time_s[shown], signal[shown] - base))
        if reach is not None:
            panel.bands.append((time_s[shown], low[lead, shown] - base, high[lead, shown] - base))
    if several:
        panel.ticks = (-step * np.arange(len(spec.leads)), spec.leads)
    return panel


def _step(span: float) -> float:
    """A round distance (1, 2 or 5 times a power of ten) at which leads that range over `span` hardly touch."""
    span = span or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= 0.7 * span)


def thinned(signal: Array) -> Array:
    """The places of at most about 1,000 samples that draw `signal` (T,) as it is: lowest and highest of each
    stretch."""
    if len(signal) <= POINTS:
        return np.arange(len(signal))
    width = -(-2 * len(signal) // POINTS)
    stretches = np.pad(signal, (0, -len(signal) % width), mode="edge").reshape(-1, width)
    ends = np.stack([stretches.argmin(1), stretches.argmax(1)]) + width * np.arange(len(stretches))
    return np.unique(np.minimum(ends, len(signal) - 1))


def mean_panels(x: Array, y: Array, spec: Facts) -> list[Panel]:
    """A panel for each class: the mean of its rows (N, C, T), and a band of two standard deviations to either side."""
    counts, mean, sd = moments(x, y, len(spec.classes))
    titles = [
        f"{name}, {count:,} row{'' if count == 1 else 's'}" for name, count in zip(spec.classes, counts, strict=True)
    ]
    grid = [_signal(mean[k], spec, title, 2 * sd[k]) if counts[k] else _panel(title) for k, title in enumerate(titles)]
    return _labelled(grid, ABREAST, spec.unit)


def moments(x: Array, y: Array, classes: int) -> tuple[Array, Array, Array]:
    """Rows (K,), mean and standard deviation (K, C, T) float32 of each class; zeros where a class has no row.

    `x` (N, C, T) may be a memory map: it is read once, a block at a time.
    """
    counts, block = np.bincount(y, minlength=classes), max(1, BLOCK // max(1, int(np.prod(x.shape[1:]))))
    sums = np.zeros((2, classes, *x.shape[1:]))
    origin = x[:1].astype(float).sum(0)  # near the values, so that the difference of squares keeps its digits
    for begin in range(0, len(x), block):
        part = x[begin : begin + block] - origin
        member = (y[begin : begin + block] == np.arange(classes)[:, None]).astype(float)
        sums[0] += np.tensordot(member, part, 1)
        sums[1] += np.tensordot(member, part**2, 1)
    mean, square = sums / np.maximum(counts, 1)[:, None, None]
    sd = np.sqrt(np.maximum(square - mean**2, 0))
    there = counts[:, None, None] > 0
    return counts, np.where(there, mean + origin, 0).astype(np.float32), sd.astype(np.float32)


def save_augmentations(rows: Mapping[str, Array], path: Path, *, rate_hz: float, unit: str) -> None:
    """Draw one lead (T,) as it is under each augmentation, by name; "original" is drawn behind each, in grey."""
    columns, grid = min(len(rows), 3), []
    time_s = {name: np.arange(len(signal)) / rate_hz for name, signal in rows.items()}
    for name, signal in rows.items():
        panel = _panel(name.replace("_", " "))
        panel.lines = [(name, time_s[name], signal)]
        panel.guide = None if name == "original" else (time_s["original"], rows["original"])
        grid.append(panel)
    grid = _labelled(grid, columns, unit)
    panels.save_png(
        panels.panels_figure(grid, columns, "a beat under each augmentation; as it is, in grey", CELL), path
    )


def _panel(title: str, second: str = "") -> Panel:
    return Panel(fill(title, 34) + second, "", "", legend=False)


def _labelled(grid: list[Panel], columns: int, unit: str) -> list[Panel]:
    """Name the axes at the edge of the grid only."""
    for place, panel in enumerate(grid):
        panel.x_label = "time (s)" if place >= len(grid) - columns else ""
        panel.y_label = fill(unit, 18) if place % columns == 0 and panel.lines and not panel.ticks else ""
    return grid
