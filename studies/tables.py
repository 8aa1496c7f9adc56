"""The runs of a research as a table: one typed row a run, read from the run folders, whatever their state.

A row is of a `stage`, and `chosen` where its cell was found best before it began. A run or a record that cannot be read
is a row of state "damaged" without figures, and its `error` names the file.

The cells of a research, a row each: means over their runs, and which is the best of its contest.

Which cell is best is decided by validation alone. Intervals are Student's over repetitions, 95 %; differences from the
best cell are paired by repetition, which has one seed and one split in every cell.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studies import cost
from studies.grid import varying
from studies.ledger import DAMAGED, DONE, FAILED, FIRST, NO_PLAN, PRUNED, WAITING, Found, Ledger, key_of, stage_of
from toolbox import files
from toolbox.errors import UsageError
from toolbox.metrics import classification
from toolbox.registry import pick
from toolbox.tasks import LAST, is_better, mode

Row = dict[str, Any]
BEST = "best"  # the stage of the best cell trained again, in a research without stages
STAGES = (FIRST, "search", BEST)
OF_A_RUN = {
    "rep", "fold", "seed", "state", "parameters", "epochs", "best_epoch", "seconds", "collapsed", "split_rule",
    "run", "error"
}  # fmt: skip
OF_ANY = OF_A_RUN | {"cell", "stage", "chosen", "folds"}
LARGEST = 1e300  # of a figure
MEND = "mend the file, or remove the run folder: the same command runs the cell again"


class DamagedRun(Exception):
    """A file of a run is not as this program writes it."""


def rows(ledger: Ledger) -> list[Row]:
    """A row for each run, begun or not; stages in their order, and in each the cells of a grid first, in its order."""
    plans, (records, lost) = ledger.plans(), ledger.looked_through()
    begun = {
        key_of(stage, cell["name"], rep): cell["cell"]
        for stage, plan in plans.items()
        for rep in range(plan["reps"] * plan["folds"])
        for cell in plan["cells"]
    }
    begun |= {key: record["flags"] for key, record in records.items()}
    axes, order = columns(varying(begun.values())), [*STAGES, *plans]
    begun |= {key: {} for key in lost if key not in begun}
    found = []
    for key in sorted(begun, key=lambda key: order.index(stage_of(key)) if stage_of(key) in order else len(order)):
        row = _facts(key, plans) | _values(begun[key], axes)
        if key in lost:
            row |= {"state": DAMAGED, "error": f"{lost[key]}; remove it: the same command runs the cell again"}
        found.append(row if key in lost else _row(ledger, records.get(key), row))
    return found


def _facts(key: str, plans: Mapping[str, Mapping[str, Any]]) -> Row:
    """What is known of a run by its key, though it may not have begun."""
    (cell, _, rep), stage = key.rpartition("_"), stage_of(key)
    if not (rep.isascii() and rep.isdigit() and len(rep) < 10):  # of a file that is no record
        cell, rep = key, "0"
    plan = plans.get(stage) or plans.get(FIRST, NO_PLAN)
    chosen = plan["chosen"] or stage == BEST
    folds = 1 if chosen else plan["folds"]
    fold = {"fold": f"{int(rep) % folds + 1}/{folds}"} if folds > 1 else {}
    whose = {"cell": cell.rpartition("-")[2], "rep": int(rep), **fold, "seed": None}
    return whose | {"stage": stage, "chosen": chosen, "folds": folds, "state": WAITING}


def _values(flags: Mapping[str, str], axes: Mapping[str, str]) -> Row:
    return {name: typed(flags.get(axis)) for name, axis in axes.items()}


def columns(axes: Sequence[str]) -> dict[str, str]:
    """The axes by the names of their columns: layout is enough for model-args.layout, where nothing else is called
    so."""
    short = [axis.rpartition(".")[2] for axis in axes]
    taken = OF_ANY | {name for name in short if short.count(name) > 1}
    return {axis if name in taken else name: axis for name, axis in zip(short, axes, strict=True)}


def _row(ledger: Ledger, record: Mapping[str, Any] | None, row: Row) -> Row:
    """The row of a run: what its files show; of one that is damaged, or not the record's own, why it shows nothing."""
    if record is None:
        return row
    found = ledger.found(record)
    state = ledger.state(record, tested=record["tested"], found=found)
    row = row | {"seed": record["given"].get("seed"), "state": state, "epochs": 0}
    if state == WAITING and found.why:
        return row | {"error": found.why, "state": DAMAGED if found.damaged else WAITING}
    try:
        row |= _figures(found, done=state == DONE)
    except DamagedRun as error:
        return row | {"state": DAMAGED, "run": record["run"], "error": f"{error}; {MEND}"}
    return row | {"run": record["run"] if found.folder else None, "error": record["error"] if state == FAILED else None}


def _figures(found: Found, *, done: bool) -> Row:
    """What the files of a run show; a DamagedRun names a file that is not as this program writes it."""
    config, results = found.config, _json(found.folder, "results.json")
    try:
        if not isinstance({} if results is None else results, dict) or not isinstance(
            (results or {}).get("test", {}), dict
        ):
            raise TypeError("results.json has no object of figures")
        history = epochs(found.folder)
        best = best_epoch(history, monitor(config)) or {}
        costs = cost.of_run(config, results)
        _numbers({name: value for name, value in costs.items() if cost.is_measured(name) or not isinstance(value, str)})
        row: Row = {"epochs": len(history), **costs}
        row |= {"best_epoch": best.get("epoch"), "seconds": sum(epoch["seconds"] for epoch in history)}
        row |= {f"val/{name}": value for name, value in _plain(best.get("val")).items()}
        row |= {f"test/{name}": value for name, value in _plain((results or {}).get("test")).items()}
        row["collapsed"] = _collapsed(best, results or {}) if done else None
        rule = (config.get("data") or {}).get("split_rule")
        return row | {"split_rule": None if rule is None else str(rule)}
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"config.json, logger.json or results.json of {found.folder} is not as it was written"
        raise DamagedRun(f"{what}, {type(error).__name__}: {error}") from error


def epochs(folder: Path | None) -> list[dict[str, Any]]:
    """The epochs of a run from its logger.json, none where there is no such file; a DamagedRun where it is none."""
    history = _json(folder, "logger.json") or []
    try:
        for epoch in history:
            _numbers({name: epoch[name] for name in ("epoch", "seconds") if name in epoch})
            if type(epoch["epoch"]) is not int or not isinstance(epoch["val"], dict):
                raise ValueError("an epoch is no number, or its val no object")
            _plain(epoch["val"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"logger.json of {folder} is not as it was written"
        raise DamagedRun(f"{what}, {type(error).__name__}: {error}") from error
    return history


def _collapsed(best: Mapping[str, Any], results: Mapping[str, Any]) -> str | None:
    """Where and why a run has collapsed, on validation (on training where no row validates) or on test; None where it
    has not."""
    seen = {"validation": best.get("val"), "test": results.get("test")}
    sides = seen if best.get("val") else seen | {"training": best.get("train")}
    matrices = {name: side["confusion_matrix"] for name, side in sides.items() if side and side.get("confusion_matrix")}
    whys = {name: classification.why(np.array(matrix)) for name, matrix in matrices.items()}
    return "; ".join(f"{name}: {why}" for name, why in whys.items() if why) or None


def axes(found: Sequence[Row]) -> list[str]:
    """The flags that have a column."""
    return [
        name for name in dict.fromkeys(name for row in found for name in row) if name not in OF_ANY and "/" not in name
    ]


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
    configs = (ledger.found(record).config for record in ledger.records().values())
    chosen = (monitor(config) for config in configs if config)
    return next((metric for metric in chosen if metric != LAST), monitor({}))


def monitor(config: Mapping[str, Any]) -> str:
    """The validation metric that a run's best epoch is chosen by."""
    return str((config.get("flags") or {}).get("monitor") or "macro_f1")


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
    return epochs(ledger.root / row["run"]) if row.get("run") else []


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


def _plain(values: Mapping[str, Any] | None) -> dict[str, float]:
    """The figures among the values of a split, without what is of one class."""
    return _numbers({name: value for name, value in (values or {}).items() if isinstance(value, int | float)})


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, each None or a number that is finite; a ValueError for any other."""
    for name, value in values.items():
        if value is not None and not (isinstance(value, int | float) and abs(value) < LARGEST):
            raise ValueError(f"{name} is {str(value)[:40]}")
    return dict(values)


def _json(folder: Path | None, name: str) -> Any:
    """A file of a run, None where it is not there yet; a DamagedRun where it cannot be read."""
    path = folder / name if folder else None
    try:
        return files.read_json(path) if path and path.is_file() else None
    except (OSError, ValueError) as error:
        raise DamagedRun(f"{name} cannot be read, {error} ({path})") from error


LEVEL = 0.95


def cells(found: Sequence[Row], metric: str) -> list[Row]:
    """A row for each cell: how many runs, and of the `metric` mean, sd and interval on validation and test.

    `val_sound_*` and `test_sound_*` are without the runs that have collapsed; `difference_*` is from the best cell of
    the contest on validation, over the repetitions that both have, collapsed or not.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((row["stage"], row["cell"]), []).append(row)
    table = [_cell(group, metric) for group in groups.values()]
    first = {contest(row): row for row in leaders(table, metric)}
    for row, group in zip(table, groups.values(), strict=True):
        other = None if row["chosen"] else first.get(contest(row))  # what was chosen has other seeds
        own = {} if other is None or other is row else _by_rep(group, f"val/{metric}")
        beside = _by_rep(groups[other["stage"], other["cell"]], f"val/{metric}") if own else {}
        row |= _spread([own[rep] - beside[rep] for rep in own if rep in beside], "difference")
    return table


def contest(row: Row) -> str:
    """Cells of one contest are compared: those of a stage, or of the grid and the search of a research without
    stages."""
    return FIRST if row["stage"] in STAGES else row["stage"]


def _cell(group: Sequence[Row], metric: str) -> Row:
    axes = {key: value for key, value in group[0].items() if key not in OF_A_RUN and "/" not in key}
    sound = [row for row in group if not row.get("collapsed")]
    done, states = [row for row in group if row["state"] == DONE], [row["state"] for row in group]
    counts = {
        "n": len(done),
        "failed": states.count(FAILED),
        "pruned": states.count(PRUNED),
        "damaged": states.count(DAMAGED),
    }
    counts["left"] = len(group) - sum(counts.values())
    counts["collapsed"] = len(group) - len(sound)
    spreads: Row = {}
    for side in ("val", "test"):
        spreads |= _spread(list(_by_rep(group, f"{side}/{metric}").values()), side)
        spreads |= _spread(list(_by_rep(sound, f"{side}/{metric}").values()), f"{side}_sound")
    seconds = float(np.mean([row["seconds"] for row in done])) if done else None
    return {**axes, **counts, **spreads, **cost.of_cell(group), "seconds": seconds}


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


def best(table: Sequence[Row], metric: str, among: str = FIRST) -> Row | None:
    """The cell of a contest with the best mean on validation, of those with half as many runs as the most; None without
    any.

    So a single lucky run does not outdo the mean of many; and where folds validate in turn, all of them count or none.
    What was trained again because it was the best is no candidate. Runs that have collapsed count as they are.
    """
    known = [row for row in table if row["val_mean"] is not None and not row["chosen"] and contest(row) == among]
    known = [row for row in known if row["n"] % row["folds"] == 0]
    known = [row for row in known if 2 * row["n"] >= max(other["n"] for other in known)]
    pick = min if mode(metric) == "min" else max
    return pick(known, key=lambda row: row["val_mean"]) if known else None


def leaders(table: Sequence[Row], metric: str) -> list[Row]:
    """The best cell of each contest."""
    found = (best(table, metric, among) for among in dict.fromkeys(map(contest, table)))
    return [row for row in found if row is not None]
