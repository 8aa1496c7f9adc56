"""The commands of the commander, one file a command. They turn flags into objects.

The import of this package adds the flags of the datasets to `args.FLAGS`.
"""

import args
import loaders
from loaders.declaration import OPTION_FLAGS

for group in OPTION_FLAGS:
    args.add_flags(group.flags, group.title, before="charts")
args.add_flags(loaders.own_flags())


def listed(what: str) -> str:
    """The text of --list `what`: tables of models and datasets, which need no torch, or names."""
    if what == "datasets":
        return loaders.table()
    if what == "models":
        import models

        return models.table()
    from commands import choices

    return "\n".join(choices.names(what))
