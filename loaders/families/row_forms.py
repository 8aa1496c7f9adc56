"""The beats of a recording of any length are cut as a dataset cuts its own, ten minutes of them at a time.

form = cuts.form("mitdb", window="-0.4,0.8", filter="baseline")
for rows, upright in cuts.rows(form, leads, peaks): ...    # rows (n, C, T), in the order of the peaks
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from loaders import filters
from loaders.families import beat_features, beats, beats_kaggle, features_pwaves, labels_symbols
from loaders.families.beats import Recipe
from loaders.families.features_rr import ALONE_S, known_only, over_gaps
from loaders.filters import Signal
from loaders.formats.recording import Lead
from toolbox.ecg.gaps import bridged
from toolbox.errors import UsageError

Samples = NDArray[np.int64]
BLOCK_S, AROUND_S = 600, 60  # read at a time, and to either side of it: no filter and no window reaches further
MOST_VALUES = 2**20  # of a lead from which its quartiles are taken


class Form(Protocol):
    """What rows of a dataset are: prepared at `rate_hz`, then cut."""

    rate_hz: float

    def prepared(self, signal: Signal, rate_hz: float) -> Signal:
        """A signal (C, T) of `rate_hz`, filtered, at the rate of the rows."""

    def places(self, peaks: Samples, rate_hz: float) -> NDArray[np.floating]:
        """R peaks (N,), samples at `rate_hz`, in samples of a row; as in training to the last bit, so that ties round
        alike."""

    def known(self, leads: Sequence[Lead], peaks: Samples) -> Any:
        """What has to be known of whole leads, and all their R peaks (N,), before a row is cut."""

    def cut(
        self, signal: Signal, peaks: NDArray[np.floating], rr: NDArray[np.floating], known: Any
    ) -> NDArray[np.float32]:
        """Rows (N, C, T) of a prepared signal; R peaks (N,) and the distances (N,) to the next, in samples of it."""


class ByRecipe:
    """A window around the R peak, as `beats.Recipe` says."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.rate_hz, self.prepared = recipe, recipe.rate_hz, recipe.prepared

    def places(self, peaks: Samples, rate_hz: float) -> NDArray[np.floating]:
        """As the recipe has them."""
        return peaks * (self.rate_hz / rate_hz)

    def known(self, leads: Sequence[Lead], peaks: Samples) -> Signal | None:
        """The quartiles (3, C, 1) of the leads, of a million values of each at most, or their typical beat (C, T)."""
        return KNOWN[self.recipe.normalise](self, leads, peaks) if self.recipe.normalise in KNOWN else None

    def cut(
        self, signal: Signal, peaks: NDArray[np.floating], rr: NDArray[np.floating], known: Signal | None
    ) -> NDArray[np.float32]:
        """As the recipe cuts."""
        return self.recipe.cut(signal, peaks, known)


def _quartiles(how: ByRecipe, leads: Sequence[Lead], peaks: Samples) -> Signal:
    ratio = how.rate_hz / leads[0].rate_hz
    every = math.ceil(leads[0].samples * ratio / MOST_VALUES)
    parts = [
        how.prepared(signal, leads[0].rate_hz)[:, _inner(first, last, start, ratio)][:, ::every]
        for first, last, start, signal in _blocks(leads, how.rate_hz)
    ]
    return beats.quartiles(how.recipe, np.concatenate(parts, axis=1), peaks)


def _typical(how: ByRecipe, leads: Sequence[Lead], peaks: Samples) -> Signal:
    return beats.median_beat(_together(how, leads, peaks[beats.settled(peaks)], how.recipe.windows))


KNOWN = {"record": _quartiles, "typical": _typical}


class AsKaggle:
    """From the R peak over 1.2 of the distance to the next, scaled to [0, 1]; of the last beat that from the one
    before."""

    rate_hz = float(beats_kaggle.RATE_HZ)

    def prepared(self, signal: Signal, rate_hz: float) -> Signal:
        """At 125 Hz."""
        return filters.resample(signal, rate_hz, self.rate_hz)

    def places(self, peaks: Samples, rate_hz: float) -> NDArray[np.floating]:
        """As `kaggle.record_beats` has them."""
        return peaks * beats_kaggle.RATE_HZ / rate_hz

    def known(self, leads: Sequence[Lead], peaks: Samples) -> float:
        """The span of the lead."""
        return leads[0].span_mv

    def cut(
        self, signal: Signal, peaks: NDArray[np.floating], rr: NDArray[np.floating], known: float
    ) -> NDArray[np.float32]:
        """As the Kaggle files are cut."""
        return beats_kaggle.cut(signal[0], peaks, rr, span=known)[:, None]


def _as_kaggle(**_: Any) -> Form:
    return AsKaggle()


def _by_recipe(**options: Any) -> Form:
    return ByRecipe(Recipe.of(**{name: options.get(name) for name in ("window", "rate", "filter", "normalise")}))


# The datasets whose rows can be cut from a recording.
FORMS = {
    **dict.fromkeys(("ecg", "ecg_bin", "synth"), _as_kaggle),
    **dict.fromkeys(("mitdb", "synth_patients"), _by_recipe),
}
TWO = {
    "normal": labels_symbols.AAMI["N"],
    "abnormal": "".join(own for name, own in labels_symbols.AAMI.items() if name != "N"),
}


def form(dataset: str, **options: Any) -> Form:
    """How the rows of `dataset` were cut, with the options it was loaded with; UsageError where that is not known."""
    if dataset not in FORMS:
        what = f"a run on {dataset} does not say how its rows are cut from a recording"
        raise UsageError(what, hint=f"a run on one of {', '.join(FORMS)}")
    return FORMS[dataset](**options)


def classes_of(
    dataset: str, annotated: Sequence[str], classes: Sequence[str], label_map: str | None
) -> NDArray[np.int64]:
    """The number in `classes` (N,) of each annotated symbol (N,) as `dataset` has it, -1 where it is of none of them.

    Raises as `symbols.label_map`.
    """
    own: Mapping[str, str] = TWO if dataset == "ecg_bin" else labels_symbols.label_map(label_map or "aami").symbols
    numbers = {symbol: classes.index(name) for name, those in own.items() if name in classes for symbol in those}
    return np.array([numbers.get(symbol, -1) for symbol in annotated], np.int64)


def features(names: Sequence[str], how: Form, leads: Sequence[Lead], peaks: Samples) -> NDArray[np.float32]:
    """The numbers called `names` that stand beside the beats at `peaks` (N,), as (N, F); see `beside`."""
    p_waves = None
    if set(names) & set(features_pwaves.FEATURES):
        p_waves = _together(how, leads, peaks, lambda signal, places: features_pwaves.rows(signal, how.rate_hz, places))
    return beat_features.numbers(names, peaks / leads[0].rate_hz, p_waves, over_gaps(peaks, leads[0].gaps))


def rows(how: Form, leads: Sequence[Lead], peaks: Samples) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Rows (n, C, T) of the beats at `peaks` (N,) and whether each points up in the first lead (n,), block by block.

    A gap is bridged; before the first and after the last sample of the recording it goes on as in training.
    """
    rate_hz, known, places = leads[0].rate_hz, how.known(leads, peaks), how.places(peaks, leads[0].rate_hz)
    rr = known_only(np.diff(places), over_gaps(peaks, leads[0].gaps))
    rr = np.append(rr, rr[-1:] if len(rr) else [ALONE_S * how.rate_hz])[: len(peaks)]
    for first, last, start, signal in _blocks(leads, how.rate_hz, peaks):
        which = slice(*np.searchsorted(peaks, (first, last)))
        upright = signal[0, peaks[which] - start] > np.median(signal[0])
        begins = round(start * how.rate_hz / rate_hz)
        yield how.cut(how.prepared(signal, rate_hz), np.round(places[which]) - begins, rr[which], known), upright


def _together(
    how: Form, leads: Sequence[Lead], peaks: Samples, cut: Callable[[Signal, NDArray[np.floating]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """What `cut` makes of the prepared leads and the peaks in samples of them, block by block, of all `peaks` (N,)."""
    rate_hz, parts = leads[0].rate_hz, [cut(np.zeros((len(leads), 1)), np.empty(0))]
    places = how.places(peaks, rate_hz)
    for first, last, start, signal in _blocks(leads, how.rate_hz, peaks):
        which, begins = slice(*np.searchsorted(peaks, (first, last))), round(start * how.rate_hz / rate_hz)
        parts.append(cut(how.prepared(signal, rate_hz), np.round(places[which]) - begins))
    return np.concatenate(parts)


def _blocks(
    leads: Sequence[Lead], to_hz: float, peaks: Samples | None = None
) -> Iterator[tuple[int, int, int, NDArray[np.float64]]]:
    """First sample of a block, the one after its last, and the signal (C, T) from `start` on, which reaches a minute
    further.

    Every start is a sample of the rate `to_hz` too. Blocks without one of the `peaks` are passed over, where these are
    given.
    """
    rate_hz, samples = leads[0].rate_hz, leads[0].samples
    step = filters.resampling(rate_hz, to_hz).denominator
    block, around = (math.ceil(seconds * rate_hz / step) * step for seconds in (BLOCK_S, AROUND_S))
    for first in range(0, samples, block):
        last, start = min(first + block, samples), max(first - around, 0)
        if peaks is None or np.diff(np.searchsorted(peaks, (first, last))).any():
            parts = [lead.read(start, min(last + around, samples)) for lead in leads]
            yield first, last, start, np.stack([bridged(part, 0)[0] for part in parts])


def _inner(first: int, last: int, start: int, ratio: float) -> slice:
    """The place of a block in what was read around it, at another rate."""
    return slice(round((first - start) * ratio), math.ceil((last - start) * ratio))
