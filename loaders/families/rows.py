"""Published rows become Data: divided, and described as declared; or the rows of one class, for anomaly detection.

def load(request):
    return rows.as_data(request, Split.of({"x": x, "y": y}))
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from loaders import splits
from loaders.base import Data, Rows, Split, describe
from loaders.declaration import Request
from loaders.files.cache import checksum as checksum_of
from loaders.formats.labels import UNLABELLED
from loaders.splits import Indices
from toolbox.errors import DataError, UsageError


def as_data(
    request: Request,
    rows: Split,
    checksum: str | None = None,
    *,
    open_test: Callable[[], Split] | None = None,
    rule: str = "",
    strata: Indices | None = None,
    test_rows: int | None = None,
    test_seed: int | None = None,
) -> Data:
    """The dataset of these `rows`: 20 % of each class test, or the rows of `open_test` instead.

    `checksum` is the digest of the content (default: computed), `rule` the choice of the test rows (default: at
    random). `strata` (N,) replace y as the classes of the split; `test_rows` and `test_seed` as in `splits.divide`.
    Raises DataError for an empty split.
    """
    y, holdout, seed = rows.y if strata is None else strata, request.val_fraction, request.seed
    record, where = rows.record, request.where
    if open_test:
        train, val, drawn = splits.drawn(y, holdout, seed, record=record, where=where)
    else:
        train, val, test, drawn = splits.divide(
            y, holdout, seed, test_rows=test_rows, test_seed=test_seed, record=record, where=where
        )
        rule = rule or splits.at_random(f"{request.dataset.view}s", seed if test_seed is None else test_seed)
        open_test = lambda: rows.rows(test)  # noqa: E731
    rule = "; ".join(filter(None, (rule, request.dataset.remark, drawn)))
    spec = describe(request, rule, samples=rows.x.shape[2])
    checksum = checksum or checksum_of({"x": rows.x, "y": rows.y})
    return Data(spec, rows.rows(train), rows.rows(val), open_test, checksum)


NORMAL_NAMES = ("normal", "n", "norm")


def normal_class(classes: Sequence[str], named: str | None) -> str:
    """The normal class: the one `named`, else the only class or one with such a name. Raises UsageError."""
    if named is not None and named not in classes:
        raise UsageError(f"unknown --normal-class '{named[:60]}'; classes are {', '.join(classes)}", hint=classes[0])
    found = [name for name in classes if name.lower() in NORMAL_NAMES or len(classes) == 1]
    if named is None and not found:
        what = f"cannot infer the normal class from the classes {', '.join(classes)}"
        raise UsageError(what, hint=f"--normal-class {classes[0]}")
    return named or found[0]


def check_told_apart(test: Rows, classes: Sequence[str], normal: str, where: str) -> None:
    """Raise DataError if the test has no row of the normal class, or no anomaly."""
    anomalies = int((test.y != classes.index(normal)).sum())
    if tuple(classes) != (UNLABELLED,) and not 0 < anomalies < len(test):
        lacks = f"no row of {normal}" if anomalies else "no anomaly"
        raise DataError(f"{lacks} is in the test set, detection needs both", where=where, hint="another --split")


def only_normal(data: Data, named: str | None) -> Data:
    """`data` with the rows of the normal class in train and validation; the test split is unchanged.

    Raises DataError for an empty split, and, at the opening of the test, for one without normal rows or anomalies.
    """
    if data.spec.many_labels:
        raise UsageError("--task detect needs one class a row, the rows have many labels", hint="--task classify")
    normal = normal_class(data.spec.classes, named)
    label = data.spec.classes.index(normal)
    train, val = (split.rows(np.flatnonzero(split.y == label)) for split in (data.train, data.val))
    for name, split in (("train", train), ("validation", val)):
        if not len(split):
            what, hint = f"no row of {normal} is in {name}", "another --normal-class or --val-fraction"
            raise DataError(what, where=data.spec.name, hint=hint)
    left_out = len(data.train) + len(data.val) - len(train) - len(val)

    def open_test() -> Rows:
        test = data.open_test()
        check_told_apart(test, data.spec.classes, normal, data.spec.name)
        return test

    unlabelled = "no row has a label, all are taken for normal"
    rule = unlabelled if normal == UNLABELLED else f"trained and validated on {normal} alone"
    rule = f"{data.spec.split_rule}; {rule}"
    rule += f", {left_out:,} other rows of theirs left out" if left_out else ""
    return replace(data, spec=replace(data.spec, split_rule=rule), train=train, val=val, open_test=open_test)
