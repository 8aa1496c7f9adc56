"""Calibration of many labels: lines on logits against scikit-learn, and what they leave as it is."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from toolbox import schema
from toolbox.metrics import labels, platt

TRUE = {"slope": (0.5, 2.0, 1.0), "intercept": (0.0, -1.0, 3.0)}


def draw(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """scores (N, 3) float32 and labels (N, 3), which the lines TRUE make likely."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, (rows, 3))
    chances = expit(np.array(TRUE["slope"]) * logits + np.array(TRUE["intercept"]))
    return expit(logits).astype(np.float32), (rng.random(logits.shape) < chances).astype(np.int64)


def test_lines_are_found_again_and_lower_the_error() -> None:
    scores, target = draw(40_000)
    fitted = platt.fit(scores, target)
    assert not schema.misfit(fitted, platt.FORM)
    for part, expected in TRUE.items():
        np.testing.assert_allclose(fitted[part], expected, atol=0.1)
    new, labelled = draw(20_000, seed=1)
    at, loss = np.full(3, 0.5), np.zeros(20_000)
    before, after = (labels.score(labelled, of, loss, at) for of in (new, platt.calibrated(new, fitted)))
    for name in labels.CALIBRATION:
        assert after[name] < before[name], name


def test_a_line_is_that_of_scikit_learn_on_the_targets_of_platt() -> None:
    scores, target = draw(150)
    fitted, logits = platt.fit(scores, target), np.log(scores.astype(float)) - np.log1p(-scores.astype(float))
    for k in range(3):
        hits, misses = target[:, k].sum(), (1 - target[:, k]).sum()
        aims = np.where(target[:, k] == 1, (hits + 1) / (hits + 2), 1 / (misses + 2))
        both = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
            np.tile(logits[:, k], 2)[:, None], np.repeat([1, 0], 150), sample_weight=np.concatenate([aims, 1 - aims])
        )
        assert fitted["slope"][k] == pytest.approx(both.coef_[0, 0], rel=1e-3)
        assert fitted["intercept"][k] == pytest.approx(both.intercept_[0], rel=1e-3, abs=1e-3)


def test_calibration_keeps_ranks_and_decisions_at_moved_thresholds() -> None:
    scores, target = draw(500, seed=2)
    at, fitted = labels.thresholds(target, scores), platt.fit(scores, target)
    better, moved = platt.calibrated(scores, fitted), platt.calibrated(at, fitted)
    np.testing.assert_array_equal(better >= moved, scores >= at)
    before, after = labels.score(target, scores, scores[:, 0], at), labels.score(target, better, scores[:, 0], moved)
    for name in ("macro_auroc", "macro_average_precision", "macro_f1", "hamming_loss", "exact_match"):
        assert after[name] == before[name], name


def test_a_class_that_is_absent_everywhere_or_always_there_or_reversed_keeps_its_order() -> None:
    scores, target = draw(60, seed=3)
    target[:, 0], target[:, 1], target[:, 2] = 0, 1, scores[:, 2] < 0.3
    fitted = platt.fit(scores, target)
    assert (fitted["slope"][:2], fitted["intercept"][:2]) == ([1, 1], [0, 0])
    assert fitted["slope"][2] > 0
    assert not schema.misfit(fitted, platt.FORM)


def test_saturated_and_separated_scores_stay_inside() -> None:
    scores = np.array([[0.0], [1e-30], [1.0], [1.0]], np.float32)
    fitted = platt.fit(scores, np.array([[0], [0], [1], [1]]))
    found = platt.calibrated(scores, fitted)
    assert np.isfinite(found).all()
    assert (np.diff(found[:, 0]) >= 0).all()
    assert 0 <= found.min() <= found.max() <= 1
