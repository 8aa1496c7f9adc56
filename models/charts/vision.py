"""Networks that learned on photographs, for ECG charts: (B, 3, H, W) in [0, 1] -> logits (B, K), of torchvision by its
own names.

The last layer is replaced by `head`; everything before it is `body`, whose tensors are called as torchvision calls
them, so that its published weights fit. Pictures of any size and proportion pass.

The one place that imports torchvision, which is asked for when a network of it is built and not before.

With a torch for CPUs alone the compiled operators of the build that is on PyPI cannot be loaded, and the import ends
where torchvision describes two of them that torch then does not know. No network here uses them: they are declared, and
the import is tried again.
"""

import functools
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec
from toolbox.errors import UsageError

MISSING = "operator torchvision::nms does not exist"
OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # what is declared in it lasts as long as it is kept


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


MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, by which every one of these networks was fed
SMALLEST = 32  # pixels a side: some of them halve a picture five times
POSITIONS = "encoder.pos_embedding"


class Vision(nn.Module):
    """torchvision's network `name`, with random weights: pictures (B, 3, H, W) in [0, 1] -> logits (B, K).

    `dropout` is the part of the features that the head does not see in a training step, beside any that the network has
    itself. Raises UsageError for pictures that are too small.
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
            raise UsageError(f"dropout is {dropout:g}, must be from 0 on and below 1", hint="--model-args dropout=0.3")
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
        """Published `weights` as tensors of `body`: without the last layer, positions brought to the size of the
        pictures."""
        fitted = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{self.last}.")}
        if isinstance(self.body, Patches) and POSITIONS in fitted:
            fitted[POSITIONS] = resized(fitted[POSITIONS], self.body.grid)
        return fitted


class Patches(nn.Module):
    """A vision transformer of torchvision for pictures of another size and proportion, its tensors called as there.

    A picture is cut into squares from its upper left corner; its last column and row are repeated where the squares end
    beyond them. What each square's place adds is that of the square pictures which the network was made for,
    interpolated.
    """

    def __init__(self, network: Any, image: tuple[int, int]) -> None:
        super().__init__()
        self.side: int = network.patch_size
        self.grid = (-(-image[0] // self.side), -(-image[1] // self.side))
        self.conv_proj, self.class_token, self.encoder = network.conv_proj, network.class_token, network.encoder
        self.encoder.pos_embedding = nn.Parameter(resized(self.encoder.pos_embedding.detach(), self.grid))

    def forward(self, x: Tensor) -> Tensor:
        below, beside = (squares * self.side - length for squares, length in zip(self.grid, x.shape[2:], strict=True))
        x = self.conv_proj(F.pad(x, (0, beside, 0, below), mode="replicate"))  # (B, D, rows, columns)
        x = torch.cat(
            [self.class_token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], 1
        )  # (B, 1 + squares, D)
        return self.encoder(x)[:, 0]


def resized(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings (1, 1 + s * s, D) of s * s squares for `grid` (rows, columns) squares; the class token's is
    the first.

    Bicubic between the corners, as torchvision's `interpolate_embeddings` does it for square pictures.
    """
    token, places = positions[:, :1], positions[:, 1:]
    side = math.isqrt(places.shape[1])
    if grid == (side, side):
        return positions
    places = places.transpose(1, 2).unflatten(2, (side, side))
    places = F.interpolate(places, size=grid, mode="bicubic", align_corners=True)
    return torch.cat([token, places.flatten(2).transpose(1, 2)], 1)
