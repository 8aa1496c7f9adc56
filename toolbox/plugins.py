"""Parts of a user's own file, `--import FILE.py`: one decorator registers a part, by its kind.

    from toolbox.plugins import loss

    @loss("poly1")
    def poly1(logits, labels): ...

`read` carries out a file and returns its parts; `commands.own_parts.use` puts them into the tables of names. A file is
whole: its digest identifies it, and other files of its folder cannot be imported. Outside of `read` a decorator changes
nothing, so that the file can also be imported as a module.
"""

import hashlib
import importlib.abc
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from toolbox import errors
from toolbox.errors import CommanderError, DataError, UsageError

VARIABLE = "ECG_COMMANDER_IMPORT"  # of the environment: files with os.pathsep between them
KINDS = ("dataset", "network", "loss", "metric", "augmentation", "sampler", "optimizer")
NAME = re.compile(r"[A-Za-z][\w-]{0,59}", re.ASCII)
SHOWN = 12  # digits of a digest in a message
Target = TypeVar("Target", bound=Callable[..., Any])


@dataclass(frozen=True)
class Part:
    """A registered part: `target` is the decorated class or function, `facts` the arguments of the decorator."""

    kind: str
    name: str
    target: Callable[..., Any]
    facts: Mapping[str, Any]
    where: str  # file and line


@dataclass
class OwnFile:
    """A file of the user's with the SHA-256 digest of its bytes and, once it was carried out, its parts."""

    path: Path
    digest: str
    parts: list[Part] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.path.name} {self.digest[:SHOWN]}"


BEING_READ: list[OwnFile] = []
IN_USE: list[OwnFile] = []  # kept by `commands.own_parts.use`


def dataset(name: str, phrase: str, **facts: Any) -> Callable[[Target], Target]:
    """A function from a Request to `loaders.base.Data`; `facts` are the fields of `loaders.declaration.Dataset`."""
    return _registers("dataset", name, {"phrase": phrase, **facts})


def network(name: str, about: str, **facts: Any) -> Callable[[Target], Target]:
    """A class of networks, called with a DataSpec; `facts` are the fields of `models.Network`: task, view, sizes."""
    return _registers("network", name, {"about": about, **facts})


def loss(name: str, *, task: str = "classify") -> Callable[[Target], Target]:
    """A function from logits (B, K) and labels (B,) to the loss (B,) of each row.

    With task "detect" from a reconstruction (B, C, T) and x (B, C, T).
    """
    return _registers("loss", name, {"task": task})


def metric(
    name: str, *, low: float = 0.0, high: float = 1.0, lower_is_better: bool = False
) -> Callable[[Target], Target]:
    """A function from labels (N,) and probabilities (N, K) to a number from `low` to `high`, NaN if undefined."""
    return _registers("metric", name, {"low": low, "high": high, "lower_is_better": lower_is_better})


def augmentation(
    name: str,
    *,
    strength: float,
    unit: str,
    low: float = 0.0,
    high: float = 1e6,
    probability: float = 0.5,
    above_hz: float = 0.0,
    rows: Sequence[str] = ("signals",),
) -> Callable[[Target], Target]:
    """A function from x (B, C, T), strength and `loaders.augment.Chance` to a changed copy.

    `strength` is the default, its meaning `unit`, and its range `low` to `high`; `probability` is the default.
    """
    facts = {"strength": strength, "unit": unit, "low": low, "high": high}
    return _registers(
        "augmentation", name, {**facts, "probability": probability, "above_hz": above_hz, "rows": tuple(rows)}
    )


def sampler(name: str) -> Callable[[Target], Target]:
    """A function from labels (N,), importance of the classes and records (N,) to the weight (N,) of each row."""
    return _registers("sampler", name, {})


def optimizer(name: str, *, lr: float, weight_decay: float = 0.0) -> Callable[[Target], Target]:
    """A function from parameters, lr, momentum and weight decay to a torch optimizer; the arguments are defaults."""
    return _registers("optimizer", name, {"lr": lr, "weight_decay": weight_decay})


def _registers(kind: str, name: str, facts: Mapping[str, Any]) -> Callable[[Target], Target]:
    if BEING_READ and not (isinstance(name, str) and NAME.fullmatch(name)):
        what = f"{str(name)[:60]!r} is no name of a {kind}: letters, digits, _ and -, a letter first"
        raise UsageError(what, where=_place(BEING_READ[-1]), hint=f'@{kind}("my_{kind}")')

    def register(target: Target) -> Target:
        if BEING_READ:
            BEING_READ[-1].parts.append(Part(kind, name, target, facts, _place(BEING_READ[-1])))
        return target

    return register


def _place(own: OwnFile) -> str:
    """File and line of the code that is being carried out."""
    frame: Any = sys._getframe(1)
    while frame and frame.f_code.co_filename != str(own.path):
        frame = frame.f_back
    return f"{own.path}, line {frame.f_lineno if frame else 1}"


class _Bytes(importlib.abc.ExecutionLoader):
    """Loads a module from bytes that were read once: the code that runs is the code of the digest."""

    def __init__(self, path: str, content: bytes) -> None:
        self.path, self.content = path, content

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.content)


def opened(path: str | Path) -> OwnFile:
    """The file with its digest, not carried out yet. Raises DataError for a file that cannot be read."""
    return _opened(path)[0]


def _opened(path: str | Path) -> tuple[OwnFile, bytes]:
    found = Path(os.path.realpath(path))
    if found.suffix != ".py":
        raise UsageError("the file of --import is no Python file", where=str(path), hint="a file that ends in .py")
    try:
        content = found.read_bytes()
    except OSError as error:
        what = f"cannot read this file of your own parts: {error.strerror}"
        raise DataError(what, where=str(path), hint="the place of the file") from error
    return OwnFile(found, hashlib.sha256(content).hexdigest()), content


def read(path: str | Path) -> OwnFile:
    """The file, carried out, with its parts. Raises DataError or UsageError with file and line of the first fault."""
    own, content = _opened(path)
    name, place = f"own_{own.path.stem}_{own.digest[:SHOWN]}", str(own.path)
    spec = importlib.util.spec_from_loader(name, _Bytes(place, content), origin=place)
    if spec is None or spec.loader is None:
        raise DataError("cannot load the file of --import", where=place)
    errors.OWN_FILES.add(place)
    module = importlib.util.module_from_spec(spec)
    module.__file__, sys.modules[name] = place, module
    BEING_READ.append(own)
    try:
        spec.loader.exec_module(module)
    except CommanderError:
        raise
    except (Exception, SystemExit) as error:
        raise _fault(error, own) from error
    finally:
        BEING_READ.pop()
    if not own.parts:
        what = f"{own.path.name} registers nothing; a decorator of toolbox.plugins does: {', '.join(KINDS)}"
        raise UsageError(what, where=place, hint="the example in docs/plugins.md")
    return own


def _fault(error: BaseException, own: OwnFile) -> CommanderError:
    """The error of a file that cannot be carried out, with its line; an unknown kind gets a suggestion."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(own.path)]
    if isinstance(error, SyntaxError) and error.filename == str(own.path):
        lines.append(error.lineno)
    where = f"{own.path}, line {lines[-1] if lines and lines[-1] else 1}"
    if kind := _unknown_kind(error):
        near = get_close_matches(kind, KINDS, n=1, cutoff=0.4) or KINDS[:1]
        return UsageError(f"unknown kind {kind}; known are {', '.join(KINDS)}", where=where, hint=near[0])
    what = f"your {own.path.name} failed, {type(error).__name__}: {getattr(error, 'msg', error)}"
    hint = "mend it there; --debug shows how it was called"
    if isinstance(error, ModuleNotFoundError) and (own.path.parent / f"{error.name}.py").is_file():
        hint = f"the code of {error.name}.py in this file: the digest of a run is that of one file"
    return DataError(what, where=where, hint=hint)


def _unknown_kind(error: BaseException) -> str:
    """The name that a file asked this module for in vain; "" for another error."""
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType) and error.obj.__name__ == __name__:
        return error.name or ""
    if isinstance(error, ImportError) and error.name == __name__:
        return str(error.msg).partition("import name ")[2].split("'")[1]
    return ""


def from_environment() -> list[str]:
    """The files named in the environment variable."""
    return [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]


def stored(root: Path) -> list[dict[str, str]]:
    """The files in use as in config.json: paths relative to `root`, and digests."""
    base = os.path.realpath(root)
    return [{"file": os.path.relpath(own.path, base), "sha256": own.digest} for own in IN_USE]


def found(listed: Sequence[Mapping[str, str]], root: Path, *, of: str, hint: str, changed: bool = False) -> list[Path]:
    """The paths of the files `listed` as by `stored`; `of` is their run or study, and `changed` permits other digests.

    Raises DataError for a missing file and UsageError for a changed one; nothing is carried out.
    """
    paths = []
    for entry in listed:
        path, name = Path(os.path.realpath(root), entry["file"]), Path(entry["file"]).name
        if not path.is_file():
            what = f"{of} imports {name}, which is missing"
            raise DataError(what, where=os.path.normpath(path), hint=f"--import with the place of {name}")
        if not changed and (own := opened(path)).digest != entry["sha256"]:
            what = f"{own.path.name} has changed: its digest is {own.digest[:SHOWN]}, {of} has "
            raise UsageError(what + entry["sha256"][:SHOWN], where=str(own.path), hint=hint)
        paths.append(path)
    return paths


def difference(listed: Sequence[Mapping[str, str]]) -> list[str]:
    """[files of the run, files in use] as text, if their digests differ; else []."""
    if {entry["sha256"] for entry in listed} == {own.digest for own in IN_USE}:
        return []
    before = ", ".join(f"{Path(entry['file']).name} {entry['sha256'][:SHOWN]}" for entry in listed)
    return [before or "none", ", ".join(map(str, IN_USE)) or "none"]
