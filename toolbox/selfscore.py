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
    """Beats, Se, +P and F1 of each class, and of SVEB and VEB, from the confusion matrix in `values`, where it has one."""
    if "confusion" not in values:
        return {}
    matrix, classes = np.array(values["confusion"]), (*values["classes"], NONE)
    counted = ec57.task_counts(matrix, classes) | {name: ec57.counts(matrix, k) for k, name in enumerate(values["classes"])}
    figures = {name: ec57.detection(four) for name, four in counted.items()}
    return {
        "classification": {
            name: {"beats": int(counted[name]["TP"] + counted[name]["FN"])}
            | {part: float(of[part]) for part in ("Se", "+P", "F1")}
            for name, of in figures.items()
        }
    }


def pooled(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The gross figures of the recordings that have a score, from their counts."""
    values: dict[str, Any] = {"recordings": len(parts), "classes": parts[0]["classes"]}
    detected = [part["detection"] for part in parts if part["detection"]]
    values["detection"] = matching.summed(detected) if detected else None
    matrices = [np.array(part["confusion"]) for part in parts if "confusion" in part]
    if matrices:
        values["confusion"] = sum(matrices).tolist()
    return values | classification(values)


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
