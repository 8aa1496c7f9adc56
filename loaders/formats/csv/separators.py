"""A table of rows whose columns are separated by something else than commas is recognised, with how pandas reads it."""

from itertools import product

from loaders.formats.csv.dialect import DECIMALS, DELIMITERS, Dialect

SHARE = 0.5  # of the cells are numbers between the right separators


def other(line: str) -> Dialect | None:
    """The dialect of a line of numbers that are not separated by commas; None where they are, or where nothing
    separates them."""
    by_comma = _numbers(Dialect(","), line)
    for mark, decimal in product(";\t| ", DECIMALS):
        dialect = Dialect(mark, decimal)
        if _numbers(dialect, line) >= max(2, by_comma + 1, SHARE * len(dialect.cells(line))):
            return dialect
    return None


def _numbers(dialect: Dialect, line: str) -> int:
    return sum(map(dialect.is_number, dialect.cells(line)))


def in_words(dialect: Dialect) -> str:
    """The separator and the decimal sign."""
    return f"the separator is {DELIMITERS[dialect.delimiter]}, the decimal sign {DECIMALS[dialect.decimal]}"


def as_arguments(dialect: Dialect) -> str:
    """The dialect as arguments of pandas.read_csv."""
    mark = r"\s+" if dialect.delimiter == " " else dialect.delimiter
    return f"sep={mark!r}" + ", decimal=','" * (dialect.decimal == ",")
