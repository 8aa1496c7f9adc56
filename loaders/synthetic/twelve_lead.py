"""Dataset `synth_rhythms`: generated twelve-lead records of four rhythms in the layout of `chapman`, for trials without
data.

Each record is another patient, with another heart vector, rate and noise. AFIB has no P wave, irregular RR intervals
and f waves; ST (of GSVT) is fast and regular, with the P wave near the T wave before it; SVT has no P wave, or one
after the QRS complex; SB is below 60 a minute; SR is between 60 and 100, and so is SA, which changes with the breath.

--labels many generates 240 other records, of which each has any of the FINDINGS or none: a rhythm (AFIB, SB, ST), an
axis (LAD, RAD) and findings of conduction (1AVB, LBBB, RBBB).

The heart is a dipole that turns and grows with every wave of a beat. A wave is a Gaussian bump of the vector (x, y, z),
as in the dynamical model of McSharry et al. (IEEE TBME 50(3):289-294, 2003) and its extension to the vector by Sameni
et al. (EURASIP J Adv Signal Process 2007:43407). x points to the left, y down and z to the back, in mV of the Frank
leads. Eight leads are projections of the vector by Dower, Machado & Osborne (Clin Cardiol 3(2):87-95, 1980), the other
four follow from I and II by Einthoven and Goldberger.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data
from loaders.declaration import Request
from loaders.families import twelve_lead
from loaders.families.twelve_lead import RATE_HZ, SAMPLES, TwelveLeadPlan
from loaders.files import building
from loaders.files.cache import Arrays, cached
from toolbox.registry import pick

Signal = NDArray[np.float64]
Waves = tuple[Signal, Signal, Signal]
WAVES = ("P", "Q", "R", "S", "T rise", "T")
# The projections of x, y and z on I, II, V1 to V6.
DOWER = np.array(
    [[0.632, -0.235, 0.059], [0.235, 1.066, -0.132], [-0.515, 0.157, -0.917], [0.044, 0.164, -1.387],
     [0.882, 0.098, -1.277], [1.213, 0.127, -0.601], [1.125, 0.127, -0.086], [0.831, 0.076, 0.230]]
)  # fmt: skip
# I, II, III, aVR, aVL, aVF from I and II.
LIMBS = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
# Of each wave: time in s after the R peak (T at a beat per second), width in s, and its vector in mV.
WHEN_S = np.array([-0.16, -0.028, 0.0, 0.028, 0.23, 0.28])
WIDTH_S = np.array([0.024, 0.009, 0.012, 0.013, 0.055, 0.033])
VECTOR_MV = np.array(
    [[0.07, 0.12, -0.02], [-0.14, -0.05, -0.22], [1.05, 0.85, 0.35],
     [-0.12, -0.12, 0.5], [0.12, 0.09, -0.09], [0.2, 0.16, -0.13]]
)  # fmt: skip
REACH_S = 0.6  # of a beat's waves to either side of its R peak


def twelve(eight: Signal) -> Signal:
    """The twelve leads (12, T) in the standard order, from I, II, V1 to V6 (8, T)."""
    return np.concatenate([LIMBS @ eight[:2], eight[2:]])


def beats(peaks_s: Signal, samples: int, rate_hz: float, *, vector: Signal, when_s: Signal, width_s: Signal) -> Signal:
    """The vector (3, T) of beats with R peaks at `peaks_s` (N,), inside or outside of the record.

    `vector` is (6, 3) for each wave or (N, 6, 3) for each wave of each beat, `when_s` (N, 6) after the R peak,
    `width_s` (6,).
    """
    first = np.floor((peaks_s - REACH_S) * rate_hz).astype(int)
    at = first[:, None] + np.arange(int(2 * REACH_S * rate_hz))  # (N, W) samples around each peak
    after_s = at / rate_hz - peaks_s[:, None]
    bumps = np.exp(-(((after_s[:, None] - when_s[:, :, None]) / width_s[:, None]) ** 2) / 2)  # (N, 6, W)
    parts = np.einsum("nwt,nwa->ant", bumps, np.broadcast_to(vector, (len(peaks_s), *vector.shape[-2:])), optimize=True)
    inside = (at >= 0) & (at < samples)
    return np.stack([np.bincount(at[inside], part[inside], minlength=samples) for part in parts])


def f_waves(time_s: Signal, rng: np.random.Generator) -> Signal:
    """The vector (3, T) of fibrillating atria: a sawtooth of 5 to 8 Hz with varying rate and height, strongest towards
    V1.

    Stridh & Sörnmo, IEEE TBME 48(1):105-111, 2001.
    """
    sway = rng.uniform(0.2, 0.5) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.3) * time_s + rng.uniform()))
    phase = 2 * np.pi * rng.uniform(5, 8) * time_s + sway / 0.2
    strongest_mv = rng.uniform(0.05, 0.11)
    height_mv = strongest_mv * (1 + 0.3 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.4) * time_s + rng.uniform())))
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


VERSION = 1  # raised when the records change
SEED = 12
COUNTS = {"AFIB": 50, "ST": 30, "SVT": 20, "SB": 80, "SR": 40, "SA": 20}
# Beats a minute.
RATES = {"AFIB": (70, 140), "ST": (108, 150), "SVT": (145, 190), "SB": (41, 56), "SR": (63, 97), "SA": (66, 90)}
NO_P = ("AFIB", "SVT")
RETROGRADE_S = 0.11  # after the R peak, the P wave of some SVT
NOISE_MV, WANDER_MV = (0.006, 0.025), (0.01, 0.06)


MANY_VERSION, MANY_SEED = 1, 19
MANY_COUNTS = {"SR": 96, "SB": 48, "ST": 42, "AFIB": 54}
FINDINGS = ("1AVB", "AFIB", "LAD", "LBBB", "RAD", "RBBB", "SB", "ST")
AXIS_DEGREES = {"LAD": -80.0, "RAD": 80.0}  # of the QRS complex, around z
LATE_P_S = 0.1  # that a P wave of 1AVB comes before its place
RHYTHM = "rhythm"
LABELS = {RHYTHM: "one rhythm a record", "many": "any of the findings"}


def load(request: Request) -> Data:
    """240 records of 10 s at 500 Hz in mV, or 240 with many labels each, the same in every run."""
    plan = TwelveLeadPlan.of(request)
    asked = request.options.labels or RHYTHM
    pick("labels", LABELS, asked)
    if asked != RHYTHM:
        arrays, checksum = cached(request.cache / f"findings-v{MANY_VERSION}", with_findings)
        return plan.with_labels(arrays, checksum, arrays["y"], FINDINGS)
    return plan.data(*cached(request.cache / f"records-v{VERSION}", generated))


def generated() -> Arrays:
    """All records, their rhythms in random order."""
    rng = np.random.default_rng(SEED)
    rhythm = rng.permutation(np.repeat(list(COUNTS), list(COUNTS.values())))
    samples = np.stack([record(str(each), one) for each, one in zip(rhythm, rng.spawn(len(rhythm)), strict=True)])
    names = np.array([f"t{number:03}" for number in range(1, len(rhythm) + 1)])
    content = np.array([*map(building.content, samples)])
    return {"samples": samples, "record": names, "rhythm": rhythm, "content": content}


def with_findings() -> Arrays:
    """Records with any of the FINDINGS each, y (R, K)."""
    rng = np.random.default_rng(MANY_SEED)
    rhythm = rng.permutation(np.repeat(list(MANY_COUNTS), list(MANY_COUNTS.values())))
    axis, block = rng.choice(["LAD", "RAD", ""], (len(rhythm),), p=(0.25, 0.2, 0.55)), rng.random(len(rhythm))
    late = rng.random(len(rhythm)) < 0.25
    own = [
        {str(rhythm[k]), str(axis[k]), "LBBB" if block[k] < 0.2 else "RBBB" if block[k] < 0.4 else ""}
        | ({"1AVB"} if late[k] and rhythm[k] != "AFIB" else set())
        for k in range(len(rhythm))
    ]
    parts = zip(rhythm, own, rng.spawn(len(rhythm)), strict=True)
    samples = np.stack([record(str(each), one, findings) for each, findings, one in parts])
    return {
        "samples": samples,
        "record": np.array([f"m{number:03}" for number in range(1, len(rhythm) + 1)]),
        "y": np.array([[int(name in findings) for name in FINDINGS] for findings in own], np.int64),
        "content": np.array([*map(building.content, samples)]),
    }


def record(rhythm: str, rng: np.random.Generator, findings: Collection[str] = ()) -> NDArray[np.int16]:
    """One record (12, 5000) in microvolts."""
    time_s = np.arange(SAMPLES) / RATE_HZ
    vector, when_s, width_s = _with_findings(findings, *_patient(rhythm, rng))
    peaks_s, rr_s = _peaks_s(rhythm, rng)
    when_s = np.tile(when_s, (len(peaks_s), 1))
    when_s[:, 4:] *= np.sqrt(rr_s)[:, None].clip(0.66, 1.1)  # Bazett: the QT interval goes with the root of RR
    vector = vector * rng.lognormal(0, 0.04, (len(peaks_s), len(WAVES), 1))
    heart = beats(peaks_s, SAMPLES, RATE_HZ, vector=vector, when_s=when_s, width_s=width_s)
    if rhythm == "AFIB":
        heart = heart + f_waves(time_s, rng)
    eight = np.round(twelve_lead.STEPS_PER_MV * (DOWER @ heart + _noise(time_s, rng)))
    return np.round(twelve(eight)).clip(-twelve_lead.LARGEST, twelve_lead.LARGEST).astype(np.int16)


def _patient(rhythm: str, rng: np.random.Generator) -> Waves:
    """The patient's waves: vector (6, 3) in mV, time (6,) and width (6,) in s."""
    waves = len(WAVES)
    vector = turned(VECTOR_MV, rng.normal(0, (8, 8, 14)))
    vector = vector * rng.lognormal(0, 0.2, (waves, 1)) * rng.lognormal(-0.1, 0.2)
    when_s = WHEN_S * rng.normal(1, 0.06, waves)
    if rhythm in NO_P:
        retrograde = rhythm == "SVT" and rng.random() < 0.5
        vector[0] *= -0.7 if retrograde else 0
        when_s[0] = RETROGRADE_S
    return vector, when_s, WIDTH_S * rng.lognormal(0, 0.1, waves)


def _with_findings(findings: Collection[str], vector: Signal, when_s: Signal, width_s: Signal) -> Waves:
    """The waves of `_patient` with findings of axis and conduction."""
    complexes, late = slice(1, 4), WAVES.index("S")
    for name in AXIS_DEGREES.keys() & findings:
        vector = vector.copy()
        vector[complexes] = turned(vector[complexes], np.array([0.0, 0.0, AXIS_DEGREES[name]]))
    if "1AVB" in findings:
        when_s = when_s - LATE_P_S * (np.arange(len(WAVES)) == 0)
    if "LBBB" in findings:  # broad, to the left and the back, with T against it
        wide = np.where(np.isin(np.arange(len(WAVES)), range(1, 4)), 2.4, 1.0)
        vector, width_s = vector * np.array([0.3, 0.3, 1.0, 0.3, -1, -1])[:, None], width_s * wide
        vector[2] += [0.3, 0.0, 0.6]
    if "RBBB" in findings:  # a late wave to the right and the front
        width_s, when_s = width_s.copy(), when_s.copy()
        width_s[late], when_s[late] = 2.2 * width_s[late], when_s[late] + 0.04
        vector = vector.copy()
        vector[late] = [-0.55, 0.05, -0.7]
    return vector, when_s, width_s


def _peaks_s(rhythm: str, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The times (N,) of the R peaks, from before the record to after it, and the RR interval before each (N,)."""
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
    """Muscle noise and baseline wander with the breath (8, T) in mV, different in each lead."""
    muscle = rng.uniform(*NOISE_MV) * rng.normal(size=(len(DOWER), len(time_s)))
    hz, phase = rng.uniform(0.12, 0.4, (2, 1)), rng.uniform(0, 1, (2, 1))
    wander = np.sin(2 * np.pi * (hz * time_s + phase))
    return muscle + rng.uniform(*WANDER_MV) * rng.normal(size=(len(DOWER), 2)) @ wander
