"""A recording of any format once it is open: its leads, and a way to read a piece of one in mV.

`recording.lead("MLII")` is looked over once, in blocks: Lead(name, rate_hz, samples, read, gaps), memory apart from its
length.

How large a lead is in most of its pieces: `typical_mv(read, samples, rate_hz)`. It tells volts and microvolts from
mV.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.formats import lead_names
from loaders.formats.lead_names import Kind
from loaders.formats.units import millivolts
from toolbox.ecg.gaps import SHORT_S, STILL_S, Reader, Signal, survey
from toolbox.errors import DataError

PIECE_S, PIECES = 10, 60  # pieces looked at, over the whole lead
INNER = (0.2, 99.8)  # percentiles of a piece: an R peak reaches them, a spike does not
ECG_LEAST_MV, ECG_MOST_MV = 0.02, 30.0  # an ECG on the skin: low voltage is 0.5, the largest QRS complexes reach 10


def typical_mv(read: Reader, samples: int, rate_hz: float) -> float | None:
    """The median over pieces of 10 s of what a piece spans, without its outermost values; None where nothing moves."""
    piece = max(1, min(round(PIECE_S * rate_hz), samples))
    spans = []
    for first in np.linspace(0, samples - piece, min(PIECES, samples // piece)).astype(np.int64):
        values = read(int(first), int(first) + piece)
        values = values[np.isfinite(values)]
        if 2 * len(values) >= piece:
            spans.append(np.ptp(np.percentile(values, INNER)))
    moving = [span for span in spans if span > 0]
    return float(np.median(moving)) if moving else None


def is_plausible(span_mv: float) -> bool:
    """Whether an ECG can be that large."""
    return ECG_LEAST_MV <= span_mv <= ECG_MOST_MV


MOST_MV = 100  # from the lowest to the highest value of a lead; above it there are artefacts, or another unit


class FlatError(DataError):
    """Nothing was recorded in a lead."""


@dataclass(frozen=True)
class Lead:
    """One lead: `read(first, last)` gives its samples in mV, NaN where they are missing; long runs of those are `gaps`
    (G, 2).

    `span_mv` is from its lowest to its highest value; `doubts` are sentences about it, for the report.
    """

    name: str
    rate_hz: float
    samples: int
    read: Reader
    gaps: NDArray[np.int64]
    span_mv: float
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """An open recording. `read(k, first, last)` gives samples of its lead `leads[k]` in mV.

    `check(k)` raises where that lead is not what was recorded. `reference` has the symbols and sample numbers of the
    annotations that stand beside it, None where there are none; `start` is when it begins, where that is known.
    `doubts` are sentences about the whole recording, for the report. For the leads in `unit_unknown` the file states no
    unit of voltage, and `read` gives its own numbers; `units` are the units of all leads as it states them, "" for
    none. `shapes` are rate and samples of each lead, where leads differ in them.
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
    units: tuple[str, ...] = ()
    shapes: tuple[tuple[float, int], ...] = ()

    def lead(self, which: str | int | None = None, *, turned: bool = False, unit: str | None = None) -> Lead:
        """The lead of that name or place, upside down if `turned`; left out, the most likely ECG.

        `unit` is that of a lead for which the file states none. Raises DataError: none such, flat, no mV, another unit.
        """
        number = which if isinstance(which, int) else self._number(which)
        name, (rate_hz, samples) = self.leads[number], self.shape(number)
        self.check(number)
        factor = self._factor(number, unit) * (-1 if turned else 1)

        def read(first: int, last: int) -> Signal:
            return factor * self.read(number, first, last)

        found = survey(read, samples, longest=round(SHORT_S * rate_hz), still=round(STILL_S * rate_hz))
        if found.is_flat:
            others = ", ".join(other for k, other in enumerate(self.leads) if k != number)
            hint = f"--leads with one of {others[:200]}" if others else "another recording"
            raise FlatError(f"lead {name} is flat, nothing was recorded", where=str(self.path), hint=hint)
        span_mv = found.high - found.low
        doubts = self._doubts_of_size(number, typical_mv(read, samples, rate_hz), span_mv, sure=unit is not None)
        if self.units and number in self.unit_unknown and unit is None:
            doubts = (f"{self.name} states no unit of lead {name}; mV is assumed, which --unit changes", *doubts)
        return Lead(f"{lead_names.TURNED * turned}{name}", rate_hz, samples, read, found.gaps, span_mv, doubts)

    def shape(self, number: int) -> tuple[float, int]:
        """Rate in Hz and samples of a lead."""
        return self.shapes[number] if self.shapes else (self.rate_hz, self.samples)

    def timed_as(self, lead: Lead) -> "Recording":
        """The same with the rate and the samples of one of its leads, and its annotations in these."""
        if (lead.rate_hz, lead.samples) == (self.rate_hz, self.samples):
            return self
        reference = self.reference
        if reference and lead.rate_hz != self.rate_hz:
            places = np.floor(reference[1] * (lead.rate_hz / self.rate_hz) + 0.5).astype(np.int64)
            reference = reference[0], np.minimum(places, lead.samples - 1)
        return replace(self, rate_hz=lead.rate_hz, samples=lead.samples, reference=reference)

    def candidates(self, directions: Collection[str] = ()) -> list[int]:
        """The places of the leads that may be taken for an ECG by their names, the most likely first; DataError for
        none.

        First come those whose standard name is in `directions`; an unknown name counts where no other lead has one, and
        a loose one where there is no other lead.
        """
        kinds = [lead_names.kind(name) for name in self.leads]
        hearts = [k for k, kind in enumerate(kinds) if kind is Kind.ECG]
        unknown = [k for k, kind in enumerate(kinds) if kind is Kind.UNKNOWN]
        if len(kinds) == 1 and self.leads[0].strip().lower() in lead_names.LOOSE:
            unknown = [0]
        if not hearts and len(unknown) != 1:
            what = f"no lead is known as an ECG by its name: {', '.join(self.leads)[:300]}"
            raise DataError(what, where=str(self.path), hint="--leads with the name of the one that is")
        return sorted(hearts, key=lambda k: lead_names.standard(self.leads[k]) not in directions) or unknown

    def _number(self, name: str | None) -> int:
        if name is None:
            return self.candidates()[0]
        place = lead_names.place_of(self.leads, name)
        if place is None:
            raise DataError(f"there is no lead {name[:40]!r}", where=str(self.path), hint=", ".join(self.leads)[:300])
        return place

    def _factor(self, number: int, unit: str | None) -> float:
        """How many mV the number 1 of a lead is, where `unit` is what the user says of it."""
        name, own = self.leads[number], self.units[number] if self.units else ""
        if number in self.unit_unknown:
            if own and unit is None:
                hint = "--unit with what it is, such as uV, or 200/mV for 200 steps a mV"
                raise DataError(
                    f"lead {name} is in {own[:20]!r}, which is no unit of voltage", where=str(self.path), hint=hint
                )
            return (unit and millivolts(unit)) or 1.0
        if unit is not None and (not own or millivolts(own) != millivolts(unit)):
            what = f"lead {name} is in {own or 'mV'} as the file states, not in {unit}"
            raise DataError(what, where=str(self.path), hint="the command without --unit")
        return 1.0

    def _doubts_of_size(self, number: int, typical_mv: float | None, span_mv: float, *, sure: bool) -> tuple[str, ...]:
        """What there is to doubt about the amplitude of a lead; DataError where it cannot be in mV and nobody is
        `sure`.

        Little is no error where the file states the unit: a lead that was off has nothing but the noise of its
        amplifier.
        """
        if typical_mv is not None and not is_plausible(typical_mv):
            shown = f"{typical_mv:.3g}" if typical_mv < 1000 else f"{typical_mv:,.0f}"
            what = f"lead {self.leads[number]} of {self.name} spans {shown} mV in most of its pieces"
            what += f", an ECG {ECG_LEAST_MV:g} to {ECG_MOST_MV:g}"
            if sure or (typical_mv < ECG_LEAST_MV and number not in self.unit_unknown):
                return (f"{what}: its unit is another one, or no ECG was recorded",)
            hint = "--unit with what its numbers are in: V, uV, or 200/mV for 200 steps a mV"
            raise DataError(f"{what}: its numbers are in another unit", where=str(self.path), hint=hint)
        if span_mv > MOST_MV:
            what = f"lead {self.leads[number]} of {self.name} spans {span_mv:,.0f} mV"
            return (f"{what}: there are artefacts in it, or it is not in mV",)
        return ()
