"""Rows of heartbeats in Kaggle's layout, as files."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from loaders.base import Data
from loaders.datasets import kaggle_beats
from loaders.synthetic import beats as synth

TRAIN, TEST = kaggle_beats.TRAIN, kaggle_beats.TEST
NOWHERE = "http://127.0.0.1:9"


def write_csv(path: Path, rows: int, seed: int = 0) -> Path:
    """Rows in Kaggle's layout, their classes in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    table = np.column_stack([rng.random((rows, 187)), np.arange(rows) % 5])
    np.savetxt(path, table, fmt="%.18e", delimiter=",")
    return path


def write_beats(folder: Path, train: int, test: int) -> Path:
    """Both files with generated beats, which a network can learn."""
    folder.mkdir(parents=True)
    for seed, (name, rows) in enumerate(((TRAIN, train), (TEST, test)), 1):
        beats = synth.beats(rows, seed)
        np.savetxt(folder / name, np.column_stack([beats["x"], beats["y"]]), fmt="%.4g", delimiter=",")
    return folder


def make_zip(path: Path, members: dict[str, Path | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, str) else content.read_bytes())
    return path


def assert_same_data(left: Data, right: Data) -> None:
    for split in ("train", "val", "test"):
        a, b = getattr(left, split), getattr(right, split)
        for field in ("x", "y", "record", "index"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


def change_row(path: Path, row: int, change: Callable[[str], str]) -> None:
    lines = path.read_text().splitlines()
    lines[row] = change(lines[row])
    path.write_text("\n".join(lines))
