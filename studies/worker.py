"""A worker process of a study: carries out runs as the commander does, and keeps torch and the data in memory.

Dask calls `carry_out` in a thread of the worker, and `dask_setup` if this file is its preload. `stop` ends a run with a
checkpoint, as Ctrl-C does for a single run.

Several jobs with the same data are `Branches`: runs that take alternate steps on the same batches. Each has its own
thread, and one thread runs at a time. When a training loop asks for its next batch, the run that is furthest behind
continues. Each run gets torch's random state back as it left it, so it makes the same steps as alone, and the trainer
needs no code for it.
"""

import contextlib
import io
import logging
import os
import shutil
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import args
from loaders.base import Batches, Data, Rows
from studies.ledger import DONE, FAILED, NO_FIGURES, PRUNED, STARTED, STOPPED, Job, Ledger
from toolbox import devices, errors, plain, terminal
from toolbox.errors import BusyError, CommanderError, Interrupted
from toolbox.flags import Flags
from toolbox.runs.folder import held
from toolbox.terminal import StopRequest

GPUS = "ECG_GPUS"  # environment variable from the driver: numbers of the GPUs
BUSY = "busy"  # another process holds this run
PRUNE = -1  # in place of a signal's number
QUIET = ("matplotlib", "PIL", "urllib3", "torch", "distributed", "asyncio", "tornado")
ALONE = threading.Lock()  # torch has one random state a process, so a worker carries out one run at a time
RUNNING: dict[tuple[str, str], StopRequest] = {}  # by driver and key: a cluster may serve several
STOPPED_FOR: set[str] = set()  # drivers that have stopped all their runs
DATA: dict[str, Any] = {}  # the Memo of the last driver, by driver
# Hints of a single run that name these flags become RETRY: a study does not take the flags.
OF_A_RUN = [flag.typed for flag in args.FLAGS if "of-one-run" in flag.tags.split()]
BY_DEFAULT = {"tensorboard": False}  # of a study's runs, unless the grid has it
RETRY = "--retry runs it again; another --name starts a new study"
Place = tuple[int, int]  # epoch and batch
BEFORE = (-1, -1)  # the first batch
log = logging.getLogger("commander")


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the driver, and select one of the driver's GPUs."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpus := os.environ.get(GPUS):
        listed = gpus.split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = listed[int(worker.name) % len(listed)]


def carry_out(path: str, root: str, driver: str, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Carry out jobs, several as branches; returns the state of each and, if failed, the error. Raises nothing."""
    ledger = Ledger(Path(path), Path(root))
    with ALONE, _quietly():
        if len(jobs) == 1:
            return [_outcome(ledger, driver, Job(**jobs[0]))]
        branches = Branches(len(jobs))
        return branches.run([partial(_outcome, ledger, driver, Job(**job), branches) for job in jobs])


def stop(driver: str, keys: Sequence[str] | None = None, signum: int = signal.SIGINT) -> None:
    """End a driver's runs with these keys after their step; None for all, later ones too."""
    if keys is None:
        STOPPED_FOR.add(driver)
    for owner, key in list(RUNNING):
        if owner == driver and (keys is None or key in keys) and (request := RUNNING.get((owner, key))):
            request.requested = signum


def me() -> dict[str, Any]:
    """Host and pid of this process, as in records and locks."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _outcome(ledger: Ledger, driver: str, job: Job, branches: "Branches | None" = None) -> dict[str, Any]:
    state = ledger.status_of(job).state
    if state in (DONE, PRUNED) or driver in STOPPED_FOR:
        return {"state": state if state in (DONE, PRUNED) else STOPPED}
    request = RUNNING[driver, job.key] = StopRequest()
    start_s = time.perf_counter()
    with logged(ledger.log(job.key), None, thread=threading.get_ident()):
        outcome = _attempt(ledger, driver, job, request, branches)
    del RUNNING[driver, job.key]
    if outcome["state"] != BUSY:
        spent_s = ((ledger.record(job.key) or {}).get("spent_s") or 0.0) + time.perf_counter() - start_s
        spent_s -= branches.waited_s() if branches else 0.0
        ledger.write(job, **outcome, spent_s=round(spent_s, 3))
    return outcome


def _attempt(
    ledger: Ledger, driver: str, job: Job, request: StopRequest, branches: "Branches | None"
) -> dict[str, Any]:
    try:
        _run(ledger, driver, job, request, branches)
        return {"state": DONE}
    except BusyError as error:
        return {"state": BUSY, "error": str(error)}
    except Interrupted as interrupted:
        return {"state": PRUNED if interrupted.code == 128 + PRUNE else STOPPED}
    except Exception as error:  # any error of a run becomes a row of the table
        log.error(plain.Block(traceback.format_exc()))
        error = error if isinstance(error, CommanderError) else errors.unforeseen(error)
        if any(flag in error.hint for flag in OF_A_RUN):
            error = type(error)(error.what, where=error.where, hint=RETRY)
        return {"state": FAILED, "error": str(error), "code": error.code}


def _run(ledger: Ledger, driver: str, job: Job, request: StopRequest, branches: "Branches | None") -> None:
    """Start the run, or resume it from its checkpoint; notes a new folder in its record."""
    with terminal.importing():
        from commands import fit
        from commands.trained import TrainedRun
        from studies.cells import Memo
        from toolbox.runs.folder import RunFolder

    ledger.use_imports()
    if driver not in DATA:  # a new driver loads the data again, files may have changed
        DATA.clear()
        DATA[driver] = Memo()

    def load(flags: Flags) -> Data:
        data = DATA[driver](flags)
        return branches.sharing(data) if branches else data

    def claimed(run: RunFolder) -> None:
        ledger.write(job, STARTED, by=me(), run=os.path.relpath(run.path, ledger.root), root=str(ledger.root))

    def load_held(flags: Flags) -> Data:
        ledger.write(job, STARTED, by=me())
        return load(flags)

    root = {"root_dir": str(ledger.root)}
    if folder := _resumable(ledger, job):
        trained = TrainedRun.open({**root, **NO_FIGURES, "resume": "latest"}, run=RunFolder(folder))
        fit.resume(trained, request, load=load_held, tested=job.tested)
    else:
        given = {**job.given, **root}
        flags, study = args.resolve(BY_DEFAULT | given), ledger.path.name
        fit.start(flags, given, request, load=load, claimed=claimed, tested=job.tested, study=study)


def _resumable(ledger: Ledger, job: Job) -> Path | None:
    """The job's run folder, if it has a checkpoint; removes it without one, and leaves foreign folders alone."""
    status = ledger.status_of(job)
    folder, why = status.folder, status.why
    if folder and not folder.resolve().is_relative_to(ledger.root.resolve()):
        why = f"{folder} is a link out of the root"
    if why:
        log.warning("%s: %s; it is not used, and the configuration runs again", job.key, why)
    if why or not folder:
        return None
    if any(folder.glob("*.pth.tar")):
        return folder
    with held(folder / "lock"):
        shutil.rmtree(folder)  # killed between its first files and its first checkpoint
    return None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the output of runs off the terminal."""
    root, term = logging.getLogger(), os.environ.get("TERM", "")
    handlers = root.handlers[:]
    os.environ["TERM"] = "dumb"  # no bar
    root.handlers[:] = [logging.NullHandler()]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for noisy in QUIET:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.handlers[:] = handlers
        logging.captureWarnings(False)
        os.environ["TERM"] = term


@contextlib.contextmanager
def logged(path: Path, name: str | None = "commander", *, thread: int | None = None) -> Iterator[None]:
    """Write the log `name`, None for all logs, into `path` too, with times; with `thread` only of that thread."""
    logger, handler = logging.getLogger(name), logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(plain.Formatter("%(asctime)s %(message)s"))
    handler.addFilter(lambda record: thread in (None, record.thread))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


class Branches:
    """`count` runs that take alternate steps, and their shared data.

    branches = Branches(2)
    outcomes = branches.run([one, other])       # each trains on `branches.sharing(data)`
    """

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
