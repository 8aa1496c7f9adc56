"""The forms of rows: beats cut around R peaks and windows of whole records, from a recording of any length, and the R
peaks in a row.

    form = row_forms.form_of("mitdb", options)
    for rows, upright in row_forms.rows(form, leads, peaks): ...    # rows (n, C, T), in the order of the peaks
    peaks = row_forms.r_peaks("mitdb", x, 125, options)    # the samples (M,) of the R peaks of each row of x (N, C, T)
    near = row_forms.near(peaks, 150, 125)                 # (N, 1, T), within 60 ms of one
    windows = row_forms.windows(spec, options, leads, path)        # of a run whose rows are records or strips

A dataset's declaration names its form: "window", the cut of a `Recipe`, or "kaggle", the layout of the Kaggle heartbeat
files (Kachuee et al., arXiv 1805.00794), also of MIT-BIH records (Moody & Mark, IEEE Eng Med Biol 20(3):45-50, 2001).
Classes as in ANSI/AAMI EC57.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from loaders import DATASETS, filters
from loaders.base import DataSpec
from loaders.declaration import BeatOptions
from loaders.families import beat_features, beats, strips, twelve_lead
from loaders.families.beat_features import ALONE_S, filled_intervals, over_gaps
from loaders.families.beats import Recipe
from loaders.families.labels import AAMI, label_map
from loaders.files.cache import Arrays
from loaders.filters import Signal, resample
from loaders.formats.recording import Lead, name_of
from loaders.formats.wfdb import find_records, read_record
from loaders.records import RecordRows
from toolbox import terminal
from toolbox.ecg import rpeaks
from toolbox.ecg.gaps import bridged
from toolbox.errors import DataError, UsageError

Samples = NDArray[np.int64]
Peaks = list[NDArray[np.int64]]
Cut = Callable[[Signal, NDArray[np.floating]], NDArray[np.float32]]
RATE_HZ = 125
SAMPLES = 187
SPAN = 1.2  # of the distance to the next R peak
FLAT = 1e-3  # of the whole signal's range: a row that spans less is a lead that was off, and is not scaled up
CLASSES = tuple(AAMI)
NUMBERS = {symbol: k for k, own in enumerate(AAMI.values()) for symbol in own}


def kaggle_beats(folder: Path) -> dict[str, NDArray[Any]]:
    """The beats of the records in `folder`, without the last of each: x (N, 187) in [0, 1], y (N,), record (N,).

    Raises DataError for a damaged or incomplete record, ResourceError without permission.
    """
    parts: list[Arrays] = []
    for header in terminal.bar(iterable=find_records(folder), desc="beats from records", unit="record"):
        x, y = kaggle_record_beats(header)
        parts.append({"x": x, "y": y, "record": np.full(len(y), header.stem)})
    return beats.together(parts)


def kaggle_record_beats(header: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The beats of one record: x (N, 187) float32 and y (N,), the last annotated beat left out."""
    signal, rate_hz, annotated, samples = read_record(header, "MLII")
    keep = np.array([symbol in NUMBERS for symbol in annotated], dtype=bool)
    labels = np.array([NUMBERS[symbol] for symbol in np.array(annotated)[keep]], dtype=np.int64)
    peaks = samples[keep] * RATE_HZ / rate_hz
    return kaggle_cut(resample(signal, rate_hz, RATE_HZ), peaks[:-1], np.diff(peaks)), labels[:-1]


def kaggle_cut(
    signal: NDArray[np.floating], peaks: NDArray[np.floating], rr: NDArray[np.floating], *, span: float | None = None
) -> NDArray[np.float32]:
    """Rows (N, 187) from each R peak (N,) over 1.2 of the distance (N,) to the next, both in samples of `signal`.

    Each row is scaled to [0, 1] by its own minimum and maximum and padded with zeros; a (nearly) constant row is zeros.
    `span` is the range of the record's values (default: of `signal`).
    """
    starts = np.round(peaks).astype(int)
    lengths = np.clip(np.round(SPAN * rr).astype(int), 1, SAMPLES)
    time = np.arange(SAMPLES)
    inside = (time < lengths[:, None]) & (starts[:, None] + time < len(signal))
    rows = signal[np.minimum(starts[:, None] + time, len(signal) - 1)]
    low = np.where(inside, rows, np.inf).min(1, keepdims=True)
    height = np.where(inside, rows, -np.inf).max(1, keepdims=True) - low
    is_beat = height > FLAT * (np.ptp(signal) if span is None else span)
    scaled = np.divide(rows - low, height, out=np.zeros_like(rows), where=is_beat)
    return np.where(inside, scaled, 0).astype(np.float32)


BLOCK_S, AROUND_S = 600, 60  # a block, and the margins read with it: no filter and no window reaches further
MOST_VALUES = 2**20  # of a lead, for its quartiles
QRS_S = 0.06  # to either side of an R peak
SHORTEST_S = 2.0  # of a row in which beats are found


class RowForm(Protocol):
    """The form of a dataset's rows: prepared at `rate_hz`, then cut."""

    rate_hz: float

    def __init__(self, options: Any = None) -> None:
        """Take the options of the dataset's family."""

    def prepared(self, signal: Signal, rate_hz: float) -> Signal:
        """A signal (C, T) of `rate_hz`, filtered, at the rate of the rows."""

    def places(self, peaks: Samples, rate_hz: float) -> NDArray[np.floating]:
        """R peaks (N,) at `rate_hz` in samples of a row; bit by bit as in training, so that ties round alike."""

    def known(self, leads: Sequence[Lead], peaks: Samples) -> Any:
        """The facts of whole leads with R peaks (N,) that `cut` needs."""

    def cut(
        self, signal: Signal, peaks: NDArray[np.floating], rr: NDArray[np.floating], known: Any
    ) -> NDArray[np.float32]:
        """Rows (N, C, T) of a prepared signal; R peaks (N,) and the distances (N,) to the next, in samples of it."""

    def r_peaks(self, x: NDArray[np.float32]) -> Peaks:
        """The R peaks of each row of x (N, C, T)."""


class Window:
    """A window around the R peak, with the cut of `beats.Recipe`."""

    def __init__(self, options: Any = None) -> None:
        own: BeatOptions = options
        self.recipe = Recipe.of(window=own.window, rate=own.rate, filter=own.filter, normalise=own.normalise)
        self.rate_hz = self.recipe.rate_hz

    def prepared(self, signal: Signal, rate_hz: float) -> Signal:
        return self.recipe.prepared(signal, rate_hz)

    def places(self, peaks: Samples, rate_hz: float) -> NDArray[np.floating]:
        return self.recipe.places(peaks, rate_hz)

    def known(self, leads: Sequence[Lead], peaks: Samples) -> Signal | None:
        """The quartiles (3, C, 1) of the leads, from at most a million values of each, or their typical beat (C, T)."""
        if self.recipe.normalise == "typical":
            return beats.median_beat(_together(self, leads, peaks[beats.usual_beats(peaks)], self.recipe.windows))
        if self.recipe.normalise != "record":
            return None
        every = math.ceil(leads[0].samples * self.rate_hz / leads[0].rate_hz / MOST_VALUES)
        parts = [part[:, ::every] for part in _prepared(leads, self.rate_hz, self.prepared)]
        return beats.quartiles(np.concatenate(parts, axis=1))

    def cut(
        self, signal: Signal, peaks: NDArray[np.floating], rr: NDArray[np.floating], known: Signal | None
    ) -> NDArray[np.float32]:
        return self.recipe.cut(signal, peaks, known)

    def r_peaks(self, x: NDArray[np.float32]) -> Peaks:
        """The R peak around which each row was cut; others in the row are unknown."""
        return [np.array([self.recipe.r_peak])] * len(x)


class Kaggle:
    """From the R peak over 1.2 of the distance to the next (last beat: to the one before), in [0, 1]."""

    rate_hz = float(RATE_HZ)

    def __init__(self, options: Any = None) -> None:
        """This form has no options."""

    def prepared(self, signal: Signal, rate_hz: float) -> Signal:
        return filters.resample(signal, rate_hz, self.rate_hz)

    def places(self, peaks: Samples, rate_hz: float) -> NDArray[np.floating]:
        return peaks * RATE_HZ / rate_hz

    def known(self, leads: Sequence[Lead], peaks: Samples) -> float:
        """The span of the lead."""
        return leads[0].span_mv

    def cut(
        self, signal: Signal, peaks: NDArray[np.floating], rr: NDArray[np.floating], known: float
    ) -> NDArray[np.float32]:
        return kaggle_cut(signal[0], peaks, rr, span=known)[:, None]

    def r_peaks(self, x: NDArray[np.float32]) -> Peaks:
        """The first sample, and the next R peak by the length of a row that is not full."""
        samples = x.shape[2]
        lengths = [int(np.flatnonzero(row.any(0)).max(initial=-1)) + 1 for row in x]
        return [np.array([0, round(length / SPAN)] if 0 < length < samples else [0]) for length in lengths]


FORMS: dict[str, type[RowForm]] = {"kaggle": Kaggle, "window": Window}
STRIPS = "strips"
# The windows of a recording by the family of the run's dataset.
WHOLE: dict[str, Callable[..., RecordRows]] = {
    "twelve_lead": twelve_lead.of_recording, "statements": twelve_lead.of_recording, STRIPS: strips.of_recording,
}  # fmt: skip
# The annotation symbols of each class of a run without a label map.
SYMBOLS = {"aami": AAMI, "binary": {"normal": AAMI["N"], "abnormal": "".join(AAMI.values())[len(AAMI["N"]) :]}}


def form_of(dataset: str, options: Any = None) -> RowForm:
    """The form of the rows of `dataset` with these options of its family. Raises UsageError for an unknown form."""
    if dataset not in cut_from_recordings():
        what = f"a run on {dataset} does not state how its rows are cut from a recording"
        raise UsageError(what, hint=f"a run on one of {', '.join((*cut_from_recordings(), *whole_records()))}")
    return FORMS[DATASETS[dataset].row_form](options)


def cut_from_recordings() -> list[str]:
    """The datasets with rows that can be cut from a recording."""
    return [name for name, each in DATASETS.items() if each.row_form and each.symbol_map]


def whole_records() -> list[str]:
    """The datasets with whole records, or windows of them, as rows."""
    return [name for name, each in DATASETS.items() if each.family in WHOLE]


def windows(spec: DataSpec, options: Any, leads: Sequence[Lead], path: Path) -> RecordRows:
    """The windows of a recording with these `leads`, prepared as the records of a run with this `spec`.

    A gap is bridged. Strips shorter than a window are padded, as in training; a shorter twelve-lead record is a
    DataError.
    """
    family, to_hz = DATASETS[spec.name].family, spec.rate_hz

    def prepare(signal: Signal, rate_hz: float) -> NDArray[np.int16]:
        microvolts = np.round(twelve_lead.STEPS_PER_MV * signal)
        return twelve_lead.prepared(microvolts, rate_hz, to_hz, filter=getattr(options, "filter", "none"))

    samples = np.concatenate([*_prepared(leads, to_hz, prepare)], axis=1)
    if samples.shape[1] < spec.samples and family != STRIPS:
        what = f"it lasts {samples.shape[1] / to_hz:.4g} s, the rows of the run {spec.samples / to_hz:.4g} s"
        raise DataError(what, where=str(path), hint="a longer recording, or a run on shorter --crops")
    rows = WHOLE[family](samples, options, spec, name_of(path))
    return strips.with_rhythm(rows, leads[0], str(path)) if spec.features else rows


def symbols_of(dataset: str, map_name: str | None) -> Mapping[str, Sequence[str]]:
    """The annotation symbols of each class of a run on `dataset`. Raises the errors of `labels.label_map`."""
    return label_map(map_name).classes if map_name else SYMBOLS[DATASETS[dataset].symbol_map]


def classes_of(
    symbols: Mapping[str, Sequence[str]], annotated: Iterable[str], classes: Sequence[str]
) -> NDArray[np.int64]:
    """The number in `classes` (N,) of each annotated symbol (N,) by the `symbols` of each class, -1 without a class."""
    numbers = {each: classes.index(name) for name, members in symbols.items() if name in classes for each in members}
    return np.array([numbers.get(symbol, -1) for symbol in annotated], np.int64)


def features(names: Sequence[str], form: RowForm, leads: Sequence[Lead], peaks: Samples) -> NDArray[np.float32]:
    """The features `names` (N, F) of the beats at `peaks` (N,), see `beat_features`."""
    p_waves = None
    if set(names) & set(beat_features.P_FEATURES):
        cut: Cut = lambda signal, places: beat_features.p_wave_rows(signal, form.rate_hz, places)  # noqa: E731
        p_waves = _together(form, leads, peaks, cut)
    return beat_features.numbers(names, peaks / leads[0].rate_hz, p_waves, over_gaps(peaks, leads[0].gaps))


def rows(
    form: RowForm, leads: Sequence[Lead], peaks: Samples
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Rows (n, C, T) of the beats at `peaks` (N,) and whether each points up in the first lead (n,), block by block.

    A gap is bridged; the recording is extended beyond its ends as in training.
    """
    rate_hz, known, places = leads[0].rate_hz, form.known(leads, peaks), form.places(peaks, leads[0].rate_hz)
    rr = filled_intervals(np.diff(places), over_gaps(peaks, leads[0].gaps))
    rr = np.append(rr, rr[-1:] if len(rr) else [ALONE_S * form.rate_hz])[: len(peaks)]
    for first, last, start, signal in _blocks(leads, form.rate_hz, peaks):
        which = slice(*np.searchsorted(peaks, (first, last)))
        upright = signal[0, peaks[which] - start] > np.median(signal[0])
        begins = round(start * form.rate_hz / rate_hz)
        yield form.cut(form.prepared(signal, rate_hz), np.round(places[which]) - begins, rr[which], known), upright


def _prepared(
    leads: Sequence[Lead], to_hz: float, prepare: Callable[[Signal, float], NDArray[Any]]
) -> Iterator[NDArray[Any]]:
    """The leads (C, n), block by block, by a function of the signal and its rate that gives samples at `to_hz`."""
    ratio = filters.resampling(leads[0].rate_hz, to_hz)
    for first, last, start, signal in _blocks(leads, to_hz):
        inner = slice(round((first - start) * ratio), math.ceil((last - start) * ratio))
        yield prepare(signal, leads[0].rate_hz)[:, inner]


def _together(form: RowForm, leads: Sequence[Lead], peaks: Samples, cut: Cut) -> NDArray[np.float32]:
    """`cut` of the prepared leads, block by block, and of all `peaks` (N,) in samples of them."""
    rate_hz, parts = leads[0].rate_hz, [cut(np.zeros((len(leads), 1)), np.empty(0))]
    places = form.places(peaks, rate_hz)
    for first, last, start, signal in _blocks(leads, form.rate_hz, peaks):
        which, begins = slice(*np.searchsorted(peaks, (first, last))), round(start * form.rate_hz / rate_hz)
        parts.append(cut(form.prepared(signal, rate_hz), np.round(places[which]) - begins))
    return np.concatenate(parts)


def _blocks(
    leads: Sequence[Lead], to_hz: float, peaks: Samples | None = None
) -> Iterator[tuple[int, int, int, NDArray[np.float64]]]:
    """First sample of a block, the sample after its last, `start`, and the signal (C, T) from `start` to a minute after
    the block.

    Every start is a sample of the rate `to_hz` too. Blocks without one of the given `peaks` are skipped.
    """
    rate_hz, samples = leads[0].rate_hz, leads[0].samples
    step = filters.resampling(rate_hz, to_hz).denominator
    block, around = (math.ceil(seconds * rate_hz / step) * step for seconds in (BLOCK_S, AROUND_S))
    for first in range(0, samples, block):
        last, start = min(first + block, samples), max(first - around, 0)
        if peaks is None or np.diff(np.searchsorted(peaks, (first, last))).any():
            parts = [lead.read(start, min(last + around, samples)) for lead in leads]
            yield first, last, start, np.stack([bridged(part, 0)[0] for part in parts])


def r_peaks(dataset: str, x: NDArray[np.float32], rate_hz: float, options: Any = None) -> Peaks | None:
    """The R peaks of each row; None if rows are too short or their rate is too low to detect beats.

    `options` are the options of the dataset's family. Rows cut around a beat have the R peaks that the cut states.
    """
    if dataset in DATASETS and (name := DATASETS[dataset].row_form):
        return FORMS[name](options).r_peaks(x)
    if rate_hz < rpeaks.LOWEST_HZ or x.shape[2] < SHORTEST_S * rate_hz:
        return None
    return [rpeaks.in_signal(_as_mv(lead), rate_hz) for lead in x[:, 0]]


def near(peaks: Peaks, samples: int, rate_hz: float) -> NDArray[np.bool_]:
    """The samples (N, 1, T) within 60 ms of an R peak."""
    time = np.arange(samples)
    away = [np.abs(time[:, None] - own).min(1, initial=2 * samples) for own in peaks]
    return (np.stack(away) <= QRS_S * rate_hz)[:, None]


def _as_mv(lead: NDArray[np.float32]) -> NDArray[np.float64]:
    """A lead (T,) in any unit, scaled to the usual height in mV."""
    low, high = np.percentile(lead, [1, 99])
    return (lead - low).astype(np.float64) * 1.5 / (high - low) if high > low else np.zeros(len(lead))
