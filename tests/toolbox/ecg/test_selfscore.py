"""A recording's beats against its annotations, with the counts of EC57's reference program worked out by hand."""

import numpy as np
import pytest

from loaders.families import labels
from toolbox.ecg import matching
from toolbox.ecg.beat_list import Beats
from toolbox.reports import prediction

CLASSES = ("N", "S", "V", "F", "Q")
RATE_HZ = 100.0


def found(at: list[int], classes: str) -> Beats:
    label = np.array([CLASSES.index(name) for name in classes], np.int64)
    return Beats("r", "MLII", RATE_HZ, 100_000, CLASSES, np.array(at, np.int64), label, np.eye(5)[label])


def reference(at: list[int], classes: str) -> tuple[np.ndarray, np.ndarray]:
    """A dot is a beat of no class."""
    return np.array(at, np.int64), np.array(
        [CLASSES.index(name) if name in CLASSES else -1 for name in classes], np.int64
    )


def test_flutter_is_from_bracket_to_bracket_over_waves_in_a_row_and_to_the_end_where_it_is_not_closed() -> None:
    annotated = np.array(list("N[!!]N!!VN!N[N"))
    at = np.arange(len(annotated)) * 100
    assert labels.flutter(annotated, at, 5000).tolist() == [[100, 400], [600, 700], [1000, 1000], [1200, 4999]]
    assert labels.flutter(np.array(["N", "+"]), np.array([1, 2]), 5000).shape == (0, 2)
    assert labels.flutter(np.array([], str), np.array([], np.int64), 5000).shape == (0, 2)
    assert labels.flutter(np.array(list("]N[")), np.array([5, 10, 20]), 30).tolist() == [[20, 29]]


def test_flutter_is_left_out_as_bxb_does() -> None:
    """bxb skips what is annotated from [ to ] and does not count beats found there; one that fits a beat outside is its
    match."""
    beats = found([100, 205, 310, 395, 500], "NVVNN")
    # A beat annotated in the flutter, at 300, and one just behind it.
    at, label = reference([100, 300, 405, 500], "NVNN")
    values = matching.score(beats, at, label, flutter=np.array([[200, 400]]))
    assert values["detection"] == {"matched": 3, "missed": 0, "extra": 0, "Se": 1, "+P": 1}
    assert values["classification"]["VEB"]["beats"] == 0
    assert np.array(values["confusion"]).sum() == 3
    assert values["flutter_s"] == 2
    with_it = matching.score(beats, at, label)
    assert (with_it["detection"]["matched"], with_it["detection"]["extra"], with_it["flutter_s"]) == (4, 1, 0)


def test_a_score_that_begins_later_leaves_out_what_bxb_does() -> None:
    """From 3 s on: the beat found at 2.95 s is the match of the one at 3.05 s; those of before, and their matches, do
    not count; nor does an unmatched one in the first 150 ms, whose partner may lie before."""
    beats = found([100, 295, 310, 400, 512, 600], "NNVNSN")
    at, label = reference([100, 200, 305, 400, 500, 700], "NVNNSN")
    values = matching.score(beats, at, label, start=300)
    # Reference from 3 s on: N 305, N 400, S 500, N 700. Nearest to 305 is 310 (V); 295 is left, and before the start.
    assert values["detection"] == {"matched": 3, "missed": 1, "extra": 1, "Se": 3 / 4, "+P": 3 / 4}
    assert values["from_s"] == 3
    matrix = np.array(values["confusion"])
    assert (matrix[0, 2], matrix[0, 0], matrix[1, 1], matrix[0, 5], matrix[5, 0]) == (1, 1, 1, 1, 1)
    assert matrix.sum() == 5
    first = matching.score(found([311, 500], "VN"), *reference([290, 500], "NN"), start=300)
    assert first["detection"]["extra"] == 0  # at 3.11 s, the match of a beat before
    early = matching.score(found([314, 500], "VN"), *reference([150, 500], "NN"), start=300)
    assert early["detection"]["extra"] == 0
    assert matching.score(found([316, 500], "VN"), *reference([150, 500], "NN"), start=300)["detection"]["extra"] == 1


def test_beats_without_a_class_are_counted_and_said() -> None:
    beats = found([100, 200, 300, 400], "NNVN")
    values = matching.score(beats, *reference([100, 200, 300, 900], "N.V."))
    assert values["without_class"] == 2
    assert np.array(values["confusion"]).sum() == 3  # the partner of one is left out, the extra at 4 s is not
    assert any("2 annotated beats of no class" in line for line in prediction.score_lines(values))
    assert not any("no class" in line for line in prediction.score_lines(matching.score(beats, *reference([100], "N"))))
    assert matching.score(beats, np.array([100]), None).get("without_class") is None


def scored(name: str, at: list[int], classes: str, wanted: str) -> dict:
    values = matching.score(found(at, classes), *reference(at, wanted))
    return values | {"trained_on": "no", "recording": name}


def test_pooled_figures_have_averages_and_the_recording_that_moves_them_most() -> None:
    at = [100, 200, 300, 400]
    parts = [scored("a", at, "NSNV", "NSNV"), scored("b", at, "NSSN", "NNSV"), scored("c", at, "SSNN", "NNNN")]
    of = matching.pooled(parts)["classes"]["no"]
    assert of["classification"]["SVEB"] == {"beats": 2, "Se": 1, "+P": 2 / 5, "F1": 4 / 7}
    assert of["average"]["SVEB +P"] == pytest.approx((1 + 1 / 2 + 0) / 3)  # where S is called, also without any
    assert of["average"]["SVEB Se"] == 1
    assert of["influence"]["VEB Se"] == {"record": "a", "value": 0.5, "without": 0}
    assert of["influence"]["SVEB +P"]["without"] == pytest.approx(2 / 3)
    assert of["influence"]["SVEB +P"]["record"] == "c"
    assert of["without_class"] == 0
    assert matching.pooled(parts[:1])["classes"]["no"]["influence"] == {}
