"""The transformers: attention by its formula, tokens that are patches of samples, and an order that matters."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from helpers.data import make_spec
from models import PLAIN, get_model
from models.signals.ecgformer import Attention, ECGFormer

small = partial(ECGFormer, width=16, layers=2, heads=2)
SLOW = pytest.param("ecgformer", marks=pytest.mark.soak)
every_kind = pytest.mark.parametrize("name", ["ecgformer_tiny", "ecgformer_patch", SLOW])


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def by_the_formula(attention: Attention, x: Tensor) -> Tensor:
    """softmax(q k' / sqrt(d)) v, one head after the other."""
    heads = []
    for q, k, v in zip(*(part.chunk(attention.heads, 2) for part in attention.qkv(x).chunk(3, 2)), strict=True):
        heads.append((q @ k.transpose(1, 2) / q.shape[2] ** 0.5).softmax(2) @ v)
    return attention.proj(torch.cat(heads, 2))


def test_attention_is_scaled_before_the_softmax_in_each_head() -> None:
    torch.manual_seed(0)
    attention, x = Attention(24, 3, dropout=0.5).eval(), 3 * torch.randn(4, 7, 24)
    torch.testing.assert_close(attention(x), by_the_formula(attention, x))


def test_every_part_of_the_published_network_has_its_size() -> None:
    with torch.device("meta"):
        model = get_model("ecgformer", make_spec())
    parts = [model.token.numel(), model.position.numel(), *map(parameters, (model.embedding, model.head, model))]
    assert parts == [192, 36_096, 768, 38_405, 2_744_645]
    assert [parameters(layer) for layer in model.layers] == 6 * [444_864]


def test_attention_drops_no_weights_but_in_the_plain_form() -> None:
    attention, x = Attention(24, 3, dropout=0.5), torch.randn(4, 7, 24)
    torch.testing.assert_close(attention(x), by_the_formula(attention, x))
    attention.form = PLAIN
    assert not torch.allclose(attention(x), by_the_formula(attention, x), atol=1e-3)


@every_kind
def test_only_training_is_random_and_a_tenth_is_dropped_everywhere(name: str) -> None:
    torch.manual_seed(0)
    model, x = get_model(name, make_spec(samples=60)), torch.randn(2, 1, 60)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    dropped = [part.p for part in model.modules() if isinstance(part, nn.Dropout)]
    assert set(dropped) == {part.dropout for part in model.modules() if isinstance(part, Attention)} == {0.1}


@pytest.mark.parametrize(
    ("samples", "patch", "tokens"), [(187, 1, 187), (187, 11, 17), (188, 11, 18), (250, 11, 23), (5, 11, 1)]
)
def test_a_token_is_a_patch_and_zeros_fill_up_the_last(samples: int, patch: int, tokens: int) -> None:
    torch.manual_seed(0)
    model = small(make_spec(channels=2, samples=samples), patch=patch).eval()
    assert model.position.shape == (tokens + 1, 16)
    filled = small(make_spec(channels=2, samples=tokens * patch), patch=patch).eval()
    filled.load_state_dict(model.state_dict())
    x = torch.randn(3, 2, samples)
    torch.testing.assert_close(model(x), filled(nn.functional.pad(x, (0, tokens * patch - samples))))


@every_kind
def test_every_sample_its_place_and_its_height_reach_the_output(name: str) -> None:
    torch.manual_seed(0)
    model, x = get_model(name, make_spec(channels=2, samples=40)).eval(), torch.randn(1, 2, 40, requires_grad=True)
    (grad,) = torch.autograd.grad(model(x)[0, 0], x)
    assert (grad != 0).all()
    model, x = get_model(name, make_spec(samples=66)).eval(), torch.randn(1, 1, 66)
    heights = torch.linspace(0.1, 1, 5)[:, None, None] * torch.ones(5, 66, model.patch)
    tokens = model.embedding(heights)
    assert (tokens[1:] - tokens[:-1]).abs().mean() > 0.01, "the first norm removes the height of a beat"
    other = torch.cat([x[:, :, 33:], x[:, :, :33]], 2)  # whole patches of 1, 3 and 11
    assert not torch.allclose(model(x), model(other), atol=1e-4)
    with torch.no_grad():
        model.position.zero_()
    torch.testing.assert_close(model(x), model(other), rtol=1e-3, atol=1e-5)
