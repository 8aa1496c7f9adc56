"""Diagnoses become rhythms and rhythms classes: by the published tables, by a user's file, never by chance."""

from pathlib import Path

import numpy as np
import pytest

from loaders.families import labels
from toolbox.errors import DataError, UsageError

# Of ConditionNames_SNOMED-CT.csv of ecg-arrhythmia 1.0.0, and of the two tables of the challenge of 2021.
PUBLISHED = {
    "SB": "426177001", "SR": "426783006", "AFIB": "164889003", "ST": "427084000", "AF": "164890007", "SA": "427393009",
    "SVT": "426761007", "AT": "713422000", "AVNRT": "233896004", "AVRT": "233897008", "SAAWR": "195101003",
}  # fmt: skip
CHALLENGE = {"AVNRT": "251166008", "SAAWR": "17366009"}


def test_codes_are_those_of_the_publishers() -> None:
    assert {PUBLISHED[rhythm]: rhythm for rhythm in labels.RHYTHMS} | {
        code: rhythm for rhythm, code in CHALLENGE.items()
    } == labels.CODES


def test_flutter_is_called_af_and_fibrillation_afib_as_in_the_database() -> None:
    assert labels.of_codes(["164890007"]) == "AF"  # atrial flutter
    assert labels.of_codes(["164889003"]) == "AFIB"  # atrial fibrillation


@pytest.mark.parametrize(
    ("codes", "rhythm", "four"),
    [
        ("164934002,426177001", "SB", "SB"),  # a T wave abnormal
        ("426177001,426783006,713426002", "SB", "SB"),  # as in PTB-XL: sinus rhythm, and slow
        ("426783006,427084000", "ST", "GSVT"),
        ("426783006,427393009", "SA", "SR"),
        ("427084000,713422000", "ST+AT", "GSVT"),  # both of one class
        ("426177001,427393009", "SB+SA", None),
        ("164889003,426783006", "SR+AFIB", None),
        ("164934002", "", None),
        ("", "", None),
    ],
)
def test_a_record_of_several_diagnoses_has_one_rhythm_or_none(codes: str, rhythm: str, four: str | None) -> None:
    assert labels.of_codes(codes.split(",")) == rhythm
    y = labels.rhythm_map("rhythm4").of(np.array([rhythm]))[0]
    assert (list(labels.FOUR)[y] if y >= 0 else None) == four


def test_every_rhythm_has_one_class_in_every_map() -> None:
    for name, classes in labels.RHYTHM_MAPS.items():
        assert sorted(rhythm for own in classes.values() for rhythm in own) == sorted(labels.RHYTHMS), name
    assert list(labels.FOUR) == ["AFIB", "GSVT", "SB", "SR"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own.csv", "rhythm,class\nSB, slow\nST,fast\nSI,fast\n"),
        ("own.json", '{"SB": "slow", "ST": "fast", "SI": "fast"}'),
    ],
)
def test_a_file_says_its_own_classes_and_other_rhythms_have_none(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    own = labels.rhythm_map(tmp_path / name)
    assert (own.name, own.classes) == (name, {"slow": ("SB",), "fast": ("ST", "SA")})
    np.testing.assert_array_equal(own.of(np.array(["SA", "SB", "AFIB", "", "ST+SA"])), [1, 0, -1, -1, 1])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("SB,slow\nXX,fast\n", "'XX' is no rhythm, must be one of SB SR AFIB"),
        ("SB,slow\nSB,fast\n", "the rhythm SB is in the map twice"),
        ("SA,slow\nSI,fast\n", "the rhythm SA is in the map twice"),
        ("SB,slow\n", "the map has 1 classes, expected 2 or more"),
        ("SB,\nST,fast\n", "the class of SB has 0 letters"),
        ("SB\nST\n", "1 columns, expected rhythm and class"),
    ],
)
def test_a_file_that_is_no_map_is_named_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        labels.rhythm_map(tmp_path / "own.csv")
    assert what in str(caught.value)
    assert "own.csv" in caught.value.where


def test_an_unknown_map_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"unknown --label-map 'rhythm5'; known are rhythm4, rhythm11, FILE.csv, FILE.json"
    ):
        labels.rhythm_map("rhythm5")
    with pytest.raises(DataError, match="there is no such file"):
        labels.rhythm_map(tmp_path / "none.csv")
