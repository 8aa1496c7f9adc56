"""Published weights: every tensor of an encoder has a published one of equal shape, and nothing else is loaded."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import commands
from commands import choices
from loaders.base import DataSpec
from models import ENCODERS, NETWORKS, get_model
from models.encoders import ecgfounder, published
from models.encoders.contract import TWELVE
from models.encoders.encoder import Encoder
from toolbox.errors import CheckpointError, UsageError
from toolbox.reports import citations

SPEC = DataSpec("check", "record", 12, 1000, 100.0, "mV", TWELVE, ("a", "b", "c"), (1.0,) * 3, "drawn", "none", "none")
ONE = replace(SPEC, channels=1, leads=("II",))
# Some tensors by the names and shapes of the publishers' code.
FOUNDER = {
    "first_conv.conv.weight": (64, 12, 16),
    "stage_list.0.block_list.0.conv1.conv.weight": (64, 64, 1),
    "stage_list.0.block_list.1.conv2.conv.weight": (64, 16, 16),
    "stage_list.3.block_list.2.se_fc1.weight": (200, 400),
    "stage_list.6.block_list.3.se_fc2.bias": (1024,),
    "stage_list.6.block_list.0.conv3.conv.bias": (1024,),
}
CODEC = {
    "conv_tok.weight": (128, 1, 20),
    "pos_enc": (1, 512, 128),
    "lower_norms.3.bias": (128,),
    "upper_transformer.layers.3.self_attn.in_proj_weight": (384, 128),
    "upper_transformer.layers.0.linear1.weight": (256, 128),
    "refine.2.weight": (128, 128, 5),
}


def network(name: str) -> Encoder:
    model = get_model(name, SPEC if ENCODERS[name].contract.leads else ONE)  # type: ignore[union-attr]
    assert isinstance(model, Encoder)
    return model.eval()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """ECGFounder with narrow stages."""
    monkeypatch.setattr(ecgfounder, "WIDTHS", (16, 32))
    monkeypatch.setattr(ecgfounder, "BLOCKS", (1, 2))
    monkeypatch.setattr(ecgfounder, "STEM", 16)


def state(model: Encoder) -> dict[str, Tensor]:
    """Random weights under their published names, with tensors that have no place here."""
    own = {model.names(name): torch.randn_like(each) if each.is_floating_point() else each
           for name, each in model.body.state_dict().items()}  # fmt: skip
    return own | {f"{model.unused[0]}weight": torch.zeros(2, 2)}


def written(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


@pytest.mark.parametrize(("name", "shapes"), [("ecgfounder", FOUNDER), ("openecg", CODEC)])
def test_names_and_shapes_are_the_published_ones(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        model = network(name)
    there = {model.names(own): tuple(each.shape) for own, each in model.body.state_dict().items()}
    assert {each: there.get(each) for each in shapes} == shapes
    if name == "ecgfounder":
        assert sum(each.numel() for each in model.body.parameters()) + 1025 * 5 == 30_604_021


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("around", ["bare", "nested", "wrapped"])
def test_every_tensor_is_loaded_from_a_file_of_the_publisher(name: str, around: str, tmp_path: Path) -> None:
    model = network(name)
    there = state(model)
    value = {"bare": there, "nested": {"epoch": 3, "state_dict": there},
             "wrapped": {f"module.{key}": each for key, each in there.items()}}[around]  # fmt: skip
    before = model.head.weight.clone()
    entry = published.load(model, written(tmp_path / "weights.pth", value))
    assert entry["tensors_loaded"] == len(there) - 1
    assert len(entry["sha256"]) == 64
    for own, each in model.body.state_dict().items():
        assert torch.equal(each, there[model.names(own)]), own
    assert torch.equal(model.head.weight, before)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ENCODERS)
def test_other_weights_are_refused_and_nothing_of_them_is_taken(name: str, tmp_path: Path) -> None:
    model = network(name)
    before = {key: each.clone() for key, each in model.body.state_dict().items()}
    there = state(model)
    first = next(key for key, each in there.items() if each.dim() > 1)
    faults = {
        f"{first} is missing": {key: each for key, each in there.items() if key != first},
        f"{first} is (3, 3), must be": there | {first: torch.zeros(3, 3)},
        "strange.weight has no place here": there | {"strange.weight": torch.zeros(1)},
        "its weights cannot be used": there | {first: torch.full_like(there[first], torch.nan)},
        "holds no tensors by name": {"epoch": 3},
    }
    for why, value in faults.items():
        with pytest.raises(CheckpointError) as error:
            published.load(model, written(tmp_path / "weights.pth", value))
        assert why in error.value.what
    assert all(torch.equal(each, before[key]) for key, each in model.body.state_dict().items())


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def test_a_file_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(CheckpointError):
        published.load(network("openecg"), tmp_path / "evil.pth")
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_states_its_contract_source_and_what_it_saw(name: str) -> None:
    entry = ENCODERS[name]
    assert entry.contract is not None
    assert entry.published is not None
    assert entry.published.source
    assert entry.published.saw
    assert entry.cites
    assert citations.bibtex({name: entry.cites}).count("@") == len(entry.cites)
    assert name in choices.names("models")
    assert name in choices.names("encoders")
    assert NETWORKS[name] is entry
    assert entry.contract.words in commands.listed("encoders")


def test_weights_without_a_package_are_asked_for_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="Try: --pretrained FILE"):
        published.installed("ecgfounder")
    monkeypatch.setattr(published, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"package openecg, which is not installed\. Try: pip install --no-deps"):
        published.installed("openecg")


def test_the_installed_codec_gives_the_features_that_its_own_package_computes() -> None:
    package = pytest.importorskip("openecg.stage2.model", reason="the package openecg and what it needs are not here")
    path = published.installed("openecg")
    theirs, _ = package.load_model_from_ckpt(str(path))
    seen: list[Tensor] = []
    theirs.rhythm_sample.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ours = network("openecg")
    published.load(ours, path)
    x = torch.randn(2, 1, 1000).cumsum(2)
    rows = ours.front(x)
    with torch.no_grad():
        theirs(rows, torch.zeros(2, dtype=torch.long))
        torch.testing.assert_close(ours.body(rows), seen[0].mean(1), atol=1e-5, rtol=1e-4)
