"""Branches: runs that are stepped in turn on one batch are, to the last bit, the runs that each is alone."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.commands import weights
from helpers.studies import job_of, linked_root, outcomes
from loaders.base import Data
from studies import cells, worker
from studies.ledger import DONE, FAILED, STOPPED, Job, Ledger
from studies.worker import Branches

CPU, Kept = torch.device("cpu"), worker.Kept
BASE = {"dataset": "synth", "short-run": "true", "batch-size": "16", "grad-clip": "0"}
DROPOUT = {"model-name": "ecgformer", "model-args": "width=16,layers=1,heads=2,patch=11,dropout=0.3"}
CELLS = (
    {"model-name": "cnn1d_3", "optimizer": "sgd", "epochs": "3"},
    {**DROPOUT, "criterion": "focal", "epochs": "2"},
    {"model-name": "resnet1d_10", "optimizer": "adamw", "augment": "noise,mixup", "scheduler": "OneCycleLR",
     "epochs": "2"},
    {**DROPOUT, "optimizer": "adam", "class-balance": "equal", "lr": "0.002", "epochs": "2",
     "tensorboard": "true"},
)  # fmt: skip
BAD = {"model-name": "cnn1d_3", "optimizer": "sgd", "lr": "1000000", "epochs": "3"}


def job(cell: dict[str, str]) -> Job:
    return job_of(BASE | cell)


def ledger_of(folder: Path, cache: Path) -> Ledger:
    return Ledger.open(linked_root(folder, cache), "b")


def assert_same(mine: Path, theirs: Path) -> None:
    """Weights, history, optimizer and random state of the checkpoints, and every prediction, are equal to the last
    bit."""
    states = [torch.load(run / "checkpoint.pth.tar", weights_only=True) for run in (mine, theirs)]
    for state in states:
        for row in state["history"]:
            del row["seconds"], row["samples_per_s"]
        state["tensors"] = [value for group in state.pop("optimizer")["state"].values() for value in group.values()]
    one, other = states
    for name in ("model", "rng", "losses"):
        assert all(torch.equal(one[name][key], other[name][key]) for key in other[name]), name
    assert all(torch.equal(*map(torch.as_tensor, pair)) for pair in zip(one["tensors"], other["tensors"], strict=True))
    assert repr((one["history"], one["best"])) == repr((other["history"], other["best"]))
    assert weights(mine, "model_best.pth.tar").keys() == weights(theirs, "model_best.pth.tar").keys()
    kept = [path.name for path in theirs.glob("res/*.npz")]
    assert kept
    for name in kept:
        with np.load(mine / "res" / name) as these, np.load(theirs / "res" / name) as those:
            assert all(np.array_equal(these[key], those[key]) for key in those)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> Ledger:
    """Every cell carried out by itself."""
    ledger = ledger_of(tmp_path_factory.mktemp("alone"), synth_cache)
    assert [outcomes(ledger, job(cell))[0]["state"] for cell in CELLS] == [DONE] * len(CELLS)
    return ledger


def test_branches_are_the_runs_that_they_are_alone(
    tmp_path: Path, synth_cache: Path, alone: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(worker, "Kept", lambda *facts: made.append(facts[1]) or Kept(*facts))
    ledger, jobs = ledger_of(tmp_path, synth_cache), [job(cell) for cell in CELLS]
    (group,) = cells.groups(jobs, len(jobs))
    assert [outcome["state"] for outcome in outcomes(ledger, *group)] == [DONE] * len(jobs)
    for each in jobs:
        assert_same(*(one.status_of(each).folder for one in (ledger, alone)))
    events = [(ledger.status_of(each).folder / "tensorboard").exists() for each in jobs]
    assert events == [False, False, False, True]  # a study writes none unless the grid has it
    assert len(made) == 10 * max(int(each.given["epochs"]) for each in jobs)  # each batch was made once for all


def test_a_branch_that_fails_is_a_row_and_the_others_are_what_they_would_have_been(
    tmp_path: Path, synth_cache: Path, alone: Ledger
) -> None:
    ledger, bad = ledger_of(tmp_path, synth_cache), job(BAD)
    first, second = job(CELLS[1]), job(CELLS[0])
    ended = outcomes(ledger, first, bad, second)
    assert [outcome["state"] for outcome in ended] == [DONE, FAILED, DONE]
    assert ended[1]["code"] == 5
    assert outcomes(alone, bad)[0]["error"] == ended[1]["error"]
    for each in (first, second):
        assert_same(*(one.status_of(each).folder for one in (ledger, alone)))
        assert ledger.status_of(each).state == DONE
    said = ledger.log(bad.key).read_text()
    assert "not finite" in said
    assert str(ledger.status_of(bad).folder) in said
    assert not any("not finite" in ledger.log(each.key).read_text() for each in (first, second))
    assert str(ledger.status_of(second).folder) not in ledger.log(first.key).read_text()


class StopAfter(worker.StopRequest):
    """Requests the end once it was looked at 14 times."""

    looks = 14

    @property
    def requested(self) -> int | None:
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else None

    @requested.setter
    def requested(self, _: None) -> None:
        """No signal comes."""


def test_branches_at_different_places_meet_and_end_as_alone(
    tmp_path: Path, synth_cache: Path, alone: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, (ahead, behind) = ledger_of(tmp_path, synth_cache), map(job, CELLS[:2])
    with monkeypatch.context() as patch:
        patch.setattr(worker, "StopRequest", StopAfter)
        assert outcomes(ledger, ahead) == [{"state": STOPPED}]
    steps, pass_on = [], Branches.pass_on
    monkeypatch.setattr(Branches, "pass_on", lambda self, *at: (steps.append(at[0]), pass_on(self, *at)))
    assert [outcome["state"] for outcome in outcomes(ledger, ahead, behind)] == [DONE] * 2
    assert steps[0] > (0, 0)  # it resumed within an epoch, and then waited for the other
    assert steps[-10:] == [(2, step) for step in range(10)]
    assert steps.count((1, 9)) == 2
    for each in (ahead, behind):
        assert_same(*(one.status_of(each).folder for one in (ledger, alone)))


def test_calls_have_random_numbers_of_their_own_and_an_error_comes_when_all_have_ended() -> None:
    ended = []

    def draws(seed: int) -> list[float]:
        torch.manual_seed(seed)
        numbers = []
        for step in range(4):
            made.pass_on((0, step), CPU)
            numbers.append(float(torch.rand(())))
        ended.append(seed)
        return numbers

    def fails() -> None:
        made.pass_on((0, 0), CPU)
        raise OSError("no space")

    made = Branches(2)
    found = made.run([lambda: draws(1), lambda: draws(2)])
    expected = [torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist() for seed in (1, 2)]
    assert found == expected
    made = Branches(3)
    ended.clear()
    with pytest.raises(OSError, match="no space"):
        made.run([fails, lambda: draws(1), lambda: draws(2)])
    assert ended == [1, 2]


def test_a_batch_that_a_network_changed_is_made_again_and_orders_are_told_apart(tiny: Data) -> None:
    one, same, other = torch.arange(150), torch.arange(150), torch.arange(150).flip(0)

    def seen(order: torch.Tensor, *, changed: bool = False) -> list[torch.Tensor]:
        found = []
        for (x,), _ in data.train.batches(CPU).batches(order, 32):
            found.append(x.clone())
            if changed:
                x.zero_()
        return found

    made = Branches(4)
    data = made.sharing(tiny)
    assert made.sharing(tiny) is data
    found = made.run([lambda: seen(one, changed=True), lambda: seen(same), lambda: seen(other), lambda: seen(one)])
    for order, batches in zip((one, same, other, one), found, strict=True):
        assert torch.equal(torch.cat(batches), torch.from_numpy(tiny.train.x)[order])
