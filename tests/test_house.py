"""The house rules that a machine can check: which way imports point, and what is not written here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGES = ("toolbox", "loaders", "models")
FILES = sorted((*ROOT.glob("*.py"), *(path for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py"))))
# What each layer may import of the others, itself apart.
MAY_IMPORT = {
    "toolbox": (),
    "flags": (),
    "modes": (),
    "args": ("toolbox.errors", "flags", "modes"),
    "loaders": ("toolbox",),
    "models": ("toolbox", "loaders.base"),
    "trainer": ("toolbox", "loaders", "models"),
    "choices": ("toolbox", "loaders", "models"),
    "evaluation": ("toolbox", "loaders", "models", "trainer", "args"),
    "exploration": ("toolbox", "loaders"),
    "assembly": ("toolbox", "loaders", "models", "trainer", "args", "choices"),
    "classifier": ("toolbox", "loaders", "models", "trainer", "args", "choices", "assembly", "evaluation"),
    "prediction": ("toolbox", "loaders", "models", "trainer", "args", "choices", "assembly", "classifier"),
    "attribution": ("toolbox", "loaders", "models", "trainer", "args", "choices", "assembly"),
    "doubting": ("toolbox", "loaders", "models", "trainer", "args", "choices", "assembly", "attribution"),
    "explanation": (
        "toolbox",
        "loaders",
        "models",
        "trainer",
        "args",
        "modes",
        "choices",
        "assembly",
        "attribution",
        "doubting",
    ),
    "commander": (
        "toolbox",
        "loaders",
        "models",
        "trainer",
        "args",
        "modes",
        "choices",
        "assembly",
        "prediction",
        "explanation",
        "evaluation",
        "exploration",
    ),
    "researchflags": (),
    "cells": ("toolbox", "loaders.base", "loaders.shortrun", "args", "choices", "assembly"),
    "branches": ("toolbox", "loaders.base"),
    "worker": ("toolbox", "loaders.base", "commander", "cells", "branches"),
    "engine": ("toolbox", "worker"),
    "series": ("toolbox", "args", "assembly", "cells"),
    "search": ("toolbox", "cells", "series", "worker", "engine"),
    "stages": ("toolbox", "cells", "series", "engine", "search"),
    "chain": ("toolbox", "cells", "engine", "stages"),
    "research": ("toolbox", "args", "commander", "researchflags", "cells", "stages", "chain"),
}
LONGEST_FUNCTION = 80

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def calls(path: Path, name: str) -> list[ast.Call]:
    """The calls of `name`, as it is written, in a file."""
    return [node for node in nodes(path) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def imports(path: Path) -> Iterator[str]:
    """The dotted name of everything a file imports, in functions too."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def layer(path: Path) -> str:
    package = path.relative_to(ROOT).parts[0]
    return package if package in PACKAGES else path.stem


def test_the_files_of_every_package_are_looked_at() -> None:
    assert {layer(path) for path in FILES} >= {"toolbox", "loaders", "models", "trainer", "commander", "args"}
    assert len(FILES) > 30


@every_file
def test_imports_point_one_way(path: Path) -> None:
    own = layer(path)
    allowed = (own, *MAY_IMPORT[own])
    for name in imports(path):
        assert not name.startswith("."), f"{name} is relative"
        if name.split(".")[0] in MAY_IMPORT:
            assert any(f"{name}.".startswith(f"{part}.") for part in allowed), f"{own} may not import {name}"


@every_file
def test_nothing_is_printed_asserted_or_exited(path: Path) -> None:
    for name in ("print", "exit", "quit", "breakpoint", "eval", "exec", "pickle.load", "pickle.loads"):
        assert not calls(path, name), name
    assert not [node.lineno for node in nodes(path) if isinstance(node, ast.Assert)]
    assert not [node.lineno for node in nodes(path) if isinstance(node, ast.ExceptHandler) and node.type is None]


@every_file
def test_what_is_loaded_is_never_run(path: Path) -> None:
    for name, keyword, value in (("torch.load", "weights_only", True), ("np.load", "allow_pickle", False)):
        for call in calls(path, name):
            safe = {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
            assert safe.get(keyword) is value, f"{name}, line {call.lineno}"


@every_file
def test_a_module_says_what_it_is(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text
    assert text.splitlines()[0].endswith((".", ":", ",", "`", ")")) or len(text.splitlines()) > 1


@every_file
def test_no_function_is_too_long_to_read(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_weights_are_loaded_in_one_place() -> None:
    assert [path.name for path in FILES if calls(path, "torch.load")] == ["checkpoints.py"]
