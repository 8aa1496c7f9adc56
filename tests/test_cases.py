"""The files of the shared folder of cases, as people have them: each gets its right number of beats, or one clear line.

Every kind among them has a test of its own that builds its input; these skip where the folder is not there.
"""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from helpers.commands import carried_out
from helpers.data import SHARED

CASES = SHARED.parent / "cases"
RUN = ("--dataset", "synth_patients", "--model-name", "cnn1d_3")
ALIKE = {  # cases by their number of beats
    49: """
    01-csv-pandas-index 01b-csv-pandas-index-named 02-csv-noheader-time 07-csv-decimal-comma 08-csv-physiobank
    12-txt-biosppy 13-csv-whitespace 14-csv-date-and-ecg 158-csv-gz 15b-csv-timer 165-csv-blank-lines
    17-csv-utf16 19-csv-annotation-col 30-wfdb-minimal-signal-line 31-wfdb-gain-0 32-wfdb-samples-0
    35-wfdb-no-description 40-wfdb-atr-beyond-end 42-wfdb-multisegment 43-wfdb-skew 44-wfdb-flac
    48-wfdb-unit-microvolt 50-wfdb-leadnames 51-wfdb-negative-gain 56-wfdb-beats-qrs 34-wfdb-record-path
    39-wfdb-date-only-year 58-wfdb-lowercase-mlii-dup 62-edf-lead-II-other-rate 63-edf-micro-latin1
    66-edf-records-minus1 72b-edf-ECG_II 72c-edf-chest_ecg 73-edf-bdf
    """,
    75: "06-csv-time-gap",
    74: "07b-csv-decimal-comma-onecol 11-csv-polar",
    47: "167-csv-missing-minus999",
    33: "58b-wfdb-two-leads-same-name 58c-csv-two-leads-same-name",
    42: "67-edf-truncated",
}
BEATS: dict[str, Any] = {case: beats for beats, cases in ALIKE.items() for case in cases.split()}
BEATS |= {  # by record
    "80-folder-of-patients": {"s0001_re": 37, "s0002_re": 37, "s0003_re": 37},
    "03-csv-uV-named": {"uV": 74, "V": 74},  # and adu.csv is refused, as its numbers are no mV
}
REFUSED = {  # by what the one line names
    "05-csv-timecol-other-rate": "512 Hz",
    "100-ucr-ecg200": "ECG200",
    "104-ucr-csv-tf": "--dataset table",
    "111-cinc-no-hea": ".hea",
    "113-cinc-ref-original": "REFERENCE",
    "125-twelve-names-lead": "lead",
    "150-xml-aecg": "XML",
    "151-dicom": "DICOM",
    "152-scp": "SCP",
    "153-ishne": "ISHNE",
    "154-mat-v5": "MAT",
    "18-csv-transposed": "transposed",
    "37-wfdb-dotted-name": "p1.2024.dat",
    "55-wfdb-gz": "r.dat.gz",
    "60-edf-eeg-only": "EEG Fp1",
    "77-edf-comma-decimal": "-5,5",
    "90c-table-index-noheader": "column 1",
    "97-table-label-first-ints": "--label-column 1",
}
TABLES = {"98-table-semicolon-decimal-comma": ["0", "1"]}  # by their classes
EVERY = {*BEATS, *REFUSED, *TABLES}
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not here (set ECG_SHARED_DATA)")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a short run that classifies beats."""
    root = tmp_path_factory.mktemp("root")
    ended = carried_out(*RUN, "--short-run", "--epochs", 1, "--no-figures", "--root-dir", root)
    assert ended.code == 0, ended.err
    return root


@needs_cases
def test_every_case_has_a_right_answer() -> None:
    assert {path.name for path in CASES.iterdir() if path.is_dir()} == EVERY


@needs_cases
@pytest.mark.parametrize("case", sorted(EVERY))
def test_a_case_gets_its_right_answer(case: str, root: Path, tmp_path: Path) -> None:
    line = (CASES / case / "cmd").read_text().replace("$CASES", str(CASES)).replace("$OUT", str(tmp_path / "out"))
    words = shlex.split(line.replace("$ROOT", str(root)).replace("$SCRATCH", str(tmp_path / "root")))[2:]
    if "--predict" in words:
        words = [*words[words.index("--predict") :], *RUN, "--root-dir", root, "--out", tmp_path / "out"]
    ended = carried_out(*words, *(("--short-run", "--epochs", 1) if case in TABLES else ()))
    if case in REFUSED:
        assert ended.code == 3, ended.err
        assert REFUSED[case] in ended.err.splitlines()[-1]
        return
    if case in TABLES:
        assert ended.code == 0, ended.err
        assert [*ended.result["test"]["per_class"]] == TABLES[case]
        return
    assert (ended.code == 0) == (case != "03-csv-uV-named"), ended.err
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").rglob("*/*.json"))]
    beats = {each["record"]: each["beats"] for each in found}
    assert beats == (BEATS[case] if isinstance(BEATS[case], dict) else dict.fromkeys(beats, BEATS[case]))
    assert beats
