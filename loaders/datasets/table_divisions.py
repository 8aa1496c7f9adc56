"""How a user's rows become train, validation and test: by class, by whole records, or as a column of theirs says.

Each function takes the rows and the texts of the split column, and returns three ascending index arrays and the rule in
words.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from loaders.base import Split
from loaders.splits import by_row, holdout
from loaders.splits.holdout import Holdout
from toolbox.errors import DataError, UsageError

TEST_FRACTION = 0.2
SIDES = {"train": 0, "val": 1, "validation": 1, "test": 2}
Division = tuple[by_row.Indices, by_row.Indices, by_row.Indices, str]
Column = NDArray[np.str_] | None


def knows_records(rows: Split) -> bool:
    """Whether it is known whose row each is."""
    return bool((rows.record != "").all())


def stratified(rows: Split, column: Column, *, val_fraction: Holdout, seed: int, where: str) -> Division:
    """20 % of each class test."""
    rest, test = by_row.stratified(rows.y, round(TEST_FRACTION * len(rows)), seed, where=where)
    train, val, drawn = holdout.drawn(rows.y[rest], val_fraction, seed, record=rows.record[rest], where=where)
    whose = "one record's rows stand on both sides" if knows_records(rows) else "whose rows they are is not known"
    rule = f"rows split at random, stratified by class, 80/20, seed {seed}; {whose}; {drawn}"
    return rest[train], rest[val], test, rule


def by_record(rows: Split, column: Column, *, val_fraction: Holdout, seed: int, where: str) -> Division:
    """All rows of 20 % of the records test, and those of `val_fraction` of the others validate."""
    if not knows_records(rows):
        raise UsageError("--split record needs to know the records", where=where, hint="--record-column")
    rest, test = by_row.by_record(rows.record, TEST_FRACTION, seed, where=where)
    train, val, drawn = holdout.of_records(rows.record[rest], rows.y[rest], val_fraction, seed, where=where)
    counts = [len(np.unique(rows.record[side])) for side in (rest[train], rest[val], test)]
    rule = "whole records: {} train, {} validation, {} test, seed {}; no record stands on two sides".format(
        *counts, seed
    )
    rule += "" if holdout.is_part(val_fraction) else f"; {drawn}"
    return rest[train], rest[val], test, rule


def by_column(rows: Split, column: Column, *, val_fraction: Holdout, seed: int, where: str) -> Division:
    """As the column says; where it has no validation rows they are drawn from train, whole records where these are
    known."""
    side = _sides(rows, column, where)
    train, val, test = (np.flatnonzero(side == k) for k in range(3))
    if missing := next((name for name, part in (("train", train), ("test", test)) if not len(part)), None):
        raise DataError(
            f"no row is {missing} in the split column", where=where, hint="train and test, and val where you have it"
        )
    rule = "as the split column says"
    if knows_records(rows):
        _check_records(rows.record, side, where)
        rule += ", no record stands on two sides"
    if len(val) and not holdout.is_part(val_fraction):
        raise UsageError(
            "the split column says which rows validate",
            where=where,
            hint="no --val-fold, or a column of train and test",
        )
    if len(val):
        return train, val, test, f"{rule}, validation too"
    if knows_records(rows):
        kept, held, drawn = holdout.of_records(rows.record[train], rows.y[train], val_fraction, seed, where=where)
    else:
        kept, held, drawn = holdout.drawn(rows.y[train], val_fraction, seed, where=where)
    return train[kept], train[held], test, f"{rule}; {drawn}"


SPLITS: dict[str, Callable[..., Division]] = {"stratified": stratified, "record": by_record, "column:NAME": by_column}


def _sides(rows: Split, column: NDArray[np.str_], where: str) -> NDArray[np.int64]:
    """0 train, 1 validation, 2 test (N,)."""
    names, inverse = np.unique(column, return_inverse=True)
    if strange := next((name for name in names if name.lower() not in SIDES), None):
        row = rows.index[(column == strange).argmax()]
        what = f"the split of row {row}, counted from 0, is '{strange[:40]}', expected train, val or test"
        raise DataError(what, where=where, hint="--split column:NAME with another column")
    return np.array([SIDES[name.lower()] for name in names])[inverse]


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
