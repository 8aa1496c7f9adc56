"""A network of the user's own is tried on a few rows before it is trained: its outputs must have the right shape."""

import copy

import torch
from torch import Tensor, nn

from loaders.base import DataSpec
from toolbox import yours
from toolbox.errors import OwnPartError

ROWS = (2, 3)  # of two batches, so that a network shows whether it keeps their number


def check(network: nn.Module, name: str, spec: DataSpec, *, reconstructs: bool) -> None:
    """Raise an OwnPartError where a network gives no (B, K), or to reconstruct no (B, C, T), trained or tested.

    A copy is called, and torch's random numbers stand afterwards where they stood.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for training in (True, False):
            try:
                tried = copy.deepcopy(network).train(training)
            except Exception:  # a network that cannot be copied is seen when it is trained
                return
            for rows in ROWS:
                expected = (rows, *spec.shape) if reconstructs else (rows, len(spec.classes))
                if why := _objection(tried(torch.rand(rows, *spec.shape)), expected):
                    mode = "in training" if training else "in a test"
                    path, line = yours.source(type(network).forward)
                    what = f"your network {name} gives {why} for {rows} rows {mode}, it must give {expected}"
                    raise OwnPartError(what, where=f"{path}, line {line}", hint="mend its forward")


def _objection(outputs: object, expected: tuple[int, ...]) -> str:
    """What is given in place of outputs of this shape; empty where they have it."""
    if not isinstance(outputs, Tensor):
        return f"no tensor but a {type(outputs).__name__}"
    if not outputs.is_floating_point():
        return f"{str(outputs.dtype).removeprefix('torch.')} numbers"
    return "" if tuple(outputs.shape) == expected else str(tuple(outputs.shape))
