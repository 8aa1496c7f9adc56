"""Weights that torchvision publishes for its networks: fetched or read from a file, checked, and put into all but the
head.

They are kept where torch.hub keeps them, `$TORCH_HOME/hub/checkpoints` (~/.cache/torch without it), so that what any
program of this user has fetched is not fetched again; a transfer goes to a name of its own there, and nothing of one
that breaks is left.
"""

import logging
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from models.charts import vision
from models.charts.vision import Vision
from toolbox import files
from toolbox.errors import CheckpointError, DownloadError
from toolbox.runs import checkpoints, fitting

TIMEOUT_S = 30  # for a server that says nothing any more
LICENCE = (
    "BSD-3-Clause, of torchvision; learned on ImageNet-1K, whose pictures are for research and teaching without"
    " commerce"
)
COUNTERS = "num_batches_tracked"  # which older files lack, and nothing here reads
log = logging.getLogger("commander")


def load(model: nn.Module, path: Path | None = None) -> dict[str, Any]:
    """Put the weights in `path`, or torchvision's own, into a network of vision but for its head; what they are, for
    config.json.

    All members of a committee get the same. Raises DownloadError, and CheckpointError for a file that is not of this
    network.
    """
    networks = [part for part in model.modules() if isinstance(part, Vision)]
    network = networks[0]
    published = vision.models().get_model_weights(network.name)
    path = path or fetched(published.DEFAULT.url)
    sha256 = _sum(path)
    weights = _read(path, f"a copy of {published.DEFAULT.url}")
    own, fitted = network.body.state_dict(), network.fitted(weights)
    counters = {name: tensor for name, tensor in own.items() if name.endswith(COUNTERS)}
    if differ := checkpoints.differences(network.body, counters | fitted):
        hint = f"--weights-file with a copy of {published.DEFAULT.url}"
        raise CheckpointError(f"these are no weights of {network.name}: {differ}", where=str(path), hint=hint)
    for each in networks:
        each.body.load_state_dict(own | fitted)
    left = sorted(weights.keys() - fitted.keys())
    known = next((each for each in published if _prefix(each.url) and sha256.startswith(_prefix(each.url))), None)
    log.info("took %d of %d tensors from %s; begun anew: the head", len(fitted), len(weights), known or path.name)
    return {
        "weights": str(known) if known else None,
        "file": path.name,
        "sha256": sha256,
        "source": known.url if known else "a file of the user's",
        "licence": LICENCE if known else "not stated",
        "tensors_loaded": len(fitted),
        "tensors_left": left,
    }


def fetched(url: str) -> Path:
    """The file behind `url` in torch.hub's folder, fetched where it is not there: whole, and verified by the sum in its
    name."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    log.info("fetching %s into %s", url, path.parent)
    try:
        with _patience():
            torch.hub.download_url_to_file(url, str(path), _prefix(url), progress=sys.stderr.isatty())
    except (URLError, HTTPException, ConnectionError, TimeoutError, SSLError, RuntimeError) as error:
        hint = f"--weights-file with a copy of it, or a copy at {path}"
        raise DownloadError(f"cannot fetch {path.name}: {_reason(error)}", where=url, hint=hint) from error
    return path


def _read(path: Path, hint: str) -> dict[str, Tensor]:
    """Tensors by name; a CheckpointError for any other file."""
    try:
        weights = checkpoints.read(path)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=error.where, hint=hint) from error
    if not checkpoints.is_weights(weights):
        what = "the file is not a state dict: tensors by name, as torchvision publishes them"
        raise CheckpointError(what, where=str(path), hint=f"{hint}, or --pretrained for a run's")
    if why := fitting.unsound(weights):
        raise CheckpointError(f"these weights cannot be used: {why}", where=str(path), hint=hint)
    return weights


def _sum(path: Path) -> str:
    """The SHA-256 of a file, which begins as its name says, where it is called as those of torch.hub."""
    try:
        sha256 = files.sha256(path)
    except OSError as error:
        raise CheckpointError(
            f"the weights cannot be read: {error.strerror}", where=str(path), hint="another file"
        ) from error
    if not sha256.startswith(_prefix(path.name)):
        what = f"the file has the SHA-256 {sha256[:8]}..., by its name it is {_prefix(path.name)}..."
        raise CheckpointError(what, where=str(path), hint="fetch it again, this one is damaged or was changed")
    return sha256


def _prefix(name: str) -> str:
    """The beginning of the SHA-256 that a name of torch.hub has in it (resnet18-f37072fd.pth); "" without one."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    return found[1] if found else ""


@contextmanager
def _patience() -> Iterator[None]:
    """torch.hub waits for a server without end; this ends it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    if isinstance(error, RuntimeError):
        return "what came is not what was published; the transfer broke, or a page came in its place"
    return f"the server answers {error.code}" if hasattr(error, "code") else str(getattr(error, "reason", error))[:200]
