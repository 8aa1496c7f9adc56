"""The UCR archive's files of ECG5000, written for a test."""

from pathlib import Path

import numpy as np

from loaders.datasets.ecg5000 import TEST, TRAIN


def table(counts: list[int], seed: int = 0) -> np.ndarray:
    """Rows (N, 141) with the label first, as many of each class as `counts` says, shuffled."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(1, 6), counts))
    return np.column_stack([labels, rng.normal(size=(len(labels), 140)).astype(np.float32)])


def content(rows: np.ndarray, form: str) -> str:
    """The rows as a file of the archive."""
    numbers = [[f"{value:.9g}" for value in row[1:]] for row in rows]
    labels = [f"{row[0]:.0f}" for row in rows]
    both = list(zip(labels, numbers, strict=True))
    if form == ".ts":
        head = (
            "@problemName ECG5000\n@timeStamps false\n@missing false\n@univariate true\n@equalLength"
            " true\n@seriesLength 140\n"
        )
        return f"#beats\n{head}@classLabel true 1 2 3 4 5\n@data\n" + "".join(f"{','.join(x)}:{y}\n" for y, x in both)
    if form == ".arff":
        head = "".join(f"@attribute att{i} numeric\n" for i in range(1, 141)) + "@attribute target {1,2,3,4,5}\n"
        return f"%beats\n@Relation ECG5000\n{head}\n@data\n" + "".join(f"{','.join(x)},{y}\n" for y, x in both)
    if form == ".tsv":
        return "".join("\t".join([y, *x]) + "\n" for y, x in both)
    return "".join("".join(f"   {cell}" for cell in (y, *x)) + "\n" for y, x in both)


def write(folder: Path, form: str = ".txt", **counts: list[int]) -> Path:
    """A folder with the sides given, such as ECG5000_TRAIN=[5, 4, 3, 2, 2]."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (side, count) in enumerate(counts.items()):
        (folder / f"{side}{form}").write_text(content(table(count, seed), form))
    return folder


SMALL = {TRAIN: [60, 20, 8, 6, 6], TEST: [140, 30, 10, 10, 10]}
