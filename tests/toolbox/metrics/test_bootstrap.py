"""The bootstrap: its draws, their blocks and units, and the intervals."""

import numpy as np
import pytest

from toolbox.metrics import intervals


def test_every_replicate_draws_as_many_units_as_there_are() -> None:
    (drawn,) = intervals.draws(7, 500, seed=0)
    assert drawn.shape == (500, 7)
    assert (drawn.sum(1) == 7).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.15)


def test_the_number_of_replicates_is_set_in_one_place_for_every_kind_of_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [(intervals.draws, 7), (intervals.row_draws, 7), (intervals.matrix_draws, np.eye(3))]
    for replicates in (1000, 50):
        monkeypatch.setattr(intervals, "REPLICATES", replicates)
        assert [sum(map(len, draw(of))) for draw, of in kinds] == [replicates] * 3


def test_blocks_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = intervals.draws(7, 50, seed=0)
    monkeypatch.setattr(intervals, "LARGEST_BLOCK", 100)
    blocks = list(intervals.draws(7, 50, seed=0))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_the_spread_of_a_mean_is_the_one_of_the_books() -> None:
    x = np.random.default_rng(0).normal(size=400)
    spread = intervals.replicated(lambda drawn: {"mean": drawn @ x / len(x)}, intervals.draws(len(x)))["mean"]
    low, high = intervals.percentile_interval(spread)
    assert low < x.mean() < high
    assert spread.std() == pytest.approx(x.std() / 20, rel=0.1)


@pytest.mark.parametrize("count", [0, 1])
def test_no_two_units_have_no_interval(count: int) -> None:
    spread = intervals.replicated(lambda drawn: {"share": drawn.sum(1)}, intervals.draws(count))["share"]
    assert spread.shape == (0,)
    assert np.isnan(intervals.percentile_interval(spread)).all()
    assert intervals.percentile_interval(np.array([np.nan, 1, 1])) == [1, 1]  # of the replicates that are defined


@pytest.mark.parametrize(("count", "lacks"), [(9, "9 rows"), (10, "")])
def test_few_rows_have_no_interval_and_the_count_is_the_reason(count: int, lacks: str) -> None:
    def statistic(drawn: np.ndarray) -> dict[str, np.ndarray]:
        return {"one": drawn[:, 0], "none": drawn[:, 0] * np.nan, "still": drawn.mean(1)}

    ends, lacking = intervals.allowed(intervals.percentiles(statistic, intervals.draws(count)), count)
    assert ((ends["one"] is None), lacking.get("one", "")) == (bool(lacks), lacks)
    assert (ends["none"], lacking["none"]) == (None, lacks or "undefined")
    assert (ends["still"], lacking["still"]) == (None, lacks or "no spread")


def test_units_are_records_where_every_row_names_one_and_several_share_it() -> None:
    assert intervals.several_rows_a_record(np.array(["a", "b", "a"]))
    for apart in (["a", "b", "c"], ["a", "", "a"], []):
        assert not intervals.several_rows_a_record(np.array(apart, str))
    for record, units in ((["b", "a", "b"], ([1, 0, 1], "records")), (["", "", ""], ([0, 1, 2], "rows"))):
        unit, kind = intervals.units(np.array(record))
        assert (unit.tolist(), kind) == units
