"""Recordings of formats that are not read, known by how they begin or are called: `known(path)` names the format."""

from pathlib import Path

BEGIN = 4096  # bytes
# Format by the bytes that stand at a place in the file.
MARKS: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", "a DICOM file"),
    (16, b"SCPECG", "an SCP-ECG file"),
    (0, b"ISHNE1.0", "an ISHNE Holter file"),
    (0, b"ANN  1.0", "annotations of an ISHNE Holter file"),
    (0, b"MATLAB ", "a MATLAB file without a WFDB header (.hea) beside it"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as MATLAB 7.3 writes it"),
    (0, b"GDF ", "a GDF file"),
    (0, b"MFER", "an MFER file"),
    (0, b"fLaC", "a FLAC file without a WFDB header (.hea)"),
    (0, b"Brain Vision", "a BrainVision header"),
    (0, b"\x93NUMPY", "an array of NumPy"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"\xd0\xcf\x11\xe0", "an old workbook of Excel"),
    (0, b"PK\x03\x04", "a zip archive or a workbook"),
    (0, b"\x1f\x8b", "a compressed file"),
)
XML = (
    (b"AnnotatedECG", "an HL7 aECG file (XML)"),
    (b"RestingECG", "a MUSE file of GE (XML)"),
    (b"restingecgdata", "a Philips file (XML)"),
)
ENDINGS = {".xml": "an XML file", ".dcm": "a DICOM file", ".scp": "an SCP-ECG file", ".ecg": "an ISHNE Holter file"}
ENDINGS |= {
    ".mat": "a MATLAB file without a WFDB header (.hea) beside it",
    ".h5": "an HDF5 file",
    ".fit": "a FIT file of Garmin",
}
ENDINGS |= {
    ".xlsx": "a workbook of Excel",
    ".xls": "a workbook of Excel",
    ".json": "a JSON file",
    ".zip": "a zip archive",
}


def known(path: Path) -> str | None:
    """The format of a file that is not read, with its article; None where it is not known."""
    with open(path, "rb") as file:
        begin = file.read(BEGIN)
    for place, mark, name in MARKS:
        if begin[place : place + len(mark)] == mark:
            return name
    text = begin.replace(b"\0", b"")  # of UTF-16 too
    if b"<?xml" in text[:64] or path.suffix.lower() == ".xml":
        return next((name for mark, name in XML if mark in text), ENDINGS[".xml"])
    return ENDINGS.get(path.suffix.lower())
