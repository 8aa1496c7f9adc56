"""One declaration per flag holds all its facts; help, checks and lists of flag names are queries.

    Flag("--epochs", TRAINING, "passes over the training rows", type=int, default=20, check=between(1, 100))

`Declarations` holds the flags of a program: their `Parser`, the defaults, `names` for lists, `resolve` for values. A
dataset or plug-in declares its own flags in the same way. Imports only the standard library, so that --help answers at
once; names (models, datasets, ...) are looked up later.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NoReturn

from toolbox.parser import FILES, NOT_IN_A_FILE, FlagFile, Parser

LARGEST = 10**9
CLOCK = re.compile(r"(?:\d{1,3}:[0-5]?\d:[0-5]?\d|\d{1,5}:[0-5]?\d|\d{1,7})(?:\.\d{1,6})?", re.ASCII)
DIGITS = re.compile(r"\d{1,9}", re.ASCII)
ROOT = "root_dir"  # stored paths are relative to the folder of this flag
ROOT_VARIABLE = "ECG_COMMANDER_ROOT"  # of the environment: its default
OnResume = Literal["free", "override", "never"]
TAGS = {
    "batches": "decides the batches and the device that computes them",
    "divides": "decides which rows train, validate and test",
    "network": "decides which network is built",
    "of-beats": "is of the beats of a recording, not of whole recordings",
    "of-one-run": "selects the run of a command; hints of single runs name it",
    "one-label": "is of rows with one class each, not of many labels a row",
    "optimizer": "its default depends on the optimizer",
    "other-file": "describes the file of --test-on if both are typed, not the data of the run",
    "output": "requests an output; if the command does not make it, the log warns",
    "recording": "describes the recording with --predict, not the data of the run",
    "resets-best": "decides how validation judges an epoch; another value makes earlier epochs incomparable",
    "resets-best-short": "the same in a short run",
    "steps": "decides the steps of a training; --train probe has none",
    "stage": "of a study without a file; a file sets it for each stage",
    "trains": "makes the command train a network, so that the training flags count",
    "length": "decides the length of a training",
    "validates": "decides which training rows validate",
}


@dataclass(frozen=True)
class FlagKind:
    """Default facts of the flags of a kind; `used_by` are modes of commands."""

    name: str
    kept: bool = True
    identifies: bool = True
    on_resume: OnResume = "override"
    used_by: frozenset[str] = frozenset()


LOOK, TEST, USE = "look", "test", "use"  # modes of commands: data without a run, a test of a run, other uses of a run
DATA = FlagKind("data", used_by=frozenset({LOOK, TEST, USE}))  # the rows and their split
MODEL = FlagKind("model", used_by=frozenset({TEST, USE}))  # the network, its task and its metrics
TRAINING = FlagKind("training")  # the way to the weights
REPORT = FlagKind("report", on_resume="free", used_by=frozenset({TEST}))  # the outputs of a test
MACHINE = FlagKind("machine", identifies=False, on_resume="free", used_by=frozenset({"", LOOK, TEST, USE}))
COMMAND = FlagKind("command", kept=False, identifies=False, on_resume="free", used_by=frozenset({TEST, USE}))


@dataclass(frozen=True)
class Check:
    """The allowed values of a flag, as a test and as words for an error."""

    rule: str
    holds: Callable[[Any], bool]


def between(low: int, high: int) -> Check:
    """From `low` to `high`, both allowed."""
    return Check(f"from {low} to {'a billion' if high == LARGEST else high}", lambda value: low <= value <= high)


def word_or_number(*words: str) -> Check:
    """One of some words, or a whole number of at most nine digits."""
    return Check(f"{', '.join(words)} or a number", lambda text: text in words or bool(DIGITS.fullmatch(text)))


COUNT, NATURAL, SEED = between(1, LARGEST), between(0, LARGEST), between(0, 2**31 - 1)
FRACTION = Check("from 0, below 1", lambda value: 0 <= value < 1)
POSITIVE = Check("above 0 and finite", lambda value: 0 < value < math.inf)


def seconds(text: str | None) -> float:
    """Seconds of a time such as 5:00, 1:30:00 or 300; 0 for None. Raises ValueError for any other text."""
    if not CLOCK.fullmatch(text or "0"):
        raise ValueError(text)
    parts = [float(part) for part in (text or "0").split(":")]
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def words(text: str | None) -> list[str] | None:
    """The parts between commas; None for None."""
    return None if text is None else [word.strip() for word in text.split(",")]


def as_typed(value: Any) -> str:
    """A value as a person types it: 100 for 100.0."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _are_weights(text: str) -> bool:
    try:
        numbers = [float(weight) for weight in text.split(",")]
    except ValueError:
        return False
    return all(0 <= number <= LARGEST for number in numbers) and any(numbers)


CONFIGURATION = Check(f"a file that ends in {', '.join(FILES)}", lambda text: text.endswith(FILES))
TIME = Check("minutes:seconds, hours:minutes:seconds or seconds", lambda text: bool(CLOCK.fullmatch(text)))
WEIGHTS = Check("numbers from 0 to a billion with commas between them, not all 0", _are_weights)


@dataclass(frozen=True)
class Flag:
    """One flag. `type` bool is a switch, off, or with a `default` of True on: --no-NAME. None stands for "not given".

    `kept` (in config.json), `identifies` (a configuration of a study) and `on_resume` default to those set by the kind.
    """

    typed: str
    kind: FlagKind
    help: str
    _: KW_ONLY
    type: type = str
    default: Any = None
    by_task: Mapping[str, str] = field(default_factory=dict)  # default of each task; "labels": of many labels a row
    metavar: str | None = None
    also: tuple[str, ...] = ()  # other spellings
    nargs: str | None = None
    const: str | None = None
    repeated: bool = False  # typed several times, the value is the list
    joined: bool = False  # typed several times, the values have commas between them
    check: Check | None = None
    choices: str = ""  # the table of allowed names
    elsewhere: str = ""  # its names in other tools, for suggestions only
    path: Literal["", "folder", "file", "file or name", "run"] = ""
    family: str = ""  # dataset families with this option; "any" for every dataset
    task: str = ""  # the only task that uses it
    view: str = ""  # the only view that uses it
    mode: str | None = None  # of a command: LOOK, TEST, USE, or "" for neither data nor run
    command: str = ""  # the only commands it goes with
    used_by: str = ""  # commands that use it, in addition to those of its kind
    unused_by: str = ""  # commands of its kind that do not
    used_with: str = ""  # typed flags of a test or use that depend on it
    on_resume: OnResume | None = None
    kept: bool | None = None
    identifies: bool | None = None
    earlier: Any = None  # the value of runs that are older than the flag, if it is not the default
    unset: Any = None  # the value that is the same as none, and is stored as none
    tags: str = ""  # of TAGS

    def __post_init__(self) -> None:
        for fact in ("kept", "identifies", "on_resume"):
            if getattr(self, fact) is None:
                object.__setattr__(self, fact, getattr(self.kind, fact))
        if unknown := {*self.tags.split()} - TAGS.keys():
            raise ValueError(f"{self.typed} has unknown tags {unknown}")

    @property
    def name(self) -> str:
        """The name in Python and in config.json."""
        return self.typed.lstrip("-").replace("-", "_")

    def is_path(self, value: Any) -> bool:
        """Whether config.json stores a value as a path relative to the root; a name without an ending is no path."""
        return bool(value) and (self.path == "file" or (self.path == "file or name" and bool(Path(value).suffix)))

    def words(self, value: Any) -> list[str]:
        """A value as words of a command line, none for an unset one and for the default of a switch."""
        if self.type is bool:
            on, off = self.typed, f"--no-{self.typed.lstrip('-')}"
            return [] if value is None or value is bool(self.default) else [on if value else off]
        if value in (None, "", []):
            return []
        values = [*map(as_typed, value if isinstance(value, list) else [value])]
        if self.repeated or values[0].startswith("-"):
            return [f"{self.typed}={each}" for each in values]
        return [self.typed, *values]

    def of_switch(self, *, on: bool) -> Any:
        """The value of a flag with a `const` for the `true` or `false` of a file, None for no value."""
        return self.const if on else self.earlier

    def uses(self, other: "Flag") -> bool:
        """Whether the results of this command can depend on another flag."""
        by_kind = self.mode in other.kind.used_by and self.name not in other.unused_by.split()
        return by_kind or self.name in other.used_by.split()

    def complaint(self, value: Any) -> str:
        """The fault of a typed value, "" if it is allowed."""
        if value in (None, self.const):
            return ""
        if self.check and not self.check.holds(value):
            return f"{self.typed} is {str(value)[:40]}, must be {self.check.rule}"
        return f"{self.typed} {why}" if (why := _unusable(value)) else ""


class Flags(SimpleNamespace):
    """The value of every flag of one command, by name; `replace` gives a copy with other values."""

    def __setattr__(self, name: str, *_: Any) -> NoReturn:
        raise AttributeError(f"resolved flags cannot be changed ({name}); make a copy with replace")

    __delattr__ = __setattr__

    def replace(self, **changes: Any) -> "Flags":
        """A copy with `changes`."""
        return Flags(**{**vars(self), **changes})


@dataclass(frozen=True)
class Group:
    """Flags under one title of the help; only --help-all shows a `rare` group."""

    title: str
    flags: Sequence[Flag]
    rare: bool = False


@dataclass(frozen=True)
class Declarations:
    """The flags of a program, in the order of its help and of config.json."""

    program: str
    description: str
    epilog: str
    groups: tuple[Group, ...]

    def __iter__(self) -> Iterator[Flag]:
        return (flag for group in self.groups for flag in group.flags)

    @cached_property
    def by_name(self) -> dict[str, Flag]:
        return {flag.name: flag for flag in self}

    @cached_property
    def by_spelling(self) -> dict[str, Flag]:
        """Every flag by each of its spellings."""
        return {typed: flag for flag in self for typed in (flag.typed, *flag.also)}

    @cached_property
    def defaults(self) -> dict[str, Any]:
        return {flag.name: bool(flag.default) if flag.type is bool else flag.default for flag in self}

    @cached_property
    def parser(self) -> Parser:
        return Parser(self)

    @cached_property
    def earlier(self) -> dict[str, Any]:
        """The values of runs that are older than these flags."""
        return {flag.name: flag.earlier for flag in self if flag.earlier is not None}

    def renamed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Flags by their names of today; a switch that became a word has its `const`, or its `earlier` value, and the
        value `unset` is None."""
        found = {}
        for name, value in values.items():
            flag = self.by_spelling.get(flag_name(name))
            if flag and flag.name != name and flag.earlier is not None:
                found[flag.name] = flag.of_switch(on=value is True)
            else:
                found[name] = None if flag and value == flag.unset else value
        return found

    def extended(self, added: Group, *, before: str = "") -> "Declarations":
        """These flags and the group `added`, which stands before the group titled `before`, else at the end."""
        at = next((place for place, group in enumerate(self.groups) if group.title == before), len(self.groups))
        return Declarations(self.program, self.description, self.epilog, (*self.groups[:at], added, *self.groups[at:]))

    def names(self, tag: str = "", *, family: str = "", **facts: Any) -> tuple[str, ...]:
        """The names of the flags with this tag, dataset family and facts, in order of declaration."""
        if tag and tag not in TAGS:
            raise ValueError(f"unknown tag {tag}")
        return tuple(
            flag.name
            for flag in self
            if (not tag or tag in flag.tags.split())
            and (not family or family in flag.family.split())
            and all(getattr(flag, fact) == value for fact, value in facts.items())
        )

    def again(
        self, stored: Mapping[str, Any], names: Iterable[str], place: Callable[[str], str], imports: Iterable[str] = ()
    ) -> list[str]:
        """The stored flags of a run, those of `names`, as words of a command line, after its files of --import.

        `place` turns a path, stored relative to the root, into one to type. A flag of a user's own dataset is typed
        even while its file is not imported.
        """
        line = [word for file in imports for word in ("--import", place(file))]
        for name in names:
            value = stored.get(name)
            flag = self.by_name.get(name, Flag(flag_name(name), DATA, "", type=type(value)))
            line += flag.words(place(str(value)) if flag.is_path(value) else value)
        return line

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """The typed values by name, over those of the files of --config, the last first. Raises UsageError."""
        typed = vars(self.parser.parse_args(argv))
        for path in reversed(typed.pop(NOT_IN_A_FILE, ())):
            typed = FlagFile.read(Path(path)).typed(self, typed)
        return typed

    def resolve(self, typed: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Flags:
        """Every flag: typed, else stored by the run, else the default. Stored paths are relative to --root-dir."""
        known = self.by_name
        old, typed = self.renamed(stored or {}), self.renamed(typed)
        kept = {name: value for name, value in old.items() if name in known and known[name].kept}
        values = {**self.defaults, **(self.earlier if stored else {}), **kept, **typed}
        values[ROOT] = Path(values[ROOT] if ROOT in typed else os.environ.get(ROOT_VARIABLE) or values[ROOT])
        for name, flag in known.items():
            if flag.is_path(values[name]):
                values[name] = Path("" if name in typed else os.path.realpath(values[ROOT]), values[name])
        return Flags(**values)

    def changed(self, typed: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Typed values that would turn a resumed run into another run: name -> [the run's, typed]."""
        before, free = {**self.defaults, **self.earlier, **self.renamed(stored)}, self.names(on_resume="free")
        changed = {name: now for name, now in self.renamed(typed).items() if name not in free}
        return {name: [before[name], now] for name, now in changed.items() if before[name] != now}

    def complaints(self, typed: Mapping[str, Any]) -> list[str]:
        """The fault of each invalid typed value, with flag and range. Touches no disk and no device."""
        wrong = [self.by_name[name].complaint(value) for name, value in typed.items()]
        of = {flag.typed: flag.command.split() for flag in self if flag.command and flag.name in typed}
        wrong += [
            f"{one} goes with --{' or --'.join(any_of)}" for one, any_of in of.items() if not typed.keys() & any_of
        ]
        return [text for text in wrong if text]

    def commands(self, typed: Mapping[str, Any]) -> list[Flag]:
        """The typed commands; none means training a new or resumed run."""
        return [flag for flag in self if flag.mode is not None and typed.get(flag.name)]

    def unused(self, typed: Mapping[str, Any]) -> set[str]:
        """The typed flags that at least one of the commands does not use.

        The rule: a flag is ignored if the results of the command cannot depend on it. A flag that would change the
        results, or describes the run (its data, network, task, ...), must equal the run's value; with --resume alone,
        so must every flag that would make another run. So `--test --resume best` may end the command of the training.
        """
        flags = [flag for flag in self if flag.name in typed and flag.mode is None]
        pairs = [(command, flag) for command in self.commands(typed) for flag in flags]
        return {flag.name for command, flag in pairs if not (command.uses(flag) or self._wanted(command, flag, typed))}

    def _wanted(self, command: Flag, flag: Flag, typed: Mapping[str, Any]) -> bool:
        """Whether another typed flag depends on this one."""
        trains = flag.kind is TRAINING and "length" not in flag.tags.split()
        wanting = [*flag.used_with.split(), *(self.names("trains") if trains else ())]
        asked = [self.by_name[name] for name in wanting if typed.get(name)]
        return command.mode in (TEST, USE) and any(map(command.uses, asked))

    def fits(self, name: str, value: Any) -> bool:
        """Whether a stored value is of the type of its flag."""
        kind = self.by_name[name].type
        unset = value is None and self.defaults[name] is None
        return unset or type(value) is kind or (kind is float and type(value) is int)


def flag_name(name: str) -> str:
    """The spelling of a flag on the command line."""
    return f"--{name.replace('_', '-')}"


def _unusable(value: Any) -> str:
    """Why a value cannot be a name or a path; "" if it can."""
    if not isinstance(value, str):
        return ""
    if not value or "\0" in value:
        return "is empty" if not value else "has a NUL in it"
    longest = max(len(os.fsencode(part)) for part in value.split("/"))
    return "has a name of over 255 bytes in it" if longest > 255 else ""
