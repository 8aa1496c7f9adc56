"""PTB-XL in the layout of its publisher, small and written for a test."""

import csv
from functools import cache
from pathlib import Path

import numpy as np

from loaders.synthetic import twelve_lead

HEAD = ("ecg_id", "patient_id", "age", "report", "scp_codes", "heart_axis", "strat_fold", "filename_lr", "filename_hr")
# Name, diagnostic, form, rhythm, class and subclass: of a diagnostic statement, one that is also of form, and others.
STATEMENTS = (
    ("NORM", 1, 0, 0, "NORM", "NORM"), ("IMI", 1, 0, 0, "MI", "IMI"), ("ILMI", 1, 0, 0, "MI", "IMI"),
    ("LVH", 1, 0, 0, "HYP", "LVH"), ("NDT", 1, 1, 0, "STTC", "STTC"), ("CLBBB", 1, 0, 0, "CD", "CLBBB"),
    ("PVC", 0, 1, 0, "", ""), ("SR", 0, 0, 1, "", ""), ("AFIB", 0, 0, 1, "", ""),
)  # fmt: skip
SETS = {
    "super": ("CD", "HYP", "MI", "NORM", "STTC"),
    "sub": ("CLBBB", "IMI", "LVH", "NORM", "STTC"),
    "diagnostic": ("CLBBB", "ILMI", "IMI", "LVH", "NDT", "NORM"),
    "form": ("NDT", "PVC"),
    "rhythm": ("AFIB", "SR"),
    "all": ("AFIB", "CLBBB", "ILMI", "IMI", "LVH", "NDT", "NORM", "PVC", "SR"),
}
CODES = (
    {"NORM": 100.0, "SR": 0.0}, {"IMI": 50.0, "ILMI": 0.0, "AFIB": 0.0}, {"LVH": 15.0, "NDT": 100.0, "SR": 0.0},
    {"CLBBB": 100.0}, {"PVC": 100.0, "SR": 0.0},
)  # fmt: skip
AXES = ("", "LAD", "ARAD")
RECORDS = 20
# Two records a fold, of one patient in the odd folds.
FOLDS = [k // 2 + 1 for k in range(RECORDS)]
PATIENTS = [100 + (k - k % 2 if FOLDS[k] % 2 else k) for k in range(RECORDS)]
NUMBERS = [2 * k + 1 for k in range(RECORDS)]  # ecg_id, with gaps


@cache
def microvolts(number: int) -> np.ndarray:
    """The samples (12, 5000) of a record at 500 Hz."""
    rhythm = "AFIB" if number % 5 == 1 else "SR"
    return twelve_lead.record(rhythm, np.random.default_rng(number))


def at(number: int, rate_hz: int) -> np.ndarray:
    """The samples (12, T) of a record at 100 or 500 Hz."""
    return microvolts(number)[:, :: 500 // rate_hz]


def path(number: int, rate_hz: int) -> str:
    folder, ending = ("records100", "lr") if rate_hz == 100 else ("records500", "hr")
    return f"{folder}/00000/{number:05}_{ending}"


def row(k: int) -> dict[str, object]:
    """The row of record k in ptbxl_database.csv; reports may have several lines."""
    number = NUMBERS[k]
    cells = (
        number,
        f"{PATIENTS[k]}.0",
        "56.0",
        'sinus rhythm,\n"normal"',
        str(CODES[k % len(CODES)]),
        AXES[k % 3],
        FOLDS[k],
    )
    return dict(zip(HEAD, (*cells, path(number, 100), path(number, 500)), strict=True))


def write_signal(folder: Path, number: int, rate_hz: int, samples: np.ndarray | None = None) -> Path:
    """A record of format 16 and its header."""
    samples = at(number, rate_hz) if samples is None else samples
    header = folder / f"{path(number, rate_hz)}.hea"
    header.parent.mkdir(parents=True, exist_ok=True)
    samples.T.astype("<i2").tofile(header.with_suffix(".dat"))
    lines = [f"{header.stem} 12 {rate_hz} {samples.shape[1]}"]
    for lead, own in zip(twelve_lead.twelve_lead.LEADS, samples, strict=True):
        checksum = int(own.sum(dtype=np.int64)) % 2**16
        lines.append(f"{header.stem}.dat 16 1000.0(0)/mV 16 0 {own[0]} {checksum} 0 {lead.upper()}")
    header.write_text("\n".join(lines) + "\n")
    return header


def write_tables(folder: Path, rows: list[dict[str, object]], statements: tuple = STATEMENTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "ptbxl_database.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    head = ("", "description", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")
    with open(folder / "scp_statements.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for name, *counts, klass, subclass in statements:
            writer.writerow([name, "a statement", *("1.0" if each else "" for each in counts), klass, subclass])
    return folder


def write(folder: Path, *, rates: tuple[int, ...] = (100,), records: int = RECORDS) -> Path:
    """The first records with their files at these rates."""
    write_tables(folder, [row(k) for k in range(records)])
    for number in NUMBERS[:records]:
        for rate_hz in rates:
            write_signal(folder, number, rate_hz)
    return folder
