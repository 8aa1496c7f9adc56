"""Attributions: by hand where a network is simple, by property for every method and network, of signals and charts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import args
from commands import build
from commands.explain import attribution
from commands.explain.rows import _draw, _examples
from helpers.charts import RATE_HZ, make_data
from helpers.data import make_spec
from helpers.explained import Bump, Linear, beats
from loaders.base import Data, DataSpec, Split
from loaders.charts import rows
from loaders.charts.rows import as_charts
from models import get_model
from toolbox.errors import UsageError
from toolbox.explain import methods
from toolbox.explain.methods import EXPLAINERS, FeatureMap
from toolbox.paper.layouts import MM_PER_S
from toolbox.runs.folder import RunFolder
from toolbox.terminal import StopRequest

ROWS = torch.tensor([0, 1, 2])
every_method = pytest.mark.parametrize("method", EXPLAINERS)
# The methods that a network refuses, with a part of the reason.
NO_MAP, NO_RECTIFIERS = "this network has none", "rectifiers"
REFUSED: dict[str, dict[str, str]] = {
    "cnn1d_3": {},
    "resnet1d_10": {},
    "ecgformer_tiny": {"guided-gradcam": NO_RECTIFIERS},
    "lstm_1": {"gradcam": NO_MAP, "guided-gradcam": NO_RECTIFIERS},
}
NETWORKS = [*REFUSED, *(pytest.param(name, marks=pytest.mark.soak) for name in ("inception1d_small", "resnet1d_grid"))]


def test_of_a_linear_network_attributions_are_those_computed_by_hand() -> None:
    model, x = methods.prepared(Linear((2, 187))), beats(2)
    weight = model.head.weight.view(3, 2, 187)[ROWS]
    torch.testing.assert_close(EXPLAINERS["saliency"](model, [x], ROWS), weight.abs())
    found = EXPLAINERS["integrated-gradients"](model, [x], ROWS)
    torch.testing.assert_close(found, weight * (x - methods.blank(x)), rtol=1e-4, atol=1e-6)
    # Occlusion: the mean of the differences that the windows over a sample make.
    model, x = methods.prepared(Linear((1, 12))), beats(samples=12)
    part = (model.head.weight.view(3, 1, 12)[ROWS] * (x - methods.blank(x)))[:, 0].numpy()
    expected = np.zeros_like(part)
    for sample in range(12):
        starts = [start for start in range(0, 10) if start <= sample < start + 3]
        expected[:, sample] = np.mean([part[:, start : start + 3].sum(1) for start in starts], 0)
    found = EXPLAINERS["occlusion"](model, [x], ROWS, window=(3,))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-5)


@every_method
@pytest.mark.parametrize("axes", [1, 2], ids=["signal", "picture"])
def test_every_method_finds_a_planted_bump(method: str, axes: int) -> None:
    shape, middle = ((1, 1, 187), (60,)) if axes == 1 else ((1, 3, 48, 64), (20, 40))
    x = torch.zeros(shape) + (0 if axes == 1 else 1)
    where = (..., *(slice(at - 7, at + 8) for at in middle))
    x[where] = 1 if axes == 1 else 0
    model = methods.prepared(Bump(axes))
    blank = torch.zeros_like(x) if axes == 1 else None
    if axes == 2:  # ink is dark: the bump is where the picture is 0
        model.features.register_forward_pre_hook(lambda _, inputs: (1 - inputs[0],))
    x = x + (0.001 if axes == 1 else 0)
    found = EXPLAINERS[method](model, [x], torch.tensor([1]), blank=blank).abs().sum(1)[0]
    assert found[where[1:]].sum() > 0.5 * found.sum(), "most of it lies where the bump is"
    best = np.unravel_index(int(found.argmax()), found.shape)
    assert all(abs(at - expected) <= 12 for at, expected in zip(best, middle, strict=True))


@every_method
@pytest.mark.parametrize("name", NETWORKS)
def test_every_method_explains_every_network_or_names_the_reason(method: str, name: str) -> None:
    torch.manual_seed(0)
    original, x = get_model(name, make_spec()), beats()
    before = {key: value.clone() for key, value in original.state_dict().items()}
    model = methods.prepared(original)
    if reason := REFUSED.get(name, {}).get(method):
        with pytest.raises(UsageError, match=reason):
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


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_functions_and_modules_in_place_are_explained_alike_and_as_captum_does() -> None:
    torch.manual_seed(1)
    original, functions, x = Modules(), Functions(), beats(2)
    functions.load_state_dict(original.state_dict())
    model, functions = methods.prepared(original), methods.prepared(functions)
    for explain in EXPLAINERS.values():
        torch.testing.assert_close(explain(model, [x], ROWS), explain(functions, [x], ROWS))
    with FeatureMap(model, x.requires_grad_()) as seen:
        logits = model(x)
    expected = methods.captum().LayerGradCam(model, model.map).attribute(x, target=ROWS, relu_attributions=True)
    heat = EXPLAINERS["gradcam"](model, [x], ROWS)
    # Two halvings with the middle of their kernels on every fourth sample.
    torch.testing.assert_close(heat[:, :1, ::4], expected)
    assert torch.equal(heat[:, 0], heat[:, 1])
    assert (seen.source.shape, logits.shape) == ((3, 8, 47), (3, 3))
    guided = methods.captum().GuidedBackprop(model).attribute(x, target=ROWS)
    torch.testing.assert_close(methods.guided(model, [x], ROWS), guided)
    torch.testing.assert_close(EXPLAINERS["guided-gradcam"](model, [x], ROWS), guided * heat)


CELLS = {
    "cnn1d_3": (13, 3),
    "resnet1d_10": (0, 16),
    "inception1d_small": (0, 1),
    "resnet1d_grid": (0, 32),
    "ecgformer_tiny": (1, 3),
}


@pytest.mark.parametrize("name", CELLS)
def test_cells_of_a_map_lie_at_the_samples_that_they_were_computed_from(name: str) -> None:
    (first, step), model, x = CELLS[name], methods.prepared(get_model(name, make_spec())), beats().requires_grad_()
    with FeatureMap(model, x) as seen:
        model(x)
    cells = seen.arranged(seen.source).shape[2]
    spread = seen.spread(torch.eye(cells))  # (cells, T): each cell alone
    inner = [cell for cell in range(1, cells - 1) if first + cell * step < 187]
    assert inner
    assert [int(spread[cell].argmax()) for cell in inner] == [first + cell * step for cell in inner]
    torch.testing.assert_close(spread.sum(0), torch.ones(187))
    if name == "cnn1d_3":  # without padding
        (gradient,) = torch.autograd.grad(seen.source[0, :, 20].sum(), x)
        felt = np.flatnonzero(gradient[0, 0].numpy())
        assert abs((felt.min() + felt.max()) / 2 - (13 + 3 * 20)) <= 2, "the pool takes one of its three samples"


@every_method
def test_features_are_held_while_the_samples_are_explained_and_a_committee_has_no_map(method: str) -> None:
    spec = replace(make_spec(), features=("rr", "next"))
    model, x, features = methods.prepared(get_model("cnn1d_3", spec)), beats(), torch.randn(3, 2)
    found = EXPLAINERS[method](model, [x, features], ROWS)
    assert found.shape == x.shape
    assert found.abs().sum() > 0
    alone = torch.cat([EXPLAINERS[method](model, [x[i, None], features[i, None]], ROWS[i, None]) for i in range(3)])
    torch.testing.assert_close(found, alone, rtol=1e-2, atol=1e-3 * float(found.abs().max()))
    committee = methods.prepared(get_model("cnn1d_3", make_spec(), members=2))
    if "gradcam" in method:
        with pytest.raises(UsageError, match="cannot explain a committee: each member has its own map"):
            EXPLAINERS[method](committee, [x], ROWS)
    else:
        assert EXPLAINERS[method](committee, [x], ROWS).abs().sum() > 0


def test_a_blank_row_is_the_median_of_each_lead_and_its_padding_stays() -> None:
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
def test_a_prepared_network_has_the_same_outputs_and_lets_gradients_through(name: str) -> None:
    network, x = get_model(name, make_spec()).eval(), beats()
    model = methods.prepared(network)
    torch.testing.assert_close(model(x), network(x))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    recurrent = [part.training for part in model.modules() if isinstance(part, nn.RNNBase)]
    assert all(recurrent), "cuDNN has no gradient without"


# Charts

PEAKS = (12, 37)


class Small(nn.Module):
    """Two convolutions over a chart, and a linear layer."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        last = (nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(inplace=True))
        self.map = nn.Sequential(nn.Conv2d(3, 8, 7, 4, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), *last)
        self.head = nn.Linear(8, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.map(x).mean((2, 3)))


@pytest.fixture(scope="module")
def spiked(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Charts of one second of twelve leads that are flat but for two spikes."""

    def flat(split: Split) -> Split:
        x = np.zeros_like(split.x)
        x[:, :, list(PEAKS)] = 0.8
        return replace(split, x=x)

    data = make_data()
    data = replace(data, train=flat(data.train), val=flat(data.val))
    return as_charts(data, tmp_path_factory.mktemp("spiked"), size=160, layout="4x0.25+II,2x0.5")


def test_the_paper_of_a_chart_is_the_chart_without_its_trace(spiked: Data) -> None:
    charts = spiked.val
    paper = rows.papers(charts)
    assert paper.shape == charts.x.shape
    assert paper.dtype == np.float32
    traced = (np.abs(charts.x - paper) > 1e-6).any(1)
    assert 0.005 < traced.mean() < 0.3
    np.testing.assert_allclose(paper[0], charts.kinds[0].paper.transpose(2, 0, 1) / 255, atol=1e-6)
    assert (paper[0] != paper[1]).any(), "a layout has its own"


def test_r_peaks_lie_where_the_spikes_are_drawn_in_each_layout(spiked: Data) -> None:
    charts = spiked.val
    near, room = rows.at_peaks(charts, [np.array(PEAKS)] * len(charts), RATE_HZ)
    x, paper = charts.x, rows.papers(charts)
    for row in range(2):
        sheet = charts.kinds[charts.kind[row]].sheet
        traced = (np.abs(x[row] - paper[row]) > 0.2).any(0)
        assert traced[room[row, 0]].sum() > 0.95 * traced.sum(), "leads are drawn where their cells are"
        high = np.zeros_like(traced)
        for cell in sheet.cells:
            top = slice(round((cell.y_mm - 8) * sheet.pixels_per_mm), round((cell.y_mm - 3) * sheet.pixels_per_mm))
            high[top] |= traced[top]
        assert high.any()
        assert near[row, 0][high].all(), "a high pixel is near an R peak"
        wide = 2 * 0.06 * MM_PER_S * sheet.pixels_per_mm
        assert near[row, 0].any(0).sum() <= (wide + 1) * len(PEAKS)
        assert not (near[row] & ~room[row]).any()
    outside, _ = rows.at_peaks(charts, [np.array([-40, 200])] * len(charts), RATE_HZ)
    assert not outside.any(), "a peak outside the window of a chart marks nothing"


@pytest.fixture(scope="module")
def subject(spiked: Data, tmp_path_factory: pytest.TempPathFactory) -> attribution.Subject:
    """A small network for charts as it begins, asked about validation."""
    given = {"view": "chart", "model_name": "resnet18", "explain": "gradcam", "dataset": "tiny"}
    torch.manual_seed(0)
    model = methods.prepared(Small(spiked.spec))
    run = RunFolder(tmp_path_factory.mktemp("run"))
    return attribution.Subject(args.resolve(given), run, "best", 1, spiked, spiked.val, model, torch.device("cpu"))


@every_method
def test_every_method_explains_charts(
    subject: attribution.Subject, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "network", lambda flags, spec: Small(spec))
    own = replace(subject, flags=args.resolve({**vars(subject.flags), "explain": method}))
    which = np.array([0, 3])
    seen = attribution.attribute(own, which, own.probabilities(which).argmax(1))
    assert seen.attribution.shape == (2, 3, *own.data.spec.image)
    assert seen.attribution.isfinite().all()
    found = attribution.doubt(own, seen, StopRequest())
    assert found.values["maps"] == 2
    names = {each.name for each in found.sentences}
    assert {"Weights reinitialised", "Deletion", "Insertion"} <= names or found.values["maps_with_nothing_marked"] == 2
    if method == "gradcam":
        examples = _examples(own, seen, ["named", "named"], own.probabilities(which))
        _draw(tmp_path, examples, seen, own)
        assert {path.name for path in tmp_path.iterdir()} == {each.picture for each in examples}


def test_the_last_map_of_a_network_for_charts_is_found_and_laid_over_the_chart() -> None:
    torch.manual_seed(0)
    network: Any = get_model("mobilenet_v3_small", replace(make_spec(), view="chart", image=(64, 96)))
    model, x = methods.prepared(network), torch.rand(1, 3, 64, 96).requires_grad_()
    with FeatureMap(model, x) as seen:
        model(x)
    assert seen.arranged(seen.source).shape[2:] == (2, 3)
    one = torch.zeros(1, 2, 3)
    one[0, 0, 1] = 1
    heat = seen.spread(one)[0]
    assert heat.shape == (64, 96)
    place = np.unravel_index(int(heat.argmax()), heat.shape)
    assert place == (0, 32), "strided convolutions with padding have their first cell at the first pixel"
    found = EXPLAINERS["gradcam"](model, [x], torch.tensor([1]))
    assert found.shape == x.shape
    assert found.isfinite().all()


def test_charts_of_one_row_have_a_picture_each_and_the_same_permuted_label(subject: attribution.Subject) -> None:
    which = np.array([0, 1])
    assert len(set(subject.rows.index[which].tolist())) == 1
    seen = attribution.attribute(subject, which, np.zeros(2, int))
    examples = _examples(subject, seen, ["named", "named"], subject.probabilities(which))
    assert len({each.picture for each in examples}) == 2
    train = subject.data.train
    permuted = attribution._permuted(train, 5)
    assert (permuted.y != train.y).any()
    for index in np.unique(train.index)[:5]:
        assert len(set(permuted.y[permuted.index == index])) == 1
