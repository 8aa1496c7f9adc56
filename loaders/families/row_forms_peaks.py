"""Where in a row the R peaks stand: as its dataset cuts rows, or else found in its first lead.

peaks = landmarks.r_peaks("mitdb", x, 125, window="-0.4,0.8")    # for each row of x (N, C, T) the samples (M,) of its R
peaks near = landmarks.near(peaks, 150, 125)                           # (N, 1, T), within 60 ms of one
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.families import beats_kaggle
from loaders.families.beats import Recipe
from toolbox.ecg import rpeaks

Peaks = list[NDArray[np.int64]]
QRS_S = 0.06  # to either side of an R peak
SHORTEST_S = 2.0  # of a row in which beats are found


def r_peaks(dataset: str, x: NDArray[np.float32], rate_hz: float, **options: Any) -> Peaks | None:
    """The R peaks of each row; None where rows are too short, or too coarse, for beats to be found in them.

    `options` are those of the dataset. In rows cut around one beat it is that beat's alone, others may stand beside it.
    """
    if dataset in KNOWN:
        return KNOWN[dataset](x, **options)
    if rate_hz < rpeaks.LOWEST_HZ or x.shape[2] < SHORTEST_S * rate_hz:
        return None
    return [rpeaks.in_signal(_as_mv(lead), rate_hz) for lead in x[:, 0]]


def near(peaks: Peaks, samples: int, rate_hz: float) -> NDArray[np.bool_]:
    """Which samples (N, 1, T) lie within 60 ms of an R peak."""
    time = np.arange(samples)
    away = [np.abs(time[:, None] - own).min(1, initial=2 * samples) for own in peaks]
    return (np.stack(away) <= QRS_S * rate_hz)[:, None]


def _as_mv(lead: NDArray[np.float32]) -> NDArray[np.float64]:
    """A lead (T,) of any unit as high as one in mV usually is."""
    low, high = np.percentile(lead, [1, 99])
    return (lead - low).astype(np.float64) * 1.5 / (high - low) if high > low else np.zeros(len(lead))


def _of_kaggle(x: NDArray[np.float32], **_: Any) -> Peaks:
    """Rows begin at an R peak and end after 1.2 of the distance to the next, or where they are full."""
    samples = x.shape[2]
    lengths = [int(np.flatnonzero(row.any(0)).max(initial=-1)) + 1 for row in x]
    return [np.array([0, round(length / beats_kaggle.SPAN)] if 0 < length < samples else [0]) for length in lengths]


def _of_recipe(x: NDArray[np.float32], **options: Any) -> Peaks:
    recipe = Recipe.of(**{name: options.get(name) for name in ("window", "rate", "filter", "normalise")})
    return [np.array([recipe.r_peak])] * len(x)


KNOWN: dict[str, Callable[..., Sequence[NDArray[np.int64]]]] = {
    **dict.fromkeys(("ecg", "ecg_bin", "ptbdb", "synth"), _of_kaggle),
    **dict.fromkeys(("mitdb", "synth_patients"), _of_recipe),
}
