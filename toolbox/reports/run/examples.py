"""The few test rows of a report: the worst and the least certain, chosen after a test and kept in report.npz.

    groups = doubtful(predictions)                                 # name -> places in the predictions
    save(folder / FILE, groups, predictions, data.test)            # a page is made from this file, without the data
    shown, train_errors = load(folder / FILE, predictions)

Signals are kept as whole numbers of 16 bits between the lowest and the highest sample of each lead, charts as pictures.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.runs.predictions import Predictions

Array = NDArray[Any]
FILE = "report.npz"
MOST, FEW, WIDE = 6, 3, 4000  # rows of a group, of a group of wide rows, samples of a wide row in all leads
STEPS = 2**16 - 1
MOST_ERRORS = 20_000  # of training rows, for a histogram
log = logging.getLogger("commander")


class RowsOfATest(Protocol):
    """The test rows of a dataset; rows of charts also have `picture(row)`, (H, W, 3)."""

    @property
    def index(self) -> NDArray[np.int64]: ...
    @property
    def lengths(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def signal(self, row: int) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Shown:
    """A row by its `place` in the predictions: its leads (C, T), their reconstruction or None; or a picture."""

    group: str
    place: int
    signal: Array | None
    output: Array | None
    picture: Array | None


def doubtful(predictions: Predictions) -> dict[str, Array]:
    """The places of the wrong rows with the largest loss, and of the rows with the closest two probabilities."""
    wrong = np.flatnonzero(predictions.scores.argmax(1) != predictions.target)
    worst = wrong[np.argsort(-predictions.loss[wrong], kind="stable")][:MOST]
    two = np.sort(predictions.scores, 1)[:, -2:]
    order = np.argsort(two[:, -1] - two[:, 0], kind="stable")
    return {"worst": worst, "least certain": order[~np.isin(order, worst)][:MOST]}


def doubtful_labels(predictions: Predictions, thresholds: Array) -> dict[str, Array]:
    """As `doubtful`, of many labels: rows with a wrong class at the `thresholds` (K,), and those with probabilities
    nearest to 0.5, by the mean entropy of a class.
    """
    wrong = np.flatnonzero(((predictions.scores >= thresholds) != (predictions.target == 1)).any(1))
    worst = wrong[np.argsort(-predictions.loss[wrong], kind="stable")][:MOST]
    p = np.clip(predictions.scores.astype(float), 1e-12, 1 - 1e-12)
    order = np.argsort((p * np.log(p) + (1 - p) * np.log1p(-p)).mean(1), kind="stable")
    return {"worst labels": worst, "least certain labels": order[~np.isin(order, worst)][:MOST]}


def beyond(errors: Array, anomaly: Array | None, threshold: float) -> dict[str, Array]:
    """The places of rows by reconstruction error (N,): missed anomalies, false alarms, and nearest to the threshold.

    Without labels (`anomaly` None) the rows with the largest errors stand for the first two.
    """
    order = np.argsort(errors, kind="stable")
    if anomaly is None:
        chosen = {"largest error": order[::-1][:MOST]}
    else:
        missed, alarms = order[anomaly[order] & (errors[order] <= threshold)], order[~anomaly[order]][::-1]
        chosen = {"missed anomalies": missed[:MOST], "false alarms": alarms[errors[alarms] > threshold][:MOST]}
    near = np.argsort(np.abs(errors - threshold), kind="stable")
    taken = np.concatenate(list(chosen.values()))
    return chosen | {"nearest to the threshold": near[~np.isin(near, taken)][:MOST]}


def places_in(predictions: Predictions, rows: RowsOfATest, places: Array) -> Array:
    """The first place in `rows` of each predicted row; pieces of a row make one prediction."""
    if len(predictions.index) == len(rows):
        return places
    order = np.argsort(rows.index, kind="stable")
    return order[np.searchsorted(rows.index, predictions.index[places], sorter=order)]


def few(groups: Mapping[str, Array], rows: RowsOfATest, leads: int) -> dict[str, Array]:
    """The groups, shorter where rows are long."""
    longest = int(rows.lengths.max(initial=0)) * leads
    return {name: places[: FEW if longest > WIDE else MOST] for name, places in groups.items()}


def save(
    path: Path,
    groups: Mapping[str, Array],
    predictions: Predictions,
    rows: RowsOfATest,
    *,
    outputs: Sequence[Array] = (),
    train_errors: Array | None = None,
) -> None:
    """Write the rows of `groups`, with `outputs`, a reconstruction of each, and the errors of training rows."""
    places = np.concatenate([*groups.values(), np.empty(0, int)]).astype(int)
    own = places_in(predictions, rows, places).tolist()
    arrays: dict[str, Any] = {"place": places, "index": predictions.index[places]}
    arrays["group"] = np.repeat(np.array([*groups], str), [len(part) for part in groups.values()])
    picture = getattr(rows, "picture", None)
    if picture and own:
        arrays["picture"] = np.stack([picture(row) for row in own])
    elif own:
        arrays |= _packed("signal", [rows.signal(row) for row in own])
        arrays |= _packed("output", outputs) if len(outputs) else {}
    if train_errors is not None:
        every = -(-len(train_errors) // MOST_ERRORS) or 1
        arrays["train_errors"] = np.sort(train_errors)[::every].astype(np.float32)
    files.write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def load(path: Path, predictions: Predictions) -> tuple[list[Shown], Array | None]:
    """The rows of a file of `save`, and the errors of training rows if kept; warns of a damaged or foreign file."""
    if not path.exists():
        return [], None
    try:
        with files.regular(path) as file, np.load(file, allow_pickle=False) as kept:
            arrays = dict(kept)
        places = arrays["place"]
        if not np.array_equal(predictions.index[places], arrays["index"]):
            raise ValueError("it is of another test")
        signals, outputs = (_unpacked(name, arrays) for name in ("signal", "output"))
    except (OSError, KeyError, IndexError, TypeError, ValueError, EOFError, BadZipFile) as error:
        log.warning("no rows in the report: %s cannot be read (%s)", path.name, error)
        return [], None
    pictures = arrays.get("picture", [None] * len(places))
    shown = [
        Shown(str(arrays["group"][i]), int(place), signals[i], outputs[i], pictures[i])
        for i, place in enumerate(places.tolist())
    ]
    return shown, arrays.get("train_errors")


def _packed(name: str, rows: Sequence[Array]) -> dict[str, Array]:
    """Rows (C, T) of unequal T as one array of whole numbers, with the lowest sample and the step of each lead."""
    low = np.stack([row.min(1) for row in rows])  # (n, C)
    step = np.stack([np.ptp(row, axis=1) / STEPS for row in rows])
    whole = [
        np.round((row - base[:, None]) / np.where(size > 0, size, 1)[:, None])
        for row, base, size in zip(rows, low, step, strict=True)
    ]
    flat = np.concatenate([row.astype(np.uint16).ravel() for row in whole])
    lengths = np.array([row.shape[1] for row in rows])
    return {name: flat, f"{name}_length": lengths, f"{name}_low": low, f"{name}_step": step.astype(np.float32)}


def _unpacked(name: str, arrays: Mapping[str, Array]) -> list[Array | None]:
    """The rows of `_packed`; None for each if there are none."""
    if name not in arrays:
        return [None] * len(arrays["place"])
    low, step, lengths = (arrays[f"{name}_{part}"] for part in ("low", "step", "length"))
    ends = np.cumsum(lengths * low.shape[1])
    flat = np.split(arrays[name], ends[:-1])
    return [row.reshape(low.shape[1], -1) * step[i][:, None] + low[i][:, None] for i, row in enumerate(flat)]
