"""Crops of records: their length, and how many of each class an epoch has.

samples, times = parse("2.5s", 100, classes, longest=1000)          # 250 samples, one crop of each record
samples, times = parse("3000:A=6", 300, ("N", "A"), longest=30000)  # six of a record of class A
Cropped.of(request, 1000).rows                                      # of twelve-lead records
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loaders.declaration import Request
from toolbox.errors import UsageError
from toolbox.registry import pick

SHORTEST, MOST_CROPS = 64, 1000


def parse(text: str, rate_hz: float, classes: Sequence[str], *, longest: int) -> tuple[int, dict[str, int]]:
    """The samples of a crop, and the crops per epoch of a record of each class, from "3000", "2.5s" or "3000:A=6,NO=2".

    Raises UsageError for another text, or a crop of fewer than SHORTEST or more than `longest` samples.
    """
    length, _, counts = text.partition(":")
    samples, times = _samples(length.strip(), rate_hz, longest), dict.fromkeys(classes, 1)
    for part in counts.split(",") if counts else ():
        name, _, count = (word.strip() for word in part.partition("="))
        pick("crops", times, name)
        times[name] = _whole(count, f"--crops: the crops of {name} are", 1, MOST_CROPS)
    return samples, times


def _samples(text: str, rate_hz: float, longest: int) -> int:
    what = "--crops: the samples of a crop are"
    if not text.endswith("s"):
        return _whole(text, what, SHORTEST, longest)
    try:
        samples = round(float(text[:-1]) * rate_hz)
    except (ValueError, OverflowError):
        samples = 0
    if not SHORTEST <= samples <= longest:
        least, most = (f"{samples / rate_hz:.4g}" for samples in (SHORTEST, longest))
        raise UsageError(
            f"--crops is {text[:40]!r}, must be {least} to {most} s at {rate_hz:g} Hz", hint="--crops 2.5s"
        )
    return samples


def _whole(text: str, what: str, low: int, high: int) -> int:
    number = int(text) if text.strip().isascii() and text.strip().isdigit() and len(text) < 10 else math.nan
    if not low <= number <= high:
        what = f"{what} {text.strip()[:40]!r}, must be a whole number from {low} to {high}"
        raise UsageError(what, hint="--crops 3000:A=6")
    return int(number)


def stride(samples: int) -> int:
    """The samples between windows of `samples` of a record of twelve leads: half a window, as in the benchmark of
    PTB-XL (code/models/fastai_model.py in helme/ecg_ptbxl_benchmarking at 903cadc).

    Its published code takes the largest probability over the windows, not the mean; the state space models of Mehari
    and Strodthoff (2023) take the mean over windows a whole window apart (code/clinical_ts/ecg_dataset_wrapper.py in
    tmehari/ssm_ecg at 3500ff3).
    """
    return max(1, samples // 2)


def scored(apart: int, rate_hz: float) -> str:
    """How records of windows `apart` samples from each other are scored, in words."""
    return f"a record is scored once, by the mean over windows {apart / rate_hz:.4g} s apart"


@dataclass(frozen=True)
class Cropped:
    """The crops of twelve-lead records: samples of a row, and the arguments of `RecordRows` ({}: whole records)."""

    samples: int
    rows: dict[str, Any]
    rule: str = ""

    @classmethod
    def of(cls, request: Request, samples: int) -> "Cropped":
        """Those of a request for records of `samples` samples.

        Raises UsageError for crops by class, which only strips have, and for a length that `parse` refuses.
        """
        text, rate_hz = request.options.crops, request.options.rate
        if text is None:
            return cls(samples, {})
        if ":" in text:
            raise UsageError(f"--crops {text[:40]} counts crops by class, which is for strips", hint="--crops 2.5s")
        length, _ = parse(text, rate_hz, (), longest=samples)
        rule = f"; trained on crops of {length / rate_hz:.4g} s, {scored(stride(length), rate_hz)}"
        return cls(length, {"samples": length, "seed": request.seed, "stride": stride(length)}, rule)
