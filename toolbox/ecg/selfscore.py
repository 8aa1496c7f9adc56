"""Beats that were found and classified are held against the annotations of their recording: detection first, then
classes.

`score(beats, at, label)` counts one recording, `pooled` several; SVEB and VEB as in ANSI/AAMI EC57
(`toolbox/metrics/ec57.py`), a beat that was not found being missed and one that is none a false alarm of its class. As
in the standard's reference program, `bxb` of the WFDB software, beats of ventricular flutter are left out, and those
before `start` where the score begins later.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.ecg import matching, rhythm
from toolbox.ecg.beat_list import NO_GAPS, Beats
from toolbox.metrics import ec57, jackknife

# What a run may have to do with a recording that it is held against.
TRAINED_ON = {
    "yes": "the run was trained on a recording of this name: its classes are better here than elsewhere",
    "epoch": "the run's epoch was chosen on a recording of this name",
    "no": "the run was not trained on a recording of this name",
    "unknown": "whether the run was trained on this recording is not known",
}
Samples = NDArray[np.int64]
NONE = "none"  # stands in the confusion matrix for beats of one side alone
LINE = "{:<20}{:>10}{:>10}{:>10}"


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

    The reference has beats at the samples `at` (M,) of the classes `label` (M,), -1 for one of no class, None where no
    class is known. Where the beats are `given`, by an annotation file, how well they were found is no question.
    `flutter` (E, 2) are the first and last samples of segments that are left out, `start` is the first sample that is
    scored.
    """
    outside = ~_inside(at, flutter)
    at, label = at[outside], None if label is None else label[outside]
    pairs = matching.match(at, beats.sample, tolerance := round(matching.TOLERANCE_S * beats.rate_hz))
    mine, theirs = at >= start, _scored(beats.sample, at, pairs, flutter=flutter, start=start, tolerance=tolerance)
    at, pairs = at[mine], _renumbered(pairs, mine, theirs)
    own = beats.label[theirs]
    counts = {"matched": len(pairs), "missed": len(at) - len(pairs), "extra": len(own) - len(pairs)}
    values: dict[str, Any] = {"classes": list(beats.classes), "from_s": start / beats.rate_hz}
    values["flutter_s"] = round(float(np.diff(flutter, axis=1).sum() / beats.rate_hz), 3)
    values["detection"] = None if given else matching.summed([counts])
    if label is not None:
        values["confusion"] = _confusion(label[mine], own, pairs, len(beats.classes)).tolist()
        values["without_class"] = int((label[mine] < 0).sum())
    return values | classification(values)


def _inside(at: Samples, segments: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the samples `at` (M,) are in one of the segments (E, 2), which are apart and in order, ends included."""
    return np.searchsorted(segments[:, 0], at, side="right") > np.searchsorted(segments[:, 1], at)


def _scored(
    sample: Samples, at: Samples, pairs: Samples, *, flutter: NDArray[np.int64], start: int, tolerance: int
) -> NDArray[np.bool_]:
    """Which of the found beats (L,) count: those with a partner that counts, and those without one that are not in
    flutter and come later than what a beat before `start` could have been matched with."""
    counts = ~_inside(sample, flutter) & (sample > start + tolerance)
    counts[pairs[:, 1]] = at[pairs[:, 0]] >= start
    return counts


def _renumbered(pairs: Samples, mine: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Samples:
    """The pairs (M, 2) of those that stay, by their places among these."""
    pairs = pairs[mine[pairs[:, 0]] & theirs[pairs[:, 1]]]
    return np.stack([(np.cumsum(mine) - 1)[pairs[:, 0]], (np.cumsum(theirs) - 1)[pairs[:, 1]]], axis=1)


def _confusion(label: Samples, own: Samples, pairs: Samples, classes: int) -> NDArray[np.int64]:
    """Counts (K+1, K+1), reference by found; beats that the reference has without a class are left out with their
    partners."""
    mine, theirs = label >= 0, np.ones(len(own), dtype=bool)
    theirs[pairs[~mine[pairs[:, 0]], 1]] = False
    return matching.confusion(label[mine], own[theirs], _renumbered(pairs, mine, theirs), classes)


def classification(values: dict[str, Any]) -> dict[str, Any]:
    """Beats, Se, +P and F1 of SVEB, VEB and each class, from the confusion matrix in `values`, where it has one."""
    if "confusion" not in values:
        return {}
    matrix, classes = np.array(values["confusion"]), (*values["classes"], NONE)
    counted = ec57.task_counts(matrix, classes) | {
        name: ec57.counts(matrix, k) for k, name in enumerate(values["classes"])
    }
    return {
        "classification": {
            name: {"beats": int(four["TP"] + four["FN"])}
            | {part: float(value) for part, value in ec57.detection(four).items() if part != "FPR"}
            for name, four in counted.items()
        }
    }


def pooled(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The gross figures of several recordings, from their counts: of detection over all, of classes by `trained_on`."""
    detected = [part["detection"] for part in parts if part["detection"]]
    values = {
        "recordings": len(parts),
        "from_s": parts[0]["from_s"],
        "flutter_s": sum(part["flutter_s"] for part in parts),
    }
    values |= {"detection": matching.summed(detected) if detected else None, "classes": {}}
    for told in TRAINED_ON:
        among = [part for part in parts if part["trained_on"] == told and "confusion" in part]
        if among:
            values["classes"][told] = _pooled_classes(among)
    return values


def _pooled_classes(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Gross figures of the classes, their averages over the recordings in which they are defined, as `sumstats` has
    them, and the recording whose absence moves each most."""
    matrices = np.array([part["confusion"] for part in parts])
    of = {"recordings": len(parts), "classes": parts[0]["classes"], "confusion": matrices.sum(0).tolist()}
    of |= {"without_class": sum(part["without_class"] for part in parts)} | classification(of)
    named = (*of["classes"], NONE)
    without, each = (_figures(matrix, named) for matrix in (matrices.sum(0) - matrices, matrices))
    gross = {name: float(value) for name, value in _figures(matrices.sum(0), named).items()}
    of["average"] = ec57.averages(each)
    of["influence"] = jackknife.influence(gross, without, [part.get("recording", "") for part in parts], gross)
    return of


def _figures(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """Se, +P and F1 of SVEB and VEB, or else of each class, in matrices (..., K+1, K+1)."""
    found = ec57.class_figures(matrix, classes)
    names = ec57.tasks(classes) or classes[:-1]
    return {f"{name} {part}": found[f"{name} {part}"] for name in names for part in ("Se", "+P", "F1")}


def lines(values: dict[str, Any]) -> list[str]:
    """The score as a person reads it."""
    told = [LINE.format("against annotations", "beats", "Se", "+P")]
    if found := values["detection"]:
        told.append(
            LINE.format("detection", f"{found['matched'] + found['missed']:,}", *map(shown, (found["Se"], found["+P"])))
        )
    for name, of in values.get("classification", {}).items():
        told.append(LINE.format(name, f"{of['beats']:,}", shown(of["Se"]), shown(of["+P"])))
    return told + left_out(values, values)


def left_out(values: dict[str, Any], of_classes: dict[str, Any]) -> list[str]:
    """A line for everything that the score leaves out: what comes before it begins, flutter, beats without a class."""
    count = of_classes.get("without_class", 0)
    told = [
        (values["from_s"], f"scored from {rhythm.clock(values['from_s'])} on"),
        (values["flutter_s"], f"{values['flutter_s']:.1f} s of flutter or fibrillation left out"),
        (count, f"{count:,} annotated beats of no class of the run, left out of the classes"),
    ]
    return [line for amount, line in told if amount]


def shown(value: float | None) -> str:
    """A share; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.4f}"
