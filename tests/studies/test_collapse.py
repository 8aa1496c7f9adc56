"""A collapsed run is told by its confusion matrix, counted, shown with its reason, and left out of no mean in
silence."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from helpers.studies import make, page_of
from studies import page as table_text
from studies import tables
from studies.ledger import Ledger
from toolbox.files import write_json
from toolbox.metrics import classification

ONE_CLASS = [[90, 0], [10, 0]]
GOOD = [[85, 5], [2, 8]]


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        (ONE_CLASS, "one class for 100.0 % of the rows"),
        ([[989, 5], [1, 5]], "one class for 99.0 % of the rows"),  # whatever its macro F1 is
        (GOOD, None),
        ([[30, 20], [26, 24]], None),  # macro F1 0.538
        ([[25, 25], [25, 25]], "macro F1 0.500, guessing 0.500"),
        ([[100, 0], [0, 0]], None),  # one class alone occurs
        ([[0, 100], [0, 0]], None),
        ([[10, 80, 0], [1, 9, 0], [0, 0, 0]], "macro F1 0.190, guessing 0.500"),
    ],
)
def test_a_network_that_says_one_class_or_guesses_has_collapsed(matrix: list[list[int]], why: str | None) -> None:
    assert classification.why(np.array(matrix)) == why


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 500), min_size=2, max_size=6), st.integers(0, 2**31 - 1))
def test_guessing_with_any_chances_is_below_the_bound_that_the_rule_names(counts: list[int], seed: int) -> None:
    share = np.array(counts) / sum(counts)
    chances = np.random.default_rng(seed).dirichlet(np.ones(len(counts)))
    expected = np.mean(2 * share * chances / (share + chances))
    assert expected <= 1 / len(counts) + 1e-12


def test_the_score_of_the_rule_is_scikit_learns() -> None:
    target, said = np.repeat([0, 1, 2], [50, 30, 20]), np.tile([0, 1, 2, 0], 25)
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (target, said), 1)
    told = f"macro F1 {f1_score(target, said, average='macro'):.3f}, guessing 0.333"
    assert classification.why(matrix) == told


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Of cell a one run has collapsed on validation, of b one on test, of c the only one where no row validates."""
    ledger = make(tmp_path)
    runs = tmp_path / "tiny" / "runs"
    for cell, values in {"a": [0.7, 0.8, 0.75], "b": [0.6, 0.85, 0.7], "c": [0.99]}.items():
        for rep, score in enumerate(values):
            spoilt = rep == 1 or cell == "c"
            folder = runs / f"tiny_m_{cell}{rep}"
            sides = (
                {"a": (ONE_CLASS, GOOD), "b": (GOOD, ONE_CLASS), "c": (None, GOOD)}[cell] if spoilt else (GOOD, GOOD)
            )
            val = {"macro_f1": score, "confusion_matrix": sides[0]} if sides[0] else {}
            epoch = {"epoch": 1, "seconds": 1.0, "val": val, "train": {"confusion_matrix": ONE_CLASS}}
            write_json(folder / "logger.json", [epoch])
            write_json(folder / "results.json", {"test": {"macro_f1": score - 0.1, "confusion_matrix": sides[1]}})
    return ledger


def test_collapsed_runs_are_counted_and_means_are_given_with_and_without_them(ledger: Ledger) -> None:
    rows = tables.rows(ledger)
    whys = {(row["cell"], row["rep"]): row["collapsed"] for row in rows if row.get("collapsed")}
    one = "one class for 100.0 % of the rows"
    assert whys == {("a", 1): f"validation: {one}", ("b", 1): f"test: {one}", ("c", 0): f"training: {one}"}
    a, b, c = tables.cells(rows, "macro_f1")
    assert [row["collapsed"] for row in (a, b, c)] == [1, 1, 1]
    assert (a["n"], a["val_mean"], a["val_sound_mean"]) == (3, pytest.approx(0.75), pytest.approx(0.725))
    assert (b["test_mean"], b["test_sound_mean"]) == (pytest.approx(np.mean([0.5, 0.75, 0.6])), pytest.approx(0.55))
    assert (c["val_mean"], c["test_mean"], c["test_sound_mean"]) == (None, pytest.approx(0.89), None)
    assert tables.best([a, b, c], "macro_f1") is a  # judged with them


def test_they_are_shown_in_the_table_on_the_page_and_in_the_csv(ledger: Ledger, tmp_path: Path) -> None:
    rows = tables.rows(ledger)
    table = tables.cells(rows, "macro_f1")
    text = table_text.text(table, ["layout"], "macro_f1")
    assert "(without collapsed 0.7250)" in text
    assert "(without collapsed none)" in text
    assert text.count("1 collapsed") == 3
    rule = f"3 runs have collapsed; means are given with and without them. {classification.RULE}"
    assert rule in table_text.remarks(rows, "macro_f1")
    page = page_of(ledger).read_text()
    assert rule in page
    assert '"symbol":"x"' in page
    tables.write_csv(rows, tmp_path / "t.csv")
    assert "validation: one class for 100.0 % of the rows" in (tmp_path / "t.csv").read_text()


def test_nothing_is_said_of_collapse_where_no_run_has(tmp_path: Path) -> None:
    rows = tables.rows(make(tmp_path))
    assert not any("collapsed" in line for line in table_text.remarks(rows, "macro_f1"))
    assert "collapsed" not in table_text.text(tables.cells(rows, "macro_f1"), ["layout"], "macro_f1")
