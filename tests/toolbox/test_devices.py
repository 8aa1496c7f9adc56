"""The memory that glibc keeps for a prediction, and where it is left alone."""

import ctypes
import os
from types import SimpleNamespace

import pytest

from toolbox import devices


@pytest.mark.parametrize(
    ("environment", "has_it", "calls"),
    [({}, True, [(-1, 2**25), (-3, 2**25)]), ({"MALLOC_TRIM_THRESHOLD_": "65536"}, True, []), ({}, False, [])],
    ids=["glibc", "a limit in the environment", "another C library"],
)
def test_freed_memory_is_kept_where_glibc_and_the_user_let_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], has_it: bool, calls: list[tuple[int, int]]
) -> None:
    made: list[tuple[int, int]] = []
    library = SimpleNamespace(**({"mallopt": lambda *limit: made.append(limit)} if has_it else {}))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    devices.keep_freed_memory()
    assert made == calls
