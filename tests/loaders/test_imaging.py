"""Augmentations of charts: what each promises, pictures stay pictures, chance is of (seed, epoch, step), and physics
stays."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

import args
from commands import choices
from helpers.augmented import Recorder
from loaders.augment import AUGMENTATIONS, Augment, names
from toolbox.errors import UsageError

CHARTS = names("charts")
every_name = pytest.mark.parametrize("name", CHARTS)
STILL = [name for name in CHARTS if name != "mixup"]


def augmented(text: str, x: Tensor, *, seed: int = 1, epoch: int = 0, step: int = 0) -> Tensor:
    return Augment(text, rate_hz=125, seed=seed, charts=True)(x, epoch=epoch, step=step)[0]


def charts(rows: int = 8, height: int = 40, width: int = 56) -> Tensor:
    """Pictures without two pixels alike, between 0.2 and 0.8."""
    return 0.2 + 0.6 * torch.rand(rows, 3, height, width, generator=torch.Generator().manual_seed(0))


def dots(rows: int, places: list[tuple[int, int]], height: int = 81, width: int = 121) -> Tensor:
    """White paper with black squares of 3 x 3 pixels at `places` (row, column)."""
    x = torch.ones(rows, 3, height, width)
    for row, column in places:
        x[:, :, row - 1 : row + 2, column - 1 : column + 2] = 0
    return x


def middle(x: Tensor) -> np.ndarray:
    """The centre of mass (B, 2) of what is darker than paper, and than what lies beyond it."""
    return np.array([ndimage.center_of_mass(np.clip(0.9 - picture[0].numpy(), 0, None)) for picture in x])


@every_name
@pytest.mark.parametrize("shape", [(8, 40, 56), (1, 33, 32), (2, 56, 40)], ids=str)
def test_a_picture_stays_a_picture_and_the_batch_given_is_not_touched(name: str, shape: tuple[int, ...]) -> None:
    for x in (charts(*shape), torch.zeros(shape[0], 3, *shape[1:]), torch.ones(shape[0], 3, *shape[1:])):
        before = x.clone()
        largest = {"tilt": 45, "blur": 5, "mixup": 1}.get(name, 0.9)
        for strength in (AUGMENTATIONS[name].strength, largest):
            out = augmented(f"{name}:{strength}:1", x)
            assert (out.shape, out.dtype) == (x.shape, x.dtype)
            assert 0 <= float(out.min()) <= float(out.max()) <= 1
        assert torch.equal(x, before)


@every_name
def test_chance_is_a_pure_function_of_seed_epoch_and_step(name: str) -> None:
    def draw(**numbers: int) -> Tensor:
        return augmented(f"{name}::1", charts(), **{"seed": 1, "epoch": 2, "step": 3, **numbers})

    first = draw()
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, draw())
    assert torch.equal(torch.get_rng_state(), state)
    for other in ({"seed": 2}, {"epoch": 3}, {"step": 4}, {"epoch": 3, "step": 2}):
        assert not torch.equal(first, draw(**other)), other


@every_name
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_each_row_is_changed_with_the_probability_and_else_left_as_it_is(name: str, probability: float) -> None:
    x = charts(600, 32, 32)
    strength = {"mixup": 1, "move": 0.5, "blur": 20}.get(name, "")
    changed = (augmented(f"{name}:{strength}:{probability}", x) != x).flatten(1).any(1)
    spread = 4 * np.sqrt(probability * (1 - probability) / 600)
    assert float(changed.double().mean()) == pytest.approx(probability, abs=spread + 0.02)


@pytest.mark.parametrize("name", STILL)
def test_a_strength_of_0_changes_nothing(name: str) -> None:
    torch.testing.assert_close(augmented(f"{name}:0:1", charts()), charts(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", STILL)
def test_rows_are_changed_each_in_its_own_way(name: str) -> None:
    strength = {"move": 0.5}.get(name, "")
    out = augmented(f"{name}:{strength}:1", charts(1).repeat(6, 1, 1, 1))
    assert len({tuple(picture.flatten().tolist()) for picture in out}) > 4


def test_nothing_is_done_by_row_and_nothing_is_read_back_from_the_device() -> None:
    def operations(rows: int) -> list[str]:
        with Recorder() as recorder:
            augmented(",".join(CHARTS), charts(rows))
        return recorder.names

    few, many = operations(2), operations(50)
    assert few == many
    assert not [
        name for name in many if any(word in name for word in ("_local_scalar_dense", "nonzero", "equal.default"))
    ]


def test_paper_that_is_moved_is_that_of_numpy_with_its_mean_colour_beyond_the_edge() -> None:
    x = charts(40, 40, 56)
    seen = set()
    for before, after in zip(x.numpy(), augmented("move:0.1:1", x).numpy(), strict=True):
        padded = np.tile(before.mean((1, 2), keepdims=True), (1, 48, 64))
        padded[:, 4:44, 4:60] = before
        (offset,) = [
            (down, across)
            for down in range(-4, 5)
            for across in range(-4, 5)
            if np.allclose(after, padded[:, 4 - down : 44 - down, 4 - across : 60 - across], atol=1e-5)
        ]
        seen.add(offset)
    assert len(seen) > 20


def test_paper_that_is_tilted_is_turned_about_its_middle_by_one_angle_and_keeps_every_distance() -> None:
    corner, other = (20, 30), (60, 90)
    turned = [middle(augmented("tilt:10:1", dots(200, [place]))) - (40, 60) for place in (corner, other)]
    for place, found in zip((corner, other), turned, strict=True):
        np.testing.assert_allclose(np.hypot(*found.T), np.hypot(place[0] - 40, place[1] - 60), atol=0.4)
    angles = [
        np.degrees(np.arctan2(*found.T) - np.arctan2(place[0] - 40, place[1] - 60))
        for place, found in zip((corner, other), turned, strict=True)
    ]
    # Time and voltage turn alike, though the paper is wider than high.
    np.testing.assert_allclose(angles[0], angles[1], atol=0.6)
    assert np.abs(angles[0]).max() <= 10.5
    assert np.abs(angles[0]).max() > 8
    assert abs(np.mean(angles[0])) < 1.5


def test_blur_is_scipys_gaussian_of_a_width_up_to_the_one_asked_for() -> None:
    x = charts(20, 32, 40).double()
    changed = augmented("blur:2:1", x)
    widths = np.linspace(0.05, 2, 80)
    for before, after in zip(x.numpy(), changed.numpy(), strict=True):
        errors = [
            np.abs(ndimage.gaussian_filter(before, (0, sd, sd), mode="nearest", radius=(0, 6, 6)) - after).max()
            for sd in widths
        ]
        assert min(errors) < 0.03
    blurred = (changed.std((1, 2, 3)) / x.std((1, 2, 3))).numpy()
    assert blurred.min() < 0.5 < blurred.max()


def test_brightness_and_contrast_and_grain_are_as_large_as_they_say() -> None:
    x = torch.full((2000, 3, 4, 4), 0.5)
    added = (augmented("brightness:0.2:1", x) - x)[:, 0, 0, 0]
    assert float(added.abs().max()) <= 0.2
    assert float(added.std()) == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
    assert torch.equal(augmented("contrast:0.2:1", x), x)
    x[:, :, 0] = 0.6
    factor = (augmented("contrast:0.2:1", x)[:, 0, 0, 0] - 0.525) / 0.075
    assert float(factor.log().std()) == pytest.approx(0.2, rel=0.1)
    noise = augmented("grain:0.03:1", torch.full((50, 3, 32, 32), 0.5)) - 0.5
    assert float(noise.std()) == pytest.approx(0.03, rel=0.02)
    assert abs(np.corrcoef(noise[:, 0].flatten(), noise[:, 1].flatten())[0, 1]) < 0.02


def test_faded_ink_is_paler_by_one_factor_and_white_stays_white() -> None:
    x = charts()
    factor = (1 - augmented("fade:0.5:1", x)) / (1 - x)
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor))
    assert 0.5 <= float(factor.min()) < float(factor.max()) <= 1
    assert torch.equal(augmented("fade:0.5:1", torch.ones(2, 3, 4, 4)), torch.ones(2, 3, 4, 4))


def test_old_paper_loses_blue_and_some_green() -> None:
    left = augmented("age:0.3:1", charts()) / charts()
    red, green, blue = left.mean((2, 3)).T
    assert torch.equal(red, torch.ones_like(red))
    torch.testing.assert_close(1 - green, 0.35 * (1 - blue))
    assert float(blue.min()) >= 0.7


def test_a_patch_is_one_rectangle_of_the_charts_mean_colour() -> None:
    x = charts(200, 40, 60)
    changed = (out := augmented("patch:0.5:1", x)) != x
    heights, widths = changed.any(3).sum(2)[:, 0], changed.any(2).sum(2)[:, 0]
    assert torch.equal(changed[:, 0].sum((1, 2)), heights * widths)
    assert int(heights.max()) in range(16, 21)
    assert int(widths.max()) in range(24, 31)
    for row in changed.flatten(1).any(1).nonzero()[:5, 0]:
        colours = out[row][:, changed[row, 0]]
        torch.testing.assert_close(colours, x[row].mean((1, 2))[:, None].expand_as(colours))
    assert len({int(place) for place in changed[:, 0].flatten(1).int().argmax(1)}) > 100


def test_nothing_mirrors_a_chart_or_stretches_time_against_voltage() -> None:
    x = dots(30, [(20, 30), (20, 90), (60, 30)])  # an L: what is right of it stays right, what is below stays below
    for name in STILL:
        for out in augmented(f"{name}::1", x):
            labels, count = ndimage.label(out[0].numpy() < 0.6 * float(out[0].median()))
            places = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1)))
            if name == "patch" or count != 3:
                continue
            corner, right, below = sorted(places.tolist(), key=lambda at: (at[0] > 40, at[1]))
            assert np.hypot(right[0] - corner[0], right[1] - corner[1]) == pytest.approx(60, abs=1)
            assert np.hypot(below[0] - corner[0], below[1] - corner[1]) == pytest.approx(40, abs=1)
            assert right[1] > corner[1]
            assert below[0] > corner[0]


ON = {"chart": ("charts", "signals"), "signal": ("signals", "charts")}


@pytest.mark.parametrize("view", ON)
def test_what_is_for_other_rows_is_refused_in_a_line_that_names_what_there_is(view: str) -> None:
    own, other = ON[view]
    for name in AUGMENTATIONS:
        given: dict[str, Any] = {"view": view, "augment": name}
        if own in AUGMENTATIONS[name].rows:
            assert choices.settle(args.resolve(given)).augment == name
            assert Augment(name, rate_hz=125, seed=1, charts=view == "chart")
            continue
        said = rf"--augment {name} is for {other}, the rows are {own}. Try: for {own}: {names(own)[0]}, "
        with pytest.raises(UsageError, match=said):
            choices.settle(args.resolve(given))
        with pytest.raises(UsageError, match=said):
            Augment(name, rate_hz=125, seed=1, charts=view == "chart")


def test_all_are_listed() -> None:
    assert choices.names("augmentations") == list(AUGMENTATIONS)
    assert set(AUGMENTATIONS) == set(names("signals")) | set(names("charts"))
