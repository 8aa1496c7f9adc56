"""Tested runs side by side: --compare."""

import json
import sys

from toolbox.files import finite
from toolbox.flags import Flags, words
from toolbox.reports import comparison
from toolbox.runs.folder import RunFolder


def compare(flags: Flags) -> None:
    """Write a table of the runs to stdout, and a last line of JSON."""
    runs = [RunFolder.named(name, flags.root_dir) for name in flags.compare]
    values = comparison.compare(runs, macro_over=words(flags.macro_over))
    sys.stdout.write(f"{comparison.summary(values)}\n{json.dumps(finite(values))}\n")
