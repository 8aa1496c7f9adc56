"""Costs beside scores: medians of runs, columns only where they are known, and a front that no cell beats."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.studies import make, page_of
from studies import page, tables
from studies.ledger import Ledger
from toolbox.files import write_json

COSTS = {"a": (2e5, 4.0), "b": (1e5, 1.0), "c": (4e5, 2.0)}
BENEATH = {"file_bytes": 5000, "device": "a processor"}


def measured(root: Path, reps: int = 3) -> Ledger:
    """A research whose runs know what they cost: cell a more each time, b and c the same."""
    ledger = make(root, reps=reps)
    for path in root.glob("tiny/runs/*"):
        cell, rep = path.name[-2], int(path.name[-1])
        macs, speed = COSTS[cell]
        cost = {"macs": int(macs), "latency_ms": 1.0 + (cell == "a") * rep**2, "rows_per_s": speed, **BENEATH}
        write_json(path / "results.json", {"test": {"macro_f1": 0.5}, "cost": cost})
    return ledger


def brute_force(costs: list[float], scores: list[float]) -> set[tuple[float, float]]:
    """The points of which no other is at least as good in both and better in one."""
    points = list(zip(costs, scores, strict=True))
    return {(c, s) for c, s in points if not any(o <= c and t >= s and (o, t) != (c, s) for o, t in points)}


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_other_beats(seed: int) -> None:
    chance = np.random.default_rng(seed)
    costs, scores = (chance.integers(0, 9, 30).astype(float).tolist() for _ in range(2))
    chosen = page.front(costs, scores)
    assert {(costs[i], scores[i]) for i in chosen} == brute_force(costs, scores)
    assert [costs[i] for i in chosen] == sorted({costs[i] for i in chosen})
    assert page.front([-cost for cost in costs], scores, dearer_first=True) == chosen
    assert page.front(costs, [-score for score in scores], mode="min") == chosen


def test_a_front_of_nothing_has_no_point() -> None:
    assert page.front([], []) == []


def test_costs_are_typed_columns_of_a_run_and_medians_of_a_cell(tmp_path: Path) -> None:
    rows = tables.rows(measured(tmp_path))
    assert rows[0]["cost/macs"] == 200_000
    assert rows[0]["cost/device"] == "a processor"
    assert "cost/macs" not in tables.axes(rows)
    a, b, c = tables.cells(rows, "macro_f1")
    assert [row["latency_ms"] for row in (a, b, c)] == [2.0, 1.0, 1.0]
    assert [row["parameters"] for row in (a, b, c)] == [100, 200, 300]
    tables.write_csv(rows, tmp_path / "table.csv")
    assert "cost/macs" in (tmp_path / "table.csv").read_text().splitlines()[0]
    assert len(tables.where(rows, ["cost/macs=200000"])) == 3


def test_a_cost_that_no_run_knows_has_no_column(tmp_path: Path) -> None:
    for ledger, more in ((make(tmp_path / "old"), []), (measured(tmp_path / "new"), list(tables.COSTS)[1:])):
        table = tables.cells(tables.rows(ledger), "macro_f1")
        head, first, *_ = page.table_lines(table, ["layout"], "macro_f1")
        heads = [tables.COSTS[name].head for name in more]
        assert head[7:] == ["parameters", *heads, "s", ""]
        assert first[7:-2] == (["100", "200,000", "5", "2", "4"] if more else ["100"])


def test_the_figure_has_a_panel_for_each_cost_and_the_front_of_validation_in_it(tmp_path: Path) -> None:
    ledger = measured(tmp_path)
    rows = tables.rows(ledger)
    table = tables.cells(rows, "macro_f1")
    names = {(row["stage"], row["cell"]): row["cell"] for row in table}
    figure = page.cost_figure(table, names, "macro_f1")
    assert len(figure.data) == 3 * len(tables.COSTS)
    fronts = [trace for trace in figure.data if trace.legendgroup == "front"]
    assert {trace.text for trace in fronts} == {("a", "c"), ("b", "a", "c"), ("c",)}
    speed = fronts[list(tables.COSTS).index("rows_per_s")]
    assert list(speed.x) == [4.0, 2.0]
    assert speed.text == ("a", "c")
    low, high = figure.layout.yaxis.range
    assert -0.1 < low < high < 1.1
    text = page_of(ledger).read_text()
    assert text.count("Score against cost") == 1
    assert "multiply-accumulates of a row" in text


def test_a_score_of_which_less_is_better_has_its_front_below(tmp_path: Path) -> None:
    rows = tables.rows(measured(tmp_path))
    table = tables.cells(rows, "loss")
    names = {(row["stage"], row["cell"]): row["cell"] for row in table}
    for row, loss in zip(table, (3.0, 7.0, 1.0), strict=True):
        row["val_mean"] = loss
    figure = page.cost_figure(table, names, "loss")
    by_parameters: Any = next(trace for trace in figure.data if trace.legendgroup == "front")
    assert list(by_parameters.y) == [3.0, 1.0]
    assert by_parameters.textposition[0] == "bottom right"
