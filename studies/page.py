"""The table of a study as text, and its page: configurations best first, figures, and all runs as on runs.html.

`write(ledger, rows, table, runs, ...)` makes index.html in the study's folder; the library of figures lies in the root.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from studies import figures
from studies.figures import heads, shown, shown_cost
from studies.ledger import DAMAGED, DONE, FAILED, FIRST, PRUNED, STAGES, Ledger, key_of
from studies.tables import FEWEST, Row, split_rules
from toolbox.metrics import classification, meanings
from toolbox.plain import escaped
from toolbox.reports import pages
from toolbox.reports.tables import aligned

NOTED = (FAILED, DAMAGED, PRUNED, "left", "collapsed")  # counts of runs that have no score, or a doubtful one


def text(table: Sequence[Row], axes: Sequence[str], metric: str) -> str:
    """The configurations as aligned lines; the best has a star."""
    head, *lines = table_lines(table, axes, metric)
    return "\n".join(aligned(head, lines))


def remarks(found: Sequence[Row], metric: str) -> list[str]:
    """Lines below the table: split rules, metric and intervals, and the number of collapsed runs."""
    folds = any(row["folds"] > 1 for row in found)
    over = "folds, which share training rows and so make them too narrow" if folds else "repetitions"
    judged = f"Configurations are compared by validation {meanings.name_of(metric)} alone"
    judged += f"; brackets have 95 % intervals over {over}."
    paired = f"Differences are paired by {'fold' if folds else 'repetition'}."
    lines = [*(f"split: {rule}" for rule in split_rules(found)), f"{judged} {paired}"]
    done = Counter((row["stage"], row["cell"]) for row in found if row["state"] == DONE)
    if any(1 < count < FEWEST for count in done.values()):
        why = "of two it would reach 12.7 standard errors to each side"
        lines.append(f"No interval of fewer than {FEWEST} runs: {why}.")
    if count := sum(bool(row.get("collapsed")) for row in found):
        runs = "1 run has" if count == 1 else f"{count} runs have"
        lines.append(f"{runs} collapsed; means are given with and without them. {classification.RULE}")
        if count == done.total():
            lines.append("No configuration is the best: every run has collapsed.")
    return lines


def notes(row: Row, *, stage: bool) -> str:
    """The runs of a configuration without a score, the collapsed ones, and its stage unless it has a column."""
    found = [f"{row[name]} {name}" for name in NOTED if row[name]]
    return ", ".join(found + [row["stage"]] * (not stage and row["stage"] != FIRST))


def table_lines(table: Sequence[Row], axes: Sequence[str], metric: str) -> list[list[str]]:
    """The texts of each line, the head first; a star marks the best configuration of a stage."""
    costs = heads(table)
    stage = ["stage"] if any(row["stage"] not in STAGES for row in table) else []
    of_splits = [f"{split} {meanings.name_of(metric)}" for split in ("val", "test")]
    head = ["", *stage, "name", *axes, "n", *of_splits, "from the best", *costs, "s", ""]
    lines = [head]
    for row in table:
        name = ["*" * row["best"], *(row[key] for key in (*stage, "cell")), *(shown(row.get(axis)) for axis in axes)]
        figures = [interval(row, "val"), interval(row, "test"), interval(row, "difference")]
        figures += [shown_cost(row, name) for name in costs.values()]
        seconds = "" if row["seconds"] is None else f"{row['seconds']:,.0f}"
        lines.append([*name, str(row["n"]), *figures, seconds, notes(row, stage=bool(stage))])
    return lines


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


def cells(table: Sequence[Row], axes: Sequence[str], metric: str) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of the page's table: one unit a column, which its head states; columns without a value left out."""
    costs, staged = heads(table), any(row["stage"] not in STAGES for row in table)
    head = ["rank", "stage", *axes, "runs"]
    for name in (f"{split} {meanings.name_of(metric)}" for split in ("validation", "test")):
        head += [name, "95 % interval", "without collapsed"]
    head += ["from the best", "95 % interval", *costs, "training s", "notes", "name"]
    rows = []
    for row in table:
        line: list[Any] = [f"{row['rank']} *" if row["best"] else row["rank"], row["stage"] if staged else ""]
        line += [*(shown(row.get(axis)) for axis in axes), row["n"]]
        for split in ("val", "test"):
            sound = row[f"{split}_sound_mean"] if row["collapsed"] else None
            line += [score(row[f"{split}_mean"]), bounds(row, split), score(sound)]
        line += [score(row["difference_mean"], sign="+"), bounds(row, "difference", sign="+")]
        line += [*(shown_cost(row, name) for name in costs.values()), score(row["seconds"], form=".1f")]
        rows.append([*line, notes(row, stage=staged), row["cell"]])
    kept = [i for i, name in enumerate(head) if name == "runs" or any(line[i] != "" for line in rows)]
    return [head[i] for i in kept], [[line[i] for i in kept] for line in rows]


def score(value: float | None, *, sign: str = "", form: str = ".4f") -> str:
    """A figure of the page's table; empty if unknown."""
    return "" if value is None else f"{value:{sign}{form}}"


def bounds(row: Row, name: str, *, sign: str = "") -> str:
    """An interval of the page's table; empty without one."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f"[{low:{sign}.4f}, {high:{sign}.4f}]"


def write(
    ledger: Ledger,
    rows: Sequence[Row],
    table: Sequence[Row],
    *,
    explored: Mapping[str, Any],
    axes: Sequence[str],
    metric: str,
) -> Path:
    """Write the page and return its path; `table` is `ranked`, `explored` the values of explorer.html."""
    names = {(row["stage"], row["cell"]): f"#{row['rank']} {name_of(row, axes)}" for row in table}
    drawn = {
        "Score against cost": figures.cost_figure(table, names, metric),
        "Parallel coordinates": figures.parallel_figure(table, names, axes, metric),
        "Learning curves": figures.curves_figure(ledger, rows, names, metric),
        "Repetitions": figures.boxes_figure(rows, names, metric),
    }
    states = [row["state"] for row in rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    counts = f"{_count(len(table), 'configuration')}, {_count(len(rows), 'run')}: {counted}."
    head, lines = cells(table, axes, metric)
    links = run_links(rows, explored)
    at = head.index("runs")
    for line, row in zip(lines, table, strict=True):
        line[at] = links.get((row["stage"], row["cell"]), line[at])
    pages.save(
        ledger.path / "index.html",
        "study.html",
        library=ledger.root,
        title=f"study {ledger.path.name}",
        facts=[counts, *remarks(rows, metric)],
        head=head,
        rows=lines,
        best=[i for i, row in enumerate(table) if row["best"]],
        figures=drawn,
        explored=explored,
    )
    return ledger.path / "index.html"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def run_links(rows: Sequence[Row], explored: Mapping[str, Any]) -> dict[tuple[str, str], Markup]:
    """For each configuration its runs by repetition, from 1: links to their reports, else to their folders."""
    reports = {row["path"]: row["report"] for row in explored["rows"]}
    found: dict[tuple[str, str], list[Markup]] = {}
    for row in rows:
        if not row.get("run"):
            continue
        url = explored["up"] + quote(os.fsencode(row["run"])) + ("/report.html" if reports.get(row["run"]) else "/")
        link = Markup('<a href="{}" title="{}">{}</a>').format(url, escaped(row["run"]), row["rep"] + 1)
        found.setdefault((row["stage"], row["cell"]), []).append(link)
    return {key: Markup(" ").join(links) for key, links in found.items()}


def with_axes(runs: Sequence[Row], rows: Sequence[Row], axes: Sequence[str], study: str) -> list[Row]:
    """The rows of runs.html that belong to the study, each with the values of the grid's axes."""
    by_run = {row["run"]: row for row in rows if row.get("run")}
    by_run |= {f"{study} {key_of(row['stage'], row['cell'], row['rep'])}": row for row in rows if not row.get("run")}
    found = [(run, by_run.get(run["path"] or run["name"])) for run in runs]
    return [run | {"axes": {axis: row[axis] for axis in axes if axis in row}} for run, row in found if row]


def name_of(row: Row, axes: Sequence[str]) -> str:
    """A configuration as the values of its axes; a switch with its name."""
    known = {axis: row[axis] for axis in axes if row.get(axis) is not None}
    words = [f"{axis}={value}" if value in ("true", "false") else shown(value) for axis, value in known.items()]
    values = " ".join(words) or (f"without {', '.join(axes)}" if axes else row["cell"])
    return values if row["stage"] == FIRST else f"{row['stage']}: {values}"
