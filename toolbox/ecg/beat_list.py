"""The beats of a recording with what a network says of each, as files: WFDB annotations and a CSV.

`Beats` is what the summary (`toolbox/ecg/rhythm.py`) and the strip (`toolbox/reports/strip.py`) are made of too.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.errors import UsageError

SYMBOLS = {symbol: symbol for symbol in "NLRBAaJSVrFejnE/fQ?"} | {"normal": "N"}  # of WFDB, by class
ECTOPIC = tuple("SVFAaJE")  # classes of AAMI, or symbols
OTHER = "Q"  # the symbol of any other class, whose name then stands beside it
NO_GAPS = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Beats:
    """The beats of one lead: R peak `sample` (N,) in rising order, class `label` (N,), probabilities `scores` (N, K).

    The lead has `samples` at `rate_hz`, and `gaps` (G, 2) in which no beat was looked for. `start` is when it begins.
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
        """Places of ectopic classes: S, V, F and their symbols, or all but the first class where none is named so."""
        named = tuple(k for k, name in enumerate(self.classes) if name in ECTOPIC)
        return named or tuple(range(1, len(self.classes)))


def save_annotation(beats: Beats, path: Path) -> None:
    """Write the beats as a WFDB annotation file, whole or not at all. Raises ResourceError, UsageError.

    A class that is no symbol of WFDB gets Q, with its name as the note of the annotation.
    """
    import wfdb

    extension = path.suffix.removeprefix(".")
    if not re.fullmatch("[a-zA-Z]+", extension):
        raise UsageError(f"{extension!r} cannot be the ending of an annotation file", hint="letters only, such as pred")
    with files.folder() as there:
        if len(beats.sample):
            symbols = np.array([SYMBOLS.get(name, OTHER) for name in beats.classes])[beats.label].tolist()
            notes = np.array(["" if name in SYMBOLS else name for name in beats.classes])[beats.label].tolist()
            how = {"symbol": symbols, "fs": beats.rate_hz, "write_dir": str(there)} | (
                {"aux_note": notes} if any(notes) else {}
            )
            wfdb.wrann("beats", extension, beats.sample, **how)
            content = (there / f"beats.{extension}").read_bytes()
        else:
            content = b"\0\0"  # wfdb writes none
    files.write_whole(path, lambda file: file.write(content))


def save_csv(beats: Beats, path: Path) -> None:
    """Write a line a beat: time_s, sample, RR_s, class, p_<class> of every class."""
    import pandas as pd

    columns = {
        "time_s": np.round(beats.time_s, 4),
        "sample": beats.sample,
        "RR_s": np.round(beats.rr_s, 4),
        "class": np.array(beats.classes, dtype=object)[beats.label],
    }
    columns |= {f"p_{name}": np.round(beats.scores[:, k].astype(np.float64), 4) for k, name in enumerate(beats.classes)}
    table = pd.DataFrame(columns)
    files.write_whole(path, lambda file: table.to_csv(file, index=False, lineterminator="\n"))
