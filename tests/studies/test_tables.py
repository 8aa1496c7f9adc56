"""The table of a study and its page: rows, means, intervals, paired differences, collapsed runs, and costs."""

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from helpers.pages import Page, in_browser, needs_browser
from helpers.studies import MARKUP, SCORES, make, page_of
from studies import figures, page, tables
from studies.ledger import Ledger
from toolbox.errors import UsageError
from toolbox.files import write_json
from toolbox.metrics import classification
from toolbox.plain import NOTICE

ONE_CLASS, GOOD = [[90, 0], [10, 0]], [[85, 5], [2, 8]]
COSTS = {"a": (2e5, 4.0), "b": (1e5, 1.0), "c": (4e5, 2.0)}  # multiply-accumulates, rows a second


def table_of(ledger: Ledger, metric: str = "macro_f1") -> list[tables.Row]:
    return tables.cells(tables.rows(ledger), metric)


def figure_of(table: list[tables.Row], metric: str = "macro_f1") -> Any:
    return figures.cost_figure(table, {(row["stage"], row["cell"]): f"{row['cell']} of it" for row in table}, metric)


def measured(root: Path) -> Ledger:
    """A study whose runs know their costs: those of configuration a differ, those of b and c do not."""
    ledger = make(root)
    for path in root.glob("tiny/runs/*"):
        cell, rep = path.name[-2], int(path.name[-1])
        cost = {"macs": int(COSTS[cell][0]), "latency_ms": 1.0 + (cell == "a") * rep**2, "rows_per_s": COSTS[cell][1]}
        cost |= {"file_bytes": 5000, "device": "a processor"}
        write_json(path / "results.json", {"test": {"macro_f1": 0.5}, "cost": cost})
    return ledger


@pytest.fixture
def collapsed(tmp_path: Path) -> Ledger:
    """One run of configuration a has collapsed on validation, one of b on test, the one of c, not validated, on
    training."""
    ledger = make(tmp_path)
    for cell, values in SCORES.items():
        for rep, score in enumerate(values):
            folder = tmp_path / "tiny" / "runs" / f"tiny_m_{cell}{rep}"
            bad = {"a": (ONE_CLASS, GOOD), "b": (GOOD, ONE_CLASS), "c": (None, GOOD)}[cell]
            val_matrix, test_matrix = bad if rep == 1 or cell == "c" else (GOOD, GOOD)
            val = {"macro_f1": score, "confusion_matrix": val_matrix} if val_matrix else {}
            epoch = {"epoch": 1, "seconds": 1.0, "val": val, "train": {"confusion_matrix": ONE_CLASS}}
            write_json(folder / "logger.json", [epoch])
            write_json(folder / "results.json", {"test": {"macro_f1": score - 0.1, "confusion_matrix": test_matrix}})
    return ledger


def test_a_row_is_typed_and_read_from_the_run(tmp_path: Path) -> None:
    rows = tables.rows(make(tmp_path))
    expected = {"cell": "a", "rep": 0, "seed": 42, "state": "done", "parameters": 100, "epochs": 2, "best_epoch": 1}
    expected |= {"seconds": 3.0, "layout": "a", "val/macro_f1": 0.7, "test/macro_f1": pytest.approx(0.6)}
    assert len(rows) == 9
    assert {key: rows[0][key] for key in expected} == expected
    assert "lr" not in rows[0]  # every configuration has the same
    assert [row["state"] for row in rows if row["cell"] == "c"] == ["done", "waiting", "waiting"]


def test_means_intervals_and_paired_differences_are_those_of_scipy(tmp_path: Path) -> None:
    from scipy import stats

    a, b, c = table_of(make(tmp_path))
    differences = np.subtract(SCORES["b"], SCORES["a"])
    for row, name, values in ((a, "val", SCORES["a"]), (b, "val", SCORES["b"]), (b, "difference", differences)):
        found = tuple(row[f"{name}_{part}"] for part in ("mean", "sd", "low", "high"))
        interval = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        interval = interval if name == "difference" else np.clip(interval, 0, 1)  # a macro F1 is a share
        assert found == pytest.approx((np.mean(values), np.std(values, ddof=1), *interval))
    assert a["difference_mean"] is None
    assert (c["n"], c["left"], c["val_sd"], c["val_low"]) == (1, 2, None, None)
    assert c["difference_mean"] == pytest.approx(0.99 - 0.7)


def test_the_best_is_decided_on_validation_and_not_by_a_single_lucky_run(tmp_path: Path) -> None:
    def best(rows: list[tables.Row], metric: str = "macro_f1") -> str:
        return tables.best(tables.cells(rows, metric), metric)["cell"]

    ledger = make(tmp_path)
    rows = tables.rows(ledger)
    assert best(rows) == best([row | {"test/macro_f1": float(row["cell"] == "b")} for row in rows]) == "a"
    few = [row | {"val/loss": {"a": 3.0, "b": 1.0, "c": 2.0}[row["cell"]]} for row in rows if row["rep"] == 0]
    assert (best(few), best(few, "loss")) == ("c", "b")
    assert tables.best([], "loss") is None
    history = [{"epoch": e, "val": {"loss": loss}} for e, loss in ((1, 0.5), (2, None), (3, 0.4), (4, 0.4))]
    assert tables.best_epoch(history, "loss")["epoch"] == 3
    assert tables.best_epoch([], "loss") is None
    assert tables.judged_by(ledger, rows, "loss") == "loss"
    with pytest.raises(UsageError, match="unknown --best 'macro_f2'; known are macro_f1, loss"):
        tables.judged_by(ledger, rows, "macro_f2")
    assert tables.judged_by(ledger, [], "macro_f2") == "macro_f2"  # no run has started


def test_rows_are_chosen_by_value_and_failed_and_pruned_ones_are_no_part_of_a_mean(tmp_path: Path) -> None:
    rows = tables.rows(make(tmp_path))
    assert {row["cell"] for row in tables.where(rows, ["layout=b"])} == {"b"}
    assert len(tables.where(rows, ["rep=1", "state=done"])) == 2
    assert tables.where(rows, ["layout=z"]) == []
    with pytest.raises(UsageError, match="unknown column 'size'"):
        tables.where(rows, ["size=1"])
    rows[0]["state"], rows[3]["state"] = "failed", "pruned"
    a, *_ = tables.cells(rows, "macro_f1")
    assert [a[name] for name in ("n", "failed", "pruned", "left", "val_mean")] == [1, 1, 1, 0, 0.75]
    assert "1 failed, 1 pruned" in page.text([a], ["layout"], "macro_f1")


def test_names_of_columns_and_configurations_are_short_where_they_are_unique() -> None:
    assert tables.columns(["model-args.layout", "lr"]) == {"layout": "model-args.layout", "lr": "lr"}
    assert tables.columns(["model-args.lr", "lr"]) == {"model-args.lr": "model-args.lr", "lr": "lr"}
    assert tables.columns(["model-args.seed"]) == {"model-args.seed": "model-args.seed"}
    row = {"stage": "grid", "cell": "c", "rr-features": "true", "normalise": None}
    assert page.name_of(row, ["rr-features", "normalise"]) == "rr-features=true"
    assert page.name_of(row | {"rr-features": None}, ["rr-features", "normalise"]) == "without rr-features, normalise"
    assert page.name_of(row, []) == "c"


COLLAPSES = [
    (ONE_CLASS, "one class for 100.0 % of the rows"),
    ([[989, 5], [1, 5]], "one class for 99.0 % of the rows"),  # whatever its macro F1 is
    (GOOD, None),
    ([[30, 20], [26, 24]], None),  # macro F1 0.538
    ([[25, 25], [25, 25]], "macro F1 0.500, guessing 0.500"),
    ([[100, 0], [0, 0]], None),  # only one class occurs
    ([[0, 100], [0, 0]], None),
    ([[10, 80, 0], [1, 9, 0], [0, 0, 0]], "macro F1 0.190, guessing 0.500"),
]


@pytest.mark.parametrize(("matrix", "why"), COLLAPSES)
def test_a_network_that_predicts_one_class_or_guesses_has_collapsed(matrix: list[list[int]], why: str | None) -> None:
    assert classification.why(np.array(matrix)) == why


def test_collapsed_runs_are_counted_shown_and_means_are_given_with_and_without_them(
    collapsed: Ledger, tmp_path: Path
) -> None:
    rows = tables.rows(collapsed)
    whys = {(row["cell"], row["rep"]): row["collapsed"] for row in rows if row.get("collapsed")}
    one = "one class for 100.0 % of the rows"
    assert whys == {("a", 1): f"validation: {one}", ("b", 1): f"test: {one}", ("c", 0): f"training: {one}"}
    a, b, c = tables.cells(rows, "macro_f1")
    assert [row["collapsed"] for row in (a, b, c)] == [1, 1, 1]
    assert (a["n"], a["val_mean"], a["val_sound_mean"]) == (3, pytest.approx(0.75), pytest.approx(0.725))
    assert (b["test_mean"], b["test_sound_mean"]) == (pytest.approx(np.mean([0.5, 0.75, 0.6])), pytest.approx(0.55))
    assert (c["val_mean"], c["test_mean"], c["test_sound_mean"]) == (None, pytest.approx(0.89), None)
    assert tables.best([a, b, c], "macro_f1") is a  # decided with them
    text = page.text([a, b, c], ["layout"], "macro_f1")
    assert "(without collapsed 0.7250)" in text
    assert "(without collapsed none)" in text
    assert text.count("1 collapsed") == 3
    rule = f"3 runs have collapsed; means are given with and without them. {classification.RULE}"
    assert rule in page.remarks(rows, "macro_f1")
    html = page_of(collapsed).read_text()
    assert rule in html
    assert '"symbol":"x"' in html
    tables.write_csv(rows, tmp_path / "t.csv")
    assert "validation: one class for 100.0 % of the rows" in (tmp_path / "t.csv").read_text()


@pytest.mark.parametrize("scores", [{}, {"a": []}, {"a": [0.5]}, {f"a{i}": [0.1 * i, 0.2] for i in range(26)}])
def test_every_study_has_its_page_and_its_lines(tmp_path: Path, scores: dict[str, Any]) -> None:
    ledger = make(tmp_path, scores)
    assert page_of(ledger).stat().st_size > 1000
    table, rows = table_of(ledger), tables.rows(ledger)
    lines = page.text(table, tables.axes(rows), "macro_f1").splitlines()
    assert len(lines) == len(table) + 1
    assert sum(line.startswith("*") for line in lines) == bool(scores.get("a") or "a1" in scores)
    assert "collapsed" not in " ".join([*lines, *page.remarks(rows, "macro_f1")])


DRAWN = """
    const boxes = [...document.querySelectorAll(".plot")].filter(box => box.offsetParent);
    for (const box of boxes) window.drawFigure(box);
    document.querySelector("#table input").click();
    const drawn = boxes.map(box => box.querySelector(".js-plotly-plot").data.length > 0);
    const rows = document.querySelectorAll("#table tbody tr").length;
    const over_lines = getComputedStyle(document.querySelector(".textpoint text")).paintOrder.startsWith("stroke");
    return [drawn, document.documentElement.scrollWidth <= innerWidth, rows, over_lines];
"""


@needs_browser
def test_every_figure_of_the_page_is_drawn_and_its_runs_are_explored(tmp_path: Path) -> None:
    assert in_browser(page_of(measured(tmp_path)), DRAWN, width=390) == [[True] * 4, True, 7, True]


def test_the_page_needs_no_network_shows_markup_as_text_and_says_how_rows_are_split(tmp_path: Path) -> None:
    ledger = make(tmp_path, {"a": [0.5, 0.4], MARKUP.replace("/", "_"): [0.6]}, reps=2)
    path = page_of(ledger)
    text = path.read_text()
    script, *links = Page(path).loaded
    assert script == "../../plotly.min.js"
    assert (path.parent / script).is_file()
    assert links[0] == "../../runs.html"
    assert all((path.parent / unquote(link)).is_dir() for link in links[1:])  # the folders of the runs
    assert len(links) == 4
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    first, judged, few = page.remarks(tables.rows(ledger), "macro_f1")
    assert few.startswith("No interval of fewer than 3 runs")
    assert first == f"split: by {MARKUP}, seed 42; each repetition has its own seed"
    assert all(f"<p>{escape(line)}</p>" in text for line in (first, judged, few))
    assert NOTICE in text


def test_two_runs_and_runs_without_spread_have_no_interval(tmp_path: Path) -> None:
    """Of two, Student's interval is as wide as all possible scores; of equal ones it would claim to be certain."""
    a, b, c = table_of(make(tmp_path, {"a": [0.5, 0.6], "b": [0.5, 0.5, 0.5], "c": [0.2, 0.3, 0.4]}))
    assert [(row["val_low"], row["test_high"]) for row in (a, b)] == [(None, None)] * 2
    assert a["val_sd"] > 0
    assert 0 < c["val_low"] < c["val_mean"] < c["val_high"] <= 1


def test_configurations_stand_best_first_and_those_without_enough_or_sound_runs_last(tmp_path: Path) -> None:
    scores = {"a": [0.5, 0.6, 0.7], "b": [0.9, 0.8, 0.7], "c": [0.99], "d": [], "e": [0.95, 0.95, 0.95]}
    rows = [
        row | {"collapsed": "one class"} if row["cell"] == "e" else row for row in tables.rows(make(tmp_path, scores))
    ]
    table = tables.ranked(tables.cells(rows, "macro_f1"), "macro_f1")
    assert [row["cell"] for row in table] == ["b", "a", "e", "c", "d"]
    assert [row["rank"] for row in table] == [1, 2, 3, 4, 5]
    assert [row["cell"] for row in table if row["best"]] == ["b"]
    assert [row["cell"] for row in tables.ranked(tables.cells(rows, "loss"), "loss")][-1] == "d"


def test_no_configuration_is_the_best_where_every_run_has_collapsed(tmp_path: Path) -> None:
    rows = [row | {"collapsed": "one class"} for row in tables.rows(make(tmp_path, {"a": [0.5] * 3, "b": [0.4] * 3}))]
    table = tables.cells(rows, "macro_f1")
    assert not any(row["best"] or row["difference_mean"] for row in table)
    assert page.remarks(rows, "macro_f1")[-1] == "No configuration is the best: every run has collapsed."
    assert tables.best(table, "macro_f1")["cell"] == "a"  # a later stage still has one to start from
    (one,) = [line for line in page.remarks(rows[:1], "macro_f1") if "means are" in line]
    assert one.startswith("1 run has collapsed")


def test_the_page_has_a_unit_for_each_column_and_no_column_without_a_value(tmp_path: Path) -> None:
    for ledger, axes in ((make(tmp_path / "old"), ["layout"]), (measured(tmp_path / "new"), [])):
        table = tables.ranked(table_of(ledger), "macro_f1")
        head, lines = page.cells(table, axes, "macro_f1")
        assert head[: 1 + len(axes)] == ["rank", *axes]
        assert all(len(line) == len(head) for line in lines)
        assert all(any(line[i] != "" for line in lines) for i in range(len(head)))
        assert "without collapsed" not in head
        assert ("ms a row" in head) == (not axes)
        for name in ("validation macro F1", "from the best", "training s"):
            assert {float(line[head.index(name)] or 0) for line in lines}


@pytest.mark.parametrize("seed", range(5))
def test_the_front_has_every_point_that_no_other_beats(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, scores = (rng.integers(0, 9, 30).astype(float).tolist() for _ in range(2))
    points = list(zip(costs, scores, strict=True))
    unbeaten = {(c, s) for c, s in points if not any(o <= c and t >= s and (o, t) != (c, s) for o, t in points)}
    chosen = figures.front(costs, scores)
    assert [points[i] for i in chosen] == sorted(unbeaten)
    assert figures.front([-cost for cost in costs], scores, dearer_first=True) == chosen
    assert figures.front(costs, [-score for score in scores], mode="min") == chosen
    assert figures.front([], []) == []


def test_costs_are_typed_columns_of_a_run_and_medians_of_a_configuration(tmp_path: Path) -> None:
    rows = tables.rows(measured(tmp_path))
    assert (rows[0]["cost/macs"], rows[0]["cost/device"]) == (200_000, "a processor")
    assert "cost/macs" not in tables.axes(rows)
    a, b, c = tables.cells(rows, "macro_f1")
    assert [row["latency_ms"] for row in (a, b, c)] == [2.0, 1.0, 1.0]
    assert [row["parameters"] for row in (a, b, c)] == [100, 200, 300]
    tables.write_csv(rows, tmp_path / "table.csv")
    assert "cost/macs" in (tmp_path / "table.csv").read_text().splitlines()[0]
    assert len(tables.where(rows, ["cost/macs=200000"])) == 3


def test_only_known_costs_have_a_column(tmp_path: Path) -> None:
    for ledger, more in ((make(tmp_path / "old"), []), (measured(tmp_path / "new"), list(tables.COSTS)[1:])):
        head, first, *_ = page.table_lines(table_of(ledger), ["layout"], "macro_f1")
        assert head[7:] == ["parameters", *(tables.COSTS[name].head for name in more), "s", ""]
        assert first[7:-2] == (["100", "200,000", "5", "2", "4"] if more else ["100"])


def test_the_figure_has_a_panel_for_each_cost_with_the_front_of_validation(tmp_path: Path) -> None:
    ledger = measured(tmp_path)
    figure = figure_of(table_of(ledger))
    assert len(figure.data) == 3 * len(tables.COSTS)
    fronts = [trace for trace in figure.data if trace.legendgroup == "front"]
    assert {trace.text for trace in fronts} == {("a", "c"), ("b", "a", "c"), ("c",)}
    speed = fronts[list(tables.COSTS).index("rows_per_s")]
    assert (list(speed.x), speed.text) == ([4.0, 2.0], ("a", "c"))
    assert {axis.tickformat for axis in figure.select_xaxes() if axis.title.text} == {"~s"}  # 20k, not "2" beside 10k
    low, high = figure.layout.yaxis.range
    assert -0.1 < low < high < 1.1
    text = page_of(ledger).read_text()
    assert text.count("<h2>Score against cost</h2>") == 1
    assert "multiply-accumulates of a row" in text
    table = table_of(ledger, "loss")
    for row, loss in zip(table, (3.0, 7.0, 1.0), strict=True):
        row["val_mean"] = loss
    below = next(trace for trace in figure_of(table, "loss").data if trace.legendgroup == "front")
    assert (list(below.y), below.textposition[0]) == ([3.0, 1.0], "bottom right")  # less is better
