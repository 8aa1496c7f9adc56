"""The runs of a research as a table: one typed row a run, one a cell; read from the run folders, whatever their state.

Which cell is best is decided by validation alone. Intervals are Student's over repetitions, 95 %; differences from the best cell
are paired by repetition, which has one seed and one split in every cell.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolbox import gridcost
from toolbox.errors import UsageError
from toolbox.grid import varying
from toolbox.ledger import DONE, FAILED, PRUNED, WAITING, Ledger
from toolbox.registry import pick
from toolbox.tasks import LAST, is_better, mode

Row = dict[str, Any]
LEVEL = 0.95
STAGES = ("grid", "search", "best")
OF_A_RUN = {"rep", "seed", "state", "parameters", "epochs", "best_epoch", "seconds", "split_rule", "run", "error"}
OF_ANY = OF_A_RUN | {"cell", "stage"}


def rows(ledger: Ledger) -> list[Row]:
    """A row for each run, begun or not; those of the grid first, in its order."""
    plan, records = ledger.plan(), ledger.records()
    keys = [f"{cell['name']}_{rep}" for rep in range(plan["reps"]) for cell in plan["cells"]]
    flags = {cell["name"]: cell["cell"] for cell in plan["cells"]}
    begun = {key: flags[key.rpartition("_")[0]] for key in keys} | {key: record["flags"] for key, record in records.items()}
    axes = columns(varying(begun.values()))
    keys = sorted(begun, key=lambda key: STAGES.index(stage_of(key)))
    return [_row(ledger, key, records.get(key), begun[key], axes) for key in keys]


def stage_of(key: str) -> str:
    """What a run was for, which its key begins with: a cell of the grid, of a search, or the best one trained again."""
    stage, dash, _ = key.partition("-")
    return stage if dash else STAGES[0]


def columns(axes: Sequence[str]) -> dict[str, str]:
    """The axes by the names of their columns: layout is enough for model-args.layout, where nothing else is called so."""
    short = [axis.rpartition(".")[2] for axis in axes]
    taken = OF_ANY | {name for name in short if short.count(name) > 1}
    return {axis if name in taken else name: axis for name, axis in zip(short, axes, strict=True)}


def _row(ledger: Ledger, key: str, record: Mapping[str, Any] | None, flags: Mapping[str, str], axes: Mapping[str, str]) -> Row:
    cell, _, rep = key.rpartition("_")
    row = {"cell": cell.rpartition("-")[2], "rep": int(rep), "seed": None, "stage": stage_of(key)}
    row |= {"state": WAITING} | {name: typed(flags.get(axis)) for name, axis in axes.items()}
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
    row["split_rule"] = ((config or {}).get("data") or {}).get("split_rule")
    return row | {"run": record["run"], "error": record["error"] if row["state"] == FAILED else None}


def axes(found: Sequence[Row]) -> list[str]:
    """The flags that have a column."""
    return [name for name in dict.fromkeys(name for row in found for name in row) if name not in OF_ANY and "/" not in name]


def split_rules(found: Sequence[Row]) -> list[str]:
    """How the rows of the first repetition were divided, each rule once; other repetitions divide them with their own seeds."""
    known = [row for row in found if row.get("split_rule")]
    first = min((row["rep"] for row in known), default=0)
    return list(dict.fromkeys(row["split_rule"] for row in known if row["rep"] == first))


def judged_by(ledger: Ledger, found: Sequence[Row], named: str | None = None) -> str:
    """The metric that is named, else that the first run chose its best epoch by, macro_f1 where it chose none.

    Raises UsageError for a name that no run has.
    """
    known = {name.removeprefix("val/"): name for row in found for name in row if name.startswith("val/")}
    if named:
        return pick("best", known, named) and named if known else named
    configs = (_json(ledger.folder(record), "config.json") for record in ledger.records().values())
    chosen = monitor(next(filter(None, configs), None))
    return monitor(None) if chosen == LAST else chosen


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


def cells(found: Sequence[Row], metric: str) -> list[Row]:
    """A row for each cell: how many runs, and of the `metric` mean, sd and interval on validation and test.

    `difference_*` is from the best cell on validation, over the repetitions that both have.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((row["stage"], row["cell"]), []).append(row)
    table = [_cell(group, metric) for group in groups.values()]
    first = best(table, metric)
    beside = _by_rep(groups[first["stage"], first["cell"]], f"val/{metric}") if first else {}
    for row, group in zip(table, groups.values(), strict=True):
        own = _by_rep(group, f"val/{metric}") if row is not first and row["stage"] != "best" else {}  # that has other seeds
        row |= _spread([own[rep] - beside[rep] for rep in own if rep in beside], "difference")
    return table


def _cell(group: Sequence[Row], metric: str) -> Row:
    axes = {key: value for key, value in group[0].items() if key not in OF_A_RUN and "/" not in key}
    done, states = [row for row in group if row["state"] == DONE], [row["state"] for row in group]
    counts = {"n": len(done), "failed": states.count(FAILED), "pruned": states.count(PRUNED)}
    counts["left"] = len(group) - sum(counts.values())
    sides = [_spread(list(_by_rep(group, f"{side}/{metric}").values()), side) for side in ("val", "test")]
    seconds = float(np.mean([row["seconds"] for row in done])) if done else None
    return {**axes, **counts, **sides[0], **sides[1], **gridcost.of_cell(group), "seconds": seconds}


def _by_rep(group: Sequence[Row], name: str) -> dict[int, float]:
    """The figure of each repetition that is done and has one."""
    return {row["rep"]: row[name] for row in group if row["state"] == DONE and row.get(name) is not None}


def _spread(values: Sequence[float], name: str) -> Row:
    """Mean, standard deviation and interval of the mean; of one value the mean alone."""
    count = len(values)
    mean = float(np.mean(values)) if count else None
    sd = float(np.std(values, ddof=1)) if count > 1 else None
    half = _quantile(count) * sd / np.sqrt(count) if count > 1 else None
    return {
        f"{name}_mean": mean,
        f"{name}_sd": sd,
        f"{name}_low": mean - half if count > 1 else None,
        f"{name}_high": mean + half if count > 1 else None,
    }


def _quantile(count: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + LEVEL / 2, count - 1))


def best(table: Sequence[Row], metric: str) -> Row | None:
    """The cell with the best mean on validation, of those with half as many runs as the most; None where none has any.

    So a single lucky run does not outdo the mean of many. What was trained again because it was the best is no candidate.
    """
    known = [row for row in table if row["val_mean"] is not None and row["stage"] != "best"]
    known = [row for row in known if 2 * row["n"] >= max(other["n"] for other in known)]
    pick = min if mode(metric) == "min" else max
    return pick(known, key=lambda row: row["val_mean"]) if known else None


def _plain(values: Mapping[str, Any] | None) -> list[tuple[str, float]]:
    """The figures among the values of a split, without what is of one class."""
    return [(name, value) for name, value in (values or {}).items() if isinstance(value, int | float)]


def _json(folder: Path | None, name: str) -> Any:
    """A file of a run, None where it is not there yet."""
    path = folder / name if folder else None
    return json.loads(path.read_text("utf-8")) if path and path.is_file() else None
