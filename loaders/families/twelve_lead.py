"""Twelve-lead records of ten seconds with one rhythm each become Data: labels, leads, filters, sides by record.

What `chapman` and `synth_rhythms` have in common. Their arrays are samples (R, 12, 5000) int16 in microvolts, the leads
in the order of `LEADS`, and of each record (R,) name, rhythm ("" where none is known) and content, a hash of its
samples.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders import filters
from loaders.base import Data, DataSpec
from loaders.families import labels as labels_diagnoses
from loaders.families.beats import HIGHEST_HZ, LOWEST_HZ
from loaders.families.labels import RhythmMap
from loaders.files import cache as blocks
from loaders.files.cache import Arrays, cached, gathered
from loaders.records import Stack, Stacked
from loaders.splits import by_row
from loaders.splits.by_row import Holdout
from toolbox import terminal
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
RATE_HZ, SAMPLES = 500, 5000
STEPS_PER_MV = 1000.0
LARGEST = 2**15 - 1  # steps
TEST_FRACTION, TEST_SEED = 0.2, 42
FLAT = 1e-6  # an interquartile range below is that of a flat lead, which stays 0
# By name, the unit that samples have then.
NORMALISATIONS = {
    "center": "mV from the median of the record's lead",
    "none": "mV",
    "record": "interquartile ranges from the median of the record's lead",
}


@dataclass(frozen=True)
class Choices:
    """What is asked of the records: classes, leads by their number in LEADS, rate, filter, normalisation, and the
    sides."""

    labels: RhythmMap
    leads: tuple[int, ...]
    rate_hz: float
    filter: str
    normalise: str
    val_fraction: Holdout
    seed: int

    @classmethod
    def of(
        cls,
        *,
        label_map: str | None,
        leads: str | None,
        rate: float | None,
        filter: str | None,
        normalise: str | None,
        val_fraction: Holdout,
        seed: int,
    ) -> "Choices":
        """From the options of a loader, None for rhythm4, all leads, 500 Hz, no filter and mV; UsageError for what is
        none."""
        rate_hz = RATE_HZ if rate is None else rate
        if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
            raise UsageError(
                f"--rate is {rate_hz:g}, must be {LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz", hint=f"--rate {RATE_HZ}"
            )
        for step in filters.parse(filter or "none"):
            step(np.zeros((1, RATE_HZ)), RATE_HZ)  # what it cannot do is said before anything is read
        pick("normalise", NORMALISATIONS, normalise or "none")
        how = {"rate_hz": rate_hz, "filter": filter or "none", "normalise": normalise or "none"}
        return cls(
            labels_diagnoses.rhythm_map(label_map or "rhythm4"),
            parse_leads(leads),
            **how,
            val_fraction=val_fraction,
            seed=seed,
        )

    @property
    def view(self) -> str:
        """What is done to the samples, as text."""
        return f"{self.rate_hz:g} {self.filter}"


def parse_leads(text: str | None) -> tuple[int, ...]:
    """The numbers of the leads that are asked for, in that order, all for None; UsageError for one that there is
    not."""
    names = [name.strip() for name in text.split(",")] if text is not None else list(LEADS)
    known = {name.lower(): k for k, name in enumerate(LEADS)}
    for name in names:
        if name.lower() not in known:
            pick("leads", dict.fromkeys(LEADS), name)
    if len({name.lower() for name in names}) < len(names):
        raise UsageError(f"--leads {text[:60]} names a lead twice", hint="each lead once")
    return tuple(known[name.lower()] for name in names)


def content(samples: NDArray[np.int16]) -> str:
    """A hash of a record's samples (12, T)."""
    return hashlib.sha256(np.ascontiguousarray(samples)).hexdigest()[:32]


def as_data(
    name: str,
    arrays: Arrays,
    checksum: str,
    *,
    choices: Choices,
    cache: Path,
    facts: Mapping[str, Any],
    where: str,
    refused: int = 0,
) -> Data:
    """The dataset `name`; `facts` are its source and licence, `where` stands in errors, `refused` records could not be
    used.

    What a rate and a filter make of the samples is kept in `cache`. The test records are drawn by rhythm with a seed of
    their own, so that they are the same under every label map and --seed. Raises DataError where a side would be empty.
    """
    rhythm, labels = arrays["rhythm"], choices.labels.among(arrays["rhythm"])
    y = labels.of(rhythm)
    known, where_known = np.flatnonzero(rhythm != ""), {"where": where}
    if not (y >= 0).any():
        raise DataError(f"no record is of {', '.join(labels.classes)}", where=where, hint="another --label-map")
    rest, test = by_row.stratified(rhythm[known], round(TEST_FRACTION * len(known)), TEST_SEED, **where_known)
    rest, test = (side[y[side] >= 0] for side in (known[rest], known[test]))
    if not len(test):
        raise DataError("no record is in test", where=where, hint="more records, or another --label-map")
    train, val, drawn = by_row.drawn(y[rest], choices.val_fraction, choices.seed, **where_known)
    stack = _stack(arrays, checksum, choices, cache)
    sides = [Stacked(stack, of, y[of], refused) for of in (rest[train], rest[val], test)]
    spec = DataSpec(
        name=name,
        view="record",
        channels=len(choices.leads),
        samples=stack.samples.shape[2],
        rate_hz=choices.rate_hz,
        unit=NORMALISATIONS[choices.normalise],
        leads=tuple(LEADS[k] for k in choices.leads),
        classes=tuple(labels.classes),
        importance=(1.0,) * len(labels.classes),
        split_rule=f"{_rule(choices, rhythm, y, refused)}; {drawn}",
        **facts,
    )
    of = f"{checksum} {choices.view} {choices.normalise} {spec.leads} {labels.content} {'|'.join(rhythm)}"
    return Data(spec, sides[0], sides[1], lambda: sides[2], hashlib.sha256(of.encode()).hexdigest())


def _stack(arrays: Arrays, checksum: str, choices: Choices, cache: Path) -> Stack:
    """The samples as they are asked for, made once, with what brings each lead to its unit."""
    samples, key = arrays["samples"], hashlib.sha256(f"{checksum} {choices.view}".encode()).hexdigest()[:16]
    if (choices.rate_hz, choices.filter) != (RATE_HZ, "none"):
        made, _ = cached(cache / f"view-{key}", partial(_filtered, samples, choices, cache), by_record=["samples"])
        samples = made["samples"]
    zero = np.zeros(samples.shape[:2], np.float32)
    factor = np.full_like(zero, 1 / STEPS_PER_MV)
    if choices.normalise != "none":
        made, _ = cached(cache / f"quartiles-{key}", partial(_quartiles, samples))
        low, zero, high = made["quartiles"]
        if choices.normalise == "record":
            factor = np.divide(1, high - low, out=np.zeros_like(zero), where=high - low > FLAT)
    zero, factor = (np.ascontiguousarray(each[:, choices.leads]) for each in (zero, factor))
    return Stack(samples, arrays["record"], arrays["content"], zero, factor, choices.leads)


def _filtered(samples: NDArray[np.int16], choices: Choices, cache: Path) -> Arrays:
    """Each record filtered and resampled, again in microvolts."""
    steps = filters.parse(choices.filter)

    def made() -> Iterator[NDArray[np.int16]]:
        for record in terminal.bar(iterable=_sound(samples), desc="filtering", unit="record"):
            signal = record.astype(np.float64)
            for step in steps:
                signal = step(signal, RATE_HZ)
            signal = filters.resample(signal, RATE_HZ, choices.rate_hz)
            yield np.round(signal).clip(-LARGEST, LARGEST).astype(np.int16)

    return {"samples": gathered(made(), cache)}


def _quartiles(samples: NDArray[np.int16]) -> Arrays:
    """Those (3, R, 12) of each lead."""
    bar = terminal.bar(iterable=_sound(samples), desc="medians", unit="record")
    return {
        "quartiles": np.stack([np.percentile(record, (25, 50, 75), axis=1) for record in bar], 1).astype(np.float32)
    }


def _rule(choices: Choices, rhythm: NDArray[np.str_], y: NDArray[np.int64], refused: int) -> str:
    """How records came to their sides."""
    rule = f"records split at random, one a patient, stratified by rhythm, 80/20, seed {TEST_SEED} under every --seed"
    rule += _told(refused, "that fail the checks")
    rule += _told(int((rhythm == "").sum()), "without a known rhythm")
    rule += _told(int(((y < 0) & (rhythm != "")).sum()), f"of no class of {choices.labels.name}, or of two")
    return rule


def _told(records: int, what: str) -> str:
    return f"; {records:,} records {what} in no side" if records else ""


def ordered(names: Sequence[str]) -> list[int]:
    """The place of each of LEADS among `names`, whatever their case; a ValueError names those that are not there, or
    twice."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name.strip().lower(), []).append(place)
    missing = [lead for lead in LEADS if lead.lower() not in places]
    if len(missing) == len(LEADS):
        raise ValueError(f"no lead is called {', '.join(LEADS)}; they are called {', '.join(names)[:120]}: rename them")
    if missing:
        raise ValueError(f"of the twelve leads {', '.join(missing)} is missing; there are {', '.join(names)[:120]}")
    if twice := [lead for lead in LEADS if len(places[lead.lower()]) > 1]:
        raise ValueError(f"lead {twice[0]} is there twice")
    return [places[lead.lower()][0] for lead in LEADS]


def _sound(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """All samples, once they are known to be those that were stored."""
    blocks.check(samples)
    return samples
