"""Many labels a row in a user's table: several columns of 0 and 1, one column with a separator, or an array (N, K).

    parts("AFIB,LBBB")        # {"label of AFIB": "AFIB", "label of LBBB": "LBBB"}: columns of 0 and 1
    parts("findings:;")       # {"label": "findings"}, and separator_of("findings:;") is ";": "AFIB;LBBB", or nothing
    arrays = coded(arrays, where)    # y (N, K) and classes (K,) in place of the texts of these columns

A row of zeros, and an empty text with a separator, is a row without any of the classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from loaders.files.cache import Arrays
from loaders.files.sources import log
from toolbox.errors import DataError

PART, SEPARATOR, LABELS = "label of ", "separator", "labels"  # names of arrays before `coded`
MOST_LETTERS = 3  # of a separator
FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
HINT = "0 or 1 in every column of labels"
MOST_CLASSES = 1000


def separator_of(asked: str | None) -> str:
    """The separator of several labels in the column that --label-column names, "" for none."""
    name, colon, mark = (asked or "").rpartition(":")
    name, mark = (name[:-1], ":") if not mark and name.endswith(":") else (name, mark)  # "findings::"
    is_mark = 0 < len(mark) <= MOST_LETTERS and not any(letter.isalnum() for letter in mark)
    return mark if colon and name and is_mark else ""


def parts(asked: str | None) -> dict[str, str]:
    """The columns that --label-column names, by part of a row; none without a label."""
    if asked is None:
        return {}
    if mark := separator_of(asked):
        return {"label": asked[: -len(mark) - 1]}
    names = [name.strip() for name in asked.split(",") if name.strip()]
    return {PART + name: name for name in names} if len(names) > 1 else {"label": asked}


def names_of(asked: str | None) -> list[str]:
    """The names or numbers of the columns of labels."""
    return list(parts(asked).values())


def stated(label: str | None) -> Arrays:
    """The separator of `label`, as an array to be kept with the texts; {} without one."""
    return {SEPARATOR: np.array([mark])} if (mark := separator_of(label)) else {}


def table_of(values: NDArray, name: str, where: str) -> NDArray[np.int64]:
    """Labels (N, K) of an array of numbers. Raises DataError for another value than 0 and 1."""
    if values.dtype.kind not in "iufb":
        what = f"{name} has the type {values.dtype} and two axes, expected 0 and 1 for each label"
        raise DataError(what, where=where, hint=HINT)
    wrong = (values != 0) & (values != 1)
    if wrong.any() or not values.shape[1]:
        row, column = np.argwhere(wrong)[0] if wrong.any() else (0, 0)
        what = (
            f"{name}[{row}, {column}] is {values[row, column]:g}, expected 0 or 1"
            if wrong.any()
            else f"{name} is empty"
        )
        raise DataError(f"{what}; wrong labels: {wrong.sum()}", where=where, hint=HINT)
    return values.astype(np.int64)


def coded(arrays: Arrays, where: str) -> Arrays:
    """The arrays with y (N, K) of 0 and 1 and classes (K,), if they have many labels a row; else as they are.

    Raises DataError for another value than 0 and 1, and for rows of which none has a label.
    """
    own = [name for name in arrays if name.startswith(PART)]
    if LABELS in arrays:
        y, names = arrays[LABELS], _names(arrays, arrays[LABELS].shape[1], where)
    elif own:
        y, names = _of_columns({name.removeprefix(PART): arrays[name] for name in own}, arrays, where)
    elif SEPARATOR in arrays and "label" in arrays:
        y, names = _split(arrays["label"], str(arrays[SEPARATOR][0]))
    else:
        return arrays
    if len(y) and (y.sum(1) == 1).all():
        log.info("every row of %s has one label: numbers or names of classes would train one class a row", where)
    if not y.any():
        raise DataError("no row has a label", where=where, hint="--label-column with the columns of labels")
    if len(names) > MOST_CLASSES:
        what = f"the rows have {len(names)} different labels, at most {MOST_CLASSES:,} are allowed"
        raise DataError(what, where=where, hint="--label-column with another column or separator")
    kept = {name: values for name, values in arrays.items() if name not in (*own, LABELS, SEPARATOR, "label")}
    return kept | {"y": y, "classes": np.array(names)}


def _names(arrays: Arrays, count: int, where: str) -> Sequence[str]:
    """The names of `count` labels: those stated as classes, or numbers."""
    if "classes" not in arrays:
        return [f"label {number}" for number in range(1, count + 1)]
    if len(arrays["classes"]) != count:
        what = f"classes has {len(arrays['classes'])} names, y has {count} labels a row"
        raise DataError(what, where=where, hint="a name for each column of y")
    return arrays["classes"].tolist()


def _of_columns(
    columns: Mapping[str, NDArray[np.str_]], arrays: Arrays, where: str
) -> tuple[NDArray[np.int64], list[str]]:
    y = np.empty((len(arrays["x"]), len(columns)), np.int64)
    index = arrays.get("index", np.arange(len(y)))
    for k, (name, texts) in enumerate(columns.items()):
        kinds, of = np.unique(texts, return_inverse=True)
        values = np.array([FLAGS.get(text.lower(), -1) for text in kinds.tolist()])
        y[:, k] = values[of]
        if (wrong := np.flatnonzero(y[:, k] < 0)).size:
            what = f"row {index[wrong[0]]}, counted from 0, has '{texts[wrong[0]][:40]}' in the label column {name}"
            raise DataError(f"{what}, expected 0 or 1; wrong labels: {wrong.size}", where=where, hint=HINT)
    return y, list(columns)


def _split(texts: NDArray[np.str_], mark: str) -> tuple[NDArray[np.int64], list[str]]:
    """The labels of texts (N,) with `mark` between names, which are sorted."""
    sets = [{part.strip() for part in text.split(mark)} - {""} for text in texts.tolist()]
    names = sorted(set().union(*sets))
    number = {name: k for k, name in enumerate(names)}
    y = np.zeros((len(sets), len(names)), np.int64)
    for row, own in enumerate(sets):
        y[row, [number[name] for name in own]] = 1
    return y, names
