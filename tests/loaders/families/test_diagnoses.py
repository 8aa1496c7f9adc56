"""The diagnoses that several databases share: each code and statement is of one class, and means the same there."""

from pathlib import Path

import numpy as np
import pytest

from helpers import ptbxl
from loaders.datasets.ptbxl import tables
from loaders.families import diagnoses
from loaders.families.labels import CODES as OF_RHYTHMS


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
    (y,) = diagnoses.labelled([text], diagnoses.OF_CODE, ",")
    assert {diagnoses.CLASSES[k] for k in np.flatnonzero(y)} == found


def test_records_of_ptb_xl_have_the_classes_of_their_statements_and_axis(tmp_path: Path) -> None:
    found = tables.read(ptbxl.write_tables(tmp_path, [ptbxl.row(k) for k in range(6)]))
    classes, y = tables.labelled(found, "challenge")
    assert classes == diagnoses.CLASSES
    assert [{classes[k] for k in np.flatnonzero(row)} for row in y] == [
        {"NSR"}, {"AF", "LAD"}, {"NSR", "TAb", "RAD"}, {"LBBB"}, {"PVC", "NSR", "LAD"}, {"NSR", "RAD"},
    ]  # fmt: skip
