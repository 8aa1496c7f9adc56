"""What the cells of a research cost beside what they score: columns of the table, the Pareto front, and a figure of
both.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from toolbox.plain import markup as escape
from toolbox.reports import tables
from toolbox.reports.plots import COLOURS
from toolbox.tasks import mode

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Row = dict[str, Any]
COLUMNS, PANEL_HEIGHT = 3, 340  # of the figure, in panels and in pixels
SIDES = {
    "test": ("test", {"size": 7, "color": COLOURS[1], "symbol": "diamond"}),
    "val": ("validation", {"size": 8, "color": COLOURS[0]}),
}
FRONT = "#888888"


class Cost(NamedTuple):
    """How a cost is told: above a column, under an axis, in what unit of the column, and whether more of it is
    better."""

    head: str
    label: str
    unit: float = 1
    more_is_better: bool = False


COSTS = {
    "parameters": Cost("parameters", "trainable parameters"),
    "macs": Cost("MACs", "multiply-accumulates of a row"),
    "file_bytes": Cost("file kB", "file of the weights (bytes)", 1000),
    "latency_ms": Cost("ms a row", "a row alone (ms)"),
    "rows_per_s": Cost("rows/s", "rows a second, in batches (more to the left)", more_is_better=True),
}


def of_run(config: Mapping[str, Any] | None, results: Mapping[str, Any] | None) -> Row:
    """The columns of a run: its trainable parameters as soon as it has begun, the others once it is tested."""
    told = (results or {}).get("cost") or {}
    return {"parameters": (config or {}).get("parameters"), **{f"cost/{name}": value for name, value in told.items()}}


def is_measured(column: str) -> bool:
    """Whether a column of a run is one of COSTS, which are numbers; others are words, as the device's name."""
    return column.removeprefix("cost/") in COSTS


def of_cell(group: Sequence[Row]) -> Row:
    """The median of every cost over the runs of a cell that know it, None where none does."""
    known = {name: [row[key] for row in group if row.get(key := _column(name)) is not None] for name in COSTS}
    return {name: np.median(values).item() if values else None for name, values in known.items()}


def _column(name: str) -> str:
    return name if name == "parameters" else f"cost/{name}"


def heads(table: Sequence[Row]) -> dict[str, str]:
    """The costs that any cell knows, by the words above their columns; the parameters always."""
    known = [name for name in COSTS if name == "parameters" or any(row.get(name) is not None for row in table)]
    return {COSTS[name].head: name for name in known}


def shown(row: Row, name: str) -> str:
    """A cost as it stands in its column, nothing where it is not known."""
    return "" if row.get(name) is None else tables.digits(row[name] / COSTS[name].unit)


def front(
    costs: Sequence[float], scores: Sequence[float], *, dearer_first: bool = False, mode: str = "max"
) -> list[int]:
    """The points that no other beats in one of both without losing in the other (Pareto), from the cheapest on.

    `dearer_first` is for a cost of which more is better, `mode` says which way a score is better. Of equal points one
    is named.
    """
    sign, better = (-1 if dearer_first else 1), (1 if mode == "max" else -1)
    order = sorted(range(len(costs)), key=lambda i: (sign * costs[i], -better * scores[i]))
    chosen: list[int] = []
    for i in order:
        if not chosen or better * scores[i] > better * scores[chosen[-1]]:
            chosen.append(i)
    return chosen


def figure(table: Sequence[Row], names: Mapping[tuple[str, str], str], metric: str) -> "Figure":
    """The mean score of each cell against each cost that is known, cheaper to the left, with the front of validation.

    A panel a cost with one scale of scores; a point a cell and side with its interval, its name where the mouse is.
    """
    from plotly.subplots import make_subplots

    costs = list(heads(table).values())
    lines = -(-len(costs) // COLUMNS)
    columns = min(COLUMNS, len(costs))
    figure = make_subplots(lines, columns, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.32 / lines)
    for i, name in enumerate(costs):
        place = {"row": 1 + i // columns, "col": 1 + i % columns}
        for trace in _traces(table, names, metric, name):
            figure.add_trace({**trace, "showlegend": not i}, **place)
        way = "reversed" if COSTS[name].more_is_better else True
        figure.update_xaxes(
            type="log", title_text=COSTS[name].label, autorange=way, exponentformat="SI", dtick="D2", **place
        )
    figure.update_yaxes(range=_limits(table))
    figure.update_yaxes(title_text=metric, col=1)
    figure.update_layout(template="plotly_white", height=PANEL_HEIGHT * lines + 60, hovermode="closest")
    figure.update_layout(legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"}, margin={"t": 30})
    return figure


def _traces(table: Sequence[Row], names: Mapping[tuple[str, str], str], metric: str, name: str) -> list[dict[str, Any]]:
    """The points of both sides against one cost, below them the front of validation with its names, where no cell
    is."""
    sides = {side: _points(table, names, name, side) for side in SIDES}
    x, y, said = (sides["val"][key] for key in ("x", "y", "text"))
    best = front(x, y, dearer_first=COSTS[name].more_is_better, mode=mode(metric))
    above = "top" if mode(metric) == "max" else "bottom"
    through = {
        "type": "scatter",
        "x": [x[i] for i in best],
        "y": [y[i] for i in best],
        "mode": "lines+markers+text",
        "line": {"color": FRONT, "width": 1.5, "shape": "hv"},
        "marker": {"size": 15, "color": "white", "line": {"color": FRONT, "width": 1.5}},
        "text": [said[i].partition("<br>")[0] for i in best],
        "textposition": [f"{above} right"] + [f"{above} left"] * (len(best) - 1),
        "textfont": {"size": 10, "color": FRONT},
        "hoverinfo": "skip",
    }
    return [
        {**through, "name": "none is both cheaper and better on validation", "legendgroup": "front"},
        *sides.values(),
    ]


def _limits(table: Sequence[Row]) -> list[float] | None:
    """Of the axis of scores: all points and intervals, as far as a score can lie there, which is from 0 to 1 for
    most."""
    means = [row[f"{side}_mean"] for row in table for side in SIDES if row[f"{side}_mean"] is not None]
    ends = [row[f"{side}_{part}"] for row in table for side in SIDES for part in ("low", "high")]
    if not means:
        return None
    ends = [*means, *(end for end in ends if end is not None)]
    low, high = min(ends), max(ends)
    if min(means) >= 0 and max(means) <= 1:
        low, high = max(low, 0), min(high, 1)
    room = 0.08 * (high - low) or 0.01
    return [float(low - room), float(high + room)]


def _points(table: Sequence[Row], names: Mapping[tuple[str, str], str], name: str, side: str) -> dict[str, Any]:
    known = [row for row in table if row[f"{side}_mean"] is not None and row.get(name)]
    mean, low, high = ([row[f"{side}_{part}"] for row in known] for part in ("mean", "low", "high"))
    said, marker = SIDES[side]
    return {
        "type": "scatter",
        "x": [row[name] for row in known],
        "y": mean,
        "error_y": {
            "type": "data",
            "array": [0 if top is None else top - middle for top, middle in zip(high, mean, strict=True)],
            "arrayminus": [0 if bottom is None else middle - bottom for bottom, middle in zip(low, mean, strict=True)],
            "thickness": 1,
        },
        "text": [
            f"{escape(names[row['stage'], row['cell']])}<br>{shown(row, name)} {COSTS[name].head}" for row in known
        ],
        "hovertemplate": "%{text}<br>" + said + " %{y:.4f}<extra></extra>",
        "mode": "markers",
        "marker": marker,
        "name": said,
        "legendgroup": side,
    }
