"""A labelled dataset becomes one for detection: one class is learned, and the test shows whether the others stand
out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from loaders.base import Data, Rows
from toolbox.errors import DataError, UsageError

NORMAL_NAMES = ("normal", "n", "norm")
UNLABELLED = "unlabelled"


def normal_class(classes: Sequence[str], named: str | None) -> str:
    """The class that is normal: the one `named`, else the only one there is or one that is called so; UsageError for
    neither."""
    if named is not None and named not in classes:
        raise UsageError(f"unknown --normal-class '{named[:60]}'; classes are {', '.join(classes)}", hint=classes[0])
    found = [name for name in classes if name.lower() in NORMAL_NAMES or len(classes) == 1]
    if named is None and not found:
        raise UsageError(
            f"which class is normal? It is one of {', '.join(classes)}", hint=f"--normal-class {classes[0]}"
        )
    return named or found[0]


def check_told_apart(test: Rows, classes: Sequence[str], normal: str, where: str) -> None:
    """Raise DataError where the test rows hold one side only: the normal class, or anomalies."""
    anomalies = int((test.y != classes.index(normal)).sum())
    if tuple(classes) != (UNLABELLED,) and not 0 < anomalies < len(test):
        lacks = f"no row of {normal}" if anomalies else "no anomaly"
        raise DataError(f"{lacks} is in the test set, nothing can be told apart", where=where, hint="another --split")


def only_normal(data: Data, named: str | None) -> Data:
    """`data` with the rows of one class, `named` or the obvious one, in train and validation; the test split stays as
    it is.

    Raises DataError where one of them would be empty, and, once the test is opened, where it holds one side only.
    """
    normal = normal_class(data.spec.classes, named)
    label = data.spec.classes.index(normal)
    train, val = (split.rows(np.flatnonzero(split.y == label)) for split in (data.train, data.val))
    for name, split in (("train", train), ("validation", val)):
        if not len(split):
            raise DataError(
                f"no row of {normal} is in {name}",
                where=data.spec.name,
                hint="another --normal-class or --val-fraction",
            )
    left_out = len(data.train) + len(data.val) - len(train) - len(val)

    def open_test() -> Rows:
        test = data.open_test()
        check_told_apart(test, data.spec.classes, normal, data.spec.name)
        return test

    rule = (
        "no row has a label, all are taken for normal"
        if normal == UNLABELLED
        else f"trained and validated on {normal} alone"
    )
    rule = f"{data.spec.split_rule}; {rule}"
    rule += f", {left_out:,} other rows of theirs left out" if left_out else ""
    return replace(data, spec=replace(data.spec, split_rule=rule), train=train, val=val, open_test=open_test)
