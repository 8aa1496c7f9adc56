"""Datasets `ecg` (classes N S V F Q) and `ecg_bin` (normal, abnormal): beats in the layout of the Kaggle heartbeat files.

A row is 187 samples at 125 Hz in [0, 1] and a label (Kachuee et al., arXiv 1805.00794). They are read from
mitbih_train.csv and mitbih_test.csv, loose or in their zip, or built from the records of the PhysioNet MIT-BIH database.
"""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from loaders import mitdb, splits
from loaders.base import Data, DataSpec, Split
from loaders.rows import read_rows
from loaders.sources import Arrays, Remote, cached, download, fingerprint, log, unpacked
from toolbox.errors import CommanderError, DataError, DownloadError

TRAIN, TEST = "mitbih_train.csv", "mitbih_test.csv"
TEST_BEATS = 21_892  # of 109,446, as many as Kaggle's file
SPLIT_SEED = 42  # of the test set built from records: not --seed, so that every run has the same one
REMOTES = (
    Remote("heartbeat.zip", "https://drive.google.com/uc?id=17Rd4YpGwssSpk4xZAT5AyYskjvs95dAY"),
    Remote("mit-bih-arrhythmia-database-1.0.0.zip", "https://physionet.org/content/mitdb/get-zip/1.0.0/"),
)
HELP = "put mitbih_train.csv and mitbih_test.csv, or the MIT-BIH zip of physionet.org, into {}, or name it with --data-file"
# Classes, importance, and the label of each of N S V F Q.
VARIANTS = {
    "ecg": (mitdb.CLASSES, (1.0, 2.0, 2.0, 2.0, 0.5), np.arange(5)),
    "ecg_bin": (("normal", "abnormal"), (1.0, 2.0), np.array([0, 1, 1, 1, 1])),
}


def load(name: str, root: Path, *, data_file: Path | None, val_fraction: float, seed: int) -> Data:
    """`ecg` or `ecg_bin` from `data_file`, else from <root>/ecg, else fetched into it."""
    folder = root / "ecg"
    source = _locate(data_file) if data_file else _locate_in(folder) or _fetch(folder)
    train, open_test, checksum, rule = (_from_rows if _has_rows(source) else _from_records)(source, folder / "cache")
    classes, importance, relabel = VARIANTS[name]
    rest, val = splits.stratified(train.y, round(val_fraction * len(train)), seed)
    spec = DataSpec(
        name=name,
        view="beat",
        channels=1,
        samples=mitdb.SAMPLES,
        rate_hz=mitdb.RATE_HZ,
        unit="fraction of the beat's range",
        leads=("MLII",),
        classes=classes,
        importance=importance,
        source="MIT-BIH Arrhythmia Database",
        licence="ODC-By 1.0",
        split_rule=f"{rule}; one patient's beats stand on both sides; {splits.validation_rule(val_fraction, seed)}",
    )

    def relabelled(split: Split) -> Split:
        return Split(split.x, relabel[split.y], split.record, split.index)

    return Data(spec, relabelled(train.rows(rest)), relabelled(train.rows(val)), lambda: relabelled(open_test()), checksum)


def _from_rows(source: Path, cache: Path) -> tuple[Split, Callable[[], Split], str, str]:
    """The two Kaggle files; the test file is not opened here."""

    def arrays(name: str) -> tuple[Arrays, str]:
        key = fingerprint(source if source.is_file() else source / name)
        return cached(cache / f"{Path(name).stem}-{key}", partial(_parse, source, name))

    if source.is_dir() and not (source / TEST).is_file():
        raise DataError(f"{TEST} is missing beside {TRAIN}", where=str(source), hint="both files of the Kaggle dataset")
    train, checksum = arrays(TRAIN)
    return _split(train), lambda: _split(arrays(TEST)[0]), checksum, "beats split at random by the publisher (Kaggle's two files)"


def _from_records(source: Path, cache: Path) -> tuple[Split, Callable[[], Split], str, str]:
    """Beats built from records, 20 % of each class set aside as the test set."""

    def build() -> Arrays:
        if source.is_dir():
            return mitdb.beats(source)
        with unpacked(source) as folder:
            return mitdb.beats(folder)

    arrays, checksum = cached(cache / f"records-{fingerprint(source)}", build)
    everything = _split(arrays)
    test_beats = round(TEST_BEATS / 109_446 * len(everything))
    train, test = splits.stratified(everything.y, test_beats, SPLIT_SEED)
    return everything.rows(train), lambda: everything.rows(test), checksum, "beats split at random, stratified by class, 80/20"


def _parse(source: Path, name: str) -> Arrays:
    log.info("reading %s", name)
    with _open(source, name) as file:
        x, y = read_rows(
            file, samples=mitdb.SAMPLES, classes=len(mitdb.CLASSES), where=f"{source / name if source.is_dir() else name}"
        )
    return {"x": x, "y": y, "record": np.full(len(y), "")}


def _split(arrays: Arrays) -> Split:
    return Split(arrays["x"][:, None, :], arrays["y"], arrays["record"], np.arange(len(arrays["y"])))  # (N, 1, 187)


@contextmanager
def _open(source: Path, name: str) -> Iterator[BinaryIO]:
    if source.is_dir():
        with open(source / name, "rb") as file:
            yield file
        return
    with zipfile.ZipFile(source) as archive:
        member = next(member for member in archive.namelist() if Path(member).name == name)
        with archive.open(member) as file:
            yield file


def _has_rows(source: Path) -> bool:
    return (source / TRAIN).is_file() if source.is_dir() else {TRAIN, TEST} <= _names(source)


def _names(archive: Path) -> set[str]:
    try:
        with zipfile.ZipFile(archive) as file:
            return {Path(name).name for name in file.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"not a zip that can be read: {error}", where=str(archive), hint="fetch it again") from error


def _locate(path: Path) -> Path:
    """The folder or zip that `path` means, or a DataError that says what would do."""
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path), hint="check --data-file")
    if path.is_file() and path.name in (TRAIN, TEST):
        path = path.parent
    found = _locate_in(path) if path.is_dir() else path if _usable_zip(path) else None
    if found is None:
        raise DataError(
            f"neither {TRAIN} and {TEST} nor MIT-BIH records (*.hea) are here",
            where=str(path),
            hint="a folder or zip that holds one of them",
        )
    return found


def _locate_in(folder: Path) -> Path | None:
    """The first usable source in `folder`: the CSV files, a folder of records, a zip of either."""
    if not folder.is_dir():
        return None
    if (folder / TRAIN).is_file():
        return folder
    records = next(folder.rglob("*.hea"), None)
    return records.parent if records else next((path for path in sorted(folder.glob("*.zip")) if _usable_zip(path)), None)


def _usable_zip(path: Path) -> bool:
    names = _names(path)
    return {TRAIN, TEST} <= names or any(name.endswith(".hea") for name in names)


def _fetch(folder: Path) -> Path:
    reasons = []
    for remote in REMOTES:
        try:
            return _locate(download(remote, folder))
        except CommanderError as error:
            reasons.append(error.what)
    raise DownloadError("the heartbeats are not here and cannot be fetched: " + "; ".join(reasons), hint=HELP.format(folder))
