"""A record leads only to the run folder with its configuration's flags and seed; damaged files are rows that say so."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import research
from commands import fit
from commands.trained import TrainedRun
from helpers.studies import job_of, make, outcome_of
from studies import tables, worker
from studies.ledger import DAMAGED, DONE, STARTED, STOPPED, WAITING, Job, Ledger
from toolbox.errors import BusyError, CheckpointError, UsageError
from toolbox.files import write_json
from toolbox.runs.folder import held

CELL = {"dataset": "synth", "model-name": "cnn1d_3", "short-run": "true", "lr": "0.001"}
RUN = "synth/runs/synth_cnn1d_3_1"


@pytest.fixture
def job() -> Job:
    return job_of(CELL)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "data", "x")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """The folders of the runs that a worker resumes, None for a run that it starts; nothing is trained."""
    calls: list[Path | None] = []
    monkeypatch.setattr(fit, "start", lambda *_, **__: calls.append(None))
    monkeypatch.setattr(TrainedRun, "open", lambda *_, run: run)
    monkeypatch.setattr(fit, "resume", lambda run, *_, **__: calls.append(run.path))
    return calls


def config(job: Job, **changed: Any) -> dict[str, Any]:
    return {"flags": {**job.length, **job.given, **changed}, "given": sorted(job.given)}


def made(folder: Path, values: dict[str, Any] | None) -> Path:
    """A folder with a file that must not be lost."""
    folder.mkdir(parents=True)
    (folder / "precious.txt").write_text("mine")
    if values:
        write_json(folder / "config.json", values)
    return folder


ELSEWHERE: dict[str, tuple[Any, str, Callable[[Job], dict[str, Any] | None]]] = {  # the record's run, a folder
    "above the root": ("../victim", "../victim", config),
    "a folder of data": ("table", "table", config),
    "an absolute path": ("{root}/synth/runs/a", "synth/runs/a", config),
    "a way through the parent": ("synth/runs/../../victim", "victim", config),
    "too deep": ("synth/runs/a/b", "synth/runs/a/b", config),
    "the folder of all runs": ("synth/runs", "synth/runs", config),
    "a number": (7, "7", config),
    "no config.json": (RUN, RUN, lambda job: None),
    "other flags": (RUN, RUN, lambda job: config(job, lr=0.5)),
    "another seed": (RUN, RUN, lambda job: config(job, seed=43)),
    "extended later": (RUN, RUN, lambda job: config(job, epochs=40)),
    "another dataset": ("ecg/runs/ecg_cnn1d_3_1", "ecg/runs/ecg_cnn1d_3_1", lambda job: config(job, dataset="ecg")),
    "a flag more": (RUN, RUN, lambda job: config(job) | {"given": [*job.given, "grad_clip"]}),
    "overridden": (RUN, RUN, lambda job: config(job) | {"overrides": [{"after_epoch": 1, "changed": {}}]}),
    "a flag less": (RUN, RUN, lambda job: {"flags": {"seed": 42}}),
    "no flags": (RUN, RUN, lambda job: {"flags": [1]}),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_foreign_folder_stays_untouched_and_the_configuration_runs_again(
    ledger: Ledger, job: Job, begun: list[Path | None], case: str
) -> None:
    named, place, values = ELSEWHERE[case]
    victim = made(ledger.root / place, values(job))
    run = named.format(root=ledger.root) if isinstance(named, str) else named
    ledger.write(job, STOPPED, run=run)
    assert ledger.folder(ledger.record(job.key)) is None
    assert outcome_of(ledger, job)["state"] == DONE
    assert begun == [None]
    assert (victim / "precious.txt").read_text() == "mine"
    if case != "no config.json":  # as a run that a worker has just started
        assert str(run) in ledger.log(job.key).read_text()
        (row,) = tables.rows(ledger)
        assert row["state"] in (WAITING, DAMAGED)
        assert ("--lr is 0.5, the configuration has 0.001" in row["error"]) == (case == "other flags")
        assert row["error"]
        assert row.get("run") is None


@pytest.mark.parametrize("mixed", [True, False])
def test_a_run_of_an_earlier_version_is_known_by_the_switch_that_became_a_word(
    ledger: Ledger, job: Job, *, mixed: bool
) -> None:
    today = replace(job, given=job.given | {"precision": "bfloat16" if mixed else "float32"})
    old = config(job, mixed_precision=mixed) | {"given": [*job.given, *["mixed_precision"] * mixed]}
    folder = made(ledger.root / RUN, old)
    ledger.write(today, STOPPED, run=RUN)
    assert ledger.folder(ledger.record(job.key)) == folder


OUTSIDE, INSIDE = "elsewhere", "data/elsewhere"  # the root


@pytest.mark.parametrize(
    ("linked", "place"),
    [("synth", OUTSIDE), ("synth/runs", OUTSIDE), (RUN, OUTSIDE), ("synth/runs", INSIDE), (RUN, INSIDE)],
)
def test_a_link_is_not_followed(
    ledger: Ledger, job: Job, begun: list[Path | None], tmp_path: Path, linked: str, place: str
) -> None:
    victim = made(tmp_path / place / Path(RUN).relative_to(linked), config(job))
    (ledger.root / linked).parent.mkdir(parents=True, exist_ok=True)
    (ledger.root / linked).symlink_to(tmp_path / place)
    for kept in (False, True):
        if kept:
            (victim / "checkpoint.pth.tar").touch()
        ledger.write(job, STOPPED, run=RUN)
        assert outcome_of(ledger, job)["state"] == DONE
    assert begun == [None, None]
    assert (victim / "precious.txt").read_text() == "mine"
    assert ledger.log(job.key).read_text().count("is not used") == 2


def test_its_own_run_is_resumed_with_a_checkpoint_and_removed_without_one(
    ledger: Ledger, job: Job, begun: list[Path | None]
) -> None:
    own, other = made(ledger.root / RUN, config(job)), made(ledger.root / f"{RUN}2", config(job))
    ledger.write(job, STOPPED, run=RUN)
    (own / "checkpoint.pth.tar").touch()
    assert outcome_of(ledger, job)["state"] == DONE
    (own / "checkpoint.pth.tar").unlink()
    ledger.write(job, STARTED, run=RUN)
    with held(own / "lock"):
        assert outcome_of(ledger, job)["state"] == worker.BUSY
    assert (own / "precious.txt").exists()
    assert outcome_of(ledger, job)["state"] == DONE
    assert begun == [own, None]
    assert (own.exists(), (other / "precious.txt").exists()) == (False, True)


def test_machine_and_batch_size_do_not_distinguish_runs(ledger: Ledger, job: Job) -> None:
    values = config(job, workers=3, device="cpu", batch_size=16) | {"given": [*job.given, "device", "workers"]}
    folder = made(ledger.root / RUN, values)
    ledger.write(job, STARTED, run=RUN)
    assert ledger.folder(ledger.record(job.key)) == folder
    assert ledger.status_of(job_of(CELL | {"device": "cuda:1"})).folder == folder


def test_equal_names_in_two_folders_are_told_apart_and_a_root_may_move_with_its_files(tmp_path: Path) -> None:
    one, other = (job_of({"dataset": "table", "data-file": str(tmp_path / name / "fold.npz")}) for name in "ab")
    ledger = Ledger.open(tmp_path / "data", "x")
    made(ledger.root / "table/runs/table_m_1", config(one, data_file="../a/fold.npz"))
    for each in (one, other):
        ledger.write(each, STARTED, run="table/runs/table_m_1", root=str(ledger.root))
    for root in (tmp_path / "data", tmp_path / "moved"):
        if not root.exists():
            shutil.move(tmp_path / "data", root)
        ledger = Ledger(root / "research" / "x", root)
        assert ledger.folder(ledger.record(one.key)) == root / "table/runs/table_m_1"
        assert ledger.folder(ledger.record(other.key)) is None


def test_a_missing_run_and_unreadable_results_are_made_again(ledger: Ledger, job: Job) -> None:
    folder = made(ledger.root / RUN, config(job))
    ledger.write(job, DONE, run=RUN)
    for text, state in (("{}", DONE), ("{", STARTED), ("[]", STARTED)):
        (folder / "results.json").write_text(text)
        assert ledger.status_of(replace(job, tested=True)).state == state
    shutil.rmtree(folder)
    assert ledger.status_of(job).state == WAITING
    assert "is gone" in ledger.status_of(job).why


def test_a_grid_may_grow_and_not_lose_configurations(ledger: Ledger) -> None:
    one, other = ({"name": name, "cell": CELL} for name in "ab")
    ledger.freeze(1, cells=[one])
    assert ledger.freeze(2, cells=[one, other]) == 1
    assert ledger.plan()["reps"] == 2
    with pytest.raises(UsageError, match="lacks 1 of the 2 configurations"):
        ledger.freeze(1, cells=[other])


# Damaged files


DEEP, LONG, HUGE = "[" * 100_000, "1" * 5_000, "1" + "0" * 400
RESULTS = ["{", "[]", '{"test": []}', '{"test": {"loss": 1e400}}', f'{{"test": {{"loss": {HUGE}}}}}', DEEP, "\\xff"]
HISTORIES = ["{", "7", "[1]", '[{"epoch": 1}]', '[{"epoch": "1", "val": {}}]', DEEP, '[{"epoch": 1, "val": {}}]']
CONFIGS = ["{", "[]", "{}", DEEP, f'{{"flags": {LONG}}}', '{"flags": {"seed": 42}, "parameters": "many"}']
FILES = {"results.json": RESULTS, "logger.json": HISTORIES, "config.json": CONFIGS}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_run_is_a_row_that_says_so_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    ledger = make(tmp_path)
    for text in FILES[name]:
        (tmp_path / "tiny" / "runs" / "tiny_m_a0" / name).write_text(text)
        rows = {(row["cell"], row["rep"]): row for row in tables.rows(ledger)}
        damaged, good = rows["a", 0], rows["a", 1]
        assert damaged["state"] == DAMAGED, text
        assert name in damaged["error"], text
        assert not any("/" in key for key in damaged), text
        assert (good["state"], good["val/macro_f1"]) == (DONE, 0.8)
    assert research.main(["--results", "x", "--root-dir", str(tmp_path)]) == 1
    assert "tiny_m_a0" in caplog.text
    out = capsys.readouterr().out
    assert "1 damaged" in out
    assert "0.775" in out  # the mean of the other runs of configuration a


RECORDS = ["", "{", "[]", "{}", "null", DEEP, '{"cell": "a"}', f'{{"rep": {LONG}}}']
CHANGES = [{"rep": 1}, {"state": None}, {"spent_s": "x"}, {"flags": {"lr": [1]}}, {"given": {"seed": []}}]


def test_a_damaged_record_is_a_row_that_says_so_and_its_configuration_runs_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = make(tmp_path)
    path = ledger.path / "runs" / "a_0.json"
    record = json.loads(path.read_text())
    job = Job("a", 0, "grid", record["given"], record["flags"])
    for text in [*RECORDS, *(json.dumps(record | changed) for changed in CHANGES)]:
        path.write_text(text)
        row = next(row for row in tables.rows(ledger) if (row["cell"], row["rep"]) == ("a", 0))
        assert (row["state"], row["layout"]) == (DAMAGED, "a"), text
        assert ledger.record(job.key) is None, text
        assert "cannot be read" in ledger.status_of(job).why, text
    assert research.main(["--results", "x", "--root-dir", str(tmp_path)]) == 1
    assert str(path) in caplog.text
    assert "1 damaged" in capsys.readouterr().out
    ledger.write(job, STARTED, run=record["run"])
    assert ledger.status_of(job).why == ""


def test_a_file_that_is_no_record_is_a_row_of_its_own(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    before = tables.rows(ledger)
    for name in ("notes.json", "other-a_0.json", "a_x.json"):
        (ledger.path / "runs" / name).write_text("{}")
    assert research.main(["--results", "x", "--root-dir", str(tmp_path)]) == 1
    rows = tables.rows(ledger)
    assert [row for row in rows if row["state"] != DAMAGED] == before
    assert tables.axes(rows) == tables.axes(before)


PLANS = [
    *("{", "[]", DEEP, '{"stages": []}', '{"stages": {"grid": {"reps": "x", "cells": []}}}'),
    '{"reps": 1, "cells": [{"name": "a", "cell": {"lr": [1]}}]}',
    '{"reps": 1000000, "cells": [{"name": "a", "cell": {}}], "folds": 1000}',
]


def test_a_damaged_grid_json_is_refused_with_the_command_that_writes_it_again(ledger: Ledger) -> None:
    for text in PLANS:
        (ledger.path / "grid.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"grid\.json.*research\.py GRID --name x"):
            ledger.plans()


# Hints


def test_a_locked_study_is_refused_with_a_hint(ledger: Ledger) -> None:
    write_json(ledger.path / "lock", {"host": "elsewhere", "pid": 7, "since": 0})
    with pytest.raises(BusyError, match="remove the lock file if that process is gone"), ledger.locked():
        pass
    (ledger.path / "lock").unlink()
    with ledger.locked(), pytest.raises(BusyError, match="wait for it, or another --name"), ledger.locked():
        pass


def test_the_hint_of_a_failed_run_names_no_flag_that_a_study_does_not_take(
    ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(*_: Any, **__: Any) -> None:
        raise CheckpointError("no sound checkpoint is left", where="here", hint="--version bump for a new run")

    monkeypatch.setattr(fit, "start", start)
    caplog.set_level(logging.CRITICAL)
    outcome = outcome_of(ledger, job)
    assert outcome["error"].startswith("no sound checkpoint is left (here). Try: --retry")
    assert outcome["code"] == CheckpointError.code
    assert ledger.log(job.key).exists()
