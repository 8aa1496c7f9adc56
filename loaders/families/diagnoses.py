"""The diagnoses of the PhysioNet/CinC Challenge 2021 as classes that several databases share: --labels challenge.

    y = labelled(["426177001,59118001", ...], OF_CODE, ",")     # (N, 26), columns as CLASSES

The 30 scored diagnoses and their SNOMED CT codes are those of dx_mapping_scored.csv; four pairs count as one class, as
in the score (Reyna et al., CinC 2021). The statements of PTB-XL that have the same meaning follow the challenge's own
copy of PTB-XL, whose counts of 18 diagnoses are those of these statements. Its axis is a column of the table. Three
are by meaning alone: SR is sinus rhythm, PVC a premature ventricular contraction (the challenge gives these records a
code that it does not score), and NDT, NT_ and TAB_ are abnormal T waves.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

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


def labelled(texts: Sequence[str], classes: Mapping[str, str], separator: str | None = None) -> NDArray[np.int64]:
    """The labels (N, 26) of texts of names, by the class of each name; other names do not count."""
    y = np.zeros((len(texts), len(CLASSES)), np.int64)
    for row, text in enumerate(texts):
        y[row, [CLASSES.index(classes[name]) for name in text.split(separator) if name in classes]] = 1
    return y
