"""Attribution of a trained run's predictions, and checks of the attribution.

subject = load(trained)
seen = attribute(subject, which, predicted)    # Seen.attribution (n, C, T) or (n, 3, H, W)
doubt(subject, seen, stop)                     # checks whether the maps depend on the network and the labels
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from commands import build
from commands.trained import TrainedRun
from loaders.base import Data, Rows
from loaders.charts import rows as marks
from loaders.families import row_forms
from loaders.records import RecordRows
from toolbox.errors import CheckpointError, UsageError
from toolbox.explain import checks, methods
from toolbox.flags import Flags
from toolbox.registry import pick
from toolbox.reports.explanation import Doubt
from toolbox.runs import checkpoints, outcome
from toolbox.runs.folder import RunFolder
from toolbox.tasks import classify_labels, decided
from toolbox.terminal import StopRequest
from trainer import rows_at_once

PREDICTED, TRUE = "predicted", "true"  # the explained class of each row, unless --explain-class names one class
COVER_S, COVERED = 0.1, 7  # covered by occlusion: s of a lead, or a square, a 49th of a picture
EMPTY = "they are zero or constant: their pictures are empty, and the checks leave them out"
UNTRAINED = "rank correlation with the maps of the untrained network; near 1 the maps show the row, not the training"
VALUES = 2**21  # at most, in all checked rows together: pictures are costly
ORDERS, ORDERS_OF_PICTURES = 5, 2  # random orders of removal
PIECE_S, PIECES = 0.04, 16  # removed at a time: s of a lead, or a square, a 256th of a picture
Array = NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """A trained network and the rows of one split of its data."""

    flags: Flags
    run: RunFolder
    checkpoint: str
    epoch: int
    data: Data
    rows: Rows
    model: nn.Module
    device: torch.device
    thresholds: Array | None = None  # (K,), of many labels a row

    def inputs(self, which: Array) -> list[Tensor]:
        """The network's inputs for the rows `which`; of records of any length the middle window."""
        some = self.rows.rows(which)
        batches = some.batches(self.device)
        if not torch.equal(batches.rows, torch.arange(len(some), device=self.device)):  # windows over records
            arrays = [some.x, cast(RecordRows, some).features] if self.data.spec.features else [some.x]
            return [torch.tensor(each, device=self.device) for each in arrays]
        inputs, _ = next(iter(batches.batches(None, len(some))))
        return inputs

    def probabilities(self, which: Array | None = None) -> Array:
        """Probabilities (N, K) of the rows `which`, of all rows by default."""
        which = np.arange(len(self.rows)) if which is None else which
        parts = np.split(which, range(self.at_once, len(which), self.at_once))
        with torch.inference_mode():
            return np.concatenate([self.said(self.model(*self.inputs(part))).cpu().numpy() for part in parts])

    def said(self, logits: Tensor) -> Tensor:
        """Probabilities (B, K) of logits (B, K), with the run's --decision-weights."""
        weights = build.by_class(self.flags.decision_weights, self.data.spec.classes, flag="--decision-weights")
        weights = weights if weights is None else weights.to(logits)
        if self.data.spec.many_labels:
            return classify_labels.probabilities(logits, weights)
        return decided(logits, weights).softmax(1)

    @property
    def at_once(self) -> int:
        """Rows in one batch."""
        return rows_at_once(self.data.spec)


@dataclass(frozen=True)
class Seen:
    """Rows `which` (n,), the predicted class `said` (n,), the explained class `target` (n,), and the attribution.

    `inputs` are x (n, C, T) or (n, 3, H, W) and features; `blank` and `attribution` have the shape of x. `within`
    (n, 1, ...) marks the signal, without padding and blank paper. With known R peaks, `peaks` has their samples in each
    row, `near` (n, 1, ...) marks their neighbourhood and `room` the part of a row where signals can be. The attribution
    of a row with nothing marked is 0.
    """

    which: Array
    said: Array
    target: Tensor
    inputs: list[Tensor]
    blank: Tensor
    attribution: Tensor
    within: Array
    peaks: list[Array] | None = None
    near: Array | None = None
    room: Array | None = None

    @property
    def marked(self) -> Array:
        """Whether any value of each row's attribution is not 0 (n,)."""
        return (self.attribution != 0).flatten(1).any(1).cpu().numpy()


def load(trained: TrainedRun) -> Subject:
    """The network with the weights of the best checkpoint, or the one of --resume, and the rows of --explain-rows.

    Raises UsageError for test rows if the run has no test yet, CheckpointError if the checksum of the data differs.
    """
    flags, run, which = trained.flags, trained.run, trained.which
    path, state = checkpoints.find(run, which)
    if flags.explain_rows == "test" and outcome.place(run.path) is None:
        what = "--explain-rows test needs a tested run; this run's test set is still closed"
        raise UsageError(what, where=str(run.path), hint="--explain-rows val, or --test first")
    data = trained.ruled(build.load_data(flags))
    if trained.of_data(data):
        hint = "the run's training data, with --root-dir or --data-file"
        raise CheckpointError("the data's checksum differs from the run's", where=str(run.path), hint=hint)
    device = build.device_of(flags)
    model = build.network(flags, data.spec).to(device)
    checkpoints.load_weights(model, state["model"], str(path))
    rows = data.test if flags.explain_rows == "test" else data.val
    if not len(rows):
        hint = "--explain-rows test, or a run with --val-fraction"
        raise UsageError("the run has no validation rows", where=str(run.path), hint=hint)
    at = trained.network().thresholds if data.spec.many_labels else None
    return Subject(flags, run, which, state["epoch"], data, rows, methods.prepared(model), device, at)


def attribute(subject: Subject, which: Array, said: Array) -> Seen:
    """The attribution of rows `which` (n,) with predicted classes `said` (n,), for the class of --explain-class.

    Of many labels a row `said` is the class that each place explains.
    """
    spec, inputs, rows = subject.data.spec, subject.inputs(which), subject.rows.rows(which)
    own = {PREDICTED: said} | ({} if spec.many_labels else {TRUE: subject.rows.y[which]})
    classes = {name: np.full_like(said, k) for k, name in enumerate(spec.classes)}
    target = pick("explain-class", own | classes | own, subject.flags.explain_class)
    chosen, x = torch.tensor(target, device=subject.device), inputs[0]
    if isinstance(rows, marks.Charts):
        blank = torch.tensor(marks.papers(rows)).to(x)
        inside = (x != blank).any(1, keepdim=True)
    else:
        blank, inside = methods.blank(x), methods.inside(x)
    found, within = attributed(subject, subject.model, inputs, chosen, blank=blank), inside.cpu().numpy()
    marked = torch.from_numpy(checks.marked(found, within)).to(found.device)
    # A constant map marks nothing.
    found = torch.where(marked.view(-1, *[1] * (found.dim() - 1)), found, 0)
    seen = Seen(which, said, chosen, inputs, blank, found, within)
    peaks = _peaks(subject, rows, x)
    if peaks is None:
        return seen
    if isinstance(rows, marks.Charts):
        near, room = marks.at_peaks(rows, peaks, spec.rate_hz)
        return replace(seen, near=near, room=room)
    return replace(seen, peaks=peaks, near=row_forms.near(peaks, spec.samples, spec.rate_hz), room=seen.within)


def _peaks(subject: Subject, rows: Rows, x: Tensor) -> list[Array] | None:
    """The R peaks of each row, in samples from its start; None if they are unknown."""
    spec = subject.data.spec
    options = build.options_for(spec.name, subject.flags)
    find = partial(row_forms.r_peaks, spec.name, rate_hz=spec.rate_hz, options=options)
    if not isinstance(rows, marks.Charts):
        return find(x.cpu().numpy())
    found = []
    for row, begin in enumerate(rows.begin):
        if (peaks := find(np.nan_to_num(rows.signal(row))[None])) is None:
            return None
        found.append(peaks[0] - begin)
    return found


def attributed(subject: Subject, model: nn.Module, inputs: list[Tensor], target: Tensor, *, blank: Tensor) -> Tensor:
    """The attribution by the method of --explain, in batches."""
    spec, method = subject.data.spec, methods.EXPLAINERS[subject.flags.explain]
    square = round(math.sqrt(math.prod(spec.image)) / COVERED) if spec.image else 0
    window = (square, square) if spec.image else (max(1, round(COVER_S * spec.rate_hz)),)
    parts = []
    for begin in range(0, len(target), subject.at_once):
        part = slice(begin, begin + subject.at_once)
        parts.append(method(model, [each[part] for each in inputs], target[part], blank=blank[part], window=window))
    return torch.cat(parts)


@dataclass(frozen=True)
class Checked:
    """Results of the checks: plain values, sentences for a reader, and the data of the curves."""

    values: dict[str, Any]
    sentences: list[Doubt]
    curves: checks.Curves | None = None
    cascade: tuple[list[float], list[float]] | None = None


def doubt(subject: Subject, seen: Seen, stop: StopRequest) -> Checked:
    """Run every check that applies to the attribution."""
    marked = np.flatnonzero(seen.marked)
    empty = len(seen.which) - len(marked)
    values: dict[str, Any] = {"maps": len(seen.which), "maps_with_nothing_marked": empty}
    sentences = [Doubt("Nothing marked", f"{empty} of {len(seen.which)} maps", EMPTY)] if empty else []
    if not len(marked):
        return Checked(values, sentences)
    some = _some(seen, marked)
    parts, correlations = _weights(subject, some)
    curves = _curves(subject, some)
    areas = curves.areas()
    head, whole = correlations[0], correlations[-1]
    figure = _shown(whole) + (f" (head alone {head:.2f})" if np.isfinite(head) else "")
    sentences.append(Doubt("Weights reinitialised", figure, UNTRAINED))
    sentences.append(_curve("Deletion", areas["deletion"], areas["random_deletion"], falls=True))
    sentences.append(_curve("Insertion", areas["insertion"], areas["random_insertion"], falls=False))
    values["maps_checked"] = len(some.which)
    values["weights"] = {"layers_new": parts, "rank_correlation": correlations}
    values |= {f"{name}_area": float(area.mean()) for name, area in areas.items()}
    if subject.flags.explain == "integrated-gradients":
        missed = checks.completeness(
            subject.model, some.inputs, some.target, attribution=some.attribution, blank=some.blank
        )
        values["completeness"] = {"median": float(np.median(missed)), "worst": float(missed.max())}
        meaning = f"part of the difference of the logits that the maps miss, median map; worst map {missed.max():.2%}"
        sentences.append(Doubt("Completeness", f"{np.median(missed):.2%}", meaning))
    if seen.near is not None and seen.room is not None:
        shares, times = checks.at_qrs(seen.attribution.cpu().numpy(), seen.near, seen.room)
        known, explained = int((~np.isnan(shares)).sum()), seen.target.cpu().numpy()
        values["qrs"] = {"share": _mean(shares), "share_of_time": _mean(times), "maps": known}
        classes = {name: explained == k for k, name in enumerate(subject.data.spec.classes)}
        sentences.append(_qrs(shares, times, classes))
    if subject.flags.explain_random_labels:
        sentences.append(_labels(subject, some, stop, values))
    return Checked(values, sentences, curves, (parts, correlations))


def _shown(correlation: float) -> str:
    return "none, a map is constant" if np.isnan(correlation) else f"{correlation:.2f}"


def _curve(name: str, area: Array, chance: Array, *, falls: bool) -> Doubt:
    """The finding on areas (N,) below a deletion (`falls`) or insertion curve, against random orders."""
    better = float(np.mean(area < chance if falls else area > chance))
    how = "removed" if falls else "added to a blank row"
    meaning = (
        f"area below the probability of the class while pieces are {how}, most marked first, against random order;"
        f" {'lower' if falls else 'higher'} in {better:.0%} of the {len(area)} maps"
    )
    return Doubt(name, f"{area.mean():.2f} against {chance.mean():.2f}", meaning)


def _some(seen: Seen, marked: Array) -> Seen:
    """Evenly spaced rows of `marked`, at most `VALUES` values together."""
    room = max(1, VALUES // seen.blank[0].numel())
    some = marked[np.unique(np.linspace(0, len(marked) - 1, min(room, len(marked))).round().astype(int))]
    arrays = {name: getattr(seen, name)[some] for name in ("which", "said", "target", "blank", "attribution", "within")}
    return replace(seen, inputs=[each[some] for each in seen.inputs], **arrays)


def _weights(subject: Subject, seen: Seen) -> tuple[list[float], list[float]]:
    """Shares of reinitialised layers, and the rank correlation at each; signals reinitialise all layers three times."""
    parts, correlations = [], []
    for part, model in checks.cascade(subject.model, _fresh(subject, 1)):
        parts.append(part)
        correlations.append(_alike(subject, model, seen))
    others = [] if subject.data.spec.image else [_alike(subject, _fresh(subject, number), seen) for number in (2, 3)]
    return parts, [*correlations[:-1], _mean(np.array([correlations[-1], *others]))]


def _fresh(subject: Subject, number: int) -> nn.Module:
    """The network with the initial weights of another seed."""
    flags = subject.flags.replace(seed=(subject.flags.seed + number) % 2**31)
    return methods.prepared(build.network(flags, subject.data.spec).to(subject.device))


def _alike(subject: Subject, model: nn.Module, seen: Seen) -> float:
    """The mean rank correlation of the maps with the maps of `model`, NaN for none."""
    other = attributed(subject, model, seen.inputs, seen.target, blank=seen.blank)
    return _mean(checks.rank_correlation(seen.attribution, other, seen.within))


def _curves(subject: Subject, seen: Seen) -> checks.Curves:
    spec = subject.data.spec
    x, *features = seen.inputs
    square = max(1, round(math.sqrt(math.prod(spec.image)) / PIECES)) if spec.image else 0
    piece = (square, square) if spec.image else (max(1, round(PIECE_S * spec.rate_hz)),)

    @torch.inference_mode()
    def score(changed: Tensor, row: Tensor) -> Array:
        found = []
        for each, of in zip(changed.split(subject.at_once), row.split(subject.at_once), strict=True):
            probabilities = subject.said(subject.model(each, *(feature[of] for feature in features)))
            found.append(probabilities.gather(1, seen.target[of, None])[:, 0])
        return torch.cat(found).cpu().numpy()

    orders = ORDERS_OF_PICTURES if spec.image else ORDERS
    seed = subject.flags.seed
    return checks.curves(score, x, seen.attribution, blank=seen.blank, piece=piece, seed=seed, orders=orders)


def _qrs(shares: Array, times: Array, classes: Mapping[str, Array]) -> Doubt:
    """The share (N,) of positive attribution at the QRS, of time there, and the rows (N,) that explain each class."""
    known = ~np.isnan(shares)
    if not known.any():
        return Doubt("At the QRS", "none", "no row has both an R peak and positive attribution of its class")
    share, time = shares[known].mean(), times[known].mean()
    of = {name: own & known for name, own in classes.items() if (own & known).any()}
    each = ", ".join(f"{name} {shares[own].mean() / times[own].mean():.1f}" for name, own in of.items())
    meaning = (
        f"{share:.0%} of the positive attribution lies within 60 ms of an R peak, {time:.0%} of the time; by class"
        f" {each}. A class may also live in P, T or RR"
    )
    return Doubt("At the QRS", f"{share / time:.1f} times its share", meaning)


def _mean(values: Array) -> float:
    """The mean without NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _labels(subject: Subject, seen: Seen, stop: StopRequest, values: dict[str, Any]) -> Doubt:
    """The finding on the same network trained on permuted labels for --explain-random-labels epochs."""
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
    """The same rows with permuted labels; pictures permute the labels of their signals."""
    split: Any = rows  # a dataclass
    if (signals := getattr(rows, "signals", None)) is not None:
        return replace(split, signals=_permuted(signals, seed))
    return replace(split, y=np.random.default_rng(seed).permutation(rows.y))
