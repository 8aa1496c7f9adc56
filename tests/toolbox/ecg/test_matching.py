"""Detected beats are paired with reference beats one to one, nearest first, and counted as EC57 does."""

import numpy as np
import pytest
from wfdb import processing

from loaders.families import labels
from toolbox.ecg import matching
from toolbox.ecg.beat_list import Beats
from toolbox.reports import prediction


def greedy(reference: np.ndarray, detected: np.ndarray, tolerance: int) -> list[list[int]]:
    """The pairs by sorting all of them."""
    distance = detected[None] - reference[:, None]
    order = sorted((abs(d), d < 0, i, j) for (i, j), d in np.ndenumerate(distance) if abs(d) <= tolerance)
    rows, columns, pairs = set(), set(), []
    for _, _, i, j in order:
        if i not in rows and j not in columns:
            rows.add(i), columns.add(j), pairs.append([i, j])
    return sorted(pairs)


def scores(reference: np.ndarray, detected: np.ndarray, tolerance: int) -> dict[str, float]:
    """Of one recording."""
    found = len(matching.match(reference, detected, tolerance))
    return matching.summed([{"matched": found, "missed": len(reference) - found, "extra": len(detected) - found}])


def beats(seed: int, count: int = 200, spread: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Reference beats, and detected ones near to them of which some are missing and some are extra."""
    rng = np.random.default_rng(seed)
    reference = np.unique(rng.integers(0, count * 100, count))
    detected = reference + rng.integers(-spread, spread + 1, len(reference))
    extra = rng.integers(0, count * 100, count // 5)
    return reference, np.unique(np.concatenate([detected[rng.random(len(detected)) > 0.1], extra]))


def test_the_nearest_two_make_a_pair_first_and_never_beyond_the_tolerance() -> None:
    for seed in range(10):
        reference, detected = beats(seed)
        assert matching.match(reference, detected, 30).tolist() == greedy(reference, detected, 30), seed
    assert matching.match(np.array([100, 300]), np.array([154, 355]), 54).tolist() == [[0, 0]]


@pytest.mark.parametrize("first", [0, 1])
def test_a_long_chain_of_equal_distances_is_paired(first: int) -> None:
    """In time proportional to its length: by rounds of nearest pairs it would take hours."""
    chain = np.arange(200_000) * 10
    reference, detected = chain[first::2], chain[1 - first :: 2]
    pairs = matching.match(reference, detected, 54)
    assert len(pairs) == len(set(pairs[:, 0])) == len(set(pairs[:, 1])) >= len(reference) - 1


@pytest.mark.parametrize(("reference", "detected"), [([], []), ([], [5]), ([5], [])])
def test_no_beats_make_no_pairs(reference: list[int], detected: list[int]) -> None:
    pair = np.array(reference, dtype=int), np.array(detected, dtype=int)
    assert matching.match(*pair, 54).shape == (0, 2)
    assert np.isnan(scores(*pair, 54)["Se"]) == (not reference)


def test_the_counts_are_those_of_wfdb() -> None:
    for seed in range(5):
        reference, detected = beats(seed, spread=20)
        apart = np.diff(reference, prepend=-1000) > 120  # wfdb decides otherwise where two compete for one
        reference = reference[apart & np.r_[apart[1:], True]]
        detected = detected[np.diff(detected, prepend=-1000) > 60]
        known, found = processing.compare_annotations(reference, detected, 30), scores(reference, detected, 30)
        assert (found["matched"], found["missed"], found["extra"]) == (known.tp, known.fn, known.fp)
        expected = pytest.approx((known.sensitivity, known.positive_predictivity))
        assert (found["Se"], found["+P"]) == expected


def test_gross_figures_count_beats_not_recordings() -> None:
    gross = matching.summed([{"matched": 90, "missed": 10, "extra": 0}, {"matched": 1, "missed": 0, "extra": 9}])
    assert (gross["Se"], gross["+P"]) == pytest.approx((91 / 101, 91 / 100))


def test_the_confusion_matrix_has_every_reference_and_every_detected_beat_once() -> None:
    rng, (reference, detected) = np.random.default_rng(1), beats(3)
    true, called = rng.integers(0, 3, len(reference)), rng.integers(0, 3, len(detected))
    pairs = matching.match(reference, detected, 30)
    counts = matching.confusion(true, called, pairs, 3)
    assert counts[:3].sum(1).tolist() == np.bincount(true, minlength=3).tolist()
    assert counts[:, :3].sum(0).tolist() == np.bincount(called, minlength=3).tolist()
    assert counts[1, 2] == ((true[pairs[:, 0]] == 1) & (called[pairs[:, 1]] == 2)).sum()


# A recording against its annotations, with the counts of EC57's reference program bxb worked out by hand

CLASSES = ("N", "S", "V", "F", "Q")


def found(at: list[int], classes: str) -> Beats:
    label = np.array([CLASSES.index(name) for name in classes], np.int64)
    return Beats("r", "MLII", 100.0, 100_000, CLASSES, np.array(at, np.int64), label, np.eye(5)[label])


def reference(at: list[int], classes: str) -> tuple[np.ndarray, np.ndarray]:
    """A dot is a beat of no class."""
    label = [CLASSES.index(name) if name in CLASSES else -1 for name in classes]
    return np.array(at, np.int64), np.array(label, np.int64)


def test_flutter_is_from_bracket_to_bracket_and_to_the_end_where_it_is_not_closed() -> None:
    at = np.arange(14) * 100
    expected = [[100, 400], [600, 700], [1000, 1000], [1200, 4999]]
    assert labels.flutter(np.array(list("N[!!]N!!VN!N[N")), at, 5000).tolist() == expected
    assert labels.flutter(np.array(["N", "+"]), np.array([1, 2]), 5000).shape == (0, 2)
    assert labels.flutter(np.array([], str), np.array([], np.int64), 5000).shape == (0, 2)
    assert labels.flutter(np.array(list("]N[")), np.array([5, 10, 20]), 30).tolist() == [[20, 29]]


def test_flutter_is_left_out_as_bxb_does() -> None:
    """bxb skips annotations from [ to ] and does not count beats found there; one that fits a beat outside is its
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
    """From 3 s on: the beat found at 2.95 s is the match of the one at 3.05 s; earlier ones, and their matches, do not
    count; nor does an unmatched one in the first 150 ms, whose partner may lie before."""
    beats = found([100, 295, 310, 400, 512, 600], "NNVNSN")
    at, label = reference([100, 200, 305, 400, 500, 700], "NVNNSN")
    values = matching.score(beats, at, label, start=300)
    # Reference from 3 s on: N 305, N 400, S 500, N 700. Nearest to 305 is 310 (V); 295 is left, and before the start.
    assert values["detection"] == {"matched": 3, "missed": 1, "extra": 1, "Se": 3 / 4, "+P": 3 / 4}
    assert values["from_s"] == 3
    matrix = np.array(values["confusion"])
    assert (matrix[0, 2], matrix[0, 0], matrix[1, 1], matrix[0, 5], matrix[5, 0]) == (1, 1, 1, 1, 1)
    assert matrix.sum() == 5
    for first, before, extra in ((311, 290, 0), (314, 150, 0), (316, 150, 1)):
        values = matching.score(found([first, 500], "VN"), *reference([before, 500], "NN"), start=300)
        assert values["detection"]["extra"] == extra


def test_beats_without_a_class_are_counted_and_reported() -> None:
    beats = found([100, 200, 300, 400], "NNVN")
    values = matching.score(beats, *reference([100, 200, 300, 900], "N.V."))
    assert values["without_class"] == 2
    assert np.array(values["confusion"]).sum() == 3  # the partner of one is left out, the extra at 4 s is not
    assert any("2 annotated beats of no class" in line for line in prediction.score_lines(values))
    whole = matching.score(beats, *reference([100], "N"))
    assert not any("no class" in line for line in prediction.score_lines(whole))
    assert matching.score(beats, np.array([100]), None).get("without_class") is None


def test_pooled_figures_have_averages_and_the_recording_that_moves_them_most() -> None:
    parts = []
    for name, called, true in (("a", "NSNV", "NSNV"), ("b", "NSSN", "NNSV"), ("c", "SSNN", "NNNN")):
        at = [100, 200, 300, 400]
        values = matching.score(found(at, called), *reference(at, true))
        parts.append(values | {"trained_on": "no", "recording": name})
    of = matching.pooled(parts)["classes"]["no"]
    assert of["classification"]["SVEB"] == {"beats": 2, "Se": 1, "+P": 2 / 5, "F1": 4 / 7}
    assert of["average"]["SVEB +P"] == pytest.approx((1 + 1 / 2 + 0) / 3)  # where S is called, also without any
    assert of["average"]["SVEB Se"] == 1
    assert of["influence"]["VEB Se"] == {"record": "a", "value": 0.5, "without": 0}
    assert of["influence"]["SVEB +P"]["without"] == pytest.approx(2 / 3)
    assert of["influence"]["SVEB +P"]["record"] == "c"
    assert of["without_class"] == 0
    assert matching.pooled(parts[:1])["classes"]["no"]["influence"] == {}
