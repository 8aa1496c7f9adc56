"""Optimizers and schedules: own defaults, the rates of torch's schedules, and a stored state that resumes exactly."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import Parameter
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as torch_schedules

from commands.check.training import OPTIMIZER
from toolbox.training.optimizers import (
    DEFAULT_LR,
    DEFAULT_WEIGHT_DECAY,
    OPTIMIZERS,
    SCHEDULERS,
    SHAPED_BY_EPOCHS,
    Schedule,
    Shape,
    clip,
    get_optimizer,
    settle,
    warn_if_reshaped,
)

TARGET = torch.tensor([1.0, -2.0, 3.0])


def start(name: str, **how: float) -> tuple[Parameter, Optimizer]:
    point = Parameter(torch.zeros(3))
    return point, get_optimizer(name, [point], **how)


def descend(point: Parameter, optimizer: Optimizer, steps: int) -> float:
    """The quadratic after so many steps down."""
    for _ in range(steps):
        optimizer.zero_grad()
        (point - TARGET).square().sum().backward()
        optimizer.step()
    return float((point - TARGET).detach().square().sum())


@pytest.mark.parametrize("limit", [0.1, 100.0])
def test_clipped_gradients_and_their_norm_are_torchs_own_to_the_bit(limit: float) -> None:
    torch.manual_seed(0)
    ours = [Parameter(torch.zeros(shape)) for shape in ((3,), (4, 5), (2,), (1, 6))]
    for each in ours[:3]:  # the last has no gradient
        each.grad = torch.randn_like(each)
    theirs = copy.deepcopy(ours)
    for each, same in zip(theirs, ours, strict=True):
        each.grad = None if same.grad is None else same.grad.clone()
    assert clip(ours, limit) == torch.nn.utils.clip_grad_norm_(theirs, limit)
    torch.testing.assert_close([each.grad for each in ours], [each.grad for each in theirs], rtol=0, atol=0)
    assert clip(ours[3:], limit) == 0


def through_a_file(*parts: Any) -> list[Any]:
    buffer = io.BytesIO()
    torch.save([part.state_dict() if hasattr(part, "state_dict") else part for part in parts], buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("about", OPTIMIZER)
def test_an_optimizer_passes_every_check(name: str, about: str) -> None:
    """What --check asks of a user's optimizer."""
    assert OPTIMIZER[about](name) == ""


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_descends_with_its_defaults_and_the_given_momentum(name: str) -> None:
    assert descend(*start(name, lr=0.05), 200) < 0.05 * float(TARGET.square().sum())
    assert descend(*start(name, lr=0.05, momentum=0.0), 200) < 1
    assert settle(name, None, None) == (DEFAULT_LR[name], DEFAULT_WEIGHT_DECAY[name])
    assert settle(name, 0.5, 0.0) == (0.5, 0.0)
    (group,) = start(name)[1].param_groups
    assert (group["lr"], group["weight_decay"]) == settle(name, None, None)
    (group,) = start(name, momentum=0.7)[1].param_groups
    assert (group["momentum"] if name == "sgd" else group["betas"][0]) == 0.7


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stored_optimizer_takes_identical_steps(name: str) -> None:
    point, optimizer = start(name)
    descend(point, optimizer, 3)
    value, state = through_a_file(point.detach(), optimizer)
    other, resumed = start(name)
    other.data.copy_(value)
    resumed.load_state_dict(state)
    assert descend(point, optimizer, 3) == descend(other, resumed, 3)
    assert torch.equal(point, other)


# Schedules

BATCHES, LR = 4, 0.1
MONITORED = [0.5, 0.6, 0.6, 0.6, 0.55, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
every_schedule = pytest.mark.parametrize("name", SCHEDULERS)
every_shaped = pytest.mark.parametrize("name", SHAPED_BY_EPOCHS)


def build(name: str, epochs: int, *, mode: str = "max") -> tuple[Optimizer, Schedule]:
    optimizer = SGD([Parameter(torch.zeros(1))], LR, momentum=0.9)
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


def loaded(name: str, saved: tuple[Optimizer, Schedule], epochs: int) -> tuple[Optimizer, Schedule]:
    """A new optimizer and schedule with the states of `saved`, in the order in which the trainer loads them."""
    fresh = build(name, epochs)
    for part, state in zip(fresh, through_a_file(*saved), strict=True):
        part.load_state_dict(state)
    return fresh


@every_schedule
@pytest.mark.parametrize("batch", [0, 5, 8, 23])
def test_a_stored_schedule_gives_the_same_rates_afterwards(name: str, batch: int) -> None:
    saved = build(name, 6)
    before = rates(*saved, 0, batch)
    resumed = loaded(name, saved, 6)
    assert resumed[1].state_dict() == saved[1].state_dict()
    assert before + rates(*resumed, batch, 24) == rates(*build(name, 6), 0, 24)


TORCHS: dict[str, Callable[[Optimizer], Any]] = {
    "none": lambda optimizer: torch_schedules.LambdaLR(optimizer, lambda epoch: 1.0),
    "StepLR": lambda optimizer: torch_schedules.StepLR(optimizer, 2, 0.5),
    "ExponentialLR": lambda optimizer: torch_schedules.ExponentialLR(optimizer, 0.5),
    "ReduceLROnPlateau": lambda optimizer: torch_schedules.ReduceLROnPlateau(optimizer, "max", 0.5, 2),
    "CosineAnnealingLR": lambda optimizer: torch_schedules.CosineAnnealingLR(optimizer, 6),
    "OneCycleLR": lambda optimizer: torch_schedules.OneCycleLR(optimizer, LR, 25, cycle_momentum=False),
}


@every_schedule
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


@every_shaped
def test_a_shaped_schedule_ends_near_zero_and_takes_the_shape_of_another_length(name: str) -> None:
    optimizer, schedule = build(name, 6)
    assert max(rates(optimizer, schedule, 0, 24)) <= LR
    assert optimizer.param_groups[0]["lr"] < LR / 1e4
    for batch in (6, 12):
        saved = build(name, 3)
        rates(*saved, 0, batch)
        longer = rates(*loaded(name, saved, 8), batch, 32)
        assert longer == pytest.approx(rates(*build(name, 8), 0, 32)[batch:])
    saved = build(name, 6)
    rates(*saved, 0, 20)
    assert loaded(name, saved, 2)[1].state_dict()["last_epoch"] == saved[1].state_dict()["last_epoch"]


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


@every_schedule
def test_another_number_of_epochs_warns_if_it_shapes_the_schedule(name: str, caplog: pytest.LogCaptureFixture) -> None:
    warn_if_reshaped(name, 5, 5)
    assert caplog.text == ""
    warn_if_reshaped(name, 5, 9)
    assert ("shaped for 5 epochs and is now for 9" in caplog.text) == (name in {"CosineAnnealingLR", "OneCycleLR"})
