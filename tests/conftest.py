"""What several test files share: a tiny dataset, the real recordings where they are, and the command as a real
process."""

import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

# The work is tiny, and threads that wait for each other on a shared machine cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from preloaded import Preloaded

from loaders import get_data
from loaders.base import Data, DataSpec, Split
from loaders.synthetic import beats
from models import VISION
from toolbox.metrics import intervals

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("ECG_SHARED_DATA", ROOT.parent / "shared" / "data"))
MITDB_ZIP = "mit-bih-arrhythmia-database-1.0.0.zip"
KAGGLE_SAMPLE = "kaggle-heartbeat-sample"


def make_spec(
    *,
    channels: int = 1,
    samples: int = 187,
    classes: tuple[str, ...] = ("N", "S", "V", "F", "Q"),
    image: tuple[int, int] | None = None,
) -> DataSpec:
    importance = (1.0, 2.0, 2.0, 2.0, 0.5)[: len(classes)]
    leads, view = tuple(f"lead{i}" for i in range(channels)), "chart" if image else "beat"
    facts = (channels, samples, 125, "mV", leads, classes, importance, "generated", "none", "none")
    return DataSpec("tiny", view, *facts, image=image)


# What can be seen of these without seconds of work is in test_vision.py.
BIG = (
    "resnet50",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "efficientnet_b3",
    "convnext_tiny",
    "convnext_base",
    "vit_b_16",
)


def spec_for(name: str, **facts: Any) -> DataSpec:
    """Facts of data that the network `name` takes: small charts for one of vision, else beats."""
    return make_spec(image=(64, 96) if name in VISION else None, **facts)


@pytest.fixture(scope="session")
def tiny() -> Data:
    """150 training, 50 validation and 50 test beats of five classes: enough for a loop, not for learning."""
    arrays = beats.beats(250, seed=7)
    everything = Split(arrays["x"][:, None, :], arrays["y"], arrays["record"], np.arange(250))
    train, val, test = (everything.rows(rows) for rows in np.split(np.arange(250), [150, 200]))
    return Data(make_spec(), train, val, lambda: test, "tiny")


@pytest.fixture(scope="session")
def tiny_charts(tiny: Data) -> Data:
    """35 training, 20 validation and 20 test pictures of 32 x 48 pixels: paper on which a beat's column has its
    samples' ink."""

    def drawn(split: Split, rows: int) -> Split:
        ink = np.clip(split.x[:rows, :, None, :144:3], 0, 1)  # (N, 1, 1, 48)
        height = np.linspace(0, 1, 32, dtype=np.float32)[None, None, :, None]
        x = 1 - np.exp(-((height - ink) ** 2) / 0.01) * np.array([0.9, 0.8, 0.7], np.float32)[None, :, None, None]
        return Split(x.astype(np.float32), *(getattr(split, name)[:rows] for name in ("y", "record", "index")))

    test = drawn(tiny.test, 20)
    return Data(make_spec(image=(32, 48)), drawn(tiny.train, 35), drawn(tiny.val, 20), lambda: test, "tiny")


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """The path of a file of the real recordings; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"{name} is not in {SHARED} (set ECG_SHARED_DATA)")
        return SHARED / name

    return find


@pytest.fixture(scope="session", autouse=True)
def few_replicates() -> Iterator[None]:
    """Intervals of commands in this process come from 50 bootstrap replicates: a fraction of the time of 1,000."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "REPLICATES", 50)
        yield


@pytest.fixture
def all_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 1,000 replicates that a user's command has."""
    monkeypatch.setattr(intervals, "REPLICATES", 1000)


@pytest.fixture(scope="session")
def synth_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated dataset's arrays, made once for all processes of the test run: the cache has its own lock."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "synth_cache"
    get_data("synth", root).test  # noqa: B018
    return root / "synth" / "cache"


@pytest.fixture
def root(tmp_path: Path, synth_cache: Path) -> Path:
    """An empty --root-dir that already knows the generated dataset."""
    (tmp_path / "data" / "synth").mkdir(parents=True)
    (tmp_path / "data" / "synth" / "cache").symlink_to(synth_cache)
    return tmp_path / "data"


@pytest.fixture
def closed(tmp_path: Path, synth_cache: Path) -> Path:
    """A root whose generated test rows are not there yet, so that who opens them leaves a trace."""
    cache = tmp_path / "data" / "synth" / "cache"
    cache.mkdir(parents=True)
    (train,) = synth_cache.glob("train-*")
    (cache / train.name).symlink_to(train)
    return tmp_path / "data"


def test_set_is_closed(root: Path) -> bool:
    return not list((root / "synth" / "cache").glob("test-*"))


test_set_is_closed.__test__ = False


class Page(HTMLParser):
    """What a page loads from elsewhere."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value for name, value in attrs if name in ("src", "href", "data")]


def offline() -> dict[str, str]:
    """An environment in which no server can be reached, on any machine."""
    nowhere = "http://127.0.0.1:9"
    return {
        **os.environ,
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


@pytest.fixture(autouse=True)
def signals_are_heard() -> None:
    hear_signals()


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """A test that fails leaves no process behind."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


def launch(
    *flags: object,
    program: Path = ROOT,
    script: str = "commander.py",
    env: Mapping[str, str] = MappingProxyType({}),
    preloaded: bool = True,
    **how: Any,
) -> subprocess.Popen:
    """Start the command as a user would, without a network unless `env` leads to one; `how` is of subprocess.Popen.

    Its imports are made once for all commands, unless `preloaded` is False.
    """
    command = [sys.executable, *([str(program / script)] if script else []), *map(str, flags)]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how
    STARTED.append((Preloaded if preloaded else subprocess.Popen)(command, env={**offline(), **env}, **how))
    return STARTED[-1]


def finish(process: subprocess.Popen, timeout_s: float = 240) -> SimpleNamespace:
    """Wait for a command: its exit code, stdout, stderr, and the JSON of stdout's last line where there is one."""
    out, err = process.communicate(timeout=timeout_s)
    return ended(process.returncode, out, err)


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
        hear_signals()
    return ended(code, out.getvalue(), err.getvalue())


SHORT = ("--dataset", "synth", "--model-name", "cnn1d_3", "--short-run", "--no-figures")


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> SimpleNamespace:
    """A short run of two epochs trained to its end, with TensorBoard; to be left as it is."""
    root = tmp_path_factory.mktemp("short_run")
    (root / "synth").mkdir()
    (root / "synth" / "cache").symlink_to(synth_cache)
    ended = commander(*SHORT[:-1], "--epochs", "2", "--root-dir", root, "--tensorboard")
    assert ended.code == 0, ended.err
    return SimpleNamespace(root=root, path=root / "synth" / "runs" / "synth_cnn1d_3_1", **vars(ended))


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> Path:
    """The folder of the same run without figures and TensorBoard, made in this process; to be left as it is."""
    root = tmp_path_factory.mktemp("plain_run")
    (root / "synth").mkdir()
    (root / "synth" / "cache").symlink_to(synth_cache)
    ended = carried_out(*SHORT, "--epochs", "2", "--root-dir", root)
    assert ended.code == 0, ended.err
    return root / "synth" / "runs" / "synth_cnn1d_3_1"


@pytest.fixture
def copied_run(root: Path, plain_run: Path) -> Path:
    """A copy of it that can be damaged."""
    return shutil.copytree(plain_run, root / "synth" / "runs" / plain_run.name)


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


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, timeout_s: float = 180) -> None:
    """Until `condition` holds, which it must before `process` ends."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
