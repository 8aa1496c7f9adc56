"""A dataset, a network, a loss, an optimizer, a metric and a flag of one's own are what docs/contributing.md prints: it
is put into a copy of the program and used."""

import json
import re
import shutil
from pathlib import Path

import pytest

from helpers.commands import commander
from helpers.data import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text()
BLOCKS = re.findall(r"^```python\n# (\S+\.py)(?:, ([^\n]+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROWS = """from loaders.synthetic import beats as synth

    beats = synth.beats(400, 1)
    x, y = beats["x"][:, None], (beats["y"] > 0).astype(int)"""  # in place of the dots


def place(text: str, where: str) -> int:
    """Where in a file a block goes: after the line that opens a table or group, or above the one that defines it."""
    if where == "with the imports":
        return re.search(r"^from ", text, re.MULTILINE).start()
    if where.startswith("above "):
        return re.search(rf"^{where.removeprefix('above ')}\b", text, re.MULTILINE).start()
    name = where.removeprefix("in ")
    if name == "from_confusion":
        return text.index("return {\n", text.index(f"def {name}(")) + len("return {\n")
    opening = rf"Group\({name}, \(\n" if name.startswith('"') else rf"^{name}\b.*?[({{]"
    return re.search(opening, text, re.MULTILINE).end()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A copy of the program with everything added as shown."""
    copy = tmp_path / "program"
    for part in ("commands", "loaders", "models", "studies", "toolbox"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.py"):
        shutil.copy(path, copy)
    assert len(BLOCKS) == PAGE.count("```python")
    for file, where, block in BLOCKS:
        path = copy / file
        if not where:
            assert not path.exists()
            path.write_text(block.replace("x, y = ...", ROWS))
        else:
            text = path.read_text()
            at = place(text, where)
            path.write_text(f"{text[:at]}{block}{text[at:]}")
    return copy


def test_they_are_listed_trained_tested_and_resumed(program: Path, root: Path) -> None:
    assert "mine" in commander("--list", "models", program=program).out.split()
    assert "--gain GAIN" in commander("--help-all", program=program).out
    run_flags = ("--dataset", "mine", "--model-name", "mine", "--no-figures", "--root-dir", root)
    parts = ("--criterion", "poly1", "--optimizer", "adamax", "--monitor", "lowest_recall", "--note", "first")
    ended = commander(*run_flags, *parts, "--gain", "2", "--epochs", "2", program=program)
    assert ended.code == 0, ended.err
    run = Path(ended.result["run_folder"])
    assert run.name == "mine_mine_1"
    assert set(ended.result["test"]["per_class"]) == {"normal", "ill"}
    assert 0 <= ended.result["test"]["lowest_recall"] <= 1
    kept = json.loads((run / "config.json").read_text())["flags"]
    assert (kept["gain"], kept["note"], kept["optimizer"]) == (2, "first", "adamax")
    assert commander(*run_flags, "--resume", "latest", "--epochs", "3", program=program).code == 0
    other = commander(*run_flags, "--gain", "3", "--test", program=program)
    assert (other.code, "--gain is 3.0, the run has 2.0" in other.err) == (2, True), other.err
    foreign = commander("--dataset", "synth", "--gain", "2", "--root-dir", root, program=program)
    assert (foreign.code, "--gain is not for --dataset synth, it goes with mine" in foreign.err) == (2, True)


def test_the_new_network_starts_from_another_run_and_the_new_dataset_detects(program: Path, root: Path) -> None:
    rest = ("--epochs", "1", "--no-figures", "--root-dir", root)
    first = ("--dataset", "synth", "--model-name", "mine_64", "--short-run")
    assert commander(*first, *rest, program=program).code == 0
    then = ("--dataset", "mine", "--model-name", "mine_64", "--pretrained", "synth_mine_64_1", "--train", "head")
    ended = commander(*then, *rest, program=program)
    assert ended.code == 0, ended.err
    assert re.search("reinitialised: head.weight", ended.err)
    detected = commander("--dataset", "mine", "--task", "detect", *rest, program=program)
    assert detected.code == 0, detected.err
    assert 0 <= detected.result["test"]["auroc"] <= 1
