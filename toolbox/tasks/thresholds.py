"""A rule becomes the reconstruction error from which on a row is an anomaly. It only ever reads validation rows, all
normal.

`percentile:98` lets 98 % of them pass, `sd:3` lies three standard deviations above their mean, `value:0.2` is given by
hand.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import UsageError
from toolbox.registry import pick

DEFAULT = "percentile:98"
Errors = NDArray[np.floating]

THRESHOLDS: dict[str, Callable[[Errors, float], float]] = {
    "percentile": lambda errors, percent: np.percentile(errors, percent),
    "sd": lambda errors, factor: errors.mean() + factor * errors.std(),
    "value": lambda errors, value: value,
}
LARGEST = dict.fromkeys(THRESHOLDS, 1e9) | {"percentile": 100.0}


def parse(rule: str) -> Callable[[Errors], dict[str, Any]]:
    """The function that makes a threshold of errors (N,): rule, value and the number of rows it was taken from.

    Raises UsageError for an unknown rule or a number it cannot have.
    """
    name, _, text = rule.partition(":")
    threshold = pick("threshold", THRESHOLDS, name)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= LARGEST[name]:
        what = f"--threshold is {rule[:40]}, {name} takes a number from 0 to {LARGEST[name]:,.0f}"
        raise UsageError(what, hint=f"--threshold {DEFAULT}")
    return lambda errors: {"rule": rule, "threshold": float(threshold(errors, number)), "validation_rows": len(errors)}
