"""Attribution methods by name: (model, inputs, target) -> attribution of x's shape.

    explain = pick("explain", EXPLAINERS, "integrated-gradients")
    attribution = explain(prepared(model), [x], target)        # x (B, C, T) or (B, 3, H, W), target (B,), a class a row

`inputs` are the network's inputs: x and, if it takes them, features (B, F), which stay fixed. A method explains the
logit of `target`. `blank` is a row without signal, of x's shape; `window` is the size of an occlusion, (samples,) or
(height, width) in pixels.
"""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from toolbox.errors import UsageError

STEPS, STEPS_OF_PICTURES = (32, 128, 512), (32, 128)  # of the path of integrated gradients, raised until complete
COMPLETE, LEAST = 0.005, 0.1  # largest relative error of the attributions' sum; smallest logit difference for it
MOST_VALUES = 2**19  # of the rows in one pass of the network
COVERED = 16, 7  # a window is one 16th of a row, one 7th of an image's side
RECTIFIERS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6)
OTHERS = (
    *(F.gelu, F.silu, F.hardswish, F.hardsigmoid, F.mish, F.elu, F.selu, F.celu, F.leaky_relu, F.prelu, F.softplus),
    F.hardtanh,
    *(torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.tanh, Tensor.tanh, F.tanh, torch.lstm, torch.gru, torch.rnn_tanh),
    *(F.scaled_dot_product_attention, F.multi_head_attention_forward),
)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
CLASS_TOKENS = ("token", "class_token", "cls_token")  # parameter names of a token before the others


def prepared(model: nn.Module) -> nn.Module:
    """A copy for attribution: in evaluation mode, without gradients of weights and in-place operations.

    Recurrent cells are in training mode, as cuDNN needs for a gradient; without dropout the outputs are the same.
    """
    model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    for part in model.modules():
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]
        if isinstance(part, nn.RNNBase):
            part.dropout = 0.0
            part.train()
    return model


def inside(x: Tensor) -> Tensor:
    """Which samples (B, 1, T) of x (B, C, T) are not zero padding before or after the signal."""
    there = (x != 0).any(1, keepdim=True).int()
    return (there.cummax(2).values & there.flip(2).cummax(2).values.flip(2)).bool()


def blank(x: Tensor) -> Tensor:
    """Rows without signal: each lead's median in x (B, C, T), with its padding zeros; for a chart, white paper."""
    if x.dim() == 4:
        return torch.ones_like(x)
    within = inside(x)
    median = x.masked_fill(~within, math.nan).nanmedian(2, keepdim=True).values.nan_to_num()
    return median * within


def saliency(
    model: nn.Module, inputs: Sequence[Tensor], target: Tensor, *, blank: Tensor | None = None, window: Any = None
) -> Tensor:
    """The size of the logit's gradient at each sample, |d logit / d x| (Simonyan et al., ICLR workshop 2014)."""
    x, features = _leaf(inputs)
    return captum().Saliency(model).attribute(x, target=target, additional_forward_args=features)


def integrated_gradients(
    model: nn.Module, inputs: Sequence[Tensor], target: Tensor, *, blank: Tensor | None = None, window: Any = None
) -> Tensor:
    """The contributions of the samples on the way from the blank row to x, which sum to the difference of the logits
    (Sundararajan et al. 2017).

    Rows with an error of the sum above half a percent get a path with more steps.
    """
    x, features = _leaf(inputs)
    baseline, method = _blank(x, blank), captum().IntegratedGradients(model)
    attribution, rows = torch.zeros_like(x), torch.arange(len(x), device=x.device)
    for steps in STEPS if x.dim() == 3 else STEPS_OF_PICTURES:
        some = tuple(each[rows] for each in features or ()) or None
        attribution[rows], missed = method.attribute(
            x.detach()[rows],
            baseline[rows],
            target=target[rows],
            additional_forward_args=some,
            n_steps=steps,
            internal_batch_size=max(_at_once(x), len(rows)),
            return_convergence_delta=True,
        )
        whole = attribution[rows].flatten(1).sum(1) - missed
        rows = rows[missed.abs() > COMPLETE * whole.abs().clamp(min=LEAST)]
        if not len(rows):
            break
    return attribution.detach()


def occlusion(
    model: nn.Module, inputs: Sequence[Tensor], target: Tensor, *, blank: Tensor | None = None, window: Any = None
) -> Tensor:
    """How far the logit falls where a window of one lead, or of the picture, is blank (Zeiler & Fergus, ECCV 2014)."""
    x, features = _leaf(inputs)
    picture = x.dim() == 4
    sizes = window or tuple(max(1, length // COVERED[picture]) for length in x.shape[2:])
    covered = (3 if picture else 1, *sizes)
    strides = (covered[0], *(max(1, size // (2 if picture else 3)) for size in sizes))
    with torch.no_grad():
        return (
            captum()
            .Occlusion(model)
            .attribute(
                x.detach(),
                sliding_window_shapes=covered,
                strides=strides,
                baselines=_blank(x, blank),
                target=target,
                additional_forward_args=features,
                perturbations_per_eval=max(1, _at_once(x) // len(x)),
            )
        )


def gradcam(
    model: nn.Module, inputs: Sequence[Tensor], target: Tensor, *, blank: Tensor | None = None, window: Any = None
) -> Tensor:
    """The evidence of the last map for the class: its channels weighted by their mean gradients, rectified (Selvaraju
    et al., ICCV 2017).

    The map is the same for all leads, or colours. Raises UsageError for a network without a map.
    """
    x, features = _leaf(inputs)
    with FeatureMap(model, x) as seen:
        logits = model(x, *(features or ()))
    (gradient,) = torch.autograd.grad(_chosen(logits, target), seen.source)
    cells, gradient = seen.arranged(seen.source.detach()), seen.arranged(gradient)
    weight = gradient.flatten(2).mean(2)
    heat = torch.einsum("bf,bf...->b...", weight, cells).relu()
    return seen.spread(heat)[:, None].expand_as(x).clone()


def guided_gradcam(
    model: nn.Module, inputs: Sequence[Tensor], target: Tensor, *, blank: Tensor | None = None, window: Any = None
) -> Tensor:
    """Guided backpropagation where Grad-CAM is warm, both of the same class (Selvaraju et al., ICCV 2017).

    Raises UsageError for a network without a map, and for a network with other units than rectifiers.
    """
    return guided(model, inputs, target) * gradcam(model, inputs, target)


def guided(model: nn.Module, inputs: Sequence[Tensor], target: Tensor) -> Tensor:
    """The gradient that is positive all the way through rectifiers (Springenberg et al., ICLR workshop 2015)."""
    x, features = _leaf(inputs)
    with _Guided():
        logits = model(x, *(features or ()))
    return torch.autograd.grad(_chosen(logits, target), x)[0]


class FeatureMap(TorchFunctionMode):
    """The last feature map of a network before global pooling, and the positions of its cells in the row.

        with FeatureMap(model, x) as seen:  # x (B, C, T) or (B, 3, H, W)
            logits = model(x)
        seen.source                         # a tensor in the graph of the logits
        cells = seen.arranged(seen.source)  # (B, F, t) or (B, F, h, w)
        seen.spread(heat)                   # (B, t) -> (B, T), or (B, h, w) -> (B, H, W)

    A map comes from convolutions, or from the input tokens of the last attention if that comes later. It watches
    operations, not only modules, because many networks add and rectify between modules.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__()
        if hasattr(model, "members"):
            what = "Grad-CAM cannot explain a committee: each member has its own map"
            raise UsageError(what, hint="--explain integrated-gradients")
        self.model, self.size, self.rows = model, x.shape[2:], len(x)
        self.map: Tensor | None = None
        self.tokens: Tensor | None = None
        self.convolved = self.pooling = False
        # For every length of an axis so far: distance between cells and position of the first, in samples of the row.
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
        """Run an operation and keep its result if it is a map; results of pooling are skipped as too coarse."""
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
        """Record the positions of the cells of a convolution or a pooling."""
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
        """The last map, or tokens (B, N, F). Raises UsageError for a network without either."""
        seen = self.map if self.tokens is None else self.tokens
        if seen is None:
            what = "Grad-CAM needs the map of a convolution or an attention, and this network has none"
            raise UsageError(what, hint="--explain integrated-gradients")
        return seen

    def arranged(self, seen: Tensor) -> Tensor:
        """Tokens or their gradients without the class token, as (B, F, t) or (B, F, h, w); a map stays as it is."""
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
            what = f"the {count} tokens of this network form no grid over the image"
            raise UsageError(what, hint="--explain integrated-gradients")
        return seen.transpose(1, 2).unflatten(2, grid)

    def spread(self, heat: Tensor) -> Tensor:
        """Values of cells (B, t) or (B, h, w), interpolated between their centres: (B, T) or (B, H, W)."""
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


class _Guided(TorchFunctionMode):
    """Passes only positive gradients back through rectifiers. Raises UsageError for any other unit."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in OTHERS:
            name = getattr(func, "__name__", "another unit")
            what = f"guided backpropagation is defined for networks of rectifiers (ReLU), this one has {name}"
            raise UsageError(what, hint="--explain integrated-gradients, or gradcam where it has a map")
        if func not in RECTIFIERS:
            return func(*args, **(kwargs or {}))
        result = F.relu6(args[0]) if func is F.relu6 else F.relu(args[0])
        if result.requires_grad:
            result.register_hook(lambda gradient: gradient.clamp(min=0))
        return result


EXPLAINERS: dict[str, Callable[..., Tensor]] = {
    "gradcam": gradcam,
    "guided-gradcam": guided_gradcam,
    "integrated-gradients": integrated_gradients,
    "saliency": saliency,
    "occlusion": occlusion,
}


def told(name: str) -> str:
    """The first paragraph of a method's docstring, as one line."""
    return " ".join((EXPLAINERS[name].__doc__ or "").partition("\n\n")[0].split())


def check(name: str) -> None:
    """Raise ModuleNotFoundError if the method's package is not installed."""
    if EXPLAINERS[name] in (saliency, integrated_gradients, occlusion):
        captum()


def captum() -> Any:
    """captum's attributions, imported without its warnings."""
    with warnings.catch_warnings(action="ignore"):
        import captum.attr as attributions
    return attributions


def _leaf(inputs: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...] | None]:
    x, *features = inputs
    return x.detach().clone().requires_grad_(), tuple(features) or None


def _blank(x: Tensor, given: Tensor | None) -> Tensor:
    return blank(x.detach()) if given is None else given


def _at_once(x: Tensor) -> int:
    return MOST_VALUES // max(1, x[0].numel())


def _chosen(logits: Tensor, target: Tensor) -> Tensor:
    return logits.gather(1, target[:, None]).sum()
