"""A name becomes Data(spec, train, val, test).

A new dataset is one file with a `load` and one line here; it is then in --list datasets, in the README's table and in the tests.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from loaders import ecg5000, heartbeat, ptbdb, synth, table
from loaders.base import Data
from toolbox.registry import pick

DATASETS: dict[str, Callable[..., Data]] = {
    "ecg": partial(heartbeat.load, "ecg"),
    "ecg_bin": partial(heartbeat.load, "ecg_bin"),
    "ecg5000": ecg5000.load,
    "ptbdb": ptbdb.load,
    "synth": partial(synth.load, "synth"),
    "table": table.load,
}


def get_data(
    name: str, root: Path, *, data_file: Path | None = None, val_fraction: float = 0.1, seed: int = 42, bad_rows: str = "error"
) -> Data:
    """Load the dataset called `name` from below `root`, or from `data_file`; validation is drawn from train with `seed`."""
    load = pick("dataset", DATASETS, name)
    return load(root, data_file=data_file, val_fraction=val_fraction, seed=seed, bad_rows=bad_rows)
