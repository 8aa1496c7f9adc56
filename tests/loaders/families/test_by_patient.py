"""Beats divided by patient: no person on two sides, nothing lost that a protocol does not leave out, decided by the
seed."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders import DS1, DS2, MITDB
from loaders.families import by_patient
from loaders.families.by_patient import SPLITS, Cohort
from loaders.splits import Fold
from loaders.splits import folds as folds_of
from toolbox.errors import CommanderError, DataError, UsageError

NAMES = [f"r{i:02}" for i in range(12)]
PAIRED = Cohort(tuple(NAMES[:6]), tuple(NAMES[6:]), "halves", {"r06": "r01", "r09": "r08"})  # r01 and r06 on both sides
ASKED = (
    "inter-patient",
    "inter-patient-strict",
    "inter-patient-kfold:3",
    "random",
    "leave-one-record-out",
    "leave-one-record-out:r08",
    "kfold-patient:4",
)


def rows(seed: int, records: int = 12, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Record and class of 600 rows, each record with shares of its own."""
    rng = np.random.default_rng(seed)
    of = np.concatenate([np.arange(records), rng.integers(0, records, 600 - records)])
    shares = rng.dirichlet([4, 1, 0.4][:classes], records)
    return np.array(NAMES[:records])[of], np.array([rng.choice(classes, p=shares[i]) for i in of])


def persons(record: np.ndarray, cohort: Cohort = PAIRED) -> set[str]:
    return {cohort.person.get(name, name) for name in record.tolist()}


def divided(
    split: str,
    record: np.ndarray,
    y: np.ndarray,
    fold: int | None = None,
    *,
    cohort: Cohort = PAIRED,
    held: float | Fold = 0.1,
    seed: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    return by_patient.divide(by_patient.parse(split, fold), record, y, cohort=cohort, val_fraction=held, seed=seed)


def test_every_protocol_is_tried_here() -> None:
    assert {name.partition(":")[0] for name in ASKED} == SPLITS.keys()


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(ASKED), st.integers(0, 2**31 - 1), st.integers(1, 4), st.floats(0.02, 0.5))
def test_splits_share_persons_only_where_the_rule_says_so(split: str, seed: int, fold: int, fraction: float) -> None:
    record, y = rows(seed % 50)
    asked, _, argument = split.partition(":")
    folds = int(argument) if argument.isdecimal() else fold
    fold = min(fold, folds) if SPLITS[asked].folds and "r08" not in split else None
    *sides, rule = divided(split, record, y, fold, held=fraction, seed=seed)
    train, val, test = sides
    assert all(len(side) and (np.diff(side) > 0).all() for side in sides)
    assert len(set(np.concatenate(sides).tolist())) == sum(map(len, sides))
    assert not persons(record[train]) & persons(record[val])
    both = (persons(record[train]) | persons(record[val])) & persons(record[test])
    assert bool(both) == (split in ("inter-patient", "random"))
    assert ("on both sides" in rule) == bool(both)
    assert ("no person is on two sides" in rule) != bool(both)
    assert f"seed {seed}" in rule


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(ASKED), st.integers(0, 99))
def test_validation_has_whole_records_that_the_rule_names(split: str, seed: int) -> None:
    record, y = rows(seed)
    train, val, _, rule = divided(split, record, y, held=0.2, seed=seed)
    named = set(rule.split("training side, ")[1].split(" (")[0].split())
    assert set(record[val]) == named
    assert not set(record[train]) & named
    again = divided(split, record, y, held=0.2, seed=seed)
    assert again[3] == rule
    np.testing.assert_array_equal(again[1], val)


def test_folds_of_the_published_training_side_test_each_row_of_it_once_and_none_of_the_test_side() -> None:
    record, y = rows(1)
    all_folds = [divided("inter-patient-kfold:3", record, y, fold) for fold in (1, 2, 3)]
    own = np.flatnonzero(np.isin(record, PAIRED.train))
    assert sorted(np.concatenate([test for *_, test, _ in all_folds]).tolist()) == own.tolist()
    assert all(np.array_equal(np.sort(np.concatenate(sides)), own) for *sides, _ in all_folds)


def test_another_seed_makes_other_folds() -> None:
    assert len({divided("kfold-patient:4", *rows(3), seed=seed)[2].tobytes() for seed in range(5)}) > 1


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 10), st.integers(0, 99))
def test_each_row_is_tested_in_exactly_one_fold_and_every_fold_has_a_patient(folds: int, seed: int) -> None:
    record, y = rows(seed)
    tests = [divided(f"kfold-patient:{folds}", record, y, fold, seed=seed)[2] for fold in range(1, folds + 1)]
    assert sorted(np.concatenate(tests).tolist()) == list(range(len(y)))


def test_folds_have_like_shares_of_each_class() -> None:
    counts = np.random.default_rng(0).integers(0, 100, (40, 3)) * [20, 2, 1]
    fold = folds_of(counts, 5, seed=1)
    found = np.stack([counts[fold == k].sum(0) for k in range(5)]) / counts.sum(0)
    np.testing.assert_allclose(found, 0.2, atol=0.05)


def test_leaving_records_out_tests_each_once_and_leaves_the_rest_of_its_person_out_of_train() -> None:
    record, y = rows(0)
    for fold, name in enumerate(NAMES, 1):
        train, val, test, rule = divided("leave-one-record-out", record, y, fold)
        assert set(record[test]) == {name}
        person = {other for other in NAMES if persons(np.array([other])) == persons(np.array([name]))}
        assert set(record[train]) | set(record[val]) == set(NAMES) - person
        assert all(other in rule for other in person)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31 - 1))
def test_a_random_split_tests_a_fifth_of_each_class_of_each_record(seed: int) -> None:
    record, y = rows(seed % 50)
    *_, test, _ = divided("random", record, y, seed=seed)
    tested = np.isin(np.arange(len(y)), test)
    for k in range(3):
        assert abs(tested[y == k].sum() - 0.2 * (y == k).sum()) < 1
        for name in NAMES:
            own = (record == name) & (y == k)
            assert abs(tested[own].sum() - 0.2 * own.sum()) < 1


def test_the_published_lists_are_22_records_each_without_paced_ones_and_strictly_202_trains() -> None:
    assert (len(MITDB.train), len(MITDB.test)) == (22, 22)
    assert not set(MITDB.train) & set(MITDB.test)
    assert not {"102", "104", "107", "217"} & {*MITDB.train, *MITDB.test}
    record, y = np.repeat(DS1.split() + DS2.split() + ["102", "107"], 2), np.tile([0, 1], 46)
    sides = {}
    for split in ("inter-patient", "inter-patient-strict"):
        train, val, test, rule = divided(split, record, y, cohort=MITDB)
        sides[split] = {*record[train], *record[val]}, set(record[test])
        assert ("one person stands on both sides, records 201 and 202" in rule) == (split == "inter-patient")
    assert sides["inter-patient"] == (set(DS1.split()), set(DS2.split()))
    assert sides["inter-patient-strict"] == ({*DS1.split(), "202"}, set(DS2.split()) - {"202"})


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_validation_and_train_have_every_class_where_any_choice_of_patients_can(fraction: float) -> None:
    could = []
    for seed in range(20):
        record, y = rows(seed)
        train, val, *_ = divided("inter-patient", record, y, held=fraction, seed=seed)
        side = np.concatenate([train, val])
        subsets = (np.isin(record[side], names) for size in (1, 2, 3) for names in combinations(NAMES[:6], size))
        good = [
            own
            for own in subsets
            if own.mean() <= 2 * fraction and set(y[side[own]]) == set(y[side[~own]]) == {0, 1, 2}
        ]
        could.append(bool(good))
        assert (set(y[train]) == set(y[val]) == {0, 1, 2}) or not good
    assert any(could)


@pytest.mark.parametrize("split", ["inter-patient", "inter-patient-strict"])
def test_a_missing_published_record_is_named(split: str) -> None:
    there = np.array([name for name in DS1.split() + DS2.split() if name not in ("101", "234")])
    with pytest.raises(DataError, match=r"needs records that are not here or lack the leads: 101 234 \(db\)") as caught:
        by_patient.check_complete(by_patient.parse(split), there, MITDB, where="db")
    assert caught.value.code == 3
    by_patient.check_complete(by_patient.parse("random"), there, MITDB)


@pytest.mark.parametrize(("split", "fold", "says"), [
    ("patient", None, "unknown --split 'patient'; known are inter-patient"),
    ("random:3", None, "has no argument"),
    ("inter-patient", 1, "--fold is 1"),
    ("kfold-patient", None, "how many folds"),
    ("kfold-patient:1", None, "how many folds"),
    ("kfold-patient:x", None, "how many folds"),
    ("kfold-patient:4", 0, "--fold is 0"),
    ("kfold-patient:4", 5, "--fold is 5, --split kfold-patient has 4 folds"),
    ("kfold-patient:11", None, "there are 10 patients"),
    ("leave-one-record-out", 13, "has 12 folds"),
    ("leave-one-record-out:nobody", None, "no such record; there are r00"),
    ("leave-one-record-out:r01", 2, "--fold is 2"),
])  # fmt: skip
def test_an_impossible_split_is_a_usage_error(split: str, fold: int | None, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        divided(split, *rows(0), fold)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("names", "split", "says"), [
    (["r00", "r07"], "inter-patient", "one trains"),
    (["r00", "r02"], "inter-patient", "no beat is in test"),
    (["r07"], "leave-one-record-out", "no beat is in train"),
])  # fmt: skip
def test_a_side_that_would_be_empty_is_a_data_error(names: list[str], split: str, says: str) -> None:
    record = np.repeat(names, 5)
    with pytest.raises(DataError, match=says):
        divided(split, record, np.zeros(len(record), int))


def test_a_person_on_two_sides_is_refused_where_the_protocol_does_not_say_so() -> None:
    beats = by_patient.PatientRows.by_record(np.array(["r01", "r06"]), np.zeros(2, int), PAIRED)
    with pytest.raises(CommanderError, match="one person stands on two sides, records r01 r06"):
        by_patient._check_apart(beats, (np.array([True, False]), np.array([False, True])), where="")


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([split for split in ASKED if "kfold" not in split]), st.integers(0, 2**31 - 1), st.integers(2, 4)
)
def test_validation_folds_hold_whole_persons_of_the_training_side(split: str, seed: int, folds: int) -> None:
    record, y = rows(seed % 50)
    *_, test, _ = divided(split, record, y, seed=seed)
    held = []
    for number in range(1, folds + 1):
        train, val, same, rule = divided(split, record, y, held=Fold(number, folds), seed=seed)
        np.testing.assert_array_equal(same, test)
        assert not persons(record[train]) & persons(record[val])
        assert f"validation is fold {number} of {folds}, whole records of the training side" in rule
        held.append(val)
    train, val, _, rule = divided(split, record, y, held=0.0, seed=seed)
    assert sorted(np.concatenate(held)) == train.tolist()
    assert len(val) == 0
    assert "no row validates" in rule
