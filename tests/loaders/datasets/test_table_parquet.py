"""A user's own Parquet file: the rows of the same CSV, with faults by row and column; pyarrow is named where
missing."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.tables import LABEL, RECORD, SPLIT, N, X, Y, frame, load, write
from toolbox import errors
from toolbox.errors import DataError, UsageError

pytest.importorskip("pyarrow")


def saved(path: Path, rows: pd.DataFrame, **how: Any) -> Path:
    rows.to_parquet(path, **how)
    return path


WAYS: dict[str, tuple[pd.DataFrame, dict[str, str]]] = {
    "as a CSV": (frame(patient=RECORD, label=LABEL), {}),
    "with the index of pandas": (frame(patient=RECORD, label=LABEL).set_index(np.arange(N) * 2), {}),
    "a category as label": (frame(patient=RECORD, label=LABEL).astype({"label": "category"}), {}),
    "ids": (frame(patient=RECORD, seen=pd.Timestamp("2024-01-01"), label=LABEL), {"id_columns": "seen"}),
    "a column of lists": (pd.DataFrame({"x": X.tolist(), "patient": RECORD, "label": LABEL}), {}),
    "a split": (frame(patient=RECORD, fold=SPLIT, label=LABEL), {"split": "column:fold"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_parquet_has_the_rows_of_the_csv(tmp_path: Path, way: str) -> None:
    rows, how = WAYS[way]
    data = load(tmp_path, saved(tmp_path / "my.parquet", rows), **how)
    csv = load(tmp_path, write(tmp_path / "my.csv", frame(patient=RECORD, fold=SPLIT, label=LABEL)),
               id_columns=None if "split" in how else "fold", split=how.get("split"))  # fmt: skip
    for side in ("train", "val", "test"):
        mine, theirs = getattr(data, side), getattr(csv, side)
        for part in ("x", "y", "record", "index"):
            np.testing.assert_array_equal(getattr(mine, part), getattr(theirs, part))
    assert data.spec.classes == csv.spec.classes
    assert data.spec.columns == (() if way == "a column of lists" else csv.spec.columns)


def test_labels_of_whole_numbers_are_classes(tmp_path: Path) -> None:
    data = load(tmp_path, saved(tmp_path / "my.parquet", frame(label=Y)))
    assert data.spec.classes == ("0", "1", "2")


HOLES = frame(label=LABEL)
HOLES.loc[7, "t3"] = np.nan
UNEQUAL = pd.DataFrame({"x": [[1.0, 2.0, 3.0]] * (N - 1) + [[1.0]], "label": LABEL})
FAULTS: dict[str, tuple[pd.DataFrame, dict[str, str], type[Exception], str]] = {
    "a missing sample": (HOLES, {}, DataError, "column t3 of row 7, counted from 0, is nan"),
    "text among samples": (frame(t12=LABEL, label=LABEL), {}, DataError, "column t12 has the type"),
    "a missing label": (frame(label=np.where(Y > 0, LABEL, None)), {}, DataError, "the label of row 0"),
    "lists of two lengths": (UNEQUAL, {}, DataError, "the lists of column x have 3, 1 samples"),
    "lists and numbers": (UNEQUAL.assign(age=40), {"label_column": "label"}, UsageError, "column x has lists, and age"),
    "no such column": (frame(label=LABEL), {"record_column": "who"}, UsageError, "--record-column who: no such column"),
    "row numbers": (frame(label=LABEL).assign(t0=np.arange(N)), {}, DataError, "column 1 (t0) is no sample"),
    "no row": (frame(label=LABEL)[:0], {}, DataError, "the file has no rows"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_by_row_and_column(tmp_path: Path, fault: str) -> None:
    rows, how, kind, what = FAULTS[fault]
    path = saved(tmp_path / "my.parquet", rows)
    with pytest.raises(kind) as caught:
        load(tmp_path, path, **how)
    assert what in str(caught.value)
    assert str(path) in str(caught.value)


def test_unusable_rows_can_be_dropped_and_other_files_are_refused(tmp_path: Path) -> None:
    data = load(tmp_path, saved(tmp_path / "my.parquet", HOLES), bad_rows="drop")
    assert sum(map(len, (data.train, data.val, data.test))) == N - 1
    assert 7 not in [*data.train.index, *data.val.index, *data.test.index]
    for content in (b"", b"PAR1 and more", b"1,2,3\n" * 10):
        (tmp_path / "other.parquet").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as Parquet"):
            load(tmp_path, tmp_path / "other.parquet")


def test_a_missing_package_is_named_with_its_requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "my.parquet", frame(label=LABEL))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        load(tmp_path, path)
    error = errors.unforeseen(caught.value)
    assert "the package pyarrow is not installed" in error.what
    assert "requirements-parquet.txt" in error.hint
