"""Checks that a checkpoint is sound and fits a run, before any of it is loaded.

`unsound` checks tensors; `misfit` compares optimizer, schedule, random state and counts with a newly built run. Both
return the first fault, as words for an error, or "".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from toolbox import devices
from toolbox.runs.folder import MOST_EPOCHS, history_objection
from toolbox.schema import is_count, is_finite, is_number, kind

PLAIN = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64, torch.uint8, torch.bool}
NEVER_NEGATIVE = ("running_var", "num_batches_tracked", "exp_avg_sq")
PARTS = {"optimizer": dict, "scheduler": dict, "rng": dict, "history": list}
# Counters of a schedule; its other values are constants.
COUNTED = {"last_epoch", "_step_count", "_last_lr", "best", "num_bad_epochs", "cooldown_counter"}
SEVERAL_STEPS = ("OneCycleLR",)  # one step per batch, not per epoch
OF_STEPS = {"epoch": torch.int32, "loss": torch.float32}  # stored for each step
MOST_NAMED = 3


@dataclass(frozen=True)
class Extent:
    """The progress of a run: the epoch `start` of its optimizer, the `epoch` of the checkpoint, and its sizes."""

    start: int
    epoch: int
    rows: int
    batch_size: int
    kept: tuple[int, ...]  # the shape of a row's stored output during an epoch

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-self.rows // self.batch_size)


def unsound(tensors: Mapping[str, Tensor]) -> str:
    """The first tensors that cannot be weights: not finite, negative variances, incomplete; "" if all are sound."""
    faults = (f"{name} {why}" for name, tensor in tensors.items() if (why := _fault(name, tensor)))
    return "; ".join(islice(faults, MOST_NAMED))


def differences(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """The first names, shapes or types in which `tensors` differ from a network's `own`; "" if they fit."""
    there = [key for key in own if key in tensors and not _alike(own[key], tensors[key])]
    found = ["{} is {}, the model has {}".format(key, *_forms(tensors[key], own[key])) for key in there]
    found += [f"{key} is missing" for key in sorted(own.keys() - tensors.keys())]
    found += [f"{key} is not in the model" for key in sorted(tensors.keys() - own.keys())]
    return "; ".join(found[:MOST_NAMED])


def misfit(state: Mapping[str, Any], model: nn.Module, optimizer: Optimizer, schedule: Any, extent: Extent) -> str:
    """The first part of a checkpoint that does not fit a run of these newly built parts; "" if all fit."""
    if odd := [name for name, form in PARTS.items() if not isinstance(state[name], form)]:
        return f"{odd[0]} is {kind(state[odd[0]])}"
    steps = (extent.epoch - extent.start) * extent.batches
    meter = state["meter"]
    if why := "" if meter is None else _meter(meter, extent):
        return f"the epoch under way: {why}"
    done = steps + (meter["steps"] if meter else 0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    if why := _optimizer(state["optimizer"], optimizer, names, done):
        return f"optimizer: {why}"
    passed = done if schedule.name in SEVERAL_STEPS else extent.epoch - extent.start
    if why := _schedule(state["scheduler"], schedule.state_dict(), passed, len(optimizer.param_groups)):
        return f"schedule: {why}"
    if not is_finite(state["seconds"]) or state["seconds"] < 0:
        return f"seconds is {state['seconds']!r}, it must be a number from 0"
    return _random(state["rng"])


def unfinished(state: Mapping[str, Any], start: int) -> str:
    """The fault of epoch, best epoch or history in a checkpoint of a run that started at epoch `start`; "" if none."""
    epoch, best = state["epoch"], state["best"]
    if not is_count(epoch, most=MOST_EPOCHS):
        return f"epoch is {epoch!r}, it must be a whole number from 0"
    if why := history_objection(state["history"]):
        return f"history: {why}"
    if why := _losses(state["losses"]) if "losses" in state else "":
        return why
    last = state["history"][-1]["epoch"] if state["history"] else start
    if last != epoch:
        return f"history ends with epoch {last}, the checkpoint is of epoch {epoch}"
    if best is None:
        return ""
    if not (isinstance(best, Mapping) and is_count(best.get("epoch"), 1) and is_number(best.get("value"))):
        return "best is not an epoch with its value"
    return f"best is epoch {best['epoch']}, the checkpoint is of epoch {epoch}" if best["epoch"] > epoch else ""


def _fault(name: str, tensor: Tensor) -> str:
    if tensor.layout is not torch.strided or tensor.device.type == "meta" or tensor.dtype not in PLAIN:
        return f"is no plain tensor ({tensor.dtype}, {tensor.layout})"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "is larger than its stored bytes"
    # A sum is one pass without a copy; it can be infinite for finite numbers only near the largest number.
    of_sum = torch.float32 if tensor.element_size() < 4 else None
    if tensor.is_floating_point() and not (tensor.sum(dtype=of_sum).isfinite() or tensor.isfinite().all()):
        return "is not finite"
    if name.rpartition(".")[2] in NEVER_NEGATIVE and tensor.numel() and tensor.min() < 0:
        return "is negative"
    return ""


def _alike(own: Tensor, other: Tensor) -> bool:
    return own.shape == other.shape and own.dtype == other.dtype


def _forms(*tensors: Tensor) -> Iterator[str]:
    """The shapes of tensors, with their types if these differ."""
    typed = len({tensor.dtype for tensor in tensors}) > 1
    return (f"{tuple(each.shape)}" + (f" {each.dtype}".replace("torch.", "") if typed else "") for each in tensors)


def _optimizer(state: Mapping[str, Any], own: Optimizer, names: Mapping[int, str], steps: int) -> str:
    built = own.state_dict()["param_groups"]
    groups, entries = state.get("param_groups"), state.get("state")
    if not (isinstance(groups, list) and isinstance(entries, dict) and all(isinstance(each, dict) for each in groups)):
        return "it has no groups of parameters with their state"
    if len(groups) != len(built):
        return f"it has {len(groups)} groups of parameters, the run has {len(built)}"
    for number, (group, mine) in enumerate(zip(groups, built, strict=True), 1):
        if why := _group(group, mine):
            return f"group {number}: {why}"
    parameters = [parameter for group in own.param_groups for parameter in group["params"]]
    if odd := [key for key in entries if not (type(key) is int and 0 <= key < len(parameters))]:
        return f"it has an entry {odd[0]!r:.40}, the run has {len(parameters)} parameters"
    kept = _kept(own)
    for key, entry in entries.items():
        if why := _entry(entry, parameters[key], kept, steps):
            return f"{names.get(id(parameters[key]), key)}: {why}"
    return ""


def _group(group: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    if odd := [name for name in ("lr", "params") if name not in group] + [name for name in group if name not in own]:
        return f"{odd[0]!s:.40} is {'missing' if odd[0] in own else 'not known'}"
    if not is_finite(group["lr"]) or group["lr"] < 0:
        return f"lr is {group['lr']!r:.40}, it must be a number from 0"
    for name, value in group.items():
        if name != "lr" and not _equal(value, own[name]):
            return f"{name} is {value!r:.40}, the run has {own[name]!r:.40}"
    return ""


def _kept(own: Optimizer) -> dict[str, Tensor]:
    """The state of a parameter (2, 3) after one step of an optimizer like `own`."""
    parameter = nn.Parameter(torch.ones(2, 3))
    parameter.grad = torch.ones(2, 3)
    build: Any = type(own)  # torch's optimizers have defaults for all but the parameters
    twin: Optimizer = build([parameter])
    twin.param_groups[0] |= {name: value for name, value in own.param_groups[0].items() if name != "params"}
    twin.step()
    return twin.state[parameter]


def _entry(entry: Any, parameter: Tensor, kept: Mapping[str, Tensor], steps: int) -> str:
    if not isinstance(entry, dict) or entry.keys() != kept.keys():
        held = ", ".join(map(str, entry)) if isinstance(entry, dict) else kind(entry)
        return f"it holds {held or 'nothing':.80}, it must hold {', '.join(kept) or 'nothing'}"
    for name, value in entry.items():
        if why := _tensor(name, value, parameter if kept[name].dim() else kept[name]):
            return why
    if "step" in entry and not 1 <= float(entry["step"]) <= steps:
        return f"step is {float(entry['step']):g}, the run has made {steps}"
    return ""


def _tensor(name: str, value: Any, like: Tensor) -> str:
    """The fault of a value that must be a tensor of the shape and type of `like`; "" if none."""
    if not isinstance(value, Tensor):
        return f"{name} is {kind(value)}, it must be a tensor"
    if not _alike(like, value):
        return "{} is {}, it must be {}".format(name, *_forms(value, like))
    return f"{name} {why}" if (why := _fault(name, value)) else ""


def _schedule(state: Mapping[str, Any], own: Mapping[str, Any], passed: int, groups: int) -> str:
    if odd := sorted(map(str, state.keys() ^ own.keys())):
        return f"{odd[0]:.40} is {'missing' if odd[0] in own else 'not known'}"
    for name, value in state.items():
        if name not in COUNTED and not _equal(value, own[name]):
            return f"{name} is {value!r:.40}, the run has {own[name]!r:.40}"
    if not is_count(state["last_epoch"], passed, passed):
        return f"last_epoch is {state['last_epoch']!r:.40}, the run has made {passed} of its steps"
    counts = ("_step_count", "num_bad_epochs", "cooldown_counter")
    if odd := [name for name in counts if not is_count(state.get(name, 0))]:
        return f"{odd[0]} is {state[odd[0]]!r:.40}, it must be a whole number from 0"
    rates = state["_last_lr"]
    if not (isinstance(rates, list) and len(rates) == groups and all(map(is_finite, rates)) and min(rates) >= 0):
        return f"_last_lr is {rates!r:.40}, it must be {groups} numbers from 0"
    best = state.get("best", 0)
    return "" if is_finite(best) or _equal(best, own["best"]) else f"best is {best!r:.40}, it must be a number"


def _meter(meter: Any, extent: Extent) -> str:
    if not isinstance(meter, dict) or {"outputs", "loss_sum", "rows", "steps"} - meter.keys():
        return "it lacks outputs, loss_sum, rows or steps"
    rows, steps, outputs, loss = meter["rows"], meter["steps"], meter["outputs"], meter["loss_sum"]
    if not (is_count(steps, 1) and steps <= extent.batches):
        return f"steps is {steps!r:.40}, an epoch of the run has {extent.batches}"
    if type(rows) is not int or rows != min(steps * extent.batch_size, extent.rows):
        return f"rows is {rows!r:.40}, {steps} steps have {min(steps * extent.batch_size, extent.rows)}"
    like = torch.empty(rows, *extent.kept, device="meta")
    own = meter.get("losses", torch.empty(steps))  # older checkpoints lack them, and resumed ones then hold NaN
    if not (isinstance(own, Tensor) and _alike(own, torch.empty(steps, device="meta"))):
        return f"losses is {kind(own)}, it must be {steps} numbers"
    if own.isinf().any():
        return "losses is not finite"
    return _tensor("outputs", outputs, like) or _tensor("loss_sum", loss, torch.empty((), device="meta"))


def _losses(losses: Any) -> str:
    """The fault of the stored losses of finished epochs; "" if none."""
    tensors = isinstance(losses, dict) and all(isinstance(each, Tensor) for each in losses.values())
    if not (tensors and losses.keys() == OF_STEPS.keys()):
        return f"losses is {kind(losses)}, it must be {' and '.join(OF_STEPS)} of each step"
    steps = losses["loss"].numel()
    odd = [name for name, dtype in OF_STEPS.items() if losses[name].shape != (steps,) or losses[name].dtype != dtype]
    return f"losses: {odd[0]} is not one number a step" if odd else ""


def _random(states: Mapping[str, Any]) -> str:
    for name, own in devices.random_state(torch.device("cpu")).items():
        value = states.get(name)
        if not (isinstance(value, Tensor) and _alike(own, value) and not _fault(name, value)):
            return f"rng: the random state of the {name} is none of torch"
    return ""


def _equal(value: Any, own: Any) -> bool:
    """Whether two plain values are equal; 1 and True are not, a tuple and a list are."""
    if isinstance(own, tuple | list) and isinstance(value, tuple | list):
        return len(value) == len(own) and all(map(_equal, value, own))
    plain = isinstance(value, bool | int | float | str | None)
    return plain and isinstance(value, bool) is isinstance(own, bool) and value == own
