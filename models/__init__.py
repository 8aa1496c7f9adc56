"""A name becomes a network sized by the data: (B, C, T) -> logits (B, K), or for detection (B, C, T) -> (B, C, T).

Those of VISION take charts (B, 3, H, W) in place of signals.

A new network is one file and one line here; it is then in --list models, in the README's table and in the tests.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from loaders.base import DataSpec
from models import arguments, contract
from models.charts.vision import VISION
from models.committee import Committee, Fused
from models.signals.autoencoder import ConvAutoencoder, LinearAutoencoder, LSTMAutoencoder
from models.signals.cnn1d import CNN1d
from models.signals.ecgformer import ECGFormer
from models.signals.inception1d import Inception1d
from models.signals.recurrent import Recurrent
from models.signals.resnet1d import ResNet1d
from models.signals.resnet1d_grid import ResNet1dGrid
from models.signals.xresnet1d import XResNet1d
from toolbox import yours
from toolbox.errors import UsageError
from toolbox.registry import pick

_V2 = (32, 64, 128, 254)

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "cnn1d_3": CNN1d,
    "resnet1d_10": partial(ResNet1d, blocks=(1, 1, 1, 1), widths=(32, 32, 32, 32)),
    "resnet1d_18": partial(ResNet1d, blocks=(2, 2, 2, 2), widths=(32, 32, 32, 32)),
    "resnet1d_v2": partial(ResNet1d, blocks=(2, 2, 2, 2), widths=_V2),
    "resnet1d_v2_10": partial(ResNet1d, blocks=(1, 1, 1, 1), widths=_V2),
    "resnet1d_v2_18": partial(ResNet1d, blocks=(2, 2, 2, 2), widths=_V2),
    **{
        f"{kind}_{layers}": partial(Recurrent, kind=kind, layers=layers)
        for kind in ("lstm", "gru")
        for layers in (1, 2, 3)
    },
    **{f"lstm_{layers}_flat": partial(Recurrent, kind="lstm", layers=layers, flat=True) for layers in (1, 2, 3)},
    "inception1d": Inception1d,
    "inception1d_small": partial(Inception1d, filters=8, depth=3, kernels=(19, 9, 5), bottleneck=8),
    "xresnet1d_10": partial(XResNet1d, blocks=(1, 1, 1, 1), widths=(32, 64, 128, 128)),
    "xresnet1d_18": partial(XResNet1d, blocks=(2, 2, 2, 2), widths=(32, 32, 64, 64)),
    "resnet1d_grid": ResNet1dGrid,
    "ecgformer": partial(ECGFormer, width=192, layers=6, heads=8),
    "ecgformer_small": partial(ECGFormer, width=96, layers=4, heads=6),
    "ecgformer_tiny": partial(ECGFormer, width=48, layers=3, heads=4, patch=3),
    "ecgformer_patch": partial(ECGFormer, width=96, layers=4, heads=6, patch=11),
    **VISION,
}
AUTOENCODERS = {"lstm_ae": LSTMAutoencoder, "conv_ae": ConvAutoencoder, "linear_ae": LinearAutoencoder}
MODELS: dict[str, Callable[..., nn.Module]] = {**CLASSIFIERS, **AUTOENCODERS}


def get_model(
    name: str, spec: DataSpec, *, model_args: str | None = None, members: int = 1, **choices: Any
) -> nn.Module:
    """Build the network called `name`, sized for the data `spec` describes; features join at its head.

    `choices` are keyword arguments of the network, `model_args` the same as typed (`arguments.parse`). Several
    `members` are a committee of such networks. Raises UsageError for what the network does not take, for charts where
    it takes signals or the other way round, and where such a network cannot be built.
    """
    if members > 1:
        return Committee(get_model(name, spec, model_args=model_args, **choices) for _ in range(members))
    choices |= parse_args(name, model_args)
    build = pick("model-name", MODELS, name)
    check_view(name, charts=spec.image is not None, where=spec.name)
    network = _tried(partial(build, spec, **choices), name, spec) if model_args else build(spec, **choices)
    if yours.is_yours(yours.source(type(network).forward)[0]):
        contract.check(network, name, spec, reconstructs=name in AUTOENCODERS)
    return Fused(network, len(spec.features), len(spec.classes)) if spec.features else network


def check_view(name: str, *, charts: bool, where: str = "") -> None:
    """Raise a UsageError where the network `name` is for charts and rows are none, or the other way round."""
    if name in VISION and not charts:
        raise UsageError(f"{name} is a network for charts, the rows are signals", where=where, hint="--view chart")
    if charts and name not in VISION:
        hint = f"--model-name {next(iter(VISION))}, or leave --view chart out"
        raise UsageError(f"{name} is a network for signals, the rows are charts", where=where, hint=hint)


def parse_args(name: str, text: str | None) -> dict[str, Any]:
    """The keyword arguments of the network `name` in the text of --model-args, of which there may be none."""
    return arguments.parse(name, pick("model-name", MODELS, name), text) if text else {}


def _tried(build: Callable[[], nn.Module], name: str, spec: DataSpec) -> nn.Module:
    """A network of sizes that somebody typed: whether they fit each other shows when a row passes through it."""
    try:
        network = build().eval()
        with torch.no_grad():
            network(torch.zeros(1, *spec.shape))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        what = f"{name} cannot be built with these --model-args, {type(error).__name__}: {str(error)[:200]}"
        raise UsageError(what, hint="sizes that fit each other") from error
    return network.train()
