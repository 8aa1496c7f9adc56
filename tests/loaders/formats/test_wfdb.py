"""A record whose header, signal and annotations do not fit each other is refused, by its name and the field that is
wrong."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb

from helpers.data import MITDB_ZIP
from helpers.servers import unprivileged
from helpers.wfdb_records import ecg_like, spoil, write_record
from loaders.formats.wfdb import read_record
from toolbox.errors import DataError, ResourceError

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
    "a negative rate": ("360", "-360", "rate is '-360'"),
    "a rate of text": ("360", "fast", "rate is 'fast'"),
    "a tiny rate": ("360", "0.001", "rate is '0.001'"),
    "a huge rate": ("360", "1000000000", "rate is '1000000000'"),
    "a rate as no header writes it": ("360", "3.6e2", "rate is '3.6e2'"),
    "a rate with a comma": ("360", "360,5", "rate is '360,5'"),
    "samples of text": ("1440", "many", "number of samples is 'many'"),
    "too many samples": ("1440", "1441", "room for 1440 samples of each lead, the header says 1441"),
    "a trillion samples": ("1440", "1000000000000", "room for 1440 samples"),
    "a thousand digits of samples": ("1440", "9" * 10_000, "integer string conversion"),
    "fewer samples than have the checksum": ("1440", "1400", "does not have the checksum"),
    "a file above": ("202.dat", "../202.dat", "file of lead 1 is '../202.dat'"),
    "a file of the system": ("202.dat", "/etc/passwd", "file of lead 1 is '/etc/passwd'"),
    "a file elsewhere": ("202.dat", "elsewhere.dat", "elsewhere.dat is missing or no plain file"),
    "no file": ("202.dat ", "", "format of lead 1 is '200"),
    "an unknown format": ("212", "213", "format of lead 1 is '213', not one of 8 16 24"),
    "a format of text": ("212", "raw", "format of lead 1 is 'raw'"),
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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "header: it is empty"),
        (b"# only a comment\n\n", "header: it is empty"),
        (b"\xff\xfe2\x000\x002\x00", "header: it is no text in ASCII or UTF-8"),
        (bytes(range(32)) * 100, "header: "),
        (b"1" * 60_000, "header: it is that of record '1"),
        (b"202 1 360\n" * 110_000, "header: 202.hea has more than 1048576 bytes"),
        (b"202 1 360 1440 \x1b[31m\n202.dat 212 \x1b[31m\n", "header: lead 1 is described as"),
    ],
    ids=["empty", "comment", "UTF-16", "control characters", "one long word", "too large", "escapes"],
)
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


@pytest.fixture(scope="module")
def real(shared: Callable[[str], Path]) -> dict[str, bytes]:
    """The files of record 208 of the MIT-BIH database."""
    with zipfile.ZipFile(shared(MITDB_ZIP)) as archive:
        return {Path(name).name: archive.read(name) for name in archive.namelist() if Path(name).stem == "208"}


@pytest.mark.parametrize(("what", "says"), SPOILT.items(), ids=SPOILT)
def test_a_real_record_that_was_damaged_is_refused_by_the_part(
    real: dict[str, bytes], tmp_path: Path, what: str, says: str
) -> None:
    for name, content in real.items():
        (tmp_path / name).write_bytes(content)
    read_record(tmp_path / "208.hea", "MLII")
    spoil(tmp_path / "208.hea", what)
    refuse(tmp_path / "208.hea", says)


def test_missing_samples_are_found_without_a_checksum(tmp_path: Path) -> None:
    header = write_record(tmp_path)
    spoil(header, "missing samples")
    fields = header.read_text().split(" ")
    header.write_text(" ".join([*fields[:-3], "0", *fields[-2:]]))
    refuse(header, "signal: samples of lead 1 are missing")


def test_a_record_without_its_length_and_checksum_has_that_of_its_file(tmp_path: Path) -> None:
    header = write_record(tmp_path)
    header.write_text(header.read_text().replace(" 1440\n", "\n"))
    assert read_record(header, "MLII")[0].shape == (1440,)


def test_annotations_in_a_time_resolution_of_their_own_are_placed_at_the_rate_of_the_signal(tmp_path: Path) -> None:
    header = write_record(tmp_path)
    wfdb.wrann("1", "atr", np.array([10, 1000, 2879]), symbol=["N", "V", "N"], fs=720, write_dir=str(tmp_path))
    assert read_record(header, "MLII")[3].tolist() == [5, 500, 1439]


def test_what_a_header_may_leave_out_or_spell_otherwise_changes_no_sample(tmp_path: Path) -> None:
    header = write_record(tmp_path)
    expected, text = read_record(header, "MLII")[0], header.read_text()
    for old, new in (
        (" 1440\n", " 0\n"),
        (" 1440\n", " 1440 2006\n"),
        ("1 1 ", "folder/1 1 "),
        ("MLII", "MLII°"),
        ("/mV", ""),
        ("/mV", "/mVolt"),
        (" 360 ", " 360/500(0) "),
        (" MLII", ""),
    ):
        assert old in text
        header.write_text(text.replace(old, new, 1), encoding="utf-8")
        np.testing.assert_array_equal(read_record(header, "MLII")[0], expected)
        header.write_text(text.replace(old, new, 1), encoding="latin-1")
        np.testing.assert_array_equal(read_record(header, "MLII")[0], expected)
    header.write_text(text.replace(" 200", " -200", 1))
    np.testing.assert_array_equal(read_record(header, "MLII")[0], -expected)
    header.write_text(text.replace("/mV", "/uV", 1))
    np.testing.assert_allclose(read_record(header, "MLII")[0], expected / 1000)


def test_leads_of_one_file_that_differ_in_format_are_refused(tmp_path: Path) -> None:
    header = write_record(tmp_path, leads={"MLII": ecg_like(), "V1": ecg_like()})
    before, _, after = header.read_text().rpartition(" 212 ")
    header.write_text(f"{before} 16 {after}")
    refuse(header, "differ in format")


@pytest.mark.parametrize("form", ["16", "24", "32", "61", "80", "160", "212"])
@pytest.mark.parametrize("samples", [1439, 1440])
def test_every_format_that_tells_its_length_is_read_to_its_last_sample(tmp_path: Path, form: str, samples: int) -> None:
    digital = np.arange(samples)[:, None] % 100
    written = form if form not in ("61", "160") else "16"  # wfdb does not write those
    how = {"fmt": [written], "adc_gain": [100], "baseline": [0], "units": ["mV"], "sig_name": ["MLII"]}
    wfdb.wrsamp("1", 360, d_signal=digital, write_dir=str(tmp_path), **how)
    if form != written:
        header, signal = tmp_path / "1.hea", tmp_path / "1.dat"
        header.write_text(header.read_text().replace(" 16 ", f" {form} "))
        signal.write_bytes((digital.astype(">i2") if form == "61" else (digital + 2**15).astype("<u2")).tobytes())
    wfdb.wrann("1", "atr", np.array([10, samples - 1]), symbol=["N", "N"], write_dir=str(tmp_path))
    signal, rate_hz, symbols, places = read_record(tmp_path / "1.hea", "MLII")
    np.testing.assert_allclose(signal, digital[:, 0] / 100)
    assert (rate_hz, symbols, places.tolist()) == (360, ["N", "N"], [10, samples - 1])


def test_a_copy_under_another_name_is_not_taken_for_another_record(tmp_path: Path) -> None:
    header = write_record(tmp_path, "100")
    for suffix in (".hea", ".dat", ".atr"):
        (tmp_path / f"100 copy{suffix}").write_bytes(header.with_suffix(suffix).read_bytes())
    refuse(tmp_path / "100 copy.hea", "that of record '100'")


@pytest.mark.parametrize("suffix", [".hea", ".dat", ".atr"])
def test_a_file_that_may_not_be_read_is_a_resource_error_that_names_it(suffix: str) -> None:
    with unprivileged() as folder:
        header = write_record(folder, "202")
        header.with_suffix(suffix).chmod(0)
        with pytest.raises(ResourceError, match="no permission to read record 202") as caught:
            read_record(header, "MLII")
    assert caught.value.where == str(header.with_suffix(suffix))
