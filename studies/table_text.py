"""The table of a research as text: CSV with a row a run, and aligned lines with one a cell."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies import table_cost
from studies.ledger import FIRST
from studies.table_cells import leaders
from studies.tables import STAGES, Row, split_rules
from toolbox import files, plain
from toolbox.metrics import collapse
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
    return [f"{count} runs have collapsed; means are given with and without them. {collapse.RULE}"] if count else []


def lines(table: Sequence[Row], axes: Sequence[str], metric: str) -> list[list[str]]:
    """The words of each line that a person reads, the head first; a star where the cell is the best of its stage."""
    first, costs = leaders(table, metric), table_cost.heads(table)
    stage = ["stage"] if any(row["stage"] not in STAGES for row in table) else []
    head = ["", *stage, "cell", *axes, "n", f"val {metric}", f"test {metric}", "from the best", *costs, "s", ""]
    return [head] + [
        _line(row, axes, list(costs.values()), is_best=any(row is one for one in first), staged=bool(stage))
        for row in table
    ]


def _line(row: Row, axes: Sequence[str], costs: Sequence[str], *, is_best: bool, staged: bool) -> list[str]:
    notes = [f"{row[name]} {name}" for name in ("failed", "damaged", "pruned", "left", "collapsed") if row[name]]
    notes += [row["stage"]] * (not staged and row["stage"] != FIRST)
    numbers = [table_cost.shown(row, name) for name in costs] + [
        "" if row["seconds"] is None else f"{row['seconds']:,.0f}"
    ]
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
