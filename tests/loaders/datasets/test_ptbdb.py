"""ptbdb from every form in which its two files come: rows of both, drawn by the seed, each file with its own label."""

from pathlib import Path

import numpy as np
import pytest

from helpers.kaggle import NOWHERE, assert_same_data, change_row, make_zip
from helpers.ptbdb import ABNORMAL, NORMAL, samples, write
from loaders import get_data
from loaders.base import Data
from toolbox.errors import DataError, DownloadError

ROWS = {NORMAL: 40, ABNORMAL: 110}
SIDES = ("train", "val", "test")


def load(root: Path, data_file: Path | None = None, *, val_fraction: float = 0.1, seed: int = 42, **how: str) -> Data:
    return get_data("ptbdb", root, data_file=data_file, val_fraction=val_fraction, seed=seed, **how)


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    return write(tmp_path / "kaggle")


def together(data: Data, what: str) -> np.ndarray:
    """An array of all sides in the order of the source."""
    order = np.argsort(np.concatenate([getattr(data, side).index for side in SIDES]))
    return np.concatenate([getattr(getattr(data, side), what) for side in SIDES])[order]


def test_the_rows_of_both_files_are_there_once_with_the_label_of_their_file(kaggle: Path, tmp_path: Path) -> None:
    data = load(tmp_path, kaggle)
    np.testing.assert_array_equal(together(data, "index"), np.arange(150))
    np.testing.assert_array_equal(together(data, "y"), np.repeat([0, 1], [40, 110]))
    expected = np.concatenate([samples(name, rows) for name, rows in ROWS.items()])
    np.testing.assert_array_equal(together(data, "x")[:, 0], expected)
    assert data.spec.classes == ("normal", "abnormal")


def test_a_fifth_is_the_test_set_in_proportion_and_drawn_by_the_seed(kaggle: Path, tmp_path: Path) -> None:
    data = load(tmp_path, kaggle)
    assert [np.bincount(getattr(data, side).y).tolist() for side in SIDES] == [[29, 79], [3, 9], [8, 22]]
    assert not np.array_equal(load(tmp_path, kaggle, seed=1).test.index, data.test.index)
    np.testing.assert_array_equal(load(tmp_path, kaggle, val_fraction=0.3).test.index, data.test.index)


def test_the_published_files_give_the_sizes_of_the_page(tmp_path: Path) -> None:
    data = load(tmp_path, write(tmp_path / "whole", normal=4046, abnormal=10506))
    assert len(data.test) == round(0.2 * 14_552)
    assert np.bincount(together(data, "y")).tolist() == [4046, 10506]


def test_every_place_and_form_of_the_files_gives_the_same_data(kaggle: Path, tmp_path: Path) -> None:
    expected = load(tmp_path, kaggle)
    others = {"mitbih_train.csv": "", "mitbih_test.csv": ""}
    archive = make_zip(tmp_path / "a.zip", {f"in/{name}": kaggle / name for name in ROWS} | others)
    make_zip(tmp_path / "beside" / "ecg" / "heartbeat.zip", {name: kaggle / name for name in ROWS} | others)
    write(tmp_path / "own" / "ptbdb" / "deep")
    for data in (
        load(tmp_path, kaggle / NORMAL),
        load(tmp_path, kaggle / ABNORMAL),
        load(tmp_path, archive),
        load(tmp_path / "beside"),
        load(tmp_path / "own"),
    ):
        assert_same_data(data, expected)
        assert data.checksum == expected.checksum


def test_the_split_rule_says_that_patients_stand_on_both_sides(kaggle: Path, tmp_path: Path) -> None:
    rule = load(tmp_path, kaggle, seed=9).spec.split_rule
    for words in ("80/20, seed 9", "one patient's beats stand on both sides", "validation is 0.1 of train"):
        assert words in rule


@pytest.mark.parametrize(("name", "label", "own"), [(NORMAL, 1, "0 (normal)"), (ABNORMAL, 0, "1 (abnormal)")])
def test_a_label_of_the_other_file_is_refused_by_line_and_column_or_dropped(
    kaggle: Path, tmp_path: Path, name: str, label: int, own: str
) -> None:
    change_row(kaggle / name, 6, lambda line: f"{line.rpartition(',')[0]},{label}")
    with pytest.raises(DataError, match=f"label {label} is not ") as caught:
        load(tmp_path, kaggle)
    assert own in caught.value.what
    assert caught.value.where == f"{kaggle / name}, line 7, column 188"
    data = load(tmp_path, kaggle, bad_rows="drop")
    lost = 6 if name == NORMAL else 46
    np.testing.assert_array_equal(together(data, "index"), np.setdiff1d(np.arange(150), [lost]))
    assert data.train.dropped == 1


@pytest.mark.parametrize("name", ROWS)
def test_a_missing_file_of_the_two_is_refused(kaggle: Path, tmp_path: Path, name: str) -> None:
    (kaggle / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        load(tmp_path, kaggle)


def test_other_things_are_refused_and_the_hint_says_what_would_do(tmp_path: Path) -> None:
    for path in (make_zip(tmp_path / "a.zip", {"mitbih_train.csv": ""}), tmp_path):
        with pytest.raises(DataError, match=f"there are no {NORMAL} and {ABNORMAL} here") as caught:
            load(tmp_path, path)
        assert NORMAL in caught.value.hint


def test_without_a_network_one_line_says_how_to_place_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DownloadError, match=r"cannot fetch heartbeat\.zip") as caught:
        load(tmp_path)
    assert NORMAL in caught.value.hint
