"""A user's own NPZ: x (N, C, T) or (N, T), and optionally y (N,) or (N, K) of 0 and 1, record and split (N,), rate_hz,
classes, leads and unit. The array origin of a file of --features is not data.

Arrays of Python objects are refused: reading them could run code.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from loaders.files.archives import opened, reading
from loaders.files.cache import Arrays
from loaders.files.sources import log
from loaders.formats import label_columns
from loaders.formats.csv import columns
from loaders.formats.csv.columns import FEWEST_SAMPLES, of_records
from loaders.formats.labels import NO_LABEL
from toolbox.errors import DataError, DownloadError
from toolbox.flags import words

FACTS = ("rate_hz", "classes", "leads", "unit")
ORIGIN = "origin"  # of a file of --features, as JSON: the network and the data of its numbers
KNOWN = ("x", "y", "record", "split", ORIGIN, *FACTS)


def read_npz(
    path: Path, *, label: str | None, record: str | None, split: str | None, bad_rows: str, ids: str | None = None
) -> Arrays:
    """x (N, C, T) float32, and if present, as text label, record and split (N,); rate_hz, unit (1,), classes (K,),
    leads (C,).

    `label`, `record` and `split` name their arrays; a label of None is not read, a label of "" is y; the arrays `ids`
    are not read. `bad_rows` "drop" leaves out rows of x that are not finite. Raises DataError with the name of the
    array and its fault.
    """
    asked = {"label": None, "record": record, "split": split, **label_columns.parts(label)}
    found = read_arrays(path, asked, words(ids) or (), lacking="label" if label_columns.separator_of(label) else "")
    arrays = finite({"x": found.x} | found.texts, bad_rows, path)
    check_samples(arrays["x"], path)
    arrays |= label_columns.stated(label)
    recognised = {"recognised": np.array([found.recognised])} if found.recognised else {}
    return arrays | found.facts | recognised


def origin_of(path: Path) -> dict[str, Any]:
    """The origin in a file of --features; {} for another or a missing file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = json.loads(str(file[ORIGIN]))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, LookupError, EOFError, BadZipFile, AttributeError, TypeError):
        return {}


class NpzArrays(NamedTuple):
    """The arrays of a file: x (N, C, T); texts (N,) by their part; facts; copied texts (N,) by the name of their array;
    the name of an array of records that was recognised by its name."""

    x: NDArray[np.float32]
    texts: Arrays
    facts: Arrays
    copied: Arrays
    recognised: str


def read_arrays(
    path: Path,
    asked: dict[str, str | None],
    ids: Sequence[str],
    *,
    copies: Callable[[str], bool] | None = None,
    lacking: str = "",
) -> NpzArrays:
    """The arrays of a file. With `copies` the arrays `ids`, and others whose name it accepts, are copied, and a text
    may be empty, as always that of the part `lacking`. A label (N, K) is the array of many labels."""
    with reading(path), _safe(path), _loaded(path) as file:
        if copies is not None:
            ids = list(dict.fromkeys([*ids, *(name for name in file.files if name not in KNOWN and copies(name))]))
        names, recognised = _names(file.files, asked, ids, path)
        x = samples_of(_array(file, "x", path), path)
        facts = {name: _fact(_array(file, name, path), name, x.shape[1], path) for name in FACTS if name in file.files}

        def text(name: str, part: str = "") -> NDArray:
            blank = copies is not None or (part == lacking and bool(part))
            return texts_of(_array(file, name, path), name, len(x), path, blank=blank)

        others = {name: text(name) for name in ids if copies and name not in names.values()}
        many: Arrays = {}
        if "label" in names and (values := _array(file, names["label"], path)).ndim == 2 and len(values) == len(x):
            many = {label_columns.LABELS: label_columns.table_of(values, names.pop("label"), str(path))}
        texts = {part: text(name, part) for part, name in names.items()}
        return NpzArrays(x, texts | many, facts, others, recognised)


@contextmanager
def _safe(path: Path) -> Iterator[None]:
    """Turn the DownloadError of an unsafe zip into DataError: the NPZ is a user's file."""
    try:
        with opened(path):
            yield
    except DownloadError as error:
        raise DataError(error.what, where=error.where, hint="np.savez without compression, for a table") from error


def check_samples(x: NDArray[np.float32], path: Path) -> None:
    if counting := columns.counting_columns(x.reshape(len(x), -1)):
        lead, sample = divmod(counting[0], x.shape[2])
        values = x[:, lead, sample]
        numbers = f"{values[0]:g}, {values[1]:g}, ... {values[-1]:g}"
        what = f"x[:, {lead}, {sample}] is no sample, it numbers the rows or their records: {numbers}"
        raise DataError(what, where=str(path), hint="x without it; numbers of records as the array record")


def _loaded(path: Path) -> NpzFile:
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:  # a zip with something before it
        raise DataError("the file is no NPZ", where=str(path), hint="np.savez(path, x=..., y=...)") from error


def _names(
    there: list[str], asked: dict[str, str | None], ids: Sequence[str], path: Path
) -> tuple[dict[str, str], str]:
    """The array of each part, and the name of an array of records that was recognised by its name.

    y and record are read by default, split is not; a record of "none" is not read.
    """
    wanted = [name for part, name in asked.items() if name and (part, name) != ("record", NO_LABEL)]
    if missing := next((name for name in ("x", *wanted, *ids) if name not in there), None):
        what = f"there is no array {missing}, only {', '.join(there)[:200]}"
        raise DataError(what, where=str(path), hint="np.savez(path, x=..., y=...)")
    others = [name for name in there if name not in (*KNOWN, *wanted, *ids)]
    records = [others[place] for place in of_records(others)]
    if strange := sorted(set(others) - set(records)):
        known = f"the names {', '.join(KNOWN)}, or --label-column, --record-column or --id-columns with another"
        raise DataError(f"unknown arrays: {', '.join(strange)[:200]}", where=str(path), hint=known)
    if "split" in there and not asked["split"]:
        log.info("the array split of %s is not used without --split column:split", path)
    recognised = records[0] if records and not asked["record"] and "record" not in there else ""
    defaults = {"label": "y", "record": recognised or "record", "split": ""}
    names = {part: asked[part] or default for part, default in defaults.items()}
    names |= {part: name for part, name in asked.items() if part not in defaults and name}
    read = {part: name for part, name in names.items() if name in there and (part, asked[part]) != ("label", None)}
    return read, recognised


def _array(file: NpzFile, name: str, path: Path) -> NDArray:
    """An array of the file. Raises DataError for a damaged one and for Python objects."""
    try:
        return file[name]
    except (ValueError, MemoryError, SyntaxError) as error:
        what = "holds Python objects, which are not read" if "pickle" in str(error) else f"cannot be read: {error}"
        hint = "an array of numbers, or of text as np.array(names, dtype=str)"
        raise DataError(f"the array {name} {what}", where=str(path), hint=hint) from error


def samples_of(x: NDArray, path: Path) -> NDArray[np.float32]:
    """(N, C, T) float32; a value beyond its range becomes infinite."""
    if x.dtype.kind not in "fiu":
        what = f"x has the type {x.dtype}, expected real numbers"
        raise DataError(what, where=str(path), hint="x.astype(np.float32)")
    if x.ndim not in (2, 3) or not x.size or x.shape[-1] < FEWEST_SAMPLES:
        what = f"x has the shape {x.shape}, expected (rows, leads, samples) or (rows, samples)"
        raise DataError(f"{what}, {FEWEST_SAMPLES} samples or more", where=str(path), hint="a row for each beat")
    x = x if x.ndim == 3 else x[:, None, :]
    if x.shape[1] > x.shape[2]:
        log.warning("x of %s has %d leads of %d samples: are the axes swapped?", path, *x.shape[1:])
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(x, np.float32)


def texts_of(values: NDArray, name: str, rows: int, path: Path, *, blank: bool = False) -> NDArray[np.str_]:
    """One text a row, of text or numbers; empty only if `blank`."""
    if values.shape != (rows,):
        what = f"x has {rows} rows, {name} has the shape {values.shape}, expected ({rows},)"
        raise DataError(what, where=str(path), hint=f"one {name} for each row of x")
    texts = _text(values, name, path)
    if (texts == "").any() and not blank:
        what = f"{name}[{int((texts == '').argmax())}] is empty"
        raise DataError(what, where=str(path), hint=f"one {name} for each row of x")
    return texts


def _text(values: NDArray, name: str, path: Path) -> NDArray[np.str_]:
    if values.dtype.kind not in "USiufb":
        what = f"{name} has the type {values.dtype}, expected numbers or text"
        raise DataError(what, where=str(path), hint="another type")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    return np.char.strip((values.astype(np.int64) if values.dtype.kind == "b" else values).astype(str))


def _fact(value: NDArray, name: str, leads: int, path: Path) -> NDArray:
    """A checked fact of the file: (1,), or a text for each class or lead."""
    value = np.atleast_1d(value)
    single = value.size == 1
    sizes = {"rate_hz": single, "unit": single, "leads": value.shape == (leads,), "classes": value.ndim == 1}
    value = value.astype(np.float64) if name == "rate_hz" and value.dtype.kind in "fiu" else _text(value, name, path)
    if not sizes[name] or len(np.unique(value)) < value.size:
        what = f"{name} has the shape {value.shape} or a value twice"
        hint = f"one name for each of the {leads} leads" if name == "leads" else "one of each"
        raise DataError(what, where=str(path), hint=hint)
    if name == "rate_hz" and not (value.dtype.kind == "f" and 0 < float(value.flat[0]) < math.inf):
        what = f"rate_hz is {value.flat[0]}, expected a number above 0"
        raise DataError(what, where=str(path), hint="samples a second")
    return value.reshape(-1)


def finite(arrays: Arrays, bad_rows: str, path: Path, *, names: Sequence[str] = ()) -> Arrays:
    """The arrays without rows of x (N, C, T) that are not finite. Raises DataError unless `bad_rows` is "drop".

    `names` are those of the samples, for the error; without names it is the place in x.
    """
    wrong = np.asarray(~np.isfinite(arrays["x"]).all((1, 2)))
    if not wrong.any():
        return arrays
    if bad_rows != "drop" or wrong.all():
        raise _not_finite(arrays["x"], wrong, path, names, first=0)
    return _without(arrays, wrong, first=0)


def finite_part(arrays: Arrays, path: Path, *, drop: bool, first: int, names: Sequence[str] = ()) -> Arrays:
    """As `finite` for a part of the rows, from row number `first` on; always with index and dropped."""
    wrong = np.asarray(~np.isfinite(arrays["x"]).all((1, 2)))
    if wrong.any() and not drop:
        raise _not_finite(arrays["x"], wrong, path, names, first=first)
    return _without(arrays, wrong, first=first)


def _not_finite(
    x: NDArray[np.float32], wrong: NDArray[np.bool_], path: Path, names: Sequence[str], *, first: int
) -> DataError:
    row = int(wrong.argmax())
    lead, sample = np.argwhere(~np.isfinite(x[row]))[0]
    place = f"x[{first + row}, {lead}, {sample}]"
    place = f"column {names[sample]} of row {first + row}, counted from 0," if names else place
    what = f"{place} is {x[row, lead, sample]}; wrong rows: {wrong.sum()}"
    return DataError(what, where=str(path), hint="correct the row, or --bad-rows drop")


def _without(arrays: Arrays, wrong: NDArray[np.bool_], *, first: int) -> Arrays:
    index = np.flatnonzero(~wrong)
    dropped = [f"row {first + row}: not all of its samples are finite" for row in np.flatnonzero(wrong)]
    kept = {name: values[index] for name, values in arrays.items()}
    return kept | {"index": first + index, "dropped": np.array(dropped, str)}
