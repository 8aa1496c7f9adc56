"""The history of a run, a list with a row an epoch, as logger.json and checkpoints hold it: how it is written after an
epoch, and whether a value is one."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolbox import schema
from toolbox.metrics.classification import METRICS
from toolbox.schema import is_finite, is_number

if TYPE_CHECKING:
    from toolbox.runs.folder import RunFolder

SIDES = ("train", "val")
MOST_EPOCHS = 10**9


ROW = {"epoch": schema.Count(1, MOST_EPOCHS), "train": dict, "val": dict}
TIMES = ("lr", "backbone_lr", "seconds", "samples_per_s")
LOGGED = {"loss": "loss", "accuracy": "acc", "macro_f1": "macro F1"}  # in the line of an epoch
log = logging.getLogger("commander")


def log_epoch(run: "RunFolder", history: list[dict[str, Any]], epochs: int) -> None:
    """Write logger.json and log the last epoch in a line."""
    run.write_json("logger.json", history)
    last = history[-1]
    figures = "  ".join(
        f"{side} " + " ".join(f"{name} {last[side][key]:.4f}" for key, name in LOGGED.items() if key in last[side])
        for side in SIDES
        if last[side]
    )
    rates = f"lr {last['lr']:.2e}" + (f", backbone {last['backbone_lr']:.2e}" if "backbone_lr" in last else "")
    log.info("epoch %d/%d  %s  %s  %.1f s", last["epoch"], epochs, rates, figures, last["seconds"])


def objection(rows: Any) -> str:
    """The first reason why `rows` is no history; empty where it is one."""
    before = 0
    for number, row in enumerate(rows if isinstance(rows, list) else (), 1):
        if why := schema.misfit(row, ROW) or _of_row(row):
            return f"row {number}: {why}"
        if row["epoch"] <= before:
            return f"row {number} is of epoch {row['epoch']}, the row before it of epoch {before}"
        before = row["epoch"]
    return schema.misfit(rows, list)


def _of_row(row: Mapping[str, Any]) -> str:
    odd = [name for name in TIMES if row.get(name) is not None and not is_number(row[name])]
    if odd or TIMES[0] not in row:
        return f"{(odd or TIMES)[0]} is {schema.kind(row.get((odd or TIMES)[0]))}, it must be a number"
    return next((f"{side}.{why}" for side in SIDES if (why := _of_side(row[side]))), "")


def _of_side(values: Mapping[str, Any]) -> str:
    for name in METRICS:
        if values.get(name) is not None and not is_number(values[name]):
            return f"{name} is {schema.kind(values[name])}, it must be a number"
    matrix = values.get("confusion_matrix")
    return "" if matrix is None or _is_matrix(matrix) else "confusion_matrix must be a square of numbers from 0"


def _is_matrix(value: Any) -> bool:
    rows = value if isinstance(value, list) else []
    return bool(rows) and all(
        isinstance(row, list) and len(row) == len(rows) and all(map(_is_share, row)) for row in rows
    )


def _is_share(value: Any) -> bool:
    return is_finite(value) and value >= 0
