"""Searches: what is drawn and what is told, resumed after a kill, pruned, and never a look at the test set."""

import json
from pathlib import Path
from typing import Any

import pytest

import research
from helpers.data import test_set_is_closed
from helpers.studies import BAR, NEVER, Here, Killed, outcome_of, outcomes, run_of
from studies import cells, plans, runner, stages, tables, worker
from studies.cells import Series
from studies.grid import Option, Range, Space, around, fixed
from studies.ledger import DONE, PRUNED, Job, Ledger
from toolbox.errors import UsageError

search = pytest.importorskip("studies.search", reason="optuna is not installed")

GRID = """
base: {dataset: synth, short-run: true, epochs: 1, val-fraction: 0.02}
grid:
  - cross: {lr: 'loguniform(1e-4, 1e-1)', model-name: cnn1d_3, optimizer: [sgd, adam], batch-size: 'randint(32, 64)'}
"""
TRIALS = 3
ONCE = Series("search", tested=False)


def space(text: str, folder: Path) -> Any:
    (folder / "s.yaml").write_text(text)
    return Space.of(plans.read(folder / "s.yaml").grid)


def told(ledger: Ledger, found: Any, **how: Any) -> Any:
    made = search.Search(ledger, found, ONCE, **{"sampler": "tpe", "trials": TRIALS} | how)
    made.run(Here(ledger), BAR, NEVER)
    return made


def rows(ledger: Ledger) -> dict[str, Any]:
    return {row["cell"]: (row["state"], row["lr"], row.get("val/macro_f1")) for row in tables.rows(ledger)}


def test_a_search_whose_driver_is_killed_tries_the_same_cells_and_no_test_is_opened(
    closed: Path, tmp_path: Path
) -> None:
    found = space(GRID, closed.parent)
    ledger, done = Ledger.open(closed, "s"), []

    def outcome(ledger: Ledger, job: Job) -> dict[str, Any]:
        if done:
            raise Killed  # the second trial is drawn and handed over
        done.append(job.key)
        return outcome_of(ledger, job)

    made = search.Search(ledger, found, ONCE, sampler="tpe", trials=TRIALS)
    with pytest.raises(Killed):
        made.run(Here(ledger, outcome), BAR, NEVER)
    resumed = search.Search(ledger, found, ONCE, sampler="tpe", trials=TRIALS)
    assert (resumed.left(), len(resumed.under_way())) == (1, 1)
    resumed.run(Here(ledger), BAR, NEVER)
    assert len(list((closed / "synth" / "runs").iterdir())) == TRIALS

    other = tmp_path / "undisturbed"
    (other / "synth").mkdir(parents=True)
    (other / "synth" / "cache").symlink_to(closed / "synth" / "cache")
    undisturbed = Ledger.open(other, "s")
    made = told(undisturbed, found)
    assert rows(ledger) == rows(undisturbed)
    assert test_set_is_closed(closed)
    values = [trial.value for trial in made.study.trials]
    assert sorted(values) == sorted(value for _, _, value in rows(undisturbed).values())


def test_every_cell_of_a_space_without_ranges_is_tried_once(closed: Path) -> None:
    text = "base: {dataset: synth}\ngrid: [{zip: {lr: [1, 2], momentum: [0, 0.5]}, cross: {optimizer: [sgd, adam]}}]"
    ledger, found = Ledger.open(closed, "s"), space(text, closed.parent)
    made = search.Search(ledger, found, ONCE, sampler="grid", trials=100)
    tried = []

    def outcome(ledger: Ledger, task: Job) -> dict[str, Any]:
        tried.append((task.flags["lr"], task.flags["momentum"], task.flags["optimizer"]))
        return {"state": PRUNED}

    made.run(Here(ledger, outcome), BAR, NEVER)
    assert sorted(tried) == [("1", "0", "adam"), ("1", "0", "sgd"), ("2", "0.5", "adam"), ("2", "0.5", "sgd")]
    assert made.left() == 0
    with pytest.raises(UsageError, match="every value of a range"):
        search.Search(ledger, space(GRID, closed.parent), ONCE, sampler="grid", trials=4)


def test_a_run_that_falls_behind_is_given_up(closed: Path) -> None:
    """Seven runs of three epochs whose scores are made up; the later half is far below the median."""
    ledger, found = Ledger.open(closed, "s"), space(GRID, closed.parent)
    made = search.Search(ledger, found, ONCE, sampler="random", pruner="median", trials=8)
    engine = Here(ledger)

    def outcome(ledger: Ledger, task: Job) -> dict[str, Any]:
        number = made.under[task.cell].numbers[0]
        folder = run_of(ledger, task, f"run{number}")
        score = 0.9 if number < 6 else 0.1
        history = [{"epoch": epoch, "seconds": 1.0, "val": {"macro_f1": score}} for epoch in (1, 2, 3)]
        (folder / "logger.json").write_text(json.dumps(history))
        made._report(engine)
        return {"state": PRUNED if engine.stopped and engine.stopped[-1][0] == [task.key] else DONE}

    engine.outcome = outcome
    made.run(engine, BAR, NEVER)
    assert [trial.state.name for trial in made.study.trials] == ["COMPLETE"] * 6 + ["PRUNED"] * 2
    assert {signum for _, signum in engine.stopped} == {worker.PRUNE}


def test_a_pruned_run_keeps_its_place_and_is_not_gone_on_with(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, found = Ledger.open(closed, "s"), space(GRID, closed.parent)
    one = cells.configuration(next(found.probes()))
    task = ONCE.job(one, 0, None)
    write = Ledger.write

    def written(self: Ledger, task: Job, state: str, **facts: Any) -> None:
        write(self, task, state, **facts)
        worker.stop("test", [task.key], worker.PRUNE)  # while it runs, from outside

    monkeypatch.setattr(Ledger, "write", written)
    assert outcomes(ledger, task) == [{"state": PRUNED}]
    assert any(ledger.folder(ledger.record(task.key)).glob("*.pth.tar"))
    before = (ledger.folder(ledger.record(task.key)) / "checkpoint.pth.tar").stat().st_mtime_ns
    assert outcomes(ledger, task) == [{"state": PRUNED}]
    assert (ledger.folder(ledger.record(task.key)) / "checkpoint.pth.tar").stat().st_mtime_ns == before


def test_a_small_grid_around_the_best_stays_within_the_ranges(tmp_path: Path) -> None:
    ranges = {
        "lr": Range("loguniform", 1e-4, 1e-2),
        "batch-size": Range("randint", 32, 64),
        "momentum": Range("uniform", 0, 1),
    }
    found = Space({**ranges, "optimizer": {"sgd": {"optimizer": "sgd"}}})
    best = {"lr": "0.008", "batch-size": "64", "momentum": "0.5", "optimizer": "sgd"}
    near = around(best, found)
    assert near[0] == best
    assert all(cell["optimizer"] == "sgd" for cell in near)
    differing = [{key: cell[key] for key in best if cell[key] != best[key]} for cell in near[1:]]
    assert [list(each) for each in differing] == [["lr"], ["lr"], ["batch-size"], ["momentum"], ["momentum"]]
    assert [float(value) for each in differing for value in each.values()] == pytest.approx(
        [0.008 / 1.5, 0.01, 63, 0.4, 0.6]
    )
    with pytest.raises(UsageError, match="needs a range"):
        around(best, Space({"optimizer": found.axes["optimizer"]}))


def test_a_space_is_one_product(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 2"):
        Space.of(fixed({}) * (Option("a", [1]) + Option("b", [2])))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--search", "tpes", "--trials", "3"], "unknown --search"),
        (["--search", "tpe", "--trials", "3", "--pruner", "x"], "unknown --pruner"),
        (["--search", "tpe"], "--search needs --trials"),
        (["--trials", "3"], "--trials goes with --search"),
        (["--seeds", "3"], "--seeds goes with --best"),
        (["--best"], "--best goes with"),
        (["--search", "tpe", "--trials", "0"], "--trials is 0, must be from 1"),
        (["--search", "tpe", "--trials", "2", "--branches", "2"], "--branches goes with a grid"),
        (["--branches", "0"], "--branches is 0, must be from 1"),
        ([], "a range needs a search"),
    ],
)
def test_flags_of_a_search_are_checked_before_anything_starts(
    closed: Path, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
) -> None:
    space(GRID, closed.parent)
    assert research.main([str(closed.parent / "s.yaml"), "--root-dir", str(closed), *flags]) == 2
    assert told in capsys.readouterr().err
    assert not (closed / "research").exists()


def test_a_value_that_no_run_could_have_is_found_before_anything_starts(
    closed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space(GRID.replace("randint(32, 64)", "randint(0, 64)"), closed.parent)
    flags = ["--root-dir", str(closed), "--search", "tpe", "--trials", "2"]
    assert research.main([str(closed.parent / "s.yaml"), *flags]) == 2
    assert "--batch-size is 0" in capsys.readouterr().err


def test_the_best_cell_is_trained_on_seeds_that_no_choice_has_seen(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, found = Ledger.open(closed, "s"), space(GRID, closed.parent)
    ledger.freeze(3, space=str(found))
    told(ledger, found, sampler="random", trials=2)
    best = max(rows(ledger).items(), key=lambda item: item[1][2])[0]
    asked: list[Job] = []
    monkeypatch.setattr(stages.Study, "_run", lambda study, tasks: asked.extend(tasks))
    plan = plans.read(closed.parent / "s.yaml").ordered({"seeds": 3, "best": ""})
    stages.Study(plan, stages.check(plan), ledger, runner.Workers(1), NEVER, metric="").carry_out()
    assert [task.cell for task in asked] == [best] * 3
    assert [task.given["seed"] for task in asked] == [1042, 1043, 1044]
    assert {task.given["split_seed"] for task in asked} == {42}
    assert all(task.tested and task.stage == "best" for task in asked)
    assert test_set_is_closed(closed)
