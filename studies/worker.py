"""A worker process of a study: carries out runs as the commander does, and keeps torch and the data in memory.

Dask calls `carry_out` in a thread of the worker, and `dask_setup` if this file is its preload. `stop` ends a run with a
checkpoint, as Ctrl-C does for a single run.
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
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import args
from studies.ledger import DONE, FAILED, NO_FIGURES, PRUNED, STARTED, STOPPED, Job, Ledger
from toolbox import errors, plain
from toolbox.errors import BusyError, CommanderError, Interrupted
from toolbox.flags import Flags
from toolbox.runs.folder import held
from toolbox.terminal import StopRequest

if TYPE_CHECKING:
    from loaders.base import Data
    from studies.branches import Branches

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
RETRY = "--retry runs it again; another --name starts a new study"
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
        from studies.branches import Branches

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
    from commands import fit
    from commands.trained import TrainedRun
    from studies.cells import Memo
    from toolbox.runs.folder import RunFolder

    if driver not in DATA:  # a new driver loads the data again, files may have changed
        DATA.clear()
        DATA[driver] = Memo()

    def load(flags: Flags) -> "Data":
        data = DATA[driver](flags)
        return branches.sharing(data) if branches else data

    def claimed(run: RunFolder) -> None:
        ledger.write(job, STARTED, by=me(), run=os.path.relpath(run.path, ledger.root), root=str(ledger.root))

    def load_held(flags: Flags) -> "Data":
        ledger.write(job, STARTED, by=me())
        return load(flags)

    root = {"root_dir": str(ledger.root)}
    if folder := _resumable(ledger, job):
        trained = TrainedRun.open({**root, **NO_FIGURES, "resume": "latest"}, run=RunFolder(folder))
        fit.resume(trained, request, load=load_held, tested=job.tested)
    else:
        given = {**job.given, **root}
        fit.start(args.resolve(given), given, request, load=load, claimed=claimed, tested=job.tested)


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
