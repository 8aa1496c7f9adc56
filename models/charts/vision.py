"""torchvision's networks for ECG charts, (B, 3, H, W) in [0, 1] -> logits (B, K), and the weights published for them.

`head` replaces the last layer; `body` is everything before it, with torchvision's tensor names, so that the published
weights fit. Images may have any size and aspect ratio. Weights are stored in torch.hub's folder,
`$TORCH_HOME/hub/checkpoints` (default ~/.cache/torch), so that other programs of the user share them.

Only this module imports torchvision, when it builds a network. With a CPU-only torch, the compiled operators of
torchvision's PyPI build cannot be loaded, and its import fails at two operators unknown to torch. No network here uses
them, so they are declared and the import is repeated.
"""

import functools
import logging
import math
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from types import ModuleType
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec
from toolbox import files
from toolbox.errors import CheckpointError, DownloadError, UsageError
from toolbox.runs import checkpoints

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, the input normalisation of all these networks
SMALLEST = 32  # pixels a side: some networks halve an image five times
POSITIONS = "encoder.pos_embedding"
TIMEOUT_S = 30  # without any answer of the server
LICENCE = (
    "BSD-3-Clause, of torchvision; learned on ImageNet-1K, whose pictures are for research and teaching without"
    " commerce"
)
CITES = ("russakovsky2015",)  # of the published weights
COUNTERS = "num_batches_tracked"  # missing in older files; nothing here reads it
MISSING = "operator torchvision::nms does not exist"
OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # its declarations last as long as this object
log = logging.getLogger("commander")


@functools.cache
def models() -> ModuleType:
    """torchvision.models."""
    try:
        return _imported()
    except RuntimeError as error:
        if MISSING not in str(error):
            raise
    for name in OPERATORS:
        LIBRARY.define(f"{name}{SIGNATURE}")
    return _imported()


def _imported() -> ModuleType:
    import torchvision

    return torchvision.models


class Vision(nn.Module):
    """torchvision's network `name` with random weights: images (B, 3, H, W) in [0, 1] -> logits (B, K).

    `dropout` applies to the features before the head, in addition to the network's own. Raises UsageError for images
    below 32 pixels a side.
    """

    mean: Tensor  # (3, 1, 1)
    sd: Tensor

    def __init__(self, name: str, spec: DataSpec, *, dropout: float = 0.0) -> None:
        super().__init__()
        image = spec.image or (0, 0)
        if min(image) < SMALLEST:
            what = f"{name} needs charts of {SMALLEST} pixels or more a side, {spec.name} has {min(image)}"
            raise UsageError(what, hint="larger charts")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout is {dropout:g}, must be at least 0 and below 1", hint="--model-args dropout=0.3")
        network = models().get_model(name)
        self.name, self.last = name, [key for key, part in network.named_modules() if isinstance(part, nn.Linear)][-1]
        width = network.get_submodule(self.last).in_features
        network.set_submodule(self.last, nn.Identity())
        self.body = Patches(network, image) if hasattr(network, "conv_proj") else network
        self.dropout, self.head = dropout, nn.Linear(width, len(spec.classes))
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("sd", torch.tensor(SD).view(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W)
        x = ((x - self.mean) / self.sd).contiguous(memory_format=torch.channels_last)
        return self.head(F.dropout(self.body(x), self.dropout, self.training))  # (B, K)

    def fitted(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published `weights` as tensors of `body`: without the last layer, positions resized to the images."""
        fitted = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{self.last}.")}
        if isinstance(self.body, Patches) and POSITIONS in fitted:
            fitted[POSITIONS] = resized(fitted[POSITIONS], self.body.grid)
        return fitted


class Patches(nn.Module):
    """A torchvision vision transformer for images of another size and aspect ratio, with torchvision's tensor names.

    Squares are cut from the upper left corner; the last column and row are repeated to fill the last squares. Position
    embeddings are interpolated from the network's square images.
    """

    def __init__(self, network: Any, image: tuple[int, int]) -> None:
        super().__init__()
        self.side: int = network.patch_size
        self.grid = (-(-image[0] // self.side), -(-image[1] // self.side))
        self.conv_proj, self.class_token, self.encoder = network.conv_proj, network.class_token, network.encoder
        self.encoder.pos_embedding = nn.Parameter(resized(self.encoder.pos_embedding.detach(), self.grid))

    def forward(self, x: Tensor) -> Tensor:
        below, right = (squares * self.side - length for squares, length in zip(self.grid, x.shape[2:], strict=True))
        x = self.conv_proj(F.pad(x, (0, right, 0, below), mode="replicate"))  # (B, D, rows, columns)
        x = torch.cat(
            [self.class_token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], 1
        )  # (B, 1 + squares, D)
        return self.encoder(x)[:, 0]


def resized(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings (1, 1 + s * s, D) of s * s squares, for `grid` (rows, columns); the first is the token's.

    Bicubic with aligned corners, as torchvision's `interpolate_embeddings` for square images.
    """
    token, places = positions[:, :1], positions[:, 1:]
    side = math.isqrt(places.shape[1])
    if grid == (side, side):
        return positions
    places = places.transpose(1, 2).unflatten(2, (side, side))
    places = F.interpolate(places, size=grid, mode="bicubic", align_corners=True)
    return torch.cat([token, places.flatten(2).transpose(1, 2)], 1)


def load(model: nn.Module, path: Path | None = None) -> dict[str, Any]:
    """Load the weights in `path`, or torchvision's own, into all layers before the head; the entry for config.json.

    All members of a committee get the same. Raises DownloadError, and CheckpointError for a file of another network.
    """
    networks = [part for part in model.modules() if isinstance(part, Vision)]
    network = networks[0]
    published = models().get_model_weights(network.name)
    path = path or fetched(published.DEFAULT.url)
    sha256 = _sum(path)
    weights = _read(path, f"a copy of {published.DEFAULT.url}")
    own, fitted = network.body.state_dict(), network.fitted(weights)
    counters = {name: tensor for name, tensor in own.items() if name.endswith(COUNTERS)}
    if differ := checkpoints.differences(network.body.state_dict(), counters | fitted):
        hint = f"--weights-file with a copy of {published.DEFAULT.url}"
        raise CheckpointError(f"these are no weights of {network.name}: {differ}", where=str(path), hint=hint)
    for each in networks:
        each.body.load_state_dict(own | fitted)
    known = next((each for each in published if _prefix(each.url) and sha256.startswith(_prefix(each.url))), None)
    log.info("loaded %d of %d tensors from %s; reinitialised: the head", len(fitted), len(weights), known or path.name)
    return {
        "weights": str(known) if known else None,
        "file": path.name,
        "sha256": sha256,
        "source": known.url if known else "a file of the user's",
        "licence": LICENCE if known else "not stated",
        "tensors_loaded": len(fitted),
        "tensors_left": sorted(weights.keys() - fitted.keys()),
    }


def fetched(url: str) -> Path:
    """The file of `url` in torch.hub's folder, downloaded if missing and verified by the checksum in its name."""
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
    """Tensors by name. Raises CheckpointError for any other file."""
    try:
        weights = checkpoints.read(path)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=error.where, hint=hint) from error
    if not checkpoints.is_weights(weights):
        what = "the file is not a state dict: tensors by name, as torchvision publishes them"
        raise CheckpointError(what, where=str(path), hint=f"{hint}, or --pretrained for a run's")
    if why := checkpoints.unsound(weights):
        raise CheckpointError(f"these weights cannot be used: {why}", where=str(path), hint=hint)
    return weights


def _sum(path: Path) -> str:
    """The SHA-256 of a file. Raises CheckpointError if it differs from the prefix in a torch.hub file name."""
    try:
        sha256 = files.sha256(path)
    except OSError as error:
        what = f"the weights cannot be read: {error.strerror}"
        raise CheckpointError(what, where=str(path), hint="another file") from error
    if not sha256.startswith(_prefix(path.name)):
        what = f"the file has the SHA-256 {sha256[:8]}..., its name gives {_prefix(path.name)}..."
        raise CheckpointError(what, where=str(path), hint="download it again: this copy is damaged or was changed")
    return sha256


def _prefix(name: str) -> str:
    """The SHA-256 prefix in a torch.hub file name (resnet18-f37072fd.pth); "" without one."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    return found[1] if found else ""


@contextmanager
def _patience() -> Iterator[None]:
    """A timeout for torch.hub, which has none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    if isinstance(error, RuntimeError):
        return "the file differs from the published one; the transfer broke, or a page came in its place"
    return f"the server answers {error.code}" if hasattr(error, "code") else str(getattr(error, "reason", error))[:200]
