"""Figures of a study: score against cost with its Pareto front, parallel coordinates, learning curves, repetitions.

    names = {("grid", "44dbf223"): "#1 cnn1d_3 0.001"}     # of the configurations, by stage and name
    cost_figure(table, names, "macro_f1")

Colours stand as six digits, which a dark page replaces where they would not be seen.
"""

from collections.abc import Mapping, Sequence
from math import log10
from typing import TYPE_CHECKING, Any

from pandas import DataFrame

from studies import tables
from studies.ledger import DONE, Ledger
from studies.tables import COSTS, Row
from toolbox.metrics import meanings
from toolbox.plain import markup as escape
from toolbox.reports.plots import COLOURS
from toolbox.reports.tables import digits
from toolbox.runs.best import mode

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Names = Mapping[tuple[str, str], str]  # of configurations, by stage and name: #, rank, values of the axes
MOST_CURVES = 400  # lines of the learning curves; the title names a cut
COLUMNS, PANEL_HEIGHT = 3, 340  # of the figure of costs, in panels and in pixels
ROOM = 0.12  # of the score axis above and below all points, for the names of the front
SPLITS = {
    "test": ("test", {"size": 7, "color": COLOURS[1], "symbol": "diamond"}),
    "val": ("validation", {"size": 8, "color": COLOURS[0]}),
}
FRONT, FRONT_NAME = "#888888", "Pareto front of validation: no configuration is both cheaper and better"
WORST_TO_BEST = [[0, "rgb(150,150,150)"], [1, "rgb(213,94,0)"]]  # both are seen on light and dark pages
LONGEST = 44  # letters of a configuration in a legend; hover shows the rest


def heads(table: Sequence[Row]) -> dict[str, str]:
    """The known costs, by their column heads; always with the parameters."""
    known = [name for name in COSTS if name == "parameters" or any(row.get(name) is not None for row in table)]
    return {COSTS[name].head: name for name in known}


def shown_cost(row: Row, name: str) -> str:
    """A cost as text; empty if unknown."""
    return "" if row.get(name) is None else digits(row[name] / COSTS[name].unit)


def shown(value: Any) -> str:
    """The value of an axis as text, four digits of a number; empty if the flag is left out."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def rank(name: str) -> str:
    """The first word of a configuration's name, which is its rank."""
    return escape(name.partition(" ")[0])


def front(
    costs: Sequence[float], scores: Sequence[float], *, dearer_first: bool = False, mode: str = "max"
) -> list[int]:
    """Indices of the Pareto front of cost and score, from the cheapest on; one index for equal points.

    `dearer_first` is for costs like rows per second, where more is better; `mode` is the better direction of scores.
    """
    sign, better = (-1 if dearer_first else 1), (1 if mode == "max" else -1)
    order = sorted(range(len(costs)), key=lambda i: (sign * costs[i], -better * scores[i]))
    chosen: list[int] = []
    for i in order:
        if not chosen or better * scores[i] > better * scores[chosen[-1]]:
            chosen.append(i)
    return chosen


def cost_figure(table: Sequence[Row], names: Names, metric: str) -> "Figure":
    """The mean score of each configuration against each known cost, cheaper to the left, with the validation front.

    One panel a cost, one scale of scores; one point a configuration and split, with interval and, where the mouse is,
    name; the front has the ranks of the table.
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
        figure.update_xaxes(title_text=COSTS[name].label, autorange=way, type="log", dtick="D2", **place)
        small = any(row.get(name) and row[name] < 1 for row in table)
        figure.update_xaxes(tickformat="~g" if small else "~s", **place)  # else "2" stands beside "10k" for 20k
    figure.update_yaxes(range=_limits(table))
    figure.update_yaxes(title_text=meanings.name_of(metric), col=1)
    figure.update_layout(height=PANEL_HEIGHT * lines + 80, hovermode="closest", margin={"t": 70, "r": 20})
    figure.update_layout(legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"})
    return figure


def _traces(table: Sequence[Row], names: Names, metric: str, name: str) -> list[dict[str, Any]]:
    """The points of both splits against one cost, and below them the validation front with its ranks."""
    points = {split: _points(table, names, name, split) for split in SPLITS}
    x, y, texts = (points["val"][key] for key in ("x", "y", "text"))
    best = front(x, y, dearer_first=COSTS[name].more_is_better, mode=mode(metric))
    above = "top" if mode(metric) == "max" else "bottom"
    through = {
        "type": "scatter",
        "x": [x[i] for i in best],
        "y": [y[i] for i in best],
        "mode": "lines+markers+text",
        "line": {"color": FRONT, "width": 1.5, "shape": "hv"},
        "marker": {"size": 15, "color": "rgba(0,0,0,0)", "line": {"color": FRONT, "width": 1.5}},
        "text": [texts[i].partition(" ")[0] for i in best],
        "textposition": [f"{above} right"] + [f"{above} left"] * (len(best) - 1),
        "textfont": {"size": 11, "color": FRONT},
        "cliponaxis": False,
        "hoverinfo": "skip",
        "name": FRONT_NAME,
        "legendgroup": "front",
    }
    return [through, *points.values()]


def _points(table: Sequence[Row], names: Names, name: str, split: str) -> dict[str, Any]:
    known = [row for row in table if row[f"{split}_mean"] is not None and row.get(name)]
    mean, low, high = ([row[f"{split}_{part}"] for row in known] for part in ("mean", "low", "high"))
    label, marker = SPLITS[split]
    labels = [escape(names[row["stage"], row["cell"]]) for row in known]
    up = [0 if top is None else top - middle for top, middle in zip(high, mean, strict=True)]
    down = [0 if bottom is None else middle - bottom for bottom, middle in zip(low, mean, strict=True)]
    return {
        "type": "scatter",
        "x": [row[name] for row in known],
        "y": mean,
        "error_y": {"type": "data", "array": up, "arrayminus": down, "thickness": 1},
        "text": [
            f"{own}<br>{shown_cost(row, name)} {COSTS[name].head}" for own, row in zip(labels, known, strict=True)
        ],
        "hovertemplate": "%{text}<br>" + label + " %{y:.4f}<extra></extra>",
        "mode": "markers",
        "marker": marker,
        "name": label,
        "legendgroup": split,
    }


def _limits(table: Sequence[Row]) -> list[float] | None:
    """Limits of the score axis: all points and intervals, cut to 0 to 1 if all means are in it."""
    means = [row[f"{split}_mean"] for row in table for split in SPLITS if row[f"{split}_mean"] is not None]
    ends = [row[f"{split}_{part}"] for row in table for split in SPLITS for part in ("low", "high")]
    if not means:
        return None
    ends = [*means, *(end for end in ends if end is not None)]
    low, high = min(ends), max(ends)
    if min(means) >= 0 and max(means) <= 1:
        low, high = max(low, 0), min(high, 1)
    room = ROOM * (high - low) or 0.01
    return [float(low - room), float(high + room)]


def parallel_figure(table: Sequence[Row], names: Names, axes: Sequence[str], metric: str) -> "Figure":
    """Parallel coordinates: all axes, the parameters and the score; one line a configuration, coloured by its score.

    Made of plain lines: plotly's own kind needs WebGL, and compiles code, which the pages forbid.
    """
    from plotly.colors import sample_colorscale
    from plotly.graph_objects import Figure

    known = [row for row in table if row["val_mean"] is not None]
    scores = [row["val_mean"] for row in known]
    lines = {escape(axis): _places([row.get(axis) for row in known]) for axis in axes}
    parameters = [row["parameters"] or 1 for row in known]
    lines["parameters"] = _on_scale([log10(value) for value in parameters], [f"{value:,.0f}" for value in parameters])
    lines[f"validation {meanings.name_of(metric)}"] = score = _on_scale(scores, [f"{value:.4f}" for value in scores])
    figure = Figure()
    for i, row in reversed([*enumerate(known)]):  # the best is drawn last
        figure.add_scatter(
            x=list(range(len(lines))),
            y=[places[i] for places, _ in lines.values()],
            line={"color": sample_colorscale(WORST_TO_BEST, score[0][i])[0], "width": 1.5},
            hovertemplate=f"{escape(names[row['stage'], row['cell']])}<br>{scores[i]:.4f}<extra></extra>",
        )
    marks = [(x, y, f"\u2002{text}") for x, (_, ticks) in enumerate(lines.values()) for y, text in ticks.items()]
    figure.add_scatter(
        **{key: [mark[i] for mark in marks] for i, key in enumerate(("x", "y", "text"))},
        **{"mode": "text", "textposition": "middle right", "hoverinfo": "skip", "cliponaxis": False},
    )
    # The heads of the axes stand below the icons of the figure.
    x = {"tickvals": list(range(len(lines))), "ticktext": list(lines), "side": "top", "range": [-0.2, len(lines) - 0.3]}
    figure.update_layout(height=480, margin={"l": 20, "r": 90, "t": 100, "b": 20}, showlegend=False, xaxis=x)
    return figure.update_layout(hovermode="closest", yaxis={"visible": False, "range": [-0.05, 1.05]})


Places = tuple[list[float], dict[float, str]]  # of the values on an axis from 0 to 1, and the texts that stand on it


def _places(values: Sequence[Any]) -> Places:
    """The places of an axis' values: numbers on their scale; words, or few numbers, at equal distances."""
    kinds = list(dict.fromkeys(values))
    numbers = all(isinstance(value, int | float) for value in values)
    if numbers and len(kinds) > 8:
        return _on_scale(values, [shown(value) for value in values])
    kinds = sorted(kinds) if numbers else kinds
    at = {kind: i / (len(kinds) - 1) if len(kinds) > 1 else 0.5 for i, kind in enumerate(kinds)}
    return [at[value] for value in values], {place: escape(shown(kind) or "none") for kind, place in at.items()}


def _on_scale(values: Sequence[float], texts: Sequence[str]) -> Places:
    """The places of numbers on their scale, with the texts of its ends."""
    low, high = min(values, default=0), max(values, default=0)
    at = [(value - low) / (high - low) if high > low else 0.5 for value in values]
    return at, {place: text for place, text in zip(at, texts, strict=True) if place in (min(at), max(at))}


def curves_figure(ledger: Ledger, rows: Sequence[Row], names: Names, metric: str) -> "Figure":
    """The validation score of every epoch, one line a run, one colour a configuration."""
    from plotly import express

    started = [row for row in rows if row.get("epochs")]
    points = [
        (row["run"], _short(names[row["stage"], row["cell"]]), epoch["epoch"], epoch["val"].get(metric))
        for row in started[:MOST_CURVES]
        for epoch in tables.epochs(ledger.root / row["run"])
    ]
    frame = DataFrame(points, columns=["run", "name", "epoch", "score"])
    title = f"the first {MOST_CURVES} of {len(started)} runs" if len(started) > MOST_CURVES else None
    figure = express.line(frame, x="epoch", line_group="run", markers=True, title=title, **_look(names, metric))
    if frame["epoch"].max() <= 12:
        figure.update_xaxes(dtick=1)
    return figure


def boxes_figure(rows: Sequence[Row], names: Names, metric: str) -> "Figure":
    """Box plots of each configuration's validation scores, by rank; a cross marks a collapsed run."""
    from plotly import express

    points = [
        (_short(name), rank(name), row.get(f"val/{metric}"), escape(row["collapsed"] or ""))
        for row in rows
        if row["state"] == DONE and (name := names[row["stage"], row["cell"]])
    ]
    frame = DataFrame(points, columns=["name", "rank", "score", "collapsed"])
    figure = express.box(frame, x="rank", points="all", hover_name="name", **_look(names, metric))
    figure.update_traces(jitter=0.3, pointpos=0, showlegend=False)
    figure.update_layout(boxmode="overlay")
    figure.update_xaxes(type="category", title_text="configuration, by its rank in the table")
    frame = frame[frame["collapsed"] != ""]
    return figure.add_scatter(
        x=frame["rank"],
        y=frame["score"],
        text=frame["collapsed"],
        mode="markers",
        marker={"symbol": "x", "size": 10, "color": "#000000"},
        name="collapsed",
        showlegend=len(frame) > 0,
    )


def _short(name: str) -> str:
    """A configuration in a legend."""
    return escape(name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…")


def _look(names: Names, metric: str) -> dict[str, Any]:
    """Axes, labels and colours of both figures of scores."""
    order = {"name": [*map(_short, names.values())], "rank": [*map(rank, names.values())]}
    colours = {"color": "name", "category_orders": order, "color_discrete_sequence": COLOURS}
    labels = {"score": f"validation {meanings.name_of(metric)}", "name": "", "rank": ""}
    return {"y": "score", "labels": labels, "height": 480, **colours}
