"""A user's labels, names or whole numbers, become classes in order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loaders.files.cache import Arrays
from loaders.formats import label_columns
from toolbox.errors import DataError

NO_LABEL, UNLABELLED = "none", "unlabelled"
LARGEST = 2**53  # above, neighbouring numbers are one
FEW, MANY = 50, 10  # most classes, and least values of a sample, for which the first column may be the label
COLUMN = "--label-column with the column of classes"


def coded(arrays: Arrays, where: str) -> Arrays:
    """The arrays with y (N,) and classes (K,) in place of the label (N,); rows without labels have one class. Many
    labels a row become y (N, K), see `label_columns`.

    Raises DataError for one class only, a class with one row, and labels that are values, not classes.
    """
    arrays = label_columns.coded(arrays, where)
    if "y" in arrays:
        return arrays
    if "label" not in arrays:
        return arrays | {"y": np.zeros(len(arrays["x"]), np.int64), "classes": np.array([UNLABELLED])}
    arrays = _coded(arrays, where)
    y, names = arrays["y"], arrays["classes"]
    counts = np.bincount(y, minlength=len(names))
    there = counts[counts > 0]
    if len(there) > len(y) / 2:
        what = f"{len(y)} rows have {len(there)} different labels: values to estimate, not classes"
        raise DataError(what, where=where, hint="--label-column with another column, or fewer labels")
    if len(there) == 1:
        what = f"all {len(y)} rows have the label {names[counts.argmax()][:40]}, classification needs two classes"
        raise DataError(what, where=where, hint=f"--label-column {NO_LABEL} to detect anomalies")
    if (there == 1).any():
        what = f"the class {names[(counts == 1).argmax()][:40]} has a single row, which cannot be trained on and tested"
        raise DataError(what, where=where, hint=f"more rows of it, or none; or {COLUMN}")
    return arrays


def coded_among(arrays: Arrays, where: str, *, classes: Sequence[str], lowest: int | None) -> Arrays:
    """As `coded` for rows of known classes; any number of rows of each is allowed.

    Labels without a name of a class are numbers of the classes from `lowest` on, if it is given. Raises DataError for
    rows without labels, unless there is one class.
    """
    arrays = label_columns.coded(arrays, where)
    if "y" in arrays:
        return arrays
    if "label" not in arrays:
        if len(classes) > 1:
            raise DataError("a test needs labels, the rows have none", where=where, hint=COLUMN)
        return arrays | {"y": np.zeros(len(arrays["x"]), np.int64), "classes": np.array(classes)}
    is_stated = "classes" in arrays
    arrays = _coded(arrays, where)
    names = arrays["classes"].tolist()
    if is_stated or lowest is None or set(names) & set(classes):
        return arrays
    numbers = {str(lowest + k): name for k, name in enumerate(classes)}
    return arrays | {"classes": np.array([numbers.get(name, name) for name in names])}


def named(labels: NDArray[np.str_], classes: Sequence[str], lowest: int | None) -> NDArray[np.str_]:
    """Labels (N,) as names of classes, where they are names or numbers of classes; other texts as they are."""
    known = {name: name for name in classes}
    if lowest is not None and not set(known) & {str(lowest + k) for k in range(len(classes))}:
        known |= {str(lowest + k): name for k, name in enumerate(classes)}
    texts, inverse = np.unique(labels, return_inverse=True)
    return np.array([known.get(text) or known.get(whole(text) or "", text) for text in texts.tolist()], str)[inverse]


def whole(text: str) -> str | None:
    """A whole number without a point or an exponent; None for another text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return str(int(value)) if abs(value) <= LARGEST and value == int(value) else None


def _coded(arrays: Arrays, where: str) -> Arrays:
    """The arrays with y and classes in place of the label; stated classes are the names of its numbers."""
    names, y = _sorted(arrays["label"], where)
    rest = {name: values for name, values in arrays.items() if name != "label"}
    if "classes" not in arrays:
        return rest | {"y": y, "classes": names}
    classes = arrays["classes"]
    if strange := sorted(set(names.tolist()) - set(map(str, range(len(classes))))):
        what = f"the label {strange[0][:40]} is not one of 0..{len(classes) - 1} ({', '.join(classes)})"
        raise DataError(what, where=where, hint="numbers from 0 on, or leave classes out")
    return rest | {"y": names.astype(np.int64)[y]}


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
        raise DataError(what, where=where, hint=COLUMN)
    whole, which = np.unique(numbers.astype(np.int64), return_inverse=True)
    return whole.astype(str), which[y].astype(np.int64)


def label_is_first(first: NDArray[np.float32], last: NDArray[np.str_]) -> bool:
    """Whether the first column (N,) has classes rather than the last (N,): few whole numbers against many numbers."""
    kinds, counts = np.unique(first, return_counts=True)
    if not 2 <= len(kinds) <= FEW or counts.min() < 2 or (kinds != np.round(kinds)).any():
        return False
    try:
        values = np.unique(np.unique(last).astype(np.float64))
    except ValueError:  # names
        return False
    return len(values) > max(MANY, 3 * len(kinds))
