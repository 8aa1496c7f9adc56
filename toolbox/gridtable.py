"""The runs of a research as a table: one typed row a run, read from the run folders, whatever their state.

A row is of a `stage`, and `chosen` where its cell was found best before it began; `gridcells` makes a row a cell of them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolbox import collapse, gridcost
from toolbox.errors import UsageError
from toolbox.grid import varying
from toolbox.ledger import DONE, FAILED, FIRST, NO_PLAN, WAITING, Ledger, key_of, stage_of
from toolbox.registry import pick
from toolbox.tasks import LAST, is_better

Row = dict[str, Any]
BEST = "best"  # the stage of the best cell trained again, in a research without stages
STAGES = (FIRST, "search", BEST)
OF_A_RUN = {
    "rep", "fold", "seed", "state", "parameters", "epochs", "best_epoch", "seconds", "collapsed", "split_rule", "run", "error"
}  # fmt: skip
OF_ANY = OF_A_RUN | {"cell", "stage", "chosen", "folds"}


def rows(ledger: Ledger) -> list[Row]:
    """A row for each run, begun or not; stages in their order, and in each the cells of a grid first, in its order."""
    plans, records = ledger.plans(), ledger.records()
    begun = {
        key_of(stage, cell["name"], rep): cell["cell"]
        for stage, plan in plans.items()
        for rep in range(plan["reps"] * plan["folds"])
        for cell in plan["cells"]
    }
    begun |= {key: record["flags"] for key, record in records.items()}
    axes, order = columns(varying(begun.values())), [*STAGES, *plans]
    keys = sorted(begun, key=lambda key: order.index(stage_of(key)))
    return [_row(ledger, key, records.get(key), _facts(key, plans), _values(begun[key], axes)) for key in keys]


def _facts(key: str, plans: Mapping[str, Mapping[str, Any]]) -> Row:
    """What is known of a run by its key, though it may not have begun."""
    (cell, _, rep), stage = key.rpartition("_"), stage_of(key)
    plan = plans.get(stage) or plans.get(FIRST, NO_PLAN)
    chosen = plan["chosen"] or stage == BEST
    folds = 1 if chosen else plan["folds"]
    fold = {"fold": f"{int(rep) % folds + 1}/{folds}"} if folds > 1 else {}
    whose = {"cell": cell.rpartition("-")[2], "rep": int(rep), **fold, "seed": None}
    return whose | {"stage": stage, "chosen": chosen, "folds": folds, "state": WAITING}


def _values(flags: Mapping[str, str], axes: Mapping[str, str]) -> Row:
    return {name: typed(flags.get(axis)) for name, axis in axes.items()}


def columns(axes: Sequence[str]) -> dict[str, str]:
    """The axes by the names of their columns: layout is enough for model-args.layout, where nothing else is called so."""
    short = [axis.rpartition(".")[2] for axis in axes]
    taken = OF_ANY | {name for name in short if short.count(name) > 1}
    return {axis if name in taken else name: axis for name, axis in zip(short, axes, strict=True)}


def _row(ledger: Ledger, key: str, record: Mapping[str, Any] | None, facts: Row, values: Row) -> Row:
    row = facts | values
    if record is None:
        return row
    row["state"] = ledger.state(record, tested=record["tested"])
    folder = ledger.folder(record)
    config, history, results = (_json(folder, name) for name in ("config.json", "logger.json", "results.json"))
    row |= {"seed": record["given"].get("seed"), "epochs": len(history or ()), **gridcost.of_run(config, results)}
    best = best_epoch(history or (), monitor(config))
    row |= {"best_epoch": best and best["epoch"], "seconds": sum(epoch["seconds"] for epoch in history or ())}
    row |= {f"val/{name}": value for name, value in _plain((best or {}).get("val"))}
    row |= {f"test/{name}": value for name, value in _plain((results or {}).get("test"))}
    row["collapsed"] = _collapsed(best or {}, results or {}) if row["state"] == DONE else None
    row["split_rule"] = ((config or {}).get("data") or {}).get("split_rule")
    return row | {"run": record["run"], "error": record["error"] if row["state"] == FAILED else None}


def _collapsed(best: Mapping[str, Any], results: Mapping[str, Any]) -> str | None:
    """Where and why a run has collapsed, on validation (on training where no row validates) or on test; None where it has not."""
    seen = {"validation": best.get("val"), "test": results.get("test")}
    sides = seen if best.get("val") else seen | {"training": best.get("train")}
    matrices = {name: side["confusion_matrix"] for name, side in sides.items() if side and side.get("confusion_matrix")}
    whys = {name: collapse.why(np.array(matrix)) for name, matrix in matrices.items()}
    return "; ".join(f"{name}: {why}" for name, why in whys.items() if why) or None


def axes(found: Sequence[Row]) -> list[str]:
    """The flags that have a column."""
    return [name for name in dict.fromkeys(name for row in found for name in row) if name not in OF_ANY and "/" not in name]


def split_rules(found: Sequence[Row]) -> list[str]:
    """How the rows of the first repetition were divided, each rule once, and in what those of the others differ."""
    known = [row for row in found if row.get("split_rule")]
    first = min((row["rep"] for row in known), default=0)
    rules = {row["split_rule"]: row["stage"] for row in known if row["rep"] == first}
    return [rule + _others([row for row in found if row["stage"] == stage]) for rule, stage in rules.items()]


def _others(stage: Sequence[Row]) -> str:
    """In what the division of rows differs from one run of a cell to another, in words."""
    seeds = len({row["seed"] for row in stage if row["seed"] is not None}) > 1
    return "; each repetition has its own seed" * seeds + "; the other folds validate in turn" * (stage[0]["folds"] > 1)


def judged_by(ledger: Ledger, found: Sequence[Row], named: str | None = None) -> str:
    """The metric that is named, else that the first run chose its best epoch by, macro_f1 where none chose any.

    Raises UsageError for a name that no run has.
    """
    known = {name.removeprefix("val/"): name for row in found for name in row if name.startswith("val/")}
    if named:
        return pick("best", known, named) and named if known else named
    configs = (_json(ledger.folder(record), "config.json") for record in ledger.records().values())
    chosen = (monitor(config) for config in configs if config)
    return next((metric for metric in chosen if metric != LAST), monitor(None))


def monitor(config: Mapping[str, Any] | None) -> str:
    """The validation metric that a run's best epoch is chosen by."""
    return ((config or {}).get("flags") or {}).get("monitor") or "macro_f1"


def best_epoch(history: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any] | None:
    """The epoch that a run would be tested at, as the trainer chooses it; None of one without epochs."""
    best = None
    for epoch in history:
        value = {**epoch["val"], LAST: epoch["epoch"]}.get(metric)
        value = np.nan if value is None else value
        if best is None or is_better(metric, value, best[0]):
            best = (value, epoch)
    return best and best[1]


def history(ledger: Ledger, row: Row) -> list[dict[str, Any]]:
    """The epochs of a row's run."""
    return _json(ledger.root / row["run"], "logger.json") or [] if row.get("run") else []


def where(found: Sequence[Row], rules: Sequence[str]) -> list[Row]:
    """The rows of which every KEY=VALUE holds; a UsageError where no row has a KEY."""
    for rule in rules:
        key, _, value = rule.partition("=")
        if not any(key in row for row in found):
            known = ", ".join(dict.fromkeys(name for row in found for name in row))
            raise UsageError(f"no run has a {key}; there are {known}", hint="--where KEY=VALUE")
        found = [row for row in found if key in row and row[key] == typed(value)]
    return list(found)


def typed(text: str | None) -> Any:
    """A value as a number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    return text


def _plain(values: Mapping[str, Any] | None) -> list[tuple[str, float]]:
    """The figures among the values of a split, without what is of one class."""
    return [(name, value) for name, value in (values or {}).items() if isinstance(value, int | float)]


def _json(folder: Path | None, name: str) -> Any:
    """A file of a run, None where it is not there yet."""
    path = folder / name if folder else None
    return json.loads(path.read_text("utf-8")) if path and path.is_file() else None
