"""Threads: how many there may be, and a trial that leaves the network and the random state alone."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from toolbox.training import threads


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    number = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    torch.set_num_threads(number)


NO_LIMIT = 2**31


@pytest.mark.parametrize(
    ("files", "granted"),
    [
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, NO_LIMIT),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, NO_LIMIT),
        ({"cpu.max": "else\n"}, NO_LIMIT),
        ({}, NO_LIMIT),
    ],
    ids=str,
)
def test_the_quota_of_a_container_is_read_in_both_versions(tmp_path: Path, files: dict[str, str], granted: int) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert threads.quota(tmp_path) == granted


def test_the_number_is_the_typed_one_else_of_the_environment_else_of_cores_within_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 5, 6}, raising=False)
    assert (threads.number(None), threads.number("3"), threads.number("auto")) == (5, 3, 5)
    (tmp_path / "cpu.max").write_text("50000 100000")
    assert threads.number(None) == 1, "half a core is one thread"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert (threads.number(None), threads.number("3"), threads.number("auto")) == (7, 3, 7)


def network() -> tuple[nn.Module, list[torch.Tensor]]:
    model = nn.Sequential(nn.Conv1d(1, 4, 5), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU(), nn.Flatten())
    return model.eval(), [torch.rand(8, 1, 50)]


def test_a_trial_changes_neither_network_nor_random_state_nor_the_number_of_threads() -> None:
    model, inputs = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, number = torch.get_rng_state(), torch.get_num_threads()
    assert all(seconds > 0 for seconds in threads.times(model, inputs, (1, 2)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == number


@pytest.mark.parametrize(
    ("asked", "alone_s", "together_s", "number", "says"),
    [
        (None, 1, 1.2, 2, ""),
        (None, 1, 1.5, 2, "takes 1.5 times as long as with one, this machine is busy; --threads 1 is faster"),
        ("auto", 1, 0.6, 2, "--threads auto: 2, a step takes 1000 ms with one thread and 600 ms with 2"),
        ("auto", 1, 1.1, 1, "--threads auto: 1"),
        ("2", 1, 9, 2, ""),
        ("1", 1, 9, 1, ""),
    ],
)
def test_only_auto_follows_the_trial_and_a_busy_machine_is_warned_about(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked: str | None,
    alone_s: float,
    together_s: float,
    number: int,
    says: str,
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "times", lambda *_: [alone_s, together_s])
    with caplog.at_level(logging.INFO, "commander"):
        assert threads.tried(asked, *network()) == number
    assert says in caplog.text
    assert bool(caplog.text) == bool(says)
