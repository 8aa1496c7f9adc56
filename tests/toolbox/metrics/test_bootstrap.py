"""The bootstrap: its draws, their blocks and units, and the intervals."""

import numpy as np
import pytest

from toolbox.metrics import bootstrap


def test_every_replicate_draws_as_many_units_as_there_are() -> None:
    (drawn,) = bootstrap.draws(7, 500, seed=0)
    assert drawn.shape == (500, 7)
    assert (drawn.sum(1) == 7).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.15)


def test_the_number_of_replicates_is_set_in_one_place_for_every_kind_of_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [(bootstrap.draws, 7), (bootstrap.row_draws, 7), (bootstrap.matrix_draws, np.eye(3))]
    for replicates in (1000, 50):
        monkeypatch.setattr(bootstrap, "REPLICATES", replicates)
        assert [sum(map(len, draw(of))) for draw, of in kinds] == [replicates] * 3


def test_blocks_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = bootstrap.draws(7, 50, seed=0)
    monkeypatch.setattr(bootstrap, "MOST", 100)
    blocks = list(bootstrap.draws(7, 50, seed=0))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_the_spread_of_a_mean_is_the_one_of_the_books() -> None:
    x = np.random.default_rng(0).normal(size=400)
    spread = bootstrap.replicated(lambda drawn: {"mean": drawn @ x / len(x)}, bootstrap.draws(len(x)))["mean"]
    low, high = bootstrap.interval(spread)
    assert low < x.mean() < high
    assert spread.std() == pytest.approx(x.std() / 20, rel=0.1)


@pytest.mark.parametrize("count", [0, 1])
def test_no_two_units_have_no_interval(count: int) -> None:
    spread = bootstrap.replicated(lambda drawn: {"share": drawn.sum(1)}, bootstrap.draws(count))["share"]
    assert spread.shape == (0,)
    assert np.isnan(bootstrap.interval(spread)).all()
    assert bootstrap.interval(np.array([np.nan, 1, 1])) == [1, 1]  # of the replicates that are defined


@pytest.mark.parametrize(("count", "lacks"), [(9, "9 rows"), (10, "")])
def test_few_rows_have_no_interval_and_the_count_is_the_reason(count: int, lacks: str) -> None:
    def statistic(drawn: np.ndarray) -> dict[str, np.ndarray]:
        return {"one": drawn[:, 0], "none": drawn[:, 0] * np.nan, "still": drawn.mean(1)}

    intervals, lacking = bootstrap.allowed(bootstrap.percentiles(statistic, bootstrap.draws(count)), count)
    assert ((intervals["one"] is None), lacking.get("one", "")) == (bool(lacks), lacks)
    assert (intervals["none"], lacking["none"]) == (None, lacks or "undefined")
    assert (intervals["still"], lacking["still"]) == (None, lacks or "no spread")


def test_units_are_records_where_every_row_names_one_and_several_share_it() -> None:
    assert bootstrap.several_rows_a_record(np.array(["a", "b", "a"]))
    for apart in (["a", "b", "c"], ["a", "", "a"], []):
        assert not bootstrap.several_rows_a_record(np.array(apart, str))
    for record, units in ((["b", "a", "b"], ([1, 0, 1], "records")), (["", "", ""], ([0, 1, 2], "rows"))):
        unit, kind = bootstrap.units(np.array(record))
        assert (unit.tolist(), kind) == units
