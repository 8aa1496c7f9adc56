"""A research on one page: the table of its cells, score against cost, parallel coordinates, learning curves, box plots.

`write(ledger, rows, table, ...)` makes index.html in the research's folder; plotly's library lies beside it.

The table of a research as text: CSV with a row a run, and aligned lines with one a cell.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies import cost, tables
from studies.ledger import DONE, FIRST, Ledger
from studies.tables import STAGES, Row, leaders, split_rules
from toolbox import files, plain
from toolbox.metrics import classification
from toolbox.plain import NOTICE
from toolbox.plain import markup as escape
from toolbox.reports import pages
from toolbox.reports.pages import LIBRARY
from toolbox.reports.plots import COLOURS


def write_csv(found: Sequence[Row], path: Path) -> None:
    """Write the rows, a line each, with the columns that any of them has."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in found for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    files.write_text(path, text.getvalue())


def text(table: Sequence[Row], axes: Sequence[str], metric: str) -> str:
    """The cells as aligned lines; the best is marked."""
    words = table_lines(table, axes, metric)
    widths = [max(map(len, column)) for column in zip(*words, strict=True)]
    aligned = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in words]
    return plain.lines(line.rstrip() for line in aligned)


def remarks(found: Sequence[Row], metric: str) -> list[str]:
    """What stands beside the numbers: how rows were divided, how cells are judged, what has collapsed, and what this is
    not."""
    folds = any(row["folds"] > 1 for row in found)
    over = "folds, which share training rows and so make them too narrow" if folds else "repetitions"
    judged = f"Cells are judged by validation {metric} alone; in brackets 95 % intervals over {over}."
    rules = [f"split: {rule}" for rule in split_rules(found)]
    return [
        *rules,
        f"{judged} Differences are paired by {'fold' if folds else 'repetition'}.",
        *_collapsed(found),
        NOTICE,
    ]


def _collapsed(found: Sequence[Row]) -> list[str]:
    """The rule, where a run has collapsed, and how many have."""
    count = sum(bool(row.get("collapsed")) for row in found)
    return (
        [f"{count} runs have collapsed; means are given with and without them. {classification.RULE}"] if count else []
    )


def table_lines(table: Sequence[Row], axes: Sequence[str], metric: str) -> list[list[str]]:
    """The words of each line that a person reads, the head first; a star where the cell is the best of its stage."""
    first, costs = leaders(table, metric), cost.heads(table)
    stage = ["stage"] if any(row["stage"] not in STAGES for row in table) else []
    head = ["", *stage, "cell", *axes, "n", f"val {metric}", f"test {metric}", "from the best", *costs, "s", ""]
    return [head] + [
        _line(row, axes, list(costs.values()), is_best=any(row is one for one in first), staged=bool(stage))
        for row in table
    ]


def _line(row: Row, axes: Sequence[str], costs: Sequence[str], *, is_best: bool, staged: bool) -> list[str]:
    notes = [f"{row[name]} {name}" for name in ("failed", "damaged", "pruned", "left", "collapsed") if row[name]]
    notes += [row["stage"]] * (not staged and row["stage"] != FIRST)
    numbers = [cost.shown(row, name) for name in costs] + ["" if row["seconds"] is None else f"{row['seconds']:,.0f}"]
    values = [shown(row.get(key)) for key in axes]
    sides = [said(row, side) for side in ("val", "test", "difference")]
    return [
        "*" * is_best,
        *[row["stage"]] * staged,
        row["cell"],
        *values,
        str(row["n"]),
        *sides,
        *numbers,
        ", ".join(notes),
    ]


def shown(value: Any) -> str:
    """The value of an axis, four digits of a number; nothing where the flag is left out."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def said(row: Row, name: str) -> str:
    """A mean with its interval, in a few characters, and where runs have collapsed the mean without them."""
    if row[f"{name}_mean"] is None:
        return ""
    sign = "+" if name == "difference" else ""
    interval = "" if row[f"{name}_low"] is None else f" [{row[f'{name}_low']:.4f}, {row[f'{name}_high']:.4f}]"
    sound = row.get(f"{name}_sound_mean")
    without = (
        f" (without collapsed {'none' if sound is None else f'{sound:.4f}'})" if row["collapsed"] and not sign else ""
    )
    return f"{row[f'{name}_mean']:{sign}.4f}{interval}{without}"


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
        "Score against cost": cost.figure(table, names, metric),
        "Parallel coordinates": parallel_figure(table, axes, metric),
        "Learning curves": curves_figure(ledger, rows, names, metric),
        "Repetitions": boxes_figure(rows, names, metric),
    }
    pages.save_library(ledger.path)
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
    return [f"{len(table)} cells, {len(rows)} runs: {counted}.", *remarks(rows, metric)]


def name_of(row: Row, axes: Sequence[str]) -> str:
    """A cell in the values of its axes."""
    values = " ".join(_value(axis, row[axis]) for axis in axes if row.get(axis) is not None)
    values = values or (f"without {', '.join(axes)}" if axes else row["cell"])
    return values if row["stage"] == FIRST else f"{row['stage']}: {values}"


def _value(axis: str, value: Any) -> str:
    """A value as it stands in a legend; a switch, which says nothing alone, with its name."""
    return f"{axis}={value}" if value in ("true", "false") else shown(value)


def _table(table: Sequence[Row], axes: Sequence[str], metric: str) -> str:
    best = tables.leaders(table, metric)
    head, *lines = [line[1:] for line in table_lines(table, axes, metric)]
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
    labels = [escape(shown(kind) or "none") for kind in kinds]
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
