"""A checkpoint of the older tool (fv316/MAP583 on GitHub, "pytorch-ecg"): its weights under the names of this program's
networks.

    state_dict, epoch            what is taken
    exp_logger                   a pickled logger; of it only the flags of that run are read
    best_score, res_list         numpy scalars, and predictions a row; ignored

It holds no state of the optimizer. Nothing of the file is run: what its pickle names becomes a `Stub`, or the file is
refused.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolbox import checkpoints, files, fitting
from toolbox.errors import CheckpointError


class Stub:
    """Stands for a class or function that was pickled: keeps the state that came with it, and does nothing."""

    state: Any = None

    def __init__(self, *ignored: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _mapping(*ignored: Any) -> dict[Any, Any]:
    """A plain dict for a defaultdict."""
    return {}


STUBS = (
    "toolbox.logger.Experiment",
    *(f"toolbox.metrics.{kind}Meter" for kind in ("Average", "Sum", "Value", "Confusion")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.ndarray",
    "numpy.dtype",
    "builtins.dict",
)
KNOWN = [(Stub, name) for name in STUBS] + [(_mapping, "collections.defaultdict")]
RESNETS = {(1, 32): "resnet1d_10", (2, 32): "resnet1d_18", (1, 254): "resnet1d_v2_10", (2, 254): "resnet1d_v2_18"}
LSTMS = {layers: f"lstm_{layers}_flat" for layers in (1, 2, 3)}
PART = re.compile(r"(?:layer\d\.\d+\.)?[^.]*")
BLOCK = {"conv1": "conv1", "bn1": "norm1", "conv2": "conv2", "bn2": "norm2", "downsample": "shortcut"}


@dataclass(frozen=True)
class Legacy:
    """`network` by its name here, its `weights` under the names they have in it, the epochs done, and the older tool's
    flags."""

    network: str
    weights: dict[str, Tensor]
    classes: int
    epoch: int
    sha256: str
    flags: dict[str, Any]


def read(path: Path) -> Legacy:
    """What a file of the older tool holds; CheckpointError where it is damaged, of another tool, or of a network not
    here."""
    match checkpoints.read(path, known=KNOWN):
        case {"state_dict": dict(named), "epoch": int(following), **rest} if 1 < following < 2**31:
            flags = _flags(rest.get("exp_logger"))
        case _:
            raise _refused("it holds no state_dict with its epoch", path)
    tensors = {str(name).removeprefix("module."): tensor for name, tensor in named.items()}
    if why := _objection(tensors, flags):
        raise _refused(why, path)
    try:
        network, weights = next(family for name, family in FAMILIES.items() if name in tensors)(tensors)
        classes = weights["head.weight"].shape[0]
    except (LookupError, StopIteration) as error:
        some = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:3])
        raise _refused(f"its network is none that is known here, {len(tensors)} tensors: {some}, ...", path) from error
    return Legacy(network, weights, classes, following - 1, files.sha256(path), flags)


def _refused(why: str, path: Path) -> CheckpointError:
    return CheckpointError(
        f"the file cannot be imported: {why}",
        where=str(path),
        hint="another checkpoint of the older tool, or a new training",
    )


def _objection(tensors: dict[str, Any], flags: dict[str, Any]) -> str:
    """Why no network here can say the same with these tensors; empty where nothing speaks against it."""
    if not all(_is_whole(tensor) for tensor in tensors.values()):
        return "its state_dict holds more than whole tensors"
    if why := fitting.unsound(tensors):
        return f"its weights are not all finite, or not sound: {why}"
    if flags.get("masking"):
        return "it was trained with --masking, a mask beside the signal, which no network here takes"
    if "fc1.weight" in tensors and tensors.get("bn1.num_batches_tracked", torch.tensor(0)).any():
        return "its batch norm was used, which the older tool's cnn1d_3 never calls"
    return ""


def _is_whole(value: Any) -> bool:
    """Whether a value is a tensor with a stored number for each of its elements."""
    kept = isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"
    return kept and value.dtype in (torch.float32, torch.int64) and value.is_contiguous()


def _flags(logger: Any) -> dict[str, Any]:
    """The flags that the older tool's logger remembers; those that are plain values."""
    match logger:
        case Stub(state={"options": dict(options)}):
            return {str(name): value for name, value in options.items() if isinstance(value, bool | int | float | str)}
    return {}


def _renamed(tensors: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """Each tensor under the new name of its part of the network; LookupError for a part without one."""
    parts = {name: PART.match(name)[0] for name in tensors}
    return {names[part] + name.removeprefix(part): tensors[name] for name, part in parts.items()}


def _cnn1d(tensors: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """`cnn1d_3`. The older tool makes a batch norm there and never calls it: ours is set to change nothing."""
    norm = nn.BatchNorm1d(8)
    norm.running_var -= norm.eps
    names = {"conv1": "features.0", "conv2": "features.4", "fc1": "head"}
    used = {name: tensor for name, tensor in tensors.items() if not name.startswith("bn1.")}
    return "cnn1d_3", _renamed(used, names) | {
        f"features.1.{name}": tensor for name, tensor in norm.state_dict().items()
    }


def _resnet1d(tensors: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """`resnet1d_10`, `_18` and their v2: the same steps as here."""
    depth = sum(name.startswith("layer1.") and name.endswith(".conv1.weight") for name in tensors)
    names = {"conv1": "stem.0", "bn1": "stem.1", "fc": "head"}
    for place in range(4 * depth):
        group, block = divmod(place, depth)
        names |= {f"layer{group + 1}.{block}.{old}": f"groups.{place}.{new}" for old, new in BLOCK.items()}
    return RESNETS[depth, tensors["fc.weight"].shape[1]], _renamed(tensors, names)


def _lstm(tensors: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """`lstm_1`, `_2` and `_3` of the older tool see a beat as one step of 187 values, as `lstm_1_flat` does."""
    layers = sum(name.startswith("lstm.weight_ih_l") for name in tensors)
    return LSTMS[layers], _renamed(tensors, {"lstm": "cells", "fc": "head"})


# A tensor that only this family has.
FAMILIES = {"fc1.weight": _cnn1d, "layer1.0.conv1.weight": _resnet1d, "lstm.weight_ih_l0": _lstm}
