"""Checkpoints: tensors and plain values, saved whole or not at all, loaded without running any code."""

import errno
import io
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from toolbox import files
from toolbox.errors import CheckpointError
from toolbox.runs import fitting
from toolbox.runs.folder import BEST, EPOCH, LATEST, MOST_EPOCHS, RunFolder
from toolbox.schema import is_count

FORMAT = 1
KEEP_EVERY = 5
NUMBERS = ("format", "epoch")
ANOTHER = "another checkpoint: the best or an epoch that was kept"
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
    whole = isinstance(state, dict) and all(is_count(state.get(name), most=MOST_EPOCHS) for name in NUMBERS)
    if not (whole and is_weights(state.get("model"))):
        raise CheckpointError("the file is not a checkpoint of this program", where=str(path), hint="--resume latest")
    if why := fitting.unsound(state["model"]):
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
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in value.items())


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
        return CheckpointError(what, where=str(path), hint=ANOTHER)
    reason = str(error).split("\n")[0] or type(error).__name__
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


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Load `weights` into `model`. Raises CheckpointError with the first different keys or shapes."""
    if differ := differences(model, weights):
        what = f"the checkpoint is of another model: {differ}"
        raise CheckpointError(what, where=where, hint="the --model-name and --dataset it was trained with")
    model.load_state_dict(weights)


def differences(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> str:
    """The first three keys, shapes or types in which `weights` differ from `model`; "" if they fit."""
    return fitting.differences(model.state_dict(), weights)
