"""Temporary folders: gone at the end, and after a SIGKILL at the next sweep; never while their process lives."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.data import ROOT
from toolbox import files

HOLD = """
import sys, time
from pathlib import Path
from toolbox import files as temporary
with temporary.folder(Path(sys.argv[1])) as path:
    (path / "half.npy").write_bytes(bytes(1000))
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that holds a folder with a file in it."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    yield process
    process.kill()
    process.wait()


def left(parent: Path, boot: str) -> Path:
    """A folder that no process holds."""
    path = parent / f"{files.PREFIX}abcd_123"
    (path / "content").mkdir(parents=True)
    (path / files.LOCK).write_text(boot)
    return path


def test_a_folder_is_empty_and_gone_at_the_end(tmp_path: Path) -> None:
    with files.folder(tmp_path) as path:
        assert list(path.iterdir()) == []
        (path / "a").touch()
    assert os.listdir(tmp_path) == []


def test_a_killed_process_leaves_a_folder_for_the_next_sweep_and_a_living_one_keeps_it(
    tmp_path: Path, holder: subprocess.Popen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    files.sweep(tmp_path)
    (there,) = tmp_path.iterdir()
    assert (there / "content" / "half.npy").exists()
    holder.kill()
    holder.wait()
    files.sweep(tmp_path)
    assert os.listdir(tmp_path) == []
    assert caplog.messages == [f"removing {there}, left behind by a killed process"]


@pytest.mark.parametrize("boot", ["another boot", ""])
def test_a_folder_of_another_host_is_kept_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: str) -> None:
    path = left(tmp_path, boot)
    files.sweep(tmp_path)
    assert path.exists()
    monkeypatch.setattr(files, "DAY_S", -1)
    files.sweep(tmp_path)
    assert not path.exists()


def test_without_a_boot_id_and_without_locks_a_day_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(tmp_path, files._boot())
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "no locks")))
    with files.folder(tmp_path) as inner:
        files.sweep(tmp_path)
        assert inner.exists()
    assert path.exists()
    monkeypatch.undo()
    monkeypatch.setattr(files, "_boot", lambda: "")
    files.sweep(tmp_path)
    assert path.exists()


def test_folders_that_a_person_called_so_and_links_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DAY_S", -1)
    for name in ("training", "empty_12", "of_a_run_with_more"):
        (tmp_path / f"{files.PREFIX}{name}").mkdir()
    (tmp_path / f"{files.PREFIX}training" / "notes.txt").touch()
    (left(tmp_path / "elsewhere", files._boot()).parent / "notes.txt").touch()
    (tmp_path / f"{files.PREFIX}link_123").symlink_to(f"elsewhere/{files.PREFIX}abcd_123")
    (left(tmp_path, files._boot()) / "notes.txt").touch()
    (tmp_path / f"{files.PREFIX}file_123").touch()
    before = sorted(tmp_path.rglob("*"))
    files.sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
