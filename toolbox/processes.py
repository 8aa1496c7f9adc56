"""Work in parallel processes, with the results in order.

    for charts in processes.in_order(draw, chunks, processes.count(len(rows), 0), doing="drew charts"): ...

The processes end with this one, even if it is killed.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from toolbox.errors import ResourceError

P = TypeVar("P")
R = TypeVar("R")
AHEAD = 3  # parts in progress per process


def count(pieces: int, workers: int, *, alone: int) -> int:
    """The number of processes: `workers`, 0 for one per core; 1 for fewer pieces than `alone`, and in a worker of a
    study, which may not fork."""
    if pieces < alone or multiprocessing.current_process().daemon:
        return 1
    return workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


def in_order(work: Callable[[P], R], parts: Iterable[P], number: int, *, doing: str) -> Iterator[R]:
    """The result of each of `parts` in order, by `number` processes; one is this process alone.

    `doing` is the work in the past tense. Raises ResourceError if a process is killed, and the errors of `work`.
    """
    if number == 1:
        yield from map(work, parts)
        return
    waiting: deque[Future[Any]] = deque()
    with _pool(number, doing) as pool:
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) == AHEAD * number:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _pool(number: int, doing: str) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one, even if it is killed."""
    pool = ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), initializer=_attend)
    try:
        yield pool
    except BrokenProcessPool as error:
        hint = "more memory, or --workers 1; the same command resumes where it stopped"
        raise ResourceError(f"a process that {doing} was killed", hint=hint) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _attend() -> None:
    """In such a process: leave Ctrl-C to the parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end(parent: BaseProcess) -> None:
        parent.join()
        os._exit(0)

    if parent := multiprocessing.parent_process():
        threading.Thread(target=end, args=(parent,), daemon=True).start()
