"""Validation rows by fold: disjoint, complete, whole records, classes in like shares, the test side untouched; or none
at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import args
from commander import main
from commands import choices
from helpers import chapman, cinc2017, ecg5000, ptbdb, tables
from helpers.commands import SHORT, assert_same_run, launch, wait_for
from helpers.kaggle import TEST, TRAIN, write_csv
from helpers.patients import ASKED, PAIRED, persons, rows
from loaders import DATASETS, get_data
from loaders.families import by_patient
from loaders.splits import Fold, drawn, of_records
from toolbox.errors import DataError, UsageError
from toolbox.reports import plots
from toolbox.runs.folder import RunFolder

FOLDS = 3


def kaggle(folder: Path) -> dict[str, Any]:
    write_csv(folder / TRAIN, 60, seed=1)
    write_csv(folder / TEST, 20, seed=2)
    return {"data_file": folder}


def table(folder: Path) -> dict[str, Any]:
    frame = tables.frame(label=tables.NAMES[tables.Y], who=tables.RECORD)
    return {"data_file": tables.write(folder / "my.csv", frame), "label_column": "label", "record_column": "who"}


def twelve_leads(folder: Path) -> dict[str, Any]:
    for name in chapman.RHYTHMS:
        chapman.write_csv(folder / "ECGDataDenoised", name, chapman.samples_of(name))
    chapman.write_labels(folder / "Diagnostics.xlsx")
    return {"data_file": folder}


# What has to be written before a dataset can be read; the others are generated.
SOURCES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "chapman": twelve_leads,
    "cinc2017": lambda folder: {"data_file": cinc2017.write(folder / "training2017")},
    "ecg": kaggle,
    "ecg_bin": kaggle,
    "ecg5000": lambda folder: {"data_file": ecg5000.write(folder, **ecg5000.SMALL)},
    "ptbdb": lambda folder: {"data_file": ptbdb.write(folder / "ptbdb")},
    "table": table,
}
BY_PATIENT = ("mitdb",)  # of 48 records on disk; how it divides them is tried below, with `patients.divide`


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in BY_PATIENT])
def test_the_folds_of_every_dataset_hold_each_training_row_once_and_no_test_row(
    name: str, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    how = SOURCES[name](tmp_path / "source") if name in SOURCES else {}
    whole, none = get_data(name, root, **how), get_data(name, root, val_fraction=0.0, **how)
    folds = [get_data(name, root, val_fraction=Fold(number, FOLDS), **how) for number in range(1, FOLDS + 1)]
    training = np.union1d(whole.train.index, whole.val.index)
    assert sorted(np.concatenate([data.val.index for data in folds])) == training.tolist()
    for number, data in enumerate(folds, start=1):
        assert np.union1d(data.train.index, data.val.index).tolist() == training.tolist()
        assert not set(data.train.index) & set(data.val.index)
        assert f"validation is fold {number} of {FOLDS}" in data.spec.split_rule
        np.testing.assert_array_equal(data.test.index, whole.test.index)
    assert np.unique(none.train.index).tolist() == training.tolist()
    assert len(none.val) == 0
    assert "no row validates" in none.spec.split_rule
    assert {data.checksum for data in (none, *folds)} == {whole.checksum}


@st.composite
def records(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Record and class of rows, a number of folds, no more than records, and a seed."""
    seed, count = draw(st.integers(0, 2**31 - 1)), draw(st.integers(2, 30))
    rng = np.random.default_rng(seed)
    of = np.concatenate([np.arange(count), rng.integers(0, count, draw(st.integers(0, 200)))])
    return (
        np.array([f"r{i}" for i in of]),
        rng.integers(0, draw(st.integers(1, 4)), len(of)),
        draw(st.integers(2, count)),
        seed,
    )


@settings(deadline=None, max_examples=60)
@given(records(), st.booleans())
def test_folds_are_disjoint_complete_and_keep_records_whole(
    asked: tuple[np.ndarray, np.ndarray, int, int], whole: bool
) -> None:
    record, labels, folds, seed = asked
    held = np.zeros(len(labels), int)
    for number in range(1, folds + 1):
        how = {"record": record} if whole else {}
        train, val, rule = drawn(labels, Fold(number, folds), seed, **how)
        assert sorted([*train, *val]) == list(range(len(labels)))
        assert (np.diff(train) > 0).all()
        assert (np.diff(val) > 0).all()
        assert not (whole and set(record[train]) & set(record[val]))
        assert rule.startswith(f"validation is fold {number} of {folds} of train")
        held[val] += 1
    assert (held == 1).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(2, 10), st.integers(0, 2**31 - 1))
def test_rows_are_dealt_so_that_folds_differ_by_one_row_at_most_in_all_and_in_each_class(
    counts: list[int], folds: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    if folds > len(labels):
        with pytest.raises(DataError, match="cannot be put into"):
            drawn(labels, Fold(1, folds), seed)
        return
    found = [drawn(labels, Fold(number, folds), seed)[1] for number in range(1, folds + 1)]
    table = np.array([np.bincount(labels[val], minlength=len(counts)) for val in found])
    assert (np.ptp(table, axis=0) <= 1).all()
    assert np.ptp(table.sum(1)) <= 1


def test_the_seed_decides_the_folds_and_a_part_is_drawn_as_before() -> None:
    labels = np.repeat([0, 1], 30)
    one, again, other = (drawn(labels, Fold(1, 5), seed)[1].tolist() for seed in (1, 1, 2))
    assert one == again != other
    record = np.repeat([f"r{i}" for i in range(10)], 6)
    train, val, rule = of_records(record, labels, 0.2, 3)
    assert (len(set(record[val])), set(record[train]) & set(record[val])) == (2, set())
    assert rule == "validation is 0.2 of the train records, seed 3"


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([split for split in ASKED if "kfold" not in split]), st.integers(0, 2**31 - 1), st.integers(2, 4)
)
def test_the_folds_of_patients_hold_whole_persons_of_the_training_side(split: str, seed: int, folds: int) -> None:
    record, y = rows(seed % 50)
    how = {"cohort": PAIRED, "seed": seed}
    *_, test, _ = by_patient.divide(by_patient.parse(split), record, y, val_fraction=0.1, **how)
    held = []
    for number in range(1, folds + 1):
        train, val, same, rule = by_patient.divide(
            by_patient.parse(split), record, y, val_fraction=Fold(number, folds), **how
        )
        np.testing.assert_array_equal(same, test)
        assert not persons(record[train]) & persons(record[val])
        assert f"validation is fold {number} of {folds}, whole records of the training side" in rule
        held.append(val)
    train, val, _, rule = by_patient.divide(by_patient.parse(split), record, y, val_fraction=0.0, **how)
    assert sorted(np.concatenate(held)) == train.tolist()
    assert len(val) == 0
    assert "no row validates" in rule


def test_a_split_column_that_says_which_rows_validate_has_no_folds(tmp_path: Path) -> None:
    path = tables.write(tmp_path / "my.csv", tables.frame(label=tables.NAMES[tables.Y], side=tables.SPLIT))
    with pytest.raises(UsageError, match="says which rows validate"):
        tables.load(tmp_path, path, label_column="label", split="column:side", val_fraction=Fold(1, 3))


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "1", "a/5", "1/5/5", "-1/5", "1/2000", ""])
def test_what_is_no_fold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no fold N of K"):
        Fold.parse(text)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--val-fold 1/3 --val-fraction 0.2", "exclude each other"),
        ("--val-fraction 0 --monitor macro_f1", "--monitor macro_f1 needs validation rows"),
        ("--val-fraction 0 --calibrate", "--calibrate needs validation rows"),
        ("--val-fraction 0 --patience 2", "--patience needs validation rows"),
        ("--val-fraction 0 --scheduler ReduceLROnPlateau", "ReduceLROnPlateau needs validation rows"),
        ("--val-fraction 0 --task detect", "--task detect needs validation rows"),
        ("--val-fold 4/3", "no fold N of K"),
    ],
)
def test_what_needs_validation_rows_is_refused_without_any(typed: str, told: str) -> None:
    given = args.parse(["--dataset", "synth", *typed.split()])
    wrong = args.complaints(given)
    if not wrong:
        with pytest.raises(UsageError) as refused:
            choices.settle(args.resolve(given))
        wrong = [refused.value.what]
    assert told in "; ".join(wrong)


def test_a_run_on_all_rows_ends_with_its_last_epoch_and_is_the_same_stopped_and_gone_on_with(root: Path) -> None:
    flags = (*SHORT, "--epochs", "3", "--val-fraction", "0", "--root-dir", str(root))
    assert main(flags) == 0
    run = root / "synth" / "runs" / "synth_cnn1d_3_1"
    results = json.loads((run / "results.json").read_text())
    assert (results["best_epoch"], results["val"]) == (3, {})
    assert "no row validates, all that are not test are trained on" in results["split_rule"]
    data = json.loads((run / "config.json").read_text())["data"]
    assert (data["train_rows"], data["val_rows"]) == (12_000, 0)
    assert not list((run / "res").iterdir())
    stopped = launch(*flags)
    wait_for((root / "synth" / "runs" / "synth_cnn1d_3_2" / "logger.json").is_file, stopped)
    stopped.kill()
    stopped.wait()
    assert main(["--dataset", "synth", "--model-name", "cnn1d_3", "--resume", "latest", "--root-dir", str(root)]) == 0
    assert_same_run(run.with_name("synth_cnn1d_3_2"), run)


def test_figures_and_log_of_a_run_without_validation_show_training_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = [
        {"epoch": e, "lr": 0.1, "seconds": 1.0, "train": {"loss": 1 / e, "macro_f1": 0.5}, "val": {}} for e in (1, 2)
    ]
    loss, f1, rate = plots.history_panels(history)
    assert [[label for label, *_ in panel.lines] for panel in (loss, f1, rate)] == [["train"], ["train"], ["lr"]]
    with caplog.at_level("INFO"):
        RunFolder(tmp_path).log_epoch(history, 2)
    assert caplog.messages == ["epoch 2/2  lr 1.00e-01  train loss 0.5000 macro F1 0.5000  1.0 s"]
