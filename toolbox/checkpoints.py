"""Checkpoints: tensors and plain values, saved whole or not at all, loaded without running any code."""

import io
import logging
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from toolbox import files
from toolbox.errors import CheckpointError
from toolbox.runs import BEST, EPOCH, LATEST, RunFolder

FORMAT = 1
KEEP_EVERY = 5
log = logging.getLogger("commander")


class DamagedError(CheckpointError):
    """The bytes of a checkpoint are not those that were written."""


def save(run: RunFolder, state: dict[str, Any], *, is_best: bool, epoch_done: bool) -> None:
    """Write `state` as the latest checkpoint and, after a whole epoch, as every fifth and as the best where it is."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    names = [LATEST]
    if epoch_done and state["epoch"] % KEEP_EVERY == 0:
        names.append(EPOCH.format(state["epoch"]))
    if epoch_done and is_best:
        names.append(BEST)
    # The latest goes last: what it says was the best is then already on the disk.
    for name in reversed(names):
        files.write_whole(run / name, lambda file: file.write(buffer.getbuffer()))


def find(run: RunFolder, which: str) -> tuple[Path, dict[str, Any]]:
    """Path and state of the checkpoint "latest", "best" or of an epoch's number.

    A damaged latest is set aside as .corrupt and the newest sound one of the run taken, which is said; no other is replaced.
    """
    path = run / LATEST
    try:
        if which != "latest" or path.exists():
            path = run.checkpoint(which)
            return path, load(path)
    except DamagedError as error:
        if which != "latest":
            raise
        path.replace(path.with_name(f"{LATEST}.corrupt"))
        log.warning("%s; it is kept as %s.corrupt", error.what, LATEST)
    epochs = sorted(run.path.glob(EPOCH.format("*")), key=lambda path: (len(path.name), path.name), reverse=True)
    sound = [next(filter(None, map(_sound, epochs)), None), _sound(run / BEST)]
    if not any(sound):
        raise CheckpointError("no sound checkpoint is left of this run", where=str(run.path), hint="--version bump for a new run")
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
    """Read a checkpoint's state, to the CPU whatever it was made on; a damaged, foreign or newer file is a CheckpointError."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch reads past a wrong checksum, and past what calls itself a folder
            damaged = archive.testzip() or next((item.filename for item in archive.infolist() if item.external_attr), None)
            if damaged:
                raise zipfile.BadZipFile(f"{damaged} does not match its checksum")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "the checkpoint holds more than tensors and plain values, or is damaged; nothing of it was run",
            where=str(path),
            hint="a checkpoint of this program: --resume best or an epoch that was kept",
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint cannot be read: {error.strerror}", where=str(path), hint="--resume best"
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise DamagedError(
            f"the checkpoint is damaged: {reason}", where=str(path), hint="--resume latest, best or an epoch that was kept"
        ) from error
    if not isinstance(state, dict) or "model" not in state or not isinstance(state.get("format"), int):
        raise CheckpointError("the file is not a checkpoint of this program", where=str(path), hint="--resume latest")
    if state["format"] > FORMAT:
        raise CheckpointError(
            f"the checkpoint has format {state['format']}, this program reads up to {FORMAT}",
            where=str(path),
            hint="the version of the program that wrote it",
        )
    return state


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Put `weights` into `model`; the first keys or shapes that differ are named in the error."""
    own = model.state_dict()
    missing, extra = own.keys() - weights.keys(), weights.keys() - own.keys()
    shapes = [
        f"{key} is {tuple(weights[key].shape)}, the model has {tuple(own[key].shape)}"
        for key in own
        if key in weights and own[key].shape != weights[key].shape
    ]
    differ = shapes + [f"{key} is missing" for key in sorted(missing)] + [f"{key} is not in the model" for key in sorted(extra)]
    if differ:
        raise CheckpointError(
            f"the checkpoint is of another model: {'; '.join(differ[:3])}",
            where=where,
            hint="the --model-name and --dataset it was trained with",
        )
    model.load_state_dict(weights)
