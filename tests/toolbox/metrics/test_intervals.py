"""Intervals: over records their ends, the reasons for a missing one and their coverage; the draws of the bootstrap."""

import re
import runpy

import numpy as np
import pytest

from helpers.data import ROOT, benchmark
from toolbox.metrics import ec57, intervals

coverage = benchmark("coverage")
RNG = np.random.default_rng(0)
VALUES = RNG.uniform(0.6, 1.0, 22)


def without_each(values: np.ndarray) -> np.ndarray:
    return (values.sum() - values) / (len(values) - 1)


def test_ends_stay_within_the_range_of_the_figure() -> None:
    of = intervals.spread(VALUES.mean(), without_each(VALUES))
    low, high = intervals.t_interval(of, (0, 1))
    assert 0 < low < VALUES.mean() < high < 1
    near = np.append(np.ones(20), [0.2, 0.9])
    low, high = intervals.t_interval(intervals.spread(near.mean(), without_each(near)), (0, 1))
    assert 0 < low < 0.8
    assert near.mean() < high < 1
    losses = VALUES**8
    low, high = intervals.t_interval(intervals.spread(losses.mean(), without_each(losses)), (0, np.inf))
    assert 0 < low < losses.mean() < high
    assert low * high == pytest.approx(losses.mean() ** 2)  # even on the log scale


@pytest.mark.parametrize(
    ("values", "known", "lacks"),
    [
        (VALUES[:9], None, "9 records"),
        (VALUES[:1], None, "1 record"),
        (VALUES, 7, "7 records"),
        (VALUES, 0, "0 records"),
        (np.full(22, 0.6), None, "no spread"),
        (np.append(VALUES, np.nan), None, "undefined"),
    ],
)
def test_a_missing_interval_has_a_reason(values: np.ndarray, known: int | None, lacks: str) -> None:
    of = intervals.spread(values.mean(), without_each(values) if len(values) > 1 else np.array([np.nan]), known)
    assert of.lacks == lacks
    assert intervals.t_interval(of, (0, 1)) is None
    assert intervals.difference_interval(of, (0, 1)) is None
    assert intervals.above_0(of) is None


def test_a_difference_is_above_0_at_the_level_of_its_interval() -> None:
    values = RNG.normal(0, 1, 22)
    of = intervals.spread(values.mean(), without_each(values))
    low, high = intervals.difference_interval(of, (-9, 9))
    assert low + high == pytest.approx(2 * values.mean())
    shifted = intervals.Spread(of.value - low, of.error, of.freedom)  # its interval begins at 0
    assert intervals.above_0(shifted) == pytest.approx(0.975)
    assert intervals.difference_interval(intervals.Spread(0.9, 1, 3), (0, 1)) == [-1, 1]


def test_the_record_that_moves_a_figure_most_is_named_also_where_nothing_is_left_without_it() -> None:
    without = {"a": np.array([0.5, 0.9, 0.6]), "b": np.array([0.5, 0.5, np.nan]), "c": np.full(3, np.nan)}
    found = intervals.influence({"a": 0.55, "b": 0.5, "c": np.nan}, without, ["r1", "r2", "r3"], ["a", "b", "c"])
    assert found["a"] == {"record": "r2", "value": 0.55, "without": 0.9}
    assert found["b"]["record"] == "r3"
    assert np.isnan(found["b"]["without"])
    assert "c" not in found


def test_of_intervals_over_even_records_about_95_in_100_hold_the_truth() -> None:
    """A few hundred simulated tests: too few for a figure of the report, enough to find a mistake."""
    population = coverage.POPULATIONS["even"]
    truth = coverage.figures(population.draw(np.random.default_rng(0), 20_000)[0].sum(0))
    rng, held = np.random.default_rng(1), []
    for _ in range(200):
        matrices, _ = population.draw(rng, 22)
        total = matrices.sum(0)
        of = zip(coverage.figures(total), coverage.figures(total - matrices), strict=True)
        ends = np.array([intervals.t_interval(intervals.spread(*each), intervals.SHARE) for each in of])
        held.append((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
    assert (np.mean(held, 0) > 0.9).all()
    assert (np.mean(held, 0) < 0.995).all()


def test_the_coverage_in_the_report_is_that_of_the_documentation() -> None:
    line = re.search(
        r"^\| \*\*jackknife t, effective\*\* \| (.+) \|$", (ROOT / "docs" / "results.md").read_text(), re.MULTILINE
    )
    stated = [f"{low:.0f}-{high:.0f}" for low, high in intervals.COVERAGE.values()]
    assert line[1].split(" | ") == stated
    assert tuple(intervals.COVERAGE) == coverage.FIGURES
    assert set(intervals.COVERAGE) <= set(ec57.headline(coverage.CLASSES))


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


def test_commands_draw_1000_replicates() -> None:
    assert runpy.run_path(intervals.__file__)["REPLICATES"] == 1000  # the suite draws fewer


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
