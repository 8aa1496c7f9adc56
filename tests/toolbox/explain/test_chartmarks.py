"""What is explained of charts: their paper, where R peaks stand on it, and every check and picture of a network for
charts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import args
from commands import attribution, build
from commands.explain import _draw, _examples
from helpers.charts import RATE_HZ, make_data
from helpers.data import make_spec
from loaders.base import Data, DataSpec
from loaders.charts import rows
from loaders.charts.rows import as_charts
from models import get_model
from toolbox.explain import methods
from toolbox.explain.methods import FeatureMap
from toolbox.paper.layouts import MM_PER_S
from toolbox.runs.folder import RunFolder
from toolbox.terminal import StopRequest

PEAKS = (12, 37)


class Small(nn.Module):
    """Two convolutions over a chart, and a linear layer."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.map = nn.Sequential(
            nn.Conv2d(3, 8, 7, 4, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, 1, 1),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(8, len(spec.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.map(x).mean((2, 3)))


@pytest.fixture(scope="module")
def spiked(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Charts of one second of twelve leads that are flat but for two spikes."""
    data = make_data()

    def flat(side: object) -> object:
        x = np.zeros_like(side.x)
        x[:, :, list(PEAKS)] = 0.8
        return replace(side, x=x)

    data = replace(data, train=flat(data.train), val=flat(data.val))
    return as_charts(data, tmp_path_factory.mktemp("spiked"), size=160, layout="4x0.25+II,2x0.5")


def test_the_paper_of_a_chart_is_what_it_shows_without_a_trace(spiked: Data) -> None:
    charts = spiked.val
    x = torch.from_numpy(charts.x)
    paper = rows.papers(charts)
    assert paper.shape == x.shape
    assert paper.dtype == np.float32
    traced = (np.abs(x.numpy() - paper) > 1e-6).any(1)
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
        assert traced[room[row, 0]].sum() > 0.95 * traced.sum(), "leads are drawn where they are said to be"
        high = np.zeros_like(traced)
        for cell in sheet.cells:
            top = slice(round((cell.y_mm - 8) * sheet.pixels_per_mm), round((cell.y_mm - 3) * sheet.pixels_per_mm))
            high[top] |= traced[top]
        assert high.any()
        assert near[row, 0][high].all(), "what stands high is near an R peak"
        wide = 2 * 0.06 * MM_PER_S * sheet.pixels_per_mm
        columns = near[row, 0].any(0).sum()
        assert columns <= (wide + 1) * len(PEAKS)
        assert not (near[row] & ~room[row]).any()


def test_a_peak_outside_the_window_of_a_chart_marks_nothing(spiked: Data) -> None:
    near, _ = rows.at_peaks(spiked.val, [np.array([-40, 200])] * len(spiked.val), RATE_HZ)
    assert not near.any()


@pytest.fixture(scope="module")
def subject(spiked: Data, tmp_path_factory: pytest.TempPathFactory) -> attribution.Subject:
    """A small network for charts as it begins, asked about validation."""
    given = {"view": "chart", "model_name": "resnet18", "explain": "gradcam", "dataset": "tiny"}
    torch.manual_seed(0)
    model = methods.prepared(Small(spiked.spec))
    run = RunFolder(tmp_path_factory.mktemp("run"))
    return attribution.Subject(args.resolve(given), run, "best", 1, spiked, spiked.val, model, torch.device("cpu"))


@pytest.mark.parametrize("method", methods.EXPLAINERS)
def test_every_method_explains_charts_and_can_be_checked(
    subject: attribution.Subject, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "network", lambda flags, spec: Small(spec))
    flags = args.resolve({**vars(subject.flags), "explain": method})
    own = replace(subject, flags=flags)
    which = np.array([0, 3])
    seen = attribution.attribute(own, which, own.probabilities(which).argmax(1))
    assert seen.attribution.shape == (2, 3, *own.data.spec.image)
    assert seen.attribution.isfinite().all()
    found = attribution.doubt(own, seen, StopRequest())
    assert found.values["rows"] == 2
    names = {each.name for each in found.sentences}
    assert {"Weights reinitialised", "Deletion", "Insertion"} <= names or found.values["rows_with_nothing_marked"] == 2
    examples = _examples(own, seen, ["named", "named"], own.probabilities(which))
    assert len({each.picture for each in examples}) == 2
    _draw(tmp_path, examples, seen, own)
    assert {path.name for path in tmp_path.iterdir()} == {each.picture for each in examples}


@pytest.mark.parametrize(("name", "step"), [("resnet18", 32), ("mobilenet_v3_small", 32)])
def test_the_last_map_of_a_network_for_charts_is_found_and_laid_over_the_chart(name: str, step: int) -> None:
    spec = replace(make_spec(), view="chart", image=(64, 96))
    torch.manual_seed(0)
    model, x = methods.prepared(get_model(name, spec)), torch.rand(1, 3, 64, 96).requires_grad_()
    with FeatureMap(model, x) as seen:
        model(x)
    cells = seen.arranged(seen.source)
    assert cells.shape[2:] == (2, 3)
    one = torch.zeros(1, 2, 3)
    one[0, 0, 1] = 1
    heat = seen.spread(one)[0]
    assert heat.shape == (64, 96)
    top, left = np.unravel_index(int(heat.argmax()), heat.shape)
    assert (top, left) == (0, step), "strided convolutions with padding have their first cell at the first pixel"
    found = methods.EXPLAINERS["gradcam"](model, [x], torch.tensor([1]))
    assert found.shape == x.shape
    assert found.isfinite().all()


def test_several_charts_of_a_row_have_pictures_of_their_own(subject: attribution.Subject) -> None:
    which = np.array([0, 1])
    assert len(set(subject.rows.index[which].tolist())) == 1
    seen = attribution.attribute(subject, which, np.zeros(2, int))
    examples = _examples(subject, seen, ["named", "named"], subject.probabilities(which))
    assert len({each.picture for each in examples}) == 2


def test_labels_of_charts_are_permuted_by_the_row_of_signals(subject: attribution.Subject) -> None:
    train = subject.data.train
    permuted = attribution._permuted(train, 5)
    assert (permuted.y != train.y).any()
    for index in np.unique(train.index)[:5]:
        assert len(set(permuted.y[permuted.index == index])) == 1, "all charts of a row have its label"
