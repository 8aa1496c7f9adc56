"""A unit of voltage is known in every usual spelling, and nothing else is taken for one."""

import pytest

from loaders.formats import lead_names


@pytest.mark.parametrize(
    ("unit", "mv"),
    [
        *dict.fromkeys(("mV", "mv", "MV", "millivolt", "milliVolts", "mVolt", " 'mV' "), 1.0).items(),
        *dict.fromkeys(("uV", "µV", "μV", "microV", "microvolts", "micro volt", "uVolts"), 1e-3).items(),
        *dict.fromkeys(("V", "volt", "Volts"), 1e3).items(),
        ("nV", 1e-6),
        ("200/mV", 1 / 200),
        ("0.5 / uV", 2e-3),
    ],
)
def test_a_voltage_in_millivolts(unit: str, mv: float) -> None:
    assert lead_names.millivolts(unit) == pytest.approx(mv)


@pytest.mark.parametrize("unit", ["", "mmHg", "NU", "bpm", "s", "ms", "ADU", "kV/s", "0/mV", "/mV", "1/s", "aVR", "?"])
def test_what_is_no_voltage(unit: str) -> None:
    assert lead_names.millivolts(unit) is None


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("MLII (V)", "MLII", "V"),
        ("ecg [uV]", "ecg", "uV"),
        ("ECG_uV", "ECG", "uV"),
        ("ECG mV", "ECG", "mV"),
        ("Time [s]", "Time", "s"),
        ("V", "V", None),
        ("V1", "V1", None),
        ("lead V", "lead V", None),
        ("MLII", "MLII", None),
        ("[uV]", "", "uV"),
    ],
)
def test_a_unit_in_a_name(text: str, name: str, unit: str | None) -> None:
    assert lead_names.named(text) == (name, unit)
