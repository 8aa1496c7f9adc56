"""Whether a network has collapsed: says one class of nearly everything, or is no better than who does not look at the
signal.

And whether it has learned its training rows by heart: right on nearly all of these, and no better than chance on
validation.

A confusion matrix (K, K), rows by true class, is all that is asked; the rule is the same for every run and is stated
with it.
"""

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import classification

ONE_CLASS = 0.99  # of the rows said to be of one class
MARGIN = 0.02  # of macro F1 above a guess
LEARNED = 0.95  # accuracy and balanced accuracy on training rows
ERRORS, LEAST_ABOVE, MOST_ABOVE = 2.0, 0.05, 0.15  # standard errors above chance; the bounds of what these make
RULE = (
    f"A run counts as collapsed where, of K classes that occur, it says one for {100 * ONE_CLASS:.0f} % of the rows or"
    f" more, or its macro F1 is below 1/K + {MARGIN}: 1/K is the most that guessing without a look at the signal can"
    " expect."
)


def why(matrix: NDArray[np.integer]) -> str | None:
    """In a few words why a run with this matrix counts as collapsed; None for one that does not, and for rows of one
    class.

    Who guesses class k with chance q_k, where it has the share p_k, can expect the F1 2 p_k q_k / (p_k + q_k), which is
    at most (p_k + q_k) / 2, and so a macro F1 of 1/K at most, whatever the shares are.
    """
    matrix = np.asarray(matrix)
    occurring, said = int((matrix.sum(1) > 0).sum()), matrix.sum(0)
    if occurring < 2:
        return None
    if said.max() >= ONE_CLASS * said.sum():
        return f"one class for {100 * said.max() / said.sum():.1f} % of the rows"
    score = classification.from_confusion(matrix)["macro_f1"]
    return f"macro F1 {score:.3f}, guessing {1 / occurring:.3f}" if score < 1 / occurring + MARGIN else None


def memorised(train: NDArray[np.integer], val: NDArray[np.integer]) -> str | None:
    """A sentence where a network is right on nearly all training rows and at chance on validation; None where it is
    not.

    `train` and `val` are confusion matrices (K, K). Whoever guesses without a look at the signal has a balanced
    accuracy of 1 / K over the K classes that occur, however they guess; at chance is what lies two standard errors
    above that, or below.
    """
    rows = np.asarray(val).sum(1)
    occurring = rows > 0
    if occurring.sum() < 2:
        return None
    learned, chance = classification.from_confusion(np.asarray(train)), 1 / occurring.sum()
    error = chance * np.sqrt((chance * (1 - chance) / rows[occurring]).sum())
    reached = float(classification.from_confusion(np.asarray(val))["balanced_accuracy"])
    if min(learned["accuracy"], learned["balanced_accuracy"]) < LEARNED:
        return None
    if reached > chance + np.clip(ERRORS * error, LEAST_ABOVE, MOST_ABOVE):
        return None
    return (
        f"the accuracy on training rows is {float(learned['accuracy']):.3f}, the balanced accuracy on validation"
        f" {reached:.3f}, and guessing has {chance:.3f}: the network fits its training rows alone, or its batch norms"
        " need more steps"
    )
