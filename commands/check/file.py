"""--check FILE: the parts of a user's own file pass the checks that the tests ask of the program's parts.

One line a check on stdout, faults first: `fault` or `ok`, the part, the property, and the fault. Nothing is trained,
no run folder is made, and nothing is measured on the test rows.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from commands import build, choices
from commands.check import networks, training
from commands.check.datasets import DATASET, RowSource
from loaders import get_data
from toolbox import errors, plain, plugins
from toolbox.errors import CommanderError, OwnPartError
from toolbox.flags import Flags
from toolbox.plugins import Part

Checks = Mapping[str, Callable[[Any], str]]
CHECKS: dict[str, Callable[[Any], Checks]] = {
    "dataset": lambda source: DATASET,
    "network": networks.checks,
    "loss": training.loss_checks,
    "metric": lambda name: training.METRIC,
    "augmentation": lambda name: training.AUGMENTATION,
    "sampler": lambda name: training.SAMPLER,
    "optimizer": lambda name: training.OPTIMIZER,
}


class Finding(NamedTuple):
    """A checked property of a part, and its fault, "" without one."""

    part: Part
    about: str
    fault: str

    def __str__(self) -> str:
        head = f"{'fault' if self.fault else 'ok':5}  {self.part.kind} {self.part.name}  {self.about}"
        return f"{head}: {self.fault} ({self.part.where})" if self.fault else head


def check(flags: Flags) -> None:
    """Check every part of the file; prints a line a check. Raises OwnPartError if one fails."""
    flags = choices.settle(flags)
    path = Path(flags.check).resolve()
    parts = [part for own in plugins.IN_USE if own.path == path for part in own.parts]
    found = sorted((each for part in parts for each in findings(part, flags)), key=lambda each: not each.fault)
    sys.stdout.write(plain.lines(map(str, found)) + "\n")
    if failed := sum(bool(each.fault) for each in found):
        what = f"{failed} of {len(found)} checks of {path.name} failed"
        raise OwnPartError(what, where=str(path), hint="the lines that begin with fault")


def findings(part: Part, flags: Flags) -> Iterator[Finding]:
    """Every check of a part; an exception is a fault, with file and line where it is of the user's code."""
    subject: Any = part.name
    if part.kind == "dataset":
        options = build.data_options(flags.replace(task="classify"))
        subject = RowSource(part.name, partial(loaded, part.name, flags.root_dir, options))
    elif part.kind == "loss":
        subject = part.name, part.facts["task"]
    for about, function in CHECKS[part.kind](subject).items():
        yield Finding(part, about, fault_of(function, subject))


def loaded(name: str, root: Path, options: Mapping[str, Any], **changes: Any) -> Any:
    """The dataset `name` with the options of the flags and `changes`."""
    return get_data(name, root, **{**options, **changes})


def fault_of(function: Callable[[Any], str], subject: Any) -> str:
    """The fault that a check finds, or the error that it ends with, in one line."""
    try:
        return function(subject)
    except CommanderError as error:
        return str(error)
    except Exception as error:
        return str(errors.unforeseen(error)).removesuffix(". Try: mend it there; --debug shows how it was called")
