"""Index arrays that divide beats by patient, under protocols by name; validation is whole patients of the training
split.

    protocol = by_patient.parse("kfold-patient:5", fold=2)
    train, val, test, rule = by_patient.divide(protocol, record, y, cohort=MITDB, val_fraction=0.1, seed=42)

A patient with records in two splits is an error, except under a protocol that was published so; its rule states it.
Runs keep the text of the rules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loaders import splits
from loaders.declaration import BeatOptions, Cohort
from loaders.splits import TEST_FRACTION, Fold, Holdout, Indices
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

Mask = NDArray[np.bool_]
DEFAULT = BeatOptions.split
KFOLDS = ("kfold-patient", "inter-patient-kfold")
OTHER_SPLIT = "the whole database, --leads with | between alternatives until every record has one, or another --split"


@dataclass(frozen=True)
class PatientRows:
    """Rows by record: sorted names (R,), record `of` (N,) each row, number of each person (R,), class y (N,)."""

    names: NDArray[np.str_]
    of: Indices
    person: Indices
    y: Indices
    cohort: Cohort

    @classmethod
    def by_record(cls, record: NDArray[np.str_], y: Indices, cohort: Cohort) -> "PatientRows":
        """The rows of `record` (N,) with the persons of the cohort; any y of `splits.strata`."""
        names, of = np.unique(record, return_inverse=True)
        _, person = np.unique([cohort.person.get(name, name) for name in names.tolist()], return_inverse=True)
        return cls(names, of, person, splits.strata(y), cohort)

    def are(self, records: tuple[str, ...]) -> Mask:
        """The rows of these records, as a mask (N,)."""
        return np.isin(self.names, records)[self.of]

    def patients(self) -> Indices:
        """The person of each row (N,)."""
        return self.person[self.of]

    def counts(self, side: Mask) -> tuple[Indices, Indices]:
        """The persons (P,) of a split (N,), and its rows by person and class (P, K)."""
        persons, of = np.unique(self.patients()[side], return_inverse=True)
        counts = np.zeros((len(persons), self.y.max() + 1), np.int64)
        np.add.at(counts, (of, self.y[side]), 1)
        return persons, counts


class Protocol(NamedTuple):
    """A split protocol: its name, the text after the colon, and the fold, counted from 1, or None."""

    name: str
    argument: str
    fold: int | None


class PatientSides(NamedTuple):
    """Masks (N,) of the rows that train (or validate) and of the test rows, and the rule in words."""

    train: Mask
    test: Mask
    rule: str


def parse(split: str | None, fold: int | None = None) -> Protocol:
    """The protocol of --split and --fold, `inter-patient` by default. Raises UsageError."""
    name, _, argument = (split or DEFAULT).partition(":")
    entry = pick("split", SPLITS, name)
    if bool(argument) > entry.takes_argument:
        raise UsageError(f"--split {name} has no argument, here {argument[:40]}", hint=name)
    if fold is not None and (not entry.folds or fold < 1 or (name == "leave-one-record-out" and argument)):
        several = " or ".join(key for key, other in SPLITS.items() if other.folds)
        what = f"--fold is {fold}, must be 1 or more, with --split {several} without a record"
        raise UsageError(what, hint="--split kfold-patient:5 --fold 1")
    if name in KFOLDS and not (argument.isdecimal() and 2 <= int(argument[:9]) < 10**6):
        what = f"--split {name}:{argument[:40]} must state how many folds, 2 or more"
        raise UsageError(what, hint="kfold-patient:5")
    return Protocol(name, argument, fold)


def cites(split: str | None, cohort: Cohort) -> tuple[str, ...]:
    """The publications of the protocol of --split: of the cohort's split, if it is a published one or a part of it."""
    return cohort.cites if SPLITS[parse(split).name].published else ()


def divide(
    protocol: Protocol,
    record: NDArray[np.str_],
    y: Indices,
    *,
    cohort: Cohort,
    val_fraction: Holdout,
    seed: int,
    where: str = "",
) -> tuple[Indices, Indices, Indices, str]:
    """Ascending index arrays of train, validation and test rows, of `record` (N,) and class y (N,), and the rule in
    words.

    Raises UsageError for an unknown record or fold, DataError, with `where`, for an empty split and for a patient in
    two splits.
    """
    rows, entry = PatientRows.by_record(record, y, cohort), SPLITS[protocol.name]
    sides = entry.divide(rows, protocol, seed=seed, where=where)
    for name, side in (("train", sides.train), ("test", sides.test)):
        if not side.any():
            raise DataError(f"no beat is in {name}", where=where, hint=OTHER_SPLIT)
    validates = _validation(rows, sides.train, val_fraction, seed, where=where)
    train, val = sides.train & ~validates, sides.train & validates
    rule = f"{sides.rule}; {_drawn(rows, sides.train, val, val_fraction, seed)}"
    _check_apart(rows, (train, val), where=where)
    if not entry.shares:
        _check_apart(rows, (sides.train, sides.test), where=where)
    elif both := _on_both(rows, sides):
        rule += both
    return np.flatnonzero(train), np.flatnonzero(val), np.flatnonzero(sides.test), rule


def check_complete(protocol: Protocol, record: NDArray[np.str_], cohort: Cohort, *, where: str = "") -> None:
    """Raise DataError if `record` (N,) lacks a record of a published split."""
    there = set(np.unique(record).tolist())
    missing = [name for name in (*cohort.train, *cohort.test) if name not in there]
    if SPLITS[protocol.name].published and missing:
        what = f"--split {protocol.name} needs records that are not here or lack the leads: {' '.join(missing)}"
        raise DataError(what, where=where, hint=OTHER_SPLIT)


def _inter_patient(rows: PatientRows, protocol: Protocol, *, seed: int, where: str) -> PatientSides:
    return PatientSides(rows.are(rows.cohort.train), rows.are(rows.cohort.test), f"inter-patient, {rows.cohort.words}")


def _inter_patient_strict(rows: PatientRows, protocol: Protocol, *, seed: int, where: str) -> PatientSides:
    """As published, but a person in both splits trains only: the test split is a part of the published one."""
    train, test, rule = _inter_patient(rows, protocol, seed=seed, where=where)
    moved = test & np.isin(rows.patients(), rows.patients()[train])
    names = " ".join(rows.names[np.unique(rows.of[moved])])
    rule += f", but {names} trains, being of a person of the training side" if names else ""
    return PatientSides(train | moved, test & ~moved, f"{rule}; no person is on two sides")


def _random(rows: PatientRows, protocol: Protocol, *, seed: int, where: str) -> PatientSides:
    """20 % of each class of each record: every fifth row in the order of class, record and a random number."""
    order = np.lexsort((np.random.default_rng(seed).random(len(rows.y)), rows.of, rows.y))
    first = np.searchsorted(rows.y[order], rows.y[order])  # the first row of the class
    place = (np.arange(len(order)) - first) * TEST_FRACTION + 0.5
    test = np.zeros(len(order), bool)
    test[order] = np.floor(place + TEST_FRACTION + 1e-9) > np.floor(place + 1e-9)
    rule = f"beats split at random within patients, stratified by class and record, 80/20, seed {seed}"
    return PatientSides(~test, test, rule)


def _leave_one_record_out(rows: PatientRows, protocol: Protocol, *, seed: int, where: str) -> PatientSides:
    """One record tests; other records of its person are in neither split."""
    names = rows.names.tolist()
    if protocol.argument and protocol.argument not in names:
        what = f"--split {protocol.name}:{protocol.argument[:40]}: no such record; there are {' '.join(names)[:200]}"
        raise UsageError(what, where=where, hint=f"{protocol.name}:{names[0]}")
    fold = _fold(protocol, len(names), where)
    number = names.index(protocol.argument) if protocol.argument else fold - 1
    test, own = rows.of == number, rows.patients() == rows.person[number]
    others = " ".join(rows.names[np.unique(rows.of[own & ~test])])
    rule = f"leave one record out: {names[number]} of {len(names)} tests, all others train"
    rule += f" but {others}, of the same person" if others else ""
    return PatientSides(~own, test, f"{rule}; no person is on two sides")


def _kfold_patient(rows: PatientRows, protocol: Protocol, *, seed: int, where: str) -> PatientSides:
    """Whole patients in K folds with similar shares of each class; one fold tests."""
    return _fold_of(rows, np.ones(len(rows.y), bool), protocol, seed=seed, where=where)


def _inter_patient_kfold(rows: PatientRows, protocol: Protocol, *, seed: int, where: str) -> PatientSides:
    """Folds of the published training split, to choose a network without the test split."""
    sides = _fold_of(rows, rows.are(rows.cohort.train), protocol, seed=seed, where=where)
    return sides._replace(rule=f"the training side of {rows.cohort.words}; of it {sides.rule}")


def _fold_of(rows: PatientRows, side: Mask, protocol: Protocol, *, seed: int, where: str) -> PatientSides:
    """One of K folds of the patients of a split (N,)."""
    (persons, counts), folds = rows.counts(side), int(protocol.argument)
    if folds > len(counts):
        what = f"--split {protocol.name}:{folds}: there are {len(counts)} patients"
        raise UsageError(what, where=where, hint="fewer folds")
    fold = _fold(protocol, folds, where)
    test = side & np.isin(rows.patients(), persons[splits.folds(counts, folds, seed) == fold - 1])
    named = " ".join(rows.names[np.unique(rows.of[test])])
    rule = f"whole patients in {folds} folds with like shares of each class, seed {seed}; fold {fold} tests, {named}"
    return PatientSides(side & ~test, test, f"{rule}; no person is on two sides")


class Entry(NamedTuple):
    """A protocol's function; whether it is published, may share a person, has an argument, has folds."""

    divide: Callable[..., PatientSides]
    published: bool = False
    shares: bool = False
    takes_argument: bool = False
    folds: bool = False


SPLITS: dict[str, Entry] = {
    "inter-patient": Entry(_inter_patient, published=True, shares=True),
    "inter-patient-strict": Entry(_inter_patient_strict, published=True),
    "random": Entry(_random, shares=True),
    "inter-patient-kfold": Entry(_inter_patient_kfold, published=True, takes_argument=True, folds=True),
    "leave-one-record-out": Entry(_leave_one_record_out, takes_argument=True, folds=True),
    "kfold-patient": Entry(_kfold_patient, takes_argument=True, folds=True),
}


def _fold(protocol: Protocol, folds: int, where: str) -> int:
    fold = protocol.fold or 1
    if fold > folds:
        what = f"--fold is {fold}, --split {protocol.name} has {folds} folds here"
        raise UsageError(what, where=where, hint=f"1 to {folds}")
    return fold


def _validation(rows: PatientRows, side: Mask, val_fraction: Holdout, seed: int, *, where: str) -> Mask:
    """The validation rows (N,) of the training `side`: whole patients with about a fraction of it, a fold, or none."""
    validates = np.zeros(len(side), bool)
    if isinstance(val_fraction, Fold):
        fold = splits.of_groups(rows.patients()[side], rows.y[side], val_fraction, seed, where=where)
        validates[side] = fold == val_fraction.number
    if isinstance(val_fraction, Fold) or not val_fraction:
        return validates
    persons, counts = rows.counts(side)
    if len(persons) < 2:
        raise DataError("cannot set whole patients aside for validation: one trains", where=where, hint="more records")
    return side & np.isin(rows.patients(), persons[splits.part(counts, val_fraction, seed)])


def _drawn(rows: PatientRows, side: Mask, val: Mask, val_fraction: Holdout, seed: int) -> str:
    """The rule by which the rows `val` (N,) of the training `side` were drawn."""
    if not val_fraction:
        return splits.NONE
    share, chosen = val.sum() / side.sum(), " ".join(rows.names[np.unique(rows.of[val])])
    fold = f"{val_fraction}, " if isinstance(val_fraction, Fold) else ""
    return f"validation is {fold}whole records of the training side, {chosen} ({share:.3g} of its beats), seed {seed}"


def _check_apart(rows: PatientRows, sides: tuple[Mask, Mask], *, where: str) -> None:
    first, second = sides
    if len(both := np.intersect1d(rows.patients()[first], rows.patients()[second])):
        names = " ".join(rows.names[np.isin(rows.person, both)])
        raise DataError(f"one person stands on two sides, records {names}", where=where, hint="another --split")


def _on_both(rows: PatientRows, sides: PatientSides) -> str:
    both = np.intersect1d(rows.patients()[sides.train], rows.patients()[sides.test])
    if len(both) == rows.person.max() + 1:
        return "; every patient's beats stand on both sides"
    records = " and ".join(rows.names[np.isin(rows.person, both)])
    return f"; one person stands on both sides, records {records}" if len(both) else ""
