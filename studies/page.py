"""The table of a study as text, and as a page with score against cost, learning curves and box plots.

`write(ledger, rows, table, ...)` makes index.html in the study's folder, with a copy of plotly's library.
"""

from collections.abc import Mapping, Sequence
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pandas import DataFrame

from studies import tables
from studies.ledger import DAMAGED, DONE, FAILED, FIRST, PRUNED, STAGES, Ledger
from studies.tables import COSTS, Row, split_rules
from toolbox.metrics import classification
from toolbox.plain import markup as escape
from toolbox.reports import pages
from toolbox.reports.plots import COLOURS
from toolbox.reports.tables import aligned, digits
from toolbox.tasks import mode

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Names = Mapping[tuple[str, str], str]  # of configurations, by stage and name
MOST_CURVES = 400  # lines of the learning curves; the title names a cut
COLUMNS, PANEL_HEIGHT = 3, 340  # of the figure of costs, in panels and in pixels
SPLITS = {
    "test": ("test", {"size": 7, "color": COLOURS[1], "symbol": "diamond"}),
    "val": ("validation", {"size": 8, "color": COLOURS[0]}),
}
FRONT = "#888888"


def text(table: Sequence[Row], axes: Sequence[str], metric: str) -> str:
    """The configurations as aligned lines; the best has a star."""
    head, *lines = table_lines(table, axes, metric)
    return "\n".join(aligned(head, lines))


def remarks(found: Sequence[Row], metric: str) -> list[str]:
    """Lines below the table: split rules, metric and intervals, and the number of collapsed runs."""
    folds = any(row["folds"] > 1 for row in found)
    over = "folds, which share training rows and so make them too narrow" if folds else "repetitions"
    judged = f"Configurations are compared by validation {metric} alone; brackets have 95 % intervals over {over}."
    paired = f"Differences are paired by {'fold' if folds else 'repetition'}."
    lines = [*(f"split: {rule}" for rule in split_rules(found)), f"{judged} {paired}"]
    if count := sum(bool(row.get("collapsed")) for row in found):
        lines.append(f"{count} runs have collapsed; means are given with and without them. {classification.RULE}")
    return lines


def table_lines(table: Sequence[Row], axes: Sequence[str], metric: str) -> list[list[str]]:
    """The texts of each line, the head first; a star marks the best configuration of a stage."""
    costs = heads(table)
    stage = ["stage"] if any(row["stage"] not in STAGES for row in table) else []
    head = ["", *stage, "name", *axes, "n", f"val {metric}", f"test {metric}", "from the best", *costs, "s", ""]
    lines = [head]
    for row in table:
        notes = [f"{row[name]} {name}" for name in (FAILED, DAMAGED, PRUNED, "left", "collapsed") if row[name]]
        notes += [row["stage"]] * (not stage and row["stage"] != FIRST)
        name = ["*" * row["best"], *(row[key] for key in (*stage, "cell")), *(shown(row.get(axis)) for axis in axes)]
        figures = [interval(row, "val"), interval(row, "test"), interval(row, "difference")]
        figures += [shown_cost(row, name) for name in costs.values()]
        seconds = "" if row["seconds"] is None else f"{row['seconds']:,.0f}"
        lines.append([*name, str(row["n"]), *figures, seconds, ", ".join(notes)])
    return lines


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


def interval(row: Row, name: str) -> str:
    """A mean with its interval and, if runs have collapsed, the mean without them."""
    mean, low, high = (row[f"{name}_{part}"] for part in ("mean", "low", "high"))
    if mean is None:
        return ""
    sign = "+" if name == "difference" else ""
    bounds = "" if low is None else f" [{low:.4f}, {high:.4f}]"
    if not row["collapsed"] or sign:
        return f"{mean:{sign}.4f}{bounds}"
    sound = row[f"{name}_sound_mean"]
    return f"{mean:.4f}{bounds} (without collapsed {'none' if sound is None else f'{sound:.4f}'})"


def write(ledger: Ledger, rows: Sequence[Row], table: Sequence[Row], *, axes: Sequence[str], metric: str) -> Path:
    """Write the page and return its path."""
    names = {(row["stage"], row["cell"]): name_of(row, axes) for row in table}
    figures = {
        "Score against cost": cost_figure(table, names, metric),
        "Parallel coordinates": parallel_figure(table, axes, metric),
        "Learning curves": curves_figure(ledger, rows, names, metric),
        "Repetitions": boxes_figure(rows, names, metric),
    }
    states = [row["state"] for row in rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    head, *lines = [line[1:] for line in table_lines(table, axes, metric)]
    pages.save(
        ledger.path / "index.html",
        "study.html",
        library=ledger.path,
        title=f"study {ledger.path.name}",
        facts=[f"{len(table)} configurations, {len(rows)} runs: {counted}.", *remarks(rows, metric)],
        head=head,
        rows=lines,
        best=[i for i, row in enumerate(table) if row["best"]],
        figures=figures,
    )
    return ledger.path / "index.html"


def name_of(row: Row, axes: Sequence[str]) -> str:
    """A configuration as the values of its axes; a switch with its name."""
    known = {axis: row[axis] for axis in axes if row.get(axis) is not None}
    words = [f"{axis}={value}" if value in ("true", "false") else shown(value) for axis, value in known.items()]
    values = " ".join(words) or (f"without {', '.join(axes)}" if axes else row["cell"])
    return values if row["stage"] == FIRST else f"{row['stage']}: {values}"


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

    One panel a cost, one scale of scores; one point a configuration and split, with interval and name.
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
    figure.update_xaxes(exponentformat="SI")
    figure.update_yaxes(range=_limits(table))
    figure.update_yaxes(title_text=metric, col=1)
    figure.update_layout(template="plotly_white", height=PANEL_HEIGHT * lines + 60, hovermode="closest")
    figure.update_layout(legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"}, margin={"t": 30})
    return figure


def _traces(table: Sequence[Row], names: Names, metric: str, name: str) -> list[dict[str, Any]]:
    """The points of both splits against one cost, and below them the validation front with its names."""
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
        "marker": {"size": 15, "color": "white", "line": {"color": FRONT, "width": 1.5}},
        "text": [texts[i].partition("<br>")[0] for i in best],
        "textposition": [f"{above} right"] + [f"{above} left"] * (len(best) - 1),
        "textfont": {"size": 10, "color": FRONT},
        "hoverinfo": "skip",
        "name": "none is both cheaper and better on validation",
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
    room = 0.08 * (high - low) or 0.01
    return [float(low - room), float(high + room)]


def parallel_figure(table: Sequence[Row], axes: Sequence[str], metric: str) -> "Figure":
    """Parallel coordinates: all axes, the parameters and the score; one line a configuration."""
    from plotly.graph_objects import Figure

    known = [row for row in table if row["val_mean"] is not None]
    scores = [row["val_mean"] for row in known]
    dimensions = [_dimension(axis, [row.get(axis) for row in known]) for axis in axes]
    dimensions.append({"label": "log10 of parameters", "values": [log10(row["parameters"] or 1) for row in known]})
    dimensions.append({"label": f"validation {metric}", "values": scores})
    figure = Figure()
    figure.add_parcoords(dimensions=dimensions, line={"color": scores, "colorscale": "Viridis", "showscale": True})
    figure.update_layout(template="plotly_white", height=480, margin={"l": 120, "r": 80, "t": 60})
    return figure


def _dimension(axis: str, values: Sequence[Any]) -> dict[str, Any]:
    """One coordinate: numbers on their own scale; words, or few numbers, at equal distances."""
    kinds = list(dict.fromkeys(values))
    numbers = all(isinstance(value, int | float) for value in values)
    if numbers and len(kinds) > 8:
        return {"label": escape(axis), "values": values}
    kinds = sorted(kinds) if numbers else kinds
    places = {"tickvals": list(range(len(kinds))), "ticktext": [escape(shown(kind) or "none") for kind in kinds]}
    return {"label": escape(axis), "values": [kinds.index(value) for value in values], **places}


def curves_figure(ledger: Ledger, rows: Sequence[Row], names: Names, metric: str) -> "Figure":
    """The validation score of every epoch, one line a run, one colour a configuration."""
    from plotly import express

    started = [row for row in rows if row.get("epochs")]
    points = [
        (row["run"], escape(names[row["stage"], row["cell"]]), epoch["epoch"], epoch["val"].get(metric))
        for row in started[:MOST_CURVES]
        for epoch in tables.epochs(ledger.root / row["run"])
    ]
    frame = DataFrame(points, columns=["run", "name", "epoch", "score"])
    title = f"the first {MOST_CURVES} of {len(started)} runs" if len(started) > MOST_CURVES else None
    return express.line(frame, x="epoch", line_group="run", markers=True, title=title, **_look(names, metric))


def boxes_figure(rows: Sequence[Row], names: Names, metric: str) -> "Figure":
    """Box plots of each configuration's validation scores; a cross marks a collapsed run."""
    from plotly import express

    points = [
        (escape(names[row["stage"], row["cell"]]), row.get(f"val/{metric}"), escape(row["collapsed"] or ""))
        for row in rows
        if row["state"] == DONE
    ]
    frame = DataFrame(points, columns=["name", "score", "collapsed"])
    figure = express.box(frame, x="name", points="all", **_look(names, metric))
    figure.update_traces(jitter=0.3, pointpos=0, showlegend=False)
    frame = frame[frame["collapsed"] != ""]
    return figure.add_scatter(
        x=frame["name"],
        y=frame["score"],
        text=frame["collapsed"],
        mode="markers",
        marker={"symbol": "x", "size": 10, "color": "black"},
        name="collapsed",
        showlegend=len(frame) > 0,
    )


def _look(names: Names, metric: str) -> dict[str, Any]:
    """Axes, labels and colours of both figures of scores."""
    order = {"name": [*map(escape, names.values())]}
    colours = {"color": "name", "category_orders": order, "color_discrete_sequence": COLOURS}
    labels = {"score": f"validation {metric}", "name": ""}
    return {"y": "score", "labels": labels, "template": "plotly_white", "height": 480, **colours}
