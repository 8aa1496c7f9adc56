"""Index arrays that divide rows into train, validation and test without overlap, and the search for equal rows.

    train, val, test, rule = splits.divide(y, 0.1, 42)
    train, val, rule = splits.drawn(y, Fold(2, 5), 42, record=record)
    train, val, test, rule = splits.divide(y, 0.1, 42, test_fold=Fold.of_test("kfold:5", 2))

Validation rows are a part of the training rows, a fold of them, or none (whole patients: `families/by_patient`). The
folds of one seed are disjoint and cover the training rows; test rows do not depend on them. Patients, each with a count
of rows by class (P, K), are grouped so that all folds have similar shares of each class. Targets are (N,) classes, (N,
K) labels or (N, 0), see `strata`. `commands/compare.py` reads the text of the rules, which runs keep.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

Indices = NDArray[np.int64]
Samples = NDArray[np.float32]
NAMED = 5  # shared rows in a message
PART = 0.075  # of all rows, in validation and in test, if one set of rows is divided into three
TEST_FRACTION = 0.2


def strata(y: Indices) -> Indices:
    """The stratum (N,) of each row: its class of y (N,), its set of labels of y (N, K), one for all of y (N, 0)."""
    if y.ndim == 1:
        return y
    return np.unique(y, axis=0, return_inverse=True)[1].reshape(-1) if y.shape[1] else np.zeros(len(y), np.int64)


def divide(
    y: Indices,
    holdout: "Holdout",
    seed: int,
    *,
    test_rows: int | None = None,
    test_seed: int | None = None,
    test_fold: "Fold | None" = None,
    record: NDArray[np.str_] | None = None,
    where: str = "",
) -> tuple[Indices, Indices, Indices, str]:
    """Ascending index arrays of train, validation and test, and the rule of validation as in `drawn`.

    The test rows are 20 % of each class, or `test_rows` in all, drawn with `seed` or `test_seed`, or the `test_fold`.
    """
    if test_fold:
        number = _of_rows(y, test_fold, seed, where=where)
        rest, test = np.flatnonzero(number != test_fold.number), np.flatnonzero(number == test_fold.number)
    else:
        test_rows = round(TEST_FRACTION * len(y)) if test_rows is None else test_rows
        rest, test = stratified(y, test_rows, seed if test_seed is None else test_seed, where=where)
    train, val, rule = drawn(y[rest], holdout, seed, record=None if record is None else record[rest], where=where)
    return rest[train], rest[val], test, rule


def at_random(rows: str, seed: int, test_fold: "Fold | None" = None) -> str:
    """The rule by which `divide` draws the test rows; `rows` is their name."""
    if test_fold:
        return f"{rows} in {test_fold.folds} folds, stratified by class, seed {seed}; fold {test_fold.number} tests"
    return f"{rows} split at random, stratified by class, 80/20, seed {seed}"


def stratified(labels: NDArray[np.int64], second: int, seed: int, *, where: str = "") -> tuple[Indices, Indices]:
    """Two ascending index arrays, the second of `second` rows, with each class in proportion (largest remainder).

    Each array has a row of a class with two rows or more, as far as the total allows. Raises DataError, with `where`,
    for an empty array.
    """
    if not 0 < second < len(labels):
        what = f"cannot set {second} of {len(labels)} rows aside and have rows on both sides"
        raise DataError(what, where=where, hint="more data, or another --val-fraction")
    rng = np.random.default_rng(seed)
    _, inverse, counts = np.unique(strata(labels), return_inverse=True, return_counts=True)
    quota = counts * second / len(labels)
    take = np.floor(quota).astype(int)
    take[np.argsort(take - quota, kind="stable")[: second - take.sum()]] += 1
    take = _fill_empty(take, counts)
    take = counts - _fill_empty(counts - take, counts)
    chosen = [rng.permutation(np.flatnonzero(inverse == k))[:n] for k, n in enumerate(take)]
    picked = np.sort(np.concatenate(chosen))
    rest = np.setdiff1d(np.arange(len(labels)), picked, assume_unique=True)
    return rest, picked


def _fill_empty(take: Indices, counts: Indices) -> Indices:
    """Move a row of the largest class to each class without one; the total stays."""
    take = take.copy()
    for k in np.flatnonzero((take == 0) & (counts > 1)):
        richest = int(take.argmax())
        if take[richest] > 1:
            take[richest] -= 1
            take[k] += 1
    return take


def three(labels: NDArray[np.int64], seed: int, *, where: str = "") -> tuple[Indices, Indices, Indices]:
    """Ascending index arrays of train, validation and test, 85, 7.5 and 7.5 % of the rows, each class in proportion."""
    part = round(PART * len(labels))
    rest, test = stratified(labels, part, seed, where=where)
    train, val = stratified(labels[rest], part, seed, where=where)
    return rest[train], rest[val], test


def by_record(records: NDArray[np.str_], fraction: float, seed: int, *, where: str = "") -> tuple[Indices, Indices]:
    """Two ascending index arrays without a common record, the second of `fraction` of the records, at least one.

    Raises DataError, with `where`, for an empty array.
    """
    names, inverse = np.unique(records, return_inverse=True)
    second = max(1, round(fraction * len(names)))
    if second >= len(names):
        what = f"cannot set {second} of {len(names)} records aside and have records on both sides"
        raise DataError(what, where=where, hint="more records, another --val-fraction, or --split stratified")
    chosen = np.random.default_rng(seed).permutation(len(names))[:second]
    picked = np.isin(inverse, chosen)
    return np.flatnonzero(~picked), np.flatnonzero(picked)


def shared(rows: Samples, *others: Samples) -> Indices:
    """The `rows` (N, C, T) that one of the `others` (M, C, T) contains byte for byte, ascending."""
    words = _words(rows)
    sums, found = words.sum(1, dtype=np.uint64), np.zeros(len(rows), dtype=bool)
    for other in map(_words, others):
        other_sums = other.sum(1, dtype=np.uint64)
        near = np.isin(sums, other_sums)  # few rows: sorting by content takes time and memory
        found[near] |= np.isin(_content(words[near]), _content(other[np.isin(other_sums, sums)]))
    return np.flatnonzero(found)


def _words(x: Samples) -> NDArray[np.uint32]:
    """The bytes of each row as integers (N, C * T)."""
    return np.ascontiguousarray(x).view(np.uint32).reshape(len(x), math.prod(x.shape[1:]))


def _content(words: NDArray[np.uint32]) -> NDArray[np.void]:
    """Each row as a single value (N,)."""
    return words.view(np.dtype((np.void, words.shape[1] * words.itemsize)))[:, 0]


def digests(rows: Samples) -> NDArray[np.uint64]:
    """Eight bytes (N,) of the BLAKE2b digest of each of `rows` (N, C, T); 0.25 s for 100,000 heartbeats."""
    size = math.prod(rows.shape[1:]) * rows.itemsize
    content = np.ascontiguousarray(rows).data.cast("B") if rows.size else b""
    parts = [hashlib.blake2b(content[k : k + size], digest_size=8).digest() for k in range(0, len(content), size)]
    return np.frombuffer(b"".join(parts), np.uint64)


def numbered(content: NDArray[np.str_]) -> NDArray[np.uint64]:
    """The first eight bytes of digests (N,) in hexadecimal text."""
    texts, inverse = np.unique(content, return_inverse=True)
    return np.array([int(text[:16], 16) for text in texts.tolist()], np.uint64)[inverse]


def sharing(which: Indices, rows: int) -> str:
    """The number of shared rows among the `rows` test rows, and the first of them, for the report."""
    first = ", ".join(map(str, which[:NAMED])) + (", ..." if len(which) > NAMED else "")
    named = f": rows {first}" if first else ""
    return f"{len(which):,} of {rows:,} test rows stand in train or validation too{named}"


DRAWS = 256  # random orders of the patients, to take the best
LEAST_SHARE = 1e-3  # of the beats, for a class to count
MOST_OF_PART = 2.0  # the largest validation split, as a multiple of the requested fraction
SIZE_COUNTS = 3.0  # weight of its size against the share of one class
NEARLY_0 = 1e-3  # so that a share of 0 has a logarithm


def folds(counts: Indices, number: int, seed: int) -> Indices:
    """The fold (P,) of each of P persons, from 0 on.

    Persons with the largest shares, varied at random, come first; each goes to the fold with the least of its classes.
    """
    share = counts / counts.sum(0).clip(1)  # (P, K)
    order = np.argsort(-share.max(1) * np.random.default_rng(seed).uniform(0.5, 1, len(counts)), kind="stable")
    held, rows, fold = np.zeros((number, counts.shape[1])), np.zeros(number, int), np.zeros(len(counts), int)
    for person in order:  # tens of them
        fold[person] = np.lexsort((rows, held @ share[person]))[0]
        held[fold[person]] += share[person]
        rows[fold[person]] += counts[person].sum()
    return fold


def part(counts: Indices, fraction: float, seed: int) -> Indices:
    """Persons, of P, with about `fraction` of the rows; they and the others have all classes if possible.

    The best of many draws: one person, or at most twice the `fraction`; then the fewest missing classes, weighted by
    their persons; then the shares of the rows and of each class nearest to `fraction` by their ratio. A nearly absent
    class does not count.
    """
    counts = counts[:, counts.sum(0) >= LEAST_SHARE * counts.sum()]
    rng, total = np.random.default_rng(seed), counts.sum(0)
    drawn = np.stack([rng.permutation(len(counts)) for _ in range(DRAWS)])  # (D, P)
    held = counts[drawn].cumsum(1)[:, :-1]  # (D, P - 1, K), of the first 1, 2, ... persons
    share, size = held / total, held.sum(2) / total.sum()
    lacking = ((share == 0) | (share == 1)) @ (counts > 0).sum(0)
    too_many = (size > MOST_OF_PART * fraction) & (np.arange(len(counts) - 1) > 0)
    off = np.abs(np.log((share + NEARLY_0) / fraction)).sum(2) + SIZE_COUNTS * np.abs(np.log(size / fraction))
    draw, last = np.unravel_index(np.lexsort((off.ravel(), lacking.ravel(), too_many.ravel()))[0], off.shape)
    return drawn[draw, : last + 1]


MOST_FOLDS = 1000
RANDOM, KFOLD = "random", "kfold"  # values of --split for rows of unknown patients
NONE = "no row validates, all that are not test are trained on"


@dataclass(frozen=True)
class Fold:
    """Fold `number`, from 1 on, of `folds`: the value of --val-fold, or the test fold of --split kfold:K."""

    number: int
    folds: int

    @classmethod
    def parse(cls, text: str) -> "Fold":
        """The fold in a text such as "2/5". Raises UsageError for any other text."""
        number, slash, folds = text.partition("/")
        whole = slash and all(part.isascii() and part.isdigit() and len(part) < 5 for part in (number, folds))
        if not (whole and 2 <= int(folds) <= MOST_FOLDS and 1 <= int(number) <= int(folds)):
            raise UsageError(f"--val-fold {text[:40]} is no fold N of K, 2 or more of them", hint="--val-fold 1/5")
        return cls(int(number), int(folds))

    @classmethod
    def of_test(cls, split: str, number: int | None) -> "Fold | None":
        """The test fold of --split kfold:K with --fold (default 1), None of --split random. Raises UsageError."""
        name, _, folds = split.partition(":")
        pick("split", dict.fromkeys((RANDOM, KFOLD)), name)
        if name == RANDOM:
            if folds or number is not None:
                what = f"--fold is {number}" if number is not None else f"--split is {split[:40]}"
                raise UsageError(f"{what}, --split {RANDOM} has no folds", hint=f"--split {KFOLD}:5 --fold 1")
            return None
        if not (folds.isascii() and folds.isdigit() and len(folds) < 5 and 2 <= int(folds) <= MOST_FOLDS):
            what = f"--split {split[:40]} must state how many folds, 2 to {MOST_FOLDS}"
            raise UsageError(what, hint=f"{KFOLD}:5")
        if not 1 <= (number or 1) <= int(folds):
            raise UsageError(f"--fold is {number}, --split {split} has {folds} folds", hint=f"1 to {folds}")
        return cls(number or 1, int(folds))

    def __str__(self) -> str:
        return f"fold {self.number} of {self.folds}"


Holdout = float | Fold  # the validation rows: a part of the training rows (0: none), or a fold of them


def is_part(holdout: Holdout) -> bool:
    """Whether validation is a part of the training rows (--val-fraction), not a fold and not empty."""
    return not isinstance(holdout, Fold) and holdout > 0


def drawn(
    labels: NDArray[np.int64], holdout: Holdout, seed: int, *, record: NDArray[np.str_] | None = None, where: str = ""
) -> tuple[Indices, Indices, str]:
    """Ascending index arrays of training and of validation rows (N,) with similar shares of each class, and the rule.

    A fold has whole records if `record` (N,) names them and one has several rows. Raises DataError, with `where`, for
    an empty array that was requested.
    """
    if isinstance(holdout, Fold):
        if record is not None and (record != "").all() and len(np.unique(record)) < len(record):
            whole, number = "whole records, ", of_groups(record, labels, holdout, seed, where=where)
        else:
            whole, number = "", _of_rows(labels, holdout, seed, where=where)
        rule = f"validation is {holdout} of train, {whole}stratified by class, seed {seed}"
        return np.flatnonzero(number != holdout.number), np.flatnonzero(number == holdout.number), rule
    if not holdout:
        return np.arange(len(labels)), np.arange(0), NONE
    train, val = stratified(labels, round(holdout * len(labels)), seed, where=where)
    return train, val, f"validation is {holdout:.3g} of train, stratified by class, seed {seed}"


def of_records(
    record: NDArray[np.str_], labels: NDArray[np.int64], holdout: Holdout, seed: int, *, where: str = ""
) -> tuple[Indices, Indices, str]:
    """As `drawn`, always with whole records (N,): a part of the training rows is a part of their records."""
    if isinstance(holdout, Fold) or not holdout:
        return drawn(labels, holdout, seed, record=record, where=where)
    train, val = by_record(record, holdout, seed, where=where)
    return train, val, f"validation is {holdout:.3g} of the train records, seed {seed}"


def of_groups(groups: NDArray, labels: NDArray[np.int64], fold: Fold, seed: int, *, where: str = "") -> Indices:
    """The fold (N,) from 1 on of each row: whole `groups` (N,), with similar shares of each class."""
    names, of = np.unique(groups, return_inverse=True)
    _check(fold, len(names), "records", where)
    labels = strata(labels)
    counts = np.zeros((len(names), labels.max() + 1), np.int64)
    np.add.at(counts, (of, labels), 1)
    return folds(counts, fold.folds, seed)[of] + 1


def _of_rows(labels: NDArray[np.int64], fold: Fold, seed: int, *, where: str) -> Indices:
    """The fold (N,) from 1 on of each row: the rows are dealt to the folds class by class, in random order."""
    _check(fold, len(labels), "rows", where)
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), strata(labels)))
    number = np.empty(len(labels), np.int64)
    number[order] = np.arange(len(labels)) % fold.folds + 1
    return number


def _check(fold: Fold, there: int, what: str, where: str) -> None:
    if fold.folds > there:
        fault = f"{there} {what} cannot be put into {fold.folds} folds"
        raise DataError(fault, where=where, hint="fewer folds, or more data")
