"""Attributions are what they are said to be: by hand where a network is simple, by property for every method and
network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.data import make_spec
from helpers.explained import Bump, Linear, beats
from models import get_model
from toolbox.errors import UsageError
from toolbox.explain import methods
from toolbox.explain.methods import EXPLAINERS, FeatureMap

ROWS = torch.tensor([0, 1, 2])
# What each network cannot be asked.
NO_MAP, NO_RECTIFIERS = "this network has none", "rectifiers"
REFUSED = {
    "cnn1d_3": {},
    "resnet1d_10": {},
    "inception1d_small": {},
    "resnet1d_grid": {},
    "ecgformer_tiny": {"guided-gradcam": NO_RECTIFIERS},
    "lstm_1": {"gradcam": NO_MAP, "guided-gradcam": NO_RECTIFIERS},
}


def test_of_a_linear_network_saliency_is_its_weights_and_integrated_gradients_are_weights_times_the_difference() -> (
    None
):
    model, x = methods.prepared(Linear((2, 187))), beats(2)
    weight = model.head.weight.view(3, 2, 187)[ROWS]
    torch.testing.assert_close(EXPLAINERS["saliency"](model, [x], ROWS), weight.abs())
    found = EXPLAINERS["integrated-gradients"](model, [x], ROWS)
    torch.testing.assert_close(found, weight * (x - methods.blank(x)), rtol=1e-4, atol=1e-6)


def test_of_a_linear_network_occlusion_is_the_mean_of_what_the_windows_over_a_sample_take_away() -> None:
    model, x = methods.prepared(Linear((1, 12))), beats(samples=12)
    part = (model.head.weight.view(3, 1, 12)[ROWS] * (x - methods.blank(x)))[:, 0].numpy()
    expected = np.zeros_like(part)
    for sample in range(12):
        starts = [start for start in range(0, 10) if start <= sample < start + 3]
        expected[:, sample] = np.mean([part[:, start : start + 3].sum(1) for start in starts], 0)
    found = EXPLAINERS["occlusion"](model, [x], ROWS, window=(3,))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", EXPLAINERS)
@pytest.mark.parametrize("axes", [1, 2], ids=["signal", "picture"])
def test_every_method_finds_a_planted_bump(method: str, axes: int) -> None:
    shape, middle = ((1, 1, 187), (60,)) if axes == 1 else ((1, 3, 64, 96), (20, 70))
    x = torch.zeros(shape) + (0 if axes == 1 else 1)
    where = (..., *(slice(at - 7, at + 8) for at in middle))
    x[where] = 1 if axes == 1 else 0
    model = methods.prepared(Bump(axes))
    blank = torch.zeros_like(x) if axes == 1 else None
    if axes == 2:  # ink is dark: the bump is where the picture is 0
        model.features.register_forward_pre_hook(lambda _, inputs: (1 - inputs[0],))
    x = x + (0.001 if axes == 1 else 0)
    target = torch.tensor([1])
    found = EXPLAINERS[method](model, [x], target, blank=blank).abs().sum(1)[0]
    assert found[where[1:]].sum() > 0.5 * found.sum(), "most of it lies where the bump is"
    best = np.unravel_index(int(found.argmax()), found.shape)
    assert all(abs(at - expected) <= 12 for at, expected in zip(best, middle, strict=True))


@pytest.mark.parametrize("method", EXPLAINERS)
@pytest.mark.parametrize("name", REFUSED)
def test_every_method_asks_every_network_or_says_why_it_cannot(method: str, name: str) -> None:
    torch.manual_seed(0)
    original, x = get_model(name, make_spec()), beats()
    before = {key: value.clone() for key, value in original.state_dict().items()}
    model = methods.prepared(original)
    if method in REFUSED[name]:
        with pytest.raises(UsageError, match=REFUSED[name][method]):
            EXPLAINERS[method](model, [x], ROWS)
        return
    found = EXPLAINERS[method](model, [x], ROWS)
    assert found.shape == x.shape
    assert found.isfinite().all()
    assert found.abs().sum() > 0
    assert not found.requires_grad
    assert torch.equal(found, EXPLAINERS[method](model, [x], ROWS)), "the same question has the same answer"
    alone = EXPLAINERS[method](model, [x[1:2]], ROWS[1:2])
    torch.testing.assert_close(found[1:2], alone, rtol=1e-2, atol=1e-3 * float(found.abs().max()))
    assert all(torch.equal(value, before[key]) for key, value in original.state_dict().items())


class Modules(nn.Module):
    """A network whose every unit is a module, as captum needs it, two of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Sequential(
            nn.Conv1d(2, 6, 5, 2, 2),
            nn.ReLU(inplace=True),
            nn.Conv1d(6, 8, 5, 2, 2),
            nn.BatchNorm1d(8),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.map(x).mean(2))


class Functions(Modules):
    """The same network written with functions between its modules."""

    def forward(self, x: Tensor) -> Tensor:
        first, _, second, norm, _ = self.map
        return self.head(F.relu(norm(second(torch.relu(first(x))))).mean(2))


def both() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    modules, functions = Modules(), Functions()
    functions.load_state_dict(modules.state_dict())
    return methods.prepared(modules), methods.prepared(functions)


@pytest.mark.parametrize("method", EXPLAINERS)
def test_functions_and_modules_in_place_are_explained_alike(method: str) -> None:
    modules, functions = both()
    x = beats(2)
    torch.testing.assert_close(EXPLAINERS[method](modules, [x], ROWS), EXPLAINERS[method](functions, [x], ROWS))


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_gradcam_and_guided_backpropagation_are_captums_where_captum_can_see_the_network() -> None:
    model, _ = both()
    x = beats(2)
    with FeatureMap(model, x.requires_grad_()) as seen:
        logits = model(x)
    expected = methods.captum().LayerGradCam(model, model.map).attribute(x, target=ROWS, relu_attributions=True)
    heat = EXPLAINERS["gradcam"](model, [x], ROWS)
    # Two halvings with the middle of their kernels on every fourth sample.
    torch.testing.assert_close(heat[:, :1, ::4], expected)
    assert torch.equal(heat[:, 0], heat[:, 1])
    assert seen.source.shape == (3, 8, 47)
    assert logits.shape == (3, 3)
    guided = methods.captum().GuidedBackprop(model).attribute(x, target=ROWS)
    torch.testing.assert_close(methods.guided(model, [x], ROWS), guided)
    torch.testing.assert_close(EXPLAINERS["guided-gradcam"](model, [x], ROWS), guided * heat)


@pytest.mark.parametrize(
    ("name", "first", "step"),
    [
        ("cnn1d_3", 13, 3),
        ("resnet1d_10", 0, 16),
        ("inception1d_small", 0, 1),
        ("resnet1d_grid", 0, 32),
        ("ecgformer_tiny", 1, 3),
    ],
)
def test_cells_of_a_map_lie_where_the_network_saw_them(name: str, first: int, step: int) -> None:
    model, x = methods.prepared(get_model(name, make_spec())), beats().requires_grad_()
    with FeatureMap(model, x) as seen:
        model(x)
    cells = seen.arranged(seen.source).shape[2]
    one = torch.eye(cells)
    spread = seen.spread(one)  # (cells, T): each cell alone
    inner = [cell for cell in range(1, cells - 1) if first + cell * step < 187]
    assert inner
    assert [int(spread[cell].argmax()) for cell in inner] == [first + cell * step for cell in inner]
    torch.testing.assert_close(spread.sum(0), torch.ones(187))


def test_cells_of_a_convolution_without_padding_are_seen_where_a_change_is_felt() -> None:
    model, x = methods.prepared(get_model("cnn1d_3", make_spec())), torch.zeros(1, 1, 187)
    with FeatureMap(model, x.requires_grad_()) as seen:
        model(x)
    (gradient,) = torch.autograd.grad(seen.source[0, :, 20].sum(), x)
    felt = np.flatnonzero(gradient[0, 0].numpy())
    assert abs((felt.min() + felt.max()) / 2 - (13 + 3 * 20)) <= 2, "the pool hears one of its three samples"


@pytest.mark.parametrize("method", EXPLAINERS)
def test_features_beside_the_signal_are_held_and_x_is_explained(method: str) -> None:
    spec = replace(make_spec(), features=("rr", "next"))
    model, x, features = methods.prepared(get_model("resnet1d_10", spec)), beats(), torch.randn(3, 2)
    found = EXPLAINERS[method](model, [x, features], ROWS)
    assert found.shape == x.shape
    assert found.abs().sum() > 0
    alone = torch.cat(
        [EXPLAINERS[method](model, [x[i : i + 1], features[i : i + 1]], ROWS[i : i + 1]) for i in range(3)]
    )
    torch.testing.assert_close(found, alone, rtol=1e-2, atol=1e-3 * float(found.abs().max()))


@pytest.mark.parametrize("method", EXPLAINERS)
def test_a_committee_is_explained_as_a_whole_or_not_at_all(method: str) -> None:
    model, x = methods.prepared(get_model("cnn1d_3", make_spec(), members=2)), beats()
    if "gradcam" in method:
        with pytest.raises(UsageError, match="cannot explain a committee: each member has its own map"):
            EXPLAINERS[method](model, [x], ROWS)
    else:
        assert EXPLAINERS[method](model, [x], ROWS).abs().sum() > 0


def test_a_blank_row_is_the_median_of_each_lead_and_what_fills_it_up_stays() -> None:
    x = beats(2)
    x[0, :, :20] = 0
    empty = methods.blank(x)
    for row, begin in enumerate((20, 0, 0)):
        for lead in range(2):
            inner = empty[row, lead, begin:150]
            assert inner.unique().numel() == 1
            np.testing.assert_allclose(inner[0], x[row, lead, begin:150].median())
    assert not empty[:, :, 150:].any()
    assert not empty[0, :, :20].any()
    assert not methods.blank(torch.zeros(1, 1, 5)).any()


@pytest.mark.parametrize("name", ["resnet1d_10", "lstm_1", "ecgformer_tiny"])
def test_a_prepared_network_says_what_the_network_says_and_lets_gradients_through(name: str) -> None:
    network, x = get_model(name, make_spec()).eval(), beats()
    model = methods.prepared(network)
    torch.testing.assert_close(model(x), network(x))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(part.training for part in model.modules() if isinstance(part, nn.RNNBase)), (
        "cuDNN has no gradient without"
    )
