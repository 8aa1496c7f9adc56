"""A table whose columns are separated by something else than commas is recognised, with how pandas reads it."""

from typing import NamedTuple

from loaders.formats.columnnames import is_number

NAMES = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
SHARE = 0.5  # of the cells are numbers between the right separators


class Separator(NamedTuple):
    """What stands between the columns, whether numbers have decimal commas, and both in words."""

    mark: str
    decimal: bool

    @property
    def what(self) -> str:
        """In words."""
        return f"the columns are separated by {NAMES[self.mark]}" + ", the numbers have decimal commas" * self.decimal

    @property
    def how(self) -> str:
        """As arguments of pandas.read_csv."""
        mark = r"\s+" if self.mark == " " else self.mark
        return f"sep={mark!r}" + ", decimal=','" * self.decimal

    def split(self, line: str) -> list[str]:
        """The cells of a line, numbers with decimal points."""
        return (line.replace(",", ".") if self.decimal else line).split(None if self.mark == " " else self.mark)


def other(line: str) -> Separator | None:
    """What separates the columns of a line of numbers where it is no comma; None where it is, or where nothing does."""
    by_comma = sum(map(is_number, line.split(",")))
    for mark in NAMES:
        numbers = [is_number(cell) for cell in Separator(mark, decimal=True).split(line)]
        if sum(numbers) >= max(2, by_comma + 1, SHARE * len(numbers)):
            return Separator(mark, decimal="," in line)
    return None
