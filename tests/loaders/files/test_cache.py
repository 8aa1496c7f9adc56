"""Parsed arrays on disk: built once, mapped afterwards, whole or not there."""

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.preloaded import restrict
from loaders.files import cache
from loaders.files.cache import Arrays, cached, checksum, fingerprint
from toolbox import files
from toolbox.errors import DataError, ResourceError


def arrays() -> Arrays:
    return {
        "x": np.arange(12, dtype=np.float32).reshape(3, 4),
        "y": np.array([2, 0, 1]),
        "record": np.array(["100", "", "201_längste"]),
    }


def never() -> Arrays:
    raise AssertionError("built again")


def assert_equal(left: Arrays, right: Arrays) -> None:
    assert list(left) == list(right)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], strict=True)


def start(work: Callable[[], object]) -> multiprocessing.Process:
    """`work` in a process of its own, whose exit code is 0 if it raises nothing."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def exit_code(process: multiprocessing.Process) -> int | None:
    process.join(900)
    return process.exitcode


def test_the_first_call_builds_and_the_next_maps_what_was_stored(tmp_path: Path) -> None:
    first, checksum_first = cached(tmp_path / "deep" / "a", arrays)
    second, checksum_second = cached(tmp_path / "deep" / "a", never)
    assert_equal(first, arrays())
    assert_equal(second, arrays())
    assert checksum_first == checksum_second
    assert all(isinstance(array, np.memmap) for array in [*first.values(), *second.values()])
    with pytest.raises(ValueError, match="read-only"):
        first["x"][0, 0] = 1
    assert os.listdir(tmp_path / "deep") == ["a"]
    assert sorted(os.listdir(tmp_path / "deep" / "a")) == ["meta.json", "record.npy", "x.npy", "y.npy"]


def test_the_checksum_is_of_the_content_and_not_of_its_layout_in_memory() -> None:
    same = arrays()
    same["x"], same["record"] = np.asfortranarray(same["x"]), same["record"].astype("<U40")
    assert checksum(same) == checksum(arrays())


@pytest.mark.parametrize("change", [
    pytest.param(lambda a: a["x"].__setitem__((0, 0), 1), id="a sample"),
    pytest.param(lambda a: a["y"].__setitem__(0, 1), id="a label"),
    pytest.param(lambda a: a["record"].__setitem__(0, "101"), id="a record"),
    pytest.param(lambda a: a.update(x=a["x"].reshape(4, 3)), id="the shape"),
    pytest.param(lambda a: a.update(z=a.pop("x")), id="a name"),
])  # fmt: skip
def test_the_checksum_differs_where_anything_differs(change: object) -> None:
    other = arrays()
    change(other)
    assert checksum(other) != checksum(arrays())


def spoil(path: Path) -> None:
    """Change one bit of a file, not its size and times."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def another_process(folder: Path) -> None:
    """Forget all that this process knows about a folder, as a new one would."""
    cache.SOUND.pop(folder, None)
    cache.WATCHED.clear()


def assert_heals(folder: Path, caplog: pytest.LogCaptureFixture, says: str) -> None:
    another_process(folder)
    healed, after = cached(folder, arrays)
    assert_equal(healed, arrays())
    assert after == checksum(arrays())
    (line,) = caplog.messages
    assert line.startswith(f"the parsed data in {folder} are damaged (")
    assert says in line
    assert os.listdir(folder.parent) == [folder.name]
    assert_equal(cached(folder, never)[0], arrays())


def another_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


def other_checksum(folder: Path) -> None:
    path = folder / "meta.json"
    path.write_text(path.read_text().replace(checksum(arrays()), "0" * 64))


CONTENTS = [b"", b"{", b"[]", b"null", b"{}", b'{"arrays": ["x"]}', b'{"arrays": 5}', b"\xff\xfe", b"[" * 10_000]
DIFFERS = "differs from the stored file"
# What is done to a stored folder, and what is said of it.
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    **{
        f"meta.json of {content[:20]}": (
            lambda folder, content=content: (folder / "meta.json").write_bytes(content),
            "",
        )
        for content in CONTENTS
    },
    "no meta.json": (lambda folder: (folder / "meta.json").unlink(), ""),
    "another checksum": (other_checksum, "meta.json was changed"),
    "a bit of x": (lambda folder: spoil(folder / "x.npy"), f"x.npy {DIFFERS}"),
    "a bit of y": (lambda folder: spoil(folder / "y.npy"), f"y.npy {DIFFERS}"),
    "a bit of record": (lambda folder: spoil(folder / "record.npy"), f"record.npy {DIFFERS}"),
    "replaced labels": (lambda folder: np.save(folder / "y.npy", arrays()["y"][::-1]), f"y.npy {DIFFERS}"),
    "a pickle": (lambda folder: np.save(folder / "x.npy", np.array([{}], dtype=object)), f"x.npy {DIFFERS}"),
    "no x": (lambda folder: (folder / "x.npy").unlink(), "No such file"),
    "an empty x": (lambda folder: os.truncate(folder / "x.npy", 0), f"x.npy {DIFFERS}"),
    "half a header": (lambda folder: os.truncate(folder / "x.npy", 20), f"x.npy {DIFFERS}"),
    "half the data": (lambda folder: os.truncate(folder / "x.npy", 130), f"x.npy {DIFFERS}"),
    "a file in its place": (another_file, "Not a directory"),
    "an earlier version, damaged": (lambda folder: spoil(earlier(folder) / "y.npy"), "do not have their checksum"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    spoil_it, says = DAMAGE[damage]
    cached(tmp_path / "a", arrays)
    spoil_it(tmp_path / "a")
    assert_heals(tmp_path / "a", caplog, says)


def test_a_disk_that_loses_bytes_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_array = files.write_array
    monkeypatch.setattr(files, "write_array", lambda path, array: write_array(path, array[:1]))
    monkeypatch.setattr(
        files, "sha256", lambda path: "0" if path.parent.name == "a" and path.parent.parent == tmp_path else "1"
    )
    with pytest.raises(DataError, match="damaged"):
        cached(tmp_path / "a", arrays)


def test_a_sound_folder_is_compared_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(tmp_path / "a", arrays)
    monkeypatch.setattr(cache, "_compare", None)
    assert_equal(cached(tmp_path / "a", never)[0], arrays())


# Stored by an earlier version


def earlier(folder: Path) -> Path:
    """A folder as it was stored without digests of its files."""
    cached(folder, arrays)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({"arrays": meta["arrays"], "sha256": meta["sha256"]}))
    another_process(folder)
    return folder


def test_a_folder_of_an_earlier_version_is_used_and_guarded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = earlier(tmp_path / "a")
    assert cached(folder, never)[1] == checksum(arrays())
    spoil(folder / "y.npy")
    assert_heals(folder, caplog, "y.npy differs from the stored file")


# Large arrays


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.int16]:
    """An array whose records are compared as they are read, two of them in a block."""
    monkeypatch.setattr(cache, "LARGE_ARRAY", 100)
    monkeypatch.setattr(cache, "LEAST_BLOCK", 16)
    stored, _ = cached(tmp_path / "a", lambda: {"x": np.arange(60, dtype=np.int16).reshape(15, 4)}, by_record=["x"])
    return stored["x"]


def test_a_damaged_record_of_a_large_array_is_found_when_it_is_read(tmp_path: Path, large: NDArray[np.int16]) -> None:
    path = tmp_path / "a" / "x.npy"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1  # of record 14
    path.write_bytes(content)
    another_process(tmp_path / "a")
    read, _ = cached(tmp_path / "a", never, by_record=["x"])
    cache.check(read["x"], np.array([0, 3, 13]))
    with pytest.raises(DataError, match=r"about record 14 .*x\.npy") as caught:
        cache.check(read["x"])
    assert "the same command again" in caught.value.hint
    assert cached(tmp_path / "a", lambda: {"x": large * 0}, by_record=["x"])[0]["x"].sum() == 0


def test_a_block_is_compared_once(large: NDArray[np.int16], monkeypatch: pytest.MonkeyPatch) -> None:
    cache.check(large, np.array([3]))
    seen, digest = [], cache._block_digest
    monkeypatch.setattr(cache, "_block_digest", lambda block: seen.append(block[0, 0]) or digest(block))
    cache.check(large, np.array([2, 3, 4]))
    assert seen == [16]
    cache.check(large)
    cache.check(large)
    assert len(seen) == len(range(0, 15, 2)) - 1


def test_digests_of_a_large_array_are_guarded(
    tmp_path: Path, large: NDArray[np.int16], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(tmp_path / "a" / "x.digests.npy")
    another_process(tmp_path / "a")
    cached(tmp_path / "a", lambda: {"x": large}, by_record=["x"])
    assert "x.digests.npy differs from the stored file" in caplog.text


# What goes wrong while it is stored


def test_a_store_that_the_system_stops_leaves_nothing_behind(tmp_path: Path) -> None:
    def store() -> None:
        restrict({"RLIMIT_FSIZE": 100_000})
        with pytest.raises(ResourceError, match="cannot write"):
            cached(tmp_path / "a", lambda: {**arrays(), "z": np.zeros(100_000)})

    assert exit_code(start(store)) == 0
    assert os.listdir(tmp_path) == []


def killed(work: Callable[[], object], folder: Path, pattern: str) -> None:
    """Do `work` in a process that is killed once a file like `pattern` is in `folder`."""
    process = start(work)
    while not any(folder.rglob(pattern)):
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert exit_code(process) == -signal.SIGKILL


def test_a_process_that_is_killed_while_it_stores_leaves_nothing_after_the_next_command(tmp_path: Path) -> None:
    def store() -> None:
        files.write_json = lambda *_: time.sleep(600)
        cached(tmp_path / "a", lambda: {"x": np.zeros(5)})

    killed(store, tmp_path, "x.npy")
    assert not (tmp_path / "a").exists()
    assert len(os.listdir(tmp_path)) == 1
    assert_equal(cached(tmp_path / "b", arrays)[0], arrays())
    assert os.listdir(tmp_path) == ["b"]


def test_folders_of_an_earlier_version_are_removed_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".beats-1.abcd_123" / "beats-1").mkdir(parents=True)
    (tmp_path / ".mine.abcd_123" / "notes").mkdir(parents=True)
    cached(tmp_path / "a", arrays)
    assert len(os.listdir(tmp_path)) == 3
    monkeypatch.setattr(files, "DAY_S", -1)
    cached(tmp_path / "a", arrays)
    assert sorted(os.listdir(tmp_path)) == [".mine.abcd_123", "a"]


def test_two_processes_that_build_at_once_both_get_the_arrays(tmp_path: Path) -> None:
    def build(mine: str) -> Arrays:
        (tmp_path / mine).touch()
        while not ((tmp_path / "one").exists() and (tmp_path / "two").exists()):
            time.sleep(0.01)
        return arrays()

    def load(mine: str) -> None:
        assert_equal(cached(tmp_path / "a", lambda: build(mine))[0], arrays())

    processes = [start(lambda mine=mine: load(mine)) for mine in ("one", "two")]
    assert [exit_code(process) for process in processes] == [0, 0]
    assert sorted(os.listdir(tmp_path)) == ["a", "one", "two"]


def test_a_place_that_cannot_be_written_is_a_resource_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot store") as caught:
        cached(tmp_path / "file" / "a", arrays)
    assert str(tmp_path / "file" / "a") in caught.value.where


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_unwritable_arrays_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refused(**_: object) -> None:
        raise OSError(code, os.strerror(code))

    _, digest = cached(tmp_path / "a", arrays)
    monkeypatch.setattr(files.tempfile, "mkdtemp", refused)
    found = cached(tmp_path / "b", arrays)
    assert_equal(found[0], arrays())
    assert found[1] == digest
    assert os.listdir(tmp_path) == ["a"]


def test_a_fingerprint_is_of_names_and_contents_and_of_how_they_are_read(tmp_path: Path) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    for file in (path, other):
        file.write_text("1,2\n")
    before = fingerprint(path)
    assert len({before, fingerprint(path, label="a"), fingerprint(path, label="b"), fingerprint(path, record="a")}) == 4
    assert fingerprint(other) != before
    assert fingerprint(path, other) != before
    os.utime(path, ns=(0, 10**18))
    assert fingerprint(path) == before
    (tmp_path / "copy").mkdir()
    assert fingerprint(Path(shutil.copy(path, tmp_path / "copy"))) == before
    path.write_text("2,1\n")
    os.utime(path, ns=(0, 10**18))
    assert fingerprint(path) != before


def test_a_fingerprint_of_no_file_is_that_of_earlier_versions() -> None:
    assert fingerprint(recipe="a") == hashlib.sha256(b'[1, [], {"recipe": "a"}]').hexdigest()[:16]


def test_a_file_with_reliable_times_is_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("1")
    first, read = fingerprint(tmp_path / "a"), files.sha256
    seen = []
    monkeypatch.setattr(files, "sha256", lambda path: seen.append(path) or read(path))
    assert fingerprint(tmp_path / "a") == first
    monkeypatch.setattr(cache, "UNSETTLED_NS", -(10**12))
    assert [fingerprint(tmp_path / "a") for _ in range(3)] == [first] * 3
    assert len(seen) == 2


@pytest.mark.parametrize("change", ["head", "tail", "path", "times"])
def test_a_large_file_is_known_by_its_ends_and_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(cache, "LARGE", 10_000)
    monkeypatch.setattr(cache, "EDGES", 0)
    path = tmp_path / "a"
    path.write_bytes(bytes(20_000))
    before = fingerprint(path)
    assert fingerprint(path) == before
    if change == "path":
        path = shutil.copy2(path, tmp_path / "b")
    elif change == "times":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    else:
        with open(path, "r+b") as file:
            file.seek(0 if change == "head" else 19_999)
            file.write(b"1")
    assert fingerprint(path) != before
