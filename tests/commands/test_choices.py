"""Defaults that depend on the rows: the monitored metric, and the classes that validation cannot measure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import args
from commands import choices
from helpers.commands import carried_out
from helpers.data import make_spec
from loaders.base import Data, Split
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


def test_without_a_measurable_class_the_epoch_of_the_lowest_loss_is_the_best_and_patience_ends(tmp_path: Path) -> None:
    rng, rows, samples = np.random.default_rng(0), 96, 48
    split = np.repeat(["train", "val", "test"], [48, 24, 24])
    y = rng.integers(0, 2, (rows, 2)) * (split != "val")[:, None]
    x = pd.DataFrame(rng.normal(size=(rows, samples)).round(3), columns=[f"t{k}" for k in range(samples)])
    x.assign(split=split, A=y[:, 0], B=y[:, 1]).to_csv(tmp_path / "my.csv", index=False)
    table = ("--dataset", "table", "--data-file", tmp_path / "my.csv", "--label-column", "A,B", "--rate-hz", 100)
    how = ("--split", "column:split", "--model-name", "cnn1d_3", "--lr", 0.05, "--epochs", 30, "--patience", 2)
    ended = carried_out(*table, *how, "--root-dir", tmp_path, "--threads", 1, "--no-figures")
    assert ended.code == 0, ended.err
    assert ended.err.count("validation cannot measure any of 2 classes") == 1
    history = json.loads((tmp_path / "table/runs/table_cnn1d_3_1/logger.json").read_text())
    losses = [row["val"]["loss"] for row in history]
    assert ended.result["best_epoch"] == 1 + int(np.argmin(losses))
    assert len(losses) == ended.result["best_epoch"] + 2 < 30
