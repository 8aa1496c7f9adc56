"""Layers in two forms: the same network to rounding, in outputs, gradients, statistics and names of parameters."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.data import by_kind, make_spec
from loaders.base import Data
from models import FORMS, LEAN, MODELS, PLAIN, VISION, blocks, get_model
from models.signals.ecgformer import Attention

OF_TORCH = ("signals.recurrent", "signals.autoencoder", "signals.s4d")  # networks of torch's layers alone
DEEP = ("signals.xresnet1d:DeepXResNet1d",)  # rounding grows with the depth: test_xresnet1d.py compares a shallow one
LAYERED = [name for name, net in MODELS.items() if name not in VISION and not net.target.startswith(OF_TORCH + DEEP)]
LAYERS = {
    "convolution": lambda: blocks.Conv1d(3, 5, 5, padding=2),
    "with stride, dilation and groups": lambda: blocks.Conv1d(4, 6, 3, 2, 3, 2, groups=2),
    "of one sample": lambda: blocks.Conv1d(3, 5, 1),
    "of one sample, with stride": lambda: blocks.Conv1d(3, 5, 1, 2, bias=False),
    "of one channel": lambda: blocks.Conv1d(1, 5, 7),
    "padded by name": lambda: blocks.Conv1d(3, 5, 3, padding="same"),
    "padded by circles": lambda: blocks.Conv1d(3, 5, 3, padding=1, padding_mode="circular"),
    "batch norm": lambda: blocks.BatchNorm1d(3),
    "batch norm of features": lambda: blocks.InnerNorm1d(3),
    "batch norm, no parameters": lambda: blocks.BatchNorm1d(3, affine=False),
    "batch norm, no statistics": lambda: blocks.BatchNorm1d(3, track_running_stats=False),
    "batch norm, mean of all batches": lambda: blocks.BatchNorm1d(3, momentum=None),
    "maximum": lambda: blocks.MaxPool1d(3, 2, 1),
    "maximum, rounded up": lambda: blocks.MaxPool1d((2,), ceil_mode=True),
    "mean": lambda: blocks.AvgPool1d(2, ceil_mode=True, count_include_pad=False),
}


def rows_of(layer: nn.Module, samples: int = 41) -> Tensor:
    channels = getattr(layer, "in_channels", 3)
    return torch.randn(4, channels, samples, generator=torch.Generator().manual_seed(1)) + 0.5


def in_form(name: str, form: str) -> nn.Module:
    """The network with seeded weights and without dropout."""
    torch.manual_seed(0)
    model = get_model(name, make_spec(), form=form)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, Attention):
            part.dropout = 0.0
    return model


@pytest.mark.parametrize("name", by_kind(LAYERED))
def test_both_forms_of_a_network_compute_the_same(name: str, tiny: Data) -> None:
    lean, plain = in_form(name, LEAN), in_form(name, PLAIN)
    assert [*lean.state_dict()] == [*plain.state_dict()]
    x, y = torch.from_numpy(tiny.train.x), torch.from_numpy(tiny.train.y)
    torch.testing.assert_close(lean.eval()(x[:32]), plain.eval()(x[:32]), rtol=0, atol=1e-6)
    steps: list[list[float]] = []
    for model in (lean.train(), plain.train()):
        optimizer = torch.optim.SGD(model.parameters(), 1e-4)
        losses = []
        for rows in torch.arange(150).split(15):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        steps.append(losses)
    torch.testing.assert_close(*steps, rtol=0, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("what", LAYERS)
def test_both_forms_of_a_layer_have_the_same_outputs_gradients_and_statistics(what: str, *, training: bool) -> None:
    found = []
    for form in FORMS:
        torch.manual_seed(0)
        layer = LAYERS[what]().train(training)
        blocks.set_form(layer, form)
        x = rows_of(layer).requires_grad_()
        out = layer(x)
        out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(2)))
        found.append([out, x.grad, *(each.grad for each in layer.parameters()), *layer.buffers()])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def test_the_statistics_of_a_long_batch_are_as_exact_as_torchs_own() -> None:
    x = torch.randn(256, 2, 2000, generator=torch.Generator().manual_seed(0)) + 3
    norm = blocks.BatchNorm1d(2, momentum=1.0)
    out = norm(x)
    exact = x.double()
    torch.testing.assert_close(norm.running_mean.double(), exact.mean((0, 2)), rtol=1e-6, atol=0)
    torch.testing.assert_close(norm.running_var.double(), exact.var((0, 2)), rtol=2e-6, atol=0)
    assert (out.double() - F.batch_norm(exact, None, None, training=True)).abs().max() < 5e-6


@pytest.mark.parametrize("form", FORMS)
def test_a_norm_adds_and_rectifies_as_separate_steps_would(form: str) -> None:
    norm, x, plus = blocks.BatchNorm1d(3), torch.randn(4, 3, 20), torch.randn(4, 3, 20, requires_grad=True)
    norm.form = form
    together = norm(x, plus, rectify=True)
    apart = F.relu(norm(x) + plus)
    torch.testing.assert_close(together, apart)
    wanted = [*norm.parameters(), plus]
    of = partial(torch.autograd.grad, inputs=wanted, grad_outputs=torch.ones_like(apart))
    torch.testing.assert_close(of(together), of(apart))


def test_a_lean_layer_returns_rows_with_the_channels_side_by_side_and_copies_none() -> None:
    rows = blocks.Conv1d(1, 4, 3)(torch.randn(2, 1, 30))
    for layer in (blocks.BatchNorm1d(4), blocks.MaxPool1d(2), blocks.AvgPool1d(2), blocks.Conv1d(4, 4, 1)):
        assert (rows.stride(1), rows.dim()) == (1, 3)
        assert blocks._wide(rows).data_ptr() == rows.data_ptr()
        rows = layer(rows)
    joined = blocks.Join()([rows, rows])
    assert joined.stride(1) == 1
    torch.testing.assert_close(joined, torch.cat([rows, rows], 1))


@pytest.mark.parametrize("x", [torch.randn(3, 20), torch.randn(2, 3, 20, dtype=torch.float64), torch.randn(0, 3, 20)])
def test_other_rows_pass_as_through_torchs_layers(x: Tensor) -> None:
    torch.manual_seed(0)
    layer = blocks.Conv1d(3, 4, 3).to(x.dtype)
    torch.testing.assert_close(layer(x), F.conv1d(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-6)


def test_dropout_by_random_bits_zeroes_its_share_scales_the_rest_and_follows_the_seed() -> None:
    layer, x = blocks.Dropout(0.1), torch.ones(64, 50, 101)
    torch.manual_seed(0)
    out = layer(x)
    share = (out == 0).float().mean().item()
    assert share == pytest.approx(0.1, abs=4 * (0.09 / x.numel()) ** 0.5)
    torch.testing.assert_close(out[out != 0].unique(), torch.tensor([1 / 0.9]), rtol=2e-5, atol=0)
    torch.manual_seed(0)
    assert torch.equal(layer(x), out)
    assert not torch.equal(layer(x), out)
    assert layer.eval()(x) is x or torch.equal(layer(x), x)
    assert layer.train()(x.bfloat16()).dtype == torch.bfloat16
