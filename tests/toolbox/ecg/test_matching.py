"""Detected beats are paired with reference beats one to one, nearest first, and counted."""

import time

import numpy as np
import pytest
from wfdb import processing

from toolbox.ecg import matching


def greedy(reference: np.ndarray, detected: np.ndarray, tolerance: int) -> list[tuple[int, int]]:
    """The same by sorting all pairs."""
    distance = detected[None] - reference[:, None]
    order = sorted((abs(d), d < 0, i, j) for (i, j), d in np.ndenumerate(distance) if abs(d) <= tolerance)
    rows, columns, pairs = set(), set(), []
    for _, _, i, j in order:
        if i not in rows and j not in columns:
            rows.add(i), columns.add(j), pairs.append((i, j))
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


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_two_make_a_pair_first(seed: int) -> None:
    reference, detected = beats(seed)
    assert matching.match(reference, detected, 30).tolist() == [list(pair) for pair in greedy(reference, detected, 30)]


@pytest.mark.parametrize("first", ["reference", "detected"])
def test_a_chain_of_equal_distances_is_paired_without_delay(first: str) -> None:
    chain = np.arange(200_000) * 10
    reference, detected = (chain[::2], chain[1::2]) if first == "reference" else (chain[1::2], chain[::2])
    start = time.perf_counter()
    pairs = matching.match(reference, detected, 54)
    assert time.perf_counter() - start < 1
    assert len(pairs) == len(set(pairs[:, 0])) == len(set(pairs[:, 1])) >= len(reference) - 1


def test_more_than_the_tolerance_apart_is_no_pair() -> None:
    assert matching.match(np.array([100, 300]), np.array([154, 355]), 54).tolist() == [[0, 0]]


@pytest.mark.parametrize(("reference", "detected"), [([], []), ([], [5]), ([5], [])])
def test_no_beats_make_no_pairs(reference: list[int], detected: list[int]) -> None:
    pair = np.array(reference, dtype=int), np.array(detected, dtype=int)
    assert matching.match(*pair, 54).shape == (0, 2)
    assert np.isnan(scores(*pair, 54)["Se"]) == (not reference)


@pytest.mark.parametrize("seed", range(10))
def test_the_counts_are_those_of_wfdb(seed: int) -> None:
    reference, detected = beats(seed, spread=20)
    apart = np.diff(reference, prepend=-1000) > 120  # wfdb decides otherwise where two compete for one
    reference = reference[apart & np.r_[apart[1:], True]]
    detected = detected[np.diff(detected, prepend=-1000) > 60]
    known = processing.compare_annotations(reference, detected, 30)
    found = scores(reference, detected, 30)
    assert (found["matched"], found["missed"], found["extra"]) == (known.tp, known.fn, known.fp)
    assert found["Se"] == pytest.approx(known.sensitivity)
    assert found["+P"] == pytest.approx(known.positive_predictivity)


def test_gross_figures_count_beats_not_recordings() -> None:
    gross = matching.summed([{"matched": 90, "missed": 10, "extra": 0}, {"matched": 1, "missed": 0, "extra": 9}])
    assert gross["Se"] == pytest.approx(91 / 101)
    assert gross["+P"] == pytest.approx(91 / 100)


def test_confusion_has_every_beat_of_both_sides_once() -> None:
    rng = np.random.default_rng(1)
    reference, detected = beats(3)
    true, said = rng.integers(0, 3, len(reference)), rng.integers(0, 3, len(detected))
    pairs = matching.match(reference, detected, 30)
    counts = matching.confusion(true, said, pairs, 3)
    assert counts[:3].sum(1).tolist() == np.bincount(true, minlength=3).tolist()
    assert counts[:, :3].sum(0).tolist() == np.bincount(said, minlength=3).tolist()
    assert counts[1, 2] == ((true[pairs[:, 0]] == 1) & (said[pairs[:, 1]] == 2)).sum()
