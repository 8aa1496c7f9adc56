"""Charts on disk: drawn once, by as many processes as there are, gone on with where it stopped, and never taken for
others."""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.chartstore import HOW, SHEET, fill, keys, opened, signal, window
from helpers.preloaded import restrict
from loaders.charts import store as chartstore
from loaders.charts.store import ChartStore, key
from toolbox.errors import DataError, ResourceError
from toolbox.paper import drawing
from toolbox.paper.drawing import packed


def filled(root: Path, count: int = 10) -> ChartStore:
    store = opened(root)
    fill(store, keys(count), window, HOW)
    return store


def start(work: Callable[[], object]) -> multiprocessing.Process:
    """`work` in a process of its own, whose exit code is 0 if it raises nothing."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def exit_code(process: multiprocessing.Process) -> int | None:
    process.join(900)
    return process.exitcode


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_charts_are_read_as_drawn_in_the_requested_order(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert len(store) == 10
    pen = drawing._pen(HOW)
    order = [7, 2, 2, 9]
    ink = store.read([key(index, 0) for index in order])
    assert (ink.shape, ink.dtype) == ((4, *SHEET.image), np.uint8)
    np.testing.assert_array_equal(ink, np.stack([pen.ink(signal(index)) for index in order]))
    assert ink.any((1, 2)).all()


def test_existing_charts_are_not_drawn_again_and_later_ones_are_a_part_of_their_own(tmp_path: Path) -> None:
    filled(tmp_path)
    before = contents(tmp_path)
    asked = []
    store = opened(tmp_path)
    assert store.missing(keys(12)) == keys(2, 10)
    fill(store, keys(12), lambda each: asked.append(each) or window(each), HOW)
    assert asked == keys(2, 10)
    assert [part.name for part in store.parts] == ["part-000", "part-001"]
    after = contents(tmp_path)
    assert all(after[name] == before[name] for name in before if not name.endswith("manifest.json"))
    np.testing.assert_array_equal(store.read(keys(1, 11))[0], drawing._pen(HOW).ink(signal(11)))
    assert json.loads((store.folder / "manifest.json").read_text())["charts"] == 12


def test_one_process_and_several_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "ALONE", 100)
    for workers in (1, 3):
        store = opened(tmp_path / str(workers))
        fill(store, keys(200), window, HOW, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_a_store_that_was_interrupted_is_completed_by_the_next_process(tmp_path: Path, how: str) -> None:
    def stops(each: bytes) -> np.ndarray:
        if each == key(140, 0):
            if how == "killed":
                os._exit(9)
            raise KeyboardInterrupt
        return window(each)

    if how == "killed":
        assert exit_code(start(lambda: fill(opened(tmp_path), keys(150), stops, HOW))) == 9
    else:
        with pytest.raises(KeyboardInterrupt):
            fill(opened(tmp_path), keys(150), stops, HOW)
    store, again = opened(tmp_path), []
    assert store.missing(keys(150)) == keys(150)  # what is not whole is not read
    fill(store, keys(150), lambda each: again.append(each) or window(each), HOW)
    assert again == keys(150 - 2 * chartstore.CHUNK, 2 * chartstore.CHUNK)
    np.testing.assert_array_equal(store.read(keys(150)), filled(tmp_path / "whole", 150).read(keys(150)))
    assert not (store.folder / "building").exists()


def test_a_drawing_process_that_is_killed_is_a_resource_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "ALONE", 100)

    def kills(each: bytes) -> np.ndarray:
        if each == key(150, 0):
            for child in multiprocessing.active_children():
                child.kill()
        return window(each)

    with pytest.raises(ResourceError, match="was killed"):
        fill(opened(tmp_path), keys(600), kills, HOW, workers=2)
    store = opened(tmp_path)
    fill(store, keys(200), window, HOW)
    assert len(store) >= 200


def test_two_processes_that_draw_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    def slow(each: bytes) -> np.ndarray:
        time.sleep(0.002)
        return window(each)

    def work() -> None:
        store = opened(tmp_path)
        fill(store, keys(150), slow, HOW)
        np.testing.assert_array_equal(store.read(keys(150))[17], drawing._pen(HOW).ink(signal(17)))

    assert [exit_code(each) for each in [start(work), start(work)]] == [0, 0]
    assert len(opened(tmp_path)) == 150
    assert [part.name for part in opened(tmp_path).parts] == ["part-000"]


def test_threads_and_forks_read_the_same(tmp_path: Path) -> None:
    store = filled(tmp_path, 60)
    expected = store.read(keys(60))

    def many_threads() -> None:
        failed = []

        def read(first: int) -> None:
            for _ in range(20):
                got = store.read(keys(20, first))
                if not np.array_equal(got, expected[first : first + 20]):
                    failed.append(first)

        threads = [threading.Thread(target=read, args=(first,)) for first in (0, 10, 20, 40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(900)
        os._exit(1) if failed else None

    children = [start(many_threads) for _ in range(2)]
    many_threads()
    assert [exit_code(child) for child in children] == [0, 0]
    np.testing.assert_array_equal(store.read(keys(60)), expected)


@pytest.mark.parametrize("facts", [{"size": 49}, {"layout": "1x3"}, {"source": "another"}, {"line_mm": 0.5}])
def test_other_charts_are_another_folder(tmp_path: Path, facts: dict[str, object]) -> None:
    filled(tmp_path)
    assert opened(tmp_path, **facts).missing(keys(10)) == keys(10)


@pytest.mark.parametrize("size", [0, 100, 5000, 20_000])
def test_charts_that_are_cut_off_are_named_with_what_to_remove(tmp_path: Path, size: int) -> None:
    store = filled(tmp_path)
    os.truncate(store.parts[0] / "data.mdb", size)
    chartstore.OPENED.pop(store.parts[0])[1].close()
    with pytest.raises(DataError, match=r"charts (are cut off|cannot be read)") as caught:
        opened(tmp_path)
    assert str(store.folder) in caught.value.where
    assert "remove that folder" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"[]", b'{"charts": 5}', b"\xff\xfe"])
def test_a_damaged_or_foreign_manifest_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    store = filled(tmp_path)
    (store.folder / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest.json") as caught:
        opened(tmp_path)
    assert caught.value.where == str(store.folder)
    folder = opened(tmp_path / "foreign").folder
    folder.mkdir(parents=True)
    (folder / "mine.txt").touch()
    with pytest.raises(DataError, match="describes other charts"):
        opened(tmp_path / "foreign")


def test_a_chart_whose_bytes_changed_is_never_read_silently(tmp_path: Path) -> None:
    store = opened(tmp_path)
    value = bytearray(packed(drawing._pen(HOW).ink(signal(0)), signal(0)))
    value[len(value) // 2] ^= 8
    with store.building(1) as part:
        part.put({key(0, 0): bytes(value), key(1, 0): b"12345678"})
    for index in (0, 1):
        with pytest.raises(DataError, match="a chart is damaged"):
            store.read([key(index, 0)])


def test_one_changed_bit_of_a_part_is_found_before_it_is_opened(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = store.parts[0] / "data.mdb"
    content = bytearray(path.read_bytes())
    content[content.index(key(3, 0)) + 7] ^= 4  # a chart under the number of another row
    path.write_bytes(content)
    chartstore.OPENED.pop(store.parts[0])[1].close()
    with pytest.raises(DataError, match=r"charts are damaged: data.mdb differs from the stored file") as caught:
        opened(tmp_path)
    assert "remove that folder" in caught.value.hint
    (store.parts[0] / "data.sha256").unlink()  # as an earlier version made it
    assert len(opened(tmp_path)) == 10


def test_a_part_that_was_sealed_and_not_yet_put_in_its_place_is_gone_on_with(tmp_path: Path) -> None:
    store = filled(tmp_path)
    chartstore.OPENED.pop(store.parts[0])[1].close()
    store.parts[0].rename(store.folder / "building")
    again = []
    fill(opened(tmp_path), keys(12), lambda each: again.append(each) or window(each), HOW)
    assert again == keys(12)[10:]
    assert len(opened(tmp_path)) == 12


def test_charts_of_other_signals_are_found(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.check(keys(10), map(window, keys(10)))
    with pytest.raises(DataError, match="drawn from other signals"):
        store.check(keys(2), [signal(0), signal(0)])


def test_a_part_that_is_gone_is_drawn_again(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for path in (*store.parts[0].iterdir(), store.parts[0]):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match="charts cannot be read"):
        store.read(keys(1))
    again = opened(tmp_path)
    assert again.missing(keys(10)) == keys(10)
    fill(again, keys(10), window, HOW)
    assert again.read(keys(10)).any((1, 2)).all()


def test_a_part_under_way_that_is_damaged_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    building = opened(tmp_path).folder / "building"
    building.mkdir(parents=True)
    (building.parent / "manifest.json").write_text(json.dumps({**opened(tmp_path / "other").facts, "charts": 0}))
    (building / "data.mdb").write_bytes(b"nonsense" * 4000)
    assert len(filled(tmp_path)) == 10
    assert "damaged, and drawn again" in caplog.text


def test_a_disk_that_is_full_is_named_and_what_was_drawn_before_is_kept(tmp_path: Path) -> None:
    def store() -> None:
        restrict({"RLIMIT_FSIZE": 200_000})
        with pytest.raises(ResourceError, match=r"cannot write .*File too large") as caught:
            fill(opened(tmp_path), keys(640), window, HOW)
        assert "bytes written" in str(caught.value)

    assert exit_code(start(store)) == 0
    again = []
    fill(opened(tmp_path), keys(640), lambda each: again.append(each) or window(each), HOW)
    assert 0 < len(again) < 640
    assert len(opened(tmp_path)) == 640


def test_a_place_that_cannot_be_written_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot store charts"):
        fill(opened(tmp_path / "file"), keys(1), window, HOW)
