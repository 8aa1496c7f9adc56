"""The lookup of every name that a user types, in a flat dict."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TypeVar

from toolbox.errors import UsageError

Entry = TypeVar("Entry")
FEW = 12  # names that are read at a glance, in their own order


def pick(choice: str, table: Mapping[str, Entry], name: str) -> Entry:
    """Return `table[name]`. Raises UsageError for an unknown name, with the known names and the nearest as hint.

    Of many known names the nearest stand first. `choice` is the flag without its dashes.
    """
    if name in table:
        return table[name]
    near = get_close_matches(name, table, n=3, cutoff=0.4)
    known = list(table) if len(table) <= FEW else [*near, *(other for other in table if other not in near)]
    what = f"unknown --{choice} '{name[:60]}'; known are {', '.join(known)}"
    raise UsageError(what, hint=" or ".join(near or list(table)[:1]))


def listing(rows: Sequence[Sequence[str]]) -> str:
    """The rows of a --list, the first with the titles, as aligned text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
