"""Errors caused by a user's input or machine, each with its exit code.

`raise DataError("label 7 is not one of 0..4", where="train.csv, line 12", hint="correct the row")` becomes the one line
`error: label 7 is not one of 0..4 (train.csv, line 12). Try: correct the row` on stderr.

A fault in or below a file that is neither the program's (`shipped.txt` lists those) nor a library's is of the user's
own network, dataset or other part. Standard library only.
"""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from toolbox.plain import escaped

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("commands", "loaders", "models", "studies", "toolbox")
OWN_FILES: set[str] = set()  # files of --import, wherever they lie
TABLES = ("loaders/__init__.py", "models/__init__.py")  # a user adds names to these
EXTRAS = {
    **dict.fromkeys(("dask", "distributed", "cryptography", "yaml", "optuna"), "research"),
    **dict.fromkeys(("torchvision", "lmdb", "openpyxl"), "vision"),
    **dict.fromkeys(("onnx", "onnxruntime", "safetensors"), "export"),
    "captum": "explain",
    "pyarrow": "parquet",
}


class CommanderError(Exception):
    """An error shown as one line: WHAT (WHERE). Try: HOW."""

    code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        line = what + (f" ({where})" if where else "") + (f". Try: {hint}" if hint else "")
        super().__init__(escaped(" ".join(line.split())))


class OwnPartError(CommanderError):
    """A user's own network, dataset or other part failed."""

    code = 1


class UsageError(CommanderError):
    """The flags are invalid or contradict each other."""

    code = 2


class DataError(CommanderError):
    """A data file is missing, damaged or of the wrong form."""

    code = 3


class CheckpointError(CommanderError):
    """A run or a checkpoint is missing, damaged or made for another model."""

    code = 4


class ForeignError(CheckpointError):
    """A checkpoint holds more than tensors and plain values."""


class NumericsError(CommanderError):
    """The loss is not finite."""

    code = 5


class ResourceError(CommanderError):
    """The machine lacks disk, memory or permission."""

    code = 6


class DownloadError(CommanderError):
    """A dataset could not be fetched."""

    code = 7


class BusyError(CommanderError):
    """Another live process holds the run."""

    code = 8


class Interrupted(BaseException):
    """A signal ended the program; like KeyboardInterrupt it passes every `except Exception`."""

    def __init__(self, signum: int) -> None:
        self.code = 128 + signum
        super().__init__(signum)


def unforeseen(error: Exception) -> CommanderError:
    """An unexpected error as a one-line error: of the machine, of the user's code or of the program."""
    if not isinstance(error, MemoryError | ModuleNotFoundError) and (fault := _place(error)):
        path, line = fault
        what = f"your {os.path.basename(path)} failed, {type(error).__name__}: {getattr(error, 'msg', error)}"
        return OwnPartError(what, where=f"{path}, line {line}", hint="mend it there; --debug shows how it was called")
    if isinstance(error, OSError):
        what, where = error.strerror or str(error), str(error.filename or "")
        return ResourceError(what, where=where, hint="free space, or the permissions")
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(package)  # without an extra, every command needs the package
        hint = f"pip install -r requirements-{extra}.txt" if extra else "make train, or pip install -r requirements.txt"
        if _is_installed_command():
            hint = f"pip install 'ecg-commander{f'[{extra}]' if extra else ''}'"
        return ResourceError(f"the package {package} is not installed", hint=hint)
    if isinstance(error, MemoryError):
        return ResourceError("out of memory", where=str(error), hint="a machine with more, or less data")
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = f"a fault of the program, {type(error).__name__}: {error}"
    return CommanderError(what, where=f"{last.filename}, line {last.lineno}", hint="--debug, and report what it shows")


def program(name: str = "commander") -> str:
    """The program as the user types it: `ecg-commander` if installed, else `python commander.py`."""
    return f"ecg-{name}" if _is_installed_command() else f"python {name}.py"


def _is_installed_command() -> bool:
    called = Path(sys.argv[0])
    return called.stem in ("ecg-commander", "ecg-research") or called.resolve() == ROOT / "__main__.py"


def _place(error: BaseException) -> tuple[str, int] | None:
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
    if path in OWN_FILES:
        return True
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
