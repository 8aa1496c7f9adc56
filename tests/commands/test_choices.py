"""Defaults that depend on the rows: the monitored metric, and the classes that validation cannot measure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import args
from commands import choices
from helpers.commands import assert_error, carried_out, contents
from helpers.data import make_spec
from loaders.base import Data, Split
from models import ENCODERS
from toolbox.errors import UsageError
from toolbox.flags import Flags
from toolbox.metrics import classification, labels

CLASSES = ("A", "B", "C")
EACH = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
VALIDATION = {
    "each class": EACH,
    "one class lacks": EACH * (1, 0, 1),
    "no class": np.zeros_like(EACH),
    "every class": np.ones_like(EACH),
}


def settled(y: np.ndarray, **typed: Any) -> Flags:
    """The flags of a new run with these labels in validation."""
    rows = Split.of({"x": np.zeros((len(y), 9), np.float32), "y": y})
    data = Data(make_spec(classes=CLASSES), rows, rows, lambda: rows, "made up")
    return choices.for_rows(choices.settle(args.resolve(typed)), typed, data)


@pytest.mark.parametrize("which", VALIDATION)
def test_one_warning_names_the_classes_that_validation_cannot_measure_and_the_monitored_metric(
    which: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = {
        "each class": [],
        "one class lacks": [
            "validation cannot measure 1 of 3 classes (no positive row of B); macro AUROC is over the others"
        ],
        "no class": [
            "validation cannot measure any of 3 classes (no positive row of A, B, C); loss is monitored in place of "
            "macro AUROC"
        ],
        "every class": [
            "validation cannot measure any of 3 classes (no negative row of A, B, C); loss is monitored in place of "
            "macro AUROC"
        ],
    }
    monitored = {"each class": "macro_auroc", "one class lacks": "macro_auroc"}.get(which, "loss")
    assert settled(VALIDATION[which]).monitor == monitored
    assert [record.message for record in caplog.records] == told[which]


def test_a_typed_metric_that_validation_does_not_define_is_refused_with_one_that_it_does() -> None:
    with pytest.raises(UsageError, match=r"macro_f1 is not defined .*no positive row of A, B, C.*Try: --monitor loss"):
        settled(VALIDATION["no class"], monitor="macro_f1")
    with pytest.raises(UsageError, match="--monitor fmax is not defined"):
        settled(VALIDATION["no class"], monitor="fmax")
    with pytest.raises(UsageError, match=r"--monitor macro_auroc is not defined .* they are of one class"):
        settled(np.zeros(4, np.int64), monitor="macro_auroc")
    assert settled(VALIDATION["every class"], monitor="fmax").monitor == "fmax"
    assert settled(np.zeros(4, np.int64)).monitor == "macro_f1"


@pytest.mark.parametrize("which", VALIDATION)
def test_a_metric_counts_as_defined_where_it_has_a_value(which: str) -> None:
    y, at = VALIDATION[which], np.full(3, 0.5)
    values = labels.score(y, np.random.default_rng(0).random(y.shape), np.ones(len(y)), at)
    assert {name: labels.defined(name, y) for name in labels.METRICS} == {
        name: not np.isnan(values[name]) for name in labels.METRICS
    }


@pytest.mark.parametrize("y", [np.array([0, 1, 2, 0]), np.array([0, 1, 0, 1]), np.array([1, 1, 1, 1])])
def test_a_metric_of_one_class_a_row_counts_as_defined_where_it_has_a_value(y: np.ndarray) -> None:
    values = classification.score(y, np.random.default_rng(0).random((len(y), 3)), np.ones(len(y)))
    assert {name: classification.defined(name, y) for name in classification.METRICS} == {
        name: not np.isnan(values[name]) for name in classification.METRICS
    }


def table(path: Path, *, validated: int) -> tuple[object, ...]:
    """The flags of a table with two labels a row; `validated` 0 for none in validation."""
    rng, rows, samples = np.random.default_rng(0), 96, 48
    split = np.repeat(["train", "val", "test"], [48, 24, 24])
    y = rng.integers(0, 2, (rows, 2)) * np.where(split == "val", validated, 1)[:, None]
    x = pd.DataFrame(rng.normal(size=(rows, samples)).round(3), columns=[f"t{k}" for k in range(samples)])
    x.assign(split=split, A=y[:, 0], B=y[:, 1]).to_csv(path, index=False)
    return "--data-file", path, "--label-column", "A,B", "--rate-hz", 100, "--split", "column:split"


COMMON = ("--dataset", "table", "--model-name", "cnn1d_3", "--threads", 1, "--no-figures")


def test_without_a_measurable_class_the_epoch_of_the_lowest_loss_is_the_best_and_patience_ends(tmp_path: Path) -> None:
    how = ("--lr", 0.05, "--epochs", 30, "--patience", 2, "--root-dir", tmp_path)
    ended = carried_out(*COMMON, *table(tmp_path / "my.csv", validated=0), *how)
    assert ended.code == 0, ended.err
    assert ended.err.count("validation cannot measure any of 2 classes") == 1
    history = json.loads((tmp_path / "table/runs/table_cnn1d_3_1/logger.json").read_text())
    losses = [row["val"]["loss"] for row in history]
    assert ended.result["best_epoch"] == 1 + int(np.argmin(losses))
    assert len(losses) == ended.result["best_epoch"] + 2 < 30


def test_a_run_that_is_overridden_with_rows_that_do_not_define_its_metric_is_refused_and_stays(tmp_path: Path) -> None:
    root = ("--root-dir", tmp_path)
    ended = carried_out(*COMMON, *table(tmp_path / "my.csv", validated=1), *root, "--epochs", 1)
    assert ended.code == 0, ended.err
    before = contents(tmp_path / "table/runs")
    other = table(tmp_path / "other.csv", validated=0)
    resumed = (*COMMON, *root, "--resume", "latest", "--override", "--epochs", 2, *other)
    assert_error(carried_out(*resumed), 2, "--monitor macro_auroc is not defined on the validation rows")
    assert contents(tmp_path / "table/runs") == before
    assert carried_out(*resumed, "--monitor", "loss").code == 0


@pytest.mark.parametrize("name", ENCODERS)
def test_rows_with_another_filter_than_an_encoder_takes_are_refused_with_both(name: str) -> None:
    contract = ENCODERS[name].contract
    assert contract is not None
    typed = {"dataset": "ptbxl", "model_name": name}
    choices.settle(args.resolve(typed | {"filter": contract.filter}))
    with pytest.raises(UsageError, match=rf"{name} takes rows with the filter {contract.filter}, --filter is baseline"):
        choices.settle(args.resolve(typed | {"filter": "baseline"}))
