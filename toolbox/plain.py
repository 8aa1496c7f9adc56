"""Names from files reach a terminal, a log, a report or a page as text; what would steer these is shown as its escape.

Leads, classes, records, files and runs may be called anything. Control characters (ESC, newline, NUL), marks that turn
the order of reading, and what is no character become \x1b, \n, \u202e, \udcff; letters of any language stay.
Standard library only.
"""

import copy
import html
import logging
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

NOTICE = "A research tool, not a medical device."  # in every report and on every page


class Block(str):
    """A text for the log that was made of lines on purpose."""

    __slots__ = ()


def escaped(text: Any) -> str:
    """`text` in one line in which every character is seen; spaces of any kind stay."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text)


def block(text: str) -> str:
    """`text` with its line breaks, every line `escaped`."""
    return text if text.isprintable() else "\n".join(map(escaped, text.split("\n")))


def lines(rows: Iterable[str]) -> str:
    """Rows as a text of as many lines, each `escaped`: the one way in which a report or a table becomes text."""
    return "\n".join(map(escaped, rows))


def markup(text: Any, quote: bool = True) -> str:
    """`text`, `escaped`, as HTML shows it."""
    return html.escape(escaped(text), quote)


class Formatter(logging.Formatter):
    """Formats this program's messages so that every value filled in is one line, unless it is a `Block`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, of a record."""
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
