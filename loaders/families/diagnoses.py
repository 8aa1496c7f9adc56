"""Classes that several databases share: --labels challenge (diagnoses of the PhysioNet/CinC Challenge 2021), or a file.

    y = labelled(["426177001,59118001", ...], OF_CODE, CLASSES, ",")     # (N, 26)
    classes, of = of_file("mine.csv")                                    # "code,class" in each line

The 30 scored diagnoses and their SNOMED CT codes are those of dx_mapping_scored.csv in
physionetchallenges/evaluation-2021 at 09de852; four pairs count as one class, as in the score (Reyna et al., CinC
2021). The statements of PTB-XL that have the same meaning follow the challenge's own copy of PTB-XL, whose counts of 18
diagnoses in that table are those of these statements. Its axis is a column of the table. Three are by meaning alone: SR
is sinus rhythm, PVC a premature ventricular contraction (the challenge gives these records a code that it does not
score), and NDT, NT_ and TAB_ are abnormal T waves.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.families.labels import read_pairs
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


def _inverse(members: Mapping[str, str]) -> dict[str, str]:
    return {each: name for name, own in members.items() for each in own.split()}


OF_CODE, OF_STATEMENT, OF_AXIS = map(_inverse, (CODES, STATEMENTS, AXES))


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
