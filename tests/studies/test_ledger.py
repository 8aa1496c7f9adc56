"""Whose run is whose: a record leads to the run folder that has its cell's flags and seed, and to nothing else."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import research
from commands import fit
from commands.trained import TrainedRun
from helpers.commands import SHORT
from helpers.commands import carried_out as commanded
from helpers.studies import carried_out, job_of, make, outcome_of, timeless
from studies import tables, worker
from studies.ledger import DAMAGED, DONE, STARTED, STOPPED, WAITING, Job, Ledger
from toolbox.errors import BusyError, CheckpointError
from toolbox.files import write_json
from toolbox.runs.folder import held

CELL = {"dataset": "synth", "model-name": "cnn1d_3", "short-run": "true", "lr": "0.001"}


@pytest.fixture
def task() -> Job:
    return job_of(CELL)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "data", "x")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """The runs that a worker resumes, by folder, None for one that it starts; nothing is trained."""
    calls: list[Path | None] = []
    monkeypatch.setattr(fit, "start", lambda *_, **how: calls.append(None))
    monkeypatch.setattr(TrainedRun, "open", lambda *_, run: run)
    monkeypatch.setattr(fit, "resume", lambda run, *_, **how: calls.append(run.path))
    return calls


def config(task: Job, **changed: Any) -> dict[str, Any]:
    return {"flags": {**task.length, **task.given, **changed}, "given": sorted(task.given)}


def made(folder: Path, values: dict[str, Any] | None) -> Path:
    """A folder with something in it that nobody wants to lose."""
    folder.mkdir(parents=True)
    (folder / "precious.txt").write_text("mine")
    if values:
        write_json(folder / "config.json", values)
    return folder


RUN = "synth/runs/synth_cnn1d_3_1"
ELSEWHERE: dict[str, tuple[str, str, Callable[[Job], dict[str, Any] | None]]] = {
    "above the root": ("../victim", "../victim", config),
    "a folder of data": ("table", "table", config),
    "an absolute path": ("{root}/synth/runs/a", "synth/runs/a", config),
    "a way through the parent": ("synth/runs/../../victim", "victim", config),
    "too deep": ("synth/runs/a/b", "synth/runs/a/b", config),
    "the folder of all runs": ("synth/runs", "synth/runs", config),
    "a number": (7, "7", config),
    "no config.json": (RUN, RUN, lambda task: None),
    "other flags": (RUN, RUN, lambda task: config(task, lr=0.5)),
    "another seed": (RUN, RUN, lambda task: config(task, seed=43)),
    "extended by hand": (RUN, RUN, lambda task: config(task, epochs=40)),
    "another dataset": ("ecg/runs/ecg_cnn1d_3_1", "ecg/runs/ecg_cnn1d_3_1", lambda task: config(task, dataset="ecg")),
    "a flag more": (RUN, RUN, lambda task: config(task) | {"given": [*task.given, "grad_clip"]}),
    "overridden": (RUN, RUN, lambda task: config(task) | {"overrides": [{"after_epoch": 1, "changed": {}}]}),
    "a flag less": (RUN, RUN, lambda task: {"flags": {"seed": 42}}),
    "no flags": (RUN, RUN, lambda task: {"flags": [1]}),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_run_that_is_not_the_cells_is_left_alone_and_the_cell_is_run_again(
    ledger: Ledger, task: Job, begun: list[Path | None], case: str
) -> None:
    named, place, values = ELSEWHERE[case]
    victim = made(ledger.root / place, values(task))
    run = named.format(root=ledger.root) if isinstance(named, str) else named
    ledger.write(task, STOPPED, run=run)
    assert ledger.folder(ledger.record(task.key)) is None
    assert outcome_of(ledger, task)["state"] == DONE
    assert begun == [None]
    assert (victim / "precious.txt").read_text() == "mine"
    if case != "no config.json":  # as a run that was claimed a moment ago
        assert str(run).replace("{root}", "") in ledger.log(task.key).read_text()
        (row,) = tables.rows(ledger)
        assert row["state"] in (WAITING, DAMAGED)
        assert row["error"]
        assert row["run"] is None if "run" in row else True


@pytest.mark.parametrize("linked", ["synth", "synth/runs", RUN])
def test_a_link_is_not_followed(
    ledger: Ledger, task: Job, begun: list[Path | None], tmp_path: Path, linked: str
) -> None:
    victim = made(tmp_path / "elsewhere" / Path(RUN).relative_to(linked), config(task))
    (ledger.root / linked).parent.mkdir(parents=True, exist_ok=True)
    (ledger.root / linked).symlink_to(tmp_path / "elsewhere")
    for kept in (False, True):
        if kept:
            (victim / "checkpoint.pth.tar").touch()
        ledger.write(task, STOPPED, run=RUN)
        assert outcome_of(ledger, task)["state"] == DONE
    assert begun == [None, None]
    assert (victim / "precious.txt").read_text() == "mine"
    assert ledger.log(task.key).read_text().count("is not used") == 2


def test_the_cells_own_run_is_resumed_where_it_has_a_checkpoint_and_removed_where_it_has_none(
    ledger: Ledger, task: Job, begun: list[Path | None]
) -> None:
    own, beside = made(ledger.root / RUN, config(task)), made(ledger.root / f"{RUN}2", config(task))
    ledger.write(task, STOPPED, run=RUN)
    (own / "checkpoint.pth.tar").touch()
    assert outcome_of(ledger, task)["state"] == DONE
    (own / "checkpoint.pth.tar").unlink()
    ledger.write(task, STARTED, run=RUN)
    with held(own / "lock"):
        assert outcome_of(ledger, task)["state"] == worker.BUSY
    assert (own / "precious.txt").exists()
    assert outcome_of(ledger, task)["state"] == DONE
    assert begun == [own, None]
    assert not own.exists()
    assert (beside / "precious.txt").exists()


def test_how_a_run_is_carried_out_is_no_difference(ledger: Ledger, task: Job) -> None:
    values = config(task, workers=3, device="cpu", batch_size=16) | {"given": [*task.given, "device", "workers"]}
    folder = made(ledger.root / RUN, values)
    ledger.write(task, STARTED, run=RUN)
    assert ledger.folder(ledger.record(task.key)) == folder
    assert ledger.status_of(job_of(CELL | {"device": "cuda:1"})).folder == folder


def test_files_of_one_name_in_two_folders_are_told_apart_and_a_root_may_move_with_them(tmp_path: Path) -> None:
    task, another = (job_of({"dataset": "table", "data-file": str(tmp_path / name / "fold.npz")}) for name in "ab")
    ledger = Ledger.open(tmp_path / "data", "x")
    folder = made(ledger.root / "table/runs/table_m_1", config(task, data_file="../a/fold.npz"))
    for each in (task, another):
        ledger.write(each, STARTED, run="table/runs/table_m_1", root=str(ledger.root))
    assert ledger.folder(ledger.record(task.key)) == folder
    assert ledger.folder(ledger.record(another.key)) is None
    shutil.move(tmp_path / "data", tmp_path / "moved")
    moved = Ledger(tmp_path / "moved" / "research" / "x", tmp_path / "moved")
    assert moved.folder(moved.record(task.key)) == tmp_path / "moved" / "table/runs/table_m_1"
    assert moved.folder(moved.record(another.key)) is None


def test_a_run_that_is_gone_is_run_again(ledger: Ledger, task: Job) -> None:
    made(ledger.root / RUN, config(task))
    ledger.write(task, DONE, run=RUN)
    assert ledger.status_of(task).state == DONE
    shutil.rmtree(ledger.root / RUN)
    assert ledger.status_of(task).state == WAITING
    assert "is gone" in ledger.status_of(task).why


GRID = """
base: {dataset: synth, model-name: cnn1d_3, short-run: true, epochs: 1}
grid: {cross: {lr: [0.001, 0.005]}}
"""


def test_a_freed_number_that_a_run_by_hand_took_is_no_cell_of_the_table(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    code, ledger = carried_out(root, monkeypatch, GRID, "--no-test")
    assert code == 0
    before = timeless(ledger)
    capsys.readouterr()
    shutil.rmtree(root / "synth" / "runs")
    assert commanded(*SHORT, "--epochs", 1, "--lr", 0.5, "--root-dir", root).code == 0
    by_hand = {path: path.read_bytes() for path in (root / RUN).rglob("*") if path.is_file()}
    caplog.clear()
    assert research.main(["--results", "s", "--root-dir", str(root)]) == 0
    assert [line.split()[2:4] for line in capsys.readouterr().out.splitlines()[1:3]] == [["0", "1"], ["0", "1"]]
    assert f"{root / RUN} is another run: --lr is 0.5, the configuration has 0.001" in caplog.text
    assert carried_out(root, monkeypatch, GRID, "--no-test")[0] == 0
    assert timeless(ledger) == before
    assert by_hand == {path: path.read_bytes() for path in by_hand}


# What is damaged is a row


DEEP, LONG = "[" * 100_000, "1" * 5_000
BROKEN_RUNS = {
    "results.json": [
        "{",
        "[]",
        '{"test": []}',
        '{"test": {"loss": 1e400}}',
        f'{{"test": {{"loss": 1{"0" * 400}}}}}',
        DEEP,
        "\\xff",
    ],
    "logger.json": [
        "{",
        "7",
        "[1]",
        '[{"epoch": 1}]',
        '[{"epoch": "1", "val": {}}]',
        DEEP,
        '[{"epoch": 1, "val": {}}]',
    ],
    "config.json": ["{", "[]", "{}", DEEP, f'{{"flags": {LONG}}}', '{"flags": {"seed": 42}, "parameters": "many"}'],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BROKEN_RUNS.items() for text in texts])
def test_a_damaged_run_is_a_row_that_says_so_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, name: str, text: str
) -> None:
    ledger = make(tmp_path)
    (tmp_path / "tiny" / "runs" / "tiny_m_a0" / name).write_text(text)
    assert research.main(["--results", "x", "--root-dir", str(tmp_path)]) == 1
    rows = {(row["cell"], row["rep"]): row for row in tables.rows(ledger)}
    damaged = rows["a", 0]
    assert damaged["state"] == DAMAGED
    assert name in damaged["error"]
    assert "tiny_m_a0" in caplog.text
    assert not any("/" in key for key in damaged)
    assert (rows["a", 1]["state"], rows["a", 1]["val/macro_f1"]) == (DONE, 0.8)
    out = capsys.readouterr().out
    assert "1 damaged" in out
    assert "0.7500" in out or "0.775" in out  # the mean of the runs of cell a that are left


def test_results_that_cannot_be_read_are_made_again(ledger: Ledger, task: Job) -> None:
    folder = made(ledger.root / RUN, config(task))
    ledger.write(task, DONE, run=RUN)
    for text, state in (("{}", DONE), ("{", STARTED), ("[]", STARTED)):
        (folder / "results.json").write_text(text)
        assert ledger.status_of(replace(task, tested=True)).state == state


BROKEN_RECORDS = [
    "",
    "{",
    "[]",
    "{}",
    "null",
    DEEP,
    '{"cell": "a"}',
    f'{{"rep": {LONG}}}',
    "another's",
    "no state",
    "a number",
]
BROKEN_RECORDS += ["a list among flags", "a list for a seed"]


@pytest.mark.parametrize("text", BROKEN_RECORDS)
def test_a_damaged_record_is_a_row_that_says_so_and_its_cell_is_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, text: str
) -> None:
    ledger = make(tmp_path)
    path = ledger.path / "runs" / "a_0.json"
    record = json.loads(path.read_text())
    changed = {
        "another's": {**record, "rep": 1},
        "no state": {**record, "state": None},
        "a number": {**record, "spent_s": "x"},
    }
    changed |= {
        "a list among flags": {**record, "flags": {"lr": [1]}},
        "a list for a seed": {**record, "given": {"seed": []}},
    }
    path.write_text(json.dumps(changed[text]) if text in changed else text)
    assert research.main(["--results", "x", "--root-dir", str(tmp_path)]) == 1
    assert str(path) in caplog.text
    assert "1 damaged" in capsys.readouterr().out
    row = next(row for row in tables.rows(ledger) if (row["cell"], row["rep"]) == ("a", 0))
    assert (row["state"], row["layout"]) == (DAMAGED, "a")
    task = Job("a", 0, "grid", record["given"], record["flags"])
    assert ledger.record(task.key) is None
    assert "cannot be read" in ledger.status_of(task).why
    ledger.write(task, STARTED, run=record["run"])
    assert ledger.status_of(task).why == ""


def test_a_file_that_is_no_record_is_a_row_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = make(tmp_path)
    before = tables.rows(ledger)
    for name in ("notes.json", "other-a_0.json", "a_x.json"):
        (ledger.path / "runs" / name).write_text("{}")
    assert research.main(["--results", "x", "--root-dir", str(tmp_path)]) == 1
    rows = tables.rows(ledger)
    assert [row for row in rows if row["state"] != DAMAGED] == before
    assert tables.axes(rows) == tables.axes(before)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"stages": []}',
        '{"stages": {"grid": {"reps": "x", "cells": []}}}',
        DEEP,
        '{"reps": 1, "cells": [{"name": "a", "cell": {"lr": [1]}}]}',
        '{"reps": 1000000, "cells": [{"name": "a", "cell": {}}], "folds": 1000}',
    ],
)
def test_cells_that_cannot_be_read_end_with_the_way_to_write_them_anew(ledger: Ledger, text: str) -> None:
    (ledger.path / "grid.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"research\.py GRID --name x") as raised:
        ledger.plans()
    assert "grid.json" in str(raised.value)


# Hints


def test_a_research_held_from_another_host_is_answered_with_its_lock(ledger: Ledger) -> None:
    write_json(ledger.path / "lock", {"host": "elsewhere", "pid": 7, "since": 0})
    with pytest.raises(BusyError, match="remove the lock file if that process is gone"), ledger.locked():
        pass
    (ledger.path / "lock").unlink()
    with ledger.locked(), pytest.raises(BusyError, match="wait for it, or another --name"), ledger.locked():
        pass


def test_a_row_names_no_flag_that_a_study_does_not_take(
    ledger: Ledger, task: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(*_: Any, **__: Any) -> None:
        raise CheckpointError("no sound checkpoint is left", where="here", hint="--version bump for a new run")

    monkeypatch.setattr(fit, "start", start)
    caplog.set_level(logging.CRITICAL)
    outcome = outcome_of(ledger, task)
    assert outcome["error"].startswith("no sound checkpoint is left (here). Try: --retry")
    assert outcome["code"] == CheckpointError.code
    assert os.path.exists(ledger.log(task.key))
