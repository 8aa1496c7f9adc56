"""The beats of a recording with their classes: as files (WFDB annotations, CSV), and as figures of a rhythm report.

`summary(beats)` has rates, ectopic burden, couplets, runs, bigeminy and pauses as plain values for JSON.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.errors import UsageError
from toolbox.plain import NOTICE

SYMBOLS = {symbol: symbol for symbol in "NLRBAaJSVrFejnE/fQ?"} | {"normal": "N"}  # of WFDB, by class
ECTOPIC = tuple("SVFAaJE")  # classes of AAMI, or symbols
CODES = {symbol: code for code, symbol in enumerate("NLRaVFJASEj/Q", 1)}  # of annotations in annot(5)
CODES |= {"B": 25, "?": 30, "e": 34, "n": 35, "f": 38, "r": 41}
LIMIT, SKIP = 2**10, 59 * 2**10  # distances from LIMIT on follow a word of SKIP
# The time resolution is the note of a first annotation; an annotation of no type at -1 follows it.
TIMING, END_OF_TIMING = b"\0X", b"\0\xec\xff\xff\xff\xff\x01\0"
OTHER = "Q"  # the symbol of any other class; its name becomes the note
NO_GAPS = np.empty((0, 2), dtype=np.int64)
RATE_BEATS = 8  # RR intervals over which a lowest or highest rate is a mean
RUN, EPISODE = 3, 3  # fewest beats of a run; fewest pairs (triples) of a bigeminy (trigeminy)
PAUSE_S = 2.0


@dataclass(frozen=True)
class Beats:
    """The beats of one lead: R peak `sample` (N,) in rising order, class `label` (N,), probabilities `scores` (N, K).

    The lead has `samples` at `rate_hz`, starts at the time `start`, and has `gaps` (G, 2) without beat detection.
    """

    record: str
    lead: str
    rate_hz: float
    samples: int
    classes: tuple[str, ...]
    sample: NDArray[np.int64]
    label: NDArray[np.int64]
    scores: NDArray[np.floating]
    gaps: NDArray[np.int64] = field(default_factory=lambda: NO_GAPS)
    start: datetime | None = None

    @cached_property
    def time_s(self) -> NDArray[np.float64]:
        """Seconds from the beginning (N,)."""
        return self.sample / self.rate_hz

    @cached_property
    def rr_s(self) -> NDArray[np.float64]:
        """Seconds from the beat before (N,); NaN for the first, and the first after a gap."""
        rr = np.diff(self.time_s, prepend=np.nan)
        after = np.searchsorted(self.sample, self.gaps[:, 1])
        rr[after[after < len(rr)]] = np.nan
        return rr

    @cached_property
    def ectopic(self) -> tuple[int, ...]:
        """Indices of ectopic classes: S, V, F and their symbols; if there are none, all but the first class."""
        named = tuple(k for k, name in enumerate(self.classes) if name in ECTOPIC)
        return named or tuple(range(1, len(self.classes)))


def save_annotation(beats: Beats, path: Path) -> None:
    """Write the beats as a WFDB annotation file, whole or not at all. Raises ResourceError, UsageError.

    A class without a WFDB symbol gets Q, with its name as the note of the annotation.
    """
    extension = path.suffix.removeprefix(".")
    if not re.fullmatch("[a-zA-Z]+", extension):
        raise UsageError(f"{extension!r} cannot be the ending of an annotation file", hint="letters only, such as pred")
    files.write_whole(path, lambda file: file.write(_annotations(beats)))


def _annotations(beats: Beats) -> bytes:
    """The bytes of an annotation file, see annot(5) of WFDB and `wfdb.wrann`, which takes seconds for a day.

    Words of 16 bits: six of the code and ten of the distance to the annotation before; a longer distance has a word of
    SKIP and two of its own before it, a note a word of its length and its bytes after it.
    """
    if not len(beats.sample):
        return b"\0\0"
    rate = int(beats.rate_hz) if round(beats.rate_hz, 8) == int(beats.rate_hz) else beats.rate_hz
    head = np.frombuffer(_note(f"## time resolution: {rate}"), "<u2")
    notes = [np.frombuffer(b"" if name in SYMBOLS else _note(name), "<u2") for name in beats.classes]
    widest = max(map(len, notes))
    of_class = np.array([np.pad(note, (0, widest - len(note))) for note in notes], "<u2")  # (K, W)
    has_word = np.arange(widest) < np.array([[len(note)] for note in notes])
    codes = np.array([CODES[SYMBOLS.get(name, OTHER)] for name in beats.classes])[beats.label]
    step = np.diff(beats.sample, prepend=0)
    far = step >= LIMIT
    words = np.stack([np.full(len(step), SKIP), step >> 16, step & 0xFFFF, codes * LIMIT + np.where(far, 0, step)], 1)
    kept = np.stack([far, far, far, np.full(len(step), True)], 1)
    body = np.hstack([words.astype("<u2"), of_class[beats.label]])[np.hstack([kept, has_word[beats.label]])]
    return b"".join([TIMING, head.tobytes(), END_OF_TIMING, body.tobytes(), b"\0\0"])


def _note(text: str) -> bytes:
    """The note of an annotation: its length, its text, and a byte more if their number is odd."""
    content = text.encode("latin-1", errors="replace")[:255]
    return bytes([len(content), 252]) + content + b"\0" * (len(content) % 2)


def save_csv(beats: Beats, path: Path) -> None:
    """Write a line a beat: time_s, sample, RR_s, class, p_<class> of every class."""
    columns = {
        "time_s": np.round(beats.time_s, 4),
        "sample": beats.sample,
        "RR_s": np.round(beats.rr_s, 4),
        "class": np.array(beats.classes, dtype=object)[beats.label],
    }
    columns |= {f"p_{name}": np.round(beats.scores[:, k].astype(np.float64), 4) for k, name in enumerate(beats.classes)}
    files.write_csv(path, columns)


def summary(beats: Beats) -> dict[str, Any]:
    """The figures of the beats, in total and by hour; None for a figure without enough beats."""
    lost_s = float(np.diff(beats.gaps, axis=1).sum() / beats.rate_hz)
    duration_s = beats.samples / beats.rate_hz
    counts = np.bincount(beats.label, minlength=len(beats.classes))
    return {
        "record": beats.record,
        "lead": beats.lead,
        "start": beats.start.isoformat(sep=" ") if beats.start else None,
        "duration_s": round(duration_s, 3),
        "without_signal_s": round(lost_s, 3),
        "beats": len(beats.sample),
        "beats_of_class": dict(zip(beats.classes, counts.tolist(), strict=True)),
        "rate_per_min": rates(beats.rr_s),
        "ectopic": ectopy(beats, counts, duration_s - lost_s),
        "patterns": {beats.classes[k]: patterns(beats, k) for k in beats.ectopic},
        "pauses": pauses(beats),
        "hours": hours(beats),
        "notice": NOTICE,
    }


def rates(rr_s: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean rate, and lowest and highest mean over 8 RR intervals in a row without a gap among them, beats a minute."""
    known = rr_s[np.isfinite(rr_s)]
    mean = round(60 / known.mean(), 1) if len(known) else None
    found: dict[str, float | None] = {"mean": mean, "lowest": None, "highest": None}
    if len(rr_s) >= RATE_BEATS:
        means = np.lib.stride_tricks.sliding_window_view(rr_s, RATE_BEATS).mean(1)
        means = means[np.isfinite(means)]
        if len(means):
            found |= {"lowest": round(60 / means.max(), 1), "highest": round(60 / means.min(), 1)}
    return found


def ectopy(beats: Beats, counts: NDArray[np.integer], seconds: float) -> dict[str, Any]:
    """Ectopic beats: number, percent of all beats and number per hour, in total and of each class."""

    def burden(count: int) -> dict[str, Any]:
        return {
            "beats": count,
            "percent": round(100 * count / len(beats.sample), 2) if len(beats.sample) else None,
            "per_hour": round(3600 * count / seconds, 1) if seconds > 0 else None,
        }

    each = {beats.classes[k]: burden(int(counts[k])) for k in beats.ectopic}
    return burden(int(counts[list(beats.ectopic)].sum())) | {"of_class": each}


def patterns(beats: Beats, k: int) -> dict[str, Any]:
    """The patterns of class `k`: single beats, couplets, runs of 3 and more, bigeminy and trigeminy."""
    first, length = _rows(beats.label == k, beats.rr_s)
    runs = length >= RUN
    longest = int(length.argmax()) if runs.any() else None
    found: dict[str, Any] = {
        "single": int((length == 1).sum()),
        "couplets": int((length == 2).sum()),
        "runs": int(runs.sum()),
        "longest_run_beats": None if longest is None else int(length[longest]),
        "longest_run_time_s": None if longest is None else round(float(beats.time_s[first[longest]]), 3),
    }
    for name, period in (("bigeminy", 2), ("trigeminy", 3)):
        found[f"{name}_episodes"], found[f"{name}_beats"] = _every(first[length == 1], beats.rr_s, period)
    return found


def _rows(is_one: NDArray[np.bool_], rr_s: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First index and length of each row of consecutive true beats without a gap."""
    places = np.flatnonzero(is_one)
    begins = (np.diff(places, prepend=-2) > 1) | np.isnan(rr_s[places])
    first = np.flatnonzero(begins)
    return places[first], np.diff(np.append(first, len(places)))


def _every(places: NDArray[np.int64], rr_s: NDArray[np.float64], period: int) -> tuple[int, int]:
    """Episodes of at least three single beats that come every `period` beats, and the beats in them."""
    if len(places) < EPISODE:
        return 0, 0
    parts = np.cumsum(np.isnan(rr_s))
    begins = (np.diff(places, prepend=-period - 1) != period) | (np.diff(parts[places], prepend=-1) > 0)
    length = np.diff(np.append(np.flatnonzero(begins), len(places)))
    length = length[length >= EPISODE]
    return len(length), int(length.sum())


def pauses(beats: Beats) -> dict[str, Any]:
    """RR intervals above 2 s, and the longest with its start time."""
    rr_s = np.where(np.isfinite(beats.rr_s), beats.rr_s, 0)
    if not rr_s.any():
        return {"above_2_s": 0, "longest_s": None, "longest_time_s": None}
    above, longest = int((rr_s > PAUSE_S).sum()), int(rr_s.argmax())
    length_s, begin_s = round(float(rr_s[longest]), 3), round(float(beats.time_s[longest - 1]), 3)
    return {"above_2_s": above, "longest_s": length_s, "longest_time_s": begin_s}


def hours(beats: Beats) -> list[dict[str, Any]]:
    """Beats, mean rate and ectopic beats of each class, hour by hour from the beginning."""
    hour = (beats.time_s // 3600).astype(int)
    count = max(1, int(np.ceil(beats.samples / beats.rate_hz / 3600)))
    known = np.isfinite(beats.rr_s)
    spent = np.bincount(hour[known], beats.rr_s[known], minlength=count)
    intervals = np.bincount(hour[known], minlength=count)
    table = np.zeros((count, len(beats.classes)), dtype=int)
    np.add.at(table, (hour, beats.label), 1)
    return [
        {
            "hour": i,
            "beats": int(table[i].sum()),
            "rate_per_min": round(60 * float(intervals[i] / spent[i]), 1) if spent[i] else None,
            "ectopic": {beats.classes[k]: int(table[i, k]) for k in beats.ectopic},
        }
        for i in range(count)
    ]
