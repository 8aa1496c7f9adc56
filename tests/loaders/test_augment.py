"""Every augmentation: the statistics it promises, chance from (seed, epoch, step) alone, and padding that stays
padding."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from helpers.augmented import Recorder
from loaders.augment import AUGMENTATIONS, Augment, Mix, examples, names, parse
from loaders.base import last_sample
from toolbox.errors import UsageError

RATES_HZ = (125.0, 360.0)
ADDED = ("noise", "wander", "hum")

OWN = names("signals")  # those of charts are in test_imaging.py
every_name = pytest.mark.parametrize("name", OWN)
every_rate = pytest.mark.parametrize("rate_hz", RATES_HZ)


def augmented(text: str, x: Tensor, *, rate_hz: float = 125.0, seed: int = 1, epoch: int = 0, step: int = 0) -> Tensor:
    return Augment(text, rate_hz=rate_hz, seed=seed)(x, epoch=epoch, step=step)[0]


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


@every_rate
@every_name
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_shape_and_kind_of_numbers_stay_and_the_batch_given_is_not_touched(
    name: str, rate_hz: float, dtype: torch.dtype
) -> None:
    for x in (beats().to(dtype), beats(1, 1, 40).to(dtype), torch.zeros(2, 2, 50, dtype=dtype)):
        before = x.clone()
        out = augmented(f"{name}::1", x, rate_hz=rate_hz)
        assert (out.shape, out.dtype) == (x.shape, x.dtype)
        assert out.isfinite().all()
        assert torch.equal(x, before)
        assert out.data_ptr() != x.data_ptr()


@every_name
def test_chance_is_a_pure_function_of_seed_epoch_and_step(name: str) -> None:
    def draw(**numbers: int) -> Tensor:
        return augmented(f"{name}::1", beats(), **{"seed": 1, "epoch": 2, "step": 3, **numbers})

    first = draw()
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, draw())
    assert torch.equal(torch.get_rng_state(), state)
    for other in ({"seed": 2}, {"epoch": 3}, {"step": 4}, {"epoch": 3, "step": 2}, {"seed": 2, "epoch": 1}):
        assert not torch.equal(first, draw(**other)), other


@every_name
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_each_row_is_changed_with_the_probability(name: str, probability: float) -> None:
    x = beats(3000, 1, 60)
    strength = {"mixup": 1}.get(name, "")  # of the default's shares many are nearly 0 or 1
    changed = (augmented(f"{name}:{strength}:{probability}", x) != x).flatten(1).any(1)
    expected = probability * (20 / 21 if name == "shift" else 1)  # one shift in 21 is by 0 samples
    assert float(changed.double().mean()) == pytest.approx(
        expected, abs=4 * np.sqrt(expected * (1 - expected) / 3000) + 0.003
    )
    pair = (changed[1:] & changed[:-1]).double().mean()
    assert float(pair) == pytest.approx(expected**2, abs=0.03)


@pytest.mark.parametrize("name", [name for name in OWN if name != "mixup"])
def test_a_strength_of_0_changes_nothing(name: str) -> None:
    assert torch.equal(augmented(f"{name}:0:1", beats()), beats())


@every_rate
@pytest.mark.parametrize("name", ADDED)
def test_what_is_added_leaves_the_padding_of_zeros(name: str, rate_hz: float) -> None:
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
def test_what_moves_in_is_zero_and_nothing_is_invented(name: str) -> None:
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


def test_noise_differs_between_leads() -> None:
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


def test_a_shift_is_that_of_numpy_with_zeros_moved_in() -> None:
    x = beats(50, 1)
    for row, out in zip(x[:, 0].numpy(), augmented("shift:6:1", x)[:, 0].numpy(), strict=True):
        padded = np.pad(row, 6)
        assert any(np.array_equal(out, padded[6 - offset : 6 - offset + 187]) for offset in range(-6, 7))


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


def test_without_mixup_nothing_is_said_of_partners() -> None:
    others = ",".join(name for name in OWN if name != "mixup")
    assert Augment(others, rate_hz=125, seed=1)(beats(), epoch=0, step=0)[1] is None


def operations(rows: int) -> list[str]:
    with Recorder() as recorder:
        augmented(",".join(OWN), beats(rows))
    return recorder.names


def test_nothing_is_done_by_row_and_nothing_is_read_back_from_the_device() -> None:
    few, many = operations(2), operations(300)
    assert few == many
    assert not [
        name for name in many if any(word in name for word in ("_local_scalar_dense", "nonzero", "equal.default"))
    ]


def test_what_is_left_out_is_the_default_of_the_augmentation() -> None:
    for name, entry in AUGMENTATIONS.items():
        default = (name, entry.strength, entry.probability)
        assert parse(name) == parse(f"{name}:") == parse(f"{name}::") == [default]
        assert parse(f"{name}::0.25") == [(*default[:2], 0.25)]
    assert parse("noise:0.05:0.5,shift:10:1") == [("noise", 0.05, 0.5), ("shift", 10, 1)]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_defaults_are_within_what_is_allowed(name: str) -> None:
    entry = AUGMENTATIONS[name]
    assert entry.allowed[1](entry.strength)
    assert 0 < entry.probability <= 1
    assert entry.unit


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
def test_what_cannot_be_read_is_a_usage_error_that_says_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Augment(text, rate_hz=125, seed=1)


@every_rate
def test_the_examples_show_one_beat_under_each_augmentation(rate_hz: float) -> None:
    rows = beats(3, 1)[:, 0].numpy()
    shown = examples(rows, rate_hz=rate_hz, seed=5)
    assert [parse(text)[0][0] for text in shown] == OWN
    for name, row in shown.items():
        assert row.shape == (187,)
        assert not np.array_equal(row, rows[0]), name
    assert not any(text.startswith("hum") for text in examples(rows, rate_hz=100, seed=4))
