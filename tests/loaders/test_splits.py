"""Rows divided into sides: nothing shared, nothing lost, classes in proportion, decided by the seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.splits import by_record, drawn, shared, sharing, stratified, three
from toolbox.errors import DataError


@st.composite
def divisions(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Labels in any order with classes of any size, how many rows to set aside, and a seed."""
    counts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6).filter(lambda counts: sum(counts) > 1))
    names = draw(st.permutations(range(10)))[: len(counts)]
    labels = np.random.default_rng(draw(st.integers(0, 99))).permutation(np.repeat(names, counts))
    return labels, draw(st.integers(1, len(labels) - 1)), draw(st.integers(0, 2**31 - 1))


@settings(deadline=None, max_examples=100)
@given(divisions())
def test_sides_are_disjoint_complete_ascending_and_of_the_size_asked_for(division: tuple[np.ndarray, int, int]) -> None:
    labels, second, seed = division
    rest, picked = stratified(labels, second, seed)
    assert len(picked) == second
    assert sorted([*rest, *picked]) == list(range(len(labels)))
    assert (np.diff(rest) > 0).all()
    assert (np.diff(picked) > 0).all()


@settings(deadline=None, max_examples=200)
@given(divisions())
def test_classes_are_in_proportion_and_on_both_sides_as_far_as_the_total_allows(
    division: tuple[np.ndarray, int, int],
) -> None:
    labels, second, seed = division
    rest, picked = stratified(labels, second, seed)
    classes, counts = np.unique(labels, return_counts=True)
    taken = np.array([(labels[picked] == k).sum() for k in classes])
    quota = counts * second / len(labels)
    lent = (quota < 1).sum() + (counts - quota < 1).sum()
    assert (np.abs(taken - quota) < 1 + lent).all()
    several = counts > 1
    if len(picked) >= several.sum():
        assert (taken[several] > 0).all()
    if len(rest) >= several.sum():
        assert (taken[several] < counts[several]).all()


@settings(deadline=None, max_examples=30)
@given(divisions())
def test_the_same_seed_draws_the_same_rows(division: tuple[np.ndarray, int, int]) -> None:
    for one, other in zip(stratified(*division), stratified(*division), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_draws_other_rows_and_chance_favours_none() -> None:
    labels = np.repeat([0, 1], [90, 10])
    picked = np.concatenate([stratified(labels, 20, seed)[1] for seed in range(200)])
    assert np.bincount(picked, minlength=100) == pytest.approx(np.full(100, 40), abs=25)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(14, 60), min_size=1, max_size=5), st.integers(0, 99))
def test_rows_in_three_are_complete_disjoint_and_of_the_published_sizes(counts: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    train, val, test = three(labels, seed)
    assert sorted([*train, *val, *test]) == list(range(len(labels)))
    assert len(val) == len(test) == round(0.075 * len(labels))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60), st.floats(0.01, 0.99), st.integers(0, 99))
def test_a_record_is_on_one_side_and_the_share_is_of_the_records(names: list[str], fraction: float, seed: int) -> None:
    records = np.array(names)
    second = max(1, round(fraction * len(set(names))))
    if second >= len(set(names)):
        with pytest.raises(DataError, match=f"cannot set {second} of {len(set(names))} records aside"):
            by_record(records, fraction, seed)
        return
    rest, picked = by_record(records, fraction, seed)
    assert len(set(records[picked])) == second
    assert not set(records[rest]) & set(records[picked])
    assert sorted([*rest, *picked]) == list(range(len(records)))


@pytest.mark.parametrize("second", [-1, 0, 10, 11])
def test_a_side_without_rows_is_a_data_error(second: int) -> None:
    with pytest.raises(DataError, match=f"cannot set {second} of 10 rows aside") as caught:
        stratified(np.zeros(10, dtype=int), second, 0)
    assert caught.value.code == 3


def test_the_rule_says_fraction_and_seed() -> None:
    assert drawn(np.arange(40) % 2, 0.1, 42)[2] == "validation is 0.1 of train, stratified by class, seed 42"


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_shared_rows_are_those_with_the_same_bytes(data: st.DataObject) -> None:
    # Few, so that rows and sums repeat.
    cell = st.sampled_from([0.0, -0.0, 0.5, 1.0, float(np.float32(1) - np.float32(2**-24))])
    sides = [
        np.array(data.draw(st.lists(st.lists(cell, min_size=6, max_size=6), max_size=8)), np.float32).reshape(-1, 2, 3)
        for _ in range(3)
    ]
    seen = {row.tobytes() for side in sides[1:] for row in side}
    assert shared(*sides).tolist() == [i for i, row in enumerate(sides[0]) if row.tobytes() in seen]


def test_rows_of_the_same_sum_are_not_taken_for_each_other() -> None:
    one, two = np.eye(187, dtype=np.float32)[[0, 1, 2], None], np.eye(187, dtype=np.float32)[[1, 5], None]
    assert shared(one, two).tolist() == [1]
    assert shared(one[:, :, ::-1], two).tolist() == []  # of a view that is not contiguous


@pytest.mark.parametrize(
    ("which", "text"),
    [
        ([], "0 of 2,000 test rows stand in train or validation too"),
        ([3, 9], "2 of 2,000 test rows stand in train or validation too: rows 3, 9"),
        (range(6), "6 of 2,000 test rows stand in train or validation too: rows 0, 1, 2, 3, 4, ..."),
    ],
)
def test_how_many_rows_are_shared_is_told_with_the_first_of_them(which: list[int], text: str) -> None:
    assert sharing(np.array(which), 2000) == text
