"""Checkpoints: tensors and plain values, saved whole or not at all, loaded without running any code.

Before any of it is loaded, `unsound` checks tensors, and `misfit` compares optimizer, schedule, random state and counts
with a newly built run. Both return the first fault, as words for an error, or "".
"""

import errno
import io
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from toolbox import devices, files
from toolbox.errors import CheckpointError, ForeignError
from toolbox.runs.best import objection
from toolbox.runs.folder import BEST, EPOCH, LATEST, MOST_EPOCHS, RunFolder, history_objection
from toolbox.schema import is_count, is_finite, kind

FORMAT = 1
KEEP_EVERY = 5
ANOTHER = "another checkpoint: the best or an epoch that was kept"
PLAIN = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64, torch.uint8, torch.bool}
NEVER_NEGATIVE = ("running_var", "num_batches_tracked", "exp_avg_sq")
PARTS = {"optimizer": dict, "scheduler": dict, "rng": dict, "history": list}
# Counters of a schedule; its other values are constants.
COUNTED = {"last_epoch", "_step_count", "_last_lr", "best", "num_bad_epochs", "cooldown_counter"}
SEVERAL_STEPS = ("OneCycleLR",)  # one step per batch, not per epoch
OF_STEPS = {"epoch": torch.int32, "loss": torch.float32}  # stored for each step
MOST_NAMED = 3
log = logging.getLogger("commander")


class DamagedError(CheckpointError):
    """The bytes of a checkpoint differ from the written ones."""


def save(run: RunFolder, state: dict[str, Any], *, is_best: bool, epoch_done: bool) -> None:
    """Write `state` as the latest checkpoint; after an epoch also as every fifth and, if it is best, as the best."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    names = [LATEST]
    if epoch_done and state["epoch"] % KEEP_EVERY == 0:
        names.append(EPOCH.format(state["epoch"]))
    if epoch_done and is_best:
        names.append(BEST)
    # The latest is last: the best checkpoint that it refers to is then already on the disk.
    for name in reversed(names):
        files.write_whole(run / name, lambda file: file.write(buffer.getbuffer()))


def find(run: RunFolder, which: str) -> tuple[Path, dict[str, Any]]:
    """Path and state of the checkpoint "latest", "best" or of an epoch's number.

    A damaged latest is renamed to .corrupt, with a warning, and the newest sound checkpoint replaces it; no other
    damaged checkpoint is replaced.
    """
    path = run / LATEST
    try:
        if which != "latest" or path.exists():
            path = run.checkpoint(which)
            return path, load(path)
    except DamagedError as error:
        if which != "latest":
            raise
        kept = path.with_name(f"{LATEST}.corrupt")
        with nullcontext() if run.writable else suppress(OSError):
            path.replace(kept)
        log.warning("%s; it is kept as %s", error.what, kept.name if kept.exists() else path.name)
    epochs = sorted(run.path.glob(EPOCH.format("*")), key=lambda path: (len(path.name), path.name), reverse=True)
    sound = [next(filter(None, map(_sound, epochs)), None), _sound(run / BEST)]
    if not any(sound):
        what = "no sound checkpoint is left of this run"
        raise CheckpointError(what, where=str(run.path), hint="--version bump for a new run")
    path, state = max(filter(None, sound), key=lambda found: found[1]["epoch"])
    log.warning("going on from %s, the newest sound checkpoint, of epoch %d", path.name, state["epoch"])
    return path, state


def _sound(path: Path) -> tuple[Path, dict[str, Any]] | None:
    try:
        return path, load(path)
    except CheckpointError as error:
        log.warning("passing over %s: %s", path.name, error.what)
        return None


def load(path: Path) -> dict[str, Any]:
    """A checkpoint's state, on the CPU. Raises CheckpointError for a damaged, foreign or newer file."""
    state = read(path)
    whole = isinstance(state, dict) and all(is_count(state.get(name), most=MOST_EPOCHS) for name in ("format", "epoch"))
    if not (whole and is_weights(state.get("model"))):
        raise CheckpointError("the file is not a checkpoint of this program", where=str(path), hint="--resume latest")
    if why := unsound(state["model"]):
        raise CheckpointError(f"the checkpoint's weights cannot be used: {why}", where=str(path), hint=ANOTHER)
    if state["format"] > FORMAT:
        what = f"the checkpoint has format {state['format']}, this program reads up to {FORMAT}"
        raise CheckpointError(what, where=str(path), hint="the version of the program that wrote it")
    return state


def predates(path: Path, state: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is older than the last --override of its run, at the run's `start_epoch`.

    Among checkpoints of that epoch, only the latest is newer.
    """
    first = config["flags"].get("start_epoch", 0) + (path.name != LATEST)
    return bool(config.get("overrides")) and state["epoch"] < first


def is_weights(value: Any) -> bool:
    """Whether a value is a dict of tensors by name, like a network's state."""
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def read(path: Path) -> Any:
    """The tensors and plain values of a file, on the CPU, in torch's zip format or the older one.

    Raises CheckpointError for any other global of its pickle, DamagedError for damage; runs no code of the file.
    """
    try:
        files.regular(path).close()
        if zipfile.is_zipfile(path):
            _check_archive(path)
        with warnings.catch_warnings(action="ignore"):  # of its pickle's protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno == errno.EINVAL and path.is_file():  # torch seeks before the beginning of a cut-off file
            raise _refusal(path, error) from error
        what = f"the checkpoint cannot be read: {error.strerror}"
        raise CheckpointError(what, where=str(path), hint=ANOTHER) from error
    except Exception as error:  # a flipped bit in a pickle can lead torch to any exception
        raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that torch did not load: forbidden content or damage."""
    if isinstance(error, pickle.UnpicklingError) and (held := re.search(r"GLOBAL (\S+)", str(error))):
        what = f"the checkpoint holds more than tensors and plain values ({held[1]}); nothing of it was run"
        return ForeignError(what, where=str(path), hint=ANOTHER)
    reason = re.split(r"(?<=[a-z)])\. |\n", str(error))[0] or type(error).__name__  # torch adds advice
    return DamagedError(f"the checkpoint is damaged: {reason}", where=str(path), hint=ANOTHER)


def _check_archive(path: Path) -> None:
    """Raise BadZipFile for faults that torch ignores: wrong checksums, members declared as folders or too large."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED or member.external_attr for member in archive.infolist()):
            raise zipfile.BadZipFile("its members are not as they were written")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} does not match its checksum")


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Turn errors while the state from `path` is loaded into a CheckpointError with path and hint."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(error.what, where=error.where or str(path), hint=error.hint or ANOTHER) from error
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError, OverflowError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        what = f"the checkpoint does not fit this run: {reason}"
        raise CheckpointError(what, where=str(path), hint=ANOTHER) from error


def load_weights(model: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Load `weights` into `model`. Raises CheckpointError with the first different keys or shapes."""
    if differ := differences(model.state_dict(), weights):
        what = f"the checkpoint is of another model: {differ}"
        raise CheckpointError(what, where=where, hint="the --model-name and --dataset it was trained with")
    model.load_state_dict(weights)


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
    epoch = state["epoch"]
    if not is_count(epoch, most=MOST_EPOCHS):
        return f"epoch is {epoch!r}, it must be a whole number from 0"
    if why := history_objection(state["history"]):
        return f"history: {why}"
    if why := _losses(state["losses"]) if "losses" in state else "":
        return why
    last = state["history"][-1]["epoch"] if state["history"] else start
    if last != epoch:
        return f"history ends with epoch {last}, the checkpoint is of epoch {epoch}"
    return objection(state["best"], epoch)


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
