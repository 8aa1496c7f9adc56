"""Rows divided into sides: nothing shared, nothing lost, classes in proportion, decided by the seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.splits import stratified, validation_rule
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
def test_classes_are_in_proportion_and_on_both_sides_as_far_as_the_total_allows(division: tuple[np.ndarray, int, int]) -> None:
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


@pytest.mark.parametrize("second", [-1, 0, 10, 11])
def test_a_side_without_rows_is_a_data_error(second: int) -> None:
    with pytest.raises(DataError, match=f"cannot set {second} of 10 rows aside") as caught:
        stratified(np.zeros(10, dtype=int), second, 0)
    assert caught.value.code == 3


def test_the_rule_says_fraction_and_seed() -> None:
    assert validation_rule(0.1, 42) == "validation is 0.1 of train, stratified by class, seed 42"
