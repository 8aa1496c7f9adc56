"""Every augmentation of signals and charts: statistics, chance from (seed, epoch, step) alone, padding, paper."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import args
from commands import choices
from commands.check import training
from loaders.augment import AUGMENTATIONS, Augment, Mix, examples, names, parse
from loaders.base import last_sample
from toolbox.errors import UsageError

RATES_HZ = (125.0, 360.0)
ADDED = ("noise", "wander", "hum")

OWN, CHARTS = names("signals"), names("charts")
STILL = [name for name in CHARTS if name != "mixup"]
EVERY = [(name, False) for name in OWN] + [(name, True) for name in CHARTS]
every_name = pytest.mark.parametrize(("name", "paper"), EVERY)
every_rate = pytest.mark.parametrize("rate_hz", RATES_HZ)


def augmented(text: str, x: Tensor, *, rate_hz: float = 125.0, seed: int = 1, epoch: int = 0, step: int = 0) -> Tensor:
    return Augment(text, rate_hz=rate_hz, seed=seed)(x, epoch=epoch, step=step)[0]


def on_paper(text: str, x: Tensor, *, seed: int = 1, epoch: int = 0, step: int = 0) -> Tensor:
    return Augment(text, rate_hz=125, seed=seed, charts=True)(x, epoch=epoch, step=step)[0]


def mixed(text: str, x: Tensor, **numbers: int) -> Mix:
    mix = Augment(text, rate_hz=125.0, seed=1)(x, **{"epoch": 0, "step": 0, **numbers})[1]
    assert mix is not None
    return mix


def beats(rows: int = 64, leads: int = 2, samples: int = 187) -> Tensor:
    """Rows without a zero before their padding, which starts at another sample in each."""
    random = torch.Generator().manual_seed(0)
    x = torch.rand(rows, leads, samples, generator=random) + 0.1
    lengths = torch.randint(samples // 2, samples + 1, (rows, 1, 1), generator=random)
    return torch.where(torch.arange(samples) < lengths, x, 0.0)


def ones(rows: int, samples: int = 187, leads: int = 1) -> Tensor:
    return torch.ones(rows, leads, samples)


def peak_hz(rows: Tensor, rate_hz: float) -> np.ndarray:
    """Frequency (B,) of the largest bin of the spectrum of rows (B, T)."""
    spectrum = np.abs(np.fft.rfft(rows.double().numpy()))
    return np.fft.rfftfreq(rows.shape[1], 1 / rate_hz)[spectrum.argmax(1)]


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


class Recorder(TorchDispatchMode):
    """The names of the operations that run while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


# Signals and charts


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("about", training.AUGMENTATION)
def test_an_augmentation_passes_every_check(name: str, about: str) -> None:
    """What --check asks of a user's augmentation."""
    assert training.AUGMENTATION[about](name) == ""


@every_name
def test_chance_is_a_pure_function_of_seed_epoch_and_step(name: str, paper: bool) -> None:
    def draw(**numbers: int) -> Tensor:
        how, x = (on_paper, charts()) if paper else (augmented, beats())
        return how(f"{name}::1", x, **{"seed": 1, "epoch": 2, "step": 3, **numbers})

    first = draw()
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, draw())
    assert torch.equal(torch.get_rng_state(), state)
    for other in ({"seed": 2}, {"epoch": 3}, {"step": 4}, {"epoch": 3, "step": 2}, {"seed": 2, "epoch": 1}):
        assert not torch.equal(first, draw(**other)), other


@every_name
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_each_row_is_changed_with_the_probability(name: str, paper: bool, probability: float) -> None:
    rows = 250 if paper else 2000
    how, x = (on_paper, charts(rows, 24, 24)) if paper else (augmented, beats(rows, 12 if name == "leads" else 1, 60))
    # Of the default's shares of mixup many are nearly 0 or 1; small blurs and moves change no pixel.
    strength = {"mixup": 1, "move": 0.5, "blur": 20, "leads": 0.9}.get(name, "")
    changed = (how(f"{name}:{strength}:{probability}", x) != x).flatten(1).any(1)
    expected = probability * (20 / 21 if name == "shift" else 1)  # one shift in 21 is by 0 samples
    spread = 4 * np.sqrt(expected * (1 - expected) / rows)
    assert float(changed.double().mean()) == pytest.approx(expected, abs=spread + (0.03 if paper else 0.003))
    if not paper:
        pair = (changed[1:] & changed[:-1]).double().mean()
        assert float(pair) == pytest.approx(expected**2, abs=0.035)


@every_name
def test_a_strength_of_0_changes_nothing(name: str, paper: bool) -> None:
    if name != "mixup":
        how, x = (on_paper, charts()) if paper else (augmented, beats())
        torch.testing.assert_close(how(f"{name}:0:1", x), x, atol=1e-5 if paper else 0, rtol=0)


@pytest.mark.parametrize("paper", [False, True])
def test_nothing_is_done_by_row_and_nothing_is_read_back_from_the_device(paper: bool) -> None:
    def operations(rows: int) -> list[str]:
        with Recorder() as recorder:
            on_paper(",".join(CHARTS), charts(rows)) if paper else augmented(",".join(OWN), beats(rows))
        return recorder.names

    few, many = operations(2), operations(50)
    assert few == many
    assert not [name for name in many for word in ("_local_scalar_dense", "nonzero", "equal.default") if word in name]


# Signals


@every_rate
@pytest.mark.parametrize("name", OWN)
def test_shape_and_kind_of_numbers_stay_and_the_batch_is_not_changed(name: str, rate_hz: float) -> None:
    assert training.augmentation_shape(name, rate_hz) == ""


@every_rate
@pytest.mark.parametrize("name", ADDED)
def test_added_signals_leave_the_padding_of_zeros(name: str, rate_hz: float) -> None:
    x = beats(64)
    x[0, 1, :50] = 0  # zeros inside a beat are samples
    x[1, 0, 60:] = 0  # the second lead is longer
    x[2] = 0
    out = augmented(f"{name}::1", x, rate_hz=rate_hz)
    padding = torch.arange(187) > last_sample(x)[:, None, None]
    padding[2] = True
    assert not out.masked_select(padding).any()
    assert torch.equal(last_sample(out), last_sample(x))
    assert out[0, 1, 1:50].all()


@pytest.mark.parametrize("name", ["shift", "stretch", "cutout", "scale"])
def test_samples_that_move_in_are_zero_and_no_peak_grows(name: str) -> None:
    x = beats(200)
    out = augmented(f"{name}::1", x)
    longest = {"shift": last_sample(x) + 10, "stretch": (last_sample(x) * 1.1).ceil()}.get(name, last_sample(x))
    assert (last_sample(out) <= longest).all()
    assert (out >= 0).all()
    if name != "scale":
        assert (out.amax((1, 2)) <= x.amax((1, 2)) + 1e-6).all()


def test_noise_is_white_gaussian_and_of_the_standard_deviation_asked_for() -> None:
    added = (augmented("noise:0.3:1", ones(200)) - 1)[:, 0]
    assert float(added.std()) == pytest.approx(0.3, rel=0.02)
    assert float(added.mean()) == pytest.approx(0, abs=0.005)
    assert stats.kstest(added.flatten().double() / 0.3, "norm").pvalue > 0.001
    assert float((added[:, 1:] * added[:, :-1]).mean()) == pytest.approx(0, abs=0.003)
    added = augmented("noise:0.3:1", ones(50, leads=2)) - 1
    assert abs(np.corrcoef(added[:, 0].flatten(), added[:, 1].flatten())[0, 1]) < 0.05


def test_a_shift_is_by_whole_samples_all_alike_and_of_every_lead() -> None:
    x = torch.zeros(5000, 2, 40)
    x[:, 0, 20], x[:, 1, 22] = 1, 1
    out = augmented("shift:4:1", x)
    offset = out[:, 0].argmax(1) - 20
    assert torch.equal(out[:, 1].argmax(1) - 22, offset)
    assert torch.equal(out.sum((1, 2)), torch.full((5000,), 2.0))
    counts = torch.bincount(offset + 4, minlength=9)
    assert len(counts) == 9
    assert stats.chisquare(counts).pvalue > 0.001


def test_a_gain_is_a_lognormal_factor_of_each_lead() -> None:
    factor = augmented("gain:0.2:1", ones(4000, 3, leads=12))
    assert torch.equal(factor[:, :, 0], factor[:, :, 2])
    logarithm = factor[:, :, 0].log().numpy()
    assert stats.kstest(logarithm.ravel(), stats.norm(0, 0.2).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(logarithm.T)[0, 1:]).max() < 0.06


def test_lost_leads_are_zero_as_often_as_stated_and_one_is_left() -> None:
    kept = augmented("leads:0.3:1", ones(4000, 3, leads=12))
    lost = (kept == 0).all(2)
    assert torch.equal(lost, (kept == 0).any(2))
    assert abs(lost.float().mean() - 0.3) < 0.01
    assert not (augmented("leads:0.9:1", ones(4000, 3, leads=2)) == 0).all(2).all(1).any()
    assert torch.equal(augmented("leads:0.9:1", ones(9, 3)), ones(9, 3))


def test_a_scale_is_one_lognormal_factor_a_row() -> None:
    x = beats(3000)
    factor = augmented("scale:0.2:1", x) / x.clamp(min=1e-9)
    log = factor[:, 0, 0].log()
    assert stats.kstest(log.double() / 0.2, "norm").pvalue > 0.001
    torch.testing.assert_close(augmented("scale:0.2:1", x), x * factor[:, :1, :1])


@every_rate
def test_wander_is_a_slow_sine_of_the_amplitude_asked_for(rate_hz: float) -> None:
    samples = int(40 * rate_hz)  # whole periods of the slowest are within 40 s
    added = (augmented("wander:0.3:1", ones(300, samples), rate_hz=rate_hz) - 1)[:, 0]
    np.testing.assert_allclose(added.abs().amax(1), 0.3, rtol=0.01)
    frequency = peak_hz(added, rate_hz)
    assert frequency.min() >= 0.025
    assert frequency.max() <= 0.525
    assert stats.kstest(frequency, "uniform", (0.05, 0.45)).pvalue > 0.0001


@every_rate
def test_hum_is_50_or_60_hz_by_row_in_every_phase_at_the_amplitude_asked_for(rate_hz: float) -> None:
    samples = int(4 * rate_hz)  # both frequencies have whole periods in it
    added = (augmented("hum:0.2:1", ones(1000, samples), rate_hz=rate_hz) - 1)[:, 0]
    assert set(peak_hz(added, rate_hz).round(6)) == {50.0, 60.0}
    assert np.mean(peak_hz(added, rate_hz) < 55) == pytest.approx(0.5, abs=0.07)
    np.testing.assert_allclose(added.std(1, correction=0), 0.2 / np.sqrt(2), rtol=0.01)
    assert stats.kstest(np.arcsin((added[:, 0] / 0.2).clamp(-1, 1)) / np.pi + 0.5, "uniform").pvalue > 0.001


@pytest.mark.parametrize("name", ["wander", "hum"])
def test_every_lead_has_its_own_phase(name: str) -> None:
    added = augmented(f"{name}:0.2:1", ones(50, leads=2)) - 1
    assert not torch.isclose(added[:, 0], added[:, 1], atol=1e-3).all(1).any()


def test_a_rate_that_cannot_carry_the_hum_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="hum needs a sampling rate above 120 Hz, the data has 100"):
        Augment("noise,hum", rate_hz=100, seed=1)


def test_a_stretch_is_the_linear_interpolation_of_numpy_at_a_uniform_factor() -> None:
    samples = 187
    ramp = torch.arange(samples).float().expand(2000, 1, -1)
    factor = 1 / augmented("stretch:0.3:1", ramp)[:, 0, 1].double()
    assert stats.kstest(factor, "uniform", (0.7, 0.6)).pvalue > 0.001
    x = beats(2000, 1)
    out = augmented("stretch:0.3:1", x)  # the same factors: chance depends on the number of rows alone
    time = np.arange(samples)
    for i in range(50):
        last = int(last_sample(x[i : i + 1]))
        expected = np.interp(time / float(factor[i]), time[: last + 1], x[i, 0, : last + 1], right=0)
        np.testing.assert_allclose(out[i, 0], expected, atol=2e-4)


@every_rate
def test_a_cutout_is_one_window_of_up_to_the_seconds_asked_for_in_every_lead(rate_hz: float) -> None:
    x = ones(4000, samples=400, leads=2)
    gone = augmented("cutout:0.2:1", x, rate_hz=rate_hz) == 0
    assert torch.equal(gone[:, 0], gone[:, 1])
    length, longest = gone[:, 0].sum(1), round(0.2 * rate_hz)
    assert (gone[:, 0].int().diff(dim=1) == 1).sum(1).max() <= 1
    assert (int(length.min()), int(length.max())) == (1, longest)
    assert float(length.double().mean()) == pytest.approx((longest + 1) / 2, rel=0.03)
    middle = gone[:, 0].double().mean(0)[longest:-longest]
    assert float(middle.max() / middle.min()) < 2


def test_a_cutout_falls_on_the_beat_and_not_on_its_padding() -> None:
    x = torch.cat([ones(500, 60), torch.zeros(500, 1, 140)], 2)
    assert (augmented("cutout:0.2:1", x) != x).any(2).all()


def test_mixup_shares_are_beta_distributed() -> None:
    for alpha in (0.2, 1.0, 5.0):
        share = mixed(f"mixup:{alpha}", ones(4000)).share
        assert float(share.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
        assert stats.kstest(share.double(), stats.beta(alpha, alpha).cdf).pvalue > 0.001


@pytest.mark.parametrize("alpha", [0.001, 1000])
def test_the_ends_of_alpha_give_shares_in_0_to_1(alpha: float) -> None:
    share = mixed(f"mixup:{alpha}", ones(1000)).share
    assert ((share >= 0) & (share <= 1)).all()


def test_mixup_mixes_each_row_with_another_as_it_says() -> None:
    x = beats(200)
    out, mix = Augment("mixup:1:0.6", rate_hz=125, seed=1)(x, epoch=0, step=0)
    assert (mix.partner.dtype, mix.partner.shape, mix.share.shape) == (torch.int64, (200,), (200,))
    share = mix.share[:, None, None]
    torch.testing.assert_close(out, share * x + (1 - share) * x[mix.partner])
    unmixed = mix.partner == torch.arange(200)
    assert torch.equal(unmixed, mix.share == 1)
    assert torch.equal(out[unmixed], x[unmixed])
    assert int(unmixed.sum()) == pytest.approx(80, abs=25)


def test_every_row_is_the_partner_of_one_other_and_the_partners_change() -> None:
    first, second = (mixed("mixup", ones(100), step=step).partner for step in (0, 1))
    assert torch.equal(first.sort().values, torch.arange(100))
    assert not (first == torch.arange(100)).any()
    assert not torch.equal(first, second)
    assert mixed("mixup", ones(1)).partner.tolist() == [0]


def test_mixup_comes_last_and_the_others_in_their_order() -> None:
    assert [name for name, *_ in parse("mixup, shift ,noise")] == ["shift", "noise", "mixup"]
    x = beats()
    out, mix = Augment("mixup,scale:0.5:1", rate_hz=125, seed=3)(x, epoch=1, step=2)
    scaled = augmented("scale:0.5:1", x, seed=3, epoch=1, step=2)
    torch.testing.assert_close(out, mix.of(scaled))


def test_without_mixup_there_are_no_partners() -> None:
    others = ",".join(name for name in OWN if name != "mixup")
    assert Augment(others, rate_hz=125, seed=1)(beats(), epoch=0, step=0)[1] is None


def test_omitted_parts_are_the_defaults_of_the_augmentation() -> None:
    for name, entry in AUGMENTATIONS.items():
        default = (name, entry.strength, entry.probability)
        assert parse(name) == parse(f"{name}:") == parse(f"{name}::") == [default]
        assert parse(f"{name}::0.25") == [(*default[:2], 0.25)]
        assert entry.allowed[1](entry.strength)
        assert 0 < entry.probability <= 1
        assert entry.unit
    assert parse("noise:0.05:0.5,shift:10:1") == [("noise", 0.05, 0.5), ("shift", 10, 1)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "unknown --augment ''; known are noise, shift"),
        ("noise,", "unknown --augment ''"),
        ("nose", "unknown --augment 'nose'.*Try: noise"),
        (
            "noise:loud",
            r"strength of noise \(standard deviation, data's unit\) is loud, must be from 0 to a million. Try: 0.05",
        ),
        ("noise:nan", "strength of noise .* is nan"),
        ("noise:inf", "strength of noise .* is inf"),
        ("noise:-1", "strength of noise .* is -1, must be from 0"),
        ("noise:0.1:1.5", "probability of noise is 1.5, must be from 0 to 1"),
        ("noise:0.1:often", "probability of noise is often"),
        ("shift:2.5", "strength of shift .* is 2.5, must be a whole number"),
        ("stretch:1", "strength of stretch .* must be from 0 to 0.9"),
        ("mixup:0", r"strength of mixup \(alpha of .* is 0, must be from 0.001 to 1000"),
        ("noise:1:1:1", "--augment noise:1:1:1 has more than strength and probability"),
        ("noise,shift,noise:0.1", "--augment names noise twice"),
    ],
)
def test_an_unreadable_augmentation_is_a_usage_error_that_says_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Augment(text, rate_hz=125, seed=1)


@every_rate
def test_the_examples_show_one_beat_under_each_augmentation(rate_hz: float) -> None:
    rows = beats(3, 1)[:, 0].numpy()
    shown = examples(rows, rate_hz=rate_hz, seed=5)
    assert [parse(text)[0][0] for text in shown] == [name for name in OWN if name != "leads"]
    for name, row in shown.items():
        assert row.shape == (187,)
        assert not np.array_equal(row, rows[0]), name
    assert not any(text.startswith("hum") for text in examples(rows, rate_hz=100, seed=4))


# Charts


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize("shape", [(8, 40, 56), (1, 33, 32)], ids=str)
def test_a_picture_stays_a_picture_and_the_batch_given_is_not_touched(name: str, shape: tuple[int, ...]) -> None:
    for x in (charts(*shape), torch.zeros(shape[0], 3, *shape[1:]), torch.ones(shape[0], 3, *shape[1:])):
        before = x.clone()
        largest = {"tilt": 45, "blur": 5, "mixup": 1}.get(name, 0.9)
        for strength in (AUGMENTATIONS[name].strength, largest):
            out = on_paper(f"{name}:{strength}:1", x)
            assert (out.shape, out.dtype) == (x.shape, x.dtype)
            assert 0 <= float(out.min()) <= float(out.max()) <= 1
        assert torch.equal(x, before)


@pytest.mark.parametrize("name", STILL)
def test_rows_are_changed_each_in_its_own_way(name: str) -> None:
    strength = {"move": 0.5}.get(name, "")
    out = on_paper(f"{name}:{strength}:1", charts(1).repeat(6, 1, 1, 1))
    assert len({tuple(picture.flatten().tolist()) for picture in out}) > 4


def test_paper_that_is_moved_is_that_of_numpy_with_its_mean_colour_beyond_the_edge() -> None:
    x = charts(40, 40, 56)
    seen = set()
    for before, after in zip(x.numpy(), on_paper("move:0.1:1", x).numpy(), strict=True):
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
    turned = [middle(on_paper("tilt:10:1", dots(200, [place]))) - (40, 60) for place in (corner, other)]
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
    changed = on_paper("blur:2:1", x)
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
    added = (on_paper("brightness:0.2:1", x) - x)[:, 0, 0, 0]
    assert float(added.abs().max()) <= 0.2
    assert float(added.std()) == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
    assert torch.equal(on_paper("contrast:0.2:1", x), x)
    x[:, :, 0] = 0.6
    factor = (on_paper("contrast:0.2:1", x)[:, 0, 0, 0] - 0.525) / 0.075
    assert float(factor.log().std()) == pytest.approx(0.2, rel=0.1)
    noise = on_paper("grain:0.03:1", torch.full((50, 3, 32, 32), 0.5)) - 0.5
    assert float(noise.std()) == pytest.approx(0.03, rel=0.02)
    assert abs(np.corrcoef(noise[:, 0].flatten(), noise[:, 1].flatten())[0, 1]) < 0.02


def test_faded_ink_is_paler_by_one_factor_and_white_stays_white() -> None:
    x = charts()
    factor = (1 - on_paper("fade:0.5:1", x)) / (1 - x)
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor))
    assert 0.5 <= float(factor.min()) < float(factor.max()) <= 1
    assert torch.equal(on_paper("fade:0.5:1", torch.ones(2, 3, 4, 4)), torch.ones(2, 3, 4, 4))


def test_old_paper_loses_blue_and_some_green() -> None:
    left = on_paper("age:0.3:1", charts()) / charts()
    red, green, blue = left.mean((2, 3)).T
    assert torch.equal(red, torch.ones_like(red))
    torch.testing.assert_close(1 - green, 0.35 * (1 - blue))
    assert float(blue.min()) >= 0.7


def test_a_patch_is_one_rectangle_of_the_charts_mean_colour() -> None:
    x = charts(200, 40, 60)
    changed = (out := on_paper("patch:0.5:1", x)) != x
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
        for out in on_paper(f"{name}::1", x):
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
def test_an_augmentation_for_other_rows_is_refused_in_a_line_that_names_one_for_these(view: str) -> None:
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
