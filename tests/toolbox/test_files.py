"""A file is written whole or not at all, and JSON is such that every parser reads it."""

import errno
import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pytest

from toolbox import files
from toolbox.errors import ResourceError


def strict(text: str) -> Any:
    """Read JSON as the standard has it, without NaN and infinities."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_nan_and_infinities_become_null_everywhere(tmp_path: Path) -> None:
    value = {"a": float("nan"), "b": [1.5, float("inf"), (float("-inf"), 2)], "c": {"d": np.float64("nan")}, 3: True}
    files.write_json(tmp_path / "x.json", value)
    assert strict((tmp_path / "x.json").read_text()) == {
        "a": None,
        "b": [1.5, None, [None, 2]],
        "c": {"d": None},
        "3": True,
    }


def test_finite_leaves_what_is_finite_as_it_is() -> None:
    value = {"a": 1, "b": [0.1, "text", None, False], "c": {}}
    assert files.finite(value) == value


@pytest.mark.parametrize("value", [np.float32(1), np.zeros(2), object()], ids=["numpy number", "array", "object"])
def test_what_is_not_a_plain_value_is_refused_before_anything_is_written(tmp_path: Path, value: Any) -> None:
    (tmp_path / "x.json").write_text("before")
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "x.json", {"value": value})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.json", "before")]


def test_text_is_written_as_utf8_and_replaces_what_was_there(tmp_path: Path) -> None:
    for text in ("a longer text", "µV"):
        files.write_text(tmp_path / "x.txt", text)
    assert (tmp_path / "x.txt").read_bytes() == "µV".encode()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ResourceError),
        (ValueError("a bug"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["disk full", "any error", "Ctrl-C"],
)
def test_a_failing_write_leaves_the_file_before_and_nothing_else(
    tmp_path: Path, failure: BaseException, shown: type[BaseException]
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"before")

    def half(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        raise failure

    with pytest.raises(shown) as caught:
        files.write_whole(path, half)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("x.bin", b"before")]
    if shown is ResourceError:
        assert str(path) in str(caught.value)
        assert "No space left on device (4 bytes written)" in str(caught.value)


def test_a_folder_that_is_not_there_is_a_resource_error_that_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.txt"
    with pytest.raises(ResourceError, match="No such file or directory") as caught:
        files.write_text(path, "text")
    assert str(path) in str(caught.value)


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    files.write_text(path, "text")
    assert path.read_text() == "text"


def test_a_long_name_is_written_too(tmp_path: Path) -> None:
    path = tmp_path / ("µ" * 127)
    files.write_text(path, "1")
    assert files.sha256(path) == hashlib.sha256(b"1").hexdigest()
