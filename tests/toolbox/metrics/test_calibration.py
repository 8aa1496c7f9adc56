"""Calibration against scikit-learn and by hand; a temperature is the factor of the logits and changes no decision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from toolbox.metrics import classification, intervals
from toolbox.reports.run import panels


def calibrated(rows: int, *, classes: int = 4, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Logits (N, K), and targets (N,) drawn with the probabilities that they say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(rows, classes))
    return logits, (softmax(logits, axis=1).cumsum(1) < rng.random((rows, 1))).sum(1)


FIGURES = ("ece", "brier", "nll")
LOGITS, TARGET = calibrated(4000)
SCORES = softmax(1.7 * LOGITS, axis=1)


@pytest.mark.parametrize("classes", [2, 4])
def test_brier_score_and_likelihood_are_scikit_learns(classes: int) -> None:
    logits, target = calibrated(500, classes=classes)
    values = classification.calibration(softmax(logits, axis=1), target)
    assert values["brier"] == pytest.approx(brier_score_loss(target, softmax(logits, axis=1), scale_by_half=False))
    assert values["nll"] == pytest.approx(log_loss(target, softmax(logits, axis=1)))


@pytest.mark.parametrize("bins", [5, 15])
def test_the_reliability_of_a_class_is_scikit_learns(bins: int) -> None:
    mine = classification.reliability(SCORES[:, 1], TARGET == 1, bins=bins)
    share, said = calibration_curve(TARGET == 1, SCORES[:, 1], n_bins=bins)
    there = mine["rows"] > 0
    np.testing.assert_allclose(mine["share"][there], share)
    np.testing.assert_allclose(mine["probability"][there], said)
    assert mine["rows"].sum() == len(TARGET)


def test_errors_and_bins_are_those_counted_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]])
    values = classification.calibration(scores, np.array([0, 1, 1, 1]), bins=2)
    assert values["ece"] == pytest.approx(abs(3 / 4 - scores.max(1).mean()))  # all four lie above a half
    assert tuple(values) == FIGURES
    edges = np.array([0.0, 0.25, 0.5, 1.0])  # an edge is of the bin below, 1 of the last
    assert classification.reliability(edges, edges > 0, bins=4)["rows"].tolist() == [2, 1, 0, 1]


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_the_temperature_is_the_factor_of_the_logits(factor: float) -> None:
    logits, target = calibrated(50_000, seed=2)
    assert classification.fit_temperature(factor * logits, target) == pytest.approx(factor, rel=0.03)


def test_probabilities_do_as_well_as_logits() -> None:
    by_logits, by_scores = (
        classification.fit_temperature(of, TARGET) for of in (1.7 * LOGITS, classification.log_probabilities(SCORES))
    )
    assert by_logits == pytest.approx(by_scores, rel=1e-4)
    np.testing.assert_allclose(classification.at_temperature(SCORES, 1.7), softmax(LOGITS, axis=1), atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.1, 10), st.integers(2, 6))
def test_no_temperature_changes_a_prediction(seed: int, temperature: float, classes: int) -> None:
    scores = softmax(calibrated(50, classes=classes, seed=seed)[0], axis=1).astype(np.float32)
    changed = classification.at_temperature(scores, temperature)
    np.testing.assert_array_equal(changed.argmax(1), scores.argmax(1))
    np.testing.assert_allclose(changed.sum(1), 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.05, 20), st.integers(1, 60))
def test_a_temperature_is_never_worse_on_the_rows_it_was_fitted_to(seed: int, factor: float, rows: int) -> None:
    logits, target = calibrated(rows, seed=seed)
    scores = softmax(factor * logits, axis=1)
    temperature = classification.fit_temperature(classification.log_probabilities(scores), target)
    before, after = (
        classification.calibration(of, target)["nll"]
        for of in (scores, classification.at_temperature(scores, temperature))
    )
    assert after <= before + 1e-9


def test_a_probability_of_0_for_the_truth_is_finite_and_can_be_warmed() -> None:
    scores, target = np.array([[1, 0], [1, 0], [1, 0]], np.float32), np.array([0, 0, 1])
    assert np.isfinite(classification.calibration(scores, target)["nll"])
    temperature = classification.fit_temperature(classification.log_probabilities(scores), target)
    assert 1 < temperature <= classification.HOTTEST


def test_the_panels_show_only_bins_with_rows_and_name_the_error() -> None:
    named = {"as trained": (SCORES, TARGET), "temperature 1.70": (softmax(LOGITS, axis=1), TARGET)}
    curve, often = panels.reliability_panels(named)
    for (label, said, share), (_, _, rows), (scores, target) in zip(
        curve.lines, often.lines, named.values(), strict=True
    ):
        assert f"ECE {classification.calibration(scores, target)['ece']:.4f}" in label
        assert np.isfinite([said, share]).all()
        assert (np.diff(said) > 0).all()
        assert np.nansum(rows[1:-1:2]) == pytest.approx(1)
    assert curve.guide == ([0, 1], [0, 1])


def test_a_replicate_is_the_score_of_the_rows_it_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "REPLICATES", 2)
    ends, lacking = classification.calibration_intervals(SCORES, TARGET, np.full(4000, ""))
    assert not lacking
    drawn = np.concatenate([*intervals.row_draws(4000)])
    by_hand = [
        classification.calibration(*(of[np.repeat(np.arange(4000), often.astype(int))] for of in (SCORES, TARGET)))
        for often in drawn
    ]
    for name in FIGURES:
        assert ends[name] == pytest.approx(np.percentile([of[name] for of in by_hand], [2.5, 97.5]))


@pytest.mark.parametrize("of_record", [1, 100])
def test_a_log_loss_has_the_interval_of_the_loss(of_record: int) -> None:
    record = np.array([f"r{i // of_record}" for i in range(4000)])
    surprise = -np.log(SCORES[np.arange(4000), TARGET])
    loss = intervals.of_statistic(
        classification.of_weights(TARGET, SCORES, surprise), record, bounds={"loss": (0.0, np.inf)}
    )
    ends, _ = classification.calibration_intervals(SCORES, TARGET, record)
    assert ends["nll"] == pytest.approx(loss["intervals"]["loss"], rel=1e-9)


def test_an_interval_over_records_is_of_the_scores_without_each_record() -> None:
    record = np.repeat([f"r{i:02}" for i in range(40)], 100)
    ends, lacking = classification.calibration_intervals(SCORES, TARGET, record)
    assert not lacking
    whole = classification.calibration(SCORES, TARGET)
    others = [classification.calibration(SCORES[record != name], TARGET[record != name]) for name in np.unique(record)]
    for name in FIGURES:
        of = intervals.spread(whole[name], np.array([other[name] for other in others]))
        assert ends[name] == pytest.approx(
            intervals.t_interval(of, classification.CALIBRATION_BOUNDS.get(name, (0, 1)))
        )
    ends, lacking = classification.calibration_intervals(SCORES, TARGET, np.repeat(["a", "b", "c", "d"], 1000))
    assert (set(ends.values()), set(lacking.values())) == ({None}, {"4 records"})
