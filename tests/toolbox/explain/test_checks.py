"""The checks tell an attribution from a picture: against numpy and by hand, and on methods that are wrong."""

from itertools import pairwise

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from helpers.data import make_spec
from helpers.explained import Bump, Linear, beats
from loaders.declaration import BeatOptions
from loaders.families import row_forms
from loaders.synthetic import beats as synth
from models import get_model
from toolbox.explain import checks, methods
from toolbox.explain.checks import STEPS

EVERYWHERE = np.ones((3, 1, 187), bool)


def test_rank_correlations_are_spearmans_of_the_sizes_where_there_is_something() -> None:
    one, other = torch.randn(3, 2, 40), torch.randn(3, 2, 40)
    where = np.ones((3, 1, 40), bool)
    where[:, :, 30:] = False
    found = checks.rank_correlation(one, other, where)
    sizes = [[each[:, :30].abs().flatten() for each in pair] for pair in zip(one, other, strict=True)]
    np.testing.assert_allclose(found, [spearmanr(*pair)[0] for pair in sizes], atol=1e-6)
    assert np.isnan(checks.rank_correlation(torch.zeros(3, 2, 40), other, where)).all()


def test_a_map_that_is_the_same_everywhere_marks_nothing() -> None:
    where = np.ones((6, 1, 40), bool)
    where[:, :, 30:] = False
    maps = torch.zeros(6, 2, 40)
    maps[1], maps[2], maps[3] = 0.7, -3.0, float("nan")
    maps[4] = 0.7 + 1e-7 * torch.rand(2, 40)  # as rounding leaves it
    maps[5, 1] = 0.5
    maps[:, :, 30:] = torch.randn(10)  # what fills a row up
    assert checks.marked(maps, where).tolist() == [False, False, False, False, False, True]
    assert np.isnan(checks.rank_correlation(maps, torch.randn(6, 2, 40), where)[:5]).all()


def test_a_cascade_makes_layers_anew_from_the_head_on_and_leaves_the_trained_network_as_it_is() -> None:
    trained, fresh = (get_model("cnn1d_3", make_spec()) for _ in range(2))
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    stages = list(checks.cascade(trained, fresh))
    new = [{key.rpartition(".")[0] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
           for _, model in stages]  # fmt: skip
    assert new[0] == {"head"}
    assert new[-1] == {"head", "features.0", "features.4"}, "batch norm begins the same every time"
    assert all(one <= other for one, other in pairwise(new))
    assert [part for part, _ in stages] == sorted(part for part, _ in stages)
    assert stages[-1][0] == 1
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())


def test_a_method_that_ignores_the_weights_is_found_out() -> None:
    trained, fresh, x = methods.prepared(Linear((1, 187))), methods.prepared(Linear((1, 187))), beats()
    looking = [methods.saliency(model, [x], torch.tensor([0, 1, 2])) for model in (trained, fresh)]
    ignoring = [x - x.mean()] * 2  # a picture of the row, whatever the network
    for maps, least, most in ((ignoring, 0.999, 1), (looking, -0.3, 0.3)):
        assert least <= checks.rank_correlation(*maps, EVERYWHERE).mean().round(6) <= most


def test_completeness_is_the_part_of_the_difference_that_is_missed() -> None:
    model, x = methods.prepared(Linear((1, 187))), beats()
    target, blank = torch.tensor([0, 1, 2]), torch.zeros_like(x)
    parts = model.head.weight.view(3, 1, 187)[target] * x
    exact = checks.completeness(model, [x], target, attribution=parts, blank=blank)
    np.testing.assert_allclose(exact, 0, atol=1e-4)
    more = checks.completeness(model, [x], target, attribution=1.2 * parts, blank=blank)
    np.testing.assert_allclose(more, 0.2, rtol=1e-3)


def test_a_planted_bump_is_deleted_and_inserted_faster_by_a_map_of_it_and_slower_by_one_of_the_rest() -> None:
    model, x = methods.prepared(Bump(1)), torch.full((1, 1, 187), 0.01)
    x[..., 53:68] = 1

    def score(changed: Tensor, row: Tensor) -> np.ndarray:
        return model(changed).softmax(1)[:, 1].numpy()

    for attribution, better in ((x, True), (-x, False)):
        found = checks.curves(score, x, attribution, blank=torch.zeros_like(x), piece=(5,), seed=1, orders=20)
        areas = {name: float(area[0]) for name, area in found.areas().items()}
        assert (areas["deletion"] < areas["random_deletion"]) is better
        assert (areas["insertion"] > areas["random_insertion"]) is better


def test_curves_begin_and_end_with_the_row_and_the_blank_and_follow_the_order_of_the_pieces() -> None:
    weight = torch.arange(40.0)
    x = torch.ones(1, 1, 40)

    def score(changed: Tensor, row: Tensor) -> np.ndarray:
        return (changed * weight).sum((1, 2)).numpy()

    how = {"blank": torch.zeros_like(x), "piece": (2,), "seed": 0, "orders": 1}
    found = checks.curves(score, x, weight[None, None], **how)
    whole = weight.sum()
    best = np.concatenate([[0], weight.view(-1, 2).sum(1).flip(0).cumsum(0)])  # 20 pieces, the largest first
    np.testing.assert_allclose(found.insertion[0], best)
    np.testing.assert_allclose(found.deletion[0], whole - best)
    assert found.insertion.shape == (1, STEPS + 1)
    np.testing.assert_allclose(found.areas()["insertion"], np.trapezoid(best, dx=1 / STEPS))


def test_where_a_row_is_as_blank_nothing_is_taken_away_and_chance_is_not_made_to_look_worse() -> None:
    x = torch.zeros(1, 1, 100)
    x[..., :10] = 1

    def score(changed: Tensor, row: Tensor) -> np.ndarray:
        return changed.sum((1, 2)).numpy()

    found = checks.curves(score, x, x, blank=torch.zeros_like(x), piece=(1,), seed=0, orders=3)
    np.testing.assert_allclose(found.random_deletion[0], found.deletion[0])
    np.testing.assert_allclose(found.deletion[0], 10 - np.ceil(np.arange(STEPS + 1) / 2).clip(max=10), atol=1)


def test_pieces_of_pictures_are_squares_of_all_colours() -> None:
    x = torch.rand(1, 3, 30, 50)
    seen = []

    def score(changed: Tensor, row: Tensor) -> np.ndarray:
        seen.append(changed)
        return changed.mean((1, 2, 3)).numpy()

    checks.curves(score, x, x, blank=torch.ones_like(x), piece=(8, 8), seed=0, orders=1)
    gone = (seen[0][1] == 1).all(0).double()
    assert 0 < gone.sum() <= 2 * 64
    tile = gone[:8, :8]
    assert tile.min() == tile.max()
    assert torch.equal(seen[0][0], x[0])
    assert torch.equal(seen[0][STEPS], torch.ones(3, 30, 50))


def test_the_share_at_the_qrs_is_counted_by_hand() -> None:
    attribution = np.zeros((2, 1, 100))
    attribution[0, 0, 48:53] = 1  # at the peak
    attribution[0, 0, 80:85] = 1
    attribution[:, 0, 10] = -5  # what speaks against is not counted
    where = np.ones((2, 1, 100), bool)
    where[:, :, 90:] = False
    near = row_forms.near([np.array([50])] * 2, 100, 100)
    shares, times = checks.at_qrs(attribution, near, where)
    np.testing.assert_allclose(shares[0], 0.5)
    np.testing.assert_allclose(times[0], 13 / 90)  # 6 samples to either side and the peak itself
    assert np.isnan(shares[1])
    assert np.isnan(checks.at_qrs(attribution, row_forms.near([np.array([], int)] * 2, 100, 100), where)[0]).all()


def test_r_peaks_of_rows_are_at_their_beats_whatever_the_dataset_and_unit() -> None:
    rows = synth.beats(50, seed=3)["x"][:, None]
    found, away = row_forms.r_peaks("synth", rows, 125), []
    for row, peaks in zip(rows, found, strict=True):
        end = int(np.flatnonzero(row[0])[-1]) + 1
        assert peaks[0] == 0
        if end < 187:
            near = row[0, peaks[1] - 12 : min(peaks[1] + 13, end)]
            away.append(abs(int(near.argmax()) - 12))
    assert len(away) > 20
    assert np.median(away) <= 2
    options = BeatOptions(window="-0.25,0.5", rate=100.0)
    (own,) = row_forms.r_peaks("mitdb", np.zeros((1, 1, 75), np.float32), 100, options)
    assert own.tolist() == [25]
    assert row_forms.r_peaks("ecg5000", rows, 125) is None
    time_s = np.arange(3000) / 300
    lead = np.exp(-(((time_s % 0.9) - 0.45) ** 2) / (2 * 0.012**2))
    for scale in (0.01, 1.0, 500.0):
        (peaks,) = row_forms.r_peaks("table", (scale * lead)[None, None].astype(np.float32), 300)
        np.testing.assert_allclose(peaks / 300, 0.45 + 0.9 * np.arange(11), atol=0.02)
