"""Dataset `synth_rhythms`: generated twelve-lead records of four rhythms laid out as those of `chapman`, to try things
out with.

Each record is of another patient, with a heart vector, rate and noise of its own. What is typical of a rhythm: AFIB has
no P wave, RR intervals without an order and f waves; ST (of GSVT) is fast and regular, with the P wave near the T wave
before it; SVT has no P wave, or one after the QRS complex; SB is below 60 a minute; SR is between 60 and 100, SA too,
swaying with the breath.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data
from loaders.families import twelve_lead
from loaders.families.twelve_lead import RATE_HZ, SAMPLES
from loaders.files.cache import Arrays, cached
from loaders.splits.holdout import Holdout
from loaders.synthetic import dipole
from toolbox.errors import UsageError

VERSION = 1  # raised when the records change
SEED = 12
COUNTS = {"AFIB": 50, "ST": 30, "SVT": 20, "SB": 80, "SR": 40, "SA": 20}
FACTS = {"source": "generated records; no patient's data", "licence": "as the program"}
# Beats a minute.
RATES = {"AFIB": (70, 140), "ST": (108, 150), "SVT": (145, 190), "SB": (41, 56), "SR": (63, 97), "SA": (66, 90)}
NO_P = ("AFIB", "SVT")
RETROGRADE_S = 0.11  # after the R peak, the P wave of some SVT
NOISE_MV, WANDER_MV = (0.006, 0.025), (0.01, 0.06)


def load(
    root: Path,
    *,
    data_file: Path | None,
    val_fraction: Holdout,
    seed: int,
    bad_rows: str = "error",
    leads: str | None = None,
    rate: float | None = None,
    filter: str | None = None,
    normalise: str | None = None,
    label_map: str | None = None,
) -> Data:
    """240 records of 10 s at 500 Hz in mV, the same at every start; options as of `twelve.Choices`."""
    if data_file:
        raise UsageError(
            "--data-file goes with a dataset that is read from files; synth_rhythms is generated", hint="chapman"
        )
    how = {"leads": leads, "rate": rate, "filter": filter, "normalise": normalise, "label_map": label_map}
    choices, cache = (
        twelve_lead.Choices.of(**how, val_fraction=val_fraction, seed=seed),
        root / "synth_rhythms" / "cache",
    )
    arrays, checksum = cached(cache / f"records-v{VERSION}", generated)
    how = {"choices": choices, "cache": cache, "facts": FACTS, "where": "synth_rhythms"}
    return twelve_lead.as_data("synth_rhythms", arrays, checksum, **how)


def generated() -> Arrays:
    """All records, their rhythms in random order."""
    rng = np.random.default_rng(SEED)
    rhythm = rng.permutation(np.repeat(list(COUNTS), list(COUNTS.values())))
    samples = np.stack([record(str(each), one) for each, one in zip(rhythm, rng.spawn(len(rhythm)), strict=True)])
    names = np.array([f"t{number:03}" for number in range(1, len(rhythm) + 1)])
    return {
        "samples": samples,
        "record": names,
        "rhythm": rhythm,
        "content": np.array([*map(twelve_lead.content, samples)]),
    }


def record(rhythm: str, rng: np.random.Generator) -> NDArray[np.int16]:
    """One record (12, 5000) in microvolts."""
    time_s = np.arange(SAMPLES) / RATE_HZ
    vector, when_s, width_s = _patient(rhythm, rng)
    peaks_s, rr_s = _peaks_s(rhythm, rng)
    when_s = np.tile(when_s, (len(peaks_s), 1))
    when_s[:, 4:] *= np.sqrt(rr_s)[:, None].clip(0.66, 1.1)  # Bazett: the QT interval goes with the root of RR
    vector = vector * rng.lognormal(0, 0.04, (len(peaks_s), len(dipole.WAVES), 1))
    heart = dipole.beats(peaks_s, SAMPLES, RATE_HZ, vector=vector, when_s=when_s, width_s=width_s)
    if rhythm == "AFIB":
        heart = heart + dipole.f_waves(time_s, rng)
    eight = np.round(twelve_lead.STEPS_PER_MV * (dipole.DOWER @ heart + _noise(time_s, rng)))
    return np.round(dipole.twelve(eight)).clip(-twelve_lead.LARGEST, twelve_lead.LARGEST).astype(np.int16)


def _patient(
    rhythm: str, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The patient's own waves: vector (6, 3) in mV, when (6,) and width (6,) in s."""
    waves = len(dipole.WAVES)
    vector = dipole.turned(dipole.VECTOR_MV, rng.normal(0, (8, 8, 14)))
    vector = vector * rng.lognormal(0, 0.2, (waves, 1)) * rng.lognormal(-0.1, 0.2)
    when_s = dipole.WHEN_S * rng.normal(1, 0.06, waves)
    if rhythm in NO_P:
        retrograde = rhythm == "SVT" and rng.random() < 0.5
        vector[0] *= -0.7 if retrograde else 0
        when_s[0] = RETROGRADE_S
    return vector, when_s, dipole.WIDTH_S * rng.lognormal(0, 0.1, waves)


def _peaks_s(rhythm: str, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When the R peaks come (N,), from before the record to after it, and the RR interval before each (N,)."""
    usual_s = 60 / rng.uniform(*RATES[rhythm])
    beats = int(14 / usual_s)
    if rhythm == "AFIB":
        rr_s = (usual_s * rng.lognormal(0, rng.uniform(0.18, 0.28), beats)).clip(0.32)
    else:
        depth, breath_s = rng.uniform(0.08, 0.14) if rhythm == "SA" else rng.uniform(0.003, 0.02), rng.uniform(3, 5)
        sway = depth * np.sin(2 * np.pi * (np.arange(beats) * usual_s / breath_s + rng.uniform()))
        rr_s = usual_s * (1 + sway + rng.normal(0, 0.006, beats))
    return np.cumsum(rr_s) - usual_s * rng.uniform(1, 2), rr_s


def _noise(time_s: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Muscle noise and a baseline that wanders with the breath (8, T) in mV, each lead with its own part of both."""
    muscle = rng.uniform(*NOISE_MV) * rng.normal(size=(len(dipole.DOWER), len(time_s)))
    hz, phase = rng.uniform(0.12, 0.4, (2, 1)), rng.uniform(0, 1, (2, 1))
    wander = np.sin(2 * np.pi * (hz * time_s + phase))
    return muscle + rng.uniform(*WANDER_MV) * rng.normal(size=(len(dipole.DOWER), 2)) @ wander
