"""Datasets `ecg` (classes N S V F Q) and `ecg_bin` (normal, abnormal): beats in the layout of the Kaggle heartbeat
files.

A row is 187 samples at 125 Hz in [0, 1] and a label (Kachuee et al., arXiv 1805.00794). They are read from
mitbih_train.csv and mitbih_test.csv, loose or in their zip, or built from the records of the PhysioNet MIT-BIH
database.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from loaders.base import Data, DataSpec, Split
from loaders.families import beats_kaggle
from loaders.files.archives import reading, unpacked
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import Remote, Wanted, fetch_first, locate, names_in, search
from loaders.formats import parts
from loaders.formats.csv.rowfiles import read_file
from loaders.formats.csv.rows import Layout
from loaders.splits import by_row, holdout
from loaders.splits.holdout import Holdout
from toolbox.errors import DataError

TRAIN, TEST = "mitbih_train.csv", "mitbih_test.csv"
TEST_BEATS = 21_892  # of 109,446, as many as Kaggle's file
LAYOUT = Layout(beats_kaggle.SAMPLES, beats_kaggle.CLASSES)
SPLIT_SEED = 42  # of the test set built from records: not --seed, so that every run has the same one
REMOTES = (
    Remote("heartbeat.zip", "https://drive.google.com/uc?id=17Rd4YpGwssSpk4xZAT5AyYskjvs95dAY"),
    Remote("mit-bih-arrhythmia-database-1.0.0.zip", "https://physionet.org/content/mitdb/get-zip/1.0.0/"),
)
HELP = (
    "put mitbih_train.csv and mitbih_test.csv, or the MIT-BIH zip of physionet.org, into {}, or name it with"
    " --data-file"
)
WANTED = Wanted(
    files=(TRAIN, TEST),
    others=("*.hea",),
    enough=lambda names: {TRAIN, TEST} <= names or {".hea", ".atr"} <= {Path(name).suffix for name in names},
    what=f"neither {TRAIN} and {TEST} nor MIT-BIH records are",
    would_do=f"a folder or zip with {TRAIN} and {TEST}, or with MIT-BIH records (*.hea, *.dat, *.atr)",
)
# Classes, importance, and the label of each of N S V F Q.
VARIANTS = {
    "ecg": (beats_kaggle.CLASSES, (1.0, 2.0, 2.0, 2.0, 0.5), np.arange(5)),
    "ecg_bin": (("normal", "abnormal"), (1.0, 2.0), np.array([0, 1, 1, 1, 1])),
}


def load(
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
        source = locate(data_file, WANTED) if data_file else search(folder, WANTED)
    source = source or fetch_first(REMOTES, folder, WANTED, HELP.format(folder))
    read = partial(_from_rows, bad_rows=bad_rows) if _has_rows(source) else _from_records
    train, open_test, checksum, rule = read(source, folder / "cache")
    classes, importance, relabel = VARIANTS[name]
    rest, val, drawn = holdout.drawn(train.y, val_fraction, seed, record=train.record, where=str(source))
    spec = DataSpec(
        name=name,
        view="beat",
        channels=1,
        samples=beats_kaggle.SAMPLES,
        rate_hz=beats_kaggle.RATE_HZ,
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
            return beats_kaggle.beats(source)
        with unpacked(source) as folder:
            return beats_kaggle.beats(folder)

    files = parts.of_folder(source, beats_kaggle.SUFFIXES) if source.is_dir() else [source]
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
    names = names_in(source, WANTED)
    return bool({TRAIN, TEST} & names) if source.is_dir() else {TRAIN, TEST} <= names
