"""What can be done to a batch on its device: (x (B, C, T), strength, chance) -> changed x, or how its rows are mixed.

Every row is changed, each in its own way, and x itself is left as it is. Rows may be padded with zeros at their end,
which recurrent networks mask: what is added leaves the padding as it is, and what moves in is zero.
"""

import math

import numpy as np
import torch
from torch import Generator, Tensor

from loaders.base import last_sample
from toolbox.training.losses import Mix

WANDER_HZ = (0.05, 0.5)
MAINS_HZ = (50.0, 60.0)


class Chance:
    """The random numbers of one batch, made on its device from `numbers`, and the rate that turns seconds into
    samples."""

    def __init__(self, device: torch.device, rate_hz: float, numbers: tuple[int, ...]) -> None:
        self.device, self.rate_hz = device, rate_hz
        self.seeds = np.random.SeedSequence(numbers)
        self.generator = Generator(device).manual_seed(int(self.seeds.generate_state(1, np.uint64)[0]))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """From `low` up to `high`, which is not reached."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Mean 0, standard deviation 1."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers from `low` to `high`, both reached."""
        return torch.randint(low, high + 1, shape, generator=self.generator, device=self.device)

    def beta(self, alpha: float, rows: int) -> Tensor:
        """Beta(alpha, alpha), which torch does not draw from a generator."""
        drawn = np.random.default_rng(self.seeds).beta(alpha, alpha, rows).astype(np.float32)
        return torch.from_numpy(drawn).to(self.device, non_blocking=True)


def noise(x: Tensor, sd: float, chance: Chance) -> Tensor:
    """White Gaussian noise of standard deviation `sd`, in the data's unit."""
    return _added(x, sd * chance.normal(*x.shape))


def shift(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Later or earlier by up to `most` samples, all offsets alike; zeros move in."""
    time = torch.arange(x.shape[2], device=x.device)
    source = time - chance.whole(-int(most), int(most), len(x), 1)  # (B, T)
    outside = (source < 0) | (source >= x.shape[2])
    return _taken(x, source).masked_fill(outside[:, None], 0)


def scale(x: Tensor, spread: float, chance: Chance) -> Tensor:
    """Times a lognormal factor whose logarithm has standard deviation `spread`; the leads of a row keep their
    proportion."""
    return x * torch.exp(spread * chance.normal(len(x), 1, 1))


def wander(x: Tensor, amplitude: float, chance: Chance) -> Tensor:
    """Baseline wander: a sine of 0.05 to 0.5 Hz, each lead with its own phase; amplitude in the data's unit."""
    low, high = WANDER_HZ
    return _added(x, amplitude * _sine(x, chance.uniform(len(x), 1, 1, low=low, high=high), chance))


def hum(x: Tensor, amplitude: float, chance: Chance) -> Tensor:
    """Powerline hum: a sine of 50 or 60 Hz by row, each lead with its own phase; amplitude in the data's unit."""
    low, high = MAINS_HZ
    return _added(x, amplitude * _sine(x, low + (high - low) * chance.whole(0, 1, len(x), 1, 1), chance))


def stretch(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Longer or shorter in time by a factor of 1 - most to 1 + most from the first sample, by linear interpolation.

    A row that gets longer loses its end; behind one that gets shorter zeros move in.
    """
    factor = chance.uniform(len(x), 1, low=1 - most, high=1 + most)
    source = torch.arange(x.shape[2], device=x.device) / factor  # (B, T)
    before = source.floor()
    left, right = _taken(x, before.long()), _taken(x, before.long() + 1)
    between = left + (source - before)[:, None] * (right - left)
    return between.masked_fill((source > last_sample(x)[:, None])[:, None], 0)


def cutout(x: Tensor, longest_s: float, chance: Chance) -> Tensor:
    """A window of up to `longest_s` seconds set to zero in every lead, anywhere before the padding (DeVries & Taylor
    2017)."""
    time = torch.arange(x.shape[2], device=x.device)
    width = (chance.uniform(len(x), 1) * round(longest_s * chance.rate_hz)).ceil()
    room = (last_sample(x)[:, None] + 1 - width).clamp(min=0)
    start = (chance.uniform(len(x), 1) * (room + 1)).floor()
    return x.masked_fill(((time >= start) & (time < start + width))[:, None], 0)


def mixup(x: Tensor, alpha: float, chance: Chance) -> Mix:
    """Another row of the batch for each, and its share from Beta(alpha, alpha), drawn by row (Zhang et al., ICLR 2018).

    The rows are passed round a ring in random order, so that none meets itself in a batch of two or more.
    """
    ring = chance.uniform(len(x)).argsort()
    return Mix(torch.empty_like(ring).scatter_(0, ring, ring.roll(1)), chance.beta(alpha, len(x)))


def _added(x: Tensor, change: Tensor) -> Tensor:
    """x + change up to the last sample that is not zero in every lead; the padding after it, or an empty row, stays."""
    time = torch.arange(x.shape[2], device=x.device)
    last = last_sample(x)[:, None]
    beat = (time < last) | ((time == last) & (x != 0).any(1))
    return torch.where(beat[:, None], x + change, x)


def _taken(x: Tensor, samples: Tensor) -> Tensor:
    """x (B, C, T) at the time indices `samples` (B, T) of each row; the nearest one that is there."""
    return x.gather(2, samples.clamp(0, x.shape[2] - 1)[:, None].expand_as(x))


def _sine(x: Tensor, frequency_hz: Tensor, chance: Chance) -> Tensor:
    """Of x's shape (B, C, T), each row of its frequency (B, 1, 1), each lead of a random phase."""
    time_s = torch.arange(x.shape[2], device=x.device) / chance.rate_hz
    return torch.sin(2 * math.pi * (frequency_hz * time_s + chance.uniform(len(x), x.shape[1], 1)))
