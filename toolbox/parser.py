"""The argparse parser of declared flags: two lengths of help, and one line for an error, with a suggestion.

    Parser(declarations).parse_args(argv)
    FlagFile.read(path).typed(declarations)        the flags of a file (--config), as if they were typed

Imports only the standard library, so that --help answers at once.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from toolbox.errors import UsageError

if TYPE_CHECKING:
    from toolbox.flags import Declarations, Flag

SHAPE = "flags and values, as epochs: 5, or the config.json of a run"
FILES = (".yaml", ".yml", ".json")
SWITCH = {"true": True, "false": False, True: True, False: False}
COMPLETER = "completer"  # attribute of an action, for argcomplete
NOT_IN_A_FILE = "config"
WORD = re.compile(r"--[a-z][\w-]*")


class Parser(argparse.ArgumentParser):
    """argparse with UsageErrors and two lengths of help."""

    def __init__(self, declared: "Declarations") -> None:
        super().__init__(
            declared.program,
            description=declared.description,
            epilog=declared.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            add_help=False,
        )
        self.elsewhere: dict[str, list[str]] = {word: [] for flag in declared for word in flag.elsewhere.split()}
        self.of_files: set[str] = set()  # the names of flags with a path
        for group in declared.groups:
            section = self.add_argument_group(group.title)
            for flag in group.flags:
                self._declare(section, flag)
        self.rare = {group.title for group in declared.groups if group.rare}
        section = self.add_argument_group("help")
        section.add_argument("-h", "--help", **_HELP, help="this text")
        if self.rare:
            section.add_argument("--help-all", **_HELP, help="this text with all flags")

    def complete(self, names: Mapping[str, Iterable[str]]) -> None:
        """Answer a shell that asks for completions, and end the process; `names` are known values by flag.

        Does nothing without argcomplete.
        """
        try:
            import argcomplete
            from argcomplete.completers import FilesCompleter
        except ImportError:
            return
        for action in self._actions:
            values = [*names.get(action.dest, ())]
            known = partial(_all, values) if values or action.dest not in self.of_files else FilesCompleter()
            setattr(action, COMPLETER, known)
        argcomplete.autocomplete(self, always_complete_options="long")

    def _declare(self, section: Any, flag: "Flag") -> None:
        shown = "" if flag.default is None or flag.type is bool else f" (default {flag.default})"
        facts: dict[str, Any] = {"help": (flag.help + shown).replace("%", "%%")}
        if flag.type is bool:
            facts["action"] = argparse.BooleanOptionalAction if flag.default else "store_true"
        else:
            facts |= {"type": flag.type, "metavar": flag.metavar, "nargs": flag.nargs}
            facts |= {"const": flag.const} if flag.const is not None else {}
            facts |= {"action": "append"} if flag.repeated else {"action": _Joined} if flag.joined else {}
        spellings = (flag.typed,) if flag.default is True else (flag.typed, *flag.also)  # argparse adds --no-NAME
        section.add_argument(*sorted(spellings, key=lambda word: word.startswith("--")), **facts)  # -j before --workers
        self.of_files |= {flag.name} if flag.path or flag.metavar in ("FILE", "DIR", "PATH") else set()
        for word in flag.elsewhere.split():
            self.elsewhere[word].append(flag.typed)

    def format_help(self, *, every: bool = True) -> str:
        """The help, with the rare groups if `every`."""
        formatter = self._get_formatter()
        formatter.add_text(self.description)
        for group in self._action_groups:
            if every or group.title not in self.rare:
                formatter.start_section(group.title)
                formatter.add_arguments(group._group_actions)
                formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        what, _, typed = message.partition("unrecognized arguments: ")
        if what:
            flag = message.partition("argument ")[2].partition(":")[0].rpartition("/")[2]
            hint = f"{flag} VALUE, or {flag}=VALUE where it begins with a dash"
            raise UsageError(message, hint=hint if "expected one argument" in message else f"{self.prog} --help")
        raise self.unknown(typed)

    def unknown(self, typed: str) -> UsageError:
        """The error for an unknown flag; suggests other spellings, names in other tools, longer and similar names."""
        known = [name for action in self._actions for name in action.option_strings]
        plain = typed.split()[0].split("=")[0].strip("-").replace("_", "-").lower()
        spelled = [name for name in known if name.strip("-") == plain]
        longer = [name for name in known if name.startswith(f"--{plain}")]
        near = spelled or self.elsewhere.get(plain) or longer
        if not near and not typed.startswith("-"):
            return UsageError(f"'{typed}' follows no flag", hint=f"a flag before it, as in --dataset {typed}")
        near = near or get_close_matches(f"--{plain}", known)
        return UsageError(f"unknown flag {typed}", hint=" or ".join(near) or f"{self.prog} --help")


def _all(values: list[str], **_: Any) -> list[str]:
    """The completer of known values."""
    return values


class _Joined(argparse.Action):
    """A flag that may be typed several times: its values with commas between them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, f"{before},{values}" if before else values)


class _Help(argparse.Action):
    """Print the help and end; --help leaves the rare groups out."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> NoReturn:
        parser._print_message(parser.format_help(every=option_string == "--help-all"), sys.stdout)
        raise SystemExit(0)


_HELP: dict[str, Any] = {"action": _Help, "nargs": 0, "dest": "help", "default": argparse.SUPPRESS}


@dataclass(frozen=True)
class FlagFile:
    """The flags in a file: of a person, of --save-config, or the config.json of a run.

    `imports` are the files of --import with their digests, relative to `base`. `defaults` are the flags of a
    run that were not typed for it.
    """

    path: Path
    values: Mapping[str, Any]
    imports: list[dict[str, str]]
    base: Path
    defaults: frozenset[str] = frozenset()
    of_a_run: bool = False

    @classmethod
    def read(cls, path: Path) -> "FlagFile":
        """The content of a .json, .yaml or .yml file. Raises UsageError for another form."""
        from toolbox import files, schema

        if path.suffix not in FILES:
            raise UsageError("the configuration has no known ending", where=str(path), hint=", ".join(FILES))
        try:
            found = files.read_json(path) if path.suffix == ".json" else files.read_yaml(path, SHAPE)
        except files.UnreadableError as error:
            raise UsageError(f"the configuration {error.what}", where=f"{path}{error.place}", hint=SHAPE) from error
        except OSError as error:
            what = f"the configuration cannot be read: {error.strerror}"
            raise UsageError(what, where=str(path), hint="a file of flags, such as one of --save-config") from error
        except UsageError as error:
            raise UsageError(error.what, where=str(path), hint=error.hint) from error
        if found is None:
            raise UsageError("the configuration has no flags", where=str(path), hint=SHAPE)
        of_a_run = isinstance(found, dict) and isinstance(found.get("flags"), dict)
        form = {"imports?": [{"file": str, "sha256": str}], **({"given?": [str]} if of_a_run else {"*": schema.ANY})}
        if why := schema.misfit(found, form):
            raise UsageError(f"the configuration is not one: {why}", where=str(path), hint=SHAPE)
        found = dict(found)
        imports, base = found.pop("imports", []), Path(os.path.realpath(path)).parent
        if not of_a_run:
            return cls(path, found, imports, base)
        flags, given = found["flags"], found.get("given")
        defaults = frozenset(flags) - frozenset(flags if given is None else given)
        return cls(path, flags, imports, base.parents[2], defaults, of_a_run=True)

    @classmethod
    def placed(cls, error: UsageError, argv: Sequence[str], declared: "Declarations") -> UsageError:
        """The error, with the file of --config as its place if it names a flag of that file."""
        typed = vars(declared.parser.parse_args(argv))
        named = {flag.name for word in WORD.findall(error.what) if (flag := declared.by_spelling.get(word))}
        for path in reversed(typed.get(NOT_IN_A_FILE, ())) if not error.where else ():
            own = vars(declared.parser.parse_args(cls.read(Path(path)).words(declared))).keys() - typed.keys()
            if own & named:
                return UsageError(error.what, where=path, hint=error.hint)
        return error

    def words(self, declared: "Declarations", *, unknown: bool = False) -> list[str]:
        """The flags as a command line. Raises UsageError for an unknown flag, unless `unknown` ones may pass."""
        line = []
        for key, value in self.values.items():
            spelled = f"--{str(key).replace('_', '-')}"
            flag = declared.by_spelling.get(spelled)
            if flag is None and not (unknown or self.of_a_run):
                raise declared.parser.unknown(f"--{key}")
            off = self.of_a_run and value is False and not (flag and (flag.default is True or flag.earlier))
            if flag is not None and value is not None and not off:
                line += self._words(flag, value, spelled)
        return line

    def _words(self, flag: "Flag", value: Any, spelled: str) -> list[str]:
        if flag.name == NOT_IN_A_FILE:
            raise UsageError(f"{flag.typed} cannot stand in a configuration", hint="its flags in this file")
        several = flag.repeated or flag.joined or flag.nargs == "+"
        if several and isinstance(value, list):
            return [flag.typed, *map(str, value)] if flag.nargs == "+" else [f"{flag.typed}={each}" for each in value]
        if flag.const is not None and isinstance(value, str | bool) and value in SWITCH:
            word = flag.of_switch(on=SWITCH[value])
            return [f"{flag.typed}={word}"] if word else []
        if flag.type is bool and isinstance(value, str | bool) and value in SWITCH:
            others = [each for each in (flag.typed, *flag.also) if flag.default is True and each != spelled]
            return [spelled] if SWITCH[value] else others  # --no-NAME of a switch that is on
        if (flag.joined or not several) and flag.type is not bool and type(value) in (str, int, float):
            path = self.of_a_run and flag.is_path(value)
            return [f"{flag.typed}={Path(self.base, str(value)) if path else value}"]
        allowed = "true or false" if flag.type is bool else "a list" if several else "text or a number"
        raise UsageError(f"{flag.name} is {str(value)[:40]!r}, must be {allowed}", hint=f"{flag.name}: {allowed}")

    def typed(self, declared: "Declarations", over: Mapping[str, Any]) -> dict[str, Any]:
        """The flags of the file as if typed, and those of the command line, `over`, over them.

        With another optimizer, a run's rates that were not typed are left out: each optimizer has its own.
        """
        try:
            found = vars(declared.parser.parse_args(self.words(declared)))
        except UsageError as error:
            raise UsageError(error.what, where=error.where or str(self.path), hint=error.hint) from error
        if self.imports and "import" not in over:
            found["import"] = [str(Path(self.base, entry["file"])) for entry in self.imports]
        if "optimizer" in over and over["optimizer"] != found.get("optimizer"):
            for name in self.defaults & {*declared.names("optimizer")}:
                found.pop(name, None)
        return {**found, **over}
