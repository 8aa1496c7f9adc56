"""The one lookup: a name given by a user becomes an entry of a flat dict."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from toolbox.errors import UsageError

Entry = TypeVar("Entry")


def pick(choice: str, table: Mapping[str, Entry], name: str) -> Entry:
    """Return `table[name]`; an unknown name is a UsageError that lists the known ones, nearest first in the hint.

    `choice` is the flag without its dashes, so that the error quotes what was typed.
    """
    if name in table:
        return table[name]
    near = get_close_matches(name, table, n=3, cutoff=0.4)
    what = f"unknown --{choice} '{name[:60]}'; known are {', '.join(table)}"
    raise UsageError(what, hint=" or ".join(near or list(table)[:1]))
