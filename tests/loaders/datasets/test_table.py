"""A user's own CSV or NPZ: every way to write the same rows is read, every fault is named, every split is as asked."""

import gzip
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from helpers.data import mutated
from helpers.tables import LABEL, NAMES, RECORD, SPLIT, N, T, X, Y, changed, frame, load, save, write
from loaders import undivided
from loaders.base import Data
from loaders.formats.csv import columns as rownumbers
from loaders.formats.csv import text as csv_text
from loaders.formats.csv.heads import is_header
from toolbox.errors import CommanderError, DataError, UsageError

SIDES = ("train", "val", "test")
FIRST = frame(label=LABEL)[["label", *frame()]]


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return write(tmp_path / "my.csv", frame(label=LABEL))


def together(data: Data, what: str) -> np.ndarray:
    """An array of all splits in the order of the source."""
    order = np.argsort(np.concatenate([getattr(data, side).index for side in SIDES]))
    return np.concatenate([getattr(getattr(data, side), what) for side in SIDES])[order]


def assert_whole(data: Data, x: np.ndarray = X, y: np.ndarray = Y) -> None:
    """Every row is in one split, as it was."""
    np.testing.assert_array_equal(together(data, "index"), np.arange(len(x)))
    np.testing.assert_array_equal(together(data, "x"), x.reshape(len(x), -1, x.shape[-1]))
    np.testing.assert_array_equal(together(data, "y"), y)
    assert data.train.x.dtype == np.float32
    assert data.train.y.dtype == np.int64


def refused(path: Path, kind: type[CommanderError] = DataError, **how: Any) -> CommanderError:
    with pytest.raises(kind) as caught:
        load(path.parent / "data", path, **how)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 700
    return caught.value


# Ways to write the same rows


def edited(path: Path, edit: Callable[[str], str]) -> None:
    path.write_text(edit(write(path, frame(label=LABEL)).read_text()))


NUMBERED = pd.DataFrame(X)
FORMS: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "header, label last": (lambda path: write(path, frame(label=LABEL)), {}),
    "no header": (lambda path: write(path, frame(label=LABEL), header=False), {}),
    "header, label first": (lambda path: write(path, FIRST), {"label_column": "label"}),
    "label first by number": (lambda path: write(path, FIRST), {"label_column": "1"}),
    "pandas' own numbers as names": (lambda path: write(path, NUMBERED.assign(label=LABEL)), {}),
    "numbers as names, label by name": (
        lambda path: write(path, NUMBERED.assign(**{"12": LABEL})), {"label_column": "12"}
    ),
    "quoted text": (lambda path: write(path, frame(label=LABEL), quoting=2), {}),
    "quoted numbers": (lambda path: write(path, frame(label=LABEL).astype(str), quoting=1), {}),
    "CRLF and BOM": (lambda path: write(path, frame(label=LABEL), lineterminator="\r\n", encoding="utf-8-sig"), {}),
    "BOM, no header, label first": (
        lambda path: write(path, FIRST, header=False, encoding="utf-8-sig"), {"label_column": "1"}
    ),
    "spaces": (lambda path: edited(path, lambda text: text.replace(",", " , ")), {}),
    "blank lines": (lambda path: edited(path, lambda text: "\n\n" + text.replace("\n", "\n\n")), {}),
    "gzip under the plain name": (
        lambda path: path.write_bytes(gzip.compress(write(path, frame(label=LABEL)).read_bytes())), {}
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_write_a_csv_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    make, how = FORMS[form]
    make(tmp_path / "my.csv")
    for bad_rows in ("error", "drop"):
        data = load(tmp_path, tmp_path / "my.csv", bad_rows=bad_rows, **how)
        assert_whole(data)
        assert data.spec.classes == ("AF", "N", "PVC")


@pytest.mark.parametrize(("labels", "classes", "y"), [
    ([10, 9, -1], ("-1", "9", "10"), [2, 1, 0]),
    (["0.0", "1.000e+00", "2"], ("0", "1", "2"), [0, 1, 2]),
    (["b", "a", "10"], ("10", "a", "b"), [2, 1, 0]),
    (["NA", "N", "nan"], ("N", "NA", "nan"), [1, 0, 2]),
    (["Ä ö", "<b>", "0x1"], ("0x1", "<b>", "Ä ö"), [2, 1, 0]),
    (['a"b', '"', "a, b"], ('"', 'a"b', "a, b"), [1, 0, 2]),
])  # fmt: skip
def test_classes_are_the_sorted_labels_and_whole_numbers_are_sorted_by_value(
    tmp_path: Path, labels: list, classes: tuple[str, ...], y: list[int]
) -> None:
    data = load(tmp_path, write(tmp_path / "my.csv", frame(label=np.array(labels, dtype=object)[Y])))
    assert data.spec.classes == classes
    assert data.spec.importance == (1.0, 1.0, 1.0)
    assert_whole(data, y=np.array(y)[Y])


@pytest.mark.parametrize("samples", [2, 400])
def test_a_row_has_any_number_of_samples(tmp_path: Path, samples: int) -> None:
    x = np.random.default_rng(1).normal(size=(N, samples)).astype(np.float32)
    data = load(tmp_path, write(tmp_path / "my.csv", pd.DataFrame(x).assign(label=LABEL), header=False))
    assert_whole(data, x)
    assert data.spec.samples == samples


@pytest.mark.parametrize(("cells", "asked", "expected"), [
    (["t0", "t1", "label"], {}, True),
    (["0.5", "1.5", "N"], {}, False),
    (["0.5", "abc", "N"], {}, False),
    (["nan", "nan", "N"], {}, False),
    (["", "t0", "t1", "label"], {}, True),
    (["0", "1", "2"], {}, False),
    ([*map(str, range(8)), "label"], {}, True),
    ([*map(str, range(1, 10))], {}, True),
    (["patient", *map(str, range(8)), "label"], {}, True),
    (["p1", "0.5", "1.5", "N"], {"record": "1"}, False),
    (["patient", "0.5", "1.5", "N"], {"record": "patient"}, True),
])  # fmt: skip
def test_a_header_is_names_or_numbers_that_count_up(cells: list[str], asked: dict[str, str], expected: bool) -> None:
    assert is_header(cells, asked.values()) is expected


@pytest.mark.parametrize(("dtype", "channels", "pack"), [
    ("float16", None, np.savez), ("float64", 1, np.savez_compressed), ("int16", 3, np.savez), ("uint8", 3, np.savez),
])  # fmt: skip
def test_an_npz_gives_its_rows(tmp_path: Path, dtype: str, channels: int | None, pack: Callable[..., None]) -> None:
    x = (np.random.default_rng(1).random((N, channels or 1, T)) * 50).astype(dtype)
    pack(tmp_path / "my.npz", x=x if channels else x[:, 0], y=LABEL)
    data = load(tmp_path, tmp_path / "my.npz")
    assert_whole(data, x.astype(np.float32))
    assert data.spec.classes == ("AF", "N", "PVC")
    assert data.spec.leads == tuple(f"lead {i + 1}" for i in range(channels or 1))


@pytest.mark.parametrize("dtype", ["i8", "u1", "f8", "U1", "S1"])
def test_labels_of_an_npz_are_whole_numbers_or_text(tmp_path: Path, dtype: str) -> None:
    data = load(tmp_path, save(tmp_path / "my.npz", x=X, y=Y.astype(dtype)))
    assert data.spec.classes == ("0", "1", "2")
    assert_whole(data)


def test_an_npz_states_its_facts(tmp_path: Path) -> None:
    x = np.stack([X, X + 1], 1)
    facts = {"rate_hz": 250, "classes": [*NAMES, "F"], "leads": ["I", "II"], "unit": "mV"}
    path = save(tmp_path / "my.npz", x=x, y=Y, record=RECORD, split=SPLIT, **facts)
    data = load(tmp_path, path, split="column:split")
    spec = data.spec
    assert (spec.rate_hz, spec.unit, spec.leads, spec.classes) == (250, "mV", ("I", "II"), ("AF", "N", "PVC", "F"))
    assert_whole(data, x)
    np.testing.assert_array_equal(together(data, "record"), RECORD)
    assert load(tmp_path, path, rate_hz=100).spec.rate_hz == 100


def test_arrays_of_other_names_can_be_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "my.npz", x=X, diagnosis=LABEL, patient=np.arange(N) // 4, fold=SPLIT)
    with pytest.raises(DataError, match="unknown arrays: diagnosis, fold"):
        load(tmp_path, path)
    data = load(tmp_path, path, label_column="diagnosis", record_column="patient", split="column:fold")
    assert_whole(data)
    assert set(data.val.record) == {"2", "5", "8", "11", "14"}


def test_an_unstated_rate_is_1_with_a_warning(csv: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load(tmp_path, csv).spec.rate_hz == 1
    assert "--rate-hz" in caplog.text
    caplog.clear()
    assert load(tmp_path, csv, rate_hz=360).spec.rate_hz == 360
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    for wrong in (0, -1, float("nan"), float("inf")):
        refused(csv, UsageError, rate_hz=wrong)


def test_without_labels_there_is_one_class(tmp_path: Path) -> None:
    for path, how in (
        (write(tmp_path / "my.csv", frame()), {"label_column": "none"}),
        (save(tmp_path / "my.npz", x=X), {}),
        (save(tmp_path / "y.npz", x=X, y=Y), {"label_column": "none"}),
    ):
        data = load(tmp_path, path, **how)
        assert data.spec.classes == ("unlabelled",)
        assert_whole(data, y=np.zeros(N))
        assert [len(getattr(data, side)) for side in SIDES] == [43, 5, 12]


def test_rows_are_parsed_once_for_the_same_columns(csv: Path, tmp_path: Path) -> None:
    (tmp_path / "My.CSV.gz").write_bytes(gzip.compress(csv.read_bytes()))
    assert load(tmp_path / "gz", tmp_path / "My.CSV.gz").checksum == load(tmp_path / "gz", csv).checksum
    cache = tmp_path / "table" / "cache"
    first = load(tmp_path, csv)
    assert load(tmp_path, csv, seed=3, split="stratified", rate_hz=5).checksum == first.checksum
    assert len(list(cache.iterdir())) == 1
    load(tmp_path, csv, label_column="13")
    assert len(list(cache.iterdir())) == 2
    write(csv, frame(label=LABEL).iloc[:-3])
    assert load(tmp_path, csv).checksum != first.checksum


# Splits


def test_a_stratified_split_tests_a_fifth_of_each_class_by_seed(csv: Path, tmp_path: Path) -> None:
    data = load(tmp_path, csv)
    assert [np.bincount(getattr(data, side).y).tolist() for side in SIDES] == [[14, 14, 15], [2, 2, 1], [4, 4, 4]]
    assert not np.array_equal(load(tmp_path, csv, seed=1).test.index, data.test.index)
    np.testing.assert_array_equal(load(tmp_path, csv).test.index, data.test.index)
    assert "stratified by class, 80/20, seed 42; whose rows they are is not known" in data.spec.split_rule


@pytest.mark.parametrize("seed", range(2))
def test_records_stay_whole_where_they_are_known(tmp_path: Path, seed: int) -> None:
    path = write(tmp_path / "my.csv", frame(patient=RECORD, label=LABEL))
    data = load(tmp_path, path, record_column="patient", seed=seed, val_fraction=0.25)
    records = [set(getattr(data, side).record) for side in SIDES]
    assert [len(names) for names in records] == [9, 3, 3]
    assert len(set().union(*records)) == 15
    assert_whole(data)
    assert data.spec.split_rule.startswith("whole records: 9 train, 3 validation, 3 test")
    stratified = load(tmp_path, path, record_column="13", split="stratified", seed=seed)
    assert "one record's rows stand on both sides" in stratified.spec.split_rule
    assert_whole(stratified)


@pytest.mark.parametrize("record", [None, "patient"])
def test_a_column_decides_the_split_or_validation_is_drawn(tmp_path: Path, record: str | None) -> None:
    columns = {"label": LABEL} | ({"patient": RECORD} if record else {})
    how = {"label_column": "label", "split": "column:fold", "record_column": record}
    path = write(tmp_path / "my.csv", frame(**columns, fold=np.char.capitalize(SPLIT)))
    data = load(tmp_path, path, **how)
    for side in SIDES:
        assert set(SPLIT[getattr(data, side).index]) == {side}
    assert_whole(data)
    assert ("no record stands on two sides" in data.spec.split_rule) == bool(record)
    path = write(tmp_path / "two.csv", frame(**columns, fold=np.where(SPLIT == "test", "test", "train")))
    data = load(tmp_path, path, val_fraction=0.2, **how)
    assert set(SPLIT[data.test.index]) == {"test"}
    assert [len(getattr(data, side)) for side in SIDES] == [32, 8, 20]
    if record:
        assert not set(data.train.record) & set(data.val.record)
    assert "validation is 0.2 of" in data.spec.split_rule


# Faults

CELLS = {
    "text": (3, "abc", "'abc' is not a finite number", "line 9, column 4"),
    "beyond float32": (0, "1e39", "'1e39' is not a finite number", "line 9, column 1"),
    "no label": (12, "", "the label is empty", "line 9, column 13"),
    "one too few": (3, None, "12 columns, expected 12 samples and label", "line 9"),
}


@pytest.mark.parametrize("fault", CELLS)
def test_a_wrong_cell_is_named_and_its_row_can_be_dropped(csv: Path, tmp_path: Path, fault: str) -> None:
    column, cell, what, place = CELLS[fault]
    changed(8, column, cell)(csv)
    error = refused(csv)
    assert error.what.startswith(what)
    assert error.where == f"{csv}, {place}"
    data = load(tmp_path, csv, bad_rows="drop")
    kept = np.setdiff1d(np.arange(N), [7])
    np.testing.assert_array_equal(together(data, "index"), kept)
    np.testing.assert_array_equal(together(data, "x")[:, 0], X[kept])
    np.testing.assert_array_equal(together(data, "y"), Y[kept])
    assert (data.train.dropped, data.test.dropped) == (1, 1)


def test_bytes_that_are_no_text_are_named_by_line_and_column(csv: Path, tmp_path: Path) -> None:
    lines = csv.read_bytes().splitlines(keepends=True)
    lines[5] = lines[5].rpartition(b",")[0] + b",\xff\xfe\n"
    csv.write_bytes(b"".join(lines))
    error = refused(csv)
    what = "the label is not UTF-8; in Windows-1252 it reads 'ÿþ'"
    assert (error.what, error.where) == (what, f"{csv}, line 6, column 13")
    assert "iconv -f WINDOWS-1252 -t UTF-8" in error.hint
    assert len(together(load(tmp_path, csv, bad_rows="drop"), "y")) == N - 1


def test_foreign_letters_in_a_column_that_is_not_read_do_no_harm(tmp_path: Path) -> None:
    table = frame(label=["N" if label else "V" for label in Y])
    table.insert(0, "remark", ["grün"] + ["plain"] * (N - 1))
    csv = write(tmp_path / "my.csv", table, encoding="cp1252")
    np.testing.assert_array_equal(together(load(tmp_path, csv, id_columns="remark"), "x")[:, 0], X)
    table["label"] = ["µ"] * (N // 2) + ["V"] * (N - N // 2)
    error = refused(write(tmp_path / "my.csv", table, encoding="cp1252"), id_columns="remark")
    assert error.what.startswith("the label is not UTF-8")


@pytest.mark.parametrize(("name", "label", "what"), [
    ("Länge", "N", "the name of column 13 is not UTF-8; in Windows-1252 it reads 'Länge'"),
    ("label", "µV", "the label is not UTF-8; in Windows-1252 it reads 'µV'"),
])  # fmt: skip
def test_a_table_in_windows_1252_is_refused_with_its_text_and_the_way_to_convert_it(
    tmp_path: Path, name: str, label: str, what: str
) -> None:
    texts = {name: np.where(np.arange(N) == 7, label, LABEL), **({} if name == "label" else {"label": LABEL})}
    csv = write(tmp_path / "my.csv", frame(**texts), encoding="cp1252")
    error = refused(csv, label_column="label", **({} if name == "label" else {"id_columns": "13"}))
    assert error.what == what
    assert "iconv -f WINDOWS-1252 -t UTF-8" in error.hint


def test_a_quotation_mark_that_stays_open_is_named_by_its_line_or_the_row_dropped(csv: Path, tmp_path: Path) -> None:
    lines = csv.read_text().splitlines()
    for open_at in ([5], [5, 9]):  # the second would close the first
        broken = [*lines]
        for line in open_at:
            cells = broken[line].split(",")
            broken[line] = ",".join([*cells[:-1], f'"{cells[-1]}'])
        csv.write_text("\n".join(broken) + "\n")
        error = refused(csv)
        assert error.what.startswith("the label has a quotation mark that is not closed in its line")
        assert error.where == f"{csv}, line 6, column 13"
        kept = np.setdiff1d(np.arange(N), np.array(open_at) - 1)
        data = load(tmp_path, csv, bad_rows="drop")
        np.testing.assert_array_equal(together(data, "index"), kept)
        np.testing.assert_array_equal(together(data, "x")[:, 0], X[kept])


TEXTS = {
    "empty": ("", "the file is empty"),
    "blank": ("\n \n", "the file is empty"),
    "only a header": ("a,b,label\n", "the file is empty"),
    "one column": ("a\n1\n2\n", "a row has 1 columns, 0 of them with samples"),
    "one sample": ("a,label\n1,x\n2,y\n", "a row has 2 columns, 1 of them with samples"),
    "row numbers of pandas": (frame(label=LABEL).to_csv(), "a column has no name in the header"),
    "row numbers above numbers": (NUMBERED.assign(label=LABEL).to_csv(), "a column has no name in the header"),
    "text that nobody named": (frame(t12=RECORD, label=LABEL).to_csv(index=False), "'p00' is not a finite number"),
    "UTF-16": (frame(label=LABEL).to_csv(index=False).encode("utf-16"), "the text is in UTF-16, not in UTF-8"),
    "UTF-16, no BOM": (frame(label=LABEL).to_csv(index=False).encode("utf-16-le"), "the text is in UTF-16, not in"),
}


@pytest.mark.parametrize("fault", TEXTS)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, fault: str) -> None:
    text, what = TEXTS[fault]
    (tmp_path / "my.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    error = refused(tmp_path / "my.csv")
    assert error.what.startswith(what)
    assert error.where.startswith(str(tmp_path / "my.csv"))
    hints = {"text that nobody named": "--record-column", "UTF-16": "iconv -f UTF-16 -t UTF-8"}
    assert hints.get(fault, "") in error.hint


@pytest.mark.parametrize("samples", ["t{}", "{}", "{}.5 ms", "V5_{}"])
def test_a_number_that_is_no_sample_by_its_name_is_not_learned_from(tmp_path: Path, samples: str) -> None:
    rows = pd.DataFrame({samples.format(i): X[:, i] for i in range(T)}).assign(age=np.arange(N) // 4, label=LABEL)
    path = write(tmp_path / "my.csv", rows)
    if samples == "{}.5 ms":
        path.write_text(path.read_text().replace("age", "17 years", 1))
    error = refused(path)
    assert error.what.startswith(("age among samples with names like", "17 years among samples"))
    assert error.where == f"{path}, line 1"
    assert_whole(load(tmp_path, path, record_column="13"))


def test_the_flag_in_the_hint_names_every_column_that_is_no_sample(tmp_path: Path) -> None:
    x = np.hstack([X, X])
    rows = pd.DataFrame(x, columns=[f"t{i}" for i in range(2 * T)]).assign(age=60, weight=7, label=LABEL)
    path = write(tmp_path / "my.csv", rows)
    assert "--id-columns age,weight," in refused(path).hint
    assert_whole(load(tmp_path, path, id_columns="age,weight"), x)


# Columns that are no samples

COUNTED = {
    "backwards": np.arange(N)[::-1],
    "a time": np.arange(N) * 0.004,
    "shuffled": np.random.default_rng(2).permutation(N),
    "shuffled times": np.random.default_rng(2).permutation(N) * 0.008,
    "with gaps": np.sort(np.random.default_rng(2).choice(150, N, replace=False)),
    "shuffled with gaps": np.random.default_rng(2).choice(100, N, replace=False),
    "of records": np.arange(N) // 2,
    "of shuffled records": np.random.default_rng(2).permutation(N) // 10,
}


@pytest.mark.parametrize("kind", COUNTED)
def test_a_column_that_counts_rows_is_refused(tmp_path: Path, kind: str) -> None:
    rows = NUMBERED.assign(label=LABEL)
    rows.insert(5 if kind == "backwards" else 0, "counted", COUNTED[kind])
    error = refused(write(tmp_path / "my.csv", rows, header=False))
    place = 6 if kind == "backwards" else 1
    assert error.what.startswith(f"column {place} is no sample, it numbers the rows or their records")
    assert f"--record-column {place}" in error.hint
    assert "index=False" in error.hint
    path = save(tmp_path / "my.npz", x=np.column_stack([COUNTED[kind], X]), y=LABEL)
    assert refused(path).what.startswith("x[:, 0, 0] is no sample")
    named = frame(label=LABEL).assign(t1=COUNTED[kind])[["t1", "t8", "label"]]
    assert refused(write(tmp_path / "named.csv", named)).what.startswith("column 1 (t1) is no sample")


@pytest.mark.parametrize("kind", ["normal", "whole", "coarse", "padded", "heavy"])
def test_samples_are_not_taken_for_row_numbers(kind: str) -> None:
    for seed in range(3):
        random = np.random.default_rng(seed)
        x = random.normal(size=(300, 200))
        if kind == "heavy":
            x = random.standard_t(2, size=(int(random.integers(20, 500)), 200))
        made = {"whole": (x * 50).round(), "coarse": x.round(1), "padded": np.where(x > 0, 0, x)}
        assert rownumbers.counting_columns(made.get(kind, x).astype(np.float32)) == []


PATIENTS = np.array([f"p{i % 15:02d}" for i in range(N)])  # 15 of 4 rows, not one after the other


@pytest.mark.parametrize("name", ["patient", "Patient ID", "SubjectID", "record_name", "recording", "group"])
def test_a_column_called_a_record_keeps_rows_together(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = write(tmp_path / "my.csv", frame(**{name: PATIENTS, "label": LABEL}))
    for _ in range(2):  # the second start takes what was parsed, and logs it again
        caplog.clear()
        data = load(tmp_path, path)
        assert f"column {name} of {path} is the record, by its name" in caplog.text
        assert "--record-column none" in caplog.text
    sides = [set(getattr(data, side).record) for side in SIDES]
    assert len(set().union(*sides)) == sum(map(len, sides)) == 15
    assert data.spec.split_rule.endswith(f"records are those of the column {name}, by its name")
    assert_whole(data)
    plain = load(tmp_path, path, record_column="none")
    assert "whose rows they are is not known" in plain.spec.split_rule
    assert_whole(plain)


def test_an_array_that_is_called_a_record_keeps_its_rows_together(tmp_path: Path) -> None:
    path = save(tmp_path / "my.npz", x=X, y=Y, subject_id=PATIENTS)
    data = load(tmp_path, path)
    assert not set(data.train.record) & set(data.test.record)
    assert data.spec.split_rule.endswith("records are those of the column subject_id, by its name")
    assert set(load(tmp_path, path, record_column="none").train.record) == {""}


def test_a_person_goes_before_a_group_and_a_last_group_is_the_label(tmp_path: Path) -> None:
    columns = {"group": np.arange(N) % 2, "patient": PATIENTS}
    for number, names in enumerate((("group", "patient"), ("patient", "group"))):
        rows = frame(**{name: columns[name] for name in names}, label=LABEL)
        data = load(tmp_path, write(tmp_path / f"{number}.csv", rows))
        np.testing.assert_array_equal(together(data, "record"), PATIENTS)
        assert_whole(data)
    data = load(tmp_path, write(tmp_path / "my.csv", frame(group=LABEL)))
    assert data.spec.classes == ("AF", "N", "PVC")
    assert set(data.train.record) == {""}
    data = load(tmp_path, write(tmp_path / "two.csv", frame(label=LABEL, patient=PATIENTS)))
    assert data.spec.classes == ("AF", "N", "PVC")
    np.testing.assert_array_equal(together(data, "record"), PATIENTS)


def test_a_label_in_the_first_column_is_answered_with_its_flag(tmp_path: Path) -> None:
    whole = pd.DataFrame((X * 20).round().astype(int)).assign(label=Y)[["label", *range(T)]]
    made = {"whole": whole, "text": NUMBERED.assign(label=LABEL)[["label", *range(T)]]}
    for name, rows in made.items():
        path = write(tmp_path / f"{name}.csv", rows, header=False)
        error = refused(path)
        assert error.what.startswith("column 1 has ")
        assert error.hint.startswith("--label-column 1")
        assert_whole(load(tmp_path, path, label_column="1"), rows[[*range(T)]].to_numpy(np.float32))
    assert "41 different labels" in refused(tmp_path / "whole.csv", label_column="13").what  # as it was asked for
    few = pd.DataFrame(X.round(1)).assign(label=Y)[["label", *range(T)]]
    assert "--label-column 1" in refused(write(tmp_path / "few.csv", few, header=False)).hint


SEPARATED = {
    "semicolons and decimal commas": {"sep": ";", "decimal": ","},
    "semicolons and points": {"sep": ";", "header": False},
    "tabs": {"sep": "\t"},
    "tabs and decimal commas": {"sep": "\t", "decimal": ",", "header": False},
    "bars": {"sep": "|", "decimal": ",", "header": False},
}


@pytest.mark.parametrize("name", ["my.csv", "my.tsv", "my.txt"])
@pytest.mark.parametrize("kind", SEPARATED)
def test_tables_of_other_separators_and_decimal_signs_have_the_same_rows(tmp_path: Path, kind: str, name: str) -> None:
    path = write(tmp_path / name, frame(patient=RECORD, label=LABEL), **SEPARATED[kind])
    record = {} if SEPARATED[kind].get("header", True) else {"record_column": "13"}
    data = load(tmp_path, path, **record)
    assert_whole(data)
    np.testing.assert_array_equal(together(data, "record"), RECORD)
    changed(8, 3, "abc", SEPARATED[kind]["sep"])(path)
    line = 9
    error = refused(path, **record)
    assert (error.what, error.where) == ("'abc' is not a finite number", f"{path}, line {line}, column 4")
    dropped = load(tmp_path, path, bad_rows="drop", **record)
    assert len(together(dropped, "y")) == N - 1


def test_labels_that_are_numbers_with_decimal_commas_are_whole_numbers(tmp_path: Path) -> None:
    data = load(tmp_path, write(tmp_path / "my.csv", frame(label=Y.astype(float)), sep=";", decimal=","))
    assert data.spec.classes == ("0", "1", "2")
    assert_whole(data)


def test_a_line_that_states_the_separator_is_no_row(tmp_path: Path) -> None:
    path = write(tmp_path / "my.csv", frame(label=LABEL), sep=";", decimal=",")
    path.write_text("sep=;\n" + path.read_text())
    assert_whole(load(tmp_path, path))


MIXED = {
    "thousands": ([f"{1000 * (k + 1):,}.5" for k in range(N)], "numbers may have ',' between thousands"),
    "a point among decimal commas": ([f"{k},5" for k in range(N - 1)] + ["1.234"], "'1.234' is not a finite number"),
    "thousands and decimal commas": (["1.234,5"] + [f"{k},5" for k in range(N - 1)], "'1.234,5' is not a finite"),
}


@pytest.mark.parametrize("kind", MIXED)
def test_numbers_whose_marks_are_not_certain_are_refused(tmp_path: Path, kind: str) -> None:
    cells, what = MIXED[kind]
    rows = pd.DataFrame({"t0": cells, "t1": cells, "label": LABEL})
    assert what in refused(write(tmp_path / "my.csv", rows, sep=";")).what


@pytest.mark.parametrize("name", ["my.csv", "my.txt"])
def test_columns_between_spaces_with_decimal_commas_are_refused_with_the_line_that_makes_a_csv(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused(write(tmp_path / name, frame(label=LABEL), sep=" ", decimal=","))
    assert error.what == "the separator is spaces, the decimal sign comma"
    monkeypatch.chdir(tmp_path)
    eval(error.hint.partition(": ")[2], {"pandas": pd})  # noqa: S307  as the user would type it
    assert_whole(load(tmp_path, tmp_path / "my.csv"))


@pytest.mark.parametrize("names", ["the run's", "others"])
def test_a_run_is_tested_on_columns_in_its_own_order(
    tmp_path: Path, names: str, caplog: pytest.LogCaptureFixture
) -> None:
    spec = load(tmp_path, write(tmp_path / "my.csv", frame(label=LABEL))).spec
    assert (spec.columns, spec.label_name, spec.record_name) == (tuple(frame()), "label", "")
    rows = frame(label=LABEL)[[*reversed([*frame()]), "label"]]
    path = write(
        tmp_path / "other.csv",
        rows if names == "the run's" else rows.rename(columns=lambda name: name.replace("t", "s")),
    )
    data = undivided.load(str(path), tmp_path, dataset="table", spec=spec, options={"label_column": "label"})
    np.testing.assert_array_equal(data.test.x[:, 0], X if names == "the run's" else X[:, ::-1])
    assert ("are not called as the run's" in caplog.text) == (names == "others")


def test_ids_are_no_samples(tmp_path: Path) -> None:
    rows = frame(label=LABEL).assign(id=np.arange(N), site="a")[["id", "site", *frame(), "label"]]
    path = write(tmp_path / "my.csv", rows)
    assert "--id-columns" in refused(path).hint
    assert "--id-columns id" in refused(write(tmp_path / "one.csv", rows.drop(columns="site"))).hint
    assert_whole(load(tmp_path, path, id_columns="id,site"))
    assert "no such column" in refused(path, UsageError, id_columns="id,age").what
    assert "at once" in refused(path, UsageError, id_columns="id,label", label_column="label").what
    npz = save(tmp_path / "my.npz", x=X, y=LABEL, name=RECORD)
    assert "unknown arrays: name" in refused(npz).what
    assert_whole(load(tmp_path, npz, id_columns="name"))


UCR = {
    ".ts": "@problemName Mine\n@univariate true\n@classLabel true a b\n@data\n",
    ".arff": "@relation Mine\n@attribute att0 numeric\n@data\n",
    ".tsv": "",
    ".txt": "",
}


@pytest.mark.parametrize("form", UCR)
def test_files_of_the_archive_are_read_as_tables(tmp_path: Path, form: str) -> None:
    mark, colon = {".tsv": "\t", ".txt": "  "}.get(form, ","), ":" if form == ".ts" else ","
    first = form in (".tsv", ".txt")
    rows = [(mark.join(map(repr, row.tolist())), label) for row, label in zip(X, Y, strict=True)]
    lines = [f"{label}{mark}{row}" if first else f"{row}{colon}{label}" for row, label in rows]
    path = tmp_path / f"Mine_TRAIN{form}"
    path.write_text(UCR[form] + "\n".join(lines) + "\n")
    if first:
        assert refused(path).hint.startswith("--label-column 1")
    assert_whole(load(tmp_path, path, label_column="1" if first else None))


def test_a_series_of_several_leads_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.ts").write_text("@data\n" + "1,2,3:4,5,6:a\n" * 3)
    assert refused(tmp_path / "my.ts").what == "the row has several series, one is allowed"


# Limits


def test_a_file_that_unpacks_to_too_much_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loaders.files.archives.SMALL", 2**10)
    np.savez_compressed(tmp_path / "my.npz", x=np.zeros((2**10, 2**8), np.float32), y=np.arange(2**10) % 2)
    assert "unpack to" in refused(tmp_path / "my.npz").what
    monkeypatch.setattr(csv_text, "SMALL", 2**20)
    path = tmp_path / "my.csv.gz"
    path.write_bytes(gzip.compress(b"1,2,3,0\n" * 2**18))
    assert refused(path).what.startswith("the gzip unpacks to over 1,048,576 bytes")
    monkeypatch.setattr(pd, "read_csv", None)
    assert "unpacks" in refused(path, bad_rows="drop").what


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_too_long_for_a_table_is_refused(tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_text, "LONGEST_LINE", 2**17)
    path = tmp_path / "my.csv"
    rows = write(tmp_path / "rows.csv", frame(label=LABEL), header=False).read_bytes()
    for content in (b"1," * 2**17, rows + b"1" * 2**18 + b"\n", rows + b"0," * 2**17):
        path.write_bytes(gzip.compress(content) if packed else content)
        for how in ("error", "drop"):
            assert refused(path, bad_rows=how).what == "a line has over 131,072 bytes: no row of a table"


def test_more_columns_than_a_table_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loaders.formats.csv.rows.MOST_COLUMNS", 100)
    (tmp_path / "my.csv").write_text(",".join("1" * 101) + "\n")
    error = refused(tmp_path / "my.csv")
    assert (error.what, error.where) == ("101 columns, at most 100 are read", f"{tmp_path / 'my.csv'}, line 1")


LABELS = {
    "one class": (["N"] * N, "all 60 rows have the label N"),
    "a class of one row": (["N"] * 30 + ["V"] * 29 + ["F"], "the class F has a single row"),
    "a value to estimate": (np.arange(N), "60 rows have 60 different labels"),
    "not whole": (np.arange(N) % 4 / 2, "the label 0.5 is neither a whole number nor a name"),
    "nan": (["nan"] * 30 + ["1"] * 30, "the label nan is neither a whole number nor a name"),
    "beyond whole numbers": (["1e300"] * 30 + ["1"] * 30, "the label 1e300 is neither a whole number nor a name"),
}


@pytest.mark.parametrize("fault", LABELS)
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, fault: str) -> None:
    labels, what = LABELS[fault]
    for path in (write(tmp_path / "my.csv", frame(label=labels)), save(tmp_path / "my.npz", x=X, y=labels)):
        error = refused(path)
        assert error.what.startswith(what)
        assert error.where == str(path)


@pytest.mark.parametrize(("flag", "name"), [
    ("label_column", "diagnosis"), ("label_column", "0"), ("label_column", "15"), ("record_column", "who"),
    ("split", "column:side"),
])  # fmt: skip
def test_an_unknown_column_is_a_usage_error_that_lists_the_columns(tmp_path: Path, flag: str, name: str) -> None:
    for header in (True, False):
        path = write(tmp_path / "my.csv", frame(x=RECORD, label=LABEL), header=header)
        error = refused(path, UsageError, **{flag: name})
        assert "no such column" in error.what
        assert ("t0, t1, t2" in error.what and "label" in error.what) == header
        assert "1..14" in error.hint
        assert name.removeprefix("column:") in error.what


def test_a_column_is_asked_for_once_and_has_one_name(tmp_path: Path) -> None:
    path = write(tmp_path / "my.csv", frame(who=RECORD, label=LABEL))
    assert "at once" in refused(path, UsageError, record_column="label", label_column="label").what
    path.write_text(path.read_text().replace("t1,", "who,", 1))
    assert "2 columns have that name" in refused(path, UsageError, record_column="who").what


def test_an_unknown_split_and_records_without_a_column_are_refused(csv: Path, tmp_path: Path) -> None:
    for split in ("random", "column", "column:", "record:x"):
        said = f"unknown --split '{split}'; known are stratified, record, column:NAME"
        assert refused(csv, UsageError, split=split).what == said
    assert "--record-column" in refused(csv, UsageError, split="record").hint
    path = write(tmp_path / "few.csv", frame(who=["a"] * 30 + ["b"] * 30, label=LABEL))
    assert "of 1 records aside" in refused(path, record_column="who").what


SPLIT_COLUMNS = {
    "another word": (np.where(np.arange(N) == 9, "dev", SPLIT), "the split of row 9, counted from 0, is 'dev'"),
    "no train": (np.where(SPLIT == "train", "val", SPLIT), "no row is train"),
    "no test": (np.where(SPLIT == "test", "val", SPLIT), "no row is test"),
    "a torn record": (np.where(np.arange(N) == 9, "train", SPLIT), "the record p02 is in train and val at once"),
}


@pytest.mark.parametrize("fault", SPLIT_COLUMNS)
def test_an_impossible_split_column_is_refused(tmp_path: Path, fault: str) -> None:
    column, what = SPLIT_COLUMNS[fault]
    path = write(tmp_path / "my.csv", frame(split=column, record=RECORD, label=LABEL))
    assert refused(path, split="column:split", record_column="record").what.startswith(what)
    path = save(tmp_path / "my.npz", x=X, y=Y, record=RECORD, split=column)
    assert refused(path, split="column:split").what.startswith(what)


def with_nan() -> np.ndarray:
    x = np.stack([X, X], 1)
    x[7, 1, 3] = np.nan
    return x


ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no x": ({"X": X, "y": Y}, "there is no array x, only X, y"),
    "another name": ({"x": X, "labels": Y}, "unknown arrays: labels"),
    "objects": ({"x": X, "y": np.array([*LABEL], dtype=object)}, "the array y holds Python objects"),
    "objects as x": ({"x": np.array([[1, 2], [3]], dtype=object), "y": [0, 1]}, "the array x holds Python objects"),
    "other lengths": ({"x": X, "y": Y[1:]}, "x has 60 rows, y has the shape (59,)"),
    "many labels, one of them 2": (
        {"x": X, "y": np.eye(3)[Y] * (1 + (np.arange(60) == 7))[:, None]},
        "y[7, 1] is 2, expected",
    ),
    "many labels of other lengths": ({"x": X, "y": np.eye(3)[Y[1:]]}, "x has 60 rows, y has the shape (59, 3)"),
    "many labels, none in any row": ({"x": X, "y": np.zeros((60, 3))}, "no row has a label"),
    "many labels, fewer names": ({"x": X, "y": np.eye(3)[Y], "classes": ["a", "b"]}, "classes has 2 names, y has 3"),
    "one dimension": ({"x": X[:, 0], "y": Y}, "x has the shape (60,)"),
    "four dimensions": ({"x": X[:, None, None], "y": Y}, "x has the shape (60, 1, 1, 12)"),
    "one sample": ({"x": X[:, :1], "y": Y}, "x has the shape (60, 1)"),
    "no rows": ({"x": X[:0], "y": Y[:0]}, "x has the shape (0, 12)"),
    "text": ({"x": X.astype(str), "y": Y}, "x has the type <U"),
    "complex": ({"x": X.astype(complex), "y": Y}, "x has the type complex128"),
    "NaN": ({"x": with_nan(), "y": Y}, "x[7, 1, 3] is nan; wrong rows: 1"),
    "beyond float32": ({"x": X.astype(float) * 1e45, "y": Y}, "x[0, 0, 0] is "),
    "no label": ({"x": X, "y": np.where(Y == 1, "", LABEL)}, "y[1] is empty"),
    "dates as labels": ({"x": X, "y": Y.astype("M8[D]")}, "y has the type datetime64"),
    "records of another length": ({"x": X, "y": Y, "record": RECORD[1:]}, "x has 60 rows, record has the shape (59,)"),
    "leads": ({"x": X, "y": Y, "leads": ["I", "II"]}, "leads has the shape (2,)"),
    "two rates": ({"x": X, "y": Y, "rate_hz": [1, 2]}, "rate_hz has the shape (2,)"),
    "no rate": ({"x": X, "y": Y, "rate_hz": 0}, "rate_hz is 0"),
    "text as rate": ({"x": X, "y": Y, "rate_hz": "fast"}, "rate_hz is fast"),
    "a class twice": ({"x": X, "y": Y, "classes": ["a", "a", "b"]}, "classes has the shape (3,) or a value twice"),
    "beyond the classes": ({"x": X, "y": Y + 1, "classes": NAMES}, "the label 3 is not one of 0..2 (AF, N, PVC)"),
}


@pytest.mark.parametrize("fault", ARRAYS)
def test_a_faulty_array_is_named(tmp_path: Path, fault: str) -> None:
    arrays, what = ARRAYS[fault]
    error = refused(save(tmp_path / "my.npz", **arrays))
    assert error.what.startswith(what)
    assert error.where == str(tmp_path / "my.npz")


def test_rows_of_an_npz_that_are_not_finite_can_be_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(tmp_path, save(tmp_path / "my.npz", x=with_nan(), y=LABEL, record=RECORD), bad_rows="drop")
    np.testing.assert_array_equal(together(data, "index"), np.setdiff1d(np.arange(N), [7]))
    np.testing.assert_array_equal(together(data, "record"), np.delete(RECORD, 7))
    assert data.train.dropped == 1
    assert "are the axes swapped" not in caplog.text
    load(tmp_path, save(tmp_path / "my.npz", x=X[:, :, None].repeat(2, 2), y=Y))
    assert "are the axes swapped" in caplog.text


def test_a_file_of_another_kind_is_refused_with_a_hint(csv: Path, tmp_path: Path) -> None:
    (tmp_path / "my.xlsx").write_text("")
    for name, what in (("my.xlsx", "none of"), ("no.csv", "no such file"), ("", "a folder")):
        error = refused(tmp_path / name)
        assert what in error.what
        assert "my.csv" in error.hint
    with pytest.raises(UsageError) as caught:
        load(tmp_path, None)
    assert "--data-file my.csv" in caught.value.hint
    assert "damaged" in refused(csv.rename(tmp_path / "my.npz")).what


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_any_bytes_are_a_table_or_an_error_of_one_line(tmp_path: Path, kind: str) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, x=X, y=LABEL, record=RECORD)
    whole = packed.getvalue() if kind == "npz" else frame(label=LABEL).round(2).to_csv(index=False).encode()
    content = some.one_of(mutated(whole), some.binary(max_size=200), some.text('01.,-enaif\n"').map(str.encode))

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(content, some.booleans())
    def holds(content: bytes, drop: bool) -> None:
        path = tmp_path / f"my.{kind}"
        path.write_bytes(content)
        with suppress(CommanderError):  # anything else is a fault of the program
            data = load(tmp_path, path, bad_rows="drop" if drop else "error")
            assert np.isfinite(together(data, "x")).all()

    holds()
