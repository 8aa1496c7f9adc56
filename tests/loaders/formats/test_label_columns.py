"""Many labels a row in a table of one's own, or one of several columns: the same rows from every form, and one line for
each fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from loaders import get_data, new_rows
from loaders.base import Data
from loaders.datasets.table_places import Wanted
from loaders.declaration import TableOptions
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


def test_a_column_that_is_no_sample_may_be_a_label_that_was_not_named_by_its_number_if_it_has_a_comma(
    tmp_path: Path,
) -> None:
    frame(AFIB=Y[:, 0], PVC=Y[:, 2], **{"LBBB, left": Y[:, 1]}).to_csv(tmp_path / "my.csv", index=False)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "my.csv", label_column="AFIB,PVC")
    assert caught.value.what.startswith("LBBB, left among samples")
    assert caught.value.hint.startswith("15 in --label-column too, --record-column 15, --id-columns")
    assert load(tmp_path / "my.csv", label_column="AFIB,PVC,15").spec.classes == ("AFIB", "PVC", "LBBB, left")


def test_a_class_whose_name_has_the_mark_between_predicted_classes_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "my.npz", x=X, y=Y, classes=np.array(["AFIB", "LBBB;left", "PVC"]))
    with pytest.raises(DataError, match="the class 'LBBB;left' has a ';', which stands between the classes of a row"):
        load(tmp_path / "my.npz")
    np.savez(tmp_path / "one.npz", x=X, y=np.arange(ROWS) % 2, classes=np.array(["AFIB", "LBBB;left"]))
    assert load(tmp_path / "one.npz").spec.classes == ("AFIB", "LBBB;left")  # one a row is never joined


CLASS = np.arange(ROWS) % 3
ONE_HOT = np.eye(3, dtype=np.int64)[CLASS]
ONE_FLAGS = dict(zip(NAMES, ONE_HOT.T, strict=True))
ONE_NAMES = np.array(NAMES)[CLASS].tolist()
ONE_FORMS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "columns of 0 and 1": ("my.csv", lambda path: frame(**ONE_FLAGS).to_csv(path, index=False), "one:AFIB,LBBB,PVC"),
    "columns by number": ("my.csv", lambda path: frame(**ONE_FLAGS).to_csv(path, index=False), "one:13,14,15"),
    "columns in parquet": ("my.parquet", lambda path: frame(**ONE_FLAGS).to_parquet(path), "one:AFIB,LBBB,PVC"),
    "a separator": ("my.csv", lambda path: frame(findings=[f"{name};" for name in ONE_NAMES]).to_csv(
        path, index=False), "one:findings:;"),
    "y with many columns": ("my.npz", lambda path: np.savez(path, x=X, y=ONE_HOT, classes=np.array(NAMES)), "one:"),
    "another array": ("my.npz", lambda path: np.savez(path, x=X, of=ONE_HOT, classes=np.array(NAMES)), "one:of"),
    "arrays of an NPZ": ("my.npz", lambda path: np.savez(path, x=X, **ONE_FLAGS), "one:AFIB,LBBB,PVC"),
}  # fmt: skip


@pytest.mark.parametrize("form", ONE_FORMS)
def test_one_of_several_columns_is_the_class_of_a_row(form: str, tmp_path: Path) -> None:
    name, write, asked = ONE_FORMS[form]
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    write(tmp_path / name)
    data = load(tmp_path / name, label_column=asked)
    assert not data.spec.many_labels
    assert data.spec.classes == NAMES
    np.testing.assert_array_equal(together(data, "y"), CLASS)
    every = load(tmp_path / name, label_column=asked.removeprefix("one:")) if asked != "one:" else load(tmp_path / name)
    assert every.spec.many_labels


def test_one_of_the_labels_next_to_an_npy_is_the_class_of_a_row(tmp_path: Path) -> None:
    np.save(tmp_path / "my.npy", X)
    np.save(tmp_path / "my_labels.npy", ONE_HOT)
    data = load(tmp_path / "my.npy", label_column="one:")
    assert data.spec.classes == ("label 1", "label 2", "label 3")
    np.testing.assert_array_equal(together(data, "y"), CLASS)
    (tmp_path / "my_labels.npy").unlink()
    pd.DataFrame(ONE_FLAGS).to_csv(tmp_path / "my_labels.csv", index=False)
    data = load(tmp_path / "my.npy", label_column="one:AFIB,LBBB,PVC")
    assert data.spec.classes == NAMES
    np.testing.assert_array_equal(together(data, "y"), CLASS)


def test_new_rows_without_a_header_have_the_labels_where_the_run_had_them_or_none(tmp_path: Path) -> None:
    asked = {"label_column": "one:13,14,15"}
    frame(**ONE_FLAGS).to_csv(tmp_path / "my.csv", index=False, header=False)
    frame().to_csv(tmp_path / "new.csv", index=False, header=False)
    wanted = Wanted(load(tmp_path / "my.csv", **asked).spec, TableOptions(**asked))
    with new_rows.opened(tmp_path / "my.csv", wanted) as rows:
        (part,) = rows.parts
        assert part.label is not None
        assert part.label.tolist() == np.array(["13", "14", "15"])[CLASS].tolist()
    with new_rows.opened(tmp_path / "new.csv", wanted) as rows:
        assert [part.label for part in rows.parts] == [None]


def test_a_row_without_exactly_one_label_is_refused_with_its_number_and_the_counts(tmp_path: Path) -> None:
    y = ONE_HOT.copy()
    y[[7, 9]], y[12, :2], y[30] = 0, 1, 1
    frame(**dict(zip(NAMES, y.T, strict=True))).to_csv(tmp_path / "my.csv", index=False)
    np.savez(tmp_path / "my.npz", x=X, y=y)
    texts = [";".join(np.array(NAMES)[row == 1]) for row in y]
    frame(findings=texts).to_csv(tmp_path / "marked.csv", index=False)
    for name, asked in {"my.csv": "one:AFIB,LBBB,PVC", "my.npz": "one:", "marked.csv": "one:findings:;"}.items():
        with pytest.raises(DataError) as caught:
            load(tmp_path / name, label_column=asked)
        assert caught.value.what == (
            "row 7, counted from 0, has 0 labels, expected exactly one; rows without a label: 2, with several: 2"
        )


@pytest.mark.parametrize("asked", ["AFIB,LBBB,PVC", ""])
def test_the_form_of_one_label_is_named_where_every_row_has_one(
    asked: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame(**ONE_FLAGS).to_csv(tmp_path / "my.csv", index=False)
    np.savez(tmp_path / "my.npz", x=X, y=ONE_HOT)
    with caplog.at_level("INFO"):
        load(tmp_path / "my.csv", label_column=asked) if asked else load(tmp_path / "my.npz")
    assert f"exactly one label: --label-column one:{asked} trains one class a row" in caplog.text


def test_the_separator_follows_the_last_colon() -> None:
    assert label_columns.separator_of("findings:;") == ";"
    assert label_columns.separator_of("findings::") == ":"
    assert label_columns.separator_of("a:b:|") == "|"
    assert label_columns.separator_of("a:b") == ""
    assert label_columns.separator_of("") == ""
    assert label_columns.parts("a:b:|") == {"label": "a:b"}
    assert label_columns.separator_of("one:;") == ";"  # of a column called one
    assert label_columns.parts("one:;") == {"label": "one"}
    assert label_columns.separator_of("one:a:;") == ";"
    assert label_columns.parts("one:a:;") == {"label": "a"}
