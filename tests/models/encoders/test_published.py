"""Published weights: every tensor of an encoder has a published one of equal shape, and nothing else is loaded."""

import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import commands
from commands import build, choices
from loaders.base import DataSpec
from models import ENCODERS, NETWORKS, get_model
from models.encoders import ecgfm, ecgfounder, published
from models.encoders.contract import TWELVE
from models.encoders.encoder import Encoder
from toolbox.errors import CheckpointError, UsageError
from toolbox.reports import citations
from toolbox.runs import exchange

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
FM = {
    "feature_extractor.conv_layers.0.0.weight": (256, 12, 2),
    "feature_extractor.conv_layers.0.2.bias": (256,),
    "feature_extractor.conv_layers.3.0.weight": (256, 256, 2),
    "layer_norm.weight": (256,),
    "post_extract_proj.weight": (768, 256),
    "conv_pos.pos_conv.0.bias": (768,),
    "conv_pos.pos_conv.0.weight_g": (1, 1, 128),
    "conv_pos.pos_conv.0.weight_v": (768, 48, 128),
    "encoder.layers.11.self_attn.q_proj.weight": (768, 768),
    "encoder.layers.0.self_attn.out_proj.bias": (768,),
    "encoder.layers.5.self_attn_layer_norm.weight": (768,),
    "encoder.layers.5.fc1.weight": (3072, 768),
    "encoder.layers.5.final_layer_norm.bias": (768,),
    "encoder.layer_norm.weight": (768,),
}
CODEC = {
    "conv_tok.weight": (128, 1, 20),
    "pos_enc": (1, 512, 128),
    "lower_norms.3.bias": (128,),
    "upper_transformer.layers.3.self_attn.in_proj_weight": (384, 128),
    "upper_transformer.layers.0.linear1.weight": (256, 128),
    "refine.2.weight": (128, 128, 5),
}
# By the publishers, and those of their last layer or of the parts that serve their training only.
PARAMETERS = {"ecgfounder": 30_604_021, "ecgfm": 90_883_072, "openecg": 1_156_992}
BEYOND = {"ecgfounder": 1025 * 5, "ecgfm": 768 + 2 * 320 * 128 + 257 * 640 + 257 * 256 + 769 * 256}


def spec_of(name: str) -> DataSpec:
    contract = ENCODERS[name].contract
    assert contract is not None
    return replace(SPEC if contract.leads else ONE, samples=round(contract.seconds * SPEC.rate_hz))


def network(name: str) -> Encoder:
    model = get_model(name, spec_of(name))
    assert isinstance(model, Encoder)
    return model.eval()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """ECGFounder with narrow stages, and ECG-FM with few and narrow layers."""
    monkeypatch.setattr(ecgfounder, "WIDTHS", (16, 32))
    monkeypatch.setattr(ecgfounder, "BLOCKS", (1, 2))
    monkeypatch.setattr(ecgfounder, "STEM", 16)
    for size, value in (("CHANNELS", 16), ("WIDTH", 32), ("HIDDEN", 64), ("HEADS", 4), ("LAYERS", 2)):
        monkeypatch.setattr(ecgfm, size, value)


def state(model: Encoder) -> dict[str, Tensor]:
    """Random weights under their published names, with tensors that have no place here."""
    own = {model.names(name): torch.randn_like(each) if each.is_floating_point() else each
           for name, each in model.body.state_dict().items()}  # fmt: skip
    return own | {f"{model.unused[0]}weight": torch.zeros(2, 2)}


def written(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


@pytest.mark.parametrize(("name", "shapes"), [("ecgfounder", FOUNDER), ("ecgfm", FM), ("openecg", CODEC)])
def test_names_and_shapes_are_the_published_ones(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        model = network(name)
    there = {published.spelled(model.names(own)): tuple(each.shape) for own, each in model.body.state_dict().items()}
    assert {each: there.get(each) for each in shapes} == shapes
    assert sum(each.numel() for each in model.body.parameters()) + BEYOND.get(name, 0) == PARAMETERS[name]


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


@pytest.mark.usefixtures("small")
def test_a_layer_of_ecgfm_is_torchs_layer_with_the_norms_after_the_sums() -> None:
    ours = ecgfm.PostNormLayer().eval()
    theirs = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True).eval()
    parts = ours.self_attn.q_proj, ours.self_attn.k_proj, ours.self_attn.v_proj
    theirs.load_state_dict(
        {f"self_attn.in_proj_{of}": torch.cat([getattr(part, of) for part in parts]) for of in ("weight", "bias")}
        | {
            f"{their}.{of}": getattr(layer, of)
            for their, layer in (
                ("self_attn.out_proj", ours.self_attn.out_proj),
                ("linear1", ours.fc1),
                ("linear2", ours.fc2),
                ("norm1", ours.self_attn_layer_norm),
                ("norm2", ours.final_layer_norm),
            )
            for of in ("weight", "bias")
        }
    )
    x = torch.randn(2, 30, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.usefixtures("small")
def test_both_spellings_of_a_normalised_weight_are_one(tmp_path: Path) -> None:
    model = network("ecgfm")
    there = {published.spelled(key): each for key, each in state(model).items()}
    published.load(model, written(tmp_path / "older.pth", there))
    length, weight = there["conv_pos.pos_conv.0.weight_g"], there["conv_pos.pos_conv.0.weight_v"]
    expected = weight * length / weight.norm(dim=(0, 1))
    conv = model.body.get_submodule("conv_pos.pos_conv.0")
    assert isinstance(conv, nn.Conv1d)
    torch.testing.assert_close(conv.weight, expected)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_gives_the_same_outputs_in_onnx_with_its_front(name: str) -> None:
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="requirements-export.txt")
    torch.manual_seed(0)
    model = network(name)
    rows = torch.randn(5, *spec_of(name).shape)
    opened = exchange.OnnxNetwork(exchange.as_onnx(model, lambda count: [rows[:count].clone()], name), name)
    with torch.inference_mode():
        torch.testing.assert_close(opened(rows), model(rows), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("small")
def test_whole_numbers_are_no_weights_and_a_file_with_settings_is_refused_with_the_way_out(tmp_path: Path) -> None:
    model = network("openecg")
    there = state(model) | {"refine.2.bias": torch.zeros(128, dtype=torch.int64)}
    with pytest.raises(CheckpointError, match=r"refine\.2\.bias is torch\.int64, must be of real numbers"):
        published.load(model, written(tmp_path / "whole.pth", there))
    with pytest.raises(CheckpointError, match=r"holds more than tensors.* Try: a file of its tensors alone"):
        published.load(model, written(tmp_path / "settings.pth", {"model": state(model), "cfg": Evil()}))


def test_a_published_file_may_lie_beside_a_config_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    path = written(tmp_path / "weights.pth", {})
    flags = SimpleNamespace(pretrained=str(path), model_name="openecg")
    assert build.published_file(flags) == path  # type: ignore[arg-type]
    of_run = written(tmp_path / "model_best.pth.tar", {})
    assert build.published_file(SimpleNamespace(pretrained=str(of_run), model_name="openecg")) is None  # type: ignore[arg-type]
