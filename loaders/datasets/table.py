"""Dataset `table`: a user's own rows, from a CSV or an NPZ that --data-file names, without code.

A row is N samples of one lead or more. Its label is text or a whole number; without labels there is one class, for
detection. Rows are divided by class, by whole records, or as a column of the user's says.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data, DataSpec, Split, describe
from loaders.datasets import table_npz
from loaders.declaration import Request, TableOptions
from loaders.files.archives import reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import log
from loaders.formats import ucr
from loaders.formats.csv import columns
from loaders.formats.csv.rows import tell_dropped
from loaders.formats.labels import NO_LABEL, among, coded
from loaders.splits import by_row
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

SPLIT_NAMES = {"train": 0, "val": 1, "validation": 1, "test": 2}
Column = NDArray[np.str_] | None
Division = tuple[by_row.Indices, by_row.Indices, by_row.Indices, str]  # train, val and test, ascending; the rule


def knows_records(rows: Split) -> bool:
    """Whether each row states its record."""
    return bool((rows.record != "").all())


def stratified(rows: Split, column: Column, request: Request) -> Division:
    """20 % of each class test."""
    *parts, drawn = by_row.divide(rows.y, request.val_fraction, request.seed, record=rows.record, where=request.where)
    whose = "one record's rows stand on both sides" if knows_records(rows) else "whose rows they are is not known"
    return *parts, f"{by_row.at_random('rows', request.seed)}; {whose}; {drawn}"


def by_record(rows: Split, column: Column, request: Request) -> Division:
    """All rows of 20 % of the records test, and those of a part of the others validate."""
    holdout, seed, where = request.val_fraction, request.seed, request.where
    if not knows_records(rows):
        raise UsageError("--split record needs to know the records", where=where, hint="--record-column")
    rest, test = by_row.by_record(rows.record, by_row.TEST_FRACTION, seed, where=where)
    train, val, drawn = by_row.of_records(rows.record[rest], rows.y[rest], holdout, seed, where=where)
    counts = [len(np.unique(rows.record[part])) for part in (rest[train], rest[val], test)]
    rule = "whole records: {} train, {} validation, {} test, seed {}; no record stands on two sides".format(
        *counts, seed
    )
    rule += "" if by_row.is_part(holdout) else f"; {drawn}"
    return rest[train], rest[val], test, rule


def by_column(rows: Split, column: Column, request: Request) -> Division:
    """As the column says; where it has no validation rows they are drawn from train, whole records where these are
    known."""
    holdout, seed, where = request.val_fraction, request.seed, request.where
    side = _sides(rows, column, where)
    train, val, test = (np.flatnonzero(side == k) for k in range(3))
    if missing := next((name for name, part in (("train", train), ("test", test)) if not len(part)), None):
        hint = "train and test, and val where you have it"
        raise DataError(f"no row is {missing} in the split column", where=where, hint=hint)
    rule = "as the split column says"
    if knows_records(rows):
        _check_records(rows.record, side, where)
        rule += ", no record stands on two sides"
    if len(val) and not by_row.is_part(holdout):
        hint = "no --val-fold, or a column of train and test"
        raise UsageError("the split column says which rows validate", where=where, hint=hint)
    if len(val):
        return train, val, test, f"{rule}, validation too"
    if knows_records(rows):
        kept, held, drawn = by_row.of_records(rows.record[train], rows.y[train], holdout, seed, where=where)
    else:
        kept, held, drawn = by_row.drawn(rows.y[train], holdout, seed, where=where)
    return train[kept], train[held], test, f"{rule}; {drawn}"


SPLITS: dict[str, Callable[[Split, Column, Request], Division]] = {
    "stratified": stratified,
    "record": by_record,
    "column:NAME": by_column,
}


def _sides(rows: Split, column: NDArray[np.str_], where: str) -> NDArray[np.int64]:
    """0 train, 1 validation, 2 test (N,)."""
    names, inverse = np.unique(column, return_inverse=True)
    if strange := next((name for name in names if name.lower() not in SPLIT_NAMES), None):
        row = rows.index[(column == strange).argmax()]
        what = f"the split of row {row}, counted from 0, is '{strange[:40]}', expected train, val or test"
        raise DataError(what, where=where, hint="--split column:NAME with another column")
    return np.array([SPLIT_NAMES[name.lower()] for name in names])[inverse]


def _check_records(record: NDArray[np.str_], side: NDArray[np.int64], where: str) -> None:
    names, inverse = np.unique(record, return_inverse=True)
    on = np.zeros((len(names), 3), bool)
    on[inverse, side] = True
    if (several := np.flatnonzero(on.sum(1) > 1)).size:
        sides = " and ".join(
            name for name, there in zip(("train", "val", "test"), on[several[0]], strict=True) if there
        )
        what = f"the record {names[several[0]]} stands in {sides} at once; such records: {len(several)}"
        raise DataError(what, where=where, hint="a split column that keeps records whole, or --record-column none")


READERS: dict[str, Callable[..., Arrays]] = {
    **dict.fromkeys((".csv", ".csv.gz", *filter(None, ucr.FORMS)), columns.read_csv),
    ".npz": table_npz.read_npz,
}
READING = "2"  # raised when the same file is read in another way, so that older caches are not taken
WOULD_DO = (
    "--data-file my.csv (samples and a label in each row), my.csv.gz, a .ts, .tsv, .txt or .arff of UCR, or my.npz (x"
    " and y)"
)
RATE_HZ = 1.0  # where nobody says it: frequencies are then in cycles a sample


def load(request: Request) -> Data:
    """The rows of the user's file: x (N, C, T) float32 in the unit they have there, y (N,) in the order of the sorted
    labels.

    --label-column (else the last, or y) may be "none"; --record-column says whose row it is: without one a column that
    is called patient, subject, record, group or the like, and "none" takes none. --split is "stratified" (20 % of each
    class test), "record" (20 % of the records, the default where they are known) or "column:NAME" (train, val or test
    in that column). --rate-hz goes before the file's; the rate is 1 where neither says it. Raises UsageError for what
    is asked for and not there, DataError for what the file lacks.
    """
    path, asked = request.data_file, request.options
    if not path:
        raise UsageError("--dataset table is read from a file of your own", hint=WOULD_DO)
    kind, _, column = (asked.split or "").partition(":")
    name = "column:NAME" if kind == "column" and column else asked.split
    divide = pick("split", SPLITS, name) if name else None
    arrays, checksum = _parsed(path, request.cache, _columns(asked, request.bad_rows))
    tell_dropped(arrays, path)
    by_name, rows = _tell_recognised(arrays, path), Split.of(arrays)
    divide = divide or SPLITS["record" if "record" in arrays else "stratified"]
    train, val, test, rule = divide(rows, arrays.get("split"), request)
    spec = _spec(arrays, rows, request, rate_hz=asked.rate_hz, rule=rule + by_name)
    return Data(spec, rows.rows(train), rows.rows(val), lambda: rows.rows(test), checksum)


def undivided(request: Request, *, spec: DataSpec, lowest: int | None, typed: Sequence[str] = ()) -> tuple[Data, Split]:
    """All rows of a table with the classes of `spec`, not divided; the rate is that of `spec` where nobody states one.

    A split or record column that was not `typed`, but is the run's own, may be missing. `lowest` is the number of the
    first class where numbers stand for the names of classes, None where they do not. Raises as `load`.
    """
    path, asked = request.data_file, _columns(request.options, request.bad_rows)
    fewer = [{}, {"split": None}, {"record": None}, {"split": None, "record": None}]
    fewer = [less for less in fewer if not ("record" in less and "record_column" in typed)]
    arrays, checksum = _first_readable(
        [asked | less for less in fewer],
        lambda columns: _parsed(path, request.cache, columns, classes=spec.classes, lowest=lowest),
    )
    tell_dropped(arrays, path)
    rows, rate_hz = Split.of(arrays), request.options.rate_hz
    if "rate_hz" not in typed:
        rate_hz = None if "rate_hz" in arrays else spec.rate_hz
    found = _spec(arrays, rows, request, rate_hz=rate_hz, rule=_tell_recognised(arrays, path))
    return Data(found, rows, rows, lambda: rows, checksum), rows


def _columns(asked: TableOptions, bad_rows: str) -> dict[str, str | None]:
    """What a reader is asked for: the columns of label, record and split, and what is done about unusable rows."""
    label = None if asked.label_column == NO_LABEL else asked.label_column or ""
    split = (asked.split or "").partition(":")[2] or None
    return {"label": label, "record": asked.record_column, "split": split, "bad_rows": bad_rows}


def _first_readable(
    ways: Sequence[dict[str, str | None]], read: Callable[[dict[str, str | None]], tuple[Arrays, str]]
) -> tuple[Arrays, str]:
    """What `read` makes of the first of the `ways` for which all columns are there; else the first error."""
    first = None
    for way in ways:
        try:
            return read(way)
        except UsageError as error:
            first = first or error
    raise first


def _tell_recognised(arrays: Arrays, path: Path) -> str:
    """Log which column is taken for the record because it is called so; the same for the split rule, "" where none
    is."""
    if "recognised" not in arrays:
        return ""
    name = str(arrays["recognised"][0])
    log.info(
        "the rows of one %s stay together: the record column of %s, by its name; --record-column none for none",
        name,
        path,
    )
    return f"; records are those of the column {name}, by its name"


def _spec(arrays: Arrays, rows: Split, request: Request, *, rate_hz: float | None, rule: str) -> DataSpec:
    """The facts that the file states, and honest words for those that it does not."""
    _, channels, samples = rows.x.shape
    leads = arrays["leads"].tolist() if "leads" in arrays else [f"lead {i + 1}" for i in range(channels)]
    path, unit = request.data_file, str(arrays["unit"][0]) if "unit" in arrays else "as given"
    return describe(
        request, rule, samples=samples, leads=tuple(leads), classes=tuple(arrays["classes"].tolist()),
        rate_hz=_rate(rate_hz, arrays, path), unit=unit, source=path.name,
    )  # fmt: skip


def _rate(rate_hz: float | None, arrays: Arrays, path: Path) -> float:
    """The rate that was typed, else the file's, else 1, which is said: what works in Hz then works in cycles a
    sample."""
    if rate_hz is not None and not (math.isfinite(rate_hz) and rate_hz > 0):
        raise UsageError(f"--rate-hz is {rate_hz}, expected a number above 0", hint="samples a second")
    if rate_hz is None and "rate_hz" not in arrays:
        log.warning(
            "the rate of %s is not known and taken as %g Hz, a sample a second; --rate-hz states it", path, RATE_HZ
        )
        return RATE_HZ
    return float(rate_hz if rate_hz is not None else arrays["rate_hz"][0])


def _parsed(
    path: Path,
    cache: Path,
    asked: dict[str, str | None],
    *,
    classes: Sequence[str] | None = None,
    lowest: int | None = None,
) -> tuple[Arrays, str]:
    """The arrays of a file, coded, among `classes` where they are known, parsed once for each way; and their
    checksum."""
    with reading(path):
        if not path.is_file():
            what = "a folder is no table" if path.is_dir() else "there is no such file"
            raise DataError(what, where=str(path), hint=WOULD_DO)
    read = next((read for suffix, read in READERS.items() if path.name.lower().endswith(suffix)), None)
    if read is None:
        raise DataError(f"the file is none of {', '.join(READERS)}", where=str(path), hint=WOULD_DO)
    key = fingerprint(path, **asked, reading=READING, **({"among": f"{lowest} {classes}"} if classes else {}))
    code = coded if classes is None else partial(among, classes=classes, lowest=lowest)
    return cached(cache / f"rows-{key}", lambda: code(read(path, **asked), str(path)))
