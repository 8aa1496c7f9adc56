"""A path of any format becomes the same leads in mV, read in pieces of any size; what cannot be read is a line of
why."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import wfdb
from scipy.io import savemat

from helpers.servers import unprivileged
from loaders.formats import recordings
from loaders.formats.recording import Recording
from toolbox.errors import CommanderError, DataError, ResourceError

RATE_HZ, SAMPLES = 250, 2500
LEADS = {"II": np.sin(np.arange(SAMPLES) / 9.0), "V1": 0.5 * np.cos(np.arange(SAMPLES) / 30.0)}
GAINS = {"16": 1000, "24": 1000}


def write_wfdb(folder: Path, form: str = "16", *, units: str = "mV", leads: dict[str, np.ndarray] = LEADS) -> Path:
    count = len(leads)
    how = {"fmt": [form] * count, "adc_gain": [GAINS[form]] * count, "baseline": [0] * count, "units": [units] * count}
    when = {"base_time": datetime(2020, 3, 4, 5, 6, 7).time(), "base_date": datetime(2020, 3, 4).date()}
    signal = np.stack(list(leads.values()), axis=1)
    wfdb.wrsamp("r1", RATE_HZ, p_signal=signal, sig_name=list(leads), write_dir=str(folder), **how, **when)
    return folder / "r1.hea"


def write_mat(folder: Path) -> Path:
    """As in the PhysioNet challenges of 2017 and 2020/21: a matrix of version 4, whose 24 bytes of heading the header
    skips."""
    digital = np.round(1000 * np.stack(list(LEADS.values()))).astype(np.int16)
    savemat(folder / "r1.mat", {"val": digital}, format="4")
    lines = [f"r1.mat 16+24 1000/mV 16 0 {row[0]} 0 0 {name}" for name, row in zip(LEADS, digital, strict=True)]
    (folder / "r1.hea").write_text(
        "\n".join([f"r1 2 {RATE_HZ} {SAMPLES} 05:06:07 4/03/2020 ", *lines, "# Dx: none"]) + "\n"
    )
    return folder / "r1.mat"


def write_edf(folder: Path, unit: str = "uV", **how: object) -> Path:
    edfio = pytest.importorskip("edfio")
    signals = [
        edfio.EdfSignal(1000 * values, RATE_HZ, label=name, physical_dimension=unit, physical_range=(-1500, 1500))
        for name, values in LEADS.items()
    ]
    other = edfio.EdfSignal(np.arange(100.0), 10, label="SpO2", physical_dimension="%")
    starts = {
        "recording": edfio.Recording(startdate=datetime(2020, 3, 4).date()),
        "starttime": datetime(2020, 3, 4, 5, 6, 7).time(),
    }
    edfio.Edf([other, *signals], **starts, **how).write(folder / "r1.edf")
    return folder / "r1.edf"


def write_csv(folder: Path, *, time: bool = True) -> Path:
    columns = {"time_s": np.arange(SAMPLES) / RATE_HZ, **LEADS} if time else LEADS
    rows = [",".join(f"{value:.6f}" for value in row) for row in zip(*columns.values(), strict=True)]
    (folder / "r1.csv").write_text("\n".join([",".join(columns), *rows]) + "\n")
    return folder / "r1.csv"


WRITERS = {
    "wfdb": write_wfdb,
    "wfdb dat": lambda folder: write_wfdb(folder).with_suffix(".dat"),
    "wfdb name alone": lambda folder: write_wfdb(folder).with_suffix(""),
    "mat": write_mat,
    "edf": write_edf,
    "csv": write_csv,
}


def open_one(path: Path, rate_hz: float | None = None) -> Recording:
    (found,) = recordings.find(path)
    return recordings.open_recording(found, rate_hz=rate_hz)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_leads_in_mv(tmp_path: Path, kind: str) -> None:
    recording = open_one(WRITERS[kind](tmp_path), RATE_HZ if "csv" in kind else None)
    assert (recording.name, recording.leads) == ("r1", ("II", "V1"))
    assert (recording.rate_hz, recording.samples) == (RATE_HZ, SAMPLES)
    assert recording.start == (None if "csv" in kind else datetime(2020, 3, 4, 5, 6, 7))
    for name, values in LEADS.items():
        lead = recording.lead(name)
        whole = lead.read(0, SAMPLES)
        assert np.abs(whole - values).max() < 0.0026
        assert len(lead.gaps) == 0
        for first, last in ((0, 1), (1, 2), (777, 1501), (2499, 2500), (3, 2500)):
            assert lead.read(first, last).tolist() == whole[first:last].tolist()
    with pytest.raises(DataError, match=r"no lead 'V9'.*II, V1"):
        recording.lead("V9")


def test_a_gain_of_as_many_digits_as_wfdb_chooses_is_read(tmp_path: Path) -> None:
    signal = np.stack(list(LEADS.values()), axis=1)
    wfdb.wrsamp(
        "r1", RATE_HZ, p_signal=signal, sig_name=list(LEADS), units=["mV"] * 2, fmt=["16"] * 2, write_dir=str(tmp_path)
    )
    assert max(len(digits) for digits in re.findall(r"\.(\d+)", (tmp_path / "r1.hea").read_text())) > 9
    assert np.abs(open_one(tmp_path / "r1.hea").lead("II").read(0, SAMPLES) - LEADS["II"]).max() < 0.001


@pytest.mark.parametrize(("names", "asked", "given"), [
    (("V5", "MLII"), None, "V5"),
    (("V5", "MLII"), "MLII", "MLII"),
    (("V5", "MLII"), "mlii", "MLII"),
    (("EEG", "ECG"), None, "ECG"),
])  # fmt: skip
def test_a_lead_is_chosen_by_name_else_the_first_ecg(
    tmp_path: Path, names: tuple[str, str], asked: str, given: str
) -> None:
    recording = open_one(write_wfdb(tmp_path, leads=dict(zip(names, LEADS.values(), strict=True))))
    assert recording.lead(asked).name == given


def test_missing_samples_are_nan_and_long_runs_of_them_are_gaps(tmp_path: Path) -> None:
    holes = LEADS["II"].copy()
    holes[100:105] = holes[1000:1500] = np.nan
    for path in (write_wfdb(tmp_path, leads={"II": holes}), tmp_path / "holes.csv"):
        if path.suffix == ".csv":
            path.write_text("II\n" + "\n".join("" if np.isnan(value) else str(value) for value in holes) + "\n")
        lead = open_one(path, RATE_HZ).lead()
        assert np.isnan(lead.read(0, SAMPLES)).tolist() == np.isnan(holes).tolist()
        assert lead.gaps.tolist() == [[1000, 1500]]


def test_annotations_beside_a_record_are_its_reference(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path)
    assert open_one(path).reference is None
    wfdb.wrann("r1", "atr", np.array([10, 500]), symbol=["N", "V"], write_dir=str(tmp_path))
    symbols, places = open_one(path).reference
    assert (symbols, places.tolist()) == (["N", "V"], [10, 500])
    path.with_suffix(".atr").write_bytes(b"")
    recording = recordings.open_recording(path)
    assert recording.reference is None
    assert recording.doubts == ("r1.atr is empty: no annotations to compare with",)


def folder_of(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_text("")
    return tmp_path


def test_missing_records_and_skipped_zips_of_a_folder_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").mkdir()
    there = write_wfdb(tmp_path / "a")
    written(tmp_path / "RECORDS", f"a/{there.stem}\na/r7\n/r8\na/\n")
    written(tmp_path / "a" / "more.zip", "")
    assert recordings.find(tmp_path) == [there]
    assert f"2 recordings in {tmp_path / 'RECORDS'} are missing: a/r7, /r8" in caplog.messages
    assert "zips are skipped, unpack a zip with recordings: a/more.zip" in caplog.messages


def test_a_folder_has_its_records_and_a_list_those_that_it_names_in_its_order(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "b.hea", "a.hea", "a.dat", "aa.EDF", "REFERENCE.csv", "._a.hea")
    assert [path.name for path in recordings.find(folder)] == ["a.hea", "aa.EDF", "b.hea"]
    (folder / "RECORDS").write_text("b\naa.EDF\na\n")
    assert [path.name for path in recordings.find(folder / "RECORDS")] == ["b.hea", "aa.EDF", "a.hea"]


def test_a_folder_of_patients_has_every_recording_below_it(tmp_path: Path) -> None:
    for place in ("p1", "p2/night", "p3", "p3/.trash"):
        (tmp_path / place).mkdir(parents=True)
    folder_of(tmp_path, "p1/r.hea", "p1/r.dat", "p1/about.csv", "p2/night/r.edf")
    folder_of(tmp_path, "p3/r.csv", "p3/.trash/x.edf", "top.hea", "notes.rec")
    (tmp_path / "p2" / "sleep.REC").write_bytes(b"0       ")
    (tmp_path / "p2" / "loop").symlink_to(tmp_path)
    found = [str(path.relative_to(tmp_path)) for path in recordings.find(tmp_path)]
    assert found == ["p1/r.hea", "p2/night/r.edf", "p2/sleep.REC", "top.hea"]
    (tmp_path / "top.hea").unlink()
    found = [str(path.relative_to(tmp_path)) for path in recordings.find(tmp_path)]
    assert found == ["p1/r.hea", "p2/night/r.edf", "p2/sleep.REC", "p3/r.csv"]


def test_excerpts_that_are_not_listed_are_left_out_with_a_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x_db").mkdir()
    folder_of(tmp_path, "a.hea", "b.hea", "x_db/x_a.hea")
    (tmp_path / "RECORDS").write_text("a\n")
    assert [path.name for path in recordings.find(tmp_path)] == ["a.hea", "b.hea"]
    assert "1 recordings in x_db are left out: " in caplog.text
    (tmp_path / "RECORDS").write_text("a\nx_db/x_a\n")
    assert [path.name for path in recordings.find(tmp_path)] == ["a.hea", "b.hea", "x_a.hea"]


def test_the_files_of_a_prediction_are_no_recordings(tmp_path: Path) -> None:
    (tmp_path / "found" / "r").mkdir(parents=True)
    names = "r.csv found/r/r.csv found/r/r.pred found/r/r.json found/summary.csv found/index.html"
    folder_of(tmp_path, *names.split())
    assert recordings.find(tmp_path) == [tmp_path / "r.csv"]


@pytest.mark.parametrize(("name", "content", "says"), [
    ("r.xml", b'<?xml version="1.0"?><AnnotatedECG xmlns="urn:hl7-org:v3"/>', "an HL7 aECG file"),
    ("r.xml", '<?xml version="1.0" encoding="UTF-16"?><RestingECG/>'.encode("utf-16"), "a MUSE file of GE"),
    ("r", b"\0" * 128 + b"DICM", "a DICOM file"),
    ("r.scp", b"\0" * 4, "an SCP-ECG file"),
    ("r.ecg", b"ISHNE1.0", "an ISHNE Holter file"),
    ("r.mat", b"MATLAB 5.0 MAT-file", "a MATLAB file without its WFDB header"),
    ("r.mat", b"\x89HDF\r\n\x1a\n", "an HDF5 file, as MATLAB 7.3 writes it"),
    ("r.xlsx", b"PK\x03\x04", "a zip archive or a workbook"),
])  # fmt: skip
def test_a_format_that_is_not_read_is_named_with_a_way(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"it is {re.escape(says)}.*, which is not read .*Try: it converted to WFDB"):
        recordings.find(tmp_path / name)


def cut_off(path: Path, keep: int = 1200) -> Path:
    path.write_bytes(path.read_bytes()[:keep])
    return path


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def without(path: Path) -> Path:
    path.unlink()
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


FLAT = {"II": np.zeros(SAMPLES), "V1": LEADS["V1"]}
# What is done to a recording, and what the error says of it; each format has a longer list of its own.
FAULTS = {
    "nothing there": (lambda folder: folder / "r2.hea", "no such recording"),
    "an empty folder": (lambda folder: folder, "the folder has no recordings"),
    "a file of another kind": (lambda folder: written(folder / "a.xml", "x"), "it is an XML file"),
    "no header": (lambda folder: without(write_wfdb(folder)).with_suffix(".dat"), "its header r1.hea is missing"),
    "a mat cut off": (lambda folder: cut_off(write_mat(folder)), "room for 294 samples"),
    "an edf cut off": (lambda folder: cut_off(write_edf(folder), 1500), "no whole data record"),
    "an edf header cut off": (lambda folder: cut_off(write_edf(folder), 800), "header is cut off"),
    "an edf of nothing": (lambda folder: written(folder / "r1.edf", "x" * 500), "cannot be read, EDF"),
    "an edf in no volts": (lambda folder: write_edf(folder, "mmHg"), "no signal is in volts: SpO2 in %, II in mmHg"),
    "another offset": (lambda folder: edited(write_wfdb(folder), "r1.dat 16", "r1.dat 16+2"), "differ in format or"),
    "no lead in volts": (lambda folder: write_wfdb(folder, units="mmHg"), "no lead is in volts: II in mmHg"),
    "a flat lead": (lambda folder: write_wfdb(folder, leads=FLAT), "lead II is flat.*--leads with one of V1"),
    "an empty list": (lambda folder: written(folder / "RECORDS", "\n"), "the list is empty"),
    "an idle list": (lambda folder: written(folder / "RECORDS", "r7 r8"), "listed recordings are missing: r7 r8"),
    "annotations cut off": (lambda folder: _with_annotations(folder), "annotations: r1.atr is cut off"),
    "a word in a table": (lambda folder: written(folder / "a.csv", "II,V1\n1,2\n3,x\n"), "'V1' has 'x'.*line 3"),
    "a longer row": (lambda folder: written(folder / "a.csv", "II,V1\n1,2\n3,4,5\n"), "no table: .*line 3"),
    "a table of nothing": (lambda folder: written(folder / "a.csv", ""), "no samples"),
}


def _with_annotations(folder: Path) -> Path:
    path = write_wfdb(folder)
    wfdb.wrann("r1", "atr", np.array([10, 500]), symbol=["N", "V"], write_dir=str(folder))
    cut_off(path.with_suffix(".atr"), 3)
    return path


@pytest.mark.parametrize("fault", FAULTS)
def test_an_unreadable_recording_is_an_error_of_one_line_and_exit_code_3(tmp_path: Path, fault: str) -> None:
    spoil, says = FAULTS[fault]
    if fault.startswith("an edf"):
        pytest.importorskip("edfio")
    path = spoil(tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        open_one(path, RATE_HZ if path.suffix == ".csv" else None).lead()
    assert caught.value.code == 3
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path) in caught.value.where


def test_a_table_needs_its_rate_and_a_record_keeps_its_own(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--rate-hz"):
        open_one(write_csv(tmp_path, time=False))
    with pytest.raises(DataError, match="sampled at 250 Hz, not at 360 Hz"):
        open_one(write_wfdb(tmp_path), 360)


@pytest.mark.parametrize("timed", [None, 360], ids=lambda rate: f"annotations timed at {rate}")
def test_a_record_without_a_rate_has_the_given_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: float | None
) -> None:
    """wfdb would take 250 Hz, and has no length of it either."""
    path = write_wfdb(tmp_path)
    stated = open_one(path).lead("V1").read(0, SAMPLES)
    path.write_text(re.sub(r"^r1 2 .*", "r1 2", path.read_text()))
    how = {"fs": timed} if timed else {}
    wfdb.wrann("r1", "atr", np.array([10, 500]), symbol=["N", "V"], write_dir=str(tmp_path), **how)
    with pytest.raises(DataError, match=r"the header states no sampling rate \(.*r1.hea\). Try: --rate-hz HZ"):
        open_one(path)
    monkeypatch.setattr("loaders.formats.wfdb_signal.BLOCK", 1000)
    recording = open_one(path, 360)
    assert (recording.rate_hz, recording.samples, recording.reference[1].tolist()) == (360, SAMPLES, [10, 500])
    lead = recording.lead("V1")
    assert lead.rate_hz == 360
    assert np.array_equal(lead.read(700, 1900), stated[700:1900])
    with pytest.raises(DataError, match=r"the sampling rate is '3', it should be 10 to 100000 Hz"):
        open_one(path, 3)
    if timed:
        with pytest.raises(DataError, match="they are timed at 360 Hz, the signal at 500 Hz"):
            open_one(path, 500)


@pytest.mark.parametrize(("factor", "unit"), [(1000, "uV"), (0.001, "V"), (200, "200/mV"), (0.001, "volts")])
def test_numbers_that_cannot_be_mv_are_refused_without_a_unit(tmp_path: Path, factor: float, unit: str) -> None:
    path = written(tmp_path / "raw.csv", "MLII\n" + "\n".join(f"{factor * value + 7:.9g}" for value in LEADS["II"]))
    with pytest.raises(DataError, match=r"lead MLII of raw spans .* mV in most of its pieces.*Try: --unit") as caught:
        open_one(path, RATE_HZ).lead()
    assert caught.value.code == 3
    lead = open_one(path, RATE_HZ).lead(unit=unit)
    assert (lead.span_mv, lead.doubts) == (pytest.approx(2, rel=1e-3), ())


def test_a_unit_that_is_given_stands_though_it_is_doubted(tmp_path: Path) -> None:
    path = written(tmp_path / "raw.csv", "MLII\n" + "\n".join(str(1000 * value) for value in LEADS["II"]))
    (doubt,) = open_one(path, RATE_HZ).lead(unit="mV").doubts
    assert "spans 2,000 mV in most of its pieces" in doubt


@pytest.mark.parametrize("write", [write_wfdb, write_edf])
def test_another_unit_than_that_of_the_file_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    recording = open_one(write(tmp_path))
    own, other = ("mV", "uV") if recording.units[0] == "mV" else ("microvolts", "mV")
    assert recording.lead("II", unit=own).doubts == ()
    with pytest.raises(DataError, match=f"the file states that lead II is in {recording.units[0]}, not in {other}"):
        recording.lead("II", unit=other)


def test_a_signal_that_is_called_heart_rate_is_taken_only_where_it_is_alone(tmp_path: Path) -> None:
    alone = written(tmp_path / "alone.csv", "hr\n" + "\n".join(map(str, LEADS["II"])))
    assert open_one(alone, RATE_HZ).lead().name == "hr"
    beside = written(tmp_path / "beside.csv", "hr,EEG\n" + "\n".join(f"{value},{value}" for value in LEADS["II"]))
    with pytest.raises(DataError, match="no lead has the name of an ECG"):
        open_one(beside, RATE_HZ).lead()


def test_artefacts_refuse_no_recording(tmp_path: Path) -> None:
    signal = np.tile(LEADS["II"], 3)
    # One number over and over would stand for missing samples.
    signal[::900] = 500 + np.arange(len(signal[::900])) / 100
    path = written(tmp_path / "raw.csv", "MLII\n" + "\n".join(map(str, signal)))
    *_, doubt = open_one(path, RATE_HZ).lead().doubts
    assert "spans 501 mV: it has artefacts, or is not in mV" in doubt


def test_a_lead_that_was_off_is_doubted_where_its_unit_is_stated(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, "24", leads={"II": LEADS["II"] / 500})
    (doubt,) = open_one(path).lead().doubts
    assert "its unit is another one, or no ECG was recorded" in doubt


def test_a_file_that_may_not_be_read_is_a_matter_of_permissions() -> None:
    with unprivileged() as folder:
        path = write_csv(folder)
        path.chmod(0)
        with pytest.raises(ResourceError, match="permission"):
            open_one(path, RATE_HZ)


def test_edf_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "edfio", None)
    with pytest.raises(CommanderError, match="pip install edfio"):
        open_one(written(tmp_path / "a.edf", ""))
