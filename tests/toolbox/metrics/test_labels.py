"""Metrics of many labels against scikit-learn, Fmax against its definition, intervals against rows drawn by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from toolbox.metrics import intervals, labels
from toolbox.metrics.classification import calibration_error

K = 4
CLASSES = ("NORM", "MI", "STTC", "CD")


def draw(seed: int, *, rows: int = 200, ties: bool = False, absent: tuple[int, ...] = (), every: bool = False) -> tuple:
    """target (N, K), scores (N, K) that know something of it, row losses (N,); `absent` classes have no positive, and
    with `every` the first has no negative."""
    rng = np.random.default_rng(seed)
    target = (rng.random((rows, K)) < np.array([0.5, 0.3, 0.2, 0.1])).astype(np.int64)
    target[:, list(absent)] = 0
    target[:, 0] |= every
    scores = 1 / (1 + np.exp(1 - 2 * target - rng.normal(size=target.shape)))
    return target, np.round(scores, 1) if ties else scores.astype(np.float32), rng.exponential(size=rows)


CASES = {
    "random": draw(0),
    "ties in the scores": draw(1, ties=True),
    "a class without positives": draw(2, absent=(2,)),
    "a class without negatives": draw(3, every=True),
    "rows of one kind": draw(4, rows=12),
}


@st.composite
def cases(draw_from: st.DrawFn) -> tuple:
    """target (N, K), scores (N, K), row losses (N,) and thresholds (K,) of few rows and classes, among them classes
    without positives, rows without a class, ties, constant scores, and a single row."""
    rows, classes = draw_from(st.integers(1, 24)), draw_from(st.integers(1, 6))
    rng = np.random.default_rng(draw_from(st.integers(0, 2**32 - 1)))
    target = (rng.random((rows, classes)) < rng.random(classes)).astype(np.int64)
    target[:, rng.random(classes) < draw_from(st.sampled_from((0, 0.5)))] = 0
    target[rng.random(rows) < draw_from(st.sampled_from((0, 0.3, 1)))] = 0
    scores = rng.random((rows, classes)).astype(draw_from(st.sampled_from((np.float32, np.float64))))
    scores = np.round(scores, draw_from(st.sampled_from((0, 1, 2, 12))))
    scores[:, rng.random(classes) < draw_from(st.sampled_from((0, 0.5)))] = draw_from(st.sampled_from((0, 0.5, 1)))
    at = labels.thresholds(target, scores) if draw_from(st.booleans()) else rng.random(classes).round(1)
    return target, scores, rng.exponential(size=rows), at


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_metrics_are_those_of_scikit_learn(case: tuple) -> None:
    target, scores, loss = case
    assert_metrics(target, scores, loss, labels.thresholds(target, scores))


@settings(deadline=None, max_examples=60)
@given(cases())
def test_metrics_of_any_rows_are_those_of_scikit_learn(case: tuple) -> None:
    assert_metrics(*case)


def assert_metrics(target: np.ndarray, scores: np.ndarray, loss: np.ndarray, at: np.ndarray) -> None:
    """Every figure of `score`, and of `of_weights` with each row once; NaN where scikit-learn defines none."""
    known = [k for k in range(target.shape[1]) if 0 < target[:, k].sum() < len(target)]
    of = [(target[:, k], scores[:, k], scores[:, k] >= at[k]) for k in known]
    macro = {
        "macro_auroc": [sk.roc_auc_score(y, p) for y, p, _ in of],
        "macro_average_precision": [sk.average_precision_score(y, p) for y, p, _ in of],
        "macro_f1": [sk.f1_score(y, predicted, zero_division=0) for y, _, predicted in of],
        "macro_ece": [calibration_error(p, y) for y, p, _ in of],
        "macro_brier": [sk.brier_score_loss(y, p) for y, p, _ in of],
    }
    expected = {
        "loss": loss.mean(),
        "hamming_loss": (target != (scores >= at)).mean(),
        "exact_match": (target == (scores >= at)).all(1).mean(),
        "fmax": fmax(target, scores),
        **{name: np.mean(values) if values else np.nan for name, values in macro.items()},
    }
    if target.shape[1] > 1:
        assert expected["hamming_loss"] == pytest.approx(sk.hamming_loss(target, scores >= at))
        assert expected["exact_match"] == pytest.approx(sk.accuracy_score(target, scores >= at))
    names = [f"class {k}" for k in range(target.shape[1])]
    values = labels.name_classes(labels.score(target, scores, loss, at), names)
    assert {name: values[name] for name in labels.METRICS} == pytest.approx(expected, rel=1e-6, nan_ok=True)
    once = labels.of_weights(target, scores, loss, at)(np.ones((1, len(target))))
    assert {name: once[name][0] for name in labels.METRICS} == pytest.approx(expected, rel=1e-4, abs=1e-5, nan_ok=True)
    for k, name in enumerate(names):
        own = values["per_class"][name]
        assert own["positives"] == target[:, k].sum()
        assert [np.isnan(own[part]) for part in labels.OF_CLASSES] == [k not in known] * len(labels.OF_CLASSES)
    for k, place in zip(known, range(len(known)), strict=True):
        own, (y, _, predicted) = values["per_class"][names[k]], of[place]
        found = {part: own[part] for part in ("auroc", "average_precision", "f1", "ece", "brier")}
        assert found == pytest.approx({part: macro[f"macro_{part}"][place] for part in found}, rel=1e-6)
        assert own["recall"] == pytest.approx(sk.recall_score(y, predicted))


def fmax(target: np.ndarray, scores: np.ndarray) -> float:
    """The definition, threshold by threshold and row by row; NaN if no row has a class."""
    if not target.any():
        return np.nan
    best = 0.0
    for threshold in np.arange(101) / 100:
        named, hits = (scores >= threshold).sum(1), ((scores >= threshold) & (target == 1)).sum(1)
        if named.any():
            precision = (hits[named > 0] / named[named > 0]).mean()
            recall = (hits / np.maximum(target.sum(1), 1))[target.any(1)].mean()
            best = max(best, 2 * precision * recall / max(precision + recall, 1e-12))
    return best


def test_left_out_names_classes_without_a_positive_or_without_a_negative() -> None:
    target, _, _ = draw(5, absent=(2,), every=True)
    assert labels.left_out(target, CLASSES) == {"NORM": labels.NO_NEGATIVE, "STTC": labels.NO_POSITIVE}
    assert labels.left_out(draw(0)[0], CLASSES) == {}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_threshold_has_the_best_f1_and_of_equal_ones_is_the_lowest(case: tuple) -> None:
    target, scores, _ = case
    at = labels.thresholds(target, scores)
    for k in range(K):
        if not target[:, k].any():
            assert at[k] == labels.THRESHOLD
            continue
        tried = np.unique(scores[:, k])
        f1 = np.array([sk.f1_score(target[:, k], scores[:, k] >= each) for each in tried])
        assert at[k] == tried[np.flatnonzero(f1 == f1.max())[0]]


def test_metrics_of_weights_are_those_of_repeated_rows() -> None:
    target, scores, loss = draw(6, ties=True)
    at, rng = labels.thresholds(target, scores), np.random.default_rng(0)
    drawn = rng.integers(len(target), size=(3, len(target)))
    weights = np.stack([np.bincount(rows, minlength=len(target)) for rows in drawn])
    found = labels.of_weights(target, scores, loss, at)(weights)
    for place, rows in enumerate(drawn):
        values = labels.score(target[rows], scores[rows], loss[rows], at)
        for name in labels.METRICS:
            assert found[name][place] == pytest.approx(values[name], rel=1e-5), name
        for name in labels.OF_CLASSES:
            assert found[name][place] == pytest.approx(values["of_classes"][name], rel=1e-4), name


def test_rows_of_a_record_are_drawn_together() -> None:
    target, scores, loss = draw(7, rows=60)
    at = labels.thresholds(target, scores)
    twice = [np.repeat(of, 2, axis=0) for of in (target, scores, loss)]
    names = np.array([f"r{number}" for number in range(60)])
    alone = labels.bootstrap(target, scores, loss, at, record=names, replicates=200)
    paired = labels.bootstrap(*twice, at, record=np.repeat(names, 2), replicates=200)
    assert paired["interval_method"] == f"{intervals.BOOTSTRAP}records"
    for name, ends in alone["intervals"].items():
        assert paired["intervals"][name] == pytest.approx(ends, rel=1e-5), name
    over_rows = labels.bootstrap(*twice, at, record=np.full(120, ""), replicates=200)
    assert np.diff(over_rows["intervals"]["macro_auroc"])[0] < np.diff(alone["intervals"]["macro_auroc"])[0]


def test_intervals_hold_their_estimate_and_few_positives_have_none() -> None:
    target, scores, loss = draw(8, absent=(3,))
    target[:5, 3] = 1
    values = labels.score(target, scores, loss, labels.thresholds(target, scores))
    at = values["of_classes"]["threshold"]
    found = labels.bootstrap(target, scores, loss, at, record=np.full(len(target), ""), replicates=300)
    for name, ends in found["intervals"].items():
        assert ends is not None, name
        assert ends[0] <= values[name] <= ends[1], name
    assert found["class_intervals"]["auroc"][3] is None
    assert found["class_lacks"] == ["", "", "", "5 rows"]
    few = labels.bootstrap(target[:9], scores[:9], loss[:9], at, record=np.full(9, ""), replicates=20)
    assert set(few["intervals"].values()) == {None}
    assert few["without_interval"]["fmax"] == "9 rows"


def test_published_predictions_give_the_published_macro_auroc(shared: Callable[[str], Path]) -> None:
    with np.load(shared("ptb-xl/exp0-xresnet1d101-predictions.npz")) as of:
        target, scores, rows = of["y_true"].astype(np.int64), of["y_pred"], of["bootstrap_rows"]
    loss, at = np.zeros(len(target)), labels.thresholds(target, scores)
    assert labels.score(target, scores, loss, at)["macro_auroc"] == 0.9254358590055028
    weights = np.stack([np.bincount(each, minlength=len(target)) for each in rows])
    drawn = labels.of_weights(target, scores, loss, at)(weights)["macro_auroc"]
    assert [round(float(drawn.mean()), 5), *np.round(np.percentile(drawn, [5, 95]), 5)] == [0.92487, 0.91852, 0.93148]
