"""Dataset `synth_strips`: generated strips of unequal length in the layout of `cinc2017`, for trials without data.

Beats are bumps around each R peak: in N regular, after a P wave; in A (atrial fibrillation) irregular, without a P
wave, over a fine tremble of the baseline; in O every third beat is early and wide; ~ is noise without visible beats.
Some strips are upside down, and each has an offset.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data
from loaders.declaration import Request
from loaders.families.strips import StripPlan
from loaders.files.cache import cached

VERSION = 1  # raised when the strips change
RATE_HZ, STEPS_PER_MV, SEED = 300, 1000.0, 17
LABELS = ("N", "A", "O", "~")
COUNTS = (120, 60, 60, 20)
SHORTEST_S, LONGEST_S = 6.0, 20.0
# Waves P Q R S T: time in s after the R peak, height in mV and width in s.
WHEN_S = np.array([-0.17, -0.03, 0.0, 0.03, 0.26])
HEIGHT_MV = np.array([0.15, -0.12, 1.1, -0.25, 0.3])
WIDTH_S = np.array([0.022, 0.01, 0.012, 0.012, 0.05])
WIDER = 2.5  # Q, R and S of an early beat of O
EARLY, PAUSE = 0.65, 1.3  # RR before such a beat and after it
TREMBLE_MV, TREMBLE_HZ = 0.06, (5.0, 8.0)


def load(request: Request) -> Data:
    """260 strips of 6 to 20 s, the same in every run; the seed only divides them."""
    plan = StripPlan.of(request)
    name = "-".join([f"strips-v{VERSION}", *(option + value for option, value in plan.key.items())])
    return plan.data(*cached(request.cache / name, lambda: plan.arrays(**generated())))


def generated() -> dict[str, Any]:
    """The arguments of `StripPlan.arrays`: all strips, their labels in random order."""
    rng = np.random.default_rng(SEED)
    label = rng.permutation(np.repeat(LABELS, COUNTS)).tolist()
    signals = [
        strip(each, np.random.default_rng(seeds)) for each, seeds in zip(label, rng.spawn(len(label)), strict=True)
    ]
    names = [f"s{number:03}" for number in range(1, len(label) + 1)]
    return {"signals": signals, "record": names, "label": label, "gain": [STEPS_PER_MV] * len(label)}


def strip(label: str, rng: np.random.Generator) -> NDArray[np.int16]:
    """One strip (T,) in steps."""
    samples = int(rng.uniform(SHORTEST_S, LONGEST_S) * RATE_HZ)
    time_s = np.arange(samples) / RATE_HZ
    signal = rng.normal(0, 0.02, samples) + 0.05 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.4) * time_s + rng.uniform()))
    if label == "~":
        signal += rng.normal(0, 0.4, samples) + np.cumsum(rng.normal(0, 0.03, samples))
    else:
        signal += _beats(label, time_s, rng)
    if label == "A":
        signal += TREMBLE_MV * np.sin(2 * np.pi * (rng.uniform(*TREMBLE_HZ) * time_s + rng.uniform()))
    signal = signal * rng.choice([1, -1], p=[0.75, 0.25]) + rng.uniform(-0.3, 0.3)
    return np.round(signal * STEPS_PER_MV).clip(-32_000, 32_000).astype(np.int16)


def _beats(label: str, time_s: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The beats of a strip (T,) in mV."""
    count = int(time_s[-1] * 3) + 3  # more than the strip has room for
    rr_s = rng.uniform(0.6, 1.0) * (rng.lognormal(0, 0.25, count) if label == "A" else rng.normal(1, 0.02, count))
    early = (np.arange(count) % 3 == 2) & (label == "O")
    rr_s = rr_s.clip(0.33) * np.where(early, EARLY, 1) * np.where(np.roll(early, 1), PAUSE, 1)
    height = np.tile(HEIGHT_MV * rng.lognormal(0, 0.2, len(HEIGHT_MV)), (count, 1))
    width = np.tile(WIDTH_S, (count, 1))
    height[early | (label == "A"), 0] = 0
    width[early, 1:4] *= WIDER
    after_s = time_s - rr_s.cumsum()[:, None]  # (beats, T)
    waves = zip(WHEN_S, height.T[..., None], width.T[..., None], strict=True)
    return sum((high * np.exp(-(((after_s - when_s) / wide) ** 2) / 2)).sum(0) for when_s, high, wide in waves)
