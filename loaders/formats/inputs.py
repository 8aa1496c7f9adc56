"""Which leads of a recording a network is given: those it was trained on, those that are named, or the next best, with
a doubt.

leads = inputs.leads_of(recording, ("MLII",), asked=None)    # a Lead a channel
"""

from collections.abc import Sequence
from dataclasses import replace

from loaders.datasets.mitdb import parse_leads
from loaders.formats import lead_names
from loaders.formats.lead_names import POSITIONS, TURNED, Kind
from loaders.formats.recording import FlatError, Lead, Recording
from toolbox.errors import DataError, UsageError

HINT = "--leads with one of its leads for each of the network's"
MORE = "expect more mistakes"


def leads_of(recording: Recording, trained: Sequence[str], asked: str | None, *, unit: str | None = None) -> list[Lead]:
    """A lead for each channel of a network that was `trained` on such ones; `asked` is as --leads, a - before a name
    turns it.

    `unit` is as --unit. Raises UsageError where other than as many are asked for, DataError where one is not there,
    flat, of another rate or in another unit.
    """
    channels = parse_leads(asked or ",".join(trained))
    if len(channels) != len(trained):
        what = f"--leads names {len(channels)}, the network has a channel each for {', '.join(trained)}"
        raise UsageError(what, hint="as many, in that order")
    leads: dict[int, Lead] = {}
    for channel in channels:
        found = [place for name in channel if (place := _find(recording, name, leads, sure=bool(asked)))]
        if not found and (asked or len(channels) > 1):
            left = any(_find(recording, name, (), sure=bool(asked)) for name in channel)
            what = f"{'no lead is left for' if left else 'there is no lead'} {'|'.join(channel)[:80]!r}"
            what += "" if asked else f"; the network needs {', '.join(trained)}"
            hint = HINT if len(recording.leads) >= len(trained) else "a run on fewer leads; here"
            raise DataError(what, where=str(recording.path), hint=f"{hint}: {', '.join(recording.leads)[:300]}")
        place, lead = _named(recording, *found[0], unit) if found else _next_best(recording, channel, unit)
        leads[place] = lead
    return _of_one_rate(recording, list(leads.values()))


def turn(name: str) -> str:
    """How a lead that is called so is asked for the other way up."""
    return name.removeprefix(TURNED) if name.startswith(TURNED) else f"{TURNED}{name}"


def _find(
    recording: Recording, name: str, taken: Sequence[int] | dict[int, Lead], *, sure: bool
) -> tuple[str, int, bool] | None:
    """A name, the place of its lead and whether that is to be turned; None where there is none.

    Nothing but an ECG is meant where nobody is `sure`.
    """
    for text, turned in ((name, False), (name.removeprefix(TURNED), True)):
        place = lead_names.place_of(recording.leads, text, taken)
        if place is not None and (sure or lead_names.kind(recording.leads[place]) is not Kind.OTHER):
            return text, place, turned
    return None


def _named(recording: Recording, name: str, place: int, turned: bool, unit: str | None) -> tuple[int, Lead]:
    """The lead at a place; of several with its name the first in which something was recorded."""
    names, doubts = recording.leads, []
    same = (
        [place]
        if name in POSITIONS
        else [place, *(k for k in range(place + 1, len(names)) if names[k] == names[place])]
    )
    place, lead = _first_moving(recording, same, turned=turned, unit=unit)
    if len(same) > 1:
        doubts.append(f"{len(same)} leads of {recording.name} are called {names[place]}; lead {place + 1} is taken")
    kind = lead_names.kind(names[place])
    if kind is Kind.OTHER:
        doubts.append(f"lead {names[place]} of {recording.name} is no ECG by its name")
    elif kind is Kind.UNKNOWN and name in POSITIONS:
        doubts.append(f"the name of lead {names[place]} of {recording.name} does not say that it is an ECG")
    return place, replace(lead, doubts=(*lead.doubts, *doubts))


def _next_best(recording: Recording, trained: Sequence[str], unit: str | None) -> tuple[int, Lead]:
    """A lead of the same direction, else the first ECG lead; a doubt says that it is another one."""
    directions = {lead_names.KIN.get(lead_names.standard(name)) for name in trained} - {None}
    places = recording.candidates([each for each in directions if each])
    same = [k for k in places if recording.leads[k] == recording.leads[places[0]]]
    place, lead = _first_moving(recording, same, turned=False, unit=unit)
    name = lead.name
    if lead_names.kind(name) is not Kind.ECG:
        name += ", of which the name does not say that it is an ECG"
    elif len(same) > 1:
        name += f" (lead {place + 1}; {len(same)} leads have that name)"
    wanted = "|".join(trained)
    doubt = f"{recording.name} has no lead {wanted}, which the network was trained on; taking {name}: {MORE}"
    return place, replace(lead, doubts=(*lead.doubts, doubt))


def _first_moving(recording: Recording, places: Sequence[int], *, turned: bool, unit: str | None) -> tuple[int, Lead]:
    """The first of several leads that is not flat; the error of the first where all are."""
    for place in places[:-1]:
        try:
            return place, recording.lead(place, turned=turned, unit=unit)
        except FlatError:
            continue
    return places[-1], recording.lead(places[-1], turned=turned, unit=unit)


def _of_one_rate(recording: Recording, leads: list[Lead]) -> list[Lead]:
    if len({(lead.rate_hz, lead.samples) for lead in leads}) > 1:
        rates = ", ".join(f"{lead.name} at {lead.rate_hz:g} Hz" for lead in leads)
        what = f"leads of different rates are not classified together: {rates}"
        raise DataError(what, where=str(recording.path), hint="--leads with leads of one rate, or a run on one lead")
    return leads
