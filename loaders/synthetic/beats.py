"""Dataset `synth`: generated heartbeats in the layout, scale and imbalance of `ecg`, from a published dynamical model.

McSharry et al., IEEE Trans Biomed Eng 50(3):289-294, 2003: on the unit circle the phase turns once a beat, and every
wave (P, Q, R, S, T) pulls the trace towards its own bump, dz/dt = -sum a_i dtheta_i exp(-dtheta_i^2 / 2 b_i^2) - z,
here scaled by the angular velocity, so that a fast beat is as tall as a slow one. Ectopic beats differ in the heights
a_i and widths b_i of the waves and in the pause after them. Shapes overlap between classes on purpose.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data, Split
from loaders.declaration import Request
from loaders.families.row_forms import CLASSES, RATE_HZ
from loaders.families.row_forms import kaggle_cut as cut
from loaders.families.rows import as_data
from loaders.files.cache import cached

VERSION = 1  # raised when the generated beats change
TRAIN_ROWS, TRAIN_SEED = 12_000, 42
TEST_ROWS, TEST_SEED = 3_000, 43

SHARES = (0.8277, 0.0254, 0.0661, 0.0073, 0.0735)  # of MIT-BIH: 90,589 / 2,779 / 7,236 / 803 / 8,039 beats
OVERSAMPLING = 2
SECONDS = 2.2  # integrated before the first R peak (0.2 s of it) and after, longer than a row
# Rows: waves P Q R S T. Phase in degrees of the cycle, height and width of each wave.
PHASE = np.array([-70.0, -15.0, 0.0, 15.0, 100.0])
NORMAL_HEIGHT = np.array([1.2, -5.0, 30.0, -7.5, 0.75])
NORMAL_WIDTH = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
# By class, in the order of CLASSES.
HEIGHT = np.array(
    [NORMAL_HEIGHT, [0.5, -4, 25, -11, 1.1], [0, -3, 13, -9, -1.3], [0.6, -4, 21, -8.3, -0.25], [0.1, -9, 16, -3, -1]]
)
WIDTH = np.array(
    [NORMAL_WIDTH, [0.2, 0.1, 0.1, 0.13, 0.33], [0.25, 0.2, 0.24, 0.22, 0.5],
     [0.25, 0.14, 0.16, 0.15, 0.45], [0.25, 0.08, 0.26, 0.16, 0.5]]
)  # fmt: skip
PAUSE = np.array([1.0, 1.2, 1.25, 1.05, 1.0])  # of the next RR interval, against a normal one
JITTER = 0.18  # standard deviation of the waves' log height and log width from beat to beat


def labels(rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Class of each row (N,), as imbalanced as MIT-BIH, with at least two rows a class."""
    counts = np.maximum(np.round(np.array(SHARES) * rows).astype(int), 2)
    counts[0] += rows - counts.sum()
    return rng.permutation(np.repeat(np.arange(len(CLASSES)), counts))


def beats(rows: int, seed: int) -> dict[str, NDArray]:
    """`rows` beats drawn with `seed`: x (N, 187) in [0, 1] at 125 Hz, y (N,), record (N,) empty."""
    rng = np.random.default_rng(seed)
    y = labels(rows, rng)
    parts = [_rows(part, rng) for part in np.array_split(y, max(1, rows // 2500))]
    return {"x": np.concatenate(parts), "y": y, "record": np.full(rows, "")}


def _rows(y: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    rr_s = rng.normal(0.8, 0.13, len(y)).clip(0.45, 1.5)
    own = _shape(y, rng)
    following = _shape(np.zeros_like(y), rng)
    next_rr_s = (rr_s * PAUSE[y] * rng.normal(1, 0.07, len(y))).clip(0.4, 1.9)
    signal = _integrate(rr_s, next_rr_s, own, following)
    signal = signal[:, int(0.2 * RATE_HZ) :] / np.abs(signal).max(1, keepdims=True)
    signal += _noise(signal.shape, rng)
    return cut(signal.ravel(), np.arange(len(y)) * signal.shape[1], next_rr_s * RATE_HZ)


def _shape(y: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Heights and widths (N, 5) of the waves of each beat."""
    blend = rng.beta(1.2, 9, (len(y), 1))  # the part of a normal beat in each beat, in a few nearly all
    height = (1 - blend) * HEIGHT[y] + blend * NORMAL_HEIGHT
    width = (1 - blend) * WIDTH[y] + blend * NORMAL_WIDTH
    return height * rng.lognormal(0, JITTER, height.shape), width * rng.lognormal(0, JITTER, width.shape)


def _integrate(
    rr_s: NDArray[np.floating], next_rr_s: NDArray[np.floating], own: tuple, following: tuple
) -> NDArray[np.floating]:
    """The traces (N, samples) at 125 Hz from 0.2 s before the R peak, by exponential Euler steps of 4 ms."""
    step_s = 1 / (RATE_HZ * OVERSAMPLING)
    z = np.zeros(len(rr_s))
    trace = np.empty((len(rr_s), int(SECONDS * RATE_HZ) * OVERSAMPLING))
    decay = np.exp(-step_s)
    for i in range(trace.shape[1]):
        time_s = i * step_s - 0.2
        cycle = np.where(time_s < 0, time_s / rr_s, time_s / next_rr_s)
        beat = np.round(cycle)
        angle = 2 * np.pi * (cycle - beat)
        omega = 2 * np.pi / np.where(time_s < 0, rr_s, next_rr_s)
        first = (beat == 0)[:, None]
        height, width = (np.where(first, a, b) for a, b in zip(own, following, strict=True))
        away = np.angle(np.exp(1j * (angle[:, None] - np.radians(PHASE))))
        pull = -(height * away * np.exp(-(away**2) / (2 * width**2))).sum(1) * omega
        z = decay * z + (1 - decay) * pull
        trace[:, i] = z
    return trace[:, ::OVERSAMPLING]


def _noise(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.floating]:
    """Muscle noise, baseline wander and mains hum of random strength in each beat."""
    rows = (shape[0], 1)
    time_s = np.arange(shape[1]) / RATE_HZ
    wander = rng.gamma(1.5, 0.035, rows) * np.sin(
        2 * np.pi * (rng.uniform(0.1, 0.5, rows) * time_s + rng.uniform(0, 1, rows))
    )
    hum = rng.gamma(1, 0.008, rows) * np.sin(2 * np.pi * (50 * time_s + rng.uniform(0, 1, rows)))
    return rng.gamma(1.5, 0.02, rows) * rng.normal(size=shape) + wander + hum


def load(request: Request) -> Data:
    """12,000 training and 3,000 test beats, the same in every run; the seed only draws the validation rows."""

    def read(part: str, rows: int, seed: int) -> tuple[Split, str]:
        arrays, checksum = cached(request.cache / f"{part}-{rows}-{seed}-v{VERSION}", partial(beats, rows, seed))
        return Split.of(arrays), checksum

    train, checksum = read("train", TRAIN_ROWS, TRAIN_SEED)
    rule = "test beats generated apart from train"
    return as_data(request, train, checksum, open_test=lambda: read("test", TEST_ROWS, TEST_SEED)[0], rule=rule)
