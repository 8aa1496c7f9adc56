"""The parts of one's own that docs/contributing.md prints work in a copy of the program."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.commands import offline
from helpers.data import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text()
BLOCKS = re.findall(r"^```python\n# (\S+\.py)(?:, ([^\n]+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROWS = """from loaders.synthetic import beats as synth

    beats = synth.beats(400, 1)
    x, y = beats["x"][:, None], (beats["y"] > 0).astype(int)"""  # in place of the dots
# All commands in one process of the copy, so that its imports are paid for once.
CARRY_OUT = """
import json, sys
sys.path.append(sys.argv[1])
from helpers.commands import carried_out
from toolbox.metrics import intervals

intervals.REPLICATES = 50
print(json.dumps({name: vars(carried_out(*words)) for name, words in json.load(sys.stdin).items()}))
"""
MINE = ["--dataset", "mine", "--no-figures"]
OWN = [*MINE, "--model-name", "mine"]
PARTS = ["--criterion=poly1", "--optimizer=adamax", "--monitor=lowest_recall", "--note=first", "--gain=2"]
COMMANDS = {
    "models": ["--list", "models"],
    "help": ["--help-all"],
    "trained": [*OWN, *PARTS, "--epochs", "1"],
    "resumed": [*OWN, "--resume", "latest", "--epochs", "2"],
    "other gain": [*OWN, "--gain", "3", "--test"],
    "other dataset": ["--dataset", "synth", "--gain", "2"],
    "source": ["--dataset", "synth", "--model-name", "mine_64", "--short-run", "--no-figures", "--epochs", "1"],
    "transferred": [*MINE, "--model-name=mine_64", "--pretrained=synth_mine_64_1", "--train=head", "--epochs=1"],
    "detected": [*MINE, "--task", "detect", "--epochs", "1"],
}


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


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> dict[str, SimpleNamespace]:
    """What a copy of the program answers to each of COMMANDS, with everything added as the page prints it."""
    copy, root = tmp_path_factory.mktemp("program"), tmp_path_factory.mktemp("root")
    for part in ("commands", "loaders", "models", "studies", "toolbox"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.py"):
        shutil.copy(path, copy)
    assert len(BLOCKS) == PAGE.count("```python")
    for file, where, block in BLOCKS:
        path = copy / file
        assert path.exists() == bool(where)
        if not where:
            path.write_text(block.replace("x, y = ...", ROWS))
        else:
            text = path.read_text()
            at = place(text, where)
            path.write_text(f"{text[:at]}{block}{text[at:]}")
    (root / "synth").mkdir()
    (root / "synth" / "cache").symlink_to(synth_cache)
    asked = {name: [*words, *["--root-dir", str(root)] * ("--dataset" in words)] for name, words in COMMANDS.items()}
    made = subprocess.run(
        [sys.executable, "-c", CARRY_OUT, ROOT / "tests"],
        **{"cwd": copy, "env": offline(), "input": json.dumps(asked), "capture_output": True, "text": True},
    )
    assert made.returncode == 0, made.stderr
    return {name: SimpleNamespace(**answer) for name, answer in json.loads(made.stdout).items()}


def test_the_additions_are_listed_trained_tested_and_resumed(answers: dict[str, SimpleNamespace]) -> None:
    assert "mine" in answers["models"].out.split()
    assert "--gain GAIN" in answers["help"].out
    trained = answers["trained"]
    assert trained.code == 0, trained.err
    run = Path(trained.result["run_folder"])
    assert run.name == "mine_mine_1"
    assert set(trained.result["test"]["per_class"]) == {"normal", "ill"}
    assert 0 <= trained.result["test"]["lowest_recall"] <= 1
    kept = json.loads((run / "config.json").read_text())["flags"]
    assert (kept["gain"], kept["note"], kept["optimizer"]) == (2, "first", "adamax")
    assert answers["resumed"].code == 0, answers["resumed"].err
    for name, told in {
        "other gain": "--gain is 3.0, the run has 2.0",
        "other dataset": "--gain is not for --dataset synth, it goes with mine",
    }.items():
        assert (answers[name].code, told in answers[name].err) == (2, True), answers[name].err


def test_the_new_network_starts_from_another_run_and_the_new_dataset_detects(
    answers: dict[str, SimpleNamespace],
) -> None:
    for name in ("source", "transferred", "detected"):
        assert answers[name].code == 0, answers[name].err
    assert "reinitialised: head.weight" in answers["transferred"].err
    assert 0 <= answers["detected"].result["test"]["auroc"] <= 1
