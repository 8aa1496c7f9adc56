"""Every choice a user makes by name: the flag, and the flat dict that the name is looked up in."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from loaders import DATASETS
from loaders.rows import BAD_ROWS
from models import MODELS
from toolbox import losses, metrics, optimizers, samplers, schedulers
from toolbox.errors import UsageError
from toolbox.registry import pick

CHOICES: dict[str, Mapping[str, Any]] = {
    "dataset": DATASETS,
    "bad-rows": BAD_ROWS,
    "model-name": MODELS,
    "optimizer": optimizers.OPTIMIZERS,
    "scheduler": schedulers.SCHEDULERS,
    "criterion": losses.LOSSES,
    "sampler": samplers.BALANCES,
    "class-balance": samplers.BALANCES,
    "monitor": dict.fromkeys(metrics.METRICS),
}
# The words of --list.
LISTS = {
    "datasets": "dataset",
    "models": "model-name",
    "optimizers": "optimizer",
    "schedulers": "scheduler",
    "losses": "criterion",
    "samplers": "sampler",
    "metrics": "monitor",
}


def names(what: str) -> list[str]:
    """The names that --list `what` prints."""
    return list(CHOICES[pick("list", LISTS, what)])


def check(flags: SimpleNamespace) -> None:
    """Look up every name, so that an unknown one is an error before anything is made or read."""
    for flag, table in CHOICES.items():
        name = getattr(flags, flag.replace("-", "_"))
        if name is not None:
            pick(flag, table, name)
    if flags.pretrained:
        raise UsageError(f"there are no published weights for {flags.model_name}", hint="leave --pretrained out")
