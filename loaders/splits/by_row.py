"""Index arrays that divide rows into train, validation and test; no row is in two of them, and rows of the same content
are found.

    train, val, test, rule = by_row.divide(y, 0.1, 42)
    train, val, rule = by_row.drawn(y, Fold(2, 5), 42, record=record)

Which of the training rows validate is decided here for every dataset: a part of them, one of several folds, or none.
The folds of one seed have no row in common and hold every training row between them; the test rows know nothing of
them. Patients, each with a count of rows by class (P, K), are put together so that every fold has a like share of each
class. Targets are (N,) classes, (N, K) labels or (N, 0), see `strata`.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import DataError, UsageError

Indices = NDArray[np.int64]
Samples = NDArray[np.float32]
NAMED = 5  # of the rows that are shared
PART = 0.075  # of all rows, in validation and in test, where one set of rows is divided into three
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
    record: NDArray[np.str_] | None = None,
    where: str = "",
) -> tuple[Indices, Indices, Indices, str]:
    """Ascending index arrays of train, validation and test, and how validation was drawn; see `drawn`.

    The test rows are 20 % of each class, or `test_rows` in all, drawn with `seed` or a `test_seed` of their own.
    """
    test_rows = round(TEST_FRACTION * len(y)) if test_rows is None else test_rows
    rest, test = stratified(y, test_rows, seed if test_seed is None else test_seed, where=where)
    train, val, rule = drawn(y[rest], holdout, seed, record=None if record is None else record[rest], where=where)
    return rest[train], rest[val], test, rule


def at_random(rows: str, seed: int) -> str:
    """How `divide` chose the test rows, for the split rule; `rows` is what they are called."""
    return f"{rows} split at random, stratified by class, 80/20, seed {seed}"


def stratified(labels: NDArray[np.int64], second: int, seed: int, *, where: str = "") -> tuple[Indices, Indices]:
    """Two ascending index arrays, the second of `second` rows, with each class in proportion (largest remainder).

    A class of two rows or more has at least one on either side as far as the total allows. Raises DataError, with
    `where`, where a side would be empty.
    """
    if not 0 < second < len(labels):
        raise DataError(
            f"cannot set {second} of {len(labels)} rows aside and have rows on both sides",
            where=where,
            hint="more data, or another --val-fraction",
        )
    rng = np.random.default_rng(seed)
    _, inverse, counts = np.unique(strata(labels), return_inverse=True, return_counts=True)
    quota = counts * second / len(labels)
    take = np.floor(quota).astype(int)
    take[np.argsort(take - quota, kind="stable")[: second - take.sum()]] += 1
    take = _lend_to_empty(take, counts)
    take = counts - _lend_to_empty(counts - take, counts)
    chosen = [rng.permutation(np.flatnonzero(inverse == k))[:n] for k, n in enumerate(take)]
    picked = np.sort(np.concatenate(chosen))
    rest = np.setdiff1d(np.arange(len(labels)), picked, assume_unique=True)
    return rest, picked


def _lend_to_empty(take: Indices, counts: Indices) -> Indices:
    """Give a class that got no row one of the class that got most; the total stays."""
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
    """Two ascending index arrays that have no record in common, the second of `fraction` of the records, at least one.

    Raises DataError, with `where`, where a side would be empty.
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
    """Which of `rows` (N, C, T) stand, byte for byte, in one of the `others` (M, C, T) too; ascending."""
    words = _words(rows)
    sums, found = words.sum(1, dtype=np.uint64), np.zeros(len(rows), dtype=bool)
    for other in map(_words, others):
        other_sums = other.sum(1, dtype=np.uint64)
        near = np.isin(sums, other_sums)  # few, and only they are sorted by content, which takes time and memory
        found[near] |= np.isin(_content(words[near]), _content(other[np.isin(other_sums, sums)]))
    return np.flatnonzero(found)


def _words(x: Samples) -> NDArray[np.uint32]:
    """The bytes of each row as integers (N, C * T)."""
    return np.ascontiguousarray(x).view(np.uint32).reshape(len(x), math.prod(x.shape[1:]))


def _content(words: NDArray[np.uint32]) -> NDArray[np.void]:
    """Each row as a single value (N,)."""
    return words.view(np.dtype((np.void, words.shape[1] * words.itemsize)))[:, 0]


def digests(rows: Samples) -> NDArray[np.uint64]:
    """Eight bytes (N,) of the BLAKE2b digest of each of `rows` (N, C, T); a quarter of a second for 100,000
    heartbeats."""
    size = math.prod(rows.shape[1:]) * rows.itemsize
    content = memoryview(np.ascontiguousarray(rows)).cast("B") if rows.size else b""
    parts = [hashlib.blake2b(content[k : k + size], digest_size=8).digest() for k in range(0, len(content), size)]
    return np.frombuffer(b"".join(parts), np.uint64)


def numbered(content: NDArray[np.str_]) -> NDArray[np.uint64]:
    """The first eight bytes of digests (N,) that are written as hexadecimal text."""
    texts, inverse = np.unique(content, return_inverse=True)
    return np.array([int(text[:16], 16) for text in texts.tolist()], np.uint64)[inverse]


def sharing(which: Indices, rows: int) -> str:
    """How many of the `rows` test rows are shared, and the first of them, for the report."""
    first = ", ".join(map(str, which[:NAMED])) + (", ..." if len(which) > NAMED else "")
    return f"{len(which):,} of {rows:,} test rows stand in train or validation too" + (
        f": rows {first}" if first else ""
    )


def validation_rule(fraction: float, seed: int) -> str:
    """How validation rows were chosen, for the split rule."""
    return f"validation is {fraction:.3g} of train, stratified by class, seed {seed}"


DRAWS = 256  # of patients in random order, from which the best is taken
LEAST_SHARE = 1e-3  # of the beats, for a class to count
# Times the fraction that may validate; how much that size counts against the share of one class.
MOST, SIZE_COUNTS = (2.0, 3.0)
NEARLY_0 = 1e-3  # so that a share of 0 has a logarithm


def folds(counts: Indices, number: int, seed: int) -> Indices:
    """The fold (P,) of each of P persons, from 0 on.

    The largest shares come first, as chance has it, each to the fold with least of what it brings.
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
    """Which of P persons make up about `fraction` of the rows, with the classes in them and in the others if that can
    be had.

    Of many draws the best is taken: one person, or at most twice the `fraction`, that lack the fewest classes, those of
    many persons first, and among such those whose shares of the rows and of each class are nearest to `fraction` by
    their ratio. A class that is all but absent does not count.
    """
    counts = counts[:, counts.sum(0) >= LEAST_SHARE * counts.sum()]
    rng, total = np.random.default_rng(seed), counts.sum(0)
    drawn = np.stack([rng.permutation(len(counts)) for _ in range(DRAWS)])  # (D, P)
    held = counts[drawn].cumsum(1)[:, :-1]  # (D, P - 1, K), of the first 1, 2, ... persons
    share, size = held / total, held.sum(2) / total.sum()
    lacking = ((share == 0) | (share == 1)) @ (counts > 0).sum(0)
    too_many = (size > MOST * fraction) & (np.arange(len(counts) - 1) > 0)
    off = np.abs(np.log((share + NEARLY_0) / fraction)).sum(2) + SIZE_COUNTS * np.abs(np.log(size / fraction))
    draw, last = np.unravel_index(np.lexsort((off.ravel(), lacking.ravel(), too_many.ravel()))[0], off.shape)
    return drawn[draw, : last + 1]


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
    train, val = stratified(labels, round(holdout * len(labels)), seed, where=where)
    return train, val, validation_rule(holdout, seed)


def of_records(
    record: NDArray[np.str_], labels: NDArray[np.int64], holdout: Holdout, seed: int, *, where: str = ""
) -> tuple[Indices, Indices, str]:
    """The same with whole records (N,) in any case; a part of the training rows is then a part of their records."""
    if isinstance(holdout, Fold) or not holdout:
        return drawn(labels, holdout, seed, record=record, where=where)
    train, val = by_record(record, holdout, seed, where=where)
    return train, val, f"validation is {holdout:.3g} of the train records, seed {seed}"


def of_groups(groups: NDArray, labels: NDArray[np.int64], fold: Fold, seed: int, *, where: str = "") -> Indices:
    """The fold (N,) from 1 on of each row, all rows of one of the `groups` (N,) in one, with like shares of each
    class."""
    names, of = np.unique(groups, return_inverse=True)
    _check(fold, len(names), "records", where)
    labels = strata(labels)
    counts = np.zeros((len(names), labels.max() + 1), np.int64)
    np.add.at(counts, (of, labels), 1)
    return folds(counts, fold.folds, seed)[of] + 1


def _of_rows(labels: NDArray[np.int64], fold: Fold, seed: int, *, where: str) -> Indices:
    """The fold (N,) from 1 on of each row: those of a class are dealt in random order, where the class before left
    off."""
    _check(fold, len(labels), "rows", where)
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), strata(labels)))
    number = np.empty(len(labels), np.int64)
    number[order] = np.arange(len(labels)) % fold.folds + 1
    return number


def _check(fold: Fold, there: int, what: str, where: str) -> None:
    if fold.folds > there:
        raise DataError(
            f"{there} {what} cannot be put into {fold.folds} folds", where=where, hint="fewer folds, or more data"
        )
