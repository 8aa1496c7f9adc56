"""The forms in which the UCR archive ships a dataset, .ts .arff .tsv .txt, each read as the CSV that it nearly is.

What is not a row becomes a blank line, so that a fault in a row keeps its line and column. Formats as in Bagnall et
al., arXiv 1811.00075 (.ts), and Dau et al., IEEE/CAA J. Autom. Sinica 6(6):1293-1305, 2019 (the archive).
"""

import io
import re
import shlex
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from toolbox.errors import DataError

NUMBERS_AFTER = b"@data"
SPACES = re.compile(rb"[ \t]*,[ \t]*|[ \t]+")
STATED = re.compile(r"@(?:problemname|relation)\s+['\"]?([^\s'\"]+)", re.IGNORECASE)
HEADER = 500  # lines in which a file states its dataset
OF_ROWS = (".csv", ".csv.gz", ".npz")  # what `table` reads beside the forms of the archive
RATE = "--rate-hz HZ"


def as_csv(file: BinaryIO, where: str, *, suffix: str, name: str = "", samples: int | None = None) -> BinaryIO:
    """A file of the form `suffix` as a CSV of the same lines; DataError where its header tells of another `name` or
    size.

    Without a `name` and `samples` any will do.
    """
    lines = file.read().removeprefix(b"\xef\xbb\xbf").splitlines()
    known = {"name": name.lower(), "samples": str(samples) if samples else ""}
    return io.BytesIO(b"\n".join(FORMS[suffix](lines, where, known)))


def label_first(suffix: str) -> bool:
    """Whether the label stands before the samples in a file of that form."""
    return FORMS[suffix] not in (_ts, _arff)


def _ts(lines: list[bytes], where: str, known: dict[str, str]) -> list[bytes]:
    asked = {
        "@problemname": known["name"],
        "@timestamps": "false",
        "@univariate": "true",
        "@equallength": "true",
        "@serieslength": known["samples"],
    }
    rows = _body(lines, where, asked)
    if several := next((number for number, line in enumerate(rows, 1) if line.count(b":") > 1), 0):
        what = "the row has several series, one is read"
        raise DataError(what, where=f"{where}, line {several}", hint="an NPZ with x (rows, leads, samples) and y")
    return [line.replace(b":", b",") for line in rows]


def _arff(lines: list[bytes], where: str, known: dict[str, str]) -> list[bytes]:
    return _body(lines, where, {"@relation": known["name"]})


def _tsv(lines: list[bytes], where: str, known: dict[str, str]) -> list[bytes]:
    return [line.replace(b"\t", b",") for line in lines]


def _txt(lines: list[bytes], where: str, known: dict[str, str]) -> list[bytes]:
    return [SPACES.sub(b",", line.strip()) for line in lines]


def _body(lines: list[bytes], where: str, asked: dict[str, str]) -> list[bytes]:
    """The lines after @data, those before and comments blank; DataError where the header says other than is `asked`."""
    if not any(line.strip() for line in lines):
        return []
    start = next((i for i, line in enumerate(lines) if line.strip().lower() == NUMBERS_AFTER), None)
    if start is None:
        raise DataError("there is no line @data", where=where, hint="the file as the archive ships it")
    for number, line in enumerate(lines[:start], 1):
        key, _, value = line.decode(errors="replace").strip().partition(" ")
        value = value.strip().strip("'\"")
        if (wanted := asked.get(key.lower()) or value.lower()) != value.lower():
            what, place = f"{key} is {value[:40]}, expected {wanted}", f"{where}, line {number}"
            raise DataError(what, where=place, hint="the file as the archive ships it")
    return [b""] * (start + 1) + [
        b"" if line.lstrip().startswith((b"%", b"#")) else line for line in lines[start + 1 :]
    ]


# In the order in which they are looked for; the archive of 2015 has files without a suffix.
FORMS: dict[str, Callable[[list[bytes], str, dict[str, str]], list[bytes]]] = {
    ".ts": _ts,
    ".tsv": _tsv,
    ".txt": _txt,
    ".arff": _arff,
    "": _txt,
}


def check_archive(path: Path, name: str, there: Iterable[str]) -> None:
    """Raise DataError, with the way to read it, for a file that is not of the archive's dataset `name`.

    `there` are the names of the files in `path` where that is a folder or zip, none where it is a file.
    """
    if path.is_file() and path.name.lower().endswith(OF_ROWS):
        what = f"{name} is read from the files of the UCR archive, not from a table"
        raise DataError(what, where=str(path), hint=f"--dataset table --data-file {shlex.quote(str(path))} {RATE}")
    if path.is_file() and path.suffix.lower() in FORMS and path.suffix:
        _check_loose(path, name)
    sets = [(file, found) for file in sorted(there) if (found := _by_name(file))]
    if sets and not any(found.lower() == name.lower() for _, found in sets):
        file, found = sets[-1]
        folder = path / file if path.is_dir() else file
        how = "" if path.is_dir() else "unpack it, and "
        raise DataError(f"it holds {found}, not {name}", where=str(path), hint=f"{how}{_as_table(Path(folder))}")


def _check_loose(path: Path, name: str) -> None:
    """The same for one file with an ending of the archive."""
    with open(path, encoding="utf-8", errors="replace") as file:
        stated = next((found[1] for line in islice(file, HEADER) if (found := STATED.match(line.strip()))), None)
    stated = stated or _by_name(path.name)
    if stated is None or stated.lower() != name.lower():
        what = f"the file is of {stated}, not of {name}" if stated else f"the file does not state that it is of {name}"
        raise DataError(
            what, where=str(path), hint=f"{_as_table(path)}; a file of {name} is called {name}_TRAIN{path.suffix}"
        )
    if not re.fullmatch(rf"{name}_(TRAIN|TEST)\..+", path.name):
        what = f"a file of {name} is called {name}_TRAIN{path.suffix} or {name}_TEST{path.suffix}"
        raise DataError(what, where=str(path), hint="rename it")


def _by_name(file: str) -> str | None:
    """The dataset of a file that the archive would call so."""
    found = re.fullmatch(r"(.+)_(?:TRAIN|TEST)(?:\.(?:ts|tsv|txt|arff))?", Path(file).name, re.IGNORECASE)
    return found and found[1]


def _as_table(path: Path) -> str:
    """How a file of the archive is read as rows of one's own."""
    first = " --label-column 1" if path.suffix and label_first(path.suffix.lower()) else ""
    return f"--dataset table --data-file {shlex.quote(str(path))}{first} {RATE}"
