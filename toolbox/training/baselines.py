"""Anomaly detectors of scikit-learn by name, baselines for networks.

`BASELINES[name](train)` fits normal rows (N, D) and gives a function from rows (M, D) to scores (M,), higher for odder
rows.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating]
Scores = Callable[[Rows], NDArray[np.floating]]
COMPONENTS = 8  # as many as the networks' codes have values
MOST = 5_000  # rows compared with each other; a random sample of more rows
TREES = 200
NEIGHBOURS = 5
SEED = 0


def principal_components(train: Rows) -> Scores:
    """Mean absolute distance to the plane of the first principal components (Jolliffe 2002)."""
    from sklearn.decomposition import PCA

    plane = PCA(min(COMPONENTS, *train.shape), random_state=SEED).fit(train)
    return lambda rows: np.abs(plane.inverse_transform(plane.transform(rows)) - rows).mean(1)


def isolation_forest(train: Rows) -> Scores:
    """How few random cuts set a row apart (Liu et al., ICDM 2008)."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=TREES, random_state=SEED).fit(train)
    return lambda rows: -forest.score_samples(rows)


def one_class_svm(train: Rows) -> Scores:
    """Distance to the border around training rows in an RBF kernel's space (Schölkopf et al., Neural Comput 2001)."""
    from sklearn.svm import OneClassSVM

    border = OneClassSVM(nu=0.05).fit(_drawn(train))
    return lambda rows: -border.score_samples(rows)


def nearest_neighbours(train: Rows) -> Scores:
    """Mean distance to the nearest training rows (Ramaswamy et al., SIGMOD 2000)."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(train))).fit(_drawn(train))
    return lambda rows: index.kneighbors(rows)[0].mean(1)


def _drawn(train: Rows) -> Rows:
    return np.random.default_rng(SEED).permutation(train)[:MOST] if len(train) > MOST else train


BASELINES: dict[str, Callable[[Rows], Scores]] = {
    "pca": principal_components,
    "isolation_forest": isolation_forest,
    "one_class_svm": one_class_svm,
    "nearest_neighbours": nearest_neighbours,
}
