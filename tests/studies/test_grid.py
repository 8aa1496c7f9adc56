"""Grids: the algebra of axes, and files of it in YAML and Python."""

import sys
from functools import reduce
from itertools import product
from operator import mul
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import ROOT
from studies import grid as grid_module
from studies import plans
from studies.grid import Grid, Option, Range, fixed, parse_range, varying
from toolbox.errors import DataError, UsageError

A, B, C, D = (
    Option(key, values) for key, values in (("a", [1, 2]), ("b", ["x", "y", "z"]), ("c", [0.5]), ("d", [True, False]))
)
grids = st.sampled_from([A, B, C, D, A + C, B + D, Option.product(A, D), C + A + D])


def rows(grid: Grid) -> list[tuple[str, ...]]:
    return [tuple(cell.values()) for cell in grid.cells()]


def test_a_product_has_every_pair_a_sum_one_after_the_other_and_a_zip_side_by_side() -> None:
    assert rows(A * B) == [(a, b) for a, b in product("12", "xyz")]
    assert rows(A * B * D) == list(product("12", "xyz", ("true", "false")))
    assert rows(A + B) == [("1",), ("2",), ("x",), ("y",), ("z",)]
    assert rows(Option.product(A, D)) == [("1", "true"), ("2", "false")]
    assert rows(Option.product(A * C, D)) == [("1", "0.5", "true"), ("2", "0.5", "false")]


@settings(deadline=None)
@given(one=grids, other=grids, third=grids)
def test_a_product_distributes_over_sums_on_both_sides(one: Grid, other: Grid, third: Grid) -> None:
    def table(make: object) -> list[dict[str, str]] | str:
        try:
            return make().cells()
        except UsageError:
            return "refused"

    assert table(lambda: (one + other) * third) == table(lambda: one * third + other * third)
    multiplied, apart = table(lambda: one * (other + third)), table(lambda: one * other + one * third)
    assert multiplied == apart if len(one.terms) == 1 else sorted(map(str, multiplied)) == sorted(map(str, apart))
    assert table(lambda: (one * other) * third) == table(lambda: one * (other * third))
    assert table(lambda: (one + other) + third) == table(lambda: one + (other + third))


INVALID = {
    "a twice": [lambda: A * A, lambda: A * (B + A), lambda: A * Option.product(B, Option("a", "pqr"))],
    "weight-decay twice": [lambda: Option("weight-decay", [1]) * Option("weight_decay", [2])],
    "model-args twice": [lambda: Option("model-args", ["stem=8"]) * Option("model-args.stem", [8])],
    "empty": [lambda: Option("a", [])],
    "a has 2, b has 3": [lambda: Option.product(A, B)],
    "different lengths": [lambda: Option.product(A, A)],
    "a range needs a search": [lambda: Option("lr", Range("uniform", 0, 1)).cells()],
    "not a valid range": [lambda: parse_range("loguniform(0, 1)"), lambda: parse_range("uniform(1, 0)"),
                          lambda: parse_range("randint(1, 2.5)")],
    "not numbers": [lambda: parse_range("uniform(low, 1)")],
}  # fmt: skip


@pytest.mark.parametrize("told", INVALID)
def test_an_invalid_grid_is_refused(told: str) -> None:
    for make in INVALID[told]:
        with pytest.raises(UsageError, match=told):
            make()


def test_a_range_is_told_from_a_value() -> None:
    assert parse_range("loguniform(1e-4, 1e-2)") == Range("loguniform", 1e-4, 1e-2)
    assert parse_range(" randint( 2,8 )") == Range("randint", 2, 8)
    assert parse_range("bandpass(1, 2)") is None
    assert parse_range("noise:0.05:0.5,shift:10") is None


def test_none_leaves_a_flag_out_and_flags_that_vary_are_found() -> None:
    cells = (fixed({"e": 1}) * Option("sampler", [None, "equal"]) + C).cells()
    assert cells == [{"e": "1"}, {"e": "1", "sampler": "equal"}, {"c": "0.5"}]
    assert varying(cells) == ["e", "sampler", "c"]
    assert varying(cells[:2]) == ["sampler"]


def written(folder: Path, text: str, name: str = "x.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


YAML = """
base: {dataset: synth, lr: 1e-4, filter: none}
reps: 3
grid:
  - zip: {optimizer: [sgd, adam], weight-decay: [0, 0.1]}
    cross: {model-name: [cnn1d_3, lstm_1], epochs: 5}
  - cross: {criterion: [no, 12:30, ~]}
"""
PYTHON = """
from studies.grid import Option

BASE = {"dataset": "synth", "lr": "1e-4", "filter": "none"}
REPS = 3
GRID = Option.product(Option("optimizer", ["sgd", "adam"]), Option("weight-decay", [0, 0.1])) * Option(
    "model-name", ["cnn1d_3", "lstm_1"]
) * Option("epochs", [5]) + Option("criterion", ["no", "12:30", None])
"""


def test_yaml_and_python_say_the_same(tmp_path: Path) -> None:
    plan, other = plans.read(written(tmp_path, YAML)), plans.read(written(tmp_path, PYTHON, "x.py"))
    assert plan.reps == other.reps == 3
    base = {"dataset": "synth", "lr": "1e-4", "filter": "none"}
    first = [
        {**base, "optimizer": optimizer, "weight-decay": decay, "model-name": model, "epochs": "5"}
        for (optimizer, decay), model in product([("sgd", "0"), ("adam", "0.1")], ("cnn1d_3", "lstm_1"))
    ]
    expected = [*first, {**base, "criterion": "no"}, {**base, "criterion": "12:30"}, base]
    assert plan.grid.cells() == other.grid.cells() == expected
    text = PYTHON.replace("from studies.grid", "from toolbox.grid")  # its earlier name
    assert plans.read(written(tmp_path, text, "old.py")) == other
    assert "toolbox.grid" not in sys.modules


WRONG = {
    "base: {a: 1, a: 2}": "'a' stands twice",
    "grid: [{cross: {a: [1], a: [2]}}]": "'a' stands twice",
    "grid: [{cross: {a: []}}]": "a is empty",
    "grid: [{cross: {}}]": "cross is empty",
    "grid: [{}]": "is empty",
    "grid: [{crossed: {a: [1]}}]": "'crossed'",
    "axes: {a: [1]}": "'axes'",
    "base: {a: [-0.5, 0.7]}": "a in base must be a single value",
    "grid: [{cross: {a: [[1, 2]]}}]": "not a list of words",
    "grid: [{zip: {a: [1, 2], b: [1]}}]": "a has 2, b has 1",
    "grid: [{zip: {a: [1, 2]}, cross: {a: [1, 2]}}]": "a twice",
    "base: {a: 1}\ngrid: [{cross: {a: [1, 2]}}]": "a twice",
    "reps: 0": "reps is 0",
    "reps: many": "reps is many",
    "- a": "not a mapping",
    "a: [": "not YAML",
    "a: !!python/object/apply:os.system [ls]": "'a'",
}
WRONG_PYTHON = {
    "GRID = [1]": "sets no GRID",
    "BASE = 7": "BASE is not a mapping",
    "raise SystemExit(0)": "SystemExit",
    "1 / 0": "ZeroDivisionError",
    "GRID =": "SyntaxError",
}


@pytest.mark.parametrize("text", [*WRONG, *WRONG_PYTHON])
def test_an_error_in_a_file_is_told_with_its_path(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text, "x.yaml" if text in WRONG else "x.py")
    with pytest.raises(UsageError, match=(WRONG | WRONG_PYTHON)[text]) as raised:
        plans.read(path)
    assert str(path) in str(raised.value)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


DEEP, COUNT = "nested more than 20 deep", "must be a number from 1 on, at most 100,000"
TOO_MUCH = {
    "aliases": (LAUGHS, "values with expanded aliases, the limit is 100,000"),
    "aliases in place of a number": (LAUGHS.replace("a: &a", "reps: &a"), "values with expanded aliases"),
    "a list in itself": ("a: &a [*a]", "an alias at line 1 contains itself"),
    "a mapping in itself": ("a: &a {b: *a}", "an alias at line 1 contains itself"),
    "deep": ("a: " + "[" * 30 + "]" * 30, "nested 31 deep, the limit is 20"),
    "deeper lists": ("a: " + "[" * 2_000, DEEP),
    "deeper mappings": ("a: " + "{b: " * 2_000, DEEP),
    "deeper blocks": ("a:\n" + "\n".join("  " * depth + "- " for depth in range(1, 600)), DEEP),
    "bytes": ("#" * (2**20 + 1), "larger than 1,048,576 bytes"),
    "digits": (f"reps: {'9' * 5_000}", COUNT),
    "folds": ("folds: 100001", COUNT),
    "infinite": ("grid: {cross: {a: 'loguniform(1, 1e999)'}}", "is not a valid range"),
    "a large integer": ("grid: {cross: {a: 'randint(1, 1e300)'}}", "is not a valid range"),
    "axes": ("grid: [{cross: {" + ", ".join(f"a{i}: 1" for i in range(201)) + "}}]", "more than 200 axes"),
    "lines": ("grid:\n" + "- cross: {a: 1}\n" * 51, "has 51 configurations, a study has at most 50"),
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_a_file_beyond_the_limits_is_refused_before_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    text, told = TOO_MUCH[case]
    if case == "lines":
        monkeypatch.setattr(grid_module, "MOST_CELLS", 50)
    with pytest.raises(UsageError, match=told):
        plans.read(written(tmp_path, text))


def test_too_many_cells_are_counted_and_not_made() -> None:
    ten = [Option(key, range(10)) for key in "abcdefghi"]
    grid = reduce(mul, ten)
    with pytest.raises(UsageError, match="1,000,000,000 configurations, a study has at most 10,000"):
        grid.cells()
    with pytest.raises(UsageError, match="at most 10,000"):
        Option("a", range(10**12))
    with pytest.raises(UsageError, match="at most 10,000"):
        reduce(mul, [Option(f"a{i}", [1]) + Option(f"b{i}", [1]) for i in range(40)])
    with pytest.raises(UsageError, match="at most 10,000"):
        Option.product(grid, grid)
    assert len(reduce(mul, ten[:4]).cells()) == 10_000


def test_an_alias_may_stand_for_a_few_values_and_a_bare_null_leaves_a_flag_out(tmp_path: Path) -> None:
    text = "grid:\n  - cross: {a: &values [1, 2], b: x}\n  - cross: {a: *values, b: y}"
    assert len(plans.read(written(tmp_path, text)).grid.cells()) == 4
    text = "base: {drop-labels: \"~\", a: ~, b: null, c: }\ngrid: [{cross: {d: ['null', ~]}}]"
    assert plans.read(written(tmp_path, text)).grid.cells() == [{"drop-labels": "~", "d": "null"}, {"drop-labels": "~"}]
    for name in ("none.yaml", "none.py"):
        with pytest.raises(DataError, match=name):  # as a missing file of data
            plans.read(tmp_path / name)


def test_the_cardiology_grid_is_the_published_one() -> None:
    plan = plans.read(ROOT / "grids" / "cardio_resnet.yaml")
    cells = plan.grid.cells()
    sizes = [tuple(cell[f"model-args.{part}"] for part in ("layout", "stem", "blocks", "filters")) for cell in cells]
    classics = [("cnacna", "64", blocks, "64-128-256-512") for blocks in ("2-2-2-2", "3-4-6-3")]
    depths, widths = ("2-3-4-5-4-3-2", "2-2-2-2-2-2-2", "1-1-1-1-1-1-1"), ("4-8-16-32-64-128-256", "4-4-8-8-16-16-20")
    assert sizes == classics + list(product(("cna", "cnacna"), ("32", "8"), depths, widths))
    assert plan.reps == 5
    assert {cell["drop-labels"] for cell in cells} == {"~"}
