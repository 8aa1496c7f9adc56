"""A check of a user's own dataset: its rows must agree with its DataSpec; the error names the first difference."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from loaders.base import Data, DataSpec, Rows
from toolbox import errors
from toolbox.errors import DataError


def checked(data: Any, name: str, load: Callable[..., Any]) -> Data:
    """The data that `load` returned for the dataset `name`, checked; the test rows are checked when they are opened.

    Raises DataError, with the place of `load`, for rows unlike the spec.
    """

    def refuse(why: str) -> None:
        path, line = errors.source(load)
        if why:
            raise DataError(f"your dataset {name}: {why}", where=f"{path}, line {line}", hint="another return value")

    def opened() -> Rows:
        test = data.open_test()
        refuse(_of_rows(test, "test", data.spec))
        return test

    refuse("" if isinstance(data, Data) else f"it returns {type(data).__name__}, it must return loaders.base.Data")
    refuse(_of_spec(data.spec))
    for side in ("train", "val"):
        refuse(_of_rows(getattr(data, side), side, data.spec))
    refuse("" if len(data.train) else "train has no row")
    refuse("" if isinstance(data.checksum, str) else "checksum must be a str")
    return replace(data, open_test=opened)


def _of_spec(spec: Any) -> str:
    if not isinstance(spec, DataSpec):
        return f"spec is {type(spec).__name__}, it must be loaders.base.DataSpec"
    counts = (("leads", spec.channels), ("importance", len(spec.classes)), ("classes", len(set(spec.classes))))
    for field, count in counts:
        if (found := len(getattr(spec, field))) != count:
            return f"spec has {found} {field}, it must have {count}"
    for field in ("channels", "samples", "rate_hz"):
        value = getattr(spec, field)
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            return f"spec.{field} is {value!r}, it must be above 0"
    return ""


def _of_rows(rows: Any, side: str, spec: DataSpec) -> str:
    """The first difference between a split and its spec, or "". Samples are checked if they are in memory."""
    try:
        count, y, record, index = len(rows), rows.y, rows.record, rows.index
    except (AttributeError, TypeError) as error:
        return f"{side} is {type(rows).__name__}, it must be rows like loaders.base.Split ({error})"
    classes, shapes = len(spec.classes), {"y": [(count,), (count, len(spec.classes)), (count, 0)]}
    for name, array in (("y", y), ("record", record), ("index", index)):
        allowed = shapes.get(name, [(count,)])
        if not isinstance(array, np.ndarray) or array.shape not in allowed:
            return f"{side}.{name} has the shape {np.shape(array)}, it must be {' or '.join(map(str, allowed))}"
    highest = classes - 1 if y.ndim == 1 else 1
    if y.dtype.kind not in "iu":
        return f"{side}.y is {y.dtype}, labels must be whole numbers (int64) from 0 to {highest}"
    if y.size and not 0 <= y.min() <= y.max() <= highest:
        return f"{side}.y goes from {y.min()} to {y.max()}, the classes are 0 to {highest}"
    return "" if rows.pooled or spec.image else _of_samples(rows.x, (count, *spec.shape), side)


def _of_samples(x: Any, shape: tuple[int, ...], side: str) -> str:
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.shape != shape:
        kind = getattr(x, "dtype", type(x).__name__)
        return f"{side}.x is {np.shape(x)} {kind}, by its spec it must be {shape} float32"
    if isinstance(x, np.memmap) or (finite := np.isfinite(x)).all():
        return ""
    return f"{side}.x is not finite, first in row {int(np.argmin(finite.reshape(len(x), -1).all(1)))}"
