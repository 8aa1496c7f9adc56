"""An open recording of any format: leads that are read in pieces in mV, and the choice of leads for a network.

`recording.lead("MLII")` surveys a lead in blocks and gives `Lead(name, rate_hz, samples, read, gaps)`;
`leads_of(recording, ("MLII",), asked=None)` gives a lead for each channel of a network.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.formats import lead_names
from loaders.formats.lead_names import POSITIONS, TURNED, SignalKind, millivolts, parse_leads
from toolbox.ecg.gaps import SHORT_S, STILL_S, Reader, Signal, survey
from toolbox.errors import DataError, UsageError

PIECE_S, PIECES = 10, 60  # pieces of a lead, for its typical span
INNER = (0.2, 99.8)  # percentiles of a piece: an R peak reaches them, a spike does not
ECG_LEAST_MV, ECG_MOST_MV = 0.02, 30.0  # an ECG on the skin: low voltage is 0.5, the largest QRS complexes reach 10
MOST_MV = 100  # from the lowest to the highest value of a lead; above it there are artefacts, or another unit


class FlatError(DataError):
    """A lead is flat."""


@dataclass(frozen=True)
class Lead:
    """One lead: `read(first, last)` gives its samples in mV, NaN if missing; `gaps` (G, 2) are long runs of NaN.

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
    """An open recording. `read(k, first, last)` gives samples of its lead `leads[k]`, in mV if its unit is a voltage.

    `units` are the units of the leads in the file, "" for none; `shapes` the rate and samples of each lead. `check(k)`
    raises for a damaged lead. `reference` has symbols and sample numbers of the recording's annotations, `start` is the
    time of its first sample, `doubts` are sentences about the recording, for the report.
    """

    path: Path
    leads: tuple[str, ...]
    units: tuple[str, ...]
    shapes: tuple[tuple[float, int], ...]
    rate_hz: float
    samples: int
    read: Callable[[int, int, int], Signal]
    check: Callable[[int], None] = lambda _: None
    start: datetime | None = None
    reference: tuple[list[str], NDArray[np.int64]] | None = None
    doubts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return name_of(self.path)

    @property
    def unit_unknown(self) -> frozenset[int]:
        """The leads without a stated unit of voltage: `read` gives the numbers of the file."""
        return frozenset(k for k, unit in enumerate(self.units) if millivolts(unit) is None)

    def lead(
        self, which: str | int | None = None, *, turned: bool = False, unit: str | None = None, flat: bool = False
    ) -> Lead:
        """The lead of that name or place, inverted if `turned`; the default is the most likely ECG.

        `unit` is for a lead without a stated one; a `flat` lead may be a doubt. Raises DataError: no such lead, flat,
        not in mV, another unit.
        """
        number = which if isinstance(which, int) else self._number(which)
        name, (rate_hz, samples) = self.leads[number], self.shapes[number]
        self.check(number)
        factor = self._factor(number, unit) * (-1 if turned else 1)

        def read(first: int, last: int) -> Signal:
            signal = self.read(number, first, last)
            return signal if factor == 1 else factor * signal

        found = survey(read, samples, longest=round(SHORT_S * rate_hz), still=round(STILL_S * rate_hz))
        if found.is_flat and flat:
            return Lead(name, rate_hz, samples, read, found.gaps, 0.0, (f"lead {name} of {self.name} is flat",))
        if found.is_flat:
            others = ", ".join(other for k, other in enumerate(self.leads) if k != number)
            hint = f"--leads with one of {others[:200]}" if others else "another recording"
            raise FlatError(f"lead {name} is flat", where=str(self.path), hint=hint)
        span_mv = found.high - found.low
        doubts = self._doubts_of_size(number, _typical_mv(read, samples, rate_hz), span_mv, sure=unit is not None)
        if number in self.unit_unknown and unit is None:
            doubts = (f"{self.name} states no unit of lead {name}; mV is assumed, --unit changes this", *doubts)
        return Lead(f"{TURNED * turned}{name}", rate_hz, samples, read, found.gaps, span_mv, doubts)

    def timed_as(self, lead: Lead) -> "Recording":
        """The recording with the rate and the samples of one of its leads, also of its annotations."""
        if (lead.rate_hz, lead.samples) == (self.rate_hz, self.samples):
            return self
        reference = self.reference
        if reference and lead.rate_hz != self.rate_hz:
            places = np.floor(reference[1] * (lead.rate_hz / self.rate_hz) + 0.5).astype(np.int64)
            reference = reference[0], np.minimum(places, lead.samples - 1)
        return replace(self, rate_hz=lead.rate_hz, samples=lead.samples, reference=reference)

    def candidates(self, directions: Collection[str] = ()) -> list[int]:
        """The places of the leads that may be an ECG by their names, the most likely first. Raises DataError for none.

        Leads with a standard name in `directions` come first; an unknown name counts if no other lead has one, and a
        loose one if the recording has no other lead.
        """
        kinds = [lead_names.kind(name) for name in self.leads]
        hearts = [k for k, kind in enumerate(kinds) if kind is SignalKind.ECG]
        unknown = [k for k, kind in enumerate(kinds) if kind is SignalKind.UNKNOWN]
        if len(kinds) == 1 and self.leads[0].strip().lower() in lead_names.LOOSE:
            unknown = [0]
        if not hearts and len(unknown) != 1:
            what = f"no lead has the name of an ECG: {', '.join(self.leads)[:300]}"
            raise DataError(what, where=str(self.path), hint="--leads with the name of the ECG")
        return sorted(hearts, key=lambda k: lead_names.standard(self.leads[k]) not in directions) or unknown

    def _number(self, name: str | None) -> int:
        if name is None:
            return self.candidates()[0]
        place = lead_names.place_of(self.leads, name)
        if place is None:
            raise DataError(f"there is no lead {name[:40]!r}", where=str(self.path), hint=", ".join(self.leads)[:300])
        return place

    def _factor(self, number: int, unit: str | None) -> float:
        """The factor from the numbers of `read` to mV; `unit` is the value of --unit."""
        name, own = self.leads[number], self.units[number]
        if number not in self.unit_unknown:
            if unit is not None and millivolts(own) != millivolts(unit):
                what = f"the file states that lead {name} is in {own}, not in {unit}"
                raise DataError(what, where=str(self.path), hint="the command without --unit")
            return 1.0
        if own and unit is None:
            what = f"lead {name} is in {own[:20]!r}, which is no unit of voltage"
            hint = "--unit with its unit, such as uV, or 200/mV for 200 steps a mV"
            raise DataError(what, where=str(self.path), hint=hint)
        return (unit and millivolts(unit)) or 1.0

    def _doubts_of_size(self, number: int, typical_mv: float | None, span_mv: float, *, sure: bool) -> tuple[str, ...]:
        """Doubts about the amplitude of a lead. Raises DataError if it cannot be in mV, unless the user is `sure`.

        A small amplitude is no error if the file states the unit: a lead that was off has the noise of its amplifier.
        """
        lead = f"lead {self.leads[number]} of {self.name}"
        if typical_mv is not None and not ECG_LEAST_MV <= typical_mv <= ECG_MOST_MV:
            shown = f"{typical_mv:.3g}" if typical_mv < 1000 else f"{typical_mv:,.0f}"
            what = f"{lead} spans {shown} mV in most of its pieces, an ECG {ECG_LEAST_MV:g} to {ECG_MOST_MV:g}"
            if sure or (typical_mv < ECG_LEAST_MV and number not in self.unit_unknown):
                return (f"{what}: its unit is another one, or no ECG was recorded",)
            hint = "--unit with the unit of its numbers: V, uV, or 200/mV for 200 steps a mV"
            raise DataError(f"{what}: its numbers are in another unit", where=str(self.path), hint=hint)
        doubt = f"{lead} spans {span_mv:,.0f} mV: it has artefacts, or is not in mV"
        return (doubt,) if span_mv > MOST_MV else ()


def name_of(path: Path) -> str:
    """The name of the recording in a file, without `.csv` and `.csv.gz`."""
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def _typical_mv(read: Reader, samples: int, rate_hz: float) -> float | None:
    """The median span of pieces of 10 s, without outliers, to separate mV from V and uV; None if flat."""
    piece = max(1, min(round(PIECE_S * rate_hz), samples))
    spans = []
    for first in np.linspace(0, samples - piece, min(PIECES, samples // piece)).astype(np.int64):
        values = read(int(first), int(first) + piece)
        values = values[np.isfinite(values)]
        if 2 * len(values) >= piece:
            spans.append(np.ptp(np.percentile(values, INNER)))
    moving = [span for span in spans if span > 0]
    return float(np.median(moving)) if moving else None


HINT = "--leads with a lead for each lead of the network"


def leads_of(
    recording: Recording, trained: Sequence[str], asked: str | None, *, unit: str | None = None, flat: bool = False
) -> list[Lead]:
    """A lead for each channel of a network that was `trained` on these leads; `asked` is --leads, `unit` is --unit.

    A - before a name inverts the lead. Without --leads the next best lead may be used, with a doubt. Some of several
    leads may be `flat`, with a doubt. Raises UsageError for another number of leads, DataError for a lead that is
    missing, flat, of another rate or in another unit.
    """
    channels = parse_leads(asked or ",".join(trained))
    if len(channels) != len(trained):
        what = f"--leads names {len(channels)}, the network has a channel each for {', '.join(trained)}"
        raise UsageError(what, hint="as many, in that order")
    leads: dict[int, Lead] = {}
    for channel in channels:
        found = [each for name in channel if (each := _find(recording, name, leads, sure=bool(asked)))]
        if not found and (asked or len(channels) > 1):
            left = any(_find(recording, name, (), sure=bool(asked)) for name in channel)
            what = f"{'no lead is left for' if left else 'there is no lead'} {'|'.join(channel)[:80]!r}"
            what += "" if asked else f"; the network needs {', '.join(trained)}"
            hint = HINT if len(recording.leads) >= len(trained) else "a run on fewer leads; here"
            raise DataError(what, where=str(recording.path), hint=f"{hint}: {', '.join(recording.leads)[:300]}")
        try:
            place, lead = _named(recording, *found[0], unit) if found else _next_best(recording, channel, unit)
        except FlatError:
            if not (flat and found and len(channels) > 1):
                raise
            place, turned = found[0][1:]
            lead = recording.lead(place, turned=turned, unit=unit, flat=True)
        leads[place] = lead
    if not any(lead.span_mv for lead in leads.values()):
        raise FlatError("every lead is flat", where=str(recording.path), hint="another recording")
    if len({(lead.rate_hz, lead.samples) for lead in leads.values()}) > 1:
        rates = ", ".join(f"{lead.name} at {lead.rate_hz:g} Hz" for lead in leads.values())
        what = f"the leads of one network must have one rate, here {rates}"
        raise DataError(what, where=str(recording.path), hint="--leads with leads of one rate, or a run on one lead")
    return list(leads.values())


def turn(name: str) -> str:
    """The value of --leads for the inverted lead."""
    return name.removeprefix(TURNED) if name.startswith(TURNED) else f"{TURNED}{name}"


def _find(recording: Recording, name: str, taken: Collection[int], *, sure: bool) -> tuple[str, int, bool] | None:
    """A name, the place of its lead and whether to invert it; None without such a lead.

    A lead that is no ECG by its name counts if the user is `sure`.
    """
    for text, turned in ((name, False), (name.removeprefix(TURNED), True)):
        place = lead_names.place_of(recording.leads, text, taken)
        if place is not None and (sure or lead_names.kind(recording.leads[place]) is not SignalKind.OTHER):
            return text, place, turned
    return None


def _named(recording: Recording, name: str, place: int, turned: bool, unit: str | None) -> tuple[int, Lead]:
    """The lead at a place; of several with its name the first that is not flat."""
    names, doubts, same = recording.leads, [], [place]
    if name not in POSITIONS:
        same += [k for k in range(place + 1, len(names)) if names[k] == names[place]]
    place, lead = _first_moving(recording, same, turned=turned, unit=unit)
    if len(same) > 1:
        doubts.append(f"{len(same)} leads of {recording.name} are called {names[place]}; lead {place + 1} is used")
    kind = lead_names.kind(names[place])
    if kind is SignalKind.OTHER:
        doubts.append(f"lead {names[place]} of {recording.name} is no ECG by its name")
    elif kind is SignalKind.UNKNOWN and name in POSITIONS:
        doubts.append(f"lead {names[place]} of {recording.name} may not be an ECG, by its name")
    return place, replace(lead, doubts=(*lead.doubts, *doubts))


def _next_best(recording: Recording, trained: Sequence[str], unit: str | None) -> tuple[int, Lead]:
    """A lead of the same direction, else the first ECG lead, with a doubt."""
    directions = {lead_names.KIN.get(lead_names.standard(name)) for name in trained} - {None}
    places = recording.candidates([each for each in directions if each])
    same = [k for k in places if recording.leads[k] == recording.leads[places[0]]]
    place, lead = _first_moving(recording, same, turned=False, unit=unit)
    name = lead.name
    if lead_names.kind(name) is not SignalKind.ECG:
        name += ", which may not be an ECG, by its name"
    elif len(same) > 1:
        name += f" (lead {place + 1}; {len(same)} leads have that name)"
    doubt = f"{recording.name} has no lead {'|'.join(trained)}, which the network was trained on; using {name}"
    return place, replace(lead, doubts=(*lead.doubts, f"{doubt}: expect more mistakes"))


def _first_moving(recording: Recording, places: Sequence[int], *, turned: bool, unit: str | None) -> tuple[int, Lead]:
    """The first of several leads that is not flat. Raises the error of the last if all are flat."""
    for place in places[:-1]:
        try:
            return place, recording.lead(place, turned=turned, unit=unit)
        except FlatError:
            continue
    return places[-1], recording.lead(places[-1], turned=turned, unit=unit)
