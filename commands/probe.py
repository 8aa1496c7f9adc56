"""A linear probe: a frozen network whose last layer is fitted to its features; each epoch is one regularisation.

The features of every row are computed once, without augmentation, and kept in the dataset's cache. Epoch k fits the
last linear layer of the head by logistic regression with the k-th of `linear.STRENGTHS`, so that the choice on
validation, checkpoints, resume, reports and everything after a training are those of `Trainer`.
"""

import hashlib
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import args
from loaders.base import DataSpec, Rows
from loaders.files.cache import Arrays, cached
from toolbox import devices, errors, files
from toolbox.errors import UsageError
from toolbox.metrics import classification
from toolbox.runs import outcome
from toolbox.runs.folder import CONFIG, RunFolder
from toolbox.runs.predictions import Predictions
from toolbox.terminal import StopRequest
from toolbox.training import linear
from trainer import Meter, Stop, Trainer, rows_at_once

EPOCHS = len(linear.STRENGTHS)


def last_layer(model: nn.Module) -> nn.Linear:
    """The last linear layer of a network's head. Raises UsageError for a network without one."""
    head = getattr(model, "head", None)
    layers = [part for part in head.modules() if isinstance(part, nn.Linear)] if isinstance(head, nn.Module) else []
    if not layers:
        what = "the network has no linear layer at its head: no features to fit it to, or to write"
        raise UsageError(what, hint="another network")
    return layers[-1]


def frozen(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network without its last layer, by name."""
    last = {id(each) for each in last_layer(model).parameters()}
    return {name: each.detach() for name, each in model.state_dict(keep_vars=True).items() if id(each) not in last}


@torch.no_grad()
def features(model: nn.Module, split: Rows, spec: DataSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """The inputs (M, D) of a network's last layer for all rows, or all windows of all records, and their rows (M,)."""
    model.eval()
    batches, seen = split.batches(device), []
    hook = last_layer(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        for inputs, _ in batches.batches(None, rows_at_once(spec)):
            model(*inputs)
    finally:
        hook.remove()
    return torch.cat(seen), batches.rows


def kept(
    model: nn.Module, split: Rows, spec: DataSpec, device: torch.device, *, cache: Path | None, named: str
) -> tuple[Tensor, Tensor]:
    """`features` from the folder `cache`, computed if they are not there.

    Their key is the content: the network's name and sizes `named`, its parts and weights, every input as the network
    gets it, the code of all networks and the versions of the libraries. Those of a user's own network, whose code is no
    part of the key, are not kept.
    """
    if cache is None or errors.is_yours(errors.source(type(model).forward)[0]):
        return features(model, split, spec, device)

    def made() -> Arrays:
        found, which = features(model, split, spec, device)
        return {"features": found.cpu().numpy(), "rows": which.cpu().numpy()}

    digest = hashlib.sha256(f"{named} {model} {device.type} {devices.versions()}".encode())
    for path in sorted((errors.ROOT / "models").rglob("*.py")):
        digest.update(path.read_bytes())
    for name, each in frozen(model).items():
        digest.update(name.encode() + each.cpu().contiguous().numpy().data)
    batches = split.batches(device)
    for inputs, _ in batches.batches(None, rows_at_once(spec)):
        for each in inputs:
            digest.update(each.cpu().contiguous().numpy().data)
    digest.update(batches.rows.cpu().numpy().data)
    arrays, _ = cached(cache / f"features-{digest.hexdigest()[:16]}", made)
    found, which = (torch.from_numpy(np.array(arrays[name])).to(device) for name in ("features", "rows"))
    return found, which


class Probe(Trainer):
    """Fits `last_layer` to what the network makes of the training rows; nothing else changes.

    The features are kept in the folder `cache`, by the network's name and sizes `named`.
    """

    def __init__(self, *args: Any, cache: Path | None = None, named: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.layer, self.cache, self.named = last_layer(self.model), cache, named
        self.known: list[tuple[Rows, tuple[Tensor, Tensor]]] = []
        # The rows of the first epoch of a short run, else all.
        self.fitted, self.which = self.data.train, torch.arange(len(self.data.train), device=self.device)
        if self.rows:
            self.which = self._begin_epoch().order.sort().values
            self.fitted = self.data.train.rows(self.which.cpu().numpy())

    def train_epoch(self, title: str, stop: Stop) -> Meter | None:
        """Fit the layer with the strength of this epoch; None if `stop` came first."""
        begun_s = time.perf_counter()
        features, rows = self.features(self.fitted)
        rows = self.which[rows]
        if stop.requested is not None:
            return None
        strength, y = linear.STRENGTHS[self.epoch], self.train.y[rows]
        fitted = linear.fit(features.cpu().numpy(), y.cpu().numpy(), strength, len(self.data.spec.classes))
        with torch.no_grad():
            for own, values in zip((self.layer.weight, self.layer.bias), fitted, strict=True):
                own.copy_(torch.from_numpy(values))
            meter, outputs = Meter(rows, 1), self._per_row(features)
            meter.add(outputs, self.task.loss(outputs, y))
        self.optimizer.step()  # no gradient, no change; the schedule counts it
        self.rates, self.seconds = {"C": strength}, time.perf_counter() - begun_s
        return meter

    @torch.inference_mode()
    def predict(self, split: Rows) -> Predictions:
        """The predictions of a whole split, in the source's order, from its features."""
        features, rows = self.features(split)
        return self._predictions(split, rows, self._per_row(features))

    def features(self, split: Rows) -> tuple[Tensor, Tensor]:
        """The inputs (M, D) of the last layer for all rows, or all windows of all records, and their rows (M,)."""
        for rows, found in self.known:
            if rows is split:
                return found
        found = kept(self.model, split, self.data.spec, self.device, cache=self.cache, named=self.named)
        self.known.append((split, found))
        return found

    def _per_row(self, features: Tensor) -> Tensor:
        outputs = torch.nn.functional.linear(features, self.layer.weight, self.layer.bias)
        return self.task.per_row(outputs, features)


def tested(trainer: Trainer, epochs: int, test: Rows) -> dict[str, Any]:
    """The metrics of a new probe, chosen on validation, that is fitted here: of a network with random weights."""
    best: dict[str, Any] = {}

    def on_epoch(probe: Trainer, row: dict[str, Any], seen: Predictions | None) -> None:
        if probe.best_epoch == row["epoch"]:
            best.update(val=row["val"], seen=seen, weights=deepcopy(probe.model.state_dict()))

    trainer.fit(epochs, on_epoch=on_epoch, stop=StopRequest())
    trainer.model.load_state_dict(best["weights"])
    if best["seen"]:
        trainer.task.fixed(best["seen"])
    values = trainer.task.measure(trainer.predict(test))
    figures = {"val": classification.floats(best["val"]), "test": classification.floats(values)}
    return {"best_epoch": trainer.best_epoch, **figures}


def from_random_weights(run: RunFolder) -> dict[str, Any]:
    """The metrics of a tested run next to `run`, of the same data and flags but without loaded weights; {} without."""
    loaded = {*args.FLAGS.names(on_resume="never")}
    names = {*args.FLAGS.names(kept=True, identifies=True)} - loaded
    own = run.read_json(CONFIG)
    for path in sorted(run.path.parent.glob(f"*/{CONFIG}")):
        place = outcome.place(path.parent)
        try:
            config = files.read_json(path)
            flags = config["flags"]
            if place is None or any(map(flags.get, loaded)) or config["data"]["checksum"] != own["data"]["checksum"]:
                continue
            if any(flags.get(name) != own["flags"].get(name) for name in names):
                continue
            results = files.read_json(place)
            found = {side: classification.floats(results[side]) for side in ("val", "test")}
        except (files.UnreadableError, LookupError, TypeError, AttributeError):
            continue
        return {"run": path.parent.name, **found}
    return {}
