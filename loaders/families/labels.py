"""Maps from annotation symbols of beats, or rhythms of records, to classes: by name, or from a file.

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

BEATS = "NLRBAaJSVrFejnE/fQ?"  # the annotations that are a beat; RR intervals are between two of them
# Checksums depend on this order; RARE symbols, which MIT-BIH does not have, enter them only if they occur.
AAMI = {"N": "NLRejB", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}
RARE = "Bnr?"
AAMI_MAPS = ("aami", "aami-s")
CITES = ("ec57",)  # of the AAMI classes, and of figures by patient
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
ALIASES = {"SI": "SA"}  # sinus irregularity in RhythmNames.xlsx
SINUS = {"SB", "ST", "SA"}  # these include "sinus rhythm"
# The SNOMED CT codes of each rhythm; the second of AVNRT and of SAAWR are the challenge's.
OF_RHYTHM = "SB 426177001 SR 426783006 AFIB 164889003 ST 427084000 AF 164890007 SA 427393009 SVT 426761007 AT 713422000"
OF_RHYTHM += " AVNRT 233896004 AVNRT 251166008 AVRT 233897008 SAAWR 195101003 SAAWR 17366009"
CODES = dict(zip(OF_RHYTHM.split()[1::2], OF_RHYTHM.split()[::2], strict=True))
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
    """The members of each class: symbols as one text, or names of rhythms. `content` is for checksums."""

    name: str
    classes: Mapping[str, Sequence[str]]

    @property
    def content(self) -> str:
        return json.dumps(dict(self.classes))

    def of(self, labels: NDArray[np.str_]) -> NDArray[np.int64]:
        """The class (N,) of each symbol or rhythm; -1 without a class, or for several rhythms of different classes."""
        numbers = {member: k for k, own in enumerate(self.classes.values()) for member in own}
        names, inverse = np.unique(labels, return_inverse=True)
        found = [{numbers.get(part, -1) for part in str(name).split(SEVERAL)} for name in names]
        return np.array([each.pop() if len(each) == 1 else -1 for each in found], np.int64)[inverse]

    def among(self, labels: NDArray[np.str_]) -> "LabelMap":
        """The map without rare symbols that these labels lack and, if each symbol or rhythm is a class, without classes
        that they lack. A user's map is unchanged."""
        if self.classes is EACH_SYMBOL or self.classes is EACH_RHYTHM:
            there = set(self.of(labels).tolist())
            return LabelMap(self.name, {name: own for k, (name, own) in enumerate(self.classes.items()) if k in there})
        if self.name not in SYMBOL_MAPS:
            return self
        absent = str.maketrans("", "", "".join(set(RARE) - set(np.unique(labels).tolist())))
        return LabelMap(self.name, {name: str(own).translate(absent) for name, own in self.classes.items()})

    @property
    def importance(self) -> tuple[float, ...]:
        """The importance of the AAMI classes, 1 for any other."""
        known = IMPORTANCE if self.name in ("aami", "aami-s") else {}
        return tuple(known.get(name, 1.0) for name in self.classes)


def label_map(name: str | Path) -> LabelMap:
    """The map of symbols `name`, or the map in the file `name`: JSON {symbol: class} or a CSV of symbol,class.

    Raises UsageError for another name, DataError, with the line, for a file without such a map.
    """
    found = _map(str(name), SYMBOL_MAPS, "symbol", BEATS, "symbol of a beat", "N,normal")
    if found.classes in SYMBOL_MAPS.values():
        return found
    return LabelMap(found.name, {own: "".join(symbols) for own, symbols in found.classes.items()})


def rhythm_map(name: str | Path) -> LabelMap:
    """The map of rhythms `name`, as in `label_map`."""
    return _map(str(name), RHYTHM_MAPS, "rhythm", RHYTHMS, "rhythm", "SB,slow")


def _map(
    name: str, maps: Mapping[str, Mapping[str, Sequence[str]]], what: str, known: Sequence[str], kind: str, example: str
) -> LabelMap:
    """The map `name`, in `maps` or a file, from `known` members; their names and an example for errors."""
    if name in maps or not is_file(name):
        return LabelMap(name, pick("label-map", {**maps, **{f"FILE{ending}": {} for ending in READERS}}, name))
    label, _, own = example.partition(",")
    hint = f'a line {example} for each {what}, or {{"{label}": "{own}", ...}}'
    classes: dict[str, tuple[str, ...]] = {}
    for place, written, own in read_pairs(name, what, hint):
        member, fault = ALIASES.get(written, written), ""
        if member not in tuple(known):
            fault = f"'{written[:40]}' is no {kind}, must be one of {' '.join(known)}"
        elif any(member in others for others in classes.values()):
            fault = f"the {what} {member} is in the map twice"
        if fault:
            raise DataError(fault, where=f"{name}{place}", hint=hint)
        classes[own] = (*classes.get(own, ()), member)
    if len(classes) < 2:
        raise DataError(f"the map has {len(classes)} classes, expected 2 or more", where=name, hint=hint)
    return LabelMap(Path(name).name, classes)


def is_file(name: str) -> bool:
    """Whether the name of a map is a file, by its ending."""
    return Path(name).suffix.lower() in READERS


def read_pairs(name: str, what: str, hint: str, flag: str = "--label-map") -> list[tuple[str, str, str]]:
    """(place, key, class) of each line of the map in the file `name` of `flag`; `what` is the header of the keys.

    Raises DataError for a file without a map.
    """
    with reading(path := Path(name)):
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            fault = f"it is larger than a map of {what}s can be" if path.is_file() else "there is no such file"
            raise DataError(f"{flag}: {fault}", where=name, hint=hint)
        text = path.read_text("utf-8-sig", errors="replace")
    pairs = READERS[path.suffix.lower()](text, name, what, hint)
    for place, key, own in pairs:
        if not 0 < len(own) <= LONGEST_NAME:
            fault = f"the class of {key[:40]} has {len(own)} letters, expected 1 to {LONGEST_NAME}"
            raise DataError(fault, where=f"{name}{place}", hint=hint)
    return pairs


def _csv(text: str, where: str, what: str, hint: str) -> list[tuple[str, str, str]]:
    pairs = []
    for line, written in enumerate(text.splitlines(), 1):
        try:
            cells = next(csv.reader([written], skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise DataError(f"not a line of CSV: {error}", where=f"{where}, line {line}", hint=hint) from error
        if not any(cells):
            continue
        if len(cells) != 2:
            fault = f"{len(cells)} columns, expected {what} and class"
            raise DataError(fault, where=f"{where}, line {line}", hint=hint)
        key, own = (cell.strip() for cell in cells)
        if [key.lower(), own.lower()] != [what, "class"]:
            pairs.append((f", line {line}", key, own))
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
    """First and last samples (E, 2) of ventricular flutter or fibrillation among annotations (M,) at the samples `at`
    (M,).

    It lasts from [ to ], or to the end of the recording of `samples` if ] is missing, and over successive flutter waves
    (!).
    """
    begins, ends = at[annotated == "["], at[annotated == "]"]
    last = np.searchsorted(ends, begins)
    found = [np.stack([begins, np.append(ends, samples - 1)[last]], axis=1)]
    which = np.flatnonzero(np.isin(annotated, [*BEATS, "!"]))
    wave = np.diff((annotated[which] == "!").astype(int), prepend=0, append=0)
    found.append(np.stack([at[which[np.flatnonzero(wave == 1)]], at[which[np.flatnonzero(wave == -1) - 1]]], axis=1))
    return _merged(np.concatenate(found).astype(np.int64))


def _merged(segments: NDArray[np.int64]) -> NDArray[np.int64]:
    """Segments (E, 2) in order, overlapping ones joined."""
    if not len(segments):
        return segments
    segments = segments[np.argsort(segments[:, 0], kind="stable")]
    reach = np.maximum.accumulate(segments[:, 1])
    first = np.concatenate([[True], segments[1:, 0] > reach[:-1]])
    return np.stack([segments[first, 0], np.maximum.reduceat(segments[:, 1], np.flatnonzero(first))], 1)


def of_codes(codes: Iterable[str]) -> str:
    """The rhythm of SNOMED CT codes, "" for none, "ST+AT" for more than one; other codes do not count."""
    return together(CODES[code] for code in codes if code in CODES)


def together(rhythms: Iterable[str]) -> str:
    """Several rhythms as one name; a slow, fast or irregular sinus rhythm replaces SR."""
    named = set(rhythms)
    named -= {"SR"} if named & SINUS else set()
    return SEVERAL.join(name for name in RHYTHMS if name in named)
