"""A name becomes an optimizer. Learning rates left open take the optimizer's own default, which was measured on
beats."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from toolbox.registry import pick

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
DEFAULT_LR = {"sgd": 0.05, "adam": 0.005, "adamw": 0.005}
DEFAULT_WEIGHT_DECAY = {"sgd": 1e-4, "adam": 0.0, "adamw": 0.01}


def settle(name: str, lr: float | None, weight_decay: float | None) -> tuple[float, float]:
    """Learning rate and weight decay, each the optimizer's own default where it is None."""
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
    """Build the optimizer called `name` for parameters, or groups of them; `momentum` is beta 1 of the Adam family."""
    lr, weight_decay = settle(name, lr, weight_decay)
    return OPTIMIZERS[name](parameters, lr, momentum, weight_decay)
