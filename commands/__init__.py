"""The commands of the commander, one file a command. They turn flags into objects.

The import of this package adds the flags of the datasets to `args.FLAGS`.
"""

from pathlib import Path

import args
import loaders
from loaders.declaration import OPTION_FLAGS
from toolbox import plugins

NAMES = Path(__file__).with_name("names.txt")  # of the program's own parts, written by docs/generate.py

for group in OPTION_FLAGS:
    args.add_flags(group.flags, group.title, before="charts")
args.add_flags(loaders.own_flags())


def lists() -> list[str]:
    """The tables that --list prints."""
    return args.FLAGS.by_name["list"].help.partition(": ")[2].split()


def names() -> dict[str, list[str]]:
    """The names of the program's own parts by the table that `Flag.choices` names, without torch."""
    lines = (line.partition(": ") for line in NAMES.read_text("utf-8").splitlines())
    return {table: listed.split() for table, _, listed in lines}


def listed(what: str) -> str:
    """The text of --list `what`: tables of models and datasets, or names; without torch but for a user's own parts."""
    if what == "datasets":
        return loaders.table()
    if what in ("models", "encoders"):
        import models

        return models.table() if what == "models" else models.encoders_table()
    if what in lists() and not plugins.IN_USE:
        return "\n".join(names()[what])
    from commands import choices

    return "\n".join(choices.names(what))
