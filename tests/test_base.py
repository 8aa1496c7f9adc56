"""A split keeps what belongs to a row together, whichever rows are taken or joined."""

import numpy as np

from loaders.base import OF_ROWS, Split


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
