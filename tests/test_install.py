"""`pip install` gives two commands that behave as the scripts do, from any folder, and no other importable module."""

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

from helpers.commands import assert_same_run, ended, offline
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
FILES = {
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in folder.iterdir() if path.is_file()))
} - {Path("grids/slurm.sh")}  # of use beside the scripts alone
SCRIPTS = {"ecg-commander": "commander.py", "ecg-research": "research.py"}


def run(*command: object, cwd: Path) -> SimpleNamespace:
    result = subprocess.run([*map(str, command)], cwd=cwd, env=offline(), capture_output=True, text=True, check=False)
    return ended(result.returncode, result.stdout, result.stderr)


@pytest.fixture(scope="module", params=["wheel", pytest.param("editable", marks=pytest.mark.soak)])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with a copy of the program installed, without a network; its libraries are this one's."""
    pytest.importorskip("setuptools", "77", reason="setuptools builds the package")
    pytest.importorskip("pip", "22.3", reason="pip installs into another environment")
    folder = tmp_path_factory.mktemp("installed")
    for path in (*FILES, *map(Path, ("pyproject.toml", "README.md", "LICENSE")), *ROOT.glob("requirements*.txt")):
        target = folder / "tree" / (path.relative_to(ROOT) if path.is_absolute() else path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
    made = run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    assert made.code == 0, made.err
    python = folder / "venv" / "bin" / "python"
    libraries = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).out.strip()
    (Path(libraries) / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    offline_flags = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    what = [folder / "tree"] if request.param == "wheel" else ["--editable", folder / "tree"]
    made = run(sys.executable, "-m", "pip", "--python", python, "install", *offline_flags, *what, cwd=folder)
    assert made.code == 0, made.err
    if request.param == "wheel":
        shutil.rmtree(folder / "tree")
        assert {
            p.relative_to(Path(libraries, "ecg_commander")) for p in files(Path(libraries, "ecg_commander"))
        } == FILES
    return python.parent


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def as_a_script(answer: SimpleNamespace) -> tuple[int, str, str]:
    """An answer with the commands named as the scripts are, without the line breaks that depend on their lengths."""
    texts = (re.sub(r"ecg-(commander|research)\b", r"python \1.py", text) for text in (answer.out, answer.err))
    return (answer.code, *(" ".join(text.split()) for text in texts))


def test_the_packages_of_the_project_are_its_folders() -> None:
    named = PROJECT["tool"]["setuptools"]["packages"]
    folders = [".".join(("ecg_commander", *folder.relative_to(ROOT).parts)) for folder in FOLDERS]
    assert named == ["ecg_commander", *sorted(folders)]


def test_installed_commands_answer_as_the_scripts_do_and_name_themselves(installed: Path, tmp_path: Path) -> None:
    for command, script in SCRIPTS.items():
        for flags in ((), ("--help",), ("--no-such-flag",)):
            mine, theirs = (
                run(*program, *flags, cwd=tmp_path)
                for program in ((installed / command,), (sys.executable, ROOT / script))
            )
            assert as_a_script(mine) == as_a_script(theirs)
            assert script not in mine.out + mine.err
            assert command not in theirs.out + theirs.err
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
    flags = ("--dataset", "synth", "--model-name", "cnn1d_3", "--short-run", "--epochs", "2", "--no-figures")
    for root, *program in (("mine", installed / "ecg-commander"), ("theirs", sys.executable, ROOT / "commander.py")):
        trained = run(*program, *flags, "--root-dir", root, cwd=tmp_path)
        assert trained.code == 0, trained.err
    mine, theirs = (tmp_path / root / "synth" / "runs" / "synth_cnn1d_3_1" for root in ("mine", "theirs"))
    assert_same_run(mine, theirs)
    assert json.loads((mine / "config.json").read_text())["commit"] is None
    flags = ("--dataset", "synth", "--export-charts", "charts", "--short-run", "--workers", "2")
    charts = run(installed / "ecg-commander", *flags, cwd=tmp_path)
    assert charts.code == 0, charts.err
    (tmp_path / "grid.yaml").write_text(
        "base: {dataset: synth, model-name: cnn1d_3, epochs: 1}\ngrid: {cross: {lr: [0.001, 0.01]}}"
    )
    study = run(installed / "ecg-research", "grid.yaml", "--workers", 2, cwd=tmp_path)
    assert study.code == 0, study.err
    assert "4 cells, 2 repetitions, 8 runs" in run(installed / "ecg-research", "first", "--dry-run", cwd=tmp_path).out


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository of one commit, with a folder in it."""
    (tmp_path / "outer" / "program").mkdir(parents=True)
    (tmp_path / "outer" / "file").write_text("")
    identity = ("-c", "user.name=n", "-c", "user.email=e")
    for words in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "m")):
        subprocess.run(["git", *words], cwd=tmp_path / "outer", check=True)
    return tmp_path / "outer"


def test_the_commit_is_that_of_the_programs_own_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(folder: Path) -> str | None:
        monkeypatch.setattr(devices, "ROOT", folder)
        return devices.commit.__wrapped__()

    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert commit(repository) == head
    assert commit(repository / "program") is None
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))  # as in a hook of another repository
    assert commit(repository / "program") is None
    (repository / "file").write_text("changed")
    assert commit(repository) == f"{head}+"
    monkeypatch.setenv("PATH", os.devnull)
    assert commit(repository) is None
