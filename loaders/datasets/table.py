"""Dataset `table`: a user's own rows, from a CSV, Parquet, NPZ or NPY file (--data-file), without code.

A row is N samples of one lead or more. Its label is text or a whole number; rows without labels have one class, for
detection. Rows are divided by class, by whole records, or by a column of the user.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from loaders import splits
from loaders.base import Data, DataSpec, Split, describe
from loaders.datasets import table_npy, table_npz, table_parquet
from loaders.declaration import Request, TableOptions
from loaders.files.archives import reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import log
from loaders.formats import label_columns, ucr
from loaders.formats.csv import columns
from loaders.formats.csv.rows import warn_of_dropped
from loaders.formats.labels import NO_LABEL, coded, coded_among
from loaders.formats.lead_names import millivolts
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

SPLIT_NAMES = {"train": 0, "val": 1, "validation": 1, "test": 2}
Column = NDArray[np.str_] | None
Division = tuple[splits.Indices, splits.Indices, splits.Indices, str]  # train, val and test, ascending; the rule


def has_records(rows: Split) -> bool:
    """Whether each row states its record."""
    return bool((rows.record != "").all())


def stratified(rows: Split, column: Column, request: Request) -> Division:
    """20 % of each class test."""
    holdout, seed = request.val_fraction, request.seed
    train, val, test, drawn = splits.divide(rows.y, holdout, seed, record=rows.record, where=request.where)
    mixed = "one record's rows stand on both sides" if has_records(rows) else "whose rows they are is not known"
    return train, val, test, f"{splits.at_random('rows', seed)}; {mixed}; {drawn}"


def by_record(rows: Split, column: Column, request: Request) -> Division:
    """20 % of the records test, and a part of the others validate."""
    holdout, seed, where = request.val_fraction, request.seed, request.where
    if not has_records(rows):
        raise UsageError("--split record needs the record of each row", where=where, hint="--record-column")
    rest, test = splits.by_record(rows.record, splits.TEST_FRACTION, seed, where=where)
    train, val, drawn = splits.of_records(rows.record[rest], rows.y[rest], holdout, seed, where=where)
    counts = [len(np.unique(rows.record[part])) for part in (rest[train], rest[val], test)]
    rule = "whole records: {} train, {} validation, {} test".format(*counts)
    rule += f", seed {seed}; no record stands on two sides" + ("" if splits.is_part(holdout) else f"; {drawn}")
    return rest[train], rest[val], test, rule


def by_column(rows: Split, column: Column, request: Request) -> Division:
    """The split of the column; missing validation rows are drawn from train, as whole records if known."""
    holdout, seed, where = request.val_fraction, request.seed, request.where
    side = _sides(rows, cast("NDArray[np.str_]", column), where)
    train, val, test = (np.flatnonzero(side == k) for k in range(3))
    if missing := next((name for name, part in (("train", train), ("test", test)) if not len(part)), None):
        hint = "train and test, and val if you have it"
        raise DataError(f"no row is {missing} in the split column", where=where, hint=hint)
    rule = "as the split column says"
    if has_records(rows):
        _check_records(rows.record, side, where)
        rule += ", no record stands on two sides"
    if len(val) and not splits.is_part(holdout):
        hint = "no --val-fold, or a column of train and test"
        raise UsageError("the split column says which rows validate", where=where, hint=hint)
    if len(val):
        return train, val, test, f"{rule}, validation too"
    if has_records(rows):
        kept, held, drawn = splits.of_records(rows.record[train], rows.y[train], holdout, seed, where=where)
    else:
        kept, held, drawn = splits.drawn(rows.y[train], holdout, seed, where=where)
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
        what = f"the record {names[several[0]]} is in {sides} at once; such records: {len(several)}"
        raise DataError(what, where=where, hint="a split column that keeps records whole, or --record-column none")


class Form(NamedTuple):
    """How a file of an ending is read: into arrays, and the names of its columns, if they may have names."""

    read: Callable[..., Arrays]
    names: Callable[..., columns.Names | None] = lambda *_, **__: None


FORMS: dict[str, Form] = {
    **dict.fromkeys((".csv", ".csv.gz", ".tsv.gz", *filter(None, ucr.FORMS)), Form(columns.read_csv, columns.names_in)),
    ".npz": Form(table_npz.read_npz),
    ".npy": Form(table_npy.read_npy),
    ".parquet": Form(table_parquet.read_parquet, table_parquet.names_in),
}
READING = "3"  # raised when the same file is read in another way, so that older caches are not used
WOULD_DO = (
    "--data-file my.csv (samples and a label in each row), my.csv.gz, my.tsv, a .ts, .txt or .arff of UCR, my.parquet,"
    " my.npz (x and y), or my.npy (with my_labels.npy)"
)
NO_UNIT = "as given"  # the unit of a file without a stated one
RATE_HZ = 1.0  # of a file without a stated rate: frequencies are then in cycles per sample


def _path(request: Request) -> Path:
    if not request.data_file:
        raise UsageError("--dataset table needs your own file", hint=WOULD_DO)
    return request.data_file


def load(request: Request) -> Data:
    """The rows of the user's file: x (N, C, T) float32 in the file's unit, y (N,) in the order of the sorted labels.

    --label-column (default: the last, or y) may be "none". --record-column has the record of each row; the default is a
    column with a name such as patient, subject, record or group, and "none" ignores it. --split is "stratified" (20 %
    of each class test), "record" (20 % of the records, the default if they are known) or "column:NAME" (train, val or
    test in that column). --rate-hz replaces the file's rate; the default is 1. Raises UsageError for columns that do
    not exist, DataError for faults of the file.
    """
    path, asked = _path(request), request.options
    kind, _, column = (asked.split or "").partition(":")
    name = "column:NAME" if kind == "column" and column else asked.split
    divide = pick("split", SPLITS, name) if name else None
    parts = _columns(asked, request.bad_rows)
    arrays, checksum = _parsed(path, request.cache, parts)
    warn_of_dropped(arrays, path)
    by_name, rows = _log_record_column(arrays, path), Split.of(arrays)
    divide = divide or SPLITS["record" if "record" in arrays else "stratified"]
    train, val, test, rule = divide(rows, arrays.get("split"), request)
    spec = _spec(arrays, rows, request, rate_hz=asked.rate_hz, rule=rule + by_name)
    if names := form_of(path).names(path, **_named(parts)):
        label = label_columns.marked(names.label, parts["label"])
        spec = replace(spec, columns=names.samples, label_name=label, record_name=names.record)
    return Data(spec, rows.rows(train), rows.rows(val), lambda: rows.rows(test), checksum)


def undivided(request: Request, *, spec: DataSpec, lowest: int | None, typed: Sequence[str] = ()) -> tuple[Data, Split]:
    """All rows of a table with the classes of `spec`, not divided; the rate of `spec` is the default, and another unit
    of voltage is converted to that of `spec`.

    A split or record column of the run that was not `typed` may be missing. `lowest` is the number of the first class
    if numbers stand for names of classes, else None. Raises the errors of `load`.
    """
    path, asked = _path(request), _columns(request.options, request.bad_rows)
    fewer: list[dict[str, str | None]] = [{}, {"split": None}, {"record": None}, {"split": None, "record": None}]
    fewer = [less for less in fewer if not ("record" in less and "record_column" in typed)]
    (arrays, checksum), parts = _first_readable(
        [asked | less for less in fewer],
        lambda columns: _parsed(path, request.cache, columns, classes=spec.classes, lowest=lowest),
    )
    warn_of_dropped(arrays, path)
    rows, rate_hz = _in_order(Split.of(arrays), path, parts, spec.columns), request.options.rate_hz
    if "rate_hz" not in typed:
        rate_hz = None if "rate_hz" in arrays else spec.rate_hz
    found = _spec(arrays, rows, request, rate_hz=rate_hz, rule=_log_record_column(arrays, path))
    if (factor := unit_factor(found.unit, spec.unit, path)) is not None:
        told = f"; {found.unit} converted to {spec.unit}, whose rounding may hide rows of the run" * (factor != 1)
        found = replace(found, unit=spec.unit, split_rule=found.split_rule + told)
        rows = replace(rows, x=scaled(rows.x, factor))
    return Data(found, rows, rows, lambda: rows, checksum), rows


def unit_factor(unit: str, wanted: str, path: Path) -> float | None:
    """The factor from samples of a file to the unit `wanted`, logged unless it is 1; None if one of the two is no unit
    of voltage."""
    of, to = millivolts(unit), millivolts(wanted)
    if of is None or to is None:
        return None
    if (factor := of / to) != 1:
        log.info("the samples of %s are in %s, the run's in %s: multiplied by %g", path, unit, wanted, factor)
    return factor


def scaled(x: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """x times the factor; a small one divides, so that whole microvolts become the same float32 as decimal mV."""
    if factor == 1:
        return x
    return x / np.float32(1 / factor) if factor < 1 else x * np.float32(factor)


def _columns(asked: TableOptions, bad_rows: str) -> dict[str, str | None]:
    """The arguments of a reader: the columns of label, record and split, and the treatment of unusable rows."""
    label = None if asked.label_column == NO_LABEL else asked.label_column or ""
    split = (asked.split or "").partition(":")[2] or None
    ids = {"ids": asked.id_columns} if asked.id_columns else {}  # without, an older cache has the same name
    return {"label": label, "record": asked.record_column, "split": split, "bad_rows": bad_rows, **ids}


def _named(asked: dict[str, str | None]) -> dict[str, str | None]:
    """The arguments of a reader of names."""
    return {part: name for part, name in asked.items() if part != "bad_rows"}


def form_of(path: Path, hint: str = WOULD_DO) -> Form:
    """The form of a file. Raises DataError for a folder, a missing file and another ending."""
    with reading(path):
        if not path.is_file():
            what = "a folder is no table" if path.is_dir() else "there is no such file"
            raise DataError(what, where=str(path), hint=hint)
    form = next((form for ending, form in FORMS.items() if path.name.lower().endswith(ending)), None)
    if form is None:
        raise DataError(f"the file is none of {', '.join(FORMS)}", where=str(path), hint=hint)
    return form


def _first_readable(
    ways: Sequence[dict[str, str | None]], read: Callable[[dict[str, str | None]], tuple[Arrays, str]]
) -> tuple[tuple[Arrays, str], dict[str, str | None]]:
    """The result of `read` with the first of the `ways` for which all columns exist, and that way; else the first
    error."""
    errors = []
    for way in ways:
        try:
            return read(way), way
        except UsageError as error:
            errors.append(error)
    raise errors[0]


def _in_order(rows: Split, path: Path, asked: dict[str, str | None], columns: Sequence[str]) -> Split:
    """The rows with their samples in the order of the run's `columns`, if both have names."""
    names = form_of(path).names(path, **_named(asked)) if columns else None
    if names is None or names.samples == tuple(columns):
        return rows
    if sorted(names.samples) != sorted(columns):
        log.warning("the columns of %s are not called as the run's: they are taken in their order", path)
        return rows
    log.info("the columns of %s are in another order than the run's: they are taken by name", path)
    return replace(rows, x=np.ascontiguousarray(rows.x[:, :, [names.samples.index(name) for name in columns]]))


def _log_record_column(arrays: Arrays, path: Path) -> str:
    """Log the column that is the record by its name; a part of the split rule, "" without such a column."""
    if "recognised" not in arrays:
        return ""
    name = str(arrays["recognised"][0])
    log.info("column %s of %s is the record, by its name; --record-column none ignores it", name, path)
    return f"; records are those of the column {name}, by its name"


def _spec(arrays: Arrays, rows: Split, request: Request, *, rate_hz: float | None, rule: str) -> DataSpec:
    """The facts that the file states, and plain words for unknown ones."""
    _, channels, samples = rows.x.shape
    leads = arrays["leads"].tolist() if "leads" in arrays else [f"lead {i + 1}" for i in range(channels)]
    path, unit = _path(request), str(arrays["unit"][0]) if "unit" in arrays else NO_UNIT
    return describe(
        request, rule, samples=samples, leads=tuple(leads), classes=tuple(arrays["classes"].tolist()),
        rate_hz=_rate(rate_hz, arrays, path), unit=unit, source=path.name,
    )  # fmt: skip


def _rate(rate_hz: float | None, arrays: Arrays, path: Path) -> float:
    """The typed rate, else the file's, else 1 with a warning: frequencies are then in cycles per sample."""
    if rate_hz is not None and not (math.isfinite(rate_hz) and rate_hz > 0):
        raise UsageError(f"--rate-hz is {rate_hz}, expected a number above 0", hint="samples a second")
    if rate_hz is None and "rate_hz" not in arrays:
        log.warning("the rate of %s is unknown, %g Hz is assumed; --rate-hz states it", path, RATE_HZ)
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
    """The arrays of a file with coded labels, among known `classes` if given, and their checksum; cached."""
    read = form_of(path).read
    key = fingerprint(
        *(table_npy.files_of(path) if read is table_npy.read_npy else [path]),
        **asked,
        reading=READING,
        **({"among": f"{lowest} {classes}"} if classes else {}),
    )
    code = coded if classes is None else partial(coded_among, classes=classes, lowest=lowest)
    return cached(cache / f"rows-{key}", lambda: code(read(path, **asked), str(path)))
