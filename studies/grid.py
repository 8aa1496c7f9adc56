"""The algebra of grids: axes of flags, joined by product, zip and sum, make the cells of a table.

    Option("lr", [0.001, 0.01]) * Option("optimizer", ["sgd", "adam"])      four cells, the last axis runs fastest
    Option.product(Option("a", [1, 2]), Option("b", [3, 4]))                two cells, side by side
    one + other                                                             the cells of one, then those of the other

A grid is a sum of products: `(a + b) * c` has the cells of `a * c + b * c`, and `a * (b + c)` those of `a * b + a * c`,
in the same order (of the last, where `a` is a sum itself, in another). Repetitions stand outside: they are no axis.
A value is the text that would be typed; None leaves the flag out.

The space that a search draws cells from: of each axis the rows by their words, or a range.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from math import isfinite, prod
from typing import Any

from toolbox.errors import UsageError

Cell = dict[str, str]  # a flag without its dashes -> its value as it is typed
KINDS = ("uniform", "loguniform", "randint")
MOST_CELLS, MOST_AXES = 10_000, 200  # of a grid; of a product
LARGEST_WHOLE = 2**53  # of randint
_RANGE = re.compile(r"\s*(\w+)\s*\(\s*([^\s,()]+)\s*,\s*([^\s,()]+)\s*\)\s*")


@dataclass(frozen=True)
class Range:
    """Values between `low` and `high`, both among them, that a search draws from; `randint` draws whole numbers."""

    kind: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.kind}({self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Axis:
    """Rows of flags of which a cell has one, or a range that they are drawn from."""

    rows: tuple[Mapping[str, str], ...]
    drawn: tuple[str, Range] | None = None

    @property
    def keys(self) -> list[str]:
        """Every flag that a row sets."""
        return [self.drawn[0]] if self.drawn else list(dict.fromkeys(key for row in self.rows for key in row))


@dataclass(frozen=True)
class Grid:
    """A sum of products of axes."""

    terms: tuple[tuple[Axis, ...], ...]

    def __add__(self, other: "Grid") -> "Grid":
        return Grid(self.terms + other.terms)

    def __mul__(self, other: "Grid") -> "Grid":
        few_enough(len(self.terms) * len(other.terms))
        return Grid(tuple(_joined(left, right) for left in self.terms for right in other.terms))

    def cells(self) -> list[Cell]:
        """The cells in order, the last axis running fastest; a UsageError where an axis is a range, or they are too
        many."""
        few_enough(sum(prod(len(axis.rows) for axis in term) for term in self.terms))
        return [cell for term in self.terms for cell in _cells(term)]


class Option(Grid):
    """An axis: a flag, without its dashes, and the values it takes."""

    def __init__(self, key: str, values: Iterable[Any] | Range) -> None:
        drawn = (flag_key(key), values) if isinstance(values, Range) else None
        rows = () if drawn else tuple(_row({key: value}) for value in islice(values, MOST_CELLS + 1))
        few_enough(len(rows))
        if not (rows or drawn):
            raise UsageError(f"the axis {key} is empty", hint="a value, or leave the axis out")
        super().__init__(((Axis(rows, drawn),),))

    @staticmethod
    def product(*grids: Grid) -> Grid:
        """The cells of several grids side by side, as many as each has; a UsageError where they differ in number."""
        tables = [grid.cells() for grid in grids]
        counts = {"+".join(_keys(table)): len(table) for table in tables}
        if len(set(counts.values())) != 1 or len(counts) != len(tables):
            told = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise UsageError(
                f"what is zipped is not equally long: {told}", hint="as many values in each, and each flag once"
            )
        _apart([_keys(table) for table in tables])
        rows = tuple({key: value for cell in row for key, value in cell.items()} for row in zip(*tables, strict=True))
        return Grid(((Axis(rows),),))


def fixed(values: Mapping[str, Any]) -> Grid:
    """A grid of one cell."""
    return Grid(((Axis((_row(values),)),),))


def parse_range(text: str) -> Range | None:
    """The range that "loguniform(1e-4, 1e-2)", "uniform(0, 1)" or "randint(1, 8)" means; None for any other text."""
    match = _RANGE.fullmatch(text)
    if not match or match[1] not in KINDS:
        return None
    try:
        low, high = float(match[2]), float(match[3])
    except ValueError as error:
        raise UsageError(f"{text[:80]}: its ends are no numbers", hint="loguniform(1e-4, 1e-2)") from error
    whole = match[1] != "randint" or (low.is_integer() and high.is_integer() and max(-low, high) <= LARGEST_WHOLE)
    if not (low < high and isfinite(low) and isfinite(high) and whole and (match[1] != "loguniform" or low > 0)):
        hint = "finite ends, the lower end first, above 0 for loguniform, whole for randint"
        raise UsageError(f"{text[:80]} is no range", hint=hint)
    return Range(match[1], low, high)


def few_enough(count: int) -> None:
    """Raise a UsageError where a grid has too many cells to be run in one research, before any of them is made."""
    if count > MOST_CELLS:
        hint = "fewer values, a search (--search tpe), or several files"
        raise UsageError(f"the grid has {count:,} cells, a research has at most {MOST_CELLS:,}", hint=hint)


def varying(cells: Iterable[Cell]) -> list[str]:
    """The flags in which the cells differ, in the order they come in."""
    cells = list(cells)
    return [key for key in _keys(cells) if len({cell.get(key) for cell in cells}) > 1]


def _cells(term: tuple[Axis, ...]) -> Iterator[Cell]:
    if drawn := [axis.drawn for axis in term if axis.drawn]:
        key, drawn_from = drawn[0]
        raise UsageError(
            f"{key} is {drawn_from}, which only a search draws from", hint="--search tpe, or a list of values"
        )
    for rows in product(*(axis.rows for axis in term)):
        yield {key: value for row in rows for key, value in row.items()}


def _joined(left: tuple[Axis, ...], right: tuple[Axis, ...]) -> tuple[Axis, ...]:
    if len(left) + len(right) > MOST_AXES:
        raise UsageError(f"a product has more than {MOST_AXES} axes", hint="flags that do not vary go into base")
    _apart([axis.keys for axis in left + right])
    return left + right


def _apart(sides: list[list[str]]) -> None:
    """Raise where two sides set one flag; a flag and a part of it (model-args, model-args.stem) are one."""
    for one, other in combinations(sides, 2):
        for key, beside in product(one, other):
            if key == beside or key.startswith(f"{beside}.") or beside.startswith(f"{key}."):
                raise UsageError(
                    f"a product has {key} twice" + f", as {beside} too" * (key != beside), hint="one axis for each flag"
                )


def _keys(cells: Iterable[Cell]) -> list[str]:
    return list(dict.fromkeys(key for cell in cells for key in cell))


def _row(values: Mapping[str, Any]) -> Cell:
    return {flag_key(key): _text(value) for key, value in values.items() if value is not None}


def flag_key(key: str) -> str:
    """A flag, or a part of one, as cells have it: without dashes before it, with dashes in it."""
    name, dot, part = str(key).strip().lstrip("-").partition(".")
    return name.replace("_", "-") + dot + part


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Space:
    """The axes of the one product that is searched: of each the rows by their words, or a range."""

    axes: Mapping[str, Mapping[str, Mapping[str, str]] | Range]

    @classmethod
    def of(cls, grid: Grid) -> "Space":
        """The axes of a grid; a UsageError where it is a sum, of which nothing can be learned together."""
        if len(grid.terms) != 1:
            raise UsageError(f"a search is over one product, the grid has {len(grid.terms)}", hint="one line in grid")
        few_enough(sum(len(axis.rows) for axis in grid.terms[0]))
        rows = {_name(axis): {_words(row): row for row in axis.rows} for axis in grid.terms[0]}
        return cls(rows | dict(axis.drawn for axis in grid.terms[0] if axis.drawn))

    def drawn(self) -> dict[str, Any]:
        """The axes of which something is to be drawn: ranges, and those with more rows than one."""
        return {name: axis for name, axis in self.axes.items() if isinstance(axis, Range) or len(axis) > 1}

    def cell(self, drawn: Mapping[str, Any]) -> Cell:
        """The cell that was drawn."""
        cell: Cell = {}
        for name, axis in self.axes.items():
            if isinstance(axis, Range):
                cell[name] = str(drawn[name])
            else:
                cell |= axis[drawn[name]] if name in drawn else next(iter(axis.values()))
        return cell

    def probes(self) -> Iterator[Cell]:
        """Cells in which every value of every axis, and both ends of every range, stand once."""
        ends = {
            name: [axis.low, axis.high] if isinstance(axis, Range) else list(axis) for name, axis in self.axes.items()
        }
        whole = {name: isinstance(axis, Range) and axis.kind == "randint" for name, axis in self.axes.items()}
        ends = {name: [int(end) if whole[name] else end for end in found] for name, found in ends.items()}
        first = {name: found[0] for name, found in ends.items()}
        for name, found in ends.items():
            yield from (self.cell(first | {name: end}) for end in found)

    def ranges(self) -> dict[str, Range]:
        """The axes that are ranges."""
        return {name: axis for name, axis in self.axes.items() if isinstance(axis, Range)}


def _name(axis: Axis) -> str:
    return "+".join(axis.keys)


def _words(row: Mapping[str, str]) -> str:
    return " ".join(row.values()) if len(row) == 1 else " ".join(f"{key}={value}" for key, value in row.items())


def around(best: Cell, space: Space) -> list[Cell]:
    """A small grid: the best cell, and beside it those with one number a step smaller or larger, within its range."""
    if not (ranges := space.ranges()):
        raise UsageError(
            "--refine varies numbers, and the grid has no range", hint="loguniform(1e-4, 1e-2) in the grid"
        )
    grid = fixed(best)
    for name, values in ranges.items():
        rest = fixed({key: value for key, value in best.items() if key != name})
        beside = [value for value in _steps(float(best[name]), values) if str(value) != best[name]]
        grid = grid + rest * Option(name, beside) if beside else grid
    return grid.cells()


def _steps(value: float, values: Range) -> Sequence[float]:
    """A step down and one up: half as much again in a logarithmic range, a tenth of the width in another, 1 of whole
    numbers."""
    if values.kind == "loguniform":
        steps = [value / 1.5, value * 1.5]
    else:
        step = 1 if values.kind == "randint" else (values.high - values.low) / 10
        steps = [value - step, value + step]
    steps = [min(max(step, values.low), values.high) for step in steps]
    return [int(step) for step in steps] if values.kind == "randint" else steps
