"""Dataset `ecg5000`: 5,000 beats of one patient with heart failure, five classes, for classification or as anomalies.

From the UCR archive (Dau et al., IEEE/CAA J. Autom. Sinica 6(6):1293-1305, 2019; Chen et al. 2015), from record chf07
of the BIDMC Congestive Heart Failure Database (Goldberger et al., Circulation 101(23), 2000). Each beat was
interpolated to 140 samples and scaled to mean 0 and variance 1, so its rate is unknown: `rate_hz` is nominal, for beats
of 1 s.
"""

import hashlib
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from loaders import splits
from loaders.base import Data, Split, describe
from loaders.declaration import Files, Request
from loaders.families import rows
from loaders.files.archives import reading
from loaders.files.sources import log, names_in
from loaders.formats import ucr
from loaders.formats.csv.rows import RowLayout, read_file
from toolbox.errors import DataError
from toolbox.registry import pick

NAME = "ECG5000"
TRAIN, TEST = "ECG5000_TRAIN", "ECG5000_TEST"
SAMPLES = 140
SHARES = "85 % train, 7.5 % validation, 7.5 % test"
OpenTest = Callable[[], Split] | None


def load(request: Request) -> Data:
    """x (N, 1, 140) float32, y (N,) in 0..4.

    --split is "official" (the train file trains and validates, the test file tests) or "pooled" (both are divided with
    the seed into 85, 7.5 and 7.5 %). For anomaly detection the default is pooled: it divides the rows of the normal
    class, and all others test. Without a test file and --split, the train file is divided, with a warning. Raises
    UsageError for an unknown split, DataError for unusable files.
    """
    split = request.options.split
    divide = pick("split", SPLITS, split or ("pooled" if request.normal_class else "official"))
    source = request.source
    with reading(source):
        files = _files(request)
    missing = next((side for side in (TRAIN, TEST) if side not in files), None)
    if missing == TRAIN or (missing and split == "official"):
        raise DataError(f"{missing} is missing", where=str(source), hint="both files of the archive in one folder")
    if missing:
        log.warning("%s is missing in %s: test rows are drawn from %s", TEST, source, TRAIN)
    train, checksum = _read(request, files[TRAIN])
    if missing:
        return divide(request, train, checksum, None)
    if divide is _pooled:
        checksum = hashlib.sha256((checksum + _read(request, files[TEST])[1]).encode()).hexdigest()
    return divide(request, train, checksum, lambda: _read(request, files[TEST])[0])


def diagnose(path: Path, files: Files) -> None:
    """Raise DataError, with the right command, if a path has another dataset of the archive."""
    is_loose = path.is_file() and not zipfile.is_zipfile(path)
    ucr.check_archive(path, NAME, () if is_loose else names_in(path, files))


def _official(request: Request, train: Split, checksum: str, open_test: OpenTest) -> Data:
    """The split of the files; 20 % of the train file test if it is alone."""
    alone = f"80/20 of the train file alone, stratified by class, seed {request.seed}"
    rule = "the archive's train and test files" if open_test else alone
    return rows.as_data(request, train, checksum, open_test=open_test, rule=rule)


def _pooled(request: Request, train: Split, checksum: str, open_test: OpenTest) -> Data:
    """All rows, or all of the normal class, in three; a validation fraction above 0 is ignored."""
    seed, holdout, normal, where = request.seed, request.val_fraction, request.normal_class, request.where
    pool = Split.joined(train, open_test()) if open_test else train
    of = "both files pooled" if open_test else "the train file alone"
    rule = f"rows of {of}, {SHARES}, stratified by class, seed {seed}"
    which, others = np.arange(len(pool)), np.arange(0)
    if normal:
        is_normal = pool.y == request.dataset.classes.index(normal)
        which, others = np.flatnonzero(is_normal), np.flatnonzero(~is_normal)
        rule = f"{normal} rows of {of}, {SHARES}, the {len(others):,} rows of other classes all in test, seed {seed}"
    if normal and not (len(which) and len(others)):
        what = (
            f"every row is {normal}: no anomaly to find" if len(which) else f"no row is {normal}: nothing to train on"
        )
        raise DataError(what, where=where, hint="another --normal-class")
    first, second, held = splits.three(pool.y[which], seed, where=where)
    test = pool.rows(np.sort(np.concatenate([which[held], others])))
    if not splits.is_part(holdout):
        rest = np.union1d(first, second)
        first, second, drawn = splits.drawn(pool.y[which[rest]], holdout, seed, where=where)
        first, second, rule = rest[first], rest[second], f"{rule}; but of the first two {drawn}"
    spec = describe(request, f"{rule}; {request.dataset.remark}", samples=SAMPLES)
    return Data(spec, pool.rows(which[first]), pool.rows(which[second]), lambda: test, checksum)


SPLITS: dict[str, Callable[[Request, Split, str, OpenTest], Data]] = {"official": _official, "pooled": _pooled}


def _files(request: Request) -> dict[str, str]:
    """The train and the test file in a source; the form of the user's file comes first."""
    there, pointed = names_in(request.source, request.dataset.files), request.data_file and request.data_file.name
    forms = sorted(ucr.FORMS, key=lambda suffix: pointed not in (TRAIN + suffix, TEST + suffix))
    found = {side: [side + suffix for suffix in forms if side + suffix in there] for side in (TRAIN, TEST)}
    return {side: names[0] for side, names in found.items() if names}


def _read(request: Request, name: str) -> tuple[Split, str]:
    suffix, hint = Path(name).suffix, f"a folder or zip with {request.dataset.files.needs}"
    layout = RowLayout(SAMPLES, request.dataset.classes, lowest=1, label_first=ucr.label_first(suffix), hint=hint)
    as_csv = partial(ucr.as_csv, suffix=suffix, name=NAME, samples=SAMPLES)
    return read_file(request.source, name, request.cache, layout=layout, bad_rows=request.bad_rows, as_csv=as_csv)
