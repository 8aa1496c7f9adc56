"""A text table of any usual form opens as the recording that was written into it: leads in mV, rate, gaps; else a line
of why."""

import gzip
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from loaders.formats import recordings
from loaders.formats.csv import leads
from loaders.formats.csv import text as csv_text
from loaders.formats.recording import Recording
from toolbox.errors import DataError

RATE_HZ, SECONDS = 250, 6
SAMPLES = RATE_HZ * SECONDS


def beats_of(seconds: float, rate_hz: float = RATE_HZ, *, every_s: float = 0.8) -> np.ndarray:
    """A lead in mV with a QRS complex every `every_s` seconds, and noise; (T,), with four decimals."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = t % every_s - every_s / 2
    noise = np.random.default_rng(7).normal(0, 0.01, len(t))
    return np.round(np.exp(-((phase / 0.012) ** 2)) - 0.25 * np.exp(-(((phase - 0.03) / 0.012) ** 2)) + noise, 4)


ECG, OTHER = beats_of(SECONDS), np.round(0.5 * beats_of(SECONDS, every_s=0.6) - 0.1, 4)
T_S = np.arange(SAMPLES) / RATE_HZ
START = datetime(2024, 1, 1, 10)


def table(*columns: object, header: str = "", between: str = ",", end: str = "\n") -> str:
    """Rows of text of columns that are numbers (four decimals), whole numbers or text."""

    def text(value: object) -> str:
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    lists = [column.tolist() if isinstance(column, np.ndarray) else list(column) for column in columns]
    rows = [between.join(map(text, row)) for row in zip(*lists, strict=True)]
    return end.join(([header] if header else []) + rows) + end


def timed(times: object, header: str = "time,ECG", *, of: np.ndarray = ECG, **how: str) -> str:
    """A table of times, or of numbers of the rows, beside a lead."""
    return table(times, of, header=header, **how)


def times(form: Callable[[datetime], str], rate_hz: float = RATE_HZ, count: int = SAMPLES) -> list[str]:
    return [form(START + timedelta(seconds=k / rate_hz)) for k in range(count)]


def comma(text: str) -> str:
    return text.replace(".", ",")


def clock(k: int, rate_hz: float = RATE_HZ) -> str:
    ms = round(1000 * k / rate_hz)
    return f"'{ms // 60000}:{ms // 1000 % 60:02d}.{ms % 1000:03d}'"


def written(folder: Path, content: str | bytes, name: str = "r1.csv") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def opened(folder: Path, content: str | bytes, rate_hz: float | None = None, *, name: str = "r1.csv") -> Recording:
    (found,) = recordings.find(written(folder, content, name))
    return recordings.open_recording(found, rate_hz=rate_hz)


def samples(recording: Recording, k: int = 0) -> np.ndarray:
    return recording.read(k, 0, recording.samples)


ONE = table(ECG, header="II")
APPLE = (
    "Name,A B\nDate of Birth,Jan 1, 1970\nRecorded Date,2024-01-01 10:00:00 +0100\nClassification,Sinus"
    " Rhythm\nSymptoms,\n"
)
APPLE += 'Software Version,1.90\nDevice,"Watch6,1"\nSample Rate,250 hertz\n\n\nLead,Lead I\nUnit,µV\n\n'
GERMAN = "Name,A B\nGeburtsdatum,01.01.1970\nKlassifizierung,Sinusrhythmus\nMessrate,250 Hertz\n\n\n"
GERMAN += "Ableitung,Ableitung I\nEinheit,µV\n\n"
APPLE_WORDS = "X,A B\n{0},250 {1}\n\n\n{2},{2} I\n{3},µV\n\n"
POLAR = "Phone timestamp;sensor timestamp [ns];timestamp [ms];ecg [uV]"
OPEN_SIGNALS = (
    '# OpenSignals Text File Format\n# {"00:07:80": {"sensor": ["ECG"], "column": ["nSeq", "I1", "A1"], "label":'
    ' ["A1"], "sampling rate": 250, "resolution": [10]}}\n# EndOfHeader\n'
)
COUNTS = np.arange(SAMPLES)
UV = np.round(1000 * ECG).astype(int)
# A table, the rate that is given, and the name of the lead that holds ECG, in the first place.
FORMS: dict[str, tuple[str | bytes, float | None, str]] = {
    "a column": (ONE, RATE_HZ, "II"),
    "no header": (table(ECG), RATE_HZ, "lead 1"),
    "windows": (table(ECG, header="II", end="\r\n"), RATE_HZ, "II"),
    "old mac": (table(ECG, header="II", end="\r"), RATE_HZ, "II"),
    "a blank line behind each row": (table(ECG, header="II", end="\n\n"), RATE_HZ, "II"),
    "two blank lines behind each row": (table(ECG, T_S, header="II,time", end="\n\n\n"), None, "II"),
    "utf-8 with a mark": (ONE.encode("utf-8-sig"), RATE_HZ, "II"),
    "utf-16": (ONE.encode("utf-16"), RATE_HZ, "II"),
    "utf-16 without a mark": (ONE.encode("utf-16-le"), RATE_HZ, "II"),
    "utf-32": (ONE.encode("utf-32"), RATE_HZ, "II"),
    "gzip": (gzip.compress(ONE.encode()), RATE_HZ, "II"),
    "the index of pandas": (timed(COUNTS, ",0"), RATE_HZ, "0"),
    "the index of pandas, named": (timed(COUNTS, "Unnamed: 0,signal"), RATE_HZ, "signal"),
    "row numbers of R": (timed([f'"{k}"' for k in COUNTS], '"x"'), RATE_HZ, "x"),
    "an index of floats": (timed(T_S, ",ECG"), None, "ECG"),
    "row numbers without a header": (table(COUNTS, ECG), RATE_HZ, "lead 2"),
    "times without a header": (table(T_S, ECG), None, "lead 2"),
    "times in s": (timed(T_S), None, "ECG"),
    "times in s behind the lead": (table(ECG, T_S, header="ECG,Time (s)"), None, "ECG"),
    "times in ms": (timed(4 * COUNTS, "ms,signal"), None, "signal"),
    "times in ns": (timed(4_000_000 * COUNTS, "timestamp [ns],signal"), None, "signal"),
    "times in minutes": (timed([f"{k / 15000:.8f}" for k in COUNTS], "t [min],signal"), None, "signal"),
    "a camel's unit": (timed(4 * COUNTS, "timestampMs,signal"), None, "signal"),
    "whole times without a unit": (timed(4 * COUNTS, "time,signal"), None, "signal"),
    "unix time in ms": (timed(1_700_000_000_000 + 4 * COUNTS, "timestamp,ecg"), None, "ecg"),
    "unix time in ns": (timed(1_700_000_000_000_000_000 + 4_000_000 * COUNTS, "time,ecg"), None, "ecg"),
    "a counter that begins anew": (timed(COUNTS % 16, "nSeq,A1"), RATE_HZ, "A1"),
    "a counter without a name that begins anew": (table(COUNTS % 16, ECG), RATE_HZ, "lead 2"),
    "dates": (timed(times(lambda t: str(t)), "datetime,hr"), None, "hr"),
    "dates as ISO": (timed(times(lambda t: t.isoformat(timespec="milliseconds") + "Z"), "date,hr"), None, "hr"),
    "dates of Germans": (
        comma(
            timed(times(lambda t: f"{t:%d.%m.%Y %H:%M:%S},{t.microsecond // 1000:03d}"), "Zeit;EKG", between=";")
        ).replace("01,01,2024", "01.01.2024"),
        None,
        "EKG",
    ),
    "dates of Americans": (
        timed(times(lambda t: f"{t:%m/%d/%Y %I:%M:%S.%f %p}"), "When (local time),ECG"), None, "ECG"
    ),
    "date and time apart": (
        table(["2024-01-01"] * SAMPLES, times(lambda t: f"{t:%H:%M:%S.%f}"), ECG, header="Date,Time,ECG"), None, "ECG"
    ),
    "tabs": (timed(T_S, "time\tECG", between="\t"), None, "ECG"),
    "spaces": (table(T_S, ECG, between="   "), None, "lead 2"),
    "spaces and names with units": (timed(T_S, "Time (s)  ECG (mV)", between="  "), None, "ECG"),
    "semicolons": (timed(T_S, "time;ECG", between=";"), None, "ECG"),
    "semicolons and decimal commas": (comma(timed(T_S, "Zeit;EKG", between=";")), None, "EKG"),
    "tabs and decimal commas": (comma(timed(T_S, "Zeit\tEKG", between="\t")), None, "EKG"),
    "a column with decimal commas": (comma(ONE), RATE_HZ, "II"),
    "a column with decimal commas and no header": (comma(table(ECG)), RATE_HZ, "lead 1"),
    "quoted decimal commas": (table([f'"{comma(str(v))}"' for v in ECG], header="ECG"), RATE_HZ, "ECG"),
    "two columns of quoted decimal commas": (
        table(*([f'"{comma(f"{v:.4f}")}"' for v in part] for part in (T_S, ECG)), header="time,ECG"), None, "ECG"
    ),
    "thousands": (table([f'"{1000 * v:,.1f}"' for v in ECG], header="ECG [uV]"), RATE_HZ, "ECG"),
    "a delimiter at each end": (table(T_S, ECG, [""] * SAMPLES, header="time,ECG"), None, "ECG"),
    "a line that names the separator": (timed(T_S, "sep=;\ntime;ECG", between=";"), None, "ECG"),
    "comments": (f"# recorded at home\n# Sampling Rate (Hz):= 250.00\n# Labels:= ECG\n{table(ECG)}", None, "ECG"),
    "comments among the rows": ("# begin\n" + ONE.replace("\n", "\n# 1 min\n", 40), RATE_HZ, "II"),
    "names in a comment": (timed(T_S, "# time, ECG"), None, "ECG"),
    "names of ROS": (timed(4_000_000 * COUNTS, "%time,field.ecg"), None, "field.ecg"),
    "the rate in a line": (table(ECG, OTHER, header="Recorder 7\nSampling frequency: 250 Hz\n\nI,II"), None, "I"),
    "the interval in a line": (table(ECG, OTHER, header="Sampling interval (ms): 4\nI,II"), None, "I"),
    "a notch filter is no rate": (table(ECG, OTHER, header="Notch filter: 50 Hz\nI,II"), RATE_HZ, "I"),
    "OpenSignals": (
        OPEN_SIGNALS + table(COUNTS % 16, np.zeros(SAMPLES, int), ECG, between="\t", end="\t\n"), None, "ECG"
    ),
    "a marker": (table(ECG, ["" if k % 400 else "PVC" for k in COUNTS], header="ECG,marker"), RATE_HZ, "ECG"),
    "a marker in some rows": (
        table(T_S, [f"{v:.4f}" + ("" if k % 40 else ",PVC") for k, v in enumerate(ECG)], header="time,ECG"), None, "ECG"
    ),
    "a label before the lead": (timed(COUNTS // 300, "label,signal"), RATE_HZ, "signal"),
    "a heart rate beside the lead": (timed([72, 73] * (SAMPLES // 2), "HR (bpm),signal"), RATE_HZ, "signal"),
    "a column of text first": (timed(["rest"] * SAMPLES, "phase,signal"), RATE_HZ, "signal"),
    "a header in quotation marks": (timed(COUNTS, "'sample #','MLII'"), RATE_HZ, "MLII"),
    "the minus sign of a typesetter": (ONE.replace("-", "\u2212"), RATE_HZ, "II"),
    "LabChart": (timed(T_S, "Interval=\t0.004 s\nChannelTitle=\tECG\nRange=\t10 mV", between="\t"), None, "lead 2"),
    "the rate in a name": (table(ECG, OTHER, header="ECG (250 Hz),V1"), None, "ECG (250 Hz)"),
    "the rate in a column": (timed([RATE_HZ] * SAMPLES, "sampling_rate,ECG"), None, "ECG"),
    "times of the lead": (timed(4 * COUNTS, "ecg_timestamp_ms,ecg_value"), None, "ecg_value"),
    "the quality of the lead": (timed(COUNTS // 300, "ecg_quality,ecg"), RATE_HZ, "ecg"),
    "brackets that are no unit": (table(ECG, header="ECG (lead II)"), RATE_HZ, "ECG (lead II)"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_table_of_any_form_gives_its_signal_and_rate(tmp_path: Path, form: str) -> None:
    content, rate_hz, name = FORMS[form]
    recording = opened(tmp_path, content, rate_hz)
    assert recording.leads[0] == name
    assert (recording.name, recording.rate_hz, recording.samples) == ("r1", RATE_HZ, SAMPLES)
    assert np.abs(samples(recording) - ECG).max() < 1e-6


PRINTED_S = [f"{k / RATE_HZ:.3f}" for k in COUNTS]
MV, UNKNOWN = 1.0, None
# A table, and of what unit ECG is in it: in mV of that unit, or None where the file does not state one.
UNITS: dict[str, tuple[str | bytes, float | None]] = {
    "Apple Health": (APPLE + table(UV), 1e-3),
    "Apple Health, German": (GERMAN + "\n".join(f'"{comma(f"{1000 * v:.3f}")}"' for v in ECG), 1e-3),
    "Apple Health, a comma behind each number": (APPLE.replace("1.90", "1.70") + table(UV, end=",\n"), 1e-3),
    **{
        f"Apple Health, {language}": (APPLE_WORDS.format(*words) + table(UV), 1e-3)
        for language, words in {
            "Portuguese": ("Taxa de amostragem", "hertz", "Derivação", "Unidade"),
            "Danish": ("Samplingfrekvens", "hertz", "Afledning", "Enhed"),
            "Polish": ("Częstotliwość próbkowania", "Hz", "Odprowadzenie", "Jednostka"),
            "Japanese": ("サンプルレート", "ヘルツ", "リード", "単位"),
            "Korean": ("샘플률", "헤르츠", "리드", "단위"),
            "Russian": ("Частота дискретизации", "герц", "Отведение", "Единица измерения"),
            "Chinese": ("采样率", "赫兹", "导联", "单位"),
        }.items()
    },
    "a unit for a key": (table(ECG, header="Sample Rate: 250 Hz\nEnhet: mV"), MV),
    "Polar": (
        table(
            times(lambda t: t.isoformat(timespec="milliseconds")),
            599616000 * 10**9 + 4_000_000 * COUNTS,
            T_S * 1000,
            UV,
            header=POLAR,
            between=";",
        ),
        1e-3,
    ),
    "PhysioBank": (
        table([clock(k) for k in COUNTS], ECG, OTHER, header="'Elapsed time','MLII','V5'\n'hh:mm:ss.mmm','mV','mV'"), MV
    ),
    "PhysioBank in seconds": (table(T_S, ECG, OTHER, header="'Elapsed time','MLII','V5'\n'seconds','mV','mV'"), MV),
    "units in brackets below the names": (timed(PRINTED_S, "Time,ECG\n[s],[uV]", of=UV), 1e-3),
    "PhysioBank, raw": (table(T_S, UV, UV, header="'Elapsed time','MLII','V5'\n'seconds','adu','adu'"), UNKNOWN),
    "PhysioBank, row numbers": (timed(COUNTS, "'sample interval','V5'\n'0.004 sec','mV'"), MV),
    "steps below the names": (timed(PRINTED_S, "time,ECG\ns,adu", of=UV), UNKNOWN),
    "PhysioBank with dates": (
        timed(
            times(lambda t: f"'[{t:%H:%M:%S}.{t.microsecond // 1000:03d} 01/01/2024]'"),
            "'Time','MLII'\n'hh:mm:ss.mmm dd/mm/yyyy','mV'",
        ),
        MV,
    ),
    "uV in brackets": (timed(PRINTED_S, "time [s],ECG [uV]", of=UV), 1e-3),
    "V in parentheses": (table(PRINTED_S, [f"{v / 1000:.7f}" for v in ECG], header="time,MLII (V)"), 1e3),
    "mV in parentheses": (timed(PRINTED_S, "time,MLII (mV)"), MV),
    "uV behind the name": (timed(PRINTED_S, "time_s,ECG_uV", of=UV), 1e-3),
    "a unit for a name": (timed(PRINTED_S, "time,µV", of=UV), 1e-3),
    "the micro sign of Windows": (timed(PRINTED_S, "time,ECG (µV)", of=UV).encode("cp1252"), 1e-3),
    "the letter mu": (timed(PRINTED_S, "time,ECG (\u03bcV)", of=UV), 1e-3),
    "microvolts": (timed(PRINTED_S, "time,ECG (microvolts)", of=UV), 1e-3),
    "thousands of Germans": (
        table(
            [comma(t) for t in PRINTED_S],
            [f"{1000 * v:_}".replace("_", ".") for v in UV.tolist()],
            header="t;EKG [nV]",
            between=";",
        ),
        1e-6,
    ),
    "a unit in a line": (timed(PRINTED_S, "Unit: uV\ntime,ECG", of=UV), 1e-3),
    "no unit": (timed(PRINTED_S), UNKNOWN),
    "steps of a converter": (timed(PRINTED_S, "time,ECG [ADU]", of=UV), UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("form", UNITS)
def test_a_unit_that_the_file_states_is_applied(tmp_path: Path, form: str) -> None:
    content, mv = UNITS[form]
    recording = opened(tmp_path, content)
    known = ECG if mv else UV if np.ptp(samples(recording)) > 100 else ECG
    assert recording.rate_hz == RATE_HZ
    assert recording.unit_unknown == (frozenset() if mv else frozenset(range(len(recording.leads))))
    assert np.abs(samples(recording) - known).max() < 1e-3
    assert "[" not in recording.leads[0]
    assert "time" not in recording.leads[0].lower()


def test_the_log_has_one_line_with_the_form_of_the_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "commander")
    opened(tmp_path, comma(table(PRINTED_S, UV, ["x"] * SAMPLES, header="Zeit;EKG [uV];Notiz", between=";")))
    (line,) = caplog.messages
    told = (
        "r1.csv is read as: utf-8; semicolon; decimal comma; names in line 1; time column 'Zeit' (s); leads EKG in uV; "
    )
    assert line == told + "left out 'Notiz'; 250 Hz (column 'Zeit')"


def test_apple_health_names_its_lead_and_dates_their_start(tmp_path: Path) -> None:
    assert opened(tmp_path, APPLE + table(UV)).leads == ("Lead I",)
    dated = timed(times(lambda t: str(t)), "datetime,ECG")
    assert opened(tmp_path, dated).start == START


# How times are printed, the rate that they stand for, and the one that a table of 40 s gives.
PRINTED = {
    "ms of 250 Hz": (lambda k: f"{k / 250:.3f}", 250),
    "ms of 360 Hz": (lambda k: f"{k / 360:.3f}", 360),
    "tenths of ms of 360 Hz": (lambda k: f"{k / 360:.4f}", 360),
    "ms of 512 Hz": (lambda k: f"{k / 512:.3f}", 512),
    "whole ms of 130 Hz": (lambda k: f"{int(1000 * k / 130)}", 130),
    "whole ms of 1024 Hz": (lambda k: f"{int(1000 * k / 1024)}", 1024),
    "hundredths of 250 Hz": (lambda k: f"{k / 250:.2f}", 250),
    "us of 333.333 Hz": (lambda k: f"{k * 0.003:.6f}", 1000 / 3),
    "us of 512.413 Hz": (lambda k: f"{k / 512.413:.6f}", 512.413),
    "from an hour on": (lambda k: f"{3600 + k / 500:.3f}", 500),
    "seconds of a clock": (lambda k: f"10:00:{k // 250:02d}", 250),
}


@pytest.mark.parametrize("printed", PRINTED)
def test_times_give_the_rate_as_far_as_their_digits_go(tmp_path: Path, printed: str) -> None:
    form, rate_hz = PRINTED[printed]
    count = round(40 * rate_hz)
    signal = [f"{k % 97}" for k in range(count)]
    content = table([form(k) for k in range(count)], signal, header=f"{'ms' if 'whole' in printed else 'time'},ECG")
    recording = opened(tmp_path, content)
    assert recording.rate_hz == pytest.approx(rate_hz, rel=2e-6)
    assert recording.samples == count
    assert recording.doubts == ()
    if printed != "ms of 250 Hz":
        return
    assert opened(tmp_path, content, rate_hz).rate_hz == rate_hz
    with pytest.raises(DataError, match=rf"column '(ms|time)' gives .* Hz, --rate-hz is {1.01 * rate_hz:g} Hz"):
        opened(tmp_path, content, 1.01 * rate_hz)


def test_steps_that_may_be_rounded_are_doubted(tmp_path: Path) -> None:
    content = timed([f"{k * 0.0028:.4f}" for k in COUNTS])
    recording = opened(tmp_path, content)
    assert recording.rate_hz == pytest.approx(1 / 0.0028)
    assert "if they are rounded" in recording.doubts[0]
    recording = opened(tmp_path, content, 360)
    assert (recording.rate_hz, len(recording.doubts)) == (360, 1)
    with pytest.raises(DataError, match=r"gives 357.143 Hz, --rate-hz is 340 Hz"):
        opened(tmp_path, content, 340)


@pytest.mark.parametrize(("content", "rate_hz", "says"), [
    (timed(PRINTED_S), 500, r"column 'time' gives 250 Hz, --rate-hz is 500 Hz"),
    (table(PRINTED_S, ECG), 360, r"column '.*' gives 250 Hz, --rate-hz is 360 Hz"),
    (timed(4 * COUNTS), 360, r"gives 250 Hz, --rate-hz is 360 Hz"),
    (timed(times(str), "datetime,ECG"), 128, r"gives 250 Hz, --rate-hz is 128 Hz"),
    (APPLE + table(UV), 512, r"the lines above the rows state 250 Hz, --rate-hz is 512 Hz"),
    (timed(PRINTED_S, "# sampling rate: 500 Hz\ntime,ECG"), None, r"states two rates: .* 250 Hz, .* 500 Hz"),
    (table(ECG, header="ECG@500Hz"), RATE_HZ, r"state 500 Hz, --rate-hz is 250 Hz"),
    (timed(COUNTS, "index,ECG"), None, r"states no sampling rate: column 'index' counts rows .*--rate-hz HZ"),
    (table(ECG, header="ECG"), None, r"states no sampling rate .*--rate-hz HZ"),
    (timed(T_S[::-1].copy()), RATE_HZ, r"column 'time' runs backwards"),
    (timed(np.where(COUNTS < 800, T_S, T_S + 9e6)), None, r"jumps by 2500 h after 800 rows"),
])  # fmt: skip
def test_a_file_that_contradicts_the_command_is_refused(
    tmp_path: Path, content: str, rate_hz: float | None, says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        opened(tmp_path, content, rate_hz)
    assert caught.value.code == 3


def holes(lead: np.ndarray, *spans: tuple[int, int]) -> np.ndarray:
    lost = np.zeros(len(lead), bool)
    for first, last in spans:
        lost[first:last] = True
    return lost


LATER = np.where(COUNTS < 500, COUNTS, COUNTS + 5000)  # 20 s are lost after 2 s
DROPPED = np.flatnonzero(np.random.default_rng(3).random(SAMPLES) > 0.05)  # 1 in 20 samples is lost
# A table, and the sample of the signal that each of its rows is.
GAPS: dict[str, tuple[str, np.ndarray]] = {
    "times in s": (timed([f"{k / RATE_HZ:.3f}" for k in LATER]), LATER),
    "times without a name": (table([f"{k / RATE_HZ:.3f}" for k in LATER], ECG), LATER),
    "times in ms": (timed(4 * LATER, "ms,ECG"), LATER),
    "row numbers": (timed(LATER, ",ECG"), LATER),
    "dates": (timed([str(START + timedelta(seconds=k / 250)) for k in LATER.tolist()], "datetime,ECG"), LATER),
    "over midnight": (
        timed([f"{START + timedelta(hours=13, minutes=59, seconds=58 + k / 250):%H:%M:%S.%f}" for k in LATER.tolist()]),
        LATER,
    ),
    "single samples": (table([f"{k / RATE_HZ:.3f}" for k in DROPPED], ECG[DROPPED], header="time,ECG"), DROPPED),
    "single samples of an index": (table(DROPPED, ECG[DROPPED], header=",ECG"), DROPPED),
}


@pytest.mark.parametrize("form", GAPS)
def test_a_jump_in_time_is_a_gap_in_the_signal(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leads, "ROWS", 700)
    content, at = GAPS[form]
    recording = opened(tmp_path, content, RATE_HZ)
    known = np.full(int(at[-1]) + 1, np.nan)
    known[at] = ECG[at] if len(at) < SAMPLES else ECG
    assert recording.samples == len(known)
    assert np.array_equal(samples(recording), known.astype(np.float32), equal_nan=True)
    for first, last in ((0, 1), (499, 503), (600, 700), (5490, 5501), (len(known) - 1, len(known))):
        last = min(last, len(known))
        assert np.array_equal(recording.read(0, first, last), known[first:last].astype(np.float32), equal_nan=True)
    assert "without samples" in recording.doubts[0]
    if at is LATER:
        assert recording.doubts[0].endswith("has a gap, 20 s without samples")
        assert recording.lead().gaps.tolist() == [[500, 5500]]


def test_times_that_do_not_run_evenly_are_doubted(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    jitter = [f"{k / 250 + d:.4f}" for k, d in enumerate(rng.uniform(-0.0018, 0.0018, SAMPLES))]
    recording = opened(tmp_path, timed(jitter), RATE_HZ)
    assert (recording.rate_hz, recording.samples) == (RATE_HZ, SAMPLES)
    assert "jitter" in recording.doubts[0]
    assert opened(tmp_path, timed(jitter)).rate_hz == pytest.approx(RATE_HZ, rel=1e-3)
    again = timed([f"{k % 500 / 250:.3f}" for k in COUNTS])
    recording = opened(tmp_path, again)
    assert (recording.rate_hz, recording.samples) == (RATE_HZ, SAMPLES)
    assert recording.doubts == (
        "column 'time' goes back 2 times, first after 500 rows: the rows are read in their order",
    )
    packets = timed([f"{k // 73 * 0.292:.3f}" for k in COUNTS])
    recording = opened(tmp_path, packets, RATE_HZ)
    assert (recording.rate_hz, recording.samples) == (RATE_HZ, SAMPLES)
    footer = opened(tmp_path, timed(T_S) + "Mean,0.01\n")
    assert footer.doubts == ("column 'time' has no time in a row: the times are interpolated",)
    unread = timed([f"{k // 250} s and {k % 250}" for k in COUNTS])
    recording = opened(tmp_path, unread, RATE_HZ)
    assert (recording.leads, recording.samples) == (("ECG",), SAMPLES)
    assert "'0 s and 0'" in recording.doubts[0]
    with pytest.raises(DataError, match="states no sampling rate"):
        opened(tmp_path, timed([f"{t / 60:.8f}" for t in T_S]))  # minutes, no seconds at 15 kHz
    still = timed([1700000000000] * SAMPLES)
    assert opened(tmp_path, still, RATE_HZ).leads == ("ECG",)


@pytest.mark.parametrize("code", [-999, 99999, -32768, -99])
def test_numbers_far_outside_the_signal_are_missing_samples(tmp_path: Path, code: int) -> None:
    lost = holes(ECG, (300, 700), (900, 903))
    coded = [str(code) if gone else f"{v:.4f}" for gone, v in zip(lost, ECG, strict=True)]
    recording = opened(tmp_path, table(coded, OTHER, header="II,V1"), RATE_HZ)
    assert np.isnan(samples(recording)).tolist() == lost.tolist()
    assert recording.doubts == (f"403 samples of lead II are {code:g}, far outside the signal, and count as missing",)
    assert recording.lead("II").span_mv < 2


@pytest.mark.parametrize(
    "signal",
    [
        np.where(COUNTS % 500 == 0, 37.25, ECG),  # artefacts
        np.clip(np.round(20000 * ECG), -9999, 9999).astype(int),  # a converter at its limits
        np.where(COUNTS % 7 == 0, 999, np.round(1000 * ECG)).astype(int),
        np.where(COUNTS < 300, 5.0, ECG),
    ],
)
def test_numbers_that_a_signal_may_have_stay(tmp_path: Path, signal: np.ndarray) -> None:
    recording = opened(tmp_path, table(signal, header="II"), RATE_HZ)
    assert np.abs(samples(recording) - signal).max() < 1e-3
    assert recording.doubts == ()


def test_words_for_nothing_are_missing_samples(tmp_path: Path) -> None:
    lost = holes(ECG, (300, 700), (900, 903))
    for word in ("", "NaN", "nan", "NA", "null", "None", "-", "?", "inf", "n/a", '""'):
        cells = [word if gone else f"{v:.4f}" for gone, v in zip(lost, ECG, strict=True)]
        recording = opened(tmp_path, table(cells, OTHER, header="II,V1"), RATE_HZ)
        assert np.isnan(samples(recording)).tolist() == lost.tolist(), word
        assert not np.isnan(samples(recording, 1)).any()


def test_a_few_single_blank_lines_are_no_samples_and_long_runs_of_them_are(tmp_path: Path) -> None:
    lines = [f"{v:.4f}" + ("\n" if k % 97 == 50 else "") for k, v in enumerate(ECG)]
    recording = opened(tmp_path, "\n".join(["II", *lines]), RATE_HZ)
    assert np.array_equal(samples(recording), ECG.astype(np.float32))
    assert recording.doubts == ("15 single blank lines between the rows are ignored",)


def test_two_columns_of_one_name_are_two_leads(tmp_path: Path) -> None:
    recording = opened(tmp_path, table(ECG, OTHER, header="ECG,ECG"), RATE_HZ)
    assert recording.leads == ("ECG", "ECG")
    assert np.abs(samples(recording, 1) - OTHER).max() < 1e-6


def test_a_flat_lead_stays_where_its_name_is_one(tmp_path: Path) -> None:
    flat = np.zeros(SAMPLES)
    assert opened(tmp_path, timed(flat, "II,V1"), RATE_HZ).leads == ("II", "V1")
    assert opened(tmp_path, timed(flat, "channel a,channel b"), RATE_HZ).leads == ("channel b",)
    with pytest.raises(DataError, match="lead II is flat"):
        opened(tmp_path, table(flat, header="II"), RATE_HZ).lead()


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "the file has no samples"),
    "blank lines": ("\n\n\n", "the file has no samples"),
    "prose": ("dear reader\nthis is a note\n", "the file has no samples"),
    "binary": (bytes(range(256)) * 40, "the file is binary"),
    "an Excel workbook": (b"PK\x03\x04" + bytes(100), "a zip archive or an Excel workbook"),
    "a page": ("<!DOCTYPE html>\n<html>\n<body>404</body></html>\n", "the file has no samples"),
    "on its side": (table(*np.random.default_rng(0).normal(size=(500, 8))), r"is transposed: 8 rows of 500 numbers"),
    "on its side, one row": (",".join(f"{v:.4f}" for v in ECG), r"is transposed: 1 row of 1500 numbers"),
    "too many columns": (
        "\n".join([",".join(f"c{k}" for k in range(1100))] + [",".join(["1.5"] * 1100)] * 400),
        "1100 columns, at most 1024",
    ),
    "rows of beats": ("\n".join([",".join(["0.5"] * 188)] * 200), "188 columns of numbers without names"),
    "a word": (
        ONE.replace("\n", "\nhello\n", 3).replace("hello\n", "", 2),
        "column 'II' has 'hello', which is no number .*line 4",
    ),
    "a longer row": ("II,V1\n" + "1.5,2\n" * 900 + "3,4,5\n", "line 902 has 3 cells, 2 are expected"),
    "a quotation mark that does not close": ('II,V1\n1.5,2\n"3,4\n' + "1.5,2\n" * 10, "no table|no number"),
    "a header again": (ONE + ONE, "column 'II' has 'II', which is no number .*line 1502"),
    "a gzip that is cut off": (gzip.compress(ONE.encode())[:900], "the file is damaged"),
    "time alone": (table(PRINTED_S, header="time"), "no column is a lead: time"),
    "text alone": (table(["a"] * 30, ["b"] * 30, header="x,y"), "the file has no samples"),
    "a row per lead and sample": (
        table(PRINTED_S * 2, ["I", "II"] * SAMPLES, OTHER.tolist() * 2, header="t,lead,value"),
        "'lead' names the lead of each row",
    ),
    "a list of beats": (
        table(0.8 * np.arange(60), [1] * 60, header="time_s,rr_s"), "column 'time_s' gives 1.25 Hz, --rate-hz is 250 Hz"
    ),
    "an uneven list of beats": (
        table(np.cumsum(np.random.default_rng(0).uniform(0.3, 1.5, 60)), [0.7, 0.8] * 30, header="time_s,rr"),
        "column 'time_s' has .* rows per second on average, --rate-hz is 250 Hz",
    ),
    "commas for both": (comma(timed(T_S)), "commas are decimal signs and delimiters at once"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_table_that_is_none_is_one_line_of_exit_code_3(tmp_path: Path, fault: str) -> None:
    content, says = FAULTS[fault]
    with pytest.raises(DataError, match=says) as caught:
        opened(tmp_path, content, RATE_HZ)
    assert caught.value.code == 3
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path) in caught.value.where


def test_a_gzip_bomb_and_an_endless_line_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_text, "SMALL", 2**20)
    monkeypatch.setattr(csv_text, "LONGEST_LINE", 2**20)
    with pytest.raises(DataError, match="the gzip unpacks to over 1,048,576 bytes"):
        opened(tmp_path, gzip.compress(b"0.5\n" * 2**20), RATE_HZ, name="bomb.csv.gz")
    with pytest.raises(DataError, match="a line has over 1,048,576 bytes"):
        opened(tmp_path, "II\n0.5\n0.5" + "0" * 2**21, RATE_HZ)
    assert opened(tmp_path, gzip.compress(b"0.5\n" * 2**10), RATE_HZ, name="long.csv.gz").samples == 2**10


def test_tables_are_found_by_their_endings(tmp_path: Path) -> None:
    for name in ("a.csv", "b.TSV", "c.csv.gz", "notes.txt"):
        written(tmp_path, ONE, name)
    assert [path.name for path in recordings.find(tmp_path)] == ["a.csv", "b.TSV", "c.csv.gz"]
    (tmp_path / "RECORDS").write_text("notes.txt\nc.csv.gz\n")
    assert [path.name for path in recordings.find(tmp_path / "RECORDS")] == ["notes.txt", "c.csv.gz"]
    assert [path.name for path in recordings.find(tmp_path / "notes.txt")] == ["notes.txt"]
