"""The commands of everyday work exist, agree with each other, and name files that exist."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from helpers.commands import SHORT, offline
from helpers.data import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = ["train", "test", "test-fast", "lint", "format", "types", "docs", "audit"]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def make(*words: str) -> str:
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_lists_every_target_with_one_line_of_help() -> None:
    listed = [line.split() for line in make("--no-print-directory").splitlines()]
    assert sorted(words[0] for words in listed) == sorted(["help", *TARGETS])
    assert all(len(words) > 2 for words in listed)


def test_the_continuous_check_runs_the_whole_test_and_hooks_call_targets() -> None:
    steps = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["test"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    assert "make test" in read(".ci/run")
    planned = make("-n", "test")
    for check in ("ruff check .", "ruff format --check .", "mypy", "pytest", "--durations=10"):
        assert check in planned
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"  # needs no network
    assert all(hook["entry"].removeprefix("make ") in TARGETS for hook in repository["hooks"])


def test_the_fast_test_names_files_that_exist() -> None:
    names = re.search(r"^FAST := (.+)$", MAKEFILE.replace("\\\n", " "), re.MULTILINE)[1].split()
    assert [name for name in names if not (ROOT / f"tests/{name}.py").is_file()] == []


def test_one_version_and_one_licence_are_stated() -> None:
    project, citation = tomllib.loads(read("pyproject.toml"))["project"], yaml.safe_load(read("CITATION.cff"))
    assert re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)[0] == project["version"] == citation["version"]
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert "Apache License" in read("LICENSE")


UNUSED = {"torch._dynamo", "pandas", "matplotlib", "tensorboard", "sympy", "sklearn", "scipy", "plotly.graph_objects"}
LISTED = """
import json, sys, commander
code = commander.main(sys.argv[1:])
sys.stderr.write("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


@pytest.mark.parametrize(
    ("flags", "unused"),
    [(SHORT, UNUSED), (("--list", "models"), UNUSED | {"torch", "numpy"}), (("--help-all",), UNUSED | {"torch"})],
    ids=["short run", "list", "help"],
)
def test_a_command_imports_only_what_it_uses(tmp_path: Path, flags: tuple[str, ...], unused: set[str]) -> None:
    """The imports are most of a short command's time: torch's compiler alone takes a second and 75 MB."""
    command = [sys.executable, "-c", LISTED, *flags, "--epochs", "1", "--root-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, env=offline(), capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert (code, unused & {*modules}) == (0, set())


HEAVY = {"requirements-mlflow.txt", "requirements-wandb.txt"}  # above 50 MB each: their tests are skipped without them


def test_every_requirement_is_installed_by_make_and_by_an_extra() -> None:
    extras = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    files = {path.name for path in ROOT.glob("requirements*.txt")} - {"requirements.txt", "requirements-dev.txt"}
    assert {*extras.pop("all")["file"]} == files - HEAVY - {"requirements-docs.txt"}
    assert {name for extra in extras.values() for name in extra["file"]} == files
    made = re.search(r"^EXTRAS := .*requirements-%\.txt,(.+)\)$", MAKEFILE, re.MULTILINE)[1].split()
    assert {f"requirements-{name}.txt" for name in made} == files - HEAVY
    assert not any(line.startswith("-") for name in files for line in read(name).splitlines())
