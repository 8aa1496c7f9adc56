"""Units of voltage as files spell them: `millivolts("µV")` is 1e-3, `named("MLII (V)")` is ("MLII", "V")."""

import re

from toolbox.errors import UsageError

PREFIXES = {"n": 1e-6, "nano": 1e-6, "u": 1e-3, "µ": 1e-3, "μ": 1e-3, "micro": 1e-3, "m": 1.0, "milli": 1.0, "": 1e3}
SPELLING = re.compile(rf"({'|'.join(sorted(PREFIXES, key=len, reverse=True))})[ _-]?v(?:olts?)?")
IN_BRACKETS = re.compile(r"(?P<name>.*?)[\s_]*[\[(](?P<unit>[^\[\]()]*)[\])]")
BEHIND = re.compile(r"(?P<name>.+?)[\s_/-]+(?P<unit>[^\s_/-]+)")
STEPS = re.compile(r"(?P<steps>\d+(?:\.\d+)?)\s*/\s*(?P<unit>\w+)")  # as a WFDB header writes a gain
ARBITRARY = re.compile(
    r"adu|adc|nu|au|counts?|raw|steps?|bits?|lsb|digits?|digital|levels?|code|unitless|none|unknown|na|[?-]*"
)


def millivolts(unit: str) -> float | None:
    """The size of a unit in mV, in any usual spelling; None for a unit that is no voltage.

    `200/mV` is the unit of samples of which 200 make one mV.
    """
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
