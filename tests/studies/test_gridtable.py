"""The table of a research: typed rows, means, sds and intervals as scipy has them, differences in pairs, and the
page."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from helpers.pages import Page
from helpers.studies import MARKUP, SCORES, make, page_of
from studies import page, tables
from toolbox.errors import UsageError
from toolbox.plain import NOTICE


def test_a_row_is_typed_and_read_from_the_run_whatever_its_record_says(tmp_path: Path) -> None:
    rows = tables.rows(make(tmp_path))
    assert len(rows) == 9
    first = rows[0]
    assert {key: first[key] for key in ("cell", "rep", "seed", "state", "parameters", "epochs", "best_epoch",
    "seconds")} == {
        "cell": "a", "rep": 0, "seed": 42, "state": "done", "parameters": 100, "epochs": 2, "best_epoch": 1,
        "seconds": 3.0
    }  # fmt: skip
    assert (first["layout"], first["val/macro_f1"], first["test/macro_f1"]) == ("a", 0.7, pytest.approx(0.6))
    assert "lr" not in first  # every cell has the same
    assert [row["state"] for row in rows if row["cell"] == "c"] == ["done", "waiting", "waiting"]


def test_means_intervals_and_paired_differences_are_those_of_scipy(tmp_path: Path) -> None:
    a, b, c = tables.cells(tables.rows(make(tmp_path)), "macro_f1")
    for row, scores in ((a, SCORES["a"]), (b, SCORES["b"])):
        interval = stats.t.interval(0.95, 2, np.mean(scores), stats.sem(scores))
        assert (row["val_mean"], row["val_sd"]) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))
        assert (row["val_low"], row["val_high"]) == pytest.approx(interval)
    difference = np.subtract(SCORES["b"], SCORES["a"])
    interval = stats.t.interval(0.95, 2, difference.mean(), stats.sem(difference))
    assert (b["difference_mean"], b["difference_low"], b["difference_high"]) == pytest.approx(
        (difference.mean(), *interval)
    )
    assert a["difference_mean"] is None
    assert (c["n"], c["left"], c["val_sd"], c["val_low"]) == (1, 2, None, None)
    assert c["difference_mean"] == pytest.approx(0.99 - 0.7)


def test_the_best_is_of_validation_and_no_single_lucky_run(tmp_path: Path) -> None:
    rows = tables.rows(make(tmp_path))
    assert tables.best(tables.cells(rows, "macro_f1"), "macro_f1")["cell"] == "a"
    for row in rows:
        row["test/macro_f1"] = {"b": 1.0}.get(row["cell"], 0.0)
    assert tables.best(tables.cells(rows, "macro_f1"), "macro_f1")["cell"] == "a"
    few = [row for row in rows if row["rep"] == 0]
    assert tables.best(tables.cells(few, "macro_f1"), "macro_f1")["cell"] == "c"
    for row in few:
        row["val/loss"] = {"a": 3.0, "b": 1.0, "c": 2.0}[row["cell"]]
    assert tables.best(tables.cells(few, "loss"), "loss")["cell"] == "b"
    assert tables.best([], "loss") is None


def test_the_best_epoch_is_the_trainers(tmp_path: Path) -> None:
    history = [{"epoch": e, "val": {"loss": loss}} for e, loss in ((1, 0.5), (2, None), (3, 0.4), (4, 0.4))]
    assert tables.best_epoch(history, "loss")["epoch"] == 3
    assert tables.best_epoch([], "loss") is None


def test_runs_that_failed_or_were_given_up_are_counted_and_no_part_of_a_mean(tmp_path: Path) -> None:
    rows = tables.rows(make(tmp_path))
    for row, state in zip(rows[:6:3], ("failed", "pruned"), strict=True):
        row["state"] = state
    a, *_ = tables.cells(rows, "macro_f1")
    assert [a[name] for name in ("n", "failed", "pruned", "left")] == [1, 1, 1, 0]
    assert a["val_mean"] == 0.75
    assert "1 failed, 1 pruned" in page.text([a], ["layout"], "macro_f1")


def test_rows_are_chosen_by_value(tmp_path: Path) -> None:
    rows = tables.rows(make(tmp_path))
    assert {row["cell"] for row in tables.where(rows, ["layout=b"])} == {"b"}
    assert len(tables.where(rows, ["rep=1", "state=done"])) == 2
    assert tables.where(rows, ["layout=z"]) == []
    with pytest.raises(UsageError, match="unknown column 'size'"):
        tables.where(rows, ["size=1"])


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        (["model-args.layout", "lr"], {"layout": "model-args.layout", "lr": "lr"}),
        (["model-args.lr", "lr"], {"model-args.lr": "model-args.lr", "lr": "lr"}),
        (["model-args.seed"], {"model-args.seed": "model-args.seed"}),
    ],
)
def test_a_part_of_a_flag_is_called_by_its_own_name_where_that_is_free(axes: list[str], named: dict[str, str]) -> None:
    assert tables.columns(axes) == named


def test_the_page_needs_no_network_and_shows_markup_as_text(tmp_path: Path) -> None:
    path = page_of(make(tmp_path, {"a": [0.5], MARKUP.replace("/", "_"): [0.6]}, reps=1))
    text = path.read_text()
    assert Page(path).loaded == ["plotly.min.js"]
    assert (path.parent / "plotly.min.js").is_file()
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


def test_the_division_of_the_rows_and_what_the_tool_is_not_stand_beside_the_table_and_on_the_page(
    tmp_path: Path,
) -> None:
    ledger = make(tmp_path)
    first, judged = page.remarks(tables.rows(ledger), "macro_f1")
    assert first == f"split: by {MARKUP}, seed 42; each repetition has its own seed"
    text = page_of(ledger).read_text()
    assert all(f"<p>{escape(line)}</p>" in text for line in (first, judged))
    assert NOTICE in text


def test_a_metric_that_no_run_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    rows = tables.rows(ledger)
    assert tables.judged_by(ledger, rows, "loss") == "loss"
    with pytest.raises(UsageError, match="unknown --best 'macro_f2'; known are macro_f1, loss"):
        tables.judged_by(ledger, rows, "macro_f2")
    assert tables.judged_by(ledger, [], "macro_f2") == "macro_f2"  # nothing has begun


def test_a_cell_of_switches_is_named_by_them_and_one_without_any_says_so() -> None:
    row = {"stage": "grid", "cell": "c", "rr-features": "true", "normalise": None}
    assert page.name_of(row, ["rr-features", "normalise"]) == "rr-features=true"
    assert page.name_of(row | {"rr-features": None}, ["rr-features", "normalise"]) == "without rr-features, normalise"
    assert page.name_of(row, []) == "c"


@pytest.mark.parametrize("scores", [{}, {"a": []}, {"a": [0.5]}, {f"a{i}": [0.1 * i, 0.2] for i in range(26)}])
def test_every_research_has_its_page_and_its_lines(tmp_path: Path, scores: dict[str, Any]) -> None:
    ledger = make(tmp_path, scores)
    assert page_of(ledger).stat().st_size > 1000
    rows = tables.rows(ledger)
    table = tables.cells(rows, "macro_f1")
    lines = page.text(table, tables.axes(rows), "macro_f1").splitlines()
    assert len(lines) == len(table) + 1
    assert sum(line.startswith("*") for line in lines) == bool(scores.get("a") or "a1" in scores)
