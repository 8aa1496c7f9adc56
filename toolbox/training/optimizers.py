"""Optimizers and learning-rate schedules by name. Default rates were measured on beats."""

import inspect
import logging
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedules

from toolbox.registry import pick

Kind = TypeVar("Kind", bound=Optimizer)
GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def eager(kind: type[Kind]) -> type[Kind]:
    """The class `kind` without the guards that keep its methods out of a compiled graph.

    A guard imports torch's compiler at its first call: a second and 75 MB, though no optimizer is compiled here. A
    network may still use torch.compile.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in GUARDED}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(inspect.unwrap(kind.step))})


SGD, Adam, AdamW = eager(optim.SGD), eager(optim.Adam), eager(optim.AdamW)
# Fused kernels are the same arithmetic in one pass over the parameters, on CPU and on CUDA.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda parameters, lr, momentum, decay: SGD(
        parameters, lr, momentum, weight_decay=decay, nesterov=momentum > 0, fused=True
    ),
    "adam": lambda parameters, lr, momentum, decay: Adam(
        parameters, lr, (momentum, 0.999), weight_decay=decay, fused=True
    ),
    "adamw": lambda parameters, lr, momentum, decay: AdamW(
        parameters, lr, (momentum, 0.999), weight_decay=decay, fused=True
    ),
}
log = logging.getLogger("commander")
DEFAULT_LR = {"sgd": 0.05, "adam": 0.005, "adamw": 0.005}
DEFAULT_WEIGHT_DECAY = {"sgd": 1e-4, "adam": 0.0, "adamw": 0.01}


def settle(name: str, lr: float | None, weight_decay: float | None) -> tuple[float, float]:
    """Learning rate and weight decay; None means the optimizer's default."""
    pick("optimizer", OPTIMIZERS, name)
    return DEFAULT_LR[name] if lr is None else lr, DEFAULT_WEIGHT_DECAY[name] if weight_decay is None else weight_decay


def get_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    *,
    lr: float | None = None,
    momentum: float = 0.9,
    weight_decay: float | None = None,
) -> Optimizer:
    """Build the optimizer `name` for parameters or groups of them; `momentum` is beta 1 of the Adam family."""
    lr, weight_decay = settle(name, lr, weight_decay)
    return OPTIMIZERS[name](parameters, lr, momentum, weight_decay)


def clip(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """The norm of all gradients, which are scaled down to `limit` if it is higher.

    The same numbers as torch's `clip_grad_norm_`, whose sorting by device and type costs 0.15 ms a step.
    """
    gradients = [each.grad for each in parameters if each.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp_(max=1.0))
    return norm


@dataclass(frozen=True)
class Shape:
    """The sizes of a schedule: epochs between steps, factor of a step, and the length of the run."""

    step: int
    lr_decay: float
    epochs: int
    batches: int
    monitor_mode: Literal["min", "max"]


SCHEDULERS: dict[str, Callable[[Optimizer, Shape], Any]] = {
    "none": lambda optimizer, shape: torch_schedules.ConstantLR(optimizer, factor=1.0),
    "StepLR": lambda optimizer, shape: torch_schedules.StepLR(optimizer, shape.step, shape.lr_decay),
    "ExponentialLR": lambda optimizer, shape: torch_schedules.ExponentialLR(optimizer, shape.lr_decay),
    "ReduceLROnPlateau": lambda optimizer, shape: torch_schedules.ReduceLROnPlateau(
        optimizer, shape.monitor_mode, factor=shape.lr_decay, patience=shape.step
    ),
    # torch's version multiplies the previous rate, and so stays at 0 if a run that reached it is made longer.
    "CosineAnnealingLR": lambda optimizer, shape: torch_schedules.LambdaLR(
        optimizer, lambda epoch: (1 + math.cos(math.pi * epoch / max(1, shape.epochs))) / 2
    ),
    "OneCycleLR": lambda optimizer, shape: torch_schedules.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        total_steps=max(1, shape.epochs * shape.batches) + 1,
        cycle_momentum=False,
    ),
}
# State that depends on the number of epochs; never loaded, so that a longer run gets its own shape.
SHAPED_BY_EPOCHS = {"CosineAnnealingLR": set(), "OneCycleLR": {"total_steps", "_schedule_phases"}}


class Schedule:
    """One interface for schedules that step by batch, by epoch, or on a plateau of the monitored value."""

    def __init__(self, name: str, optimizer: Optimizer, shape: Shape) -> None:
        self.inner = pick("scheduler", SCHEDULERS, name)(optimizer, shape)
        self.name = name

    def after_batch(self) -> None:
        """Step a schedule that steps by batch."""
        if self.name == "OneCycleLR":
            self.inner.step()

    def after_epoch(self, monitored: float) -> None:
        """Step a schedule that steps by epoch; `monitored` is the validation value of a plateau."""
        if self.name == "ReduceLROnPlateau":
            self.inner.step(monitored)
        elif self.name != "OneCycleLR":
            self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        """Plain values only."""
        drop = SHAPED_BY_EPOCHS.get(self.name, set()) | {"optimizer", "_get_lr_called_within_step", "_is_initial"}
        return {key: value for key, value in self.inner.state_dict().items() if key not in drop}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state`, with this schedule's own shape."""
        self.inner.load_state_dict(state)
        if self.name in SHAPED_BY_EPOCHS and self.inner.last_epoch <= getattr(self.inner, "total_steps", math.inf):
            # Optimizer and get_last_lr(), which torch recommends, still hold the rate of the old shape.
            with warnings.catch_warnings(action="ignore"):
                rates = self.inner.get_lr()
            for group, rate in zip(self.inner.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate


def warn_if_reshaped(name: str, before: int, now: int) -> None:
    """Warn if a new number of epochs changes the shape of the schedule."""
    if before != now and name in SHAPED_BY_EPOCHS:
        what = f"{name} was shaped for {before} epochs and is now for {now}"
        why = "the learning rate resumes at another point of its curve, so the result differs from a run started with"
        log.warning("%s: %s %d epochs", what, why, now)
