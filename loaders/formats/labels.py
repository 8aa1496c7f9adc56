"""Labels as a user writes them, names or whole numbers, become classes in order; what is no classification is
refused."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loaders.files.cache import Arrays
from toolbox.errors import DataError

NO_LABEL, UNLABELLED = "none", "unlabelled"
LARGEST = 2**53  # above, neighbouring numbers are one
FEW, MANY = (
    50,
    10,
)  # classes at most, and values of a sample at least, where it is asked which of two columns is the label


def coded(arrays: Arrays, where: str) -> Arrays:
    """The arrays with y (N,) and classes (K,) in place of the label (N,); without one, all rows are of one class.

    Raises DataError for one class only, a class of one row, and labels that are rather values than classes.
    """
    if "label" not in arrays:
        return arrays | {"y": np.zeros(len(arrays["x"]), np.int64), "classes": np.array([UNLABELLED])}
    names, y = _sorted(arrays["label"], where)
    if "classes" in arrays:
        y, names = _numbered(names, arrays["classes"], where)[y], arrays["classes"]
    counts = np.bincount(y, minlength=len(names))
    there = counts[counts > 0]
    if len(there) > len(y) / 2:
        what = f"{len(y)} rows have {len(there)} different labels: values to be estimated, not classes"
        raise DataError(what, where=where, hint="--label-column with another column, or fewer labels")
    if len(there) == 1:
        what = f"all {len(y)} rows have the label {names[counts.argmax()][:40]}: there is nothing to tell apart"
        raise DataError(what, where=where, hint=f"--label-column {NO_LABEL} to detect anomalies")
    if (there == 1).any():
        what = f"the class {names[(counts == 1).argmax()][:40]} has a single row, which cannot be trained on and tested"
        raise DataError(
            what, where=where, hint="more rows of it, or none; or --label-column with the column of classes"
        )
    return {name: values for name, values in arrays.items() if name != "label"} | {"y": y, "classes": names}


def among(arrays: Arrays, where: str, *, classes: Sequence[str], lowest: int | None) -> Arrays:
    """The same for rows that are to be of known classes, of which there may be any number, or none of some.

    Numbers stand for named classes, from `lowest` on, where that is given and no name is there. A DataError for rows
    without labels, unless all rows are of one class.
    """
    if "label" not in arrays:
        if len(classes) > 1:
            raise DataError(
                "the rows have no labels to be tested on", where=where, hint="--label-column with the column of classes"
            )
        return arrays | {"y": np.zeros(len(arrays["x"]), np.int64), "classes": np.array(classes)}
    names, y = _sorted(arrays["label"], where)
    if "classes" in arrays:
        y, names = _numbered(names, arrays["classes"], where)[y], arrays["classes"]
    elif lowest is not None and not set(names.tolist()) & set(classes):
        numbers = {str(lowest + k): name for k, name in enumerate(classes)}
        names = np.array([numbers.get(name, name) for name in names.tolist()])
    return {name: values for name, values in arrays.items() if name != "label"} | {"y": y, "classes": names}


def _sorted(labels: NDArray[np.str_], where: str) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """The classes (K,) in order, whole numbers by their value, and the class of each row (N,)."""
    names, y = np.unique(labels, return_inverse=True)
    try:
        numbers = names.astype(np.float64)
    except ValueError:  # at least one is a name
        return names, y.astype(np.int64)
    odd = ~(np.abs(numbers) <= LARGEST) | (numbers != np.round(numbers))
    if odd.any():
        what = f"the label {names[odd.argmax()][:40]} is neither a whole number nor a name"
        raise DataError(what, where=where, hint="--label-column with the column of classes")
    whole, which = np.unique(numbers.astype(np.int64), return_inverse=True)
    return whole.astype(str), which[y].astype(np.int64)


def _numbered(labels: NDArray[np.str_], classes: NDArray[np.str_], where: str) -> NDArray[np.int64]:
    """Distinct labels as the numbers of named classes."""
    if strange := sorted(set(labels.tolist()) - set(map(str, range(len(classes))))):
        what = f"the label {strange[0][:40]} is not one of 0..{len(classes) - 1} ({', '.join(classes)})"
        raise DataError(what, where=where, hint="numbers from 0 on, or leave classes out")
    return labels.astype(np.int64)


def stand_first(first: NDArray[np.float32], last: NDArray[np.str_]) -> bool:
    """Whether the first column (N,) holds classes and not the last (N,): few whole numbers, where the last has many
    numbers."""
    kinds, counts = np.unique(first, return_counts=True)
    if not 2 <= len(kinds) <= FEW or counts.min() < 2 or (kinds != np.round(kinds)).any():
        return False
    try:
        values = np.unique(np.unique(last).astype(np.float64))
    except ValueError:  # names
        return False
    return len(values) > max(MANY, 3 * len(kinds))
