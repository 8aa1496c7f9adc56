"""Dataset `mitdb`: every beat of the MIT-BIH Arrhythmia Database in mV, cut from its WFDB records, divided by patient.

48 half-hour records of two leads at 360 Hz: Moody & Mark, IEEE Eng Med Biol 20(3):45-50, 2001; Goldberger et al.,
Circulation 101(23), 2000. The published division DS1/DS2: de Chazal, O'Dwyer & Reilly, IEEE Trans Biomed Eng
51(7):1196-1206, 2004.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from loaders.base import Data
from loaders.datasets import kaggle_beats
from loaders.families import beat_features, beats
from loaders.families.beats import Recipe
from loaders.files.archives import reading, unpacked
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import Wanted, fetch_first, locate, search
from loaders.formats import parts
from loaders.formats.lead_names import parse_leads, place_of
from loaders.formats.wfdb import find_records, lead_names, rate_hz, read_leads
from loaders.splits.by_patient import Cohort
from loaders.splits.by_row import Holdout
from toolbox import terminal
from toolbox.errors import UsageError

LEADS = "MLII"
SUFFIXES = (".hea", ".dat", ".atr")
DS1 = "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230"
DS2 = "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234"
MITDB = Cohort(
    train=tuple(DS1.split()),
    test=tuple(DS2.split()),
    words="de Chazal et al. 2004: DS1 trains, DS2 tests, the paced records 102 104 107 217 are in neither",
    person={"202": "201"},
)
FACTS = {"source": "MIT-BIH Arrhythmia Database", "licence": "ODC-By 1.0"}
HELP = "put the MIT-BIH zip of physionet.org, or the folder of its records, into {}, or name it with --data-file"
WANTED = Wanted(
    files=("*.hea",),
    enough=lambda names: {".hea", ".atr"} <= {Path(name).suffix for name in names},
    what="no MIT-BIH records are",
    would_do="a folder or zip with MIT-BIH records (*.hea, *.dat, *.atr)",
)


def load(
    root: Path,
    *,
    data_file: Path | None,
    val_fraction: Holdout,
    seed: int,
    bad_rows: str = "error",
    split: str | None = None,
    fold: int | None = None,
    leads: str | None = None,
    window: str | None = None,
    rate: float | None = None,
    filter: str | None = None,
    normalise: str | None = None,
    rr_features: bool | None = None,
    p_waves: bool | None = None,
    label_map: str | None = None,
) -> Data:
    """The beats from `data_file`, else from <root>/mitdb or <root>/ecg, else fetched into <root>/mitdb: x (N, C, T)
    float32.

    `split` and `fold` are those of `splits.by_patient`, `window`, `rate`, `filter` and `normalise` of `beats.Recipe`,
    `label_map` of `families.labels`. `leads` are names with commas, with | between alternatives, see `chosen`; records
    that lack one are left out. Raises UsageError for what cannot be asked for, DataError for what cannot be used,
    DownloadError where nothing can be fetched, ResourceError for a lack of permission.
    """
    how = {"label_map": label_map, "split": split, "fold": fold, "rr_features": rr_features, "p_waves": p_waves}
    recipe, channels = (
        Recipe.of(window=window, rate=rate, filter=filter, normalise=normalise),
        parse_leads(leads or LEADS),
    )
    choices = beats.Choices.of(**how, recipe=recipe, val_fraction=val_fraction, seed=seed)
    folder, sibling = root / "mitdb", root / "ecg"
    with reading(data_file or folder):
        source = locate(data_file, WANTED) if data_file else search(folder, WANTED) or search(sibling, WANTED)
    source = source or fetch_first(kaggle_beats.REMOTES[1:], folder, WANTED, HELP.format(folder))
    arrays, checksum = _cut(source, folder / "cache", recipe, channels)
    names = tuple("|".join(channel) for channel in channels)
    how = {"recipe": recipe, "cohort": MITDB, "leads": names, "facts": FACTS, "where": str(source)}
    how["rates"] = lambda: _rates(source)
    data = beats.as_data("mitdb", arrays, checksum, choices=choices, **how)
    if not len(arrays["left_out"]):
        return data
    return data.ruled(f"{data.spec.split_rule}; left out for lack of the leads: {' '.join(arrays['left_out'])}")


def chosen(channels: Sequence[Sequence[str]], names: Sequence[str]) -> list[int] | None:
    """The lead of a record for each channel, None where it lacks one.

    A channel takes the first of its alternatives that the record has and no channel before has taken. An alternative is
    the name of a lead in any usual spelling, or `first` or `second` for the place it has in the record: 114 has V5
    first and MLII second.
    """
    taken: list[int] = []
    for channel in channels:
        places = (place_of(names, name, taken) for name in channel)
        place = next((place for place in places if place is not None), None)
        if place is None:
            return None
        taken.append(place)
    return taken


def _cut(source: Path, cache: Path, recipe: Recipe, channels: list[list[str]]) -> tuple[Arrays, str]:
    """The beats of a source, cut once for each recipe and choice of leads, and the checksum of the arrays."""

    def build() -> Arrays:
        if source.is_dir():
            return _beats(source, recipe, channels)
        with unpacked(source) as folder:
            return _beats(folder, recipe, channels)

    with reading(source):
        files = parts.of_folder(source, SUFFIXES) if source.is_dir() else [source]
        how = {"leads": repr(channels), "recipe": repr(recipe), "features": repr(beat_features.ALL)}
        return cached(cache / f"beats-{fingerprint(*files, **how)}", build)


def _rates(source: Path) -> dict[str, float]:
    """The sampling rate in Hz of each record of a source."""
    with reading(source), nullcontext(source) if source.is_dir() else unpacked(source) as folder:
        return {header.stem: rate_hz(header) for header in find_records(folder)}


def _beats(folder: Path, recipe: Recipe, channels: list[list[str]]) -> Arrays:
    headers = find_records(folder)
    leads = {header: lead_names(header) for header in headers}
    numbers = {header: chosen(channels, names) for header, names in leads.items()}
    used = [header for header in headers if numbers[header] is not None]
    if not used:
        there = ", ".join(sorted({name for names in leads.values() for name in names}))
        raise UsageError(
            f"no record has what --leads asks for; there are {there[:200]}", where=str(folder), hint="--leads first"
        )
    parts = []
    for header in terminal.bar(iterable=used, desc="beats from records", unit="record"):
        signal, hz, annotated, places = read_leads(header, numbers[header])
        parts.append(beats.record_arrays(header.stem, signal, hz, np.array(annotated, str), places, recipe=recipe))
    left_out = [header.stem for header in headers if numbers[header] is None]
    return beats.together(parts) | {"left_out": np.array(left_out, str)}
