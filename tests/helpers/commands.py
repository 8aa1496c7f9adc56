"""The program as tests call it: in this process, forked from one with the imports, or as a new process."""

import io
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.data import ROOT
from helpers.preloaded import Preloaded


def offline() -> dict[str, str]:
    """An environment in which no server can be reached, on any machine."""
    nowhere = "http://127.0.0.1:9"
    own = ("ECG_COMMANDER_ROOT", "ECG_COMMANDER_IMPORT")  # of the person who runs the tests
    return {
        **{name: value for name, value in os.environ.items() if name not in own},
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere),
        "no_proxy": "",
    }


STARTED: list[subprocess.Popen] = []
SIGNALS = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}


def hear_signals() -> None:
    """A command that was carried out in this process ignores them since its end, and what is started here would for
    good."""
    for signum, answer in SIGNALS.items():
        signal.signal(signum, answer)


def launch(
    *flags: object,
    program: Path = ROOT,
    script: str = "commander.py",
    env: Mapping[str, str] = MappingProxyType({}),
    preloaded: bool = True,
    **how: Any,
) -> subprocess.Popen:
    """Start the command as a user would, without a network unless `env` leads to one; `how` is of subprocess.Popen,
    and `limits` of helpers.preloaded.restrict.

    Its imports are made once for all commands, unless `preloaded` is False.
    """
    command = [sys.executable, *([str(program / script)] if script else []), *map(str, flags)]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how
    STARTED.append(Preloaded(command, env={**offline(), **env}, cold=not preloaded, **how))
    return STARTED[-1]


def finish(process: subprocess.Popen, timeout_s: float = 900) -> SimpleNamespace:
    """Wait for a command: its exit code, stdout, stderr, and the JSON of stdout's last line where there is one."""
    out, err = process.communicate(timeout=timeout_s)
    return ended(process.returncode, out or "", err or "")


def ended(code: int, out: str, err: str) -> SimpleNamespace:
    lines = out.strip().splitlines()
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
    return SimpleNamespace(code=code, out=out, err=err, result=result)


def commander(*flags: object, **how: Any) -> SimpleNamespace:
    """Run the command to its end."""
    return finish(launch(*flags, **how))


def carried_out(*flags: object, env: Mapping[str, str] = MappingProxyType({})) -> SimpleNamespace:
    """Run the command to its end in this process: all that `commander` gives, without the seconds of a new one's
    imports.

    For what a command answers, says and writes. What is about processes takes a real one: signals, limits, streams,
    imports.
    """
    from commander import main
    from commands import own_parts

    out, err, root = io.StringIO(), io.StringIO(), logging.getLogger()
    # So that the command sets up its own, as it does alone.
    handlers, level, root.handlers = (root.handlers, root.level, [])
    root.setLevel(logging.WARNING)
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in {**offline(), **env}.items():
                patch.setenv(name, value)
            patch.setattr(tempfile, "tempdir", None)  # asked of the environment anew
            code = main([*map(str, flags)])
    finally:
        root.handlers = handlers
        root.setLevel(level)
        own_parts.use([])  # the parts of --import
        hear_signals()
    return ended(code, out.getvalue(), err.getvalue())


SHORT = ("--dataset", "synth", "--model-name", "cnn1d_3", "--short-run", "--no-tensorboard", "--no-figures")


def weights(run: Path, name: str = "checkpoint.pth.tar") -> dict[str, torch.Tensor]:
    """The tensors of a run's checkpoint."""
    return torch.load(run / name, weights_only=True)["model"]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, history, losses of steps and results of two runs are equal to the last bit."""
    for name in ("checkpoint.pth.tar", "model_best.pth.tar"):
        mine, theirs = weights(one, name), weights(other, name)
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    mine, theirs = (np.load(run / "loss_per_step.npz") for run in (one, other))
    assert all(mine[name].tobytes() == theirs[name].tobytes() for name in ("epoch", "loss"))
    histories = [json.loads((run / "logger.json").read_text()) for run in (one, other)]
    for row in [row for history in histories for row in history]:
        del row["seconds"], row["samples_per_s"]
    assert histories[0] == histories[1]
    assert json.loads((one / "results.json").read_text()) == json.loads((other / "results.json").read_text())


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, timeout_s: float = 900) -> None:
    """Until `condition` holds, which it must before `process` ends."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def on(run: Path, *flags: object) -> SimpleNamespace:
    """The command with these flags on a run of cnn1d_3, in this process."""
    return carried_out("--model-name", "cnn1d_3", "--root-dir", run.parents[2], "--no-figures", *flags)


def assert_error(ended: SimpleNamespace, code: int, *says: str) -> None:
    """One line that begins with error:, says all of it, and no traceback."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("error: ") == 1
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for words in says:
        assert words in last, last


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes; the test is skipped where none may be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


CODES = {0, 2, 3, 4, 5, 6, 7, 8}


def assert_answers(*flags: object) -> tuple[int, str]:
    """The command, in this process, ends as promised: its exit code and stderr."""
    ended = carried_out(*flags)
    assert ended.code in CODES, ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("error: ") == (ended.code != 0), ended.err
    return ended.code, ended.err


def signalled(*flags: object, step: int, signum: int = signal.SIGTERM, times: int = 1) -> SimpleNamespace:
    """The command, in this process, to which a signal comes at the begin of a training step, counted from 1."""
    from trainer import Trainer

    whole, begun = Trainer._step, itertools.count(1)

    def signalled_step(self: Trainer, *given: Any) -> None:
        if next(begun) == step:
            for _ in range(times):
                os.kill(os.getpid(), signum)
        whole(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", signalled_step)
        return carried_out(*flags)
