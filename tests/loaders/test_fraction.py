"""A part of the training rows is nested, by patient, in proportion, and leaves no class out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import compare
from loaders import fraction, get_data
from loaders.base import Data


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """The unit of each row, and many labels or one class."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    count, units, classes = draw(st.integers(1, 300)), draw(st.integers(1, 80)), draw(st.integers(1, 6))
    unit = np.unique(rng.integers(0, units, count), return_inverse=True)[1]
    if draw(st.booleans()):
        return unit, (rng.random((count, classes)) < rng.random(classes) * 0.5).astype(int)
    return unit, rng.integers(0, classes, count)


@settings(deadline=None, max_examples=60)
@given(rows(), st.integers(0, 99))
def test_parts_are_nested_and_every_class_keeps_a_row(drawn: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    unit, y = drawn
    has, before = fraction.indicator(y), set()
    for part in (0.001, 0.1, 0.3, 0.7, 1):
        kept = set(fraction.kept(unit, has, part, seed).tolist())
        assert before <= kept
        before = kept
        taken = np.isin(unit, [*kept])
        assert (has[taken].any(0) == has.any(0)).all()
    assert before == set(unit.tolist())


@pytest.mark.parametrize(("view", "shared", "unit"), [("record", 2, "patients"), ("record", 1, "records"),
                                                      ("beat", 2, "records")])  # fmt: skip
def test_the_split_rule_counts_patients_where_rows_are_records_of_one(
    data: Data, view: str, shared: int, unit: str
) -> None:
    """A row that is a record shares its name with others only if this is the name of a patient."""
    names = np.array([f"p{row // shared}" for row in range(len(data.train))])
    named = replace(data, spec=replace(data.spec, view=view), train=replace(data.train, record=names))
    fewer = fraction.of(named, 0.1, 42)
    kept = len(np.unique(fewer.train.record))
    assert fewer.spec.split_rule.endswith(f", {kept:,} of {len(np.unique(names)):,} {unit}")


def test_classes_keep_their_shares() -> None:
    y = np.repeat([0, 1, 2], (600, 300, 100))
    for seed in range(3):
        kept = fraction.kept(np.arange(1000), fraction.indicator(y), 0.1, seed)
        assert np.bincount(y[kept]).tolist() == [60, 30, 10]
    one, other = (fraction.kept(np.arange(1000), fraction.indicator(y), 0.1, seed) for seed in (1, 2))
    assert not np.array_equal(one, other)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return get_data("synth_patients", tmp_path_factory.mktemp("patients"))


def test_patients_stay_whole_and_validation_and_test_as_they_are(data: Data) -> None:
    fewer = fraction.of(data, 0.4, 42)
    names = set(fewer.train.record.tolist())
    assert 0 < len(names) < len(set(data.train.record.tolist()))
    assert len(fewer.train) == np.isin(data.train.record, [*names]).sum()
    np.testing.assert_array_equal(fewer.train.y, data.train.y[np.isin(data.train.record, [*names])])
    assert fewer.val is data.val
    assert fewer.open_test is data.open_test
    assert (
        f"; 0.4 of the training rows, {len(fewer.train):,} of {len(data.train):,}, {len(names)} of"
        in fewer.spec.split_rule
    )
    assert compare.test_side(fewer.spec.split_rule) == compare.test_side(data.spec.split_rule)
    assert fraction.of(data, None, 42) is fraction.of(data, 1, 42) is data
    short = fraction.of(data.part(8), 0.4, 42).spec.split_rule
    assert short.rpartition("; ")[2] == data.part(8).spec.split_rule.rpartition("; ")[2]
    assert f"0.4 of the training rows, {len(fewer.train):,} of" in short
