"""An error is one printable line, and every exception becomes one."""

import errno

import pytest

from toolbox.errors import CommanderError, DataError, ResourceError, unforeseen


def test_an_error_is_one_line_of_what_where_and_how() -> None:
    assert (
        str(DataError("label 7", where="a.csv, line 2", hint="correct it"))
        == "label 7 (a.csv, line 2). Try: correct it"
    )
    assert str(DataError("only what")) == "only what"


def test_line_ends_and_control_characters_are_shown_as_text() -> None:
    assert str(DataError("two\nlines \x1b[2J\x07 µV 心")) == "two lines \\x1b[2J\\x07 µV 心"


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), ResourceError, "No space left on device (/x/y)"),
        (MemoryError("Unable to allocate 3 TiB"), ResourceError, "out of memory (Unable to allocate 3 TiB)"),
        (ModuleNotFoundError(name="torch"), ResourceError, "the package torch is not installed. Try: make train"),
        (KeyError("gone"), CommanderError, "a fault of the program, KeyError: 'gone'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_unforeseen_exception_becomes_an_error_with_its_code(error: Exception, kind: type, says: str) -> None:
    try:
        raise error
    except type(error) as caught:
        seen = unforeseen(caught)
    assert type(seen) is kind
    assert says in str(seen)
    assert (f"{__file__}, line " in str(seen)) == (kind is CommanderError)
