"""Intervals over records: their ends, the reasons for a missing one, and how often they hold a known truth."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import numpy as np
import pytest

from helpers.data import ROOT
from toolbox.metrics import ec57, intervals


def benchmark(name: str) -> ModuleType:
    """A script of benchmarks/ as a module, under a name that no package has."""
    spec = spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    sys.modules[spec.name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
