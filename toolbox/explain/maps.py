"""The last map that a network makes before it gives up where things are, and where in the row each of its cells lies.

    with FeatureMap(model, x) as seen:
        logits = model(x)
    seen.source                         # a tensor in the graph of the logits
    cells = seen.arranged(seen.source)  # (B, F, t) or (B, F, h, w)
    seen.spread(heat)                   # (B, t) -> (B, T), or (B, h, w) -> (B, H, W)

A map is of convolutions, or of the tokens that the last attention reads where that comes after them. The operations are
watched, not the modules alone: many networks add and rectify between modules.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from toolbox.errors import UsageError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
CLASS_TOKENS = ("token", "class_token", "cls_token")  # what a token that stands before the others is called


class FeatureMap(TorchFunctionMode):
    """Watches one forward pass of `model` over x (B, C, T) or (B, 3, H, W)."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__()
        if hasattr(model, "members"):
            what = "each member of a committee has a map of its own, and none is the committee's"
            raise UsageError(what, hint="--explain integrated-gradients")
        self.model, self.size, self.rows = model, x.shape[2:], len(x)
        self.map: Tensor | None = None
        self.tokens: Tensor | None = None
        self.convolved = self.pooling = False
        # Of every length that an axis has had: distance between cells and place of the first, in samples of the row.
        self.centres: list[dict[int, tuple[float, float]]] = [{length: (1.0, 0.0)} for length in self.size]
        self.handles: list[Any] = []

    def __enter__(self) -> "FeatureMap":
        for part in self.model.modules():
            if isinstance(part, CONVOLUTIONS + POOLS + ADAPTIVE):
                self.handles += [part.register_forward_pre_hook(self._entered), part.register_forward_hook(self._left)]
            elif type(part).__name__.endswith("Attention"):
                self.handles.append(part.register_forward_pre_hook(self._attended))
        return super().__enter__()

    def __exit__(self, *why: Any) -> None:
        super().__exit__(*why)
        for handle in self.handles:
            handle.remove()

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry out an operation, and keep its result where it is a map; a pooled one is coarser than it need be."""
        result = func(*args, **(kwargs or {}))
        if self.convolved and not self.pooling and isinstance(result, Tensor) and self._is_map(result):
            self.map = result
        return result

    def _is_map(self, result: Tensor) -> bool:
        several = result.dim() == len(self.size) + 2 and all(length > 1 for length in result.shape[2:])
        return several and len(result) == self.rows and result.requires_grad

    def _attended(self, part: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.tokens = inputs[0]

    def _entered(self, part: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.pooling = not isinstance(part, CONVOLUTIONS)

    def _left(self, part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Note where the cells of a convolution or a pooling lie."""
        self.pooling = False
        if isinstance(part, CONVOLUTIONS) and self._is_map(output):
            self.convolved, self.tokens, self.map = True, None, output
        if isinstance(part, ADAPTIVE):
            return
        for axis, known in enumerate(self.centres):
            if (before := known.get(inputs[0].shape[2 + axis])) is not None:
                step, first = before
                size, stride = _of(part.kernel_size, axis), _of(part.stride, axis)
                reach = _of(getattr(part, "dilation", 1), axis) * (size - 1) / 2
                ahead = 0 if part.padding == "same" else reach - _of(part.padding, axis)
                known[output.shape[2 + axis]] = (step * stride, first + step * ahead)

    @property
    def source(self) -> Tensor:
        """What was seen last: a map, or tokens (B, N, F). Raises UsageError for a network that has neither."""
        seen = self.map if self.tokens is None else self.tokens
        if seen is None:
            what = "Grad-CAM reads the map that a convolution or an attention makes, and this network makes none"
            raise UsageError(what, hint="--explain integrated-gradients")
        return seen

    def arranged(self, seen: Tensor) -> Tensor:
        """Tokens, or what has their shape, without the class token as (B, F, t) or (B, F, h, w); a map as it is."""
        if self.tokens is None:
            return seen
        if seen.dim() == 4:  # (B, h, w, F)
            return seen.permute(0, 3, 1, 2)
        if any(name.rpartition(".")[2] in CLASS_TOKENS for name, _ in self.model.named_parameters()):
            seen = seen[:, 1:]
        count = seen.shape[1]
        grid = [count]
        if len(self.size) == 2:
            height = round(math.sqrt(count * self.size[0] / self.size[1]))
            grid = [height, count // height]
        if math.prod(grid) != count:
            what = f"the {count} tokens of this network do not lie in a grid over the picture"
            raise UsageError(what, hint="--explain integrated-gradients")
        return seen.transpose(1, 2).unflatten(2, grid)

    def spread(self, heat: Tensor) -> Tensor:
        """Values of the cells, (B, t) or (B, h, w), between and around their centres: (B, T) or (B, H, W)."""
        for axis, (length, known) in enumerate(zip(self.size, self.centres, strict=True)):
            cells = heat.shape[1 + axis]
            patch = math.ceil(length / cells) if self.tokens is not None else length / cells
            step, first = known.get(cells, (patch, (patch - 1) / 2))
            place = ((torch.arange(length, device=heat.device) - first) / step).clamp(0, cells - 1)
            before = place.floor().long().clamp(max=max(cells - 2, 0))
            share = (place - before).view(-1, *[1] * (heat.dim() - 2 - axis))
            left, right = (heat.index_select(1 + axis, at.clamp(max=cells - 1)) for at in (before, before + 1))
            heat = left + share * (right - left)
        return heat


def _of(value: Any, axis: int) -> int:
    return value[axis] if isinstance(value, tuple) else value
