"""Text from files, made safe for terminals, logs, reports and pages: control characters appear as escapes.

Leads, classes, records, files and runs may have any name. Control characters (ESC, newline, NUL), bidirectional marks
and invalid characters become \x1b, \n, \u202e, \udcff; letters of any language stay. Standard library only.
"""

import copy
import html
import logging
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

NOTICE = "A research tool, not a medical device."  # in every report and on every page


class Block(str):
    """A text for the log that keeps its line breaks."""

    __slots__ = ()


def escaped(text: Any) -> str:
    """`text` as one line of visible characters; spaces of any kind stay."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text)


def block(text: str) -> str:
    """`text` with its line breaks, every line `escaped`."""
    return text if text.isprintable() else "\n".join(map(escaped, text.split("\n")))


def lines(rows: Iterable[str]) -> str:
    """The text of a report or table from its rows, each `escaped`."""
    return "\n".join(map(escaped, rows))


def markup(text: Any, quote: bool = True) -> str:
    """`text`, `escaped`, as HTML."""
    return html.escape(escaped(text), quote)


class Formatter(logging.Formatter):
    """Formats log messages with one line per inserted value, unless it is a `Block`."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a log record."""
        own = copy.copy(record)
        if isinstance(own.args, Mapping):
            own.args = {key: _filled_in(value) for key, value in own.args.items()}
        elif own.args:
            own.args = tuple(map(_filled_in, own.args))
        elif record.name == "commander" and not isinstance(own.msg, Block):
            own.msg = escaped(own.msg)
        return block(super().format(own))


def _filled_in(value: Any) -> Any:
    return value if isinstance(value, int | float | Block) else escaped(value)
