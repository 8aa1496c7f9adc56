"""Index arrays that divide rows into sides; a side never shares a row with another, and rows of the same content are
found."""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import DataError

Indices = NDArray[np.int64]
Samples = NDArray[np.float32]
NAMED = 5  # of the rows that are shared
PART = 0.075  # of all rows, in validation and in test, where one set of rows is divided into three


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
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
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
    texts, whose = np.unique(content, return_inverse=True)
    return np.array([int(text[:16], 16) for text in texts.tolist()], np.uint64)[whose]


def sharing(which: Indices, rows: int) -> str:
    """How many of the `rows` test rows are shared, and the first of them, for the report."""
    first = ", ".join(map(str, which[:NAMED])) + (", ..." if len(which) > NAMED else "")
    return f"{len(which):,} of {rows:,} test rows stand in train or validation too" + (
        f": rows {first}" if first else ""
    )


def validation_rule(fraction: float, seed: int) -> str:
    """How validation rows were chosen, for the split rule."""
    return f"validation is {fraction:.3g} of train, stratified by class, seed {seed}"
