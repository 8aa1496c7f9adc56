"""A committee: members that are trained apart, each on every row, and whose mean probabilities are what it says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.commands import carried_out
from helpers.data import make_spec
from models import CLASSIFIERS, get_model
from toolbox.runs import checkpoints
from toolbox.training import samplers

SMALL = ("cnn1d_3", "resnet1d_10", "lstm_1", "inception1d_small", "ecgformer_tiny")
WITH_FEATURES = type(make_spec())(**{**make_spec(samples=61).as_dict(), "features": ("rr_previous", "rr_next")})


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name in SMALL])
def test_what_it_says_is_the_mean_of_its_members_probabilities(name: str) -> None:
    committee, x = get_model(name, make_spec(), members=3).eval(), torch.randn(5, 1, 187)
    voices = torch.stack([member(x).softmax(1) for member in committee.members])
    assert not torch.allclose(voices[0], voices[1])
    torch.testing.assert_close(committee(x).exp(), voices.mean(0))


@pytest.mark.parametrize("rows", [1, 3, 5, 6, 8])
def test_each_row_of_a_batch_trains_one_member_alone(rows: int) -> None:
    committee = get_model("cnn1d_3", WITH_FEATURES, members=3)
    logits = committee(torch.randn(rows, 1, 61), torch.randn(rows, 2))
    teachers = []
    for row in range(rows):
        committee.zero_grad()
        logits[row].sum().backward(retain_graph=True)
        learnt = [
            any(each.grad is not None and each.grad.any() for each in member.parameters())
            for member in committee.members
        ]
        assert sum(learnt) == 1
        teachers.append(learnt.index(True))
    assert len(set(teachers)) == min(3, rows)


@pytest.mark.parametrize("sampler", [None, "equal"])
def test_each_member_gets_every_batch_of_an_order_of_its_own(sampler: str | None) -> None:
    labels, how = torch.arange(10) % 2, {"seed": 1, "epoch": 2}
    weights = samplers.row_weights(sampler, labels, (1.0, 1.0), np.full(10, "")) if sampler else None
    order = samplers.epoch_order(weights, 10, **how, members=3, batch=4)
    batches = [batch.view(3, -1) for batch in order.split(12)]
    assert [batch.shape[1] for batch in batches] == [4, 4, 2]
    first, second, third = torch.cat(batches, 1)
    assert torch.equal(first, samplers.epoch_order(weights, 10, **how))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    if sampler is None:
        assert torch.equal(second.sort().values, torch.arange(10))


def test_a_member_is_the_network_that_is_trained_alone(root: Path) -> None:
    run = ("--dataset", "synth", "--model-name", "cnn1d_3", "--root-dir", root, "--no-figures", "--short-run")
    run += ("--epochs", "2")
    for members in ("1", "2"):
        assert carried_out(*run, "--members", members, "--grad-clip", "0.1").code == 0
    alone, both = (
        checkpoints.load(root / "synth" / "runs" / f"synth_cnn1d_3_{number}" / "checkpoint.pth.tar")["model"]
        for number in (1, 2)
    )
    assert len(both) == 2 * len(alone)
    first, second = (
        {name: both[f"members.{member}.{name}"] - weight for name, weight in alone.items()} for member in (0, 1)
    )
    for name in ("head.weight", "features.0.weight"):  # but for rounding, which Adam makes larger
        assert first[name].abs().max() < 0.01 * second[name].abs().max()


def test_a_committee_of_one_is_the_network_itself() -> None:
    torch.manual_seed(0)
    one = get_model("cnn1d_3", make_spec(), members=1)
    torch.manual_seed(0)
    assert one.state_dict().keys() == get_model("cnn1d_3", make_spec()).state_dict().keys()


def test_it_is_trained_tested_again_and_gone_on_with_as_any_network(root: Path) -> None:
    run = ("--dataset", "synth", "--model-name", "cnn1d_3", "--root-dir", root, "--no-figures")
    trained = carried_out(*run, "--members", "3", "--short-run", "--epochs", "1", "--calibrate")
    assert trained.code == 0, trained.err
    again = carried_out(*run, "--test")
    assert again.result == trained.result
    other = carried_out(*run, "--resume", "latest", "--epochs", "2", "--members", "2")
    assert other.code == 2
    assert "--members is 2, the run has 3" in other.err


def test_only_classes_can_be_voted_on(root: Path) -> None:
    detecting = carried_out("--dataset", "synth", "--task", "detect", "--members", "2", "--root-dir", root)
    assert detecting.code == 2
    assert "--members is only valid with --task classify" in detecting.err
