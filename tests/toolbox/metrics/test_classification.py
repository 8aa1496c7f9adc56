"""Every metric against scikit-learn, also with ties and absent classes; intervals against rows drawn by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from commands.check.training import METRIC
from toolbox.metrics import classification, intervals
from toolbox.metrics.ranking import Ranking

K = 4
CLASSES = ("N", "S", "V", "F")


def draw(
    seed: int, *, rows: int = 200, ties: bool = False, absent: tuple[int, ...] = (), unseen: bool = False
) -> tuple:
    """target (N,), scores (N, K) that know something of it, row losses (N,); `absent` classes have no rows, and if
    `unseen` are not predicted either."""
    rng = np.random.default_rng(seed)
    target = rng.choice([k for k in range(K) if k not in absent], rows)
    logits = rng.normal(size=(rows, K)) + 1.2 * np.eye(K)[target]
    if unseen:
        logits[:, list(absent)] -= 20
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if ties:
        scores = np.round(scores, 1)
    return target, scores, rng.exponential(size=rows)


CASES = {
    "random": draw(0),
    "ties in the scores": draw(1, ties=True),
    "a class absent from the target": draw(2, absent=(2,)),
    "a class absent from both": draw(3, absent=(1,), unseen=True),
    "few rows": draw(4, rows=9),
}


def one_against_rest(target: NDArray, scores: NDArray, measure: object, weight: NDArray | None = None) -> float:
    """The macro average over the classes that occur, each measured against the rest."""
    there = [k for k in range(scores.shape[1]) if 0 < (target == k).sum() < len(target)]
    return float(np.mean([measure(target == k, scores[:, k], sample_weight=weight) for k in there]))


def expected(target: NDArray, scores: NDArray, row_loss: NDArray) -> dict[str, float]:
    predicted = scores.argmax(1)
    with warnings.catch_warnings(action="ignore"):  # scikit-learn warns of classes that are predicted but absent
        return {
            "loss": row_loss.mean(),
            "accuracy": sk.accuracy_score(target, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(target, predicted),
            "macro_f1": sk.f1_score(target, predicted, average="macro"),
            "macro_auroc": one_against_rest(target, scores, sk.roc_auc_score),
            "macro_average_precision": one_against_rest(target, scores, sk.average_precision_score),
            "mean_iou": sk.jaccard_score(target, predicted, average="macro"),
            "frequency_weighted_iou": sk.jaccard_score(target, predicted, average="weighted"),
        }


@pytest.mark.parametrize("name", classification.METRICS)
@pytest.mark.parametrize("about", METRIC)
def test_a_metric_passes_every_check(name: str, about: str) -> None:
    """What --check asks of a user's metric."""
    assert METRIC[about](name) == ""


@pytest.mark.parametrize("case", CASES)
def test_every_metric_is_scikit_learns(case: str) -> None:
    target, scores, row_loss = CASES[case]
    values = classification.score(target, scores, row_loss)
    assert {name: values[name] for name in classification.METRICS} == pytest.approx(
        expected(target, scores, row_loss), rel=1e-9
    )
    np.testing.assert_array_equal(
        values["confusion_matrix"], sk.confusion_matrix(target, scores.argmax(1), labels=range(K))
    )
    named = classification.name_classes(values, CLASSES)["per_class"]
    table = sk.precision_recall_fscore_support(target, scores.argmax(1), labels=range(K), zero_division=0)
    for k, name in enumerate(CLASSES):
        assert named[name] == pytest.approx({"precision": table[0][k], "recall": table[1][k], "f1": table[2][k]})


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([(), (0,), (1, 3)]))
def test_weighted_metrics_are_scikit_learns_with_sample_weight(seed: int, ties: bool, absent: tuple[int, ...]) -> None:
    target, scores, _ = draw(seed, rows=40, ties=ties, absent=absent)
    weight = np.random.default_rng(seed).integers(0, 4, len(target)).astype(float)
    kept = weight > 0
    rows = (target[kept], scores[kept])
    assume(len(np.unique(rows[0])) > 1)
    values = Ranking(target, scores).metrics(weight)
    assert values["macro_auroc"] == pytest.approx(one_against_rest(*rows, sk.roc_auc_score, weight[kept]))
    assert values["macro_average_precision"] == pytest.approx(
        one_against_rest(*rows, sk.average_precision_score, weight[kept])
    )
    matrix = classification.confusion_matrix(target, scores.argmax(1), K, weight)
    np.testing.assert_array_equal(
        matrix, sk.confusion_matrix(target, scores.argmax(1), labels=range(K), sample_weight=weight)
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([(), (0,), (1, 3), (1, 2, 3)]), st.sampled_from([0, 6]))
def test_the_quick_form_of_many_weights_is_the_plain_one(seed: int, ties: bool, absent: tuple, apart: int) -> None:
    target, scores, _ = draw(seed, rows=40, ties=ties, absent=absent)
    scores[np.arange(40), target] += apart  # then the first and the last rows of a class are of one kind
    weight = np.random.default_rng(seed).poisson(1, (7, 40)).astype(np.float32)
    weight[5:] = [[0], [1]]
    plain, quick = (
        Ranking(target, scores).metrics(weight.astype(float)),
        Ranking(target, scores).quick_metrics()(weight, weight.sum(-1, dtype=float)),
    )
    for name, values in plain.items():
        np.testing.assert_allclose(quick[name], values, rtol=1e-6, err_msg=name)


def test_intervals_are_those_of_the_plain_form() -> None:
    target, scores, row_loss = draw(3, rows=400)
    ranking, drawn = Ranking(target, scores), [*intervals.row_draws(400, 200, seed=1)]
    ends = intervals.percentiles(classification.of_weights(target, scores, row_loss), drawn)

    def plain(weights: np.ndarray) -> dict[str, np.ndarray]:
        matrices = [classification.confusion_matrix(target, scores.argmax(1), K, weight) for weight in weights]
        of_matrices = classification.from_confusion(np.stack(matrices))
        return {"loss": weights @ row_loss / 400, **of_matrices, **ranking.metrics(weights.astype(float))}

    same, other = (intervals.percentiles(plain, rows) for rows in (drawn, intervals.row_draws(400, 200, seed=2)))
    for name, found in ends.items():
        assert found == pytest.approx(same[name], rel=1e-5)
        assert found == pytest.approx(other[name], abs=0.03)  # what other draws change


def test_an_undefined_metric_is_nan() -> None:
    target, scores, row_loss = draw(0, absent=(1, 2, 3))
    values = classification.score(target, scores, row_loss)
    assert np.isnan([values["macro_auroc"], values["macro_average_precision"]]).all()
    assert np.isfinite([values["accuracy"], values["macro_f1"]]).all()
    assert np.isnan(classification.from_confusion(np.zeros((K, K)))["accuracy"])
    assert np.isnan(intervals_of(target, scores, row_loss, replicates=5)["macro_auroc"]).all()


def intervals_of(target: np.ndarray, scores: np.ndarray, row_loss: np.ndarray, **how: int) -> dict[str, list[float]]:
    """Intervals of every metric over resampled rows."""
    statistic = classification.of_weights(target, scores, row_loss)
    return intervals.percentiles(statistic, intervals.row_draws(len(target), **how))


@pytest.mark.parametrize("case", CASES)
def test_a_replicate_is_the_score_of_the_rows_it_drew(case: str) -> None:
    target, scores, row_loss = CASES[case]
    drawn = np.random.default_rng(5).integers(len(target), size=len(target))
    by_hand = classification.score(target[drawn], scores[drawn], row_loss[drawn])
    ends = intervals_of(target, scores, row_loss, replicates=1, seed=5)
    for name in classification.METRICS:
        assert ends[name] == pytest.approx([by_hand[name]] * 2)


def test_intervals_of_f1_are_the_spread_of_resampled_rows_also_of_the_mean_that_a_challenge_scores() -> None:
    rng, classes = np.random.default_rng(0), ["N", "A", "O", "~"]
    target = rng.integers(4, size=300)
    predicted = np.where(rng.random(300) < 0.7, target, rng.integers(4, size=300))
    matrix = classification.confusion_matrix(target, predicted, 4)
    ends = classification.f1_intervals(matrix, classes, scored=["N", "A", "O"], replicates=4000)
    drawn = rng.integers(300, size=(1000, 300, 1))
    true, called = target[drawn] == np.arange(4), predicted[drawn] == np.arange(4)
    f1 = 2 * (true & called).sum(1) / (true.sum(1) + called.sum(1))
    by_hand = dict(zip(classes, f1.T, strict=True)) | {"challenge_f1": f1[:, :3].mean(1)}
    assert ends.keys() == by_hand.keys()
    for name, values in by_hand.items():
        assert ends[name] == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.015)
    parts = {name: {"f1": value} for name, value in zip(classes, (0.9, 0.6, 0.3, 0.1), strict=True)}
    assert classification.challenge_f1(parts, ["N", "A", "O"]) == {"challenge_f1": pytest.approx(0.6)}
    assert classification.challenge_f1(parts, []) == {}
    assert "challenge_f1" not in classification.f1_intervals(matrix, classes, replicates=10)
    absent = classification.f1_intervals(np.diag([5, 0]), ["a", "b"], replicates=10)
    assert absent == {"a": [1, 1], "b": [0, 0]}


def test_an_interval_over_records_is_of_the_metrics_without_each_record() -> None:
    target, scores, row_loss = draw(7, rows=400)
    unit = np.arange(400) % 20
    bounds = {"loss": (0.0, np.inf)}
    ends, lacking = intervals.over_records(classification.of_weights(target, scores, row_loss), unit, bounds=bounds)
    assert not lacking
    whole = classification.score(target, scores, row_loss)
    others = [
        classification.score(*(of[unit != left_out] for of in (target, scores, row_loss))) for left_out in range(20)
    ]
    for name in classification.METRICS:
        of = intervals.spread(whole[name], np.array([other[name] for other in others]))
        assert ends[name] == pytest.approx(intervals.t_interval(of, bounds.get(name, (0, 1))), rel=1e-6)
        assert ends[name][0] < whole[name] < ends[name][1]
    four = np.arange(400) % 4
    ends, lacking = intervals.over_records(classification.of_weights(target, scores, row_loss), four, bounds={})
    assert (set(ends.values()), set(lacking.values())) == ({None}, {"4 records"})
