"""Runs are carried out by Dask: by processes of this machine, or by the workers of a scheduler that is there already.

    with connected(workers=2) as client:
        engine = Engine(client, ledger)
        engine.submit(task)
        key, outcome = engine.next()

A worker that dies is replaced, and what it was at goes on from its checkpoint with another; no engine of our own does
that.

How far a research is: one bar, a line for each worker, the time left; the same as lines of a log file.

with progress.logged(path):                  what is logged goes to stderr and into the file
    with Progress(total, done=3) as progress:
        progress.ended("1a2b3c4d_0", {"state": "done"}); progress.show(lambda: {"0": "1a2b3c4d_0 epoch 3/20"})
"""

import logging
import os
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studies import worker
from studies.ledger import FAILED, Ledger, Task
from toolbox import plain, terminal
from toolbox.errors import ResourceError
from toolbox.terminal import StopRequest

SHOW_S, LOG_S = 2.0, 30.0  # between two looks at the workers; between two lines of the log
log = logging.getLogger("commander")


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Write what is logged into `path` too, with times."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(plain.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


class Above(logging.Handler):
    """Lines on stderr, above the bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode():
            terminal.say(f"{self.format(record)}\n")


class Progress:
    """One bar over `total` runs of which `done` were there before, and below it a line for each worker."""

    def __init__(self, total: int, *, done: int = 0) -> None:
        self.total, self.before, self.states = total, done, Counter()
        self.begun_s = self.logged_s = time.monotonic()
        self.shown_s = 0.0
        self.bar = terminal.bar(total=total, initial=done, unit="run", desc="research")
        self.lines: dict[str, Any] = {}

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        for line in (*self.lines.values(), self.bar):
            line.close()

    def ended(self, key: str, outcome: Mapping[str, Any]) -> None:
        """Count and say a run that came to an end."""
        self.states[outcome["state"]] += 1
        self.bar.update()
        log.info("%s %s%s", key, outcome["state"], f": {outcome['error']}" if outcome.get("error") else "")

    def show(self, asked: Callable[[], Mapping[str, str]]) -> None:
        """What each worker is at, by its name, every two seconds; into the log twice a minute."""
        now_s = time.monotonic()
        to_log = now_s - self.logged_s > LOG_S
        if now_s - self.shown_s < SHOW_S or (self.bar.disable and not to_log):
            return
        self.shown_s, doing = now_s, asked()
        for i, (name, text) in enumerate(sorted(doing.items())):
            if name not in self.lines:
                self.lines[name] = terminal.bar(position=i + 1, bar_format="{desc}", leave=False)
            self.lines[name].set_description_str(f"worker {name}: {text}")
        for name in self.lines.keys() - doing.keys():
            self.lines[name].set_description_str(f"worker {name}: waits")
        self.bar.set_postfix_str(self.left(), refresh=True)
        if to_log:
            self.logged_s = now_s
            told = "; ".join(f"worker {name}: {text}" for name, text in sorted(doing.items())) or "no worker has begun"
            _into_files(f"{self.before + self.states.total()} of {self.total} runs ended, {self.left()}; {told}")

    def left(self) -> str:
        """The time that is left, as long as the rest takes at the pace so far."""
        ended = self.states.total()
        if not ended:
            return "time left not known yet"
        left_s = (time.monotonic() - self.begun_s) / ended * (self.total - self.before - ended)
        return f"about {left_s / 60:.0f} min left" if left_s >= 90 else f"about {left_s:.0f} s left"


def _into_files(line: str) -> None:
    record = log.makeRecord(log.name, logging.INFO, __file__, 0, line, (), None)
    for handler in log.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


ROOT = str(Path(__file__).resolve().parent.parent)
AGAIN_S = 2.0  # between two looks at the workers, and until a run that another process holds is asked for again
PATIENCE_S = 20.0  # that a scheduler may take to answer
LOOPBACK = "127.0.0.1"
LESS = "fewer --workers or a smaller batch-size, where memory was short, and --retry"
CHATTER = ("distributed", "tornado", "asyncio", "bokeh")
Outcome = dict[str, Any]
Group = tuple[Task, ...]


def threads_each(workers: int) -> int:
    """Threads of torch that each of `workers` gets: its share of the cores, or what OMP_NUM_THREADS says."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) else max(1, cores() // workers)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> str:
    """The GPUs of this machine, by number."""
    import torch

    return ",".join(map(str, range(torch.cuda.device_count())))


@contextmanager
def connected(*, workers: int, gpus: str | None = None, address: str | None = None) -> Iterator[Any]:
    """A client of the scheduler at `address` or, without one, of a cluster of `workers` processes here.

    The cluster here has keys of its own that exist in memory alone, listens on the loopback, and answers no HTTP
    request. A scheduler elsewhere is asked with the keys that Dask's configuration names (`write_keys`).
    """
    import distributed

    for name in CHATTER:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        try:
            cluster = None if address else stack.enter_context(_local(workers, gpus))
            client = distributed.Client(address or cluster, timeout="10s", set_as_default=False)
            stack.callback(_closed, client, timeout=2)
        except (OSError, ValueError, TimeoutError, RuntimeError) as error:
            what = "no scheduler answers" if address else f"the workers cannot be started: {error}"
            hint = "dask scheduler, and its address" if address else "fewer --workers"
            raise ResourceError(what, where=address or "this machine", hint=hint) from error
        yield client


@contextmanager
def _local(workers: int, gpus: str | None) -> Iterator[Any]:
    """A cluster of processes of this machine that nobody else can use."""
    import cryptography  # noqa: F401, the keys are made with it: said here where it is missing
    import dask
    import distributed

    threads = str(threads_each(workers))
    config = {
        "distributed.nanny.pre-spawn-environ": {f"{name}_NUM_THREADS": threads for name in ("OMP", "MKL", "OPENBLAS")},
        "distributed.worker.preload": ["studies.worker"],
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    how = {"threads_per_worker": 1, "processes": True, "dashboard_address": None, "memory_limit": 0, "host": LOOPBACK}
    how |= {"security": distributed.Security.temporary(), "scheduler_kwargs": {"dashboard_address": f"{LOOPBACK}:0"}}
    env = {worker.GPUS: gpus} if gpus else {}
    with dask.config.set(config):
        cluster = distributed.LocalCluster(n_workers=workers, silence_logs=logging.CRITICAL, env=env, **how)
        try:
            yield cluster
        finally:
            _closed(cluster, timeout=10)


def write_keys(folder: Path) -> None:
    """Make the keys of a cluster of several machines, in a folder that its owner alone can read, for Dask's
    configuration."""
    import distributed

    made = distributed.Security.temporary()
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    for name, text in (
        ("ca.pem", made.tls_ca_file),
        ("key.pem", made.tls_worker_key),
        ("cert.pem", made.tls_worker_cert),
    ):
        with open(folder / name, "x", opener=lambda path, how: os.open(path, how, 0o600)) as file:
            file.write(text)


@contextmanager
def one_for_all(workers: int) -> Iterator[Callable[..., Any]]:
    """What is called as `connected` is, again and again, with one cluster of `workers` for all, made when it is first
    needed."""
    with ExitStack() as stack:
        made: list[Any] = []

        def once(**how: Any) -> Any:
            if not made:
                made.append(stack.enter_context(connected(**how | {"workers": workers})))
            return nullcontext(made[0])

        yield once


def _closed(part: Any, *, timeout: float) -> None:
    """Close a client or a cluster; of a scheduler that is gone nothing is to be closed."""
    with suppress(Exception):
        part.close(timeout=timeout)


class Engine:
    """Tasks go in, alone or as branches; outcomes come out as they are done; a worker has one or a group of branches at
    a time.

    So those submitted first are begun first, and a cell that kills its worker brings no other into discredit.
    """

    def __init__(self, client: Any, ledger: Ledger) -> None:
        self.client, self.ledger, self.driver = client, ledger, uuid.uuid4().hex
        self.backlog: deque[Group] = deque()
        self.later: list[tuple[float, Task]] = []  # held by another process; not before this time
        self.futures: dict[str, tuple[Group, Any]] = {}
        self.ended: deque[tuple[Task, Outcome]] = deque()
        self.finished: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.workers: dict[str, str] = {}  # names by address
        self.at: dict[str, list[str]] = {}  # the keys that each address is at
        self.asked_s = self.stopped_s = -AGAIN_S

    def __len__(self) -> int:
        groups = [*self.backlog, *(tasks for tasks, _ in self.futures.values())]
        return sum(map(len, groups)) + len(self.later) + len(self.ended)

    def submit(self, *tasks: Task) -> None:
        """Put a task behind those that wait, or several that one worker steps in turn."""
        self.backlog.append(tasks)

    def next(self, timeout_s: float = 0.5) -> tuple[Task, Outcome] | None:
        """What was done next, or None where nothing was in the time; a ResourceError where the scheduler is gone."""
        self._look()
        for due_s, task in [each for each in self.later if each[0] <= time.monotonic()]:
            self.later.remove((due_s, task))
            self.backlog.appendleft((task,))
        while self.backlog and len(self.futures) < len(self.workers):
            self._hand_over(self.backlog.popleft())
        if not self.ended:
            self._wait(timeout_s)
        return self.ended.popleft() if self.ended else None

    def _wait(self, timeout_s: float) -> None:
        """Take in what a worker has done next."""
        try:
            tasks, future = self.futures.pop(self.finished.get(timeout=timeout_s))
        except queue.Empty:
            return
        for task, outcome in self._outcomes(future, tasks):
            if outcome["state"] == worker.BUSY:
                self._free(task)
                self.later.append((time.monotonic() + AGAIN_S, task))
            else:
                self.ended.append((task, outcome))
        future.release()

    def _hand_over(self, tasks: Group) -> None:
        name = f"{tasks[0].key}-{uuid.uuid4().hex}"
        folders = map(os.path.abspath, (self.ledger.path, self.ledger.root))
        order = (ROOT, *folders, self.driver, [asdict(task) for task in tasks])
        future = self.client.submit(_in_worker("carry_out"), *order, key=name, pure=False)
        self.futures[name] = (tasks, future)
        future.add_done_callback(lambda _: self.finished.put(name))

    def _look(self) -> None:
        """Ask, once in two seconds, what workers there are and what each is at."""
        if time.monotonic() - self.asked_s < AGAIN_S:
            return
        self.asked_s = time.monotonic()
        try:
            told = self.client.sync(self.client.scheduler.identity, n_workers=-1, callback_timeout=PATIENCE_S)[
                "workers"
            ]
            at = self.client.sync(self.client.scheduler.processing, callback_timeout=PATIENCE_S)
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            raise self._gone() from error
        self.workers = {address: str(facts["name"]).rsplit("/", 1)[-1] for address, facts in told.items()}
        names = {address: next(filter(self.futures.get, keys), None) for address, keys in at.items()}
        self.at = {address: [task.key for task in self.futures[name][0]] for address, name in names.items() if name}

    def doing(self) -> dict[str, str]:
        """What each worker is at, by its name."""
        return {
            self.workers[address]: f"{keys[0]}{self.ledger.epoch(keys[0])}"
            + f" and {len(keys) - 1} beside" * (len(keys) > 1)
            for address, keys in self.at.items()
            if address in self.workers
        }

    def _free(self, task: Task) -> None:
        """Remove the lock of a run that a worker of this research had, on whatever host, where no such worker is
        alive."""
        record = self.ledger.known(task)
        holder = self.ledger.holder(record)
        if holder and holder == record.get("by") and holder not in self.client.run(_in_worker("me"), ROOT).values():
            log.warning("%s was held by process %s on %s, which is gone", task.key, holder["pid"], holder["host"])
            (self.ledger.folder(record) / "lock").unlink(missing_ok=True)

    def _outcomes(self, future: Any, tasks: Group) -> list[tuple[Task, Outcome]]:
        """How each task ended; those of a group that ended as a whole are gone on with one by one, to see which it
        was."""
        if future.status == "finished":
            return list(zip(tasks, future.result(), strict=True))
        if future.status == "error" and len(tasks) > 1:
            self.backlog.extendleft((task,) for task in reversed(tasks))
            return []
        return [(task, self._outcome(future, task)) for task in tasks]

    def _outcome(self, future: Any, task: Task) -> Outcome:
        if future.status != "error":
            raise self._gone()
        error = future.exception()
        died = type(error).__name__ == "KilledWorker"
        what = f"every worker that was at it died. Try: {LESS}" if died else f"{type(error).__name__}: {error}"
        outcome = {"state": FAILED, "error": what, "code": ResourceError.code}
        self.ledger.write(task, **outcome)
        return outcome

    def _gone(self) -> ResourceError:
        hint = "the same command again goes on where this one was"
        return ResourceError("the scheduler is gone", where=str(self.client.scheduler.address), hint=hint)

    def pass_on(self, stop: StopRequest) -> None:
        """Let all runs end where a stop was requested; asked again for what a worker began in the meantime."""
        if stop.requested is not None and time.monotonic() - self.stopped_s > AGAIN_S:
            self.stopped_s = time.monotonic()
            self.stop(signum=stop.requested)

    def stop(self, keys: Sequence[str] | None = None, *, signum: int) -> None:
        """Let runs end after their step, with a checkpoint; None is all of them, and nothing new is begun."""
        if keys is None:
            self.backlog.clear()
            self.later.clear()
        self.client.run(_in_worker("stop"), ROOT, self.driver, keys, signum, on_error="ignore")


def carry_out(engine: Engine, groups: Iterable[Group], bar: Progress, stop: StopRequest) -> None:
    """Have the groups of tasks done; a stop that is requested is passed on, and waited for until all are at rest."""
    for tasks in groups:
        engine.submit(*tasks)
    while len(engine):
        engine.pass_on(stop)
        if ended := engine.next():
            bar.ended(ended[0].key, ended[1])
        bar.show(engine.doing)


def _in_worker(name: str) -> Callable[..., Any]:
    """`worker.NAME` for a process that may know nothing of this program: a local function travels by value."""

    def call(root: str, *order: Any) -> Any:
        import sys

        if root not in sys.path:
            sys.path.insert(0, root)
        from studies import worker

        return getattr(worker, name)(*order)

    return call
