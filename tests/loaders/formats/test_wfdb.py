"""WFDB: each record that wfdb reads has the same samples, in pieces too; others are refused by name and field."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb

from helpers.servers import unprivileged
from helpers.wfdb_records import ecg_like, spoil, write_record
from loaders.files.archives import unpacked
from loaders.formats import wfdb as records
from loaders.formats import wfdb_header
from loaders.formats.lead_names import is_arbitrary, millivolts
from loaders.formats.recording import Recording, leads_of
from loaders.formats.recordings import find, open_recording
from loaders.formats.wfdb import read_record
from toolbox.errors import DataError, ResourceError

RATE_HZ, SAMPLES = 250, 1000
STEPS = np.round(100 * np.sin(np.arange(SAMPLES)[:, None] / (9.0, 30.0))).astype(np.int64)
NAMES = ["II", "V5"]
WRITTEN = ("80", "212", "16", "24", "32", "508", "516", "524")  # by wfdb
BY_HAND = ("8", "61", "160", "310", "311")


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


@pytest.mark.parametrize("form", WRITTEN + BY_HAND)
def test_a_format_has_the_samples_of_wfdb(tmp_path: Path, form: str) -> None:
    recording = same_as_wfdb(write(tmp_path, form) if form in WRITTEN else by_hand(tmp_path, form))
    k = len(recording.leads) - 1
    np.testing.assert_allclose(recording.read(k, 0, SAMPLES), (STEPS[:, k] - 3) / 200)


@pytest.mark.parametrize("form", ["16", "212"])
@pytest.mark.parametrize(("leads", "frame"), [(1, 1), (3, 1), (4, 1), (3, 2), (3, 3)])
def test_leads_between_others_have_the_samples_of_wfdb(tmp_path: Path, form: str, leads: int, frame: int) -> None:
    """Two samples of format 212 share a byte: a frame may begin with either. The second lead has `frame` samples."""
    names, frames = [f"V{k}" for k in range(1, leads + 1)], SAMPLES // 10
    steps = np.resize(STEPS, (frames, leads - 1 + frame))
    path = write(tmp_path, form, steps=steps, names=[f"V{k}" for k in range(1, steps.shape[1] + 1)])
    how = [f"{form}x{frame}" if k == 1 else form for k in range(leads)]
    lines = [f"r1.dat {each} 200(3)/mV 12 0 0 0 0 {name}" for each, name in zip(how, names, strict=True)]
    path.write_text("\n".join([f"r1 {leads} {RATE_HZ} {frames}", *lines, ""]))
    same_as_wfdb(path)


@pytest.mark.parametrize("form", ["16", "212"])
def test_a_file_that_becomes_shorter_is_named(tmp_path: Path, form: str) -> None:
    recording = open_recording(write(tmp_path, form))
    os.truncate(tmp_path / "r1.dat", 1000)
    with pytest.raises(DataError, match=r"r1.dat has become shorter"):
        recording.read(0, 0, SAMPLES)


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
        open_recording(path).lead("II")


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
def test_annotations_are_placed_by_their_time_resolution(tmp_path: Path, fs: float | None, placed: list[int]) -> None:
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


# Records that are refused

# What is replaced in the header "202 1 360 1440 / 202.dat 212 200(0)/mV 12 0 34 -17513 0 MLII", and what the error says
# of it.
EDITS = {
    "of another record": ("202 1", "201 1", "that of record '201'"),
    "of segments": ("202 1", "202/1 1", "segments"),
    "no number of leads": ("202 1 360 1440", "202", "number of leads is ''"),
    "a million leads": ("202 1", "202 1000000", "number of leads is '1000000', 1 are described"),
    "no leads": ("202 1", "202 0", "number of leads is '0'"),
    "no rate": (" 360 1440", "", "rate is ''"),
    "a rate of zero": ("360", "0", "rate is '0'"),
    "a rate of text": ("360", "fast", "rate is 'fast'"),
    "a huge rate": ("360", "1000000000", "rate is '1000000000'"),
    "samples of text": ("1440", "many", "number of samples is 'many'"),
    "too many samples": ("1440", "1441", "room for 1440 samples of each lead, the header says 1441"),
    "a thousand digits of samples": ("1440", "9" * 10_000, "integer string conversion"),
    "fewer samples than have the checksum": ("1440", "1400", "does not have the checksum"),
    "a file above": ("202.dat", "../202.dat", "file of lead 1 is '../202.dat'"),
    "a file elsewhere": ("202.dat", "elsewhere.dat", "elsewhere.dat is missing or no plain file"),
    "no file": ("202.dat ", "", "format of lead 1 is '200"),
    "an unknown format": ("212", "213", "format of lead 1 is '213', not one of 8 16 24"),
    "a compressed format of what is not compressed": ("212", "516", "202.dat is no FLAC file"),
    "a million samples a frame": ("212", "212x999999", "rate is '360'"),
    "a thousand samples a frame": ("212", "212x200", "room for 7 samples"),
    "no samples a frame": ("212", "212x0", "format of lead 1 is '212x0'"),
    "a long skew": ("212", "212:999999999", "lead 1 is skewed"),
    "a far offset": ("212", "212+999999999999999", "no whole sample of each lead"),
    "a skew that leaves nothing whole": ("212", "212:7", "samples of lead 1 are missing"),
    "a gain of zero": ("200(0)", "0(0)", "gain of lead 1 is 0 or not stated"),
    "a gain of text": ("200(0)", "high", "described as .* not as file, format, gain"),
    "no gain and all after it": (" 200(0)/mV 12 0 0 17916 0 MLII", "", "gain of lead 1 is 0 or not stated"),
    "a field that is no number": (" 12 0 0", " 12 x 0", "described as .* not as file, format, gain"),
}


def refuse(header: Path, says: str) -> DataError:
    """Reading the record fails with one line that names it and says so."""
    with pytest.raises(DataError, match=f"record {header.stem} cannot be read, .*{says}") as caught:
        read_record(header, "MLII")
    assert caught.value.where == str(header)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


@pytest.mark.parametrize(("old", "new", "says"), EDITS.values(), ids=EDITS)
def test_a_header_that_does_not_fit_is_refused_by_the_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    header = write_record(tmp_path, "202")
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new, 1))
    refuse(header, says)


@pytest.mark.parametrize(("content", "says"), [
    (b"", "header: it is empty"),
    (b"# only a comment\n\n", "header: it is empty"),
    (b"\xff\xfe2\x000\x002\x00", "header: it is no text in ASCII or UTF-8"),
    (bytes(range(32)) * 100, "header: "),
    (b"1" * 60_000, "header: it is that of record '1"),
    (b"202 1 360\n" * 110_000, "header: 202.hea has more than 1048576 bytes"),
    (b"202 1 360 1440 \x1b[31m\n202.dat 212 \x1b[31m\n", "header: lead 1 is described as"),
], ids=["empty", "comment", "UTF-16", "control characters", "one long word", "too large", "escapes"])  # fmt: skip
def test_a_file_that_is_no_header_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    header = write_record(tmp_path, "202")
    header.write_bytes(content)
    assert "\x1b" not in str(refuse(header, says))


def test_comments_may_be_in_any_encoding(tmp_path: Path) -> None:
    header = write_record(tmp_path)
    expected = read_record(header, "MLII")[0]
    header.write_bytes(header.read_bytes() + "# Müller, ♥\n".encode() + b"# M\xfcller\r\n")
    np.testing.assert_array_equal(read_record(header, "MLII")[0], expected)


SPOILT = {
    "no .dat": r"signal: \S+.dat is missing or no plain file",
    "an empty .dat": "signal: .* no whole sample of each lead",
    "half a .dat": "signal: .* has room for",
    "a .dat one byte short": "signal: .* has room for",
    "half a .dat and no length in the header": "signal: .* checksum",
    "a changed byte": "signal: .* checksum",
    "missing samples": "signal: .* checksum",
    "a pipe for a .dat": r"signal: \S+.dat is missing or no plain file",
    "no .atr": r"annotations: \S+.atr is missing or no plain file",
    "an empty .atr": r"annotations: \S+.atr is cut off",
    "an .atr without its end": r"annotations: \S+.atr is cut off",
    "half an annotation": r"annotations: \S+.atr is cut off",
    "an .atr of something else": "annotations: ",
    "a huge .atr": "annotations: .* more than 4194304 bytes",
    "a pipe for an .atr": r"annotations: \S+.atr is missing or no plain file",
    "annotations past the end": "annotations: they reach from sample .*, the signal has",
    "annotations before the begin": "annotations: they reach from sample -",
    "annotations out of order": "annotations: they are not in the order of time",
}


@pytest.mark.parametrize(("what", "says"), SPOILT.items(), ids=SPOILT)
def test_a_record_that_is_not_whole_is_refused_by_the_part(tmp_path: Path, what: str, says: str) -> None:
    header = write_record(tmp_path, "202")
    spoil(header, what)
    refuse(header, says)


def test_missing_samples_are_found_without_a_checksum(tmp_path: Path) -> None:
    header = write_record(tmp_path)
    spoil(header, "missing samples")
    fields = header.read_text().split(" ")
    header.write_text(" ".join([*fields[:-3], "0", *fields[-2:]]))
    refuse(header, "signal: samples of lead 1 are missing")


def test_leads_of_one_file_that_differ_in_format_are_refused(tmp_path: Path) -> None:
    header = write_record(tmp_path, leads={"MLII": ecg_like(), "V1": ecg_like()})
    before, _, after = header.read_text().rpartition(" 212 ")
    header.write_text(f"{before} 16 {after}")
    refuse(header, "differ in format")


@pytest.mark.parametrize("suffix", [".hea", ".dat", ".atr"])
def test_a_file_that_may_not_be_read_is_a_resource_error_that_names_it(suffix: str) -> None:
    with unprivileged() as folder:
        header = write_record(folder, "202")
        header.with_suffix(suffix).chmod(0)
        with pytest.raises(ResourceError, match="no permission to read record 202") as caught:
            read_record(header, "MLII")
    assert caught.value.where == str(header.with_suffix(suffix))
