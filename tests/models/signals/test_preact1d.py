"""The network with normalisation first: its shapes, what passes a block unchanged, and the two readings of time."""

import pytest
import torch

from helpers.data import make_spec
from models import get_model, parse_args
from models.signals.preact1d import PreactBlock
from toolbox.errors import UsageError


def test_a_block_that_adds_nothing_passes_its_averaged_input() -> None:
    block = PreactBlock(4, 4, 2, kernel=7, dropout=0.2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(3, 4, 51)
    out = block(x)
    assert out.shape == (3, 4, 26)
    torch.testing.assert_close(out[..., :25], x[..., :50].unflatten(2, (25, 2)).mean(3))
    torch.testing.assert_close(out[..., 25], x[..., 50])


def test_stem_and_all_blocks_but_the_first_halve_the_time_axis() -> None:
    network = get_model("preact1d", make_spec(samples=3000)).eval()
    out, lengths = network.stem(torch.randn(2, 1, 3000)), []
    for block in network.blocks:
        lengths.append(out.shape[2])
        out = block(out)
    assert [*lengths, out.shape[2]] == [1500, 1500, 750, 375, 188, 94, 47]
    assert out.shape[1] == 240


def test_the_head_sees_one_moment_that_the_mean_hardly_shows() -> None:
    torch.manual_seed(0)
    network = get_model("preact1d", make_spec(samples=3000)).eval()
    seen: list[torch.Tensor] = []
    network.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.zeros(2, 1, 3000)
    x[1, 0, 1500] = 50.0
    with torch.inference_mode():
        network(x)
    mean, highest = (seen[0][1] - seen[0][0]).abs().chunk(2)
    assert highest.max() > 5 * mean.max()


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match="the kernel has 8 samples, must be an odd number"):
        get_model("preact1d", make_spec(), model_args="kernel=8")
    assert parse_args("preact1d", "widths=8-16,kernel=3") == {"widths": (8, 16), "kernel": 3}
