"""Which leads of a recording a network is given: those it was trained on, those that are named, or the next best, which is said.

leads = inputs.leads_of(recording, ("MLII",), asked=None)    # a Lead a channel
"""

import re
from collections.abc import Sequence

from loaders.mitdb import POSITIONS, parse_leads
from loaders.recording import Lead, Recording, log
from toolbox.errors import DataError, UsageError

TURNED = "-"  # before the name of a lead that was recorded upside down
KIN = {"mlii": "ii", "ii": "mlii"}  # of the same direction
PREFIX = re.compile(r"^(ecg|ekg)\W*(?=\w)", re.IGNORECASE)  # as in EDF
HINT = "--leads with one of its leads for each of the network's"


def leads_of(recording: Recording, trained: Sequence[str], asked: str | None) -> list[Lead]:
    """A lead for each channel of a network that was `trained` on such ones; `asked` is as --leads, a - before a name turns it.

    Raises UsageError where other than as many are asked for, DataError where one is not there or flat.
    """
    channels = parse_leads(asked or ",".join(trained))
    if len(channels) != len(trained):
        what = f"--leads names {len(channels)}, the network has a channel each for {', '.join(trained)}"
        raise UsageError(what, hint="as many, in that order")
    taken: dict[int, bool] = {}
    for channel in channels:
        found = [place for name in channel if (place := _find(recording.leads, name))]
        place, turned = next((each for each in found if each[0] not in taken), (None, False))
        if place is None and (asked or len(channels) > 1):
            what = f"{'no lead is left for' if found else 'there is no lead'} {'|'.join(channel)[:80]!r}"
            what += "" if asked else f"; the network needs {', '.join(trained)}"
            hint = HINT if len(recording.leads) >= len(trained) else "a run on fewer leads; here"
            raise DataError(what, where=str(recording.path), hint=f"{hint}: {', '.join(recording.leads)[:300]}")
        if place is None:
            return [_next_best(recording, channel)]
        taken[place] = turned
    return [recording.lead(recording.leads[place], turned=turned) for place, turned in taken.items()]


def turn(name: str) -> str:
    """How a lead that is called so is asked for the other way up."""
    return name.removeprefix(TURNED) if name.startswith(TURNED) else f"{TURNED}{name}"


def _find(names: Sequence[str], name: str) -> tuple[int, bool] | None:
    """The place of the lead called `name`, whether it is to be turned; None where there is none."""
    for text, turned in ((name, False), (name.removeprefix(TURNED), True)):
        if text in names:
            return names.index(text), turned
        if POSITIONS.get(text, len(names)) < len(names):
            return POSITIONS[text], turned
        same = [k for k, other in enumerate(names) if _plain(other) == _plain(text)]
        if same:
            return same[0], turned
    return None


def _plain(name: str) -> str:
    return PREFIX.sub("", name).strip().lower()


def _next_best(recording: Recording, trained: Sequence[str]) -> Lead:
    """A lead of the same direction, else the first ECG lead; that it is another one is said."""
    kin = {KIN.get(_plain(name)) for name in trained}
    name = next((other for other in recording.leads if _plain(other) in kin), None)
    lead = recording.lead(name)
    told = (recording.name, "|".join(trained), lead.name)
    log.warning("%s has no lead %s, which the network was trained on; taking %s: expect more mistakes", *told)
    return lead
