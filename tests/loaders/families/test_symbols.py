"""Symbols become classes: the named maps are the standards', and a map of the user's is read or refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from loaders.families import labels as labels_symbols
from toolbox.errors import DataError, UsageError

EVERY = np.array(list(labels_symbols.BEATS + "+~|"))


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("aami", {"N": "NLRejB", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}),
        ("aami-s", {"N": "NLRB", "S": "AaJSejn", "V": "VEr", "F": "F", "Q": "/fQ?"}),
        ("symbols", {symbol: symbol for symbol in labels_symbols.BEATS}),
    ],
)
def test_a_named_map_gives_each_symbol_its_class_and_others_none(name: str, classes: dict[str, str]) -> None:
    labels = labels_symbols.label_map(name)
    assert tuple(labels.classes) == tuple(classes)
    numbers = {symbol: k for k, own in enumerate(classes.values()) for symbol in own}
    assert labels.of(EVERY).tolist() == [numbers.get(symbol, -1) for symbol in EVERY]
    assert labels.of(np.array([], str)).shape == (0,)
    assert len(labels.importance) == len(classes)


def test_only_a_map_of_single_symbols_loses_the_classes_that_are_not_there() -> None:
    there = np.array(["V", "N", "N"])
    assert tuple(labels_symbols.label_map("symbols").among(there).classes) == ("N", "V")
    assert tuple(labels_symbols.label_map("aami").among(there).classes) == ("N", "S", "V", "F", "Q")


def test_every_beat_has_a_class_in_the_maps_of_the_standards() -> None:
    for name in ("aami", "aami-s"):
        assert (labels_symbols.label_map(name).of(np.array(list(labels_symbols.BEATS))) >= 0).all()


def test_rare_symbols_enter_the_text_of_a_map_only_where_they_occur() -> None:
    """The text is part of the checksum of data, and so of every run that was stored before these symbols had a
    class."""
    before = '{"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}'
    mitbih = np.array(list("NLRAaJSVFejE/fQ"))
    assert labels_symbols.label_map("aami").among(mitbih).content == before
    assert labels_symbols.label_map("aami").among(np.array(["N"])).content == before
    assert labels_symbols.label_map("aami-s").among(mitbih).content == before.replace("NLRej", "NLR").replace(
        "AaJS", "AaJSej"
    )
    with_rare = labels_symbols.label_map("aami").among(np.array(list("NVBr")))
    assert with_rare.content == before.replace("NLRej", "NLRejB").replace('"VE"', '"VEr"')
    assert with_rare.of(np.array(list("NBrV"))).tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.json", json.dumps({"N": "sinus", "V": "ectopic", "A": "ectopic", "/": "paced"})),
        ("map.csv", "N,sinus\nV,ectopic\nA, ectopic\n\n/,paced\n"),
        ("MAP.CSV", "\ufeffSymbol,Class\r\nN,sinus\r\nV,ectopic\r\nA,ectopic\r\n/,paced\r\n"),
    ],
)
def test_a_file_names_the_classes_in_its_order(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    labels = labels_symbols.label_map(str(tmp_path / name))
    assert dict(labels.classes) == {"sinus": "N", "ectopic": "VA", "paced": "/"}
    assert labels.of(np.array(["A", "/", "L"])).tolist() == [1, 2, -1]
    assert labels.importance == (1, 1, 1)


def test_another_content_is_another_map(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    contents = set()
    for text in ("N,a\nV,b\n", "N,a\nV,c\n", "N,a\nV,b\nA,b\n"):
        path.write_text(text)
        contents.add(labels_symbols.label_map(str(path)).content)
    assert len(contents) == 3


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
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
    ],
)
def test_a_file_that_is_no_map_is_a_data_error_in_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        labels_symbols.label_map(str(tmp_path / name))
    assert str(tmp_path / name) in caught.value.where
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_and_a_name_that_is_none_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        labels_symbols.label_map(str(tmp_path / "map.csv"))
    with pytest.raises(UsageError, match=r"unknown --label-map 'aamis'; known are aami, aami-s, symbols, FILE\.csv"):
        labels_symbols.label_map("aamis")
