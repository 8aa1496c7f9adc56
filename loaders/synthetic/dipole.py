"""The heart as a dipole that turns and swells with every wave of a beat, seen by the twelve leads.

A wave is a Gaussian bump of the vector (x, y, z), as in the dynamical model of McSharry et al. (IEEE TBME
50(3):289-294, 2003) and its extension to the vector by Sameni et al. (EURASIP J Adv Signal Process 2007:43407). x
points to the left, y down and z to the back, in mV of the Frank leads. Eight leads see the vector as Dower, Machado &
Osborne found (Clin Cardiol 3(2):87-95, 1980), the other four follow from I and II by Einthoven and Goldberger.
"""

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]
WAVES = ("P", "Q", "R", "S", "T rise", "T")
# What I, II, V1 to V6 see of x, y and z.
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
# How I, II, V1 to V6 make I, II, III, aVR, aVL, aVF, V1 to V6.
LIMBS = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
# Of each wave: when in s after the R peak (T at a beat a second), how wide in s, and its vector in mV.
WHEN_S = np.array([-0.16, -0.028, 0.0, 0.028, 0.23, 0.28])
WIDTH_S = np.array([0.024, 0.009, 0.012, 0.013, 0.055, 0.033])
VECTOR_MV = np.array(
    [
        [0.07, 0.12, -0.02],
        [-0.14, -0.05, -0.22],
        [1.05, 0.85, 0.35],
        [-0.12, -0.12, 0.5],
        [0.12, 0.09, -0.09],
        [0.2, 0.16, -0.13],
    ]
)
REACH_S = 0.6  # of a beat's waves to either side of its R peak


def twelve(eight: Signal) -> Signal:
    """The twelve leads (12, T) in the standard order, from I, II, V1 to V6 (8, T)."""
    return np.concatenate([LIMBS @ eight[:2], eight[2:]])


def beats(peaks_s: Signal, samples: int, rate_hz: float, *, vector: Signal, when_s: Signal, width_s: Signal) -> Signal:
    """The vector (3, T) of the beats whose R peaks come at `peaks_s` (N,), which may lie outside of the record.

    `vector` is of each wave (6, 3) or of each wave of each beat (N, 6, 3), `when_s` (N, 6) after the R peak, `width_s`
    (6,).
    """
    first = np.floor((peaks_s - REACH_S) * rate_hz).astype(int)
    at = first[:, None] + np.arange(int(2 * REACH_S * rate_hz))  # (N, W) samples around each peak
    after_s = at / rate_hz - peaks_s[:, None]
    bumps = np.exp(-(((after_s[:, None] - when_s[:, :, None]) / width_s[:, None]) ** 2) / 2)  # (N, 6, W)
    parts = np.einsum("nwt,nwa->ant", bumps, np.broadcast_to(vector, (len(peaks_s), *vector.shape[-2:])), optimize=True)
    inside = (at >= 0) & (at < samples)
    return np.stack([np.bincount(at[inside], part[inside], minlength=samples) for part in parts])


def f_waves(time_s: Signal, rng: np.random.Generator) -> Signal:
    """The vector (3, T) of fibrillating atria: a sawtooth of 5 to 8 Hz whose rate and height sway, strongest towards
    V1.

    Stridh & Sörnmo, IEEE TBME 48(1):105-111, 2001.
    """
    sway = rng.uniform(0.2, 0.5) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.3) * time_s + rng.uniform()))
    phase = 2 * np.pi * rng.uniform(5, 8) * time_s + sway / 0.2
    height_mv = rng.uniform(0.05, 0.11) * (
        1 + 0.3 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.4) * time_s + rng.uniform()))
    )
    saw = sum(np.sin(k * phase) / k for k in (1, 2, 3)) * 2 / np.pi
    towards = np.array([-0.3, 0.6, -0.8]) + rng.normal(0, 0.15, 3)
    return height_mv * saw * towards[:, None]


def turned(vector: Signal, degrees: Signal) -> Signal:
    """The vectors (..., 3) turned around x, then y, then z, by `degrees` (3,)."""
    for axis, angle in enumerate(np.radians(degrees)):
        one, other = (k for k in range(3) if k != axis)
        turn = np.eye(3)
        turn[[one, other], [one, other]] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        vector = vector @ turn.T
    return vector
