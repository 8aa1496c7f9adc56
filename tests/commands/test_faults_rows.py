"""Faults in tables of beats, as users meet them: refused in one line; dropped, shared and constant rows are accounted
for."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.commands import carried_out, commander
from helpers.kaggle import TEST, TRAIN, change_row, write_csv
from helpers.wfdb_records import ecg_like, write_record

TRY = ("--dataset", "ecg", "--model-name", "cnn1d_3", "--no-figures", "--short-run", "--epochs", "1")
DRAWN = tuple(flag for flag in TRY if flag != "--no-figures")
RUN = Path("ecg", "runs", "ecg_cnn1d_3_1")
LABELS = "is not one of 0..4 (N S V F Q)"


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """A folder with both files of Kaggle, 60 and 20 rows."""
    write_csv(tmp_path / "kaggle" / TRAIN, 60, seed=1)
    return write_csv(tmp_path / "kaggle" / TEST, 20, seed=2).parent


def with_cell(column: int, cell: str) -> Callable[[str], str]:
    """A change of a row: another `cell` at `column`, counted from 1."""
    return lambda line: ",".join([*line.split(",")[: column - 1], cell, *line.split(",")[column:]])


def shortened(line: str) -> str:
    return line.rpartition(",")[0]


def with_header(path: Path) -> None:
    path.write_text(",".join(f"t{i}" for i in range(188)) + "\n" + path.read_text())


FILES = {
    "missing": (Path.unlink, "mitbih_train.csv is missing"),
    "empty": (lambda path: path.write_text(""), "the file is empty", "mitbih_train.csv)"),
    "one row": (
        lambda path: path.write_text(path.read_text().splitlines()[0]),
        "cannot set 0 of 1 rows aside",
        "kaggle)",
    ),
    "a header row": (with_header, "'t0' is not a finite number", "line 1, column 1)", "no header"),
    "187 columns": (
        lambda path: path.write_text("\n".join(map(shortened, path.read_text().splitlines()))),
        "187 columns, expected 187 samples and a label",
        "line 1)",
    ),
    "189 columns": (
        lambda path: path.write_text(path.read_text().replace("\n", ",0\n")),
        "189 columns, expected 187 samples and a label",
        "line 1)",
    ),
}
ROWS = {
    "ragged": (shortened, "187 columns, expected 187 samples and a label", "line 9)"),
    "text": (with_cell(5, "abc"), "'abc' is not a finite number", "line 9, column 5)"),
    "NaN": (with_cell(6, "NaN"), "'NaN' is not a finite number", "line 9, column 6)"),
    "infinite": (with_cell(7, "Inf"), "'Inf' is not a finite number", "line 9, column 7)"),
    "label 5": (with_cell(188, "5"), f"label 5 {LABELS}", "line 9, column 188)"),
    "label -1": (with_cell(188, "-1"), f"label -1 {LABELS}", "line 9, column 188)"),
    "label 1.5": (with_cell(188, "1.5"), f"label 1.5 {LABELS}", "line 9, column 188)"),
    "no label": (with_cell(188, ""), "the cell is empty, the label is one of 0..4 (N S V F Q)", "line 9, column 188)"),
}


@pytest.mark.parametrize("fault", [*FILES, "text", "no label"])  # the others of ROWS are dropped below
def test_a_faulty_file_is_refused_in_one_line_that_says_where(root: Path, kaggle: Path, fault: str) -> None:
    if fault in FILES:
        spoil, *says = FILES[fault]
        spoil(kaggle / TRAIN)
    else:
        change, *says = ROWS[fault]
        change_row(kaggle / TRAIN, 8, change)
    ended = carried_out("--data-file", kaggle, "--download", "--root-dir", root)
    assert ended.code == 3
    error = ended.err.strip().splitlines()[-1]
    assert error.startswith(f"error: {says[0]}")
    assert all(words in error for words in says)
    assert "Traceback" not in ended.err


def test_a_fault_in_the_test_file_is_found_by_download(root: Path, kaggle: Path) -> None:
    change_row(kaggle / TEST, 3, with_cell(2, "?"))
    ended = commander("--data-file", kaggle, "--download", "--root-dir", root)
    assert ended.code == 3
    assert f"error: '?' is not a finite number ({kaggle / TEST}, line 4, column 2)" in ended.err


def test_line_ends_a_byte_order_mark_gzip_and_a_single_row_of_test_do_no_harm(root: Path, kaggle: Path) -> None:
    (kaggle / TRAIN).write_bytes((kaggle / TRAIN).read_bytes().replace(b"\n", b"\r\n").decode().encode("utf-8-sig"))
    (kaggle / TEST).write_bytes(gzip.compress((kaggle / TEST).read_bytes().splitlines()[0]))
    ended = carried_out(*DRAWN, "--data-file", kaggle, "--root-dir", root)
    assert ended.code == 0, ended.err
    assert np.sum(ended.result["test"]["confusion_matrix"]) == 1
    assert ended.result["dropped_rows"] == {"train": 0, "test": 0}


def test_bad_rows_can_be_dropped_and_the_run_says_how_many_in_every_place(root: Path, kaggle: Path) -> None:
    for row, (change, *_) in enumerate(ROWS.values()):
        change_row(kaggle / TRAIN, 5 * row, change)
    with_header(kaggle / TRAIN)
    change_row(kaggle / TEST, 4, shortened)
    change_row(kaggle / TEST, 6, with_cell(188, "7"))
    ended = carried_out(*TRY, "--data-file", kaggle, "--root-dir", root, "--bad-rows", "drop")
    assert ended.code == 0, ended.err
    assert (
        f"rows dropped from {kaggle / TRAIN}: 9; line 1, column 1: 't0' is not a finite number; line 2: 187 columns"
        in ended.err
    )
    assert f"rows dropped from {kaggle / TEST}: 2; line 5: 187 columns" in ended.err
    config = json.loads((root / RUN / "config.json").read_text())
    assert (config["flags"]["bad_rows"], config["data"]["dropped_rows"]) == ("drop", 9)
    assert config["data"]["train_rows"] + config["data"]["val_rows"] == 52
    results = json.loads((root / RUN / "results.json").read_text())
    assert results["dropped_rows"] == {"train": 9, "test": 2}
    assert "unusable rows dropped: 9 of train, 2 of test" in (root / RUN / "pred" / "report.txt").read_text()
    rows = pd.read_csv(root / RUN / "pred" / "predictions.csv").row
    assert rows.tolist() == [row for row in range(20) if row not in (4, 6)]


def test_a_run_that_ends_at_a_bad_row_of_test_can_be_tested_without_it(root: Path, kaggle: Path) -> None:
    change_row(kaggle / TEST, 4, shortened)
    assert carried_out(*TRY, "--data-file", kaggle, "--root-dir", root).code == 3
    ended = carried_out(*TRY[:5], "--test", "--root-dir", root, "--bad-rows", "drop")
    assert ended.code == 0, ended.err
    assert ended.result["dropped_rows"] == {"train": 0, "test": 1}


def test_a_file_that_would_lose_all_of_its_rows_is_an_error_also_where_bad_rows_are_dropped(
    root: Path, kaggle: Path
) -> None:
    (kaggle / TRAIN).write_text((kaggle / TRAIN).read_text().replace(",", ";"))
    ended = carried_out("--data-file", kaggle, "--download", "--root-dir", root, "--bad-rows", "drop")
    assert ended.code == 3
    assert (
        f"error: no row can be kept: 1 columns, expected 187 samples and a label ({kaggle / TRAIN}, line 1)"
        in ended.err
    )


def test_an_unknown_way_with_bad_rows_is_refused_with_the_known_ones(root: Path, kaggle: Path) -> None:
    ended = carried_out("--data-file", kaggle, "--download", "--root-dir", root, "--bad-rows", "dorp")
    assert ended.code == 2
    assert "unknown --bad-rows 'dorp'; known are error, drop" in ended.err


def constant_in_rows(folder: Path) -> Path:
    for name, rows in ((TRAIN, 60), (TEST, 20)):
        write_csv(folder / name, rows)
        for row, level in ((0, 0.0), (6, 0.5), (12, 1.0)):
            change_row(
                folder / name, row, lambda line, level=level: ",".join([str(level)] * 187 + [line.rpartition(",")[2]])
            )
    return folder


def constant_in_records(folder: Path) -> Path:
    for i in range(8):
        write_record(folder, str(i), leads={"MLII": np.full(1440, 1.235) if i % 2 else (1 + i) * ecg_like()})
    return folder


@pytest.mark.parametrize("make", [constant_in_rows, constant_in_records])
def test_a_constant_signal_is_trained_on_and_tested_without_nan(
    root: Path, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    data, network = make(tmp_path / "data"), "lstm_1"  # which divides by the deviation of each row
    ended = carried_out(*DRAWN, "--model-name", network, "--data-file", data, "--root-dir", root)
    assert ended.code == 0, ended.err
    run = Path(ended.result["run_folder"])
    (epoch,) = json.loads((run / "logger.json").read_text())
    assert np.isfinite([epoch["train"]["loss"], epoch["val"]["loss"], ended.result["test"]["loss"]]).all()
    with np.load(run / "pred" / "predictions.npz") as predictions:
        assert np.isfinite(predictions["scores"]).all()


def test_rows_on_both_sides_are_counted_and_named_and_refused_before_training_where_asked(
    root: Path, kaggle: Path
) -> None:
    rows = (kaggle / TRAIN).read_text().splitlines()
    change_row(kaggle / TEST, 3, lambda _: rows[40])
    change_row(kaggle / TEST, 9, lambda _: rows[41])
    said = "2 of 20 test rows stand in train or validation too: rows 3, 9"
    strict = carried_out(*TRY, "--data-file", kaggle, "--root-dir", root, "--strict-split")
    assert strict.code == 3
    assert f"error: {said} (ecg)" in strict.err
    assert not (root / "ecg" / "runs").exists()
    ended = carried_out(*TRY, "--data-file", kaggle, "--root-dir", root)
    assert ended.code == 0, ended.err
    assert ended.err.count(said) == 2  # as a warning and in the report
    assert said in (root / RUN / "pred" / "report.txt").read_text()
    assert json.loads((root / RUN / "results.json").read_text())["shared_rows"] == 2


def test_sides_that_share_no_row_pass_the_strict_check(root: Path, kaggle: Path) -> None:
    ended = carried_out(*TRY, "--data-file", kaggle, "--root-dir", root, "--strict-split")
    assert ended.code == 0, ended.err
    assert ended.result["shared_rows"] == 0
    assert "0 of 20 test rows stand in train" in (root / RUN / "pred" / "report.txt").read_text()
