"""Runs tested on the same rows, side by side: how much better one is than the first, and whether that could be chance.

`compare([RunFolder(...), RunFolder(...)])` reads what their tests left in pred/; `summary` is the text of what it returns. The
bootstrap is paired: every replicate draws the same records (rows, where no record is known) for all runs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from toolbox import bootstrap, ec57
from toolbox.errors import CheckpointError, UsageError
from toolbox.notice import NOTICE
from toolbox.predictions import Predictions
from toolbox.report import shown
from toolbox.runs import RunFolder

Array = NDArray[Any]
PREDICTIONS = "pred/predictions.npz"
FIGURE = "{:>10}{:>10}{:>12}{:>22}{:>10}"
# What a split rule says of validation, which the test rows do not depend on: the wording of loaders/holdout.py, patients.py,
# divisions.py and ecg5000.py.
VALIDATION = re.compile(
    r"; (?:but of the first two )?(?:validation is|no row validates)[^;]*|, validation too(?=;|$)|\d+ train, \d+ validation, "
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
    """The predictions of a run's best checkpoint on its test rows; a CheckpointError where there are none of classes."""
    config, values, path = run.read_json("config.json"), run.read_json("pred/metrics.json"), run / PREDICTIONS
    try:
        classes, split_rule = tuple(config["data"]["classes"]), values["split_rule"]
        predictions = Predictions.load(path)
    except (KeyError, TypeError, ValueError, OSError, EOFError, BadZipFile) as error:
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
    runs: Sequence[RunFolder],
    *,
    macro_over: Sequence[str] | None = None,
    rule: str = "ec57",
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every figure of each run, and of each but the first the difference to it with a 95 % interval, as plain values.

    Raises UsageError where fewer than two runs are given or their classes, test rows or what the split rules say of these differ,
    CheckpointError where one was not tested. `split_rule` lacks its part on validation where that is another in another run.
    """
    first, *others = _comparable(runs)
    macro = ec57.macro_classes(first.classes, macro_over)
    unit, what = bootstrap.units(first.predictions.record)
    said = [(of.predictions.target, of.predictions.scores.argmax(1)) for of in (first, *others)]
    matrices = [ec57.by_unit(*rows, unit, len(first.classes)) for rows in said]
    count = len(matrices[0])

    def of_each(drawn: Array) -> list[dict[str, Array]]:
        return [ec57.figures(ec57.pooled(drawn, of), first.classes, macro, rule) for of in matrices]

    def differences(drawn: Array) -> dict[str, Array]:
        base, *rest = of_each(drawn)
        return {f"{i} {name}": of[name] - base[name] for i, of in enumerate(rest) for name in base}

    estimates = [{name: float(value[0]) for name, value in of.items()} for of in of_each(np.ones((1, count)))]
    spread = bootstrap.replicated(differences, count, replicates=replicates, seed=seed)
    return {
        "split_rule": first.split_rule if len({of.split_rule for of in (first, *others)}) == 1 else test_side(first.split_rule),
        "rows": len(unit),
        "resampled": f"{count:,} {what}",
        "replicates": replicates,
        "rule": rule,
        "classes": list(first.classes),
        "macro_over": list(macro),
        "runs": [
            {"name": of.name, "validation": validation(of.split_rule), "figures": own}
            for of, own in zip((first, *others), estimates, strict=True)
        ],
        "against_the_first": [
            {name: _against(own[name], estimates[0][name], spread[f"{i} {name}"]) for name in own}
            for i, own in enumerate(estimates[1:])
        ],
    }


def _comparable(runs: Sequence[RunFolder]) -> list[Tested]:
    if len(runs) < 2:
        raise UsageError("a comparison needs two runs", hint="--compare RUN RUN, each a name or a folder")
    first, *others = (load(run) for run in runs)
    for other in others:
        if difference := _difference(first, other):
            hint = "runs tested on the same rows, drawn by the same rule"
            raise UsageError(f"{first.name} and {other.name} cannot be compared, {difference}", where=other.where, hint=hint)
    return [first, *others]


def summary(values: dict[str, Any]) -> str:
    """What `compare` returned as a person reads it: for each run but the first a table, its figures beside the first's."""
    first, *others = values["runs"]
    lines = [f"split: {values['split_rule']}", *_validations(values["runs"])]
    lines.append(f"test rows: {values['rows']:,}, the same for all")
    lines.append(f"resampled: {values['resampled']}, the same for both, {values['replicates']:,} bootstrap replicates")
    lines += ec57.rules(values)
    labels = {name: ec57.LABELS.get(name, name) for name in first["figures"]}
    wide = max(map(len, labels.values())) + 4
    for other, against in zip(others, values["against_the_first"], strict=True):
        lines += ["", f"A  {first['name']}", f"B  {other['name']}", ""]
        lines.append(" " * wide + FIGURE.format("A", "B", "B - A", "95 % interval", "above 0"))
        for name, of in against.items():
            low, high = of["interval"]
            between = "-" if np.isnan(low) else f"{signed(low)} to {signed(high)}"
            share = "-" if np.isnan(of["above_0"]) else f"{of['above_0']:.1%}"
            figures = (shown(first["figures"][name]), shown(other["figures"][name]), signed(of["difference"]))
            lines.append(labels[name].ljust(wide) + FIGURE.format(*figures, between, share))
    lines += [
        "",
        "above 0: the share of replicates in which B is higher; of FPR the lower is the better.",
        "With so many figures, some differ by chance alone: choose the one that matters before looking.",
        NOTICE,
    ]
    return "\n".join(lines) + "\n"


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


def _against(value: float, base: float, replicates: Array) -> dict[str, Any]:
    """The difference to the first run, its interval, and the share of the replicates where it is above 0."""
    kept = replicates[~np.isnan(replicates)]
    above = float((kept > 0).mean()) if len(kept) else np.nan
    return {"difference": value - base, "interval": bootstrap.interval(replicates), "above_0": above}


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
