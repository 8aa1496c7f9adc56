"""The files of the published databases, small and written for a test."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from openpyxl import Workbook
from scipy.io import savemat

from helpers import ecg5000, kaggle, ptbxl, tables
from loaders import DATASETS
from loaders.formats.twelve_leads import LEADS
from loaders.synthetic import strips, twelve_lead

# The records of chapman and their rhythms; those of cinc2017 and their labels.
RHYTHMS = {f"MUSE_{k:02}": rhythm for k, rhythm in enumerate(["AFIB", "ST", "SVT", "SB", "SB", "SR", "SA"] * 3)}
LABELS = {f"A{number:05}": "NNAO~NNOAN"[number % 10] for number in range(1, 61)}
NORMAL, ABNORMAL = DATASETS["ptbdb"].files.marks


@cache
def microvolts(name: str) -> np.ndarray:
    """The samples (12, 5000) of a generated record of chapman."""
    return twelve_lead.record(RHYTHMS[name], np.random.default_rng(list(RHYTHMS).index(name)))


def write_csv(folder: Path, name: str, samples: np.ndarray, leads: list[str] | None = None) -> None:
    """A recording of chapman: without names of its leads when denoised, else with them."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(samples.T, columns=leads).to_csv(folder / f"{name}.csv", header=leads is not None, index=False)


def write_labels(
    path: Path, rows: list[tuple[Any, ...]] | None = None, columns: tuple[str, ...] = ("FileName", "Rhythm", "Beat")
) -> None:
    book = Workbook()
    for row in [columns, *([(name, rhythm, "NONE") for name, rhythm in RHYTHMS.items()] if rows is None else rows)]:
        book.active.append(row)
    book.save(path)


def write_chapman(folder: Path) -> Path:
    for name in RHYTHMS:
        write_csv(folder / "ECGDataDenoised", name, microvolts(name))
    write_labels(folder / "Diagnostics.xlsx")
    return folder


@cache
def strip(name: str) -> np.ndarray:
    """The samples of a generated record of cinc2017."""
    return strips.strip(LABELS[name], np.random.default_rng(int(name[1:])))


def write_strip(folder: Path, name: str, signal: np.ndarray, *, rate_hz: int = 300, gain: int = 1000) -> None:
    """A record of cinc2017: a MAT file of version 4 with one row `val`, and its header."""
    savemat(folder / f"{name}.mat", {"val": signal.astype(np.int16)[None]}, format="4")
    lead = f"{name}.mat 16+24 {gain}/mV 16 0 {signal[0]} 0 0 ECG"
    (folder / f"{name}.hea").write_text(f"{name} 1 {rate_hz} {len(signal)} 05:05:15 1/05/2000\n{lead}\n")


def write_cinc2017(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in LABELS:
        write_strip(folder, name, strip(name))
    (folder / "REFERENCE.csv").write_text("".join(f"{name},{label}\n" for name, label in LABELS.items()))
    return folder


def write_wfdb(
    folder: Path, name: str, samples: np.ndarray, codes: str, leads: tuple[str, ...] = LEADS, **how: Any
) -> None:
    """A header and its MAT file of version 4, as of ecg-arrhythmia and the Challenges of 2020 and 2021."""
    how = {"gain": "1000/mV", "zero": 0, "rate": 500} | how
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / f"{name}.mat", {"val": samples.astype(np.int16)}, format="4")
    lines = [f"{name} {len(leads)} {how['rate']} {samples.shape[1]} 12-May-2020 12:33:59"]
    for lead, own in zip(leads, samples, strict=True):
        total = int(own.astype(np.int16).sum(dtype=np.int64))
        checksum = how.get("checksum", (total + 2**15) % 2**16 - 2**15)
        lines.append(f"{name}.mat 16+24 {how['gain']} 16 {how['zero']} {int(own[0])} {checksum} 0 {lead}")
    text = "\n".join([*lines, "#Age: 85", "#Sex: Male", f"#Dx: {codes}", "#Rx: Unknown"])
    (folder / f"{name}.hea").write_text(text + "\n")


def ptbdb_samples(name: str, rows: int) -> np.ndarray:
    return np.random.default_rng(len(name)).random((rows, 187)).astype(np.float32)


def write_ptbdb(folder: Path, *, normal: int = 40, abnormal: int = 110) -> Path:
    folder.mkdir(parents=True)
    for label, (name, rows) in enumerate(((NORMAL, normal), (ABNORMAL, abnormal))):
        table = np.column_stack([ptbdb_samples(name, rows), np.full(rows, label)])
        np.savetxt(folder / name, table, fmt="%.18e", delimiter=",")
    return folder


def write_kaggle(folder: Path) -> Path:
    """Both files of `ecg`, 60 and 20 rows."""
    kaggle.write_csv(folder / kaggle.TRAIN, 60, seed=1)
    kaggle.write_csv(folder / kaggle.TEST, 20, seed=2)
    return folder


def write_table(folder: Path) -> Path:
    folder.mkdir()
    return tables.write(folder / "my.csv", tables.frame(label=tables.LABEL, patient=tables.RECORD))


WRITERS = {
    "chapman": write_chapman,
    "cinc2017": write_cinc2017,
    "ecg": write_kaggle,
    "ecg_bin": write_kaggle,
    "ecg5000": lambda folder: ecg5000.write(folder, **ecg5000.SMALL),
    "ptbdb": write_ptbdb,
    "ptbxl": ptbxl.write,
    "table": write_table,
}
