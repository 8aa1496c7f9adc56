"""Whether a network has collapsed: says one class of nearly everything, or is no better than who does not look at the signal.

A confusion matrix (K, K), rows by true class, is all that is asked; the rule is the same for every run and is stated with it.
"""

import numpy as np
from numpy.typing import NDArray

from toolbox import metrics

ONE_CLASS = 0.99  # of the rows said to be of one class
MARGIN = 0.02  # of macro F1 above a guess
RULE = (
    f"A run counts as collapsed where, of K classes that occur, it says one for {100 * ONE_CLASS:.0f} % of the rows or more, or "
    f"its macro F1 is below 1/K + {MARGIN}: 1/K is the most that guessing without a look at the signal can expect."
)


def why(matrix: NDArray[np.integer]) -> str | None:
    """In a few words why a run with this matrix counts as collapsed; None for one that does not, and for rows of one class.

    Who guesses class k with chance q_k, where it has the share p_k, can expect the F1 2 p_k q_k / (p_k + q_k), which is at most
    (p_k + q_k) / 2, and so a macro F1 of 1/K at most, whatever the shares are.
    """
    matrix = np.asarray(matrix)
    occurring, said = int((matrix.sum(1) > 0).sum()), matrix.sum(0)
    if occurring < 2:
        return None
    if said.max() >= ONE_CLASS * said.sum():
        return f"one class for {100 * said.max() / said.sum():.1f} % of the rows"
    score = metrics.from_confusion(matrix)["macro_f1"]
    return f"macro F1 {score:.3f}, guessing {1 / occurring:.3f}" if score < 1 / occurring + MARGIN else None
