"""Branches: runs of one process that take alternate steps on the same batches, for configurations with the same data.

    branches = Branches(2)
    outcomes = branches.run([one, other])       # each trains on `branches.sharing(data)`

Each call has its own thread, and one thread runs at a time. When a training loop asks for its next batch, the run that
is furthest behind continues. Each run gets torch's random state back as it left it, so it makes the same steps as
alone, and the trainer needs no code for it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from loaders.base import Batches, Data, Rows
from toolbox import devices

Place = tuple[int, int]  # epoch and batch
BEFORE = (-1, -1)  # the first batch


class Branches:
    """`count` runs that take alternate steps, and their shared data."""

    def __init__(self, count: int) -> None:
        self.gates = [threading.Semaphore(0) for _ in range(count)]
        self.places: dict[int, Place] = dict.fromkeys(range(count), BEFORE)  # of unfinished runs
        self.waits_s = [0.0] * count
        self.turn = 0
        self.shared: tuple[Data, Data] | None = None  # the last data, without and with shared batches

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of the calls, after all have ended. Raises the first error of a call."""
        futures: list[Future[Any]] = [Future() for _ in calls]
        for number, call in enumerate(calls):
            threading.Thread(target=self._branch, args=(number, call, futures[number]), daemon=True).start()
        self.gates[0].release()
        wait(futures)
        return [future.result() for future in futures]

    def _branch(self, number: int, call: Callable[[], Any], future: Future) -> None:
        self.gates[number].acquire()
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        del self.places[number]
        if self.places:
            self._furthest_behind()

    def _furthest_behind(self) -> None:
        self.turn = min(self.places, key=self.places.__getitem__)
        self.gates[self.turn].release()

    def pass_on(self, place: Place, device: torch.device) -> None:
        """Let the run furthest behind continue, before the current run's step at `place`; returns at its next turn."""
        own, self.places[self.turn] = self.turn, place
        state, since_s = devices.random_state(device), time.perf_counter()
        self._furthest_behind()
        self.gates[own].acquire()
        self.waits_s[own] += time.perf_counter() - since_s
        devices.set_random_state(state, device)

    def waited_s(self) -> float:
        """Seconds that the current run has waited for others."""
        return self.waits_s[self.turn]

    def sharing(self, data: Data) -> Data:
        """The same data, with training batches that all runs share."""
        if self.shared is None or self.shared[0] is not data:
            rows = SharedRows(data.train, self)
            self.shared = data, replace(data, train=rows, open_test=lambda: data.test)
        return self.shared[1]


class SharedRows:
    """`Rows` with one `SharedBatches` on each device for all runs."""

    def __init__(self, rows: Rows, branches: Branches) -> None:
        self._rows, self._branches = rows, branches
        self._batches: dict[torch.device, SharedBatches] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, device: torch.device) -> "SharedBatches":
        """The shared batches of the rows on a device."""
        if device not in self._batches:
            self._batches[device] = SharedBatches(self._rows.batches(device), device, self._branches)
        return self._batches[device]


class Kept(NamedTuple):
    """A batch, its order and place, and torch's counts of in-place changes of its tensors."""

    order: Tensor
    which: tuple[int, int, int]
    batch: tuple[list[Tensor], Tensor]
    versions: list[int]


class SharedBatches:
    """Batches that keep the last one for the other runs; each request first lets another run continue.

    Runs share a batch if they have the same order of rows. A batch that a network changed in place is rebuilt.
    """

    def __init__(self, batches: Batches, device: torch.device, branches: Branches) -> None:
        self._made, self.device, self.branches = batches, device, branches
        self.y, self.rows = batches.y, batches.rows
        self.order: Tensor | None = None  # of the last request
        self.kept: Kept | None = None

    def __len__(self) -> int:
        return len(self._made)

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """The batches of the rows; only training batches, which have an `order`, are shared."""
        if order is None:
            yield from self._made.batches(None, size, start=start)
            return
        if self.order is None or not torch.equal(order, self.order):
            self.order = order
        order = self.order
        for step in range(start, -(-len(order) // size)):
            self.branches.pass_on((epoch, step), self.device)
            yield self._batch(order, (size, step, epoch))

    def _batch(self, order: Tensor, which: tuple[int, int, int]) -> tuple[list[Tensor], Tensor]:
        kept, (size, step, epoch) = self.kept, which
        if kept is None or kept.order is not order or kept.which != which or _versions(kept.batch) != kept.versions:
            batch = next(self._made.batches(order, size, start=step, epoch=epoch))
            self.kept = kept = Kept(order, which, batch, _versions(batch))
        inputs, y = kept.batch
        return list(inputs), y


def _versions(batch: tuple[list[Tensor], Tensor]) -> list[int]:
    inputs, y = batch
    return [each._version for each in (*inputs, y)]
