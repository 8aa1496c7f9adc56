"""The diagnoses that several databases share: each code and statement is of one class, and means the same there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers import ptbxl
from loaders.datasets import chapman
from loaders.datasets.ptbxl import tables
from loaders.families import diagnoses
from loaders.families.labels import CODES as OF_RHYTHMS
from toolbox.errors import DataError


def test_thirty_codes_are_26_classes_and_none_is_of_two() -> None:
    codes = [code for own in diagnoses.CODES.values() for code in own.split()]
    assert (len(codes), len({*codes}), len(diagnoses.CLASSES)) == (30, 30, 26)
    assert [*diagnoses.CLASSES] == sorted(diagnoses.CODES)
    for members in (diagnoses.STATEMENTS, diagnoses.AXES):
        assert members.keys() <= diagnoses.CODES.keys()
        names = [name for own in members.values() for name in own.split()]
        assert len(names) == len({*names})


def test_rhythms_have_the_codes_of_the_other_task() -> None:
    same = {"AFIB": "AF", "AF": "AFL", "SR": "NSR", "SB": "SB", "ST": "STach", "SA": "SA"}
    assert {diagnoses.OF_CODE[code]: name for code, name in OF_RHYTHMS.items() if code in diagnoses.OF_CODE} == {
        other: name for name, other in same.items()
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [("59118001,713427006,426177001", {"RBBB", "SB"}), ("164873001", set()), ("", set()), ("427172004", {"PVC"})],
)
def test_codes_of_one_meaning_are_one_class_and_unknown_ones_do_not_count(text: str, found: set[str]) -> None:
    (y,) = diagnoses.labelled([text], diagnoses.OF_CODE, diagnoses.CLASSES, ",")
    assert {diagnoses.CLASSES[k] for k in np.flatnonzero(y)} == found


def test_records_of_ptb_xl_have_the_classes_of_their_statements_and_axis(tmp_path: Path) -> None:
    found = tables.read(ptbxl.write_tables(tmp_path, [ptbxl.row(k) for k in range(6)]))
    classes, y = tables.labelled(found, "challenge")
    assert classes == diagnoses.CLASSES
    assert [{classes[k] for k in np.flatnonzero(row)} for row in y] == [
        {"NSR"}, {"AF", "LAD"}, {"NSR", "TAb", "RAD"}, {"LBBB"}, {"PVC", "NSR", "LAD"}, {"NSR", "RAD"},
    ]  # fmt: skip


# The column Chapman_Shaoxing of dx_mapping_scored.csv, without STach, which has 1,568 records and 12 in that table.
OF_THE_CHALLENGE = {
    "AF": 1780, "AFL": 445, "IAVB": 247, "LAD": 382, "LBBB": 205, "LPR": 12, "LQRSV": 249, "LQT": 57, "NSIVCB": 235,
    "NSR": 1826, "PAC": 258, "PVC": 294, "QAb": 235, "RAD": 215, "RBBB": 454, "SB": 3889, "TAb": 1876, "TInv": 157,
}  # fmt: skip


def test_conditions_of_chapman_have_the_counts_of_the_challenge_s_copy(shared: Callable[[str], Path]) -> None:
    found = chapman.read_labels(shared("chapman-metadata") / "Diagnostics.xlsx")
    there = found["rhythm"] != "SA"  # which the copy lacks
    rows = zip(found["rhythm"][there].tolist(), found["conditions"][there].tolist(), strict=True)
    texts = [diagnoses.codes_of(rhythm, conditions) for rhythm, conditions in rows]
    assert len(texts) == 10_247
    counts = diagnoses.labelled(texts, diagnoses.OF_CODE, diagnoses.CLASSES, ",").sum(0).tolist()
    positive = {name: count for name, count in zip(diagnoses.CLASSES, counts, strict=True) if count}
    assert positive == OF_THE_CHALLENGE | {"STach": 1568}


def test_the_codes_of_a_record_are_those_of_its_rhythm_and_conditions() -> None:
    assert diagnoses.codes_of("SB", "RBBB IVB") == "426177001,59118001,698252002"
    assert diagnoses.codes_of("AVNRT", "NONE").split(",") == ["233896004", "251166008"]
    assert diagnoses.codes_of("SVT", "JPS LRRI") == "426761007"
    with pytest.raises(ValueError, match="'AVBB' is none of 1AVB"):
        diagnoses.codes_of("SB", "RBBB AVBB")


def map_of(folder: Path, text: str, name: str = "mine.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_map_of_your_own_joins_codes_divides_them_and_serves_both_databases(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = "code,class NORM,normal SR,sinus 426783006,sinus AFIB,any AFIB,fast CLBBB,any 164889003,any"
    name = map_of(tmp_path, lines.replace(" ", "\n"))
    found = tables.read(ptbxl.write_tables(tmp_path, [ptbxl.row(k) for k in range(5)]))
    with caplog.at_level("INFO"):
        classes, y = tables.labelled(found, name)
    assert classes == ("any", "fast", "normal", "sinus")
    assert [{classes[k] for k in np.flatnonzero(row)} for row in y] == [
        {"normal", "sinus"}, {"any", "fast"}, {"sinus"}, {"any"}, {"sinus"}
    ]  # fmt: skip
    assert "5 codes of the records are not in mine.csv and do not count" in caplog.text
    again, of = diagnoses.of_file(name)
    assert again == classes
    (row,) = diagnoses.labelled(["426783006,164889003,1"], of, classes, ",")
    assert row.tolist() == [1, 0, 0, 1]
    quoted = map_of(tmp_path, 'NORM,"norm, al"\nAFIB, "any"\n\n"CLBBB",5" wide\n', "quoted.csv")
    assert diagnoses.of_file(quoted)[1] == {"NORM": ("norm, al",), "AFIB": ("any",), "CLBBB": ('5" wide',)}
    as_json = map_of(tmp_path, '{"NORM": "normal", "AFIB": "any", "AFIB": "fast"}', "mine.json")
    assert diagnoses.of_file(as_json)[1] == {"NORM": ("normal",), "AFIB": ("any", "fast")}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NROM,normal", r"'NROM' is no SNOMED CT code, and scp_statements.csv has no such statement \(.*line 1\)"),
        ("NORM", "1 columns, expected code and class"),
        ("NORM,", "the class of NORM has 0 letters"),
        ('NORM,n\nNORM,"norm, al', "not a line of CSV: unexpected end of data .*line 2"),
        ("NORM,n\nNORM,a;b", "the class 'a;b' has a ';', .*line 2"),
        ("code,class", "the map has no line"),
    ],
)
def test_a_map_with_a_fault_is_refused_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        diagnoses.of_file(map_of(tmp_path, text), ["NORM"])
    with pytest.raises(DataError, match="--labels: there is no such file"):
        diagnoses.of_file(str(tmp_path / "none.csv"))
