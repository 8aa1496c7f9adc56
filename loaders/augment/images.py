"""What can be done to a batch of charts on its device: (x (B, 3, H, W) in [0, 1], strength, chance) -> changed x in [0,
1].

What a scanner, a camera or years in a folder do to paper, and nothing that changes what is drawn on it: no mirror
image, no stretching of time against voltage, no piece of a chart shown larger. Every row is changed, each in its own
way, and x itself is left as it is. What lies beyond the paper's edge, and covers it, has the chart's mean colour.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from loaders.augment.signals import Chance

AGED = (0.0, 0.35, 1.0)  # how much old paper takes of red, green and blue light


def move(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Paper that lies up to `most` of the shorter side off its place, across and down, by whole pixels."""
    height, width = x.shape[2:]
    pixels = int(most * min(height, width))
    down, across = chance.whole(-pixels, pixels, len(x), 1), chance.whole(-pixels, pixels, len(x), 1)
    rows, columns = (
        torch.arange(height, device=x.device) - down,
        torch.arange(width, device=x.device) - across,
    )  # (B, H), (B, W)
    beyond = _outside(rows, height)[:, None, :, None] | _outside(columns, width)[:, None, None, :]
    taken = x.gather(2, rows.clamp(0, height - 1)[:, None, :, None].expand_as(x))
    taken = taken.gather(3, columns.clamp(0, width - 1)[:, None, None, :].expand_as(x))
    return torch.where(beyond, _mean(x), taken)


def tilt(x: Tensor, most_degrees: float, chance: Chance) -> Tensor:
    """Paper that lies up to `most_degrees` askew, turned about its middle as it is: right angles stay right."""
    angle = math.radians(most_degrees) * chance.uniform(len(x), low=-1.0)
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    tall = x.shape[2] / x.shape[3]  # the grid runs from -1 to 1 down and across, which are not as long as each other
    across, down = torch.stack([cosine, -sine * tall, zero], 1), torch.stack([sine / tall, cosine, zero], 1)
    grid = F.affine_grid(torch.stack([across, down], 1).to(x.dtype), list(x.shape), align_corners=False)
    mean = _mean(x)
    return (mean + F.grid_sample(x - mean, grid, align_corners=False)).clamp(0, 1)


def brightness(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Lighter or darker by up to `most`."""
    return (x + most * chance.uniform(len(x), 1, 1, 1, low=-1.0)).clamp(0, 1)


def contrast(x: Tensor, spread: float, chance: Chance) -> Tensor:
    """Further from the chart's own mean or nearer to it, by a lognormal factor of this standard deviation of its
    logarithm."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + torch.exp(spread * chance.normal(len(x), 1, 1, 1)) * (x - mean)).clamp(0, 1)


def blur(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Out of focus: a Gaussian of a standard deviation of up to `most` pixels, as wide as it is high."""
    reach = math.ceil(3 * most)
    if not reach:
        return x
    place = torch.arange(-reach, reach + 1, device=x.device)
    width = (most * chance.uniform(len(x), 1)).clamp(min=1e-3)  # at which every other pixel weighs nothing
    weights = torch.exp(-0.5 * (place / width) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).to(x.dtype).repeat_interleave(3, 0)  # (3 B, 2 reach + 1)
    rows = F.pad(x, (reach, reach, reach, reach), mode="replicate").flatten(0, 1)[None]  # (1, 3 B, ., .)
    rows = F.conv2d(rows, weights[:, None, :, None], groups=len(weights))
    return F.conv2d(rows, weights[:, None, None, :], groups=len(weights)).view_as(x).clamp(0, 1)


def grain(x: Tensor, sd: float, chance: Chance) -> Tensor:
    """The noise of a sensor: white, Gaussian, in each colour of each pixel."""
    return (x + sd * chance.normal(*x.shape)).clamp(0, 1)


def fade(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Ink that has lost up to `most` of its colour."""
    return 1 - (1 - most * chance.uniform(len(x), 1, 1, 1)) * (1 - x)


def age(x: Tensor, most: float, chance: Chance) -> Tensor:
    """Paper gone yellow: up to `most` less blue, and a third of that less green."""
    taken = torch.tensor(AGED, device=x.device, dtype=x.dtype)[:, None, None]
    return x * (1 - most * chance.uniform(len(x), 1, 1, 1) * taken)


def patch(x: Tensor, most: float, chance: Chance) -> Tensor:
    """A sticker of the chart's mean colour, up to `most` of its height and width, anywhere on it (DeVries & Taylor
    2017)."""
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
