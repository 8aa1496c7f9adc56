"""A page on which the beats of a recording are read as on ECG paper: `save_strip(path, beats, read, summary=...)`.

It needs no network. The trace lies in it as pieces of 16-bit numbers that a script draws (templates/strip.html), at a
lower rate where it is longer than an hour, so that a day of it is some 30 MB.
"""

import base64
import math
from collections.abc import Iterator
from datetime import UTC
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.ecg import matching
from toolbox.ecg.beat_list import Beats
from toolbox.ecg.gaps import Reader, bridged
from toolbox.plain import escaped
from toolbox.reports import pages
from toolbox.reports.tables import clock, number, shown

LONG_S = 3600
MOST_HZ, MOST_HZ_LONG = 400, 130
PIECE = 2**17  # samples
STEP_MV = 0.001
MISSING = -(2**15)
# Dark enough for letters, and told apart with every kind of colour vision: Okabe & Ito's and Tol's, made darker.
NORMAL = "#44474F"
COLOURS = ("#0067A5", "#C24E00", "#007A59", "#882255", "#6B4FA0", "#7A5C00", "#A3123A", "#1B6E8C", "#5B6B00", "#333333")
NAMES = {"N": "normal", "S": "supraventricular", "V": "ventricular", "F": "fusion", "Q": "unknown"}
PATTERNS = {"couplets": "couplets", "runs": "runs", "bigeminy": "bigeminy_episodes"}
Reference = tuple[NDArray[np.integer], NDArray[np.integer]]


def save_strip(
    path: Path, beats: Beats, read: Reader, *, summary: dict[str, Any], reference: Reference | None = None
) -> None:
    """Write the page of a recording, whole or not at all. Raises ResourceError.

    `read(first, last)` gives the lead in mV; `summary` is that of `rhythm.summary`; `reference` has samples (M,) and
    classes (M,) of annotated beats, shown below the trace.
    """
    facts, jumps = _facts(summary)
    pages.save(
        path,
        "strip.html",
        title=f"{beats.record}, lead {beats.lead}",
        facts=facts,
        jumps=jumps,
        data=_data(beats, reference),
        pieces=_pieces(read, beats.samples, _every(beats)),
    )


def _every(beats: Beats) -> int:
    """Of how many samples one is drawn."""
    most = MOST_HZ_LONG if beats.samples > LONG_S * beats.rate_hz else MOST_HZ
    return max(1, math.ceil(beats.rate_hz / most))


def _pieces(read: Reader, samples: int, every: int) -> Iterator[dict[str, str]]:
    """The trace, a piece of the page at a time: its samples, and how they become mV."""
    around = 4 * every
    for first in range(0, samples, PIECE * every):
        last = min(first + PIECE * every, samples)
        start = max(first - around, 0)
        signal, missing = bridged(read(start, min(last + around, samples)), longest=0)
        if every > 1:
            signal = _smooth(signal, every)
        keep = slice(first - start, last - start, every)
        yield _piece(signal[keep], missing[keep])


def _smooth(signal: NDArray[np.float64], every: int) -> NDArray[np.float64]:
    """Without what is too fast to be drawn at one sample of `every`."""
    from scipy.signal import firwin, oaconvolve

    taps = firwin(8 * every + 1, 1 / every)
    return oaconvolve(np.pad(signal, 4 * every, mode="edge"), taps, mode="valid")


def _piece(signal: NDArray[np.float64], missing: NDArray[np.bool_]) -> dict[str, str]:
    low, high = float(signal.min()), float(signal.max())
    zero, step = (low + high) / 2, max(STEP_MV, (high - low) / (2**16 - 4))
    whole = np.where(missing, MISSING, np.round((signal - zero) / step))
    return {"step": f"{step:.9g}", "zero": f"{zero:.9g}", "samples": _packed(whole, "<i2")}


def _data(beats: Beats, reference: Reference | None) -> dict[str, Any]:
    """Everything but the trace, for the script."""
    known, classes = reference if reference else (np.empty(0, dtype=int), np.empty(0, dtype=int))
    pairs = matching.match(known, beats.sample, round(matching.TOLERANCE_S * beats.rate_hz))
    class_of = np.full(len(beats.sample), -1)
    class_of[pairs[:, 1]] = classes[pairs[:, 0]]
    colours, marked = _colours(beats)
    return {
        "lead": escaped(beats.lead),
        "rate": beats.rate_hz,
        "samples": beats.samples,
        "every": _every(beats),
        "piece": PIECE,
        "start": beats.start.replace(tzinfo=UTC).timestamp() if beats.start else None,
        "classes": [*map(escaped, beats.classes)],
        "names": [escaped(NAMES.get(name, name)) for name in beats.classes],
        "counts": np.bincount(beats.label, minlength=len(beats.classes)).tolist(),
        "ectopic": beats.ectopic,
        "colours": colours,
        "marked": marked,
        "gaps": beats.gaps.tolist(),
        "sample": _packed(beats.sample, "<i4"),
        "label": _packed(beats.label, "u1"),
        "scores": _packed(np.round(10_000 * beats.scores), "<u2"),
        "rr": _packed(beats.rr_s, "<f4"),
        "refSample": _packed(known, "<i4"),
        "refLabel": _packed(classes, "u1"),
        "refOf": _packed(class_of, "<i2"),
    }


def _packed(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def _colours(beats: Beats) -> tuple[list[str], list[bool]]:
    """A colour a class, and whether its beats are marked in the trace: all but the normal ones."""
    normal = beats.classes.index("N") if "N" in beats.classes else 0
    others = cycle(COLOURS)
    marked = [k != normal for k in range(len(beats.classes))]
    return [next(others) if each else NORMAL for each in marked], marked


def _facts(summary: dict[str, Any]) -> tuple[list[tuple[str, Any]], list[tuple[str, float]]]:
    """What stands above the trace, by name; and what a button leads to, with its time in seconds."""
    rate, pause, ectopic = summary["rate_per_min"], summary["pauses"], summary["ectopic"]
    lost_s = summary["without_signal_s"]
    rates = [number(rate[name]) for name in ("mean", "lowest", "highest")]
    facts = [
        ("start", summary["start"]),
        ("duration", clock(summary["duration_s"])),
        ("without signal", clock(lost_s) if lost_s else None),
        ("beats", number(summary["beats"])),
        ("rate", f"{rates[0]} ({rates[1]} to {rates[2]}) beats/min"),
        ("ectopic", f"{number(ectopic['percent'])} %, {number(ectopic['per_hour'])} an hour"),
    ]
    if "run" in summary:
        facts.append(("classified by", f"{summary['run']}, {summary['checkpoint']} checkpoint"))
    if found := summary.get("score", {}).get("detection"):
        facts.append(("of the annotated beats", f"Se {shown(found['Se'])}, +P {shown(found['+P'])}"))
    facts += [("doubt", doubt) for doubt in summary.get("doubts", ())]
    jumps = [(f"longest RR {pause['longest_s']:.2f} s", pause["longest_time_s"])] if pause["longest_s"] else []
    for name, found in summary["patterns"].items():
        counts = {kind: found[key] for kind, key in PATTERNS.items()}
        if any(counts.values()):
            facts.append((name, ", ".join(f"{count:,} {kind}" for kind, count in counts.items())))
        if found["runs"]:
            jumps.append((f"longest run of {name}, {found['longest_run_beats']} beats", found["longest_run_time_s"]))
    return [(name, value) for name, value in facts if value is not None], jumps
