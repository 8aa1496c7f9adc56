"""Metrics of a beat classifier by patient, counted as in ANSI/AAMI EC57:1998/(R)2008.

Every figure comes from confusion matrices, one per record, so that leaving a record out is one subtraction. Gross
figures pool the beats of all records; average figures are means over the records in which a figure is defined, as in
`sumstats` of the WFDB software. Intervals are over records, not beats (`toolbox/metrics/intervals.py`), because the
beats of one patient resemble each other. Records of one patient (201 and 202 of MIT-BIH) need one name.

`S` and `V` count as SVEB and VEB by the standard's rules (as in its reference program, bxb of the WFDB software, and in
de Chazal et al., IEEE TBME 51(7):1196-1206, 2004): a fusion beat F or an unknown beat Q predicted as V is neither right
nor wrong, nor is a Q predicted as S; these beats leave the count of the task. A V or S predicted as Q is missed. The
figures of each class are always one against the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import UsageError
from toolbox.metrics import intervals
from toolbox.metrics.ranking import ratio

Array = NDArray[Any]
TASKS = {"SVEB": "S", "VEB": "V"}
GATHERED = "AaJE"  # symbols of S and V; if they are classes, S and V are not all SVEB and VEB
RULE = "ec57"
RULE_IN_WORDS = "by ANSI/AAMI EC57: F or Q called V, and Q called S, count neither way"
# For each task: true classes that count neither way when predicted as the task's class.
NEITHER = {"SVEB": ("Q",), "VEB": ("F", "Q")}
PARTS = ("Se", "+P", "FPR", "F1")
BOUNDS = {"kappa": (-1.0, 1.0), "jk": (-0.5, 1.0)}  # of figures beyond 0 to 1
MACRO = ("N", "S", "V", "F")  # Q means unclassifiable, and MIT-BIH has only 15 outside the paced records


def rules(values: Mapping[str, Any]) -> list[str]:
    """Lines for a report: included and excluded classes of macro F1, and the rule of SVEB and VEB."""
    classes, macro = values["classes"], values["macro_over"]
    left_out = [name for name in classes if name not in macro]
    remark = f"; {', '.join(left_out)} reported but left out of it" if left_out else ""
    lines = [f"macro F1 over {', '.join(macro)}{remark}"]
    return [*lines, f"SVEB and VEB: {RULE_IN_WORDS}"] if tasks(classes) else lines


def macro_classes(classes: Sequence[str], asked: Sequence[str] | None = None) -> tuple[str, ...]:
    """The classes of macro F1: the requested ones, else N, S, V, F if all exist, else every class."""
    if asked is None:
        return MACRO if set(MACRO) <= set(classes) else tuple(classes)
    unknown = [name for name in asked if name not in classes]
    if unknown or not asked or len(set(asked)) < len(asked):
        what = f"--macro-over is {','.join(asked) or 'no class'}; the classes are {', '.join(classes)}"
        raise UsageError(what, hint="some of these, each once")
    return tuple(asked)


def tasks(classes: Sequence[str]) -> dict[str, str]:
    """SVEB and VEB with their classes, if both classes exist without the finer symbols of `GATHERED`."""
    return TASKS if set(TASKS.values()) <= set(classes) and not set(GATHERED) & set(classes) else {}


def by_record(target: Array, predicted: Array, record: Array, classes: int) -> tuple[Array, Array]:
    """Names of the records (R,), sorted, and their confusion matrices (R, K, K), from rows (N,)."""
    names, unit = np.unique(record, return_inverse=True)
    return names, by_unit(target, predicted, unit, classes)


def by_unit(target: Array, predicted: Array, unit: Array, classes: int) -> Array:
    """Confusion matrices (U, K, K) of units 0, 1, ...; `unit` (N,) gives the unit of each row."""
    cells = (unit * classes + target) * classes + predicted
    return np.bincount(cells, minlength=(int(unit.max(initial=-1)) + 1) * classes**2).reshape(-1, classes, classes)


def counts(matrix: Array, k: int, neither: Sequence[int] = ()) -> dict[str, Array]:
    """TP, FN, FP, TN of class k in matrices (..., K, K); beats of classes `neither` predicted as k are left out."""
    hits, predicted = matrix[..., k, k], matrix[..., :, k].sum(-1)
    left_out = matrix[..., list(neither), k].sum(-1)
    missed, false = matrix[..., k, :].sum(-1) - hits, predicted - hits - left_out
    return {"TP": hits, "FN": missed, "FP": false, "TN": matrix.sum((-2, -1)) - hits - missed - false - left_out}


def task_counts(matrix: Array, classes: Sequence[str]) -> dict[str, dict[str, Array]]:
    """TP, FN, FP, TN of SVEB and VEB in matrices (..., K, K), by EC57; {} if the classes lack S or V."""
    place = {name: k for k, name in enumerate(classes)}
    neither = {task: [place[name] for name in NEITHER[task] if name in place] for task in tasks(classes)}
    return {task: counts(matrix, place[TASKS[task]], neither[task]) for task in neither}


def detection(counted: Mapping[str, Array]) -> dict[str, Array]:
    """Sensitivity, positive predictivity, false positive rate and F1 of TP, FN, FP, TN (...); NaN where undefined."""
    tp, fn, fp, tn = (counted[name] for name in ("TP", "FN", "FP", "TN"))
    whole = {"Se": tp + fn, "+P": tp + fp, "FPR": fp + tn, "F1": 2 * tp + fn + fp}
    part = {"Se": tp, "+P": tp, "FPR": fp, "F1": 2 * tp}
    return {name: ratio(part[name], whole[name]) for name in PARTS}


def kappa(matrix: Array) -> Array:
    """Agreement beyond chance (Cohen 1960) of matrices (..., K, K)."""
    rows = matrix.sum((-2, -1))
    agreed = ratio(np.trace(matrix, axis1=-2, axis2=-1), rows)
    by_chance = ratio((matrix.sum(-1) * matrix.sum(-2)).sum(-1), np.square(rows, dtype=float))
    return ratio(agreed - by_chance, 1 - by_chance)


def jk_index(agreement: Array, sveb: Mapping[str, Array], veb: Mapping[str, Array]) -> Array:
    """kappa / 2 + (Se + +P of SVEB + Se + +P of VEB) / 8, from 0 to 1 for predictions above chance.

    Mar et al., IEEE TBME 58(8):2168-2177, 2011; Mondejar-Guerra et al., Biomed. Signal Process. Control 47:41-48, 2019.
    The +P of a never predicted class is 0 here; the index is NaN if a class has no beat.
    """
    j = sum(task["Se"] + np.nan_to_num(task["+P"]) for task in (sveb, veb))
    return agreement / 2 + j / 8


def class_figures(matrix: Array, classes: Sequence[str]) -> dict[str, Array]:
    """Se, +P, FPR, F1 of SVEB and VEB by EC57, then of each class against the rest: "VEB Se", "N +P", ..."""
    counted = _all_counts(matrix, classes)
    return {f"{of} {part}": values for of, four in counted.items() for part, values in detection(four).items()}


def figures(matrix: Array, classes: Sequence[str], macro_over: Sequence[str]) -> dict[str, Array]:
    """Every figure of matrices (..., K, K), each (...).

    Macro F1 is the mean over the classes in `macro_over` that occur or are predicted.
    """
    by_class = class_figures(matrix, classes)
    agreement = kappa(matrix)
    values = {"accuracy": _accuracy(matrix), "kappa": agreement}
    if tasks(classes):
        sveb, veb = ({part: by_class[f"{task} {part}"] for part in PARTS} for task in TASKS)
        values["jk"] = jk_index(agreement, sveb, veb)
    f1 = np.stack([by_class[f"{name} F1"] for name in macro_over], -1)
    values["macro_f1"] = ratio(np.nansum(f1, -1), (~np.isnan(f1)).sum(-1))
    return {**values, **by_class}


def pooled(drawn: Array, matrices: Array) -> Array:
    """The gross confusion matrix of each replicate, (replicates, K, K), of matrices (R, K, K)."""
    return (drawn @ matrices.reshape(len(matrices), -1)).reshape(-1, *matrices.shape[1:])


def figures_of_records(matrices: Array, classes: Sequence[str]) -> dict[str, Array]:
    """Accuracy, and Se, +P, FPR, F1 of each task and class, of each record (R,); NaN where undefined."""
    return {"accuracy": _accuracy(matrices), **class_figures(matrices, classes)}


def known_in(*of_records: Mapping[str, Array]) -> dict[str, int]:
    """The number of records in which each figure (R,) is defined, in at least one of several runs."""
    return {name: int(np.any([~np.isnan(of[name]) for of in of_records], 0).sum()) for name in of_records[0]}


def averages(of_records: Mapping[str, Array]) -> dict[str, float]:
    """The mean of each figure (R,) over the records in which it is defined."""
    return {name: float(ratio(np.nansum(values), (~np.isnan(values)).sum())) for name, values in of_records.items()}


def averages_without_each(of_records: Mapping[str, Array]) -> dict[str, Array]:
    """The averages (R,) that leave out one record each."""
    found = {}
    for name, values in of_records.items():
        defined = ~np.isnan(values)
        counted = np.where(defined, values, 0)
        found[name] = ratio(counted.sum() - counted, defined.sum() - defined)
    return found


def headline(classes: Sequence[str]) -> list[str]:
    """The gross figures that summarise a result."""
    if tasks(classes):
        of_tasks = (f"{task} {part}" for task in TASKS for part in ("Se", "+P", "F1"))
        return ["accuracy", "kappa", "jk", "macro_f1", *of_tasks]
    return ["accuracy", "kappa", "macro_f1", *(f"{name} F1" for name in classes)]


def measure(
    target: Array, predicted: Array, record: Array, *, classes: Sequence[str], macro_over: Sequence[str] | None = None
) -> dict[str, Any]:
    """Gross and average figures of rows (N,) with 95 % intervals over records, influences, and the table by record.

    Plain values. An interval of too few records is None, with the reason in `without_interval`. Raises UsageError for
    an unknown class.
    """
    macro = macro_classes(classes, macro_over)
    names, matrices = by_record(target, predicted, record, len(classes))
    pooled, of_records = matrices.sum(0), figures_of_records(matrices, classes)
    gross = {name: float(value) for name, value in figures(pooled, classes, macro).items()}
    average = averages(of_records)
    without, known = figures(pooled - matrices, classes, macro), known_in(of_records)
    spreads = {
        "gross": intervals.spreads(gross, without, known),
        "average": intervals.spreads(average, averages_without_each(of_records), known),
    }
    found = {kind: intervals.t_intervals(table, BOUNDS) for kind, table in spreads.items()}
    counted = task_counts(pooled, classes)
    return {
        "rule": RULE,
        "macro_over": list(macro),
        "classes": list(classes),
        "confusion_matrix": pooled.tolist(),
        "counts": {task: {name: int(n) for name, n in four.items()} for task, four in counted.items()},
        "gross": gross,
        "average": average,
        "interval_method": intervals.RECORD_METHOD,
        "intervals": {kind: ends for kind, (ends, _) in found.items()},
        "without_interval": {kind: lacking for kind, (_, lacking) in found.items()},
        "simulated_coverage": {"records": intervals.COVERAGE_RECORDS, "percent": intervals.COVERAGE},
        "influence": intervals.influence(gross, without, names.tolist(), headline(classes)),
        "by_record": table(names, matrices, classes),
    }


def table(names: Array, matrices: Array, classes: Sequence[str]) -> dict[str, list[Any]]:
    """Columns (R,): record, beats, accuracy, beats of each class; counts and figures of SVEB, VEB and each class."""
    columns = {"record": names, "beats": matrices.sum((1, 2)), "accuracy": _accuracy(matrices)}
    columns |= {f"{name} beats": matrices[:, k].sum(-1) for k, name in enumerate(classes)}
    for of, four in _all_counts(matrices, classes).items():
        columns |= {f"{of} {name}": column for name, column in {**four, **detection(four)}.items()}
    return {name: column.tolist() for name, column in columns.items()}


def _all_counts(matrix: Array, classes: Sequence[str]) -> dict[str, dict[str, Array]]:
    """TP, FN, FP, TN of SVEB and VEB by EC57, and of each class against the rest."""
    return task_counts(matrix, classes) | {name: counts(matrix, k) for k, name in enumerate(classes)}


def _accuracy(matrix: Array) -> Array:
    return ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum((-2, -1)))
