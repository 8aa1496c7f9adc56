"""Many labels a row in a table of one's own: the same rows from every form, and one line for each fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from loaders import get_data
from loaders.base import Data
from loaders.formats import label_columns
from toolbox.errors import CommanderError, DataError, UsageError

ROWS, SAMPLES = 40, 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, SAMPLES)).astype(np.float32)
Y = (RNG.random((ROWS, 3)) < 0.4).astype(np.int64)
Y[3] = 0
NAMES = ("AFIB", "LBBB", "PVC")
COLUMNS = [f"s{k}" for k in range(SAMPLES)]
TEXTS = [";".join(np.array(NAMES)[row == 1]) for row in Y]


def frame(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(X, columns=COLUMNS).assign(**columns)


FLAGS = dict(zip(NAMES, Y.T, strict=True))
WORDS = {name: np.where(of, "True", "False") for name, of in FLAGS.items()}
FORMS: dict[str, tuple[str, Callable[[Path], object], dict[str, str]]] = {
    "columns of 0 and 1": ("my.csv", lambda path: frame(**FLAGS).to_csv(path, index=False),
                           {"label_column": "AFIB,LBBB,PVC"}),
    "columns by number": ("my.csv", lambda path: frame(**FLAGS).to_csv(path, index=False),
                          {"label_column": "13, 14, 15"}),
    "columns of true and false": ("my.csv", lambda path: frame(**WORDS).to_csv(path, index=False),
                                  {"label_column": "AFIB,LBBB,PVC"}),
    "decimal commas": ("my.csv", lambda path: frame(**{k: v.astype(float) for k, v in FLAGS.items()}).to_csv(
        path, index=False, sep=";", decimal=","), {"label_column": "AFIB,LBBB,PVC"}),
    "a separator": ("my.csv", lambda path: frame(findings=TEXTS).to_csv(path, index=False),
                    {"label_column": "findings:;"}),
    "a separator in parquet": ("my.parquet", lambda path: frame(findings=TEXTS).to_parquet(path),
                               {"label_column": "findings:;"}),
    "columns in parquet": ("my.parquet", lambda path: frame(**FLAGS).to_parquet(path),
                           {"label_column": "AFIB,LBBB,PVC"}),
    "y with many columns": ("my.npz", lambda path: np.savez(path, x=X, y=Y, classes=np.array(NAMES)), {}),
    "arrays of an NPZ": ("my.npz", lambda path: np.savez(path, x=X, **FLAGS), {"label_column": "AFIB,LBBB,PVC"}),
    "a separator in an NPZ": ("my.npz", lambda path: np.savez(path, x=X, y=np.array(TEXTS)), {"label_column": "y:;"}),
}  # fmt: skip


def load(path: Path, **options: str) -> Data:
    return get_data("table", path.parent / "data", data_file=path, **options)


def together(data: Data, what: str) -> np.ndarray:
    sides = (data.train, data.val, data.test)
    order = np.argsort(np.concatenate([side.index for side in sides]))
    return np.concatenate([getattr(side, what) for side in sides])[order]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows_and_labels(form: str, tmp_path: Path) -> None:
    name, write, options = FORMS[form]
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    write(tmp_path / name)
    data = load(tmp_path / name, **options)
    assert data.spec.many_labels
    assert data.spec.classes == NAMES
    np.testing.assert_array_equal(together(data, "y"), Y)
    np.testing.assert_allclose(together(data, "x")[:, 0], X, rtol=1e-5)


def test_labels_next_to_an_npy_may_have_many_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "my.npy", X)
    np.save(tmp_path / "my_labels.npy", Y)
    data = load(tmp_path / "my.npy")
    assert data.spec.classes == ("label 1", "label 2", "label 3")
    np.testing.assert_array_equal(together(data, "y"), Y)


def test_rows_of_a_record_stay_together(tmp_path: Path) -> None:
    patients = [f"p{row // 4}" for row in range(ROWS)]
    frame(findings=TEXTS, patient=patients).to_csv(tmp_path / "my.csv", index=False)
    data = load(tmp_path / "my.csv", label_column="findings:;")
    sides = [set(side.record) for side in (data.train, data.val, data.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == ROWS // 4


WRONG: dict[str, tuple[dict[str, object], str, type[CommanderError], str]] = {
    "another number": ({**FLAGS, "LBBB": np.where(np.arange(ROWS) == 5, 2, Y[:, 1])}, "AFIB,LBBB", DataError,
                       "row 5, counted from 0, has '2' in the label column LBBB, expected 0 or 1; wrong labels: 1"),
    "a word": ({**FLAGS, "AFIB": ["yes"] * ROWS}, "AFIB,LBBB,PVC", DataError,
               "row 0, counted from 0, has 'yes' in the label column AFIB"),
    "a missing label": ({**FLAGS, "PVC": np.where(np.arange(ROWS) == 4, np.nan, Y[:, 2])}, "AFIB,LBBB,PVC", DataError,
                        "the label of PVC is empty"),
    "no label at all": ({"AFIB": [0] * ROWS, "LBBB": [0] * ROWS}, "AFIB,LBBB", DataError, "no row has a label"),
    "no such column": (FLAGS, "AFIB,LBBBB,PVC", UsageError, "--label-column LBBBB: no such column"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_a_fault_has_one_line(fault: str, tmp_path: Path) -> None:
    columns, asked, kind, text = WRONG[fault]
    named = {name: of for name, of in columns.items() if name in asked or fault == "no such column"}
    frame(**named).to_csv(tmp_path / "my.csv", index=False)
    with pytest.raises(kind) as caught:
        load(tmp_path / "my.csv", label_column=asked)
    assert text in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_separator_follows_the_last_colon() -> None:
    assert label_columns.separator_of("findings:;") == ";"
    assert label_columns.separator_of("findings::") == ":"
    assert label_columns.separator_of("a:b:|") == "|"
    assert label_columns.separator_of("a:b") == ""
    assert label_columns.separator_of("") == ""
    assert label_columns.parts("a:b:|") == {"label": "a:b"}
