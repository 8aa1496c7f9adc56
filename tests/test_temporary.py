"""Temporary folders: gone at the end, and after a SIGKILL at the next sweep; never while their process lives."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT
from toolbox import temporary

HOLD = """
import sys, time
from pathlib import Path
from toolbox import temporary
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


def left(parent: Path, boot: str | None = None) -> Path:
    """A folder that no process holds, of another boot or without a lock."""
    path = parent / f"{temporary.PREFIX}abcd_123"
    (path / "content").mkdir(parents=True)
    if boot is not None:
        (path / temporary.LOCK).write_text(boot)
    return path


def test_a_folder_is_empty_and_gone_at_the_end(tmp_path: Path) -> None:
    with temporary.folder(tmp_path) as path:
        assert list(path.iterdir()) == []
        (path / "a").touch()
    assert os.listdir(tmp_path) == []


def test_a_killed_process_leaves_a_folder_for_the_next_sweep_and_a_living_one_keeps_it(
    tmp_path: Path, holder: subprocess.Popen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    temporary.sweep(tmp_path)
    (there,) = tmp_path.iterdir()
    assert (there / "content" / "half.npy").exists()
    holder.kill()
    holder.wait()
    temporary.sweep(tmp_path)
    assert os.listdir(tmp_path) == []
    assert caplog.messages == [f"removing {there}, which a process left behind when it was killed"]


@pytest.mark.parametrize("boot", [None, "another boot", ""])
def test_a_folder_of_another_host_or_of_an_earlier_version_is_kept_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: str | None
) -> None:
    path = left(tmp_path, boot)
    temporary.sweep(tmp_path)
    assert path.exists()
    monkeypatch.setattr(temporary, "DAY_S", -1)
    temporary.sweep(tmp_path)
    assert not path.exists()


def test_without_a_boot_id_and_without_locks_a_day_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(tmp_path, temporary._boot())
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "no locks")))
    with temporary.folder(tmp_path) as inner:
        temporary.sweep(tmp_path)
        assert inner.exists()
    assert path.exists()
    monkeypatch.undo()
    monkeypatch.setattr(temporary, "_boot", lambda: "")
    temporary.sweep(tmp_path)
    assert path.exists()


def test_links_other_names_files_and_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / temporary.LOCK).write_text(temporary._boot())
    (tmp_path / f"{temporary.PREFIX}abcd_123").symlink_to("elsewhere")
    (tmp_path / f"{temporary.PREFIX}file_123").touch()
    (tmp_path / f"{temporary.PREFIX}empty_12").mkdir()
    (tmp_path / f"{temporary.PREFIX}of mine").mkdir()
    temporary.sweep(tmp_path)
    kept = {"elsewhere", *(f"{temporary.PREFIX}{name}" for name in ("abcd_123", "file_123", "of mine"))}
    assert set(os.listdir(tmp_path)) == kept


def test_a_folder_that_a_sweep_took_before_its_lock_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, times = temporary._locked, []

    def swept_first(outer: Path) -> int | None:
        times.append(outer)
        if len(times) == 1:
            outer.rmdir()
        return locked(outer)

    monkeypatch.setattr(temporary, "_locked", swept_first)
    with temporary.folder(tmp_path) as path:
        assert path.parent == times[1]
    assert os.listdir(tmp_path) == []
