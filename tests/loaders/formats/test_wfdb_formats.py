"""Every record that wfdb reads is read with the same samples, in pieces too; what it would misread is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb

from loaders.files.archives import unpacked
from loaders.formats import wfdb as records
from loaders.formats import wfdb_header
from loaders.formats.lead_names import is_arbitrary, millivolts
from loaders.formats.recording import Recording, leads_of
from loaders.formats.recordings import find, open_recording
from toolbox.errors import DataError

RATE_HZ, SAMPLES = 250, 1000
STEPS = np.round(100 * np.sin(np.arange(SAMPLES)[:, None] / (9.0, 30.0))).astype(np.int64)
NAMES = ["II", "V5"]
WRITTEN = ("80", "212", "16", "24", "32", "508", "516", "524")  # by wfdb; the others by hand


def write(
    folder: Path, form: str = "16", name: str = "r1", *, steps: np.ndarray = STEPS, names: list[str] = NAMES
) -> Path:
    count = steps.shape[1]
    how = {"fmt": [form] * count, "adc_gain": [200.0] * count, "baseline": [3] * count, "units": ["mV"] * count}
    wfdb.wrsamp(name, RATE_HZ, d_signal=steps, sig_name=names, write_dir=str(folder), **how)
    return folder / f"{name}.hea"


def packed(steps: np.ndarray, form: str) -> bytes:
    """Samples of one lead as signal(5) has them."""
    if form == "8":
        return np.diff(steps, prepend=steps[0]).astype(np.int8).tobytes()
    if form in ("61", "160"):
        return (steps.astype(">i2") if form == "61" else (steps + 2**15).astype("<u2")).tobytes()
    three = np.pad(steps, (0, -len(steps) % 3)).reshape(-1, 3) & 0x3FF  # ten bits each, in four bytes
    if form == "311":
        words = three[:, 0] | three[:, 1] << 10 | three[:, 2] << 20
    else:
        first, second, third = three.T
        low, high = first << 1 | (third & 0x1F) << 11, second << 1 | (third >> 5) << 11
        words = low | high << 16
    return words.astype("<u4").tobytes()


def by_hand(folder: Path, form: str) -> Path:
    steps, total = STEPS[:, 0], int(STEPS[:, 0].sum()) % 2**16
    (folder / "r1.dat").write_bytes(packed(steps, form))
    line = f"r1.dat {form} 200(3)/mV 12 0 {steps[0]} {total} 0 II"
    (folder / "r1.hea").write_text(f"r1 1 {RATE_HZ} {SAMPLES}\n{line}\n")
    return folder / "r1.hea"


def same_as_wfdb(path: Path) -> Recording:
    """The recording of a header, once each of its leads has the samples of wfdb and their sum."""
    recording, known = open_recording(path), wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
    numbers = [k for k, unit in enumerate(known.units) if millivolts(unit) is not None or is_arbitrary(unit)]
    assert len(recording.leads) == len(numbers)
    for k, number in enumerate(numbers):
        recording.check(k)
        values = known.e_p_signal[number] * (millivolts(known.units[number]) or 1)
        assert recording.shapes[k] == (known.fs * known.samps_per_frame[number], len(values))
        for first, last in (
            (0, len(values)),
            (0, 1),
            (len(values) // 3 + 1, len(values) // 2 + 2),
            (len(values) - 1, len(values)),
        ):
            np.testing.assert_array_equal(recording.read(k, first, last), values[first:last])
    return recording


@pytest.mark.parametrize("form", WRITTEN)
def test_a_format_has_the_samples_of_wfdb(tmp_path: Path, form: str) -> None:
    recording = same_as_wfdb(write(tmp_path, form))
    np.testing.assert_allclose(recording.read(1, 0, SAMPLES), (STEPS[:, 1] - 3) / 200)


@pytest.mark.parametrize("form", ["8", "61", "160", "310", "311"])
def test_a_format_that_wfdb_does_not_write_has_its_samples_too(tmp_path: Path, form: str) -> None:
    recording = same_as_wfdb(by_hand(tmp_path, form))
    np.testing.assert_allclose(recording.read(0, 0, SAMPLES), (STEPS[:, 0] - 3) / 200)


def test_the_records_that_wfdb_is_tested_with_have_its_samples(shared: Callable[[str], Path]) -> None:
    """Several files a record, samples a frame, skew, segments, leads in no volts between others."""
    with unpacked(shared("wfdb-format-samples.zip")) as folder:
        headers = sorted(folder.rglob("*.hea"))
        assert len(headers) > 20
        for path in headers:
            path.write_bytes(path.read_bytes().replace("/°".encode("latin-1"), b"/degrees"))  # which wfdb takes for mV
            same_as_wfdb(path)


def test_several_samples_a_frame_have_their_own_rate_and_annotations_are_placed_at_it(tmp_path: Path) -> None:
    path = write(tmp_path, steps=STEPS.reshape(-1, 4), names=["a", "b", "c", "d"])
    path.write_text(f"r1 2 {RATE_HZ} 500\nr1.dat 16x3 200(3)/mV 12 0 0 0 0 II\nr1.dat 16 200(3)/mV 12 0 0 0 0 V5\n")
    wfdb.wrann("r1", "atr", np.array([10, 499]), symbol=["N", "V"], write_dir=str(tmp_path))
    recording = same_as_wfdb(path)
    assert recording.shapes[0] == (3 * RATE_HZ, 3 * 500)
    (lead,) = leads_of(recording, ("II",), None)
    assert recording.timed_as(lead).reference[1].tolist() == [30, 1497]
    assert records.marks(path, lead.rate_hz, lead.samples, frames_hz=RATE_HZ)[1].tolist() == [30, 1497]
    with pytest.raises(DataError, match="the leads of one network must have one rate, here II at 750 Hz, V5 at 250 Hz"):
        leads_of(recording, ("II", "V5"), None)


def test_a_skewed_lead_is_moved_and_its_end_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(re.sub(r"16 (\S+) 16 (.*) V5", r"16:7 \1 16 \2 V5", path.read_text()))
    recording = same_as_wfdb(path)
    assert np.isnan(recording.read(1, SAMPLES - 9, SAMPLES)).tolist() == [False] * 2 + [True] * 7
    path.write_text(path.read_text().replace("16:7", f"16:{SAMPLES}"))
    with pytest.raises(DataError, match="lead 1 is skewed by 1000 samples of 1000"):
        open_recording(path)


def segmented(folder: Path, *, gain: int = 200) -> Path:
    for k, half in enumerate(np.split(STEPS, 2), 1):
        write(folder, name=f"m_{k}", steps=half)
    second = folder / "m_2.hea"
    second.write_text(second.read_text().replace("200.0(3)", f"{gain}.0(3)"))
    (folder / "m.hea").write_text(f"m/2 2 {RATE_HZ} {SAMPLES} 08:26:04 26/10/1994\nm_1 500\nm_2 500\n")
    return folder / "m.hea"


def test_segments_of_one_layout_are_one_recording(tmp_path: Path) -> None:
    recording = same_as_wfdb(segmented(tmp_path, gain=400))
    assert (recording.samples, str(recording.start)) == (SAMPLES, "1994-10-26 08:26:04")
    np.testing.assert_allclose(recording.read(0, 498, 502) * (200, 200, 400, 400), STEPS[498:502, 0] - 3)
    assert find(tmp_path) == [tmp_path / "m.hea"]


def test_segments_of_several_layouts_have_gaps_where_a_lead_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, name="m_1", steps=STEPS[:500, :1], names=["V5"])
    write(tmp_path, name="m_2", steps=STEPS[:200])
    layout = f"m_layout 2 {RATE_HZ} 0\n~ 0 200/mV 12 0 0 0 0 II\n~ 0 200/mV 12 0 0 0 0 V5\n"
    (tmp_path / "m_layout.hea").write_text(layout)
    (tmp_path / "m.hea").write_text(f"m/4 2 {RATE_HZ} {SAMPLES}\nm_layout 0\nm_1 500\n~ 300\nm_2 200\n")
    recording = same_as_wfdb(tmp_path / "m.hea")
    assert recording.lead("II").gaps.tolist() == [[0, 800]]
    assert recording.lead("V5").gaps.tolist() == [[500, 800]]
    assert find(tmp_path) == [tmp_path / "m.hea"]


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (
            "m_2",
            f"{RATE_HZ} 500",
            f"{RATE_HZ} 499",
            "segment m_2: its header says 499 samples at 250.0 Hz, not 500 at 250.0 Hz",
        ),
        ("m_2", f" {RATE_HZ} ", " 360 ", "segment m_2: its header says 500 samples at 360.0 Hz"),
        ("m_2", "V5", "V6", "its segments differ in their leads: II, V6 in m_2"),
        ("m", f" {SAMPLES}", " 999", "its segments have 1000 samples, the header says 999"),
        ("m", "m/2", "m/3", "it has 2 segments of 3 that it states"),
        ("m", "m_2 500", "m_3 500", "segment m_3: m_3.hea is missing"),
        ("m", "m_1 500", "m_1 many", "it has 2 segments of 2 that it states"),
    ],
)
def test_segments_that_do_not_fit_are_named(tmp_path: Path, name: str, old: str, new: str, says: str) -> None:
    path, header = segmented(tmp_path), tmp_path / f"{name}.hea"
    assert old in header.read_text()
    header.write_text(header.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=says):
        open_recording(path)


def test_a_segment_with_another_sum_than_it_states_is_refused(tmp_path: Path) -> None:
    path = segmented(tmp_path)
    data = bytearray((tmp_path / "m_2.dat").read_bytes())
    data[4] ^= 1
    (tmp_path / "m_2.dat").write_bytes(data)
    with pytest.raises(DataError, match=r"lead 1 in m_2.dat does not have the checksum"):
        open_recording(path).lead("II")


LINE = r"200.0\(3\)/mV 16 0 \S+ \S+ 0 "
# What is put in place of a part of the header, the names of the leads, and what is doubted.
VARIANTS: dict[str, tuple[str, str, tuple[str, str], str]] = {
    "no length": (f"{RATE_HZ} {SAMPLES}", f"{RATE_HZ}", ("II", "V5"), ""),
    "a length of 0": (f"{RATE_HZ} {SAMPLES}", f"{RATE_HZ} 0", ("II", "V5"), ""),
    "a path for a name": ("r1 2", "db/p1/r1 2", ("II", "V5"), ""),
    "a path of digits": ("r1 2", "db/17/r1 2", ("II", "V5"), ""),
    "a counter and its base": (f" {RATE_HZ} ", f" {RATE_HZ}/360(10) ", ("II", "V5"), ""),
    "a rate with a point": (f" {RATE_HZ} ", f" {RATE_HZ}. ", ("II", "V5"), ""),
    "a year for a time": (f" {SAMPLES}", f" {SAMPLES} 2006", ("II", "V5"), "time and date are '2006'"),
    "a date of another form": (f" {SAMPLES}", f" {SAMPLES} 10:00:00 2006-01-02", ("II", "V5"), "10:00:00 2006-01-02"),
    "a time alone": (f" {SAMPLES}", f" {SAMPLES} 10:00", ("II", "V5"), ""),
    "no description": (f"({LINE})II", r"\1", ("lead 1", "V5"), ""),
    "a name in UTF-8": (f"({LINE})II", r"\1Ableitung Ⅱ, Müller", ("Ableitung Ⅱ, Müller", "V5"), ""),
    "no unit": (r"\)/mV", ")", ("II", "V5"), ""),
    "a name right after the gain": (f"{LINE}II", "200(3)/mV II", ("II", "V5"), ""),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_header_that_leaves_out_or_adds_something_has_the_same_samples(tmp_path: Path, variant: str) -> None:
    old, new, names, doubt = VARIANTS[variant]
    path = write(tmp_path)
    text, changed = re.subn(old, new, path.read_text(), count=1)
    assert changed
    path.write_text(text, encoding="utf-8")
    recording = open_recording(path)
    assert (recording.leads, recording.samples, recording.rate_hz) == (names, SAMPLES, RATE_HZ)
    assert doubt in " ".join(recording.doubts)
    assert bool(doubt) == bool(recording.doubts)
    np.testing.assert_array_equal(recording.read(0, 300, 700), (STEPS[300:700, 0] - 3) / 200)


@pytest.mark.parametrize("gain", ["", " 0", " 0 16 0"])
def test_without_a_gain_200_steps_are_a_mv_and_that_is_doubted(tmp_path: Path, gain: str) -> None:
    path = write(tmp_path, steps=STEPS[:, :1], names=["II"])
    path.write_text(f"r1 1 {RATE_HZ}\nr1.dat 16{gain}\n")
    recording = open_recording(path)
    np.testing.assert_array_equal(recording.read(0, 0, SAMPLES), STEPS[:, 0] / 200)
    assert recording.doubts == ("the header states no gain of lead 1; 200 steps a mV are assumed, as WFDB does",)
    (lead,) = leads_of(recording, ("MLII",), None)
    assert "lead 1, which may not be an ECG, by its name" in lead.doubts[0]


def test_a_negative_gain_turns_the_lead(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace("200.0(3)", "-200.0(3)", 1))
    np.testing.assert_array_equal(same_as_wfdb(path).read(0, 0, SAMPLES), (3 - STEPS[:, 0]) / 200)


@pytest.mark.parametrize("rate", ["2.5e2", "250,0", "0x10", "-250", "250Hz"])
def test_a_rate_that_wfdb_would_take_for_another_is_refused(tmp_path: Path, rate: str) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace(f" {RATE_HZ} ", f" {rate} ", 1))
    with pytest.raises(DataError, match=f"the sampling rate is '{re.escape(rate)}'"):
        open_recording(path)


def test_a_lead_in_steps_needs_its_unit(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace("200.0(3)/mV", "1(0)/adu"))
    with pytest.raises(DataError, match=r"lead II is in 'adu', which is no unit of voltage.*--unit"):
        open_recording(path).lead("II")
    lead = open_recording(path).lead("II", unit="200/mV")
    np.testing.assert_allclose(lead.read(0, SAMPLES), STEPS[:, 0] / 200)


def test_an_annotation_past_the_end_leaves_the_signal_and_is_doubted(tmp_path: Path) -> None:
    path = write(tmp_path)
    wfdb.wrann("r1", "atr", np.array([10, 500, SAMPLES]), symbol=["N", "V", "N"], write_dir=str(tmp_path))
    recording = open_recording(path)
    assert recording.reference is None
    assert "1 of 3 annotations in r1.atr are after the end of the signal" in recording.doubts[0]


@pytest.mark.parametrize(("fs", "placed"), [(500, [5, 250, 999]), (125, [20, 1000, 3998]), (None, [10, 500, 1999])])
def test_annotations_are_placed_by_their_own_time_resolution(
    tmp_path: Path, fs: float | None, placed: list[int]
) -> None:
    path = write(tmp_path)
    wfdb.wrann(
        "r1",
        "qrs",
        np.array([10, 500, 1999]),
        symbol=["N", "V", "N"],
        write_dir=str(tmp_path),
        **({"fs": fs} if fs else {}),
    )
    assert records.marks(path, RATE_HZ, SAMPLES, "qrs")[1].tolist() == placed


@pytest.mark.parametrize(("begin", "version"), [(b"MATLAB 5.0 MAT-file", "5"), (b"MATLAB 7.3 MAT-file", "7.3")])
def test_a_mat_file_of_another_version_is_named(tmp_path: Path, begin: bytes, version: str) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace("r1.dat", "r1.mat"))
    (tmp_path / "r1.mat").write_bytes(begin.ljust(8000))
    with pytest.raises(DataError, match=f"r1.mat is a MAT file of version {version}; saved as version 4"):
        open_recording(path)


def test_a_compressed_signal_file_is_pointed_at(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.with_suffix(".dat").rename(tmp_path / "r1.dat.gz")
    with pytest.raises(DataError, match=r"r1.dat is missing or no plain file; r1.dat.gz is there, unpack it"):
        open_recording(path)


def test_a_header_of_many_segments_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "m.hea"
    path.write_text("m/1 1 250 1000\n" + "x" * wfdb_header.LARGEST)
    with pytest.raises(DataError, match=r"m.hea has more than 1048576 bytes"):
        open_recording(path)
