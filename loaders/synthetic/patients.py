"""Dataset `synth_patients`: generated recordings of 24 patients, each with its own shape, rate and noise, for all
protocols.

Waves are bumps around each R peak, in mV. S comes early, with a slightly changed P wave; V comes early, is wide, lacks
the P wave and has a full compensatory pause after it; F lies between N and V; Q has a spike before it. Early beats
depend on the patient's rhythm, so that RR features separate S from N, and shapes hardly do.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data
from loaders.declaration import Request
from loaders.families.beats import BeatPlan, together
from loaders.files.cache import Arrays, cached, fingerprint

VERSION = 1  # raised when the recordings change
PATIENTS, BEATS, RATE_HZ, SEED = 24, 250, 250, 42
NAMES = tuple(f"p{number:02}" for number in range(1, PATIENTS + 1))
SYMBOLS = np.array(["N", "A", "V", "F", "Q"])
SHARES = np.array([0.8, 0.08, 0.08, 0.02, 0.02])  # of all beats; each patient has other shares
# The RR intervals before and after a beat of each class, relative to a normal one.
EARLY = np.array([1.0, 0.72, 0.68, 0.9, 1.0])
PAUSE = np.array([1.0, 1.05, 1.32, 1.0, 1.0])
# Waves P Q R S T and a spike: time in s, height in mV and width in s; by class, factors of height and width.
WHEN_S = np.array([-0.17, -0.03, 0.0, 0.03, 0.26, -0.08])
HEIGHT_MV = np.array([0.15, -0.12, 1.2, -0.25, 0.3, 0.0])
WIDTH_S = np.array([0.022, 0.01, 0.012, 0.012, 0.05, 0.004])
HIGHER = np.array(
    [[1, 1, 1, 1, 1], [0.6, 1, 1, 1, 1], [0, 1.5, 1.2, 2.5, -1.2], [0.5, 1.2, 1.1, 1.7, -0.2], [0, 2, 0.8, 2, -1]]
)
WIDER = np.array([1.0, 1.0, 2.8, 1.8, 2.4])  # Q, R and S
SPIKE_MV = 0.7  # of Q
REACH_S = 0.5  # of a beat's waves to either side of its R peak


def load(request: Request) -> Data:
    """6,000 beats in the layout of `mitdb`, the same in every run: x (N, 1, T) float32.

    The seed only draws folds and validation patients.
    """
    plan = BeatPlan.of(request)
    arrays, checksum = cached(request.cache / f"beats-v{VERSION}-{fingerprint(**plan.key)}", partial(beats, plan))
    return plan.data(arrays, checksum, leads=("synthetic",), rates=lambda: dict.fromkeys(NAMES, float(RATE_HZ)))


def beats(plan: BeatPlan) -> Arrays:
    """The beats of all patients, cut by the plan."""
    parts = []
    for name, seeds in zip(NAMES, np.random.SeedSequence(SEED).spawn(PATIENTS), strict=True):
        signal, annotated, peaks = recording(np.random.default_rng(seeds))
        parts.append(plan.record(name, signal, RATE_HZ, annotated, peaks))
    return together(parts)


def recording(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.str_], NDArray[np.int64]]:
    """One patient: the signal (1, T) in mV at 250 Hz, and symbol and sample of each of the 250 beats."""
    own = SHARES * np.concatenate([[1], rng.gamma(1, 1, len(SHARES) - 1)])
    y = rng.choice(len(SHARES), BEATS, p=own / own.sum())
    y[[0, -1]] = 0
    peaks = (_times_s(y, rng) * RATE_HZ).round().astype(np.int64)
    signal = np.zeros(peaks[-1] + RATE_HZ)
    time = np.arange(-int(REACH_S * RATE_HZ), int(REACH_S * RATE_HZ))
    at = peaks[:, None] + time
    inside = (at >= 0) & (at < len(signal))
    np.add.at(signal, at[inside], _waves(y, time / RATE_HZ, rng)[inside])
    return (signal + _noise(len(signal), rng))[None], SYMBOLS[y], peaks


def _times_s(y: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The times of the R peaks: the patient's rate, changing with the breath, early beats and pauses."""
    breath = rng.uniform(0.01, 0.06) * np.sin(2 * np.pi * np.arange(len(y)) / rng.uniform(3, 6) + rng.uniform(0, 6))
    rr_s = rng.uniform(0.6, 1.05) * (1 + breath + rng.normal(0, 0.02, len(y)))
    return (rr_s * EARLY[y] * np.concatenate([[1], PAUSE[y[:-1]]])).cumsum()


def _waves(y: NDArray[np.int64], time_s: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Each beat alone (N, samples) in mV: the patient's shape, changed by the class, and slightly from beat to beat."""
    own_height = rng.lognormal(0, 0.3, 6) * np.concatenate([[1, 1, rng.choice([1, -1], p=[0.85, 0.15]), 1, 1], [1]])
    own_width, own_when = rng.lognormal(0, 0.15, 6), rng.normal(1, 0.08, 6)
    height = HEIGHT_MV * own_height * np.pad(HIGHER[y], ((0, 0), (0, 1))) * rng.lognormal(0, 0.08, (len(y), 6))
    height[:, 5] = SPIKE_MV * own_height[5] * (y == 4)
    width = WIDTH_S * own_width * rng.lognormal(0, 0.05, (len(y), 6))
    width[:, 1:4] *= WIDER[y, None]
    return sum(
        height[:, [i]] * np.exp(-(((time_s - WHEN_S[i] * own_when[i]) / width[:, [i]]) ** 2) / 2)
        for i in range(len(WHEN_S))
    )


def _noise(samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Muscle noise and baseline wander with the patient's strengths."""
    time_s = np.arange(samples) / RATE_HZ
    phases = 2 * np.pi * (rng.uniform(0.05, 0.4, (3, 1)) * time_s + rng.uniform(0, 1, (3, 1)))
    muscle = rng.uniform(0.01, 0.05) * rng.normal(size=samples)
    return muscle + (rng.uniform(0.01, 0.08, (3, 1)) * np.sin(phases)).sum(0)
