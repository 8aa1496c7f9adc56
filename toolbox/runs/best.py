"""The best epoch of a run, the one rule for the trainer and for readers of its history.

    best = after(best, monitor, epoch=3, value=0.91, loss=0.2)
    best_epoch(history, monitor)       # the same epoch, from logger.json

The better value of the monitored metric wins; of epochs with equal values the one with the lower validation loss, then
the earlier. A small validation split often has equal values: after one epoch, and after ten better ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from toolbox.metrics import labels
from toolbox.schema import is_count, is_finite, is_number

Row = Mapping[str, Any]
Best = dict[str, Any]  # epoch, value, loss, and the epoch `since` which no epoch had a better value


def mode(monitor: str) -> Literal["min", "max"]:
    """The better direction of a monitored metric, "min" or "max"."""
    return "min" if labels.lower_is_better(monitor) else "max"


def is_better(monitor: str, value: float, best: float | None) -> bool:
    """Whether a monitored value beats the best so far; any number beats NaN, and NaN only beats None."""
    if best is None or np.isnan(best):
        return True
    return value < best if mode(monitor) == "min" else value > best


def after(best: Best | None, monitor: str, *, epoch: int, value: float, loss: float | None) -> Best:
    """The best epoch after one more. Without a loss, as in older checkpoints, the first of equal epochs stays."""
    if best is None or is_better(monitor, value, best["value"]):
        return {"epoch": epoch, "value": value, "loss": loss, "since": epoch}
    if loss is None or best["loss"] is None or np.isnan(loss) or value != best["value"]:
        return best
    return best | {"epoch": epoch, "loss": loss} if is_better("loss", loss, best["loss"]) else best


def stored(best: Mapping[str, Any] | None) -> Best | None:
    """The best epoch of a checkpoint; older ones have neither loss nor `since`."""
    if best is None:
        return None
    epoch, loss = best["epoch"], best.get("loss")
    found = {"epoch": epoch, "value": float(best["value"]), "loss": None if loss is None else float(loss)}
    return found | {"since": best.get("since", epoch)}


def objection(best: Any, epoch: int) -> str:
    """The fault of the best epoch in a checkpoint of `epoch`; "" if none."""
    if best is None:
        return ""
    if not (isinstance(best, Mapping) and is_count(best.get("epoch"), 1) and is_number(best.get("value"))):
        return "best is not an epoch with its value"
    if best["epoch"] > epoch:
        return f"best is epoch {best['epoch']}, the checkpoint is of epoch {epoch}"
    if not (best.get("loss") is None or is_number(best["loss"])):
        return f"best has the loss {best['loss']!r:.40}, it must be a number"
    since, last = best.get("since", best["epoch"]), best["epoch"]
    return "" if is_count(since, 1, last) else f"best stands since epoch {since!r:.40}, it must be 1 to {last}"


def best_epoch(history: Sequence[Row], monitor: str, known: int | None = None) -> Row | None:
    """The row of the best epoch, the last one if no epoch has a value; `known` is the epoch in results.json."""
    best: Best | None = None
    for row in history:
        values: Mapping[str, Any] = row.get("val") or {}
        if is_finite(values.get(monitor)):
            loss = values["loss"] if is_number(values.get("loss")) else None
            best = after(best, monitor, epoch=row["epoch"], value=values[monitor], loss=loss)
    rows = {row["epoch"]: row for row in history}
    return rows.get(known) or rows.get((best or {}).get("epoch")) or (history[-1] if history else None)
