"""Parsed arrays on disk: built once, mapped afterwards, whole or not there."""

import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loaders.cache import Arrays, cached, checksum, fingerprint
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
    process.join(60)
    return process.exitcode


def test_the_first_call_builds_and_the_next_maps_what_was_stored(tmp_path: Path) -> None:
    first, checksum_first = cached(tmp_path / "a", arrays)
    second, checksum_second = cached(tmp_path / "a", never)
    assert_equal(first, arrays())
    assert_equal(second, arrays())
    assert checksum_first == checksum_second
    assert all(isinstance(array, np.memmap) for array in [*first.values(), *second.values()])


def test_a_mapped_array_cannot_be_written_to(tmp_path: Path) -> None:
    stored, _ = cached(tmp_path / "a", arrays)
    with pytest.raises(ValueError, match="read-only"):
        stored["x"][0, 0] = 1


def test_the_folder_holds_nothing_but_the_complete_arrays(tmp_path: Path) -> None:
    cached(tmp_path / "deep" / "a", arrays)
    assert os.listdir(tmp_path / "deep") == ["a"]
    assert sorted(os.listdir(tmp_path / "deep" / "a")) == ["meta.json", "record.npy", "x.npy", "y.npy"]


def test_the_checksum_is_of_the_content_and_not_of_its_layout_in_memory() -> None:
    same = arrays()
    same["x"], same["record"] = np.asfortranarray(same["x"]), same["record"].astype("<U40")
    assert checksum(same) == checksum(arrays())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda a: a["x"].__setitem__((0, 0), 1), id="a sample"),
        pytest.param(lambda a: a["y"].__setitem__(0, 1), id="a label"),
        pytest.param(lambda a: a["record"].__setitem__(0, "101"), id="a record"),
        pytest.param(lambda a: a.update(x=a["x"].reshape(4, 3)), id="the shape"),
        pytest.param(lambda a: a.update(z=a.pop("x")), id="a name"),
    ],
)
def test_the_checksum_differs_where_anything_differs(change: object) -> None:
    other = arrays()
    change(other)
    assert checksum(other) != checksum(arrays())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b'{"arrays": ["x"]}', b'{"arrays": 5}', b"\xff\xfe"])
def test_a_damaged_meta_json_is_a_data_error_that_names_the_folder(tmp_path: Path, content: bytes) -> None:
    cached(tmp_path / "a", arrays)
    (tmp_path / "a" / "meta.json").write_bytes(content)
    with pytest.raises(DataError, match="damaged") as caught:
        cached(tmp_path / "a", never)
    assert caught.value.where == str(tmp_path / "a")
    assert "remove" in caught.value.hint


@pytest.mark.parametrize("size", [None, 0, 20, 130], ids=["gone", "empty", "half a header", "half the data"])
def test_a_damaged_array_is_a_data_error(tmp_path: Path, size: int | None) -> None:
    cached(tmp_path / "a", arrays)
    path = tmp_path / "a" / "x.npy"
    path.unlink() if size is None else os.truncate(path, size)
    with pytest.raises(DataError, match="damaged"):
        cached(tmp_path / "a", never)


def test_a_pickled_array_is_never_loaded(tmp_path: Path) -> None:
    cached(tmp_path / "a", arrays)
    np.save(tmp_path / "a" / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="damaged"):
        cached(tmp_path / "a", never)


def test_a_store_that_the_system_stops_leaves_nothing_behind(tmp_path: Path) -> None:
    def store() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with pytest.raises(ResourceError, match="cannot write"):
            cached(tmp_path / "a", lambda: {**arrays(), "z": np.zeros(100_000)})

    assert exit_code(start(store)) == 0
    assert os.listdir(tmp_path) == []


def test_a_process_that_dies_while_storing_leaves_nothing_that_is_read_later(tmp_path: Path) -> None:
    def die_before_the_last_file() -> None:
        files.write_json = lambda *_: os._exit(9)
        cached(tmp_path / "a", lambda: {"x": np.zeros(5)})

    assert exit_code(start(die_before_the_last_file)) == 9
    assert not (tmp_path / "a").exists()
    assert_equal(cached(tmp_path / "a", arrays)[0], arrays())


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


def test_a_fingerprint_changes_with_name_size_and_time_of_a_file_and_not_without(tmp_path: Path) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    for file in (path, other):
        file.write_text("1,2\n")
        os.utime(file, ns=(0, 10**18))
    before = fingerprint(path)
    assert len({before, fingerprint(path, label="a"), fingerprint(path, label="b"), fingerprint(path, record="a")}) == 4
    assert fingerprint(path) == before
    assert fingerprint(other) != before
    assert fingerprint(path, other) != before
    os.utime(path, ns=(0, 10**18 + 1))
    touched = fingerprint(path)
    assert touched != before
    path.write_text("1,2,3\n")
    os.utime(path, ns=(0, 10**18))
    assert fingerprint(path) not in (before, touched)
