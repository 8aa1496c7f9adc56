"""The tables of PTB-XL: `ptbxl_database.csv` with a row for each record, `scp_statements.csv` with the statements.

    found = tables.read(source)                     # of a folder or zip
    classes, y = tables.labelled(found, "super")    # y (N, K)

The labels are those of the benchmark (Strodthoff et al., JBHI 25(5):1519-1528, 2021): every statement of a record
counts, also one with the likelihood 0, and classes are sorted by name.
"""

import ast
import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from loaders.families import diagnoses
from loaders.families.diagnoses import OF_AXIS, OF_STATEMENT
from loaders.files.archives import opened, reading
from loaders.files.cache import Arrays
from loaders.files.sources import opened_in
from loaders.formats.twelve_leads import PARTS
from loaders.splits import Indices
from toolbox.errors import DataError

SHARED, AXIS = "challenge", "heart_axis"
DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
FOLDS = 10
PATHS = {100: "filename_lr", 500: "filename_hr"}  # the column of a record's file, by rate in Hz
# The column with the class of a statement, and the column of the statements that count, by --labels; "": the statement.
SETS = {
    "super": ("diagnostic_class", "diagnostic"),
    "sub": ("diagnostic_subclass", "diagnostic"),
    "diagnostic": ("", "diagnostic"),
    "form": ("", "form"),
    "rhythm": ("", "rhythm"),
    "all": ("", ""),
}
HINT = "the file as it is on physionet.org (ptb-xl)"


def labelled(tables: Arrays, labels: str) -> tuple[tuple[str, ...], Indices]:
    """The classes of the set or the file `labels`, sorted, and the labels (N, K) of all records of the tables."""
    codes = tables["scp_codes"].tolist()
    if labels == SHARED:
        statements = diagnoses.labelled(codes, OF_STATEMENT, diagnoses.CLASSES)
        return diagnoses.CLASSES, statements | diagnoses.labelled(tables[AXIS].tolist(), OF_AXIS, diagnoses.CLASSES)
    if labels not in SETS:
        classes, own = diagnoses.of_file(labels, tables["statement"].tolist())
        diagnoses.report(codes, own, labels)
        return classes, diagnoses.labelled(codes, own, classes)
    column, counts = SETS[labels]
    known = zip(
        tables["statement"].tolist(), tables[column or "statement"].tolist(), tables[counts or "any"], strict=True
    )
    of = {name: klass for name, klass, counted in known if counted and klass}
    classes = tuple(sorted(set(of.values())))
    return classes, diagnoses.labelled(codes, of, classes)


def read(source: Path) -> Arrays:
    """The columns of both tables: of each record (N,) ecg_id, patient_id, scp_codes (names with blanks between them),
    strat_fold, and its files; of each statement (S,) its name, its classes and whether it counts. Raises DataError."""
    statements = _read_statements(_rows(source, STATEMENTS), str(source))
    records = _read_records(_rows(source, DATABASE), {*statements["statement"].tolist()}, str(source))
    if source.is_dir():
        return records | statements
    with reading(source), opened(source) as archive:
        members = set(archive.namelist())
    base = min((name for name in members if PurePosixPath(name).name == DATABASE), key=lambda name: name.count("/"))
    for rate_hz, column in PATHS.items():
        names = [str(PurePosixPath(base).parent / name) for name in records[column].tolist()]
        records[column] = np.array(names, str)
        records[f"there_{rate_hz}"] = np.array([{name + part for part in PARTS} <= members for name in names], bool)
    return records | statements


def _rows(source: Path, name: str) -> list[dict[str, str]]:
    """The rows of a table by the names of its columns."""
    where = f"{source}, {name}"
    try:
        with reading(source), opened_in(source, name) as file:
            rows = [*csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""), restval="")]
    except csv.Error as error:
        raise DataError(f"the table cannot be read: {error}", where=where, hint=HINT) from error
    if not rows:
        raise DataError("the table has no rows", where=where, hint=HINT)
    return rows


def _columns(rows: Sequence[dict[str, str]], names: Sequence[str], where: str) -> None:
    if missing := [name for name in names if name not in rows[0]]:
        what = f"the table has no column {' and '.join(missing)}; there are {', '.join(map(str, rows[0]))[:200]}"
        raise DataError(what, where=where, hint=HINT)


def _read_statements(rows: list[dict[str, str]], source: str) -> Arrays:
    """statement (S,), the columns of SETS, and any (S,), which is true."""
    where, (name, *_) = f"{source}, {STATEMENTS}", rows[0]
    columns = sorted({column for pair in SETS.values() for column in pair if column})
    _columns(rows, columns, where)
    names = [row[name].strip() for row in rows]
    if odd := [each for each, count in Counter(names).items() if count > 1 or len(each.split()) != 1]:
        what = f"the first column has {odd[0][:60]!r}, it should have a name without a blank in each row, once"
        raise DataError(what, where=where, hint=HINT)
    found: Arrays = {"statement": np.array(names, str), "any": np.ones(len(rows), bool)}
    flags = {counts for _, counts in SETS.values()}
    for column in columns:
        cells = np.array([row[column].strip() for row in rows], str)
        found[column] = np.isin(cells, ("1", "1.0")) if column in flags else cells
    return found


def _read_records(rows: list[dict[str, str]], known: set[str], source: str) -> Arrays:
    """The columns of the records, each cell checked. Raises DataError that names the record."""
    where = f"{source}, {DATABASE}"
    readers: dict[str, Callable[[str], Any]] = {
        "ecg_id": _whole,
        "patient_id": lambda cell: str(_whole(cell)),
        "scp_codes": partial(_codes, known),
        "strat_fold": _fold,
        AXIS: str,
        **dict.fromkeys(PATHS.values(), _path),
    }
    _columns(rows, [*readers], where)
    found: dict[str, list[Any]] = {name: [] for name in readers}
    for number, row in enumerate(rows, 1):
        for name, read in readers.items():
            try:
                found[name].append(read((row[name] or "").strip()))
            except ValueError as error:
                what = f"the {name} of record {row['ecg_id'][:20]!r} is {row[name][:60]!r}, {error}"
                raise DataError(what, where=f"{where}, row {number}", hint="correct the row") from error
    if twice := [number for number, count in Counter(found["ecg_id"]).items() if count > 1]:
        raise DataError(f"record {twice[0]} has two rows", where=where, hint=HINT)
    return {name: np.array(cells) for name, cells in found.items()}


def _whole(cell: str) -> int:
    """A number such as 15709.0."""
    try:
        number = int(cell.removesuffix(".0"))
    except ValueError:
        raise ValueError("not a whole number") from None
    if not 0 <= number < 2**31:
        raise ValueError("not a whole number from 0 on")
    return number


def _fold(cell: str) -> int:
    number = _whole(cell)
    if not 1 <= number <= FOLDS:
        raise ValueError(f"not a fold from 1 to {FOLDS}")
    return number


def _codes(known: set[str], cell: str) -> str:
    """The names in a Python dict such as {'NORM': 100.0, 'SR': 0.0}, with blanks between them."""
    try:
        codes = ast.literal_eval(cell)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        codes = None
    if not isinstance(codes, dict) or not all(isinstance(value, int | float) for value in codes.values()):
        raise ValueError("not a Python dict of statements and likelihoods")
    if strange := [str(code) for code in codes if code not in known]:
        raise ValueError(f"and {STATEMENTS} has no statement {strange[0][:40]!r}")
    return " ".join(codes)


def _path(cell: str) -> str:
    path = PurePosixPath(cell)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in cell or "\0" in cell:
        raise ValueError("not the path of a file below the folder")
    return str(path)
