"""The two files of ptbdb, written for a test."""

from pathlib import Path

import numpy as np

from loaders import DATASETS

NORMAL, ABNORMAL = DATASETS["ptbdb"].files.marks


def samples(name: str, rows: int) -> np.ndarray:
    return np.random.default_rng(len(name)).random((rows, 187)).astype(np.float32)


def write(folder: Path, *, normal: int = 40, abnormal: int = 110) -> Path:
    """A folder with both files."""
    folder.mkdir(parents=True)
    for label, (name, rows) in enumerate(((NORMAL, normal), (ABNORMAL, abnormal))):
        table = np.column_stack([samples(name, rows), np.full(rows, label)])
        np.savetxt(folder / name, table, fmt="%.18e", delimiter=",")
    return folder
