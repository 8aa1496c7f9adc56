"""The tables of a study: one typed row a run, read from the run folders, and one row a configuration.

A row has a `stage`, and is `chosen` if an earlier stage found its configuration best. An unreadable run or record makes
a row of state "damaged" without figures, and its `error` names the file.

Validation alone decides the best configuration. Intervals are Student's over at least three repetitions, 95 %: of two,
it would reach 12.7 standard errors to each side. Differences from the best are paired by repetition, which has one seed
and one split in every configuration.
"""

from collections.abc import Mapping, Sequence  # noqa: I001 (two lines of names of the ledger, not fourteen)
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from studies.grid import varying
from studies.ledger import BEST, DAMAGED, DONE, FAILED, FIRST, NO_PLAN, PRUNED, STAGES, WAITING
from studies.ledger import Ledger, Record, key_of, stage_of
from toolbox import files, schema
from toolbox.errors import CheckpointError, UsageError
from toolbox.metrics import classification, intervals
from toolbox.metrics.labels import EVERY
from toolbox.registry import pick
from toolbox.runs.folder import CONFIG, HISTORY, RESULTS, RunFolder
from toolbox.runs.best import best_epoch, mode
from toolbox.tasks import LAST

Row = dict[str, Any]
OF_A_RUN = {
    "rep", "fold", "seed", "state", "parameters", "epochs", "best_epoch", "seconds", "collapsed", "split_rule",
    "run", "error"
}  # fmt: skip
OF_ANY = OF_A_RUN | {"cell", "stage", "chosen", "folds"}
LEVEL, FEWEST = 0.95, 3  # of an interval: its confidence, and the repetitions that it needs
NO_SCORES = pd.Series(dtype=float)
MEND = "mend the file, or remove the run folder: the same command runs the configuration again"


class Cost(NamedTuple):
    """A cost's column head, axis label, unit of the column, and whether more is better."""

    head: str
    label: str
    unit: float = 1
    more_is_better: bool = False


COSTS = {
    "parameters": Cost("parameters", "trainable parameters"),
    "macs": Cost("MACs", "multiply-accumulates of a row"),
    "file_bytes": Cost("file kB", "file of the weights (bytes)", 1000),
    "latency_ms": Cost("ms a row", "a row alone (ms)"),
    "rows_per_s": Cost("rows/s", "rows a second, in batches (more to the left)", more_is_better=True),
}


# The form of the files of a run, only the parts that the table reads.
MATRIX = {"confusion_matrix?": [[schema.Number()]]}
EPOCH = {"epoch": int, "seconds": schema.Number(), "val": MATRIX, "train?": MATRIX}
OF_CONFIG = {"parameters?": schema.Number(), "flags?": dict, "data?": {"split_rule?": str}}
OF_RESULTS = {"best_epoch?": int, "test?": MATRIX, "cost?": {f"{name}?": schema.Number() for name in COSTS}}


def rows(ledger: Ledger) -> list[Row]:
    """A row for each run, started or not, ordered by stage, and in each stage the configurations of a grid first."""
    plans, (records, damaged) = ledger.plans(), ledger.read_all()
    flags = {
        key_of(stage, cell["name"], rep): cell["cell"]
        for stage, plan in plans.items()
        for rep in range(plan["reps"] * plan["folds"])
        for cell in plan["cells"]
    }
    flags |= {key: record["flags"] for key, record in records.items()}
    axes, order = columns(varying(flags.values())), [*STAGES, *plans]
    flags |= {key: {} for key in damaged if key not in flags}
    found = []
    for key in sorted(flags, key=lambda key: order.index(stage_of(key)) if stage_of(key) in order else len(order)):
        row = _facts(key, plans) | {name: typed(flags[key].get(axis)) for name, axis in axes.items()}
        if key in damaged:
            why = f"{damaged[key]}; remove it: the same command runs the configuration again"
            row |= {"state": DAMAGED, "error": why}
        found.append(_row(ledger, records[key], row) if key in records else row)
    return found


def _facts(key: str, plans: Mapping[str, Mapping[str, Any]]) -> Row:
    """The columns of a run that follow from its key."""
    (cell, _, rep), stage = key.rpartition("_"), stage_of(key)
    if not (rep.isascii() and rep.isdigit() and len(rep) < 10):  # the file is not a record
        cell, rep = key, "0"
    plan = plans.get(stage) or plans.get(FIRST, NO_PLAN)
    chosen = plan["chosen"] or stage == BEST
    folds = 1 if chosen else plan["folds"]
    fold = {"fold": f"{int(rep) % folds + 1}/{folds}"} if folds > 1 else {}
    row = {"cell": cell.rpartition("-")[2], "rep": int(rep), **fold, "seed": None}
    return row | {"stage": stage, "chosen": chosen, "folds": folds, "state": WAITING}


def columns(axes: Sequence[str]) -> dict[str, str]:
    """The axes by column name: layout for model-args.layout, unless another column has that name."""
    short = [axis.rpartition(".")[2] for axis in axes]
    taken = OF_ANY | {name for name in short if short.count(name) > 1}
    return {axis if name in taken else name: axis for name, axis in zip(short, axes, strict=True)}


def _row(ledger: Ledger, record: Record, row: Row) -> Row:
    """The row of a run with a record: the figures from its files, or the error."""
    found = ledger.status(record)
    row = row | {"seed": record["given"].get("seed"), "state": found.state, "epochs": 0}
    if found.state == WAITING and found.why:
        return row | {"error": found.why, "state": DAMAGED if found.damaged else WAITING}
    try:
        row |= _figures(found.folder, found.config, done=found.state == DONE) if found.folder else {}
    except CheckpointError as error:
        why = f"{error.what} ({error.where}); {MEND}"
        return row | {"state": DAMAGED, "run": record["run"], "error": why}
    row["run"] = record["run"] if found.folder else None
    return row | {"error": record["error"] if found.state == FAILED else None}


def _figures(folder: Path, config: Mapping[str, Any], *, done: bool) -> Row:
    """The figures in the files of a run. Raises CheckpointError for a file that this program cannot have written."""
    results = _json(folder, RESULTS, OF_RESULTS) or {}
    if why := schema.misfit(config, OF_CONFIG):
        raise CheckpointError(f"{CONFIG} is damaged, {why}", where=str(folder / CONFIG), hint=MEND)
    history, test = epochs(folder), results.get("test") or {}
    best = best_epoch(history, monitor(config), results.get("best_epoch")) or {}
    row: Row = {"epochs": len(history), "parameters": config.get("parameters")}
    row |= {f"cost/{name}": value for name, value in (results.get("cost") or {}).items()}
    row |= {"best_epoch": best.get("epoch"), "seconds": sum(epoch["seconds"] for epoch in history)}
    for split, values in (("val", best.get("val") or {}), ("test", test)):  # without metrics of one class
        row |= {f"{split}/{name}": value for name, value in values.items() if isinstance(value, int | float)}
    row["collapsed"] = _collapsed(best, test) if done else None
    return row | {"split_rule": (config.get("data") or {}).get("split_rule")}


def epochs(folder: Path) -> list[dict[str, Any]]:
    """The epochs in a run's logger.json, none without the file. Raises CheckpointError for an invalid history."""
    return _json(folder, HISTORY, [EPOCH]) or []


def _collapsed(best: Mapping[str, Any], test: Mapping[str, Any]) -> str | None:
    """Where and why a run has collapsed: on validation, else on training, or on test; None if it has not."""
    splits = {"validation": best.get("val"), "test": test, "training": None if best.get("val") else best.get("train")}
    matrices = {name: (values or {}).get("confusion_matrix") for name, values in splits.items()}
    whys = {name: classification.why(np.array(matrix)) for name, matrix in matrices.items() if matrix}
    return "; ".join(f"{name}: {why}" for name, why in whys.items() if why) or None


def axes(found: Sequence[Row]) -> list[str]:
    """The flags that have a column."""
    names = dict.fromkeys(name for row in found for name in row)
    return [name for name in names if name not in OF_ANY and "/" not in name]


def split_rules(found: Sequence[Row]) -> list[str]:
    """The split rules of the first repetition, each once, with notes on other seeds and folds."""
    known = [row for row in found if row.get("split_rule")]
    first = min((row["rep"] for row in known), default=0)
    rules = {row["split_rule"]: row["stage"] for row in known if row["rep"] == first}
    return [rule + _others([row for row in found if row["stage"] == stage]) for rule, stage in rules.items()]


def _others(stage: Sequence[Row]) -> str:
    """Notes on the splits of a configuration's other runs."""
    seeds = len({row["seed"] for row in stage if row["seed"] is not None}) > 1
    return "; each repetition has its own seed" * seeds + "; the other folds validate in turn" * (stage[0]["folds"] > 1)


def judged_by(ledger: Ledger, found: Sequence[Row], named: str | None = None) -> str:
    """The metric `named`, else the --monitor of the first run, else macro_f1. Raises UsageError for an unknown name."""
    known = {name.removeprefix("val/"): name for row in found for name in row if name.startswith("val/")}
    if named:
        return pick("best", known, named) and named if known else named
    configs = (ledger.status(record).config for record in ledger.records().values())
    chosen = (monitor(config) for config in configs if config)
    return next((metric for metric in chosen if metric != LAST), monitor({}))


def monitor(config: Mapping[str, Any]) -> str:
    """The validation metric of a run's best epoch."""
    return str((config.get("flags") or {}).get("monitor") or "macro_f1")


def where(found: Sequence[Row], rules: Sequence[str]) -> list[Row]:
    """The rows that satisfy every KEY=VALUE. Raises UsageError for an unknown KEY."""
    for rule in rules:
        key, _, value = rule.partition("=")
        if not any(key in row for row in found):
            known = ", ".join(dict.fromkeys(name for row in found for name in row))
            raise UsageError(f"unknown column '{key}'; available: {known}", hint="--where KEY=VALUE")
        found = [row for row in found if key in row and row[key] == typed(value)]
    return list(found)


def write_csv(found: Sequence[Row], path: Path) -> None:
    """Write the rows with all their columns."""
    table = pd.DataFrame(found, dtype=object)  # keeps whole numbers in columns with gaps
    files.write_text(path, table.to_csv(index=False, lineterminator="\n"))


def typed(text: str | None) -> Any:
    """The text as a number if possible, else unchanged."""
    for kind in (int, float):
        with suppress(ValueError):
            return text if text is None else kind(text)
    return text


def _json(folder: Path, name: str, form: Any) -> Any:
    """A file of a run, None if missing. Raises CheckpointError if it is unreadable or has another `form`."""
    found = RunFolder(folder).read_json(name) if (folder / name).is_file() else None
    if found is not None and (why := schema.misfit(found, form)):
        raise CheckpointError(f"{name} is damaged, {why}", where=str(folder / name), hint=MEND)
    return found


def cells(found: Sequence[Row], metric: str) -> list[Row]:
    """A row for each configuration: numbers of runs, mean, sd and interval of `metric` on validation and test, and
    whether it is the `best` of its contest.

    `val_sound_*` and `test_sound_*` leave collapsed runs out; `difference_*` is the paired difference on validation
    from the best configuration of the contest, with collapsed runs.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((row["stage"], row["cell"]), []).append(row)
    table = [_cell(group, metric) for group in groups.values()]
    scores = {key: _by_rep(group, f"val/{metric}") for key, group in groups.items()}
    first = {among: best(table, metric, among) for among in dict.fromkeys(map(contest, table))}
    for row in table:
        leader = first[contest(row)]
        leader = None if leader and all_collapsed(leader) else leader  # it is no configuration to prefer
        row["best"] = row is leader
        compared = leader and not (row["best"] or row["chosen"])  # chosen configurations have other seeds
        others = scores[leader["stage"], leader["cell"]] if leader and compared else NO_SCORES
        row |= _spread((scores[row["stage"], row["cell"]] - others).dropna(), "difference")
    return table


def contest(row: Row) -> str:
    """The group of comparable configurations: a stage, or all of a study without stages."""
    return FIRST if row["stage"] in STAGES else row["stage"]


def _cell(group: Sequence[Row], metric: str) -> Row:
    """The row of a configuration, without its difference from the best."""
    axes = {key: value for key, value in group[0].items() if key not in OF_A_RUN and "/" not in key}
    sound = [row for row in group if not row.get("collapsed")]
    states = [row["state"] for row in group]
    counts = {"n": states.count(DONE)} | {state: states.count(state) for state in (FAILED, PRUNED, DAMAGED)}
    counts |= {"left": len(group) - sum(counts.values()), "collapsed": len(group) - len(sound)}
    spreads: Row = {}
    within = EVERY[metric].bounds if metric in EVERY else intervals.SHARE
    for split in ("val", "test"):
        spreads |= _spread(_by_rep(group, f"{split}/{metric}"), split, within=within)
        spreads |= _spread(_by_rep(sound, f"{split}/{metric}"), f"{split}_sound", within=within)
    columns = {name: [row[key] for row in group if row.get(key := _column(name)) is not None] for name in COSTS}
    medians = {name: np.median(values).item() if values else None for name, values in columns.items()}
    return {**axes, **counts, **spreads, **medians, "seconds": _known(_by_rep(group, "seconds").mean())}


def _column(cost: str) -> str:
    return cost if cost == "parameters" else f"cost/{cost}"


def _by_rep(group: Sequence[Row], name: str) -> "pd.Series[float]":
    """The figure `name` by repetition, of finished runs that have it."""
    found = {row["rep"]: row[name] for row in group if row["state"] == DONE and row.get(name) is not None}
    return pd.Series(found, dtype=float)


def _spread(values: "pd.Series[float]", name: str, *, within: tuple[float, float] = (-np.inf, np.inf)) -> Row:
    """Mean, standard deviation and interval of the mean, cut to the possible values `within`; no interval of few
    values, or of values without spread."""
    from scipy.stats import t

    told = len(values) >= FEWEST and values.nunique() > 1
    mean, half = values.mean(), t.ppf(0.5 + LEVEL / 2, len(values) - 1) * values.sem() if told else np.nan
    ends = np.clip([mean - half, mean + half], within[0], within[1])
    spread = {"mean": mean, "sd": values.std(), **dict(zip(("low", "high"), ends, strict=True))}
    return {f"{name}_{part}": _known(value) for part, value in spread.items()}


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def candidates(table: Sequence[Row], among: str = FIRST) -> list[Row]:
    """The configurations of a contest that can be its best, by their runs.

    They have all their folds, and at least half as many runs as the configuration with the most, so that a single
    lucky run does not beat a mean of many. An earlier stage's `chosen` configurations are none.
    """
    known = [row for row in table if row["val_mean"] is not None and not row["chosen"] and contest(row) == among]
    known = [row for row in known if row["n"] % row["folds"] == 0]
    most = max((row["n"] for row in known), default=0)
    return [row for row in known if 2 * row["n"] >= most]


def best(table: Sequence[Row], metric: str, among: str = FIRST) -> Row | None:
    """The candidate of a contest with the best mean on validation; None without any.

    A configuration whose every run has collapsed is the best only if there is no other.
    """
    known = candidates(table, among)
    known = [row for row in known if not all_collapsed(row)] or known
    pick = min if mode(metric) == "min" else max
    return pick(known, key=lambda row: row["val_mean"]) if known else None


def all_collapsed(row: Row) -> bool:
    """Whether every finished run of a configuration has collapsed."""
    return row["n"] > 0 and row["collapsed"] >= row["n"]


def ranked(table: Sequence[Row], metric: str) -> list[Row]:
    """The configurations with their `rank`, contest by contest, the best on validation first.

    Below the candidates stand configurations whose every run has collapsed, with too few runs, and without any.
    """
    contests = list(dict.fromkeys(map(contest, table)))
    first = {id(row) for among in contests for row in candidates(table, among)}
    sign = 1 if mode(metric) == "min" else -1

    def place(row: Row) -> tuple[Any, ...]:
        mean = row["val_mean"]
        lower = (row["chosen"], mean is None, id(row) not in first, all_collapsed(row))
        return contests.index(contest(row)), *lower, sign * (mean or 0.0)

    return [row | {"rank": rank} for rank, row in enumerate(sorted(table, key=place), start=1)]
