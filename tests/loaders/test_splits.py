"""Rows divided into splits and folds: nothing shared, nothing lost, classes in proportion, decided by the seed."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import args
from commands import choices
from helpers import tables
from helpers.commands import SHORT, carried_out
from loaders.splits import Fold, by_record, drawn, of_records, shared, sharing, stratified, three
from toolbox.errors import DataError, UsageError
from toolbox.reports import plots
from toolbox.runs.folder import RunFolder


@st.composite
def divisions(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Labels in any order with classes of any size, how many rows to set aside, and a seed."""
    counts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6).filter(lambda counts: sum(counts) > 1))
    names = draw(st.permutations(range(10)))[: len(counts)]
    labels = np.random.default_rng(draw(st.integers(0, 99))).permutation(np.repeat(names, counts))
    return labels, draw(st.integers(1, len(labels) - 1)), draw(st.integers(0, 2**31 - 1))


@settings(deadline=None, max_examples=100)
@given(divisions())
def test_splits_are_disjoint_complete_and_in_proportion(division: tuple[np.ndarray, int, int]) -> None:
    labels, second, seed = division
    rest, picked = stratified(labels, second, seed)
    assert len(picked) == second
    assert sorted([*rest, *picked]) == list(range(len(labels)))
    assert (np.diff(rest) > 0).all()
    assert (np.diff(picked) > 0).all()
    classes, counts = np.unique(labels, return_counts=True)
    taken = np.array([(labels[picked] == k).sum() for k in classes])
    quota = counts * second / len(labels)
    lent = (quota < 1).sum() + (counts - quota < 1).sum()
    assert (np.abs(taken - quota) < 1 + lent).all()
    several = counts > 1
    if len(picked) >= several.sum():
        assert (taken[several] > 0).all()
    if len(rest) >= several.sum():
        assert (taken[several] < counts[several]).all()
    for one, other in zip((rest, picked), stratified(*division), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_draws_other_rows_and_all_rows_are_equally_likely() -> None:
    labels = np.repeat([0, 1], [90, 10])
    picked = np.concatenate([stratified(labels, 20, seed)[1] for seed in range(200)])
    assert np.bincount(picked, minlength=100) == pytest.approx(np.full(100, 40), abs=25)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(14, 60), min_size=1, max_size=5), st.integers(0, 99))
def test_rows_in_three_are_complete_disjoint_and_of_the_published_sizes(counts: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    train, val, test = three(labels, seed)
    assert sorted([*train, *val, *test]) == list(range(len(labels)))
    assert len(val) == len(test) == round(0.075 * len(labels))
    assert [len(part) for part in three(np.zeros(2919, int), seed)] == [2481, 219, 219]  # the normal beats of ECG5000


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60), st.floats(0.01, 0.99), st.integers(0, 99))
def test_a_record_is_in_one_split_and_the_share_is_of_the_records(names: list[str], fraction: float, seed: int) -> None:
    records = np.array(names)
    second = max(1, round(fraction * len(set(names))))
    if second >= len(set(names)):
        with pytest.raises(DataError, match=f"cannot set {second} of {len(set(names))} records aside"):
            by_record(records, fraction, seed)
        return
    rest, picked = by_record(records, fraction, seed)
    assert len(set(records[picked])) == second
    assert not set(records[rest]) & set(records[picked])
    assert sorted([*rest, *picked]) == list(range(len(records)))


@pytest.mark.parametrize("second", [-1, 0, 10, 11])
def test_a_split_without_rows_is_a_data_error(second: int) -> None:
    with pytest.raises(DataError, match=f"cannot set {second} of 10 rows aside") as caught:
        stratified(np.zeros(10, dtype=int), second, 0)
    assert caught.value.code == 3


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_shared_rows_are_those_with_the_same_bytes(data: st.DataObject) -> None:
    # Few, so that rows and sums repeat.
    cell = st.sampled_from([0.0, -0.0, 0.5, float(np.float32(1) - np.float32(2**-24))])
    row = st.lists(cell, min_size=2, max_size=2)
    sides = [np.array(data.draw(st.lists(row, max_size=6)), np.float32).reshape(-1, 2, 1) for _ in range(3)]
    seen = {row.tobytes() for side in sides[1:] for row in side}
    assert shared(*sides).tolist() == [i for i, row in enumerate(sides[0]) if row.tobytes() in seen]


def test_rows_of_the_same_sum_are_not_taken_for_each_other() -> None:
    one, two = np.eye(187, dtype=np.float32)[[0, 1, 2], None], np.eye(187, dtype=np.float32)[[1, 5], None]
    assert shared(one, two).tolist() == [1]
    assert shared(one[:, :, ::-1], two).tolist() == []  # of a view that is not contiguous


@pytest.mark.parametrize(("which", "text"), [
    ([], "0 of 2,000 test rows stand in train or validation too"),
    ([3, 9], "2 of 2,000 test rows stand in train or validation too: rows 3, 9"),
    (range(6), "6 of 2,000 test rows stand in train or validation too: rows 0, 1, 2, 3, 4, ..."),
])  # fmt: skip
def test_the_number_of_shared_rows_is_told_with_the_first_of_them(which: list[int], text: str) -> None:
    assert sharing(np.array(which), 2000) == text


# Folds, and no validation at all


@st.composite
def records(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Record and class of rows, a number of folds, no more than records, and a seed."""
    seed, count = draw(st.integers(0, 2**31 - 1)), draw(st.integers(2, 30))
    rng = np.random.default_rng(seed)
    of = np.concatenate([np.arange(count), rng.integers(0, count, draw(st.integers(0, 200)))])
    labels = rng.integers(0, draw(st.integers(1, 4)), len(of))
    return np.array([f"r{i}" for i in of]), labels, draw(st.integers(2, count)), seed


@settings(deadline=None, max_examples=40)
@given(records(), st.booleans())
def test_folds_are_complete_and_keep_records_whole(asked: tuple[np.ndarray, np.ndarray, int, int], whole: bool) -> None:
    record, labels, folds, seed = asked
    held = np.zeros(len(labels), int)
    for number in range(1, folds + 1):
        train, val, rule = drawn(labels, Fold(number, folds), seed, **({"record": record} if whole else {}))
        assert sorted([*train, *val]) == list(range(len(labels)))
        assert (np.diff(train) > 0).all()
        assert (np.diff(val) > 0).all()
        assert not (whole and set(record[train]) & set(record[val]))
        assert rule.startswith(f"validation is fold {number} of {folds} of train")
        held[val] += 1
    assert (held == 1).all()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(2, 10), st.integers(0, 2**31 - 1))
def test_folds_differ_by_one_row_at_most_in_all_and_in_each_class(counts: list[int], folds: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    if folds > len(labels):
        with pytest.raises(DataError, match="cannot be put into"):
            drawn(labels, Fold(1, folds), seed)
        return
    found = [drawn(labels, Fold(number, folds), seed)[1] for number in range(1, folds + 1)]
    table = np.array([np.bincount(labels[val], minlength=len(counts)) for val in found])
    assert (np.ptp(table, axis=0) <= 1).all()
    assert np.ptp(table.sum(1)) <= 1


def test_the_seed_decides_the_folds_and_a_part_is_drawn_of_records() -> None:
    labels = np.repeat([0, 1], 30)
    one, again, other = (drawn(labels, Fold(1, 5), seed)[1].tolist() for seed in (1, 1, 2))
    assert one == again != other
    record = np.repeat([f"r{i}" for i in range(10)], 6)
    train, val, rule = of_records(record, labels, 0.2, 3)
    assert (len(set(record[val])), set(record[train]) & set(record[val])) == (2, set())
    assert rule == "validation is 0.2 of the train records, seed 3"
    assert drawn(np.arange(40) % 2, 0.1, 42)[2] == "validation is 0.1 of train, stratified by class, seed 42"


def test_a_split_column_that_says_which_rows_validate_has_no_folds(tmp_path: Path) -> None:
    path = tables.write(tmp_path / "my.csv", tables.frame(label=tables.LABEL, side=tables.SPLIT))
    with pytest.raises(UsageError, match="says which rows validate"):
        tables.load(tmp_path, path, label_column="label", split="column:side", val_fraction=Fold(1, 3))


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "1", "a/5", "1/5/5", "-1/5", "1/2000", ""])
def test_a_text_that_is_no_fold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no fold N of K"):
        Fold.parse(text)


@pytest.mark.parametrize(("typed", "told"), [
    ("--val-fold 1/3 --val-fraction 0.2", "exclude each other"),
    ("--val-fraction 0 --monitor macro_f1", "--monitor macro_f1 needs validation rows"),
    ("--val-fraction 0 --calibrate", "--calibrate needs validation rows"),
    ("--val-fraction 0 --patience 2", "--patience needs validation rows"),
    ("--val-fraction 0 --scheduler ReduceLROnPlateau", "ReduceLROnPlateau needs validation rows"),
    ("--val-fraction 0 --task detect", "--task detect needs validation rows"),
    ("--val-fold 4/3", "no fold N of K"),
])  # fmt: skip
def test_a_flag_that_needs_validation_rows_is_refused_without_any(typed: str, told: str) -> None:
    given = args.parse(["--dataset", "synth", *typed.split()])
    wrong = args.complaints(given)
    if not wrong:
        with pytest.raises(UsageError) as refused:
            choices.settle(args.resolve(given))
        wrong = [refused.value.what]
    assert told in "; ".join(wrong)


def test_a_run_on_all_rows_ends_with_its_last_epoch(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert carried_out(*SHORT, "--epochs", "2", "--val-fraction", "0", "--root-dir", root).code == 0
    run = root / "synth" / "runs" / "synth_cnn1d_3_1"
    results = json.loads((run / "results.json").read_text())
    assert (results["best_epoch"], results["val"]) == (2, {})
    assert "no row validates, all that are not test are trained on" in results["split_rule"]
    data = json.loads((run / "config.json").read_text())["data"]
    assert (data["train_rows"], data["val_rows"]) == (12_000, 0)
    assert not (run / "res").exists()
    row = {"lr": 0.1, "seconds": 1.0, "train": {"loss": 0.5, "macro_f1": 0.5}, "val": {}}
    loss, f1, rate = plots.history_panels([{"epoch": 1, **row}, {"epoch": 2, **row}])
    assert [[label for label, *_ in panel.lines] for panel in (loss, f1, rate)] == [["train"], ["train"], ["lr"]]
    with caplog.at_level("INFO"):
        RunFolder(run).log_epoch([{"epoch": 2, **row}], 2)
    assert caplog.messages[-1] == "epoch 2/2  lr 1.00e-01  train loss 0.5000 macro F1 0.5000  1.0 s"
