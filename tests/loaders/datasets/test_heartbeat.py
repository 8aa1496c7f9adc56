"""ecg and ecg_bin from every form in which the beats come, with the counts that Kaggle's files have."""

import os
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from helpers.data import KAGGLE_SAMPLE, MITDB_ZIP
from helpers.kaggle import NOWHERE, TEST, TRAIN, assert_same_data, change_row, make_zip, write_csv
from helpers.servers import unprivileged
from loaders import DATASETS, get_data
from loaders.base import Data
from loaders.formats.csv import rows as rowfiles
from toolbox.errors import DataError, DownloadError, ResourceError

COUNTS = [90_589, 2_779, 7_236, 803, 8_039]


def load(
    root: Path,
    data_file: Path | None = None,
    *,
    name: str = "ecg",
    val_fraction: float = 0.1,
    seed: int = 42,
    **how: str,
) -> Data:
    return get_data(name, root, data_file=data_file, val_fraction=val_fraction, seed=seed, **how)


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """A folder with both files, 60 and 20 rows."""
    write_csv(tmp_path / "kaggle" / TRAIN, 60, seed=1)
    write_csv(tmp_path / "kaggle" / TEST, 20, seed=2)
    return tmp_path / "kaggle"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server can be reached."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("no_proxy", "")


@pytest.fixture(scope="session")
def records_root(shared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Data]:
    """`load` from the real MIT-BIH zip, whose beats are built once."""
    return partial(load, tmp_path_factory.mktemp("records_root"), shared(MITDB_ZIP))


# From records


def test_the_real_records_give_the_counts_of_the_kaggle_files(records_root: Callable[..., Data]) -> None:
    data = records_root()
    assert len(data.train) + len(data.val) == 87_554
    assert len(data.test) == 21_892
    y = np.concatenate([data.train.y, data.val.y, data.test.y])
    assert np.bincount(y).tolist() == COUNTS
    assert data.train.x.shape == (len(data.train), 1, 187)
    assert data.train.x.dtype == np.float32


def test_each_class_of_the_real_records_stands_in_the_test_set_in_proportion(records_root: Callable[..., Data]) -> None:
    counts = np.bincount(records_root().test.y)
    np.testing.assert_allclose(counts, np.array(COUNTS) * 21_892 / 109_446, atol=1)


def test_the_sides_of_the_real_records_share_no_row_and_cover_all(records_root: Callable[..., Data]) -> None:
    data = records_root()
    index = np.concatenate([data.train.index, data.val.index, data.test.index])
    np.testing.assert_array_equal(np.sort(index), np.arange(109_446))


def test_a_beat_of_the_real_records_knows_its_record(records_root: Callable[..., Data]) -> None:
    data = records_root()
    names = set(data.train.record)
    assert len(names) == 48
    assert {"100", "114", "234"} <= names
    assert set(data.train.record[data.train.y == 4]) >= {"102", "104", "107", "217"}  # the paced ones


def test_the_test_rows_of_the_real_records_do_not_depend_on_the_seed(records_root: Callable[..., Data]) -> None:
    first, other = records_root(), records_root(seed=7)
    np.testing.assert_array_equal(first.test.index, other.test.index)
    assert not np.array_equal(first.val.index, other.val.index)
    assert first.checksum == other.checksum


def test_ecg_bin_of_the_real_records_has_the_rows_of_ecg_with_normal_against_the_rest(
    records_root: Callable[..., Data],
) -> None:
    five, two = records_root(), records_root(name="ecg_bin")
    for side in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(two, side).index, getattr(five, side).index)
        np.testing.assert_array_equal(getattr(two, side).y, getattr(five, side).y > 0)


def test_a_folder_with_some_records_is_read_at_its_top_and_its_rest_does_not_matter(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "root" / "ecg"
    with zipfile.ZipFile(shared(MITDB_ZIP)) as archive:
        for member in archive.namelist():
            if Path(member).stem in ("100", "208"):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / Path(member).name).write_bytes(archive.read(member))
    data = load(tmp_path / "root")
    (folder / "runs" / "ecg_some_1").mkdir(parents=True)
    (folder / "notes.txt").write_text("anything")
    caches = os.listdir(folder / "cache")
    assert_same_data(load(tmp_path / "root"), data)
    assert os.listdir(folder / "cache") == caches
    assert set(data.train.record) == {"100", "208"}
    assert len(data.test) == round(0.2 * (len(data.train) + len(data.val) + len(data.test)))


# From Kaggle's rows


def test_the_real_sample_of_the_kaggle_files_is_read(shared: Callable[[str], Path], tmp_path: Path) -> None:
    source = shared(KAGGLE_SAMPLE)
    data = load(tmp_path, source)
    expected = np.loadtxt(source / TRAIN, delimiter=",", dtype=np.float32)
    order = np.argsort(np.concatenate([data.train.index, data.val.index]))
    np.testing.assert_array_equal(np.concatenate([data.train.x, data.val.x])[order, 0], expected[:, :-1])
    assert (len(data.train), len(data.val), len(data.test)) == (9, 1, 10)
    assert load(tmp_path, source, name="ecg_bin").spec.classes == ("normal", "abnormal")


def test_every_form_of_the_same_files_gives_the_same_data(kaggle: Path, tmp_path: Path) -> None:
    both = {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST}
    flat = make_zip(tmp_path / "flat.zip", both)
    nested = make_zip(
        tmp_path / "nested.zip",
        {f"archive/{name}": path for name, path in both.items()}
        | {"ptbdb_normal.csv": "", f"__MACOSX/archive/._{TRAIN}": "x"},
    )
    shutil.copytree(kaggle, tmp_path / "loose" / "ecg")
    shutil.copytree(kaggle, tmp_path / "deeper" / "ecg" / "archive")
    make_zip(tmp_path / "zipped" / "ecg" / "any name.zip", both)
    root = tmp_path / "root"
    folder = load(root, kaggle)
    assert (len(folder.train), len(folder.val), len(folder.test)) == (54, 6, 20)
    for data in (
        load(root, kaggle / TRAIN),
        load(root, kaggle / TEST),
        load(root, flat),
        load(root, nested),
        load(tmp_path / "loose"),
        load(tmp_path / "deeper"),
        load(tmp_path / "zipped"),
    ):
        assert_same_data(data, folder)
        assert data.checksum == folder.checksum


@pytest.mark.parametrize(
    ("name", "classes", "importance"),
    [("ecg", ("N", "S", "V", "F", "Q"), (1, 2, 2, 2, 0.5)), ("ecg_bin", ("normal", "abnormal"), (1, 2))],
)
def test_the_facts_of_a_dataset_are_stated(
    kaggle: Path, tmp_path: Path, name: str, classes: tuple[str, ...], importance: tuple[float, ...]
) -> None:
    spec = load(tmp_path, kaggle, name=name).spec
    assert (spec.name, spec.classes, spec.importance) == (name, classes, importance)
    assert (spec.channels, spec.samples, spec.rate_hz) == (1, 187, 125)


def test_ecg_bin_calls_every_class_but_n_abnormal(kaggle: Path, tmp_path: Path) -> None:
    five, two = load(tmp_path, kaggle), load(tmp_path, kaggle, name="ecg_bin")
    for side in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(two, side).y, getattr(five, side).y != 0)
        assert getattr(two, side).y.dtype == np.int64
        np.testing.assert_array_equal(getattr(two, side).x, getattr(five, side).x)


def test_validation_is_drawn_from_train_by_class_with_the_seed(kaggle: Path, tmp_path: Path) -> None:
    first, again, other = (load(tmp_path, kaggle, val_fraction=0.25, seed=seed) for seed in (1, 1, 2))
    assert np.bincount(first.val.y).tolist() == [3] * 5
    np.testing.assert_array_equal(np.sort(np.concatenate([first.train.index, first.val.index])), np.arange(60))
    np.testing.assert_array_equal(first.val.index, again.val.index)
    assert not np.array_equal(first.val.index, other.val.index)
    np.testing.assert_array_equal(first.test.x, other.test.x)


def test_the_split_rule_says_how_the_sides_came_about(kaggle: Path, tmp_path: Path) -> None:
    rule = load(tmp_path, kaggle, val_fraction=0.25, seed=9).spec.split_rule
    for words in (
        "by the publisher",
        "one patient's beats stand on both sides",
        "validation is 0.25 of train",
        "seed 9",
    ):
        assert words in rule


# Rows that cannot be used, and rows on both sides


def test_dropped_rows_are_counted_and_named_at_every_start_and_the_others_keep_their_numbers(
    kaggle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load(tmp_path, kaggle)
    before = {row: x for side in (whole.train, whole.val) for row, x in zip(side.index.tolist(), side.x, strict=True)}
    for row in (3, 10, 20, 59):
        change_row(kaggle / TRAIN, row, lambda line: f"x{line}")
    change_row(kaggle / TEST, 0, lambda line: f"{line},1")
    for _ in range(2):
        caplog.clear()
        data = load(tmp_path, kaggle, bad_rows="drop")
        index = np.concatenate([data.train.index, data.val.index])
        np.testing.assert_array_equal(np.sort(index), np.setdiff1d(np.arange(60), [3, 10, 20, 59]))
        np.testing.assert_array_equal(
            np.concatenate([data.train.x, data.val.x]), [before[row] for row in index.tolist()]
        )
        assert data.test.index.tolist() == list(range(1, 20))
        assert (data.train.dropped, data.val.dropped, data.test.dropped) == (4, 4, 1)
        of_train, of_test = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
        assert of_train.startswith(f"unusable rows dropped from {kaggle / TRAIN}: 4; line 4, column 1: 'x")
        assert ("line 21, " in of_train, "line 60, " in of_train, of_train.endswith("; ...")) == (True, False, True)
        assert of_test.endswith(f"{kaggle / TEST}: 1; line 1: 189 columns, expected 187 samples and a label")


def test_what_was_parsed_without_bad_rows_is_not_taken_for_the_whole_file(kaggle: Path, tmp_path: Path) -> None:
    whole = load(tmp_path, kaggle)
    dropping = load(tmp_path, kaggle, bad_rows="drop")
    assert_same_data(dropping, whole)
    assert dropping.checksum == whole.checksum
    change_row(kaggle / TRAIN, 5, lambda line: line[:100])
    assert load(tmp_path, kaggle, bad_rows="drop").checksum != whole.checksum
    with pytest.raises(DataError, match="columns, expected 187"):
        load(tmp_path, kaggle)


def test_rows_of_train_and_of_validation_that_stand_in_test_are_found_by_their_row_there(
    kaggle: Path, tmp_path: Path
) -> None:
    data = load(tmp_path, kaggle)
    assert data.shared_rows.tolist() == []
    lines = (kaggle / TRAIN).read_text().splitlines()
    for row, source in ((2, data.val.index[0]), (17, data.train.index[0])):
        change_row(kaggle / TEST, row, lambda _, source=source: lines[source][:-1] + "0")  # under whatever label
    assert load(tmp_path, kaggle).shared_rows.tolist() == [2, 17]


def test_no_test_beat_of_the_real_records_is_trained_on(records_root: Callable[..., Data]) -> None:
    assert len(records_root().shared_rows) == 0


# Parsed once


def test_the_second_start_does_not_parse_again(kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tmp_path, kaggle)
    first.test  # noqa: B018
    monkeypatch.setattr(rowfiles, "_parse", lambda *_, **__: 1 / 0)
    assert_same_data(load(tmp_path, kaggle), first)


def test_a_file_of_the_same_size_and_times_is_not_taken_for_another(kaggle: Path, tmp_path: Path) -> None:
    path, first = kaggle / TRAIN, load(tmp_path, kaggle)
    times, lines = path.stat(), path.read_text().splitlines()
    path.write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    assert load(tmp_path, kaggle).checksum != first.checksum


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_changed_file_is_parsed_again_and_a_touched_one_is_not(kaggle: Path, tmp_path: Path, form: str) -> None:
    members = {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST}
    source = make_zip(tmp_path / "a.zip", members) if form == "zip" else kaggle
    cache = tmp_path / "ecg" / "cache"
    first = load(tmp_path, source)
    assert len(os.listdir(cache)) == 1
    os.utime(source if form == "zip" else kaggle / TRAIN, ns=(0, 10**18))
    assert_same_data(load(tmp_path, source), first)
    assert len(list(cache.glob("mitbih_train-*"))) == 1
    write_csv(kaggle / TRAIN, 70)
    if form == "zip":
        make_zip(source, members)
    changed = load(tmp_path, source)
    assert len(changed.train) + len(changed.val) == 70
    assert len(list(cache.glob("mitbih_train-*"))) == 2
    assert changed.checksum != first.checksum


def test_the_test_file_is_not_opened_before_its_rows_are_asked_for(kaggle: Path, tmp_path: Path) -> None:
    (kaggle / TEST).write_text("broken\n")
    data = load(tmp_path, kaggle)
    assert len(data.train) == 54
    with pytest.raises(DataError, match="1 columns") as caught:
        data.test  # noqa: B018
    assert caught.value.where == f"{kaggle / TEST}, line 1"


def test_a_broken_training_file_is_named_by_line_and_column(kaggle: Path, tmp_path: Path) -> None:
    lines = (kaggle / TRAIN).read_text().splitlines()
    lines[6] = lines[6].rsplit(",", 1)[0] + ",7"
    (kaggle / TRAIN).write_text("\n".join(lines))
    archive = make_zip(tmp_path / "a.zip", {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST})
    for source in (kaggle, archive):
        with pytest.raises(DataError, match="label 7 is not one of") as caught:
            load(tmp_path, source)
        assert caught.value.where == f"{source / TRAIN}, line 7, column 188"


def test_a_damaged_zip_of_the_kaggle_files_is_a_data_error_that_names_it(kaggle: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST})
    content = path.read_bytes()
    path.write_bytes(content[:5000] + bytes(500) + content[5500:])
    with pytest.raises(DataError) as caught:
        load(tmp_path, path)
    assert str(path) in caught.value.where


# What is missing or wrong


@pytest.mark.parametrize("missing", [TRAIN, TEST])
def test_a_missing_file_of_the_two_is_refused_at_once(kaggle: Path, tmp_path: Path, missing: str) -> None:
    (kaggle / missing).unlink()
    there = TRAIN if missing == TEST else TEST
    for source in (kaggle, kaggle / there):
        with pytest.raises(DataError, match=f"{missing} is missing") as caught:
            load(tmp_path, source)
        assert caught.value.where == str(kaggle)
    assert not (tmp_path / "ecg").exists()


def wrong_kinds(folder: Path) -> dict[str, Path]:
    """Things that are no heartbeats."""
    (folder / "empty").mkdir(parents=True)
    (folder / "other.csv").write_text("1,2,3\n")
    (folder / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    return {
        "nothing": folder / "nowhere",
        "an empty folder": folder / "empty",
        "another CSV": folder / "other.csv",
        "a broken zip": folder / "broken.zip",
        "another zip": make_zip(folder / "other.zip", {"readme.txt": "hello", TRAIN: "1"}),
        "records without beats": make_zip(folder / "cinc.zip", {"A1.hea": "A1 1 300 9000", "A1.mat": ""}),
    }


@pytest.mark.parametrize(
    "kind", ["nothing", "an empty folder", "another CSV", "a broken zip", "another zip", "records without beats"]
)
def test_a_data_file_of_the_wrong_kind_is_refused_and_the_hint_says_what_would_do(tmp_path: Path, kind: str) -> None:
    path = wrong_kinds(tmp_path / "wrong")[kind]
    with pytest.raises(DataError) as caught:
        load(tmp_path, path)
    error = caught.value
    assert error.where == str(path)
    assert all(words in error.hint for words in (TRAIN, TEST, "MIT-BIH records"))
    assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("closed", ["the folder around it", "the folder", TRAIN, "a.zip"])
def test_what_may_not_be_read_is_a_resource_error(closed: str) -> None:
    with unprivileged() as folder:
        around = folder / "around"
        kaggle = around / "kaggle"
        write_csv(kaggle / TRAIN, 60)
        write_csv(kaggle / TEST, 20)
        archive = make_zip(around / "a.zip", {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST})
        path = {"the folder around it": around, "the folder": kaggle, TRAIN: kaggle / TRAIN, "a.zip": archive}[closed]
        path.chmod(0)
        with pytest.raises(ResourceError, match="Permission denied"):
            load(folder, archive if closed == "a.zip" else kaggle)
        path.chmod(0o700)


def test_an_unusable_zip_in_the_folder_does_not_hide_a_usable_one(
    kaggle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "root" / "ecg"
    wrong_kinds(folder / "wrong")
    for path in (folder / "wrong").glob("*.zip"):
        path.rename(folder / f"a_{path.name}")
    make_zip(folder / "z.zip", {TRAIN: kaggle / TRAIN, TEST: kaggle / TEST})
    assert_same_data(load(tmp_path / "root"), load(tmp_path / "elsewhere", kaggle))
    assert f"skipping {folder / 'a_broken.zip'}" in caplog.text


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("there", [None, "broken.zip"])
def test_without_data_and_without_a_network_one_line_says_how_to_place_the_files(
    tmp_path: Path, there: str | None
) -> None:
    if there:
        (tmp_path / "ecg").mkdir()
        (tmp_path / "ecg" / there).write_bytes(b"PK")
    with pytest.raises(DownloadError) as caught:
        load(tmp_path)
    error = caught.value
    assert error.code == 7
    assert len(str(error).splitlines()) == 1
    for remote in DATASETS["ecg"].files.remotes:
        assert f"cannot fetch {remote.name}" in error.what
    for words in (TRAIN, TEST, "physionet.org", str(tmp_path / "ecg"), "--data-file"):
        assert words in error.hint
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == (
        ["ecg", f"ecg/{there}"] if there else []
    )
