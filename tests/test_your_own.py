"""A dataset and a network of one's own are the file and the line that the README shows: they are put into a copy and
run."""

import json
import re
import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from conftest import ROOT, commander

SECTION = (ROOT / "README.md").read_text().split("## Your data, your model")[1].split("\n## ")[0]
BLOCKS = [dedent(block).strip() for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", SECTION, re.MULTILINE)]
TABLES = {"loaders": "DATASETS: dict[str, Dataset] = {", "models": "CLASSIFIERS = {"}
ROWS = """from loaders.synthetic import beats as synth

    beats = synth.beats(400, 1)
    x, y = beats["x"][:, None], (beats["y"] > 0).astype(int)"""  # in place of the README's dots


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A copy of the program with both added as shown."""
    copy = tmp_path / "program"
    for part in ("commands", "loaders", "models", "studies", "toolbox"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.py"):
        shutil.copy(path, copy)
    for kind in TABLES:
        shown = next(block for block in BLOCKS if block.startswith(f"# {kind}/mine.py"))
        file, line = re.split(rf"# {kind}/__init__.py.*\n", shown)
        (copy / kind / "mine.py").write_text(file.replace("x, y = ...", ROWS))
        init = copy / kind / "__init__.py"
        text = init.read_text().replace(TABLES[kind], f"{TABLES[kind]}\n    {line.strip()}", 1)
        init.write_text(text)
    return copy


def test_they_are_listed_trained_and_tested(program: Path, root: Path) -> None:
    assert "mine" in commander("--list", "models", program=program).out.split()
    flags = ("--dataset", "mine", "--model-name", "mine", "--epochs", "2", "--no-figures", "--root-dir", root)
    ended = commander(*flags, program=program)
    assert ended.code == 0, ended.err
    assert Path(ended.result["run_folder"]).name == "mine_mine_1"
    assert set(ended.result["test"]["per_class"]) == {"normal", "ill"}


def test_the_flag_of_the_new_dataset_is_one_of_the_commander(program: Path, root: Path) -> None:
    assert "--gain GAIN" in commander("--help-all", program=program).out
    flags = ("--dataset", "mine", "--model-name", "cnn1d_3", "--epochs", "1", "--no-figures", "--root-dir", root)
    trained = commander(*flags, "--gain", "2", program=program)
    assert trained.code == 0, trained.err
    config = json.loads((Path(trained.result["run_folder"]) / "config.json").read_text())
    assert config["flags"]["gain"] == 2
    other = commander(*flags, "--gain", "3", "--test", program=program)
    assert (other.code, "--gain is 3.0, the run has 2.0" in other.err) == (2, True), other.err
    foreign = commander("--dataset", "synth", "--gain", "2", "--root-dir", root, program=program)
    assert (foreign.code, "--gain is not for --dataset synth, it goes with mine" in foreign.err) == (2, True)


def test_the_new_network_starts_from_another_run_and_the_new_dataset_detects(program: Path, root: Path) -> None:
    first = (
        "--dataset",
        "synth",
        "--model-name",
        "mine",
        "--short-run",
        "--epochs",
        "1",
        "--no-figures",
        "--root-dir",
        root,
    )
    assert commander(*first, program=program).code == 0
    then = ("--dataset", "mine", "--model-name", "mine", "--pretrained", "synth_mine_1", "--train", "head")
    ended = commander(*then, "--epochs", "1", "--no-figures", "--root-dir", root, program=program)
    assert ended.code == 0, ended.err
    assert "begun anew: head.weight" in ended.err
    detected = commander(
        "--dataset", "mine", "--task", "detect", "--epochs", "1", "--no-figures", "--root-dir", root, program=program
    )
    assert detected.code == 0, detected.err
    assert 0 <= detected.result["test"]["auroc"] <= 1
