"""EDF and BDF: every signal at its own rate, pauses kept, what is whole of a file that was cut off; faulty fields are
named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loaders.formats import edf
from loaders.formats.edf import open_edf
from loaders.formats.recording import leads_of
from toolbox.errors import DataError

edfio = pytest.importorskip("edfio")

RECORDS, RATE_HZ = 10, 200
ECG = np.sin(np.arange(RECORDS * RATE_HZ) / 9.0)


def write(
    folder: Path, *, ending: str = "edf", unit: str = "mV", factor: float = 1.0, annotations: bool = False
) -> Path:
    """An EEG of 256 Hz and an ECG of 200 Hz, in data records of a second."""
    signal = edfio.BdfSignal if ending == "bdf" else edfio.EdfSignal
    eeg = signal(
        np.cos(np.arange(RECORDS * 256) / 5.0), 256, label="EEG Fp1", physical_dimension="uV", physical_range=(-2, 2)
    )
    ecg = signal(ECG * factor, RATE_HZ, label="II", physical_dimension=unit, physical_range=(-2 * factor, 2 * factor))
    file, how = (edfio.Bdf if ending == "bdf" else edfio.Edf), {"annotations": []} if annotations else {}
    path = folder / f"r1.{ending}"
    file([eeg, ecg], data_record_duration=1, **how).write(path)
    return path


def edit(path: Path, field: str, text: str, signal: int | None = None) -> Path:
    """Write a field of the header, of a signal where its number is given."""
    content, widths = bytearray(path.read_bytes()), edf.FILE if signal is None else edf.SIGNAL
    count = int(content[252:256])
    place, width = (8 if signal is None else 256), widths[field]
    for name, own in widths.items():
        if name == field:
            break
        place += own * (1 if signal is None else count)
    place += width * (signal or 0)
    content[place : place + width] = text.encode("latin-1").ljust(width)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("ending", ["edf", "bdf", "rec"])
def test_every_signal_has_its_own_rate(tmp_path: Path, ending: str) -> None:
    recording = open_edf(write(tmp_path, ending=ending))
    assert recording.leads == ("EEG Fp1", "II")
    assert recording.shapes == ((256, RECORDS * 256), (RATE_HZ, RECORDS * RATE_HZ))
    (lead,) = leads_of(recording, ("MLII",), None)
    assert (lead.name, lead.rate_hz, lead.samples) == ("II", RATE_HZ, RECORDS * RATE_HZ)
    np.testing.assert_allclose(lead.read(0, lead.samples), ECG, atol=1e-4)
    np.testing.assert_array_equal(lead.read(333, 1501), lead.read(0, lead.samples)[333:1501])
    assert recording.timed_as(lead).rate_hz == RATE_HZ


@pytest.mark.parametrize(
    ("unit", "factor"), [("uV", 1000), ("\xb5V", 1000), ("\xc2\xb5V", 1000), ("V", 0.001), ("mV", 1)]
)
def test_a_unit_is_known_in_latin_1_and_utf_8(tmp_path: Path, unit: str, factor: float) -> None:
    path = edit(write(tmp_path, factor=factor), "unit", unit, 1)
    np.testing.assert_allclose(open_edf(path).lead("II").read(0, 2000), ECG, atol=1e-3)


def test_a_signal_without_a_unit_is_taken_for_mv_with_a_doubt(tmp_path: Path) -> None:
    recording = open_edf(edit(write(tmp_path), "unit", "", 1))
    assert recording.lead("II").doubts == ("r1 states no unit of lead II; mV is assumed, --unit changes this",)
    lead = recording.lead("II", unit="100/mV")
    np.testing.assert_allclose(lead.read(0, 2000), ECG / 100, atol=1e-4)


def test_a_number_of_records_of_minus_1_is_that_of_the_file(tmp_path: Path) -> None:
    recording = open_edf(edit(write(tmp_path), "records", "-1"))
    assert (recording.shapes[1][1], recording.doubts) == (RECORDS * RATE_HZ, ())


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda path: path.write_bytes(path.read_bytes()[:-700]), "states 10 data records, the file has 9 whole ones"),
    (lambda path: edit(path, "records", "8"), "states 8 data records, the file has 10 whole ones"),
    (lambda path: edit(path, "records", "12"), "states 12 data records, the file has 10 whole ones"),
], ids=["cut off", "not closed", "records missing"])  # fmt: skip
def test_whole_data_records_are_read_with_a_doubt(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    path = write(tmp_path)
    spoil(path)
    recording = open_edf(path)
    assert says in recording.doubts[0]
    lead = recording.lead("II")
    np.testing.assert_allclose(lead.read(0, lead.samples), ECG[: lead.samples], atol=1e-4)


FAULTS = {
    "a decimal comma": (("physical minimum", "-2,0", 1), "the physical minimum of signal 'II' is '-2,0', no number"),
    "an empty maximum": (("physical maximum", "", 1), "the physical maximum of signal 'II' is '', no number"),
    "an infinite maximum": (("physical maximum", "inf", 1), "the physical maximum of signal 'II' is 'inf', no number"),
    "an empty physical range": (
        ("physical maximum", "-2", 1), "the physical range of signal 'II' is -2 to -2, which is empty"
    ),
    "an empty digital range": (
        ("digital maximum", "-32768", 1), "the digital range of signal 'II' is -32768 to -32768"
    ),
    "a digital range of text": (
        ("digital minimum", "low", 1), "the digital minimum of signal 'II' is 'low', no number"
    ),
    "a duration of 0": (("duration", "0"), "a data record has a duration of '0' s"),
    "a duration of text": (("duration", "one"), "a data record has a duration of 'one' s"),
    "no samples": (("samples", "0", 1), "the samples of signal 'II' is '0'"),
    "no signals": (("signals", "0"), "the number of signals is '0'"),
    "another header": (("bytes", "512"), "its header of 2 signals has 512 bytes, not 768"),
    "records of text": (("records", "many"), "the number of data records is 'many'"),
    "a unit that counts": (("unit", "bits", 1), "lead II is in 'bits', which is no unit of voltage"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_field_that_cannot_be_is_named(tmp_path: Path, fault: str) -> None:
    edits, says = FAULTS[fault]
    with pytest.raises(DataError) as caught:
        open_edf(edit(write(tmp_path), *edits)).lead("II")
    assert says in str(caught.value)


def test_a_fault_of_a_signal_that_is_not_taken_does_not_matter(tmp_path: Path) -> None:
    path = edit(write(tmp_path), "physical minimum", "-2,0", 0)
    assert open_edf(path).lead().name == "II"


def test_pauses_between_data_records_are_gaps(tmp_path: Path) -> None:
    """The last of ten records goes, and those before it from the eighth on begin a second later."""
    path = edit(edit(write(tmp_path, annotations=True), "reserved", "EDF+D"), "records", "9")
    content = path.read_bytes()
    content = content[: -(len(content) - 4 * 256) // RECORDS]
    path.write_bytes(content.replace(b"+8\x14\x14", b"+9\x14\x14").replace(b"+7\x14\x14", b"+8\x14\x14"))
    recording = open_edf(path)
    lead = recording.lead("II")
    assert (lead.samples, lead.gaps.tolist(), recording.doubts) == (2000, [[1400, 1600]], ())
    np.testing.assert_allclose(lead.read(1600, 2000), ECG[1400:1800], atol=1e-4)
    np.testing.assert_allclose(lead.read(1300, 1400), ECG[1300:1400], atol=1e-4)


def test_data_records_that_overlap_or_have_no_time_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, annotations=True)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"+7\x14\x14", b"+6\x14\x14"))
    with pytest.raises(DataError, match="data record 8 starts at 6 s, before record 7 ends"):
        open_edf(path)
    path.write_bytes(content.replace(b"+7\x14\x14", b"\0\0\0\0"))
    assert open_edf(path).shapes[1] == (RATE_HZ, 2000)  # continuous as its header says
    with pytest.raises(DataError, match=r"it has pauses \(EDF\+D\), and data record 8 does not state its start"):
        open_edf(edit(path, "reserved", "EDF+D"))


def test_an_edf_without_an_ecg_is_refused_with_its_leads(tmp_path: Path) -> None:
    path = edit(write(tmp_path), "label", "RESP", 1)
    with pytest.raises(DataError, match=r"no lead has the name of an ECG: EEG Fp1, RESP.*--leads"):
        leads_of(open_edf(path), ("MLII",), None)
    (lead,) = leads_of(open_edf(path), ("MLII",), "RESP")
    assert lead.doubts == ("lead RESP of r1 is no ECG by its name",)
