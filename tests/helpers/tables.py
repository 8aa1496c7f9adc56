"""A user's own table, in many spellings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from loaders import get_data
from loaders.base import Data

N, T = 60, 12


X = np.random.default_rng(0).normal(size=(N, T)).astype(np.float32)
NAMES = np.array(["AF", "N", "PVC"])
Y = np.arange(N) % 3
RECORD = np.array([f"p{i // 4:02d}" for i in range(N)])  # 15 records of 4 rows
SPLIT = np.array(["train", "test", "val"])[np.arange(N) // 4 % 3]


def load(root: Path, data_file: Path | None, *, val_fraction: float = 0.1, seed: int = 42, **how: Any) -> Data:
    return get_data("table", root, data_file=data_file, val_fraction=val_fraction, seed=seed, **how)


def frame(**more: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({f"t{i}": X[:, i] for i in range(T)} | more)


def write(path: Path, rows: pd.DataFrame, **how: Any) -> Path:
    rows.to_csv(path, index=False, **how)
    return path


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


LABEL = NAMES[Y]


def changed(row: int, column: int, cell: str, mark: str = ",") -> Callable[[Path], None]:
    """A file with another cell, row and column counted from 0."""

    def change(path: Path) -> None:
        lines = [line.split(mark) for line in path.read_text().splitlines()]
        lines[row][column : column + 1] = [cell] if cell is not None else []
        path.write_text("\n".join(map(mark.join, lines)) + "\n")

    return change
