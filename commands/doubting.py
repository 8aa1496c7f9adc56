"""An attribution is put to the checks that could show it to be a mere picture: figures, sentences, curves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from commands import build
from commands.attribution import Array, Seen, Subject, attributed
from loaders.base import Data, Rows
from toolbox.explain import checks, methods
from toolbox.reports.explanation import Doubt
from toolbox.terminal import StopRequest

VALUES = 2**21  # of the rows that are doubted at most: pictures are costly
ORDERS, ORDERS_OF_PICTURES = 5, 2  # of chance
PIECE_S, PIECES = 0.04, 16  # what is taken away at a time: s of a lead, or a square, 256 of which make a picture


@dataclass(frozen=True)
class Found:
    """What the checks found: plain values, sentences for a person, and what curves are drawn of."""

    values: dict[str, Any]
    sentences: list[Doubt]
    curves: checks.Curves | None = None
    cascade: tuple[list[float], list[float]] | None = None


def doubt(subject: Subject, seen: Seen, stop: StopRequest) -> Found:
    """Put the attribution of the rows that were seen to every check that can be made of it."""
    marked = np.flatnonzero(seen.marked)
    empty = len(seen.which) - len(marked)
    values: dict[str, Any] = {"rows": len(seen.which), "rows_with_nothing_marked": empty}
    sentences = [_nothing(empty, len(seen.which))] * (empty > 0)
    if not len(marked):
        return Found(values, sentences)
    some = _some(seen, marked)
    cascade, curves = _weights(subject, some), _curves(subject, some)
    sentences += _told(cascade, curves)
    values |= {
        "rows_checked": len(some.which),
        "weights": dict(zip(("layers_new", "rank_correlation"), cascade, strict=True)),
    }
    values |= {f"{name}_area": float(area.mean()) for name, area in curves.areas().items()}
    if subject.flags.explain == "integrated-gradients":
        how = {"attribution": some.attribution, "blank": some.blank}
        missed = checks.completeness(subject.model, some.inputs, some.target, **how)
        values["completeness"] = {"median": float(np.median(missed)), "worst": float(missed.max())}
        sentences.append(_complete(missed))
    if seen.near is not None and seen.room is not None:
        sentences.append(_at_qrs(subject, seen, seen.near, seen.room, values))
    if subject.flags.explain_random_labels:
        sentences.append(_labels(subject, some, stop, values))
    return Found(values, sentences, curves, cascade)


def _told(cascade: tuple[list[float], list[float]], curves: checks.Curves) -> list[Doubt]:
    """The sentences of the checks that every method meets."""
    areas = curves.areas()
    of_curves = [
        _curve(name.capitalize(), areas[name], areas[f"random_{name}"], falls=name == "deletion")
        for name in ("deletion", "insertion")
    ]
    return [_untrained(cascade[1]), *of_curves]


def _nothing(empty: int, rows: int) -> Doubt:
    """The rows without a mark, of all that are explained."""
    meaning = "their maps are zero or the same everywhere: the pictures are empty, and the checks leave them out"
    return Doubt("Nothing marked", f"{empty} of {rows} rows", meaning)


def _untrained(correlations: Sequence[float]) -> Doubt:
    """The attributions against those of the network with its layers reinitialised, first the head, in the end all."""
    head, whole = correlations[0], correlations[-1]
    meaning = (
        "rank correlation with the maps of the same network untrained; near 1 the maps show the row, not what was"
        " learned"
    )
    figure = _shown(whole) + (f" (head alone {head:.2f})" if np.isfinite(head) else "")
    return Doubt("Weights made anew", figure, meaning)


def _shown(correlation: float) -> str:
    return "none, a map is the same everywhere" if np.isnan(correlation) else f"{correlation:.2f}"


def _curve(name: str, area: Array, chance: Array, *, falls: bool) -> Doubt:
    """Areas (N,) below a deletion (`falls`) or insertion curve, against those in random order."""
    better = float(np.mean(area < chance if falls else area > chance))
    how = "removed" if falls else "added to a blank row"
    meaning = (
        f"area below the probability of the class while pieces are {how}, most marked first, against random order;"
        f" {'lower' if falls else 'higher'} in {better:.0%} of the {len(area)} rows"
    )
    return Doubt(name, f"{area.mean():.2f} against {chance.mean():.2f}", meaning)


def _complete(missed: Array) -> Doubt:
    """The parts (N,) of the difference of logits that attributions miss."""
    meaning = f"part of the difference of the logits that the maps miss, median row; {missed.max():.2%} in the worst"
    return Doubt("Completeness", f"{np.median(missed):.2%}", meaning)


def _some(seen: Seen, marked: Array) -> Seen:
    """As many of the rows `marked` as can be checked, from all over them."""
    room = max(1, VALUES // seen.blank[0].numel())
    some = marked[np.unique(np.linspace(0, len(marked) - 1, min(room, len(marked))).round().astype(int))]
    arrays = {name: getattr(seen, name)[some] for name in ("which", "said", "target", "blank", "attribution", "within")}
    return replace(seen, inputs=[each[some] for each in seen.inputs], **arrays)


def _weights(subject: Subject, seen: Seen) -> tuple[list[float], list[float]]:
    """The parts of the layers that are made anew, and the rank correlations then; of signals all are made anew three
    times."""
    parts, correlations = [], []
    for part, model in checks.cascade(subject.model, _fresh(subject, 1)):
        parts.append(part)
        correlations.append(_alike(subject, model, seen))
    others = [] if subject.data.spec.image else [_alike(subject, _fresh(subject, number), seen) for number in (2, 3)]
    return parts, [*correlations[:-1], _mean(np.array([correlations[-1], *others]))]


def _fresh(subject: Subject, number: int) -> nn.Module:
    """The network with the weights it would begin with under another seed."""
    flags = subject.flags.replace(seed=(subject.flags.seed + number) % 2**31)
    return methods.prepared(build.network(flags, subject.data.spec).to(subject.device))


def _alike(subject: Subject, model: nn.Module, seen: Seen) -> float:
    """The mean rank correlation of the attributions with those of another network of the same kind, NaN for none."""
    other = attributed(subject, model, seen.inputs, seen.target, blank=seen.blank)
    found = checks.rank_correlation(seen.attribution, other, seen.within)
    return _mean(found)


def _curves(subject: Subject, seen: Seen) -> checks.Curves:
    spec = subject.data.spec
    x, *features = seen.inputs
    square = max(1, round(math.sqrt(math.prod(spec.image)) / PIECES)) if spec.image else 0
    piece = (square, square) if spec.image else (max(1, round(PIECE_S * spec.rate_hz)),)

    @torch.inference_mode()
    def score(changed: Tensor, row: Tensor) -> Array:
        parts = [
            subject.said(subject.model(each, *(feature[of] for feature in features))).gather(1, seen.target[of, None])[
                :, 0
            ]
            for each, of in zip(changed.split(subject.at_once), row.split(subject.at_once), strict=True)
        ]
        return torch.cat(parts).cpu().numpy()

    how = {"blank": seen.blank, "piece": piece, "seed": subject.flags.seed}
    return checks.curves(score, x, seen.attribution, **how, orders=ORDERS_OF_PICTURES if spec.image else ORDERS)


def _at_qrs(subject: Subject, seen: Seen, near: Array, room: Array, values: dict[str, Any]) -> Doubt:
    """How much of the evidence lies at the QRS; the figures are added to `values`."""
    shares, times = checks.at_qrs(seen.attribution.cpu().numpy(), near, room)
    spec, explained = subject.data.spec, seen.target.cpu().numpy()
    values["qrs"] = {"share": _mean(shares), "share_of_time": _mean(times), "rows": int((~np.isnan(shares)).sum())}
    return _qrs(shares, times, {name: explained == k for k, name in enumerate(spec.classes)})


def _qrs(shares: Array, times: Array, classes: Mapping[str, Array]) -> Doubt:
    """The share (N,) of positive attribution at the QRS and of time there, with which rows (N,) of each class are
    explained."""
    known = ~np.isnan(shares)
    if not known.any():
        return Doubt("At the QRS", "none", "no row has both an R peak and something that speaks for its class")
    share, time = shares[known].mean(), times[known].mean()
    of = {name: own & known for name, own in classes.items() if (own & known).any()}
    each = ", ".join(f"{name} {shares[own].mean() / times[own].mean():.1f}" for name, own in of.items())
    meaning = (
        f"{share:.0%} of what speaks for the class lies within 60 ms of an R peak, {time:.0%} of the time; by class"
        f" {each}. A class may also live in P, T or RR"
    )
    return Doubt("At the QRS", f"{share / time:.1f} times its share", meaning)


def _mean(values: Array) -> float:
    """Of those that are known; NaN for none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _labels(subject: Subject, seen: Seen, stop: StopRequest, values: dict[str, Any]) -> Doubt:
    """The same network trained on permuted labels, as the run was trained, for as many epochs as were asked for."""
    data, epochs = subject.data, subject.flags.explain_random_labels
    y = data.train.y
    permuted = Data(data.spec, _permuted(data.train, subject.flags.seed), data.val, data.open_test, data.checksum)
    flags = subject.flags.replace(epochs=epochs, start_epoch=0, patience=None)
    trainer = build.build(flags, permuted)
    build.pretrain(flags, trainer)
    with stop.deferred():
        trainer.fit(epochs, on_epoch=lambda *_: None, stop=stop)
    stop.check()
    learned, share = trainer.history[-1]["train"]["accuracy"], float(np.bincount(y).max() / len(y))
    correlation = _alike(subject, methods.prepared(trainer.model), seen)
    values["labels"] = {"rank_correlation": correlation, "epochs": epochs, "accuracy": learned, "largest_class": share}
    meaning = (
        f"rank correlation with the maps of a network trained on permuted labels, of which it predicts {learned:.0%}"
        f" after {epochs} epochs (the largest class: {share:.0%}); near 1 the maps do not depend on the labels"
    )
    return Doubt("Labels permuted", _shown(correlation), meaning)


def _permuted(rows: Rows, seed: int) -> Rows:
    """The same rows with their labels in an order of chance; of pictures those of the signals they were drawn from."""
    split: Any = rows  # a dataclass
    if (signals := getattr(rows, "signals", None)) is not None:
        return replace(split, signals=_permuted(signals, seed))
    return replace(split, y=np.random.default_rng(seed).permutation(rows.y))
