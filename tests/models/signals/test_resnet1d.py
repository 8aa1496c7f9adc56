"""resnet1d_grid and --model-args: the published sizes, blocks as they are spelled, refusals of other arguments."""

import inspect
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import models
from helpers.commands import SHORT, carried_out
from helpers.data import ROOT, make_spec
from models import MODELS, argument_kinds, get_model, keywords, parse_args
from models.blocks import BatchNorm1d, Conv1d
from models.signals.resnet1d import GridBlock
from studies import plans
from toolbox.errors import UsageError

TWO_CLASSES = make_spec(samples=3000, classes=("A", "NO"))
WIDTHS = ("4-8-16-32-64-128-256", "4-4-8-8-16-16-20")
# By layout and blocks, for each of WIDTHS with a stem of 32 and of 8.
PUBLISHED = {
    ("cna", "2-3-4-5-4-3-2"): ((525_650, 525_050), (11_122, 10_522)),
    ("cna", "2-2-2-2-2-2-2"): ((440_194, 439_594), (7_626, 7_026)),
    ("cna", "1-1-1-1-1-1-1"): ((177_050, 176_450), (4_258, 3_658)),
    ("cnacna", "2-3-4-5-4-3-2"): ((1_137_394, 1_136_794), (21_354, 20_754)),
    ("cnacna", "2-2-2-2-2-2-2"): ((966_482, 965_882), (14_362, 13_762)),
    ("cnacna", "1-1-1-1-1-1-1"): ((440_194, 439_594), (7_626, 7_026)),
}
PARAMETERS = {
    "filters=64-128-256-512,blocks=2-2-2-2,layout=cnacna,stem=64": 3_843_138,
    "filters=64-128-256-512,blocks=3-4-6-3,layout=cnacna,stem=64": 7_217_474,
} | {
    f"layout={layout},stem={stem},blocks={blocks},filters={filters}": number
    for (layout, blocks), pairs in PUBLISHED.items()
    for filters, pair in zip(WIDTHS, pairs, strict=True)
    for stem, number in zip((32, 8), pair, strict=True)
}
ANOTHER = {int: "2", float: "0.25", bool: "true", str: "x"}


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {key: each.shape for key, each in model.state_dict().items()}


def test_the_published_grid_has_the_published_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_tried", lambda build, *_: build())  # no row is passed through 27 networks
    for text, number in PARAMETERS.items():
        with torch.device("meta"):
            model = get_model("resnet1d_grid", TWO_CLASSES, model_args=text)
            assert sum(parameter.numel() for parameter in model.parameters()) == number, text
    grid, prefix = plans.read(ROOT / "grids" / "cardio_resnet.yaml").grid, "model-args."
    cells = [{k.removeprefix(prefix): v for k, v in cell.items() if k.startswith(prefix)} for cell in grid.cells()]
    typed = [",".join(f"{key}={value}" for key, value in cell.items()) for cell in cells]
    assert sorted(map(sizes, typed)) == sorted(map(sizes, PARAMETERS))
    first, default = next(iter(PARAMETERS)), get_model("resnet1d_grid", TWO_CLASSES)
    assert shapes(default) == shapes(get_model("resnet1d_grid", TWO_CLASSES, model_args=first))
    assert default.dropout.p == 0.4


def sizes(model_args: str) -> list[tuple[str, object]]:
    return sorted(parse_args("resnet1d_grid", model_args).items())


@pytest.mark.parametrize("layout", ["c", "cna", "nac", "cnacna"])
def test_a_block_is_the_path_that_is_spelled_plus_its_input_and_nothing_after_the_sum(layout: str) -> None:
    block, x = GridBlock(4, 4, 1, layout=layout).eval(), torch.randn(2, 4, 20)
    kinds = {Conv1d: "c", BatchNorm1d: "n", nn.ReLU: "a"}
    assert "".join(kinds[type(part)] for part in block.path) == layout
    assert all(part.bias is None for part in block.path if isinstance(part, nn.Conv1d))
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(("width", "stride", "parameters"), [(4, 1, 0), (4, 2, 16), (6, 1, 24), (6, 2, 24)])
def test_where_the_shape_changes_the_input_passes_a_bare_convolution(width: int, stride: int, parameters: int) -> None:
    block = GridBlock(4, width, stride, layout="cna")
    assert sum(parameter.numel() for parameter in block.shortcut.parameters()) == parameters
    assert block(torch.randn(2, 4, 21)).shape == (2, width, -(-21 // stride))


def test_every_group_but_the_first_halves_the_time_axis() -> None:
    model = get_model("resnet1d_grid", TWO_CLASSES, model_args="filters=4-4-4,blocks=2-1-3,stem=4").eval()
    strides = [block.path[0].stride[0] for block in model.groups]
    assert strides == [1, 1, 2, 2, 1, 1]
    assert model.groups(model.stem(torch.randn(1, 1, 3000))).shape == (1, 4, 188)


def test_every_argument_of_every_network_can_be_typed() -> None:
    for name, network in MODELS.items():
        kinds, given = argument_kinds(network.build), inspect.signature(network.build).parameters.values()
        assert kinds.keys() == {each.name for each in given if each.kind is each.KEYWORD_ONLY}, name
        for key, kind in kinds.items():
            (value,) = parse_args(name, f"{key}={ANOTHER.get(kind, '2-3')}").values()
            assert isinstance(value, kind if kind in ANOTHER else tuple), name


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("cnn1d_3", "widths=4-16, kernel=5", {"widths": (4, 16), "kernel": 5}),
        ("lstm_2", "layers=1,hidden=20,flat=true", {"layers": 1, "hidden": 20, "flat": True}),
        ("ecgformer_tiny", "dropout=1e-1", {"dropout": 0.1}),
        ("resnet1d_grid", "filters=8,blocks=1,layout=c", {"filters": (8,), "blocks": (1,), "layout": "c"}),
    ],
)
def test_typed_values_have_the_type_of_the_argument(name: str, text: str, values: dict) -> None:
    assert parse_args(name, text) == values
    built = get_model(name, make_spec(), **values)
    assert shapes(get_model(name, make_spec(), model_args=text)) == shapes(built)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        (
            "resnet1d_grid",
            "filter=8",
            "unknown --model-args of resnet1d_grid 'filter'; known are filters, blocks, layout, stem, dropout",
        ),
        ("cnn1d_3", "filters=8", "unknown --model-args of cnn1d_3 'filters'; known are widths, kernel, pool"),
        ("resnet1d_grid", "filters", "'filters' is not key=value"),
        ("resnet1d_grid", "filters=,blocks=1", "'filters=' is not key=value"),
        ("resnet1d_grid", "stem=8,stem=8", "names stem twice"),
        ("resnet1d_grid", "filters=8--8", "filters is '', must be a whole number from 1"),
        ("resnet1d_grid", "filters=0-8", "filters is '0', must be a whole number from 1"),
        ("resnet1d_grid", "stem=1.5", "stem is '1.5', must be a whole number"),
        ("resnet1d_grid", "dropout=nan", "dropout is 'nan', must be a number from 0"),
        ("resnet1d_grid", f"filters={'-'.join(['8'] * 65)}", "filters has 65 numbers, at most 64"),
        ("lstm_1", "flat=yes", "flat is 'yes', must be true or false"),
    ],
)
def test_an_argument_that_a_network_does_not_take_is_refused(name: str, text: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_args(name, text)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("resnet1d_grid", of) for of in ("filters=8-8", "layout=cx", "layout=na", "dropout=1.5")]
    + [("xresnet1d_10", "kernel=4"), ("ecgformer_tiny", "heads=7"), ("lstm_1", "kind=rnn"), ("cnn1d_3", "widths=4")],
)
def test_sizes_that_do_not_fit_each_other_are_a_usage_error(name: str, text: str) -> None:
    with pytest.raises(UsageError):
        get_model(name, make_spec(), model_args=text)


def test_a_network_that_takes_none_refuses_them() -> None:
    class Plain(nn.Module):
        def __init__(self, spec: object) -> None:
            super().__init__()

    with pytest.raises(UsageError, match="plain takes no --model-args"):
        keywords("plain", Plain, "width=8")
    assert argument_kinds(partial(Plain)) == {}


def test_trying_the_sizes_leaves_the_weights_of_a_seed_as_they_are() -> None:
    built = []
    for how in ({"model_args": "stem=16"}, {"stem": 16}):
        torch.manual_seed(3)
        built.append(get_model("resnet1d_grid", make_spec(), **how))
    one, other = (model.state_dict() for model in built)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert built[0].training


def test_a_run_keeps_its_model_args_and_refuses_others_when_resumed(root: Path) -> None:
    flags, sizes = (
        (*SHORT, "--model-name", "resnet1d_grid", "--root-dir", root),
        "filters=4-8,blocks=1-1,layout=cna,stem=4",
    )
    assert carried_out(*flags, "--model-args", sizes, "--epochs", "1").code == 0
    config = json.loads((root / "synth" / "runs" / "synth_resnet1d_grid_1" / "config.json").read_text())
    assert config["flags"]["model_args"] == sizes
    other = carried_out(*flags, "--resume", "latest", "--model-args", "filters=4-4,blocks=1-1")
    assert (other.code, f"--model-args is filters=4-4,blocks=1-1, the run has {sizes}" in other.err) == (2, True)
