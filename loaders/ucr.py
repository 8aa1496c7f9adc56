"""The forms in which the UCR archive ships a dataset, .ts .arff .tsv .txt, each read as the CSV that it nearly is.

What is not a row becomes a blank line, so that a fault in a row keeps its line and column. Formats as in Bagnall et al.,
arXiv 1811.00075 (.ts), and Dau et al., IEEE/CAA J. Autom. Sinica 6(6):1293-1305, 2019 (the archive).
"""

import io
import re
from collections.abc import Callable
from typing import BinaryIO

from toolbox.errors import DataError

NUMBERS_AFTER = b"@data"
SPACES = re.compile(rb"[ \t]*,[ \t]*|[ \t]+")


def as_csv(file: BinaryIO, where: str, *, suffix: str, name: str, samples: int) -> BinaryIO:
    """A file of the form `suffix` as a CSV of the same lines; DataError where its header tells of another `name` or size."""
    lines = file.read().removeprefix(b"\xef\xbb\xbf").splitlines()
    return io.BytesIO(b"\n".join(FORMS[suffix](lines, where, {"name": name.lower(), "samples": str(samples)})))


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
    return [line.replace(b":", b",") for line in _body(lines, where, asked)]


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
        if (wanted := asked.get(key.lower(), value.lower())) != value.lower():
            what, place = f"{key} is {value[:40]}, expected {wanted}", f"{where}, line {number}"
            raise DataError(what, where=place, hint="the file as the archive ships it")
    return [b""] * (start + 1) + [b"" if line.lstrip().startswith((b"%", b"#")) else line for line in lines[start + 1 :]]


# In the order in which they are looked for; the archive of 2015 has files without a suffix.
FORMS: dict[str, Callable[[list[bytes], str, dict[str, str]], list[bytes]]] = {
    ".ts": _ts,
    ".tsv": _tsv,
    ".txt": _txt,
    ".arff": _arff,
    "": _txt,
}
