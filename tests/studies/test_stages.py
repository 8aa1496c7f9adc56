"""Stages in one file: each starts from the best of an earlier one, with weights that never saw its validation rows."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from helpers.data import ROOT, test_set_is_closed
from helpers.studies import BAR, NEVER, Here, Killed, carried_out, outcome_of, run_of
from studies import plans, stages, tables
from studies.cells import Series
from studies.grid import Space
from studies.ledger import DONE, FAILED, PRUNED, Job, Ledger
from toolbox.runs.predictions import Predictions

FILE = """
folds: 2
base: {dataset: synth, model-name: cnn1d_3, short-run: true, batch-size: 64, lr: 0.01, sampler: equal}
stages:
  - name: head
    base: {train: head, epochs: 1}
    grid: {cross: {lr: [0.003, 0.03]}}
  - name: all
    from: head
    base: {pretrained: head, train: ~}
    grid: {cross: {lr: 'loguniform(1e-3, 1e-2)', optimizer: adam}}
    search: tpe
    trials: 2
    refine: true
  - {name: final, from: all, seeds: 2}
"""


@pytest.fixture(autouse=True)
def needs_optuna() -> None:
    pytest.importorskip("optuna")


def of(ledger: Ledger, stage: str) -> list[dict[str, Any]]:
    return [row for row in tables.rows(ledger) if row["stage"] == stage]


def validated(ledger: Ledger, key: str) -> list[int]:
    """The rows that a run was validated on."""
    return np.sort(Predictions.load(ledger.folder(ledger.record(key)) / "res" / "epoch1.npz").index).tolist()


def config(ledger: Ledger, row: dict[str, Any]) -> dict[str, Any]:
    return json.loads((ledger.root / row["run"] / "config.json").read_text())


def open_test(root: Path, synth_cache: Path) -> None:
    """Put the generated test rows where they are looked for, which is quicker than to generate them."""
    (test,) = synth_cache.glob("test-*")
    (root / "synth" / "cache" / test.name).symlink_to(test)


def test_each_stage_starts_from_the_best_before_also_after_a_kill_and_no_weights_saw_the_validation_rows(
    closed: Path, synth_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outcome(ledger: Ledger, job: Job) -> dict[str, Any]:
        if job.key.startswith("all-"):
            raise Killed  # between two stages
        return outcome_of(ledger, job)

    with pytest.raises(Killed):
        carried_out(closed, monkeypatch, FILE, "--no-test", outcome=outcome)
    code, ledger = carried_out(closed, monkeypatch, FILE, "--no-test")
    assert code == 0, capsys.readouterr().err
    assert test_set_is_closed(closed)
    head, after = of(ledger, "head"), of(ledger, "all")
    runs = sorted(path.name for path in (closed / "synth" / "runs").iterdir())
    assert len(runs) == len(tables.rows(ledger))  # none was made twice
    assert [row["fold"] for row in head] == ["1/2", "1/2", "2/2", "2/2"]
    assert {row["state"] for row in tables.rows(ledger)} == {DONE}
    best = tables.best(tables.cells(head, "macro_f1"), "macro_f1", "head")["cell"]
    assert {row["pretrained"] for row in after} == {f"head-{best}"}
    folds = [validated(ledger, f"head-{best}_{number}") for number in (0, 1)]
    assert [len(fold) for fold in folds] == [640, 640]  # ten batches of 64, as in every short run
    assert not {*folds[0]} & {*folds[1]}
    for row in after:
        source = ledger.folder(ledger.record(f"head-{best}_{row['rep']}")).name
        assert config(ledger, row)["pretrained"]["checkpoint"] == f"{source}/model_best.pth.tar"
        assert validated(ledger, f"all-{row['cell']}_{row['rep']}") == folds[row["rep"]]
    assert len({row["cell"] for row in after}) == 4  # two trials, and two beside the best of them
    assert "may have been trained on" not in "".join(path.read_text() for path in (ledger.path / "logs").iterdir())
    chosen = tables.best(tables.cells(after, "macro_f1"), "macro_f1", "all")["cell"]
    for row in of(ledger, "final"):
        assert (row["cell"], row["chosen"], row["seed"]) == (chosen, True, 1042 + row["rep"])
        begun = ledger.folder(ledger.record(f"final.head-{best}_{row['rep']}"))
        kept = config(ledger, row)
        assert kept["pretrained"]["checkpoint"] == f"{begun.name}/model_best.pth.tar"
        assert (kept["data"]["train_rows"], kept["data"]["val_rows"]) == (12_000, 0)
        assert (kept["flags"]["split_seed"], kept["flags"]["monitor"]) == (42, "epoch")
        assert json.loads((begun / "config.json").read_text())["data"]["val_rows"] == 0

    capsys.readouterr()
    open_test(closed, synth_cache)
    code, _ = carried_out(closed, monkeypatch, FILE)
    assert code == 0
    assert runs == sorted(path.name for path in (closed / "synth" / "runs").iterdir())
    told = capsys.readouterr().out
    rows = tables.rows(ledger)
    assert [row["stage"] for row in rows if row.get("test/macro_f1") is not None] == ["final"] * 2
    assert told.count("\n*  ") == 2  # the best of head and of all
    short = "a short run: at most 640 rows of validation and of test, drawn by a fixed seed"
    rule = "validation is fold 1 of 2 of train, stratified by class, seed 42"
    assert f"{rule}; {short}; the other folds validate in turn" in told
    assert f"no row validates, all that are not test are trained on; {short}; each repetition has its own seed" in told


TINY = """
folds: 2
base: {dataset: synth, model-name: cnn1d_3, short-run: true, epochs: 1}
stages:
  - {name: head, base: {train: head}}
  - {name: all, from: head, base: {pretrained: head, train: all}}
"""


def test_weights_of_another_division_and_a_best_that_has_changed_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TINY.replace("train: all", "train: all, seed: 7")
    code, ledger = carried_out(root, monkeypatch, text)
    assert code == 2
    assert "trained on its validation rows: --seed is 7, and was 42" in capsys.readouterr().err
    assert of(ledger, "all")[0]["state"] == "waiting"
    text = TINY.replace("train: head", "train: head, batch-size: 32")
    assert carried_out(root, monkeypatch, text)[0] == 2
    assert "error: the grid lacks" in capsys.readouterr().err


def test_a_dry_run_lists_stages_cells_and_trials(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert carried_out(root, monkeypatch, FILE, "--dry-run")[0] == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "head: 2 configurations, 2 folds, 4 runs",
        "     1  lr=0.003",
        "     2  lr=0.03",
        "all: 2 trials by tpe, from the best configuration of head, 2 folds, then the best and its neighbours, 2 folds",
        "      lr: loguniform(0.001, 0.01)",
        "final: the best configuration of all again, 2 seeds, trained on all training rows, tested",
    ]
    assert not (root / "research").exists()


FLAG = "is only valid for a file without stages"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("name: all", "name: head", "'head' is not a valid, free name of a stage"),
        ("name: all", "name: grid", "'grid' is not a valid, free name of a stage"),
        ("from: head", "from: tail", "no earlier stage is named tail"),
        ("from: all, ", "", "a stage with seeds needs from"),
        ("seeds: 2", "seeds: 2, grid: {cross: {lr: 1}}", "a stage with seeds has no 'grid'"),
        ("seeds: 2", "seeds: 0", "seeds is 0, must be a number from 1 on"),
        ("trials: 2", "", "search needs trials"),
        ("search: tpe", "", "trials, pruner and refine need search"),
        ("search: tpe", "search: tpee", "unknown --search 'tpee'"),
        ("refine: true", "refine: yes", "refine is yes, must be true or false"),
        ("'loguniform(1e-3, 1e-2)'", "0.1", "refine needs a range in the grid"),
        ("optimizer: adam", "optimizer: [adam, adamm]", "stage all"),
        ("optimizer: adam", "optimizer: [adam, adamm]", "unknown --optimizer 'adamm'"),
        ("optimizer: adam", "scheduler: ReduceLROnPlateau", "ReduceLROnPlateau needs validation rows"),
        ("train: ~", "train: ~, monitor: loss", "all stages need the same monitor"),
        ("lr: 0.01,", "val-fraction: 0.2,", "--val-fraction cannot be combined with folds"),
        ("trials: 2", "trials: 2\n    reps: 3", "has 3 repetitions, its initial weights, of head, have 1"),
        ("folds: 2", "folds: 2\ngrid: {cross: {lr: 1}}", "the file needs either a grid or a list of stages"),
        *((flag, flag, FLAG) for flag in ("--search random --trials 2", "--seeds 3 --best", "--reps 2", "--refine")),
    ],
)
def test_an_invalid_stage_or_flag_of_stages_is_refused_before_anything_starts(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: str, after: str, told: str
) -> None:
    flags = before.split() if told == FLAG else []
    assert flags or before in FILE
    assert carried_out(root, monkeypatch, FILE.replace(before, after), *flags)[0] == 2
    assert told in capsys.readouterr().err
    assert not (root / "research").exists()


def test_a_stages_base_is_over_the_files_and_its_axes_are_over_both() -> None:
    below = {"lr": "1", "model-args": "width=4,dropout=0.1", "train": "head"}
    assert plans.over(below, {"train": None}) == {"lr": "1", "model-args": "width=4,dropout=0.1", "train": None}
    assert plans.over(below, {"model-args.dropout": "0.2"}) == {"lr": "1", "train": "head", "model-args.dropout": "0.2"}
    found = [{"name": "a", "base": {"train": None}, "grid": {"cross": {"lr": ["2", "3"]}}}]
    (stage,) = plans.read_stages(found, reps=1)
    assert stage.whole(below, {}).cells() == [{"model-args": "width=4,dropout=0.1", "lr": rate} for rate in "23"]


# Folds in a study without stages


GRID = """
folds: 3
base: {dataset: synth, model-name: cnn1d_3, short-run: true, epochs: 1}
grid: {cross: {lr: [0.001, 0.01]}}
"""


def test_cells_are_compared_over_all_folds_and_the_best_is_trained_on_all_rows(
    closed: Path, synth_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, ledger = carried_out(closed, monkeypatch, GRID)
    assert code == 0, capsys.readouterr().err
    assert test_set_is_closed(closed)
    rows = tables.rows(ledger)
    assert [(row["rep"], row["fold"], row["seed"]) for row in rows[::2]] == [(n, f"{n + 1}/3", 42) for n in range(3)]
    cells = tables.cells(rows, "loss")
    scores = [[row["val/loss"] for row in rows if row["cell"] == cell["cell"]] for cell in cells]
    assert [cell["val_mean"] for cell in cells] == pytest.approx(np.mean(scores, axis=1))
    best = cells[int(np.argmin(np.mean(scores, axis=1)))]["cell"]
    assert tables.best(cells, "loss")["cell"] == best
    rows[next(i for i, row in enumerate(rows) if row["cell"] == best)]["state"] = FAILED
    assert tables.best(tables.cells(rows, "loss"), "loss")["cell"] != best  # two folds of three are no mean
    open_test(closed, synth_cache)
    code, _ = carried_out(closed, monkeypatch, GRID, "--best", "loss", "--seeds", "1")
    assert code == 0
    (row,) = of(ledger, "best")
    assert (row["cell"], config(ledger, row)["data"]["val_rows"]) == (best, 0)
    assert row["test/macro_f1"] is not None
    assert carried_out(closed, monkeypatch, GRID, "--folds", "4")[0] == 2
    assert "this study has 3 folds, not 4" in capsys.readouterr().err


SPACE = "base: {dataset: synth, short-run: true, epochs: 2}\ngrid: {cross: {lr: 'loguniform(1e-4, 1e-1)'}}"
TRIALS = {  # the state of the trial, by those of the runs of its folds
    (DONE, DONE, DONE): "COMPLETE",
    (PRUNED,): "PRUNED",
    (FAILED,): "FAIL",
    (DONE, DONE, FAILED): "FAIL",
    (DONE, "stopped", DONE): "RUNNING",
}


@pytest.mark.parametrize("outcomes", TRIALS)
def test_the_value_of_a_trial_is_the_mean_over_its_folds_and_the_first_runs_alone(
    closed: Path, outcomes: tuple[str, ...]
) -> None:
    from studies.search import Search

    (closed.parent / "s.yaml").write_text(SPACE)
    ledger, found = Ledger.open(closed, "s"), Space.of(plans.read(closed.parent / "s.yaml").grid)
    made = Search(ledger, found, Series("search", folds=3, tested=False), sampler="random", trials=1)
    waiting: list[int] = []

    def outcome(ledger: Ledger, job: Job) -> dict[str, str]:
        waiting.append(len(engine))
        assert job.given["val_fold"] == f"{job.rep + 1}/3"
        run_of(ledger, job, outcomes[job.rep], scores=[(0.2, 0.3, 0.7)[job.rep]])
        return {"state": outcomes[job.rep]}

    engine = Here(ledger, outcome)
    if "stopped" in outcomes:
        made._begin(engine)
    made.run(engine, BAR, SimpleNamespace(requested=2) if "stopped" in outcomes else NEVER)
    (trial,) = made.study.trials
    assert trial.state.name == TRIALS[outcomes]
    assert waiting == [0, 1, 0][: len(outcomes)]
    if trial.state.name == "COMPLETE":
        assert trial.value == pytest.approx(0.4)


@pytest.mark.parametrize("grid", sorted(ROOT.glob("grids/*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_grid_has_flags_that_the_commander_takes(grid: Path) -> None:
    plan = plans.read(grid)
    ranges = not plan.stages and any(axis.drawn for term in plan.grid.terms for axis in term)
    checked = stages.check(plan.ordered({"search": "random", "trials": 2} if ranges else {}))
    assert checked
    for _, found in checked.values():
        assert isinstance(found, Space) or all(one.settled() for one in found)


def test_the_benchmark_of_ptbxl_has_the_published_recipe_for_every_network_and_label_set() -> None:
    plan = plans.read(ROOT / "grids" / "ptbxl_benchmark.yaml").ordered({})
    ((_, found),) = stages.check(plan).values()
    runs = [one.settled() for one in found]
    assert len({(run.labels, run.model_name) for run in runs}) == len(runs) == 9
    recipe = ("adamw", 0.001, 0.001, "none", 0, 64, 100, "2.5s", "macro_auroc")
    assert {
        (run.optimizer, run.lr, run.weight_decay, run.scheduler, run.grad_clip, run.batch_size, run.epochs, run.crops,
         run.monitor) for run in runs
    } == {recipe}  # fmt: skip
    assert plan.stages[0].reps == 3
