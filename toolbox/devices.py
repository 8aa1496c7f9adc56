"""The machine: devices tested before use, errors about memory, versions of libraries and the commit."""

import ctypes
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

from toolbox.errors import ROOT, ResourceError, UsageError

# Whether a device type computes in bfloat16 itself; emulation costs more time than it saves.
HALF: dict[str, Callable[[], bool]] = {
    "cpu": lambda: any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")),
    "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
}
PRECISIONS = ("float32", "bfloat16", "auto")
DISTRIBUTION = "ecg-commander"
LIBRARIES = ("torch", "numpy", "scipy", "wfdb")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the numbers of glibc's mallopt
KEPT_BYTES = 2**25
log = logging.getLogger("commander")


def pick_device(name: str | None, *, deterministic: bool = False) -> torch.device:
    """The device `name`; None means CUDA if available, else the CPU. Raises UsageError if it cannot be used.

    `deterministic` refuses kernels with timing-dependent results, which exist on CUDA.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    if deterministic != torch.are_deterministic_algorithms_enabled():  # this call imports for a second
        torch.use_deterministic_algorithms(deterministic)
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        what = f"--device {name} cannot be used here: {str(error).splitlines()[0]}"
        raise UsageError(what, hint="--device cpu") from error
    return device


def numbers(device: torch.device, precision: str) -> str:
    """The type in which a training on the device computes: float32 or bfloat16; auto is bfloat16 on CUDA."""
    wanted = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return "bfloat16" if wanted and HALF.get(device.type, lambda: False)() else "float32"


def autocast(device: torch.device, precision: str) -> Callable[[], AbstractContextManager]:
    """The context of training: torch's autocast to bfloat16, or none; warns if the device lacks a typed bfloat16.

    bfloat16 has the range of float32, so that gradients need no scaling.
    """
    if numbers(device, precision) == "bfloat16":
        return partial(torch.autocast, device.type, torch.bfloat16)
    if precision == "bfloat16":
        log.warning("--precision bfloat16: %s does not compute in it, training uses float32", device)
    return nullcontext


@contextmanager
def enough_memory(batch_size: int) -> Iterator[None]:
    """Turn an out-of-memory error of device or host into a ResourceError with memory and batch size."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError; the CPU's has no class
        asked = re.search(r"allocate ([\d.]+ ?\w+)", str(error))
        if not (asked or isinstance(error, torch.OutOfMemoryError | MemoryError)):
            raise
        room = re.search(r"GPU \d+ has a total capacity of .*? is free", str(error))
        host_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        more = f", {asked[1]} more were requested" if asked else ""
        where = room[0] if room else f"this machine has {host_gib:.1f} GiB"
        hint = f"--batch-size {batch_size // 2}" if batch_size > 1 else "a smaller network"
        raise ResourceError(f"out of memory with batches of {batch_size} rows{more}", where=where, hint=hint) from error


def keep_freed_memory() -> None:
    """Let glibc keep up to 32 MB of freed memory for the next arrays; else a fifth of a prediction's time goes into
    pages that are returned to the kernel and asked of it again, array by array.

    Another C library, and a limit in the environment, stay as they are.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or not hasattr(library := ctypes.CDLL(None), "mallopt"):
        return
    for limit in (TRIM_THRESHOLD, MMAP_THRESHOLD):
        library.mallopt(limit, KEPT_BYTES)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's random generators, of the host and of a GPU."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore `states`; the state of a GPU only on a GPU."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that affect results."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def own_version() -> str:
    """The version of the program."""
    project = ROOT / "pyproject.toml"  # next to the scripts; an installed package has metadata instead
    return (
        tomllib.loads(project.read_text("utf-8"))["project"]["version"] if project.exists() else version(DISTRIBUTION)
    )


def version_info() -> str:
    """Versions of the program, Python and the libraries, and the commit, one per line."""
    found = {
        DISTRIBUTION: own_version(),
        **versions(),
        "commit": commit() or "not known, no git repository of the program",
    }
    return "".join(f"{name} {value}\n" for name, value in found.items())


@functools.cache
def commit() -> str | None:
    """The commit of the program at the first call, with "+" if its files were changed.

    None if the program's own folder is no git repository; a user's repository around it does not count.
    """
    try:
        command = "git --git-dir=.git --work-tree=. describe --always --abbrev=40 --dirty=+ --exclude=*"
        described = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return described.stdout.strip() or None
