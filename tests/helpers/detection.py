"""Rows of a detector, as files."""

from pathlib import Path

import numpy as np

from loaders.synthetic import beats as synth


def kaggle(folder: Path, test: bytes | None = None) -> Path:
    """The generated beats as the two files of the Kaggle page; `test` in place of the second."""
    folder.mkdir()
    for name, rows, seed in (("mitbih_train.csv", 600, 1), ("mitbih_test.csv", 200, 2)):
        beats = synth.beats(rows, seed)
        np.savetxt(folder / name, np.column_stack([beats["x"], beats["y"]]), fmt="%.4g", delimiter=",")
    if test is not None:
        (folder / "mitbih_test.csv").write_bytes(test)
    return folder
