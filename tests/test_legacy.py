"""Checkpoints of the older tool: the same outputs from the same weights, or a refusal; nothing in a file is ever
run."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import older_tool
from conftest import make_spec
from models import get_model
from toolbox import checkpoints, legacy, logger
from toolbox.errors import CheckpointError

FLAGS = {"masking": False, "dataset": "ecg", "lr": 0.01, "device": "cuda"}
REFUSED = {
    "masked": "--masking",
    "used norm": "its batch norm was used",
    "image": r"none that is known here, 4 tensors: 0.weight \(8, 3, 3, 3\)",
    "four layers": "none that is known here, 18 tensors: lstm.weight_ih_l0",
    "other width": "none that is known here, ",
    "more tensors": "none that is known here, ",
    "number": "more than whole tensors",
    "expanded": "more than whole tensors",
    "sparse": "more than whole tensors",
    "diverged": "not all finite",
}

both_formats = pytest.mark.parametrize("kind", ["zip", "old"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every network's checkpoint in both formats, some that differ in a detail, and those to refuse."""
    folder = tmp_path_factory.mktemp("files")
    weights = {name: older_tool.network(name).state_dict() for name in older_tool.NETWORKS}
    cnn, lstm = weights["cnn1d_3"], weights["lstm_1_flat"]
    odd: dict[str, dict[str, Any]] = {
        "parallel": {f"module.{key}": value for key, value in cnn.items()},
        "no norm": {key: value for key, value in cnn.items() if not key.startswith("bn1")},
        "masked": lstm,
        "used norm": cnn | {"bn1.num_batches_tracked": torch.tensor(3)},
        "image": nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 5)).state_dict(),
        "four layers": older_tool.Lstm(5, 4).state_dict(),
        "other width": older_tool.Resnet(5, 1, (32, 32, 32, 16)).state_dict(),
        "more tensors": weights["resnet1d_10"] | {"layer5.0.conv1.weight": torch.zeros(1)},
        "number": cnn | {"fc1.weight": 3},
        "expanded": cnn | {"fc1.weight": torch.zeros(1, 1).expand(1 << 40, 5)},
        "sparse": cnn | {"fc1.weight": torch.zeros(5, 576).to_sparse()},
        "diverged": cnn | {"fc1.bias": torch.tensor([0, 0, float("nan"), 0, 0])},
    }
    contents = {name: {"state_dict": state, "options": FLAGS} for name, state in (weights | odd).items()}
    contents["masked"]["options"] = FLAGS | {"masking": True}
    contents["malicious"] = {"state_dict": cnn, "mark": str(folder / "it ran")}
    older_tool.write(folder, contents)
    return folder


@both_formats
@pytest.mark.parametrize("name", older_tool.NETWORKS)
def test_an_imported_network_says_what_the_older_one_said(files: Path, name: str, kind: str) -> None:
    old = legacy.read(files / f"{name}.{kind}.pth.tar")
    assert (old.network, old.classes) == (name, 5)
    model = get_model(name, make_spec()).eval()
    checkpoints.load_weights(model, old.weights, "here")
    x = torch.rand(16, 1, 187)
    x[0, :, 100:] = 0
    torch.testing.assert_close(model(x).log_softmax(1), older_tool.network(name)(x))


@pytest.mark.parametrize("name", ["parallel", "no norm"])
def test_neither_the_name_of_a_wrapper_nor_an_unused_norm_matters(files: Path, name: str) -> None:
    old, plain = legacy.read(files / f"{name}.old.pth.tar"), legacy.read(files / "cnn1d_3.old.pth.tar")
    assert old.network == "cnn1d_3"
    assert old.weights.keys() == plain.weights.keys()
    assert all(torch.equal(old.weights[key], plain.weights[key]) for key in plain.weights)


def test_weights_that_were_on_a_gpu_come_in_without_one(files: Path, tmp_path: Path) -> None:
    content, path = (files / "cnn1d_3.old.pth.tar").read_bytes(), tmp_path / "x.pth.tar"
    assert content.count(b"\x03\0\0\0cpu") == 1  # the others refer to it
    path.write_bytes(content.replace(b"\x03\0\0\0cpu", b"\x06\0\0\0cuda:0"))
    assert {tensor.device.type for tensor in legacy.read(path).weights.values()} == {"cpu"}


def test_epoch_flags_and_hash_come_with_the_weights(files: Path) -> None:
    path = files / "cnn1d_3.old.pth.tar"
    old = legacy.read(path)
    assert (old.epoch, old.flags) == (7, FLAGS)
    assert old.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@both_formats
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_be_exact_is_refused_with_the_reason(files: Path, name: str, kind: str) -> None:
    path = files / f"{name}.{kind}.pth.tar"
    with pytest.raises(CheckpointError, match=REFUSED[name]) as caught:
        legacy.read(path)
    assert str(path) in str(caught.value)


@both_formats
def test_without_the_flag_a_checkpoint_of_the_older_tool_is_explained(files: Path, kind: str) -> None:
    path = files / f"cnn1d_3.{kind}.pth.tar"
    with pytest.raises(CheckpointError, match=r"the older tool wrote .* nothing of it was run.*Try: --import-legacy "):
        checkpoints.load(path)


@both_formats
def test_a_malicious_file_is_refused_and_nothing_of_it_runs(files: Path, kind: str) -> None:
    path, mark = files / f"malicious.{kind}.pth.tar", files / "it ran"
    mark.unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"\(\w*\.?open\).*nothing of it was run"):
        legacy.read(path)
    assert not mark.exists()
    unsafe = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"
    subprocess.run([sys.executable, "-c", unsafe, path], cwd=files / "package", check=True)
    assert mark.exists(), "the payload is a dud, so that nothing was tested"


@both_formats
@pytest.mark.parametrize("target", [eval, subprocess.Popen, np.load, logger.Board], ids=lambda target: target.__name__)
def test_only_what_is_on_the_list_comes_in(tmp_path: Path, target: Callable[..., Any], kind: str) -> None:
    path = tmp_path / "x.pth.tar"
    torch.save({"epoch": 2, "state_dict": {}, "exp_logger": target}, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match=rf"{target.__name__}\).*nothing of it was run"):
        legacy.read(path)


@pytest.mark.parametrize(
    "content", [[1], {"model": {}, "format": 1}, {"state_dict": {}}, {"state_dict": [], "epoch": 2}], ids=repr
)
def test_another_file_is_a_checkpoint_error(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pth.tar")
    with pytest.raises(CheckpointError, match="it holds no state_dict with its epoch"):
        legacy.read(tmp_path / "x.pth.tar")


def test_a_damaged_file_of_the_old_format_is_a_checkpoint_error(files: Path, tmp_path: Path) -> None:
    path, refused = tmp_path / "x.pth.tar", 0
    whole = (files / "cnn1d_3.old.pth.tar").read_bytes()
    places = np.linspace(0, whole.index(b"res_list"), 200).astype(
        int
    )  # the pickle; a flip in a weight is another weight
    for damaged in [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in places] + [
        whole[:-1],
        b"",
    ]:
        path.write_bytes(damaged)
        try:
            legacy.read(path)
        except CheckpointError:
            refused += 1
    assert refused > 100
