"""Beats that were found and classified are held against the annotations of their recording: detection first, then classes.

`score(beats, at, label)` counts one recording, `pooled` several; SVEB and VEB as in ANSI/AAMI EC57 (`toolbox/ec57.py`), a beat
that was not found being missed and one that is none a false alarm of its class.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import ec57, matching
from toolbox.beatlist import Beats

# What a run may have to do with a recording that it is held against.
TRAINED_ON = {
    "yes": "the run was trained on a recording of this name: its classes are better here than elsewhere",
    "epoch": "the run's epoch was chosen on a recording of this name",
    "no": "the run was not trained on a recording of this name",
    "unknown": "whether the run was trained on this recording is not known",
}
NONE = "none"  # stands in the confusion matrix for beats of one side alone
LINE = "{:<20}{:>10}{:>10}{:>10}"


def score(beats: Beats, at: NDArray[np.int64], label: NDArray[np.int64] | None, *, given: bool = False) -> dict[str, Any]:
    """Counts and figures of one recording, as plain values.

    The reference has beats at the samples `at` (M,) of the classes `label` (M,), -1 for one of no class, None where no class is
    known. Where the beats are `given`, by an annotation file, how well they were found is no question.
    """
    pairs = matching.match(at, beats.sample, round(matching.TOLERANCE_S * beats.rate_hz))
    found = len(pairs)
    counts = {"matched": found, "missed": len(at) - found, "extra": len(beats.sample) - found}
    values: dict[str, Any] = {"classes": list(beats.classes), "detection": None if given else matching.summed([counts])}
    if label is not None:
        values["confusion"] = _confusion(beats, label, pairs).tolist()
    return values | classification(values)


def _confusion(beats: Beats, label: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts (K+1, K+1), reference by found; beats that the reference has without a class are left out with their partners."""
    mine, theirs = label >= 0, np.ones(len(beats.sample), dtype=bool)
    classed = mine[pairs[:, 0]]
    theirs[pairs[~classed, 1]] = False
    pairs = np.stack([(np.cumsum(mine) - 1)[pairs[classed, 0]], (np.cumsum(theirs) - 1)[pairs[classed, 1]]], axis=1)
    return matching.confusion(label[mine], beats.label[theirs], pairs, len(beats.classes))


def classification(values: dict[str, Any]) -> dict[str, Any]:
    """Beats, Se, +P and F1 of SVEB, VEB and each class, from the confusion matrix in `values`, where it has one."""
    if "confusion" not in values:
        return {}
    matrix, classes = np.array(values["confusion"]), (*values["classes"], NONE)
    counted = ec57.task_counts(matrix, classes) | {name: ec57.counts(matrix, k) for k, name in enumerate(values["classes"])}
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
    values = {"recordings": len(parts), "detection": matching.summed(detected) if detected else None, "classes": {}}
    for told in TRAINED_ON:
        matrices = [np.array(part["confusion"]) for part in parts if part["trained_on"] == told and "confusion" in part]
        if matrices:
            of = {"recordings": len(matrices), "classes": parts[0]["classes"], "confusion": sum(matrices).tolist()}
            values["classes"][told] = of | classification(of)
    return values


def lines(values: dict[str, Any]) -> list[str]:
    """The score as a person reads it."""
    told = [LINE.format("against annotations", "beats", "Se", "+P")]
    if found := values["detection"]:
        told.append(LINE.format("detection", f"{found['matched'] + found['missed']:,}", *map(shown, (found["Se"], found["+P"]))))
    for name, of in values.get("classification", {}).items():
        told.append(LINE.format(name, f"{of['beats']:,}", shown(of["Se"]), shown(of["+P"])))
    return told


def shown(value: float | None) -> str:
    """A share; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.4f}"
