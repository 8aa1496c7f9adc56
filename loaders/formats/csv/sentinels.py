"""Numbers that stand for a missing sample, -999 or -32768 say, are found by where they stand: far outside the signal.

`sentinels(values, range_)` looks at a column of float32; `found.without(signal)` has NaN in their place.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolbox.ecg.gaps import BLOCK, Signal

NINES = (10**digits - 1 for digits in range(2, 10))
CODES = np.float32([*(sign * nines for nines in NINES for sign in (1, -1)), -32768, 32767, 65535, -(2**31), 2**31 - 1])
FAR, FURTHER = 2, 10  # spans of a signal beyond its edge, for codes and for other whole numbers
SAMPLED = 2**16  # samples that its usual values are taken from
EDGE = 0.05  # of the different values at each end that may be unusual
FEWEST = 4  # different values of a signal
MOST, OFTEN = 3, 3  # other whole numbers at an end: so many at most, so often at least


@dataclass
class Range:
    """The lowest and the highest value of a column, block by block."""

    low: float = np.inf
    high: float = -np.inf

    def add(self, values: NDArray[np.float32]) -> None:
        """Take a block, NaN where there is no value."""
        if len(values):
            self.low, self.high = (
                float(np.fmin.reduce(values, initial=self.low)),
                float(np.fmax.reduce(values, initial=self.high)),
            )


@dataclass(frozen=True)
class Sentinels:
    """The values that stand for missing samples, and how often each does."""

    counts: dict[float, int] = field(default_factory=dict)

    def without(self, signal: Signal) -> Signal:
        """`signal` with NaN for each of them."""
        if self.counts:
            signal[np.isin(signal, list(self.counts))] = np.nan
        return signal

    def doubts(self, name: str) -> list[str]:
        """A sentence for each, about a lead of that name."""
        return [
            f"{count} samples of lead {name} are {value:g}, far outside the signal, and are taken as missing"
            for value, count in self.counts.items()
        ]


def sentinels(values: NDArray[np.float32], own: Range) -> Sentinels:
    """Codes and whole numbers that are far outside the other values (N,) of a column with the range `own`."""
    some = np.unique(values[:: max(1, len(values) // SAMPLED)])
    some = some[np.isfinite(some)]
    usual = some[~np.isin(some, CODES)]
    if len(usual) < FEWEST:
        return Sentinels()
    low, high = map(float, np.quantile(usual, (EDGE, 1 - EDGE)))
    if not any(_is_suspect(edge, low, high) for edge in (own.low, own.high)):
        return Sentinels()
    counts = _outside(values, low, high)
    others = {value: count for value, count in counts.items() if np.float32(value) not in CODES}
    found, (low, high) = _isolated(others, low, high)
    reach = FAR * (high - low)
    found += [value for value in counts if value not in others and not low - reach <= value <= high + reach]
    return Sentinels({value: counts[value] for value in sorted(found)})


def _is_suspect(edge: float, low: float, high: float) -> bool:
    """Whether the lowest or highest value of a column may be no sample, where most are from `low` to `high`."""
    reach = FURTHER * (high - low)
    return np.float32(edge) in CODES or (edge == round(edge) and not low - reach <= edge <= high + reach)


def _outside(values: NDArray[np.float32], low: float, high: float) -> dict[float, int]:
    """How often each value outside of `low` to `high` is there, in order."""
    counts: Counter[float] = Counter()
    for first in range(0, len(values), BLOCK):
        block = values[first : first + BLOCK]
        different, often = np.unique(block[(block < low) | (block > high)], return_counts=True)
        counts.update(dict(zip(different.tolist(), often.tolist(), strict=True)))
    return dict(sorted(counts.items()))


def _isolated(others: dict[float, int], low: float, high: float) -> tuple[list[float], tuple[float, float]]:
    """Whole numbers at either end of `others` that come often and are further out than any sample; and the range
    without them."""
    rest, found = sorted({*others, low, high}), []
    for end in (0, -1):
        for _ in range(MOST):
            inner = rest[1:] if end == 0 else rest[:-1]
            edge, apart = rest[end], abs(rest[end] - inner[end]) if len(inner) > 1 else 0.0
            if edge != round(edge) or others.get(edge, 0) < OFTEN or apart <= FURTHER * (inner[-1] - inner[0]):
                break
            found.append(edge)
            rest = inner
    return found, (rest[0], rest[-1])
