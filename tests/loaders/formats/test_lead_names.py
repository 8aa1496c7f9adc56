"""Leads and units of voltage are known in every usual spelling, and no other name is taken for one."""

import pytest

from loaders.datasets import mitdb
from loaders.formats import lead_names
from loaders.formats.lead_names import SignalKind

# Spellings of a lead, and names of other signals; | stands between them.
SPELLINGS = {
    "I": "i|Lead I|LEAD_I|leadI|DI|D1|ECG I|ECG_I|Dérivation I|I 导联|MDC_ECG_LEAD_I|Lead I (Einthoven)|ECG LA-RA",
    "II": "ii|II,|Lead II|Lead-II|DII|LII|ECG_II|ECG II|EKG-II|ECG(II)|MDC_ECG_ELEC_POTL_II|Ⅱ",
    "MLII": "mlii|ML II|modified lead II|mod. II|ECG MLII",
    "aVR": "AVR|avr|aVr|ECG aVR|lead_aVR|MDC_ECG_LEAD_AVR",
    "V1": "v1|V-1|ECG V1|Lead V1|mdc_ecg_lead_v1|ECG C1",
    "V4R": "v4r|ECG V4R",
    "MV1": "mod.V1|MV1",
}
NAMES = {
    SignalKind.ECG: "ECG|EKG|ecg1|ECG 2|chest_ECG|ECG_Raw|ECG sample|EEG EKG1-REF|-aVR|MCL1|CM5|V|ECG I-II",
    SignalKind.OTHER: "EEG|EEG Fp1|Fp1-F7|C3-A2|C4|O2|Cz|RESP|Resp|resp nasal|chest_resp|Respiration|PLETH|Pleth,|PPG"
    "|ABP|abp|ART|BP|PAP|CVP|ICP|EMG|EMG chin|EOG(L)|LOC|SpO2|SaO2|EtCO2|HR|HeartRate|ECG HR|ECG_Rate|ECG_Quality"
    "|ECG_R_Peaks|ACC_x|accX|accelerometer y|gyro z|GSR|foot GSR|EDA|temp|Thorax|Abdo|snore|Airflow|Position|marker"
    "|Leg L|noise1|pulse|NIBP",
    SignalKind.UNKNOWN: "signal|value|ch1|lead 1|Lead 2|0|Unnamed: 3|X|C1|A1|col 1|microvolts|sine 8 Hz",
}


@pytest.mark.parametrize("lead", SPELLINGS)
def test_a_lead_has_its_standard_name_in_every_spelling(lead: str) -> None:
    for spelling in (lead, *SPELLINGS[lead].split("|")):
        assert lead_names.standard(spelling) == lead
        assert lead_names.kind(spelling) is SignalKind.ECG, spelling
        assert lead_names.place_of(["V6", spelling], lead) == 1


def test_a_name_says_whether_it_is_an_ecg() -> None:
    for kind, names in NAMES.items():
        for name in names.split("|"):
            assert lead_names.kind(name) is kind, name


ASIDE = "label|labels|HR|HR |heart rate|ecg_quality|Patient ID|beat_type|rr interval|acc_x|gyroX|SpO2|heartrate|battery"
LEADS = "II|ECG|lead 1|ecg_value|-aVR|ableitung 2"
SIGNALS = "signal|value|PPG|resp|CO2|channel a|0|x|Y|x y axis"


def test_a_column_of_a_table_is_a_lead_a_figure_or_a_signal_by_its_name() -> None:
    for name in "|".join((ASIDE, LEADS, SIGNALS)).split("|"):
        assert lead_names.is_aside(name) == (name in ASIDE.split("|")), name
        assert lead_names.is_lead(name) == (name in LEADS.split("|")), name


@pytest.mark.parametrize(("names", "wanted", "taken", "place"), [
    (["ECG", "ECG"], "ECG", (), 0),
    (["ECG", "ECG"], "ECG", (0,), 1),
    (["ECG", "ECG"], "second", (), 1),
    (["ECG"], "second", (), None),
    (["Lead II", "II"], "II", (), 1),
    (["second", "V5"], "second", (), 0),
    (["aVR"], "-aVR", (), None),
    (["-aVR"], "-aVR", (), 0),
    (["ECG 1", "ECG 2"], "ecg 2", (), 1),
])  # fmt: skip
def test_the_place_of_a_lead(names: list[str], wanted: str, taken: tuple[int, ...], place: int | None) -> None:
    assert lead_names.place_of(names, wanted, taken) == place


@pytest.mark.parametrize(("channels", "names", "chosen"), [
    ([["first"], ["ECG"]], ["ECG", "ECG"], [0, 1]),
    ([["second"], ["first"]], ["ECG", "ECG"], [1, 0]),
    ([["MLII"]], ["V5", "ECG MLII"], [1]),
    ([["ECG"], ["first"]], ["ECG", "V5"], None),
])  # fmt: skip
def test_leads_of_one_name_are_taken_by_place(
    channels: list[list[str]], names: list[str], chosen: list[int] | None
) -> None:
    assert mitdb.chosen(channels, names) == chosen


# Units


@pytest.mark.parametrize(("unit", "mv"), [
    *dict.fromkeys(("mV", "mv", "MV", "millivolt", "milliVolts", "mVolt", " 'mV' "), 1.0).items(),
    *dict.fromkeys(("uV", "µV", "μV", "microV", "microvolts", "micro volt", "uVolts"), 1e-3).items(),
    *dict.fromkeys(("V", "volt", "Volts"), 1e3).items(),
    ("nV", 1e-6),
    ("200/mV", 1 / 200),
    ("0.5 / uV", 2e-3),
])  # fmt: skip
def test_a_voltage_in_millivolts(unit: str, mv: float) -> None:
    assert lead_names.millivolts(unit) == pytest.approx(mv)


@pytest.mark.parametrize("unit", ["", "mmHg", "NU", "bpm", "s", "ms", "ADU", "kV/s", "0/mV", "/mV", "1/s", "aVR", "?"])
def test_another_unit_is_no_voltage(unit: str) -> None:
    assert lead_names.millivolts(unit) is None


@pytest.mark.parametrize(("text", "name", "unit"), [
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
])  # fmt: skip
def test_a_unit_in_a_name(text: str, name: str, unit: str | None) -> None:
    assert lead_names.named(text) == (name, unit)
