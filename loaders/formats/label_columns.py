"""Many labels a row in a user's table: several columns of 0 and 1, one column with a separator, or an array (N, K).

    parts("AFIB,LBBB")        # {"label of AFIB": "AFIB", "label of LBBB": "LBBB"}: columns of 0 and 1
    parts("findings:;")       # {"label": "findings"}, and separator_of("findings:;") is ";": "AFIB;LBBB", or nothing
    parts("one:AFIB,LBBB")    # the same columns, of which each row has exactly one
    arrays = coded(arrays, where)    # y (N, K) and classes (K,) in place of the texts of these columns

A row of zeros, and an empty text with a separator, is a row without any of the classes.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from loaders.files.cache import Arrays
from loaders.files.sources import log
from toolbox.errors import DataError
from toolbox.runs.predictions import BETWEEN

PART, ASKED, LABELS = "label of ", "asked", "labels"  # names of arrays before `coded`
ONE = "one:"  # before columns of which each row has one
MOST_LETTERS = 3  # of a separator
FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
HINT = "0 or 1 in every column of labels"
MOST_CLASSES = 1000
Table = tuple[NDArray[np.int64], Sequence[str]]  # y (N, K) of 0 and 1, and the names of its K labels


def is_one(asked: str | None) -> bool:
    """Whether --label-column names columns of which each row has exactly one."""
    return (asked or "").startswith(ONE) and not _is_mark(str(asked).removeprefix(ONE))


def marked(names: str, asked: str | None) -> str:
    """The names of columns with the mark of one label, if --label-column has it and they are several."""
    return ONE + names if is_one(asked) and len(names_of(asked)) > 1 else names


def _is_mark(text: str) -> bool:
    return 0 < len(text) <= MOST_LETTERS and not any(letter.isalnum() for letter in text)


def _columns(asked: str | None) -> str:
    """The columns that --label-column names, without the mark of one label."""
    return str(asked).removeprefix(ONE) if is_one(asked) else asked or ""


def separator_of(asked: str | None) -> str:
    """The separator of several labels in the column that --label-column names, "" for none."""
    name, colon, mark = _columns(asked).rpartition(":")
    name, mark = (name[:-1], ":") if not mark and name.endswith(":") else (name, mark)  # "findings::"
    return mark if colon and name and _is_mark(mark) else ""


def parts(asked: str | None) -> dict[str, str]:
    """The columns that --label-column names, by part of a row; none without a label."""
    if asked is None:
        return {}
    columns = _columns(asked)
    if mark := separator_of(asked):
        return {"label": columns[: -len(mark) - 1]}
    names = [name.strip() for name in columns.split(",") if name.strip()]
    return {PART + name: name for name in names} if len(names) > 1 else {"label": columns}


def names_of(asked: str | None) -> list[str]:
    """The names or numbers of the columns of labels."""
    return list(parts(asked).values())


def stated(asked: str | None) -> Arrays:
    """The value of --label-column as an array, to be kept with the texts until `coded`; {} without one."""
    return {ASKED: np.array([asked])} if asked else {}


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
    """The arrays with y (N, K) of 0 and 1 and classes (K,), if they have many labels a row; with the number of its
    class as the label (N,) of each row, and classes (K,), where --label-column has the mark of one label.

    Raises DataError for another value than 0 and 1, for rows of which none has a label, for a row without exactly one
    where one is meant, and for a name that predictions cannot have.
    """
    asked = str(arrays[ASKED][0]) if ASKED in arrays else ""
    kept = {name: values for name, values in arrays.items() if name not in (LABELS, ASKED)}
    kept = {name: values for name, values in kept.items() if not name.startswith(PART)}
    if (found := _table(arrays, asked, where)) is None:
        return kept
    y, names = found
    kept.pop("label", None)
    if is_one(asked):
        many = f"--label-column {_columns(asked)}" if _columns(asked) else "no --label-column"
        hint = f"one 1 in each row, or {many} for many labels a row"
        return kept | {"label": _one(y, arrays, where, hint).astype(str), "classes": np.array(names)}
    if len(y) and (y.sum(1) == 1).all():
        log.info("every row of %s has exactly one label: --label-column %s trains one class a row", where, ONE + asked)
    if not y.any():
        raise DataError("no row has a label", where=where, hint="--label-column with the columns of labels")
    check_names(names, where)
    if len(names) > MOST_CLASSES:
        what = f"the rows have {len(names)} different labels, at most {MOST_CLASSES:,} are allowed"
        raise DataError(what, where=where, hint="--label-column with another column or separator")
    return kept | {"y": y, "classes": np.array(names)}


def check_names(names: Sequence[str], where: str) -> None:
    """Raise DataError for a name of a class that cannot be read back from the joined names of a row's classes."""
    if odd := next((name for name in names if BETWEEN in name), None):
        what = f"the class {odd[:40]!r} has a {BETWEEN!r}, which stands between the classes of a row in predictions"
        raise DataError(what, where=where, hint="another name for it")


def one_each(arrays: Arrays, where: str, *, hint: str) -> NDArray[np.str_]:
    """The name (N,) of the class of each row, of columns or an array of labels. Raises the errors of `coded` for a row
    without exactly one."""
    y, names = cast("Table", _table(arrays, ONE, where))
    return np.array(names)[_one(y, arrays, where, hint)]


def _one(y: NDArray[np.int64], arrays: Arrays, where: str, hint: str) -> NDArray[np.int64]:
    """The class (N,) of each row of y (N, K)."""
    counts = y.sum(1)
    if (wrong := np.flatnonzero(counts != 1)).size:
        row = arrays.get("index", np.arange(len(y)))[wrong[0]]
        what = f"row {row}, counted from 0, has {counts[wrong[0]]} labels, expected exactly one"
        what += f"; rows without a label: {(counts == 0).sum():,}, with several: {(counts > 1).sum():,}"
        raise DataError(what, where=where, hint=hint)
    return y.argmax(1)


def _table(arrays: Arrays, asked: str, where: str) -> Table | None:
    """y (N, K) of 0 and 1 and the names of the K labels; None for rows with a text each."""
    if LABELS in arrays:
        return arrays[LABELS], _names(arrays, arrays[LABELS].shape[1], where)
    if own := {name.removeprefix(PART): texts for name, texts in arrays.items() if name.startswith(PART)}:
        return _of_columns(own, arrays, where)
    if (mark := separator_of(asked)) and "label" in arrays:
        return _split(arrays["label"], mark)
    return None


def _names(arrays: Arrays, count: int, where: str) -> Sequence[str]:
    """The names of `count` labels: those stated as classes, or numbers."""
    if "classes" not in arrays:
        return [f"label {number}" for number in range(1, count + 1)]
    if len(arrays["classes"]) != count:
        what = f"classes has {len(arrays['classes'])} names, y has {count} labels a row"
        raise DataError(what, where=where, hint="a name for each column of y")
    return arrays["classes"].tolist()


def _of_columns(columns: Mapping[str, NDArray[np.str_]], arrays: Arrays, where: str) -> Table:
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


def _split(texts: NDArray[np.str_], mark: str) -> Table:
    """The labels of texts (N,) with `mark` between names, which are sorted."""
    sets = [{part.strip() for part in text.split(mark)} - {""} for text in texts.tolist()]
    names = sorted(set().union(*sets))
    number = {name: k for k, name in enumerate(names)}
    y = np.zeros((len(sets), len(names)), np.int64)
    for row, own in enumerate(sets):
        y[row, [number[name] for name in own]] = 1
    return y, names
