"""Train-time transforms of a whole batch of tensors on its device, from the text of --augment.

    augment = Augment("noise:0.05:0.5,shift,mixup:0.2", rate_hz=125, seed=42)
    x, mix = augment(x, epoch=3, step=17)

An augmentation is `name[:strength[:probability]]`; what is left out or empty is its default. Each changes every row
with its probability, on its own, in the order given, mixup last. All chance comes from (seed, epoch, step): a run that
is resumed within an epoch sees the same batches, and nothing is stored. Those of signals are in
`signals.py`, those of charts in `images.py`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.augment import images, signals
from loaders.augment.signals import Chance, Mix
from toolbox.errors import UsageError
from toolbox.registry import pick


class Augmentation(NamedTuple):
    """What changes a batch; default, meaning and range of its strength; default probability; the rate that data must
    exceed; the rows it is for.
    """

    change: Callable[[Tensor, float, Chance], Tensor | Mix]
    strength: float
    unit: str
    allowed: tuple[str, Callable[[float], bool]]
    probability: float = 0.5
    above_hz: float = 0.0
    rows: tuple[str, ...] = ("signals",)


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
    "noise": Augmentation(signals.noise, 0.05, "standard deviation, data's unit", _SIZE),
    "shift": Augmentation(signals.shift, 10, "largest shift, samples", _WHOLE),
    "scale": Augmentation(signals.scale, 0.1, "standard deviation of the factor's logarithm", _SPREAD),
    "wander": Augmentation(signals.wander, 0.1, "amplitude, data's unit", _SIZE),
    "hum": Augmentation(signals.hum, 0.02, "amplitude, data's unit", _SIZE, above_hz=2 * max(signals.MAINS_HZ)),
    "stretch": Augmentation(signals.stretch, 0.1, "largest part of the length", _PART),
    "cutout": Augmentation(signals.cutout, 0.2, "longest window, seconds", _SIZE),
    "move": Augmentation(images.move, 0.03, "largest part of the shorter side", _PART, rows=("charts",)),
    "tilt": Augmentation(images.tilt, 2, "largest angle, degrees", _ANGLE, rows=("charts",)),
    "brightness": Augmentation(images.brightness, 0.1, "largest change, of 1", _PART, rows=("charts",)),
    "contrast": Augmentation(
        images.contrast, 0.1, "standard deviation of the factor's logarithm", _SPREAD, rows=("charts",)
    ),
    "blur": Augmentation(images.blur, 0.7, "largest standard deviation, pixels", _BLUR, rows=("charts",)),
    "grain": Augmentation(images.grain, 0.03, "standard deviation, of 1", _SPREAD, rows=("charts",)),
    "fade": Augmentation(images.fade, 0.3, "largest part of the ink", _PART, rows=("charts",)),
    "age": Augmentation(images.age, 0.2, "largest part of the blue", _PART, rows=("charts",)),
    "patch": Augmentation(images.patch, 0.15, "largest part of each side", _PART, rows=("charts",)),
    "mixup": Augmentation(
        signals.mixup, 0.2, "alpha of Beta(alpha, alpha)", _ALPHA, probability=1.0, rows=("signals", "charts")
    ),
}


def names(rows: str) -> list[str]:
    """The augmentations for `rows`, signals or charts."""
    return [name for name, entry in AUGMENTATIONS.items() if rows in entry.rows]


def parse(text: str) -> list[tuple[str, float, float]]:
    """(name, strength, probability) of what `text` asks for, in its order, mixup last; a UsageError if it cannot be
    read."""
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
        raise UsageError(
            f"--augment {part[:60]} has more than strength and probability", hint=f"{name}:STRENGTH:PROBABILITY"
        )
    strength, probability = (*numbers, "", "")[:2]
    return (
        name,
        _number(strength, entry.strength, entry.allowed, what=f"strength of {name} ({entry.unit})"),
        _number(probability, entry.probability, _PROBABILITY, what=f"probability of {name}"),
    )


def _number(text: str, default: float, allowed: tuple[str, Callable[[float], bool]], *, what: str) -> float:
    """What was typed, or the default where nothing was."""
    rule, holds = allowed
    try:
        number = float(text or default)
    except ValueError:
        number = math.nan
    if not holds(number):
        raise UsageError(f"--augment: the {what} is {text[:40]}, must be {rule}", hint=f"{default:g}")
    return number


def check(steps: list[tuple[str, float, float]], *, charts: bool) -> None:
    """Raise a UsageError where one of `steps` is for signals and rows are `charts`, or the other way round."""
    own, other = ("charts", "signals") if charts else ("signals", "charts")
    for name, *_ in steps:
        if own not in AUGMENTATIONS[name].rows:
            what = f"--augment {name} is for {other}, the rows are {own}"
            raise UsageError(what, hint=f"what is for {own}: {', '.join(names(own))}")


class Augment:
    """What `text` asks for, on signals of `rate_hz` or on `charts`.

    Raises UsageError for a text that cannot be read, what is for other rows, and a rate that is too low for it.
    """

    def __init__(self, text: str, *, rate_hz: float, seed: int, charts: bool = False) -> None:
        self.steps, self.rate_hz, self.seed = parse(text), rate_hz, seed
        check(self.steps, charts=charts)
        for name, *_ in self.steps:
            if rate_hz <= (above_hz := AUGMENTATIONS[name].above_hz):
                what = f"--augment {name} needs a sampling rate above {above_hz:g} Hz, the data has {rate_hz:g}"
                raise UsageError(what, hint="wander or noise")

    def __call__(self, x: Tensor, *, epoch: int, step: int) -> tuple[Tensor, Mix | None]:
        """The rows of x (B, ...) changed, x itself left as it is, and how they were mixed, None where they were not."""
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
    """The first of `beats` (N, T) as each augmentation that `rate_hz` can carry changes it, (T,) by what would be
    typed.

    Each is at three times its default strength, to be seen. Mixup takes its partner from the other beats.
    """
    x = torch.tensor(beats)[:, None]
    entries = {name: AUGMENTATIONS[name] for name in names("signals")}
    able = {name: SHOWN * entry.strength for name, entry in entries.items() if rate_hz > entry.above_hz}
    texts = [f"{name}:{strength:g}" for name, strength in able.items()]
    return {
        text: Augment(f"{text}:1", rate_hz=rate_hz, seed=seed)(x, epoch=0, step=0)[0][0, 0].numpy() for text in texts
    }
