"""The cost of a network: its work against formulas and published figures, its file, and its times in the report."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import args
from helpers.commands import on
from helpers.data import ROOT, by_kind, make_spec, spec_for
from loaders.base import DataSpec
from models import MODELS, VISION, get_model
from toolbox.metrics import cost
from toolbox.reports import tables

EXACT = {"parameters", "trainable_parameters", "file_bytes", "macs"}
N, D = 17, 24  # tokens and their width
ATTENTION = 4 * N * D**2 + 2 * N**2 * D  # three inputs and an output, scores and what they weigh
LAYERS = {
    "linear": (nn.Linear(7, 5), (1, 7), 7 * 5),
    "linear over tokens": (nn.Linear(7, 5), (1, 3, 7), 3 * 7 * 5),
    "conv1d": (nn.Conv1d(3, 8, 5, padding=2), (1, 3, 40), 40 * 8 * 3 * 5),
    "conv1d, strided": (nn.Conv1d(3, 8, 5, stride=2), (1, 3, 41), 19 * 8 * 3 * 5),
    "conv1d, in groups": (nn.Conv1d(8, 8, 5, padding=2, groups=8), (1, 8, 40), 40 * 8 * 5),
    "conv1d, transposed": (nn.ConvTranspose1d(8, 3, 4, stride=2), (1, 8, 20), 20 * 8 * 3 * 4),
    "conv2d": (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 12), 120 * 8 * 3 * 9),
    "conv2d, in groups": (nn.Conv2d(8, 16, (3, 5), padding=(1, 2), groups=4), (1, 8, 10, 12), 120 * 16 * 2 * 15),
    "lstm": (nn.LSTM(3, 10), (50, 1, 3), 50 * 4 * 10 * (3 + 10)),
    "lstm, two layers, rows first": (nn.LSTM(3, 10, 2, batch_first=True), (1, 50, 3), 50 * 4 * 10 * (3 + 10 + 10 + 10)),
    "lstm, both ways": (nn.LSTM(3, 10, bidirectional=True), (50, 1, 3), 2 * 50 * 4 * 10 * (3 + 10)),
    "lstm, projected": (nn.LSTM(3, 10, proj_size=4), (50, 1, 3), 50 * (4 * 10 * (3 + 4) + 10 * 4)),
    "gru": (nn.GRU(3, 10), (50, 1, 3), 50 * 3 * 10 * (3 + 10)),
    "gru and a layer after it": (nn.Sequential(nn.GRU(3, 10), nn.Identity()), (50, 1, 3), 50 * 3 * 10 * (3 + 10)),
    "transformer layer": (
        nn.TransformerEncoderLayer(D, 4, 2 * D, batch_first=True),
        (1, N, D),
        ATTENTION + 4 * N * D**2,
    ),
    "norms and activations": (nn.Sequential(nn.BatchNorm1d(3), nn.GELU(), nn.MaxPool1d(2)), (1, 3, 40), 0),
}
PUBLISHED = {  # billions for 1,000 classes, as torchvision states them
    "resnet18": 1.81,
    "resnet50": 4.09,
    "mobilenet_v3_small": 0.06,
    "mobilenet_v3_large": 0.22,
    "efficientnet_b0": 0.39,
    "convnext_tiny": 4.46,
    "convnext_base": 15.36,
    "vit_b_16": 17.56,
}


def empty(name: str) -> tuple[nn.Module, DataSpec]:
    """The network without its weights, which its work does not depend on; for charts of 224 pixels or beats."""
    spec = make_spec(image=(224, 224) if name in VISION else None)
    with torch.device("meta"):
        return get_model(name, spec), spec


@pytest.mark.parametrize("layer", LAYERS)
def test_the_work_of_a_layer_is_that_of_its_formula(layer: str) -> None:
    model, shape, expected = LAYERS[layer]
    assert cost.count(model, [torch.rand(shape)]) == expected


def test_attention_that_is_fused_in_a_test_is_counted_whole() -> None:
    attention = nn.MultiheadAttention(D, 4, batch_first=True)
    assert cost.count(attention, [torch.rand(1, N, D)] * 3) == ATTENTION
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("name", by_kind(MODELS))
def test_size_and_work_are_exact_and_change_no_state(name: str, tmp_path: Path) -> None:
    model, spec = get_model(name, spec_for(name)), spec_for(name)
    next(iter(model.children())).eval()  # as one that is frozen
    modes, chance = [part.training for part in model.modules()], torch.get_rng_state()
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    first = cost.size_and_work(model, spec)
    assert first == cost.size_and_work(model, spec)
    assert first.keys() == EXACT
    assert 0 < 3 * first["macs"] == cost.count(model, cost.inputs(spec, 3))
    assert modes == [part.training for part in model.modules()]
    assert torch.equal(chance, torch.get_rng_state())
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    written = (tmp_path / "weights.pth").stat().st_size
    assert abs(cost.file_bytes(model) - written) <= 1024  # the file's name stands in it once a tensor
    assert cost.file_bytes(model) > 4 * sum(p.numel() for p in model.parameters())


def test_frozen_parameters_are_counted_apart_and_members_of_a_committee_together() -> None:
    spec, model = make_spec(), get_model("cnn1d_3", make_spec())
    three = cost.size_and_work(get_model("cnn1d_3", spec, members=3), spec)
    one = cost.size_and_work(model, spec)
    assert [three[name] for name in ("parameters", "macs")] == [3 * one[name] for name in ("parameters", "macs")]
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    counted = cost.size_and_work(model, spec)
    head = sum(p.numel() for p in model.head.parameters())
    assert (counted["parameters"], counted["trainable_parameters"]) == (4789, head)


def test_inputs_are_samples_features_and_pictures() -> None:
    spec = make_spec(channels=2)
    fused = replace(spec, features=("a", "b"))
    assert [each.shape for each in cost.inputs(spec, 3)] == [(3, 2, 187)]
    assert [each.shape for each in cost.inputs(fused, 3)] == [(3, 2, 187), (3, 2)]
    assert [each.shape for each in cost.inputs(replace(spec, image=(32, 48)), 1)] == [(1, 3, 32, 48)]
    macs = [cost.size_and_work(get_model("cnn1d_3", of), of)["macs"] for of in (spec, fused)]
    assert macs[0] != macs[1]


def test_the_first_times_are_left_out_and_enough_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    taken = cost.seconds(lambda: calls.append(1), torch.device("cpu"))
    assert len(taken) == cost.MOST == len(calls) - cost.WARM_UPS
    monkeypatch.setattr(cost, "ENOUGH_S", -1.0)
    assert len(cost.seconds(lambda: None, torch.device("cpu"))) == cost.FEWEST


def test_times_are_reported_on_request(copied_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ENOUGH_S", -1.0)
    exact = json.loads((copied_run / "results.json").read_text())["cost"]
    assert exact.keys() == EXACT
    ended = on(copied_run, "--dataset", "synth", "--test", "--cost")
    assert ended.code == 0, ended.err
    measured = json.loads((copied_run / "results.json").read_text())["cost"]
    assert measured | exact == measured
    assert 0 < measured["latency_p10_ms"] <= measured["latency_ms"] <= measured["latency_p90_ms"]
    assert measured["rows_per_s"] > 0
    facts = tuple(measured[name] for name in ("batch_size", "threads", "dtype", "torch"))
    assert facts == (128, torch.get_num_threads(), "float32", torch.__version__)
    assert measured["device"] == cost.device_name(torch.device("cpu")) != ""
    size, times = tables.of_costs(measured)
    assert size == "cost: 4,789 parameters (4,789 trained), 23.4 kB, 0.11 million multiply-accumulates a row"
    assert "in batches of 128; " in times
    assert f"{size}\n{times}" in (copied_run / "pred" / "report.txt").read_text()
    assert args.FLAGS.changed({"cost": True}, {"cost": False}) == {}  # a run that goes on may be measured
    assert args.FLAGS.by_name["cost"].kept  # so that a grid can ask for it


def test_the_table_of_the_documentation_is_what_every_network_costs() -> None:
    section = (ROOT / "docs" / "speed.md").read_text().split("## What a network costs")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,.]+) \|", section, re.MULTILINE)
    assert {name for name, *_ in rows} == set(MODELS)
    for name, parameters, work, file in rows:
        model, spec = empty(name) if name in VISION else (get_model(name, make_spec()), make_spec())
        size = sum(each.numel() for each in model.parameters())
        counted = cost.count(model, cost.inputs(spec, 1, next(model.parameters()).device))
        assert (parameters, work) == (f"{size:,}", f"{counted:,}"), name
        assert MODELS[name].parameters == size, name
        assert 4 * size < 1000 * float(file.replace(",", "")) < 4.3 * size + 32_000, name
        if name in PUBLISHED:
            head = 995 * next(part for part in model.head.modules() if isinstance(part, nn.Linear)).in_features
            assert (counted + head) / 1e9 == pytest.approx(PUBLISHED[name], abs=0.006), name


def test_the_layers_have_all_parameters_and_the_shapes_of_one_row() -> None:
    spec = make_spec()
    model = get_model("cnn1d_3", spec)
    layers = cost.layers(model, cost.inputs(spec, 1, torch.device("cpu")))
    names = [each.name for each in layers]
    assert names == [name for name, _ in model.named_modules() if name in names]
    assert sum(each.parameters for each in layers) == sum(each.numel() for each in model.parameters())
    assert (layers[-1].kind, layers[-1].shape) == ("Linear", (1, len(spec.classes)))
    assert not any(layer._forward_hooks for layer in model.modules())
