"""The only loop and the only backward(): fit, train_epoch, predict.

A Trainer holds the whole state of an exact resume: weights, optimizer, schedule, epoch, position in the epoch, random
state, best and history. Build it, load a state if you resume, and call `fit`. A `Meter` accumulates the current epoch
on the device; the host waits only when it reads a value.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from loaders import base
from loaders.augment import Augment
from loaders.base import Data, DataSpec, Rows
from toolbox import devices, terminal
from toolbox.errors import CheckpointError, NumericsError, UsageError
from toolbox.runs import best, checkpoints
from toolbox.runs.predictions import Predictions
from toolbox.tasks import LAST, Task
from toolbox.training import optimizers, samplers
from toolbox.training.optimizers import Schedule
from toolbox.training.recorders import StepLosses

PREDICT_ROWS, PREDICT_SAMPLES = 512, 2**19  # of a batch at most
PREDICT_PIXELS = {"cuda": 2**23}  # of charts, by device; elsewhere as many as samples
READ_EVERY_S = 0.5
ONE_VALUE = "more than 1 value per channel"  # of torch's batch norm
SMALLER_STEPS = "a smaller --lr or --grad-clip 1; the last checkpoint is sound"
RATES = ("lr", "backbone_lr")  # of the groups of an optimizer
OF_STEPS = "losses"  # in a checkpoint; older ones lack it


def rows_at_once(spec: DataSpec, device: str = "cpu") -> int:
    """The rows of a predicted batch on a device of this type."""
    most = PREDICT_PIXELS.get(device, PREDICT_SAMPLES) if spec.image else PREDICT_SAMPLES
    return max(1, min(PREDICT_ROWS, most // math.prod(spec.shape[1:])))


class Meter:
    """Row order, kept outputs, losses and their sum, and the first bad step of an epoch of `steps` steps."""

    def __init__(self, order: Tensor, steps: int) -> None:
        self.order = order
        self.outputs = torch.empty(0)
        self.losses = torch.full((steps,), torch.nan, device=order.device)
        self.loss_sum = torch.zeros((), device=order.device)
        self.bad_step = torch.full((), -1, device=order.device)
        self.rows = self.steps = 0

    def add(self, outputs: Tensor, loss: Tensor) -> None:
        """Add a step, without waiting for the device."""
        outputs, loss = outputs.detach(), loss.detach()
        if not self.steps:
            self.outputs = outputs.new_empty(len(self.order), *outputs.shape[1:])
        self.outputs[self.rows : self.rows + len(outputs)] = outputs
        self.losses[self.steps] = loss
        self.loss_sum += loss * len(outputs)
        self.rows += len(outputs)
        self.steps += 1

    def mark(self, value: Tensor) -> Tensor:
        """Whether any step so far had a non-finite loss or gradient; stores the first, on the device."""
        fresh = ~torch.isfinite(value) & (self.bad_step < 0)
        self.bad_step = torch.where(fresh, self.steps, self.bad_step)
        return self.bad_step >= 0

    def state_dict(self) -> dict[str, Any]:
        """Outputs and losses so far; the order follows from seed and epoch."""
        return {
            "outputs": self.outputs[: self.rows].clone(),
            "loss_sum": self.loss_sum.clone(),
            "losses": self.losses[: self.steps].clone(),
            "rows": self.rows,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state`; losses that an older version did not keep stay NaN."""
        self.rows, self.steps = state["rows"], state["steps"]
        self.outputs = state["outputs"].new_empty(
            len(self.order), *state["outputs"].shape[1:], device=self.order.device
        )
        self.outputs[: self.rows] = state["outputs"]
        self.loss_sum.copy_(state["loss_sum"])
        if "losses" in state:
            self.losses[: self.steps] = state["losses"]


class Stop(Protocol):
    """The number of the signal that ends the loop, None without one."""

    requested: int | None


class Trainer:
    """Trains `model` on `data.train`, measures `data.val`, never reads the test split."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        data: Data,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        device: torch.device,
        batch_size: int,
        seed: int,
        sampler: str | None = None,
        grad_clip: float | None = None,
        augment: Augment | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        short_run: bool = False,
    ) -> None:
        self.model, self.task, self.data, self.optimizer, self.schedule = model, task, data, optimizer, schedule
        self.device, self.seed, self.grad_clip = device, seed, grad_clip
        self.augment, self.autocast = augment, autocast
        # Collected once, not in every step.
        self.learners = [
            [parameter for parameter in member.parameters() if parameter.requires_grad]
            for member in getattr(model, "members", [model])
        ]
        self.batch_size = batch_size * len(self.learners)
        parts = [(part, list(part.parameters())) for part in model.children()]
        self.frozen = [part for part, own in parts if own and not any(each.requires_grad for each in own)]
        self.train = data.train.batches(device)
        labels = torch.from_numpy(data.train.y)
        self.draw = samplers.row_weights(sampler, labels, data.spec.importance, data.train.record) if sampler else None
        self.rows = self.batch_size * base.BATCHES if short_run else None
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.best: best.Best | None = None
        self.losses = StepLosses()
        self.rates: dict[str, float] = {}  # of the last step
        self.seconds = 0.0  # spent on the current epoch
        self.meter: Meter | None = None  # of the current epoch
        self.unbegun: list[Tensor] = []  # parameters that lack the optimizer state others have

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the best validation value so far; None before the first."""
        return self.best["epoch"] if self.best else None

    def fit(
        self,
        epochs: int,
        *,
        on_epoch: Callable[["Trainer", dict[str, Any], Predictions | None], None],
        stop: Stop,
        patience: int | None = None,
    ) -> None:
        """Train until `epochs` are done, patience ends or `stop` is requested; `on_epoch` saves each epoch."""
        while not self.finished(epochs, patience) and stop.requested is None:
            if meter := self.train_epoch(f"epoch {self.epoch + 1}/{epochs}", stop):
                row, predictions = self._close_epoch(meter)
                on_epoch(self, row, predictions)

    def finished(self, epochs: int, patience: int | None) -> bool:
        """Whether a run with this history has nothing left to do."""
        waited = self.epoch - (self.best["since"] if self.best else self.epoch)
        return self.epoch >= epochs or (patience is not None and waited >= patience)

    def train_epoch(self, title: str, stop: Stop) -> Meter | None:
        """Finish the current epoch; None if `stop` came first, with the state kept for a resume."""
        self.model.train()
        for part in self.frozen:  # a frozen part keeps its running statistics too
            part.eval()
        self.meter = self.meter or self._begin_epoch()
        meter, begun_s, read_s = self.meter, time.perf_counter() - self.seconds, time.perf_counter()
        shown: dict[str, Any] = {"desc": title, "total": len(meter.order), "initial": meter.rows, "unit": "row"}
        shown |= {"leave": False, "mininterval": READ_EVERY_S, "miniters": 1}  # the figures wait for the device
        with terminal.bar(figures=lambda: self._running(meter), **shown) as bar:
            for inputs, y in self.train.batches(meter.order, self.batch_size, start=meter.steps, epoch=self.epoch):
                if stop.requested is not None:
                    return None
                self._step(meter, inputs, y)
                now_s = time.perf_counter()
                self.seconds = now_s - begun_s
                bar.update(len(y))
                if now_s - read_s > READ_EVERY_S:
                    read_s = now_s
                    self._check_numbers(meter)
        self._check_numbers(meter)
        self.seconds = time.perf_counter() - begun_s
        return meter

    def _begin_epoch(self) -> Meter:
        """A Meter with the epoch's row order, a pure function of seed and epoch."""
        members = len(self.learners)
        rows, batch = len(self.data.train), self.batch_size // members
        order = samplers.epoch_order(self.draw, rows, seed=self.seed, epoch=self.epoch, members=members, batch=batch)
        order = order[: self.rows].to(self.device)
        return Meter(order, -(-len(order) // self.batch_size))

    def _step(self, meter: Meter, inputs: list[Tensor], y: Tensor) -> None:
        x, *features = inputs
        x, mix = self.augment(x, epoch=self.epoch, step=meter.steps) if self.augment else (x, None)
        if mix is not None:
            features = [mix.of(each) for each in features]
        try:
            with self.autocast():
                outputs = self.model(x, *features)
        except ValueError as error:
            if len(y) > len(self.learners) or ONE_VALUE not in str(error):
                raise
            what = f"a batch of one row of {x.shape[-1]} samples is too small for the batch norms of this network"
            raise UsageError(what, hint="a --batch-size that leaves no row alone, or a smaller network") from error
        rows = self.task.per_row(outputs.float(), x)
        loss = self.task.loss(rows, y, mix)
        for group in self.optimizer.param_groups:
            for each in group["params"]:
                each.grad = None  # torch's zero_grad costs ten times as much
        loss.backward()
        if self.unbegun:
            self._check_begun()
        norm = self._clip(self.grad_clip) if self.grad_clip else 0
        bad = meter.mark(loss.detach() + norm)
        if self.device.type == "cuda":
            # The device skips the fused step; the host does not wait.
            self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        elif bad:
            self._check_numbers(meter)
        self.rates = dict(zip(RATES, (group["lr"] for group in self.optimizer.param_groups), strict=False))
        self.optimizer.step()
        self.schedule.after_batch()
        meter.add(rows, loss)

    def _clip(self, grad_clip: float) -> Tensor:
        """The sum of the members' gradient norms; each is clipped to its share, as the loss is the members' mean."""
        limit = grad_clip / len(self.learners)
        return reduce(torch.add, (optimizers.clip(parameters, limit) for parameters in self.learners))

    def _check_begun(self) -> None:
        """Raise CheckpointError if a parameter with a gradient has no optimizer state."""
        if any(each.grad is not None for each in self.unbegun):
            lacking = {id(each) for each in self.unbegun}
            name = next(name for name, each in self.model.named_parameters() if id(each) in lacking)
            what = f"the checkpoint does not fit this run: optimizer: the state of {name} is missing"
            raise CheckpointError(what, hint="another checkpoint: the best or a kept epoch")
        self.unbegun = []

    def _running(self, meter: Meter) -> dict[str, str]:
        """The loss of the epoch so far and the task's running metrics, read from the device."""
        labels = self.train.y[meter.order[: meter.rows]]
        values = {"loss": meter.loss_sum / meter.rows, **self.task.running(meter.outputs[: meter.rows], labels)}
        return {name: f"{float(value):.4f}" for name, value in values.items()}

    def _check_numbers(self, meter: Meter) -> None:
        """Raise NumericsError after a non-finite loss. Called twice a second, as it waits for the device on CUDA."""
        step = int(meter.bad_step)
        if step < 0:
            return
        rows = meter.order[step * self.batch_size : (step + 1) * self.batch_size].cpu().numpy()
        index, lr = ", ".join(map(str, self.data.train.index[rows][:5])), self.optimizer.param_groups[0]["lr"]
        what = f"the loss or its gradient is not finite at a learning rate of {lr:g}; no step was made"
        where = f"epoch {self.epoch + 1}, batch {step + 1}, rows {index}, ..."
        raise NumericsError(what, where=where, hint=SMALLER_STEPS)

    def _close_epoch(self, meter: Meter) -> tuple[dict[str, Any], Predictions | None]:
        """Measure train (outputs during the epoch) and validation, if any; step the schedule; add a history row."""
        if not torch.stack([tensor.isfinite().all() for tensor in self.model.state_dict().values()]).all():
            what = f"a weight is not finite after the last step, at a learning rate of {self.rates['lr']:g}"
            raise NumericsError(what, where=f"epoch {self.epoch + 1}", hint=SMALLER_STEPS)
        seen = self._predictions(self.data.train, meter.order, meter.outputs)
        train = self.task.measure(seen) | {"loss": float(meter.loss_sum) / meter.rows}
        predictions = self.predict(self.data.val) if len(self.data.val) else None
        val = self.task.measure(predictions) if predictions else {}
        self.epoch += 1
        value = {**val, LAST: self.epoch}[self.task.monitor]
        self.schedule.after_epoch(value)
        self.best = best.after(self.best, self.task.monitor, epoch=self.epoch, value=value, loss=val.get("loss"))
        row = {
            "epoch": self.epoch,
            **self.rates,
            "seconds": self.seconds,
            "samples_per_s": meter.rows / self.seconds,
            "train": train,
            "val": val,
        }
        self.history.append(row)
        self.losses.add(self.epoch, meter.losses[: meter.steps])
        self.meter, self.seconds = None, 0.0
        return row, predictions

    @torch.inference_mode()
    def predict(self, split: Rows) -> Predictions:
        """The predictions of a whole split, in the source's order."""
        self.model.eval()
        batches = split.batches(self.device)
        size = rows_at_once(self.data.spec, self.device.type)
        outputs = [self.task.per_row(self.model(*inputs), inputs[0]) for inputs, _ in batches.batches(None, size)]
        return self._predictions(split, batches.rows, torch.cat(outputs))

    def _predictions(self, split: Rows, which: Tensor, outputs: Tensor) -> Predictions:
        """The predictions of the rows `which`; the pieces of a record become one prediction."""
        rows = which.cpu().numpy()
        if split.pooled:
            _, first, group = np.unique(split.index[rows], return_index=True, return_inverse=True)
            rows, outputs = rows[first], self.task.pool(outputs, group)
        target = torch.from_numpy(split.y[rows]).to(self.device)
        return self.task.predictions(split.index[rows], split.record[rows], target, outputs)

    @torch.inference_mode()
    def outputs(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's raw outputs for a few rows x (B, C, T)."""
        self.model.eval()
        return self.model(torch.tensor(x, device=self.device)).cpu().numpy()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values for an exact resume, also within an epoch."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.schedule.state_dict(),
            "scaler": {},
            "epoch": self.epoch,
            "seconds": self.seconds,
            "meter": self.meter.state_dict() if self.meter and self.meter.steps else None,
            "best": self.best,
            "history": self.history,
            OF_STEPS: self.losses.state_dict(),
            "rng": devices.random_state(self.device),
        }

    def load_state_dict(self, state: dict[str, Any], *, reinitialise: bool = False) -> None:
        """Resume from `state`; the caller loads the weights, so that its errors can name their file.

        `reinitialise` takes over epochs and history, but restarts optimizer, schedule and the current epoch.
        """
        if lacking := self.state_dict().keys() - state.keys() - {OF_STEPS}:
            raise CheckpointError(f"the checkpoint lacks {', '.join(sorted(lacking))}")
        if why := checkpoints.unfinished(state, self.epoch) or ("" if reinitialise else self._misfit(state)):
            raise CheckpointError(f"the checkpoint does not fit this run: {why}")
        self.epoch, self.best, self.history = state["epoch"], best.stored(state["best"]), [*state["history"]]
        if OF_STEPS in state:
            self.losses.load_state_dict(state[OF_STEPS])
        if reinitialise:
            return
        self.seconds = state["seconds"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["scheduler"])
        if state["meter"]:
            self.meter = self._begin_epoch()
            self.meter.load_state_dict(state["meter"])
        devices.set_random_state(state["rng"], self.device)
        stored, groups = self.optimizer.state, self.optimizer.param_groups
        self.unbegun = [each for group in groups for each in group["params"] if stored and each not in stored]

    def _misfit(self, state: dict[str, Any]) -> str:
        """The first part of a checkpoint that does not fit this newly built run; "" if all fit."""
        rows = len(self._begin_epoch().order)
        extent = checkpoints.Extent(self.epoch, state["epoch"], rows, self.batch_size, self.task.kept)
        return checkpoints.misfit(state, self.model, self.optimizer, self.schedule, extent)
