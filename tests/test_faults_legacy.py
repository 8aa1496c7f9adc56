"""Faults at the border to the older tool, met by the command: its checkpoints come in by one flag, and run nothing."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import older_tool
from conftest import carried_out, commander


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good checkpoint of the older tool, one of two classes and a malicious one, each in both formats."""
    folder = tmp_path_factory.mktemp("files")
    weights = {"state_dict": older_tool.network("cnn1d_3").state_dict()}
    content = {
        "good": weights | {"options": {"dataset": "synth", "lr": 0.01}},
        "binary": {"state_dict": older_tool.network("resnet1d_10", classes=2).state_dict()},
        "malicious": weights | {"mark": str(folder / "it ran")},
    }
    older_tool.write(folder, content)
    return folder


@pytest.fixture(scope="module")
def imported(files: Path, tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> SimpleNamespace:
    """The run folder that the good checkpoint, in the old format, became."""
    root = tmp_path_factory.mktemp("imported")
    (root / "synth").mkdir()
    (root / "synth" / "cache").symlink_to(synth_cache)
    ended = commander("--import-legacy", files / "good.old.pth.tar", "--root-dir", root)
    assert ended.code == 0, ended.err
    return SimpleNamespace(root=root, run=root / "synth" / "runs" / "synth_cnn1d_3_1", **vars(ended))


def test_an_imported_run_says_where_it_came_from(imported: SimpleNamespace, files: Path) -> None:
    assert imported.result["run_folder"] == str(imported.run)
    assert "keeps no optimizer state" in imported.err
    config = json.loads((imported.run / "config.json").read_text())
    sha256 = hashlib.sha256((files / "good.old.pth.tar").read_bytes()).hexdigest()
    flags = {"dataset": "synth", "lr": 0.01}
    assert config["imported"] == {"file": "good.old.pth.tar", "sha256": sha256, "epoch": 7, "flags": flags}
    assert config["flags"]["model_name"] == "cnn1d_3"
    kept = {path.name for path in imported.run.iterdir() if path.is_file()}
    assert kept == {"config.json", "logger.json", "checkpoint.pth.tar", "model_best.pth.tar"}


def test_an_imported_run_is_tested_like_any_other_and_says_what_its_weights_have_seen(
    imported: SimpleNamespace,
) -> None:
    tested = carried_out(
        "--model-name", "cnn1d_3", "--test", "--resume", "best", "--no-figures", "--root-dir", imported.root
    )
    assert tested.code == 0, tested.err
    assert tested.result["val"] == imported.result["val"]
    assert "older tool" in tested.result["split_rule"]
    assert "older tool" in json.loads((imported.run / "results.json").read_text())["split_rule"]
    saved = torch.load(imported.run / "model_best.pth.tar", weights_only=True)["model"]
    assert torch.equal(saved["head.weight"], older_tool.network("cnn1d_3").fc1.weight)


def test_an_imported_run_is_not_trained_on(imported: SimpleNamespace) -> None:
    before = (imported.run / "checkpoint.pth.tar").read_bytes()
    ended = carried_out("--model-name", "cnn1d_3", "--resume", "latest", "--epochs", "40", "--root-dir", imported.root)
    assert ended.code == 2
    assert "no optimizer state, and its validation rows were trained on" in ended.err
    assert (imported.run / "checkpoint.pth.tar").read_bytes() == before


def test_a_checkpoint_of_the_older_tool_in_a_run_folder_is_explained(
    imported: SimpleNamespace, files: Path, root: Path
) -> None:
    run = root / "synth" / "runs" / imported.run.name
    shutil.copytree(imported.run, run)
    shutil.copy(files / "good.old.pth.tar", run / "model_best.pth.tar")
    ended = carried_out("--model-name", "cnn1d_3", "--test", "--root-dir", root)
    assert ended.code == 4
    assert "the older tool wrote this checkpoint" in ended.err
    assert f"Try: --import-legacy {run / 'model_best.pth.tar'}" in ended.err


@pytest.mark.parametrize(
    ("name", "flags", "says"),
    [
        ("malicious.old", (), "nothing of it was run"),
        ("malicious.zip", (), "nothing of it was run"),
        ("binary.zip", (), "the file's resnet1d_10 has 2 classes, synth has 5: N, S, V, F, Q"),
        (
            "good.zip",
            ("--model-name", "resnet1d_10"),
            "cnn1d_3 does not fit resnet1d_10 on synth: head.weight is (5, 576)",
        ),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_leaves_no_folder(
    files: Path, root: Path, name: str, flags: tuple[str, ...], says: str
) -> None:
    ended = carried_out("--import-legacy", files / f"{name}.pth.tar", "--dataset", "synth", *flags, "--root-dir", root)
    assert ended.code == 4
    assert ended.err.strip().splitlines()[-1].startswith("error: ")
    assert says in ended.err
    assert not (files / "it ran").exists()
    assert not list(root.glob("*/runs"))
