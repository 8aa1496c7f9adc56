"""Searches: drawn trials, their scores, a resume after a kill, pruning; the test set stays closed."""

from pathlib import Path
from typing import Any

import pytest

from helpers.data import test_set_is_closed
from helpers.studies import BAR, NEVER, Here, Killed, linked_root, outcome_of, run_of, stopped_early
from studies import cells, plans, runner, stages, tables, worker
from studies.cells import Series
from studies.grid import Option, Range, Space, around, fixed
from studies.ledger import DONE, PRUNED, Job, Ledger
from toolbox.errors import UsageError

GRID = """
base: {dataset: synth, short-run: true, epochs: 1, val-fraction: 0.02}
grid:
  - cross: {lr: 'loguniform(1e-4, 1e-1)', model-name: cnn1d_3, optimizer: [sgd, adam], batch-size: 'randint(32, 64)'}
"""
TRIALS = 3
ONCE = Series("search", tested=False)


@pytest.fixture(autouse=True)
def needs_optuna() -> None:
    pytest.importorskip("optuna")


def space(text: str, folder: Path) -> Any:
    (folder / "s.yaml").write_text(text)
    return Space.of(plans.read(folder / "s.yaml").grid)


def searched(ledger: Ledger, found: Any, **how: Any) -> Any:
    from studies.search import Search  # imports optuna, for a second

    return Search(ledger, found, ONCE, **{"sampler": "tpe", "trials": TRIALS} | how)


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

    with pytest.raises(Killed):
        searched(ledger, found).run(Here(ledger, outcome), BAR, NEVER)
    resumed = searched(ledger, found)
    assert (resumed.left(), len(resumed.under_way())) == (1, 1)
    resumed.run(Here(ledger), BAR, NEVER)
    assert len(list((closed / "synth" / "runs").iterdir())) == TRIALS

    undisturbed = Ledger.open(linked_root(tmp_path / "other", closed / "synth" / "cache"), "s")
    made = searched(undisturbed, found)
    made.run(Here(undisturbed), BAR, NEVER)
    assert rows(ledger) == rows(undisturbed)
    assert test_set_is_closed(closed)
    values = [trial.value for trial in made.study.trials]
    assert sorted(values) == sorted(value for _, _, value in rows(undisturbed).values())


@pytest.mark.parametrize(("metric", "turned"), [("macro_auroc", 1), ("loss", -1)])
def test_trials_are_ranked_by_the_metric_that_their_runs_monitor(closed: Path, metric: str, turned: int) -> None:
    """Rows with many labels, or a validation without a class, decide it when they are read."""
    ledger, found = Ledger.open(closed, "s"), space(GRID, closed.parent)

    def outcome(ledger: Ledger, job: Job) -> dict[str, Any]:
        ended = outcome_of(ledger, job)
        config = ledger.folder(ledger.record(job.key)) / "config.json"  # type: ignore[operator]
        config.write_text(config.read_text().replace('"monitor": "macro_f1"', f'"monitor": "{metric}"'))
        return ended

    made = searched(ledger, found)
    made.run(Here(ledger, outcome), BAR, NEVER)
    values = {trial.user_attrs["cell"]: trial.value for trial in made.study.trials}
    assert values == {row["cell"]: turned * row[f"val/{metric}"] for row in tables.rows(ledger)}


def test_every_cell_of_a_space_without_ranges_is_tried_once(closed: Path) -> None:
    text = "base: {dataset: synth}\ngrid: [{zip: {lr: [1, 2], momentum: [0, 0.5]}, cross: {optimizer: [sgd, adam]}}]"
    ledger, found = Ledger.open(closed, "s"), space(text, closed.parent)
    made = searched(ledger, found, sampler="grid", trials=100)
    tried = []

    def outcome(ledger: Ledger, job: Job) -> dict[str, Any]:
        tried.append((job.flags["lr"], job.flags["momentum"], job.flags["optimizer"]))
        return {"state": PRUNED}

    made.run(Here(ledger, outcome), BAR, NEVER)
    assert sorted(tried) == [("1", "0", "adam"), ("1", "0", "sgd"), ("2", "0.5", "adam"), ("2", "0.5", "sgd")]
    assert made.left() == 0
    with pytest.raises(UsageError, match="every value of a range"):
        searched(ledger, space(GRID, closed.parent), sampler="grid")


def test_a_run_that_falls_behind_is_pruned(closed: Path) -> None:
    """Eight runs of three epochs with made-up scores; those of the last two are far below the median."""
    ledger, found = Ledger.open(closed, "s"), space(GRID, closed.parent)
    made = searched(ledger, found, sampler="random", pruner="median", trials=8)
    engine = Here(ledger)

    def outcome(ledger: Ledger, job: Job) -> dict[str, Any]:
        run_of(ledger, job, scores=[0.9 if made.under[job.cell].numbers[0] < 6 else 0.1] * 3)
        made._report(engine)
        return {"state": PRUNED if engine.stopped and engine.stopped[-1][0] == [job.key] else DONE}

    engine.outcome = outcome
    made.run(engine, BAR, NEVER)
    assert [trial.state.name for trial in made.study.trials] == ["COMPLETE"] * 6 + ["PRUNED"] * 2
    assert {signum for _, signum in engine.stopped} == {worker.PRUNE}


def test_a_pruned_run_keeps_its_checkpoint_and_is_not_resumed(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, found = Ledger.open(closed, "s"), space(GRID, closed.parent)
    job = ONCE.job(cells.configuration(next(found.probes())), 0, None)
    assert stopped_early(ledger, job, monkeypatch, worker.PRUNE) == PRUNED
    checkpoint = ledger.folder(ledger.record(job.key)) / "checkpoint.pth.tar"
    before = checkpoint.stat().st_mtime_ns
    assert outcome_of(ledger, job) == {"state": PRUNED}
    assert checkpoint.stat().st_mtime_ns == before


def test_a_small_grid_around_the_best_stays_within_the_ranges_of_one_product() -> None:
    ranges = {"lr": Range("loguniform", 1e-4, 1e-2), "batch-size": Range("randint", 32, 64)}
    found = Space({**ranges, "momentum": Range("uniform", 0, 1), "optimizer": {"sgd": {"optimizer": "sgd"}}})
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
    with pytest.raises(UsageError, match="has 2"):
        Space.of(fixed({}) * (Option("a", [1]) + Option("b", [2])))


def test_the_best_cell_is_trained_on_seeds_that_no_choice_has_seen(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcome(ledger: Ledger, job: Job) -> dict[str, Any]:
        run_of(ledger, job, DONE, scores=[float(job.flags["lr"])])
        return {"state": DONE}

    ledger, found = Ledger.open(closed, "s"), space(GRID, closed.parent)
    ledger.freeze(3, space=str(found))
    searched(ledger, found, sampler="random").run(Here(ledger, outcome), BAR, NEVER)
    best = max(rows(ledger).items(), key=lambda item: item[1][1])[0]
    asked: list[Job] = []
    monkeypatch.setattr(stages.Study, "_run", lambda _, jobs: asked.extend(jobs))
    plan = plans.read(closed.parent / "s.yaml").ordered({"seeds": 3, "best": ""})
    stages.Study(plan, stages.check(plan), ledger, runner.Workers(1), NEVER, metric="").carry_out()
    assert len(rows(ledger)) == 3
    assert [job.cell for job in asked] == [best] * 3
    assert [job.given["seed"] for job in asked] == [1042, 1043, 1044]
    assert {job.given["split_seed"] for job in asked} == {42}
    assert all(job.tested and job.stage == "best" for job in asked)
    assert test_set_is_closed(closed)
