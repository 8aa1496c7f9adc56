"""S4D: the convolution is the recurrence of its states, both ways, in any number type, and for rows of any length."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from helpers.data import make_spec
from models import get_model
from models.signals.s4d import S4D, S4DLayer, StateSpace, fast_length
from toolbox.errors import UsageError

LEADS = make_spec(channels=12, samples=250)
every_space = pytest.mark.parametrize(
    ("start", "directions"), [(start, directions) for start in ("lin", "inv") for directions in (1, 2)]
)


def space(start: str = "lin", directions: int = 2, *, width: int = 3, states: int = 8) -> StateSpace:
    torch.manual_seed(0)
    return StateSpace(width, states, start=start, directions=directions).double()


def by_steps(part: StateSpace, x: Tensor, outputs: Tensor) -> Tensor:
    """y (B, T, H) of h <- exp(dt A) h + (exp(dt A) - 1) / A u, one sample after the other."""
    rates = -part.log_decay.exp() + 1j * part.frequency
    steps = torch.exp(part.log_step.exp()[:, None] * rates)
    c, state, found = torch.view_as_complex(outputs), torch.zeros(len(x), *rates.shape, dtype=torch.complex128), []
    for sample in x.unbind(1):
        state = steps * state + (steps - 1) / rates * sample[:, :, None]
        found.append(2 * (c * state).sum(2).real)
    return torch.stack(found, 1)


@every_space
def test_the_convolution_is_the_recurrence(start: str, directions: int) -> None:
    part, x = space(start, directions), torch.randn(2, 50, 3, dtype=torch.float64)
    expected = by_steps(part, x, part.output[0]) + part.skip * x
    if directions == 2:  # from the end, without the present sample
        expected[:, :-1] += by_steps(part, x.flip(1), part.output[1]).flip(1)[:, 1:]
    torch.testing.assert_close(part(x), expected, rtol=1e-12, atol=1e-12)


@every_space
def test_a_traced_network_computes_the_same_by_sums(start: str, directions: int) -> None:
    part, x = space(start, directions), torch.randn(2, 37, 3, dtype=torch.float64)
    with warnings.catch_warnings(action="ignore"):
        traced = torch.jit.trace(part, x)
    assert "fft" not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x), part(x), rtol=1e-12, atol=1e-12)


def test_the_states_begin_at_the_published_rates_and_steps() -> None:
    n = torch.arange(32, dtype=torch.float64)
    expected = {"lin": math.pi * n, "inv": 64 / math.pi * (64 / (2 * n + 1) - 1)}
    for start, frequency in expected.items():
        part = space(start, width=200, states=64)
        torch.testing.assert_close(part.frequency[7], frequency, rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(-part.log_decay.exp(), torch.full_like(part.log_decay, -0.5))
        assert 0.001 <= part.log_step.exp().min() < 0.002
        assert 0.05 < part.log_step.exp().max() <= 0.1
        assert part.output.square().sum(3).mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("directions", [1, 2])
def test_one_way_reads_no_later_sample_and_both_ways_every_one(directions: int) -> None:
    part, x = space(directions=directions), torch.randn(1, 20, 3, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(part(x)[0, 9].sum(), x)
    assert (grad[0, :10].abs() > 1e-9).all()
    assert (grad[0, 10:].abs() > 1e-9).all() if directions == 2 else (grad[0, 10:].abs() < 1e-12).all()


def test_under_autocast_the_states_stay_in_float32() -> None:
    part, x = space().float(), torch.randn(2, 40, 3)
    with torch.autocast("cpu", torch.bfloat16):
        halved = part(x.bfloat16())
    assert halved.dtype == torch.float32
    torch.testing.assert_close(halved, part(x.bfloat16().float()))
    with torch.autocast("cpu", torch.bfloat16):
        get_model("s4d", LEADS)(torch.randn(2, 12, 250)).sum().backward()


def test_a_transform_has_few_small_factors_and_is_at_most_a_quarter_longer() -> None:
    assert [fast_length(samples) for samples in (2, 374, 500, 2000, 18000)] == [2, 384, 512, 2048, 20480]
    for samples in range(2, 3000, 2):
        length = fast_length(samples)
        assert samples <= length <= 1.25 * samples
        assert length // (length & -length) in (1, 3, 5, 7)


def test_the_published_network_has_its_sizes() -> None:
    with torch.device("meta"):
        model = get_model("s4d_512", LEADS)
    counts = [sum(each.numel() for each in part.parameters()) for part in (model.embedding, *model.layers, model.head)]
    states = 512 * 4
    layer = 2 * 512 + 2 * states + 2 * 2 * states + 513 * 1024 + 2 * 512
    assert counts == [13 * 512, *4 * [layer], 513 * 5]
    assert [part.dropout.p for part in model.layers] == 4 * [0.2]


def test_every_parameter_learns_and_one_network_takes_rows_of_any_length() -> None:
    torch.manual_seed(0)
    model = S4D(LEADS, width=8, layers=2, dropout=0.0)
    torch.nn.functional.cross_entropy(model(torch.randn(3, 12, 100)), torch.arange(3)).backward()
    assert all(each.grad is not None and each.grad.abs().max() > 1e-9 for each in model.parameters())
    model.eval()
    for samples in (1000, 250, 33, 1):
        outputs = model(torch.randn(2, 12, samples))
        assert outputs.shape == (2, 5)
        assert outputs.isfinite().all()


def test_the_norm_is_the_last_of_a_layer_or_the_first() -> None:
    x = 5 + torch.randn(2, 30, 16)
    outputs = {}
    for prenorm in (False, True):
        torch.manual_seed(0)
        layer = S4DLayer(16, 8, start="lin", directions=2, dropout=0.2, prenorm=prenorm).eval()
        outputs[prenorm] = layer(x)
    torch.testing.assert_close(outputs[False].mean(2), torch.zeros(2, 30), rtol=0, atol=1e-5)
    assert outputs[True].mean() > 4
    torch.testing.assert_close(layer(x) - x, layer(x + 3) - x - 3)  # the path sees x without its height


def test_dropout_takes_whole_channels_of_a_row() -> None:
    torch.manual_seed(0)
    layer = S4DLayer(64, 8, start="lin", directions=1, dropout=0.2, prenorm=True)
    dropped = (layer._dropped(torch.ones(50, 9, 64)) == 0).float()
    assert (dropped.mean(1) == dropped[:, 0]).all()
    assert dropped.mean() == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ("states=7", "the number of states is 7, must be even"),
        ("start=legs", "unknown --model-args start 'legs'; known are lin, inv"),
    ],
)
def test_states_that_make_no_pairs_and_unknown_starts_are_refused(sizes: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        get_model("s4d", LEADS, model_args=sizes)
