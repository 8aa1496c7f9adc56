"""What a recording of any format is once it is open: its leads, and a way to read a piece of one in mV.

`recording.lead("MLII")` is looked over once, in blocks: Lead(name, rate_hz, samples, read, gaps), memory apart from its length.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import DataError
from toolbox.gaps import SHORT_S, STILL_S, Reader, Signal, survey

log = logging.getLogger("commander")
MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3}  # of a unit, in small letters
HEART = re.compile(r"\b(ecg|ekg)", re.IGNORECASE)  # how a lead of the heart is called among others
MOST_MV = 100  # that a lead spans; above it the numbers are of another unit


@dataclass(frozen=True)
class Lead:
    """One lead: `read(first, last)` gives its samples in mV, NaN where they are missing; long runs of those are `gaps` (G, 2).

    `span_mv` is from its lowest to its highest value.
    """

    name: str
    rate_hz: float
    samples: int
    read: Reader
    gaps: NDArray[np.int64]
    span_mv: float


@dataclass(frozen=True)
class Recording:
    """An open recording. `read(k, first, last)` gives samples of its lead `leads[k]` in mV.

    `check(k)` raises where that lead is not what was recorded. `reference` has the symbols and sample numbers of the annotations
    that stand beside it, None where there are none; `start` is when it begins, where that is known. `doubts` are sentences about
    the whole recording, for the report. `unit_unknown` has the places in `leads` of those for which the file states no unit:
    `read` gives their numbers as they are.
    """

    path: Path
    name: str
    leads: tuple[str, ...]
    rate_hz: float
    samples: int
    read: Callable[[int, int, int], Signal]
    check: Callable[[int], None] = lambda _: None
    start: datetime | None = None
    reference: tuple[list[str], NDArray[np.int64]] | None = None
    doubts: tuple[str, ...] = ()
    unit_unknown: frozenset[int] = frozenset()

    def lead(self, name: str | None = None, *, turned: bool = False) -> Lead:
        """The lead called `name`, upside down if `turned`; left out, the first that is called ECG, else the first.

        Raises DataError: none such, flat.
        """
        number = self._number(name)
        self.check(number)

        def read(first: int, last: int) -> Signal:
            return -self.read(number, first, last) if turned else self.read(number, first, last)

        found = survey(read, self.samples, longest=round(SHORT_S * self.rate_hz), still=round(STILL_S * self.rate_hz))
        if found.is_flat:
            others = ", ".join(other for other in self.leads if other != self.leads[number])
            hint = f"--leads with one of {others[:200]}" if others else "another recording"
            raise DataError(f"lead {self.leads[number]} is flat, nothing was recorded", where=str(self.path), hint=hint)
        if found.high - found.low > MOST_MV:
            log.warning("lead %s of %s spans %.0f mV: is it in mV?", self.leads[number], self.name, found.high - found.low)
        shown = f"{'-' if turned else ''}{self.leads[number]}"
        return Lead(shown, self.rate_hz, self.samples, read, found.gaps, found.high - found.low)

    def _number(self, name: str | None) -> int:
        if name is None:
            return next((k for k, lead in enumerate(self.leads) if HEART.search(lead)), 0)
        if name in self.leads:
            return self.leads.index(name)
        same = [k for k, lead in enumerate(self.leads) if lead.lower() == name.lower()]
        if not same:
            raise DataError(f"there is no lead {name[:40]!r}", where=str(self.path), hint=", ".join(self.leads)[:300])
        return same[0]
