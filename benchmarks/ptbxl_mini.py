"""PTB-XL in miniature: the networks of a finished study, beside what needs no training of a network.

    python research.py grids/ptbxl_mini.yaml --workers 1
    python benchmarks/ptbxl_mini.py [--root-dir ecg_data] [--study ptbxl_mini] [--seeds 3]

Two kinds of rows stand beside the networks: a logistic regression on simple features of a whole record (moments,
quantiles and slopes of each lead, heart rate, mean beat), and the same networks with random weights of which only the
last layer is fitted. Both choose their regularisation by macro AUROC on validation (fold 9); fold 10 is predicted once
with the choice. Intervals are over patients, as in every report. Prints a table in markdown.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

import args as commander_args
from commands import build, choices
from commands.compare import METRICS
from commands.probe import EPOCHS
from loaders.base import Data
from studies.ledger import DONE, Ledger
from toolbox.ecg import rpeaks
from toolbox.flags import Flags
from toolbox.metrics import labels
from toolbox.runs.folder import RESULTS
from toolbox.terminal import StopRequest
from toolbox.training import linear
from toolbox.training.transfer import PROBE

Array = NDArray[Any]
HEAD = "| | validation | test | 95 % interval |\n| --- | --- | --- | --- |\n"
QUANTILES = (1, 5, 25, 50, 75, 95, 99)
BEAT_S, POINTS = (-0.3, 0.5), 16  # of the mean beat


@dataclass(frozen=True)
class Tested:
    """The macro AUROC of one seed on validation and test, and the interval of the latter."""

    val: float
    test: float
    interval: Sequence[float]


def features(signal: Array, rate_hz: float) -> Array:
    """The features (D,) of a record (C, T) in mV: 12 of each lead, its mean beat in POINTS, and two of the rhythm."""
    slope = np.diff(signal, axis=1) * rate_hz
    centred = signal - signal.mean(1, keepdims=True)
    spread = centred.std(1)
    skew, peak = ((centred**power).mean(1) / np.maximum(spread, 1e-6) ** power for power in (3, 4))
    of_leads = [signal.mean(1), spread, skew, peak, slope.std(1), *np.percentile(signal, QUANTILES, axis=1)]
    at = rpeaks.in_signal(signal[1], rate_hz)  # lead II
    between_s = np.diff(at) / rate_hz
    rhythm = [60 / between_s.mean(), between_s.std()] if len(between_s) > 1 else [0.0, 0.0]
    first, last = (round(end * rate_hz) for end in BEAT_S)
    whole = [peak for peak in at if peak + first >= 0 and peak + last <= signal.shape[1]]
    beat = np.mean([centred[:, peak + first : peak + last] for peak in whole], axis=0) if whole else None
    places = np.linspace(0, last - first - 1, POINTS).astype(int)
    shape = np.zeros((len(signal), POINTS)) if beat is None else beat[:, places]
    return np.concatenate([np.ravel(of_leads), shape.ravel(), rhythm])


def of_split(split: Any, rate_hz: float) -> Array:
    """The features (N, D) of a split's records."""
    return np.stack([features(split.signal(row).astype(float), rate_hz) for row in range(len(split))])


def measured(val: tuple[Array, Array], test: tuple[Array, Array], record: Array) -> Tested:
    """The figures of targets and scores (N, K)."""
    values = [
        labels.score(*split, np.zeros(len(split[0])), np.full(split[0].shape[1], 0.5))["macro_auroc"]
        for split in (val, test)
    ]
    none, at = np.zeros(len(test[0])), np.full(test[0].shape[1], 0.5)
    return Tested(*values, labels.bootstrap(*test, none, at, record=record)["intervals"]["macro_auroc"])


def regression(data: Data) -> Tested:
    """Logistic regression on `features`, its strength chosen on validation."""
    rate_hz, classes = data.spec.rate_hz, len(data.spec.classes)
    train, val = (of_split(split, rate_hz) for split in (data.train, data.val))
    fits = [linear.fit(train, data.train.y, strength, classes) for strength in linear.STRENGTHS]
    scores = [expit(val @ weight.T + bias) for weight, bias in fits]
    areas = [
        labels.score(data.val.y, each, np.zeros(len(val)), np.full(classes, 0.5))["macro_auroc"] for each in scores
    ]
    best, test = int(np.argmax(areas)), data.open_test()
    weight, bias = fits[best]
    seen = expit(of_split(test, rate_hz) @ weight.T + bias)
    return measured((data.val.y, scores[best]), (test.y, seen), test.record)


def random_weights(flags: Flags, data: Data) -> Tested:
    """A network with the random weights of the seed; the strength of its last layer is chosen on validation."""
    scheduler = commander_args.FLAGS.defaults["scheduler"]  # the study's one counts epochs of steps
    trainer, best = build.build(flags.replace(train=PROBE, epochs=EPOCHS, scheduler=scheduler), data), {}

    def keep(probe: Any, row: dict[str, Any], seen: Any) -> None:
        if probe.best_epoch == row["epoch"]:
            best.update(seen=seen, weights=deepcopy(probe.model.state_dict()))

    trainer.fit(EPOCHS, on_epoch=keep, stop=StopRequest())
    trainer.model.load_state_dict(best["weights"])
    val, test = best["seen"], trainer.predict(data.open_test())
    return measured((val.target, val.scores), (test.target, test.scores), test.record)


def trained(ledger: Ledger) -> dict[str, list[Tested]]:
    """The tests of the study's runs by network, in the order of their seeds."""
    found: dict[str, list[Tested]] = {}
    for _, record in sorted(ledger.records().items(), key=lambda item: item[1]["rep"]):
        if record["state"] == DONE:
            results, metrics = (
                json.loads((ledger.root / record["run"] / part).read_text()) for part in (RESULTS, METRICS)
            )
            values = [results[split]["macro_auroc"] for split in ("val", "test")]
            tested = Tested(*values, metrics["intervals"]["macro_auroc"])
            found.setdefault(record["flags"]["model-name"], []).append(tested)
    return found


def line(name: str, tested: Sequence[Tested]) -> str:
    """A row of the table: means over the seeds (standard deviation), and the interval of the first seed."""

    def cell(values: Iterable[float]) -> str:
        kept = [*values]
        return f"{np.mean(kept):.3f}" + (f" ({np.std(kept, ddof=1):.3f})" if len(kept) > 1 else "")

    low, high = tested[0].interval
    return (
        f"| {name} | {cell(one.val for one in tested)} | {cell(one.test for one in tested)} | {low:.2f}-{high:.2f} |\n"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root-dir", type=Path, default=Path("ecg_data"))
    parser.add_argument("--study", default="ptbxl_mini")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    ledger = Ledger.open(asked.root_dir, asked.study, make=False)
    networks = trained(ledger)
    given = {record["flags"]["model-name"]: record["given"] for record in ledger.records().values()}

    def flags_of(name: str, **changes: Any) -> Flags:
        flags = choices.settle(commander_args.resolve({**given[name], "root_dir": asked.root_dir, **changes}))
        return choices.for_rows(flags, given[name], many_labels=True)

    data = build.load_data(flags_of(next(iter(networks)), crops=None))
    rows, patients = (data.train, data.val, data.open_test()), len(np.unique(data.open_test().record))
    counts = ", ".join(f"{len(of)}" for of in rows)
    sys.stdout.write(f"{counts} records of training, validation and test, the last of {patients} patients\n\n{HEAD}")
    sys.stdout.write(line("logistic regression on simple features", [regression(data)]))
    for name, tested in networks.items():
        data = build.load_data(flags_of(name))
        twins = [random_weights(flags_of(name, seed=42 + seed), data) for seed in range(asked.seeds)]
        sys.stdout.write(line(f"`{name}`, random weights, last layer fitted", twins))
        sys.stdout.write(line(f"`{name}`, trained", tested))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
