"""Which of the training rows validate: a part of them, one of several folds, or none. Every dataset asks here.

    train, val, rule = holdout.drawn(y, Fold(2, 5), 42, record=record)

The folds of one seed have no row in common and hold every training row between them; the test side knows nothing of
them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loaders.splits import by_row, shares
from loaders.splits.by_row import Indices
from toolbox.errors import DataError, UsageError

MOST_FOLDS = 1000
NONE = "no row validates, all that are not test are trained on"


@dataclass(frozen=True)
class Fold:
    """Fold `number`, from 1 on, of `folds`, as --val-fold says it."""

    number: int
    folds: int

    @classmethod
    def parse(cls, text: str) -> "Fold":
        """The fold that "2/5" means; a UsageError for any other text."""
        number, slash, folds = text.partition("/")
        whole = slash and all(part.isascii() and part.isdigit() and len(part) < 5 for part in (number, folds))
        if not (whole and 2 <= int(folds) <= MOST_FOLDS and 1 <= int(number) <= int(folds)):
            raise UsageError(f"--val-fold {text[:40]} is no fold N of K, 2 or more of them", hint="--val-fold 1/5")
        return cls(int(number), int(folds))

    def __str__(self) -> str:
        return f"fold {self.number} of {self.folds}"


Holdout = float | Fold  # the part of the training rows that validates, 0 for none, or a fold of them


def is_part(holdout: Holdout) -> bool:
    """Whether a part of the training rows validates, as --val-fraction says it."""
    return not isinstance(holdout, Fold) and holdout > 0


def drawn(
    labels: NDArray[np.int64], holdout: Holdout, seed: int, *, record: NDArray[np.str_] | None = None, where: str = ""
) -> tuple[Indices, Indices, str]:
    """Ascending index arrays of those rows (N,) that train and those that validate, classes in like shares, and the
    rule.

    A fold has whole records where `record` (N,) names them and one has several rows. Raises DataError, with `where`,
    where a side would be empty that is asked for.
    """
    if isinstance(holdout, Fold):
        whole = record is not None and bool((record != "").all()) and len(np.unique(record)) < len(record)
        number = (
            of_groups(record, labels, holdout, seed, where=where)
            if whole
            else _of_rows(labels, holdout, seed, where=where)
        )
        rule = f"validation is {holdout} of train, {'whole records, ' * whole}stratified by class, seed {seed}"
        return np.flatnonzero(number != holdout.number), np.flatnonzero(number == holdout.number), rule
    if not holdout:
        return np.arange(len(labels)), np.arange(0), NONE
    train, val = by_row.stratified(labels, round(holdout * len(labels)), seed, where=where)
    return train, val, by_row.validation_rule(holdout, seed)


def of_records(
    record: NDArray[np.str_], labels: NDArray[np.int64], holdout: Holdout, seed: int, *, where: str = ""
) -> tuple[Indices, Indices, str]:
    """The same with whole records (N,) in any case; a part of the training rows is then a part of their records."""
    if isinstance(holdout, Fold) or not holdout:
        return drawn(labels, holdout, seed, record=record, where=where)
    train, val = by_row.by_record(record, holdout, seed, where=where)
    return train, val, f"validation is {holdout:.3g} of the train records, seed {seed}"


def of_groups(groups: NDArray, labels: NDArray[np.int64], fold: Fold, seed: int, *, where: str = "") -> Indices:
    """The fold (N,) from 1 on of each row, all rows of one of the `groups` (N,) in one, with like shares of each
    class."""
    names, of = np.unique(groups, return_inverse=True)
    _check(fold, len(names), "records", where)
    counts = np.zeros((len(names), labels.max() + 1), np.int64)
    np.add.at(counts, (of, labels), 1)
    return shares.folds(counts, fold.folds, seed)[of] + 1


def _of_rows(labels: NDArray[np.int64], fold: Fold, seed: int, *, where: str) -> Indices:
    """The fold (N,) from 1 on of each row: those of a class are dealt in random order, where the class before left
    off."""
    _check(fold, len(labels), "rows", where)
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    number = np.empty(len(labels), np.int64)
    number[order] = np.arange(len(labels)) % fold.folds + 1
    return number


def _check(fold: Fold, there: int, what: str, where: str) -> None:
    if fold.folds > there:
        raise DataError(
            f"{there} {what} cannot be put into {fold.folds} folds", where=where, hint="fewer folds, or more data"
        )
