"""A user's own table and the UCR files through the command itself: trained on, or refused in one line with an exit
code."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.commands import carried_out
from helpers.ecg5000 import SMALL
from helpers.ecg5000 import write as write_ecg5000
from helpers.kaggle import TRAIN
from helpers.tables import LABEL, N, X, Y, changed, frame, save, write

LONG = np.tile(X, (1, 8))  # 96 samples, enough for a network
SHORT = ("--model-name", "cnn1d_3", "--short-run", "--epochs", "1", "--no-figures")


def broken_csv(folder: Path) -> Path:
    path = write(folder / "my.csv", pd.DataFrame(LONG).assign(label=LABEL))
    changed(8, 3, "nan")(path)
    return path


def other_length(folder: Path) -> Path:
    path = write_ecg5000(folder / "ucr", ".ts", **SMALL) / f"{TRAIN}.ts"
    path.write_text(path.read_text().replace("@seriesLength 140", "@seriesLength 96"))
    return path


FAULTS: dict[str, tuple[str, Callable[[Path], Path | None], int, tuple[str, ...]]] = {
    "no file named": ("table", lambda folder: None, 2, ("needs your own file", "--data-file my.csv")),
    "a cell": ("table", broken_csv, 3, ("'nan' is not a finite number", "my.csv, line 9, column 4", "--bad-rows drop")),
    "objects": (
        "table",
        lambda folder: save(folder / "my.npz", x=X, y=np.array([*LABEL], dtype=object)),
        3,
        ("the array y holds Python objects", "my.npz"),
    ),
    "lengths": (
        "table",
        lambda folder: save(folder / "my.npz", x=X, y=Y[1:]),
        3,
        ("x has 60 rows, y has the shape (59,)",),
    ),
    "a value": ("table", lambda folder: write(folder / "my.csv", frame(age=np.arange(N))), 3, ("60 different labels",)),
    "another length": ("ecg5000", other_length, 3, ("@seriesLength is 96, expected 140", "line 7")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_an_exit_code(root: Path, tmp_path: Path, fault: str) -> None:
    dataset, make, code, says = FAULTS[fault]
    path = make(tmp_path)
    ended = carried_out("--dataset", dataset, *SHORT, "--root-dir", root, *(("--data-file", path) if path else ()))
    assert ended.code == code
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert all(words in errors[0] for words in says)
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("kind", ["csv", "npz", "ecg5000"])
def test_a_table_is_trained_on_and_its_bad_row_dropped_and_counted(root: Path, tmp_path: Path, kind: str) -> None:
    x = np.stack([LONG, LONG], 1)
    x[7, 1, 2] = np.nan
    path = {
        "csv": lambda: broken_csv(tmp_path),
        "npz": lambda: save(tmp_path / "my.npz", x=x, y=LABEL),
        "ecg5000": lambda: write_ecg5000(tmp_path / "ucr", ".tsv", **SMALL),
    }[kind]()
    dataset = "ecg5000" if kind == "ecg5000" else "table"
    ended = carried_out("--dataset", dataset, *SHORT, "--root-dir", root, "--data-file", path, "--bad-rows", "drop")
    assert ended.code == 0, ended.err
    assert ended.result["dropped_rows"]["train"] == (0 if kind == "ecg5000" else 1)
    assert ended.result["split_rule"]
