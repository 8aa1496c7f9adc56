"""The detector's task: its loss, thresholds and figures, the rows it is given, and the baselines beside it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as reference

import args
from loaders.base import Data
from loaders.families import rows
from toolbox.errors import DataError, UsageError
from toolbox.metrics import intervals
from toolbox.tasks import Detect, detect
from toolbox.training.baselines import BASELINES

RNG = np.random.default_rng(3)
ANOMALY = RNG.random(400) < 0.3
ERRORS = np.round(RNG.gamma(2, 0.1, 400) + 0.2 * ANOMALY, 2)  # with ties
THRESHOLD = 0.35


@pytest.mark.parametrize(("criterion", "distance"), [("l1", np.abs), ("mse", np.square)])
def test_loss_and_score_are_the_distance_to_the_row(criterion: str, distance: Callable) -> None:
    task, labels = (
        Detect(("ill", "normal"), criterion, normal="normal", threshold="sd:3"),
        torch.ones(6, dtype=torch.long),
    )
    x, outputs = torch.randn(2, 6, 2, 9, generator=torch.Generator().manual_seed(2))
    errors = distance((outputs - x).numpy()).mean((1, 2))
    per_row = task.per_row(outputs, x)
    predictions = task.predictions(np.arange(6), np.full(6, ""), labels, per_row)
    np.testing.assert_allclose(predictions.loss, errors, rtol=1e-6)
    np.testing.assert_array_equal(predictions.scores[:, 0], predictions.loss)
    assert float(task.loss(per_row, labels)) == pytest.approx(errors.mean())
    assert task.measure(predictions) == {"loss": pytest.approx(errors.mean())}
    assert task.normal == 1


@pytest.mark.parametrize("choice", [{"criterion": "focal"}, {"criterion": "l1", "monitor": "macro_f1"}])
def test_a_loss_and_a_metric_of_classes_are_refused(choice: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="unknown --"):
        Detect(("normal", "ill"), **{"normal": "normal", "threshold": "sd:3", **choice})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("percentile:98", np.percentile(ERRORS, 98)),
        ("percentile:100", ERRORS.max()),
        ("sd:3", ERRORS.mean() + 3 * ERRORS.std()),
        ("rate:2", np.sort(ERRORS)[393 - 1]),
        ("rate:100", ERRORS.min()),
        ("value:0.25", 0.25),
        (args.FLAGS.by_name["threshold"].default, np.percentile(ERRORS, 98)),
    ],
)
def test_a_rule_gives_the_threshold_of_the_validation_rows(rule: str, expected: float) -> None:
    found = {"rule": rule, "threshold": pytest.approx(expected), "validation_rows": 400}
    assert detect.parse(rule)(ERRORS) == found
    task, labels = Detect(("normal", "ill"), "l1", normal="normal", threshold=rule), torch.zeros(400, dtype=torch.long)
    val = task.predictions(np.arange(400), np.full(400, ""), labels, torch.from_numpy(ERRORS))
    assert task.fixed(val) == found


def test_a_rule_or_a_number_that_cannot_be_is_a_usage_error() -> None:
    for name in detect.THRESHOLDS:
        for number in ("", ":", ":x", ":nan", ":inf", ":-1", ":1e39"):
            with pytest.raises(UsageError, match="takes a number from 0"):
                detect.parse(name + number)
    with pytest.raises(UsageError, match="from 0 to 100"):
        detect.parse("percentile:101")
    with pytest.raises(UsageError, match=r"percentile, sd, rate, value.*Try: percentile"):
        detect.parse("percentil:95")


@pytest.mark.parametrize("rows", [22, 48, 49, 300])
def test_a_rate_of_false_alarms_holds_for_new_rows_on_average_also_with_few(rows: int) -> None:
    random = np.random.default_rng(rows)
    threshold = detect.parse("rate:2")
    drawn = {"lognormal": lambda size: random.lognormal(-2, 0.6, size)}
    if rows >= 49:  # then of any distribution
        drawn |= {
            "exponential": lambda size: random.exponential(1, size),
            "uniform": lambda size: random.uniform(0, 1, size),
        }
    for draw in drawn.values():
        alarms = [(draw(2000) > threshold(draw(rows))["threshold"]).mean() for _ in range(2000)]
        assert np.mean(alarms) == pytest.approx(
            0.02 if rows < 49 else 1 - np.ceil((rows + 1) * 0.98) / (rows + 1), abs=2e-3
        )
    plain = [(drawn["lognormal"](2000) > np.percentile(drawn["lognormal"](22), 98)).mean() for _ in range(2000)]
    assert np.mean(plain) > 0.04


def test_few_rows_have_the_upper_prediction_limit_of_their_log_errors() -> None:
    errors = ERRORS[:22]
    logs = np.log(errors)
    reach = stats.t.ppf(0.98, 21) * np.sqrt(1 + 1 / 22)
    assert detect.parse("rate:2")(errors)["threshold"] == pytest.approx(np.exp(logs.mean() + reach * logs.std(ddof=1)))
    assert np.isfinite(detect.parse("rate:2")(np.zeros(5))["threshold"])
    with pytest.raises(UsageError, match="rate:2 needs two validation rows, there is 1"):
        detect.parse("rate:2")(errors[:1])


def test_the_figures_are_those_of_scikit_learn() -> None:
    values, flagged = detect.detection_score(ANOMALY, ERRORS, THRESHOLD), ERRORS > THRESHOLD
    expected = {
        "auroc": reference.roc_auc_score(ANOMALY, ERRORS),
        "average_precision": reference.average_precision_score(ANOMALY, ERRORS),
        "normals_kept": reference.recall_score(~ANOMALY, ~flagged),
        "anomalies_caught": reference.recall_score(ANOMALY, flagged),
        "balanced_accuracy": reference.balanced_accuracy_score(ANOMALY, flagged),
        "f1": reference.f1_score(ANOMALY, flagged),
    }
    assert tuple(values) == tuple(expected)
    assert values == pytest.approx(expected)
    at = detect.detection_score(np.array([False, True]), np.array([0.5, 0.6]), 0.5)
    assert (at["normals_kept"], at["anomalies_caught"]) == (1, 1), "a row at the threshold is normal"


@pytest.mark.parametrize("anomaly", [np.ones(5, bool), np.zeros(5, bool)], ids=["anomalies only", "normals only"])
def test_a_figure_without_its_rows_is_nan(anomaly: np.ndarray) -> None:
    values = detect.detection_score(anomaly, np.arange(5.0), 2.0)
    assert np.isnan([values["auroc"], values["balanced_accuracy"]]).all()
    statistic = detect.of_weights(anomaly, np.arange(5.0), 2.0)
    assert np.isnan(intervals.percentiles(statistic, intervals.row_draws(5, 10))["auroc"]).all()


def test_the_intervals_hold_the_figures_and_are_the_spread_of_resampled_rows() -> None:
    values = detect.detection_score(ANOMALY, ERRORS, THRESHOLD)
    statistic = detect.of_weights(ANOMALY, ERRORS, THRESHOLD)
    ends = intervals.percentiles(statistic, intervals.row_draws(len(ERRORS), 1000))
    assert all(low <= values[name] <= high for name, (low, high) in ends.items())
    kept, (low, high) = values["normals_kept"], ends["normals_kept"]
    assert (high - low) / 3.92 == pytest.approx(np.sqrt(kept * (1 - kept) / (~ANOMALY).sum()), rel=0.15)


def test_rows_and_rows_above_the_threshold_are_counted_for_every_class() -> None:
    counts = detect.by_class(np.array([0, 0, 1, 2, 2]), np.array([0.1, 0.6, 0.7, 0.2, 0.9]), 0.5, ("N", "S", "V", "F"))
    expected = {"N": (2, 1), "S": (1, 1), "V": (2, 1), "F": (0, 0)}
    assert counts == {name: {"rows": n, "flagged": flagged} for name, (n, flagged) in expected.items()}


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_gives_odd_rows_higher_scores(name: str) -> None:
    wave = np.sin(np.linspace(0, 6, 50))
    train, test = (wave * RNG.uniform(0.8, 1.2, (n, 1)) + 0.05 * RNG.normal(size=(n, 50)) for n in (200, 60))
    odd = wave[::-1] ** 2 + 0.05 * RNG.normal(size=(60, 50))
    score = BASELINES[name](train)
    assert score(test).shape == (60,)
    assert reference.roc_auc_score(np.repeat([0, 1], 60), score(np.concatenate([test, odd]))) > 0.95
    np.testing.assert_array_equal(score(test), BASELINES[name](train)(test))


def test_train_and_validation_keep_the_normal_class_and_the_test_all(tiny: Data) -> None:
    data, label = rows.only_normal(tiny, None), tiny.spec.classes.index("N")
    for part in ("train", "val"):
        kept, before = getattr(data, part), getattr(tiny, part)
        assert set(kept.y) == {label}
        np.testing.assert_array_equal(kept.index, before.index[before.y == label])
    np.testing.assert_array_equal(data.test.y, tiny.test.y)
    left_out = sum((part.y != label).sum() for part in (tiny.train, tiny.val))
    assert f"trained and validated on N alone, {left_out} other rows" in data.spec.split_rule
    assert set(rows.only_normal(tiny, "V").train.y) == {tiny.spec.classes.index("V")}


def test_the_normal_class_is_the_named_or_the_obvious_one() -> None:
    named = ((("abnormal", "normal"), None, "normal"), (("N", "S"), None, "N"), (("Normal", "PVC"), None, "Normal"))
    for classes, name, normal in (*named, (("a", "b"), "b", "b"), (("unlabelled",), None, "unlabelled")):
        assert rows.normal_class(classes, name) == normal
    for name in (None, "c"):
        with pytest.raises(UsageError, match=r"a, b.*Try: "):
            rows.normal_class(("a", "b"), name)


def test_rows_that_lack_the_normal_class_or_anomalies_are_an_error(tiny: Data) -> None:
    for which, says in ((tiny.test.y == 0, "no anomaly"), (tiny.test.y != 0, "no row of N")):
        one_sided = replace(tiny, open_test=lambda which=which: tiny.test.rows(np.flatnonzero(which)))
        data = rows.only_normal(one_sided, "N")
        with pytest.raises(DataError, match=says):
            _ = data.test
    without = replace(tiny, train=tiny.train.rows(np.flatnonzero(tiny.train.y != 0)))
    with pytest.raises(DataError, match="no row of N is in train"):
        rows.only_normal(without, "N")
