"""--compare: differences of runs are paired over the same records; runs that cannot be compared are refused."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from commands import compare
from helpers.runs import CLASSES, RULE, rows, with_test
from loaders import DATASETS
from loaders.base import Split
from loaders.datasets import ecg5000, table
from loaders.declaration import Files, Request
from loaders.families import by_patient as patients
from loaders.splits import Fold, Holdout, drawn
from toolbox.errors import CheckpointError, UsageError
from toolbox.metrics import ec57
from toolbox.plain import NOTICE
from toolbox.runs.folder import RunFolder
from toolbox.runs.predictions import Predictions


def finished(
    root: Path, name: str, predictions: Predictions, *, classes: tuple[str, ...] = CLASSES, rule: str = RULE
) -> RunFolder:
    run = with_test(root / name, predictions, rule=rule)
    run.write_json("config.json", {"data": {"classes": list(classes), "split_rule": rule}})
    return run


def several(root: Path, *predictions: Predictions) -> list[RunFolder]:
    """Runs a, b, and so on."""
    return [finished(root, name, of) for name, of in zip("abc", predictions, strict=False)]


def changed(predictions: Predictions, **arrays: NDArray) -> Predictions:
    return Predictions(**{**vars(predictions), **arrays})


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_against_itself_differs_by_nothing(tmp_path: Path, seed: int) -> None:
    run = finished(tmp_path, "a", rows(seed))
    (against,) = compare.measure([run, run])["against_the_first"]
    for of in against.values():
        found = (of["difference"], of["interval"], of["without_interval"], of["above_0"])
        assert found == (0, None, "no spread", None)


def test_a_difference_is_that_of_the_figures_and_its_interval_holds_it(tmp_path: Path) -> None:
    runs = several(tmp_path, rows(1, right=0.6), rows(2, right=0.8))
    values = compare.measure(runs)
    first, second = (run["figures"] for run in values["runs"])
    for run, figures in zip(runs, (first, second), strict=True):
        of = Predictions.load(run / "pred" / "predictions.npz")
        alone = ec57.measure(of.target, of.scores.argmax(1), of.record, classes=CLASSES)
        assert figures == pytest.approx(alone["gross"])
    against = values["against_the_first"][0]
    assert against.keys() == first.keys()
    for name, of in against.items():
        assert of["difference"] == second[name] - first[name]
        if of["interval"] is not None:
            assert of["interval"][0] <= of["difference"] <= of["interval"][1]
            assert (of["above_0"] > 0.975) == (of["interval"][0] > 0)
    assert against["accuracy"]["above_0"] > 0.975
    assert against["accuracy"]["interval"][0] > 0


def test_pairing_makes_the_interval_narrower_than_two_apart(tmp_path: Path) -> None:
    """What makes a record hard for both runs is no part of their difference."""
    runs = several(tmp_path, rows(1), rows(2))
    low, high = compare.measure(runs)["against_the_first"][0]["accuracy"]["interval"]
    apart = [
        ec57.measure(of.target, of.scores.argmax(1), of.record, classes=CLASSES)["intervals"]["gross"]["accuracy"]
        for of in (rows(1), rows(2))
    ]
    assert high - low < 0.7 * np.hypot(*(high - low for low, high in apart))


def test_the_other_way_round_is_the_difference_with_its_sign_changed(tmp_path: Path) -> None:
    runs = several(tmp_path, rows(1), rows(2))
    one, other = (compare.measure(order)["against_the_first"][0] for order in (runs, runs[::-1]))
    for name, of in one.items():
        assert of["difference"] == -other[name]["difference"]
        if of["interval"] is not None:
            assert of["interval"] == pytest.approx([-bound for bound in reversed(other[name]["interval"])])
            assert of["above_0"] == pytest.approx(1 - other[name]["above_0"])


def test_rows_are_matched_by_record_and_index_whatever_their_order(tmp_path: Path) -> None:
    predictions, order = rows(2), np.random.default_rng(0).permutation(450)
    shuffled = Predictions(**{name: array[order] for name, array in vars(predictions).items()})
    runs = several(tmp_path, rows(1), predictions, shuffled)
    second, third = compare.measure(runs, replicates=50)["against_the_first"]
    assert second == third


def test_rows_are_drawn_where_no_record_is_known(tmp_path: Path) -> None:
    unknown = np.full(450, "")
    runs = several(tmp_path, *(changed(rows(seed), record=unknown) for seed in (1, 2)))
    values = compare.measure(runs, replicates=300)
    assert (values["units"], values["of_units"]) == (450, "rows")
    assert values["interval_method"] == "percentile bootstrap over rows, 300 replicates"
    said = [Predictions.load(run / "pred" / "predictions.npz") for run in runs]
    gain = (said[1].scores.argmax(1) == said[1].target).astype(float) - (said[0].scores.argmax(1) == said[0].target)
    low, high = values["against_the_first"][0]["accuracy"]["interval"]
    assert (high - low) / 3.92 == pytest.approx(gain.std() / np.sqrt(450), rel=0.2)


FIRST = rows(1)
R33 = np.where(FIRST.record == "r3", "r33", FIRST.record)
OTHER_LABEL = np.where(FIRST.index == 7, 4 - FIRST.target, FIRST.target)
OTHERS = {
    "classes": ({"classes": ("N", "S", "V", "F", "X")}, FIRST, r"classes are N, S, V, F, Q and N, S, V, F, X"),
    "rule": ({"rule": "at random"}, FIRST, rf"split rules are '{RULE}' and 'at random'"),
    "rows": ({}, rows(1, records=14), r"450 and 420 rows"),
    "records": ({}, changed(FIRST, record=R33), r"30 places.*row 90 of .*r3"),
    "index": ({}, changed(FIRST, index=FIRST.index + (FIRST.index == 449)), r"test rows differ in 1 places.*row 449 "),
    "labels": ({}, changed(FIRST, target=OTHER_LABEL), r"labels differ.*row 7"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_runs_that_cannot_be_compared_are_refused_with_the_difference(tmp_path: Path, what: str) -> None:
    how, predictions, says = OTHERS[what]
    runs = [finished(tmp_path, "a", FIRST), finished(tmp_path, "b", predictions, **how)]
    with pytest.raises(UsageError, match=rf"a and b cannot be compared.*{says}.*Try: ") as caught:
        compare.measure(runs)
    assert "\n" not in str(caught.value)


def test_one_run_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two runs"):
        compare.measure([finished(tmp_path, "a", FIRST)])


def test_a_run_without_a_readable_test_is_a_checkpoint_error(tmp_path: Path) -> None:
    spoils: list[Callable[[Path], Any]] = [
        lambda run: (run / "pred" / "predictions.npz").unlink(),
        lambda run: (run / "pred" / "predictions.npz").write_bytes(b"PK"),
        lambda run: changed(FIRST, scores=FIRST.scores[:, :1]).save(run / "pred" / "predictions.npz"),  # a detector
        lambda run: (run / "pred" / "metrics.json").unlink(),
        lambda run: (run / "config.json").unlink(),
    ]
    for number, spoil in enumerate(spoils):
        run = finished(tmp_path, str(number), FIRST)
        spoil(run.path)
        with pytest.raises(CheckpointError, match="Try: "):
            compare.measure([run, run])


# The rule of the test, without the rows that validate


def own_rows() -> Split:
    """100 rows of 20 records and of two classes."""
    record = np.repeat([f"r{i:02}" for i in range(20)], 5)
    return Split(np.zeros((100, 1, 4), np.float32), np.arange(100) % 2, record, np.arange(100))


def request(name: str, val_fraction: Holdout, seed: int) -> Request:
    dataset = replace(DATASETS[name], files=Files())
    return Request(name, dataset, Path(), None, None, "error", val_fraction, seed)


def by_patient(val_fraction: Holdout, seed: int) -> str:
    names = [f"r{i:02}" for i in range(20)]
    cohort = patients.Cohort(tuple(names[:12]), tuple(names[12:]), "a cohort", {"r02": "r01", "r15": "r03"})
    how = {"cohort": cohort, "val_fraction": val_fraction, "seed": seed}
    return patients.divide(patients.parse("inter-patient"), own_rows().record, own_rows().y, **how)[-1]


TWO_SPLITS = np.repeat(["train", "test"], [80, 20])


def by_column(val_fraction: Holdout, seed: int, column: NDArray = TWO_SPLITS) -> str:
    return table.by_column(own_rows(), column, request("table", val_fraction, seed))[-1]


def two_files(val_fraction: Holdout, seed: int) -> str:
    asked = request("ecg5000", val_fraction, seed)
    return ecg5000.SPLITS["official"](asked, own_rows(), "", own_rows).spec.split_rule


# The wording of every loader; where the seed decides the test rows, it stays.
SPLITTERS: dict[str, Callable[[Holdout, int], str]] = {
    "by patient": by_patient,
    "by a column": by_column,
    "two files": two_files,
    "pooled": lambda val, _: ecg5000.SPLITS["pooled"](request("ecg5000", val, 1), own_rows(), "", None).spec.split_rule,
    "whole records": lambda val, _: table.by_record(own_rows(), None, request("table", val, 1))[-1],
    "at random": lambda val, _: table.stratified(own_rows(), None, request("table", val, 1))[-1],
    "charts": lambda val, seed: f"test apart; {drawn(own_rows().y, val, seed)[-1]}; drawn as ECG paper",
}


@pytest.mark.parametrize("name", SPLITTERS)
def test_validation_is_no_part_of_the_rule_for_the_test(name: str) -> None:
    """Validation differs in each of these, and nothing else does."""
    how = ((0.1, 1), (0.2, 1), (0.2, 5), (0.0, 1), (Fold(1, 5), 1), (Fold(2, 5), 1))
    rules = [SPLITTERS[name](*of) for of in how]
    assert len({compare.test_side(of) for of in rules}) == 1
    assert len({compare.validation(of) for of in rules}) >= 4
    assert not re.search(r"validat|[;, ]$", compare.test_side(rules[0])) or name == "pooled"


def test_a_column_with_validation_rows_has_the_same_test_and_a_seed_for_test_rows_another() -> None:
    own = by_column(0.1, 1, np.repeat(["train", "val", "test"], [60, 20, 20]))
    assert compare.test_side(own) == compare.test_side(by_column(0.1, 1))
    assert compare.validation(own) == "validation too"
    rules = {table.by_record(own_rows(), None, request("table", 0.1, seed))[-1] for seed in (1, 2)}
    assert len({compare.test_side(of) for of in rules}) == 2


def test_runs_with_other_validation_are_compared_and_a_line_states_it(tmp_path: Path) -> None:
    rules = [two_files(*of) for of in ((0.1, 1), (0.1, 2), (0.0, 1))]
    runs = [finished(tmp_path, "abc"[seed], rows(seed), rule=rule) for seed, rule in enumerate(rules)]
    values = compare.measure(runs)
    rule = "the archive's train and test files; all beats are one patient's"
    assert values["split_rule"] == rule
    drawn = "validation is 0.1 of train, stratified by class, seed"
    said = f"validation differs: in a, {drawn} 1; in b, {drawn} 2; in c, no row validates, all that are not test are"
    assert compare.summary(values).splitlines()[:2] == [f"split: {rule}", f"{said} trained on"]
    same = compare.measure([runs[0], runs[0]], replicates=50)
    assert same["split_rule"] == rules[0]
    assert "validation differs" not in compare.summary(same)


# The summary


def accuracy(text: str) -> list[str]:
    """The cells of the summary's line on accuracy."""
    return next(line for line in text.splitlines() if line.startswith("accuracy")).split()


def test_the_summary_has_both_figures_the_difference_and_the_rule(tmp_path: Path) -> None:
    runs = several(tmp_path, rows(1, right=0.6), rows(2, right=0.8), rows(3, right=0.8))
    values = compare.measure(runs, replicates=100)
    text = compare.summary(values)
    assert f"split: {RULE}" in text
    assert "intervals over 15 records, the same for both: jackknife t" in text
    assert "macro F1 over N, S, V, F; Q reported but left out of it" in text
    assert text.count("\nA  a\n") == 2
    assert text.endswith(f"\n{NOTICE}\n")
    of, figures = values["against_the_first"][0]["accuracy"], [run["figures"]["accuracy"] for run in values["runs"][:2]]
    cells = accuracy(text)
    assert cells[1:4] == [*(f"{figure:.4f}" for figure in figures), f"{of['difference']:+.4f}"]
    assert (cells[7:], max(map(len, text.splitlines())) <= 100) == ([f"{of['above_0']:.1%}"], True)


@pytest.mark.parametrize("records", [1, 4, 9])
def test_few_records_tell_no_difference_from_chance(tmp_path: Path, records: int) -> None:
    """Also where every record is better, which was an interval above 0 and 100 % above 0."""
    runs = several(tmp_path, *(rows(seed, right=right, records=records) for seed, right in ((1, 0.3), (2, 0.8))))
    values = compare.measure(runs)
    of, lacks = values["against_the_first"][0]["accuracy"], f"{records} record{'s' * (records > 1)}"
    assert of["difference"] > 0.2
    assert (of["interval"], of["without_interval"], of["above_0"]) == (None, lacks, None)
    text = compare.summary(values)
    assert accuracy(text)[-6:] == ["n/a:", "known", "in", *lacks.split(), "-"]
    assert "100.0%" not in text


def test_few_rows_of_unknown_records_tell_no_difference_either(tmp_path: Path) -> None:
    few = [changed(rows(seed, records=1, per_record=9), record=np.full(9, "")) for seed in (1, 2)]
    values = compare.measure(several(tmp_path, *few))
    assert values["against_the_first"][0]["accuracy"]["without_interval"] == "9 rows"


def test_the_record_that_moves_a_difference_most_is_named(tmp_path: Path) -> None:
    first, second = rows(1), rows(1)
    at = second.record == "r7"
    better = np.where(at[:, None], np.eye(5)[second.target], second.scores)
    values = compare.measure(several(tmp_path, first, changed(second, scores=better)))
    influence = values["against_the_first"][0]["accuracy"]["influence"]
    assert (influence["record"], influence["without"]) == ("r7", 0)
    assert re.search(r"\+0\.\d{4}  *r7 +\+0\.0000", compare.summary(values))


def test_a_figure_that_no_record_moves_names_none(tmp_path: Path) -> None:
    values = compare.measure(several(tmp_path, rows(1), rows(1)))
    assert values["against_the_first"][0]["accuracy"]["influence"]["without"] == 0
    assert compare.moved(values, values["against_the_first"][0]) == []
    assert compare.MOVED[0] not in compare.summary(values)
