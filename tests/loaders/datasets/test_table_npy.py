"""A user's own NPY with labels next to it: found by their names, and refused if they are missing or of other rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.tables import LABEL, RECORD, SPLIT, N, X, Y, load
from loaders.base import Data
from toolbox.errors import CommanderError, DataError, UsageError

TABLE = pd.DataFrame({"patient": RECORD, "fold": SPLIT, "label": LABEL})


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", np.stack([X, X + 1], 1))
    return tmp_path / "rows.npy"


def assert_read(data: Data, classes: tuple[str, ...] = ("AF", "N", "PVC")) -> None:
    """Every row has its samples and its label."""
    assert data.spec.classes == classes
    for side in (data.train, data.val, data.test):
        np.testing.assert_array_equal(side.x[:, 0], X[side.index])
        np.testing.assert_array_equal(side.y, Y[side.index])
    assert len(data.train) + len(data.val) + len(data.test) == N


@pytest.mark.parametrize("name", ["rows_labels.npy", "labels.npy", "rows_labels.csv", "labels.csv"])
def test_labels_are_found_next_to_the_rows(tmp_path: Path, rows: Path, name: str) -> None:
    if name.endswith(".npy"):
        np.save(tmp_path / name, LABEL)
    else:
        TABLE["label"].to_csv(tmp_path / name, index=False, header=name == "labels.csv")
    assert_read(load(tmp_path, rows))


def test_the_labels_of_the_file_go_before_those_of_the_folder(tmp_path: Path, rows: Path) -> None:
    np.save(tmp_path / "labels.npy", np.zeros(3))
    np.save(tmp_path / "rows_labels.npy", Y)
    first = load(tmp_path, rows)
    assert_read(first, ("0", "1", "2"))
    np.save(tmp_path / "rows_labels.npy", (Y + 1) % 3)
    assert load(tmp_path, rows).checksum != first.checksum


def test_records_and_splits_are_read_too(tmp_path: Path, rows: Path) -> None:
    TABLE.to_csv(tmp_path / "rows_labels.csv", index=False)
    data = load(tmp_path, rows, split="column:fold")
    assert_read(data)
    assert set(SPLIT[data.test.index]) == {"test"}
    assert data.test.record.tolist() == RECORD[data.test.index].tolist()
    (tmp_path / "rows_labels.csv").unlink()
    np.save(tmp_path / "labels.npy", LABEL)
    np.save(tmp_path / "rows_records.npy", RECORD)
    data = load(tmp_path, rows)
    assert data.spec.split_rule.startswith("whole records")
    assert set(load(tmp_path, rows, record_column="none").train.record) == {""}


def test_without_labels_there_is_one_class_if_that_is_typed(tmp_path: Path, rows: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, rows)
    assert caught.value.what == "there are no labels next to the rows"
    assert "rows_labels.npy or rows_labels.csv" in caught.value.hint
    assert "--label-column none" in caught.value.hint
    assert load(tmp_path, rows, label_column="none").spec.classes == ("unlabelled",)


def ragged(path: Path) -> None:
    path.write_text("a,b\n" * (N - 1) + "a\n")


FAULTS = {
    "labels of other rows": (lambda folder: np.save(folder / "labels.npy", LABEL[:-1]), {}, DataError, "60 rows"),
    "a CSV of other rows": (
        lambda folder: TABLE[:-2].to_csv(folder / "labels.csv", index=False), {}, DataError, "has 59 lines, "
                                                                                             "there are 60"
    ),
    "a CSV in Windows-1252": (
        lambda folder: (folder / "labels.csv").write_bytes("µV\nN\n".encode("cp1252") * (N // 2)), {}, DataError,
        "in Windows-1252 it reads 'µV'"
    ),
    "lines of other lengths": (lambda folder: ragged(folder / "labels.csv"), {}, DataError, "1 columns, expected 2"),
    "an empty label": (
        lambda folder: np.save(folder / "labels.npy", np.where(Y, LABEL, "")), {}, DataError, "[0] is empty"
    ),
    "a column of an array": (
        lambda folder: np.save(folder / "labels.npy", LABEL), {"record_column": "who"}, UsageError, "there is "
                                                                                                    "no column who"
    ),
    "Python objects": (
        lambda folder: np.save(folder / "labels.npy", LABEL.astype(object)), {}, DataError, "Python objects"
    ),
    "no array": (lambda folder: (folder / "rows.npy").write_text("1,2,3\n"), {}, DataError, "cannot be read as NPY"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line(tmp_path: Path, rows: Path, fault: str) -> None:
    damage, how, kind, what = FAULTS[fault]
    damage(tmp_path)
    with pytest.raises(kind) as caught:
        load(tmp_path, rows, **how)
    assert isinstance(caught.value, CommanderError)
    assert what in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
