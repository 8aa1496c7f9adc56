"""Many charts are drawn in parallel processes and kept; however many draw, every chart is the same to the last byte.

`fill(store, keys, window, Drawing(...), workers=0)` asks `window` for the signal of each key, and goes on where it was stopped.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from loaders.chartstore import ChartStore, packed
from loaders.layouts import Sheet
from loaders.paper import Pen
from toolbox import terminal
from toolbox.errors import ResourceError

CHUNK = 64  # charts that are drawn and kept at once
ALONE = 2000  # charts below which a second process takes longer to start than it saves
AHEAD = 3  # chunks a process that are under way

Signals = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Drawing:
    """How signals (C, samples) at `rate_hz` are drawn: on which sheet, with lines how wide."""

    sheet: Sheet
    rate_hz: float
    samples: int
    line_mm: float

    def __call__(self, signals: Signals) -> list[bytes]:
        """The charts of signals (C, samples), as they are kept."""
        pen = _pen(self)
        return [packed(pen.ink(each), each) for each in signals]


@cache
def _pen(how: Drawing) -> Pen:
    """A pen is made once in each process."""
    return Pen(how.sheet, how.rate_hz, how.samples, line_mm=how.line_mm)


def fill(
    store: ChartStore, keys: Sequence[bytes], window: Callable[[bytes], NDArray[np.float32]], how: Drawing, *, workers: int = 0
) -> None:
    """Draw the charts of `keys` into the store, by as many processes as `workers` says, 0 for one a core.

    Raises ResourceError where the disk has no room or a process dies; what was drawn until then is kept.
    """
    with store.building() as part:
        missing = part.missing(store.missing(keys))  # another process may have drawn some
        chunks = [missing[begin : begin + CHUNK] for begin in range(0, len(missing), CHUNK)]
        drawn = _drawn(([window(each) for each in chunk] for chunk in chunks), how, _processes(len(missing), workers))
        title = f"charts {how.sheet.layout.name}"
        with terminal.bar(desc=title, total=len(keys), initial=len(keys) - len(missing), unit="chart") as bar:
            for chunk, values in zip(chunks, drawn, strict=True):
                part.put(dict(zip(chunk, values, strict=True)))
                bar.update(len(chunk))


def _processes(charts: int, workers: int) -> int:
    """How many processes draw; a worker of a grid may have no children, and draws alone."""
    if charts < ALONE or multiprocessing.current_process().daemon:
        return 1
    return workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or os.cpu_count() or 1


def _drawn(chunks: Iterator[Signals], how: Drawing, processes: int) -> Iterator[list[bytes]]:
    """What `how` makes of each chunk, in their order."""
    if processes == 1:
        yield from map(how, chunks)
        return
    waiting: deque[Future] = deque()
    with _pool(processes) as pool:
        for signals in chunks:
            waiting.append(pool.submit(how, signals))
            if len(waiting) == AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one, whatever ends it."""
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_attend)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ResourceError("a process that drew charts was killed", hint="more memory, or --workers 1; again goes on") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _attend() -> None:
    """In a process that draws: leave Ctrl-C to the parent, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
