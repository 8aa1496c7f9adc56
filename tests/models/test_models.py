"""Every network: outputs of the right shape for any data, a gradient in every parameter, the published sizes.

Networks for charts get small pictures; what is theirs alone is in test_vision.py.
"""

import functools

import pytest
import torch
from torch import nn

from helpers.data import BIG, make_spec, spec_for
from loaders.base import last_sample
from models import AUTOENCODERS, CLASSIFIERS, MODELS, VISION, Network, get_model
from toolbox.errors import UsageError

SPECS = {
    "beats": make_spec(),
    "two leads": make_spec(channels=2),
    "250 samples": make_spec(samples=250),
    "two classes": make_spec(classes=("normal", "abnormal")),
}
PARAMETERS = {
    "cnn1d_3": 4_789,
    "resnet1d_10": 45_381,
    "resnet1d_18": 87_109,
    "resnet1d_v2": 1_560_059,
    "resnet1d_v2_10": 696_991,
    "resnet1d_v2_18": 1_560_059,
    "lstm_1_flat": 116_105,
    "lstm_2_flat": 196_905,
    "lstm_3_flat": 277_705,
    "ecgformer": 2_744_645,
}
SIZES_AT_140 = {"lstm_ae": 249_473, "encoder": 116_736, "decoder": 132_737}
QUICK = [name for name in MODELS if name not in BIG]
ON_SIGNALS = [name for name in CLASSIFIERS if name not in VISION]
SEQUENTIAL = [name for name in CLASSIFIERS if name.startswith(("lstm", "gru")) and not name.endswith("flat")]


def build(name: str, spec: str = "beats") -> tuple[nn.Module, torch.Tensor]:
    """The network with seeded weights, and a batch for it."""
    if name in VISION:
        model, x = pictured(name)
        model.train().zero_grad()
        return model, x
    torch.manual_seed(0)
    facts = SPECS[spec]
    return get_model(name, facts), torch.randn(3, facts.channels, facts.samples)


@functools.cache  # of some the weights alone take seconds
def pictured(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network for charts from which nothing drops out, and a batch for it."""
    torch.manual_seed(0)
    model = get_model(name, spec_for(name))
    for part in model.modules():
        if hasattr(part, "p"):
            part.p = 0.0
    return model, torch.rand(3, 3, 64, 96)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", ON_SIGNALS)
def test_it_gives_a_row_of_logits_for_a_row_of_any_data(name: str, spec: str) -> None:
    model, x = build(name, spec)
    logits = model(x)
    assert logits.shape == (3, len(SPECS[spec].classes))
    assert logits.isfinite().all()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", AUTOENCODERS)
def test_an_autoencoder_gives_a_row_for_a_row_of_any_data(name: str, spec: str) -> None:
    model, x = build(name, spec)
    assert model(x).shape == x.shape
    assert model(x).isfinite().all()


@pytest.mark.parametrize("samples", range(33, 50))
@pytest.mark.parametrize("name", AUTOENCODERS)
def test_an_autoencoder_gives_as_many_samples_as_it_got(name: str, samples: int) -> None:
    assert get_model(name, make_spec(samples=samples)).eval()(torch.randn(2, 1, samples)).shape == (2, 1, samples)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name in QUICK])
def test_it_ends_in_logits_and_not_in_probabilities(name: str) -> None:
    model, x = build(name)
    logits = model(100 * x)
    assert (logits < 0).any()
    assert not torch.allclose(logits.sum(1), torch.ones(3), atol=0.01)
    assert not torch.allclose(logits.exp().sum(1), torch.ones(3), atol=0.01)


@pytest.mark.parametrize("name", QUICK)
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    model, x = build(name)
    outputs = model(x)
    loss = (
        outputs.square().mean()
        if name in AUTOENCODERS
        else nn.functional.cross_entropy(outputs, torch.tensor([0, 1, 2]))
    )
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # A flat row is one step from a state of zeros, and a norm takes away the bias before it.
        if "weight" in key and not (name.endswith("flat") and "weight_hh" in key):
            assert parameter.grad.any(), key


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_published_number_of_parameters(name: str) -> None:
    model, _ = build(name)
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == PARAMETERS[name]


def test_the_lstm_autoencoder_has_the_published_number_of_parameters() -> None:
    model = get_model("lstm_ae", make_spec(samples=140))
    parts = {"lstm_ae": model, "encoder": model.encoder, "decoder": model.decoder}
    assert {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()} == SIZES_AT_140


@pytest.mark.parametrize("name", QUICK)
def test_what_is_said_of_a_row_does_not_depend_on_the_batch(name: str) -> None:
    model, x = build(name)
    model.eval()
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x.flip(0)), model(x).flip(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_padding_after_a_beat_changes_nothing(name: str) -> None:
    long, x = build(name)
    short = get_model(name, make_spec(samples=120))
    short.load_state_dict(long.state_dict())
    x[:, :, 100:] = 0
    torch.testing.assert_close(long(x), short(x[:, :, :120]))
    torch.testing.assert_close(long(x), long(x[:, :, :100]))


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_every_sample_of_a_beat_counts(name: str) -> None:
    model, x = build(name)
    x[:, :, 10:] = 0
    for sample in (0, 5, 9):
        other = x.clone()
        other[:, :, sample] += 1
        assert not torch.allclose(model(x), model(other), atol=1e-6)


def test_the_last_sample_is_that_of_the_longest_lead_and_the_first_of_an_empty_row() -> None:
    x = torch.zeros(4, 2, 8)
    x[0, 0, 3] = x[0, 1, 5] = 1  # the second lead is longer
    x[1, 0, 7] = -1
    x[2, 0, 0] = 1
    assert last_sample(x).tolist() == [5, 7, 0, 0]


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_an_empty_row_has_finite_logits(name: str) -> None:
    model, x = build(name)
    assert model(torch.zeros_like(x)).isfinite().all()


@pytest.mark.parametrize("samples", [2, 32, 33])
@pytest.mark.parametrize("name", [*ON_SIGNALS, *AUTOENCODERS])
def test_rows_too_short_for_a_network_are_refused_in_a_line(name: str, samples: int) -> None:
    if name == "cnn1d_3" and samples < 33:
        with pytest.raises(UsageError, match=f"rows of 33 samples or more, tiny has {samples}"):
            get_model(name, make_spec(samples=samples))
        return
    assert get_model(name, make_spec(samples=samples)).eval()(torch.randn(2, 1, samples)).isfinite().all()


@pytest.mark.parametrize("target", ["signals.cnn2d:CNN1d", "signals.cnn1d:CNN2d"])
def test_a_declaration_of_what_does_not_exist_is_named(target: str) -> None:
    with pytest.raises(UsageError, match=r"models/__init__\.py names CNN.d, missing in models/signals/cnn.d\.py"):
        _ = Network(target, "a network that was moved").build
