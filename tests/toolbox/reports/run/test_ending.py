"""The end of a command on a terminal has the protocol, each metric with its interval, doubts, and the paths to open."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolbox.metrics import meanings
from toolbox.metrics.classification import METRICS
from toolbox.reports.run import ending


@pytest.fixture(scope="module")
def results(plain_run: Path) -> dict[str, Any]:
    return json.loads((plain_run / "results.json").read_text())


def test_the_table_has_a_row_for_each_metric_and_class(results: dict[str, Any], plain_run: Path) -> None:
    text = ending.of_test(results, title="a title", to_open={"run": plain_run})
    lines = text.splitlines()
    assert lines[:2] == ["a title", f"split: {results['split_rule']}"]
    assert lines[-1] == f"run  {plain_run}"
    shown = [name for name in METRICS if name not in ending.LEFT_OUT]
    names = [*map(meanings.name_of, shown)]
    names += [f"F1 of {name}" for name in results["test"]["per_class"]]
    assert [name for name in names if not any(line.startswith(f"{name}  ") for line in lines)] == []
    assert len(lines) < 30
    assert "The intervals resample rows" in text


def test_doubts_shared_rows_and_rows_without_labels_are_stated(results: dict[str, Any]) -> None:
    changed = copy.deepcopy(results) | {"doubts": ["it has memorised"], "shared_rows": 1234}
    text = ending.of_test(changed, title="t", to_open={})
    assert "doubt: it has memorised" in text
    assert "test rows that are also in train or validation: 1,234" in text
    bare = ending.of_test(changed | {"val": {}, "test": {"threshold": 1.0, "classes": {}}}, title="t", to_open={})
    assert "the test rows have no labels: no metrics" in bare


def test_figures_by_patient_are_gross_and_name_the_classes_of_macro_f1(results: dict[str, Any]) -> None:
    gross = {"accuracy": 0.5, "kappa": 0.25, "macro_f1": float("nan"), "SVEB Se": 0.5}
    of_all = {"accuracy": [0.4, 0.6], "kappa": None, "macro_f1": None}
    lacks = {"kappa": "9 records", "macro_f1": "undefined"}
    patients = {
        "gross": gross,
        "macro_over": ["A", "B"],
        "intervals": {"gross": of_all},
        "without_interval": {"gross": lacks},
    }
    changed = copy.deepcopy(results)
    changed["test"]["by_patient"] = patients
    lines = ending.of_test(changed, title="t", to_open={}).splitlines()
    rows = {line.partition("  ")[0]: line for line in lines if line.startswith("gross ")}
    assert rows["gross accuracy"].split()[-3:] == ["0.4000", "-", "0.6000"]
    assert rows["gross Cohen's kappa"].endswith("n/a: known in 9 records")
    assert rows["gross macro F1 over A, B"].endswith("n/a: not defined")


def test_the_page_of_a_run_is_opened_before_its_text(tmp_path: Path) -> None:
    run = SimpleNamespace(path=tmp_path / "runs" / "r", pred=tmp_path / "runs" / "r" / "pred")
    run.pred.mkdir(parents=True)
    root = tmp_path / "a root"
    assert ending.to_open(run.path, run.pred, root) == {"test": run.pred, "run": run.path}
    (run.pred / "report.txt").touch()
    assert ending.to_open(run.path, run.pred, root)["report"] == run.pred / "report.txt"
    (run.path / "report.html").touch()
    (run.path / "tensorboard").mkdir()
    opened = ending.to_open(run.path, run.pred, root)
    assert opened["report"] == run.path / "report.html"
    assert opened["curves"] == f"tensorboard --logdir '{root}'"
    assert "report" not in ending.to_open(run.path, run.pred / "latest", root)  # of another checkpoint
