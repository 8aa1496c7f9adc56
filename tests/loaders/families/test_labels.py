"""Symbols and diagnoses become classes by the published tables or by a user's map; others are errors of one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from loaders.families import labels
from toolbox.errors import DataError, UsageError

EVERY = np.array(list(labels.BEATS + "+~|"))


@pytest.mark.parametrize(("name", "classes"), [
    ("aami", {"N": "NLRejB", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}),
    ("aami-s", {"N": "NLRB", "S": "AaJSejn", "V": "VEr", "F": "F", "Q": "/fQ?"}),
    ("symbols", {symbol: symbol for symbol in labels.BEATS}),
])  # fmt: skip
def test_a_named_map_gives_each_symbol_its_class_and_others_none(name: str, classes: dict[str, str]) -> None:
    own = labels.label_map(name)
    assert tuple(own.classes) == tuple(classes)
    numbers = {symbol: k for k, symbols in enumerate(classes.values()) for symbol in symbols}
    assert own.of(EVERY).tolist() == [numbers.get(symbol, -1) for symbol in EVERY]
    assert (own.of(np.array(list(labels.BEATS))) >= 0).all()
    assert own.of(np.array([], str)).shape == (0,)
    assert len(own.importance) == len(classes)


def test_only_a_map_of_single_symbols_loses_the_classes_that_are_not_there() -> None:
    there = np.array(["V", "N", "N"])
    assert tuple(labels.label_map("symbols").among(there).classes) == ("N", "V")
    assert tuple(labels.label_map("aami").among(there).classes) == ("N", "S", "V", "F", "Q")


def test_rare_symbols_enter_the_text_of_a_map_only_where_they_occur() -> None:
    """The text is part of the checksum of data, and so of every run that was stored before these symbols had a
    class."""
    before = '{"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}'
    mitbih = np.array(list("NLRAaJSVFejE/fQ"))
    assert labels.label_map("aami").among(mitbih).content == before
    assert labels.label_map("aami").among(np.array(["N"])).content == before
    assert labels.label_map("aami-s").among(mitbih).content == before.replace("NLRej", "NLR").replace("AaJS", "AaJSej")
    with_rare = labels.label_map("aami").among(np.array(list("NVBr")))
    assert with_rare.content == before.replace("NLRej", "NLRejB").replace('"VE"', '"VEr"')
    assert with_rare.of(np.array(list("NBrV"))).tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize(("name", "text"), [
    ("map.json", json.dumps({"N": "sinus", "V": "ectopic", "A": "ectopic", "/": "paced"})),
    ("map.csv", "N,sinus\nV,ectopic\nA, ectopic\n\n/,paced\n"),
    ("MAP.CSV", "\ufeffSymbol,Class\r\nN,sinus\r\nV,ectopic\r\nA,ectopic\r\n/,paced\r\n"),
])  # fmt: skip
def test_a_file_names_the_classes_in_its_order(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    own = labels.label_map(str(tmp_path / name))
    assert dict(own.classes) == {"sinus": "N", "ectopic": "VA", "paced": "/"}
    assert own.of(np.array(["A", "/", "L"])).tolist() == [1, 2, -1]
    assert own.importance == (1, 1, 1)


def test_another_content_is_another_map(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    contents = set()
    for text in ("N,a\nV,b\n", "N,a\nV,c\n", "N,a\nV,b\nA,b\n"):
        path.write_text(text)
        contents.add(labels.label_map(str(path)).content)
    assert len(contents) == 3


@pytest.mark.parametrize(("name", "text", "says"), [
    ("map.csv", "N,a\n+,b\n", r"'\+' is no symbol of a beat.*line 2"),
    ("map.csv", "N,a\nNV,b\n", "'NV' is no symbol"),
    ("map.csv", "N,a\nN,b\n", "the symbol N is in the map twice.*line 2"),
    ("map.csv", "N,a\nV\n", "1 columns, expected symbol and class.*line 2"),
    ("map.csv", "N,a\nV,\n", "the class of V has 0 letters"),
    ("map.csv", f"N,a\nV,{'b' * 41}\n", "the class of V has 41 letters"),
    ("map.csv", "N,a\nV,a\n", "the map has 1 classes"),
    ("map.csv", "", "the map has 0 classes"),
    ("map.csv", "N,a\n" * 20_000, "larger than a map"),
    ("map.json", "{", "the file is no JSON"),
    ("map.json", "[1]", "no object of symbol and class"),
    ("map.json", '{"N": 1, "V": 2}', "no object of symbol and class"),
    ("map.json", '{"N": "a", "N": "b"}', "the symbol N is in the map twice"),
])  # fmt: skip
def test_a_file_that_is_no_map_is_a_data_error_in_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        labels.label_map(str(tmp_path / name))
    assert str(tmp_path / name) in caught.value.where
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_and_a_name_that_is_none_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        labels.label_map(str(tmp_path / "map.csv"))
    with pytest.raises(UsageError, match=r"unknown --label-map 'aamis'; known are aami, aami-s, symbols, FILE\.csv"):
        labels.label_map("aamis")


# Rhythms

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


@pytest.mark.parametrize(("name", "text"), [
    ("own.csv", "rhythm,class\nSB, slow\nST,fast\nSI,fast\n"),
    ("own.json", '{"SB": "slow", "ST": "fast", "SI": "fast"}'),
])  # fmt: skip
def test_a_file_says_its_own_classes_and_other_rhythms_have_none(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    own = labels.rhythm_map(tmp_path / name)
    assert (own.name, own.classes) == (name, {"slow": ("SB",), "fast": ("ST", "SA")})
    np.testing.assert_array_equal(own.of(np.array(["SA", "SB", "AFIB", "", "ST+SA"])), [1, 0, -1, -1, 1])


@pytest.mark.parametrize(("text", "what"), [
    ("SB,slow\nXX,fast\n", "'XX' is no rhythm, must be one of SB SR AFIB"),
    ("SB,slow\nSB,fast\n", "the rhythm SB is in the map twice"),
    ("SA,slow\nSI,fast\n", "the rhythm SA is in the map twice"),
    ("SB,slow\n", "the map has 1 classes, expected 2 or more"),
    ("SB,\nST,fast\n", "the class of SB has 0 letters"),
    ("SB\nST\n", "1 columns, expected rhythm and class"),
])  # fmt: skip
def test_a_file_that_is_no_rhythm_map_is_named_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        labels.rhythm_map(tmp_path / "own.csv")
    assert what in str(caught.value)
    assert "own.csv" in caught.value.where


def test_an_unknown_rhythm_map_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"unknown --label-map 'rhythm5'; known are rhythm4, rhythm11, FILE.csv, FILE.json"
    ):
        labels.rhythm_map("rhythm5")
    with pytest.raises(DataError, match="there is no such file"):
        labels.rhythm_map(tmp_path / "none.csv")
