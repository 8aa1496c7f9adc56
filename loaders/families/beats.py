"""Beats, cut from recordings around their R peaks, become Data: labels by a map, features, splits by patient.

    recipe = Recipe.of(window="-0.4,0.8", rate=125, filter="baseline")
    x = recipe.normalised(recipe.prepared(signal, 360), recipe.places(r_peaks, 360))    # (N, C, 150)

A `Recipe` states how a row is filtered, resampled, cut and normalised. A `BeatPlan` has all options of `mitdb` or
`synth_patients`; their arrays are x (N, C, T), symbol (N,), record (N,), position (N,) and features (N, F).
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders import filters
from loaders.base import Data, Split, describe
from loaders.declaration import BeatOptions, Cohort, Request
from loaders.families import beat_features, by_patient
from loaders.families.beat_features import EARLY
from loaders.families.by_patient import Protocol
from loaders.families.labels import BEATS, LabelMap, label_map
from loaders.files.cache import Arrays
from loaders.files.sources import log
from loaders.filters import Signal
from toolbox.errors import UsageError
from toolbox.registry import pick

LONGEST_S = 10.0  # of a window
LOWEST_HZ, HIGHEST_HZ = 10.0, 1000.0
QUARTILES = (25, 50, 75)
FLAT = 1e-6  # a spread below is rounding, of a lead that was off
# The unit of the samples by normalisation.
NORMALISATIONS = {
    "none": "mV",
    "record": "interquartile ranges from the median of the record's lead",
    "beat": "standard deviations from the mean of the beat's lead",
    "typical": "ranges of the record's typical beat, from that beat",
}
MOST_BEATS = 2000  # for the median of a typical beat


@dataclass(frozen=True)
class Recipe:
    """The cut of a row: a window in s around the R peak, its rate in Hz, the filters and the normalisation by name."""

    start_s: float
    end_s: float
    rate_hz: float
    filter: str
    normalise: str

    @classmethod
    def of(
        cls,
        *,
        window: str = BeatOptions.window,
        rate: float = BeatOptions.rate,
        filter: str = BeatOptions.filter,
        normalise: str = BeatOptions.normalise,
    ) -> "Recipe":
        """The recipe of the flags' values. Raises UsageError."""
        if not LOWEST_HZ <= rate <= HIGHEST_HZ:
            what = f"--rate is {rate:g}, must be {LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz"
            raise UsageError(what, hint=f"--rate {BeatOptions.rate:g}")
        filters.parse(filter)
        pick("normalise", NORMALISATIONS, normalise)
        recipe = cls(*_window(window), rate, filter, normalise)
        if recipe.samples < 2:
            what = f"--window {window} has {recipe.samples} samples at {rate:g} Hz"
            raise UsageError(what, hint=f"--window={BeatOptions.window}")
        return recipe

    @property
    def samples(self) -> int:
        """The number of samples of a row."""
        return round((self.end_s - self.start_s) * self.rate_hz)

    @property
    def r_peak(self) -> int:
        """The sample of the R peak in a row."""
        return min(round(-self.start_s * self.rate_hz), self.samples - 1)

    @property
    def unit(self) -> str:
        return NORMALISATIONS[self.normalise]

    def places(self, peaks: NDArray[np.int64], rate_hz: float) -> NDArray[np.floating]:
        """R peaks (N,) in samples of a signal of `rate_hz` as places in the prepared signal, not rounded."""
        return peaks * (self.rate_hz / rate_hz)

    def normalised(self, signal: Signal, places: NDArray[np.floating]) -> NDArray[np.float32]:
        """Rows (N, C, samples) of a whole prepared signal (C, T) in mV, around R peaks at `places` (N,).

        A place is rounded to the nearest sample; the first and last sample of the signal are repeated beyond its ends,
        so that no beat is lost.
        """
        known = OF_RECORDS[self.normalise](self, signal, places) if self.normalise in OF_RECORDS else None
        return self.cut(signal, places, known)

    def prepared(self, signal: Signal, rate_hz: float) -> Signal:
        """The signal (C, T) of `rate_hz`, filtered, at the rate of the rows."""
        for step in filters.parse(self.filter):
            signal = step(signal, rate_hz)
        return filters.resample(signal, rate_hz, self.rate_hz)

    def windows(self, signal: Signal, places: NDArray[np.floating]) -> NDArray[np.float32]:
        """Rows (N, C, samples) of the prepared signal (C, T) around R peaks at `places` (N,), not normalised."""
        return filters.around(signal, places, -self.r_peak, self.samples)

    def cut(self, signal: Signal, places: NDArray[np.floating], known: Signal | None) -> NDArray[np.float32]:
        """The rows (N, C, samples) of `windows`, normalised.

        `known` is a fact of the whole record, see OF_RECORDS: quartiles (3, C, 1), or its typical beat (C, samples).
        """
        if known is not None and self.normalise == "record":
            low, middle, high = known
            signal = _over(signal - middle, high - low)
        rows: Signal = self.windows(signal, places)
        if self.normalise == "beat":
            rows = _over(rows - rows.mean(2, keepdims=True), rows.std(2, keepdims=True))
        if known is not None and self.normalise == "typical":
            rows = _over(rows - known, np.ptp(known, axis=1, keepdims=True))
        return np.ascontiguousarray(rows, np.float32)


def usual_beats(places: NDArray[Any]) -> NDArray[np.int64]:
    """The beats at ascending `places` (N,) for a typical beat: at most 2,000 that are not early against the mean RR
    interval.

    Ectopic beats are early even if they outnumber the others.
    """
    rr = np.diff(places)
    late = np.flatnonzero(np.concatenate([rr[:1], rr]) >= EARLY * rr.mean()) if len(rr) else np.arange(len(places))
    return late[:: -(-len(late) // MOST_BEATS) or 1]


def quartiles(signal: Signal) -> Signal:
    """The quartiles (3, C, 1) of a prepared signal (C, T)."""
    return np.percentile(signal, QUARTILES, axis=1, keepdims=True)


def median_beat(rows: NDArray[np.float32]) -> Signal:
    """The median (C, samples) of rows (N, C, samples), 0 without a row."""
    return np.median(rows, axis=0) if len(rows) else np.zeros(rows.shape[1:], np.float32)


# The fact of a whole prepared record that a normalisation needs: its quartiles, or the median of its usual beats.
OF_RECORDS: dict[str, Callable[[Recipe, Signal, NDArray[np.floating]], Signal]] = {
    "record": lambda recipe, signal, places: quartiles(signal),
    "typical": lambda recipe, signal, places: median_beat(recipe.windows(signal, places[usual_beats(places)])),
}


def _over(values: Signal, spread: Signal) -> Signal:
    """Values divided by their spread, 0 for a flat lead."""
    return np.divide(values, spread, out=np.zeros_like(values), where=spread > FLAT)


def _window(text: str) -> tuple[float, float]:
    """Start and end in s, with the R peak, 0, between."""
    try:
        start_s, end_s = map(float, text.split(","))
    except ValueError:
        start_s = end_s = math.nan
    if not -LONGEST_S <= start_s <= 0 < end_s <= LONGEST_S:
        what = f"--window {text[:40]}, expected start and end in s with the R peak, 0, between"
        raise UsageError(f"{what}, at most {LONGEST_S:g} s away", hint=f"--window={BeatOptions.window}")
    return start_s, end_s


@dataclass(frozen=True)
class BeatPlan:
    """The options of beats, checked before a file is read."""

    request: Request
    recipe: Recipe
    labels: LabelMap
    protocol: Protocol
    features: tuple[str, ...]

    @classmethod
    def of(cls, request: Request) -> "BeatPlan":
        """The plan of the request's `BeatOptions`. Raises UsageError."""
        asked = request.options
        recipe = Recipe.of(window=asked.window, rate=asked.rate, filter=asked.filter, normalise=asked.normalise)
        labels, protocol = label_map(asked.label_map), by_patient.parse(asked.split, asked.fold)
        features = beat_features.names(asked.rr_features, asked.p_waves, recipe.rate_hz)
        return cls(request, recipe, labels, protocol, features)

    @property
    def key(self) -> dict[str, str]:
        """The options that change the arrays of a record, for the name of their cache."""
        return {"recipe": repr(self.recipe), "features": repr(beat_features.ALL)}

    def record(
        self, name: str, signal: Signal, rate_hz: float, annotated: NDArray[np.str_], places: NDArray[np.int64]
    ) -> Arrays:
        """The arrays of one record: its signal (C, T) in mV, the symbols (M,) and samples (M,) of its annotations."""
        is_beat = np.isin(annotated, list(BEATS))
        annotated, peaks = annotated[is_beat], places[is_beat].astype(np.int64)
        signal, at = self.recipe.prepared(signal, rate_hz), self.recipe.places(peaks, rate_hz)
        p_waves = beat_features.p_wave_rows(signal, self.recipe.rate_hz, at)
        return {
            "x": self.recipe.normalised(signal, at),
            "symbol": annotated,
            "record": np.full(len(peaks), name),
            "position": peaks,
            "features": beat_features.numbers(beat_features.ALL, peaks / rate_hz, p_waves),
        }

    def data(
        self, arrays: Arrays, checksum: str, *, leads: tuple[str, ...], rates: Callable[[], Mapping[str, float]]
    ) -> Data:
        """The dataset of the arrays of all records; `rates` gives the rate in Hz of each record.

        Beats without a class are left out. Raises DataError for an empty split or a missing record.
        """
        request, record, where = self.request, arrays["record"], self.request.where
        y, kept = labelled(arrays["symbol"], self.labels)
        cohort = request.dataset.cohort or Cohort((), (), "")
        by_patient.check_complete(self.protocol, record, cohort, where=where)
        *parts, rule = by_patient.divide(
            self.protocol, record[kept], y[kept],
            cohort=cohort, val_fraction=request.val_fraction, seed=request.seed, where=where,
        )  # fmt: skip
        train, val, test = (kept[part] for part in parts)
        labels = self.labels.among(arrays["symbol"][np.concatenate([train, val, test])])
        y = labels.of(arrays["symbol"])
        features = arrays["features"][:, [beat_features.ALL.index(name) for name in self.features]]
        rows = Split(arrays["x"], y, record, np.arange(len(y)), position=arrays["position"], features=features)
        if len(left_out := arrays.get("left_out", ())):
            rule += f"; left out for lack of the leads: {' '.join(left_out)}"
        spec = describe(
            request, rule, samples=self.recipe.samples, rate_hz=self.recipe.rate_hz, unit=self.recipe.unit,
            leads=leads, classes=tuple(labels.classes), importance=labels.importance, features=self.features,
        )  # fmt: skip
        checksum = hashlib.sha256(f"{checksum} {labels.content} {spec.features}".encode()).hexdigest()
        return Data(spec, rows.rows(train), rows.rows(val), lambda: rows.rows(test), checksum, rates)


def together(parts: list[Arrays]) -> Arrays:
    """The arrays of several records as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def labelled(annotated: NDArray[np.str_], labels: LabelMap) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The class (N,) of each beat, and the beats with a class; the others are a warning."""
    y = labels.of(annotated)
    if (out := y < 0).any():
        names, counts = np.unique(annotated[out], return_counts=True)
        listed = ", ".join(f"{count:,} {symbol}" for symbol, count in zip(names, counts, strict=True))
        log.warning("beats without a class in --label-map %s are left out: %s", labels.name, listed)
    return y, np.flatnonzero(~out)
