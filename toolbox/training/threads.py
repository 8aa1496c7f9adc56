"""The processor threads of a training: how many there may be, and whether one thread is faster now.

A training of another number of threads has other weights, by rounding. So the number never follows from the load of the
machine, unless --threads auto asks for that; config.json has it, and a resumed run takes it again.

On a busy machine the threads of a step wait for each other, and burn the processor meanwhile: with one other process a
step of two threads takes two to three times as long as one of one thread, at a high load more than ten times.
"""

import copy
import logging
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

AUTO = "auto"
ENOUGH_S, MOST_PAIRS, SAMPLES = 1.0, 4, 2**19  # of a trial: its length, and the samples of its rows at most
FASTER = 1.3  # times: then a warning
CGROUP = Path("/sys/fs/cgroup")
QUOTAS = ("cpu.max", "cpu/cpu.cfs_quota_us")  # of version 2 and 1
log = logging.getLogger("commander")


def cores() -> int:
    """The number of cores that this process may use: by affinity, and by the quota of its container."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(there, quota(CGROUP)))


def quota(root: Path) -> int:
    """The whole cores that the control group mounted at `root` grants; more than there are without a limit."""
    for name in QUOTAS:
        try:
            granted, *rest = (root / name).read_text().split()
            period = rest[0] if rest else (root / name).with_name("cpu.cfs_period_us").read_text()
            return int(int(granted) / int(period)) if int(granted) > 0 else 2**31
        except (OSError, ValueError):  # no such file; "max"
            continue
    return 2**31


def number(asked: str | None) -> int:
    """The threads to train with: as `asked`, else OMP_NUM_THREADS, else one a core."""
    typed = os.environ.get("OMP_NUM_THREADS", "") if asked in (None, AUTO) else asked
    return int(typed) if typed.isdecimal() and int(typed) else cores()


def use(asked: str | None) -> None:
    """Let torch compute with the threads of --threads."""
    import torch

    if torch.get_num_threads() != number(asked):
        torch.set_num_threads(number(asked))


def tried(asked: str | None, model: "nn.Module", inputs: "Sequence[Tensor]") -> int:
    """The number of threads to train `model` with, after a trial on rows `inputs` against one thread.

    With `asked` "auto" the faster of the two, with None the usual number, and a warning if one thread is much faster
    now. The network and the random state stay as they are.
    """
    many = number(asked)
    if many == 1 or asked not in (None, AUTO) or inputs[0].device.type != "cpu":
        return many
    alone_s, together_s = times(model, inputs, (1, many))
    ratio = together_s / alone_s
    if asked == AUTO:
        chosen = many if ratio < 1 else 1
        what = "--threads auto: %d, a step takes %.0f ms with one thread and %.0f ms with %d"
        log.info(what, chosen, 1000 * alone_s, 1000 * together_s, many)
        return chosen
    if ratio >= FASTER:
        what = (
            "a step with %d threads takes %.1f times as long as with one, this machine is busy; --threads 1 is faster"
        )
        log.warning(what, many, ratio)
    return many


def times(model: "nn.Module", inputs: "Sequence[Tensor]", counts: Sequence[int]) -> list[float]:
    """Median seconds of forward and backward pass of a copy of `model` with each number of threads, in turn."""
    import torch

    tried, before = copy.deepcopy(model).train(), torch.get_num_threads()
    taken: list[list[float]] = []
    with torch.random.fork_rng(devices=[]):
        begun = time.perf_counter()
        while len(taken) <= MOST_PAIRS and (len(taken) < 2 or time.perf_counter() - begun < ENOUGH_S):
            taken.append([])
            for count in counts:
                torch.set_num_threads(count)
                started = time.perf_counter()
                tried(*inputs).float().square().mean().backward()
                taken[-1].append(time.perf_counter() - started)
    torch.set_num_threads(before)
    return [statistics.median(each) for each in zip(*taken[1:], strict=True)]  # the first step allocates
