"""Every schedule: what is stored goes on exactly, and a longer run takes its own shape."""

import io
import logging
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as torch_schedules

from toolbox.training.optimizers import SCHEDULERS, SHAPED_BY_EPOCHS, Schedule, Shape, warn_if_reshaped

BATCHES, LR = 4, 0.1
MONITORED = [0.5, 0.6, 0.6, 0.6, 0.55, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]


def build(name: str, epochs: int, *, mode: str = "max") -> tuple[Optimizer, Schedule]:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], LR, momentum=0.9)
    return optimizer, Schedule(name, optimizer, Shape(2, 0.5, epochs, BATCHES, mode))


def rates(optimizer: Optimizer, schedule: Schedule, first: int, last: int) -> list[float]:
    """The learning rate of every batch from number `first` to before `last`, stepping as the trainer does."""
    found = []
    for batch in range(first, last):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.after_batch()
        if batch % BATCHES == BATCHES - 1:
            schedule.after_epoch(MONITORED[batch // BATCHES])
    return found


def through_a_file(name: str, saved: tuple[Optimizer, Schedule], epochs: int) -> tuple[Optimizer, Schedule]:
    """A new optimizer and schedule that go on from `saved`, in the order in which the trainer loads them."""
    buffer = io.BytesIO()
    torch.save([part.state_dict() for part in saved], buffer)
    buffer.seek(0)
    states: list[Any] = torch.load(buffer, weights_only=True)
    fresh = build(name, epochs)
    for part, state in zip(fresh, states, strict=True):
        part.load_state_dict(state)
    return fresh


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(
    "batch", [0, 5, 8, 23], ids=["at the start", "in an epoch", "after an epoch", "before the end"]
)
def test_a_state_loaded_midway_gives_the_same_rates_afterwards(name: str, batch: int) -> None:
    undisturbed = rates(*build(name, 6), 0, 24)
    saved = build(name, 6)
    before = rates(*saved, 0, batch)
    assert before + rates(*through_a_file(name, saved, 6), batch, 24) == undisturbed


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_loaded_state_is_stored_again_as_it_was(name: str) -> None:
    saved = build(name, 6)
    rates(*saved, 0, 9)
    assert through_a_file(name, saved, 6)[1].state_dict() == saved[1].state_dict()


TORCHS = {
    "none": lambda optimizer: torch_schedules.LambdaLR(optimizer, lambda epoch: 1.0),
    "StepLR": lambda optimizer: torch_schedules.StepLR(optimizer, 2, 0.5),
    "ExponentialLR": lambda optimizer: torch_schedules.ExponentialLR(optimizer, 0.5),
    "ReduceLROnPlateau": lambda optimizer: torch_schedules.ReduceLROnPlateau(optimizer, "max", 0.5, 2),
    "CosineAnnealingLR": lambda optimizer: torch_schedules.CosineAnnealingLR(optimizer, 6),
    "OneCycleLR": lambda optimizer: torch_schedules.OneCycleLR(optimizer, LR, 25, cycle_momentum=False),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedule_is_torchs_of_that_name(name: str) -> None:
    optimizer, _ = build("none", 6)
    inner, found = TORCHS[name](optimizer), []
    for batch in range(24):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if name == "OneCycleLR":
            inner.step()
        elif batch % BATCHES == BATCHES - 1:
            inner.step(*([MONITORED[batch // BATCHES]] if name == "ReduceLROnPlateau" else []))
    assert rates(*build(name, 6), 0, 24) == pytest.approx(found, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", SHAPED_BY_EPOCHS)
@pytest.mark.parametrize("batch", [6, 12], ids=["midway", "at the end"])
def test_a_longer_run_goes_on_along_its_own_shape(name: str, batch: int) -> None:
    saved = build(name, 3)
    rates(*saved, 0, batch)
    longer = rates(*through_a_file(name, saved, 8), batch, 32)
    assert longer == pytest.approx(rates(*build(name, 8), 0, 32)[batch:])


@pytest.mark.parametrize("name", SHAPED_BY_EPOCHS)
def test_a_run_asked_to_be_shorter_than_it_is_can_still_be_loaded(name: str) -> None:
    saved = build(name, 6)
    rates(*saved, 0, 20)
    _, schedule = through_a_file(name, saved, 2)
    assert schedule.state_dict()["last_epoch"] == saved[1].state_dict()["last_epoch"]


@pytest.mark.parametrize("name", SHAPED_BY_EPOCHS)
def test_a_shaped_schedule_ends_near_zero(name: str) -> None:
    optimizer, schedule = build(name, 6)
    assert max(rates(optimizer, schedule, 0, 24)) <= LR
    assert optimizer.param_groups[0]["lr"] < LR / 1e4


@pytest.mark.parametrize("name", ["none", "StepLR", "CosineAnnealingLR", "OneCycleLR"])
def test_a_schedule_can_be_built_for_no_epochs(name: str) -> None:
    optimizer, _ = build(name, 0)
    assert optimizer.param_groups[0]["lr"] > 0


@pytest.mark.parametrize(("mode", "worse"), [("max", 0.1), ("min", 0.9)])
def test_a_plateau_is_judged_in_the_direction_of_the_monitor(mode: str, worse: float) -> None:
    optimizer, schedule = build("ReduceLROnPlateau", 6, mode=mode)
    for value in (0.5, worse, worse, worse):
        schedule.after_epoch(value)
    assert optimizer.param_groups[0]["lr"] == LR / 2


@pytest.mark.parametrize("name", SCHEDULERS)
def test_only_a_shaped_schedule_says_that_a_longer_run_is_another(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_if_reshaped(name, 5, 5)
        assert caplog.text == ""
        warn_if_reshaped(name, 5, 9)
    assert ("shaped for 5 epochs and is now for 9" in caplog.text) == (name in {"CosineAnnealingLR", "OneCycleLR"})
