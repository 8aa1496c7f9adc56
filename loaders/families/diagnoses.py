"""Classes that several databases share: --labels challenge (diagnoses of the PhysioNet/CinC Challenge 2021), or a file.

    y = labelled(["426177001,59118001", ...], OF_CODE, CLASSES, ",")     # (N, 26)
    classes, of = of_file("mine.csv")                                    # "code,class" in each line

The 30 scored diagnoses and their SNOMED CT codes are those of dx_mapping_scored.csv in
physionetchallenges/evaluation-2021 at 09de852; four pairs count as one class, as in the score (Reyna et al., CinC
2021). The statements of PTB-XL that have the same meaning follow the challenge's own copy of PTB-XL, whose counts of 18
diagnoses in that table are those of these statements. Its axis is a column of the table. Three are by meaning alone: SR
is sinus rhythm, PVC a premature ventricular contraction (the challenge gives these records a code that it does not
score), and NDT, NT_ and TAB_ are abnormal T waves.

The conditions of the Chapman-Shaoxing database (column Beat of Diagnostics.xlsx) have the codes of
ConditionNames_SNOMED-CT.csv in PhysioNet's ecg-arrhythmia 1.0.0, and where that differs those of the challenge's copy:
low voltage of chest or limb leads is LQRSV, and LVHV has a code (dx_mapping_unscored.csv). This copy is the 10,247
records without sinus irregularity; of its 19 diagnoses in the column Chapman_Shaoxing of that table 18 have the counts
of these codes (STach has 1,568 records, and 12 in the table). In both, left front and left back bundle branch block
are LBBB.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.families.labels import CODES as RHYTHMS
from loaders.families.labels import read_pairs
from loaders.formats.label_columns import check_names
from toolbox.errors import DataError

NAMED = 5  # codes, in the log
log = logging.getLogger("commander")
HINT = 'a line 426177001,slow or SBRAD,slow for each code, or {"426177001": "slow", ...}'

# Class and codes; the second code of a class is scored as the first.
CODES = {
    "AF": "164889003", "AFL": "164890007", "BBB": "6374002", "Brady": "426627000", "IAVB": "270492004",
    "IRBBB": "713426002", "LAD": "39732003", "LAnFB": "445118002", "LBBB": "164909002 733534002", "LPR": "164947007",
    "LQRSV": "251146004", "LQT": "111975006", "NSIVCB": "698252002", "NSR": "426783006", "PAC": "284470004 63593006",
    "PR": "10370003", "PRWP": "365413008", "PVC": "427172004 17338001", "QAb": "164917005", "RAD": "47665007",
    "RBBB": "59118001 713427006", "SA": "427393009", "SB": "426177001", "STach": "427084000", "TAb": "164934002",
    "TInv": "59931005",
}  # fmt: skip
# Class and statements of PTB-XL, and values of its column heart_axis.
STATEMENTS = {
    "AF": "AFIB", "AFL": "AFLT", "IAVB": "1AVB", "IRBBB": "IRBBB", "LAnFB": "LAFB", "LBBB": "CLBBB", "LPR": "LPR",
    "LQRSV": "LVOLT", "LQT": "LNGQT", "NSIVCB": "IVCD", "NSR": "SR", "PAC": "PAC SVARR", "PR": "PACE", "PVC": "PVC",
    "QAb": "QWAVE", "RBBB": "CRBBB", "SA": "SARRH", "SB": "SBRAD", "STach": "STACH", "TAb": "NDT NT_ TAB_",
    "TInv": "INVT",
}  # fmt: skip
AXES = {"LAD": "LAD ALAD", "RAD": "RAD ARAD"}
CLASSES = tuple(sorted(CODES))
# Code and conditions of the Chapman-Shaoxing database; those of the last line have none.
CONDITIONS = {
    "270492004": "1AVB", "195042002": "2AVB", "54016002": "2AVB1", "28189009": "2AVB2", "27885002": "3AVB",
    "251173003": "ABI", "39732003": "ALS", "284470004": "APB", "164917005": "AQW", "47665007": "ARS",
    "233917008": "AVB", "251199005": "CCR", "251198002": "CR", "428417006": "ERV", "164942001": "FQRS",
    "698252002": "IDC IVB", "426995002": "JEB", "251164006": "JPT", "164909002": "LBBB LBBBB LFBBB",
    "164873001": "LVH", "251146004": "LVQRSAL LVQRSCL LVQRSLL", "55827005": "LVHV",
    "164865005": "MI MIBW MIFW MILW MISW", "164947007": "PRIE", "164912004": "PWC", "111975006": "QTIE",
    "446358003": "RAH", "59118001": "RBBB", "89792004": "RVH", "429622005": "STDD", "164930006": "STE",
    "428750005": "STTC", "164931005": "STTU", "164934002": "TWC", "59931005": "TWO", "164937009": "UW",
    "11157007": "VB", "75532003": "VEB", "251180001": "VET", "13640000": "VFW", "17338001": "VPB",
    "195060002": "VPE", "195101003": "WAVN", "74390002": "WPW",
    "": "JPS LRRI NONE RAHV",
}  # fmt: skip


def _inverse(members: Mapping[str, str]) -> dict[str, str]:
    return {each: name for name, own in members.items() for each in own.split()}


OF_CODE, OF_STATEMENT, OF_AXIS, OF_CONDITION = map(_inverse, (CODES, STATEMENTS, AXES, CONDITIONS))


def labelled(
    texts: Sequence[str], of: Mapping[str, str | Sequence[str]], classes: Sequence[str], separator: str | None = None
) -> NDArray[np.int64]:
    """The labels (N, K) of texts of codes, by the class or classes of each code; other codes do not count."""
    place = {name: k for k, name in enumerate(classes)}
    named = {code: (own,) if isinstance(own, str) else own for code, own in of.items()}
    columns = {code: [place[name] for name in own] for code, own in named.items()}
    y = np.zeros((len(texts), len(classes)), np.int64)
    for row, text in enumerate(texts):
        for code in text.split(separator):
            y[row, columns.get(code, [])] = 1
    return y


def codes_of(rhythm: str, conditions: str) -> str:
    """The SNOMED CT codes, with commas between them, of a record of the Chapman-Shaoxing database: its rhythm and its
    conditions with blanks between them. Raises ValueError that quotes an unknown condition."""
    if strange := [each for each in conditions.split() if each not in OF_CONDITION]:
        raise ValueError(f"{strange[0][:40]!r} is none of {' '.join(OF_CONDITION)}")
    found = [code for code, name in RHYTHMS.items() if name == rhythm]
    return ",".join([*found, *filter(None, map(OF_CONDITION.__getitem__, conditions.split()))])


def of_file(name: str, statements: Collection[str] = ()) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The classes of the map in a file, sorted, and those of each code: JSON {code: class} or a CSV of code,class.

    A code is a SNOMED CT code or a statement of PTB-XL; a code with several lines has several classes, and codes that
    no record has do not matter, so that one file serves several databases. Raises DataError, with the line, for another
    file, and for a name that is neither a number nor one of `statements`, if there are any.
    """
    of: dict[str, tuple[str, ...]] = {}
    for place, code, own in read_pairs(name, "code", HINT, "--labels"):
        if statements and not code.isdigit() and code not in statements:
            what = f"'{code[:40]}' is no SNOMED CT code, and scp_statements.csv has no such statement"
            raise DataError(what, where=f"{name}{place}", hint=HINT)
        check_names([own], f"{name}{place}")
        of[code] = (*of.get(code, ()), own)
    if not of:
        raise DataError("the map has no line", where=name, hint=HINT)
    return tuple(sorted({each for own in of.values() for each in own})), of


def report(texts: Sequence[str], of: Mapping[str, Any], name: str, separator: str | None = None) -> None:
    """Log the codes of the records that the map in the file `name` lacks, the most frequent first."""
    left = Counter(code for text in texts for code in {*text.split(separator)} if code not in of)
    if left:
        first = ", ".join(f"{code} ({count:,} records)" for code, count in left.most_common(NAMED))
        log.info("%d codes of the records are not in %s and do not count: %s", len(left), Path(name).name, first)
