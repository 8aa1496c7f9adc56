"""Compares detected and classified beats with annotations, as in ANSI/AAMI EC57: one to one, within 150 ms.

`match(reference, detected, tolerance)` pairs beats, `confusion` compares the classes of pairs. `score(beats, at,
label)` counts one recording, `pooled` several; SVEB and VEB by EC57 (`toolbox/metrics/ec57.py`): an undetected beat is
missed, a detected beat without a reference is a false positive of its class. As in the standard's reference program,
`bxb` of the WFDB software, beats during ventricular flutter and beats before `start` do not count.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.ecg.beat_list import NO_GAPS, Beats
from toolbox.metrics import ec57, intervals

Samples = NDArray[np.int64]
TOLERANCE_S = 0.15
# Whether a run was trained on a scored recording, in words.
TRAINED_ON = {
    "yes": "the run was trained on a recording of this name: its classes are better here than elsewhere",
    "epoch": "the run's epoch was chosen on a recording of this name",
    "no": "the run was not trained on a recording of this name",
    "unknown": "whether the run was trained on this recording is not known",
}
NONE = "none"  # class of an unpaired beat's missing partner in the confusion matrix


def match(reference: Samples, detected: Samples, tolerance: int) -> NDArray[np.int64]:
    """Pairs (M, 2) of indices in `reference` (N,) and `detected` (L,), both sorted; the pairs are sorted by time.

    The nearest two make a pair first, then the nearest of the rest, up to `tolerance` samples apart.
    """
    left, right = np.arange(len(reference)), np.arange(len(detected))
    pairs = [np.empty((0, 2), dtype=np.int64)]
    while len(left) and len(right):
        mine, theirs = reference[left], detected[right]
        # Ties: the later detected and the earlier reference beat win, which breaks up chains of equal distances.
        chosen = _nearest(mine, theirs, later=True)
        mutual = _nearest(theirs, mine, later=False)[chosen] == np.arange(len(left))
        mutual &= np.abs(mine - theirs[chosen]) <= tolerance
        if not mutual.any():
            break
        pairs.append(np.stack([left[mutual], right[chosen[mutual]]], axis=1))
        left, right = left[~mutual], np.delete(right, chosen[mutual])
    found = np.concatenate(pairs)
    return found[np.argsort(found[:, 0])]


def _nearest(points: Samples, among: Samples, *, later: bool) -> NDArray[np.int64]:
    """The index in `among` nearest to each of `points`; `later` decides ties."""
    after = np.searchsorted(among, points)
    before, after = np.maximum(after - 1, 0), np.minimum(after, len(among) - 1)
    back, ahead = np.abs(points - among[before]), np.abs(among[after] - points)
    return np.where((back < ahead) if later else (back <= ahead), before, after)


def summed(parts: list[dict[str, Any]]) -> dict[str, float]:
    """Gross Se and +P of several recordings from the counts of each; NaN without beats."""
    counts = {name: sum(part[name] for part in parts) for name in ("matched", "missed", "extra")}
    found, missed, extra = counts.values()
    share, right = (found / whole if whole else math.nan for whole in (found + missed, found + extra))
    return counts | {"Se": share, "+P": right}


def confusion(
    reference: NDArray[np.integer], detected: NDArray[np.integer], pairs: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Counts (K+1, K+1), reference (N,) in rows by detected (L,) in columns, paired by `pairs` (M, 2).

    The last column counts missed reference beats, the last row extra detected beats.
    """
    counts = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    np.add.at(counts, (reference[pairs[:, 0]], detected[pairs[:, 1]]), 1)
    counts[:-1, -1] = np.bincount(np.delete(reference, pairs[:, 0]), minlength=classes)
    counts[-1, :-1] = np.bincount(np.delete(detected, pairs[:, 1]), minlength=classes)
    return counts


def score(
    beats: Beats,
    at: Samples,
    label: Samples | None,
    *,
    given: bool = False,
    flutter: NDArray[np.int64] = NO_GAPS,
    start: int = 0,
) -> dict[str, Any]:
    """Counts and figures of one recording, as plain values.

    The reference has beats at the samples `at` (M,) of the classes `label` (M,): -1 without a class, None if no class
    is known. Beats `given` by an annotation file have no detection score. `flutter` (E, 2) are first and last samples
    of excluded segments, `start` is the first scored sample.
    """
    outside = ~_inside(at, flutter)
    at, label = at[outside], None if label is None else label[outside]
    tolerance = round(TOLERANCE_S * beats.rate_hz)
    pairs, mine = match(at, beats.sample, tolerance), at >= start
    # A detected beat counts if its partner counts; without a partner, outside of flutter and too late to match a
    # reference beat before `start`.
    theirs = ~_inside(beats.sample, flutter) & (beats.sample > start + tolerance)
    theirs[pairs[:, 1]] = mine[pairs[:, 0]]
    at, pairs = at[mine], _renumbered(pairs, mine, theirs)
    own = beats.label[theirs]
    counts = {"matched": len(pairs), "missed": len(at) - len(pairs), "extra": len(own) - len(pairs)}
    values: dict[str, Any] = {"classes": list(beats.classes), "from_s": start / beats.rate_hz}
    values["flutter_s"] = round(float(np.diff(flutter, axis=1).sum() / beats.rate_hz), 3)
    values["detection"] = None if given else summed([counts])
    if label is not None:
        known, kept = label[mine] >= 0, np.ones(len(own), dtype=bool)
        kept[pairs[~known[pairs[:, 0]], 1]] = False  # excludes the partners of beats without a class
        paired = _renumbered(pairs, known, kept)
        values["confusion"] = confusion(label[mine][known], own[kept], paired, len(beats.classes)).tolist()
        values["without_class"] = int((~known).sum())
    return values | classification(values)


def _inside(at: Samples, segments: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which samples `at` (M,) lie in one of the sorted, separate segments (E, 2), ends included."""
    return np.searchsorted(segments[:, 0], at, side="right") > np.searchsorted(segments[:, 1], at)


def _renumbered(pairs: Samples, mine: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Samples:
    """The pairs (M, 2) of kept beats, as indices among the kept beats."""
    pairs = pairs[mine[pairs[:, 0]] & theirs[pairs[:, 1]]]
    return np.stack([(np.cumsum(mine) - 1)[pairs[:, 0]], (np.cumsum(theirs) - 1)[pairs[:, 1]]], axis=1)


def classification(values: dict[str, Any]) -> dict[str, Any]:
    """Beats, Se, +P and F1 of SVEB, VEB and each class, from the confusion matrix in `values`, where it has one."""
    if "confusion" not in values:
        return {}
    matrix, classes = np.array(values["confusion"]), (*values["classes"], NONE)
    counted = ec57.task_counts(matrix, classes)
    counted |= {name: ec57.counts(matrix, k) for k, name in enumerate(values["classes"])}
    found = {}
    for name, four in counted.items():
        figures = {part: float(value) for part, value in ec57.detection(four).items() if part != "FPR"}
        found[name] = {"beats": int(four["TP"] + four["FN"]), **figures}
    return {"classification": found}


def pooled(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The gross figures of several recordings: detection over all, classes by `trained_on`."""
    detected = [part["detection"] for part in parts if part["detection"]]
    among = {
        answer: [each for each in parts if each["trained_on"] == answer and "confusion" in each]
        for answer in TRAINED_ON
    }
    return {
        "recordings": len(parts),
        "from_s": parts[0]["from_s"],
        "flutter_s": sum(part["flutter_s"] for part in parts),
        "detection": summed(detected) if detected else None,
        "classes": {answer: _pooled_classes(each) for answer, each in among.items() if each},
    }


def _pooled_classes(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Gross and average figures of the classes, as `sumstats` computes them, and the most influential recordings."""
    matrices = np.array([part["confusion"] for part in parts])
    of = {"recordings": len(parts), "classes": parts[0]["classes"], "confusion": matrices.sum(0).tolist()}
    of |= {"without_class": sum(part["without_class"] for part in parts)} | classification(of)
    named = (*of["classes"], NONE)
    without, each = (_figures(matrix, named) for matrix in (matrices.sum(0) - matrices, matrices))
    gross = {name: float(value) for name, value in _figures(matrices.sum(0), named).items()}
    of["average"] = ec57.averages(each)
    of["influence"] = intervals.influence(gross, without, [part.get("recording", "") for part in parts], gross)
    return of


def _figures(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """Se, +P and F1 of SVEB and VEB, or else of each class, in matrices (..., K+1, K+1)."""
    found = ec57.class_figures(matrix, classes)
    names = ec57.tasks(classes) or classes[:-1]
    return {f"{name} {part}": found[f"{name} {part}"] for name in names for part in ("Se", "+P", "F1")}
