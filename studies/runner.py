"""Carry out runs with Dask: in processes on this machine, or on the workers of a running scheduler.

    with Workers(2) as workers, workers.at_work(ledger, total, done=0, most=8) as (engine, bar):
        engine.submit(job)
        job, outcome = engine.next()

Dask replaces a dead worker, and another worker resumes its run from the checkpoint. `Bars` shows a bar, a line for each
worker and the time left, and writes them into the log file.
"""

import logging
import os
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studies import worker
from studies.ledger import FAILED, Job, Ledger
from toolbox import files, terminal
from toolbox.errors import ResourceError
from toolbox.terminal import StopRequest
from toolbox.training.threads import cores

ROOT = str(Path(__file__).resolve().parent.parent)
SHOW_S, LOG_S = 2.0, 30.0  # between two updates of the bars; between two lines of the log
AGAIN_S = 2.0  # between two requests to the scheduler, and before another try of a run that another process holds
CONNECT_S, PATIENCE_S = 10, 20.0  # limits for a scheduler to connect, and to answer
LOOPBACK = "127.0.0.1"
LESS = "fewer --workers or a smaller batch-size, if memory was short, and --retry"
CHATTER = ("distributed", "tornado", "asyncio", "bokeh")
Outcome = dict[str, Any]
Group = tuple[Job, ...]
log = logging.getLogger("commander")


class Above(logging.Handler):
    """Writes log lines on stderr, above a bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode():
            terminal.say(f"{self.format(record)}\n")


class Bars(ExitStack):
    """A bar over `total` runs, `done` of them in earlier commands, and a line for each worker below it."""

    def __init__(self, total: int, *, done: int = 0) -> None:
        super().__init__()
        self.total, self.done, self.before = total, done, done
        self.begun_s = self.logged_s = time.monotonic()
        self.shown_s = 0.0
        self.bar = self.enter_context(terminal.bar(logged=False, total=total, initial=done, unit="run", desc="study"))
        self.lines: dict[str, Any] = {}

    def ended(self, key: str, outcome: Outcome) -> None:
        """Count and log a run that ended."""
        self.done += 1
        self.bar.update()
        log.info("%s %s%s", key, outcome["state"], f": {outcome['error']}" if outcome.get("error") else "")

    def show(self, ask: Callable[[], Mapping[str, str]]) -> None:
        """Show the run of each worker, as `ask` returns it by the worker's name; every 30 s in the log too."""
        now_s = time.monotonic()
        to_log = now_s - self.logged_s > LOG_S
        if now_s - self.shown_s < SHOW_S or (self.bar.disable and not to_log):
            return
        self.shown_s, doing = now_s, {name: f"worker {name}: {text}" for name, text in sorted(ask().items())}
        for name in [name for name in doing if name not in self.lines]:
            line = terminal.bar(logged=False, position=len(self.lines) + 1, bar_format="{desc}", leave=False)
            self.lines[name] = self.enter_context(line)
        for name, line in self.lines.items():
            line.set_description_str(doing.get(name, f"worker {name}: waits"))
        self.bar.set_postfix_str(self.left(), refresh=True)
        if to_log:
            self.logged_s = now_s
            rest = "; ".join(doing.values()) or "no worker has started"
            _into_files(f"{self.done} of {self.total} runs ended, {self.left()}; {rest}")

    def left(self) -> str:
        """The time left, estimated from the runs so far."""
        if self.done == self.before:
            return "time left not known yet"
        left_s = (time.monotonic() - self.begun_s) / (self.done - self.before) * (self.total - self.done)
        return f"about {left_s / 60:.0f} min left" if left_s >= 90 else f"about {left_s:.0f} s left"


def _into_files(line: str) -> None:
    record = log.makeRecord(log.name, logging.INFO, __file__, 0, line, (), None)
    for handler in log.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def threads_each(workers: int) -> int:
    """Torch threads for each of `workers`: OMP_NUM_THREADS, or a share of the cores."""
    typed = os.environ.get("OMP_NUM_THREADS", "")
    return int(typed) if typed.isdigit() and int(typed) else max(1, cores() // workers)


def gpus() -> str:
    """The numbers of this machine's GPUs, with commas."""
    import torch

    return ",".join(map(str, range(torch.cuda.device_count())))


class Workers(ExitStack):
    """`count` processes on this machine and its `gpus`, or the workers of the scheduler at `address`.

    They start at the first `at_work`, and close at the end.
    """

    def __init__(self, count: int | None = None, *, gpus: str | None = None, address: str | None = None) -> None:
        super().__init__()
        self.count, self.gpus, self.address = count or cores(), gpus, address
        self.started, self.client = 0, None

    @contextmanager
    def at_work(self, ledger: Ledger, total: int, *, done: int, most: int) -> Iterator[tuple["Engine", Bars]]:
        """An engine with at most `most` workers, and a bar over `total` runs."""
        wanted = min(self.count, most)
        if self.client is None or (wanted != self.started and not self.address):
            self.close()
            made = connected(workers=wanted, gpus=self.gpus or gpus(), address=self.address)
            self.client, self.started = self.enter_context(made), wanted
        with Bars(total, done=done) as bar:
            yield Engine(self.client, ledger), bar

    def branches(self, asked: int, runs: int) -> int:
        """The number of runs in one worker: at most `asked`, few enough to keep every worker busy."""
        return max(1, min(asked, -(-runs // (1 if self.address else self.count))))


@contextmanager
def connected(*, workers: int, gpus: str | None = None, address: str | None = None) -> Iterator[Any]:
    """A client of the scheduler at `address` or, without one, of a new cluster of `workers` processes here.

    The new cluster has its own TLS keys, in memory only, listens on the loopback, and answers no HTTP request. A
    scheduler at `address` needs the keys in Dask's configuration (`write_keys`).
    """
    import distributed

    for name in CHATTER:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        try:
            if not address:
                cluster = stack.enter_context(_local(workers, gpus))
            client = distributed.Client(address or cluster, timeout=CONNECT_S, set_as_default=False)
            stack.callback(_closed, client, timeout=2)
        except (OSError, ValueError, TimeoutError, RuntimeError) as error:
            what = "no scheduler answers" if address else f"the workers cannot be started: {error}"
            hint = "dask scheduler, and its address" if address else "fewer --workers"
            raise ResourceError(what, where=address or "this machine", hint=hint) from error
        yield client


@contextmanager
def _local(workers: int, gpus: str | None) -> Iterator[Any]:
    """A private cluster of processes on this machine."""
    import cryptography  # noqa: F401, makes the keys: imported here so that the error names a missing package
    import dask
    import distributed

    threads = str(threads_each(workers))
    config = {
        "distributed.nanny.pre-spawn-environ": {f"{name}_NUM_THREADS": threads for name in ("OMP", "MKL", "OPENBLAS")},
        "distributed.worker.preload": ["studies.worker"],
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    alone: dict[str, Any] = {"host": LOOPBACK, "dashboard_address": None, "silence_logs": logging.CRITICAL}
    alone |= {"security": distributed.Security.temporary(), "scheduler_kwargs": {"dashboard_address": f"{LOOPBACK}:0"}}
    env = {worker.GPUS: gpus} if gpus else {}
    with dask.config.set(config):
        cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, env=env, **alone)
        try:
            yield cluster
        finally:
            _closed(cluster, timeout=10)


def write_keys(folder: Path) -> None:
    """Write the TLS keys of a cluster of several machines into a folder that only its owner can read."""
    import distributed

    made = distributed.Security.temporary()
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    texts = {"ca.pem": made.tls_ca_file, "key.pem": made.tls_worker_key, "cert.pem": made.tls_worker_cert}
    for name, text in texts.items():
        with open(folder / name, "x", opener=lambda path, how: os.open(path, how, 0o600)) as file:
            file.write(text)


def _closed(part: Any, *, timeout: float) -> None:
    """Close a client or a cluster; ignores errors, such as a dead scheduler."""
    with suppress(Exception):
        part.close(timeout=timeout)


class Engine:
    """Takes jobs, alone or as branches, and returns their outcomes.

    A worker has one job or one group of branches at a time, so that jobs start in the order of submission, and a crash
    is never attributed to another configuration.
    """

    def __init__(self, client: Any, ledger: Ledger) -> None:
        self.client, self.ledger, self.driver = client, ledger, uuid.uuid4().hex
        self.backlog: deque[Group] = deque()
        self.later: list[tuple[float, Job]] = []  # (not before this time, a job that another process holds)
        self.futures: dict[str, tuple[Group, Any]] = {}
        self.ended: deque[tuple[Job, Outcome]] = deque()
        self.finished: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.workers: dict[str, str] = {}  # names by address
        self.at: dict[str, list[str]] = {}  # the keys of the jobs of each address
        self.asked_s = self.stopped_s = -AGAIN_S

    def __len__(self) -> int:
        groups = [*self.backlog, *(jobs for jobs, _ in self.futures.values())]
        return sum(map(len, groups)) + len(self.later) + len(self.ended)

    def submit(self, *jobs: Job) -> None:
        """Append a job to the backlog, or several jobs as branches of one worker."""
        self.backlog.append(jobs)

    def next(self, timeout_s: float = 0.5) -> tuple[Job, Outcome] | None:
        """The next outcome, None after `timeout_s`. Raises ResourceError if the scheduler is gone."""
        self._look()
        for due_s, job in [each for each in self.later if each[0] <= time.monotonic()]:
            self.later.remove((due_s, job))
            self.backlog.appendleft((job,))
        while self.backlog and len(self.futures) < len(self.workers):
            self._hand_over(self.backlog.popleft())
        if not self.ended:
            self._wait(timeout_s)
        return self.ended.popleft() if self.ended else None

    def _wait(self, timeout_s: float) -> None:
        """Wait for the next result of a worker."""
        try:
            jobs, future = self.futures.pop(self.finished.get(timeout=timeout_s))
        except queue.Empty:
            return
        for job, outcome in self._outcomes(future, jobs):
            if outcome["state"] == worker.BUSY:
                self._free(job)
                self.later.append((time.monotonic() + AGAIN_S, job))
            else:
                self.ended.append((job, outcome))
        future.release()

    def _hand_over(self, jobs: Group) -> None:
        name = f"{jobs[0].key}-{uuid.uuid4().hex}"
        folders = map(os.path.abspath, (self.ledger.path, self.ledger.root))
        order = (ROOT, *folders, self.driver, [asdict(job) for job in jobs])
        future = self.client.submit(_in_worker("carry_out"), *order, key=name, pure=False)
        self.futures[name] = (jobs, future)
        future.add_done_callback(lambda _: self.finished.put(name))

    def _look(self) -> None:
        """Ask the scheduler, at most every two seconds, for the workers and their jobs."""
        if time.monotonic() - self.asked_s < AGAIN_S:
            return
        self.asked_s = time.monotonic()
        scheduler, wait = self.client.scheduler, {"callback_timeout": PATIENCE_S}
        try:
            workers = self.client.sync(scheduler.identity, n_workers=-1, **wait)["workers"]
            at = self.client.sync(scheduler.processing, **wait)
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            raise self._gone() from error
        self.workers = {address: str(facts["name"]).rsplit("/", 1)[-1] for address, facts in workers.items()}
        names = {address: next(filter(self.futures.get, keys), None) for address, keys in at.items()}
        self.at = {address: [job.key for job in self.futures[name][0]] for address, name in names.items() if name}

    def doing(self) -> dict[str, str]:
        """The run of each worker and its epoch, by the worker's name."""
        return {
            self.workers[address]: keys[0] + self.ledger.epoch(keys[0]) + f" and {len(keys) - 1} more" * (len(keys) > 1)
            for address, keys in self.at.items()
            if address in self.workers
        }

    def _free(self, job: Job) -> None:
        """Remove the lock of a run if a dead worker of this study held it, on any host."""
        record, folder = self.ledger.record(job.key), self.ledger.status_of(job).folder
        if not (record and folder):
            return
        try:
            lock = files.read_json(folder / "lock")
            holder = {"host": lock["host"], "pid": lock["pid"]}
        except (ValueError, TypeError, LookupError):  # no lock, or not of this program
            return
        if holder == record.get("by") and holder not in self.client.run(_in_worker("me"), ROOT).values():
            log.warning("%s was held by process %s on %s, which is gone", job.key, holder["pid"], holder["host"])
            (folder / "lock").unlink(missing_ok=True)

    def _outcomes(self, future: Any, jobs: Group) -> list[tuple[Job, Outcome]]:
        """The outcome of each job. A group that died is tried again job by job, to find the culprit."""
        if future.status == "finished":
            return list(zip(jobs, future.result(), strict=True))
        if future.status == "error" and len(jobs) > 1:
            self.backlog.extendleft((job,) for job in reversed(jobs))
            return []
        return [(job, self._outcome(future, job)) for job in jobs]

    def _outcome(self, future: Any, job: Job) -> Outcome:
        if future.status != "error":
            raise self._gone()
        error = future.exception()
        died = type(error).__name__ == "KilledWorker"
        what = f"every worker that ran it died. Try: {LESS}" if died else f"{type(error).__name__}: {error}"
        self.ledger.write(job, FAILED, error=what, code=ResourceError.code)
        return {"state": FAILED, "error": what, "code": ResourceError.code}

    def _gone(self) -> ResourceError:
        hint = "the same command again, which resumes"
        return ResourceError("the scheduler is gone", where=str(self.client.scheduler.address), hint=hint)

    def pass_on(self, stop: StopRequest) -> None:
        """Stop all runs after a stop request; repeats it for runs that a worker has just started."""
        if stop.requested is not None and time.monotonic() - self.stopped_s > AGAIN_S:
            self.stopped_s = time.monotonic()
            self.backlog.clear()
            self.later.clear()
            self.stop(signum=stop.requested)

    def stop(self, keys: Sequence[str] | None = None, *, signum: int) -> None:
        """End the runs with these keys, or all, after their step with a checkpoint."""
        self.client.run(_in_worker("stop"), ROOT, self.driver, keys, signum, on_error="ignore")


def carry_out(engine: Engine, groups: Iterable[Group], bar: Bars, stop: StopRequest) -> None:
    """Carry out the groups of jobs; passes a stop request on, and waits until all runs have ended."""
    for jobs in groups:
        engine.submit(*jobs)
    while len(engine):
        engine.pass_on(stop)
        if ended := engine.next():
            bar.ended(ended[0].key, ended[1])
        bar.show(engine.doing)


def _in_worker(name: str) -> Callable[..., Any]:
    """`worker.NAME` for a process without this program on its path: Dask sends a local function by value."""

    def call(root: str, *order: Any) -> Any:
        import sys

        if root not in sys.path:
            sys.path.insert(0, root)
        from studies import worker

        return getattr(worker, name)(*order)

    return call
