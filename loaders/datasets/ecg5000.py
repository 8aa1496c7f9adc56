"""Dataset `ecg5000`: 5,000 beats of one patient with heart failure, five classes, for classification or as anomalies.

Of the UCR archive (Dau et al., IEEE/CAA J. Autom. Sinica 6(6):1293-1305, 2019; Chen et al. 2015), from record chf07 of
the BIDMC Congestive Heart Failure Database (Goldberger et al., Circulation 101(23), 2000). Each beat was interpolated
to 140 samples and brought to mean 0 and variance 1, however long and high it was: its rate is lost. `rate_hz` is
nominal, as if a beat lasted 1 s.
"""

import hashlib
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from loaders.base import Data, DataSpec, Split
from loaders.families import one_class
from loaders.files.archives import reading
from loaders.files.sources import Remote, Wanted, fetch_first, locate, log, names_in, search
from loaders.formats import ucr
from loaders.formats.csv.rows import RowLayout, read_file
from loaders.splits import by_row
from loaders.splits.by_row import Holdout
from toolbox.errors import DataError
from toolbox.registry import pick

NAME = "ECG5000"
TRAIN, TEST = "ECG5000_TRAIN", "ECG5000_TEST"
SAMPLES, RATE_HZ = 140, 140.0
CLASSES = ("Normal", "R-on-T PVC", "PVC", "SP", "UB")
TEST_FRACTION = 0.2  # of the train file, where it is all there is
REMOTES = (Remote("ECG5000.zip", "https://timeseriesclassification.com/aeon-toolkit/ECG5000.zip"),)
HELP = (
    "put ECG5000_TRAIN and ECG5000_TEST (.ts, .tsv, .txt or .arff), or their zip, into {}, or name it with --data-file"
)
WANTED = Wanted(
    files=tuple(f"{side}{suffix}" for side in (TRAIN, TEST) for suffix in ucr.FORMS),
    enough=lambda names: any(f"{TRAIN}{suffix}" in names for suffix in ucr.FORMS),
    what=f"no {TRAIN} is",
    would_do=f"a folder or zip with {TRAIN} and {TEST}, each as .ts, .tsv, .txt or .arff",
)
OTHER_NORMAL = "another --normal-class"
Sides = tuple[Split, Split, Callable[[], Split], str]  # train, validation, test, and how they came about


def load(
    root: Path,
    *,
    data_file: Path | None,
    val_fraction: Holdout,
    seed: int,
    bad_rows: str = "error",
    split: str | None = None,
    detect: bool = False,
    normal_class: str | None = None,
) -> Data:
    """The beats from `data_file`, else from <root>/ecg5000, else fetched into it: x (N, 1, 140) float32, y (N,) in
    0..4.

    `split` is "official" (the train file trains and validates, the test file tests) or "pooled" (both are divided with
    `seed` into 85, 7.5 and 7.5 %). To `detect` anomalies pooled is the default: it divides the rows of `normal_class`
    alone, all others are in the test. Where the test file is missing and no split was asked for, the train file is
    divided, with a warning. Raises UsageError for a name that is none, DataError, DownloadError or ResourceError for
    files that cannot be had or used.
    """
    divide = pick("split", SPLITS, split or ("pooled" if detect else "official"))
    normal = CLASSES.index(one_class.normal_class(CLASSES, normal_class)) if detect else None
    folder = root / "ecg5000"
    with reading(data_file or folder):
        source = _located(data_file) if data_file else search(folder, WANTED)
    source = source or fetch_first(REMOTES, folder, WANTED, HELP.format(folder))
    with reading(source):
        files = _files(source, data_file)
    _check_complete(files, source, split)
    read = partial(_read, source, folder / "cache", bad_rows)
    train, checksum = read(files[TRAIN])
    test_file = partial(read, files[TEST]) if TEST in files else None
    if test_file and divide is _pooled:
        checksum = hashlib.sha256((checksum + test_file()[1]).encode()).hexdigest()
    how = {"normal": normal, "val_fraction": val_fraction, "seed": seed, "where": str(source)}
    *sides, rule = divide(train, test_file and (lambda: test_file()[0]), **how)
    return Data(_spec(rule), *sides, checksum)


def _located(path: Path) -> Path:
    """The folder or zip that a user points at; what is of another dataset is answered with the way to read it."""
    try:
        return locate(path, WANTED)
    except DataError:
        if path.exists():
            is_file = path.is_file() and not zipfile.is_zipfile(path)
            ucr.check_archive(path, NAME, () if is_file else names_in(path, WANTED))
        raise


def _spec(rule: str) -> DataSpec:
    return DataSpec(
        name="ecg5000",
        view="beat",
        channels=1,
        samples=SAMPLES,
        rate_hz=RATE_HZ,
        unit="standard deviations of the beat",
        leads=("ECG",),
        classes=CLASSES,
        importance=(1.0,) * len(CLASSES),
        source=(
            "ECG5000 of the UCR archive, from record chf07 of BIDMC CHF; the rate is nominal, as if a beat lasted 1 s"
        ),
        licence="UCR archive: to be cited; BIDMC: ODC-By 1.0",
        split_rule=f"{rule}; all beats are one patient's",
    )


def _official(
    train: Split,
    open_test: Callable[[], Split] | None,
    *,
    normal: int | None,
    val_fraction: Holdout,
    seed: int,
    where: str,
) -> Sides:
    """The files as they are; where there is but one, 20 % of it is the test set."""
    rule = "the archive's train and test files"
    if not open_test:
        rest, picked = by_row.stratified(train.y, round(TEST_FRACTION * len(train)), seed, where=where)
        train, held = train.rows(rest), train.rows(picked)
        open_test = lambda: held  # noqa: E731
        rule = f"80/20 of the train file alone, stratified by class, seed {seed}"
    rest, val, drawn = by_row.drawn(train.y, val_fraction, seed, where=where)
    return train.rows(rest), train.rows(val), open_test, f"{rule}; {drawn}"


def _pooled(
    train: Split,
    open_test: Callable[[], Split] | None,
    *,
    normal: int | None,
    val_fraction: Holdout,
    seed: int,
    where: str,
) -> Sides:
    """All rows, or all of the normal class, in three; a `val_fraction` above 0 does not count."""
    pool = Split.joined(train, open_test()) if open_test else train
    which, others = np.arange(len(pool)), np.arange(0)
    if normal is not None:
        which, others = np.flatnonzero(pool.y == normal), np.flatnonzero(pool.y != normal)
        if not (len(which) and len(others)):
            lacks = "no anomaly to find" if len(which) else "nothing to train on"
            raise DataError(
                f"{'every' if len(which) else 'no'} row is {CLASSES[normal]}: {lacks}", where=where, hint=OTHER_NORMAL
            )
    train, val, held = by_row.three(pool.y[which], seed, where=where)
    test = pool.rows(np.sort(np.concatenate([which[held], others])))
    rows = "rows" if normal is None else f"{CLASSES[normal]} rows"
    rule = (
        f"{rows} of {'both files pooled' if open_test else 'the train file alone'}, 85 % train, 7.5 % validation, 7.5 %"
        " test"
    )
    rule += ", stratified by class" if normal is None else f", the {len(others):,} rows of other classes all in test"
    rule += f", seed {seed}"
    if not by_row.is_part(val_fraction):
        rest = np.union1d(train, val)
        *sides, drawn = by_row.drawn(pool.y[which[rest]], val_fraction, seed, where=where)
        train, val, rule = *(rest[side] for side in sides), f"{rule}; but of the first two {drawn}"
    return pool.rows(which[train]), pool.rows(which[val]), lambda: test, rule


SPLITS: dict[str, Callable[..., Sides]] = {"official": _official, "pooled": _pooled}


def _files(source: Path, chosen: Path | None) -> dict[str, str]:
    """The train and the test file in a source, by side; the form of the file that was `chosen`, where one was, comes
    first."""
    there = names_in(source, WANTED)
    forms = sorted(ucr.FORMS, key=lambda suffix: not (chosen and chosen.name in (TRAIN + suffix, TEST + suffix)))
    found = {side: [side + suffix for suffix in forms if side + suffix in there] for side in (TRAIN, TEST)}
    return {side: names[0] for side, names in found.items() if names}


def _check_complete(files: dict[str, str], source: Path, split: str | None) -> None:
    """The train file is needed; the test file where the official split was asked for, else its lack is said."""
    missing = next((side for side in (TRAIN, TEST) if side not in files), None)
    if missing == TRAIN or (missing and split == "official"):
        raise DataError(f"{missing} is missing", where=str(source), hint="both files of the archive in one folder")
    if missing:
        log.warning("%s is missing in %s: test rows are drawn from %s", TEST, source, TRAIN)


def _read(source: Path, cache: Path, bad_rows: str, name: str) -> tuple[Split, str]:
    suffix = Path(name).suffix
    layout = RowLayout(SAMPLES, CLASSES, lowest=1, label_first=ucr.label_first(suffix), hint=WANTED.would_do)
    as_csv = partial(ucr.as_csv, suffix=suffix, name=NAME, samples=SAMPLES)
    return read_file(source, name, cache, layout=layout, bad_rows=bad_rows, as_csv=as_csv)
