"""A user's own table with a row per beat: its columns of samples, of the label, the record and the split.

A column is named by its header, or by its number counted from 1. Without a header every line is a row. Files of the UCR
archive (.ts, .arff, .tsv, .txt) are read in the same way, see `ucr`. Columns that number the rows or their records are
refused: a network would learn the class from the place of a row in its file.
"""

import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loaders.files.cache import Arrays
from loaders.files.sources import log
from loaders.formats import label_columns
from loaders.formats.csv.heads import COUNTING, Head, opened, part_names
from loaders.formats.csv.rows import BAD_ROWS, BLANK, RowLayout
from loaders.formats.csv.text import is_number
from loaders.formats.labels import NO_LABEL, label_is_first
from toolbox.errors import DataError, UsageError
from toolbox.flags import words
from toolbox.registry import pick

FEWEST_SAMPLES = 2
LISTED = 12  # of the columns, in an error
FLAGS = {"label": "--label-column", "record": "--record-column", "split": "--split column", "ids": "--id-columns"}
HINT = "numbers in every column but --label-column, --record-column, --id-columns and --split column:NAME"
HINT += "; no column of row numbers"
WITHOUT = "a file without it: pandas writes none with to_csv(path, index=False)"


class Columns(NamedTuple):
    """The column, counted from 0, of each part that is text; columns not read; the name of a record column that was
    recognised by its name."""

    texts: dict[str, int]
    unread: list[int]
    recognised: str

    @property
    def aside(self) -> set[int]:
        return {*self.texts.values(), *self.unread}


def read_csv(
    path: Path, *, label: str | None, record: str | None, split: str | None, bad_rows: str, ids: str | None = None
) -> Arrays:
    """x (N, T) float32, and as text (N,) the columns label, record and split that are not None; see `rows.BAD_ROWS`.

    For a record of None, a column with such a name is the record, and `recognised` (1,) is its name; "none" reads no
    record. The columns `ids`, with commas between them, are not read. Raises UsageError for a missing column, DataError
    with line and column for a wrong table.
    """
    asked = part_names(label=label, record=record, split=split)
    with opened(path, [*asked.values(), *(words(ids) or ())]) as head:
        columns = find_columns(head.cells, asked, words(ids) or (), header=head.header, where=head.where)
        check_samples(head.cells, columns, where=head.place, header=head.header, typed=[*filter(asked.get, asked)])
        if asked.get("label") == "" and (head.last[0] not in head.skip):
            _check_text_first(head.last, columns, head.where)
        log_columns(path, head.cells, columns, header=head.header)
        read = pick("bad-rows", BAD_ROWS, bad_rows)
        layout = replace(layout_of(head, columns), lacking="label" if label_columns.separator_of(label) else "")
        arrays = read(head.file, layout, where=head.where, skip=head.skip)
        labels = [part for part in columns.texts if part.startswith("label")]
        arrays |= {part: with_points(arrays[part], head.separators[1]) for part in labels}
        arrays |= label_columns.stated(label)
    if asked.get("label") == "" and label_is_first(arrays["x"][:, 0], arrays["label"]):
        number = columns.texts["label"] + 1
        what = f"column 1 has few whole numbers, and column {number}, the default label, has many numbers"
        raise DataError(what, where=head.where, hint=f"--label-column 1, or --label-column {number}")
    places = [column for column in range(len(head.cells)) if column not in columns.aside]
    check_counting(arrays["x"], places, head.cells if head.header else [], head.where)
    return arrays | ({"recognised": np.array([columns.recognised])} if columns.recognised else {})


class Names(NamedTuple):
    """The names of a table's columns: of its samples, its label and its record, "" without such a column."""

    samples: tuple[str, ...]
    label: str
    record: str

    @classmethod
    def of(cls, cells: Sequence[str], columns: Columns) -> "Names":
        """The names in a header."""
        named = {part: cells[column] for part, column in columns.texts.items()}
        samples = tuple(cell for column, cell in enumerate(cells) if column not in columns.aside)
        labels = [name for part, name in named.items() if part.startswith(label_columns.PART)]
        return cls(samples, named.get("label", ",".join(labels)), named.get("record", ""))


def names_in(
    path: Path, *, label: str | None, record: str | None, split: str | None, ids: str | None = None
) -> Names | None:
    """The names of the columns that `read_csv` takes; None without a header. Raises the same errors."""
    asked = part_names(label=label, record=record, split=split)
    with opened(path, [*asked.values(), *(words(ids) or ())]) as head:
        if not head.header:
            return None
        columns = find_columns(head.cells, asked, words(ids) or (), header=True, where=head.where)
        return Names.of(head.cells, columns)


def layout_of(head: Head, columns: Columns, *, blank: bool = False) -> RowLayout:
    """The layout of the rows of a table; `blank` texts may be empty."""
    samples, (delimiter, decimal) = len(head.cells) - len(columns.aside), head.separators
    layout = RowLayout(samples, texts=columns.texts, unread=columns.unread, hint=HINT, blank=blank)
    return replace(layout, delimiter=delimiter, decimal=decimal)


def with_points(labels: NDArray[np.str_], decimal: str) -> NDArray[np.str_]:
    """Labels (N,) of which the numbers, as 1,0 in a table with decimal commas, have a point."""
    if decimal == ".":
        return labels
    texts, inverse = np.unique(labels, return_inverse=True)
    cells = [text.replace(decimal, ".") if is_number(text.replace(decimal, ".")) else text for text in texts.tolist()]
    return np.array(cells, str)[inverse]


def check_samples(
    cells: Sequence[str], columns: Columns, *, where: str, header: bool, typed: Sequence[str] = ()
) -> None:
    """Raise DataError for too few samples, or a name unlike their names; the hint leaves out the parts `typed`."""
    samples = len(cells) - len(columns.aside)
    if samples < FEWEST_SAMPLES:
        what = f"a row has {len(cells)} columns, {samples} of them with samples, expected {FEWEST_SAMPLES} or more"
        raise DataError(what, where=where, hint="a column for each sample, with commas between the columns")
    if header:
        named = {column: cell for column, cell in enumerate(cells) if column not in columns.aside}
        _check_names(named, where, typed)


def log_columns(path: Path, cells: Sequence[str], columns: Columns, *, header: bool) -> None:
    """Log the columns of a table."""
    taken = ", ".join(f"{part} in column {column + 1}" for part, column in columns.texts.items()) or "no label"
    taken += "".join(f", column {column + 1} ({cells[column]}) not read" for column in columns.unread)
    samples = len(cells) - len(columns.aside)
    log.info("reading %s: %s header, %d samples, %s", path, "a" if header else "no", samples, taken)


def find_columns(
    cells: Sequence[str], asked: Mapping[str, str], ids: Sequence[str] = (), *, header: bool, where: str
) -> Columns:
    """The columns of the requested parts; a label of "" is the last remaining column; the columns `ids` are not read.

    With a header, a column with such a name is the default record; others with such names are not read.
    """
    explicit = {part: name for part, name in asked.items() if name and (part, name) != ("record", NO_LABEL)}
    found = {
        _called(part, at, cells if header else ()): at
        for part, name in explicit.items()
        for at in [find(cells, name, FLAGS.get(part, FLAGS["label"]), header=header, where=where)]
    }
    unread = [find(cells, name, FLAGS["ids"], header=header, where=where) for name in ids]
    left = [column for column in range(len(cells)) if column not in (*found.values(), *unread)]
    records = [column for column in of_records(cells) if column in left] if header else []
    if asked.get("label") == "":
        found["label"] = _default_label(cells, left, records)
    records = [column for column in records if column != found.get("label")]
    recognised = bool(records) and "record" not in asked
    found |= {"record": records[0]} if recognised else {}
    if len({*found.values(), *unread}) < len(found) + len(unread):
        what = f"one column cannot be {' and '.join([*found, *(['an id'] if unread else [])])} at once"
        raise UsageError(what, where=where, hint="another column for each")
    unread = sorted({*records, *unread} - set(found.values()))
    return Columns(found, unread, cells[records[0]] if recognised else "")


def _called(part: str, column: int, cells: Sequence[str]) -> str:
    """The part of a column; one of several labels has the name of its column, if it has one."""
    return f"{label_columns.PART}{cells[column]}" if part.startswith(label_columns.PART) and cells else part


def _default_label(cells: Sequence[str], left: Sequence[int], records: Sequence[int]) -> int:
    """The last column; if it has the name of a record, another column at the end with a name unlike the samples'."""
    others = [column for column in left if column not in records]
    strange, _ = _odd([cells[column] for column in others]) if others else ([], "")
    if left and left[-1] in records and strange and strange[-1] == len(others) - 1:
        return others[-1]
    return left[-1] if left else 0


def find(cells: Sequence[str], name: str, flag: str, *, header: bool, where: str) -> int:
    """The column of a name or number, counted from 0. Raises UsageError if there is none, or more than one."""
    if header and cells.count(name) == 1:
        return cells.index(name)
    if header and name in cells:
        what = f"{flag} {name}: {cells.count(name)} columns have that name"
        raise UsageError(what, where=where, hint="the column's number")
    if name.isdecimal() and 0 < int(name) <= len(cells):
        return int(name) - 1
    listed = ", ".join(cells[:LISTED]) + (f", ... {cells[-1]}" if len(cells) > LISTED else "")
    there = f"there are {listed}" if header else "there is no header"
    what = f"{flag} {name[:60]}: no such column; {there}"
    raise UsageError(what, where=where, hint=f"a name, or a number in 1..{len(cells)}")


def ids_hint(names: Sequence[str]) -> str:
    """The flag that names these columns as no samples."""
    typed = ",".join(names) if len(names) <= LISTED and "," not in "".join(names) else "NAME_OR_NUMBER,..."
    return f"--id-columns {shlex.quote(typed)}"


def _check_names(named: Mapping[int, str], where: str, typed: Sequence[str]) -> None:
    there = [*named.values()]
    if "" in there:
        what = "a column has no name in the header: numbers of rows, as pandas writes them, are no samples"
        raise DataError(what, where=where, hint=WITHOUT)
    strange, sample = _odd(there)
    if strange:
        names = [there[column] for column in strange]
        others, number = ", ".join(names)[:100], [*named][strange[0]] + 1
        name = str(number) if "," in names[0] else shlex.quote(names[0][:40])  # flags take a comma as two names
        of_label = any(part.startswith("label") for part in typed)
        asked = {"label": of_label, "record": "record" in typed}
        open_parts = [f"{FLAGS[part]} {name}" for part, there in asked.items() if not there]
        if any(part.startswith(label_columns.PART) for part in typed):
            open_parts.insert(0, f"{name} in {FLAGS['label']} too")
        hint = f"{', '.join([*open_parts, ids_hint(names)])}, or a file without it"
        raise DataError(f"{others} among samples with names like {sample}", where=where, hint=hint)


def _check_text_first(line: tuple[int, list[str]], columns: Columns, where: str) -> None:
    number, cells = line
    label = columns.texts["label"]
    if label >= len(cells) or 0 in columns.aside:
        return
    first, last = cells[0].strip(BLANK)[:40], cells[label].strip(BLANK)[:40]
    if first and not is_number(first) and is_number(last):
        what = f"column 1 has the text '{first}', and the label would be the number {last} in column {label + 1}"
        hint = "--label-column 1, or --record-column 1 if it names the record"
        raise DataError(what, where=f"{where}, line {number}", hint=hint)


def check_counting(x: NDArray[np.float32], places: Sequence[int], cells: Sequence[str], where: str) -> None:
    """Raise DataError for a column of samples that numbers the rows or their records; `places` are the columns."""
    if counting := counting_columns(x):
        column, values = places[counting[0]], x[:, counting[0]]
        name = f" ({cells[column][:40]})" if cells else ""
        numbers = f"{values[0]:g}, {values[1]:g}, ... {values[-1]:g}"
        what = f"column {column + 1}{name} is no sample, it numbers the rows or their records: {numbers}"
        raise DataError(what, where=where, hint=f"{WITHOUT}; --record-column {column + 1} if it numbers the records")


FEWEST = 20  # rows, or different values; below them samples may be in order by chance
FEW_WHOLE = 0.1  # the part of whole numbers in samples with decimals
CERTAIN = 14  # -log of the probability that random values, one a row, would all be different


def counting_columns(x: NDArray[np.float32]) -> list[int]:
    """The columns of x (N, T) that rise or fall from row to row, and the first or last if it has numbers of rows or
    records.

    A column that rises or falls may repeat a value, like the number of a record, and may have gaps, if rows were left
    out. Shuffled row numbers are all different on a coarse grid; record numbers are whole while samples have decimals.
    """
    if len(x) < FEWEST:
        return []
    found = {column for column in _ordered(x) if len(np.unique(x[:, column])) >= FEWEST}
    found |= {column for column in (0, x.shape[1] - 1) if _all_different(x[:, column]) or _alone_whole(x, column)}
    return sorted(found)


def _ordered(x: NDArray[np.float32]) -> list[int]:
    """Columns that never fall, or never rise; the first rows exclude most columns."""
    columns = np.arange(x.shape[1])
    for rows in (x[:FEWEST], x):
        steps = np.diff(rows[:, columns], axis=0)
        columns = columns[(steps >= 0).all(0) | (steps <= 0).all(0)]
    return columns.tolist()


def _alone_whole(x: NDArray[np.float32], column: int) -> bool:
    """Whether a column has whole numbers only, three or more, and the other columns hardly any."""
    different = np.unique(x[:, column])
    if len(different) < 3 or (different != np.floor(different)).any() or x.shape[1] < 2:
        return False
    others = np.delete(x, column, axis=1)
    return bool((others == np.floor(others)).mean() < FEW_WHOLE)


def _all_different(values: NDArray[np.float32]) -> bool:
    """Whether values (N,) are all different, which is improbable for random values on their grid.

    N values drawn from P places are all different with the probability P! / ((P - N)! P**N), the birthday problem.
    """
    steps = np.diff(np.sort(values.astype(np.float64)))
    if steps.min() <= 0:
        return False
    rows, places = len(values), max(steps.sum() / steps.min() + 1, len(values))
    if places > rows**2:  # the probability is high, and lgamma is no longer exact
        return False
    return math.lgamma(places - rows + 1) + rows * math.log(places) - math.lgamma(places + 1) > CERTAIN


ALIKE = 0.9  # if this part of the names differs in numbers only, a column with another name is no sample
# Words for the record of a row, words for a person first: rows of one person should stay together.
OF_RECORDS = (
    r"patients?|pat|subjects?|subj|participants?|persons?|people|individuals?|volunteers?|probands?|user",
    r"records?|recordings?|rec|ecg|study|exam|session|file",
    r"groups?|case",
)
ALONE = ("pid", "sid", "mrn", "uid")
NUMBERED = r"(?:ids?|identifiers?|no|nr|num|numbers?|names?|codes?|keys?|idx|index)"
BARE = "pat|rec|ecg|user|study|exam|session|file|case"  # these mean a record only with a word for a number after them


def of_records(names: Sequence[str]) -> list[int]:
    """The columns, counted from 0, with names of records: patient, Subject ID, record_name, group; persons first."""
    ranked = [(rank, column) for column, name in enumerate(names) if (rank := _rank(name)) is not None]
    return [column for _, column in sorted(ranked)]


def _rank(name: str) -> int | None:
    word = re.sub(r"[\W_]+", "", name).lower()
    if word in ALONE:
        return 0
    for rank, stems in enumerate(OF_RECORDS):
        found = re.fullmatch(rf"(?:id)?({stems})({NUMBERED})?", word)
        if found and not (re.fullmatch(BARE, found[1]) and not (found[2] or word.startswith("id"))):
            return rank
    return None


def _odd(names: Sequence[str]) -> tuple[list[int], str]:
    """The columns with a name unlike the samples' names, none for few names; and the name of a sample."""
    stems = [re.sub(r"[\d.]+", "", name) for name in names]
    usual, count = Counter(stems).most_common(1)[0]
    strange = [column for column, stem in enumerate(stems) if stem != usual]
    return strange if len(names) > COUNTING and count >= ALIKE * len(names) else [], names[stems.index(usual)]
