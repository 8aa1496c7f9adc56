"""The table of a research as text: CSV with a row a run, and aligned lines with one a cell."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolbox import files, gridcost
from toolbox.gridtable import Row, best, split_rules
from toolbox.notice import NOTICE


def write_csv(found: Sequence[Row], path: Path) -> None:
    """Write the rows, a line each, with the columns that any of them has."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in found for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    files.write_text(path, text.getvalue())


def text(table: Sequence[Row], axes: Sequence[str], metric: str) -> str:
    """The cells as aligned lines; the best is marked."""
    words = lines(table, axes, metric)
    widths = [max(map(len, column)) for column in zip(*words, strict=True)]
    aligned = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in words]
    return "\n".join(line.rstrip() for line in aligned)


def remarks(found: Sequence[Row], metric: str) -> list[str]:
    """What stands beside the numbers: how rows were divided, how cells are judged, and what this is not."""
    own = "; each repetition has its own seed" * (len({row["rep"] for row in found}) > 1)
    judged = f"Cells are judged by validation {metric} alone; in brackets 95 % intervals over repetitions."
    rules = [f"split: {rule}{own}" for rule in split_rules(found)]
    return [*rules, f"{judged} Differences are paired by repetition.", NOTICE]


def lines(table: Sequence[Row], axes: Sequence[str], metric: str) -> list[list[str]]:
    """The words of each line that a person reads, the head first; a star where the cell is the best."""
    first, costs = best(table, metric), gridcost.heads(table)
    head = ["", "cell", *axes, "n", f"val {metric}", f"test {metric}", "from the best", *costs, "s", ""]
    return [head] + [_line(row, axes, list(costs.values()), row is first) for row in table]


def _line(row: Row, axes: Sequence[str], costs: Sequence[str], is_best: bool) -> list[str]:
    notes = [f"{row[name]} {name}" for name in ("failed", "pruned", "left") if row[name]] + [row["stage"]] * (
        row["stage"] != "grid"
    )
    numbers = [gridcost.shown(row, name) for name in costs] + ["" if row["seconds"] is None else f"{row['seconds']:,.0f}"]
    values = [shown(row.get(key)) for key in axes]
    sides = [said(row, side) for side in ("val", "test", "difference")]
    return ["*" * is_best, row["cell"], *values, str(row["n"]), *sides, *numbers, ", ".join(notes)]


def shown(value: Any) -> str:
    """The value of an axis, four digits of a number; nothing where the flag is left out."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def said(row: Row, name: str) -> str:
    """A mean with its interval, in a few characters."""
    if row[f"{name}_mean"] is None:
        return ""
    sign = "+" if name == "difference" else ""
    interval = "" if row[f"{name}_low"] is None else f" [{row[f'{name}_low']:.4f}, {row[f'{name}_high']:.4f}]"
    return f"{row[f'{name}_mean']:{sign}.4f}{interval}"
