"""The end of a command on a terminal: a short table of the results, and the paths to open.

`of_test(results, title=..., paths={"report": path})` reads what results.json holds; `paths` lists files and commands.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolbox import plain
from toolbox.metrics import ec57, meanings
from toolbox.reports import tables
from toolbox.reports.tables import between, shown
from toolbox.runs import outcome

HEAD = ["metric", "validation", "test", "95 % interval"]  # as in report.txt, on the pages and cards
LEFT_OUT = ("mean_iou", "frequency_weighted_iou")  # report.txt has them
FEW_CLASSES = 12  # of many labels, listed; report.txt has all
OPENED = ("report.html", "pred/report.txt")  # of a run, the first that is there


def of_test(results: Mapping[str, Any], *, title: str, to_open: Mapping[str, str | Path]) -> str:
    """Title, split protocol, metrics of validation and test with the test's intervals, doubts, and `to_open`."""
    test = results["test"]
    lines = [title, f"split: {results['split_rule']}", *(f"doubt: {doubt}" for doubt in results.get("doubts", ()))]
    if results["shared_rows"]:
        lines.append(f"test rows that are also in train or validation: {results['shared_rows']:,}")
    cells = _figures(test, results["val"])
    lines += ["", *tables.aligned(HEAD, cells)] if cells else ["", "the test rows have no labels: no metrics"]
    if method := test.get("interval_method"):
        lacking = {name: of.lacks for name, of in outcome.figures(test).items() if of.lacks}
        lines += ["", *tables.of_intervals(method, lacking)]
    if test.get("by_patient"):
        lines.append(f"{meanings.GROSS[0][0]}: {meanings.GROSS[0][1]}.")
    return plain.lines([*lines, plain.NOTICE, "", *paths(to_open)])


def _figures(test: Mapping[str, Any], val: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the metrics that have an interval or a reason for none, of each class's F1, and of those by patient."""
    classes, of_f1 = [*test.get("per_class", ())], test.get("f1_intervals", {})
    over = meanings.part(test.get("by_patient", {}).get("macro_over", ()), classes)
    gross = [f"{meanings.GROSS_PREFIX}{name}" for name in ec57.headline(classes)]
    measured = {name: of for name, of in outcome.figures(test).items() if of.ends or of.lacks}
    rows = {
        name: [meanings.name_of(name, over if name in gross else ()), shown(val.get(name)),
               shown(of.value), between(*of[1:])]
        for name, of in measured.items()
    }  # fmt: skip
    known, lacking = val.get("per_class", {}), outcome.lacking_f1(test)
    if outcome.of_labels(test):
        return _of_labels(test, val, [*rows.values()])
    f1 = [
        [f"F1 of {name}", shown(known.get(name, {}).get("f1")), shown(of["f1"]),
         between(of_f1.get(name), lacking.get(name, ""))]
        for name, of in test.get("per_class", {}).items()
    ]  # fmt: skip
    own = [row for name, row in rows.items() if name not in LEFT_OUT and not name.startswith(meanings.GROSS_PREFIX)]
    return own + f1 + [rows[name] for name in gross if name in rows]


def _of_labels(test: Mapping[str, Any], val: Mapping[str, Any], rows: list[list[str]]) -> list[list[str]]:
    """The `rows` of the metrics of many labels, and the AUROC of each class, if they are few."""
    known, ends, lacks = val.get("per_class", {}), test["class_intervals"]["auroc"], test["without_class_interval"]
    classes = test["per_class"] if len(test["per_class"]) <= FEW_CLASSES else {}
    return rows + [
        [f"AUROC of {name}", shown(known.get(name, {}).get("auroc")), shown(of["auroc"]),
         between(ends.get(name), lacks.get(name, ""))]
        for name, of in classes.items()
    ]  # fmt: skip


def paths(named: Mapping[str, str | Path]) -> list[str]:
    """A line for each path or command to open, with its name before it."""
    width = max(map(len, named), default=0)
    return [f"{name.ljust(width)}  {value}" for name, value in named.items()]


def to_open(run: Path, folder: Path, root: Path) -> dict[str, str | Path]:
    """The paths of a tested run: its report, the files of the test in `folder`, and the command that shows curves."""
    found = next((run / name for name in OPENED if (run / name).is_file()), None)
    named: dict[str, str | Path] = {} if found is None or folder != run / "pred" else {"report": found}
    named |= {"test": folder, "run": run}
    if (run / "tensorboard").is_dir():
        named["curves"] = f"tensorboard --logdir {shlex.quote(str(root))}"
    return named
