"""A research on one page: the table of its cells, score against cost, parallel coordinates, learning curves, box plots.

`write(ledger, rows, table, ...)` makes index.html in the research's folder; plotly's library lies beside it.
"""

from collections.abc import Mapping, Sequence
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies import table_cells, table_cost, table_text, tables
from studies.ledger import DONE, FIRST, Ledger
from studies.tables import Row
from toolbox import files
from toolbox.plain import markup as escape
from toolbox.reports import panels
from toolbox.reports.panels import COLOURS, LIBRARY

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MOST_CURVES = 400  # lines of the learning curves, later ones are left out and this is said
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em; color: #222; }}
table {{ border-collapse: collapse; font-size: 90%; }}
th, td {{ text-align: left; padding: 0.2em 1em 0.2em 0; border-bottom: 1px solid #ddd; white-space: nowrap; }}
tr.best {{ font-weight: bold; }}
.wide {{ overflow-x: auto; }}
</style>
<script src="{library}"></script>
</head>
<body>
<h1>{title}</h1>
{facts}
<div class="wide"><table>
{table}
</table></div>
{figures}
</body>
</html>
"""


def write(ledger: Ledger, rows: Sequence[Row], table: Sequence[Row], *, axes: Sequence[str], metric: str) -> Path:
    """Write the page; its path."""
    names = {(row["stage"], row["cell"]): name_of(row, axes) for row in table}
    figures = {
        "Score against cost": table_cost.figure(table, names, metric),
        "Parallel coordinates": parallel_figure(table, axes, metric),
        "Learning curves": curves_figure(ledger, rows, names, metric),
        "Repetitions": boxes_figure(rows, names, metric),
    }
    panels.save_library(ledger.path)
    text = PAGE.format(
        title=escape(f"research {ledger.path.name}"),
        library=LIBRARY,
        facts="\n".join(f"<p>{escape(line)}</p>" for line in facts(rows, table, metric)),
        table=_table(table, axes, metric),
        figures="\n".join(f"<h2>{heading}</h2>\n{_embedded(figure)}" for heading, figure in figures.items()),
    )
    files.write_text(ledger.path / "index.html", text)
    return ledger.path / "index.html"


def facts(rows: Sequence[Row], table: Sequence[Row], metric: str) -> list[str]:
    """How many runs there are, in what states, how rows were divided and cells are judged."""
    states = [row["state"] for row in rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return [f"{len(table)} cells, {len(rows)} runs: {counted}.", *table_text.remarks(rows, metric)]


def name_of(row: Row, axes: Sequence[str]) -> str:
    """A cell in the values of its axes."""
    values = " ".join(_value(axis, row[axis]) for axis in axes if row.get(axis) is not None)
    values = values or (f"without {', '.join(axes)}" if axes else row["cell"])
    return values if row["stage"] == FIRST else f"{row['stage']}: {values}"


def _value(axis: str, value: Any) -> str:
    """A value as it stands in a legend; a switch, which says nothing alone, with its name."""
    return f"{axis}={value}" if value in ("true", "false") else table_text.shown(value)


def _table(table: Sequence[Row], axes: Sequence[str], metric: str) -> str:
    best = table_cells.leaders(table, metric)
    head, *lines = [line[1:] for line in table_text.lines(table, axes, metric)]
    marks = [' class="best"' if any(row is one for one in best) else "" for row in table]
    body = [f"<tr{mark}>{_cells(line, 'td')}</tr>" for mark, line in zip(marks, lines, strict=True)]
    return "\n".join([f"<tr>{_cells(head, 'th')}</tr>", *body])


def _cells(words: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{escape(word)}</{tag}>" for word in words)


def _embedded(figure: "Figure") -> str:
    return figure.to_html(full_html=False, include_plotlyjs=False)


def parallel_figure(table: Sequence[Row], axes: Sequence[str], metric: str) -> "Figure":
    """Every axis, the parameters and the score as upright lines, a cell as a line through them."""
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
    """An axis of numbers as it is; of words, or of few numbers, its values at equal distances."""
    kinds = list(dict.fromkeys(values))
    numbers = all(isinstance(value, int | float) for value in values)
    if numbers and len(kinds) > 8:
        return {"label": escape(axis), "values": values}
    kinds = sorted(kinds) if numbers else kinds
    labels = [escape(table_text.shown(kind) or "none") for kind in kinds]
    places = list(range(len(kinds)))
    return {
        "label": escape(axis),
        "values": [kinds.index(value) for value in values],
        "tickvals": places,
        "ticktext": labels,
    }


def curves_figure(ledger: Ledger, rows: Sequence[Row], names: Mapping[tuple[str, str], str], metric: str) -> "Figure":
    """The validation score of every epoch, a line a run, a colour a cell."""
    figure, cells = _figure("epoch", f"validation {metric}"), list(names)
    begun = [row for row in rows if row.get("epochs")]
    for row in begun[:MOST_CURVES]:
        cell, epochs = (row["stage"], row["cell"]), tables.history(ledger, row)
        figure.add_scatter(
            x=[epoch["epoch"] for epoch in epochs],
            y=[epoch["val"].get(metric) for epoch in epochs],
            name=escape(names[cell]),
            legendgroup=str(cell),
            showlegend=row is next(other for other in begun if (other["stage"], other["cell"]) == cell),
            mode="lines" if len(epochs) > 1 else "markers",
            line={"color": COLOURS[cells.index(cell) % len(COLOURS)], "width": 1.5},
        )
    if len(begun) > MOST_CURVES:
        figure.update_layout(title=f"the first {MOST_CURVES} of {len(begun)} runs")
    return figure


def boxes_figure(rows: Sequence[Row], names: Mapping[tuple[str, str], str], metric: str) -> "Figure":
    """The validation scores of the repetitions of each cell, as boxes with their points; what has collapsed has a
    cross."""
    figure = _figure("", f"validation {metric}")
    collapsed = [row for row in rows if row.get("collapsed") and row.get(f"val/{metric}") is not None]
    for i, (cell, name) in enumerate(names.items()):
        values = [
            row.get(f"val/{metric}") for row in rows if (row["stage"], row["cell"]) == cell and row["state"] == DONE
        ]
        figure.add_box(
            y=values,
            name=escape(name),
            boxpoints="all",
            jitter=0.3,
            pointpos=0,
            marker_color=COLOURS[i % len(COLOURS)],
            showlegend=False,
        )
    figure.add_scatter(
        x=[escape(names[row["stage"], row["cell"]]) for row in collapsed],
        y=[row[f"val/{metric}"] for row in collapsed],
        text=[escape(row["collapsed"]) for row in collapsed],
        mode="markers",
        marker={"symbol": "x", "size": 10, "color": "black"},
        name="collapsed",
        showlegend=bool(collapsed),
    )
    return figure


def _figure(x_label: str, y_label: str) -> "Figure":
    from plotly.graph_objects import Figure

    figure = Figure()
    figure.update_layout(template="plotly_white", height=480, xaxis_title=x_label, yaxis_title=y_label)
    return figure
