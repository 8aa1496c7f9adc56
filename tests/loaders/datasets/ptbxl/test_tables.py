"""The tables of ptbxl: labels of each set as the benchmark makes them, and one line for each fault of a cell."""

from pathlib import Path

import numpy as np
import pytest

from helpers import ptbxl
from loaders import DATASETS
from loaders.datasets.ptbxl import tables
from toolbox.errors import DataError


def benchmark(labels: str, codes: dict[str, float]) -> set[str]:
    """The labels of a record as the published benchmark makes them; the likelihood does not count."""
    of = {name: (rest, klass, subclass) for name, *rest, klass, subclass in ptbxl.STATEMENTS}
    if labels in ("super", "sub"):
        return {of[code][1 if labels == "super" else 2] for code in codes if of[code][0][0]}
    place = {"diagnostic": 0, "form": 1, "rhythm": 2}
    return {code for code in codes if labels == "all" or of[code][0][place[labels]]}


def test_the_sets_of_labels_are_those_that_are_declared() -> None:
    assert [*DATASETS["ptbxl"].label_sets] == [*tables.SETS, tables.SHARED] == [*ptbxl.SETS, "challenge"]


@pytest.mark.parametrize("labels", ptbxl.SETS)
def test_labels_are_those_of_the_benchmark(labels: str, tmp_path: Path) -> None:
    found = tables.read(ptbxl.write_tables(tmp_path, [ptbxl.row(k) for k in range(10)]))
    classes, y = tables.labelled(found, labels)
    assert classes == ptbxl.SETS[labels]
    assert y.dtype == np.int64
    for k, row in enumerate(y):
        assert {name for name, own in zip(classes, row, strict=True) if own} == benchmark(
            labels, ptbxl.CODES[k % len(ptbxl.CODES)]
        )


CELLS = {
    "scp_codes": {
        "{'NORM': 100.0, 'XYZ': 0.0}": "scp_statements.csv has no statement 'XYZ'",
        "['NORM']": "not a Python dict of statements and likelihoods",
        "{'NORM': 'high'}": "not a Python dict",
        "__import__('os')": "not a Python dict",
        "": "not a Python dict",
        "{" * 300: "not a Python dict",
    },
    "strat_fold": {"11": "not a fold from 1 to 10", "0": "not a fold", "": "not a whole number"},
    "patient_id": {"": "not a whole number", "nan": "not a whole number", "7.5": "not a whole number"},
    "ecg_id": {"x": "not a whole number", "3": "record 3 has two rows"},
    "filename_lr": {"/etc/passwd": "not the path", "../../x": "not the path", "": "not the path"},
}


@pytest.mark.parametrize(("column", "cell"), [(column, cell) for column, cells in CELLS.items() for cell in cells])
def test_a_wrong_cell_is_quoted_with_its_record(column: str, cell: str, tmp_path: Path) -> None:
    rows = [ptbxl.row(k) for k in range(4)]
    rows[2][column] = cell
    with pytest.raises(DataError) as caught:
        tables.read(ptbxl.write_tables(tmp_path, rows))
    assert len(str(caught.value).splitlines()) == 1
    assert CELLS[column][cell] in str(caught.value)
    assert "ptbxl_database.csv" in caught.value.where


@pytest.mark.parametrize("column", ["strat_fold", "patient_id", "scp_codes", "filename_hr"])
def test_a_missing_column_is_named(column: str, tmp_path: Path) -> None:
    rows = [{name: cell for name, cell in ptbxl.row(k).items() if name != column} for k in range(4)]
    with pytest.raises(DataError, match=f"the table has no column {column}; there are ecg_id"):
        tables.read(ptbxl.write_tables(tmp_path, rows))


def test_a_statement_that_is_there_twice_and_an_empty_table_are_named(tmp_path: Path) -> None:
    ptbxl.write_tables(tmp_path, [ptbxl.row(0)], (*ptbxl.STATEMENTS, ptbxl.STATEMENTS[0]))
    with pytest.raises(DataError, match="the first column has 'NORM'"):
        tables.read(tmp_path)
    (tmp_path / "scp_statements.csv").write_text(",diagnostic,form\n")
    with pytest.raises(DataError, match="the table has no rows"):
        tables.read(tmp_path)
    (tmp_path / "scp_statements.csv").write_bytes(b"\xff\xfe,x\n1,2\n")
    with pytest.raises(DataError, match="the file is damaged: 'utf-8' codec"):
        tables.read(tmp_path)
