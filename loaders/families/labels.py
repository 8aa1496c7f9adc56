"""Annotation symbols become classes: by a map that has a name, each symbol for itself, or as a file of the user's says.

    labels = symbols.label_map("aami")
    y = labels.of(np.array(["N", "A", "/"]))    # 0, 1, 4

Symbols as in WFDB's table of annotation codes. `aami-s` is the map of ANSI/AAMI EC57, as its reference program `bxb` of
the WFDB software has it. `aami` differs in e and j, atrial and nodal escape beats, which are N in it: de Chazal et al.,
IEEE TBME 51(7):1196-1206, 2004, and the Kaggle heartbeat files have them so.

What was diagnosed in a twelve-lead record becomes its rhythm, and the rhythm a class: by a map that has a name, or a
file's.

    rhythm = diagnoses.of_codes(["164934002", "426177001"])          # "SB"
    y = diagnoses.rhythm_map("rhythm4").of(np.array([rhythm]))       # 2

Acronyms as in the Chapman-Shaoxing database (Zheng et al., Sci Data 7:48, 2020), in which AF is atrial flutter and AFIB
atrial fibrillation, and whose four groups `rhythm4` are. SNOMED CT codes as in ConditionNames_SNOMED-CT.csv of
PhysioNet's ecg-arrhythmia 1.0.0; two rhythms have another code in the tables of the PhysioNet/CinC Challenge 2021
(dx_mapping_unscored.csv).
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
SYMBOL_HINT = 'a line N,normal for each symbol, or {"N": "normal", ...}'


@dataclass(frozen=True)
class LabelMap:
    """Which class each symbol is of. `content` names all of it, for a checksum."""

    name: str
    symbols: Mapping[str, str]

    @property
    def content(self) -> str:
        """Classes and symbols as text."""
        return json.dumps(dict(self.symbols))

    def of(self, symbols: NDArray[np.str_]) -> NDArray[np.int64]:
        """The class (N,) of each symbol (N,), -1 where it has none."""
        numbers = {symbol: k for k, own in enumerate(self.symbols.values()) for symbol in own}
        names, inverse = np.unique(symbols, return_inverse=True)
        return np.array([numbers.get(name, -1) for name in names], np.int64)[inverse]

    def among(self, symbols: NDArray[np.str_]) -> "LabelMap":
        """The map as data with only these `symbols` need it: without the rare ones that are not there, and where every
        symbol is a class without those; a map of the user's as it is."""
        there = set(np.unique(symbols).tolist())
        if self.symbols is EACH_SYMBOL:
            return LabelMap(self.name, {name: own for name, own in self.symbols.items() if name in there})
        if self.name not in SYMBOL_MAPS:
            return self
        absent = str.maketrans("", "", "".join(set(RARE) - there))
        return LabelMap(self.name, {name: own.translate(absent) for name, own in self.symbols.items()})

    @property
    def importance(self) -> tuple[float, ...]:
        """That of the AAMI classes, 1 for any other."""
        known = IMPORTANCE if self.name in ("aami", "aami-s") else {}
        return tuple(known.get(name, 1.0) for name in self.symbols)


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


def label_map(name: str | Path) -> LabelMap:
    """The map called `name`, or that of the file `name`: JSON {symbol: class} or a CSV of symbol,class.

    Raises UsageError for what is neither, DataError, naming the line, for a file that is no such map.
    """
    name = str(name)
    if name in SYMBOL_MAPS or not is_file(name):
        return LabelMap(
            name, pick("label-map", SYMBOL_MAPS | {f"FILE{ending}": EACH_SYMBOL for ending in READERS}, name)
        )
    return LabelMap(Path(name).name, _classes(read_pairs(name, "symbol", SYMBOL_HINT), name))


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


def check_classes(classes: Mapping[str, Any], where: str, hint: str) -> None:
    """Raise DataError where there is nothing to tell apart."""
    if len(classes) < 2:
        raise DataError(f"the map has {len(classes)} classes, expected 2 or more", where=where, hint=hint)


def _classes(pairs: Sequence[tuple[str, str, str]], where: str) -> dict[str, str]:
    """The symbols of each class, in the order of the file, from its (place, symbol, class)."""
    classes: dict[str, str] = {}
    for place, symbol, name in pairs:
        faults = (
            (
                len(symbol) != 1 or symbol not in BEATS,
                f"'{symbol[:40]}' is no symbol of a beat, those are {' '.join(BEATS)}",
            ),
            (any(symbol in own for own in classes.values()), f"the symbol {symbol} is there twice"),
        )
        if fault := next((text for is_so, text in faults if is_so), ""):
            raise DataError(fault, where=f"{where}{place}", hint=SYMBOL_HINT)
        classes[name] = classes.get(name, "") + symbol
    check_classes(classes, where, SYMBOL_HINT)
    return classes


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
RHYTHM_HINT = 'a line SB,slow for each rhythm, or {"SB": "slow", ...}'


def of_codes(codes: Iterable[str]) -> str:
    """The rhythm that SNOMED CT codes name, "" for none, "ST+AT" for more than one; others than rhythms do not
    count."""
    return together(CODES[code] for code in codes if code in CODES)


def together(rhythms: Iterable[str]) -> str:
    """Several rhythms as one name; sinus rhythm goes without saying where it is slow, fast or irregular."""
    named = set(rhythms)
    named -= {"SR"} if named & SINUS else set()
    return SEVERAL.join(name for name in RHYTHMS if name in named)


@dataclass(frozen=True)
class RhythmMap:
    """Which class each rhythm is of. `content` names all of it, for a checksum."""

    name: str
    classes: Mapping[str, tuple[str, ...]]

    @property
    def content(self) -> str:
        """Classes and rhythms as text."""
        return json.dumps(dict(self.classes))

    def of(self, rhythms: NDArray[np.str_]) -> NDArray[np.int64]:
        """The class (N,) of each rhythm (N,); -1 where it has none, or where several rhythms are of different
        classes."""
        numbers = {rhythm: k for k, own in enumerate(self.classes.values()) for rhythm in own}
        names, inverse = np.unique(rhythms, return_inverse=True)
        found = [{numbers.get(part, -1) for part in str(name).split(SEVERAL)} for name in names]
        return np.array([each.pop() if len(each) == 1 else -1 for each in found], np.int64)[inverse]

    def among(self, rhythms: NDArray[np.str_]) -> "RhythmMap":
        """The map without classes that none of `rhythms` is of, where every rhythm is a class; else as it is."""
        if self.classes is not EACH_RHYTHM:
            return self
        there = set(self.of(rhythms).tolist())
        return RhythmMap(self.name, {name: own for k, (name, own) in enumerate(self.classes.items()) if k in there})


def rhythm_map(name: str | Path) -> RhythmMap:
    """The map called `name`, or that of the file `name`: JSON {rhythm: class} or a CSV of rhythm,class.

    Raises UsageError for what is neither, DataError, naming the line, for a file that is no such map.
    """
    name = str(name)
    if name in RHYTHM_MAPS or not is_file(name):
        return RhythmMap(
            name, pick("label-map", RHYTHM_MAPS | {f"FILE{ending}": EACH_RHYTHM for ending in READERS}, name)
        )
    classes: dict[str, tuple[str, ...]] = {}
    for place, written, own in read_pairs(name, "rhythm", RHYTHM_HINT):
        rhythm = ALIASES.get(written, written)
        faults = (
            (rhythm not in RHYTHMS, f"'{written[:40]}' is no rhythm, those are {' '.join(RHYTHMS)}"),
            (any(rhythm in others for others in classes.values()), f"the rhythm {rhythm} is there twice"),
        )
        if fault := next((text for is_so, text in faults if is_so), ""):
            raise DataError(fault, where=f"{name}{place}", hint=RHYTHM_HINT)
        classes[own] = (*classes.get(own, ()), rhythm)
    check_classes(classes, name, RHYTHM_HINT)
    return RhythmMap(Path(name).name, classes)
