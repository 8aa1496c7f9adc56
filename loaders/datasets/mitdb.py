"""Dataset `mitdb`: every beat of the MIT-BIH Arrhythmia Database in mV, cut from its WFDB records, divided by patient.

48 half-hour records of two leads at 360 Hz: Moody & Mark, IEEE Eng Med Biol 20(3):45-50, 2001; Goldberger et al.,
Circulation 101(23), 2000. The published division DS1/DS2: de Chazal, O'Dwyer & Reilly, IEEE Trans Biomed Eng
51(7):1196-1206, 2004.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from loaders.base import Data
from loaders.declaration import Request
from loaders.families.beats import BeatPlan, together
from loaders.files.archives import as_folder, reading
from loaders.files.cache import Arrays
from loaders.formats import wfdb
from loaders.formats.lead_names import parse_leads, place_of
from loaders.formats.wfdb import find_records, lead_names, rate_hz, read_leads
from toolbox import terminal
from toolbox.errors import UsageError


def load(request: Request) -> Data:
    """x (N, C, T) float32; --leads are names with commas, with | between alternatives, see `chosen`.

    Records that lack a lead are left out. Raises UsageError if all records lack one, DataError for damaged records.
    """
    plan, channels = BeatPlan.of(request), parse_leads(request.options.leads)
    build = partial(_beats, plan=plan, channels=channels)
    key = {"leads": repr(channels)} | plan.key  # in this order, which names the cache
    arrays, checksum = wfdb.parsed(request.source, wfdb.OF_RECORDS, request.cache / "beats", build, **key)
    leads = tuple("|".join(channel) for channel in channels)
    return plan.data(arrays, checksum, leads=leads, rates=partial(_rates, request.source))


def chosen(channels: Sequence[Sequence[str]], names: Sequence[str]) -> list[int] | None:
    """The lead of a record for each channel, None if the record lacks one.

    A channel takes the first of its alternatives that the record has and no earlier channel has taken. An alternative
    is the name of a lead in any usual spelling, or its place in the record, `first` or `second`: 114 has V5 first and
    MLII second.
    """
    taken: list[int] = []
    for channel in channels:
        places = (place_of(names, name, taken) for name in channel)
        place = next((place for place in places if place is not None), None)
        if place is None:
            return None
        taken.append(place)
    return taken


def _rates(source: Path) -> dict[str, float]:
    with reading(source), as_folder(source) as folder:
        return {header.stem: rate_hz(header) for header in find_records(folder)}


def _beats(folder: Path, plan: BeatPlan, channels: list[list[str]]) -> Arrays:
    headers = find_records(folder)
    leads = {header: lead_names(header) for header in headers}
    found = {header: chosen(channels, names) for header, names in leads.items()}
    numbers = {header: places for header, places in found.items() if places is not None}
    if not numbers:
        there = ", ".join(sorted({name for names in leads.values() for name in names}))
        what = f"no record has the leads of --leads; the records have {there[:200]}"
        raise UsageError(what, where=str(folder), hint="--leads first")
    cut = []
    for header in terminal.bar(iterable=list(numbers), desc="beats from records", unit="record"):
        signal, hz, annotated, places = read_leads(header, numbers[header])
        cut.append(plan.record(header.stem, signal, hz, np.array(annotated, str), places))
    left_out = [header.stem for header in headers if header not in numbers]
    return together(cut) | {"left_out": np.array(left_out, str)}
