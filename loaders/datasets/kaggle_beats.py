"""Datasets `ecg`, `ecg_bin` and `ptbdb`: beats in the layout of the Kaggle heartbeat files.

A row is 187 samples at 125 Hz in [0, 1] and a label (Kachuee et al., arXiv 1805.00794). `ecg` (classes N S V F Q) and
`ecg_bin` (normal, abnormal) are read from mitbih_train.csv and mitbih_test.csv, loose or in their zip, or built from
the records of the PhysioNet MIT-BIH database. `ptbdb` has beats of healthy people and of patients, most after a
myocardial infarction, from lead II of the PTB Diagnostic ECG Database (Bousseljot et al., Biomedizinische Technik 40,
S1, 1995; Goldberger et al., Circulation 101(23), 2000): ptbdb_normal.csv (4,046 rows) and ptbdb_abnormal.csv (10,506).
"""

import hashlib
from dataclasses import replace

import numpy as np

from loaders.base import Data, Split
from loaders.declaration import Request
from loaders.families import row_forms, rows
from loaders.files.archives import reading
from loaders.files.sources import names_in
from loaders.formats import wfdb
from loaders.formats.csv.rows import RowLayout, read_file
from toolbox.errors import DataError

TRAIN, TEST = "mitbih_train.csv", "mitbih_test.csv"
TEST_BEATS = 21_892  # of 109,446, as in Kaggle's file
TEST_SEED = 42  # of the test set built from records, the same in every run
LAYOUT = RowLayout(row_forms.SAMPLES, row_forms.CLASSES)


def load(request: Request) -> Data:
    """`ecg` or `ecg_bin`: x (N, 1, 187) float32 in [0, 1]; the test rows do not depend on the seed.

    The splits of `ecg_bin` are stratified by the five classes too. Raises DataError for unusable files.
    """
    source, last = request.source, len(request.dataset.classes) - 1
    names = names_in(source, request.dataset.files)

    def labelled(split: Split) -> Split:
        return replace(split, y=np.minimum(split.y, last))  # with two classes, all but N are the second

    if not (bool({TRAIN, TEST} & names) if source.is_dir() else {TRAIN, TEST} <= names):
        arrays, checksum = wfdb.parsed(source, wfdb.OF_RECORDS, request.cache / "records", row_forms.kaggle_beats)
        beats = Split.of(arrays)
        test_rows = round(TEST_BEATS / 109_446 * len(beats))
        return rows.as_data(
            request, labelled(beats), checksum, rule="beats split at random, stratified by class, 80/20",
            strata=beats.y, test_rows=test_rows, test_seed=TEST_SEED,
        )  # fmt: skip
    if missing := [name for name in (TRAIN, TEST) if name not in names]:
        raise _missing(missing[0], request)
    train, checksum = _read(request, TRAIN, LAYOUT)
    rule = "beats split at random by the publisher (Kaggle's two files)"
    open_test = lambda: labelled(_read(request, TEST, LAYOUT)[0])  # noqa: E731
    return rows.as_data(request, labelled(train), checksum, strata=train.y, open_test=open_test, rule=rule)


def load_ptbdb(request: Request) -> Data:
    """`ptbdb`: the rows of the normal file, then of the abnormal one; each file has one label.

    The seed draws the test rows, as no official split exists.
    """
    with reading(request.source):
        names = names_in(request.source, request.dataset.files)
    splits, checksums = [], []
    for label, (name, own) in enumerate(zip(request.dataset.files.marks, request.dataset.classes, strict=True)):
        if name not in names:
            raise _missing(name, request)
        split, checksum = _read(request, name, RowLayout(row_forms.SAMPLES, (own,), lowest=label))
        splits.append(replace(split, y=split.y + label))
        checksums.append(checksum)
    return rows.as_data(request, Split.joined(*splits), hashlib.sha256("".join(checksums).encode()).hexdigest())


def _read(request: Request, name: str, layout: RowLayout) -> tuple[Split, str]:
    return read_file(request.source, name, request.cache, layout=layout, bad_rows=request.bad_rows)


def _missing(name: str, request: Request) -> DataError:
    hint = "both files of the Kaggle dataset in one folder"
    return DataError(f"{name} is missing", where=str(request.source), hint=hint)
