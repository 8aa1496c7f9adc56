"""Twelve-lead records of ten seconds with one rhythm each become Data: labels, leads, filters, splits by record.

A `TwelveLeadPlan` has the options of `chapman` or `synth_rhythms`. Their arrays are samples (R, 12, 5000) int16 in
microvolts, leads in the order of `LEADS`, and for each record (R,) name, rhythm ("" if unknown) and content, a hash of
its samples.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders import filters, splits
from loaders.base import Data, DataSpec, describe
from loaders.declaration import Request, TwelveLeadOptions
from loaders.families.beats import HIGHEST_HZ, LOWEST_HZ
from loaders.families.crops import Cropped, stride
from loaders.families.labels import LabelMap, rhythm_map
from loaders.files import cache as blocks
from loaders.files.cache import Arrays, cached, gathered
from loaders.formats.twelve_leads import LARGEST, LEADS
from loaders.records import RecordRows, RecordStore
from toolbox import terminal
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

RATE_HZ, SAMPLES = 500, 5000
STEPS_PER_MV = 1000.0
TEST_SEED = 42
FLAT = 1e-6  # a lead with a smaller interquartile range is flat, and stays 0
UNLABELLED = {"drop": "are left out", "keep": "are rows of no class"}
# The unit of the samples by normalisation.
NORMALISATIONS = {
    "center": "mV from the median of the record's lead",
    "none": "mV",
    "record": "interquartile ranges from the median of the record's lead",
}


@dataclass(frozen=True)
class TwelveLeadPlan:
    """The options of twelve-lead records, checked before a file is read; leads by their number in LEADS."""

    request: Request
    labels: LabelMap
    leads: tuple[int, ...]

    @classmethod
    def of(cls, request: Request) -> "TwelveLeadPlan":
        """The plan of the request's `TwelveLeadOptions`. Raises UsageError."""
        asked = request.options
        if not LOWEST_HZ <= asked.rate <= HIGHEST_HZ:
            what = f"--rate is {asked.rate:g}, must be {LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz"
            raise UsageError(what, hint=f"--rate {RATE_HZ}")
        for step in filters.parse(asked.filter):
            step(np.zeros((1, RATE_HZ)), RATE_HZ)  # raises UsageError for a filter above this rate
        pick("normalise", NORMALISATIONS, asked.normalise)
        return cls(request, rhythm_map(asked.label_map), parse_leads(asked.leads))

    def data(self, arrays: Arrays, checksum: str, *, source: str = "", refused: int = 0) -> Data:
        """The dataset of the arrays; `refused` records were unusable.

        Filtered or resampled samples are cached. TEST_SEED draws the test records by rhythm, so that they are the same
        under every label map and --seed. Raises DataError for an empty split.
        """
        request, asked, rhythm = self.request, self.request.options, arrays["rhythm"]
        labels, where = self.labels.among(rhythm), request.where
        y, known = labels.of(rhythm), np.flatnonzero(rhythm != "")
        if not (y >= 0).any():
            what = f"no record has the class {', '.join(labels.classes)}"
            raise DataError(what, where=where, hint="another --label-map")
        test_rows = round(splits.TEST_FRACTION * len(known))
        parts = splits.stratified(rhythm[known], test_rows, TEST_SEED, where=where)
        rest, test = (known[part][y[known[part]] >= 0] for part in parts)
        if not len(test):
            raise DataError("no record is in test", where=where, hint="more records, or another --label-map")
        train, val, drawn = splits.drawn(y[rest], request.val_fraction, request.seed, where=where)
        store, samples = stored(arrays, checksum, request, self.leads)
        crops = Cropped.of(request, samples)
        sides = [RecordRows(store, of, y[of], dropped=refused, **crops.rows) for of in (rest[train], rest[val], test)]
        left = _in_no_side(labels.name, rhythm, y, refused)
        spec = describe(
            request, f"{_rule(left)}; {drawn}{crops.rule}", samples=crops.samples,
            rate_hz=asked.rate,
            unit=NORMALISATIONS[asked.normalise], leads=tuple(LEADS[k] for k in self.leads),
            classes=tuple(labels.classes), source=source,
        )  # fmt: skip
        of = f"{checksum} {view(asked)} {asked.normalise} {spec.leads} {labels.content} {'|'.join(rhythm)}"
        digest = hashlib.sha256(of.encode()).hexdigest()
        return Data(spec, sides[0], sides[1], lambda: sides[2], digest, left_out=left_out(left))

    def with_labels(
        self, arrays: Arrays, checksum: str, y: NDArray[np.int64], classes: tuple[str, ...], *, source: str = "",
        refused: int = 0, known: NDArray[np.int64] | None = None,
    ) -> Data:  # fmt: skip
        """The dataset of the arrays with any number of labels a record, y (R, K); `refused` records were unusable.
        Labels are those of the `known` records, None for all.

        TEST_SEED draws the test records with each set of labels in proportion, among records without a label, too.
        Raises UsageError for a --label-map, DataError for an empty split.
        """
        request, asked, where = self.request, self.request.options, self.request.where
        if asked.label_map != TwelveLeadOptions.label_map:
            raise UsageError("--label-map is of one rhythm a record", where=where, hint="leave it out, or --labels")
        pick("unlabelled", UNLABELLED, asked.unlabelled)
        known = np.arange(len(y)) if known is None else known
        *parts, drawn = splits.divide(y[known], request.val_fraction, request.seed, test_seed=TEST_SEED, where=where)
        sides, unknown = [known[part] for part in parts], len(y) - len(known)
        bare = int((y[known].sum(1) == 0).sum())
        if asked.unlabelled == "drop":
            sides = [side[y[side].sum(1) > 0] for side in sides]
        for name, side in zip(("training", "test"), (sides[0], sides[2]), strict=True):
            if not len(side):
                raise DataError(f"no record is in {name}", where=where, hint="more records, or --unlabelled keep")
        store, samples = stored(arrays, checksum, request, self.leads)
        crops = Cropped.of(request, samples)
        rows = [RecordRows(store, side, y[side], dropped=refused, **crops.rows) for side in sides]
        rule = [
            f"records split at random, one a patient, stratified by labels, 80/20, seed {TEST_SEED} under every --seed"
        ]
        rule += [f"{refused:,} records that fail the checks in no side"] * (refused > 0)
        rule += [f"{unknown:,} records without known labels in no side"] * (unknown > 0)
        rule += [f"{bare:,} records without a label {UNLABELLED[asked.unlabelled]}"] * (bare > 0)
        spec = describe(
            request, "; ".join([*rule, drawn]) + crops.rule, samples=crops.samples, rate_hz=asked.rate,
            unit=NORMALISATIONS[asked.normalise], leads=tuple(LEADS[k] for k in self.leads), classes=classes,
            source=source,
        )  # fmt: skip
        of = f"{checksum} {view(asked)} {asked.normalise} {spec.leads} {asked.unlabelled} {'|'.join(classes)}"
        labelled = y.tobytes() + (known.tobytes() if unknown else b"")
        digest = hashlib.sha256(of.encode() + labelled).hexdigest()
        left = {"that fail the checks": refused, "without known labels": unknown}
        left |= {"without a label": bare} if asked.unlabelled == "drop" else {}
        return Data(spec, rows[0], rows[1], lambda: rows[2], digest, left_out=left_out(left))


def parse_leads(text: str | None) -> tuple[int, ...]:
    """The numbers of the leads in `text`, in that order; None for all. Raises UsageError for an unknown lead."""
    names = [name.strip() for name in text.split(",")] if text is not None else list(LEADS)
    known = {name.lower(): k for k, name in enumerate(LEADS)}
    for name in names:
        if name.lower() not in known:
            pick("leads", dict.fromkeys(LEADS), name)
    if len({name.lower() for name in names}) < len(names):
        raise UsageError(f"--leads {','.join(names)[:60]} names a lead twice", hint="each lead once")
    return tuple(known[name.lower()] for name in names)


def view(asked: TwelveLeadOptions) -> str:
    """The options that change samples, as text."""
    return f"{asked.rate:g} {asked.filter}"


def stored(
    arrays: Arrays, checksum: str, request: Request, leads: tuple[int, ...], *, rate_hz: float = RATE_HZ
) -> tuple[RecordStore, int]:
    """The samples of records at `rate_hz`, filtered and resampled as requested, with the zero and factor of each lead;
    the number of samples of a lead. `arrays` may have the number of each record in its source."""
    asked, cache, samples = request.options, request.cache, arrays["samples"]
    key = hashlib.sha256(f"{checksum} {view(asked)}".encode()).hexdigest()[:16]
    if (asked.rate, asked.filter) != (rate_hz, "none"):
        build = partial(_filtered, samples, asked, cache, rate_hz)
        made, _ = cached(cache / f"view-{key}", build, by_record=["samples"])
        samples = made["samples"]
    quartiles: Arrays = {}
    if asked.normalise != "none":
        bar = partial(terminal.bar, desc="medians", unit="record")
        quartiles, _ = cached(cache / f"quartiles-{key}", lambda: _quartiles(bar(iterable=_sound(samples))))
    zero, factor = (np.ascontiguousarray(each[:, leads]) for each in _scale(samples, asked, quartiles))
    store = RecordStore.of_one_length(samples, arrays["record"], arrays["content"], zero, factor, leads)
    return replace(store, number=arrays.get("number")), samples.shape[2]


def of_recording(samples: NDArray[np.int16], asked: TwelveLeadOptions, spec: DataSpec, name: str) -> RecordRows:
    """The windows of one recording, samples (C, T) as from `prepared`, of the leads of a run with this `spec`."""
    made = _quartiles([samples]) if asked.normalise != "none" else {}
    one, names = samples[None], np.array([name])
    store = RecordStore.of_one_length(one, names, np.array([""]), *_scale(one, asked, made), tuple(range(len(samples))))
    apart = stride(spec.samples) if asked.crops else None
    return RecordRows(store, np.zeros(1, np.int64), np.zeros(1, np.int64), spec.samples, stride=apart)


def _scale(
    samples: NDArray[np.int16], asked: TwelveLeadOptions, made: Arrays
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The zero and factor (R, C) of records (R, C, T), with their quartiles unless --normalise is none."""
    zero = np.zeros(samples.shape[:2], np.float32)
    factor = np.full_like(zero, 1 / STEPS_PER_MV)
    if asked.normalise != "none":
        low, zero, high = made["quartiles"]
        if asked.normalise == "record":
            factor = np.divide(1, high - low, out=np.zeros_like(zero), where=high - low > FLAT)
    return zero, factor


def _filtered(samples: NDArray[np.int16], asked: TwelveLeadOptions, cache: Path, rate_hz: float) -> Arrays:
    """Each record filtered and resampled, again in microvolts."""
    bar = terminal.bar(iterable=_sound(samples), desc="filtering", unit="record")
    made = (prepared(record, rate_hz, asked.rate, filter=asked.filter) for record in bar)
    return {"samples": gathered(made, cache)}


def prepared(samples: NDArray[Any], rate_hz: float, to_hz: float, *, filter: str = "none") -> NDArray[np.int16]:
    """Microvolts (C, T) of `rate_hz`, filtered and resampled, again in whole microvolts."""
    signal: filters.Signal = samples.astype(np.float64)
    for step in filters.parse(filter):
        signal = step(signal, rate_hz)
    if to_hz != rate_hz:
        signal = filters.resample(signal, rate_hz, to_hz)
    return np.round(signal).clip(-LARGEST, LARGEST).astype(np.int16)


def _quartiles(records: Iterable[NDArray[np.int16]]) -> Arrays:
    quartiles = np.stack([np.percentile(record, (25, 50, 75), axis=1) for record in records], 1)
    return {"quartiles": quartiles.astype(np.float32)}


def left_out(counts: Mapping[str, int]) -> str:
    """The numbers of records that are in no split, by the reason, in words; "" for none."""
    return ", ".join(f"{count:,} records {why}" for why, count in counts.items() if count)


def _in_no_side(label_map: str, rhythm: NDArray[np.str_], y: NDArray[np.int64], refused: int) -> dict[str, int]:
    """The numbers of records in no split, by the reason."""
    return {
        "that fail the checks": refused,
        "without a known rhythm": int((rhythm == "").sum()),
        f"of no class of {label_map}, or of two": int(((y < 0) & (rhythm != "")).sum()),
    }


def _rule(left: Mapping[str, int]) -> str:
    """The rule by which records are divided, and the number of records in no split."""
    rule = f"records split at random, one a patient, stratified by rhythm, 80/20, seed {TEST_SEED} under every --seed"
    return rule + "".join(f"; {count:,} records {why} in no side" for why, count in left.items() if count)


def _sound(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """All samples, compared with their stored digests."""
    blocks.check(samples)
    return samples
