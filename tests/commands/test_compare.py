"""Runs side by side: paired over the same records, nothing where they are the same, and refused where they cannot be
compared."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from commands import compare
from loaders import DATASETS
from loaders.base import Split
from loaders.datasets import ecg5000, table
from loaders.declaration import Files, Request
from loaders.families import by_patient as patients
from loaders.splits import Fold, Holdout, drawn
from toolbox import files
from toolbox.errors import CheckpointError, UsageError
from toolbox.metrics import ec57
from toolbox.plain import NOTICE
from toolbox.runs.folder import RunFolder
from toolbox.runs.predictions import Predictions

CLASSES = ("N", "S", "V", "F", "Q")
RULE = "whole records: 15 test"


def rows(seed: int, *, right: float = 0.7, records: int = 15, per_record: int = 30) -> Predictions:
    """The same test rows for every seed; what is said of them differs. A record is harder than another."""
    index = np.arange(records * per_record)
    record = np.repeat([f"r{i}" for i in range(records)], per_record)
    target = np.random.default_rng(0).choice(5, size=len(index), p=[0.6, 0.15, 0.15, 0.07, 0.03])
    rng = np.random.default_rng(seed)
    share = right * np.repeat(np.linspace(0.6, 1.2, records), per_record)
    said = np.where(rng.random(len(index)) < share, target, rng.integers(5, size=len(index)))
    return Predictions(index, record, target, np.eye(5)[said] * 0.9 + 0.02, np.zeros(len(index)))


def finished(
    root: Path, name: str, predictions: Predictions, *, classes: tuple[str, ...] = CLASSES, rule: str = RULE
) -> RunFolder:
    run = RunFolder(root / name)
    (run / "pred").mkdir(parents=True)
    run.write_json("config.json", {"data": {"classes": list(classes), "split_rule": rule}})
    run.write_json("pred/metrics.json", {"split_rule": rule})
    predictions.save(run / "pred" / "predictions.npz")
    return run


def changed(predictions: Predictions, **arrays: NDArray) -> Predictions:
    return Predictions(**{**vars(predictions), **arrays})


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**31))
def test_a_run_against_itself_differs_by_nothing(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    run = finished(tmp_path_factory.mktemp("runs"), "a", rows(seed))
    (against,) = compare.measure([run, run])["against_the_first"]
    for name, of in against.items():
        assert (of["difference"], of["interval"], of["without_interval"], of["above_0"]) == (
            0,
            None,
            "no spread",
            None,
        ), name


def test_a_difference_is_that_of_the_figures_and_its_interval_holds_it(tmp_path: Path) -> None:
    runs = [finished(tmp_path, name, rows(seed, right=right)) for name, seed, right in (("a", 1, 0.6), ("b", 2, 0.8))]
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
    runs = [finished(tmp_path, name, rows(seed)) for name, seed in (("a", 1), ("b", 2))]
    low, high = compare.measure(runs)["against_the_first"][0]["accuracy"]["interval"]
    apart = [
        ec57.measure(of.target, of.scores.argmax(1), of.record, classes=CLASSES)["intervals"]["gross"]["accuracy"]
        for of in (rows(1), rows(2))
    ]
    assert high - low < 0.7 * np.hypot(*(high - low for low, high in apart))


def test_the_other_way_round_is_the_difference_with_its_sign_changed(tmp_path: Path) -> None:
    runs = [finished(tmp_path, name, rows(seed)) for name, seed in (("a", 1), ("b", 2))]
    one, other = (compare.measure(order)["against_the_first"][0] for order in (runs, runs[::-1]))
    for name, of in one.items():
        assert of["difference"] == -other[name]["difference"]
        if of["interval"] is not None:
            assert of["interval"] == pytest.approx([-bound for bound in reversed(other[name]["interval"])])
            assert of["above_0"] == pytest.approx(1 - other[name]["above_0"])


def test_rows_are_matched_by_record_and_index_whatever_their_order(tmp_path: Path) -> None:
    predictions, order = rows(2), np.random.default_rng(0).permutation(450)
    shuffled = Predictions(**{name: array[order] for name, array in vars(predictions).items()})
    runs = [finished(tmp_path, name, of) for name, of in (("a", rows(1)), ("b", predictions), ("c", shuffled))]
    second, third = compare.measure(runs, replicates=50)["against_the_first"]
    assert second == third


def test_rows_are_drawn_where_no_record_is_known(tmp_path: Path) -> None:
    nobody = np.full(450, "")
    runs = [finished(tmp_path, name, changed(rows(seed), record=nobody)) for name, seed in (("a", 1), ("b", 2))]
    values = compare.measure(runs, replicates=300)
    assert (values["units"], values["of_units"]) == (450, "rows")
    assert values["interval_method"] == "percentile bootstrap over rows, 300 replicates"
    said = [Predictions.load(run / "pred" / "predictions.npz") for run in runs]
    gain = (said[1].scores.argmax(1) == said[1].target).astype(float) - (said[0].scores.argmax(1) == said[0].target)
    low, high = values["against_the_first"][0]["accuracy"]["interval"]
    assert (high - low) / 3.92 == pytest.approx(gain.std() / np.sqrt(450), rel=0.2)


FIRST = rows(1)
OTHERS = {
    "classes": ({"classes": ("N", "S", "V", "F", "X")}, FIRST, r"classes are N, S, V, F, Q and N, S, V, F, X"),
    "rule": ({"rule": "at random"}, FIRST, rf"split rules are '{RULE}' and 'at random'"),
    "rows": ({}, rows(1, records=14), r"450 and 420 rows"),
    "records": (
        {}, changed(FIRST, record=np.where(FIRST.record == "r3", "r33", FIRST.record)),
 r"30 places.*row 90 of .*r3"),
    "index": ({}, changed(FIRST, index=FIRST.index + (FIRST.index == 449)), r"test rows differ in 1 places.*row 449 "),
    "labels": ({}, changed(FIRST, target=np.where(FIRST.index == 7, 4 - FIRST.target, FIRST.target)), r"labels "
                                                                                                      r"differ.*row 7"),
}  # fmt: skip


def own_rows() -> Split:
    """100 rows of 20 records and of two classes."""
    record = np.repeat([f"r{i:02}" for i in range(20)], 5)
    return Split(np.zeros((100, 1, 4), np.float32), np.arange(100) % 2, record, np.arange(100))


def request(name: str, val_fraction: Holdout, seed: int) -> Request:
    dataset = replace(DATASETS[name], files=Files())
    return Request(name, dataset, Path(), None, None, "error", val_fraction, seed)


def by_patient(val_fraction: Holdout, seed: int) -> str:
    rows, names = own_rows(), [f"r{i:02}" for i in range(20)]
    cohort = patients.Cohort(tuple(names[:12]), tuple(names[12:]), "a cohort", {"r02": "r01", "r15": "r03"})
    how = {"cohort": cohort, "val_fraction": val_fraction, "seed": seed}
    return patients.divide(patients.parse("inter-patient"), rows.record, rows.y, **how)[-1]


def as_a_column_says(val_fraction: Holdout, seed: int) -> str:
    column = np.where(np.arange(100) < 80, "train", "test")
    return table.by_column(own_rows(), column, request("table", val_fraction, seed))[-1]


def in_two_files(val_fraction: Holdout, seed: int) -> str:
    rows = own_rows()
    return ecg5000.SPLITS["official"](request("ecg5000", val_fraction, seed), rows, "", lambda: rows).spec.split_rule


def pooled(val_fraction: Holdout, _: int) -> str:
    """The seed decides the test rows here."""
    return ecg5000.SPLITS["pooled"](request("ecg5000", val_fraction, 1), own_rows(), "", None).spec.split_rule


def whole_records(val_fraction: Holdout, _: int) -> str:
    return table.by_record(own_rows(), None, request("table", val_fraction, 1))[-1]


def at_random(val_fraction: Holdout, _: int) -> str:
    return table.stratified(own_rows(), None, request("table", val_fraction, 1))[-1]


def followed(val_fraction: Holdout, seed: int) -> str:
    """As charts do, which have more to say behind it."""
    return f"test apart; {drawn(own_rows().y, val_fraction, seed)[-1]}; drawn as ECG paper"


SPLITTERS = (by_patient, as_a_column_says, in_two_files, pooled, whole_records, at_random, followed)


@pytest.mark.parametrize("rule", SPLITTERS, ids=lambda rule: rule.__name__)
def test_who_validates_is_no_part_of_the_rule_for_the_test(rule: Callable[[Holdout, int], str]) -> None:
    """Whatever the wording of a loader: validation differs in each of these, and nothing else does."""
    rules = [rule(*of) for of in ((0.1, 1), (0.2, 1), (0.2, 5), (0.0, 1), (Fold(1, 5), 1), (Fold(2, 5), 1))]
    assert len({compare.test_side(of) for of in rules}) == 1
    assert len({compare.validation(of) for of in rules}) >= 4
    assert not re.search(r"validat|[;, ]$", compare.test_side(rules[0])) or rule is pooled


def test_a_column_that_says_who_validates_too_has_the_same_test_as_one_that_does_not() -> None:
    side = np.repeat(["train", "val", "test"], [60, 20, 20])
    own = table.by_column(own_rows(), side, request("table", 0.1, 1))[-1]
    assert compare.test_side(own) == compare.test_side(as_a_column_says(0.1, 1))
    assert compare.validation(own) == "validation too"


def test_a_seed_that_decides_the_test_rows_stays_in_their_rule() -> None:
    rules = {table.by_record(own_rows(), None, request("table", 0.1, seed))[-1] for seed in (1, 2)}
    assert len({compare.test_side(of) for of in rules}) == 2


def test_runs_that_differ_in_who_validates_are_compared_and_a_line_says_so(tmp_path: Path) -> None:
    rules = [in_two_files(*of) for of in ((0.1, 1), (0.1, 2), (0.0, 1))]
    runs = [
        finished(tmp_path, name, rows(seed), rule=rule)
        for seed, (name, rule) in enumerate(zip("abc", rules, strict=True))
    ]
    values = compare.measure(runs)
    rule = "the archive's train and test files; all beats are one patient's"
    assert values["split_rule"] == rule
    text = compare.summary(values).splitlines()
    drawn = "validation is 0.1 of train, stratified by class, seed"
    said = (
        f"validation differs: in a, {drawn} 1; in b, {drawn} 2; in c, no row validates, all that are not test are"
        " trained on"
    )
    assert text[:2] == [f"split: {rule}", said]
    same = compare.measure([runs[0], runs[0]], replicates=50)
    assert same["split_rule"] == rules[0]
    assert "validation differs" not in compare.summary(same)


@pytest.mark.parametrize("what", OTHERS)
def test_what_cannot_be_compared_is_refused_and_the_difference_named(tmp_path: Path, what: str) -> None:
    how, predictions, says = OTHERS[what]
    runs = [finished(tmp_path, "a", FIRST), finished(tmp_path, "b", predictions, **how)]
    with pytest.raises(UsageError, match=rf"a and b cannot be compared.*{says}.*Try: ") as caught:
        compare.measure(runs)
    assert "\n" not in str(caught.value)


def test_one_run_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two runs"):
        compare.measure([finished(tmp_path, "a", FIRST)])


@pytest.mark.parametrize("spoil", ["missing", "damaged", "no metrics", "no config", "a detector"])
def test_a_run_without_a_readable_test_is_a_checkpoint_error(tmp_path: Path, spoil: str) -> None:
    run = finished(tmp_path, "a", FIRST)
    path = run / "pred" / "predictions.npz"
    if spoil == "missing":
        path.unlink()
    elif spoil == "damaged":
        path.write_bytes(path.read_bytes()[:200])
    elif spoil == "a detector":
        changed(FIRST, scores=FIRST.scores[:, :1]).save(path)
    else:
        (run / {"no metrics": "pred/metrics.json", "no config": "config.json"}[spoil]).unlink()
    with pytest.raises(CheckpointError, match="Try: "):
        compare.measure([run, run])


def test_the_summary_has_both_figures_the_difference_and_the_rule(tmp_path: Path) -> None:
    runs = [
        finished(tmp_path, name, rows(seed, right=right))
        for name, seed, right in (("a", 1, 0.6), ("b", 2, 0.8), ("c", 3, 0.8))
    ]
    values = compare.measure(runs, replicates=100)
    text = compare.summary(values)
    assert f"split: {RULE}" in text
    assert "intervals over 15 records, the same for both: jackknife t" in text
    assert "macro F1 over N, S, V, F; Q reported but left out of it" in text
    assert text.count("\nA  a\n") == 2
    assert text.endswith(f"\n{NOTICE}\n")
    line = next(line for line in text.splitlines() if line.startswith("accuracy"))
    of = values["against_the_first"][0]["accuracy"]
    figures = [f"{run['figures']['accuracy']:.4f}" for run in values["runs"][:2]]
    assert line.split() == [
        "accuracy",
        *figures,
        f"{of['difference']:+.4f}",
        *line.split()[4:7],
        f"{of['above_0']:.1%}",
    ]
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(("records", "lacks"), [(1, "1 record"), (4, "4 records"), (9, "9 records")])
def test_few_records_tell_no_difference_from_chance(tmp_path: Path, records: int, lacks: str) -> None:
    """Also where every record is better, which was an interval above 0 and 100 % above 0."""
    runs = [
        finished(tmp_path, name, rows(seed, right=right, records=records))
        for name, seed, right in (("a", 1, 0.3), ("b", 2, 0.8))
    ]
    values = compare.measure(runs)
    of = values["against_the_first"][0]["accuracy"]
    assert of["difference"] > 0.2
    assert (of["interval"], of["without_interval"], of["above_0"]) == (None, lacks, None)
    files.write_json(tmp_path / "comparison.json", values)
    assert (
        json.loads((tmp_path / "comparison.json").read_text())["against_the_first"][0]["accuracy"]["interval"] is None
    )
    text = compare.summary(values)
    line = next(line for line in text.splitlines() if line.startswith("accuracy"))
    assert line.split()[-4:] == ["n/a:", *lacks.split(), "-"]
    assert "100.0%" not in text


def test_few_rows_of_unknown_records_tell_no_difference_either(tmp_path: Path) -> None:
    few = [changed(rows(seed, records=1, per_record=9), record=np.full(9, "")) for seed in (1, 2)]
    values = compare.measure([finished(tmp_path, name, of) for name, of in zip("ab", few, strict=True)])
    assert values["against_the_first"][0]["accuracy"]["without_interval"] == "9 rows"


def test_the_record_that_moves_a_difference_most_is_named(tmp_path: Path) -> None:
    first, second = rows(1), rows(1)
    at = second.record == "r7"
    better = np.where(at[:, None], np.eye(5)[second.target], second.scores)
    runs = [finished(tmp_path, "a", first), finished(tmp_path, "b", changed(second, scores=better))]
    values = compare.measure(runs)
    influence = values["against_the_first"][0]["accuracy"]["influence"]
    assert (influence["record"], influence["without"]) == ("r7", 0)
    assert re.search(r"\+0\.\d{4}  *r7 +\+0\.0000", compare.summary(values))
