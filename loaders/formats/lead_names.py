"""Names of leads in files: `standard("MDC_ECG_LEAD_II")` is "II", `kind("EEG Fp1")` is `SignalKind.OTHER`.

Spellings of WFDB, EDF, SCP, HL7 aECG and DICOM files, of Holter and sleep recorders and of text tables; electrodes of
the EEG by the 10-20 system.

Units of voltage: `millivolts("µV")` is 1e-3, `named("MLII (V)")` is ("MLII", "V").
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from enum import Enum

from toolbox.errors import UsageError

POSITIONS = {"first": 0, "second": 1}
TURNED = "-"  # before the name of an inverted lead


class SignalKind(Enum):
    """The kind of signal that a name suggests."""

    ECG = "an ECG"
    OTHER = "another signal"
    UNKNOWN = "unknown"


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


LIMBS, CHEST = ("i", "ii", "iii"), tuple(f"v{number}" for number in range(1, 7))
# Standard name by its spelling in small letters, without the words in AROUND.
SPELLINGS = {
    name: name.upper() for name in (*CHEST, "v7", "v8", "v9", "v3r", "v4r", "v5r", "v6r", "v", "vx", "vy", "vz")
}
SPELLINGS |= {f"{before}{limb}": limb.upper() for before in ("", "d", "l") for limb in LIMBS}
SPELLINGS |= _pairs("d1:I d2:II d3:III lara:I rala:I llra:II rall:II llla:III lall:III avr:aVR avl:aVL avf:aVF")
SPELLINGS |= {f"{before}{limb}": f"ML{limb.upper()}" for before in ("ml", "mod", "modified") for limb in LIMBS}
SPELLINGS |= {f"{before}{name}": f"M{name.upper()}" for before in ("m", "mod", "modified") for name in CHEST}
SPELLINGS |= {f"{pair}{number}": f"{pair}{number}".upper() for pair in ("mcl", "cm", "cc") for number in range(1, 7)}
SPELLINGS |= _pairs("ml1:MLI ml2:MLII ml3:MLIII ml5:ML5 mcl:MCL mcli:MCL1 v1v2:V1-V2 v2v3:V2-V3 v4v5:V4-V5")
# Spellings that are an EEG or a motion without the word ECG.
WITH_ECG = {f"c{name[1]}": name.upper() for name in CHEST} | _pairs("x:VX y:VY z:VZ")
KIN = _pairs("MLI:I MLII:II MLIII:III MCL1:V1") | {f"M{name.upper()}": name.upper() for name in CHEST}
KIN |= {other: own for own, other in reversed(KIN.items())}  # leads of the same direction

LOOSE = ("hr", "heart", "heart rate", "heartrate")  # the ECG itself if it is the only lead
HEART = ("ecg", "ekg", "electrocardio", "elektrokardio")
LEAD = re.compile(
    r"leads?|ableitung|afleiding|avledning|afledning|derivation|derivacion|derivazione|derivacao|odprowadzenie"
    r"|отведение|导联"
)
AROUND = re.compile(
    rf"{LEAD.pattern}|mdc|elec|potl|channel|ch|eeg|pol|ref|einthoven|goldberger|wilson|raw|filtered|clean|chest|limb"
    r"|signal|standard|augmented"
)
# Words for other signals, and for figures in a file of signals. With the word ECG, PLACES are places of electrodes.
SIGNALS = re.compile(
    r"""emg|eog|ecog|ieeg|scg|bcg|pcg|icg|egg|resp|respiration|airflow|flow|nasal|cannula|effort|rip|capno
    |ppg|bvp|so|sp|co|pressure|abp|art|ibp|nibp|pap|cvp|icp|bp|lvp|rvp|pcwp|paw|sv|eda|gsr|scr|imp
    |motion|activity|actigraphy|position|posture|light|lux|mic|sound|phono|audio|humidity|altitude|speed|cadence
    |rri|ibi|hrv|rate|peaks?|onsets?|offsets?|phase|sqi|hypnogram|timestamp""",
    re.VERBOSE,
)
FIGURES = re.compile(
    r"""hr|rrs?|bpm|pulses?|spo|sao|etco|temp|temperature|acc\w*|gyro\w*|mag|magnetometer|quality|status|battery
    |trigger|trig|stim|events?|markers?|mark|annotations?|labels?|class|classes""",
    re.VERBOSE,
)
ASIDE = re.compile(r"rate|heartrate|leads?off|off|target|beat|flag|patient|subject|record|group|age|sex")
NO_FIGURE = re.compile(rf"{LEAD.pattern}|interval|heart|id|type|index|[xyz]")  # X alone is a lead of Frank
PLACES = re.compile(
    r"noise|eeg|veog|heog|loc|roc|chin|[lr]?legs?|tib|tibialis|masseter|thor|thorax|thoracic|abdomen|abdo|abd"
)
BEGINNINGS = ("respir", "breath", "accel", "pleth", "photopleth", "gyro", "snor", "imped", "saturation")
OXYGEN = ("spo2", "sao2", "so2", "co2", "etco2")
EEG = re.compile(r"(?:fp|af|f|fc|ft|t|tp|cp|p|po|o)(?:\d{1,2}|z)|c[34z]|fpz|[in]z")
EEG_PAIR = re.compile(r"(?:fp|af|f|fc|ft|c|t|tp|cp|p|po|o|a|m)(?:\d{1,2}|z)")
WORDS = re.compile(r"[^\W\d_]+|\d+")
CASES = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def kind(name: str) -> SignalKind:
    """The kind of signal that the name of a lead suggests."""
    words = _words(name)
    other = any(SIGNALS.fullmatch(word) or FIGURES.fullmatch(word) or word.startswith(BEGINNINGS) for word in words)
    if other or "".join(words).startswith(OXYGEN):
        return SignalKind.OTHER
    if any(word.startswith(HEART) for word in words) or _known(name.strip().removeprefix(TURNED)):
        return SignalKind.ECG
    parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part not in ("", "ref", "le", "avg")]
    pair = len(parts) > 1 and all(EEG_PAIR.fullmatch(part) for part in parts)
    placed = any(PLACES.fullmatch(word) for word in words)
    return SignalKind.OTHER if placed or pair or EEG.fullmatch("".join(parts)) else SignalKind.UNKNOWN


def is_lead(name: str) -> bool:
    """Whether a column has the name of a lead: an ECG by its name, or a name with the word lead."""
    return kind(name) is SignalKind.ECG or any(map(LEAD.fullmatch, _words(name)))


def is_aside(name: str) -> bool:
    """Whether a column has the name of a figure or a label: HR, ecg_quality, Patient ID."""
    words = _words(name)
    own = [word for word in words if not (word.isdigit() or word.startswith(HEART) or NO_FIGURE.fullmatch(word))]
    aside = all(FIGURES.fullmatch(word) or ASIDE.fullmatch(word.removesuffix("s")) for word in own)
    return (bool(own) and aside) or "".join(words).startswith("spo2")


def standard(name: str) -> str:
    """The usual name of a lead in any spelling; an unknown name is unchanged."""
    return _known(name) or name.strip()


def place_of(names: Sequence[str], wanted: str, taken: Collection[int] = ()) -> int | None:
    """The place of the lead `wanted` among `names`: its name, `first` or `second`, or another spelling of it.

    Places in `taken` do not count; None if no other is left.
    """
    if wanted in POSITIONS and wanted not in names:
        found = [POSITIONS[wanted]] if POSITIONS[wanted] < len(names) else []
    else:
        exact = [k for k, name in enumerate(names) if name == wanted]
        found = exact or [k for k, name in enumerate(names) if _key(name) == _key(wanted)]
    return next((k for k in found if k not in taken), None)


def parse_leads(text: str) -> list[list[str]]:
    """The alternatives for each channel in a value of `--leads`: names with commas, | between alternatives.

    Raises UsageError for an empty name, and for one name of two channels.
    """
    channels = [[name.strip() for name in channel.split("|")] for channel in text.split(",")]
    if not all(name for channel in channels for name in channel):
        raise UsageError(f"--leads {text[:60]} has an empty name", hint="--leads MLII, MLII,V1 or first,second")
    alone = [channel[0].lower() for channel in channels if len(set(channel)) == 1]
    if len(set(alone)) < len(alone):
        raise UsageError(f"--leads {text[:60]} names a lead twice", hint="each lead once")
    return channels


def _key(name: str) -> str:
    """Equal for two spellings of one lead."""
    name = name.strip()
    if name.startswith(TURNED):
        return TURNED + _key(name.removeprefix(TURNED))
    words = _words(name)
    return (_known(name) or "".join(words[len(words) > 1 and words[0] in HEART :]) or name).lower()


def _words(name: str) -> list[str]:
    """The words and numbers of a name in small letters; a change of case starts another word."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return WORDS.findall(CASES.sub(" ", plain).lower())


def _known(name: str) -> str | None:
    if name.strip().startswith(TURNED):  # of the opposite direction, as -aVR
        return None
    words = _words(name)
    heart = [word for word in words if word.startswith(HEART)]
    core = [word for word in words if not AROUND.fullmatch(word) and word not in heart]
    if len({*LIMBS} & {*core}) > 1:  # a difference of two leads
        return None
    glued = re.sub(r"^(?:ecg|ekg)?(?:lead)?", "", "".join(words))
    for text in ("".join(core), glued):
        if lead := SPELLINGS.get(text) or (WITH_ECG.get(text) if heart else None):
            return lead
    return None


PREFIXES = {"n": 1e-6, "nano": 1e-6, "u": 1e-3, "µ": 1e-3, "μ": 1e-3, "micro": 1e-3, "m": 1.0, "milli": 1.0, "": 1e3}
SPELLING = re.compile(rf"({'|'.join(sorted(PREFIXES, key=len, reverse=True))})[ _-]?v(?:olts?)?")
IN_BRACKETS = re.compile(r"(?P<name>.*?)[\s_]*[\[(](?P<unit>[^\[\]()]*)[\])]")
BEHIND = re.compile(r"(?P<name>.+?)[\s_/-]+(?P<unit>[^\s_/-]+)")
STEPS = re.compile(r"(?P<steps>\d+(?:\.\d+)?)\s*/\s*(?P<unit>\w+)")  # as a WFDB header writes a gain
ARBITRARY = re.compile(
    r"adu|adc|nu|au|counts?|raw|steps?|bits?|lsb|digits?|digital|levels?|code|unitless|none|unknown|na|[?-]*"
)


def millivolts(unit: str) -> float | None:
    """A unit in mV, in any usual spelling (`200/mV`: a step of 1/200 mV); None for another unit."""
    text = unit.strip(" \t\r\n\"'()[]").lower()
    if steps := STEPS.fullmatch(text):
        whole = millivolts(steps["unit"])
        return whole / float(steps["steps"]) if whole and float(steps["steps"]) else None
    spelling = SPELLING.fullmatch(text)
    return PREFIXES[spelling[1]] if spelling else None


def is_arbitrary(unit: str) -> bool:
    """Whether a unit counts steps of a converter of unknown size: adu, NU, counts, none."""
    return ARBITRARY.fullmatch(re.sub(r"[\s./\"'_()\[\]]", "", unit.lower())) is not None


def is_electric(unit: str) -> bool:
    """Whether samples in this unit are in volts, or in steps that `--unit` can turn into volts."""
    return millivolts(unit) is not None or is_arbitrary(unit)


def check_asked(unit: str | None) -> None:
    """Raise UsageError if the value of `--unit` is no unit of voltage."""
    if unit is not None and millivolts(unit) is None:
        raise UsageError(f"--unit is {unit[:40]!r}, no unit of voltage", hint="mV, uV, V, or 200/mV for 200 steps a mV")


def named(text: str) -> tuple[str, str | None]:
    """Split the label of a lead or column into its name and its unit, None without one.

    Any text in brackets counts as a unit (`Time [s]`); without brackets only a unit of voltage does (`ECG_uV`).
    """
    text = text.strip()
    if bracketed := IN_BRACKETS.fullmatch(text):
        return bracketed["name"].strip(), bracketed["unit"].strip()
    behind = BEHIND.fullmatch(text)
    if behind and len(behind["unit"]) > 1 and millivolts(behind["unit"]) is not None:
        return behind["name"].strip(), behind["unit"]
    return text, None
