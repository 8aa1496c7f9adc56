"""xresnet1d: the published sizes and initial weights, bottlenecks, pooling, and rows of any length."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from commands.check import networks
from helpers.data import make_spec
from models import FORMS, MODELS, get_model
from models.blocks import set_form
from models.signals.xresnet1d import DeepXResNet1d, XBlock
from toolbox.errors import UsageError

LEADS = make_spec(channels=12, samples=250)
SHALLOW = {"blocks": (1, 2), "widths": (8, 8)}


def layer(width: int, width_in: int, kernel: int) -> list[tuple[int, ...]]:
    """Shapes of a convolution without bias and of its batch norm."""
    return [(width, width_in, kernel), *norm(width)]


def norm(width: int) -> list[tuple[int, ...]]:
    return 4 * [(width,)] + [()]


def published(blocks: tuple[int, ...], channels: int, classes: int) -> Iterator[tuple[int, ...]]:
    """Shapes of the benchmark's network in the order of its state_dict, each once."""
    yield from layer(32, channels, 5) + layer(32, 32, 5) + layer(64, 32, 5)
    width_in = 64
    for _ in range(sum(blocks)):
        yield from layer(64, width_in, 1) + layer(64, 64, 5) + layer(256, 64, 1)
        yield from layer(256, width_in, 1) if width_in != 256 else []
        width_in = 256
    yield from [*norm(512), (128, 512), (128,), *norm(128), (classes, 128), (classes,)]


@pytest.mark.parametrize(
    ("name", "blocks", "parameters"),
    [("xresnet1d50", (3, 4, 6, 3), 953_989), ("xresnet1d101", (3, 4, 23, 3), 1_872_261)],
)
def test_the_state_has_the_published_shapes_in_their_order(name: str, blocks: tuple, parameters: int) -> None:
    with torch.device("meta"):
        model = get_model(name, LEADS)
    assert [tuple(tensor.shape) for tensor in model.state_dict().values()] == [*published(blocks, 12, 5)]
    assert sum(each.numel() for each in model.parameters()) == parameters
    assert [part.p for part in model.modules() if isinstance(part, nn.Dropout)] == [0.25, 0.5]


def test_the_initial_weights_are_those_of_the_benchmark() -> None:
    torch.manual_seed(0)
    for part in DeepXResNet1d(LEADS, blocks=(1, 1), widths=(64, 64)).modules():
        if isinstance(part, nn.Conv1d | nn.Linear):
            spread = (2 / part.weight[0].numel()) ** 0.5
            assert part.weight.std().item() == pytest.approx(spread, rel=0.1)
            assert part.bias is None or not part.bias.any()
        if isinstance(part, nn.BatchNorm1d):
            assert (part.weight == 1).all()
            assert not part.bias.any()


def test_every_group_but_the_first_halves_the_time_axis_after_a_stem_that_quarters_it() -> None:
    model = DeepXResNet1d(LEADS, **SHALLOW).eval()
    x = model.stem(torch.randn(2, 12, 1001))
    assert x.shape == (2, 64, 251)
    assert model.groups(x).shape == (2, 32, 126)


def test_a_bottleneck_strides_in_its_wide_kernel_and_averages_in_its_shortcut() -> None:
    block, x = XBlock(12, 8, 2, kernel=5, expansion=4).eval(), torch.randn(3, 12, 21)
    convolutions = [part for part in block.path if isinstance(part, nn.Conv1d)]
    assert [(each.kernel_size[0], each.stride[0], each.out_channels) for each in convolutions] == [
        (1, 1, 2), (5, 2, 2), (1, 1, 8)
    ]  # fmt: skip
    nn.init.zeros_(convolutions[-1].weight)
    average, projection, scale = block.shortcut
    pairs = torch.cat([x[:, :, :20].unflatten(2, (10, 2)).mean(3), x[:, :, 20:]], 2)  # the last sample alone
    torch.testing.assert_close(average(x), pairs)
    torch.testing.assert_close(block(x), scale(projection(pairs)).relu())


def test_the_head_reads_the_maximum_and_then_the_mean_of_rows_of_any_length() -> None:
    model, read = DeepXResNet1d(LEADS, **SHALLOW).eval(), []
    model.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    for samples in (1000, 250, 7, 1):
        x = torch.randn(2, 12, samples)
        outputs, features = model(x), model.groups(model.stem(x))
        assert outputs.shape == (2, 5)
        torch.testing.assert_close(read[-1], torch.cat([features.max(2).values, features.mean(2)], 1))


def test_both_forms_of_the_network_compute_the_same() -> None:
    """Deep ones multiply the rounding of each layer."""
    found, x = [], torch.randn(4, 12, 250, generator=torch.Generator().manual_seed(1))
    for form in FORMS:
        torch.manual_seed(0)
        model = DeepXResNet1d(LEADS, **SHALLOW, dropout=0.0)
        set_form(model, form)
        out = model(x)
        nn.functional.cross_entropy(out, torch.arange(4)).backward()
        gradients = [each.grad / each.grad.abs().max() for each in model.parameters()]
        found.append([out, *gradients, *model.buffers(), model.eval()(x)])
    torch.testing.assert_close(*found, rtol=1e-4, atol=3e-4)


def test_a_shallow_one_passes_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "shallow", replace(MODELS["xresnet1d50"], sizes=SHALLOW))
    for about, check in networks.checks("shallow").items():
        assert check("shallow") == "", about


def test_widths_that_are_not_one_a_group_are_refused() -> None:
    with pytest.raises(UsageError, match="4 widths and 2 blocks, must be one of each per group"):
        get_model("xresnet1d101", LEADS, model_args="blocks=1-1")
