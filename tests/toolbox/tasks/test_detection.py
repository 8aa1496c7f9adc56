"""Figures of a detector against scikit-learn and by hand, the data it is given, and the baselines it stands beside."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from loaders.base import Data
from loaders.families import rows
from toolbox.errors import DataError, UsageError
from toolbox.metrics import intervals
from toolbox.tasks import detect
from toolbox.training.baselines import BASELINES

FIGURES = ("auroc", "average_precision", "normals_kept", "anomalies_caught", "balanced_accuracy", "f1")
RNG = np.random.default_rng(3)
ANOMALY = RNG.random(400) < 0.3
ERRORS = np.round(RNG.gamma(2, 0.1, 400) + 0.2 * ANOMALY, 2)  # with ties
THRESHOLD = 0.35


def test_the_figures_are_those_of_scikit_learn() -> None:
    values, flagged = detect.detection_score(ANOMALY, ERRORS, THRESHOLD), ERRORS > THRESHOLD
    assert tuple(values) == (
        "auroc",
        "average_precision",
        "normals_kept",
        "anomalies_caught",
        "balanced_accuracy",
        "f1",
    )
    assert values == pytest.approx(
        {
            "auroc": reference.roc_auc_score(ANOMALY, ERRORS),
            "average_precision": reference.average_precision_score(ANOMALY, ERRORS),
            "normals_kept": reference.recall_score(~ANOMALY, ~flagged),
            "anomalies_caught": reference.recall_score(ANOMALY, flagged),
            "balanced_accuracy": reference.balanced_accuracy_score(ANOMALY, flagged),
            "f1": reference.f1_score(ANOMALY, flagged),
        }
    )


def test_a_row_at_the_threshold_is_normal() -> None:
    values = detect.detection_score(np.array([False, True]), np.array([0.5, 0.6]), 0.5)
    assert (values["normals_kept"], values["anomalies_caught"]) == (1, 1)


@pytest.mark.parametrize("anomaly", [np.ones(5, bool), np.zeros(5, bool)], ids=["anomalies only", "normals only"])
def test_a_figure_without_its_rows_is_nan(anomaly: np.ndarray) -> None:
    values = detect.detection_score(anomaly, np.arange(5.0), 2.0)
    assert np.isnan(values["auroc"])
    assert np.isnan(values["balanced_accuracy"])
    statistic = detect.of_weights(anomaly, np.arange(5.0), 2.0)
    assert np.isnan(intervals.percentiles(statistic, intervals.row_draws(5, 10))["auroc"]).all()


def test_the_intervals_hold_the_figures_and_are_the_spread_of_resampled_rows() -> None:
    values = detect.detection_score(ANOMALY, ERRORS, THRESHOLD)
    statistic = detect.of_weights(ANOMALY, ERRORS, THRESHOLD)
    ends = intervals.percentiles(statistic, intervals.row_draws(len(ERRORS), 1000))
    assert all(low <= values[name] <= high for name, (low, high) in ends.items())
    kept, normals = values["normals_kept"], (~ANOMALY).sum()
    low, high = ends["normals_kept"]
    assert (high - low) / 3.92 == pytest.approx(np.sqrt(kept * (1 - kept) / normals), rel=0.15)


def test_every_class_is_counted_with_what_lies_above_the_threshold() -> None:
    counts = detect.by_class(np.array([0, 0, 1, 2, 2]), np.array([0.1, 0.6, 0.7, 0.2, 0.9]), 0.5, ("N", "S", "V", "F"))
    assert counts == {
        "N": {"rows": 2, "flagged": 1},
        "S": {"rows": 1, "flagged": 1},
        "V": {"rows": 2, "flagged": 1},
        "F": {"rows": 0, "flagged": 0},
    }


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_gives_odd_rows_higher_scores(name: str) -> None:
    wave = np.sin(np.linspace(0, 6, 50))
    train, test = (wave * RNG.uniform(0.8, 1.2, (n, 1)) + 0.05 * RNG.normal(size=(n, 50)) for n in (200, 60))
    odd = wave[::-1] ** 2 + 0.05 * RNG.normal(size=(60, 50))
    score = BASELINES[name](train)
    assert score(test).shape == (60,)
    assert reference.roc_auc_score(np.repeat([0, 1], 60), score(np.concatenate([test, odd]))) > 0.95
    np.testing.assert_array_equal(score(test), BASELINES[name](train)(test))


def test_train_and_validation_keep_one_class_and_the_test_keeps_all(tiny: Data) -> None:
    data = rows.only_normal(tiny, None)
    label = tiny.spec.classes.index("N")
    for side in ("train", "val"):
        kept, before = getattr(data, side), getattr(tiny, side)
        assert set(kept.y) == {label}
        np.testing.assert_array_equal(kept.index, before.index[before.y == label])
    np.testing.assert_array_equal(data.test.y, tiny.test.y)
    left_out = sum((side.y != label).sum() for side in (tiny.train, tiny.val))
    assert f"trained and validated on N alone, {left_out} other rows" in data.spec.split_rule


def test_any_class_can_be_the_normal_one(tiny: Data) -> None:
    assert set(rows.only_normal(tiny, "V").train.y) == {tiny.spec.classes.index("V")}


@pytest.mark.parametrize(("classes", "named", "normal"), [
    (("abnormal", "normal"), None, "normal"), (("N", "S"), None, "N"), (("Normal", "PVC"), None, "Normal"),
    (("a", "b"), "b", "b"), (("unlabelled",), None, "unlabelled"),
])  # fmt: skip
def test_the_normal_class_is_the_named_or_the_obvious_one(
    classes: tuple[str, ...], named: str | None, normal: str
) -> None:
    assert rows.normal_class(classes, named) == normal


@pytest.mark.parametrize("named", [None, "c"])
def test_a_normal_class_that_is_not_there_is_a_usage_error_with_the_classes(named: str | None) -> None:
    with pytest.raises(UsageError, match=r"a, b.*Try: "):
        rows.normal_class(("a", "b"), named)


def test_a_test_set_of_one_side_is_an_error_once_it_is_opened(tiny: Data) -> None:
    for which, says in ((tiny.test.y == 0, "no anomaly"), (tiny.test.y != 0, "no row of N")):
        one_sided = replace(tiny, open_test=lambda which=which: tiny.test.rows(np.flatnonzero(which)))
        data = rows.only_normal(one_sided, "N")
        with pytest.raises(DataError, match=says):
            _ = data.test


def test_a_class_without_training_rows_cannot_be_learned(tiny: Data) -> None:
    without = replace(tiny, train=tiny.train.rows(np.flatnonzero(tiny.train.y != 0)))
    with pytest.raises(DataError, match="no row of N is in train"):
        rows.only_normal(without, "N")
