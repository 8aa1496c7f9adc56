"""Figures of pages, as plain dicts of plotly: data and layout. The page draws them in its own colours, and sets width.

    shown = of_panel(panel)          # Figure(title, label, drawn): the same panel that plots.py draws as PNG
    {{ panel(shown) }}               # the macro of parts.html: caption, figure, description for screen readers

Only plain values, so that neither plotly nor its second of imports is needed to write a page. Long lines are thinned
and numbers rounded to five digits, which keeps a page small.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import plain
from toolbox.reports.plots import COLOURS, COUNTED, Panel, few, shares

Array = NDArray[Any]
DIGITS = 5
POINTS, ALL_POINTS = 600, 20_000  # of a line at most, of all lines of a panel
HEIGHT, ROW_PX, LINE_PX = 260, 17, 19  # pixels of the axes, of a named height, of a name below them
LONGEST = 60  # letters of a line of text
MARKED = 30  # points of a line that are marked
BLUES = [[0, "rgba(0,114,178,0)"], [1, "rgba(0,114,178,1)"]]  # on any paper


@dataclass(frozen=True)
class Figure:
    """A plotly figure `drawn`, its caption `title`, and its description `label` for those who cannot see it."""

    title: str
    label: str
    drawn: dict[str, Any]


def of_panel(panel: Panel, *, height: int = HEIGHT, marks: Sequence[tuple[float, str]] = ()) -> Figure:
    """A panel as a figure; `marks` are named places of x, such as the best epoch."""
    most = min(POINTS, ALL_POINTS // max(1, len(panel.lines)))
    data = [_band(*band, colour=colour) for band, colour in zip(panel.bands, cycle(COLOURS), strict=False)]
    for (name, x, y), colour in zip(panel.lines, cycle(COLOURS), strict=False):
        marked = len(x) < MARKED and panel.x_label in COUNTED
        data.append(_line(name, x, y, colour=colour, most=most, marked=marked) | _style(panel))
    for trace, counts in zip(data[len(panel.bands) :], panel.counts, strict=False):
        hover = "%{x:.3f}, %{y:.3f}: %{customdata:,} rows<extra>%{fullData.name}</extra>"
        trace |= {"mode": "lines+markers+text", "text": few(counts), "textposition": "top center"}
        trace |= {"customdata": counts.tolist(), "hovertemplate": hover}
    for place, text in marks:
        reach = [end(y) for end in (np.nanmin, np.nanmax) for _, _, y in panel.lines if not np.isnan(y).all()]
        dotted = {"color": "grey", "dash": "dot", "width": 1.2}
        data.append(
            _scatter([place] * 2, [min(reach, default=0), max(reach, default=1)], name=_text(text), line=dotted)
        )
    if panel.guide:
        line = {"color": "grey", "dash": "dash", "width": 1}
        data.append(_scatter(*panel.guide, line=line, hoverinfo="skip", showlegend=False))
    named = [*(name for name, *_ in panel.lines if panel.legend), *marks]
    height = max(height, ROW_PX * len(panel.ticks[1])) if panel.ticks else height
    layout = _layout(height, below=len(named), x_label=panel.x_label, y_label=panel.y_label)
    if panel.x_label in COUNTED:
        layout["xaxis"] |= {"tickformat": ",d"} | ({"dtick": 1} if _reach(panel) < 8 else {})
    if panel.ticks:
        layout["yaxis"] |= {"tickvals": _plain(panel.ticks[0]), "ticktext": [_text(name) for name in panel.ticks[1]]}
        layout["xaxis"]["range"] = _around(panel)
    return Figure(" ".join(panel.title.split()), _label(panel), {"data": data, "layout": layout})


def confusion(matrix: Array, classes: Sequence[str], *, title: str) -> Figure:
    """A confusion matrix (K, K) as shares of the true class, for more classes than a table can show."""
    names = [_text(name) for name in classes]
    hover = "true %{y}, predicted %{x}<br>%{customdata:,} rows, %{z:.2%} of the true class<extra></extra>"
    data: dict[str, Any] = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": _plain(shares(matrix)),
        "customdata": matrix.tolist(),
    }
    data |= {"colorscale": BLUES, "zmin": 0, "zmax": 1, "hovertemplate": hover, "showscale": False}
    layout = _layout(max(HEIGHT, ROW_PX * len(classes)), below=0, x_label="predicted", y_label="true")
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    layout["xaxis"] |= {"type": "category"}
    return Figure(title, f"{title}: rows by true and predicted class, as shares of the true class", _of(data, layout))


def bars(counts: dict[str, Array], classes: Sequence[str], *, title: str) -> Figure:
    """Rows of each class, (K,) by split: bars of their share in the split, with counts as text."""
    names, data = [_text(name) for name in classes], []
    greys = islice(cycle(("#7A7A7A", "#B5B5B5")), len(counts))
    for (name, rows), colour in zip(counts.items(), greys, strict=True):
        share = 100 * rows / max(rows.sum(), 1)
        text = [f"{count:,} ({part:.1f} %)" for count, part in zip(rows, share, strict=True)]
        bar: dict[str, Any] = {"type": "bar", "orientation": "h", "x": _plain(share), "y": names, "text": text}
        bar |= {"name": name, "marker": {"color": colour}, "textposition": "outside", "cliponaxis": False}
        data.append(bar)
    label = "share of the split's rows (%)"
    layout = _layout(max(HEIGHT, 26 * len(counts) * len(classes)), below=len(counts), x_label=label, y_label="")
    most = max((max(trace["x"], default=0) for trace in data), default=0)
    layout["xaxis"] |= {"range": [0, 1.45 * most or 1]} | ({"tickvals": [0, 20, 40, 60, 80, 100]} if most > 25 else {})
    layout["yaxis"]["autorange"] = "reversed"
    return Figure(title, f"{title}: {label} of {', '.join(classes)}", {"data": data, "layout": layout})


def _of(trace: dict[str, Any], layout: dict[str, Any]) -> dict[str, Any]:
    return {"data": [trace], "layout": layout}


def _style(panel: Panel) -> dict[str, Any]:
    return {"showlegend": panel.legend} | ({"hoverinfo": "x+name"} if panel.ticks else {})


def _line(name: str, x: Any, y: Any, *, colour: str, most: int, marked: bool) -> dict[str, Any]:
    x, y = np.asarray(x), np.asarray(y, dtype=float)
    kept = thinned(x, y, most)
    line = {"color": colour, "width": 1.6}
    return _scatter(x[kept], y[kept], name=_text(name), line=line, mode="lines+markers" if marked else "lines")


def _band(x: Array, low: Array, high: Array, *, colour: str) -> dict[str, Any]:
    edges = np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])
    filled = {"fill": "toself", "fillcolor": colour, "opacity": 0.2, "hoverinfo": "skip", "showlegend": False}
    return _scatter(*edges, line={"width": 0}) | filled


def _scatter(x: Any, y: Any, *, mode: str = "lines", **facts: Any) -> dict[str, Any]:
    return {"type": "scatter", "mode": mode, "x": _plain(x), "y": _plain(y), **facts}


def _layout(height: int, *, below: int, x_label: str, y_label: str) -> dict[str, Any]:
    """Axes of this height, with room for `below` names under them."""
    room = 46 + LINE_PX * below
    legend = {"orientation": "v", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"}
    titles = [{"title": {"text": _text(label)}} for label in (x_label, y_label)]
    return {
        "height": height + room,
        "margin": {"l": 48, "r": 12, "t": 22, "b": room},
        "xaxis": titles[0],
        "yaxis": titles[1],
        "legend": legend | {"font": {"size": 12}},
        "font": {"size": 12},
        "hovermode": "closest",
    }


def _around(panel: Panel) -> list[Any]:
    """The range of x with a margin, so that strokes at its ends are seen; None where nothing is drawn."""
    x = np.concatenate([np.empty(0), *(np.asarray(x, dtype=float) for _, x, _ in panel.lines)])
    if np.isnan(x).all():
        return [None, None]
    low, high = np.nanmin(x), np.nanmax(x)
    return _plain([low - 0.03 * (high - low), high + 0.03 * (high - low)])


def _reach(panel: Panel) -> float:
    ends = [np.ptp(x) for _, x, _ in panel.lines if len(x)]
    return float(max(ends, default=0))


def _label(panel: Panel) -> str:
    """The panel in words: axes, and where each line ends."""
    axes = " by ".join(part for part in (panel.y_label.split("\n")[0], panel.x_label) if part)
    ends = []
    for name, _, y in panel.lines[:12]:
        known = np.asarray(y, dtype=float)[~np.isnan(np.asarray(y, dtype=float))]
        ends.append(f"{name}{f' ends at {known[-1]:.4g}' if len(known) and panel.x_label in COUNTED else ''}")
    return "; ".join(part for part in (" ".join(panel.title.split()), axes, ", ".join(ends)) if part)


def _text(name: str) -> str:
    """A name in a figure: no markup of plotly's, no control characters, broken into lines."""
    lines = [part for line in name.split("\n") for part in wrap(plain.escaped(line), LONGEST) or [""]]
    return "<br>".join(line.replace("&", "&amp;").replace("<", "&lt;") for line in lines)


def thinned(x: Array, y: Array, most: int) -> Array:
    """The indices of at most about `most` points that draw like the line (x, y), both (n,): evenly along its length."""
    if len(x) <= most:
        return np.arange(len(x))
    spans = [float(np.nanmax(part) - np.nanmin(part)) or 1.0 for part in (x, y)]
    steps = np.hypot(np.diff(x) / spans[0], np.diff(np.nan_to_num(y)) / spans[1])
    walked = np.concatenate([[0.0], np.cumsum(steps)])
    stretch = np.floor(walked / max(walked[-1], 1e-12) * (most - 1)).astype(int)
    return np.unique(np.append(np.flatnonzero(np.diff(stretch, prepend=-1)), len(x) - 1))


def _plain(values: Iterable[Any]) -> list[Any]:
    """Numbers rounded to five digits, None for NaN; lists of lists stay."""
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        return [_plain(row) for row in array]
    return [None if value != value else _short(value) for value in array.tolist()]


def _short(value: float) -> float | int:
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded
