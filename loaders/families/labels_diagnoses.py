"""What was diagnosed in a twelve-lead record becomes its rhythm, and the rhythm a class: by a map that has a name, or a
file's.

    rhythm = diagnoses.of_codes(["164934002", "426177001"])          # "SB"
    y = diagnoses.rhythm_map("rhythm4").of(np.array([rhythm]))       # 2

Acronyms as in the Chapman-Shaoxing database (Zheng et al., Sci Data 7:48, 2020), in which AF is atrial flutter and AFIB
atrial fibrillation, and whose four groups `rhythm4` are. SNOMED CT codes as in ConditionNames_SNOMED-CT.csv of
PhysioNet's ecg-arrhythmia 1.0.0; two rhythms have another code in the tables of the PhysioNet/CinC Challenge 2021
(dx_mapping_unscored.csv).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.families import labels_symbols
from toolbox.errors import DataError
from toolbox.registry import pick

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
EACH = {name: (name,) for name in RHYTHMS}
FOUR = {
    "AFIB": ("AFIB", "AF"),
    "GSVT": ("ST", "SVT", "AT", "AVNRT", "SAAWR", "AVRT"),
    "SB": ("SB",),
    "SR": ("SR", "SA"),
}
# By name, the rhythms of each class.
MAPS: dict[str, Mapping[str, tuple[str, ...]]] = {"rhythm4": FOUR, "rhythm11": EACH}
SEVERAL = "+"  # between the rhythms of a record that has more than one
HINT = 'a line SB,slow for each rhythm, or {"SB": "slow", ...}'


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
        if self.classes is not EACH:
            return self
        there = set(self.of(rhythms).tolist())
        return RhythmMap(self.name, {name: own for k, (name, own) in enumerate(self.classes.items()) if k in there})


def rhythm_map(name: str | Path) -> RhythmMap:
    """The map called `name`, or that of the file `name`: JSON {rhythm: class} or a CSV of rhythm,class.

    Raises UsageError for what is neither, DataError, naming the line, for a file that is no such map.
    """
    name = str(name)
    if name in MAPS or not labels_symbols.is_file(name):
        return RhythmMap(
            name, pick("label-map", MAPS | {f"FILE{ending}": EACH for ending in labels_symbols.READERS}, name)
        )
    classes: dict[str, tuple[str, ...]] = {}
    for place, written, own in labels_symbols.read_pairs(name, "rhythm", HINT):
        rhythm = ALIASES.get(written, written)
        faults = (
            (rhythm not in RHYTHMS, f"'{written[:40]}' is no rhythm, those are {' '.join(RHYTHMS)}"),
            (any(rhythm in others for others in classes.values()), f"the rhythm {rhythm} is there twice"),
        )
        if fault := next((text for is_so, text in faults if is_so), ""):
            raise DataError(fault, where=f"{name}{place}", hint=HINT)
        classes[own] = (*classes.get(own, ()), rhythm)
    labels_symbols.check_classes(classes, name, HINT)
    return RhythmMap(Path(name).name, classes)
