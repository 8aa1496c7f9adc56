"""Annotation symbols of beats and rhythms of records become classes: by a map that has a name, or by a file's.

    labels = label_map("aami")
    y = labels.of(np.array(["N", "A", "/"]))                 # 0, 1, 4
    rhythm = of_codes(["164934002", "426177001"])            # "SB"
    y = rhythm_map("rhythm4").of(np.array([rhythm]))         # 2

Symbols as in WFDB's table of annotation codes. `aami-s` is the map of ANSI/AAMI EC57, as its reference program `bxb` of
the WFDB software has it. `aami` differs in e and j, atrial and nodal escape beats, which are N in it: de Chazal et al.,
IEEE TBME 51(7):1196-1206, 2004, and the Kaggle heartbeat files have them so.

Acronyms of rhythms as in the Chapman-Shaoxing database (Zheng et al., Sci Data 7:48, 2020), in which AF is atrial
flutter and AFIB atrial fibrillation; `rhythm4` are its four groups. SNOMED CT codes as in ConditionNames_SNOMED-CT.csv
of PhysioNet's ecg-arrhythmia 1.0.0; two rhythms have another code in the tables of the PhysioNet/CinC Challenge 2021
(dx_mapping_unscored.csv).
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.files.archives import reading
from toolbox.errors import DataError
from toolbox.registry import pick

BEATS = "NLRBAaJSVrFejnE/fQ?"  # the annotations that are a beat; between any two of them is an RR interval
# In the order of the text that enters a checksum; RARE symbols, which MIT-BIH does not have, enter it only where they
# occur.
AAMI = {"N": "NLRejB", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}
RARE = "Bnr?"
IMPORTANCE = {"N": 1.0, "S": 2.0, "V": 2.0, "F": 2.0, "Q": 0.5}
EACH_SYMBOL = {symbol: symbol for symbol in BEATS}
# By name, the symbols of each class.
SYMBOL_MAPS: dict[str, Mapping[str, str]] = {
    "aami": AAMI,
    "aami-s": AAMI | {"N": "NLRB", "S": "AaJSejn"},
    "symbols": EACH_SYMBOL,
}
LARGEST_FILE, LONGEST_NAME = 2**16, 40

RHYTHMS = ("SB", "SR", "AFIB", "ST", "AF", "SA", "SVT", "AT", "AVNRT", "AVRT", "SAAWR")
ALIASES = {"SI": "SA"}  # sinus irregularity, called so in RhythmNames.xlsx
SINUS = {"SB", "ST", "SA"}  # beside which "sinus rhythm" says nothing more
CODES = {
    "426177001": "SB",
    "426783006": "SR",
    "164889003": "AFIB",
    "427084000": "ST",
    "164890007": "AF",
    "427393009": "SA",
    "426761007": "SVT",
    "713422000": "AT",
    "233896004": "AVNRT",
    "251166008": "AVNRT",  # of the challenge
    "233897008": "AVRT",
    "195101003": "SAAWR",
    "17366009": "SAAWR",  # of the challenge
}
EACH_RHYTHM = {name: (name,) for name in RHYTHMS}
FOUR = {
    "AFIB": ("AFIB", "AF"),
    "GSVT": ("ST", "SVT", "AT", "AVNRT", "SAAWR", "AVRT"),
    "SB": ("SB",),
    "SR": ("SR", "SA"),
}
# By name, the rhythms of each class.
RHYTHM_MAPS: dict[str, Mapping[str, tuple[str, ...]]] = {"rhythm4": FOUR, "rhythm11": EACH_RHYTHM}
SEVERAL = "+"  # between the rhythms of a record that has more than one


@dataclass(frozen=True)
class LabelMap:
    """The members of each class, symbols as one text or names of rhythms. `content` names all of it, for a checksum."""

    name: str
    classes: Mapping[str, Sequence[str]]

    @property
    def content(self) -> str:
        """Classes and members as text."""
        return json.dumps(dict(self.classes))

    def of(self, labels: NDArray[np.str_]) -> NDArray[np.int64]:
        """The class (N,) of each symbol or rhythm; -1 where it has none, or where several rhythms are of different
        classes."""
        numbers = {member: k for k, own in enumerate(self.classes.values()) for member in own}
        names, inverse = np.unique(labels, return_inverse=True)
        found = [{numbers.get(part, -1) for part in str(name).split(SEVERAL)} for name in names]
        return np.array([each.pop() if len(each) == 1 else -1 for each in found], np.int64)[inverse]

    def among(self, labels: NDArray[np.str_]) -> "LabelMap":
        """The map as data with only these labels need it: without the rare symbols that are not there, and where every
        symbol or rhythm is a class without the classes that are not; a map of the user's as it is."""
        if self.classes is EACH_SYMBOL or self.classes is EACH_RHYTHM:
            there = set(self.of(labels).tolist())
            return LabelMap(self.name, {name: own for k, (name, own) in enumerate(self.classes.items()) if k in there})
        if self.name not in SYMBOL_MAPS:
            return self
        absent = str.maketrans("", "", "".join(set(RARE) - set(np.unique(labels).tolist())))
        return LabelMap(self.name, {name: str(own).translate(absent) for name, own in self.classes.items()})

    @property
    def importance(self) -> tuple[float, ...]:
        """That of the AAMI classes, 1 for any other."""
        known = IMPORTANCE if self.name in ("aami", "aami-s") else {}
        return tuple(known.get(name, 1.0) for name in self.classes)


def label_map(name: str | Path) -> LabelMap:
    """The map of symbols called `name`, or that of the file `name`: JSON {symbol: class} or a CSV of symbol,class.

    Raises UsageError for what is neither, DataError, naming the line, for a file that is no such map.
    """
    found = _map(str(name), SYMBOL_MAPS, "symbol", BEATS, "symbol of a beat", "N,normal")
    if found.classes in SYMBOL_MAPS.values():
        return found
    return LabelMap(found.name, {own: "".join(symbols) for own, symbols in found.classes.items()})


def rhythm_map(name: str | Path) -> LabelMap:
    """The same of rhythms."""
    return _map(str(name), RHYTHM_MAPS, "rhythm", RHYTHMS, "rhythm", "SB,slow")


def _map(
    name: str, maps: Mapping[str, Mapping[str, Sequence[str]]], what: str, known: Sequence[str], said: str, example: str
) -> LabelMap:
    """The map `name`, one of `maps` or a file, of what is among the `known`; for errors what they are called, and a
    line."""
    if name in maps or not is_file(name):
        return LabelMap(name, pick("label-map", maps | {f"FILE{ending}": {} for ending in READERS}, name))
    label, _, own = example.partition(",")
    hint = f'a line {example} for each {what}, or {{"{label}": "{own}", ...}}'
    classes: dict[str, tuple[str, ...]] = {}
    for place, written, own in read_pairs(name, what, hint):
        member, fault = ALIASES.get(written, written), ""
        if member not in tuple(known):
            fault = f"'{written[:40]}' is no {said}, those are {' '.join(known)}"
        elif any(member in others for others in classes.values()):
            fault = f"the {what} {member} is there twice"
        if fault:
            raise DataError(fault, where=f"{name}{place}", hint=hint)
        classes[own] = (*classes.get(own, ()), member)
    if len(classes) < 2:
        raise DataError(f"the map has {len(classes)} classes, expected 2 or more", where=name, hint=hint)
    return LabelMap(Path(name).name, classes)


def is_file(name: str) -> bool:
    """Whether a map is one of a file, by its ending."""
    return Path(name).suffix.lower() in READERS


def read_pairs(name: str, what: str, hint: str) -> list[tuple[str, str, str]]:
    """(place, key, class) of each line of the map in the file `name`, whose keys are `what` the header calls them.

    Raises DataError for a file that is none.
    """
    with reading(path := Path(name)):
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            fault = f"it is larger than a map of {what}s can be" if path.is_file() else "there is no such file"
            raise DataError(f"--label-map: {fault}", where=name, hint=hint)
        text = path.read_text("utf-8-sig", errors="replace")
    pairs = READERS[path.suffix.lower()](text, name, what, hint)
    for place, key, own in pairs:
        if not 0 < len(own) <= LONGEST_NAME:
            fault = f"the class of {key[:40]} has {len(own)} letters, expected 1 to {LONGEST_NAME}"
            raise DataError(fault, where=f"{name}{place}", hint=hint)
    return pairs


def _csv(text: str, where: str, what: str, hint: str) -> list[tuple[str, str, str]]:
    pairs = []
    for line, cells in enumerate(csv.reader(text.splitlines(), quoting=csv.QUOTE_NONE), 1):
        if len(cells) != 2 and any(cells):
            raise DataError(
                f"{len(cells)} columns, expected {what} and class", where=f"{where}, line {line}", hint=hint
            )
        if any(cells) and [cell.strip().lower() for cell in cells] != [what, "class"]:
            pairs.append((f", line {line}", *(cell.strip() for cell in cells)))
    return pairs


def _json(text: str, where: str, what: str, hint: str) -> list[tuple[str, str, str]]:
    try:
        found = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the file is no JSON: {str(error)[:100]}", where=where, hint=hint) from error
    if not isinstance(found, list) or not all(isinstance(pair, tuple) and isinstance(pair[1], str) for pair in found):
        raise DataError(f"the file is no object of {what} and class", where=where, hint=hint)
    return [("", key, name.strip()) for key, name in found]


READERS = {".csv": _csv, ".json": _json}


def flutter(annotated: NDArray[np.str_], at: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
    """First and last sample (E, 2) of the ventricular flutter or fibrillation among annotations (M,) at the samples
    `at` (M,).

    It is from [ to ], to the end of a recording of so many samples where ] is missing, and over flutter waves ! in a
    row.
    """
    begins, ends = at[annotated == "["], at[annotated == "]"]
    last = np.searchsorted(ends, begins)
    found = [np.stack([begins, np.append(ends, samples - 1)[last]], axis=1)]
    which = np.flatnonzero(np.isin(annotated, [*BEATS, "!"]))
    wave = np.diff((annotated[which] == "!").astype(int), prepend=0, append=0)
    found.append(np.stack([at[which[np.flatnonzero(wave == 1)]], at[which[np.flatnonzero(wave == -1) - 1]]], axis=1))
    return _merged(np.concatenate(found).astype(np.int64))


def _merged(segments: NDArray[np.int64]) -> NDArray[np.int64]:
    """Segments (E, 2) in order, those that overlap as one."""
    if not len(segments):
        return segments
    segments = segments[np.argsort(segments[:, 0], kind="stable")]
    reach = np.maximum.accumulate(segments[:, 1])
    first = np.concatenate([np.ones(len(reach[:1]), bool), segments[1:, 0] > reach[:-1]])
    return (
        np.stack([segments[first, 0], np.maximum.reduceat(segments[:, 1], np.flatnonzero(first))], 1)
        if len(reach)
        else segments
    )


def of_codes(codes: Iterable[str]) -> str:
    """The rhythm that SNOMED CT codes name, "" for none, "ST+AT" for more than one; others than rhythms do not
    count."""
    return together(CODES[code] for code in codes if code in CODES)


def together(rhythms: Iterable[str]) -> str:
    """Several rhythms as one name; sinus rhythm goes without saying where it is slow, fast or irregular."""
    named = set(rhythms)
    named -= {"SR"} if named & SINUS else set()
    return SEVERAL.join(name for name in RHYTHMS if name in named)
