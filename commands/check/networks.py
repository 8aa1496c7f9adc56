"""Checks of a network by its name: its outputs, its gradients, and its weights.

NETWORK["gives logits"]("resnet1d_10")      the fault, "" without one
"""

import copy
import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from loaders.base import DataSpec
from models import AUTOENCODERS, VISION, get_model
from toolbox.errors import UsageError
from toolbox.metrics import cost

LENGTHS = (2, 32, 33)
PICTURE = (64, 96)
CLASSES = 5


def spec_of(name: str, *, channels: int = 1, samples: int = 187, classes: int = CLASSES) -> DataSpec:
    """Facts of data that the network `name` takes: beats, or small charts."""
    leads, names = (tuple(f"{word}{k}" for k in range(count)) for word, count in (("lead", channels), ("c", classes)))
    image = PICTURE if name in VISION else None
    facts = ("check", "beat", channels, samples, 125.0, "mV", leads, names, (1.0,) * classes, "drawn", "none", "none")
    return DataSpec(*facts, image=image)


def _built(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """The network with seeded weights and without dropout, and a batch for it."""
    torch.manual_seed(seed)
    spec = spec_of(name)
    model = get_model(name, spec)
    for part in model.modules():
        if hasattr(part, "p"):
            part.p = 0.0  # type: ignore[assignment]
    return model, torch.randn(3, *spec.shape, generator=torch.Generator().manual_seed(1))


def _expected(name: str, spec: DataSpec, rows: int) -> tuple[int, ...]:
    return (rows, *spec.shape) if name in AUTOENCODERS else (rows, len(spec.classes))


def outputs_of_any_data(name: str) -> str:
    """Rows of one lead or two, of another length and of two classes give outputs of the right shape."""
    few = {} if name in VISION else {"channels": 2}
    for facts in ({}, few, {"samples": 250}, {"classes": 2}):
        spec = spec_of(name, **facts)
        outputs = get_model(name, spec)(torch.randn(3, *spec.shape))
        if tuple(outputs.shape) != _expected(name, spec, 3):
            return f"the outputs of {spec.shape} are {tuple(outputs.shape)}, not {_expected(name, spec, 3)}"
        if not outputs.isfinite().all():
            return f"the outputs of {spec.shape} are not finite"
    return ""


def rows_of_any_length(name: str) -> str:
    """Short rows give outputs, or the network refuses their length with a UsageError."""
    for samples in (*LENGTHS, *range(34, 50 if name in AUTOENCODERS else 34)):
        spec = spec_of(name, samples=samples)
        try:
            outputs = get_model(name, spec).eval()(torch.randn(2, *spec.shape))
        except UsageError:
            continue
        if tuple(outputs.shape) != _expected(name, spec, 2) or not outputs.isfinite().all():
            return f"the outputs of rows of {samples} samples are {tuple(outputs.shape)}, or not finite"
    return ""


def logits(name: str) -> str:
    """The outputs of a classifier are neither probabilities nor their logarithms: the losses apply softmax."""
    model, x = _built(name)
    found, one = model(100 * x), torch.ones(3)
    if not (found < 0).any() or torch.allclose(found.sum(1), one, atol=0.01):
        return "the outputs are probabilities, they must be logits, without softmax or sigmoid"
    return "the outputs are log-probabilities" if torch.allclose(found.exp().sum(1), one, atol=0.01) else ""


def gradients(name: str, idle: Callable[[str], bool] = lambda key: False) -> str:
    """Every parameter has a finite gradient, and every weight that is not `idle` one that is not zero."""
    model, x = _built(name)
    outputs, labels = model(x), torch.arange(3)
    (outputs.square().mean() if name in AUTOENCODERS else nn.functional.cross_entropy(outputs, labels)).backward()
    for key, parameter in model.named_parameters():
        if parameter.grad is None or not parameter.grad.isfinite().all():
            return f"{key} has {'no' if parameter.grad is None else 'an infinite'} gradient"
        if "weight" in key and not idle(key) and not parameter.grad.any():
            return f"the gradient of {key} is 0"
    return ""


def any_batch(name: str) -> str:
    """In a test the outputs of a row are the same alone, and among other rows in any order."""
    model, x = _built(name)
    model.eval()
    together = model(x)
    same = partial(torch.allclose, rtol=1e-4, atol=1e-5)
    if not same(together[1:2], model(x[1:2])) or not same(model(x.flip(0)), together.flip(0)):
        return "the outputs of a row depend on the other rows of its batch"
    return ""


def restored(name: str) -> str:
    """Equal seeds give equal weights; the state_dict of one network makes another, and a copy, the same."""
    (model, x), (twin, _), (other, _) = _built(name), _built(name), _built(name, seed=1)
    state = model.state_dict()
    if any(not torch.equal(state[key], value) for key, value in twin.state_dict().items()):
        return "the initial weights differ between two networks of the same seed"
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    expected = model.eval()(x)
    for what, network in (("a copy", copy.deepcopy(model)), ("the network with a stored state_dict", other)):
        if not torch.allclose(network.eval()(x), expected, rtol=1e-5, atol=1e-6):
            return f"{what} has other outputs"
    return ""


def features_at_head(name: str) -> str:
    """Features of a row join the samples at the part called head."""
    torch.manual_seed(0)
    spec = replace(spec_of(name, samples=61), features=("one", "two"))
    model, x, features = get_model(name, spec), torch.randn(4, *spec.shape), torch.rand(4, 2)
    model(x, features).sum().backward()
    if lost := [key for key, parameter in model.named_parameters() if parameter.grad is None]:
        return f"with features {lost[0]} has no gradient"
    model.eval()
    with_features = model(x, features)
    if tuple(with_features.shape) != (4, CLASSES):
        return f"with features the outputs are {tuple(with_features.shape)}"
    if torch.equal(with_features, model(x, features + 1)) or torch.equal(with_features, model(x.flip(-1), features)):
        return "the outputs do not depend on the samples and the features"
    return ""


def work(name: str) -> str:
    """Parameters and multiply-accumulates can be counted."""
    counts = cost.size_and_work(_built(name)[0].eval(), spec_of(name))
    empty = [what for what in ("parameters", "macs") if not counts[what]]
    return f"it has no {empty[0]}" if empty else ""


OF_CLASSIFIERS: dict[str, Callable[[str], str]] = {
    "gives logits": logits,
    "reads features at its head": features_at_head,
}
OF_SIGNALS: dict[str, Callable[[str], str]] = {"takes rows of any length, or refuses them": rows_of_any_length}
NETWORK: dict[str, Callable[[str], str]] = {
    "gives finite outputs for any data": outputs_of_any_data,
    "passes a gradient to every parameter": gradients,
    "gives a row the same outputs in any batch": any_batch,
    "is restored from its weights": restored,
    "has a countable cost": work,
}


def checks(name: str) -> dict[str, Callable[[str], str]]:
    """The checks that go with the task and the view of a network."""
    return NETWORK | ({} if name in VISION else OF_SIGNALS) | ({} if name in AUTOENCODERS else OF_CLASSIFIERS)
