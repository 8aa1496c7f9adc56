"""Networks as ONNX and safetensors: every registered one gives the same outputs there, for any number of rows."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.data import BIG, by_kind, make_spec, spec_for
from loaders.base import DataSpec
from models import CLASSIFIERS, MODELS, get_model
from toolbox.errors import CheckpointError, NumericsError, UsageError
from toolbox.metrics import cost
from toolbox.runs import exchange

pytest.importorskip("onnx", reason="requirements-export.txt")
pytest.importorskip("onnxruntime", reason="requirements-export.txt")
pytest.importorskip("safetensors", reason="requirements-export.txt")
NAMES = [pytest.param(name, marks=pytest.mark.soak) if name in BIG else name for name in MODELS]
FEATURES = ("rr_previous", "rr_next")


def built(spec: DataSpec, name: str, members: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return get_model(name, spec, members=members).eval()


def rows(spec: DataSpec) -> Callable[[int], list[Tensor]]:
    return lambda count: cost.inputs(spec, count)


def assert_equal_outputs(spec: DataSpec, name: str, members: int = 1) -> None:
    """ONNX of the network gives its outputs for one row and for another number of rows than the traced one."""
    model = built(spec, name, members)
    opened = exchange.OnnxNetwork(exchange.as_onnx(model, rows(spec), name), name)
    assert opened.misfit([tuple(each.shape[1:]) for each in cost.inputs(spec, 1)]) == ""
    with torch.inference_mode():
        for count in (1, 5):
            inputs = cost.inputs(spec, count)
            torch.testing.assert_close(opened(*inputs), model(*inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_network_gives_the_same_outputs_in_onnx(name: str) -> None:
    assert_equal_outputs(spec_for(name), name)


@pytest.mark.parametrize("name", by_kind(CLASSIFIERS))
def test_features_and_committees_are_part_of_the_network(name: str) -> None:
    assert_equal_outputs(replace(spec_for(name), features=FEATURES), name)
    if name in ("cnn1d_3", "gru_1"):
        assert_equal_outputs(spec_for(name), name, members=2)
        assert_equal_outputs(replace(spec_for(name), features=FEATURES), name, members=2)


@pytest.mark.parametrize("name", by_kind(MODELS))
def test_safetensors_have_every_tensor_bit_by_bit_and_load_into_a_new_network(name: str) -> None:
    spec = spec_for(name)
    model, other = built(spec, name), get_model(name, spec)
    content = exchange.as_safetensors(model, rows(spec), name)
    assert content == exchange.as_safetensors(model, rows(spec), name)
    other.load_state_dict(exchange.tensors_of(content, name))
    assert all(torch.equal(own, other.state_dict()[key]) for key, own in model.state_dict().items())


class Tried(nn.Module):
    """A user's network of one row form (B, 1, 9) with a given forward."""

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.give, self.weight = forward, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * self.give(x)


SMALL = make_spec(samples=9)
UNFIT = {
    "an operator that ONNX lacks": (lambda x: torch.fft.rfft(x).abs().sum(2), UsageError, "fft_rfft"),
    "a number of rows written into the network": (
        lambda x: torch.cat([torch.ones(len(x), 1), x[:, 0]], 1), UsageError, "onnxruntime cannot compute",
    ),
    "a path that depends on the number of rows": (lambda x: x.sum(2) * len(x), NumericsError, "for 1 rows"),
    "chance": (lambda x: x.sum(2) + torch.rand(1), NumericsError, "away"),
}  # fmt: skip


@pytest.mark.parametrize("why", UNFIT)
def test_a_network_that_onnx_computes_otherwise_is_refused_in_one_line(
    why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    forward, error, words = UNFIT[why]
    with pytest.raises(error, match=words) as caught:
        exchange.as_onnx(Tried(forward).eval(), rows(SMALL), "mine")
    assert "\n" not in str(caught.value)
    assert "mine" in str(caught.value)
    assert "--export safetensors" in str(caught.value)
    assert capfd.readouterr().out == ""  # stdout is for results


def test_bytes_that_are_no_network_are_refused() -> None:
    for content in (b"", b"no network", np.random.default_rng(0).bytes(1000)):
        with pytest.raises(CheckpointError, match="onnxruntime cannot open"):
            exchange.OnnxNetwork(content, "model.onnx")
        with pytest.raises(CheckpointError, match="the weights cannot be read"):
            exchange.tensors_of(content, "model.safetensors")


def test_weights_that_are_not_finite_are_refused() -> None:
    from safetensors.torch import save

    with pytest.raises(CheckpointError, match=r"head\.weight is not finite"):
        exchange.tensors_of(save({"head.weight": torch.tensor([float("nan")])}), "model.safetensors")
