"""A name becomes a device that was seen to work."""

import os

import torch

from toolbox.errors import UsageError


def pick_device(name: str | None, *, deterministic: bool = False) -> torch.device:
    """The device called `name`, for None CUDA where it is and else the CPU; a UsageError where it cannot be used.

    `deterministic` refuses kernels whose result depends on timing, which matters on CUDA.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call itself imports for a second
        torch.use_deterministic_algorithms(deterministic)
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}", hint="--device cpu") from error
    return device
