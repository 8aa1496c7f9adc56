"""The rules of docs/architecture.md that a machine can check: places, layers, sizes and names."""

import ast
import collections
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import args
from helpers.data import ROOT

PACKAGES = ("toolbox", "loaders", "models", "commands", "studies")
TOP = {"__main__.py", "commander.py", "args.py", "trainer.py", "research.py"}
# What each layer may import besides itself.
MAY_IMPORT = {
    "toolbox": (),
    "args": ("toolbox.errors", "toolbox.flags"),
    "loaders": ("toolbox",),
    "models": ("toolbox", "loaders.base"),
    "trainer": ("toolbox", "loaders", "models"),
    "commands": ("toolbox", "loaders", "models", "trainer", "args"),
    "commander": ("toolbox", "loaders", "models", "trainer", "args", "commands"),
    "studies": ("toolbox", "loaders.base", "args", "commands"),
    "research": ("toolbox", "args", "commands", "commander", "studies"),
    "__main__": ("commander", "research"),
}
# Inside toolbox a package imports those of a lower floor; modules beside the packages are on the ground floor.
FLOORS = {"metrics": 1, "ecg": 2, "runs": 2, "paper": 3, "training": 3, "explain": 3, "reports": 4, "tasks": 5}
FILES_OF_A_FOLDER, LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 12, (40, 400), 60
MAY_BE_SHORTER = {"__init__.py", "__main__.py", "registry.py"}
FILES = [*ROOT.glob("*.py"), *(path for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py"))]
SOURCES = {path: path.read_text() for path in FILES}
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
# Literals with names of two flags that select no flags: the names are of something else there, or have values.
LITERALS = {
    "args.py": "the declarations",
    "commands/own_parts.py": "kinds of parts",
    "commands/check": "kinds of parts, names of splits",
    "commands/compare.py": "parts of the JSON of a comparison",
    "commands/trained.py": "the form of config.json",
    "commands/evaluate.py": "parts of results.json",
    "commands/export.py": "parts of contract.json, and facts of the data",
    "loaders/charts/rows.py": "facts of a chart store",
    "loaders/datasets/table": "names of splits, and of the arrays of an NPZ",
    "studies/cells.py": "the values with which no rows validate",
    "studies/tables.py": "columns of the table",
    "toolbox/": "columns of logger.json, facts of the data; it knows no flags",
    "trainer.py": "parts of a checkpoint and columns of logger.json; it knows no flags",
}

# Words in place of which a noun or a plain verb stands.
BANNED = (
    "whoever", "anew", "beside", "nobody", "of no use", "say so", "says so", "is said", "are said", "is told",
    "are told", "is asked", "are asked", "go on", "goes on", "gone on", "begun", "come about", "comes about",
    "those that", "what is", "what was", "what a", "what no", "by hand", "of chance", "held to", "no rivals",
)  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(SOURCES[path])


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return [*ast.walk(tree(path))]


def nodes(kind: type | tuple[type, ...]) -> Iterator[tuple[str, ast.AST]]:
    """Every node of a kind in the product, with its place."""
    for path in FILES:
        yield from ((f"{name(path)}:{node.lineno}", node) for node in nodes_of(path) if isinstance(node, kind))


def imports(path: Path) -> Iterator[str]:
    """The dotted name of everything that a file imports, in functions too."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def layer(path: Path) -> str:
    package = path.relative_to(ROOT).parts[0]
    return package if package in PACKAGES else path.stem


def test_the_top_level_holds_the_program_and_its_packages_and_every_module_has_a_docstring() -> None:
    assert {path.name for path in FILES if path.parent == ROOT} == TOP
    assert {layer(path) for path in FILES} == {*MAY_IMPORT}
    assert [name(path) for path in FILES if not ast.get_docstring(tree(path))] == []


def test_imports_point_one_way() -> None:
    for path in FILES:
        allowed = (layer(path), *MAY_IMPORT[layer(path)])
        own = path.relative_to(ROOT / "toolbox").parts[0] if layer(path) == "toolbox" else ""
        for imported in imports(path):
            first, second, *_ = [*imported.split("."), ""]
            here = f"{name(path)}: {imported}"
            assert first, f"{here} is relative"
            assert first not in MAY_IMPORT or any(f"{imported}.".startswith(f"{part}.") for part in allowed), here
            if own and first == "toolbox" and own != second:
                assert FLOORS.get(second, 0) < FLOORS.get(own, 0.5), here


def test_a_module_with_one_importer_lives_in_its_folder() -> None:
    importers = collections.defaultdict(set)
    for path in FILES:
        for imported in imports(path):
            module = imported if imported in MODULES else imported.rpartition(".")[0]
            if module in MODULES and MODULES[module] != path:
                importers[MODULES[module]].add(path)
    for module, paths in importers.items():
        importer = next(iter(paths))
        if len(paths) == 1 and layer(module) == layer(importer):
            assert importer.parent in (module.parent, *module.parent.parents), f"{name(module)}: {name(importer)}"


def test_folders_files_and_functions_can_be_read_and_no_two_classes_have_one_name() -> None:
    folders = collections.Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert {name(folder): count for folder, count in folders.items() if count > FILES_OF_A_FOLDER} == {}
    fewest, most = LINES_OF_A_FILE
    for path, text in SOURCES.items():
        count = text.count("\n")
        assert count <= most, name(path)
        assert count >= fewest or path.name in MAY_BE_SHORTER, name(path)
    functions = nodes((ast.FunctionDef, ast.AsyncFunctionDef))
    assert [place for place, node in functions if node.end_lineno - node.lineno > LINES_OF_A_FUNCTION] == []
    classes = collections.Counter(node.name for _, node in nodes(ast.ClassDef))
    assert [found for found, count in classes.items() if count > 1] == []


def test_arguments_are_written_out_and_flags_are_seen_by_commands_and_studies_alone() -> None:
    for place, node in nodes((ast.Call, ast.FunctionDef)):
        if isinstance(node, ast.Call):
            packed = [keyword.value for keyword in node.keywords if keyword.arg is None]
            assert "how" not in map(ast.unparse, packed), place
        elif place.split(":")[0].split("/")[0] in ("toolbox", "loaders", "models", "trainer.py"):
            assert "flags" not in [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)], place


def test_flags_are_selected_by_what_is_declared_of_them_and_not_by_lists() -> None:
    for place, node in nodes((ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Call)):
        found = {word.lstrip("-").replace("-", "_") for word in literal_words(node)} & args.FLAGS.by_name.keys()
        assert len(found) < 2 or place.startswith(tuple(LITERALS)), f"{place}: {', '.join(sorted(found))}"


def literal_words(node: ast.AST) -> list[str]:
    """The words of a literal collection, the keys of a mapping, or what a text is split into."""
    if isinstance(node, ast.Call):
        split = isinstance(node.func, ast.Attribute) and node.func.attr == "split"
        return str(getattr(node.func.value, "value", "")).split() if split else []
    parts = node.keys if isinstance(node, ast.Dict) else node.elts
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def test_texts_are_plain() -> None:
    phrases = re.compile(rf"\b({'|'.join(BANNED)})\b", re.IGNORECASE)
    texts = [(place, node.value) for place, node in nodes(ast.Constant) if isinstance(node.value, str)]
    assert [(place, phrases.findall(text)) for place, text in texts if " " in text and phrases.search(text)] == []


def test_nothing_is_printed_asserted_or_exited_and_loaded_files_cannot_run_code() -> None:
    banned = {"print", "exit", "quit", "breakpoint", "eval", "exec", "pickle.load", "pickle.loads"}
    safe = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
    for place, node in nodes(ast.Call):
        function = ast.unparse(node.func)
        stated = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        assert function not in banned, place
        assert function not in safe or stated.get(safe[function][0]) is safe[function][1], place
    assert [place for place, _ in nodes(ast.Assert)] == []
    assert [place for place, node in nodes(ast.ExceptHandler) if node.type is None] == []
