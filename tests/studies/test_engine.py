"""What workers and their driver do at the edges: a run that is held, a lock of the dead, a cell that kills, what is
said."""

import http.client
import logging
import os
import socket
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil  # comes with Dask
import pytest

from helpers.studies import is_refused, job_of, outcome_of
from studies import runner, worker
from studies.ledger import DONE, FAILED, STOPPED, Job, Ledger
from toolbox.errors import ResourceError
from toolbox.files import write_json
from toolbox.runs.folder import held


@pytest.fixture
def task() -> Job:
    return job_of({"dataset": "synth", "model-name": "cnn1d_3", "short-run": "true", "epochs": "1"})


@pytest.fixture
def ledger(root: Path) -> Ledger:
    return Ledger.open(root, "x")


def stopped_early(ledger: Ledger, task: Job, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that was stopped before its first step."""
    write = Ledger.write

    def written(self: Ledger, task: Job, state: str, **facts: Any) -> None:
        write(self, task, state, **facts)
        worker.stop("another", [task.key])  # whose run it is not
        worker.stop("test", [task.key])

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write", written)
        assert outcome_of(ledger, task) == {"state": STOPPED}
    return ledger.folder(ledger.record(task.key))


def test_a_run_that_is_held_is_told_busy_and_left_as_it_is(
    ledger: Ledger, task: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped_early(ledger, task, monkeypatch)
    before = ledger.record(task.key)
    with held(folder / "lock"):
        assert outcome_of(ledger, task)["state"] == worker.BUSY
    assert ledger.record(task.key) == before
    assert outcome_of(ledger, task) == {"state": DONE}
    assert not (folder / "results.json").exists()
    assert outcome_of(ledger, task) == {"state": DONE}


def test_a_run_without_results_is_gone_on_with_where_they_are_asked_for(ledger: Ledger, task: Job) -> None:
    assert outcome_of(ledger, task) == {"state": DONE}
    tested = replace(task, tested=True)
    assert ledger.status_of(tested).state == "started"
    assert outcome_of(ledger, tested) == {"state": DONE}
    assert (ledger.folder(ledger.record(task.key)) / "results.json").is_file()
    assert len(list((ledger.root / "synth" / "runs").iterdir())) == 1


def test_a_folder_without_a_checkpoint_is_begun_anew(
    ledger: Ledger, task: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped_early(ledger, task, monkeypatch)
    (folder / "checkpoint.pth.tar").unlink()
    assert outcome_of(ledger, task) == {"state": DONE}
    assert [path.name for path in folder.parent.iterdir()] == ["synth_cnn1d_3_1"]


def test_a_driver_that_has_stopped_gets_nothing_more_done(ledger: Ledger, task: Job) -> None:
    worker.stop("gone")
    assert outcome_of(ledger, task, driver="gone") == {"state": STOPPED}
    assert ledger.record(task.key) is None
    assert outcome_of(ledger, task, driver="next") == {"state": DONE}


def test_a_worker_with_several_threads_does_one_run_at_a_time(
    ledger: Ledger, task: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most = [], []

    def outcome(*order: Any) -> dict[str, Any]:
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.02)
        at_once.pop()
        return {"state": DONE}

    monkeypatch.setattr(worker, "_outcome", outcome)
    with ThreadPoolExecutor(4) as threads:
        assert [each["state"] for each in threads.map(lambda _: outcome_of(ledger, task), range(8))] == [DONE] * 8
    assert max(most) == 1


def an_engine(ledger: Ledger, alive: dict[str, Any]) -> runner.Engine:
    client = SimpleNamespace(run=lambda *order: alive, scheduler=SimpleNamespace(address="tcp://nowhere"))
    return runner.Engine(client, ledger)


@pytest.mark.parametrize(("alive", "freed"), [({}, True), ({"a": {"host": "elsewhere", "pid": 7}}, False)])
def test_a_lock_of_a_worker_on_another_host_is_freed_when_that_is_gone(
    ledger: Ledger, task: Job, monkeypatch: pytest.MonkeyPatch, alive: dict[str, Any], freed: bool
) -> None:
    folder = stopped_early(ledger, task, monkeypatch)
    there = {"host": "elsewhere", "pid": 7}
    ledger.write(task, "started", by=there)
    write_json(folder / "lock", there | {"since": 0})
    assert "another host" in outcome_of(ledger, task)["error"]
    made = an_engine(ledger, alive)
    made._free(task)
    assert (folder / "lock").exists() is not freed
    assert outcome_of(ledger, task)["state"] == (DONE if freed else worker.BUSY)


def test_the_lock_of_somebody_else_is_never_freed(ledger: Ledger, task: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped_early(ledger, task, monkeypatch)
    write_json(folder / "lock", {"host": "elsewhere", "pid": 8})
    an_engine(ledger, {})._free(task)
    assert (folder / "lock").exists()


class KilledWorker(Exception):
    """Dask's, by its name."""


def test_a_cell_that_kills_its_workers_is_a_row(ledger: Ledger, task: Job) -> None:
    made = an_engine(ledger, {})
    future = SimpleNamespace(status="error", exception=lambda: KilledWorker("x"))
    outcome = made._outcome(future, task)
    assert outcome["state"] == FAILED
    assert outcome["error"].startswith("every worker that ran it died. Try: fewer --workers")
    assert ledger.status_of(task).state == FAILED
    with pytest.raises(ResourceError, match="scheduler is gone"):
        made._outcome(SimpleNamespace(status="cancelled"), task)


def test_threads_are_shares_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [runner.threads_each(workers) for workers in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert runner.threads_each(2) == 3


def test_workers_see_one_gpu_each_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(worker.GPUS, "0,3")
    monkeypatch.setattr(worker.signal, "signal", lambda *how: None)
    seen = []
    for name in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "before")
        worker.dask_setup(SimpleNamespace(name=name))
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["0", "3", "0"]


def test_what_is_done_and_by_whom_can_be_read_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LOG_S", -1.0)
    monkeypatch.setattr(runner, "SHOW_S", -1.0)
    logging.getLogger("commander").setLevel(logging.INFO)
    with worker.logged(tmp_path / "log"), runner.Bars(5, done=2) as bar:
        bar.show(lambda: {"0": "a_0 epoch 3/20", "1": "b_0"})
        bar.ended("a_0", {"state": "done"})
        bar.ended("b_0", {"state": "failed", "error": "why"})
        bar.show(dict)
    lines = [line.split(" ", 2)[2] for line in (tmp_path / "log").read_text().splitlines()]
    assert lines[0] == "2 of 5 runs ended, time left not known yet; worker 0: a_0 epoch 3/20; worker 1: b_0"
    assert lines[1:3] == ["a_0 done", "b_0 failed: why"]
    assert lines[3] == "4 of 5 runs ended, about 0 s left; no worker has started"


def test_the_workers_of_this_machine_are_nobody_elses() -> None:
    taken = socket.socket()
    with suppress(OSError):
        taken.bind(("127.0.0.1", 8787))
    taken.listen()
    with taken, warnings.catch_warnings(action="error", category=UserWarning), runner.connected(workers=1) as client:
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [each.laddr for one in family for each in one.net_connections("tcp") if each.status == "LISTEN"]
        assert {place.ip for place in listening} == {"127.0.0.1"}
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert is_refused(address)
        assert is_refused(address.replace("tls://", "tcp://"))
        (facts,) = client.scheduler_info()["workers"].values()
        for port in (client.cluster.scheduler.http_server.port, facts["services"]["dashboard"]):
            for path in ("/info/main/workers.html", "/json/identity.json", "/metrics", "/health"):
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as asked:
                    asked.request("GET", path)
                    assert asked.getresponse().status == 404
