"""A committee: each member is trained on rows of its own, and the output is the mean of their probabilities."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.commands import SHORT, carried_out, weights
from helpers.data import make_spec
from models import get_model
from toolbox.training import samplers


@pytest.mark.parametrize("name", ["cnn1d_3", "lstm_1"])
def test_the_output_is_the_mean_of_the_members_probabilities(name: str) -> None:
    committee, x = get_model(name, make_spec(), members=3).eval(), torch.randn(5, 1, 187)
    voices = torch.stack([member(x).softmax(1) for member in committee.members])
    assert not torch.allclose(voices[0], voices[1])
    torch.testing.assert_close(committee(x).exp(), voices.mean(0))
    alone = get_model(name, make_spec(), members=1)
    assert alone.state_dict().keys() == get_model(name, make_spec()).state_dict().keys()


def test_each_row_of_a_batch_trains_one_member_alone() -> None:
    spec = replace(make_spec(samples=61), features=("rr_previous", "rr_next"))
    committee = get_model("cnn1d_3", spec, members=3)
    for rows in (1, 3, 5, 6, 8):
        logits, teachers = committee(torch.randn(rows, 1, 61), torch.randn(rows, 2)), []
        for row in range(rows):
            committee.zero_grad()
            logits[row].sum().backward(retain_graph=True)
            grads = [[each.grad for each in member.parameters()] for member in committee.members]
            learnt = [any(grad is not None and grad.any() for grad in of) for of in grads]
            assert sum(learnt) == 1
            teachers.append(learnt.index(True))
        assert len(set(teachers)) == min(3, rows)


@pytest.mark.parametrize("sampler", [None, "equal"])
def test_each_member_gets_every_batch_in_an_order_of_its_own(sampler: str | None) -> None:
    labels, how = torch.arange(10) % 2, {"seed": 1, "epoch": 2}
    rows = samplers.row_weights(sampler, labels, (1.0, 1.0), np.full(10, "")) if sampler else None
    order = samplers.epoch_order(rows, 10, **how, members=3, batch=4)
    batches = [batch.view(3, -1) for batch in order.split(12)]
    assert [batch.shape[1] for batch in batches] == [4, 4, 2]
    first, second, third = torch.cat(batches, 1)
    assert torch.equal(first, samplers.epoch_order(rows, 10, **how))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    if sampler is None:
        assert torch.equal(second.sort().values, torch.arange(10))


def test_a_member_is_the_network_that_is_trained_alone(root: Path) -> None:
    for members in ("1", "2"):
        how = ("--epochs", "2", "--members", members, "--grad-clip", "0.1")
        assert carried_out(*SHORT, *how, "--root-dir", root).code == 0
    alone, both = (weights(root / "synth" / "runs" / f"synth_cnn1d_3_{number}") for number in (1, 2))
    assert len(both) == 2 * len(alone)
    for name in ("head.weight", "features.0.weight"):  # but for rounding, which Adam makes larger
        first, second = ((both[f"members.{k}.{name}"] - alone[name]).abs().max() for k in (0, 1))
        assert first < 0.01 * second


def test_a_committee_is_trained_tested_again_and_resumed_as_any_classifier(root: Path) -> None:
    run = ("--dataset", "synth", "--model-name", "cnn1d_3", "--root-dir", root, "--no-figures")
    trained = carried_out(*run, "--members", "3", "--short-run", "--epochs", "1", "--calibrate")
    assert trained.code == 0, trained.err
    assert carried_out(*run, "--test").result == trained.result
    other = carried_out(*run, "--resume", "latest", "--epochs", "2", "--members", "2")
    assert (other.code, "--members is 2, the run has 3" in other.err) == (2, True)
    detecting = carried_out("--dataset", "synth", "--task", "detect", "--members", "2", "--root-dir", root)
    assert (detecting.code, "--members is only valid with --task classify" in detecting.err) == (2, True)


def test_of_many_labels_the_probability_of_each_class_is_the_mean_of_the_members() -> None:
    committee, x = (
        get_model("cnn1d_3", replace(make_spec(), many_labels=True), members=3).eval(),
        torch.randn(5, 1, 187),
    )
    expected = torch.stack([member(x).sigmoid() for member in committee.members]).mean(0)
    torch.testing.assert_close(committee(x).sigmoid(), expected)
    assert committee(torch.full((2, 1, 187), 1e6)).isfinite().all()
