"""The end of a command on a terminal: a short table of the results, and the paths to open.

`of_test(results, title=..., paths={"report": path})` reads what results.json holds; `paths` lists files and commands.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolbox import plain
from toolbox.metrics import ec57
from toolbox.reports import tables
from toolbox.reports.tables import between, shown

HEAD = ["metric", "validation", "test", "95 % interval"]
LEFT_OUT = ("mean_iou", "frequency_weighted_iou")  # report.txt has them
LABELS = {"macro_auroc": "macro AUROC", "auroc": "AUROC"} | ec57.LABELS
OPENED = ("report.html", "pred/report.txt")  # of a run, the first that is there


def of_test(results: Mapping[str, Any], *, title: str, to_open: Mapping[str, str | Path]) -> str:
    """Title, split protocol, metrics of validation and test with the test's intervals, doubts, and `to_open`."""
    test = results["test"]
    lines = [title, f"split: {results['split_rule']}", *(f"doubt: {doubt}" for doubt in results.get("doubts", ()))]
    if results["shared_rows"]:
        lines.append(f"test rows that are also in train or validation: {results['shared_rows']:,}")
    cells = [*_overall(test, results["val"]), *_by_patient(test.get("by_patient"))]
    lines += ["", *tables.aligned(HEAD, cells)] if cells else ["", "the test rows have no labels: no metrics"]
    if method := test.get("interval_method"):
        lines += ["", *tables.of_intervals(method, test["without_interval"])]
    return plain.lines([*lines, plain.NOTICE, "", *paths(to_open)])


def _overall(test: Mapping[str, Any], val: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the metrics that have an interval, and of each class's F1."""
    lacking, of_f1 = test.get("without_interval", {}), test.get("f1_intervals", {})
    rows = [
        [_label(name), shown(val.get(name)), shown(test[name]), between(ends, lacking.get(name, ""))]
        for name, ends in test.get("intervals", {}).items()
        if name not in LEFT_OUT
    ]
    f1 = {name: of["f1"] for name, of in test.get("per_class", {}).items()}
    known = {name: of["f1"] for name, of in val.get("per_class", {}).items()}
    return rows + [[f"F1 of {name}", shown(known.get(name)), shown(f1[name]), between(of_f1.get(name))] for name in f1]


def _by_patient(values: Mapping[str, Any] | None) -> list[list[str]]:
    """Rows of the gross figures by patient, whose intervals are over records."""
    if not values:
        return []
    gross, ends, lacking = values["gross"], values["intervals"]["gross"], values["without_interval"]["gross"]
    names = [name for name in ec57.headline(values["macro_over"]) if name in gross]
    labels = {name: f"{_label(name)}, all records" for name in names}
    labels["macro_f1"] = f"macro F1 over {', '.join(values['macro_over'])}, all records"
    return [[labels[name], "-", shown(gross[name]), between(ends.get(name), lacking.get(name, ""))] for name in names]


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


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
