"""--import: parts of a user's file are used like the program's, and a run and a study know the file they were made
with."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import args
from commands import own_parts
from helpers import studies
from helpers.commands import assert_error, carried_out
from helpers.documents import EXAMPLE, written
from models import MODELS
from toolbox import plugins

RUN = ("--dataset", "waves", "--model-name", "tiny", "--no-figures")
PARTS = ("--criterion", "poly1", "--augment", "flip", "--monitor", "worst_recall", "--gain", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run with every part of the example in docs/plugins.md."""
    folder = tmp_path_factory.mktemp("mine")
    own = ("--import", written(EXAMPLE, folder), "--root-dir", folder / "root")
    ended = carried_out(*own, *RUN, *PARTS, "--epochs", 2)
    assert ended.code == 0, ended.err
    return SimpleNamespace(folder=folder, path=Path(ended.result["run_folder"]), **vars(ended))


@pytest.fixture
def mine(trained: SimpleNamespace, tmp_path: Path) -> Path:
    """The file, with a copy of the root beside it."""
    shutil.copytree(trained.folder, tmp_path / "copy")
    return tmp_path / "copy" / "mine.py"


def on(mine: Path, *flags: object) -> SimpleNamespace:
    return carried_out(*RUN, "--root-dir", mine.parent / "root", *flags)


def test_the_parts_are_listed_and_have_their_flags(trained: SimpleNamespace) -> None:
    own = ("--import", trained.folder / "mine.py")
    for what, name in {"datasets": "waves", "models": "tiny", "losses": "poly1", "metrics": "worst_recall"}.items():
        assert name in carried_out(*own, "--list", what).out.split()
        assert name not in carried_out("--list", what).out.split()
    listed = carried_out("--list", "augmentations", env={plugins.VARIABLE: str(trained.folder / "mine.py")})
    assert "flip" in listed.out.split()
    assert "--gain GAIN" in carried_out(*own, "--help-all").out
    wrong = carried_out(*own, "--dataset", "synth", "--gain", "2", "--root-dir", trained.folder)
    assert_error(wrong, 2, "--gain is not for --dataset synth, it goes with waves")


def test_a_run_has_the_metric_with_its_interval_and_the_digest_of_the_file(trained: SimpleNamespace) -> None:
    test = json.loads((trained.path / "results.json").read_text())["test"]
    low, high = test["intervals"]["worst_recall"]
    assert 0 <= low < test["worst_recall"] < high <= 1
    assert test["worst_recall"] == pytest.approx(min(row["recall"] for row in test["per_class"].values()))
    assert "worst recall" in (trained.path / "pred" / "report.txt").read_text()
    config = json.loads((trained.path / "config.json").read_text())
    digest = plugins.opened(trained.folder / "mine.py").digest
    assert config["imports"] == [{"file": "../mine.py", "sha256": digest}]
    assert config["flags"]["gain"] == 2
    assert "import" not in config["flags"]


def test_a_run_is_resumed_and_tested_without_naming_its_file(mine: Path) -> None:
    for flags in (("--resume", "latest", "--epochs", 3), ("--test", "--gain", 2)):
        ended = on(mine, *flags)
        assert ended.code == 0, ended.err
    assert_error(on(mine, "--test", "--gain", 3), 2, "--gain is 3.0, the run has 2.0")
    (mine.parent / "elsewhere").mkdir()
    moved = mine.rename(mine.parent / "elsewhere" / "other.py")
    assert_error(on(mine, "--test"), 3, "the run imports mine.py, which is missing", "--import with the place of")
    assert on(mine, "--test", "--import", moved).code == 0
    assert on(mine, "--resume", "latest", "--epochs", 4, "--import", moved).code == 0
    assert on(mine, "--test").code == 0  # a resumed run knows the new place


def test_a_changed_file_is_not_carried_out_unless_override_permits_it(mine: Path) -> None:
    before, trace = plugins.opened(mine), mine.parent / "trace"
    mine.write_text(f"{EXAMPLE}\nopen({str(trace)!r}, 'w')\n")
    now = plugins.opened(mine)
    for flags in (("--test",), ("--resume", "latest"), ("--explain", "saliency")):
        told = f"digest is {now.digest[:12]}, the run has {before.digest[:12]}"
        assert_error(on(mine, *flags), 2, "mine.py has changed", told, "--override")
    assert not trace.exists()
    typed = f"--import is mine.py {now.digest[:12]}, the run has mine.py {before.digest[:12]}"
    assert_error(on(mine, "--test", "--import", mine), 2, typed)
    ended = on(mine, "--resume", "latest", "--epochs", 3, "--override")
    assert ended.code == 0, ended.err
    config = json.loads(next(mine.parent.rglob("config.json")).read_text())
    assert config["imports"][0]["sha256"] == now.digest
    assert config["overrides"][0]["changed"] == {"import": [str(before), str(now)]}
    assert on(mine, "--test").code == 0


def test_the_environment_is_for_new_runs_alone(mine: Path) -> None:
    other = written(
        'from toolbox.plugins import metric\n@metric("zero")\ndef zero(a, b):\n    return 0.0\n', mine.parent.parent
    )
    ended = carried_out(*RUN, "--root-dir", mine.parent / "root", "--test", env={plugins.VARIABLE: str(other)})
    assert ended.code == 0, ended.err
    assert "zero" not in ended.result["test"]
    both = os.pathsep.join(map(str, (mine, other)))
    run = (*RUN, "--epochs", 1, "--root-dir", mine.parent / "root")
    ended = carried_out(*run, env={plugins.VARIABLE: both})
    assert ended.result["test"]["zero"] == 0, ended.err
    assert_error(on(mine, "--test", "--import", mine), 2, "--import is mine.py", "the run has mine.py")


def test_a_study_passes_its_files_to_its_runs_and_keeps_them(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = mine.parent / "root"
    grid = "base: {dataset: waves, model-name: tiny, epochs: 1, monitor: worst_recall}\ngrid: [{cross: {gain: [1, 2]}}]"
    flags = ("--no-test",)
    code, ledger = studies.carried_out(root, monkeypatch, grid, *flags, "--import", str(mine))
    assert code == 0
    assert {record["state"] for record in ledger.records().values()} == {"done"}
    assert json.loads((ledger.path / "imports.json").read_text())[0]["file"] == "../mine.py"
    assert studies.carried_out(root, monkeypatch, grid, *flags)[0] == 0
    mine.write_text(f"{EXAMPLE}\n")
    assert studies.carried_out(root, monkeypatch, grid, *flags)[0] == 2
    assert studies.carried_out(root, monkeypatch, grid, *flags, "--import", str(mine))[0] == 2
    job = studies.Job("c", 0, "grid", {"dataset": "waves"})
    (outcome,) = studies.outcomes(ledger, job)
    assert (outcome["state"], "mine.py has changed" in outcome["error"]) == ("failed", True)
    own_parts.use([])


BROKEN = {  # code -> exit code, line, and what is told
    "def x(:": (3, 1, "your mine.py failed, SyntaxError"),
    "\n1 / 0": (3, 2, "your mine.py failed, ZeroDivisionError"),
    "import sys\nsys.exit(0)": (3, 2, "your mine.py failed, SystemExit"),
    "import helper": (3, 1, "the code of helper.py in this file"),
    "from toolbox.plugins import datset": (2, 1, "unknown kind datset"),
    "from toolbox import plugins\nplugins.augment('x')": (2, 2, "Try: augmentation"),
    "x = 1": (2, 0, "registers nothing"),
    "@loss\ndef f(a, b): ...": (2, 3, 'Try: @loss("my_loss")'),
    "@loss('a b')\ndef f(a, b): ...": (2, 3, "'a b' is no name of a loss"),
    "@loss('focal')\ndef f(a, b): ...": (2, 3, "the name focal of your loss is taken, by the program"),
    "@loss('a', task='x')\ndef f(a, b): ...": (2, 3, "it must be classify or detect"),
    "@loss('a')\n@loss('a')\ndef f(a, b): ...": (2, 3, "is taken, by "),
    "@metric('a', low=2)\ndef f(a, b): ...": (2, 3, "its range is 2 to 1"),
    "@metric('a', lower=2)\ndef f(a, b): ...": (3, 3, "unexpected keyword argument 'lower'"),
    "@network('a', 'b', view='x')\nclass A: ...": (2, 3, "view is 'x'"),
    "@dataset('a', 'b', leeds=1)\ndef f(a): ...": (2, 3, "a dataset has no leeds"),
    "@dataset('a', 'b', family='x')\ndef f(a): ...": (2, 3, "family is 'x'"),
    "@dataset('a', 'b', flags=(Flag('--epochs', DATA, ''),))\ndef f(a): ...": (2, 3, "the flag --epochs"),
    "@augmentation('a', strength=2, unit='', high=1)\ndef f(a): ...": (2, 3, "strength must be from 0 to 1"),
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_file_is_one_line_with_its_place(code: str, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("x = 1\n")
    head = "from toolbox.flags import *\nfrom toolbox.plugins import *\n" if "@" in code else ""
    exit_code, line, told = BROKEN[code]
    path = written(head + code, tmp_path)
    shipped = ([*MODELS], args.FLAGS)
    ended = carried_out("--import", path, "--list", "losses")
    assert_error(ended, exit_code, told, f"{path}, line {line}" if line else str(path))
    assert ([*MODELS], args.FLAGS) == shipped
    assert [each.name for each in tmp_path.iterdir() if each.name == "__pycache__"] == []


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "folder.py").mkdir()
    for name, code in {"gone.py": 3, "x.txt": 2, "folder.py": 3}.items():
        assert_error(carried_out("--import", tmp_path / name, "--list", "losses"), code, name)
