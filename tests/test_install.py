"""`pip install` gives two commands that behave as the scripts do, from any folder, and one importable module."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.commands import SHORT, assert_same_run, ended, offline
from helpers.data import ROOT
from toolbox import devices

PACKAGES = ("commands", "grids", "loaders", "models", "studies", "toolbox")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = [
    folder
    for package in PACKAGES
    for folder in (ROOT / package, *sorted((ROOT / package).rglob("*/")))
    if folder.is_dir() and folder.name != "__pycache__"
]
FILES = {path.relative_to(ROOT) for folder in (ROOT, *FOLDERS) for path in folder.iterdir() if path.is_file()}
FILES = {path for path in FILES if path.suffix == ".py" or path.parent.name} - {Path("grids/slurm.sh")}  # a script


def run(*command: object, cwd: Path) -> SimpleNamespace:
    result = subprocess.run([*map(str, command)], cwd=cwd, env=offline(), capture_output=True, text=True, check=False)
    return ended(result.returncode, result.stdout, result.stderr)


def succeeds(*command: object, cwd: Path) -> SimpleNamespace:
    answer = run(*command, cwd=cwd)
    assert answer.code == 0, answer.err
    return answer


@pytest.fixture(scope="module", params=["wheel", pytest.param("editable", marks=pytest.mark.soak)])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of a virtual environment into which a copy of the program was installed, without a
    network; its libraries are this one's."""
    pytest.importorskip("setuptools", "77", reason="setuptools builds the package")
    pytest.importorskip("pip", "22.3", reason="pip installs into another environment")
    folder = tmp_path_factory.mktemp("installed")
    tree, scripts = folder / "tree", folder / "venv" / "bin"
    others = [Path("pyproject.toml"), Path("README.md"), Path("LICENSE")]
    for path in (*FILES, *others, *(path.relative_to(ROOT) for path in ROOT.glob("requirements*.txt"))):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tree / path)
    succeeds(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    libraries = Path(succeeds(scripts / "python", "-c", code, cwd=folder).out.strip())
    (libraries / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    how = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    how += ("--editable",) * (request.param == "editable")
    succeeds(sys.executable, "-m", "pip", "--python", scripts / "python", "install", *how, tree, cwd=folder)
    if request.param == "wheel":
        shutil.rmtree(tree)
        package = libraries / "ecg_commander"
        found = {path.relative_to(package) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
        assert found == FILES
    return scripts


def as_a_script(answer: SimpleNamespace) -> tuple[int, str, str]:
    """An answer with the commands named as the scripts are, without the line breaks that depend on their lengths."""
    texts = (re.sub(r"ecg-(commander|research)\b", r"python \1.py", text) for text in (answer.out, answer.err))
    return (answer.code, *(" ".join(text.split()) for text in texts))


def test_the_packages_of_the_project_are_its_folders() -> None:
    named = PROJECT["tool"]["setuptools"]["packages"]
    folders = [".".join(("ecg_commander", *folder.relative_to(ROOT).parts)) for folder in FOLDERS]
    assert named == ["ecg_commander", *sorted(folders)]


def test_installed_commands_answer_as_the_scripts_do_and_name_themselves(installed: Path, tmp_path: Path) -> None:
    for command, flags in (("commander", ()), ("commander", ("--help",)), ("research", ("--no-such-flag",))):
        mine = run(installed / f"ecg-{command}", *flags, cwd=tmp_path)
        theirs = run(sys.executable, ROOT / f"{command}.py", *flags, cwd=tmp_path)
        assert as_a_script(mine) == as_a_script(theirs)
        assert f"{command}.py" not in mine.out + mine.err
        assert f"ecg-{command}" not in theirs.out + theirs.err
    module = run(installed / "python", "-m", "ecg_commander", cwd=tmp_path)
    assert (module.code, module.err) == (2, run(installed / "ecg-commander", cwd=tmp_path).err)
    unknown = run(installed / "ecg-research", "no_such_grid", cwd=tmp_path)
    assert f"one of {', '.join(sorted(path.stem for path in (ROOT / 'grids').glob('*.yaml')))}" in unknown.err


def test_only_one_module_becomes_importable(installed: Path, tmp_path: Path) -> None:
    modules = ["ecg_commander", *PACKAGES, *(path.stem for path in ROOT.glob("*.py") if path.stem != "__main__")]
    code = "import importlib.util, sys; print(*filter(importlib.util.find_spec, sys.argv[1:]))"
    assert run(installed / "python", "-c", code, *modules, cwd=tmp_path).out.split() == ["ecg_commander"]


def test_the_versions_are_those_of_the_project_and_of_torch(installed: Path, tmp_path: Path) -> None:
    stated = run(installed / "ecg-commander", "--version-info", cwd=tmp_path).out.splitlines()
    assert f"ecg-commander {PROJECT['project']['version']}" in stated
    assert f"torch {version('torch')}" in stated
    assert stated[-1] == "commit not known, no git repository of the program"
    assert devices.version_info().splitlines()[:-1] == stated[:-1]


@pytest.mark.soak
def test_an_installed_command_trains_the_same_run_and_a_study_finds_its_workers(
    installed: Path, tmp_path: Path
) -> None:
    for root, *program in (("mine", installed / "ecg-commander"), ("theirs", sys.executable, ROOT / "commander.py")):
        succeeds(*program, *SHORT, "--epochs", "2", "--root-dir", root, cwd=tmp_path)
    mine, theirs = (tmp_path / root / "synth" / "runs" / "synth_cnn1d_3_1" for root in ("mine", "theirs"))
    assert_same_run(mine, theirs)
    assert json.loads((mine / "config.json").read_text())["commit"] is None
    flags = ("--dataset", "synth", "--export-charts", "charts", "--short-run", "--workers", "2")
    succeeds(installed / "ecg-commander", *flags, cwd=tmp_path)
    grid = "base: {dataset: synth, model-name: cnn1d_3, epochs: 1}\ngrid: {cross: {lr: [0.001, 0.01]}}"
    (tmp_path / "grid.yaml").write_text(grid)
    succeeds(installed / "ecg-research", "grid.yaml", "--workers", 2, cwd=tmp_path)
    listed = run(installed / "ecg-research", "first", "--dry-run", cwd=tmp_path).out
    assert "4 configurations, 2 repetitions, 8 runs" in listed


def test_the_commit_is_that_of_the_programs_own_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        how = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
        return subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], **how).stdout.strip()

    def commit(folder: Path) -> str | None:
        monkeypatch.setattr(devices, "ROOT", folder)
        return devices.commit.__wrapped__()

    (tmp_path / "program").mkdir()
    (tmp_path / "file").write_text("")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "m")):
        git(*words)
    head = git("rev-parse", "HEAD")
    assert commit(tmp_path) == head
    assert commit(tmp_path / "program") is None
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a hook of another repository
    assert commit(tmp_path / "program") is None
    (tmp_path / "file").write_text("changed")
    assert commit(tmp_path) == f"{head}+"
    monkeypatch.setenv("PATH", os.devnull)
    assert commit(tmp_path) is None
