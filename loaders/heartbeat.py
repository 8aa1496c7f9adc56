"""Datasets `ecg` (classes N S V F Q) and `ecg_bin` (normal, abnormal): beats in the layout of the Kaggle heartbeat files.

A row is 187 samples at 125 Hz in [0, 1] and a label (Kachuee et al., arXiv 1805.00794). They are read from
mitbih_train.csv and mitbih_test.csv, loose or in their zip, or built from the records of the PhysioNet MIT-BIH database.
"""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from loaders import mitdb, splits
from loaders.archives import is_page, opened, reading, unpacked
from loaders.base import Data, DataSpec, Split
from loaders.cache import Arrays, cached, fingerprint
from loaders.rows import BAD_ROWS
from loaders.sources import Remote, download, log, topmost
from toolbox.errors import CommanderError, DataError, DownloadError
from toolbox.registry import pick

TRAIN, TEST = "mitbih_train.csv", "mitbih_test.csv"
TEST_BEATS = 21_892  # of 109,446, as many as Kaggle's file
NAMED = 3  # of the rows that were dropped, in the warning
SPLIT_SEED = 42  # of the test set built from records: not --seed, so that every run has the same one
REMOTES = (
    Remote("heartbeat.zip", "https://drive.google.com/uc?id=17Rd4YpGwssSpk4xZAT5AyYskjvs95dAY"),
    Remote("mit-bih-arrhythmia-database-1.0.0.zip", "https://physionet.org/content/mitdb/get-zip/1.0.0/"),
)
HELP = "put mitbih_train.csv and mitbih_test.csv, or the MIT-BIH zip of physionet.org, into {}, or name it with --data-file"
WOULD_DO = f"a folder or zip with {TRAIN} and {TEST}, or with MIT-BIH records (*.hea, *.dat, *.atr)"
# Classes, importance, and the label of each of N S V F Q.
VARIANTS = {
    "ecg": (mitdb.CLASSES, (1.0, 2.0, 2.0, 2.0, 0.5), np.arange(5)),
    "ecg_bin": (("normal", "abnormal"), (1.0, 2.0), np.array([0, 1, 1, 1, 1])),
}


def load(name: str, root: Path, *, data_file: Path | None, val_fraction: float, seed: int, bad_rows: str = "error") -> Data:
    """`ecg` or `ecg_bin` from `data_file`, else from <root>/ecg, else fetched into it.

    x (N, 1, 187) float32 in [0, 1]; validation is `val_fraction` of train, drawn with `seed`; the test rows depend on neither.
    `bad_rows` says what is done about rows of a CSV that cannot be used: error or drop.
    Raises DataError for what cannot be used, DownloadError where nothing can be fetched, ResourceError for a lack of permission.
    """
    folder = root / "ecg"
    with reading(data_file or folder):
        source = _locate(data_file) if data_file else _locate_in(folder)
    source = source or _fetch(folder)
    read = partial(_from_rows, bad_rows=bad_rows) if _has_rows(source) else _from_records
    train, open_test, checksum, rule = read(source, folder / "cache")
    classes, importance, relabel = VARIANTS[name]
    rest, val = splits.stratified(train.y, round(val_fraction * len(train)), seed, where=str(source))
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
        return replace(split, y=relabel[split.y])

    return Data(spec, relabelled(train.rows(rest)), relabelled(train.rows(val)), lambda: relabelled(open_test()), checksum)


def _from_rows(source: Path, cache: Path, *, bad_rows: str) -> tuple[Split, Callable[[], Split], str, str]:
    """The two Kaggle files; the test file is not opened here."""

    def split(name: str) -> tuple[Split, str]:
        key = fingerprint(source / name if source.is_dir() else source)
        arrays, checksum = cached(cache / f"{Path(name).stem}-{bad_rows}-{key}", partial(_parse, source, name, bad_rows))
        if "dropped" in arrays:
            first = "; ".join(arrays["dropped"][:NAMED]) + ("; ..." if len(arrays["dropped"]) > NAMED else "")
            log.warning("unusable rows dropped from %s: %d; %s", source / name, len(arrays["dropped"]), first)
        return _split(arrays), checksum

    missing = [name for name in (TRAIN, TEST) if source.is_dir() and not (source / name).is_file()]
    if missing:
        raise DataError(f"{missing[0]} is missing", where=str(source), hint="both files of the Kaggle dataset in one folder")
    train, checksum = split(TRAIN)
    return train, lambda: split(TEST)[0], checksum, "beats split at random by the publisher (Kaggle's two files)"


def _from_records(source: Path, cache: Path) -> tuple[Split, Callable[[], Split], str, str]:
    """Beats built from records, 20 % of each class set aside as the test set."""

    def build() -> Arrays:
        if source.is_dir():
            return mitdb.beats(source)
        with unpacked(source) as folder:
            return mitdb.beats(folder)

    files = sorted(path for path in source.iterdir() if path.suffix in mitdb.SUFFIXES) if source.is_dir() else [source]
    arrays, checksum = cached(cache / f"records-{fingerprint(*files)}", build)
    everything = _split(arrays)
    test_beats = round(TEST_BEATS / 109_446 * len(everything))
    train, test = splits.stratified(everything.y, test_beats, SPLIT_SEED, where=str(source))
    return everything.rows(train), lambda: everything.rows(test), checksum, "beats split at random, stratified by class, 80/20"


def _parse(source: Path, name: str, bad_rows: str) -> Arrays:
    log.info("reading %s", source / name)
    with reading(source), _open(source, name) as file:
        read = pick("bad-rows", BAD_ROWS, bad_rows)
        arrays = read(file, samples=mitdb.SAMPLES, classes=mitdb.CLASSES, where=str(source / name))
    return arrays | {"record": np.full(len(arrays["y"]), "")}


def _split(arrays: Arrays) -> Split:
    index = arrays.get("index", np.arange(len(arrays["y"])))
    return Split(arrays["x"][:, None, :], arrays["y"], arrays["record"], index, len(arrays.get("dropped", ())))  # (N, 1, 187)


@contextmanager
def _open(source: Path, name: str) -> Iterator[BinaryIO]:
    if source.is_dir():
        with open(source / name, "rb") as file:
            yield file
        return
    with opened(source) as archive:
        members = [member for member in archive.namelist() if Path(member).name == name]
        with archive.open(min(members, key=lambda member: member.count("/"))) as file:
            yield file


def _has_rows(source: Path) -> bool:
    return any((source / name).is_file() for name in (TRAIN, TEST)) if source.is_dir() else {TRAIN, TEST} <= _names(source)


def _names(archive: Path) -> set[str]:
    try:
        with opened(archive) as file:
            return {Path(name).name for name in file.namelist()}
    except zipfile.BadZipFile as error:
        reason = "it is a web page, often a quota notice" if is_page(archive) else error
        raise DataError(f"neither a folder nor a zip that can be read: {reason}", where=str(archive), hint=WOULD_DO) from error


def _locate(path: Path) -> Path:
    """The folder or zip that `path` means, or a DataError that says what would do."""
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path), hint=f"--data-file with {WOULD_DO}")
    if path.name in (TRAIN, TEST):
        path = path.parent
    found = _locate_in(path) if path.is_dir() else path if _has_beats(path) else None
    if found is None:
        raise DataError(f"neither {TRAIN} and {TEST} nor MIT-BIH records are here", where=str(path), hint=WOULD_DO)
    return found


def _locate_in(folder: Path) -> Path | None:
    """The first usable source in `folder` or nested in it: the CSV files, a folder of records, a zip of either."""
    for pattern in (TRAIN, TEST, "*.hea"):
        if found := topmost(folder, pattern):
            return found[0].parent
    return next((path for path in topmost(folder, "*.zip") if _is_usable(path)), None)


def _is_usable(archive: Path) -> bool:
    """Whether a zip that stands in a searched folder holds beats; one that is damaged is passed over, which is said."""
    try:
        with reading(archive):
            return _has_beats(archive)
    except CommanderError as error:
        log.warning("passing over %s: %s", archive, error.what)
        return False


def _has_beats(archive: Path) -> bool:
    names = _names(archive)
    return {TRAIN, TEST} <= names or {".hea", ".atr"} <= {Path(name).suffix for name in names}


def _fetch(folder: Path) -> Path:
    reasons = []
    for remote in REMOTES:
        try:
            return _locate(download(remote, folder, partial(_locate_in, folder)))
        except (DownloadError, DataError) as error:
            reasons.append(error.what)
    raise DownloadError("the heartbeats are not here and cannot be fetched: " + "; ".join(reasons), hint=HELP.format(folder))
