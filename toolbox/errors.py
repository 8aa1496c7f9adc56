"""What can go wrong through a user's input or machine, and the exit code each kind has.

`raise DataError("label 7 is not one of 0..4", where="train.csv, line 12", hint="correct the row")` becomes the one line
`error: label 7 is not one of 0..4 (train.csv, line 12). Try: correct the row` on stderr.
"""

import os
import traceback

from toolbox import yours
from toolbox.plain import escaped

OF_AN_EXTRA = {
    **dict.fromkeys(
        ("dask", "distributed", "cryptography", "yaml", "optuna"), "pip install -r requirements-research.txt"
    ),
    **dict.fromkeys(("torchvision", "lmdb", "openpyxl"), "pip install -r requirements-vision.txt"),
    "captum": "pip install -r requirements-explain.txt",
}


class CommanderError(Exception):
    """An error that is shown as one line: WHAT (WHERE). Try: HOW."""

    code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        line = what + (f" ({where})" if where else "") + (f". Try: {hint}" if hint else "")
        super().__init__(escaped(" ".join(line.split())))


class OwnPartError(CommanderError):
    """A network, a dataset or another part of the user's own is at fault."""

    code = 1


class UsageError(CommanderError):
    """The flags cannot be carried out as given."""

    code = 2


class DataError(CommanderError):
    """A file of data is missing, damaged or not what it should be."""

    code = 3


class CheckpointError(CommanderError):
    """A run or a checkpoint is missing, damaged or made for another model."""

    code = 4


class NumericsError(CommanderError):
    """The loss is no longer a number."""

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
    """A signal asked for the end; like KeyboardInterrupt it passes every `except Exception`."""

    def __init__(self, signum: int) -> None:
        self.code = 128 + signum
        super().__init__(signum)


def unforeseen(error: Exception) -> CommanderError:
    """What no part of the program expected, in a line: the machine's refusals, faults of the user's code and of the
    program."""
    if not isinstance(error, MemoryError | ModuleNotFoundError) and (place := yours.place(error)):
        what = f"your {os.path.basename(place[0])} failed, {type(error).__name__}: {getattr(error, 'msg', error)}"
        return OwnPartError(
            what, where=f"{place[0]}, line {place[1]}", hint="mend it there; --debug shows how it was called"
        )
    if isinstance(error, OSError):
        return ResourceError(
            error.strerror or str(error), where=str(error.filename or ""), hint="free space, or the permissions"
        )
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        hint = OF_AN_EXTRA.get(package, "make train, or pip install -r requirements.txt")
        return ResourceError(f"the package {package} is not installed", hint=hint)
    if isinstance(error, MemoryError):
        return ResourceError("out of memory", where=str(error), hint="a machine with more, or less data")
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = f"a fault of the program, {type(error).__name__}: {error}"
    return CommanderError(what, where=f"{last.filename}, line {last.lineno}", hint="--debug, and report what it shows")
