"""The columns of a file of new rows: samples in the order of a trained run's table, copied columns, the label.

Columns are matched by name if the run's table and the file both have names, else taken in their order. The columns of
records and ids are copied; any other column is refused.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from loaders.base import DataSpec
from loaders.declaration import TableOptions
from loaders.files.sources import log
from loaders.formats import ucr
from loaders.formats.csv.columns import NUMBERED, find, ids_hint, of_records
from loaders.formats.label_columns import PART, is_one, names_of
from loaders.formats.labels import NO_LABEL
from toolbox.errors import DataError
from toolbox.flags import words
from toolbox.runs import outputs

PART_SAMPLES = 2**22  # of a part at most, if it has more than one batch
LABEL, INDEX = "label", "index"
BY_NAME = "by name"
LISTED = 8  # names in an error
PARTS = (("label", "label_column", "--label-column"), ("record", "record_column", "--record-column"))
CONVERT = "rows cut and sampled as the run's rows"


@dataclass(frozen=True)
class Wanted:
    """The rows that a run takes.

    `options` are those of the run's table, with the `typed` ones of the file over them; `lowest` is the number of the
    first class if numbers may stand for names of classes. `batch` divides the rows of a part.
    """

    spec: DataSpec
    options: TableOptions = field(default_factory=TableOptions)
    typed: Collection[str] = ()
    lowest: int | None = None
    drop: bool = False
    batch: int = 1

    @property
    def rows(self) -> int:
        """The rows of a part."""
        return max(1, PART_SAMPLES // (self.batch * self.spec.channels * self.spec.samples)) * self.batch

    @property
    def asked(self) -> str | None:
        """The columns of labels: those typed for this file, else those of the run."""
        asked = self.options.label_column
        return asked if "label_column" in self.typed else self.spec.label_name or asked

    @property
    def is_one(self) -> bool:
        """Whether each row has exactly one of several columns of labels."""
        return not self.spec.many_labels and is_one(self.asked)

    @property
    def labels(self) -> list[str]:
        """The names of several columns of labels; those of many labels a row are copied as they are."""
        named = names_of(self.asked) if self.spec.many_labels or self.is_one else []
        return named if len(named) > 1 else []

    def is_laid_out(self, columns: int) -> bool:
        """Whether a row without a header has the samples and the numbered columns of labels of the run's table."""
        numbered = bool(self.labels) and all(name.isdecimal() for name in self.labels)
        return self.is_one and numbered and columns == self.spec.samples + len(self.labels)

    @property
    def ids(self) -> list[str]:
        """The typed or stored names or numbers of the columns to copy."""
        return words(self.options.id_columns) or []

    @property
    def ignored(self) -> set[str]:
        """The names of columns that are not even copied: label or record, if "none" was typed for it."""
        label, record = self.spec.label_name, self.spec.record_name
        labels = names_of(label) if self.spec.many_labels or is_one(label) else [label]
        names = {"label_column": labels, "record_column": [record]}
        return {name for option, of in names.items() for name in of if name and self.option(option) == NO_LABEL}

    def copies(self, name: str) -> bool:
        """Whether a column is copied by its name: the run's record, split or ids, another record or id, or the numbers
        of rows that pandas writes."""
        word = re.sub(r"[\W_]+", "", name).lower()
        labels = [] if self.is_one else self.labels
        of_run = (self.spec.record_name, *self.ids, *labels, (self.options.split or "").partition(":")[2])
        is_id = word in ("", "row") or bool(of_records([name])) or re.fullmatch(NUMBERED, word) is not None
        return is_id or name in of_run

    def option(self, name: str) -> str | None:
        """A column that was typed for this file, else None."""
        value = getattr(self.options, name) if name in self.typed else None
        if value is None or name != "label_column" or not (self.spec.many_labels or self.is_one):
            return value
        return None if self.labels else next(iter(names_of(value)), value)


class Place(NamedTuple):
    """The columns of a table, counted from 0: of the samples, in the run's order, of copied texts and of the label.

    Labels are the column `LABEL`, or a `PART` for each class of which a row has one. `guessed` tells that the label is
    where the run's was, without a name.
    """

    samples: list[int]
    copied: dict[str, int]
    labels: dict[str, int]
    matched: str
    guessed: bool = False

    @property
    def texts(self) -> dict[str, int]:
        """The columns of text by a name that no other has."""
        return self.copied | self.labels


def placed(
    cells: Sequence[str], wanted: Wanted, path: Path, *, header: bool, where: str, lists: Sequence[str] = ()
) -> Place:
    """The columns of a table with this first line. Raises DataError, UsageError."""
    typed = {
        part: find(cells, name, flag, header=header, where=str(path))
        for part, option, flag in PARTS
        if (name := wanted.option(option)) and name != NO_LABEL
    }
    ids = wanted.ids if "id_columns" in wanted.typed else []
    copied = [find(cells, name, "--id-columns", header=header, where=str(path)) for name in ids]
    copied += [typed["record"]] if "record" in typed else []
    labels = {LABEL: typed["label"]} if "label" in typed else {}
    if "label_column" in wanted.typed or (not header and wanted.is_laid_out(len(cells))):
        several = {name: find(cells, name, "--label-column", header=header, where=str(path)) for name in wanted.labels}
        copied += [] if wanted.is_one else several.values()
        labels |= {PART + (cells[at] if header else name): at for name, at in several.items() if wanted.is_one}
    if header and not labels:
        labels = _labels_of_run(cells, wanted)
    if header and wanted.spec.columns and not lists:
        return _by_name(cells, wanted, copied, labels, where=where)
    return _in_order(cells, wanted, copied, labels, path=path, header=header, where=where, lists=lists)


def _labels_of_run(cells: Sequence[str], wanted: Wanted) -> dict[str, int]:
    """The columns of labels of the run's table, if all of them are there."""
    if wanted.option("label_column") == NO_LABEL:
        return {}
    names = {PART + name: name for name in wanted.labels} if wanted.is_one else {LABEL: wanted.spec.label_name}
    there = all(name and cells.count(name) == 1 for name in names.values())
    return {part: cells.index(name) for part, name in names.items()} if there else {}


def _by_name(cells: Sequence[str], wanted: Wanted, copied: list[int], labels: dict[str, int], *, where: str) -> Place:
    """The columns with the names of the run's; see the module."""
    spec, counts = wanted.spec, Counter(cells)
    if twice := next((name for name in spec.columns if counts[name] > 1), None):
        raise DataError(f"{counts[twice]} columns are called {twice}", where=where, hint="each column once")
    if missing := [name for name in spec.columns if name not in counts]:
        what = f"the column {missing[0]} is missing" + (f"; missing columns: {len(missing)}" if missing[1:] else "")
        raise DataError(what, where=where, hint=f"the columns of the run: {_listed(spec.columns)}")
    samples = [cells.index(name) for name in spec.columns]
    left = [column for column in range(len(cells)) if column not in (*samples, *copied, *labels.values())]
    left = [column for column in left if cells[column] not in wanted.ignored]
    copied = copied + [column for column in left if wanted.copies(cells[column])]
    if strange := [cells[column] for column in left if column not in copied]:
        what = f"the column {strange[0]} is not one of the run's"
        what += f", nor {_listed(strange[1:])}" if strange[1:] else ""
        them = "them" if strange[1:] else "it"
        hint = f"{ids_hint(strange)} to copy {them}, or a file without {them}"
        raise DataError(what, where=where, hint=hint)
    return Place(samples, _named(cells, copied, header=True), labels, BY_NAME)


def _in_order(
    cells: Sequence[str],
    wanted: Wanted,
    copied: list[int],
    labels: dict[str, int],
    *,
    path: Path,
    header: bool,
    where: str,
    lists: Sequence[str] = (),
) -> Place:
    """The columns in the order of the file, without those of text; the label is where the run's was."""
    spec = wanted.spec
    if header:
        others = [column for column in range(len(cells)) if column not in labels.values()]
        copied = copied + [column for column in others if wanted.copies(cells[column])]
    left = [column for column in range(len(cells)) if column not in (*copied, *labels.values())]
    if len(lists) == 1:
        copied = copied + [column for column in left if cells[column] not in lists]
        return Place([cells.index(lists[0])], _named(cells, copied, header=True), labels, "in the order of the lists")
    guessed = len(left) == spec.samples + 1 and not labels and _has_label_place(wanted, copied)
    if guessed:
        labels = {LABEL: _label_place(left, wanted, path)}
        left.remove(labels[LABEL])
    if len(left) != spec.samples:
        what = f"a row has {len(cells)} columns, {len(left)} of them for samples, the run has {spec.samples} samples"
        hint = f"--label-column, --record-column and --id-columns for the others, or {CONVERT}"
        raise DataError(what, where=where, hint=hint)
    if spec.columns:
        log.warning("%s has no header: its columns are taken in their order, not by name", path)
    return Place(left, _named(cells, copied, header=header), labels, "in the order of the file", guessed)


def _has_label_place(wanted: Wanted, copied: Sequence[int]) -> bool:
    """Whether a column more than the samples can only be the label."""
    options, split = wanted.options, (wanted.options.split or "").partition(":")[2]
    others = [name for name in (options.record_column, split) if name and name != NO_LABEL]
    return options.label_column != NO_LABEL and (bool(copied) or not others)


def _label_place(left: Sequence[int], wanted: Wanted, path: Path) -> int:
    """The column of the label, among the columns `left`: where the run's was, the first of some files of UCR, or the
    last."""
    number = wanted.options.label_column or ""
    if number.isdecimal() and int(number) - 1 in left:
        return int(number) - 1
    suffix = path.suffix.lower()
    first = wanted.spec.name != "table" and suffix in ucr.FORMS and ucr.label_first(suffix)
    return left[0] if first else left[-1]


def _named(cells: Sequence[str], copied: Sequence[int], *, header: bool) -> dict[str, int]:
    """The columns that are copied, by their names in the predictions."""
    order = sorted(dict.fromkeys(copied))
    names = [(cells[column] or INDEX) if header else f"column {column + 1}" for column in order]
    return dict(zip(outputs.distinct([LABEL, *names])[1:], order, strict=True))


def name_of(column: int, cells: Sequence[str], *, header: bool) -> str:
    """The name of a column."""
    return cells[column] if header else f"column {column + 1}"


def names_of_labels(place: Place, cells: Sequence[str], *, header: bool) -> str:
    """The names of the columns of labels, "" for none."""
    return ", ".join(name_of(column, cells, header=header) for column in place.labels.values())


def sentence(place: Place, cells: Sequence[str], *, header: bool) -> str:
    """The columns of a file, for the log."""
    label = names_of_labels(place, cells, header=header)
    copied = f", copied are {', '.join(place.copied)}" if place.copied else ""
    return f"samples {place.matched}" + copied + (f", labels in {label}, which are not used" if label else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f", ... {names[-1]}" if len(names) > LISTED else "")
