"""Strips, short recordings of one lead with one label each, become Data: labels, view, sides by record, crops.

What `cinc2017` and `synth_strips` have in common. The arrays of a set of strips are flat (S,) int16, all samples one
strip after the other, and of each strip (R,) length, record, label, gain in steps of a mV, median and iqr in steps,
down and content.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data, DataSpec
from loaders.files.cache import Arrays
from loaders.records import Crops, Store
from loaders.splits import by_row
from loaders.splits.by_row import Holdout
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

TEST_FRACTION = 0.2
CROPS, SHORTEST, LONGEST, MOST_CROPS = "3000", 64, 30_000, 1000
RESAMPLE_HZ = 10.0
# By name, the unit that samples have then.
NORMALISATIONS = {
    "center": "mV from the median of the record",
    "none": "mV",
    "record": "interquartile ranges from the median of the record",
}
POLARITIES = {"upright": True, "recorded": False}


@dataclass(frozen=True)
class Choices:
    """What is asked of strips: the class of each label that is kept, the view, crops by class, and the sides."""

    classes: dict[str, str]
    dropped: tuple[str, ...]
    normalise: str
    polarity: str
    samples: int
    times: dict[str, int]
    resample_hz: float
    val_fraction: Holdout
    seed: int

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        *,
        drop_labels: str | None,
        rename_labels: str | None,
        normalise: str | None,
        polarity: str | None,
        crops: str | None,
        resample: float | None,
        val_fraction: Holdout,
        seed: int,
    ) -> "Choices":
        """From the options of a loader whose strips have these `labels`, None for all labels as they are, center,
        upright, one crop of 3,000 samples a record at a rate spread by 10 Hz; UsageError for what cannot be read or is
        not there."""
        classes = parse_labels(labels, drop_labels, rename_labels)
        samples, times = parse_crops(crops or CROPS, list(dict.fromkeys(classes.values())))
        normalise, polarity = normalise or "center", polarity or "upright"
        pick("normalise", NORMALISATIONS, normalise)
        pick("polarity", POLARITIES, polarity)
        dropped = tuple(label for label in labels if label not in classes)
        resample_hz = RESAMPLE_HZ if resample is None else resample
        return cls(classes, dropped, normalise, polarity, samples, times, resample_hz, val_fraction, seed)


def parse_labels(labels: Sequence[str], drop: str | None, rename: str | None) -> dict[str, str]:
    """The class of each label, without those to `drop` ("~,O"), by the names to `rename` ("N:NO,O:NO")."""
    dropped = [name.strip() for name in drop.split(",")] if drop else []
    pairs = [pair.partition(":") for pair in rename.split(",")] if rename else []
    if odd := [old for old, colon, new in pairs if not (colon and old.strip() and new.strip())]:
        raise UsageError(f"--rename-labels {odd[0][:40]!r} is not OLD:NEW", hint="N:NO,O:NO")
    renamed = {old.strip(): new.strip() for old, _, new in pairs}
    if len(renamed) < len(pairs):
        raise UsageError(f"--rename-labels {rename[:60]} renames a label twice", hint="each label once")
    for flag, names in (("drop-labels", dropped), ("rename-labels", renamed)):
        for name in names:
            pick(flag, dict.fromkeys(labels), name)
    if both := [name for name in renamed if name in dropped]:
        raise UsageError(f"--drop-labels and --rename-labels both name {both[0]}", hint="one of the two")
    kept = {label: renamed.get(label, label) for label in labels if label not in dropped}
    if not kept:
        raise UsageError("--drop-labels leaves no label", hint="drop fewer")
    return kept


def parse_crops(text: str, classes: Sequence[str]) -> tuple[int, dict[str, int]]:
    """The samples of a crop and how many an epoch takes of a record of each class, from "3000" or "3000:A=6,NO=2"."""
    length, _, counts = text.partition(":")
    samples, times = _whole(length, "--crops: the samples of a crop are", SHORTEST, LONGEST), dict.fromkeys(classes, 1)
    for part in counts.split(",") if counts else ():
        name, _, count = (word.strip() for word in part.partition("="))
        pick("crops", times, name)
        times[name] = _whole(count, f"--crops: the crops of {name} are", 1, MOST_CROPS)
    return samples, times


def _whole(text: str, what: str, low: int, high: int) -> int:
    number = int(text) if text.strip().isascii() and text.strip().isdigit() and len(text) < 10 else math.nan
    if not low <= number <= high:
        raise UsageError(
            f"{what} {text.strip()[:40]!r}, must be a whole number from {low} to {high}", hint="--crops 3000:A=6"
        )
    return int(number)


def together(
    signals: Sequence[NDArray[np.int16]],
    rate_hz: float,
    *,
    record: Sequence[str],
    label: Sequence[str],
    gain: Sequence[float],
) -> Arrays:
    """The arrays of strips, each a signal (T,) in steps, of which there are `gain` in a mV."""
    low, median, high = np.array([np.percentile(signal, [25, 50, 75]) for signal in signals]).T
    return {
        "flat": np.concatenate(signals),
        "length": np.array([len(signal) for signal in signals]),
        "record": np.array(record, str),
        "label": np.array(label, str),
        "gain": np.array(gain, np.float64),
        "median": median,
        "iqr": high - low,
        "down": np.array([points_down(signal, rate_hz) for signal in signals]),
        "content": np.array([hashlib.sha256(signal.tobytes()).hexdigest()[:32] for signal in signals]),
    }


def points_down(signal: NDArray[np.integer], rate_hz: float) -> bool:
    """Whether the QRS complexes of a lead (T,) point down: in the median second the lowest sample is further from the
    middle.

    Each whole second has a highest and a lowest sample, measured from its own median; of either the median over the
    seconds is taken, so that a few seconds of noise decide nothing. False for less than a second.
    """
    second = round(rate_hz)
    seconds = signal[: len(signal) // second * second].reshape(-1, second).astype(np.float64)
    if not len(seconds):
        return False
    middle = np.median(seconds, axis=1)
    return bool(np.median(middle - seconds.min(1)) > np.median(seconds.max(1) - middle))


def as_data(
    name: str,
    arrays: Arrays,
    checksum: str,
    *,
    rate_hz: float,
    choices: Choices,
    scored: tuple[str, ...],
    facts: Mapping[str, Any],
    where: str,
) -> Data:
    """The dataset `name`; `facts` are its leads, source and licence, `where` stands in errors.

    Records of a label that is dropped are in no side. Raises DataError where a side would be empty.
    """
    classes = tuple(dict.fromkeys(choices.classes.values()))
    number = {label: classes.index(new) for label, new in choices.classes.items()}
    y = np.array([number.get(label, -1) for label in arrays["label"]], np.int64)
    kept = np.flatnonzero(y >= 0)
    if not len(kept):
        raise DataError(f"no record is of {', '.join(choices.classes)}", where=where, hint="other --drop-labels")
    rest, test = by_row.stratified(y[kept], round(TEST_FRACTION * len(kept)), choices.seed, where=where)
    train, val, drawn = by_row.drawn(y[kept[rest]], choices.val_fraction, choices.seed, where=where)
    store, samples = _store(arrays, choices), choices.samples
    sides = [Crops(store, of, y[of], samples, choices.seed) for of in (kept[rest[train]], kept[rest[val]], kept[test])]
    times = np.array([choices.times[name] for name in classes])
    spread = choices.resample_hz / rate_hz
    trained = Crops(store, sides[0].of, sides[0].y, samples, choices.seed, spread).repeated(times)
    spec = DataSpec(
        name=name,
        view="record",
        channels=1,
        samples=samples,
        rate_hz=rate_hz,
        unit=NORMALISATIONS[choices.normalise],
        classes=classes,
        importance=(1.0,) * len(classes),
        split_rule=_rule(choices, (y < 0).sum(), drawn),
        scored=scored if set(scored) <= set(classes) else (),
        **facts,
    )
    checksum = hashlib.sha256(f"{checksum} {choices.classes}".encode()).hexdigest()
    return Data(spec, trained, sides[1], lambda: sides[2], checksum)


def _store(arrays: Arrays, choices: Choices) -> Store:
    """The samples as they lie on disk, with what makes the view of them."""
    length, steps = np.asarray(arrays["length"], np.int64), np.asarray(arrays["gain"])
    zero = np.zeros(len(length)) if choices.normalise == "none" else arrays["median"]
    if choices.normalise == "record":
        steps = np.where(arrays["iqr"] > 0, arrays["iqr"], np.inf)  # a flat record stays 0
    sign = np.where(arrays["down"] & POLARITIES[choices.polarity], -1, 1)
    view = {"zero": np.asarray(zero, np.float32), "factor": (sign / steps).astype(np.float32)}
    return Store(arrays["flat"], np.cumsum(length) - length, length, arrays["record"], arrays["content"], **view)


def _rule(choices: Choices, left_out: int, drawn: str) -> str:
    """How records came to their sides and how they are scored."""
    rule = f"records split at random, stratified by class, 80/20, seed {choices.seed}; whose they are is not known"
    if choices.dropped:
        rule += f"; {left_out:,} records of {', '.join(choices.dropped)} in no side"
    if renamed := [f"{old} is {new}" for old, new in choices.classes.items() if old != new]:
        rule += f"; {', '.join(renamed)}"
    return f"{rule}; {drawn}; a record is scored once, by the mean over its windows"
