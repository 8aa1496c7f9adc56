"""Generated leads and beats with known R peaks."""

import numpy as np


def ecg(
    seconds: float, rate_hz: float, *, seed: int = 0, low_s: float = 0.6, high_s: float = 1.2
) -> tuple[np.ndarray, np.ndarray]:
    """A lead in mV with P, QRS and T waves and noise, and its R peaks in samples."""
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.uniform(low_s, high_s, int(seconds / low_s)))
    at = at[(at > 0.5) & (at < seconds - 0.5)]
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    signal = 0.01 * rng.standard_normal(len(t)) + 0.1 * np.sin(0.3 * t)
    for delay, height, width in (
        (-0.16, 0.12, 0.02),
        (-0.025, -0.12, 0.008),
        (0, 1.0, 0.011),
        (0.025, -0.2, 0.008),
        (0.3, 0.3, 0.05),
    ):
        for peak in at:
            near = slice(max(0, int((peak - 0.6) * rate_hz)), int((peak + 0.6) * rate_hz))
            signal[near] += height * np.exp(-(((t[near] - peak - delay) / width) ** 2))
    return signal, np.round(at * rate_hz).astype(int)


CLASSES = ("N", "S", "V", "F", "Q")
