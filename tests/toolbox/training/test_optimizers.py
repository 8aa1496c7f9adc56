"""Every optimizer goes downhill, has its own defaults, and goes on exactly from what was stored."""

import io

import pytest
import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from toolbox.training.optimizers import DEFAULT_LR, DEFAULT_WEIGHT_DECAY, OPTIMIZERS, get_optimizer, settle

TARGET = torch.tensor([1.0, -2.0, 3.0])


def build(name: str, **how: float) -> tuple[Parameter, Optimizer]:
    point = Parameter(torch.zeros(3))
    return point, get_optimizer(name, [point], **how)


def descend(point: Parameter, optimizer: Optimizer, steps: int) -> float:
    """The quadratic after so many steps down."""
    for _ in range(steps):
        optimizer.zero_grad()
        (point - TARGET).square().sum().backward()
        optimizer.step()
    return float((point - TARGET).detach().square().sum())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_lowers_a_quadratic(name: str) -> None:
    assert descend(*build(name, lr=0.05), 200) < 0.05 * float(TARGET.square().sum())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_left_open_takes_the_optimizers_own_default(name: str) -> None:
    assert settle(name, None, None) == (DEFAULT_LR[name], DEFAULT_WEIGHT_DECAY[name])
    assert settle(name, 0.5, 0.0) == (0.5, 0.0)
    (group,) = build(name)[1].param_groups
    assert (group["lr"], group["weight_decay"]) == settle(name, None, None)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_momentum_reaches_the_optimizer(name: str) -> None:
    (group,) = build(name, momentum=0.7)[1].param_groups
    assert (group["momentum"] if name == "sgd" else group["betas"][0]) == 0.7
    assert descend(*build(name, lr=0.05, momentum=0.0), 200) < 1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_through_a_file_gives_identical_steps(name: str) -> None:
    point, optimizer = build(name)
    descend(point, optimizer, 3)
    buffer = io.BytesIO()
    torch.save({"point": point.detach(), "optimizer": optimizer.state_dict()}, buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    other, resumed = build(name)
    other.data.copy_(state["point"])
    resumed.load_state_dict(state["optimizer"])
    assert descend(point, optimizer, 3) == descend(other, resumed, 3)
    assert torch.equal(point, other)
