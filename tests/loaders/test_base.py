"""A split keeps what belongs to a row together, whichever rows are taken or joined."""

import numpy as np
import pytest
import torch

from helpers.data import make_spec
from loaders import splits
from loaders.base import OF_ROWS, Data, Split


def split(rows: int, dropped: int = 0) -> Split:
    """Rows each of whose parts tells its number."""
    number = np.arange(rows)
    x = np.tile(number.astype(np.float32)[:, None, None], (1, 1, 3))
    beside = {"position": 10 * number, "features": np.stack([number, number], 1).astype(np.float32)}
    return Split(x, number, number.astype(str), number, dropped, **beside)


def test_rows_that_are_taken_keep_all_that_is_theirs() -> None:
    which = np.array([4, 0, 2])
    taken = split(5).rows(which)
    for name in OF_ROWS:
        np.testing.assert_array_equal(getattr(taken, name), getattr(split(5), name)[which])


def test_a_network_that_writes_into_its_rows_leaves_those_of_the_split() -> None:
    rows, before = split(5), split(5)
    batches = rows.batches(torch.device("cpu"))
    for order in (None, torch.arange(5)):
        for inputs, _ in batches.batches(order, 2):
            for each in inputs:
                each.fill_(-1)
    np.testing.assert_array_equal(rows.x, before.x)
    np.testing.assert_array_equal(rows.features, before.features)


def test_joined_rows_follow_each_other_and_the_index_goes_on() -> None:
    both = Split.joined(split(3, dropped=2), split(2, dropped=1))
    assert both.index.tolist() == [0, 1, 2, 5, 6]
    assert both.dropped == 3
    assert both.position.tolist() == [0, 10, 20, 0, 10]
    assert both.features.shape == (5, 2)


def test_where_nothing_is_known_positions_are_minus_one_and_there_are_no_features() -> None:
    plain = Split.of({"x": np.zeros((4, 3), np.float32), "y": np.zeros(4, np.int64)})
    assert plain.position.tolist() == [-1] * 4
    assert plain.features.shape == (4, 0)
    assert plain.rows(np.array([1])).features.shape == (1, 0)


@pytest.mark.parametrize("labels", [None, 0, 3])
def test_targets_may_be_classes_many_labels_or_none(labels: int | None) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60) if labels is None else rng.integers(0, 2, (60, labels))
    rows = Split.of({"x": rng.normal(size=(60, 1, 4)).astype(np.float32)} | ({"y": y} if labels != 0 else {}))
    assert rows.y.shape == y.shape
    train, val, test, rule = splits.divide(rows.y, 0.25, 1)
    assert sorted([*train, *val, *test]) == list(range(60))
    assert (len(test), len(val), rule) == (12, 12, "validation is 0.25 of train, stratified by class, seed 1")
    fold = [splits.drawn(rows.y, splits.Fold(number, 4), 1)[1] for number in range(1, 5)]
    assert sorted(np.concatenate(fold)) == list(range(60))
    batches = list(rows.rows(test).batches(torch.device("cpu")).batches(torch.arange(12).flip(0), 5))
    np.testing.assert_array_equal(torch.cat([targets for _, targets in batches]).numpy(), y[test][::-1])
    whole = Data(make_spec(samples=4), rows.rows(train), rows.rows(val), lambda: rows.rows(test), "")
    assert len(whole.shared_rows) == 0
    assert whole.part(5).covers == {"val_rows": [5, 12], "test_rows": [5, 12]}


def test_many_labels_are_divided_by_the_sets_of_labels_that_rows_have() -> None:
    y = np.repeat([[0, 0], [0, 1], [1, 1]], [40, 20, 10], axis=0)
    _, test = splits.stratified(y, 14, 3)
    assert np.unique(y[test], axis=0, return_counts=True)[1].tolist() == [8, 4, 2]
