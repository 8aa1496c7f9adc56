"""The formats of the UCR archive, .ts .arff .tsv .txt, converted to CSV.

Lines without a row become blank lines, so that a fault in a row keeps its line and column. Formats as in Bagnall et
al., arXiv 1811.00075 (.ts), and Dau et al., IEEE/CAA J. Autom. Sinica 6(6):1293-1305, 2019 (the archive).
"""

import io
import re
import shlex
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import IO

from toolbox.errors import DataError

NUMBERS_AFTER = b"@data"
SPACES = re.compile(rb"[ \t]*,[ \t]*|[ \t]+")
STATED = re.compile(r"@(?:problemname|relation)\s+['\"]?([^\s'\"]+)", re.IGNORECASE)
HEADER = 500  # lines in which a file states its dataset
OF_ROWS = (".csv", ".csv.gz", ".npz")  # endings of `table` that the archive lacks
RATE = "--rate-hz HZ"
SHIPPED = "the file as the archive ships it"
# In the order of the search; the archive of 2015 has files without a suffix.
FORMS = (".ts", ".tsv", ".txt", ".arff", "")
WITH_HEADER = (".ts", ".arff")  # lines that state facts, before the rows


def as_csv(file: IO[bytes], where: str, *, suffix: str, name: str = "", samples: int | None = None) -> IO[bytes]:
    """A file of the form `suffix` as a CSV of the same lines.

    Raises DataError if its header states another `name` or number of `samples`; "" and None allow any.
    """
    lines = file.read().removeprefix(b"\xef\xbb\xbf").splitlines()
    if suffix == ".ts":
        asked = {"@problemname": name.lower(), "@timestamps": "false", "@univariate": "true", "@equallength": "true"}
        lines = _body(lines, where, asked | {"@serieslength": str(samples or "")})
        if several := next((number for number, line in enumerate(lines, 1) if line.count(b":") > 1), 0):
            what = "the row has several series, one is allowed"
            raise DataError(what, where=f"{where}, line {several}", hint="an NPZ with x (rows, leads, samples) and y")
        lines = [line.replace(b":", b",") for line in lines]
    elif suffix == ".arff":
        lines = _body(lines, where, {"@relation": name.lower()})
    elif suffix == ".tsv":
        lines = [line.replace(b"\t", b",") for line in lines]
    else:
        lines = [SPACES.sub(b",", line.strip()) for line in lines]
    return io.BytesIO(b"\n".join(lines))


def label_first(suffix: str) -> bool:
    """Whether the label is before the samples in a file of that form."""
    return suffix not in (".ts", ".arff")


def _body(lines: list[bytes], where: str, asked: dict[str, str]) -> list[bytes]:
    """The lines with all up to @data and comments blank. Raises DataError for a header unlike `asked`."""
    if not any(line.strip() for line in lines):
        return []
    start = next((i for i, line in enumerate(lines) if line.strip().lower() == NUMBERS_AFTER), None)
    if start is None:
        raise DataError("there is no line @data", where=where, hint=SHIPPED)
    for number, line in enumerate(lines[:start], 1):
        key, _, value = line.decode(errors="replace").strip().partition(" ")
        value, wanted = value.strip().strip("'\""), asked.get(key.lower())
        if wanted and wanted != value.lower():
            what = f"{key} is {value[:40]}, expected {wanted}"
            raise DataError(what, where=f"{where}, line {number}", hint=SHIPPED)
    rows = [b"" if line.lstrip().startswith((b"%", b"#")) else line for line in lines[start + 1 :]]
    return [b""] * (start + 1) + rows


def check_archive(path: Path, name: str, there: Iterable[str]) -> None:
    """Raise DataError, with the right command, for a file that is not of the archive's dataset `name`.

    `there` are the names of the files in `path` if it is a folder or zip, else empty.
    """
    if path.is_file() and path.name.lower().endswith(OF_ROWS):
        what = f"{name} is read from the files of the UCR archive, not from a table"
        raise DataError(what, where=str(path), hint=f"--dataset table --data-file {shlex.quote(str(path))} {RATE}")
    if path.is_file() and path.suffix.lower() in FORMS and path.suffix:
        _check_loose(path, name)
    sets = [(file, found) for file in sorted(there) if (found := _by_name(file))]
    if sets and not any(found.lower() == name.lower() for _, found in sets):
        file, found = sets[-1]
        how = _as_table(path / file) if path.is_dir() else f"unpack it, and {_as_table(Path(file))}"
        raise DataError(f"it holds {found}, not {name}", where=str(path), hint=how)


def _check_loose(path: Path, name: str) -> None:
    """As `check_archive` for one file with an ending of the archive."""
    with open(path, encoding="utf-8", errors="replace") as file:
        stated = next((found[1] for line in islice(file, HEADER) if (found := STATED.match(line.strip()))), None)
    stated, train = stated or _by_name(path.name), f"{name}_TRAIN{path.suffix}"
    if stated is None or stated.lower() != name.lower():
        what = f"the file is of {stated}, not of {name}" if stated else f"the file does not state that it is of {name}"
        raise DataError(what, where=str(path), hint=f"{_as_table(path)}; a file of {name} is called {train}")
    if not re.fullmatch(rf"{name}_(TRAIN|TEST)\..+", path.name):
        what = f"a file of {name} is called {train} or {name}_TEST{path.suffix}"
        raise DataError(what, where=str(path), hint="rename it")


def _by_name(file: str) -> str | None:
    """The dataset in a file name of the archive, or None."""
    found = re.fullmatch(r"(.+)_(?:TRAIN|TEST)(?:\.(?:ts|tsv|txt|arff))?", Path(file).name, re.IGNORECASE)
    return found and found[1]


def _as_table(path: Path) -> str:
    first = " --label-column 1" if path.suffix and label_first(path.suffix.lower()) else ""
    return f"--dataset table --data-file {shlex.quote(str(path))}{first} {RATE}"
