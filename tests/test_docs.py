"""Commands, names, links, tables and trees in README and docs/ are those of the program."""

import ast
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import args
import commands
import research
from commands import own_parts
from commands.choices import CHOICES
from helpers.data import ROOT
from helpers.documents import DOCS, EXAMPLE, PAGES, README, files_of_the_tree, written
from loaders import DATASETS
from models import MODELS
from toolbox import errors
from toolbox.reports.run import ending

PACKAGES = ("commands", "loaders", "models", "studies", "toolbox")
SHELL = [line for text in PAGES.values() for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
         for line in block.splitlines()]  # fmt: skip
INLINE = [
    (path.name, words)
    for path, text in PAGES.items()
    for words in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
]
COMMANDS = [*SHELL, *(words for _, words in INLINE if re.match(r"python (commander|research)\.py .*--", words))]
OF_OTHERS = {"--nthreads"}  # flags of other programs
BANNED = ("begun anew", "is told", "goes on", "those that", "nobody", "somebody", "is no better than who")
NO_FILES = {"mine.py", "model_card.md"}  # of a user, of an export
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_pages_are_written_plainly() -> None:
    phrases = re.compile(rf"\b({'|'.join(BANNED)})\b")
    assert {path.name: phrases.findall(text) for path, text in PAGES.items() if phrases.search(text)} == {}


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The parts of the file in docs/plugins.md, and the configurations of docs/configurations.md in this folder."""
    text = re.search(r"^```yaml\n(.*?)^```$", PAGES[DOCS / "configurations.md"], re.M | re.S)[1]
    for name in re.findall(r"--config (\S+)", "\n".join(SHELL)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"flags": {}}' if name.endswith(".json") else text)
    monkeypatch.chdir(tmp_path)
    own_parts.use([written(EXAMPLE, tmp_path)])
    yield
    own_parts.use([])


@pytest.mark.usefixtures("example")
def test_every_command_is_understood() -> None:
    assert len(COMMANDS) > 80
    for command in COMMANDS:
        first, second, *words = [*shlex.split(command.partition(" ...")[0]), ""]
        if second == "commander.py":
            given = args.parse(words[:-1])
            assert args.complaints(given) == [], command
            for flag, table in CHOICES.items():
                assert given.get(flag.replace("-", "_")) in {None, *table}, command
        elif second == "research.py":
            flags = research.understood(words[:-1])
            assert flags.results or (ROOT / flags.grid).is_file() or (ROOT / f"grids/{flags.grid}.yaml").is_file()
        elif first == "make":
            assert re.search(rf"^{second}:", MAKEFILE, re.MULTILINE), command
        else:
            assert first in ("pip", "tensorboard") or (first in ("sbatch", "python") and (ROOT / second).is_file())


def test_what_the_readme_shows_of_a_run_is_printed(short_run: SimpleNamespace) -> None:
    """Line by line, but for names and numbers: the README shows a longer run."""
    shown = [line for block in re.findall(r"^```text\n(.*?)^```$", README, re.M | re.S)[:2]
             for line in block.splitlines() if line not in ("", "...") and "using synth" not in line]  # fmt: skip
    paths = ending.to_open(short_run.path, short_run.path / "pred", short_run.root)
    at_terminal = ending.of_test(short_run.result, title="synth_cnn1d_3_1, best checkpoint", to_open=paths)
    printed = {words_of(line) for line in (*short_run.err.splitlines(), *at_terminal.splitlines())}
    assert len(shown) > 20
    for line in shown:
        assert any(words_of(line) == words[: len(words_of(line))] for words in printed), line


def words_of(line: str) -> tuple[str, ...]:
    return tuple(word for word in line.split() if not re.search(r"[\d/_,-]", word))


def test_every_name_in_code_exists() -> None:
    """Flags, their values, files, functions, networks and datasets between backticks."""
    flags = {*args.FLAGS.by_spelling, *research.FLAGS.by_spelling, "--help", "--help-all", *OF_OTHERS}
    known, family = (
        MODELS | DATASETS,
        re.compile(r"(cnn1d|x?resnet|preact1d|net1d|s4d|lstm|gru|inception1d|ecgformer|mobilenet|vit)[\w]*"),
    )
    for page, words in INLINE:
        assert page == "promises.md" or {*re.findall(r"(?<![\w-])--[a-z][a-z-]*", words)} <= flags, (page, words)
        for flag, value in re.findall(r"--([a-z-]+) ([a-z][\w-]+)", words):
            assert flag not in CHOICES or value in CHOICES[flag], (page, words)
        if re.fullmatch(r"[a-z_]\w*", words) and family.fullmatch(words):
            assert words in known or words == "resnet1d_10_1", (page, words)
        if re.fullmatch(r"\w[\w./]*\.(py|yaml|sh|toml|cff|md)(:[\w.]+)?", words) and words not in NO_FILES:
            file, _, name = words.partition(":")
            found = [path for path in (ROOT / file, DOCS / file, *ROOT.glob(f"*/*/{file}")) if path.is_file()]
            assert found, (page, words)
            assert not name or name in defined(found[0]), (page, words)


def defined(path: Path) -> set[str]:
    """The functions and classes of a file, and Class.method."""
    body = ast.parse(path.read_text()).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    methods = {f"{one.name}.{node.name}" for one in classes for node in one.body if isinstance(node, ast.FunctionDef)}
    return methods | {node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_no_link_is_dead_and_every_page_is_in_the_index() -> None:
    for path, text in PAGES.items():
        for link in re.findall(r"\[[^]]*\]\(([^)]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)):
            file, _, anchor = link.partition("#")
            if not link.startswith("http"):
                target = (path.parent / file).resolve() if file else path
                assert target.is_file(), (path.name, link)
                assert not anchor or anchor in anchors(PAGES[target]), (path.name, link)
    for page in DOCS.glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in PAGES[DOCS / "index.md"]


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_generated_pages_are_what_is_declared() -> None:
    written = runpy.run_path(str(DOCS / "generate.py"))
    assert commands.NAMES.read_text() == written["names"]()
    for name, text in written["pages"]().items():
        assert text == PAGES[DOCS / name], f"{name}: make docs"


def test_every_promise_ends_with_an_exit_code_that_there_is() -> None:
    text, page = PAGES[DOCS / "promises.md"], PAGES[DOCS / "run-folder.md"]
    table = page.split("| exit code |")[1].split("\n\n")[0]
    named = {int(code) for codes in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in codes.split(", ")}
    kinds = [kind.code for kind in (errors.CommanderError, *errors.CommanderError.__subclasses__())]
    assert {0, *kinds} == {code for code in named if code < 10}
    rows = re.findall(r"^\| (.+) \| ([^|]+) \| ([\d, ]+) \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| ") - 2 * text.count("\n| --- |") > 150
    assert {int(code) for *_, codes in rows for code in codes.split(", ")} <= named


def test_the_trees_name_every_file_and_the_readme_is_short() -> None:
    there = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py")}
    there |= {path.name for path in ROOT.glob("*.py")}
    named = files_of_the_tree()
    assert {file for file in there if not file.endswith("__init__.py")} <= named <= there
    assert README.count("\n") <= 200
    short = README.split("## The tree")[1].split("```")[1]
    assert {*re.findall(r"^(\w+\.py)", short, re.MULTILINE)} == {path.name for path in ROOT.glob("*.py")}
    assert {*re.findall(r"^(\w+)/ ", short, re.MULTILINE)} >= {*PACKAGES}


def required(*names: str) -> set[str]:
    lines = [line for name in names for line in (ROOT / name).read_text().splitlines()]
    return {re.match(r"[\w-]+", line)[0] for line in lines if not line.startswith("-")}


def test_imported_packages_are_required_and_required_ones_are_named_with_their_reason() -> None:
    table = PAGES[DOCS / "contributing.md"].split("## Packages")[1]
    named = set(re.findall(r"[\w-]+", " ".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE))))
    assert required(*(path.name for path in ROOT.glob("requirements*.txt"))) <= named
    own = {path.stem for path in ROOT.glob("*.py")} | {*PACKAGES}
    product = [*ROOT.glob("*.py"), *(path for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py"))]
    text = "\n".join(path.read_text() for path in product)
    pattern = r"^\s*(?:from (?=\S+ import )|import )(?:torch\.utils\.(?=tensorboard))?(\w+)"
    imported = set(re.findall(pattern, text, re.MULTILINE))
    imported = {{"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}.get(name, name) for name in imported}
    of_users = [path.name for path in ROOT.glob("requirements*.txt") if "dev" not in path.name]
    always = required("requirements.txt", "requirements-research.txt")
    assert always <= imported - sys.stdlib_module_names - own <= required(*of_users)


PAGES_ALONE = ("-D", "extensions=myst_parser", "-D", "suppress_warnings=toc.not_readable")


@pytest.mark.parametrize("options", [PAGES_ALONE, pytest.param((), marks=pytest.mark.soak)], ids=["pages", "api"])
def test_the_documentation_builds_without_a_warning(tmp_path: Path, options: tuple[str, ...]) -> None:
    """In a copy: Sphinx writes pages of the API next to the others."""
    pytest.importorskip("sphinx")
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_build", "api"))
    for path in (ROOT / name for name in (*PACKAGES, "args.py", "trainer.py")):
        (tmp_path / path.name).symlink_to(path)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", *options, "docs", "html"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert (ended.returncode, ended.stderr) == (0, "")
    for name in ("index", "tutorials/first-run", "flags", *(() if options else ("api/toolbox/toolbox.metrics",))):
        assert (tmp_path / "html" / f"{name}.html").is_file()
