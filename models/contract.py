"""A test of a user's own network on a few random rows before training: do its outputs have the right shape?"""

import copy

import torch
from torch import Tensor, nn

from loaders.base import DataSpec
from toolbox import yours
from toolbox.errors import OwnPartError

ROWS = (2, 3)  # of two batches: the outputs must follow the number of rows


def check(network: nn.Module, name: str, spec: DataSpec, *, reconstructs: bool) -> None:
    """Raise OwnPartError unless the network gives (B, K), or (B, C, T) if it reconstructs, in training and in test.

    The test runs a copy and leaves torch's random state unchanged.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for training in (True, False):
            try:
                tried = copy.deepcopy(network).train(training)
            except Exception:  # training shows the fault of a network that cannot be copied
                return
            for rows in ROWS:
                expected = (rows, *spec.shape) if reconstructs else (rows, len(spec.classes))
                if why := _objection(tried(torch.rand(rows, *spec.shape)), expected):
                    mode = "in training" if training else "in a test"
                    path, line = yours.source(type(network).forward)
                    what = f"your network {name} gives {why} for {rows} rows {mode}, it must give {expected}"
                    raise OwnPartError(what, where=f"{path}, line {line}", hint="mend its forward")


def _objection(outputs: object, expected: tuple[int, ...]) -> str:
    """The type or shape of wrong `outputs`; "" for outputs of the expected shape."""
    if not isinstance(outputs, Tensor):
        return f"no tensor but a {type(outputs).__name__}"
    if not outputs.is_floating_point():
        return f"{str(outputs.dtype).removeprefix('torch.')} numbers"
    return "" if tuple(outputs.shape) == expected else str(tuple(outputs.shape))
