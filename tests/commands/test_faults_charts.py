"""What is promised of charts when something goes wrong while they are drawn, with real processes, signals and
limits."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.commands import assert_error, commander, finish, launch, small_disk, wait_for
from helpers.data import ROOT
from loaders import get_data
from loaders.charts.store import reading

FLAGS = ("--dataset", "synth_strips", "--view", "chart", "--chart-size", "150", "--chart-layout", "1x5", "--download")


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated strips, made once."""
    root = tmp_path_factory.mktemp("strips")
    get_data("synth_strips", root)
    return root / "synth_strips" / "cache"


def fresh(root: Path, strips: Path) -> Path:
    """A --root-dir that knows the strips."""
    (root / "synth_strips").mkdir(parents=True)
    (root / "synth_strips" / "cache").symlink_to(strips)
    return root


@pytest.fixture
def root(tmp_path: Path, strips: Path) -> Path:
    return fresh(tmp_path / "data", strips)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, strips: Path) -> SimpleNamespace:
    """Charts that were drawn without a disturbance."""
    root = fresh(tmp_path_factory.mktemp("undisturbed"), strips)
    ended = commander(*FLAGS, "--root-dir", root)
    assert ended.code == 0, ended.err
    return SimpleNamespace(root=root, charts=charts(root))


def charts(root: Path) -> dict[bytes, bytes]:
    """Every chart of every store."""
    found = {}
    for part in (root / "synth_strips" / "charts").glob("*/part-*"):
        with reading(part) as get, get.__self__.cursor() as cursor:
            found |= {part.parent.name.encode() + key: value for key, value in cursor}
    return found


def drawing(root: Path) -> bool:
    """Whether some charts, and not all, are drawn."""
    return any(path.stat().st_size > 30_000 for path in root.rglob("building/data.mdb"))


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_command_that_is_ended_while_it_draws_goes_on_where_it_stopped(
    root: Path, undisturbed: SimpleNamespace, signum: int, code: int
) -> None:
    process = launch(*FLAGS, "--root-dir", root)
    wait_for(lambda: drawing(root), process)
    process.send_signal(signum)
    ended = finish(process)
    if ended.code != 0:  # else it was faster than the signal
        assert ended.code == code
        assert "Traceback" not in ended.err
        assert len(charts(root)) < len(undisturbed.charts)
    again = commander(*FLAGS, "--root-dir", root)
    assert again.code == 0, again.err
    assert charts(root) == undisturbed.charts
    assert not list(root.rglob("building"))


def test_a_full_disk_is_named_and_what_was_drawn_is_kept(tmp_path: Path, strips: Path) -> None:
    with small_disk(tmp_path / "disk", 2**20) as disk:
        ended = commander(*FLAGS, "--root-dir", fresh(disk / "data", strips))
        assert_error(ended, 6, "data.mdb: No space left on device", "bytes written", "free space")
        assert drawing(disk)
        assert not list(disk.rglob("*.tmp"))


def test_a_store_that_is_cut_off_is_an_error_that_says_what_to_remove(root: Path, undisturbed: SimpleNamespace) -> None:
    shutil.copytree(undisturbed.root / "synth_strips" / "charts", root / "synth_strips" / "charts")
    for path in root.rglob("data.mdb"):
        os.truncate(path, 50_000)
    ended = commander(*FLAGS, "--root-dir", root)
    assert_error(
        ended, 3, "charts are cut off: 50,000 bytes of", str(root), "remove that folder; its charts are drawn again"
    )


PARALLEL = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
if __name__ == "__main__":
    from helpers import chartstore as store
    from toolbox.paper import drawing
    drawing.ALONE = 10
    store.fill(store.opened(Path({folder!r})), store.keys(10**6), store.window, store.HOW, workers=2)
"""


def test_processes_that_draw_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "parallel.py"
    script.write_text(PARALLEL.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(tmp_path / "charts")))
    process = launch(script, script="", program=ROOT)
    wait_for(lambda: any(tmp_path.rglob("building/data.mdb")), process)
    wait_for(lambda: len(children(process.pid)) >= 2, process)
    own = children(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in own):
        assert time.monotonic() < deadline, own
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes that a process started, where the system tells (Linux)."""
    if not sys.platform.startswith("linux"):
        pytest.skip("no /proc here")
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


def test_what_a_chart_needs_and_is_not_installed_is_said_with_how_to_get_it(root: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "lmdb.py").write_text("raise ModuleNotFoundError('hidden', name='lmdb')\n")
    ended = commander(
        *FLAGS, "--root-dir", root, env={"PYTHONPATH": f"{hidden}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    )
    assert_error(ended, 6, "the package lmdb is not installed", "pip install -r requirements-vision.txt")
