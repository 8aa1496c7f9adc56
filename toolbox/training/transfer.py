"""Initial weights from another run: tensors of equal name and shape are loaded, and may be frozen."""

import logging
from collections.abc import Callable, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from toolbox.errors import CheckpointError, UsageError
from toolbox.runs import checkpoints
from toolbox.runs.folder import BEST, CONFIG, RunFolder, nearest

IMAGENET = "imagenet"  # in place of a run: the published weights of a network
HEAD = "head."
NAMED = 5  # reinitialised tensors in the log, at most
log = logging.getLogger("commander")


def find(source: str, root: Path) -> Path:
    """The checkpoint of `source`: a file, or the best checkpoint of a run folder or of a run name below `root`."""
    path = Path(source)
    if path.is_file():
        return path
    is_name = path.name == source and source not in (".", "..")
    there = sorted(root.glob(f"*/runs/{escape(source)}")) if is_name else []
    folder = path if path.is_dir() else next(iter(there), None)
    if folder is None or not (folder / BEST).is_file():
        known = nearest(path.name, (found.parent.name for found in root.glob(f"*/runs/*/{BEST}")))
        what = f"unknown run or checkpoint {source}" if folder is None else f"the folder has no {BEST}"
        where, hint = str(root if folder is None else source), "--pretrained with a run, folder or file"
        raise CheckpointError(f"{what}; {known}", where=where, hint=hint)
    return folder / BEST


def load(model: nn.Module, path: Path, classes: Sequence[str]) -> dict[str, Any]:
    """Load the fitting tensors of the checkpoint at `path` into `model`; others stay. Returns the entry of config.json.

    The head of a run with other `classes` is not loaded, even if it has the same size. Raises CheckpointError for a
    checkpoint of another network: no tensor before the head fits.
    """
    state = checkpoints.load(path)
    own, weights = model.state_dict(), state["model"]
    if _classes(path.parent) not in (None, list(classes)):
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(HEAD)}
    taken = {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}
    if differ := checkpoints.differences({name: own[name] for name in taken}, taken):
        raise CheckpointError(f"its weights are of another type: {differ}", where=str(path), hint="another checkpoint")
    left = [f"{name} {_difference(own[name], weights.get(name))}" for name in own if name not in taken]
    if not any(name in taken for name, _ in model.named_parameters() if not name.startswith(HEAD)):
        what = f"none of its weights fits: {'; '.join(left[:NAMED])}"
        raise CheckpointError(what, where=str(path), hint="the --model-name it was trained with")
    model.load_state_dict(own | taken)
    checkpoint, epoch = f"{path.parent.name}/{path.name}", state["epoch"]
    log.info("loaded %d of %d tensors from %s, epoch %d", len(taken), len(own), checkpoint, epoch)
    if left:
        log.info("reinitialised: %s", "; ".join(left[:NAMED]) + ("; ..." if len(left) > NAMED else ""))
    return {"checkpoint": checkpoint, "epoch": epoch, "tensors_loaded": len(taken), "tensors_left": left}


def _difference(own: Tensor, other: Tensor | None) -> str:
    return "is its own" if other is None else f"is {tuple(other.shape)} there, {tuple(own.shape)} here"


def _classes(run: Path) -> list[str] | None:
    """The classes of the checkpoint's run; None if unknown."""
    try:
        return list(RunFolder(run).read_json(CONFIG)["data"]["classes"])
    except (CheckpointError, LookupError, TypeError):
        return None


def only_head(model: nn.Module, flag: str = "--train head") -> None:
    """Freeze everything but `model.head`."""
    head = _head(model, flag, hint="--train all")
    model.requires_grad_(False)
    head.requires_grad_(True)


def groups(model: nn.Module, backbone_lr: float | None) -> list[nn.Parameter] | list[dict[str, Any]]:
    """The trained parameters for an optimizer; with `backbone_lr` the head, then all before it at that rate."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if backbone_lr is None:
        return trained
    last = set(map(id, _head(model, "--backbone-lr", hint="leave it out").parameters()))
    head: dict[str, Any] = {"params": [each for each in trained if id(each) in last]}
    return [head, {"params": [each for each in trained if id(each) not in last], "lr": backbone_lr}]


def _head(model: nn.Module, flag: str, *, hint: str) -> nn.Module:
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Module):
        raise UsageError(f"{flag} is for a network with a head, this one has none", hint=hint)
    return head


PROBE = "probe"
TRAIN: Mapping[str, Callable[[nn.Module], Any]] = {
    "all": lambda model: None,
    "head": only_head,
    PROBE: lambda model: only_head(model, "--train probe"),
}
