"""Checks of a dataset: declaration, agreement with its DataSpec, repeatability, and the division of its rows.

DATASET["is the same every time"](RowSource("synth", partial(get_data, "synth", root)))
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from loaders import DATASETS, agreement, loaded
from loaders.base import Data, Rows
from loaders.splits import Fold
from toolbox.errors import CommanderError

SIDES = ("train", "val", "test")
OF_A_SPLIT = ("x", "y", "record", "index")


@dataclass(frozen=True)
class RowSource:
    """A dataset and its options; `load` gets what replaces them."""

    name: str
    load: Callable[..., Data]


def declaration(source: RowSource) -> str:
    """The declaration has a phrase and a licence, known classes, and functions that exist."""
    declared = DATASETS[source.name]
    targets = [declared.target, *filter(None, (declared.files.finder, declared.files.diagnose))]
    if not all(callable(loaded(target)) for target in targets):
        return "a target is no function"
    if not (declared.phrase and declared.licence):
        return "it has no phrase, or no licence"
    if not {*declared.scored} <= {*declared.classes} or len(declared.importance) not in (0, len(declared.classes)):
        return "scored or importance do not fit its classes"
    return ""


def agrees(source: RowSource) -> str:
    """The rows of train, validation and test are those of the DataSpec, and so is a batch of them."""
    data = source.load()
    try:
        data = agreement.checked(data, source.name, loaded(DATASETS[source.name].target))
        rows: list[Rows] = [data.train, data.val, data.test]
    except CommanderError as error:
        return error.what
    inputs, labels = next(iter(rows[0].batches(torch.device("cpu")).batches(torch.arange(min(4, len(rows[0]))), 4)))
    right = (len(labels), *data.spec.shape)
    pooled = rows[0].pooled or tuple(inputs[0].shape) == right
    return "" if pooled else f"a batch is {tuple(inputs[0].shape)}, it must be {right}"


def repeatable(source: RowSource) -> str:
    """Two loads give the same rows, in the same order."""
    one, other = source.load(), source.load()
    if one.checksum != other.checksum:
        return "the checksum differs between two loads"
    for side in SIDES:
        mine, theirs = getattr(one, side), getattr(other, side)
        for part in OF_A_SPLIT if not mine.pooled else (*OF_A_SPLIT[1:], "digests"):
            if not np.array_equal(getattr(mine, part), getattr(theirs, part)):
                return f"{side}.{part} differs between two loads"
    return ""


def disjoint(source: RowSource) -> str:
    """No row is on two sides, and no record of the test is in train or validation unless the declaration remarks it."""
    data = source.load()
    if both := {*data.train.index.tolist()} & {*data.val.index.tolist()}:
        return f"{len(both)} rows are in train and in validation"
    trained = np.concatenate([data.train.index, data.val.index])
    if both := {*np.intersect1d(data.test.index, trained).tolist()} & {*data.shared_rows.tolist()}:
        return f"{len(both)} test rows are in train or validation"
    names = {*np.concatenate([data.train.record, data.val.record]).tolist()} & {*data.test.record.tolist()} - {""}
    if names and not DATASETS[source.name].remark:
        return f"records of the test, such as {min(names)}, are also in train or validation, and no remark says it"
    return ""


def folds(source: RowSource) -> str:
    """Each training row validates once in two folds; the test rows stay; and no row validates if none shall."""
    whole, none = source.load(), source.load(val_fraction=0.0)
    halves = [source.load(val_fraction=Fold(number, 2)) for number in (1, 2)]
    training = np.union1d(whole.train.index, whole.val.index).tolist()
    if sorted(np.concatenate([half.val.index for half in halves]).tolist()) != training:
        return "two folds do not validate on each training row once"
    for number, half in enumerate(halves, start=1):
        if {*half.train.index.tolist()} & {*half.val.index.tolist()}:
            return "a row of a fold trains and validates"
        if np.union1d(half.train.index, half.val.index).tolist() != training:
            return "a fold lacks training rows"
        if f"validation is fold {number} of 2" not in half.spec.split_rule:
            return "the split rule does not name the fold"
        if not np.array_equal(half.test.index, whole.test.index):
            return "a fold has other test rows"
    if len(none.val) or np.unique(none.train.index).tolist() != training:
        return "with --val-fraction 0 rows validate, or rows are missing"
    return "" if {data.checksum for data in (none, *halves)} == {whole.checksum} else "a fold has another checksum"


DATASET: dict[str, Callable[[RowSource], str]] = {
    "is declared in full": declaration,
    "agrees with its DataSpec": agrees,
    "is the same every time": repeatable,
    "has rows and records on one side only": disjoint,
    "divides its training rows into folds": folds,
}
