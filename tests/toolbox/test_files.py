"""A file is written whole or not at all, JSON is standard, and temporary folders are removed: at the end, or after a
SIGKILL at the next sweep, never while their process lives."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pandas as pd
import pytest

from helpers.data import ROOT
from toolbox import files
from toolbox.errors import ResourceError


def strict(text: str) -> Any:
    """Read JSON as the standard has it, without NaN and infinities."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_nan_and_infinities_become_null_and_other_values_stay(tmp_path: Path) -> None:
    value = {"a": float("nan"), "b": [1.5, float("inf"), (float("-inf"), 2)], "c": {"d": np.float64("nan")}, 3: True}
    files.write_json(tmp_path / "x.json", value)
    expected = {"a": None, "b": [1.5, None, [None, 2]], "c": {"d": None}, "3": True}
    assert strict((tmp_path / "x.json").read_text()) == expected
    value = {"a": 1, "b": [0.1, "text", None, False], "c": {}}
    assert files.finite(value) == value


@pytest.mark.parametrize("value", [np.float32(1), np.zeros(2), object()], ids=["numpy number", "array", "object"])
def test_an_object_is_refused_before_a_byte_is_written(tmp_path: Path, value: Any) -> None:
    (tmp_path / "x.json").write_text("before")
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "x.json", {"value": value})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.json", "before")]


@pytest.mark.parametrize("name", ["x.txt", "x" * 250, "µ" * 127], ids=len)
def test_text_is_written_as_utf8_in_place_of_the_earlier_also_under_a_long_name(tmp_path: Path, name: str) -> None:
    for text in ("a longer text", "µV"):
        files.write_text(tmp_path / name, text)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, "µV".encode())]


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ResourceError),
        (ValueError("a bug"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["disk full", "any error", "Ctrl-C"],
)
def test_a_failed_write_keeps_the_file(tmp_path: Path, failure: BaseException, shown: type[BaseException]) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"before")

    def half(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        raise failure

    with pytest.raises(shown) as caught:
        files.write_whole(path, half)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("x.bin", b"before")]
    if shown is ResourceError:
        assert str(path) in str(caught.value)
        assert "No space left on device (4 bytes written)" in str(caught.value)


def test_a_missing_folder_is_a_resource_error_that_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.txt"
    with pytest.raises(ResourceError, match="No such file or directory") as caught:
        files.write_text(path, "text")
    assert str(path) in str(caught.value)


# Temporary folders

HOLD = """
import sys, time
from pathlib import Path
from toolbox import files
with files.folder(Path(sys.argv[1])) as path:
    (path / "half.npy").write_bytes(bytes(1000))
    print("ready", flush=True)
    time.sleep(900)
"""


def left(parent: Path, boot: str) -> Path:
    """A folder that no process holds."""
    path = parent / f"{files.PREFIX}abcd_123"
    (path / "content").mkdir(parents=True)
    (path / files.LOCK).write_text(boot)
    return path


def test_a_folder_is_empty_and_removed_at_the_end(tmp_path: Path) -> None:
    with files.folder(tmp_path) as path:
        assert list(path.iterdir()) == []
        (path / "a").touch()
    assert os.listdir(tmp_path) == []


def test_a_sweep_removes_the_folders_of_dead_processes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"ready\n"
        files.sweep(tmp_path)
        (there,) = tmp_path.iterdir()
        assert (there / "content" / "half.npy").exists()
    finally:
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


def test_folders_that_a_person_named_alike_and_links_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("cells", [1, 3, files.CELLS])
def test_columns_become_the_csv_that_pandas_writes_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr(files, "CELLS", cells)
    draw = np.random.default_rng(0)
    columns = {
        "row": np.arange(4),
        "interval": np.array([np.nan, 0.1, -0.0, 1e-7]),
        "p, of N": draw.random(4),
        "few": draw.random(4).astype(np.float32),
        "rate": [np.float64(80.9), 1.0, None, float("nan")],  # as pandas and statistics give them
        "name": ["plain", 'with "quotes"', "a, b", ""],
        "flag": np.array([True, False, True, True]),
        "count": [np.int64(3), 4, 5, 6],
    }
    for form in ("%r", "%.6g"):
        files.write_csv(tmp_path / "own.csv", columns, form)
        expected = pd.DataFrame({**columns, "few": columns["few"].astype(float)})
        expected.to_csv(tmp_path / "pandas.csv", index=False, float_format=None if form == "%r" else form)
        assert (tmp_path / "own.csv").read_text() == (tmp_path / "pandas.csv").read_text()
