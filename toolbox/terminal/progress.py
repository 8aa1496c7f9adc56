"""Progress as tqdm counts it: a moving bar on a terminal, or lines for a log.

    Bar(None, total=100, unit="row")
    Bar(None, total=100, **as_lines(log.info, every_s=30.0, unit="row"))

`toolbox.terminal.bar` chooses between the two. A module of its own, as tqdm is only imported where a bar is shown.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

BYTES = "B"  # the unit of a download, which takes no space before it and no plural
SHARE, RATE, LEFT = "{percentage:.0f} %, ", ", {rate_fmt}", ", {remaining} left"


class Bar(tqdm):
    """A bar that asks `figures` for values when it is drawn, not at every step."""

    def __init__(self, figures: Callable[[], Mapping[str, str]] | None, **options: Any) -> None:
        self.figures, self.as_lines = None, isinstance(options.get("file"), Lines)
        super().__init__(**options)
        self.figures = figures  # not before: tqdm draws an empty bar first

    def refresh(self, *args: Any, **options: Any) -> Any:
        """Draw the bar, or write the line, with the present figures."""
        if self.figures:
            self.set_postfix(self.figures(), refresh=False)
        if self.as_lines:
            unit = self.unit if self.unit == BYTES else f"{self.unit}s"
            counted = f"{SHARE}{{n_fmt}} of {{total_fmt}}{unit}" if self.total else f"{{n_fmt}}{unit}"
            self.bar_format = f"{{desc}}: {counted}{RATE}{LEFT if self.total else ''}{{postfix}}"
        return super().refresh(*args, **options)


class Lines:
    """A file for tqdm that hands over each drawing as one line, without the movements of the cursor."""

    encoding = "utf-8"

    def __init__(self, write: Callable[[str], Any]) -> None:
        self.write_line = write

    def write(self, text: str) -> None:
        if line := " ".join(text.split()):
            self.write_line(line)

    def flush(self) -> None:
        """Nothing is kept back."""


def as_lines(write: Callable[[str], Any], *, every_s: float, unit: str = "it") -> dict[str, Any]:
    """Options of tqdm for a line every `every_s` seconds: description, share, number of units, rate, time left."""
    return {
        "file": Lines(write),
        "unit": unit if unit == BYTES else f" {unit}",
        "mininterval": every_s,
        "delay": every_s,  # no line for short work
        "miniters": 1,  # the time alone decides
        "leave": False,
    }
