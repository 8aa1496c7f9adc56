"""Twelve-lead files in the layout of chapman, written for a test."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from openpyxl import Workbook

from loaders.synthetic import twelve_lead as synth_rhythms

RHYTHMS = {
    f"MUSE_{number:02}": rhythm for number, rhythm in enumerate(["AFIB", "ST", "SVT", "SB", "SB", "SR", "SA"] * 3)
}


@cache
def samples_of(name: str) -> np.ndarray:
    """The microvolts (12, 5000) of a generated record."""
    return synth_rhythms.record(RHYTHMS[name], np.random.default_rng(list(RHYTHMS).index(name)))


def write_csv(folder: Path, name: str, samples: np.ndarray, leads: list[str] | None = None) -> None:
    """As the database has it: without names when denoised, else with them."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(samples.T, columns=leads).to_csv(folder / f"{name}.csv", header=leads is not None, index=False)


def write_labels(
    path: Path, rows: list[tuple[Any, ...]] | None = None, columns: tuple[str, ...] = ("FileName", "Rhythm", "Beat")
) -> None:
    book = Workbook()
    for row in [columns, *([(name, rhythm, "NONE") for name, rhythm in RHYTHMS.items()] if rows is None else rows)]:
        book.active.append(row)
    book.save(path)
