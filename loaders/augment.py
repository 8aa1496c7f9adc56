"""Train-time transforms of a whole batch of tensors on its device, from the text of --augment.

    augment = Augment("noise:0.05:0.5,shift,mixup:0.2", rate_hz=125, seed=42)
    x, mix = augment(x, epoch=3, step=17)

An augmentation is `name[:strength[:probability]]`; a part that is empty or left out has its default. Each changes every
row independently, with its probability, in the given order, mixup last. All random numbers come from (seed, epoch,
step): a run that is resumed within an epoch gets the same batches without stored state.

A change of a batch is (x, strength, chance) -> a changed copy, or a mix of rows: of signals x (B, C, T), or of charts x
(B, 3, H, W) in [0, 1]. Every row is changed differently. Signals may be padded with zeros at their end, which recurrent
networks mask: additions leave the padding unchanged, and zeros move in. Charts get the effects of a scanner, a camera
or age on paper; the drawing stays: no mirror image, no stretching of time against voltage, no enlarged part. Areas
beyond the paper's edge, and stickers, have the chart's mean colour.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from loaders.base import last_sample
from toolbox.errors import UsageError
from toolbox.registry import pick
from toolbox.training.losses import Mix

WANDER_HZ = (0.05, 0.5)
MAINS_HZ = (50.0, 60.0)


class Chance:
    """The random numbers of one batch, made on its device from the seeds `numbers`, and the rate of its samples."""

    def __init__(self, device: torch.device, rate_hz: float, numbers: tuple[int, ...]) -> None:
        self.device, self.rate_hz = device, rate_hz
        self.seeds = np.random.SeedSequence(numbers)
        self.generator = Generator(device).manual_seed(int(self.seeds.generate_state(1, np.uint64)[0]))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """From `low` to below `high`."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Mean 0, standard deviation 1."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers from `low` to `high` inclusive."""
        return torch.randint(low, high + 1, shape, generator=self.generator, device=self.device)

    def beta(self, alpha: float, rows: int) -> Tensor:
        """Beta(alpha, alpha), drawn by numpy: torch has no generator for it."""
        drawn = np.random.default_rng(self.seeds).beta(alpha, alpha, rows).astype(np.float32)
        return torch.from_numpy(drawn).to(self.device, non_blocking=True)


def noise(x: Tensor, sd: float, chance: Chance) -> Tensor:
    """White Gaussian noise of standard deviation `sd`, in the data's unit."""
    return _added(x, sd * chance.normal(*x.shape))


def shift(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Later or earlier by up to `most` samples, uniformly; zeros move in."""
    time = torch.arange(x.shape[2], device=x.device)
    source = time - chance.whole(-int(most), int(most), len(x), 1)  # (B, T)
    outside = (source < 0) | (source >= x.shape[2])
    return _taken(x, source).masked_fill(outside[:, None], 0)


def scale(x: Tensor, spread: float, chance: Chance) -> Tensor:
    """Multiply all leads of a row by a lognormal factor; its logarithm has the standard deviation `spread`."""
    return x * torch.exp(spread * chance.normal(len(x), 1, 1))


def wander(x: Tensor, amplitude: float, chance: Chance) -> Tensor:
    """Baseline wander: a sine of 0.05 to 0.5 Hz with a random phase in each lead; amplitude in the data's unit."""
    low, high = WANDER_HZ
    return _added(x, amplitude * _sine(x, chance.uniform(len(x), 1, 1, low=low, high=high), chance))


def hum(x: Tensor, amplitude: float, chance: Chance) -> Tensor:
    """Powerline hum: a sine of 50 or 60 Hz by row with a random phase in each lead; amplitude in the data's unit."""
    low, high = MAINS_HZ
    return _added(x, amplitude * _sine(x, low + (high - low) * chance.whole(0, 1, len(x), 1, 1), chance))


def stretch(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Longer or shorter in time by a factor of 1 - most to 1 + most from the first sample, by linear interpolation.

    A longer row loses its end; zeros fill the end of a shorter one.
    """
    factor = chance.uniform(len(x), 1, low=1 - most, high=1 + most)
    source = torch.arange(x.shape[2], device=x.device) / factor  # (B, T)
    before = source.floor()
    left, right = _taken(x, before.long()), _taken(x, before.long() + 1)
    between = left + (source - before)[:, None] * (right - left)
    return between.masked_fill((source > last_sample(x)[:, None])[:, None], 0)


def cutout(x: Tensor, longest_s: float, chance: Chance) -> Tensor:
    """A window of up to `longest_s` seconds is 0 in every lead, anywhere before the padding (DeVries & Taylor 2017)."""
    time = torch.arange(x.shape[2], device=x.device)
    width = (chance.uniform(len(x), 1) * round(longest_s * chance.rate_hz)).ceil()
    room = (last_sample(x)[:, None] + 1 - width).clamp(min=0)
    start = (chance.uniform(len(x), 1) * (room + 1)).floor()
    return x.masked_fill(((time >= start) & (time < start + width))[:, None], 0)


def gain(x: Tensor, spread: float, chance: Chance) -> Tensor:
    """Multiply each lead by a lognormal factor of its own; its logarithm has the standard deviation `spread`."""
    return x * torch.exp(spread * chance.normal(len(x), x.shape[1], 1))


def leads(x: Tensor, part: float, chance: Chance) -> Tensor:
    """Leads are 0, each with the probability `part`, but at least one of a row stays."""
    drawn = chance.uniform(len(x), x.shape[1])
    lost = (drawn < part) & (drawn < drawn.amax(1, keepdim=True))
    return x.masked_fill(lost[:, :, None], 0)


def mixup(x: Tensor, alpha: float, chance: Chance) -> Mix:
    """Another row of the batch for each, and its share from Beta(alpha, alpha), drawn by row (Zhang et al., ICLR 2018).

    Partners are neighbours on a ring in random order, so that no row is mixed with itself in a batch of two or more.
    """
    ring = chance.uniform(len(x)).argsort()
    return Mix(torch.empty_like(ring).scatter_(0, ring, ring.roll(1)), chance.beta(alpha, len(x)))


def _added(x: Tensor, change: Tensor) -> Tensor:
    """x + change up to the last sample with a lead that is not zero; the padding after it, or an empty row, stays."""
    time = torch.arange(x.shape[2], device=x.device)
    last = last_sample(x)[:, None]
    beat = (time < last) | ((time == last) & (x != 0).any(1))
    return torch.where(beat[:, None], x + change, x)


def _taken(x: Tensor, samples: Tensor) -> Tensor:
    """x (B, C, T) at the time indices `samples` (B, T) of each row, clipped to the row."""
    return x.gather(2, samples.clamp(0, x.shape[2] - 1)[:, None].expand_as(x))


def _sine(x: Tensor, frequency_hz: Tensor, chance: Chance) -> Tensor:
    """Sines (B, C, T) with the frequency (B, 1, 1) of each row and a random phase in each lead."""
    time_s = torch.arange(x.shape[2], device=x.device) / chance.rate_hz
    return torch.sin(2 * math.pi * (frequency_hz * time_s + chance.uniform(len(x), x.shape[1], 1)))


AGED = (0.0, 0.35, 1.0)  # the absorption of red, green and blue light by old paper


def move(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Paper shifted by up to `most` of the shorter side, across and down, by whole pixels."""
    height, width = x.shape[2:]
    pixels = int(most * min(height, width))
    down, across = chance.whole(-pixels, pixels, len(x), 1), chance.whole(-pixels, pixels, len(x), 1)
    rows = torch.arange(height, device=x.device) - down  # (B, H)
    columns = torch.arange(width, device=x.device) - across  # (B, W)
    beyond = _outside(rows, height)[:, None, :, None] | _outside(columns, width)[:, None, None, :]
    taken = x.gather(2, rows.clamp(0, height - 1)[:, None, :, None].expand_as(x))
    taken = taken.gather(3, columns.clamp(0, width - 1)[:, None, None, :].expand_as(x))
    return torch.where(beyond, _mean(x), taken)


def tilt(x: Tensor, most_degrees: float, chance: Chance) -> Tensor:
    """Paper rotated by up to `most_degrees` around its middle: right angles stay right."""
    angle = math.radians(most_degrees) * chance.uniform(len(x), low=-1.0)
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    tall = x.shape[2] / x.shape[3]  # the grid runs from -1 to 1 down and across, two different lengths
    across, down = torch.stack([cosine, -sine * tall, zero], 1), torch.stack([sine / tall, cosine, zero], 1)
    grid = F.affine_grid(torch.stack([across, down], 1).to(x.dtype), list(x.shape), align_corners=False)
    mean = _mean(x)
    return (mean + F.grid_sample(x - mean, grid, align_corners=False)).clamp(0, 1)


def brightness(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Lighter or darker by up to `most`."""
    return (x + most * chance.uniform(len(x), 1, 1, 1, low=-1.0)).clamp(0, 1)


def contrast(x: Tensor, spread: float, chance: Chance) -> Tensor:
    """More or less contrast around the chart's mean; the factor's logarithm has this standard deviation."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + torch.exp(spread * chance.normal(len(x), 1, 1, 1)) * (x - mean)).clamp(0, 1)


def blur(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Out of focus: a round Gaussian with a standard deviation of up to `most` pixels."""
    reach = math.ceil(3 * most)
    if not reach:
        return x
    place = torch.arange(-reach, reach + 1, device=x.device)
    width = (most * chance.uniform(len(x), 1)).clamp(min=1e-3)  # at the minimum all other pixels have weight 0
    weights = torch.exp(-0.5 * (place / width) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).to(x.dtype).repeat_interleave(3, 0)  # (3 B, 2 reach + 1)
    rows = F.pad(x, (reach, reach, reach, reach), mode="replicate").flatten(0, 1)[None]  # (1, 3 B, ., .)
    rows = F.conv2d(rows, weights[:, None, :, None], groups=len(weights))
    return F.conv2d(rows, weights[:, None, None, :], groups=len(weights)).view_as(x).clamp(0, 1)


def grain(x: Tensor, sd: float, chance: Chance) -> Tensor:
    """Sensor noise: white, Gaussian, in each colour of each pixel."""
    return (x + sd * chance.normal(*x.shape)).clamp(0, 1)


def fade(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Ink without up to `most` of its colour."""
    return 1 - (1 - most * chance.uniform(len(x), 1, 1, 1)) * (1 - x)


def age(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Yellow paper: up to `most` less blue, and a third of that less green."""
    taken = torch.tensor(AGED, device=x.device, dtype=x.dtype)[:, None, None]
    return x * (1 - most * chance.uniform(len(x), 1, 1, 1) * taken)


def patch(x: Tensor, most: float, chance: Chance) -> Tensor:
    """A sticker of the chart's mean colour, up to `most` of its height and width (DeVries & Taylor 2017)."""
    inside = torch.ones(len(x), 1, 1, 1, dtype=torch.bool, device=x.device)
    for axis in (2, 3):
        length = x.shape[axis]
        size = (most * length * chance.uniform(len(x), 1)).ceil()
        start = (chance.uniform(len(x), 1) * (length - size + 1)).floor()
        place = torch.arange(length, device=x.device)
        covered = (place >= start) & (place < start + size)  # (B, length)
        inside = inside & (covered[:, None, :, None] if axis == 2 else covered[:, None, None, :])
    return torch.where(inside, _mean(x), x)


def _mean(x: Tensor) -> Tensor:
    """The mean colour (B, 3, 1, 1) of each chart."""
    return x.mean((2, 3), keepdim=True)


def _outside(places: Tensor, length: int) -> Tensor:
    return (places < 0) | (places >= length)


class Augmentation(NamedTuple):
    """The change of a batch; default, meaning and range of its strength; default probability; the rate that data must
    exceed; its rows, and the number of leads that they must exceed to be changed."""

    change: Callable[[Tensor, float, Chance], Tensor | Mix]
    strength: float
    unit: str
    allowed: tuple[str, Callable[[float], bool]]
    probability: float = 0.5
    above_hz: float = 0.0
    rows: tuple[str, ...] = ("signals",)
    above_leads: int = 0


_SIZE = ("from 0 to a million", lambda size: 0 <= size <= 1e6)
_WHOLE = ("a whole number from 0 to a million", lambda size: 0 <= size <= 1e6 and size == int(size))
_SPREAD = ("from 0 to 2", lambda sd: 0 <= sd <= 2)
_PART = ("from 0 to 0.9", lambda part: 0 <= part <= 0.9)
_ANGLE = ("from 0 to 45", lambda degrees: 0 <= degrees <= 45)
_BLUR = ("from 0 to 20", lambda pixels: 0 <= pixels <= 20)
_ALPHA = ("from 0.001 to 1000", lambda alpha: 0.001 <= alpha <= 1000)
_PROBABILITY = ("from 0 to 1", lambda probability: 0 <= probability <= 1)
SHOWN = 3  # times the default strength, in examples
AUGMENTATIONS: dict[str, Augmentation] = {
    "noise": Augmentation(noise, 0.05, "standard deviation, data's unit", _SIZE),
    "shift": Augmentation(shift, 10, "largest shift, samples", _WHOLE),
    "scale": Augmentation(scale, 0.1, "standard deviation of the factor's logarithm", _SPREAD),
    "wander": Augmentation(wander, 0.1, "amplitude, data's unit", _SIZE),
    "hum": Augmentation(hum, 0.02, "amplitude, data's unit", _SIZE, above_hz=2 * max(MAINS_HZ)),
    "stretch": Augmentation(stretch, 0.1, "largest part of the length", _PART),
    "cutout": Augmentation(cutout, 0.2, "longest window, seconds", _SIZE),
    "gain": Augmentation(gain, 0.1, "standard deviation of the logarithm of a lead's factor", _SPREAD),
    "leads": Augmentation(leads, 0.2, "part of the leads", _PART, above_leads=1),
    "move": Augmentation(move, 0.03, "largest part of the shorter side", _PART, rows=("charts",)),
    "tilt": Augmentation(tilt, 2, "largest angle, degrees", _ANGLE, rows=("charts",)),
    "brightness": Augmentation(brightness, 0.1, "largest change, of 1", _PART, rows=("charts",)),
    "contrast": Augmentation(contrast, 0.1, "standard deviation of the factor's logarithm", _SPREAD, rows=("charts",)),
    "blur": Augmentation(blur, 0.7, "largest standard deviation, pixels", _BLUR, rows=("charts",)),
    "grain": Augmentation(grain, 0.03, "standard deviation, of 1", _SPREAD, rows=("charts",)),
    "fade": Augmentation(fade, 0.3, "largest part of the ink", _PART, rows=("charts",)),
    "age": Augmentation(age, 0.2, "largest part of the blue", _PART, rows=("charts",)),
    "patch": Augmentation(patch, 0.15, "largest part of each side", _PART, rows=("charts",)),
    "mixup": Augmentation(
        mixup, 0.2, "alpha of Beta(alpha, alpha)", _ALPHA, probability=1.0, rows=("signals", "charts")
    ),
}


def names(rows: str) -> list[str]:
    """The augmentations for `rows`, signals or charts."""
    return [name for name, entry in AUGMENTATIONS.items() if rows in entry.rows]


def parse(text: str) -> list[tuple[str, float, float]]:
    """(name, strength, probability) of each augmentation in `text`, in its order, mixup last. Raises UsageError."""
    steps = [_step(part.strip()) for part in text.split(",")]
    names = [name for name, *_ in steps]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--augment names {name} twice", hint="each name once")
    return sorted(steps, key=lambda step: step[0] == "mixup")


def _step(part: str) -> tuple[str, float, float]:
    name, *numbers = part.split(":")
    entry = pick("augment", AUGMENTATIONS, name)
    if len(numbers) > 2:
        what = f"--augment {part[:60]} has more than strength and probability"
        raise UsageError(what, hint=f"{name}:STRENGTH:PROBABILITY")
    strength, probability = (*numbers, "", "")[:2]
    return (
        name,
        _number(strength, entry.strength, entry.allowed, what=f"strength of {name} ({entry.unit})"),
        _number(probability, entry.probability, _PROBABILITY, what=f"probability of {name}"),
    )


def _number(text: str, default: float, allowed: tuple[str, Callable[[float], bool]], *, what: str) -> float:
    """The typed number, or the default for an empty text."""
    rule, holds = allowed
    try:
        number = float(text or default)
    except ValueError:
        number = math.nan
    if not holds(number):
        raise UsageError(f"--augment: the {what} is {text[:40]}, must be {rule}", hint=f"{default:g}")
    return number


def check(steps: list[tuple[str, float, float]], *, charts: bool) -> None:
    """Raise UsageError for a step for signals if rows are `charts`, and the reverse."""
    own, other = ("charts", "signals") if charts else ("signals", "charts")
    for name, *_ in steps:
        if own not in AUGMENTATIONS[name].rows:
            what = f"--augment {name} is for {other}, the rows are {own}"
            raise UsageError(what, hint=f"for {own}: {', '.join(names(own))}")


class Augment:
    """The augmentations of `text`, on signals of `rate_hz` or on `charts`.

    Raises UsageError for an invalid text, other rows, and too low a rate.
    """

    def __init__(self, text: str, *, rate_hz: float, seed: int, charts: bool = False) -> None:
        self.steps, self.rate_hz, self.seed = parse(text), rate_hz, seed
        check(self.steps, charts=charts)
        for name, *_ in self.steps:
            if rate_hz <= (above_hz := AUGMENTATIONS[name].above_hz):
                what = f"--augment {name} needs a sampling rate above {above_hz:g} Hz, the data has {rate_hz:g}"
                raise UsageError(what, hint="wander or noise")

    def __call__(self, x: Tensor, *, epoch: int, step: int) -> tuple[Tensor, Mix | None]:
        """A changed copy of the rows of x (B, ...), and the mix of rows, None without mixup."""
        chance, mix = Chance(x.device, self.rate_hz, (self.seed, epoch, step)), None
        for name, strength, probability in self.steps:
            chosen = chance.uniform(len(x)) < probability
            changed = AUGMENTATIONS[name].change(x, strength, chance)
            if isinstance(changed, Mix):
                mix = changed.only(chosen)
                x = mix.of(x)
            else:
                x = torch.where(chosen.view(-1, *[1] * (x.dim() - 1)), changed.to(x.dtype), x)
        return x, mix


def examples(beats: NDArray[np.float32], *, rate_hz: float, seed: int) -> dict[str, NDArray[np.float32]]:
    """The first of `beats` (N, T) changed by each augmentation that `rate_hz` allows, (T,) by its text.

    Each has three times its default strength, to be visible. Mixup takes its partner from the other beats.
    """
    x = torch.tensor(beats)[:, None]
    entries = {name: AUGMENTATIONS[name] for name in names("signals")}
    able = {name: SHOWN * entry.strength for name, entry in entries.items()
            if rate_hz > entry.above_hz and not entry.above_leads}  # fmt: skip
    texts = [f"{name}:{strength:g}" for name, strength in able.items()]
    return {
        text: Augment(f"{text}:1", rate_hz=rate_hz, seed=seed)(x, epoch=0, step=0)[0][0, 0].numpy() for text in texts
    }
