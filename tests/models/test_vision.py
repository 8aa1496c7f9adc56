"""Networks for charts: torchvision's own outputs for its own weights, any proportion, sizes as published, and no
signals."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers.commands import finish, launch
from helpers.data import ROOT, make_spec
from models import MODELS, VISION, get_model
from models.charts import vision
from models.charts.vision import MEAN, SD, resized
from toolbox.errors import UsageError

FOUR = ("SB", "AFIB", "GSVT", "SR")
# What torchvision's documentation states, with its 1,000 classes, and the inputs of the last layer.
PUBLISHED = {
    "resnet18": (11_689_512, 512),
    "resnet50": (25_557_032, 2048),
    "mobilenet_v3_small": (2_542_856, 1024),
    "mobilenet_v3_large": (5_483_032, 1280),
    "efficientnet_b0": (5_288_548, 1280),
    "efficientnet_b3": (12_233_232, 1536),
    "convnext_tiny": (28_589_128, 768),
    "convnext_base": (88_591_464, 1024),
    "vit_b_16": (86_567_656, 768),
}
QUICK = ("resnet18", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vit_b_16")  # one of each family
every_name = pytest.mark.parametrize("name", VISION)


@every_name
def test_it_has_the_published_number_of_parameters_but_for_the_last_layer(name: str) -> None:
    published, width = PUBLISHED[name]
    with torch.device("meta"):
        model = get_model(name, make_spec(classes=FOUR, image=(224, 224)))
    assert (
        sum(parameter.numel() for parameter in model.parameters()) == published - (width + 1) * 1000 + (width + 1) * 4
    )
    assert [child for child, _ in model.named_children()] == ["body", "head"]
    assert (model.head.in_features, model.head.out_features) == (width, 4)
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 4)


@pytest.mark.parametrize("name", QUICK)
def test_with_torchvisions_weights_it_says_what_torchvision_says(name: str) -> None:
    torch.manual_seed(0)
    theirs = vision.models().get_model(name).eval()
    ours = get_model(name, make_spec(classes=tuple(map(str, range(1000))), image=(224, 224))).eval()
    ours.body.load_state_dict(ours.fitted(theirs.state_dict()))
    last = theirs.get_submodule(ours.last)
    if name == "vit_b_16":
        nn.init.normal_(last.weight)  # it begins as zeros
    ours.head.load_state_dict(last.state_dict())
    x = torch.rand(1, 3, 224, 224)
    normal = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SD)[:, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(normal), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("image", [(64, 96), (71, 33)], ids=str)
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vit_b_16"])
def test_a_chart_of_any_proportion_passes_and_all_of_it_is_seen(name: str, image: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model, x = get_model(name, make_spec(classes=FOUR, image=image)).eval(), torch.rand(2, 3, *image).requires_grad_()
    logits = model(x)
    logits.square().sum().backward()
    assert logits.shape == (2, 4)
    assert x.grad.abs().sum((0, 1)).bool().all()


def test_positions_are_those_of_torchvision_for_square_pictures_and_keep_their_proportion() -> None:
    positions = torch.randn(1, 197, 8, generator=torch.Generator().manual_seed(0))
    interpolate = vision.models().vision_transformer.interpolate_embeddings
    theirs = interpolate(96, 16, {"encoder.pos_embedding": positions})["encoder.pos_embedding"]
    torch.testing.assert_close(resized(positions, (6, 6)), theirs)
    assert torch.equal(resized(positions, (14, 14)), positions)
    wide = resized(positions, (14, 27))
    assert wide.shape == (1, 1 + 14 * 27, 8)
    torch.testing.assert_close(wide[:, 1:].unflatten(1, (14, 27))[:, :, ::2], positions[:, 1:].unflatten(1, (14, 14)))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_pictures_are_kept_with_the_channels_last(name: str) -> None:
    model, seen = get_model(name, make_spec(image=(32, 32))), []
    first = next(part for part in model.modules() if isinstance(part, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.rand(2, 3, 32, 32))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert first.weight.is_contiguous(memory_format=torch.channels_last)


@every_name
def test_signals_are_refused_by_a_network_for_charts(name: str) -> None:
    with pytest.raises(
        UsageError, match=rf"{name} is a network for charts, the rows are signals \(tiny\)\. Try: --view chart"
    ):
        get_model(name, make_spec())


@pytest.mark.parametrize("name", [name for name in MODELS if name not in VISION])
def test_charts_are_refused_by_a_network_for_signals(name: str) -> None:
    with pytest.raises(
        UsageError, match=rf"{name} is a network for signals, the rows are charts \(tiny\).*--model-name resnet18"
    ):
        get_model(name, make_spec(image=(64, 64)))


def test_charts_that_are_too_small_are_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match="needs charts of 32 pixels or more a side, tiny has 31"):
        get_model("resnet18", make_spec(image=(64, 31)))


# Where torchvision is not installed

BARE = "import sys; sys.modules['torchvision'] = None; "


def without(code: str) -> object:
    """Run code in a process in which there is no torchvision."""
    return finish(launch("-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {BARE}{code}", script=None))


def test_nothing_but_its_networks_needs_torchvision() -> None:
    modules = "commander, trainer, commands.choices, commands.build, commands.evaluate, commands.predict, commands.data"
    helped = "exit = commander.main(['--help']) or commander.main(['--list', 'models'])"
    ended = without(f"import {modules}; {helped}; sys.exit(exit)")
    assert ended.code == 0, ended.err
    assert {"--help-all", *VISION} <= set(ended.out.split())


def test_what_to_install_is_said_in_a_line_where_torchvision_is_missing(tmp_path: Path) -> None:
    flags = ["--dataset", "synth_rhythms", "--view", "chart", "--short-run", "--chart-size", "64"]
    flags += ["--root-dir", str(tmp_path)]
    ended = without(f"import commander; sys.exit(commander.main({flags}))")
    assert ended.code == 6
    assert ended.err.strip().splitlines()[-1] == (
        "error: the package torchvision is not installed. Try: pip install -r requirements-vision.txt"
    )


def test_only_one_file_imports_torchvision() -> None:
    files = [*ROOT.glob("*.py"), *ROOT.glob("[clmst]*/**/*.py")]
    importing = [
        path.name for path in files if re.search(r"^\s*(import|from) torchvision\b", path.read_text(), re.MULTILINE)
    ]
    assert importing == ["vision.py"]


def test_an_import_that_works_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = sys.modules["torchvision"] if vision.models() else None
    monkeypatch.setattr(vision.LIBRARY, "define", None)  # would be called
    vision.models.cache_clear()
    assert vision.models() is imported.models


def test_dropout_hides_features_from_the_head_in_training_alone_and_adds_no_tensor() -> None:
    plain, hiding = (
        get_model("resnet18", make_spec(classes=FOUR, image=(32, 32)), dropout=part) for part in (0.0, 0.5)
    )
    assert plain.state_dict().keys() == hiding.state_dict().keys()
    hiding.load_state_dict(plain.state_dict())
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(plain.eval()(x), hiding.eval()(x))
        hiding.training = True  # its body is at rest, as with --train head
        features = hiding.body(((x - hiding.mean) / hiding.sd).contiguous(memory_format=torch.channels_last))
        torch.manual_seed(1)
        expected = hiding.head(torch.nn.functional.dropout(features, 0.5))
        torch.manual_seed(1)
        assert torch.equal(hiding(x), expected)
        assert not torch.equal(expected, plain(x))
    with pytest.raises(UsageError, match="dropout is 1, must be at least 0 and below 1"):
        get_model("resnet18", make_spec(classes=FOUR, image=(32, 32)), model_args="dropout=1")
