"""Net1D: the published names and shapes, padding, channel weights, the added input, and rows of any length."""

import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.data import make_spec
from models import FORMS, get_model, parse_args
from models.blocks import set_form
from models.signals.net1d import Net1d, Net1dBlock, SameConv1d
from toolbox.errors import UsageError

LEADS = make_spec(channels=12, samples=250)
FOUNDER = "widths=64-160-160-400-400-1024-1024,blocks=2-2-2-3-3-4-4,stem=64,norm=false"
STAGES = tuple(zip((64, 160, 160, 400, 400, 1024, 1024), (2, 2, 2, 3, 3, 4, 4), strict=True))
# A name of the published network, and the one here.
NAMES = {
    r"^first_conv\.conv": "stem",
    r"^first_bn": "norm",
    r"^stage_list\.(\d+)\.block_list": r"stages.\1",
    r"\.bn(\d)": r".before\1.0",
    r"(conv\d)\.conv": r"\1",
    "se_fc1": "squeeze",
    "se_fc2": "excite",
    "^dense": "head",
}


def linear(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    statistics = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.num_batches_tracked": ()}
    return linear(name, width) | statistics


def published(channels: int, classes: int) -> Iterator[dict[str, tuple[int, ...]]]:
    """Names and shapes of ECGFounder's state_dict, in its order."""
    yield linear("first_conv.conv", 64, channels, 16) | norm("first_bn", 64)
    width_in = 64
    for stage, (width, blocks) in enumerate(STAGES):
        for number in range(blocks):
            block = f"stage_list.{stage}.block_list.{number}"
            yield norm(f"{block}.bn1", width_in) | linear(f"{block}.conv1.conv", width, width_in, 1)
            yield norm(f"{block}.bn2", width) | linear(f"{block}.conv2.conv", width, 16, 16)
            yield norm(f"{block}.bn3", width) | linear(f"{block}.conv3.conv", width, width, 1)
            yield linear(f"{block}.se_fc1", width // 2, width) | linear(f"{block}.se_fc2", width, width // 2)
            width_in = width
    yield linear("dense", classes, width_in)


def renamed(name: str) -> str:
    for there, here in NAMES.items():
        name = re.sub(there, here, name)
    return name


@pytest.mark.parametrize("norms", [False, True])
def test_every_tensor_of_the_published_network_has_its_place(*, norms: bool) -> None:
    with torch.device("meta"):
        sizes = FOUNDER.replace("norm=false", f"norm={norms}".lower())
        model = Net1d(LEADS, **parse_args("net1d", sizes))
    theirs = {renamed(name): shape for part in published(12, 5) for name, shape in part.items()}
    unused = [name for name in theirs if name.startswith("stages.0.0.before1") or (not norms and is_norm(name))]
    for name in unused:
        del theirs[name]
    assert [*theirs.items()] == [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    if not norms:
        assert sum(each.numel() for each in model.parameters()) == 30_604_021


def is_norm(name: str) -> bool:
    return name.startswith("norm.") or ".before" in name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("samples", "stride"), [(20, 1), (20, 2), (21, 2), (1, 2), (3, 3), (22, 3)])
def test_a_convolution_keeps_the_length_by_zeros_of_which_an_odd_one_comes_last(
    samples: int, stride: int, form: str
) -> None:
    layer, x = SameConv1d(4, 6, 16, stride, groups=2), torch.randn(3, 4, samples)
    set_form(layer, form)
    out = layer(x)
    assert out.shape == (3, 6, -(-samples // stride))
    wide = F.pad(x, (100, 100))
    before = ((out.shape[2] - 1) * stride + 16 - samples) // 2
    expected = F.conv1d(wide[:, :, 100 - before :], layer.weight, layer.bias, stride, groups=2)
    torch.testing.assert_close(out, expected[:, :, : out.shape[2]])


def block(width_in: int, width: int, stride: int = 2, **sizes: int) -> Net1dBlock:
    torch.manual_seed(0)
    facts = {"inner": width, "kernel": 5, "groups": 2} | sizes
    return Net1dBlock(width_in, width, stride, **facts, norm=True, dropout=0.0, first=False).eval()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("samples", [20, 21])
def test_the_largest_sample_of_each_stride_is_added_between_channels_of_zeros(samples: int, form: str) -> None:
    part, x = block(4, 7, inner=6), torch.randn(3, 4, samples)
    set_form(part, form)
    nn.init.zeros_(part.conv3.weight)
    nn.init.zeros_(part.conv3.bias)
    pairs = F.pad(x, (0, samples % 2)).unflatten(2, (-1, 2)).max(3).values  # a zero stands after an odd row
    torch.testing.assert_close(part(x), F.pad(pairs, (0, 0, 1, 2)))
    narrow = block(4, 2)
    set_form(narrow, form)
    nn.init.zeros_(narrow.conv3.weight)
    nn.init.zeros_(narrow.conv3.bias)
    torch.testing.assert_close(narrow(x), pairs[:, 1:3])


def test_the_means_of_a_row_weigh_its_channels() -> None:
    part, x = block(8, 8, 1), torch.randn(3, 8, 30)
    path = part.conv3(part.before3(part.conv2(part.before2(part.conv1(part.before1(x))))))
    means = path.mean(2)
    hidden = part.squeeze(means)
    weights = part.excite(hidden * hidden.sigmoid()).sigmoid()
    torch.testing.assert_close(part(x), x + path * weights[:, :, None])


def test_only_the_first_block_of_a_stage_strides_and_only_that_of_the_network_lacks_a_first_norm() -> None:
    model = Net1d(LEADS, widths=(16, 32), blocks=(2, 2), stem=8).eval()
    assert [[each.conv2.stride for each in stage] for stage in model.stages] == 2 * [[(2,), (1,)]]
    firsts = [isinstance(each.before1, nn.Identity) for stage in model.stages for each in stage]
    assert firsts == [True, False, False, False]
    assert [stage[0].conv2.groups for stage in model.stages] == [1, 2]
    assert model.stages(model.norm(model.stem(torch.randn(2, 12, 250)))).shape == (2, 32, 32)


def test_one_network_takes_rows_of_any_length() -> None:
    model = get_model("net1d", LEADS).eval()
    outputs: list[Tensor] = [model(torch.randn(2, 12, samples)) for samples in (1000, 250, 33, 1)]
    assert all(each.shape == (2, 5) and each.isfinite().all() for each in outputs)


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ("blocks=1-1", "5 widths and 2 blocks, must be one of each per stage"),
        ("widths=8,blocks=1", "a stage of width 8 and ratio 1 has 8 channels for 0 groups"),
        ("widths=32,blocks=1,ratio=0", "a stage of width 32 and ratio 0 has 0 channels for 2 groups"),
        (
            "widths=48,blocks=1,ratio=0.5,group_width=5",
            "a stage of width 48 and ratio 0.5 has 24 channels for 9 groups",
        ),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_named(sizes: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_model("net1d", LEADS, model_args=sizes)
    assert what in str(caught.value)
