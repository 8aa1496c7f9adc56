"""Tells a user's own code, such as a network or dataset, from the program's and from libraries.

`shipped.txt` lists the program's files. A fault in or below any other file is the user's. Standard library only.
"""

import functools
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("commands", "loaders", "models", "studies", "toolbox")
TABLES = ("loaders/__init__.py", "models/__init__.py")  # a user adds names to these


def place(error: BaseException) -> tuple[str, int] | None:
    """File and line of the fault in the user's own code; None for a fault of the program.

    Only code called by the program counts, not its callers.
    """
    if isinstance(error, SyntaxError) and error.filename and is_yours(error.filename):
        return error.filename, error.lineno or 1
    called = False
    found = None
    for frame in traceback.extract_tb(error.__traceback__):
        inside = _relative(frame.filename)
        of_a_table = frame.name == "<module>" and inside in TABLES  # names added to it are not the program's
        if called and (of_a_table or is_yours(frame.filename)):
            found = frame.filename, frame.lineno or 1
        called = called or inside is not None
    return found


def is_yours(path: str) -> bool:
    """Whether a source file belongs neither to the program nor to Python or a package."""
    if path.startswith("<") or path.startswith(_libraries()) or "site-packages" in path or "dist-packages" in path:
        return False
    inside = _relative(path)
    return inside is None or (inside.partition("/")[0] in PACKAGES and inside not in _shipped())


def source(part: Callable[..., Any]) -> tuple[str, int]:
    """File and line of a function or a class, also inside a `partial`."""
    import inspect

    while isinstance(part, partial):
        part = part.func
    part = inspect.unwrap(part)
    code = getattr(part, "__code__", None)
    if code:
        return code.co_filename, code.co_firstlineno
    try:
        return inspect.getsourcefile(part) or "", inspect.getsourcelines(part)[1]
    except (OSError, TypeError):
        return "", 0


def _relative(path: str) -> str | None:
    try:
        return Path(path).resolve().relative_to(ROOT).as_posix()
    except ValueError:
        return None


@functools.cache
def _libraries() -> tuple[str, ...]:
    import sysconfig

    return tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


@functools.cache
def _shipped() -> frozenset[str]:
    return frozenset((Path(__file__).parent / "shipped.txt").read_text("utf-8").split())
