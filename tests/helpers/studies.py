"""Studies carried out in this process, for tests whose property is not about processes."""

import json
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import research
from commands import runs
from studies import cells, page, runner, tables, worker
from studies.cells import Series
from studies.ledger import Job, Ledger
from toolbox.files import write_json

NEVER = SimpleNamespace(requested=None)  # a stop
BAR = SimpleNamespace(ended=lambda key, outcome: None, show=lambda asked: None)
SCORES = {"a": [0.7, 0.8, 0.75], "b": [0.6, 0.85, 0.7], "c": [0.99]}
MARKUP = "<script>alert(1)</script>"


class Killed(BaseException):
    """The end of a driver that nothing of the program answers."""


class Here:
    """An engine that does a job when its outcome is asked for, one after the other; `outcome` makes one up."""

    def __init__(self, ledger: Ledger, outcome: Callable[[Ledger, Job], dict[str, Any]] | None = None) -> None:
        self.ledger, self.waiting, self.workers, self.stopped = ledger, [], {"here": "0"}, []
        self.outcome = outcome or outcome_of

    def __len__(self) -> int:
        return sum(map(len, self.waiting))

    def submit(self, *jobs: Job) -> None:
        self.waiting.append(jobs)

    def next(self) -> tuple[Job, dict[str, Any]]:
        first, *others = self.waiting.pop(0)
        self.waiting[:0] = [(job,) for job in others]
        return first, self.outcome(self.ledger, first)

    def stop(self, keys: list[str], *, signum: int) -> None:
        self.stopped.append((keys, signum))

    def pass_on(self, stop: object) -> None:
        pass

    def doing(self) -> dict[str, str]:
        return {}


def outcomes(ledger: Ledger, *jobs: Job, driver: str = "test") -> list[dict[str, Any]]:
    """The outcomes of jobs that a worker steps in turn."""
    return worker.carry_out(str(ledger.path), str(ledger.root), driver, [vars(job) for job in jobs])


def outcome_of(ledger: Ledger, job: Job, driver: str = "test") -> dict[str, Any]:
    return outcomes(ledger, job, driver=driver)[0]


def job_of(cell: dict[str, str], rep: int = 0, **series: Any) -> Job:
    """A run of a configuration, not tested unless `series` says so."""
    return Series(**{"reps": rep + 1, "tested": False, **series}).job(cells.configuration(cell), rep, None)


def carried_out(root: Path, monkeypatch: pytest.MonkeyPatch, text: str, *flags: str, outcome: Any = None) -> Any:
    """The exit code of research.py with the grid `text`, and the ledger of its study."""

    @contextmanager
    def at_work(_: object, ledger: Ledger, total: int, **__: object) -> Iterator[tuple[Here, SimpleNamespace]]:
        yield Here(ledger, outcome), BAR

    path = root.parent / "s.yaml"
    path.write_text(text)
    monkeypatch.setattr(runner.Workers, "at_work", at_work)
    return research.main([str(path), "--root-dir", str(root), *flags]), Ledger(root / "research" / "s", root)


def linked_root(folder: Path, cache: Path) -> Path:
    """A new --root-dir below `folder` that already knows the generated dataset."""
    (folder / "data" / "synth").mkdir(parents=True)
    (folder / "data" / "synth" / "cache").symlink_to(cache)
    return folder / "data"


def run_of(ledger: Ledger, job: Job, state: str = "started", scores: Sequence[float] = ()) -> Path:
    """The folder of a job's run as its record names it, with made-up validation scores of its epochs."""
    folder = ledger.root / "synth" / "runs" / job.key
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"flags": {**job.length, **job.given}}))
    history = [{"epoch": n, "seconds": 1.0, "val": {"macro_f1": score}} for n, score in enumerate(scores, start=1)]
    (folder / "logger.json").write_text(json.dumps(history))
    ledger.write(job, state, run=str(folder.relative_to(ledger.root)))
    return folder


def stopped_early(ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch, signum: int = signal.SIGINT) -> str:
    """The state of a run that is stopped, as from outside, before its first step."""
    write = Ledger.write

    def written(self: Ledger, job: Job, state: str, **facts: Any) -> None:
        write(self, job, state, **facts)
        worker.stop("another", [job.key])  # a driver that does not own the run
        worker.stop("test", [job.key], signum)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write", written)
        return outcome_of(ledger, job)["state"]


def timeless(ledger: Ledger) -> list[dict[str, Any]]:
    """The table without the seconds and folders of the runs."""
    return [{key: value for key, value in row.items() if key not in ("seconds", "run")} for row in tables.rows(ledger)]


def make(root: Path, scores: dict[str, list[float]] = SCORES, reps: int = 3) -> Ledger:
    """A study whose runs have two epochs, the second the worse, and a test score a tenth lower than the first."""
    ledger = Ledger.open(root, "x")
    flags = {cell: {"model-args.layout": cell, "lr": "0.010", "epochs": "2"} for cell in scores}
    ledger.freeze(reps, cells=[{"name": cell, "cell": flags[cell]} for cell in scores])
    for cell, values in scores.items():
        for rep, score in enumerate(values):
            folder = root / "tiny" / "runs" / f"tiny_m_{cell}{rep}"
            folder.mkdir(parents=True)
            history = [
                {"epoch": e, "seconds": 1.5, "val": {"macro_f1": score - 0.1 * (e - 1), "loss": 1.0 / e}}
                for e in (1, 2)
            ]
            write_json(folder / "logger.json", history)
            config = {"flags": {"monitor": "macro_f1", "seed": 42 + rep}, "parameters": 100 * abs(ord(cell[0]) - 96)}
            write_json(folder / "config.json", config | {"data": {"split_rule": f"by {MARKUP}, seed {42 + rep}"}})
            write_json(folder / "results.json", {"test": {"macro_f1": score - 0.1, "per_class": {"N": {"f1": 1}}}})
            job = Job(cell, rep, "grid", {"seed": 42 + rep}, flags[cell])
            ledger.write(job, "started", run=str(folder.relative_to(root)))
    return ledger


def page_of(ledger: Ledger) -> Path:
    rows = tables.rows(ledger)
    table, axes = tables.ranked(tables.cells(rows, "macro_f1"), "macro_f1"), tables.axes(rows)
    found = page.with_axes(runs.rows(ledger.root), rows, axes, ledger.path.name)
    explored = runs.explored(found, ledger.root, up="../../", axes=axes)
    return page.write(ledger, rows, table, explored=explored, axes=axes, metric="macro_f1")


def is_refused(address: str) -> bool:
    """Whether a scheduler does not let in whoever has no key, or keys of another cluster."""
    import distributed

    keys = distributed.Security.temporary() if address.startswith("tls://") else None
    try:
        distributed.Client(address, security=keys, timeout="2s", set_as_default=False).close()
    except OSError:
        return True
    return False


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
