"""The machine: devices that were seen to work, a lack of their memory, versions of libraries and the commit."""

import functools
import logging
import os
import platform
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib.metadata import version

import torch
from torch import Tensor

from toolbox.errors import ResourceError, UsageError
from toolbox.yours import ROOT

# Whether a kind of device computes in bfloat16; where it is only emulated it costs more than it brings.
HALF: dict[str, Callable[[], bool]] = {
    "cpu": lambda: any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")),
    "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
}
DISTRIBUTION = "ecg-commander"
LIBRARIES = ("torch", "numpy", "scipy", "wfdb")
log = logging.getLogger("commander")


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
        what = f"--device {name} cannot be used here: {str(error).splitlines()[0]}"
        raise UsageError(what, hint="--device cpu") from error
    return device


def autocast(device: torch.device, *, mixed: bool) -> Callable[[], AbstractContextManager]:
    """The context of training: bfloat16 where that is good for a layer if `mixed`, else float32.

    bfloat16 reaches as far as float32, so that no gradient needs to be scaled. A device without it is warned about.
    """
    if not mixed:
        return nullcontext
    if not HALF.get(device.type, lambda: False)():
        log.warning("--mixed-precision: %s does not compute in bfloat16, training goes on in float32", device)
        return nullcontext
    return partial(torch.autocast, device.type, torch.bfloat16)


@contextmanager
def enough_memory(batch_size: int) -> Iterator[None]:
    """Make a ResourceError that names the memory and the batch size of a lack of memory, on device or host."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is the first; the CPU's lack has no class
        asked = re.search(r"allocate ([\d.]+ ?\w+)", str(error))
        if not (asked or isinstance(error, torch.OutOfMemoryError | MemoryError)):
            raise
        room = re.search(r"GPU \d+ has a total capacity of .*? is free", str(error))
        host_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        more = f", {asked[1]} more were asked for" if asked else ""
        where = room[0] if room else f"this machine has {host_gib:.1f} GiB"
        hint = f"--batch-size {batch_size // 2}" if batch_size > 1 else "a smaller network"
        raise ResourceError(f"out of memory with batches of {batch_size} rows{more}", where=where, hint=hint) from error


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Where torch's own random numbers stand, on the host and on a GPU."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on from `states`; one of a GPU is of no use elsewhere."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def version_info() -> str:
    """Versions of the program, of Python and of the libraries, and the commit, a line each."""
    project = ROOT / "pyproject.toml"  # beside the scripts; what is installed has metadata
    own = tomllib.loads(project.read_text("utf-8"))["project"]["version"] if project.exists() else version(DISTRIBUTION)
    found = {DISTRIBUTION: own, **versions(), "commit": commit() or "not known, no git repository of the program"}
    return "".join(f"{name} {value}\n" for name, value in found.items())


@functools.cache
def commit() -> str | None:
    """The commit of the program when first asked for, with "+" where its files were changed.

    None where the program's own folder is no git repository: one around it, of a user's project, says nothing of it.
    """
    try:
        command = "git --git-dir=.git --work-tree=. describe --always --abbrev=40 --dirty=+ --exclude=*"
        described = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return described.stdout.strip() or None
