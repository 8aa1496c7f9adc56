"""Beats of several records, cut alike, become Data: labels by a map, features beside the signal, sides by patient.

What `mitdb` and `synth_patients` have in common; the arrays are x (N, C, T), symbol (N,), record (N,), position (N,)
and features (N, F).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loaders.base import Data, DataSpec, Split
from loaders.families import beat_features, features_pwaves, labels_symbols
from loaders.families.beats import Recipe
from loaders.families.labels_symbols import LabelMap
from loaders.files.cache import Arrays
from loaders.files.sources import log
from loaders.filters import Signal
from loaders.splits import by_patient
from loaders.splits.by_patient import Cohort, Protocol
from loaders.splits.holdout import Holdout


@dataclass(frozen=True)
class Choices:
    """What is asked of the beats: labels, features and sides, looked up before anything is read."""

    labels: LabelMap
    protocol: Protocol
    features: tuple[str, ...]
    val_fraction: Holdout
    seed: int

    @classmethod
    def of(
        cls,
        *,
        label_map: str | None,
        split: str | None,
        fold: int | None,
        rr_features: bool | None,
        p_waves: bool | None,
        recipe: Recipe,
        val_fraction: Holdout,
        seed: int,
    ) -> "Choices":
        """From the options of a loader, None for aami, inter-patient, the first fold and no features."""
        labels, protocol = labels_symbols.label_map(label_map or "aami"), by_patient.parse(split, fold)
        features = beat_features.names(bool(rr_features), bool(p_waves), recipe.rate_hz)
        return cls(labels, protocol, features, val_fraction, seed)


def record_arrays(
    name: str, signal: Signal, rate_hz: float, annotated: NDArray[np.str_], places: NDArray[np.int64], *, recipe: Recipe
) -> Arrays:
    """The arrays of one record: its signal (C, T) in mV at `rate_hz`, the symbols (M,) and samples (M,) of its
    annotations."""
    is_beat = np.isin(annotated, list(labels_symbols.BEATS))
    annotated, peaks = annotated[is_beat], places[is_beat].astype(np.int64)
    signal, at = recipe.prepared(signal, rate_hz), peaks * (recipe.rate_hz / rate_hz)
    return {
        "x": recipe.normalised(signal, at),
        "symbol": annotated,
        "record": np.full(len(peaks), name),
        "position": peaks,
        "features": beat_features.numbers(
            beat_features.ALL, peaks / rate_hz, features_pwaves.rows(signal, recipe.rate_hz, at)
        ),
    }


def together(parts: list[Arrays]) -> Arrays:
    """The arrays of several records as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def as_data(
    name: str,
    arrays: Arrays,
    checksum: str,
    *,
    choices: Choices,
    recipe: Recipe,
    cohort: Cohort,
    leads: tuple[str, ...],
    facts: dict[str, str],
    where: str,
    rates: Callable[[], Mapping[str, float]],
) -> Data:
    """The dataset `name`; `facts` are its source and licence, `where` stands in errors, `rates` are those of the
    records in Hz.

    Beats without a class are left out."""
    y, kept = labelled(arrays["symbol"], choices.labels)
    by_patient.check_complete(choices.protocol, arrays["record"], cohort, where=where)
    how = {"cohort": cohort, "val_fraction": choices.val_fraction, "seed": choices.seed, "where": where}
    *sides, rule = by_patient.divide(choices.protocol, arrays["record"][kept], y[kept], **how)
    train, val, test = (kept[side] for side in sides)
    labels = choices.labels.among(arrays["symbol"][np.concatenate([train, val, test])])
    y = labels.of(arrays["symbol"])
    features = arrays["features"][:, [beat_features.ALL.index(name) for name in choices.features]]
    everything = Split(
        arrays["x"], y, arrays["record"], np.arange(len(y)), position=arrays["position"], features=features
    )
    spec = DataSpec(
        name=name,
        view="beat",
        channels=len(leads),
        samples=recipe.samples,
        rate_hz=recipe.rate_hz,
        unit=recipe.unit,
        leads=leads,
        classes=tuple(labels.symbols),
        importance=labels.importance,
        split_rule=rule,
        features=choices.features,
        **facts,
    )
    checksum = hashlib.sha256(f"{checksum} {labels.content} {spec.features}".encode()).hexdigest()
    return Data(spec, everything.rows(train), everything.rows(val), lambda: everything.rows(test), checksum, rates)


def labelled(annotated: NDArray[np.str_], labels: LabelMap) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The class (N,) of each beat, and which beats have one; others are told of."""
    y = labels.of(annotated)
    if (out := y < 0).any():
        names, counts = np.unique(annotated[out], return_counts=True)
        told = ", ".join(f"{count:,} {symbol}" for symbol, count in zip(names, counts, strict=True))
        log.warning("beats whose symbol is of no class of --label-map %s are left out: %s", labels.name, told)
    return y, np.flatnonzero(~out)
