"""The argparse parser of declared flags: two lengths of help, and one line for an error, with a suggestion.

    Parser(declarations).parse_args(argv)

Imports only the standard library, so that --help answers at once.
"""

import argparse
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from toolbox.errors import UsageError

if TYPE_CHECKING:
    from toolbox.flags import Declarations, Flag


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
        for group in declared.groups:
            section = self.add_argument_group(group.title)
            for flag in group.flags:
                self._declare(section, flag)
        self.rare = {group.title for group in declared.groups if group.rare}
        section = self.add_argument_group("help")
        section.add_argument("-h", "--help", **_HELP, help="this text")
        if self.rare:
            section.add_argument("--help-all", **_HELP, help="this text with all flags")

    def _declare(self, section: Any, flag: "Flag") -> None:
        shown = "" if flag.default is None or flag.type is bool else f" (default {flag.default})"
        facts: dict[str, Any] = {"help": (flag.help + shown).replace("%", "%%")}
        if flag.type is bool:
            facts["action"] = "store_true"
        else:
            facts |= {"type": flag.type, "metavar": flag.metavar, "nargs": flag.nargs}
            facts |= {"const": flag.const} if flag.const is not None else {}
            facts |= {"action": "append"} if flag.repeated else {}
        spellings = sorted((flag.typed, *flag.also), key=lambda word: word.startswith("--"))  # -j before --workers
        section.add_argument(*spellings, **facts)
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


class _Help(argparse.Action):
    """Print the help and end; --help leaves the rare groups out."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> NoReturn:
        parser._print_message(parser.format_help(every=option_string == "--help-all"), sys.stdout)
        raise SystemExit(0)


_HELP: dict[str, Any] = {"action": _Help, "nargs": 0, "dest": "help", "default": argparse.SUPPRESS}
