"""New rows for a trained run, from a file of rows of any size: read part by part, labels not needed.

    with new_rows.opened(path, Wanted(spec, options)) as rows:
        for part in rows.parts: ...          # x (n, C, T) float32, in the order of the file

Columns are matched by name if the run's table and the file both have names, else taken in their order. The columns of
records and ids are copied, the column of labels is only copied; any other column is refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loaders.base import DataSpec
from loaders.datasets import table, table_npy, table_npz, table_parquet
from loaders.datasets.table_places import BY_NAME, CONVERT, LABEL, Place, Wanted, names_of_labels, placed, sentence
from loaders.files.cache import Arrays
from loaders.files.sources import log
from loaders.formats import label_columns
from loaders.formats.csv import columns, heads
from loaders.formats.csv.columns import Columns
from loaders.formats.csv.rows import read_parts
from loaders.formats.labels import NO_LABEL, named, whole
from toolbox.errors import DataError

IN_ORDER = "in the order of the array"
WOULD_DO = "a CSV or TSV, a file of UCR, Parquet, NPZ or NPY, with a row of samples a line"


@dataclass(frozen=True)
class RowPart:
    """Some rows: `index` (n,) in the file from 0 on, x (n, C, T), copied texts (n,) by name, labels (n,) or None, the
    faults of dropped rows, and the part of the file that was read, up to 1."""

    index: NDArray[np.int64]
    x: NDArray[np.float32]
    copied: Arrays
    label: NDArray[np.str_] | None
    dropped: list[str]
    done: float


class NewRows(NamedTuple):
    """An open file: the columns that are copied, the column of labels, the way samples were matched, and the rows."""

    copied: list[str]
    label: str
    matched: str
    parts: Iterator[RowPart]


@contextmanager
def opened(path: Path, wanted: Wanted) -> Iterator[NewRows]:
    """The rows of a file. Raises DataError for rows unlike the run's, with the column and the row of a fault,
    UsageError for a typed column that does not exist."""
    read = {table_npz.read_npz: _of_npz, table_npy.read_npy: _of_npy, table_parquet.read_parquet: _of_parquet}.get(
        table.form_of(path, WOULD_DO).read, _of_csv
    )
    with contextmanager(read)(path, wanted) as rows:
        kept, faults = 0, []

        def counted() -> Iterator[RowPart]:
            nonlocal kept
            for part in rows.parts:
                kept += len(part.index)
                faults.extend(part.dropped[:1])
                yield part
            if not kept:
                what = f"no row can be kept: {faults[0]}" if faults else "the file has no rows"
                raise DataError(what, where=str(path), hint=CONVERT)

        yield rows._replace(parts=counted())


def _of_csv(path: Path, wanted: Wanted) -> Iterator[NewRows]:
    spec = wanted.spec
    _check_channels(1, spec, path)
    names = [*spec.columns, spec.label_name, spec.record_name, *wanted.ids]
    with heads.opened(path, [name for name in names if name]) as head:
        if not head.header and len(spec.columns) > 1 and {*spec.columns} <= {*head.cells}:  # numbers, in another order
            head = replace(head, header=True, skip=[*head.skip, head.line])
        place = placed(head.cells, wanted, path, header=head.header, where=head.place)
        texts = place.texts
        unread = sorted({*range(len(head.cells))} - {*place.samples, *texts.values()})
        layout = columns.layout_of(head, Columns(texts, unread, ""), blank=True)
        layout = replace(layout, names=head.cells if head.header else ())
        order = np.argsort(np.argsort(place.samples))
        size = head.file.seek(0, 2)

        def parts() -> Iterator[RowPart]:
            read = partial(read_parts, rows=wanted.rows, skip=head.skip, drop=wanted.drop)
            for number, part in enumerate(read(head.file, layout, where=head.where)):
                done = min(head.file.tell() / size, 1.0)
                x = part.arrays.get("x", np.empty((0, len(order)), np.float32))
                if number == 0 and place.matched != BY_NAME:
                    columns.check_counting(x, sorted(place.samples), head.cells if head.header else (), head.where)
                x = x if (order[:-1] < order[1:]).all() else np.ascontiguousarray(x[:, order])
                arrays = dict.fromkeys(texts, np.empty(0, str)) | part.arrays | {"x": x[:, None, :]}
                arrays |= {part: columns.with_points(arrays[part], head.separators[1]) for part in place.labels}
                yield _part(arrays | {"dropped": np.array(part.dropped, str)}, place, wanted, path, done=done)

        log.info("reading %s: %s", path, sentence(place, head.cells, header=head.header))
        label = names_of_labels(place, head.cells, header=head.header)
        yield NewRows([*place.copied], label, place.matched, parts())


def _of_parquet(path: Path, wanted: Wanted) -> Iterator[NewRows]:
    spec = wanted.spec
    _check_channels(1, spec, path)
    with table_parquet.opened(path) as file:
        lists = [name for name in file.names if file.is_of_lists(name)]
        place = placed(file.names, wanted, path, header=True, where=str(path), lists=lists)
        texts = {name: file.names[column] for name, column in place.texts.items()}

        def parts() -> Iterator[RowPart]:
            first = 0
            for part in file.parts([file.names[column] for column in place.samples], texts, wanted.rows):
                if part.x.shape[1] != spec.samples:
                    raise _other_samples(part.x.shape[1], spec, path)
                arrays = {"x": part.x[:, None, :]} | part.texts
                names = () if lists else [file.names[column] for column in place.samples]
                arrays = table_npz.finite_part(arrays, path, drop=wanted.drop, first=first, names=names)
                first += part.rows
                yield _part(arrays, place, wanted, path, done=first / file.rows)

        log.info("reading %s: %s", path, sentence(place, file.names, header=True))
        yield NewRows([*place.copied], names_of_labels(place, file.names, header=True), place.matched, parts())


def _of_npz(path: Path, wanted: Wanted) -> Iterator[NewRows]:
    asked, ids = _asked(wanted), [name for name in wanted.ids if "id_columns" in wanted.typed]
    asked |= {"label": None, **label_columns.parts(asked["label"])}
    typed = [name for part, name in asked.items() if part.startswith(LABEL)]
    several = wanted.labels if wanted.is_one and not typed[1:] else []
    found = table_npz.read_arrays(
        path, asked, ids, copies=lambda name: name in several or (name not in typed and wanted.copies(name))
    )
    labels = _labels(found.texts, wanted)
    if several and {*several} <= {*found.copied}:
        labels = {label_columns.PART + name: found.copied.pop(name) for name in several}
    x = _with_leads(found.x, found.facts, wanted.spec, path)
    records = _records(found.texts, found.recognised, asked)
    yield _of_arrays(x, records | found.copied, labels, found.facts, wanted, path)


def _of_npy(path: Path, wanted: Wanted) -> Iterator[NewRows]:
    named = any(place.suffix == ".csv" for place in table_npy.files_of(path))
    x, asked, ids = table_npy.load_array(path), _asked(wanted, named=named), wanted.option("id_columns")
    texts, recognised = table_npy.texts_beside(path, len(x) if x.ndim else 0, asked, ids=ids, blank=True)
    yield _of_arrays(x, _records(texts, recognised, asked), _labels(texts, wanted), {}, wanted, path)


def _asked(wanted: Wanted, *, named: bool = False) -> dict[str, str | None]:
    """The columns of label, record and split of arrays; several columns of labels of the run only if the labels are
    `named`, and the split of new rows is not read."""
    typed = wanted.option("label_column") or ""
    of_run = wanted.is_one and (named or "label_column" in wanted.typed)
    label = None if typed == NO_LABEL else wanted.asked if of_run else typed
    return {"label": label, "record": wanted.option("record_column"), "split": None}


def _records(texts: Arrays, recognised: str, asked: Mapping[str, str | None]) -> Arrays:
    """The records of arrays, to be copied under their name."""
    return {recognised or asked["record"] or "record": texts["record"]} if "record" in texts else {}


def _labels(texts: Arrays, wanted: Wanted) -> Arrays:
    """The labels of arrays: a text for each row, or columns of 0 and 1 of which a row has one."""
    several = [part for part in texts if part == label_columns.LABELS or part.startswith(label_columns.PART)]
    return {part: values for part, values in texts.items() if part == LABEL or (wanted.is_one and part in several)}


def _of_arrays(x: NDArray, copied: Arrays, labels: Arrays, facts: Arrays, wanted: Wanted, path: Path) -> NewRows:
    """The rows of arrays; x may be mapped."""
    spec = wanted.spec
    shape = table_npz.samples_of(x[:1], path).shape
    _check_channels(shape[1], spec, path)
    if shape[2] != spec.samples:
        raise _other_samples(shape[2], spec, path)
    factor = _factor(facts, spec, path)
    log.info("reading %s: %d rows", path, len(x))
    texts, place = copied | labels, Place([], dict.fromkeys(copied, 0), dict.fromkeys(labels, 0), IN_ORDER)
    names = {"classes": facts.get("classes", np.array(spec.classes))}

    def parts() -> Iterator[RowPart]:
        for first in range(0, len(x), wanted.rows):
            some = slice(first, first + wanted.rows)
            arrays = {"x": table.scaled(table_npz.samples_of(x[some], path), factor)}
            arrays |= {name: values[some] for name, values in texts.items()}
            arrays = table_npz.finite_part(arrays, path, drop=wanted.drop, first=first)
            yield _part(arrays | names, place, wanted, path, done=min(1.0, (first + wanted.rows) / len(x)))

    return NewRows([*copied], "y" if labels else "", place.matched, parts())


def _part(arrays: Arrays, place: Place, wanted: Wanted, path: Path, *, done: float) -> RowPart:
    """A part of x, index, dropped and texts, with labels as names of classes.

    Raises DataError for a label at the place of the run's label that is no class.
    """
    index, dropped = arrays["index"], arrays["dropped"].tolist()
    label = None
    if place.labels and LABEL not in place.labels:
        label = label_columns.one_each(arrays, str(path), hint=f"--label-column {NO_LABEL}, or one 1 in each row")
    elif place.labels:
        label = named(arrays[LABEL], wanted.spec.classes, wanted.lowest)
        known = partial(_is_class, wanted=wanted)
        if place.guessed and (odd := [text for text in np.unique(label).tolist() if not known(text)]):
            number = place.labels[LABEL] + 1
            what = f"column {number}, where the run's label was, has '{odd[0][:40]}', no class of the run"
            where = f"{path}, row {index[(label == odd[0]).argmax()]}, counted from 0"
            raise DataError(what, where=where, hint=f"--label-column {NO_LABEL}, or its number")
    return RowPart(index, arrays["x"], {name: arrays[name] for name in place.copied}, label, dropped, done)


def _is_class(text: str, wanted: Wanted) -> bool:
    """Whether a label may be one of the run's data: a class, or a number where the numbers of classes are not known."""
    return text in wanted.spec.classes or (
        wanted.lowest is None and wanted.spec.name != "table" and whole(text) is not None
    )


def _check_channels(found: int, spec: DataSpec, path: Path) -> None:
    if found != spec.channels:
        what = f"a row has {found} lead{'s' * (found > 1)}, the run was trained on {spec.channels}"
        hint = "an NPZ or NPY with x (rows, leads, samples)" if found == 1 else f"x with {', '.join(spec.leads)} only"
        raise DataError(what, where=str(path), hint=hint)


def _other_samples(found: int, spec: DataSpec, path: Path) -> DataError:
    what = f"a row has {found} samples, the run was trained on {spec.samples}"
    return DataError(what, where=str(path), hint=CONVERT)


def _factor(facts: Arrays, spec: DataSpec, path: Path) -> float:
    """The factor from the stated unit to the run's. Raises DataError for another stated rate, and for another unit
    unless both are of voltage."""
    if "rate_hz" in facts and (rate_hz := float(facts["rate_hz"][0])) != spec.rate_hz:
        what = f"the rows were sampled at {rate_hz:g} Hz, the run was trained at {spec.rate_hz:g} Hz"
        raise DataError(what, where=str(path), hint=CONVERT)
    unit = str(facts["unit"][0]) if "unit" in facts else spec.unit
    if unit == spec.unit or spec.unit == table.NO_UNIT:
        return 1.0
    if (factor := table.unit_factor(unit, spec.unit, path)) is None:
        what = f"the samples are in {unit}, the run was trained on {spec.unit}"
        raise DataError(what, where=str(path), hint=CONVERT)
    return factor


def _with_leads(
    x: NDArray[np.float32], facts: Mapping[str, NDArray], spec: DataSpec, path: Path
) -> NDArray[np.float32]:
    """x (N, C, T) with its leads in the run's order, if both state names. Raises DataError for other leads."""
    there = tuple(facts["leads"].tolist()) if "leads" in facts else ()
    if not there or there == spec.leads or len(there) != len(spec.leads) or spec.leads[0].startswith("lead "):
        return x
    if sorted(there) != sorted(spec.leads):
        what = f"the leads are {', '.join(there)}, the run was trained on {', '.join(spec.leads)}"
        raise DataError(what, where=str(path), hint="the leads of the run, or a file that does not name its leads")
    log.info("the leads of %s are in another order than the run's: they are taken by name", path)
    return x[:, [there.index(name) for name in spec.leads]]
