"""A row for each run of a root: figures as in the files, states, and no file that breaks the others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.runs import made
from toolbox import files
from toolbox.errors import CheckpointError
from toolbox.files import write_json
from toolbox.runs import study, summary
from toolbox.runs.best import best_epoch
from toolbox.runs.folder import RunFolder


def recorded(root: Path, run: str, state: str = "done", *, key: str = "a_0", **facts: Any) -> None:
    """A record of the study s, of the run in this folder."""
    path = root / "research" / "s" / "runs" / f"{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"run": run or None, "state": state, "given": {}, "error": None} | facts)


def by_name(root: Path) -> dict[str, summary.Row]:
    return {row["name"]: row for row in summary.of_root(root)}


def test_the_row_of_a_run_has_the_figures_of_its_files(plain_run: Path) -> None:
    (row,) = summary.of_root(plain_run.parents[2])
    config, history, results = (json.loads((plain_run / name).read_text()) for name in summary.READ)
    facts = {"name": plain_run.name, "dataset": "synth", "model": "cnn1d_3", "version": "1", "task": "classify"}
    facts |= {"state": summary.DONE, "study": "", "parameters": config["parameters"], "epochs": 2, "of": 2}
    facts |= {"best": results["best_epoch"], "split": results["split_rule"], "classes": config["data"]["classes"]}
    assert {key: row[key] for key in facts} == facts
    for name, value in row["test"].items():
        assert value == pytest.approx(results["test"][name], rel=1e-5)
        if name in row["intervals"]:
            assert row["intervals"][name] == pytest.approx(results["test"]["intervals"][name], rel=1e-5)
    assert {*row["intervals"]} == {name for name, ends in results["test"]["intervals"].items() if ends}
    assert row["val"]["macro_f1"] == pytest.approx(results["val"]["macro_f1"], rel=1e-5)
    assert row["curves"]["val loss"] == pytest.approx([epoch["val"]["loss"] for epoch in history], rel=1e-3)
    assert "short run" in row["notes"]


SPOILS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "no config.json": ("config.json is missing", lambda run: (run / "config.json").unlink()),
    "a list": ("config.json: it is a list", lambda run: (run / "config.json").write_text("[]")),
    "flags": ("config.json: flags is a list", lambda run: (run / "config.json").write_text('{"flags": []}')),
    "cut off": ("results.json is not JSON", lambda run: (run / "results.json").write_text('{"test": {')),
    "no numbers": (
        "logger.json: [0].epoch is a text",
        lambda run: (run / "logger.json").write_text('[{"epoch": "1"}]'),
    ),
    "no logger.json": ("logger.json is missing", lambda run: (run / "logger.json").unlink()),
    "no epoch": ("logger.json has no epoch", lambda run: (run / "logger.json").write_text("[]")),
    "nested": ("nested more than", lambda run: (run / "logger.json").write_text("[" * 100_000)),
    "digits": ("digits", lambda run: (run / "results.json").write_text(f'{{"best_epoch": {"9" * 5000}}}')),
    "no text": ("is not text", lambda run: (run / "results.json").write_bytes(b"\xff\xfe\x00")),
    "a folder": ("cannot be read", lambda run: ((run / "results.json").unlink(), (run / "results.json").mkdir())),
    "a lost link": ("cannot be read", lambda run: ((run / "logger.json").unlink(), lost(run / "logger.json"))),
}


def lost(path: Path) -> None:
    path.symlink_to("/nowhere")


@pytest.mark.parametrize("case", SPOILS)
def test_a_damaged_run_is_a_row_with_the_reason_and_what_else_is_known_of_it(tmp_path: Path, case: str) -> None:
    why, spoil = SPOILS[case]
    made(tmp_path, 1)
    spoil(made(tmp_path, 2))
    found = by_name(tmp_path)
    row = found["synth_cnn1d_3_2"]
    assert found["synth_cnn1d_3_1"]["state"] == summary.DONE
    assert (row["state"], row["dataset"]) == (summary.DAMAGED, "synth")
    assert why in row["why"]
    json.dumps(row, allow_nan=False)
    if "config" not in why:
        assert row["parameters"] == 1002


def test_figures_that_are_none_are_left_out_and_texts_are_cut(tmp_path: Path) -> None:
    run = made(tmp_path, config={"flags": {"dataset": "x" * 10_000, "model_name": ["m"], "epochs": "many"}})
    test = {"macro_f1": "high", "accuracy": True, "f1": 0.5, "intervals": {"f1": [0, "1"], "g": [0, 1]}, **MANY}
    write_json(run / "results.json", {"test": test, "best_epoch": 1})
    (row,) = summary.of_root(tmp_path)
    assert row["test"].pop("f1") == 0.5
    assert row["intervals"] == {}
    assert len(row["test"]) == summary.MOST_FIGURES - 1
    assert len(row["dataset"]) == summary.MOST_LETTERS
    assert row["of"] is None


MANY = {f"figure {i}": float(i) for i in range(1000)}


def test_only_run_folders_of_the_root_are_runs(tmp_path: Path) -> None:
    root = tmp_path / "root"
    made(root, 1)
    (root / "synth" / "runs" / "notes.txt").write_text("mine")
    (root / "synth" / "runs" / ".hidden").mkdir()
    (root / "synth" / "runs" / "elsewhere").symlink_to(made(tmp_path / "other", 7))
    recorded(root, "synth/runs/synth_cnn1d_3_9")
    found = by_name(root)
    assert found.keys() == {"synth_cnn1d_3_1", "elsewhere"}
    assert (found["elsewhere"]["state"], found["elsewhere"]["model"]) == (summary.DAMAGED, "")
    assert "link out of the root" in found["elsewhere"]["why"]
    assert summary.of_root(tmp_path / "nothing") == []


def test_a_run_is_tested_or_not_or_unfinished_or_as_its_study_has_recorded_it(tmp_path: Path) -> None:
    made(tmp_path, 1)
    made(tmp_path, 2, score=None)
    made(tmp_path, 3, score=None, epochs=1)
    for number, state, error in ((4, "failed", "error: no finite loss"), (5, "pruned", None), (6, "done", None)):
        made(tmp_path, number, score=None, epochs=1, config={"study": "s"})
        recorded(tmp_path, f"synth/runs/synth_cnn1d_3_{number}", state, key=f"a_{number}", error=error)
    recorded(tmp_path, "", "failed", key="a_7", error="error: no data", given={"dataset": "d", "model_name": "m"})
    found = by_name(tmp_path)
    states = [found[f"synth_cnn1d_3_{number}"]["state"] for number in range(1, 7)]
    assert states == [summary.DONE, summary.UNTESTED, summary.UNFINISHED, "failed", "pruned", summary.UNFINISHED]
    assert found["synth_cnn1d_3_4"]["why"] == "error: no finite loss"
    lost = found["s a_7"]
    assert (lost["state"], lost["study"], lost["dataset"], lost["model"]) == ("failed", "s", "d", "m")


def test_the_files_of_unchanged_runs_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, 1)
    other = made(tmp_path, 2)
    before = summary.of_root(tmp_path)
    read: list[Path] = []
    own = files.read_json
    monkeypatch.setattr(files, "read_json", lambda path: read.append(path) or own(path))
    known = {row["path"]: row for row in before}
    assert summary.of_root(tmp_path, known) == before
    assert read == []
    write_json(other / "results.json", {"test": {"macro_f1": 0.25}})
    changed = {row["name"]: row["test"].get("macro_f1") for row in summary.of_root(tmp_path, known)}
    assert changed == {"synth_cnn1d_3_1": 0.5, "synth_cnn1d_3_2": 0.25}
    assert {path.parent for path in read} == {other}
    recorded(tmp_path, "synth/runs/synth_cnn1d_3_1", "failed")
    assert by_name(tmp_path)["synth_cnn1d_3_1"]["study"] == "s"


def test_long_curves_are_thinned_and_keep_the_first_best_and_last_epoch() -> None:
    history = [{"epoch": e, "val": {"loss": abs(e - 777.0), "macro_f1": None}} for e in range(1, 5001)]
    best = best_epoch(history, "loss")
    assert best["epoch"] == 777
    shown = summary.curves(history, 777)
    assert len(shown["epoch"]) <= summary.MOST_POINTS + 2
    assert {1, 777, 5000} <= {*shown["epoch"]}
    assert shown.keys() == {"epoch", "val loss"}
    assert summary.best_epoch(history, "macro_f1")["epoch"] == 5000


def test_a_run_of_a_study_is_not_the_latest_unless_its_version_is_named(tmp_path: Path) -> None:
    """Studies note their name in config.json; those of earlier versions have a record with the flags of the run."""
    own = made(tmp_path, 1)
    made(tmp_path, 2, seed=43)
    recorded(tmp_path, "synth/runs/synth_cnn1d_3_2", given={"seed": 43, "data_file": "/a/b.csv", "root_dir": "x"})
    made(tmp_path, 3, config={"study": "s"})
    assert RunFolder.find(tmp_path, "synth", "cnn1d_3", "latest").path == own
    assert RunFolder.find(tmp_path, "synth", "cnn1d_3", "3").path.name.endswith("_3")
    assert RunFolder.claim(tmp_path, "synth", "cnn1d_3", "bump").path.name.endswith("_4")
    made(tmp_path, 5, seed=7)  # under a number that a record still has, but another run
    recorded(tmp_path, "synth/runs/synth_cnn1d_3_5", key="a_1", given={"seed": 44})
    assert RunFolder.find(tmp_path, "synth", "cnn1d_3", "latest").path.name.endswith("_5")
    for number in (1, 4, 5):
        shutil.rmtree(tmp_path / "synth" / "runs" / f"synth_cnn1d_3_{number}")
    with pytest.raises(CheckpointError, match=r"every run of cnn1d_3 on synth belongs to a study.*Try: --version 3"):
        RunFolder.find(tmp_path, "synth", "cnn1d_3", "latest")


def test_unreadable_records_are_left_out(tmp_path: Path) -> None:
    recorded(tmp_path, "synth/runs/synth_cnn1d_3_1")
    (tmp_path / "research" / "s" / "runs" / "b_0.json").write_text("{")
    (tmp_path / "research" / "s" / "runs" / "c_0.json").write_text("[]")
    assert [record.key for record in study.records(tmp_path)] == ["a_0"]
    assert study.study_of(None, study.records(tmp_path)[0]) == ""
