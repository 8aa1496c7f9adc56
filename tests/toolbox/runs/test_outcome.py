"""The results of a test: one place for every reader, and no figure that another file of the test contradicts."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from toolbox.files import write_json
from toolbox.runs import outcome, summary

TEST: dict[str, Any] = {
    "accuracy": 0.5,
    "macro_f1": None,
    "intervals": {"accuracy": [0.4, 0.6], "macro_f1": None},
    "per_class": {"N": {"f1": 0.7}},
    "f1_intervals": {"N": [0.6, 0.8]},
    "by_patient": {"gross": {"kappa": 0.2}, "intervals": {"gross": {"kappa": [0.1, 0.3]}}},
}


def test_the_results_of_an_unfinished_training_and_of_other_checkpoints_have_places_of_their_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "pred" / "latest").mkdir(parents=True)
    assert outcome.place(tmp_path) is None
    write_json(tmp_path / "pred" / "latest" / "results.json", {})
    assert outcome.place(tmp_path) is None
    assert outcome.place(tmp_path, "latest") == tmp_path / "pred" / "latest" / "results.json"
    for path in (tmp_path / "pred" / "results.json", tmp_path / "results.json"):
        write_json(path, {})
        assert outcome.place(tmp_path) == path


def test_an_estimate_outside_of_its_interval_is_named() -> None:
    assert outcome.outside(TEST) == []
    changed = copy.deepcopy(TEST)
    changed["accuracy"], changed["by_patient"]["gross"]["kappa"], changed["per_class"]["N"]["f1"] = 0.7, 0.31, 0.5
    assert outcome.outside(changed) == [
        "accuracy, 0.7000, is outside of its 95 % interval, 0.4000 - 0.6000",
        "gross Cohen's kappa, 0.3100, is outside of its 95 % interval, 0.1000 - 0.3000",
        "F1 of N, 0.5000, is outside of its 95 % interval, 0.6000 - 0.8000",
    ]
    for odd in ({"intervals": 3}, {"intervals": {"a": "b", "c": [1, "2"]}}, {"by_patient": [1], "per_class": {"N": 3}}):
        assert outcome.outside(odd) == []


def test_a_figure_that_another_file_has_otherwise_is_named_with_both_values() -> None:
    metrics = {name: value for name, value in TEST.items() if name != "by_patient"} | {"split_rule": "r"}
    of_test = {outcome.METRICS: metrics, outcome.BY_PATIENT: TEST["by_patient"] | {"by_record": {}}}
    assert outcome.contradictions({"test": TEST}, of_test) == []
    assert outcome.contradictions({"test": TEST}, {}) == []  # other files may be missing
    changed = copy.deepcopy(TEST)
    changed["accuracy"], changed["by_patient"]["gross"]["kappa"] = 0.99, 0.9
    assert outcome.contradictions({"test": changed}, of_test) == [
        "accuracy in results.json is 0.99, in metrics.json 0.5",
        "gross kappa in results.json is 0.9, in by_patient.json 0.2",
    ]


@pytest.mark.parametrize("figure", ["accuracy", "macro_f1", "loss"])
def test_a_falsified_run_is_damaged_on_the_page_of_all_runs(copied_run: Path, figure: str) -> None:
    results = json.loads((copied_run / "results.json").read_text())
    (row,) = summary.of_root(copied_run.parents[2])
    assert (row["state"], row["why"]) == (summary.DONE, "")
    results["test"][figure] = 0.9999
    write_json(copied_run / "results.json", results)
    (row,) = summary.of_root(copied_run.parents[2])
    assert row["state"] == summary.DAMAGED
    assert f"{figure} in results.json is 0.9999, in metrics.json" in row["why"]
