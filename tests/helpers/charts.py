"""Charts and crops of generated leads."""

from dataclasses import replace
from typing import Any

import numpy as np

from helpers.data import make_spec
from loaders.base import Data, Split
from loaders.records import RecordRows, RecordStore
from toolbox.paper import layouts

RATE_HZ = 50


def make_split(rows: int, first: int = 0, *, samples: int = RATE_HZ, **columns: Any) -> Split:
    """Rows of twelve leads; row i has index `first + i`."""
    x = np.random.default_rng(first).normal(0, 0.3, (rows, 12, samples)).astype(np.float32)
    own = {"record": np.array([f"r{first + i}" for i in range(rows)]), "index": first + np.arange(rows)}
    return Split(x, np.arange(rows) % 3, **{**own, **columns})


def make_data(**columns: Any) -> Data:
    spec = replace(
        make_spec(channels=12, samples=RATE_HZ, classes=("a", "b", "c")), rate_hz=RATE_HZ, leads=layouts.TWELVE
    )
    return Data(spec, make_split(40, **columns), make_split(10, 100), lambda: make_split(12, 200), "none")


def strips(lengths: list[int]) -> Data:
    spec = replace(
        make_spec(samples=100, classes=("a", "b")), rate_hz=100, leads=("ECG",), view="record", unit="counts"
    )
    store = make_store(np.array(lengths), factor=1e-3)
    sides = [RecordRows(store, np.array(of), np.array(of) % 2, 100) for of in ([0, 1, 2], [3], [4, 5])]
    return Data(spec, sides[0], sides[1], lambda: sides[2], "strips")


LENGTHS = np.array([250, 100, 60, 1, 731, 101])


def make_store(lengths: np.ndarray = LENGTHS, *, zero: float = 0.0, factor: float = 1.0) -> RecordStore:
    """Records whose sample i is 1000 * record + i + 1, so that it is known where a crop came from."""
    flat = np.concatenate([1000 * r + np.arange(1, n + 1) for r, n in enumerate(lengths)]).astype(np.int16)
    names = np.array([f"r{r}" for r in range(len(lengths))])
    view = {
        "zero": np.full((len(lengths), 1), zero, np.float32),
        "factor": np.full((len(lengths), 1), factor, np.float32),
    }
    return RecordStore(flat, np.cumsum(lengths) - lengths, lengths, names, names, **view)
