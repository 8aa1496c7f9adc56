"""The algebra of grids: axes of flags, joined by product, zip and sum, make the configurations of a study.

    Option("lr", [0.001, 0.01]) * Option("optimizer", ["sgd", "adam"])      four configurations, the last axis fastest
    Option.product(Option("a", [1, 2]), Option("b", [3, 4]))                two configurations, a zip
    one + other                                                             the configurations of one, then of other

A grid is a sum of products: `(a + b) * c` equals `a * c + b * c`, and `a * (b + c)` equals `a * b + a * c` (in another
order if `a` is a sum). Repetitions are not an axis. A value is text as on a command line; None leaves the flag out. A
search draws from a `Space`: the axes of one product.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, islice, product
from math import isfinite, prod
from typing import Any

from toolbox.errors import UsageError

Cell = dict[str, str]  # a configuration: a flag without its dashes -> its value as text
KINDS = ("uniform", "loguniform", "randint")
MOST_CELLS, MOST_AXES = 10_000, 200  # of a grid; of a product
LARGEST_WHOLE = 2**53  # of randint
NO_RANGE = "refine needs a range in the grid"
A_RANGE = "loguniform(1e-4, 1e-2) in the grid"
_RANGE = re.compile(r"\s*(\w+)\s*\(\s*([^\s,()]+)\s*,\s*([^\s,()]+)\s*\)\s*")


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, ends included, for a search; `randint` draws whole numbers."""

    kind: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.kind}({self.low:g}, {self.high:g})"

    @property
    def ends(self) -> list[float]:
        """Both ends, in the type of the drawn values."""
        return [int(end) if self.kind == "randint" else end for end in (self.low, self.high)]

    def neighbours(self, value: float) -> list[float]:
        """A step down and a step up, within the range: a factor of 1.5 if logarithmic, a tenth of the width if uniform,
        1 for whole numbers."""
        if self.kind == "loguniform":
            steps = [value / 1.5, value * 1.5]
        else:
            step = 1 if self.kind == "randint" else (self.high - self.low) / 10
            steps = [value - step, value + step]
        steps = [min(max(step, self.low), self.high) for step in steps]
        return [int(step) for step in steps] if self.kind == "randint" else steps


@dataclass(frozen=True)
class Axis:
    """Rows of flags, one for each configuration, or a flag and its range."""

    rows: tuple[Mapping[str, str], ...]
    drawn: tuple[str, Range] | None = None

    @property
    def keys(self) -> list[str]:
        """All flags that the rows set."""
        return [self.drawn[0]] if self.drawn else _keys(self.rows)


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
        """The configurations in order, the last axis fastest. Raises UsageError for a range, or for too many."""
        few_enough(sum(prod(len(axis.rows) for axis in term) for term in self.terms))
        return [cell for term in self.terms for cell in _cells(term)]


class Option(Grid):
    """An axis: a flag, without its dashes, and its values."""

    def __init__(self, key: str, values: Iterable[Any] | Range) -> None:
        if isinstance(values, Range):
            axis = Axis((), (flag_key(key), values))
        else:
            axis = Axis(tuple(_row({key: value}) for value in islice(values, MOST_CELLS + 1)))
            few_enough(len(axis.rows))
            if not axis.rows:
                raise UsageError(f"the axis {key} is empty", hint="a value, or leave the axis out")
        super().__init__(((axis,),))

    @staticmethod
    def product(*grids: Grid) -> Grid:
        """The zip of several grids. Raises UsageError if their numbers of configurations differ."""
        tables = [grid.cells() for grid in grids]
        counts = {"+".join(_keys(table)): len(table) for table in tables}
        if len(set(counts.values())) != 1 or len(counts) != len(tables):
            lengths = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise UsageError(
                f"the parts of a zip have different lengths: {lengths}", hint="each flag once, equal lengths"
            )
        _apart([_keys(table) for table in tables])
        rows = tuple({key: value for cell in row for key, value in cell.items()} for row in zip(*tables, strict=True))
        return Grid(((Axis(rows),),))


def fixed(values: Mapping[str, Any]) -> Grid:
    """A grid of one configuration."""
    return Grid(((Axis((_row(values),)),),))


def parse_range(text: str) -> Range | None:
    """The range of "loguniform(1e-4, 1e-2)", "uniform(0, 1)" or "randint(1, 8)"; None for any other text."""
    match = _RANGE.fullmatch(text)
    if not match or match[1] not in KINDS:
        return None
    try:
        low, high = float(match[2]), float(match[3])
    except ValueError as error:
        raise UsageError(f"{text[:80]}: the ends are not numbers", hint="loguniform(1e-4, 1e-2)") from error
    whole = match[1] != "randint" or (low.is_integer() and high.is_integer() and max(-low, high) <= LARGEST_WHOLE)
    if not (low < high and isfinite(low) and isfinite(high) and whole and (match[1] != "loguniform" or low > 0)):
        hint = "finite ends, the lower end first, above 0 for loguniform, whole for randint"
        raise UsageError(f"{text[:80]} is not a valid range", hint=hint)
    return Range(match[1], low, high)


def few_enough(count: int) -> None:
    """Raise UsageError for more configurations than a study may have."""
    if count > MOST_CELLS:
        hint = "fewer values, a search (--search tpe), or several files"
        raise UsageError(f"the grid has {count:,} configurations, a study has at most {MOST_CELLS:,}", hint=hint)


def varying(cells: Iterable[Cell]) -> list[str]:
    """The flags in which the configurations differ, in order of appearance."""
    cells = list(cells)
    return [key for key in _keys(cells) if len({cell.get(key) for cell in cells}) > 1]


def same(key: str, other: str) -> bool:
    """Whether two flags of a grid are equal, or one is a part of the other (model-args, model-args.stem)."""
    return key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.")


def _cells(term: tuple[Axis, ...]) -> Iterator[Cell]:
    if drawn := dict(axis.drawn for axis in term if axis.drawn):
        what = "{} is {}, a range needs a search".format(*next(iter(drawn.items())))
        raise UsageError(what, hint="--search tpe, or a list of values")
    for rows in product(*(axis.rows for axis in term)):
        yield {key: value for row in rows for key, value in row.items()}


def _joined(left: tuple[Axis, ...], right: tuple[Axis, ...]) -> tuple[Axis, ...]:
    if len(left) + len(right) > MOST_AXES:
        raise UsageError(f"a product has more than {MOST_AXES} axes", hint="flags with one value in base")
    _apart([axis.keys for axis in left + right])
    return left + right


def _apart(parts: list[list[str]]) -> None:
    """Raise UsageError if two parts of a product set the same flag."""
    for one, other in combinations(parts, 2):
        for key, second in product(one, other):
            if same(key, second):
                what = f"a product has {key} twice" + f", as {second} too" * (key != second)
                raise UsageError(what, hint="one axis for each flag")


def _keys(rows: Iterable[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _row(values: Mapping[str, Any]) -> Cell:
    texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in values.items()}
    return {flag_key(key): text for key, text in texts.items() if values[key] is not None}


def flag_key(key: str) -> str:
    """A flag, or a part of one, in the spelling of configurations: no leading dashes, dashes for underscores."""
    name, dot, part = str(key).strip().lstrip("-").partition(".")
    return name.replace("_", "-") + dot + part


@dataclass(frozen=True)
class Space:
    """The axes of a search: for each its rows by their values as text, or a range.

    grid.json keeps its text, so that a resumed study can check that it searches the same space.
    """

    axes: Mapping[str, Mapping[str, Mapping[str, str]] | Range]

    @classmethod
    def of(cls, grid: Grid) -> "Space":
        """The axes of a grid. Raises UsageError for a sum of products."""
        if len(grid.terms) != 1:
            raise UsageError(f"a search needs one product, the grid has {len(grid.terms)}", hint="one line in grid")
        few_enough(sum(len(axis.rows) for axis in grid.terms[0]))
        rows = {"+".join(axis.keys): {_words(row): row for row in axis.rows} for axis in grid.terms[0]}
        return cls(rows | dict(axis.drawn for axis in grid.terms[0] if axis.drawn))

    def drawn(self) -> dict[str, Any]:
        """The axes with a choice: ranges, and axes with more than one row."""
        return {name: axis for name, axis in self.axes.items() if isinstance(axis, Range) or len(axis) > 1}

    def ranges(self) -> dict[str, Range]:
        """The axes that are ranges."""
        return {name: axis for name, axis in self.axes.items() if isinstance(axis, Range)}

    def cell(self, drawn: Mapping[str, Any]) -> Cell:
        """The configuration with the `drawn` values."""
        cell: Cell = {}
        for name, axis in self.axes.items():
            if isinstance(axis, Range):
                cell[name] = str(drawn[name])
            else:
                cell |= axis[drawn[name]] if name in drawn else next(iter(axis.values()))
        return cell

    def probes(self) -> Iterator[Cell]:
        """Configurations that cover every row of every axis, and both ends of every range."""
        values = {name: axis.ends if isinstance(axis, Range) else list(axis) for name, axis in self.axes.items()}
        first = {name: each[0] for name, each in values.items()}
        for name, each in values.items():
            yield from (self.cell(first | {name: value}) for value in each)


def _words(row: Mapping[str, str]) -> str:
    return " ".join(row.values()) if len(row) == 1 else " ".join(f"{key}={value}" for key, value in row.items())


def around(best: Cell, space: Space) -> list[Cell]:
    """The best configuration, and its neighbours with one number a step smaller or larger, within its range."""
    if not (ranges := space.ranges()):
        raise UsageError(NO_RANGE, hint=A_RANGE)
    grid = fixed(best)
    for name, values in ranges.items():
        rest = fixed({key: value for key, value in best.items() if key != name})
        steps = [value for value in values.neighbours(float(best[name])) if str(value) != best[name]]
        grid = grid + rest * Option(name, steps) if steps else grid
    return grid.cells()
