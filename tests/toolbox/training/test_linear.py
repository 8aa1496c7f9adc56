"""A layer fitted to features gives the probabilities of scikit-learn's pipeline; classes without rows are harmless."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from toolbox.training import linear

RNG = np.random.default_rng(0)
FEATURES = (RNG.normal(3, 5, (120, 7)) * np.geomspace(1e-3, 1e3, 7)).astype(np.float32)
EXACT = FEATURES.astype(float)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_probabilities_of_one_label_are_those_of_scikit_learn(classes: int) -> None:
    y = RNG.integers(0, classes, 120)
    weight, bias = linear.fit(FEATURES, y, 0.5, classes)
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000)).fit(EXACT, y)
    found = softmax(FEATURES @ weight.T + bias)
    np.testing.assert_allclose(found, expected.predict_proba(EXACT), atol=1e-4)


def test_probabilities_of_many_labels_are_those_of_a_model_for_each() -> None:
    y = (RNG.random((120, 3)) < (0.5, 0.2, 0.1)).astype(int)
    weight, bias = linear.fit(FEATURES, y, 0.01, 3)
    for k in range(3):
        expected = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(EXACT, y[:, k])
        found = 1 / (1 + np.exp(-(FEATURES @ weight[k] + bias[k])))
        np.testing.assert_allclose(found, expected.predict_proba(EXACT)[:, 1], atol=1e-4)


def test_a_class_without_rows_has_no_slope_and_a_small_probability() -> None:
    many = np.zeros((120, 3), int)
    many[:, 1], many[::2, 2] = 1, 1
    weight, bias = linear.fit(FEATURES, many, 1, 3)
    assert not weight[:2].any()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias[:2])), [0.5 / 121, 120.5 / 121])
    one, height = linear.fit(FEATURES, RNG.integers(1, 4, 120), 1, 5)
    assert softmax(FEATURES @ one.T + height)[:, [0, 4]].max() < 0.1
    alone, height = linear.fit(FEATURES, np.ones(120, int), 1, 3)
    assert (softmax(FEATURES @ alone.T + height).argmax(1) == 1).all()


def test_a_constant_feature_counts_for_nothing() -> None:
    y = RNG.integers(0, 3, 120)
    constant = np.column_stack([FEATURES, np.full(120, 7, np.float32)])
    weight, _ = linear.fit(constant, y, 1, 3)
    assert not weight[:, -1].any()
