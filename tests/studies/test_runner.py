"""Workers and their driver: runs survive every kill, locks of dead workers are freed, and nobody else gets in.

`studies.worker` is tested here too, and `grids/slurm.sh`, which starts scheduler and workers on a cluster.
"""

import http.client
import logging
import os
import signal
import socket
import subprocess
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers.commands import assert_same_run, finish, launch, wait_for
from helpers.data import ROOT
from helpers.studies import carried_out, free_port, is_refused, job_of, linked_root, outcome_of, stopped_early, timeless
from studies import runner, tables, worker
from studies.ledger import DONE, FAILED, STARTED, STOPPED, Job, Ledger
from toolbox.errors import ResourceError
from toolbox.files import write_json
from toolbox.runs.folder import held

GRID = """
base: {dataset: synth, model-name: cnn1d_3, short-run: true, epochs: 10}
grid:
  - cross: {lr: [0.001, 0.005]}
"""
CELL = {"dataset": "synth", "model-name": "cnn1d_3", "short-run": "true", "epochs": "1"}


@pytest.fixture
def job() -> Job:
    return job_of(CELL)


@pytest.fixture
def ledger(root: Path) -> Ledger:
    return Ledger.open(root, "x")


# A worker


def test_a_configuration_is_the_run_that_the_commander_makes_of_its_flags(ledger: Ledger, plain_run: Path) -> None:
    job = job_of(CELL | {"epochs": "2"}, tested=True)
    assert outcome_of(ledger, job) == {"state": DONE}
    assert_same_run(ledger.folder(ledger.record(job.key)), plain_run)


def test_a_held_run_is_busy_and_a_run_without_results_is_tested_on_request(
    ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.stop("gone")
    assert outcome_of(ledger, job, driver="gone") == {"state": STOPPED}
    assert ledger.record(job.key) is None
    assert stopped_early(ledger, job, monkeypatch) == STOPPED
    before = ledger.record(job.key)
    folder = ledger.folder(before)
    with held(folder / "lock"):
        assert outcome_of(ledger, job)["state"] == worker.BUSY
    assert ledger.record(job.key) == before
    assert [outcome_of(ledger, job) for _ in range(2)] == [{"state": DONE}] * 2
    assert not (folder / "results.json").exists()
    tested = replace(job, tested=True)
    assert ledger.status_of(tested).state == STARTED
    assert outcome_of(ledger, tested) == {"state": DONE}
    assert (folder / "results.json").is_file()
    for file in folder.glob("*.pth.tar"):
        file.unlink()
    (folder / "results.json").unlink()
    assert outcome_of(ledger, tested) == {"state": DONE}
    assert list(folder.parent.iterdir()) == [folder]  # a folder without a checkpoint was replaced


def test_a_worker_with_several_threads_does_one_run_at_a_time(
    ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most = [], []

    def outcome(*_: Any) -> dict[str, Any]:
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.02)
        at_once.pop()
        return {"state": DONE}

    monkeypatch.setattr(worker, "_outcome", outcome)
    with ThreadPoolExecutor(4) as threads:
        assert [each["state"] for each in threads.map(lambda _: outcome_of(ledger, job), range(8))] == [DONE] * 8
    assert max(most) == 1


# The engine


class KilledWorker(Exception):
    """Dask's, by its name."""


def engine(ledger: Ledger, alive: dict[str, Any]) -> runner.Engine:
    """An engine whose living workers are `alive`."""
    client = SimpleNamespace(run=lambda *_: alive, scheduler=SimpleNamespace(address="tcp://nowhere"))
    return runner.Engine(client, ledger)


def test_only_the_lock_of_a_dead_worker_of_this_study_is_freed(
    ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stopped_early(ledger, job, monkeypatch) == STOPPED
    lock = ledger.folder(ledger.record(job.key)) / "lock"
    there = {"host": "elsewhere", "pid": 7}
    ledger.write(job, STARTED, by=there)
    for holder, alive, freed in (
        ({"host": "elsewhere", "pid": 8}, {}, False),  # not of this study
        (there, {"a": there}, False),
        (there, {}, True),
    ):
        write_json(lock, holder | {"since": 0})
        assert "another host" in outcome_of(ledger, job)["error"]
        engine(ledger, alive)._free(job)
        assert lock.exists() is not freed
    assert outcome_of(ledger, job) == {"state": DONE}


def test_a_run_that_kills_its_workers_is_a_failed_row_and_a_group_is_tried_run_by_run(ledger: Ledger) -> None:
    jobs = (job_of(CELL), job_of(CELL | {"lr": "0.5"}))
    made = engine(ledger, {})
    killed = SimpleNamespace(status="error", exception=lambda: KilledWorker("x"))
    assert made._outcomes(killed, jobs) == []
    assert list(made.backlog) == [(each,) for each in jobs]
    ((job, outcome),) = made._outcomes(killed, jobs[:1])
    assert outcome["state"] == FAILED
    assert outcome["error"].startswith("every worker that ran it died. Try: fewer --workers")
    assert ledger.status_of(job).state == FAILED
    with pytest.raises(ResourceError, match="scheduler is gone"):
        made._outcomes(SimpleNamespace(status="cancelled"), jobs[:1])


def test_threads_gpus_and_branches_are_shared_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [runner.threads_each(workers) for workers in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert runner.threads_each(2) == 3
    monkeypatch.setenv(worker.GPUS, "0,3")
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    seen = []
    for name in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "before")
        worker.dask_setup(SimpleNamespace(name=name))
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["0", "3", "0"]
    cases = [(1, 8, 1), (4, 8, 4), (8, 8, 4), (8, 3, 2), (4, 1, 1)]  # no worker is left without a run
    assert [runner.Workers(2).branches(asked, runs) for asked, runs, _ in cases] == [most for *_, most in cases]


def test_the_log_names_ended_runs_and_the_run_of_each_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LOG_S", -1.0)
    monkeypatch.setattr(runner, "SHOW_S", -1.0)
    logging.getLogger("commander").setLevel(logging.INFO)
    with worker.logged(tmp_path / "log"), runner.Bars(5, done=2) as bar:
        bar.show(lambda: {"0": "a_0 epoch 3/20", "1": "b_0"})
        bar.ended("a_0", {"state": "done"})
        bar.ended("b_0", {"state": "failed", "error": "why"})
        bar.show(dict)
    assert [line.split(" ", 2)[2] for line in (tmp_path / "log").read_text().splitlines()] == [
        "2 of 5 runs ended, time left not known yet; worker 0: a_0 epoch 3/20; worker 1: b_0",
        "a_0 done",
        "b_0 failed: why",
        "4 of 5 runs ended, about 0 s left; no worker has started",
    ]


def test_workers_of_this_machine_answer_only_their_driver() -> None:
    import psutil  # comes with Dask

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
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=900)) as asked:
                    asked.request("GET", path)
                    assert asked.getresponse().status == 404


# Real processes, killed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> Ledger:
    """The study carried out in this process."""
    root = linked_root(tmp_path_factory.mktemp("undisturbed"), synth_cache)
    with pytest.MonkeyPatch.context() as patch:
        code, ledger = carried_out(root, patch, GRID)
    assert code == 0
    return ledger


def begin(root: Path, *flags: object, text: str = GRID) -> subprocess.Popen:
    """The driver of the study `s`, as a process in a session of its own."""
    path = root.parent / "s.yaml"
    path.write_text(text)
    return launch(path, *flags, "--root-dir", root, script="research.py", start_new_session=True)


def pids(ledger: Ledger) -> set[int]:
    """The last worker of each run."""
    return {record["by"]["pid"] for record in ledger.records().values()}


def workers_of(ledger: Ledger) -> set[int]:
    """The workers of runs that have an epoch behind them and others before them."""
    records = [record for record in ledger.records().values() if record["state"] == STARTED]
    folders = [(record, ledger.folder(record)) for record in records]
    return {record["by"]["pid"] for record, folder in folders if folder and (folder / "logger.json").is_file()}


def assert_ends_as_undisturbed(root: Path, undisturbed: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Carried out to its end the study has the same table, and the same runs to the last bit, none of them twice."""
    code, ledger = carried_out(root, monkeypatch, GRID)
    assert code == 0
    assert timeless(ledger) == timeless(undisturbed)
    for key, record in undisturbed.records().items():
        assert_same_run(ledger.folder(ledger.record(key)), undisturbed.folder(record))
    finished = [path for path in (root / "synth" / "runs").iterdir() if (path / "config.json").is_file()]
    assert len(finished) == len(undisturbed.records())


def test_a_killed_worker_a_killed_driver_and_ctrl_c_lose_nothing(
    root: Path, undisturbed: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(root / "research" / "s", root)
    how = ("--workers", 1, "--branches", 2, "--no-test")
    driver = begin(root, *how)
    wait_for(lambda: bool(workers_of(ledger)), driver)
    (first,) = pids(ledger)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: bool(workers_of(ledger) - {first}), driver)
    driver.kill()
    driver.wait()
    dead = pids(ledger) | {first}
    driver = begin(root, *how)
    wait_for(lambda: len(ledger.records()) == 2 and not pids(ledger) & dead, driver)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    ended = finish(driver)
    assert (ended.code, ended.out) == (130, "")
    assert "took over the lock" in ended.err
    assert "distributed" not in ended.err
    assert "Traceback" not in ended.err
    assert {record["state"] for record in ledger.records().values()} == {STOPPED}
    assert all(any(ledger.folder(record).glob("*.pth.tar")) for record in ledger.records().values())
    assert_ends_as_undisturbed(root, undisturbed, monkeypatch)


def dask(program: str, *flags: object) -> subprocess.Popen:
    """A process of Dask's own, which knows nothing of this program."""
    code = f"from distributed.cli.dask_{program} import main; main()"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return launch("-c", code, *flags, "--no-dashboard", script="", cwd="/", **quiet)


def test_a_scheduler_elsewhere_serves_one_study_after_another_and_may_be_killed(
    root: Path, undisturbed: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, synth_cache: Path
) -> None:
    port, ledger = free_port(), Ledger(root / "research" / "s", root)
    address = f"tcp://127.0.0.1:{port}"
    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", port)
    one = dask("worker", address, "--nthreads", 1, "--no-nanny", "--death-timeout", 900)
    small = linked_root(tmp_path / "small", synth_cache)
    text = GRID.replace("epochs: 10", "epochs: 1").replace("[0.001, 0.005]", "0.001")
    ended = finish(begin(small, "--engine-address", address, text=text))
    assert ended.code == 0, ended.err
    assert {path.name for path in (small / "research" / "s").iterdir()} >= {"index.html", "table.csv", "research.log"}
    (row,) = tables.rows(Ledger(small / "research" / "s", small))
    assert (row["state"], row["test/macro_f1"] > 0) == (DONE, True)

    driver = begin(root, "--no-test", "--engine-address", address)
    wait_for(lambda: bool(workers_of(ledger)), driver)
    scheduler.kill()
    ended = finish(driver)
    assert ended.code == 6, ended.err
    assert "the scheduler is gone" in ended.err
    assert "which resumes" in ended.err
    assert pids(ledger) == {one.pid}
    for process in (scheduler, one):
        process.kill()
        process.wait()
    assert_ends_as_undisturbed(root, undisturbed, monkeypatch)


# SLURM, with plain processes in place of srun


SCRIPT = ROOT / "grids" / "slurm.sh"
STAGES = """
folds: 2
base: {dataset: synth, model-name: cnn1d_3, short-run: true, epochs: 8}
stages:
  - {name: head, base: {train: head}}
  - {name: final, from: head, seeds: 1}
"""
# srun of one task: starts the command and waits for its end.
SRUN = """#!/bin/bash
shift
trap 'kill $(jobs -p)' TERM
"$@" &
wait
wait
"""
# In place of Python: the driver ends with code 3, scheduler and worker run until they are killed.
STUB = """#!/bin/bash
case "$*" in
    *research.py*) exit 3 ;;
    *distributed.cli*) exec sleep 900 ;;
esac
"""


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """The environment of a SLURM job: srun, scontrol, its number."""
    for name, text in {
        "srun": SRUN,
        "scontrol": f"#!/bin/bash\necho $@ >{tmp_path}/requeued\n",
        "python_stub": STUB,
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    own = {"ECG_PROGRAM": str(ROOT), "ECG_HOST": "127.0.0.1", "ECG_PORT": str(free_port()), "ECG_KEYS": str(tmp_path)}
    own |= {"ECG_PYTHON": os.sys.executable, "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1"}
    return own | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def submit(folder: Path, env: dict[str, str], *flags: object) -> subprocess.Popen:
    code = 'import os, sys; os.execvp("bash", ["bash", *sys.argv[1:]])'
    how = {"script": "", "env": env, "cwd": folder, "start_new_session": True, "stderr": subprocess.STDOUT}
    return launch("-c", code, SCRIPT, *flags, **how)


def test_the_slurm_script_asks_for_what_it_says_and_ends_with_the_code_of_the_driver(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    asked = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"#SBATCH --requeue", "#SBATCH --signal=B:TERM@300"} <= set(asked)
    ended = finish(submit(tmp_path, cluster | {"ECG_PYTHON": str(tmp_path / "python_stub")}, "s.yaml"))
    assert ended.code == 3, ended.out
    assert not list(tmp_path.glob(".ecg-keys-*"))
    assert not (tmp_path / "requeued").exists()


def test_a_preempted_slurm_job_saves_its_runs_is_requeued_and_resumes(
    root: Path, cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.yaml").write_text(STAGES)
    ledger = Ledger(root / "research" / "s", root)
    process = submit(tmp_path, cluster, tmp_path / "s.yaml", "--root-dir", root)
    wait_for(lambda: ledger.path.exists() and bool(ledger.records()), process)
    (keys,) = tmp_path.glob(".ecg-keys-*")
    assert {path.stat().st_mode & 0o077 for path in (keys, *keys.iterdir())} == {0}
    for scheme in ("tcp", "tls"):
        assert is_refused(f"{scheme}://127.0.0.1:{cluster['ECG_PORT']}")
    process.send_signal(signal.SIGTERM)  # to the script alone, as --signal=B: does
    ended = finish(process)
    assert ended.code == 143, ended.out
    assert not keys.exists()
    assert (tmp_path / "requeued").read_text().split() == ["requeue", "7"]
    assert {row["state"] for row in tables.rows(ledger)} <= {DONE, "stopped", "waiting"}
    assert carried_out(root, monkeypatch, STAGES)[0] == 0
    rows = tables.rows(ledger)
    assert [(row["stage"], row["state"]) for row in rows] == [("head", DONE), ("head", DONE), ("final", DONE)]
