"""The space that a search draws cells from: of each axis the rows by their words, or a range."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studies.grid import Axis, Cell, Grid, Option, Range, few_enough, fixed
from toolbox.errors import UsageError


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
