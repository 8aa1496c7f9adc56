"""Units of voltage as files spell them: `millivolts("µV")` is 1e-3, `named("MLII (V)")` is ("MLII", "V")."""

import re

from toolbox.errors import UsageError

PREFIXES = {"n": 1e-6, "nano": 1e-6, "u": 1e-3, "µ": 1e-3, "μ": 1e-3, "micro": 1e-3, "m": 1.0, "milli": 1.0, "": 1e3}
SPELLING = re.compile(rf"({'|'.join(sorted(PREFIXES, key=len, reverse=True))})[ _-]?v(?:olts?)?")
IN_BRACKETS = re.compile(r"(?P<name>.*?)[\s_]*[\[(](?P<unit>[^\[\]()]*)[\])]")
BEHIND = re.compile(r"(?P<name>.+?)[\s_/-]+(?P<unit>[^\s_/-]+)")
STEPS = re.compile(r"(?P<steps>\d+(?:\.\d+)?)\s*/\s*(?P<unit>\w+)")  # as a WFDB header writes a gain
ARBITRARY = re.compile(
    r"adu|nu|au|counts?|raw|steps?|bits?|lsb|digit|digital|levels?|code|unitless|none|unknown|na|[?-]*"
)


def millivolts(unit: str) -> float | None:
    """How many mV one `unit` is, in any usual spelling; None where it is no unit of voltage.

    `200/mV` is the unit of samples of which 200 make one mV.
    """
    text = unit.strip(" \t\r\n\"'()[]").lower()
    if steps := STEPS.fullmatch(text):
        whole = millivolts(steps["unit"])
        return whole / float(steps["steps"]) if whole and float(steps["steps"]) else None
    spelling = SPELLING.fullmatch(text)
    return PREFIXES[spelling[1]] if spelling else None


def is_arbitrary(unit: str) -> bool:
    """Whether a unit only counts steps of a converter, of which nobody knows how many make a mV: adu, NU, counts,
    none."""
    return ARBITRARY.fullmatch(re.sub(r"[\s./\"'_()\[\]]", "", unit.lower())) is not None


def check_asked(unit: str | None) -> None:
    """A UsageError where the unit of `--unit` is no unit of voltage."""
    if unit is not None and millivolts(unit) is None:
        raise UsageError(f"--unit is {unit[:40]!r}, no unit of voltage", hint="mV, uV, V, or 200/mV for 200 steps a mV")


def named(text: str) -> tuple[str, str | None]:
    """The name of a lead or column and the unit that stands in it in brackets or behind it; None where none does.

    Any text in brackets counts as a unit (`Time [s]`); without brackets only a unit of voltage does (`ECG_uV`).
    """
    if bracketed := IN_BRACKETS.fullmatch(text.strip()):
        return bracketed["name"].strip(), bracketed["unit"].strip()
    behind = BEHIND.fullmatch(text.strip())
    if behind and len(behind["unit"]) > 1 and millivolts(behind["unit"]) is not None:
        return behind["name"].strip(), behind["unit"]
    return text.strip(), None
