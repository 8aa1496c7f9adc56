"""Names of leads as files spell them: `standard("MDC_ECG_LEAD_II")` is "II", `kind("EEG Fp1")` is `Kind.OTHER`.

Spellings of WFDB, EDF, SCP, HL7 aECG and DICOM files, of Holter and sleep recorders; electrodes of the EEG by the 10-20
system.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from enum import Enum

from toolbox.errors import UsageError

POSITIONS = {"first": 0, "second": 1}
TURNED = "-"  # before the name of a lead that is read upside down


class Kind(Enum):
    """What the name of a lead says about it."""

    ECG = "an ECG"
    OTHER = "another signal"
    UNKNOWN = "unknown"


CHEST = ("v1", "v2", "v3", "v4", "v5", "v6")
# Standard name by its spelling in small letters, without what stands around it.
SPELLINGS = {
    **{name: name.upper() for name in (*CHEST, "v7", "v8", "v9", "v3r", "v4r", "v5r", "v6r", "v", "vx", "vy", "vz")},
    **{f"{before}{name}": name.upper() for before in ("", "d", "l") for name in ("i", "ii", "iii")},
    **{
        "d1": "I",
        "d2": "II",
        "d3": "III",
        "lara": "I",
        "rala": "I",
        "llra": "II",
        "rall": "II",
        "llla": "III",
        "lall": "III",
    },
    **{f"av{limb}": f"aV{limb.upper()}" for limb in "rlf"},
    **{
        f"{modified}{roman}": f"ML{roman.upper()}"
        for modified in ("ml", "mod", "modified")
        for roman in ("i", "ii", "iii")
    },
    **{f"ml{number}": lead for number, lead in (("1", "MLI"), ("2", "MLII"), ("3", "MLIII"), ("5", "ML5"))},
    **{f"{modified}{name}": f"M{name.upper()}" for modified in ("m", "mod", "modified") for name in CHEST},
    **{f"{pair}{number}": f"{pair}{number}".upper() for pair in ("mcl", "cm", "cc") for number in range(1, 7)},
    **{"mcl": "MCL", "mcli": "MCL1", "v1v2": "V1-V2", "v2v3": "V2-V3", "v4v5": "V4-V5"},
}
WITH_ECG = {
    **{f"c{name[1]}": name.upper() for name in CHEST},
    "x": "VX",
    "y": "VY",
    "z": "VZ",
}  # elsewhere an EEG, or a motion
KIN = {"MLI": "I", "MLII": "II", "MLIII": "III", "MCL1": "V1", **{f"M{name.upper()}": name.upper() for name in CHEST}}
KIN |= {other: own for own, other in reversed(KIN.items())}  # leads of the same direction

LOOSE = (
    "hr",
    "heart",
    "heart rate",
    "heartrate",
)  # a figure of other leads, or the signal of the heart where it is alone
HEART = ("ecg", "ekg", "electrocardio", "elektrokardio")
AROUND = {
    "mdc",
    "elec",
    "potl",
    "lead",
    "leads",
    "channel",
    "ch",
    "eeg",
    "pol",
    "ref",
    "ableitung",
    "afleiding",
    "avledning",
}
AROUND |= {"afledning", "derivation", "derivacion", "derivazione", "derivacao", "odprowadzenie", "отведение", "导联"}
AROUND |= {
    "einthoven",
    "goldberger",
    "wilson",
    "raw",
    "filtered",
    "clean",
    "chest",
    "limb",
    "signal",
    "standard",
    "augmented",
}
# Words for a signal of another kind; beside ECG the first are figures drawn from it, the second only say where it was
# taken.
OTHER = re.compile(
    r"""emg|eog|ecog|ieeg|scg|bcg|pcg|icg|egg|resp|respiration|airflow|flow|nasal|cannula|effort|rip|capno
    |ppg|bvp|pulse|spo|sao|so|sp|co|etco|pressure|abp|art|ibp|nibp|pap|cvp|icp|bp|lvp|rvp|pcwp|paw|sv
    |hr|rate|rr|rri|ibi|hrv|bpm|peaks?|onsets?|offsets?|phase|quality|sqi|status|imp
    |eda|gsr|scr|temp|temperature|acc|acceleration|gyroscope|magnetometer|mag|motion|activity|actigraphy|position|posture
    |light|lux|battery|mic|sound|phono|audio|humidity|altitude|speed|cadence
    |trigger|trig|stim|events?|markers?|mark|annotations?|labels?|class|hypnogram|timestamp""",
    re.VERBOSE,
)
PLACES = re.compile(
    r"noise|eeg|veog|heog|loc|roc|chin|[lr]?legs?|tib|tibialis|masseter|thor|thorax|thoracic|abdomen|abdo|abd"
)
BEGINNINGS = ("respir", "breath", "accel", "pleth", "photopleth", "gyro", "snor", "imped", "saturation")
OXYGEN = ("spo2", "sao2", "so2", "co2", "etco2")
EEG = re.compile(r"(?:fp|af|f|fc|ft|t|tp|cp|p|po|o)(?:\d{1,2}|z)|c[34z]|fpz|[in]z")
EEG_PAIR = re.compile(r"(?:fp|af|f|fc|ft|c|t|tp|cp|p|po|o|a|m)(?:\d{1,2}|z)")
WORDS = re.compile(r"[^\W\d_]+|\d+")
CASES = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def kind(name: str) -> Kind:
    """What the name of a lead says about it."""
    words = _words(name)
    if any(OTHER.fullmatch(word) or word.startswith(BEGINNINGS) for word in words) or "".join(words).startswith(OXYGEN):
        return Kind.OTHER
    if any(word.startswith(HEART) for word in words) or _known(name.strip().removeprefix(TURNED)):
        return Kind.ECG
    parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part not in ("", "ref", "le", "avg")]
    pair = len(parts) > 1 and all(EEG_PAIR.fullmatch(part) for part in parts)
    placed = any(PLACES.fullmatch(word) for word in words)
    return Kind.OTHER if placed or pair or EEG.fullmatch("".join(parts)) else Kind.UNKNOWN


def standard(name: str) -> str:
    """The usual name of a lead in whatever spelling; of an unknown one the name itself."""
    return _known(name) or name.strip()


def place_of(names: Sequence[str], wanted: str, taken: Collection[int] = ()) -> int | None:
    """The place of the lead `wanted` among `names`: its name, `first` or `second`, or another spelling of it.

    Places in `taken` are passed over; None where no other is left.
    """
    if wanted in POSITIONS and wanted not in names:
        found = [POSITIONS[wanted]] if POSITIONS[wanted] < len(names) else []
    else:
        exact = [k for k, name in enumerate(names) if name == wanted]
        found = exact or [k for k, name in enumerate(names) if _key(name) == _key(wanted)]
    return next((k for k in found if k not in taken), None)


def _key(name: str) -> str:
    """What two spellings of a lead share."""
    if name.strip().startswith(TURNED):
        return TURNED + _key(name.strip().removeprefix(TURNED))
    words = _words(name)
    return (
        _known(name) or "".join(words[1:] if len(words) > 1 and words[0] in HEART else words) or name.strip()
    ).lower()


def _words(name: str) -> list[str]:
    """The words and numbers of a name in small letters; where the case changes another word begins."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return WORDS.findall(CASES.sub(" ", plain).lower())


def _known(name: str) -> str | None:
    if name.strip().startswith(TURNED):  # of the opposite direction, as -aVR
        return None
    words = _words(name)
    heart = [word for word in words if word.startswith(HEART)]
    core = [word for word in words if word not in AROUND and word not in heart]
    if len({"i", "ii", "iii"} & set(core)) > 1:  # a difference of two leads
        return None
    glued = re.sub(r"^(?:ecg|ekg)?(?:lead)?", "", "".join(words))
    for text in ("".join(core), glued):
        if lead := SPELLINGS.get(text) or (WITH_ECG.get(text) if heart else None):
            return lead
    return None


def parse_leads(text: str) -> list[list[str]]:
    """The alternatives for each channel; UsageError where there is none, or where two channels have but the same
    one."""
    channels = [[name.strip() for name in channel.split("|")] for channel in text.split(",")]
    if not all(name for channel in channels for name in channel):
        raise UsageError(f"--leads {text[:60]} has an empty name", hint="--leads MLII, MLII,V1 or first,second")
    alone = [channel[0].lower() for channel in channels if len(set(channel)) == 1]
    if len(set(alone)) < len(alone):
        raise UsageError(f"--leads {text[:60]} names a lead twice", hint="each lead once")
    return channels
