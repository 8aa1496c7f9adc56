"""What several test files share: tiny data, the real recordings if they are here, roots, and runs to read."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

# The work is tiny, and threads that wait for each other on a shared machine cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # of the tests with two threads, beside another worker

import numpy as np
import pytest

from helpers.commands import SHORT, STARTED, carried_out, hear_signals
from helpers.data import SHARED, make_spec, test_set_is_closed
from helpers.servers import server  # noqa: F401
from loaders import get_data
from loaders.base import Data, Split
from loaders.synthetic import beats
from toolbox.metrics import intervals


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


def common(factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of the test run."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def synth_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated dataset's arrays, made once for all processes of the test run: the cache has its own lock."""
    root = common(tmp_path_factory) / "synth_cache"
    get_data("synth", root).test  # noqa: B018
    return root / "synth" / "cache"


@pytest.fixture(scope="session")
def strips_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated strips in the same way."""
    root = common(tmp_path_factory) / "strips_cache"
    get_data("synth_strips", root)
    return root / "synth_strips" / "cache"


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


test_set_is_closed.__test__ = False


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Signals are heard, and a test that fails leaves no process behind."""
    hear_signals()
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


def made_once(factory: pytest.TempPathFactory, name: str, cache: Path, *flags: str) -> tuple[Path, SimpleNamespace]:
    """A root with a run of two epochs, and the answer of the command: trained once for all processes of the test run,
    which have a copy each."""
    first, mine = common(factory) / f"{name}_first", factory.getbasetemp() / name
    answer = first.with_suffix(".json")
    with open(first.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            shutil.rmtree(first, ignore_errors=True)
            (first / "synth").mkdir(parents=True)
            (first / "synth" / "cache").symlink_to(cache)
            ended = carried_out(*SHORT[:-1], "--epochs", "2", "--root-dir", first, *flags)
            assert ended.code == 0, ended.err
            answer.write_text(json.dumps(vars(ended)))
    shutil.copytree(first, mine, symlinks=True)
    return mine, SimpleNamespace(**json.loads(answer.read_text().replace(str(first), str(mine))))


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> SimpleNamespace:
    """A short run of two epochs trained to its end, with figures and TensorBoard; to be left as it is."""
    root, ended = made_once(tmp_path_factory, "short_run", synth_cache, "--tensorboard")
    return SimpleNamespace(root=root, path=root / "synth" / "runs" / "synth_cnn1d_3_1", **vars(ended))


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> Path:
    """The folder of the same run without figures and TensorBoard; to be left as it is."""
    return made_once(tmp_path_factory, "plain_run", synth_cache, "--no-figures")[0] / "synth/runs/synth_cnn1d_3_1"


@pytest.fixture
def copied_run(root: Path, plain_run: Path) -> Path:
    """A copy of it that can be damaged."""
    return shutil.copytree(plain_run, root / "synth" / "runs" / plain_run.name)
