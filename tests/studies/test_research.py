"""Grids that survive: real workers, drivers and schedulers are killed, and the table is that of an undisturbed
study."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from csv import DictReader
from pathlib import Path
from typing import Any

import pytest

import research
import studies
from helpers.commands import SHORT, assert_same_run, finish, launch, wait_for
from helpers.commands import carried_out as commanded
from helpers.studies import carried_out, free_port, outcome_of, outcomes, timeless
from studies import cells, plans, runner, tables
from studies.cells import Series
from studies.ledger import DONE, FAILED, Job, Ledger
from toolbox.errors import UsageError
from toolbox.metrics import intervals

GRID = """
base: {dataset: synth, model-name: cnn1d_3, short-run: true, epochs: 6}
grid:
  - cross: {lr: [0.001, 0.005]}
"""
NINE_AXES = ", ".join(f"a{i}: [{', '.join('0123456789')}]" for i in range(9))


def written(root: Path, text: str = GRID, name: str = "g.yaml") -> Path:
    path = root.parent / name
    path.write_text(text)
    return path


def begin(root: Path, *flags: object, **how: Any) -> subprocess.Popen:
    return launch(*flags, "--root-dir", root, script="research.py", start_new_session=True, **how)


def tasks_of(path: Path, *, reps: int = 1) -> list[Job]:
    found = cells.configurations(plans.read(path).grid.cells())
    return [Series(reps=reps).job(one, rep, None) for rep in range(reps) for one in found]


def plan(ledger: Ledger, tasks: list[Job]) -> Ledger:
    ledger.freeze(1, cells=[{"name": task.cell, "cell": task.flags} for task in tasks])
    return ledger


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> Ledger:
    """The grid carried out in this process, with as many replicates as a worker draws."""
    root = tmp_path_factory.mktemp("undisturbed") / "data"
    (root / "synth").mkdir(parents=True)
    (root / "synth" / "cache").symlink_to(synth_cache)
    tasks = tasks_of(written(root))
    ledger = plan(Ledger.open(root, "g"), tasks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "REPLICATES", 1000)
        assert [outcome_of(ledger, task)["state"] for task in tasks] == [DONE] * 2
    return ledger


def records(root: Path) -> dict[str, dict[str, Any]]:
    return Ledger(root / "research" / "g", root).records()


def begun(root: Path, *, besides: int = 0) -> dict[str, Any] | None:
    """A run that has an epoch behind it and others before it, once `besides` runs are done."""
    found = [record for record in records(root).values() if record["state"] == "started" and record["run"]]
    done = sum(record["state"] == DONE for record in records(root).values())
    found = [record for record in found if (root / record["run"] / "logger.json").is_file()]
    return found[0] if found and done >= besides else None


def assert_as_undisturbed(root: Path, undisturbed: Ledger) -> None:
    """The same table; the same runs to the last bit; a folder a run, so that none was done twice."""
    ledger = Ledger(root / "research" / "g", root)
    assert timeless(ledger) == timeless(undisturbed)
    for key, record in undisturbed.records().items():
        assert_same_run(ledger.folder(ledger.record(key)), undisturbed.folder(record))
    finished = [path for path in (root / "synth" / "runs").iterdir() if (path / "config.json").is_file()]
    assert len(finished) == len(undisturbed.records())


@pytest.mark.usefixtures("all_replicates")
def test_a_cell_is_the_run_that_the_commander_makes_of_its_flags(undisturbed: Ledger, root: Path) -> None:
    ended = commanded(*SHORT, "--epochs", 6, "--lr", 0.001, "--root-dir", root)
    assert ended.code == 0, ended.err
    records = undisturbed.records().values()
    first = undisturbed.folder(next(record for record in records if record["flags"]["lr"] == "0.001"))
    assert_same_run(Path(ended.result["run_folder"]), first)


def test_a_killed_worker_and_a_killed_driver_lose_nothing_and_nothing_is_done_twice(
    root: Path, undisturbed: Ledger
) -> None:
    grid = written(root)
    driver = begin(root, grid, "--workers", 1)
    wait_for(lambda: begun(root) is not None, driver)
    os.kill(begun(root)["by"]["pid"], signal.SIGKILL)
    killed = begun(root)["by"]["pid"]
    wait_for(lambda: any(record["by"]["pid"] != killed for record in records(root).values()), driver)
    wait_for(lambda: begun(root, besides=1) is not None, driver)
    driver.kill()
    driver.wait()
    done = {key for key, record in records(root).items() if record["state"] == DONE}
    results = {key: (root / records(root)[key]["run"] / "results.json").stat().st_mtime_ns for key in done}
    ended = finish(begin(root, grid, "--workers", 2))
    assert ended.code == 0, ended.err
    assert "took over the lock" in ended.err
    assert_as_undisturbed(root, undisturbed)
    assert results == {key: (root / records(root)[key]["run"] / "results.json").stat().st_mtime_ns for key in done}
    assert {path.name for path in (root / "research" / "g").iterdir()} >= {"index.html", "table.csv", "research.log"}


@pytest.mark.soak
def test_killed_again_and_again_the_table_is_that_of_an_undisturbed_research(root: Path, undisturbed: Ledger) -> None:
    grid, rng = written(root), random.Random(3)
    for _ in range(10):
        driver = begin(root, grid, "--workers", 2)
        time.sleep(rng.uniform(3, 12))
        workers = {record["by"]["pid"] for record in records(root).values() if record["state"] == "started"}
        for pid in rng.sample(sorted(workers), len(workers) // 2):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(rng.uniform(0, 3))
        driver.kill()
        driver.wait()
    ended = finish(begin(root, grid, "--workers", 2))
    assert ended.code == 0, ended.err
    assert_as_undisturbed(root, undisturbed)


@pytest.mark.usefixtures("all_replicates")
def test_ctrl_c_lets_every_branch_save_its_place_and_those_resumed_are_the_cells_one_by_one(
    root: Path, undisturbed: Ledger
) -> None:
    grid = written(root)
    driver = begin(root, grid, "--workers", 1, "--branches", 2)
    wait_for(lambda: len(list(root.glob("synth/runs/*/logger.json"))) == 2, driver)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    ended = finish(driver)
    assert (ended.code, ended.out) == (130, "")
    assert "distributed" not in ended.err
    assert "Traceback" not in ended.err
    assert {record["state"] for record in records(root).values()} == {"stopped"}
    left = Ledger(root / "research" / "g", root)
    assert all(any(left.folder(record).glob("*.pth.tar")) for record in left.records().values())
    assert [outcome["state"] for outcome in outcomes(left, *tasks_of(grid))] == [DONE] * 2
    assert_as_undisturbed(root, undisturbed)


def scheduler(port: int) -> subprocess.Popen:
    code = "from distributed.cli.dask_scheduler import main; main()"
    return dask(code, "--host", "127.0.0.1", "--port", port, "--no-dashboard")


def dask(code: str, *flags: object) -> subprocess.Popen:
    """A process of Dask's own, which knows nothing of this program."""
    return launch("-c", code, *flags, script="", cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.usefixtures("all_replicates")
def test_a_scheduler_elsewhere_with_two_workers_is_used_and_may_be_killed(root: Path, undisturbed: Ledger) -> None:
    grid, port = written(root), free_port()
    address = f"tcp://127.0.0.1:{port}"
    joining = "from distributed.cli.dask_worker import main; main()"
    how = (address, "--nthreads", 1, "--no-nanny", "--no-dashboard", "--death-timeout", 20)
    processes = [scheduler(port), dask(joining, *how), dask(joining, *how)]
    driver = begin(root, grid, "--engine-address", address)
    wait_for(lambda: len({record["by"]["pid"] for record in records(root).values()}) == 2, driver)
    wait_for(lambda: begun(root) is not None, driver)
    processes[0].kill()
    ended = finish(driver)
    assert ended.code == 6, ended.err
    assert "the scheduler is gone" in ended.err
    assert "which resumes" in ended.err
    for process in processes:
        process.kill()
        process.wait()
    left = Ledger(root / "research" / "g", root)
    assert [outcome_of(left, task)["state"] for task in tasks_of(grid)] == [DONE] * 2
    assert_as_undisturbed(root, undisturbed)


FAILING = """
base: {dataset: synth, model-name: cnn1d_3, short-run: true, epochs: 1}
grid:
  - cross: {lr: [0.001, 1000000], grad-clip: 0}
"""


def test_a_failing_cell_is_a_row_and_runs_again_on_request_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    code, ledger = carried_out(root, monkeypatch, FAILING, "--no-test")
    assert code == 1
    assert "not finite" in caplog.text
    good, bad = tables.rows(ledger)
    assert (good["state"], bad["state"]) == (DONE, FAILED)
    assert "not finite" in bad["error"]
    assert "test/loss" not in good  # nothing opened the test set
    record = ledger.path / "runs" / f"{bad['cell']}_0.json"
    before = record.read_text()
    assert carried_out(root, monkeypatch, FAILING, "--no-test")[0] == 1
    assert "--retry" in caplog.text
    assert before == record.read_text()
    assert "1 failed" in capsys.readouterr().out
    assert carried_out(root, monkeypatch, FAILING, "--no-test", "--retry")[0] == 1
    assert before != record.read_text()
    assert research.main(["--results", "s", "--root-dir", str(root)]) == 1


def test_what_is_refused_is_refused_before_anything_starts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, told in (
        ("base: {dataset: synth}\ngrid: [{cross: {lrr: [1]}}]", "unknown flag --lrr ("),
        ("base: {dataset: synth}\ngrid: [{cross: {lr: [0.1, -1]}}]", "configuration 2 of 2: lr=-1"),
        ("base: {dataset: synth}\ngrid: [{cross: {model-name: [cnn1d_4]}}]", "unknown --model-name"),
        ("base: {dataset: synth}\ngrid: [{cross: {version: [3]}}]", "--version cannot be set in a grid"),
        ("base: {dataset: synth}\ngrid: [{cross: {short-run: [1]}}]", "must be true or false"),
        ("base: {dataset: synth, wd: 1, weight-decay: 2}", "are the same flag"),
        ("base: {lr: 0.1}", "names no dataset"),
        ("base: {dataset: synth}\ngrid: [{cross: {seed: [1, 2]}}]", "seed cannot be an axis"),
        ("base: {dataset: synth}\ngrid: [{cross: {lr: 'uniform(0.1, 1)'}}]", "a range needs a search"),
        ("base: {dataset: synth}\nreps: 60000\ngrid: [{cross: {lr: [0.1, 0.2]}}]", "are 120,000 runs"),
        (f"base: {{dataset: synth}}\ngrid: [{{cross: {{{NINE_AXES}}}}}]", "1,000,000,000 configurations"),
    ):
        assert research.main([str(written(root, text)), "--root-dir", str(root)]) == 2
        assert told in capsys.readouterr().err
    assert not (root / "research").exists()


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("g.yaml --dry-run --search tpe --trials 3", "--dry-run lists a grid, not a search"),
        ("g.yaml --results g", "leave the grid out"),
        ("--results g --search tpe", "--search needs --trials"),
        ("g.yaml --workers 1000000", "--workers is 1000000, must be from 1 to 1000"),
        ("g.yaml --reps 1000000000", "--reps is 1000000000, must be from 1 to 100000"),
    ],
)
def test_what_does_not_go_together_is_said(typed: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        research.understood(typed.split())


def test_a_dry_run_lists_cells_merges_equal_ones_and_warns_of_identical_networks(
    root: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    text = """
    base: {dataset: synth}
    reps: 2
    grid:
      - cross: {model-name: [resnet1d_v2_18, resnet1d_v2, cnn1d_3], lr: [0.001, 0.005]}
      - cross: {model-name: cnn1d_3, lr: [1e-3, 2e-3]}
    """
    assert research.main([str(written(root, text)), "--dry-run", "--root-dir", str(root)]) == 0
    listed = capsys.readouterr().out
    assert "1,560,059 parameters       26,453,158 MACs  model-name=resnet1d_v2_18 lr=0.001" in listed
    assert "7 configurations, 2 repetitions, 14 runs" in listed
    assert "configuration 7 (model-name=cnn1d_3 lr=1e-3) equals (model-name=cnn1d_3 lr=0.001)" in caplog.text
    assert "model-name=resnet1d_v2_18 and model-name=resnet1d_v2 build identical networks" in caplog.text
    assert "cnn1d_3 and" not in caplog.text


def test_a_cell_without_any_of_the_axes_says_so_and_a_lone_one_that_it_is_the_only_one() -> None:
    assert cells.differing({"epochs": "1"}, ["lr", "normalise"]) == "without lr, normalise"
    assert cells.differing({"epochs": "1"}, []) == "the only one"


def test_what_tells_cells_apart_is_what_is_trained_not_where_or_how_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"dataset": "table", "data-file": str(tmp_path / "a.csv")}
    first = cells.configuration(base)
    monkeypatch.chdir(tmp_path)
    same = (
        {"data-file": "a.csv"},
        {"device": "cpu"},
        {"lr": "5e-3"},
        {"wd": "0.010"},
        {"batch-size": "128"},
        {"seed": "42"},
    )
    assert {cells.configuration(base | other).name for other in same} == {first.name}
    assert cells.configuration(base | {"data-file": "a.csv"}).given["data_file"] == str(tmp_path / "a.csv")
    others = (
        {"data-file": "b.csv"},
        {"lr": "6e-3"},
        {"epochs": "3"},
        {"short-run": "true"},
        {"model-name": "cnn1d_3"},
        {"seed": "7"},
    )
    assert len({first.name, *(cells.configuration(base | other).name for other in others)}) == 7


def test_parts_of_a_flag_are_put_together_and_switches_are_typed_alone() -> None:
    cell = {"augment.noise": "1", "lr": "0.1", "augment.shift": "2-3", "short-run": "true", "calibrate": "false"}
    assert cells.typed(cell) == ["--augment=noise=1,shift=2-3", "--lr=0.1", "--short-run"]


def test_repetitions_have_the_same_seed_and_split_in_every_cell(root: Path) -> None:
    tasks = tasks_of(written(root), reps=2)
    assert [task.rep for task in tasks] == [0, 0, 1, 1]
    assert [task.given["seed"] for task in tasks] == [42, 42, 43, 43]
    assert len({task.key for task in tasks}) == 4


def test_a_grid_may_grow_and_not_lose_cells(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger.open(root, "g")
    tasks = tasks_of(written(root))
    assert plan(ledger, tasks[:1]).freeze(2, cells=[{"name": task.cell, "cell": task.flags} for task in tasks]) == 1
    assert ledger.plan()["reps"] == 2
    with pytest.raises(Exception, match="1 of the 2 configurations"):
        plan(ledger, tasks[1:])


def test_the_results_are_filtered_and_written_with_types(undisturbed: Ledger, tmp_path: Path) -> None:
    root, csv = str(undisturbed.root), tmp_path / "out.csv"
    assert research.main(["--results", "g", "--root-dir", root, "--where", "lr=0.005", "--csv", str(csv)]) == 0
    (values,) = DictReader(csv.read_text().splitlines())
    assert (values["lr"], values["rep"], values["state"]) == ("0.005", "0", DONE)
    run = undisturbed.root / values["run"]
    assert float(values["test/macro_f1"]) == json.loads((run / "results.json").read_text())["test"]["macro_f1"]
    assert values["parameters"] == "4789"
    assert values["split_rule"] == json.loads((run / "results.json").read_text())["split_rule"]
    page = (undisturbed.path / "index.html").read_text()
    for heading in ("Score against cost", "Parallel coordinates", "Learning curves", "Repetitions"):
        assert f"<h2>{heading}</h2>" in page


def test_two_commands_at_once_and_an_address_without_a_scheduler_are_refused(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = str(written(root))
    with Ledger.open(root, "g").locked():
        assert research.main([grid, "--root-dir", str(root)]) == 8
    assert "the study is held by process" in capsys.readouterr().err
    monkeypatch.setattr(runner, "CONNECT_S", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    assert research.main([grid, "--root-dir", str(root), "--engine-address", address]) == 6
    assert f"no scheduler answers ({address})" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["yaml", "distributed", "optuna", "cryptography"])
def test_a_package_that_is_not_installed_is_named_with_where_it_is_required(
    root: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "studies.search", raising=False)
    monkeypatch.delattr(studies, "search", raising=False)
    search = ["--search", "random", "--trials", "1"] if package == "optuna" else []
    assert research.main([str(written(root)), *search, "--root-dir", str(root)]) == 6
    told = f"the package {package} is not installed. Try: pip install -r requirements-research.txt"
    assert told in capsys.readouterr().err
