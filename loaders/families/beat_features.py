"""The numbers that stand beside a beat's samples, by name: RR features, and its P wave against those before.

    numbers = beside.numbers(names, times_s, p_waves)    # (N, F)

Nothing after the next beat is looked at.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loaders.families import features_pwaves, features_rr
from toolbox.errors import UsageError

ALL = (*features_rr.FEATURES, *features_pwaves.FEATURES)


def names(rr_features: bool, p_waves: bool, rate_hz: float) -> tuple[str, ...]:
    """Those that are asked for. Raises UsageError for rows too coarse to show a P wave."""
    if p_waves and rate_hz < features_pwaves.LOWEST_HZ:
        what = f"--p-waves needs rows of {features_pwaves.LOWEST_HZ:g} Hz or more, --rate is {rate_hz:g}"
        raise UsageError(what, hint="--rate 125")
    return (*(features_rr.FEATURES if rr_features else ()), *(features_pwaves.FEATURES if p_waves else ()))


def numbers(
    names: Sequence[str],
    times_s: NDArray[np.floating],
    p_waves: NDArray[np.float32] | None,
    unknown: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Those of the `names` (F,) of the beats of one record at ascending `times_s` (N,), as (N, F).

    `p_waves` (N, C, W) are the `pwaves.rows` of the beats, None where no name asks for them; `unknown` as in `rhythm`.
    """
    found = dict(zip(features_rr.FEATURES, features_rr.rr_features(times_s, unknown).T, strict=True))
    if p_waves is not None:
        usable = ~features_rr.is_early(times_s, unknown)
        found |= zip(features_pwaves.FEATURES, features_pwaves.p_features(p_waves, usable).T, strict=True)
    return np.stack([found[name] for name in names], 1) if names else np.empty((len(times_s), 0), np.float32)
