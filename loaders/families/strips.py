"""Strips, short recordings of one lead with one label each, become Data: labels, unit, splits by record, crops.

A `StripPlan` has the options of `cinc2017` or `synth_strips`. Their arrays are flat (S,) int16, all samples one strip
after the other, and for each strip (R,) length, record, label, gain in steps per mV, median and iqr in steps, down and
content.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loaders import splits
from loaders.base import Data, DataSpec, describe
from loaders.declaration import Request, StripOptions
from loaders.families import crops, twelve_lead
from loaders.files.cache import Arrays
from loaders.formats.recording import Lead
from loaders.records import RecordRows, RecordStore
from toolbox.ecg import rhythm
from toolbox.ecg.gaps import bridged
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

LONGEST = 30_000  # samples of a crop
MICROVOLTS = 1000.0  # steps per mV
# The unit of the samples by normalisation.
NORMALISATIONS = {
    "center": "mV from the median of the record",
    "none": "mV",
    "record": "interquartile ranges from the median of the record",
}
POLARITIES = {"upright": True, "recorded": False}


@dataclass(frozen=True)
class StripPlan:
    """The options of strips, checked before a file is read: the class of each kept label, the samples of a crop, the
    crops per epoch of a record of each class, and the fold that tests, of a split with folds."""

    request: Request
    classes: dict[str, str]
    samples: int
    times: dict[str, int]
    test_fold: splits.Fold | None
    rate_hz: float

    @classmethod
    def of(cls, request: Request) -> "StripPlan":
        """The plan of the request's `StripOptions`. Raises UsageError."""
        asked, rate_hz = request.options, request.options.rate or request.dataset.rate_hz
        classes = parse_labels(request.dataset.classes, asked.drop_labels, asked.rename_labels)
        samples, times = crops.parse(asked.crops, rate_hz, list(dict.fromkeys(classes.values())), longest=LONGEST)
        pick("normalise", NORMALISATIONS, asked.normalise)
        pick("polarity", POLARITIES, asked.polarity)
        return cls(request, classes, samples, times, splits.Fold.of_test(asked.split, asked.fold), rate_hz)

    @property
    def key(self) -> dict[str, str]:
        """The options that change the arrays, for the name of their cache; {} for strips as they were recorded."""
        key = {"rate": f"{self.rate_hz:g}"} if self.rate_hz != self.request.dataset.rate_hz else {}
        return key | ({"rhythm": f"{rhythm.VERSION}"} if self.request.options.rr_features else {})

    def arrays(
        self,
        signals: Sequence[NDArray[np.int16]],
        *,
        record: Sequence[str],
        label: Sequence[str],
        gain: Sequence[float],
    ) -> Arrays:
        """The arrays of strips as they were recorded: `together` at the requested rate, with features if requested."""
        recorded_hz, made = self.request.dataset.rate_hz, {}
        if self.request.options.rr_features:
            numbers = [rhythm.numbers(x / each, recorded_hz) for x, each in zip(signals, gain, strict=True)]
            made = {"features": np.stack(numbers)}
        if self.rate_hz != recorded_hz:
            signals = [twelve_lead.prepared(x[None], recorded_hz, self.rate_hz)[0] for x in signals]
        return together(signals, self.rate_hz, record=record, label=label, gain=gain) | made

    def data(self, arrays: Arrays, checksum: str, *, source: str = "") -> Data:
        """The dataset of the arrays; records of a dropped label are in no split.

        Raises DataError for an empty split.
        """
        request, asked = self.request, self.request.options
        classes, recorded_hz = tuple(self.times), request.dataset.rate_hz
        number = {label: classes.index(new) for label, new in self.classes.items()}
        y = np.array([number.get(label, -1) for label in arrays["label"]], np.int64)
        kept = np.flatnonzero(y >= 0)
        if not len(kept):
            what = f"no record has the class {', '.join(self.classes)}"
            raise DataError(what, where=request.where, hint="other --drop-labels")
        *parts, drawn = splits.divide(
            y[kept], request.val_fraction, request.seed, test_fold=self.test_fold, where=request.where
        )
        store = _store(arrays, asked)
        sides = [RecordRows(store, kept[part], y[kept[part]], self.samples, request.seed) for part in parts]
        times = np.array([self.times[name] for name in classes])
        trained = replace(sides[0], spread=asked.resample / recorded_hz).repeated(times)
        scored = request.dataset.scored
        spec = describe(
            request, self._rule(int((y < 0).sum()), drawn), samples=self.samples, rate_hz=self.rate_hz,
            unit=NORMALISATIONS[asked.normalise], classes=classes, source=source,
            scored=scored if set(scored) <= set(classes) else (),
            features=rhythm.NAMES if asked.rr_features else (),
        )  # fmt: skip
        checksum = hashlib.sha256(f"{checksum} {self.classes}".encode()).hexdigest()
        return Data(spec, trained, sides[1], lambda: sides[2], checksum)

    def _rule(self, left_out: int, drawn: str) -> str:
        rule = f"{splits.at_random('records', self.request.seed, self.test_fold)}; whose they are is not known"
        if dropped := [label for label in self.request.dataset.classes if label not in self.classes]:
            rule += f"; {left_out:,} records of {', '.join(dropped)} in no side"
        if renamed := [f"{old} is {new}" for old, new in self.classes.items() if old != new]:
            rule += f"; {', '.join(renamed)}"
        return f"{rule}; {drawn}; a record is scored once, by the mean over its windows"


def parse_labels(labels: Sequence[str], drop: str | None, rename: str | None) -> dict[str, str]:
    """The class of each label: `drop` ("~,O") removes labels, `rename` ("N:NO,O:NO") joins them."""
    dropped = [name.strip() for name in drop.split(",")] if drop else []
    pairs = [pair.partition(":") for pair in rename.split(",")] if rename else []
    if odd := [old for old, colon, new in pairs if not (colon and old.strip() and new.strip())]:
        raise UsageError(f"--rename-labels {odd[0][:40]!r} is not OLD:NEW", hint="N:NO,O:NO")
    renamed = {old.strip(): new.strip() for old, _, new in pairs}
    if len(renamed) < len(pairs):
        raise UsageError(f"--rename-labels {(rename or '')[:60]} renames a label twice", hint="each label once")
    for flag, names in (("drop-labels", dropped), ("rename-labels", renamed)):
        for name in names:
            pick(flag, dict.fromkeys(labels), name)
    if both := [name for name in renamed if name in dropped]:
        raise UsageError(f"--drop-labels and --rename-labels both name {both[0]}", hint="one of the two")
    kept = {label: renamed.get(label, label) for label in labels if label not in dropped}
    if not kept:
        raise UsageError("--drop-labels leaves no label", hint="drop fewer")
    return kept


def together(
    signals: Sequence[NDArray[np.int16]],
    rate_hz: float,
    *,
    record: Sequence[str],
    label: Sequence[str],
    gain: Sequence[float],
) -> Arrays:
    """The arrays of strips: signals (T,) in steps, with `gain` steps per mV."""
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
    """Whether the QRS complexes of a lead (T,) point down: the lowest sample is further from the median than the
    highest.

    Both distances are measured in each whole second; their medians over the seconds are compared, so that a few seconds
    of noise do not count. False for less than a second.
    """
    second = round(rate_hz)
    seconds = signal[: len(signal) // second * second].reshape(-1, second).astype(np.float64)
    if not len(seconds):
        return False
    middle = np.median(seconds, axis=1)
    return bool(np.median(middle - seconds.min(1)) > np.median(seconds.max(1) - middle))


def of_recording(samples: NDArray[np.int16], asked: StripOptions, spec: DataSpec, name: str) -> RecordRows:
    """The windows of one recording, samples (1, T) in microvolts, of a run with this `spec`."""
    arrays = together([samples[0]], spec.rate_hz, record=[name], label=[""], gain=[MICROVOLTS])
    return RecordRows(_store(arrays, asked), np.zeros(1, np.int64), np.zeros(1, np.int64), spec.samples)


def with_rhythm(rows: RecordRows, lead: Lead, where: str) -> RecordRows:
    """The windows of one recording with the features of its lead, computed at the lead's own rate.

    Raises DataError, with `where`, for a rate below 50 Hz.
    """
    signal, _ = bridged(lead.read(0, lead.samples), 0)
    features = rhythm.numbers(signal, lead.rate_hz, where=where)[None]
    return replace(rows, store=replace(rows.store, features=features))


def _store(arrays: Arrays, asked: StripOptions) -> RecordStore:
    """The samples as on disk, with the zero and factor of each record."""
    length, steps = np.asarray(arrays["length"], np.int64), np.asarray(arrays["gain"])
    zero = np.zeros(len(length)) if asked.normalise == "none" else arrays["median"]
    if asked.normalise == "record":
        steps = np.where(arrays["iqr"] > 0, arrays["iqr"], np.inf)  # a flat record stays 0
    sign = np.where(arrays["down"] & POLARITIES[asked.polarity], -1, 1)
    zero, factor = (np.asarray(each, np.float32)[:, None] for each in (zero, sign / steps))
    first = np.cumsum(length) - length
    facts = (arrays["record"], arrays["content"], zero, factor)
    return RecordStore(arrays["flat"], first, length, *facts, features=arrays.get("features"))
