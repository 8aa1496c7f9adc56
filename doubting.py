"""An attribution is put to the checks that could show it to be a mere picture: figures, sentences, curves."""

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import assembly
from attribution import Array, Seen, Subject, attributed
from loaders.base import Data, Rows
from toolbox import doubts, explainers, verdicts
from toolbox.gallery import Doubt
from toolbox.signals import StopRequest

VALUES = 2**21  # of the rows that are doubted at most: pictures are costly
ORDERS, ORDERS_OF_PICTURES = 5, 2  # of chance
PIECE_S, PIECES = 0.04, 16  # what is taken away at a time: s of a lead, or a square, 256 of which make a picture


@dataclass(frozen=True)
class Found:
    """What the checks found: plain values, sentences for a person, and what curves are drawn of."""

    values: dict[str, Any]
    sentences: list[Doubt]
    curves: doubts.Curves | None = None
    cascade: tuple[list[float], list[float]] | None = None


def doubt(subject: Subject, seen: Seen, stop: StopRequest) -> Found:
    """Put the attribution of the rows that were seen to every check that can be made of it."""
    marked = np.flatnonzero(seen.marked)
    values: dict[str, Any] = {"rows": len(seen.which), "rows_with_nothing_marked": len(seen.which) - len(marked)}
    sentences = [verdicts.of_nothing(len(seen.which) - len(marked), len(seen.which))] * (len(marked) < len(seen.which))
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
        missed = doubts.completeness(subject.model, some.inputs, some.target, **how)
        values["completeness"] = {"median": float(np.median(missed)), "worst": float(missed.max())}
        sentences.append(verdicts.of_completeness(missed))
    if seen.near is not None:
        sentences.append(_at_qrs(subject, seen, values))
    if subject.flags.explain_random_labels:
        sentences.append(_labels(subject, some, stop, values))
    return Found(values, sentences, curves, cascade)


def _told(cascade: tuple[list[float], list[float]], curves: doubts.Curves) -> list[Doubt]:
    """The sentences of the checks that every method meets."""
    areas = curves.areas()
    of_curves = [
        verdicts.of_curve(name.capitalize(), areas[name], areas[f"random_{name}"], falls=name == "deletion")
        for name in ("deletion", "insertion")
    ]
    return [verdicts.of_weights(*cascade), *of_curves]


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
    for part, model in doubts.cascade(subject.model, _fresh(subject, 1)):
        parts.append(part)
        correlations.append(_alike(subject, model, seen))
    others = [] if subject.data.spec.image else [_alike(subject, _fresh(subject, number), seen) for number in (2, 3)]
    return parts, [*correlations[:-1], _mean(np.array([correlations[-1], *others]))]


def _fresh(subject: Subject, number: int) -> nn.Module:
    """The network with the weights it would begin with under another seed."""
    flags = SimpleNamespace(**vars(subject.flags) | {"seed": (subject.flags.seed + number) % 2**31})
    return explainers.prepared(assembly.network(flags, subject.data.spec).to(subject.device))


def _alike(subject: Subject, model: nn.Module, seen: Seen) -> float:
    """The mean rank correlation of the attributions with those of another network of the same kind, NaN for none."""
    other = attributed(subject, model, seen.inputs, seen.target, blank=seen.blank)
    found = doubts.rank_correlation(seen.attribution, other, seen.within)
    return _mean(found)


def _curves(subject: Subject, seen: Seen) -> doubts.Curves:
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
    return doubts.curves(score, x, seen.attribution, **how, orders=ORDERS_OF_PICTURES if spec.image else ORDERS)


def _at_qrs(subject: Subject, seen: Seen, values: dict[str, Any]) -> Doubt:
    """How much of the evidence lies at the QRS; the figures are added to `values`."""
    shares, times = doubts.at_qrs(seen.attribution.cpu().numpy(), seen.near, seen.room)
    spec, explained = subject.data.spec, seen.target.cpu().numpy()
    values["qrs"] = {"share": _mean(shares), "share_of_time": _mean(times), "rows": int((~np.isnan(shares)).sum())}
    return verdicts.of_qrs(shares, times, {name: explained == k for k, name in enumerate(spec.classes)})


def _mean(values: Array) -> float:
    """Of those that are known; NaN for none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _labels(subject: Subject, seen: Seen, stop: StopRequest, values: dict[str, Any]) -> Doubt:
    """The same network trained on permuted labels, as the run was trained, for as many epochs as were asked for."""
    data, epochs = subject.data, subject.flags.explain_random_labels
    y = data.train.y
    permuted = Data(data.spec, _permuted(data.train, subject.flags.seed), data.val, data.open_test, data.checksum)
    flags = SimpleNamespace(**vars(subject.flags) | {"epochs": epochs, "start_epoch": 0, "patience": None})
    trainer = assembly.build(flags, permuted)
    assembly.pretrain(flags, trainer)
    with stop.deferred():
        trainer.fit(epochs, on_epoch=lambda *_: None, stop=stop)
    stop.check()
    learned, share = trainer.history[-1]["train"]["accuracy"], float(np.bincount(y).max() / len(y))
    correlation = _alike(subject, explainers.prepared(trainer.model), seen)
    values["labels"] = {"rank_correlation": correlation, "epochs": epochs, "accuracy": learned, "largest_class": share}
    return verdicts.of_labels(correlation, epochs=epochs, learned=learned, share=share)


def _permuted(rows: Rows, seed: int) -> Rows:
    """The same rows with their labels in an order of chance; of pictures those of the signals they were drawn from."""
    if (signals := getattr(rows, "signals", None)) is not None:
        return replace(rows, signals=_permuted(signals, seed))
    return replace(rows, y=np.random.default_rng(seed).permutation(rows.y))
