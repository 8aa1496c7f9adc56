"""Charts drawn in parallel processes; every chart has the same bytes with any number of processes.

`drawn(chunks, Drawing(sheet, rate_hz, samples, line_mm), processes)` gives the packed charts of each chunk of signals,
in order. A value is 8 bytes that tell which signal was drawn, and its ink (H, W) uint8 as deflated by zlib, with a
checksum.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing.process import BaseProcess

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import ResourceError
from toolbox.paper.layouts import Sheet
from toolbox.paper.pen import Pen

ALONE = 2000  # charts below which a second process takes longer to start than it saves
AHEAD = 3  # chunks in progress per process
TOLD = 8  # bytes of the signal's digest
LEVEL = 1  # of zlib: 0.4 ms a chart; the best one takes three times as long for a seventh less

Signals = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Drawing:
    """Draws signals (C, samples) at `rate_hz` on a sheet, with lines of a width."""

    sheet: Sheet
    rate_hz: float
    samples: int
    line_mm: float

    def __call__(self, signals: Signals) -> list[bytes]:
        """The charts of signals (C, samples), packed."""
        pen = _pen(self)
        return [packed(pen.ink(each), each) for each in signals]


@cache
def _pen(how: Drawing) -> Pen:
    """A pen is made once in each process."""
    return Pen(how.sheet, how.rate_hz, how.samples, line_mm=how.line_mm)


def packed(ink: NDArray[np.uint8], signal: NDArray[np.float32]) -> bytes:
    """The ink (H, W) of a signal (C, T), packed for storage."""
    return told(signal) + zlib.compress(ink.tobytes(), LEVEL)


def unpacked(value: bytes, image: tuple[int, int]) -> NDArray[np.uint8]:
    """The ink (H, W) of a packed chart. Raises ValueError for damaged bytes."""
    try:
        return np.frombuffer(zlib.decompress(value[TOLD:]), np.uint8).reshape(image)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def told(signal: NDArray[np.float32]) -> bytes:
    """8 bytes of a signal's digest."""
    return hashlib.blake2b(np.ascontiguousarray(signal).view(np.uint8).data, digest_size=TOLD).digest()


def processes(charts: int, workers: int) -> int:
    """The number of drawing processes: `workers`, 0 for one per core; 1 in a worker of a study, which may not fork."""
    if charts < ALONE or multiprocessing.current_process().daemon:
        return 1
    return workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


def drawn(chunks: Iterator[Signals], how: Drawing, count: int) -> Iterator[list[bytes]]:
    """The charts of each chunk in order, by `count` processes. Raises ResourceError if one is killed."""
    if count == 1:
        yield from map(how, chunks)
        return
    waiting: deque[Future] = deque()
    with _pool(count) as pool:
        for signals in chunks:
            waiting.append(pool.submit(how, signals))
            if len(waiting) == AHEAD * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one, even if it is killed."""
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_attend)
    try:
        yield pool
    except BrokenProcessPool as error:
        hint = "more memory, or --workers 1; the same command resumes where it stopped"
        raise ResourceError("a process that drew charts was killed", hint=hint) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _attend() -> None:
    """In a drawing process: leave Ctrl-C to the parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end(parent: BaseProcess) -> None:
        parent.join()
        os._exit(0)

    if parent := multiprocessing.parent_process():
        threading.Thread(target=end, args=(parent,), daemon=True).start()
