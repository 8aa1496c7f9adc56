"""Runs tested on the same rows, side by side: how much better one is than the first, and whether that could be chance.

`compare([RunFolder(...), RunFolder(...)])` reads what their tests left in pred/; `summary` is the text of what it
returns. The interval of a difference is paired: each record is left out of both runs at once
(`toolbox/metrics/jackknife.py`); where no record is known, every bootstrap replicate draws the same rows for both.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from toolbox import plain, schema
from toolbox.errors import CheckpointError, UsageError
from toolbox.metrics import bootstrap, ec57, jackknife
from toolbox.plain import NOTICE
from toolbox.runs.folder import RunFolder
from toolbox.runs.predictions import Predictions
from toolbox.tasks.classify_report import shown

Array = NDArray[Any]
Figures = Callable[[Array], dict[str, Array]]
PREDICTIONS, METRICS = "pred/predictions.npz", "pred/metrics.json"
READ = {"config": {"data": {"classes": [str]}}, "metrics": {"split_rule": str}}
FIGURE = "{:>10}{:>10}{:>12}{:>22}{:>10}"
# What a split rule says of validation, which the test rows do not depend on: the wording of loaders/splits/by_row.py,
# patients.py, divisions.py and ecg5000.py.
VALIDATION = re.compile(
    r"; (?:but of the first two )?(?:validation is|no row validates)[^;]*|, validation too(?=;|$)|\d+ train, \d+"
    r" validation, "
)


@dataclass(frozen=True)
class Tested:
    """What a run's test left: its name and folder, the rules of its rows, its classes, and its predictions in order of
    (record, index)."""

    name: str
    where: str
    split_rule: str
    classes: tuple[str, ...]
    predictions: Predictions


def load(run: RunFolder) -> Tested:
    """The predictions of a run's best checkpoint on its test rows; a CheckpointError where there are none of
    classes."""
    if not (run / METRICS).exists():
        what = f"{run.path.name} has no results of a test of its present weights: {METRICS} is missing"
        raise CheckpointError(what, where=str(run.path), hint="--test --resume best with this run")
    config, values, path = run.read_json("config.json"), run.read_json(METRICS), run / PREDICTIONS
    if why := schema.misfit({"config": config, "metrics": values}, READ):
        raise CheckpointError(
            f"the run's files do not say what is compared: {why}", where=str(run.path), hint="--test again"
        )
    try:
        classes, split_rule = tuple(config["data"]["classes"]), values["split_rule"]
        predictions = Predictions.load(path)
    except (KeyError, TypeError, ValueError, OSError, EOFError, BadZipFile, MemoryError) as error:
        what = f"the test of {run.path.name} cannot be read, {type(error).__name__}: {error}"
        raise CheckpointError(what, where=str(path), hint="--test to write it again") from error
    if predictions.scores.ndim != 2 or predictions.scores.shape[1] != len(classes):
        raise CheckpointError(
            "the run says no classes; a detector has its own report", where=str(path), hint="a classifier's run"
        )
    order = np.lexsort((predictions.index, predictions.record))
    arrays = {name: array[order] for name, array in vars(predictions).items()}
    return Tested(run.path.name, str(run.path), split_rule, classes, replace(predictions, **arrays))


def compare(
    runs: Sequence[RunFolder], *, macro_over: Sequence[str] | None = None, replicates: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Every figure of each run, and of each but the first the difference to it with a 95 % interval, as plain values.

    An interval that few records do not allow is None, with the reason beside it.

    Raises UsageError where fewer than two runs are given or their classes, test rows or what the split rules say of
    these differ, CheckpointError where one was not tested. `split_rule` lacks its part on validation where that is
    another in another run.
    """
    first, *others = _comparable(runs)
    macro = ec57.macro_classes(first.classes, macro_over)
    unit, what = bootstrap.units(first.predictions.record)
    said = [(of.predictions.target, of.predictions.scores.argmax(1)) for of in (first, *others)]
    matrices = [ec57.by_unit(*rows, unit, len(first.classes)) for rows in said]

    def figures(of: Array) -> dict[str, Array]:
        return ec57.figures(of, first.classes, macro)

    estimates = [{name: float(value) for name, value in figures(of.sum(0)).items()} for of in matrices]
    named = np.unique(first.predictions.record)
    if what == "records":
        of_records = [ec57.figures_of_records(of, first.classes) for of in matrices]
        known = [ec57.known_in(of_records[0], of) for of in of_records[1:]]
        against = [_over_records(named, figures, matrices[0], *of) for of in zip(matrices[1:], known, strict=True)]
    else:
        against = [_over_rows(figures, matrices[0], of, replicates=replicates, seed=seed) for of in matrices[1:]]
    return {
        "split_rule": first.split_rule
        if len({of.split_rule for of in (first, *others)}) == 1
        else test_side(first.split_rule),
        "rows": len(unit),
        "units": len(matrices[0]),
        "of_units": what,
        "interval_method": jackknife.METHOD if what == "records" else f"{bootstrap.METHOD}, {replicates:,} replicates",
        "rule": ec57.RULE,
        "classes": list(first.classes),
        "macro_over": list(macro),
        "runs": [
            {"name": of.name, "validation": validation(of.split_rule), "figures": own}
            for of, own in zip((first, *others), estimates, strict=True)
        ],
        "against_the_first": against,
    }


def _over_records(
    names: Array, figures: Figures, base: Array, other: Array, known: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Of each figure of matrices (R, K, K) the difference, its interval, the confidence that it is above 0, and the
    record whose absence moves it most."""
    one, two = (figures(of.sum(0)) for of in (base, other))
    one_without, two_without = (figures(of.sum(0) - of) for of in (base, other))
    found = {}
    for name, value in one.items():
        difference, without = float(two[name] - value), two_without[name] - one_without[name]
        of = jackknife.spread(difference, without, known.get(name))
        found[name] = {
            "difference": difference,
            "interval": jackknife.difference_interval(of, ec57.BOUNDS.get(name, jackknife.SHARE)),
            "without_interval": of.lacks,
            "above_0": jackknife.above_0(of),
            "influence": jackknife.influence({name: difference}, {name: without}, names, [name]).get(name),
        }
    return found


def _over_rows(figures: Figures, base: Array, other: Array, *, replicates: int, seed: int) -> dict[str, dict[str, Any]]:
    """The same of rows, matrices (N, K, K) of one count each, by the percentiles and the share of bootstrap
    replicates."""

    def differences(drawn: Array) -> dict[str, Array]:
        one, two = (figures(ec57.pooled(drawn, of)) for of in (base, other))
        return {name: two[name] - one[name] for name in one}

    count = len(base)
    value = differences(np.ones((1, count)))
    spread = bootstrap.replicated(differences, count, replicates=replicates, seed=seed)
    lacks = jackknife.too_few(count, "rows")
    intervals, lacking = bootstrap.allowed({name: bootstrap.interval(column) for name, column in spread.items()}, lacks)
    return {
        name: {
            "difference": float(value[name][0]),
            "interval": ends,
            "without_interval": lacking.get(name, ""),
            "above_0": None if ends is None else float((spread[name][~np.isnan(spread[name])] > 0).mean()),
        }
        for name, ends in intervals.items()
    }


def _comparable(runs: Sequence[RunFolder]) -> list[Tested]:
    if len(runs) < 2:
        raise UsageError("a comparison needs two runs", hint="--compare RUN RUN, each a name or a folder")
    first, *others = (load(run) for run in runs)
    for other in others:
        if difference := _difference(first, other):
            hint = "runs tested on the same rows, drawn by the same rule"
            raise UsageError(
                f"{first.name} and {other.name} cannot be compared, {difference}", where=other.where, hint=hint
            )
    return [first, *others]


def summary(values: dict[str, Any]) -> str:
    """What `compare` returned as a person reads it: for each run but the first a table, its figures beside the
    first's."""
    first, *others = values["runs"]
    lines = [f"split: {values['split_rule']}", *_validations(values["runs"])]
    lines.append(f"test rows: {values['rows']:,}, the same for all")
    lines.append(
        f"intervals over {values['units']:,} {values['of_units']}, the same for both: {values['interval_method']}"
    )
    lines += ec57.rules(values)
    labels = {name: ec57.LABELS.get(name, name) for name in first["figures"]}
    wide = max(map(len, labels.values())) + 4
    for other, against in zip(others, values["against_the_first"], strict=True):
        lines += ["", f"A  {first['name']}", f"B  {other['name']}", ""]
        lines.append(" " * wide + FIGURE.format("A", "B", "B - A", "95 % interval", "above 0"))
        for name, of in against.items():
            between = (
                f"n/a: {of['without_interval']}" if of["interval"] is None else " to ".join(map(signed, of["interval"]))
            )
            share = "-" if of["above_0"] is None else f"{of['above_0']:.1%}"
            figures = (shown(first["figures"][name]), shown(other["figures"][name]), signed(of["difference"]))
            lines.append(labels[name].ljust(wide) + FIGURE.format(*figures, between, share))
        lines += _influence_lines(against, values["classes"])
    return plain.lines([*lines, "", *_legend(values), NOTICE]) + "\n"


def _influence_lines(against: dict[str, Any], classes: Sequence[str]) -> list[str]:
    """Of each headline difference the record whose absence moves it most, and the difference without it."""
    known = [(name, of) for name in ec57.headline(classes) if (of := against[name].get("influence"))]
    told = [
        f"{ec57.LABELS.get(name, name):<12} without record {of['record']}: {signed(of['without'])}, with it"
        f" {signed(of['value'])}"
        for name, of in known
    ]
    return ["", "B - A, most moved by one record", *told] if told else []


def _legend(values: dict[str, Any]) -> list[str]:
    """What the columns mean, and where there is no interval."""
    lines = []
    if any(of["interval"] is None for against in values["against_the_first"] for of in against.values()):
        lines.append(
            f"n/a: no interval, which needs {jackknife.FEW} {values['of_units']} in which the figure is known."
        )
    what = "the confidence" if values["of_units"] == "records" else "the share of replicates"
    return [
        *lines,
        f"above 0: {what} that B is higher; of FPR the lower is the better.",
        "With so many figures, some differ by chance alone: choose the one that matters before looking.",
    ]


def test_side(split_rule: str) -> str:
    """A split rule without what it says of validation."""
    return VALIDATION.sub("", split_rule)


def validation(split_rule: str) -> str:
    """What a split rule says of validation, which may be nothing."""
    return "; ".join(part.strip("; ,") for part in VALIDATION.findall(split_rule))


def _validations(runs: Sequence[dict[str, Any]]) -> list[str]:
    """A line on who validates in which run; none where it is the same in all."""
    if len({run["validation"] for run in runs}) == 1:
        return []
    told = [f"in {run['name']}, {run['validation'] or 'as the split says'}" for run in runs]
    return [f"validation differs: {'; '.join(told)}"]


def signed(value: float) -> str:
    """A difference as a person reads it; a dash where there is none."""
    return "-" if np.isnan(value) else f"{value:+.4f}"


def _difference(first: Tested, other: Tested) -> str:
    """What keeps two runs from being compared, the first of it; empty where nothing does."""
    if first.classes != other.classes:
        return f"their classes are {', '.join(first.classes)} and {', '.join(other.classes)}"
    if test_side(first.split_rule) != test_side(other.split_rule):
        return f"their rows were divided by '{first.split_rule}' and by '{other.split_rule}'"
    mine, theirs = first.predictions, other.predictions
    if len(mine.index) != len(theirs.index):
        return f"their test sets have {len(mine.index):,} and {len(theirs.index):,} rows"
    for name, what in (("record", "test rows are of other records"), ("index", "test rows"), ("target", "labels")):
        differs = getattr(mine, name) != getattr(theirs, name)
        if differs.any():
            row = int(differs.argmax())
            at = f"row {mine.index[row]}{f' of record {mine.record[row]}' if mine.record[row] else ''}"
            return f"their {what} differ in {differs.sum():,} places, first at {at}"
    return ""
