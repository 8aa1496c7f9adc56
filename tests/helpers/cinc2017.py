"""Records in the layout of cinc2017, written for a test."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

from loaders.synthetic import strips as synth_strips

LABELS = {f"A{number:05}": "NNAO~NNOAN"[number % 10] for number in range(1, 61)}


def write_record(folder: Path, name: str, signal: np.ndarray, *, rate_hz: int = 300, gain: int = 1000) -> None:
    """A record as the database has it: a MAT file of version 4 with one row `val`, and its header."""
    savemat(folder / f"{name}.mat", {"val": signal.astype(np.int16)[None]}, format="4")
    lead = f"{name}.mat 16+24 {gain}/mV 16 0 {signal[0]} 0 0 ECG"
    (folder / f"{name}.hea").write_text(f"{name} 1 {rate_hz} {len(signal)} 05:05:15 1/05/2000\n{lead}\n")


def signal_of(name: str) -> np.ndarray:
    rng = np.random.default_rng(int(name[1:]))
    return synth_strips.strip(LABELS[name], rng)


def write(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in LABELS:
        write_record(folder, name, signal_of(name))
    (folder / "REFERENCE.csv").write_text("".join(f"{name},{label}\n" for name, label in LABELS.items()))
    return folder
