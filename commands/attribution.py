"""A trained run with the rows that are to be explained, and what its answers about them come from.

subject = load(trained)
seen = attribute(subject, which, scores)    # Seen.attribution (n, C, T) or (n, 3, H, W)
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from commands import build
from commands.trained import TrainedRun
from loaders.base import Data, Rows
from loaders.charts import rows as marks
from loaders.families import row_forms
from toolbox.errors import CheckpointError, UsageError
from toolbox.explain import checks, methods
from toolbox.flags import Flags
from toolbox.registry import pick
from toolbox.runs import checkpoints
from toolbox.runs.folder import RESULTS, RunFolder
from toolbox.tasks import decided
from trainer import PREDICT_ROWS, PREDICT_SAMPLES

PREDICTED, TRUE = "predicted", "true"  # which class is explained, where it is not one for all
COVER_S, COVERED = 0.1, 7  # what occlusion covers: s of a lead, or a square, 49 of which make a picture
Array = NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """A trained network and the rows of one side of its data."""

    flags: Flags
    run: RunFolder
    checkpoint: str
    epoch: int
    data: Data
    rows: Rows
    model: nn.Module
    device: torch.device

    def inputs(self, which: Array) -> list[Tensor]:
        """What the network is called with for the rows `which`; of records of any length it is their middle."""
        some = self.rows.rows(which)
        batches = some.batches(self.device)
        if not torch.equal(batches.rows, torch.arange(len(some), device=self.device)):  # they are windows over records
            return [torch.tensor(some.x, device=self.device)]
        inputs, _ = next(iter(batches.batches(None, len(some))))
        return inputs

    def probabilities(self, which: Array | None = None) -> Array:
        """Of the rows `which`, all by default, (N, K), as they are explained."""
        which = np.arange(len(self.rows)) if which is None else which
        parts = np.split(which, range(self.at_once, len(which), self.at_once))
        with torch.inference_mode():
            return np.concatenate([self.said(self.model(*self.inputs(part))).cpu().numpy() for part in parts])

    def said(self, logits: Tensor) -> Tensor:
        """The probabilities (B, K) of logits, as the run weighs its decisions."""
        weights = build.by_class(self.flags.decision_weights, self.data.spec.classes, flag="--decision-weights")
        return decided(logits, weights if weights is None else weights.to(logits)).softmax(1)

    @property
    def at_once(self) -> int:
        """Rows that pass the network together."""
        return max(1, min(PREDICT_ROWS, PREDICT_SAMPLES // int(np.prod(self.data.spec.shape[1:]))))


@dataclass(frozen=True)
class Seen:
    """Rows `which` (n,), what was said of each and which class is explained (n,), and their attribution.

    `inputs` are x (n, C, T) or (n, 3, H, W) and features; `blank` and `attribution` have the shape of x. Where R peaks
    are known, `peaks` has the samples of those of each row, and `near` (n, 1, ...) what lies at them, of the `room` for
    signals. `within` (n, 1, ...) is where something is: not what fills a row up, not blank paper. A row of which
    nothing is marked has zeros.
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
        """Whether something is marked in each row (n,)."""
        return (self.attribution != 0).flatten(1).any(1).cpu().numpy()


def load(trained: TrainedRun) -> Subject:
    """The network with the weights of the checkpoint that --resume names, else the best, and the rows asked for.

    Raises UsageError for test rows of a run that has not met its test set, CheckpointError.
    """
    flags, run, which = trained.flags, trained.run, trained.which
    path, state = checkpoints.find(run, which)
    if flags.explain_rows == "test" and not (run / RESULTS).exists():
        what = "the test set of this run has not been opened, and is not opened for pictures"
        raise UsageError(what, where=str(run.path), hint="--explain-rows val, or --test first")
    data = trained.ruled(build.load_data(flags))
    if trained.of_data(data):
        hint = "what it was trained on, with --root-dir or --data-file"
        raise CheckpointError("the data is not that of the run, its checksum differs", where=str(run.path), hint=hint)
    device = build.device_of(flags)
    model = build.network(flags, data.spec).to(device)
    checkpoints.load_weights(model, state["model"], str(path))
    rows = data.test if flags.explain_rows == "test" else data.val
    return Subject(flags, run, which, state["epoch"], data, rows, methods.prepared(model), device)


def attribute(subject: Subject, which: Array, said: Array) -> Seen:
    """What the answers `said` (n,) about the rows `which` (n,), or the class asked for instead, come from."""
    spec, inputs, rows = subject.data.spec, subject.inputs(which), subject.rows.rows(which)
    target = _target(subject.flags.explain_class, spec.classes, said, subject.rows.y[which])
    chosen = torch.tensor(target, device=subject.device)
    blank = torch.tensor(marks.papers(rows)).to(inputs[0]) if spec.image else methods.blank(inputs[0])
    found = attributed(subject, subject.model, inputs, chosen, blank=blank)
    within = (inputs[0] != blank).any(1, keepdim=True) if spec.image else methods.inside(inputs[0])
    within = within.cpu().numpy()
    marked = torch.from_numpy(checks.marked(found, within)).to(found.device)
    # A map that is the same everywhere marks nothing.
    found = torch.where(marked.view(-1, *[1] * (found.dim() - 1)), found, 0)
    seen = Seen(which, said, chosen, inputs, blank, found, within)
    peaks = _peaks(subject, rows, inputs[0])
    if peaks is None:
        return seen
    if spec.image:
        near, room = marks.at_peaks(rows, peaks, spec.rate_hz)
        return replace(seen, near=near, room=room)
    return replace(seen, peaks=peaks, near=row_forms.near(peaks, spec.samples, spec.rate_hz), room=seen.within)


def _peaks(subject: Subject, rows: Rows, x: Tensor) -> list[Array] | None:
    """The R peaks of each row, in samples of what it shows; None where they are not known."""
    spec = subject.data.spec
    options = build.options_for(spec.name, subject.flags)
    find = partial(row_forms.r_peaks, spec.name, rate_hz=spec.rate_hz, options=options)
    if not spec.image:
        return find(x.cpu().numpy())
    found = [find(np.nan_to_num(rows.signal(row))[None]) for row in range(len(rows))]
    return None if None in found else [own - begin for (own,), begin in zip(found, rows.begin, strict=True)]


def attributed(subject: Subject, model: nn.Module, inputs: list[Tensor], target: Tensor, *, blank: Tensor) -> Tensor:
    """The attribution by the method of --explain, a few rows at a time."""
    spec, method = subject.data.spec, methods.EXPLAINERS[subject.flags.explain]
    square = round(math.sqrt(math.prod(spec.image)) / COVERED) if spec.image else 0
    window = (square, square) if spec.image else (max(1, round(COVER_S * spec.rate_hz)),)
    parts = []
    for begin in range(0, len(target), subject.at_once):
        part = slice(begin, begin + subject.at_once)
        parts.append(method(model, [each[part] for each in inputs], target[part], blank=blank[part], window=window))
    return torch.cat(parts)


def _target(what: str, classes: tuple[str, ...], said: Array, true: Array) -> Array:
    """The class (n,) that is explained for each row."""
    own = {PREDICTED: said, TRUE: true}
    return pick("explain-class", own | {name: np.full_like(said, k) for k, name in enumerate(classes)} | own, what)
