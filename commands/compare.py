"""--compare: differences between tested runs and the first one, with intervals.

`measure([RunFolder(...), RunFolder(...)])` reads their test predictions in pred/; `summary` is its text. The interval
of a difference is paired: the jackknife leaves each record out of both runs (`toolbox/metrics/intervals.py`); without
known records, every bootstrap replicate draws the same rows for both.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from toolbox import schema, terminal
from toolbox.errors import CheckpointError, UsageError
from toolbox.flags import Flags, words
from toolbox.metrics import ec57, intervals, labels, meanings
from toolbox.reports import tables
from toolbox.reports.tables import shown, signed
from toolbox.runs import outcome
from toolbox.runs.folder import CONFIG, RunFolder
from toolbox.runs.predictions import Predictions

Array = NDArray[Any]
Figures = Callable[[Array], dict[str, Array]]
MOVED = ["most moved by one record", "B - A", "record", "without it"]
PREDICTIONS, METRICS = "pred/predictions.npz", "pred/metrics.json"
HEADLINE = "macro_auroc"  # of many labels
READ = {"config": {"data": {"classes": [str]}}, "metrics": {"split_rule": str}}
# The parts of a split rule on validation, as loaders/splits, datasets/table.py and ecg5000.py word them, and on
# training alone. Test rows do not depend on them.
VALIDATION = re.compile(
    r"; (?:but of the first two )?(?:validation is|no row validates)[^;]*|, validation too(?=;|$)"
    r"|\d+ train, \d+ validation, |; trained on crops of [^;]*|; [.e0-9-]+ of the training rows[^;]*"
)


def compare(flags: Flags) -> None:
    """Print a table of the runs and, except at a terminal without --json, a last line of JSON."""
    runs = named(flags.compare, flags.root_dir)
    values = measure(runs, macro_over=words(flags.macro_over))
    terminal.answer(values, always=summary(values), as_json=flags.json)


def named(names: Sequence[str], root: Path) -> list[RunFolder]:
    """The runs of these names or folders. Raises UsageError for a run twice, CheckpointError for an unknown one."""
    runs = [RunFolder.named(name, root) for name in names]
    places = [run.path.resolve() for run in runs]
    if twice := next((run for i, run in enumerate(runs) if places[i] in places[:i]), None):
        what = f"{twice.path.name} is named twice: a run is compared with other runs"
        raise UsageError(what, where=str(twice.path), hint="each run once")
    return runs


@dataclass(frozen=True)
class Tested:
    """A run's test: name, folder, split rule, classes, and predictions sorted by record and index."""

    name: str
    where: str
    split_rule: str
    classes: tuple[str, ...]
    predictions: Predictions
    view: str
    at: Array | None = None  # the thresholds (K,) of many labels a row

    @property
    def rows(self) -> labels.Rows:
        """The rows of many labels, to be measured."""
        of = self.predictions
        return (
            of.target,
            of.scores,
            of.loss,
            np.full(len(self.classes), labels.THRESHOLD) if self.at is None else self.at,
        )


def load(run: RunFolder) -> Tested:
    """The test of a run's best checkpoint. Raises CheckpointError for a run without a test or without classes."""
    if outcome.place(run.path) is None or not (run / METRICS).exists():
        what = f"{run.path.name} has no test of its present weights"
        raise CheckpointError(what, where=str(run.path), hint="--test --resume best with this run")
    config, values, path = run.read_json(CONFIG), run.read_json(METRICS), run / PREDICTIONS
    if why := schema.misfit({"config": config, "metrics": values}, READ):
        what = f"the run's files are unusable: {why}"
        raise CheckpointError(what, where=str(run.path), hint="--test again")
    try:
        predictions = Predictions.load(path)
    except (KeyError, TypeError, ValueError, OSError, EOFError, BadZipFile, MemoryError) as error:
        what = f"the test of {run.path.name} cannot be read, {type(error).__name__}: {error}"
        raise CheckpointError(what, where=str(path), hint="--test to write it again") from error
    classes = tuple(config["data"]["classes"])
    if predictions.scores.shape[1] != len(classes):
        what = "--compare needs a classifier, the run is a detector"
        raise CheckpointError(what, where=str(path), hint="a classifier's run")
    if predictions.target.ndim != 1 and not predictions.target.shape[1]:
        raise CheckpointError("--compare needs rows with labels", where=str(path), hint="runs on rows with labels")
    at = None
    if predictions.target.ndim > 1:
        if why := schema.misfit(values, {"per_class": {name: {"threshold": schema.Number(0, 1)} for name in classes}}):
            raise CheckpointError(f"metrics.json: {why}", where=str(run / METRICS), hint="--test again")
        at = np.array([values["per_class"][name]["threshold"] for name in classes])
    in_order = predictions.of(np.lexsort((predictions.index, predictions.record)))
    view = str(config["data"].get("view", ""))
    return Tested(run.path.name, str(run.path), values["split_rule"], classes, in_order, view, at)


def measure(
    runs: Sequence[RunFolder], *, macro_over: Sequence[str] | None = None, replicates: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Every figure of each run, and its difference from the first run with a 95 % interval, as plain values.

    With too few records an interval is None, and `without_interval` has the reason. Without known records, intervals
    come from `replicates`, twice as many as elsewhere by default. `split_rule` lacks its part on validation if the runs
    differ in it. Raises UsageError for fewer than two runs, or runs with other classes, test rows or test split rules;
    CheckpointError for a run without a test.
    """
    replicates = replicates or 2 * intervals.REPLICATES
    first, *others = _comparable(runs)
    if first.at is not None:
        return _of_labels(first, others, replicates=replicates, seed=seed)
    macro = ec57.macro_classes(first.classes, macro_over)
    unit, what = intervals.units(first.predictions.record)
    predicted = [(of.predictions.target, of.predictions.scores.argmax(1)) for of in (first, *others)]
    matrices = [ec57.by_unit(*rows, unit, len(first.classes)) for rows in predicted]

    def figures(of: Array) -> dict[str, Array]:
        return ec57.figures(of, first.classes, macro)

    estimates = [{name: float(value) for name, value in figures(of.sum(0)).items()} for of in matrices]
    named = np.unique(first.predictions.record).tolist()
    if what == "records":
        of_records = [ec57.figures_of_records(of, first.classes) for of in matrices]
        known = [ec57.known_in(of_records[0], of) for of in of_records[1:]]
        against = [_over_records(named, figures, matrices[0], *of) for of in zip(matrices[1:], known, strict=True)]
    else:
        against = [_over_rows(figures, matrices[0], of, replicates=replicates, seed=seed) for of in matrices[1:]]
    same = len({of.split_rule for of in (first, *others)}) == 1
    return {
        "split_rule": first.split_rule if same else test_side(first.split_rule),
        "rows": len(unit),
        "units": len(matrices[0]),
        "of_units": what,
        "interval_method": intervals.RECORD_METHOD
        if what == "records"
        else f"{intervals.ROW_METHOD}, {replicates:,} replicates",
        "rule": ec57.RULE,
        "classes": list(first.classes),
        "macro_over": list(macro),
        "runs": [
            {"name": of.name, "validation": validation(of.split_rule), "figures": own}
            for of, own in zip((first, *others), estimates, strict=True)
        ],
        "against_the_first": against,
    }


def _of_labels(first: Tested, others: Sequence[Tested], *, replicates: int, seed: int) -> dict[str, Any]:
    """The values of `measure` for runs on rows with many labels."""
    unit, what = intervals.units(first.predictions.record)
    what = what if what == "rows" else f"{meanings.unit(first.view)}s"
    every = (first, *others)
    same = len({of.split_rule for of in every}) == 1
    own = [labels.score(*of.rows) for of in every]
    return {
        "split_rule": first.split_rule if same else test_side(first.split_rule),
        "rows": len(unit),
        "units": int(unit.max()) + 1,
        "of_units": what,
        "interval_method": f"{intervals.BOOTSTRAP}{what}, {replicates:,} replicates",
        "rule": "",
        "classes": list(first.classes),
        "macro_over": list(first.classes),
        "headline": HEADLINE,
        "runs": [
            {
                "name": of.name,
                "validation": validation(of.split_rule),
                "figures": {name: values[name] for name in labels.METRICS},
            }
            for of, values in zip(every, own, strict=True)
        ],
        "against_the_first": [
            labels.differences(first.rows, of.rows, unit=unit, what=what, replicates=replicates, seed=seed)
            for of in others
        ],
    }


def _over_records(
    names: Sequence[str], figures: Figures, base: Array, other: Array, known: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Difference, interval, confidence above 0 and most influential record of each figure of (R, K, K)."""
    one, two = (figures(of.sum(0)) for of in (base, other))
    one_without, two_without = (figures(of.sum(0) - of) for of in (base, other))
    found = {}
    for name, value in one.items():
        difference, without = float(two[name] - value), two_without[name] - one_without[name]
        of = intervals.spread(difference, without, known.get(name))
        found[name] = {
            "difference": difference,
            "interval": intervals.difference_interval(of, ec57.BOUNDS.get(name, intervals.SHARE)),
            "without_interval": of.lacks,
            "above_0": intervals.above_0(of),
            "influence": intervals.influence({name: difference}, {name: without}, names, [name]).get(name),
        }
    return found


def _over_rows(figures: Figures, base: Array, other: Array, *, replicates: int, seed: int) -> dict[str, dict[str, Any]]:
    """As `_over_records`, of rows: matrices (N, K, K) of one count each, from bootstrap replicates."""

    def differences(drawn: Array) -> dict[str, Array]:
        one, two = (figures(ec57.pooled(drawn, of)) for of in (base, other))
        return {name: two[name] - one[name] for name in one}

    count = len(base)
    value = differences(np.ones((1, count)))
    spread = intervals.replicated(differences, intervals.draws(count, replicates, seed))
    found, lacking = intervals.allowed({name: intervals.percentile_interval(of) for name, of in spread.items()}, count)
    return {
        name: {
            "difference": float(value[name][0]),
            "interval": ends,
            "without_interval": lacking.get(name, ""),
            "above_0": None if ends is None else float((spread[name][~np.isnan(spread[name])] > 0).mean()),
        }
        for name, ends in found.items()
    }


def _comparable(runs: Sequence[RunFolder]) -> list[Tested]:
    if len(runs) < 2:
        raise UsageError("a comparison needs two runs", hint="--compare RUN RUN, each a name or a folder")
    first, *others = (load(run) for run in runs)
    for other in others:
        if difference := _difference(first, other):
            hint = "runs tested on the same rows, drawn by the same rule"
            what = f"{first.name} and {other.name} cannot be compared, {difference}"
            raise UsageError(what, where=other.where, hint=hint)
    return [first, *others]


def summary(values: dict[str, Any]) -> str:
    """The values of `measure` as text: for each run but the first, a table of its figures and the first's."""
    (first, *others), over = values["runs"], meanings.part(values["macro_over"], values["classes"])
    text = facts(values)
    for other, against in zip(others, values["against_the_first"], strict=True):
        text += ["", f"A  {first['name']}", f"B  {other['name']}", ""]
        text += tables.aligned(head(values), lines(first, other, against, over=over))
        rows = moved(values, against)
        text += ["", *tables.aligned(MOVED, rows)] if rows else []
    return tables.text([*text, "", *legend(values)])


def moved(values: Mapping[str, Any], against: Mapping[str, Any]) -> list[list[str]]:
    """The rows of the table below `MOVED`: the differences that a record moves, and the record that moves each most."""
    names = [name for name in ec57.headline(values["classes"]) if name in against]
    known = {name: of for name in names if (of := against[name].get("influence"))}
    return tables.moved(known, signed, over=meanings.part(values["macro_over"], values["classes"]))


def facts(values: Mapping[str, Any]) -> list[str]:
    """Lines above the tables: split, test rows, intervals, and the rules of the figures."""
    text = [f"split: {values['split_rule']}"]
    if len({run["validation"] for run in values["runs"]}) > 1:
        rules = [f"in {run['name']}, {run['validation'] or 'as in the split'}" for run in values["runs"]]
        text.append(f"validation differs: {'; '.join(rules)}")
    over = f"{values['units']:,} {values['of_units']}, the same for both"
    text.append(f"test rows: {values['rows']:,}, the same for all")
    text += [f"{meanings.GROSS[0][0]}: {meanings.GROSS[0][1]}"] * bool(kind(values))
    rules = [] if "headline" in values else ec57.rules(values)
    return [*text, f"intervals over {over}: {values['interval_method']}", *rules]


def kind(values: Mapping[str, Any]) -> str:
    """The word before the name of each figure: gross, where the rows of several records are pooled."""
    of_beats = values["units"] < values["rows"] and "headline" not in values
    return meanings.GROSS_PREFIX if of_beats else ""


def head(values: Mapping[str, Any]) -> list[str]:
    """The heads of a table of two runs."""
    return [kind(values).strip() or "figure", "A", "B", "B - A", "95 % interval", "above 0"]


def lines(
    first: Mapping[str, Any], other: Mapping[str, Any], against: Mapping[str, Any], *, over: Sequence[str] = ()
) -> list[list[str]]:
    """The rows of the table below `head`, one a figure; `over` are the classes of macro F1, if not all."""
    return [
        [meanings.name_of(name, over), shown(first["figures"][name]), shown(other["figures"][name]), *_cells(of)]
        for name, of in against.items()
    ]


def _cells(of: dict[str, Any]) -> list[str]:
    """A difference, its interval, and the confidence that it is above 0."""
    missing = of["interval"] is None
    interval = tables.missing(of["without_interval"]) if missing else " to ".join(map(signed, of["interval"]))
    return [signed(of["difference"]), interval, "-" if of["above_0"] is None else f"{of['above_0']:.1%}"]


def legend(values: Mapping[str, Any]) -> list[str]:
    """The meaning of the columns, and the reason of missing intervals."""
    text = []
    if any(of["interval"] is None for against in values["against_the_first"] for of in against.values()):
        text.append(tables.of_missing(values["of_units"], "the figure of A or of B is known"))
    of_labels = "headline" in values
    what = "the confidence" if values["of_units"] == "records" and not of_labels else "the share of replicates"
    lower = [meanings.name_of(name) for name, metric in labels.METRICS.items() if metric.lower_is_better]
    lower = lower if of_labels else ["FPR"]
    return [
        *text,
        f"above 0: {what} that B is higher; of {', '.join(lower)} the lower is the better.",
        "With so many figures, some differ by chance alone: choose the one that matters before looking.",
    ]


def test_side(split_rule: str) -> str:
    """A split rule without its part on validation."""
    return VALIDATION.sub("", split_rule)


def validation(split_rule: str) -> str:
    """The part of a split rule on validation, possibly empty."""
    return "; ".join(part.strip("; ,") for part in VALIDATION.findall(split_rule))


def _difference(first: Tested, other: Tested) -> str:
    """The first reason why two runs cannot be compared; empty for none."""
    if first.classes != other.classes:
        return f"their classes are {', '.join(first.classes)} and {', '.join(other.classes)}"
    if test_side(first.split_rule) != test_side(other.split_rule):
        return f"their split rules are '{first.split_rule}' and '{other.split_rule}'"
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
