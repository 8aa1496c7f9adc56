"""Runs of one process that are stepped in turn on the same batches: configurations that differ in all but their data.

    branches = Branches(2)
    outcomes = branches.run([one, other])       # each trains on `branches.sharing(data)`

Each call has a thread of its own, and one of them runs at a time. The turn is passed on where a loop asks for its next
batch, to the run that is furthest behind, and each finds torch's random numbers as it left them: so a run makes the
same steps as alone, and the trainer knows nothing of it.
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
    """`count` runs in turn, and the data that they share."""

    def __init__(self, count: int) -> None:
        self.gates = [threading.Semaphore(0) for _ in range(count)]
        self.places: dict[int, Place] = dict.fromkeys(range(count), BEFORE)  # of the runs that have not ended
        self.waits_s = [0.0] * count
        self.turn = 0
        self.shared: tuple[Data, Data] | None = None  # the data that were given last, and those with shared batches

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of the calls, once all have ended; then the first error of a call is raised."""
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
        """Called by the run whose turn it is, before its step at `place`; returns when it is its turn again."""
        own, self.places[self.turn] = self.turn, place
        state, since_s = devices.random_state(device), time.perf_counter()
        self._furthest_behind()
        self.gates[own].acquire()
        self.waits_s[own] += time.perf_counter() - since_s
        devices.set_random_state(state, device)

    def waited_s(self) -> float:
        """How long the run whose turn it is has waited for others."""
        return self.waits_s[self.turn]

    def sharing(self, data: Data) -> Data:
        """The same data, with each training batch made once for all runs."""
        if self.shared is None or self.shared[0] is not data:
            rows = SharedRows(data.train, self)
            self.shared = data, replace(data, train=rows, open_test=lambda: data.test)
        return self.shared[1]


class SharedRows:
    """The rows of `Rows`, whose batches on a device are the same object for all."""

    def __init__(self, rows: Rows, branches: Branches) -> None:
        self._rows, self._branches = rows, branches
        self._batches: dict[torch.device, SharedBatches] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, device: torch.device) -> "SharedBatches":
        """Its rows on a device, where they are kept once."""
        if device not in self._batches:
            self._batches[device] = SharedBatches(self._rows.batches(device), device, self._branches)
        return self._batches[device]


class Kept(NamedTuple):
    """A batch, its order and place, and the versions of its tensors, which count changes in place."""

    order: Tensor
    which: tuple[int, int, int]
    batch: tuple[list[Tensor], Tensor]
    versions: list[int]


class SharedBatches:
    """Batches, the last of which is kept for the other runs; a run that asks for the next passes its turn on first.

    Two runs need the same batch where the order of their rows is equal. A batch that a network changed in place is
    made again.
    """

    def __init__(self, batches: Batches, device: torch.device, branches: Branches) -> None:
        self._made, self.device, self.branches = batches, device, branches
        self.y, self.rows = batches.y, batches.rows
        self.order: Tensor | None = None  # the last that was asked for
        self.kept: Kept | None = None

    def __len__(self) -> int:
        return len(self._made)

    def batches(
        self, order: Tensor | None, size: int, *, start: int = 0, epoch: int = 0
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """The batches of the rows; without an order, which is no training, nothing is shared."""
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
