"""Datasets `ecg` (classes N S V F Q) and `ecg_bin` (normal, abnormal): beats in the layout of the Kaggle heartbeat
files.

A row is 187 samples at 125 Hz in [0, 1] and a label (Kachuee et al., arXiv 1805.00794). They are read from
mitbih_train.csv and mitbih_test.csv, loose or in their zip, or built from the records of the PhysioNet MIT-BIH
database.

Dataset `ptbdb`: beats of healthy people and of patients, most after a myocardial infarction, in the Kaggle heartbeat
layout.

A row is 187 samples at 125 Hz in [0, 1] and a label (Kachuee et al., arXiv 1805.00794), from lead II of the PTB
Diagnostic ECG Database (Bousseljot et al., Biomedizinische Technik 40, S1, 1995; Goldberger et al., Circulation
101(23), 2000). The files are ptbdb_normal.csv (4,046 rows) and ptbdb_abnormal.csv (10,506), loose or in the zip that
has those of `ecg` as well.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from loaders.base import Data, DataSpec, Split
from loaders.families import row_forms
from loaders.files.archives import reading, unpacked
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import Remote, Wanted, fetch_first, locate, names_in, search
from loaders.formats import parts
from loaders.formats.csv.rows import RowLayout, read_file
from loaders.splits import by_row
from loaders.splits.by_row import Holdout
from toolbox.errors import DataError

TRAIN, TEST = "mitbih_train.csv", "mitbih_test.csv"
TEST_BEATS = 21_892  # of 109,446, as many as Kaggle's file
LAYOUT = RowLayout(row_forms.SAMPLES, row_forms.CLASSES)
SPLIT_SEED = 42  # of the test set built from records: not --seed, so that every run has the same one
REMOTES = (
    Remote("heartbeat.zip", "https://drive.google.com/uc?id=17Rd4YpGwssSpk4xZAT5AyYskjvs95dAY"),
    Remote("mit-bih-arrhythmia-database-1.0.0.zip", "https://physionet.org/content/mitdb/get-zip/1.0.0/"),
)
HEARTBEAT_HELP = (
    "put mitbih_train.csv and mitbih_test.csv, or the MIT-BIH zip of physionet.org, into {}, or name it with"
    " --data-file"
)
HEARTBEAT = Wanted(
    files=(TRAIN, TEST),
    others=("*.hea",),
    enough=lambda names: {TRAIN, TEST} <= names or {".hea", ".atr"} <= {Path(name).suffix for name in names},
    what=f"neither {TRAIN} and {TEST} nor MIT-BIH records are",
    would_do=f"a folder or zip with {TRAIN} and {TEST}, or with MIT-BIH records (*.hea, *.dat, *.atr)",
)
# Classes, importance, and the label of each of N S V F Q.
VARIANTS = {
    "ecg": (row_forms.CLASSES, (1.0, 2.0, 2.0, 2.0, 0.5), np.arange(5)),
    "ecg_bin": (("normal", "abnormal"), (1.0, 2.0), np.array([0, 1, 1, 1, 1])),
}


def load_heartbeat(
    name: str, root: Path, *, data_file: Path | None, val_fraction: Holdout, seed: int, bad_rows: str = "error"
) -> Data:
    """`ecg` or `ecg_bin` from `data_file`, else from <root>/ecg, else fetched into it.

    x (N, 1, 187) float32 in [0, 1]; validation is `val_fraction` of train, drawn with `seed`; the test rows depend on
    neither. `bad_rows` says what is done about rows of a CSV that cannot be used: error or drop.
    Raises DataError for what cannot be used, DownloadError where nothing can be fetched, ResourceError for a lack of
    permission.
    """
    folder = root / "ecg"
    with reading(data_file or folder):
        source = locate(data_file, HEARTBEAT) if data_file else search(folder, HEARTBEAT)
    source = source or fetch_first(REMOTES, folder, HEARTBEAT, HEARTBEAT_HELP.format(folder))
    read = partial(_from_rows, bad_rows=bad_rows) if _has_rows(source) else _from_records
    train, open_test, checksum, rule = read(source, folder / "cache")
    classes, importance, relabel = VARIANTS[name]
    rest, val, drawn = by_row.drawn(train.y, val_fraction, seed, record=train.record, where=str(source))
    spec = DataSpec(
        name=name,
        view="beat",
        channels=1,
        samples=row_forms.SAMPLES,
        rate_hz=row_forms.RATE_HZ,
        unit="fraction of the beat's range",
        leads=("MLII",),
        classes=classes,
        importance=importance,
        source="MIT-BIH Arrhythmia Database",
        licence="ODC-By 1.0",
        split_rule=f"{rule}; one patient's beats stand on both sides; {drawn}",
    )

    def relabelled(split: Split) -> Split:
        return replace(split, y=relabel[split.y])

    return Data(
        spec, relabelled(train.rows(rest)), relabelled(train.rows(val)), lambda: relabelled(open_test()), checksum
    )


def _from_rows(source: Path, cache: Path, *, bad_rows: str) -> tuple[Split, Callable[[], Split], str, str]:
    """The two Kaggle files; the test file is not opened here."""

    def split(name: str) -> tuple[Split, str]:
        return read_file(source, name, cache, layout=LAYOUT, bad_rows=bad_rows)

    missing = [name for name in (TRAIN, TEST) if source.is_dir() and not (source / name).is_file()]
    if missing:
        raise DataError(
            f"{missing[0]} is missing", where=str(source), hint="both files of the Kaggle dataset in one folder"
        )
    train, checksum = split(TRAIN)
    return train, lambda: split(TEST)[0], checksum, "beats split at random by the publisher (Kaggle's two files)"


def _from_records(source: Path, cache: Path) -> tuple[Split, Callable[[], Split], str, str]:
    """Beats built from records, 20 % of each class set aside as the test set."""

    def build() -> Arrays:
        if source.is_dir():
            return row_forms.kaggle_beats(source)
        with unpacked(source) as folder:
            return row_forms.kaggle_beats(folder)

    files = parts.of_folder(source, row_forms.SUFFIXES) if source.is_dir() else [source]
    arrays, checksum = cached(cache / f"records-{fingerprint(*files)}", build)
    everything = Split.of(arrays)
    test_beats = round(TEST_BEATS / 109_446 * len(everything))
    train, test = by_row.stratified(everything.y, test_beats, SPLIT_SEED, where=str(source))
    return (
        everything.rows(train),
        lambda: everything.rows(test),
        checksum,
        "beats split at random, stratified by class, 80/20",
    )


def _has_rows(source: Path) -> bool:
    names = names_in(source, HEARTBEAT)
    return bool({TRAIN, TEST} & names) if source.is_dir() else {TRAIN, TEST} <= names


CLASSES = ("normal", "abnormal")
FILES = tuple(f"ptbdb_{name}.csv" for name in CLASSES)
TEST_FRACTION = 0.2
PTBDB_HELP = "put ptbdb_normal.csv and ptbdb_abnormal.csv into {}, or name their folder or zip with --data-file"
PTBDB = Wanted(
    files=FILES,
    enough=lambda names: set(FILES) <= names,
    what=f"neither {FILES[0]} nor {FILES[1]} is",
    would_do=f"a folder or zip with {FILES[0]} and {FILES[1]}",
)


def load_ptbdb(
    root: Path, *, data_file: Path | None, val_fraction: Holdout, seed: int, bad_rows: str = "error"
) -> Data:
    """The beats from `data_file`, else from <root>/ptbdb or <root>/ecg, else fetched into <root>/ecg: x (N, 1, 187) in
    [0, 1].

    There is no official split: `seed` draws the test rows, 20 % of each class, and `val_fraction` of the others for
    validation. Raises DataError for what cannot be used, DownloadError where nothing can be fetched, ResourceError for
    a lack of permission.
    """
    folder, beside = root / "ptbdb", root / "ecg"
    with reading(data_file or folder):
        source = locate(data_file, PTBDB) if data_file else search(folder, PTBDB) or search(beside, PTBDB)
    source = source or fetch_first(REMOTES[:1], beside, PTBDB, PTBDB_HELP.format(folder))
    everything, checksum = _both(source, folder / "cache", bad_rows)
    where = str(source)
    rest, test = by_row.stratified(everything.y, round(TEST_FRACTION * len(everything)), seed, where=where)
    train, val, drawn = by_row.drawn(
        everything.y[rest], val_fraction, seed, record=everything.record[rest], where=where
    )
    rule = f"beats split at random, stratified by class, 80/20, seed {seed}; one patient's beats stand on both sides"
    spec = DataSpec(
        name="ptbdb",
        view="beat",
        channels=1,
        samples=row_forms.SAMPLES,
        rate_hz=row_forms.RATE_HZ,
        unit="fraction of the beat's range",
        leads=("II",),
        classes=CLASSES,
        importance=(1.0, 1.0),
        source="PTB Diagnostic ECG Database",
        licence="ODC-By 1.0",
        split_rule=f"{rule}; {drawn}",
    )
    return Data(spec, everything.rows(rest[train]), everything.rows(rest[val]), lambda: everything.rows(test), checksum)


def _both(source: Path, cache: Path, bad_rows: str) -> tuple[Split, str]:
    """The rows of the normal file, then of the abnormal one, and a checksum of both; each file may hold its own label
    only."""
    with reading(source):
        there = names_in(source, PTBDB)
    parts, checksums = [], []
    for label, name in enumerate(FILES):
        if name not in there:
            raise DataError(
                f"{name} is missing", where=str(source), hint="both ptbdb files of the Kaggle dataset in one folder"
            )
        layout = RowLayout(row_forms.SAMPLES, CLASSES[label : label + 1], lowest=label)
        rows, checksum = read_file(source, name, cache, layout=layout, bad_rows=bad_rows)
        parts.append(replace(rows, y=rows.y + label))
        checksums.append(checksum)
    return Split.joined(*parts), hashlib.sha256("".join(checksums).encode()).hexdigest()
